//! Handles of runs: executors that go away meanwhile, failures that are asked for late, and bodies
//! that are told to stop.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::time::Duration;

use mailring::{Error, FailureKind, Mode, RunHandle, WaitStrategy};

use testkit::{
    BOTH, BoxError, Done, args, at, atom, await_cancel, bodies, cell, config, eventually,
    failed_as, is_alive, small, within,
};

// ---- dropped executors --------------------------------------------------------------------------

/// Waits on a thread; `end` is called when that thread is surely inside.
fn wait_beside(handle: RunHandle, end: impl FnOnce()) {
    let (say, said) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let waited = handle.wait(None);
        say.send(()).unwrap();
        // The handle stays usable.
        let again = handle.wait(Some(Duration::from_millis(10)));
        handle.cancel();
        assert!(handle.done(), "nothing will happen any more");
        (waited, again)
    });
    std::thread::sleep(Duration::from_millis(50));
    end();
    said.recv_timeout(Duration::from_secs(5)).expect("the wait goes on after the drop");
    let (waited, again) = waiter.join().unwrap();
    let error = waited.expect_err("its tasks cannot have ended well");
    println!("{error}");
    assert!(matches!(error, Error::Failed(_) | Error::Task(_)), "{error}");
    assert!(matches!(again, Err(Error::Failed(_) | Error::Task(_))), "{again:?}");
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
                    await_cancel(context).then_some(()).ok_or("never told")
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
        let add = builder.register("add", bodies::add_one).unwrap();
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
            let nop = builder.register("nop", bodies::nop).unwrap();
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
        let nop = builder.register("nop", bodies::nop).unwrap();
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
                    let told = await_cancel(context);
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
                await_cancel(context);
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
