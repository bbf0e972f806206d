//! An executor of two workers that are killed, stopped and replaced; workers that cannot be
//! replaced.

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mailring::abi::{CallConfig, TaskArgsView};
use mailring::{Callable, Executor, Mode, TaskContext, TaskOptions, Worker, WorkerId};
use testkit::{
    BoxError, Done, args, at, atom, await_value, bodies, cell, config, parent_of, raise, small,
};

/// Two workers with a body that adds one, and takes as long as it is told.
pub(crate) fn built() -> (Executor, Callable) {
    let mut builder = small(Mode::Process, 2);
    let add = builder
        .register("add", |args, _, _| {
            std::thread::sleep(Duration::from_millis(args.scalar(0)?));
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            Done::Ok(())
        })
        .unwrap();
    (builder.build().unwrap(), add)
}

pub(crate) fn fork_server(exec: &Executor) -> i32 {
    parent_of(exec.worker_pids()[0] as i32)
}

pub(crate) fn there(worker: u16) -> TaskOptions {
    TaskOptions::new().on(WorkerId(worker))
}

/// A run on each worker.
pub(crate) fn works(exec: &Executor, add: Callable) {
    let count = exec.buffer::<u64>(1).unwrap();
    exec.run(|orch| {
        for worker in 0..2 {
            let args = args().no_dep(at(&count, 0)).scalar(0);
            orch.submit_with(add, args, config(), &there(worker))?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(cell(&count, 0).load(SeqCst), 2);
}

/// A worker whose factory fails when the file `broken-ID` is there. Callable 0 does nothing, 1
/// adds one to its first element, 2 waits until its first element is set, 3 kills its process.
pub(crate) struct Fragile;

impl Fragile {
    pub(crate) fn start(directory: &Path, id: WorkerId) -> Result<Box<dyn Worker>, BoxError> {
        if directory.join(format!("broken-{}", id.0)).exists() {
            return Err("the device burnt down".into());
        }
        Ok(Box::new(Self))
    }
}

impl Worker for Fragile {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), BoxError> {
        match callable {
            1 => bodies::add_one(args, config, context)?,
            2 if !await_value(atom(&args, 0, 0), 1) => {
                return Err("nobody opened the gate".into());
            }
            3 => raise(libc::SIGKILL),
            _ => {}
        }
        Ok(())
    }
}
