//! The end of an executor: closed, it drains; dropped, it cancels.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Buffer, Callable, Error, Executor, FailureKind, Misuse, Mode, TaskOptions};
use testkit::{BOTH, Done, args, at, atom, await_value, bodies, cell, config, failed_as, small};

struct Kit {
    exec: Executor,
    nap: Callable,
    hang: Callable,
    data: Buffer<u64>,
}

fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 2);
    let nap = builder
        .register("nap", |args, _, _| {
            std::thread::sleep(Duration::from_millis(args.scalar(0)?));
            args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + 1)
        })
        .unwrap();
    let hang = builder
        .register("hang", |args, _, _| {
            atom(&args, 0, 0).store(1, SeqCst);
            while args.scalars().is_empty() {
                std::thread::sleep(Duration::from_secs(1)); // deaf to all
            }
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer(2).unwrap();
    Kit { exec, nap, hang, data }
}

pub(crate) fn waits_for_detached_runs() {
    for mode in BOTH {
        let Kit { exec, nap, data, .. } = kit(mode);
        let data = Arc::new(data);
        let mut handles = Vec::new();
        for _ in 0..5 {
            let ((), handle) = exec
                .submit_run(|orch| {
                    (0..4).try_for_each(|_| {
                        let all = args().inout(at(&data, 0)).scalar(3);
                        orch.submit(nap, all, config()).map(drop)
                    })
                })
                .unwrap();
            handles.push(handle);
        }
        let mut run = exec.begin().unwrap();
        run.submit(nap, args().inout(at(&data, 0)).scalar(1), config()).unwrap();
        handles.push(run.detach());
        exec.close(Duration::from_secs(20)).unwrap();
        assert_eq!(data.get(0).unwrap(), 21, "{mode:?}: everything that was accepted was done");
        for handle in &handles {
            assert!(handle.done() && !handle.run_failed());
            assert!(handle.wait(None).unwrap());
        }
    }
}

pub(crate) fn a_failed_run_is_told_by_its_handle() {
    let mut builder = small(Mode::Process, 1);
    let fail = builder.register("fail", bodies::fail).unwrap();
    let exec = builder.build().unwrap();
    let ((), handle) =
        exec.submit_run(|orch| orch.submit(fail, args(), config()).map(drop)).unwrap();
    exec.close(None).unwrap();
    failed_as(handle.wait(None), FailureKind::Error);
    small(Mode::Process, 1).build().unwrap().close(Duration::ZERO).unwrap();
}

/// The error names what was not through; all is gone after one grace, not two.
pub(crate) fn a_timeout_names_what_still_runs() {
    let Kit { exec, nap, hang, data } = kit(Mode::Process);
    let pids = exec.worker_pids();
    let ((), handle) = exec
        .submit_run(|orch| {
            let options = TaskOptions::new().name("the hanging one");
            orch.submit_with(hang, args().inout(at(&data, 1)), config(), &options)?;
            orch.submit(nap, args().inout(at(&data, 1)).scalar(0), config())?;
            orch.submit(nap, args().inout(at(&data, 0)).scalar(0), config()).map(drop)
        })
        .unwrap();
    assert!(await_value(cell(&data, 1), 1));
    let began = Instant::now();
    let late = exec.close(Duration::from_millis(100)).unwrap_err();
    let took = began.elapsed();
    let text = late.to_string();
    let Error::StillRunning { count, waited, .. } = late else { panic!("{text}") };
    assert_eq!(count, 2, "{text}");
    assert!(waited >= Duration::from_millis(100) && waited < Duration::from_secs(5));
    for part in ["the hanging one", "runs on worker", "`nap`, waits for others", "more time"] {
        assert!(text.contains(part), "{text}");
    }
    // 100 ms, and a grace of 300.
    assert!(took < Duration::from_millis(650), "took {took:?}");
    assert!(pids.iter().all(|&pid| !testkit::is_alive(pid as i32)));
    let told = handle.wait(Some(Duration::from_secs(5)));
    assert!(matches!(&told, Err(Error::Failed(why)) if why.contains("dropped")), "{told:?}");
    assert_eq!(data.get(0).unwrap(), 1, "what was not hung was done");
}

/// Dropped with a detached run that hangs: one grace.
pub(crate) fn dropping_takes_one_grace() {
    let Kit { exec, nap, hang, data } = kit(Mode::Process);
    let ((), handle) = exec
        .submit_run(|orch| {
            orch.submit(hang, args().inout(at(&data, 1)), config())?;
            orch.submit(nap, args().inout(at(&data, 1)).scalar(0), config()).map(drop)
        })
        .unwrap();
    assert!(await_value(cell(&data, 1), 1));
    let began = Instant::now();
    drop(exec);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(550), "took {took:?} with a grace of 300 ms");
    let told = handle.wait(Some(Duration::from_secs(5)));
    assert!(matches!(&told, Err(Error::Failed(why)) if why.contains("dropped")), "{told:?}");
    assert_eq!(data.get(1).unwrap(), 1, "what waited for it was cancelled");
}

pub(crate) fn with_a_run_still_open() {
    let Kit { exec, nap, data, .. } = kit(Mode::Process);
    let mut run = exec.begin().unwrap();
    run.submit(nap, args().inout(at(&data, 0)).scalar(0), config()).unwrap();
    let began = Instant::now();
    let refused = exec.close(None).unwrap_err();
    assert!(matches!(refused, Error::Misuse(Misuse::OpenRun)), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(run);
    // Another thread's: it is waited for.
    let Kit { exec, nap, data, .. } = kit(Mode::Process);
    std::thread::scope(|scope| {
        let (open, opened) = std::sync::mpsc::channel();
        let (exec_to, exec_here) = std::sync::mpsc::channel::<()>();
        let run = exec.begin().unwrap();
        let data = &data;
        scope.spawn(move || {
            let mut run = run;
            open.send(()).unwrap();
            exec_here.recv().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            run.submit(nap, args().inout(at(data, 0)).scalar(0), config()).unwrap();
            run.detach();
        });
        opened.recv().unwrap();
        exec_to.send(()).unwrap();
        std::thread::spawn(move || exec.close(Duration::from_secs(10))).join().unwrap().unwrap();
    });
    assert_eq!(data.get(0).unwrap(), 1);
}
