//! An executor of two workers that are killed, stopped and replaced.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mailring::{Callable, Executor, Mode, TaskOptions, WorkerId};
use testkit::{Done, args, at, atom, cell, config, parent_of, small};

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
