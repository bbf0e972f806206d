//! What these tests have in common: both kinds of hosts, small.

use mailring::abi::{CallConfig, TaskArgs};
use mailring::flow::{Flow, Resources};
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

/// A flow of so many workers of one cpu each.
pub(crate) fn flow(workers: usize) -> Flow {
    builder(workers).build().expect("a flow")
}

pub(crate) fn builder(workers: usize) -> mailring::flow::Builder {
    Flow::builder().workers("cpu", workers, Resources::cpus(1.0)).memory(16 << 20)
}
