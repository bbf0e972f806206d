//! Building, idling and dropping: what an executor costs while it is there, and that nothing is
//! left when it is not.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use mailring::{Error, Executor, FailureKind, Mode, TaskOptions, WorkerId, WorkerKind};
use testkit::{
    BOTH, Done, Gate, args, at, atom, await_value, bodies, cell, config, cpu_time, eventually,
    failed_as, is_alive, kill, open_fds, parent_of, small,
};

fn add_one(mode: Mode, workers: usize) -> u64 {
    let mut builder = small(mode, workers);
    let add = builder.register("add", bodies::add_one).unwrap();
    let exec = builder.build().unwrap();
    let sum = exec.buffer::<u64>(1).unwrap();
    exec.run(|orch| orch.submit(add, args().inout(sum.tensor()), config()).map(drop)).unwrap();
    sum.get(0).unwrap()
}

/// A thread that takes the allocator's locks and that of the standard output all the time: a child
/// that needed one of them before it is ready would hang.
pub(crate) fn builds_beside_a_busy_thread() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            let mut lines = 0u64;
            while !stop.load(Relaxed) {
                hoard.push(vec![1; 1 + hoard.len() * 37 % 5000]);
                if hoard.len() > 200 {
                    hoard.clear();
                    lines += 1;
                    if lines.is_multiple_of(2048) {
                        println!("line {lines}");
                    }
                }
            }
        });
        for _ in 0..200 {
            let mut builder = small(Mode::Process, 1);
            let add = builder
                .register("add", |args, _, _| {
                    let text = format!("{:?}", args.tensors()); // allocates in the worker, too
                    args.set::<u64>(0, 0, text.len() as u64)
                })
                .unwrap();
            let exec = builder.build().unwrap();
            let sum = exec.buffer::<u64>(1).unwrap();
            exec.run(|orch| orch.submit(add, args().inout(sum.tensor()), config()).map(drop))
                .unwrap();
            assert!(sum.get(0).unwrap() > 10);
        }
        stop.store(true, Relaxed);
    });
}

pub(crate) fn descriptors_are_given_back() {
    for mode in BOTH {
        assert_eq!(add_one(mode, 2), 1);
        let before = open_fds();
        for _ in 0..100 {
            assert_eq!(add_one(mode, 2), 1);
        }
        assert_eq!(open_fds(), before, "{mode:?}");
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

pub(crate) fn threads_are_given_back() {
    for mode in BOTH {
        for _ in 0..20 {
            assert_eq!(add_one(mode, 3), 1);
        }
        // A joined thread may still be listed for a moment.
        eventually("one thread", || threads() == 1);
    }
}

fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("mailring")).filter(|l| l.contains("memfd")).count()
}

pub(crate) fn mappings_are_given_back() {
    for mode in BOTH {
        for _ in 0..20 {
            assert_eq!(add_one(mode, 1), 1);
            assert_eq!(mappings(), 0);
        }
    }
}

/// An idle executor wakes up once a second a sleeper: far below a hundredth of a processor.
pub(crate) fn idle_costs_nothing() {
    for mode in BOTH {
        let mut builder = small(mode, 4).sub_workers(2);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        exec.run(|orch| (0..100).try_for_each(|_| orch.submit(nop, args(), config()).map(drop)))
            .unwrap();
        let mut pids: Vec<u32> = exec.worker_pids().into_iter().filter(|&pid| pid != 0).collect();
        if let Some(&first) = pids.first() {
            pids.push(parent_of(first as i32) as u32);
        }
        pids.push(std::process::id());
        std::thread::sleep(Duration::from_millis(100));
        let spent = |pids: &[u32]| pids.iter().map(|&pid| cpu_time(pid)).sum::<Duration>();
        let before = spent(&pids);
        std::thread::sleep(Duration::from_secs(3));
        let idle = spent(&pids) - before;
        assert!(idle <= Duration::from_millis(30), "{mode:?}: {idle:?} in 3 s");
    }
}

