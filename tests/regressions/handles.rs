//! Handles of runs: executors that go away meanwhile, failures that are asked for late, bodies
//! that are told to stop, and copies of an executor in a child.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mailring::{Error, FailureKind, Mode, RunHandle, TaskContext, WaitStrategy};

use crate::{BoxError, within};
use testkit::{BOTH, Done, args, at, atom, cell, config, eventually, failed_as, is_alive, small};

fn until_cancelled(context: &TaskContext<'_>) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if context.cancelled() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    false
}

// ---- dropped executors --------------------------------------------------------------------------

/// Waits on a thread; `end` is called when that thread is surely inside.
fn wait_beside(handle: RunHandle, end: impl FnOnce()) {
    let (say, said) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let waited = handle.wait(None);
        say.send(()).unwrap();
        // The handle stays usable.
        let again = handle.wait(Some(Duration::from_millis(10)));
        let _ = (handle.done(), handle.cancel());
        (waited, again)
    });
    std::thread::sleep(Duration::from_millis(50));
    end();
    said.recv_timeout(Duration::from_secs(5)).expect("the wait goes on after the drop");
    let (waited, again) = waiter.join().unwrap();
    let error = waited.expect_err("its tasks cannot have ended well");
    println!("{error}");
    assert!(matches!(error, Error::Failed(_) | Error::Task(_)), "{error}");
    assert!(again.is_err() || matches!(again, Ok(false)), "{again:?}");
}

pub(crate) fn dropping_ends_a_wait_for_a_deaf_body() {
    for wait in [WaitStrategy::Adaptive, WaitStrategy::Park, WaitStrategy::Spin] {
        let mut builder = small(Mode::Process, 2).wait_strategy(wait);
        let deaf = builder
            .register("deaf", |_, _, _| {
                std::thread::sleep(Duration::from_secs(100));
                Done::Ok(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(1).unwrap();
        let pids = exec.worker_pids();
        let (_, handle) = exec
            .submit_run(|orch| {
                for _ in 0..4 {
                    orch.submit(deaf, args().inout(data.tensor()), config())?;
                }
                Ok(())
            })
            .unwrap();
        wait_beside(handle, || within(5, || drop(exec)));
        assert!(!pids.iter().any(|&pid| is_alive(pid as i32)));
        assert_eq!(data.to_vec().unwrap(), [0], "a buffer outlives its executor");
    }
}

pub(crate) fn dropping_ends_a_wait_for_what_never_begins() {
    for mode in BOTH {
        for wait in [WaitStrategy::Adaptive, WaitStrategy::Park, WaitStrategy::Spin] {
            let mut builder = small(mode, 1).wait_strategy(wait);
            let listening = builder
                .register("listening", |_, _, context| {
                    until_cancelled(context).then_some(()).ok_or("never told")
                })
                .unwrap();
            let exec = builder.build().unwrap();
            let (_, handle) = exec
                .submit_run(|orch| {
                    (0..10).try_for_each(|_| orch.submit(listening, args(), config()).map(drop))
                })
                .unwrap();
            wait_beside(handle, || within(5, || drop(exec)));
        }
    }
}

// ---- failures that are asked for late -----------------------------------------------------------

pub(crate) fn done_before_wait_keeps_the_failure() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let add = builder
            .register("add", |args, _, _| args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + 1))
            .unwrap();
        let bad = builder.register("bad", |_, _, _| Err::<(), _>("on purpose")).unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(2).unwrap();
        for round in 0..200 {
            let (_, handle) = exec
                .submit_run(|orch| {
                    for i in 0..10 {
                        let body = if i == round % 10 { bad } else { add };
                        orch.submit(body, args().inout(at(&data, i % 2)), config())?;
                    }
                    Ok(())
                })
                .unwrap();
            eventually("all are through", || handle.done());
            for _ in 0..2 {
                let failure = failed_as(handle.wait(None), FailureKind::Error);
                assert_eq!((failure.name.as_str(), &failure.message[..]), ("bad", "on purpose"));
            }
            assert!(handle.done());
        }
    }
}

