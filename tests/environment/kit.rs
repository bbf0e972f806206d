//! A small executor whose function tells a number.

use mailring::abi::{CallConfig, TaskArgs};
use mailring::{Builder, Callable, Executor, Mode};
use testkit::small;

/// An executor of one worker, and a function that stores a number.
pub(crate) fn storing(
    mode: Mode,
    set: impl Fn(Builder) -> Builder,
    number: impl Fn() -> u64 + Send + Sync + 'static,
) -> (Executor, Callable) {
    let mut builder = set(small(mode, 1));
    let function = builder
        .register("number", move |args, _config, _context| args.set(0, 0, number()))
        .expect("a new name");
    (builder.build().expect("an executor"), function)
}

/// What the function stores.
pub(crate) fn ask(exec: &Executor, function: Callable) -> u64 {
    let cell = exec.buffer::<u64>(1).expect("room");
    let args = TaskArgs::new().output(&cell);
    exec.run(|run| run.submit(function, args, CallConfig::default()).map(drop)).expect("a run");
    cell.to_vec().unwrap()[0]
}
