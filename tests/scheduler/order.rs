//! Who runs when, and where.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{
    Buffer, Callable, Error, Executor, Mode, Orchestrator, Priority, TaskOptions, WaitStrategy,
    WorkerId, WorkerKind,
};
use testkit::{
    BOTH, Done, Gate, args, at, atom, await_value, bodies, cell, config, eventually, small,
};

/// An executor whose tasks write the number in their first scalar behind what was written before.
struct Log {
    exec: Executor,
    note: Callable,
    gate: Callable,
    /// Element 0: how many; then the numbers.
    lines: Buffer<u64>,
    state: Gate,
}

impl Log {
    fn new(mode: Mode, workers: usize, sub: usize) -> Self {
        let mut builder = small(mode, workers).sub_workers(sub);
        let note = builder
            .register("note", |args, _, _| {
                let line = atom(&args, 0, 0).fetch_add(1, SeqCst) + 1;
                atom(&args, 0, line as usize).store(args.scalar(0)?, SeqCst);
                Done::Ok(())
            })
            .unwrap();
        let gate = builder.register("gate", bodies::gate).unwrap();
        let exec = builder.build().unwrap();
        let (lines, state) = (exec.buffer(1000).unwrap(), Gate::new(&exec));
        Self { exec, note, gate, lines, state }
    }

    fn note(&self, orch: &mut Orchestrator, n: u64, options: &TaskOptions) -> Result<(), Error> {
        let all = args().no_dep(self.lines.tensor()).scalar(n);
        orch.submit_with(self.note, all, config(), options).map(drop)
    }

    fn block(&self, orch: &mut Orchestrator, options: &TaskOptions) -> Result<(), Error> {
        let begun = self.state.begun();
        orch.submit_with(self.gate, self.state.args(), config(), options)?;
        self.state.await_begun(begun + 1);
        Ok(())
    }

    fn open(&self) {
        self.state.open();
    }

    fn seen(&self) -> Vec<u64> {
        let line = |index| cell(&self.lines, index).load(SeqCst);
        (1..=line(0) as usize).map(line).collect()
    }
}

pub(crate) fn independent_tasks_in_submission_order() {
    for mode in BOTH {
        let log = Log::new(mode, 1, 0);
        log.exec
            .run(|orch| (0..200).try_for_each(|n| log.note(orch, n, &TaskOptions::new())))
            .unwrap();
        assert_eq!(log.seen(), (0..200).collect::<Vec<_>>());
    }
}