/// What runs sees `cancelled`; what has not begun never does; dropping waits for neither.
pub(crate) fn dropped_with_running_tasks() {
    for mode in BOTH {
        let mut builder = small(mode, 2).grace(Duration::from_secs(10));
        let patient = builder.register("patient", bodies::patient).unwrap();
        let exec = builder.build().unwrap();
        let state = Gate::new(&exec);
        let ((), handle) = exec
            .submit_run(|orch| {
                (0..20).try_for_each(|_| orch.submit(patient, state.args(), config()).map(drop))
            })
            .unwrap();
        state.await_begun(2);
        assert!(!handle.done());
        let since = Instant::now();
        drop(exec);
        assert!(since.elapsed() < Duration::from_secs(8), "{mode:?}: {:?}", since.elapsed());
        // Buffers and handles outlive the executor.
        assert_eq!((state.begun(), state.told()), (2, 2));
        assert!(handle.done());
        failed_as(handle.wait(None), FailureKind::Cancelled);
    }
}

pub(crate) fn dropped_with_a_body_that_will_not_stop() {
    let mut builder = small(Mode::Process, 2).grace(Duration::from_millis(100));
    let deaf = builder.register("deaf", bodies::deaf).unwrap();
    let exec = builder.build().unwrap();
    let state = Gate::new(&exec);
    let ((), handle) =
        exec.submit_run(|orch| orch.submit(deaf, state.args(), config()).map(drop)).unwrap();
    state.await_begun(1);
    let workers = exec.worker_pids();
    let since = Instant::now();
    drop(exec);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(!workers.iter().any(|&pid| is_alive(pid as i32)));
    let told = handle.wait(None);
    assert!(matches!(told, Err(Error::Failed(_) | Error::Task(_))), "{told:?}");
}

