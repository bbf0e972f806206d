//! Counters that other processes read: what is said of a run, and what is left of it.

use mailring::error::{BuildError, PageError};
use mailring::{Executor, Mode, WorkerId};
use mailring_process::live::{Reading, WriterState, read_file, read_segment};
use testkit::{BOTH, BoxError, args, config, eventually, kill, small};

fn name() -> String {
    format!("test-live-{}", std::process::id())
}

/// The page once it says what is wanted.
fn reading(wanted: impl Fn(&Reading) -> bool) -> Reading {
    let mut found = None;
    eventually("the page says so", || {
        found = read_segment(&name()).ok().filter(|reading| wanted(reading));
        found.is_some()
    });
    found.unwrap()
}

fn busy(mode: Mode) -> (Executor, mailring::Callable) {
    let mut builder = small(mode, 2).publish(&name());
    let busy = builder.register("busy", |_, _, task| {
        while !task.cancelled() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok::<(), BoxError>(())
    });
    let busy = busy.unwrap();
    (builder.build().unwrap(), busy)
}

pub(crate) fn what_workers_run_and_how_they_die() {
    for mode in BOTH {
        let (exec, busy) = busy(mode);
        let idle = reading(|_| true);
        assert_eq!((idle.pid, idle.writer), (std::process::id() as i32, WriterState::Alive));
        assert_eq!(idle.status.workers.len(), 2);
        assert!(idle.status.workers.iter().all(|worker| worker.work.is_none()));
        let (_, run) = exec.submit_run(|orch| orch.submit(busy, args(), config())).unwrap();
        let working = reading(|reading| {
            reading.status.workers.iter().filter_map(|worker| worker.work.as_ref()).count() == 1
        });
        let worker = working.status.workers.iter().find(|worker| worker.work.is_some()).unwrap();
        let work = worker.work.as_ref().unwrap();
        assert_eq!((work.function.as_str(), worker.state.as_str()), ("busy", "running"));
        let for_long = |reading: &Reading| {
            let work = reading.status.workers.iter().find_map(|worker| worker.work.as_ref());
            work.is_some_and(|work| work.seconds > 0.25)
        };
        reading(for_long);
        if mode == Mode::Process {
            kill(worker.pid as i32, libc::SIGKILL);
            let after = reading(|reading| reading.status.totals.deaths == 1);
            assert!(after.status.totals.submitted >= 1);
        }
        run.cancel();
        let _ = run.wait(None);
        drop(exec);
        assert!(matches!(read_segment(&name()), Err(PageError::Missing(_))));
    }
}

pub(crate) fn a_name_that_is_taken_ends_what_was_started() {
    let (first, _) = busy(Mode::Process);
    let (fds, children) = (testkit::open_fds(), first.worker_pids());
    for builder in [small(Mode::Process, 2).publish(&name()), small(Mode::Process, 2).publish("")] {
        let error = builder.build().err().unwrap();
        assert!(matches!(error, BuildError::Publish(_)), "{error}");
    }
    eventually("no descriptor is left", || testkit::open_fds() == fds);
    assert_eq!(first.worker_pids(), children);
    assert!(!first.is_busy(WorkerId(0)));
    let nowhere = small(Mode::Process, 1).post_mortem("/nowhere/page").build();
    assert!(matches!(nowhere, Err(BuildError::Publish(PageError::System { .. }))));
}

pub(crate) fn a_file_stays_and_a_child_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page");
    let builder = small(Mode::Process, 1).publish(&name()).post_mortem(&file);
    let exec = builder.build().unwrap();
    // SAFETY: the child drops what it has, as one that leaves `main` would, and ends.
    match unsafe { libc::fork() } {
        0 => {
            drop(exec);
            // SAFETY: nothing of this process is needed any more.
            unsafe { libc::_exit(0) }
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of ours.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
        }
    }
    assert_eq!(reading(|_| true).writer, WriterState::Alive);
    drop(exec);
    assert!(matches!(read_segment(&name()), Err(PageError::Missing(_))));
    let read = read_file(&file).unwrap();
    assert_eq!((read.writer, read.status.ended), (WriterState::Ended, true));
}