/// The producer takes its time, so that a consumer that began early would read what was before.
pub(crate) fn a_dependent_comes_after_its_producer() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let slow = builder
            .register("slow", |args, _, _| {
                std::thread::sleep(Duration::from_millis(20));
                args.set::<u64>(0, 0, 7)
            })
            .unwrap();
        let copy = builder
            .register("copy", |args, _, _| args.set::<u64>(1, 0, args.get::<u64>(0, 0)?))
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(8).unwrap();
        exec.run(|orch| {
            orch.submit(slow, args().output(at(&data, 0)), config())?;
            for i in 1..8 {
                orch.submit(copy, args().input(at(&data, i / 2)).output(at(&data, i)), config())?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(data.to_vec().unwrap(), [7; 8]);
    }
}

/// Producers that complete between the steps of their consumer's submit neither lose it
/// nor let it go early. The bodies are empty, so they do complete then.
pub(crate) fn producers_that_finish_during_wiring() {
    for (mode, rounds) in [(Mode::Process, 8_000u64), (Mode::Thread, 8_000)] {
        let mut builder = small(mode, 2);
        let put = builder.register("put", bodies::put).unwrap();
        let sum = builder
            .register("sum", |args, _, _| {
                let sum = args.get::<u64>(0, 0)? + args.get::<u64>(1, 0)?;
                assert_eq!(sum, 2 * args.scalar(0)? + 1, "one producer too early");
                args.set(2, 0, sum)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(3).unwrap();
        exec.run(|orch| {
            for round in 0..rounds {
                orch.submit(put, args().output(at(&data, 0)).scalar(round), config())?;
                orch.submit(put, args().output(at(&data, 1)).scalar(round + 1), config())?;
                let all = args().input(at(&data, 0)).input(at(&data, 1)).output(at(&data, 2));
                let last = orch.submit(sum, all.scalar(round), config())?;
                if round % 16 == 0 {
                    orch.wait(&last)?; // an empty window, now and then
                }
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(data.get(2).unwrap(), 2 * rounds - 1);
    }
}

pub(crate) fn urgent_goes_before_normal() {
    for mode in BOTH {
        let log = Log::new(mode, 1, 0);
        let normal = TaskOptions::new();
        let urgent = TaskOptions::new().priority(Priority::Urgent);
        log.exec
            .run(|orch| {
                log.block(orch, &normal)?;
                (0..20).try_for_each(|n| log.note(orch, n, &normal))?;
                (100..105).try_for_each(|n| log.note(orch, n, &urgent))?;
                log.open();
                Ok(())
            })
            .unwrap();
        let seen = log.seen();
        let mut first = seen[..5].to_vec();
        first.sort_unstable();
        assert_eq!(first, [100, 101, 102, 103, 104], "{mode:?}: {seen:?}");
        assert_eq!(seen[5..], (0..20).collect::<Vec<_>>());
    }
}

pub(crate) fn pinned_to_a_worker() {
    for mode in BOTH {
        let mut builder = small(mode, 3).sub_workers(2);
        let whoami = builder
            .register("whoami", |args, _, context| {
                args.set::<u64>(0, 0, u64::from(context.worker().0))
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let seen = exec.buffer::<u64>(300).unwrap();
        exec.run(|orch| {
            for i in 0..300 {
                let worker = WorkerId(i as u16 % 5);
                let kind = if worker.0 < 3 { TaskOptions::new() } else { TaskOptions::sub() };
                let all = args().output(at(&seen, i));
                orch.submit_with(whoami, all, config(), &kind.on(worker))?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.to_vec().unwrap(), (0..300).map(|i| i % 5).collect::<Vec<u64>>());
        exec.run(|orch| {
            for (worker, options) in
                [(3, TaskOptions::new()), (0, TaskOptions::sub()), (9, TaskOptions::new())]
            {
                let there = options.on(WorkerId(worker));
                let refused = orch.submit_with(whoami, args(), config(), &there);
                assert!(matches!(refused, Err(Error::WrongWorker { .. })), "{refused:?}");
            }
            Ok(())
        })
        .unwrap();
    }
}

/// What waits for one worker does not keep tasks from the others.
pub(crate) fn a_blocked_pinned_task_blocks_nobody() {
    for mode in BOTH {
        let log = Log::new(mode, 2, 0);
        let first = TaskOptions::new().on(WorkerId(0));
        log.exec
            .run(|orch| {
                log.block(orch, &first)?;
                log.note(orch, 1, &first)?;
                (10..60).try_for_each(|n| log.note(orch, n, &TaskOptions::new()))?;
                eventually("the others are through", || log.seen().len() == 50);
                assert!(!log.seen().contains(&1));
                log.open();
                Ok(())
            })
            .unwrap();
        assert_eq!(log.seen().last(), Some(&1));
    }
}

/// A blocked pool does not block the other one, in either direction.
pub(crate) fn pools_do_not_block_each_other() {
    for mode in BOTH {
        for (blocked, free) in
            [(TaskOptions::new(), TaskOptions::sub()), (TaskOptions::sub(), TaskOptions::new())]
        {
            let log = Log::new(mode, 1, 1);
            log.exec
                .run(|orch| {
                    log.block(orch, &blocked)?;
                    (0..20).try_for_each(|n| log.note(orch, n, &blocked))?;
                    (100..120).try_for_each(|n| log.note(orch, n, &free))?;
                    eventually("the free pool is through", || log.seen().len() == 20);
                    assert!(log.seen().iter().all(|&n| n >= 100));
                    log.open();
                    Ok(())
                })
                .unwrap();
            assert_eq!(log.seen().len(), 40);
        }
    }
}

pub(crate) fn wait_inside_the_closure() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let add = builder.register("add", bodies::add_one).unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(1).unwrap();
        let stale = exec
            .run(|orch| {
                let mut last = None;
                for n in 1..=100 {
                    let handle = orch.submit(add, args().inout(data.tensor()), config())?;
                    orch.wait(&handle)?;
                    assert_eq!(data.get(0).unwrap(), n);
                    orch.wait(&handle)?; // once more is not a harm
                    last = Some(handle);
                }
                Ok(last.unwrap())
            })
            .unwrap();
        let error = exec.run(|orch| orch.wait(&stale)).unwrap_err();
        assert!(matches!(error, Error::Handle(_)), "{error}");
    }
}

pub(crate) fn every_wait_strategy() {
    for wait in [WaitStrategy::Spin, WaitStrategy::Adaptive, WaitStrategy::Park] {
        for mode in BOTH {
            let mut builder = small(mode, 2).sub_workers(1).wait_strategy(wait);
            let add = builder.register("add", bodies::add_one).unwrap();
            let exec = builder.build().unwrap();
            let data = exec.buffer::<u64>(4).unwrap();
            for _ in 0..5 {
                exec.run(|orch| {
                    for i in 0..200 {
                        let all = args().inout(at(&data, i % 4));
                        if i % 5 == 0 {
                            let handle = orch.submit_sub(add, all)?;
                            orch.wait(&handle)?;
                        } else {
                            orch.submit(add, all, config())?;
                        }
                    }
                    Ok(())
                })
                .unwrap();
                std::thread::sleep(Duration::from_millis(3)); // let them sleep
            }
            assert_eq!(data.to_vec().unwrap(), [250; 4], "{wait:?} {mode:?}");
        }
    }
}

/// No tick lies between a submit and its start, nor between an end and its consequences.
/// The quarter of all round trips that went best leaves out what a loaded machine does to us, and
/// it may do so nine times out of ten.
pub(crate) fn a_task_starts_at_once() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let quarter = || {
            let mut times: Vec<Duration> = (0..400)
                .map(|_| {
                    let began = Instant::now();
                    exec.run(|orch| orch.submit(nop, args(), config()).map(drop)).unwrap();
                    began.elapsed()
                })
                .collect();
            times.sort_unstable();
            times[100]
        };
        let best = (0..10).map(|_| quarter()).find(|&time| time < Duration::from_micros(400));
        assert!(best.is_some(), "{mode:?}: never below 400 us");
    }
}

/// A sleeper that nobody wakes looks again after a second, so a lost wake-up shows as a round trip
/// of that length. One such is put down to the machine.
pub(crate) fn no_wake_up_is_lost() {
    for mode in BOTH {
        for workers in [1, 3] {
            let mut builder = small(mode, workers).wait_strategy(WaitStrategy::Park);
            let add = builder.register("add", bodies::add_one).unwrap();
            let exec = builder.build().unwrap();
            let data = exec.buffer::<u64>(2).unwrap();
            let mut slow = 0;
            for round in 0..8000 {
                let began = Instant::now();
                exec.run(|orch| {
                    for i in 0..1 + round % 3 {
                        orch.submit(add, args().inout(at(&data, i % 2)), config())?;
                    }
                    Ok(())
                })
                .unwrap();
                slow += u32::from(began.elapsed() > Duration::from_millis(900));
            }
            assert!(slow <= 1, "{mode:?}, {workers} workers: {slow} of 8000 took a second");
        }
    }
}

pub(crate) fn pinned_processors() {
    for mode in BOTH {
        let mut builder = small(mode, 2).pin_cpus(true);
        let count = builder
            .register("count", |args, _, _| {
                // SAFETY: the set is a live local, all zeros is an empty one.
                let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
                // SAFETY: writes as many bytes as it is told.
                unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
                // SAFETY: looks at the set.
                let cpus = unsafe { libc::CPU_COUNT(&set) };
                args.set(0, 0, cpus as u64)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let seen = exec.buffer::<u64>(2).unwrap();
        exec.run(|orch| {
            for worker in 0..2 {
                let there = TaskOptions::new().on(WorkerId(worker));
                let all = args().output(at(&seen, usize::from(worker)));
                orch.submit_with(count, all, config(), &there)?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.to_vec().unwrap(), [1, 1]);
        assert_eq!(exec.workers(WorkerKind::NextLevel), 2);
    }
}

/// Four readers at the same time; the writer behind them waits for all.
pub(crate) fn readers_share_writers_wait() {
    for mode in BOTH {
        let mut builder = small(mode, 4);
        let meet = builder
            .register("meet", |args, _, _| {
                atom(&args, 1, 0).fetch_add(1, SeqCst);
                let came = await_value(atom(&args, 1, 0), 4);
                std::thread::sleep(Duration::from_millis(args.scalar(0)?));
                assert_eq!(args.get::<u64>(0, 0)?, 0, "the writer was too early");
                atom(&args, 1, 1).fetch_add(1, SeqCst);
                assert!(came, "readers wait for each other");
                Done::Ok(())
            })
            .unwrap();
        let write = builder
            .register("write", |args, _, _| {
                assert_eq!(atom(&args, 1, 1).load(SeqCst), 4, "a reader is still at it");
                args.set::<u64>(0, 0, 1)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(1).unwrap();
        let count = exec.buffer::<u64>(2).unwrap();
        exec.run(|orch| {
            for nap in [0, 1, 10, 30] {
                let all = args().input(data.tensor()).no_dep(count.tensor()).scalar(nap);
                orch.submit(meet, all, config())?;
            }
            orch.submit(write, args().output(data.tensor()).no_dep(count.tensor()), config())?;
            Ok(())
        })
        .unwrap();
        assert_eq!(data.get(0).unwrap(), 1);
    }
}

/// Everything about a call arrives as it was said, small or spilled into the payload ring.
pub(crate) fn config_and_scalars_arrive() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let check = builder
            .register("check", |args, config, context| {
                let (tensors, scalars) = (args.tensors().len(), args.scalars().len());
                for (i, tensor) in args.tensors().iter().enumerate() {
                    assert_eq!(tensor.shape(), [i as u32 + 1]);
                }
                for (i, &scalar) in args.scalars().iter().enumerate() {
                    assert_eq!(scalar, (i * i) as u64);
                }
                assert_eq!((config.block_dim, config.enable_profiling), (-3, 1));
                assert_eq!(context.attempt(), 1);
                assert!(context.group().is_none() && !context.cancelled());
                args.set(0, 0, (tensors * 1000 + scalars) as u64)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(200).unwrap();
        let mut config = config();
        (config.block_dim, config.enable_profiling) = (-3, 1);
        for (tensors, scalars) in
            [(1, 0), (1, 3), (2, 7), (3, 1), (5, 2), (5, 3), (6, 0), (16, 128), (100, 0), (1, 5000)]
        {
            exec.run(|orch| {
                let mut all = args();
                for i in 0..tensors {
                    let part = data.view(0, &[i + 1])?;
                    all = if i == 0 { all.inout(part) } else { all.input(part) };
                }
                for i in 0..scalars {
                    all = all.scalar(i * i);
                }
                orch.submit(check, all, config).map(drop)
            })
            .unwrap();
            assert_eq!(data.get(0).unwrap(), u64::from(tensors) * 1000 + scalars);
        }
    }
}