pub(crate) fn thread_mode_drop_waits_for_bodies() {
    let mut builder = small(Mode::Thread, 1).grace(Duration::from_millis(10));
    let slow = builder
        .register("slow", |args, _, _| {
            atom(&args, 0, 0).store(1, SeqCst);
            std::thread::sleep(Duration::from_millis(300));
            atom(&args, 0, 0).store(2, SeqCst);
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let state = exec.buffer::<u64>(1).unwrap();
    let _ = exec
        .submit_run(|orch| orch.submit(slow, args().no_dep(state.tensor()), config()).map(drop))
        .unwrap();
    eventually("it began", || cell(&state, 0).load(SeqCst) >= 1);
    drop(exec);
    assert_eq!(state.get(0).unwrap(), 2, "a thread cannot be ended, so its body is through");
}

/// Four bodies that each wait for the other three.
pub(crate) fn workers_run_at_the_same_time() {
    for mode in BOTH {
        let mut builder = small(mode, 4);
        let meet = builder
            .register("meet", |args, _, _| {
                atom(&args, 0, 0).fetch_add(1, SeqCst);
                if await_value(atom(&args, 0, 0), 4) { Ok(()) } else { Err("nobody came") }
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        exec.run(|orch| {
            (0..4).try_for_each(|_| {
                orch.submit(meet, args().no_dep(count.tensor()), config()).map(drop)
            })
        })
        .unwrap();
        assert_eq!(count.get(0).unwrap(), 4);
    }
}

pub(crate) fn two_executors_side_by_side() {
    for mode in BOTH {
        let make = |step: u64| -> (Executor, mailring::Callable) {
            let mut builder = small(mode, 2);
            let add = builder
                .register("add", move |args, _, _| {
                    args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + step)
                })
                .unwrap();
            (builder.build().unwrap(), add)
        };
        let (one, two) = (make(1), make(1000));
        let sums = [one.0.buffer::<u64>(1).unwrap(), two.0.buffer::<u64>(1).unwrap()];
        std::thread::scope(|scope| {
            for ((exec, add), sum) in [&one, &two].into_iter().zip(&sums) {
                scope.spawn(move || {
                    exec.run(|orch| {
                        (0..500).try_for_each(|_| {
                            orch.submit(*add, args().inout(sum.tensor()), config()).map(drop)
                        })
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!((sums[0].get(0).unwrap(), sums[1].get(0).unwrap()), (500, 500_000));
        // One of them cannot use the memory of the other.
        let foreign = one
            .0
            .run(|orch| orch.submit(one.1, args().inout(sums[1].tensor()), config()).map(drop));
        assert!(foreign.unwrap_err().to_string().contains("no buffer of this executor"));
        drop(one);
        two.0
            .run(|orch| orch.submit(two.1, args().inout(sums[1].tensor()), config()).map(drop))
            .unwrap();
    }
}

/// What a task has started ends when its worker dies, in whatever session it is; what others have
/// started does not.
pub(crate) fn subprocesses_end_with_their_worker() {
    use std::os::unix::process::CommandExt;
    let mut builder = small(Mode::Process, 2);
    let start = builder
        .register("start", |args, _, _| {
            for (at, own_session) in [false, true].into_iter().enumerate() {
                let mut command = std::process::Command::new("sleep");
                if own_session {
                    // SAFETY: one system call, which changes nothing but the child.
                    unsafe { command.pre_exec(|| Ok(_ = libc::setsid())) };
                }
                let child = command.arg("100").spawn()?;
                atom(&args, 0, at).store(u64::from(child.id()), SeqCst);
            }
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let pids = [0, 1].map(|worker| {
        let pids = exec.buffer::<u64>(2).unwrap();
        let on = TaskOptions::new().on(WorkerId(worker));
        let list = args().no_dep(pids.tensor());
        exec.run(|orch| orch.submit_with(start, list, config(), &on).map(drop)).unwrap();
        [0, 1].map(|at| pids.get(at).unwrap() as i32)
    });
    assert!(pids.as_flattened().iter().all(|&pid| is_alive(pid)));
    kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
    eventually("its children are gone", || !pids[0].iter().any(|&pid| is_alive(pid)));
    eventually("it is replaced", || exec.stats().respawns == 1);
    assert!(pids[1].iter().all(|&pid| is_alive(pid)), "of the other worker");
}

pub(crate) fn stats_count() {
    for mode in BOTH {
        let mut builder = small(mode, 2).sub_workers(1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        assert_eq!(exec.workers(WorkerKind::NextLevel), 2);
        assert_eq!(exec.workers(WorkerKind::Sub), 1);
        let pids = exec.worker_pids();
        assert_eq!(pids.len(), 3);
        assert_eq!(pids.iter().all(|&pid| pid == 0), mode == Mode::Thread);
        let stats = exec.stats();
        assert_eq!((stats.submitted, stats.bodies, stats.deaths), (0, 0, 0));
        for round in 1..=3 {
            exec.run(|orch| {
                for _ in 0..50 {
                    orch.submit(nop, args(), config())?;
                    orch.submit_sub(nop, args())?;
                }
                orch.submit_group(nop, vec![args(), args()], config())?;
                Ok(())
            })
            .unwrap();
            let stats = exec.stats();
            assert_eq!(stats.submitted, round * 101);
            eventually("bodies counted", || exec.stats().bodies == round * 102);
            assert_eq!((stats.deaths, stats.respawns, stats.kills), (0, 0, 0));
        }
        eventually("asleep", || exec.stats().sleeps >= 3);
        assert!((0..3).all(|worker| !exec.is_busy(WorkerId(worker))));
    }
}

pub(crate) fn arena_name_in_maps() {
    let mut builder = small(Mode::Process, 1).name("orchard-7");
    let look = builder
        .register("look", |args, _, _| {
            let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
            args.set::<u64>(0, 0, u64::from(maps.contains("orchard-7")))
        })
        .unwrap();
    let exec = builder.build().unwrap();
    assert!(fs::read_to_string("/proc/self/maps").unwrap().contains("orchard-7"));
    let seen = exec.buffer::<u64>(1).unwrap();
    let plain = TaskOptions::new();
    exec.run(|orch| {
        orch.submit_with(look, args().output(at(&seen, 0)), config(), &plain).map(drop)
    })
    .unwrap();
    assert_eq!(seen.get(0).unwrap(), 1);
}

/// The run that is open by hand has the orchestrator; its tasks are told all the same.
pub(crate) fn dropped_before_its_open_run() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let stay = builder.register("stay", |_, _, context| -> Done {
            while !context.cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let stay = stay.unwrap();
        let exec = builder.build().unwrap();
        let mut run = exec.begin().unwrap();
        for _ in 0..100 {
            run.submit(stay, args(), config()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        let began = Instant::now();
        drop(exec);
        assert!(began.elapsed() < Duration::from_secs(10));
        let refused = run.submit(stay, args(), config()).unwrap_err();
        assert!(matches!(refused, Error::Failed(_)), "{refused}");
        let ended = run.end();
        failed_as(ended, FailureKind::Cancelled);
    }
}