pub(crate) fn a_failure_outlives_its_window() {
    for mode in BOTH {
        for look in [false, true] {
            let mut builder = small(mode, 2).slot_window(16);
            let nop = builder.register("nop", |_, _, _| Done::Ok(())).unwrap();
            let bad = builder.register("bad", |_, _, _| Err::<(), _>("long ago")).unwrap();
            let exec = builder.build().unwrap();
            let (_, handle) = exec
                .submit_run(|orch| {
                    orch.submit(nop, args(), config())?;
                    orch.submit(bad, args(), config())?;
                    orch.submit(nop, args(), config()).map(drop)
                })
                .unwrap();
            if look {
                eventually("all are through", || handle.done());
            }
            for _ in 0..5 {
                exec.run(|orch| {
                    (0..100).try_for_each(|_| orch.submit(nop, args(), config()).map(drop))
                })
                .unwrap();
            }
            assert!(handle.done());
            let failure = failed_as(handle.wait(None), FailureKind::Error);
            assert_eq!((failure.name.as_str(), &failure.message[..]), ("bad", "long ago"));
        }
    }
}

/// The bytes of a dropped buffer can be had again as soon as the run that used them was waited
/// for; it need not be the submitter who saw that it has ended.
pub(crate) fn waiting_for_a_run_frees_its_buffers() {
    for mode in BOTH {
        let mut builder = small(mode, 2).buffer_bytes(64 << 10);
        let nop = builder.register("nop", |_, _, _| Done::Ok(())).unwrap();
        let exec = builder.build().unwrap();
        for _ in 0..20 {
            let buffer = exec.buffer::<u64>(6000).unwrap();
            let (_, handle) = exec
                .submit_run(|orch| {
                    orch.submit(nop, args().inout(buffer.tensor()), config()).map(drop)
                })
                .unwrap();
            assert!(handle.wait(None).unwrap());
        }
    }
}

// ---- told to stop -------------------------------------------------------------------------------

/// A body that was cancelled while it ran is not asked how it went.
pub(crate) fn told_to_stop_and_ok_is_cancelled() {
    for mode in BOTH {
        for by_handle in [true, false] {
            let mut builder = small(mode, 2);
            let obeys = builder
                .register("obeys", |args, _, context| {
                    atom(&args, 0, 0).store(1, SeqCst);
                    let told = until_cancelled(context);
                    atom(&args, 0, 0).store(2, SeqCst);
                    told.then_some(()).ok_or("never told") // and all is well
                })
                .unwrap();
            let add = builder
                .register("add", |args, _, _| args.set::<u64>(1, 0, args.get::<u64>(1, 0)? + 1))
                .unwrap();
            let exec = builder.build().unwrap();
            let state = exec.buffer::<u64>(1).unwrap();
            let data = exec.buffer::<u64>(1).unwrap();
            let begun = || eventually("it has begun", || cell(&state, 0).load(SeqCst) == 1);
            let (_, handle) = exec
                .submit_run(|orch| {
                    let obeys = orch.submit(obeys, args().inout(state.tensor()), config())?;
                    let both = args().input(state.tensor()).inout(data.tensor());
                    let after = orch.submit(add, both, config())?;
                    if !by_handle {
                        begun();
                        assert!(orch.cancel(&obeys));
                        failed_as(orch.wait(&obeys), FailureKind::Cancelled);
                        failed_as(orch.wait(&after), FailureKind::Cancelled);
                    }
                    Ok(())
                })
                .unwrap();
            if by_handle {
                begun();
                handle.cancel();
            }
            let failure = failed_as(handle.wait(None), FailureKind::Cancelled);
            assert_eq!(failure.name, "obeys");
            assert_eq!(
                (state.get(0).unwrap(), data.get(0).unwrap()),
                (2, 0),
                "dependents do not run"
            );
            assert_eq!(exec.stats().deaths, 0);
        }
    }
}

