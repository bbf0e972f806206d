//! Workers that a signal has stopped. Nobody continues them; what waits for them must end all the
//! same, and a body that is stopped must end when it is cancelled or its time is over.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{FailureKind, Mode, TaskOptions, WorkerId};
use testkit::{
    args, at, atom, await_value, bodies, cell, config, eventually, failed_as, kill, small, stat,
};

fn stop(pid: u32) {
    kill(pid as i32, libc::SIGSTOP);
    eventually("it is stopped", || stat(pid as i32).is_some_and(|(state, _)| state == 'T'));
}

/// Asleep when it is stopped, and the only one that may run the task; or needed by a group.
pub(crate) fn asleep_with_a_task_of_its_own() {
    let mut builder = small(Mode::Process, 2);
    let add = builder
        .register("add", |args, _, context| {
            context.group().map_or(Ok(()), |group| group.barrier()).map_err(|_| "cancelled")?;
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            Ok::<(), &str>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(1).unwrap();
    for round in 0..3 {
        let victim = exec.worker_pids()[1];
        std::thread::sleep(Duration::from_millis(20)); // it falls asleep
        stop(victim);
        let began = Instant::now();
        let all = || args().no_dep(data.tensor());
        let timed = TaskOptions::new().deadline(Duration::from_millis(50));
        let run = |orch: &mut mailring::Orchestrator| match round {
            0 => orch.submit_with(add, all(), config(), &TaskOptions::new().on(WorkerId(1))),
            // A deadline is that of a body, and this one has not begun.
            1 => orch.submit_with(add, all(), config(), &timed.clone().on(WorkerId(1))),
            _ => orch.submit_group(add, vec![all(); 2], config()),
        };
        let (_, handle) = exec.submit_run(run).unwrap();
        if round == 1 {
            eventually("it is through, as one sees who only asks", || handle.done());
        }
        assert!(handle.wait(Some(Duration::from_secs(15))).unwrap(), "round {round}: still waits");
        println!("round {round}: after {:?}", began.elapsed());
        assert_eq!(exec.stats().deaths, round + 1, "nothing was charged, one was replaced");
    }
    assert_eq!(data.get(0).unwrap(), 4);
}

/// Stopped with the lease in hand, before the body: the copy for the snapshot takes a while.
pub(crate) fn with_a_lease_before_the_body() {
    const BYTES: usize = 96 << 20;
    let mut builder = small(Mode::Process, 1).heap_bytes(2 * BYTES).buffer_bytes(2 * BYTES);
    let add = builder.register("add", bodies::add_one).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(BYTES / 8).unwrap();
    let options = TaskOptions::new().snapshot();
    let mut before = 0;
    for round in 0..2u64 {
        let ((), handle) = exec
            .submit_run(|orch| {
                let all = args().inout(data.tensor());
                orch.submit_with(add, all, config(), &options).map(drop)
            })
            .unwrap();
        std::thread::sleep(Duration::from_millis(4 + 6 * round));
        let busy = exec.is_busy(WorkerId(0));
        let pid = exec.worker_pids()[0];
        kill(pid as i32, libc::SIGSTOP);
        before += u64::from(!busy && !handle.done());
        let waited = handle.wait(Some(Duration::from_secs(20)));
        assert!(waited.unwrap(), "round {round}: still waits");
        if pid == exec.worker_pids()[0] {
            kill(pid as i32, libc::SIGCONT);
        }
        assert_eq!(data.get(0).unwrap(), round + 1);
    }
    println!("{before} of 2 stopped before the body, {:?}", exec.stats());
}

/// Inside a body nothing ends it but a deadline or a cancel, and either does.
pub(crate) fn inside_a_body() {
    let mut builder = small(Mode::Process, 3);
    let gate = builder
        .register("gate", |args, _, context| {
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            if let Some(group) = context.group() {
                return group.barrier().map_err(|_| "cancelled");
            }
            while !context.cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err("told to stop")
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let began = exec.buffer::<u64>(1).unwrap();
    let on = |worker| TaskOptions::new().on(WorkerId(worker));
    let mut kills = 0;
    for (options, kind) in [
        (on(1).deadline(Duration::from_millis(100)), FailureKind::Deadline),
        (on(1), FailureKind::Cancelled),
    ] {
        cell(&began, 0).store(0, SeqCst);
        let (task, handle) = exec
            .submit_run(|orch| {
                orch.submit_with(gate, args().no_dep(began.tensor()), config(), &options)
            })
            .unwrap();
        assert!(await_value(cell(&began, 0), 1));
        stop(exec.worker_pids()[1]);
        if kind == FailureKind::Cancelled {
            std::thread::sleep(Duration::from_millis(1500));
            assert_eq!(exec.stats().deaths, kills, "a stopped body is let be");
            assert_eq!(handle.cancel(), 1);
        }
        let began = Instant::now();
        let failure = failed_as(handle.wait(Some(Duration::from_secs(15))), kind);
        println!("{kind:?}: after {:?}: {failure}", began.elapsed());
        assert_eq!(failure.task, task.id());
        kills += 1;
        assert_eq!(exec.stats().deaths, kills);
    }
}

/// Random stops under load, which nobody undoes.
pub(crate) fn soak_stopped_anywhere() {
    let mut builder = small(Mode::Process, 3);
    let add = builder
        .register("add", |args, _, context| {
            if let Some(group) = context.group() {
                group.barrier().map_err(|_| "cancelled")?;
                if group.index() > 0 {
                    return Ok(());
                }
            }
            let to = args.scalar(0).map_err(|_| "no scalar")?;
            args.set::<u64>(0, 0, to).map_err(|_| "no tensor")
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(8).unwrap();
    let mut random = testkit::Random(0x570B);
    let options = TaskOptions::new().idempotent().retries(60).deadline(Duration::from_millis(300));
    let (mut stops, mut to) = (0, 0);
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        let ((), handle) = exec
            .submit_run(|orch| {
                for nth in 0..200 {
                    to += 1;
                    let all = args().inout(at(&data, nth % 8)).scalar(to);
                    if nth % 5 == 0 {
                        let group = vec![all, args().scalar(to)];
                        orch.submit_group_with(add, group, config(), &options)?;
                    } else {
                        orch.submit_with(add, all, config(), &options)?;
                    }
                }
                Ok(())
            })
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.next() % 3000));
        let pids = exec.worker_pids();
        let pid = pids[random.below(pids.len())];
        if pid > 1 {
            kill(pid as i32, libc::SIGSTOP);
            stops += 1;
        }
        assert!(handle.wait(Some(Duration::from_secs(20))).unwrap(), "after {stops} stops");
    }
    println!("{stops} stops, {:?}", exec.stats());
}