pub(crate) fn a_cancelled_group_that_ends_well_is_cancelled() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let obeys = builder
            .register("obeys", |args, _, context| {
                context.group().ok_or("a member")?.barrier()?;
                atom(&args, 0, 0).fetch_add(1, SeqCst);
                until_cancelled(context);
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let add = builder
            .register("add", |args, _, _| args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + 10))
            .unwrap();
        let exec = builder.build().unwrap();
        for _ in 0..10 {
            let state = exec.buffer::<u64>(1).unwrap();
            let (_, handle) = exec
                .submit_run(|orch| {
                    let mut all = vec![args().no_dep(state.tensor()); 3];
                    all[0] = args().inout(state.tensor());
                    orch.submit_group(obeys, all, config())?;
                    orch.submit(add, args().inout(state.tensor()), config()).map(drop)
                })
                .unwrap();
            eventually("all have begun", || cell(&state, 0).load(SeqCst) == 3);
            handle.cancel();
            within(5, || failed_as(handle.wait(None), FailureKind::Cancelled));
            assert_eq!(state.get(0).unwrap(), 3, "dependents do not run");
        }
        assert_eq!(exec.stats().deaths, 0);
    }
}

// ---- copies -------------------------------------------------------------------------------------

/// Forks; the child ends with 0 if `f` holds. False when it does not, or takes 5 s.
fn holds_in_a_child(f: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `f` on the one thread it has and ends without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or(false);
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!held)) };
    }
    let until = Instant::now() + Duration::from_secs(5);
    let mut status = 0;
    // SAFETY: waits for a child of ours; the status is a live local.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > until {
            println!("the child hangs");
            testkit::kill(child, libc::SIGKILL);
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("the child ended with {status:#x}");
    status == 0
}

/// The child does not have the arena, so all that looks into it must say so in another way.
pub(crate) fn a_child_of_the_host_may_ask() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        builder.register("nop", |_, _, _| Done::Ok(())).unwrap();
        let exec = builder.build().unwrap();
        let (_, handle) = exec.submit_run(|_| Ok(())).unwrap();
        assert!(holds_in_a_child(|| exec.workers(mailring::WorkerKind::NextLevel) == 2));
        assert!(holds_in_a_child(|| handle.cancel() == 0), "cancel, {mode:?}");
        assert!(holds_in_a_child(|| exec.stats().deaths == 0), "stats, {mode:?}");
        assert!(holds_in_a_child(|| exec.worker_pids().len() == 2), "worker_pids, {mode:?}");
    }
}

pub(crate) fn a_child_of_the_host_is_refused() {
    let misuse = |error: Error| matches!(&error, Error::Misuse(why) if why.contains("child"));
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let add = builder
            .register("add", |args, _, _| args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + 1))
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(1).unwrap();
        let run =
            || exec.run(|orch| orch.submit(add, args().inout(data.tensor()), config()).map(drop));
        run().unwrap();
        let before = exec.worker_pids();
        assert!(holds_in_a_child(|| run().is_err_and(misuse)), "run, {mode:?}");
        assert!(holds_in_a_child(|| exec.submit_run(|_| Ok(())).is_err_and(misuse)));
        assert!(holds_in_a_child(|| exec.buffer::<u64>(1).is_err_and(misuse)));
        let (_, handle) = exec.submit_run(|_| Ok(())).unwrap();
        assert!(holds_in_a_child(|| handle.wait(None).is_err_and(misuse)), "wait, {mode:?}");
        let (exec, data) = (std::cell::Cell::new(Some(exec)), std::cell::Cell::new(Some(data)));
        // The child's copies only: what it takes out of the cells is there for the parent.
        let dropped = || {
            drop(data.take());
            drop(exec.take());
            true
        };
        assert!(holds_in_a_child(dropped), "drop, {mode:?}");
        let (exec, data) = (exec.take().unwrap(), data.take().unwrap());
        for _ in 0..100 {
            within(5, || {
                exec.run(|orch| orch.submit(add, args().inout(data.tensor()), config()).map(drop))
            })
            .unwrap();
        }
        assert_eq!(data.get(0).unwrap(), 101);
        assert_eq!(exec.worker_pids(), before);
        assert_eq!(exec.stats().deaths, 0);
    }
}
