//! Whom the tasks of a replay wait for, and who waits for them.

use std::time::Duration;

use mailring::abi::AbiError;
use mailring::{
    Buffer, Callable, Error, Executor, Mode, Orchestrator, Priority, Recording, TaskOptions,
    WorkerId,
};
use testkit::{BOTH, Gate, args, at, bodies, config, small};

/// `x = x * a + b` on the first element: no two of them can change places unseen.
pub(crate) fn affine(args: &mailring::abi::TaskArgsView<'_>) -> Result<(), AbiError> {
    let x = args.get::<u64>(0, 0)?;
    let next = x.wrapping_mul(args.scalar(0)?).wrapping_add(args.scalar(1)?);
    args.set::<u64>(0, 0, next)
}

pub(crate) struct Kit {
    pub(crate) exec: Executor,
    pub(crate) affine: Callable,
    pub(crate) add: Callable,
    pub(crate) sum: Callable,
    pub(crate) gate: Callable,
    pub(crate) put: Callable,
    pub(crate) x: Buffer<u64>,
}

pub(crate) fn kit(mode: Mode, window: usize) -> Kit {
    let mut builder = small(mode, 3).slot_window(window).import_bytes(1 << 20);
    let affine = builder.register("affine", |args, _, _| affine(&args)).unwrap();
    let add = builder.register("add", bodies::add_one).unwrap();
    let sum = builder.register("sum", bodies::sum).unwrap();
    let gate = builder.register("gate", bodies::gate).unwrap();
    let put = builder.register("put", bodies::put).unwrap();
    let exec = builder.build().unwrap();
    let x = exec.buffer(64).unwrap();
    Kit { exec, affine, add, sum, gate, put, x }
}

impl Kit {
    pub(crate) fn step(&self, orch: &mut Orchestrator, a: u64, b: u64) -> Result<(), Error> {
        let args = args().inout(at(&self.x, 0)).scalar(a).scalar(b);
        orch.submit(self.affine, args, config()).map(drop)
    }

    /// Two steps on the first element.
    pub(crate) fn two_steps(&self) -> Recording {
        let recorded = self.exec.record(|orch| {
            self.step(orch, 3, 1)?;
            self.step(orch, 5, 2)
        });
        self.x.set(0, 1).unwrap();
        recorded.unwrap().1
    }
}

fn twice(x: u64) -> u64 {
    (x * 3 + 1).wrapping_mul(5).wrapping_add(2)
}

/// Holds the first element until the gate is opened.
fn hold(kit: &Kit, gate: &Gate, orch: &mut Orchestrator) -> Result<(), Error> {
    let args = args().inout(at(&kit.x, 0)).no_dep(gate.tensor());
    orch.submit(kit.gate, args, config()).map(drop)
}

pub(crate) fn after_what_came_before() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let recording = kit.two_steps();
        let gate = Gate::new(&kit.exec);
        let (_, run) = kit
            .exec
            .submit_run(|orch| {
                hold(&kit, &gate, orch)?;
                kit.step(orch, 7, 3)?;
                orch.replay(&recording, &recording.bindings())
            })
            .unwrap();
        gate.await_begun(1);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!run.done());
        gate.open();
        run.wait(None).unwrap();
        assert_eq!(kit.x.get(0).unwrap(), twice(7 + 3), "{mode:?}");
    }
}

pub(crate) fn before_what_comes_after() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let recording = kit.two_steps();
        for round in 0..100 {
            kit.x.set(0, round).unwrap();
            kit.exec
                .run(|orch| {
                    orch.replay(&recording, &recording.bindings())?;
                    kit.step(orch, 7, 3)
                })
                .unwrap();
            assert_eq!(kit.x.get(0).unwrap(), twice(round) * 7 + 3, "{mode:?}");
        }
    }
}

/// A task outside reads what the replay overwrites, and the replay reads what a task outside overwrites.
pub(crate) fn readers_outside_are_waited_for() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let (from, to) = (at(&kit.x, 0), at(&kit.x, 1));
        let (_, recording) = kit
            .exec
            .record(|orch| {
                let copy = args().input(from).output_existing(to);
                orch.submit(kit.sum, copy, config())?;
                orch.submit(kit.put, args().output_existing(from).scalar(7), config())
            })
            .unwrap();
        let bindings = recording.bindings();
        kit.x.set(0, 5).unwrap();
        let gate = Gate::new(&kit.exec);
        let (_, run) = kit
            .exec
            .submit_run(|orch| {
                // Both are held open; the copies of the replay must see 5 and then 9.
                let held = args().input(from).input(to).no_dep(gate.tensor());
                orch.submit(kit.gate, held, config())?;
                orch.replay(&recording, &bindings)?;
                let other = args().input(to).output_existing(at(&kit.x, 2));
                orch.submit(kit.sum, other, config())?;
                orch.submit(kit.put, args().output_existing(from).scalar(9), config())?;
                orch.replay(&recording, &bindings)
            })
            .unwrap();
        gate.await_begun(1);
        std::thread::sleep(Duration::from_millis(20));
        gate.open();
        run.wait(None).unwrap();
        assert_eq!(kit.x.to_vec().unwrap()[..3], [7, 9, 5], "{mode:?}");
    }
}

pub(crate) fn replays_follow_each_other() {
    for mode in BOTH {
        let kit = kit(mode, 16);
        let recording = kit.two_steps();
        let bindings = recording.bindings();
        let replays = |orch: &mut Orchestrator| {
            (0..500).try_for_each(|_| orch.replay(&recording, &bindings).map(drop))
        };
        kit.exec.run(replays).unwrap();
        let expected = (0..500).fold(1u64, |x, _| x.wrapping_mul(15).wrapping_add(7));
        assert_eq!(kit.x.get(0).unwrap(), expected, "{mode:?}");
    }
}

pub(crate) fn across_runs() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let recording = kit.two_steps();
        let bindings = recording.bindings();
        let mut runs = Vec::new();
        for _ in 0..100 {
            let run = |orch: &mut Orchestrator| orch.replay(&recording, &bindings);
            runs.push(kit.exec.submit_run(run).unwrap().1);
        }
        kit.exec.replay(&recording, &bindings).unwrap();
        runs.iter().for_each(|run| assert!(run.wait(None).unwrap()));
        let expected = (0..101).fold(1u64, |x, _| x.wrapping_mul(15).wrapping_add(7));
        assert_eq!(kit.x.get(0).unwrap(), expected, "{mode:?}");
    }
}

pub(crate) fn larger_than_the_window() {
    for mode in BOTH {
        let kit = kit(mode, 16);
        let (_, recording) =
            kit.exec.record(|orch| (0..1000).try_for_each(|step| kit.step(orch, 3, step))).unwrap();
        assert_eq!(recording.len(), 1000);
        kit.x.set(0, 1).unwrap();
        kit.exec.replay(&recording, &recording.bindings()).unwrap();
        let step = |x: u64, step| x.wrapping_mul(3).wrapping_add(step);
        assert_eq!(kit.x.get(0).unwrap(), (0..1000).fold(1, step), "{mode:?}");
    }
}

/// Fan-in nodes take numbers in the middle of a replay.
pub(crate) fn more_producers_than_bits() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let many = kit.exec.buffer::<u64>(120).unwrap();
        let (sums, recording) = kit
            .exec
            .record(|orch| {
                let mut sums = Vec::new();
                for round in 0..3 {
                    for i in 0..120 {
                        let one = args().inout(at(&many, i));
                        orch.submit(kit.add, one, config())?;
                    }
                    let out = at(&kit.x, round);
                    let sum = args().input(many.tensor()).output_existing(out);
                    sums.push(orch.submit(kit.sum, sum, config())?);
                }
                Ok(sums)
            })
            .unwrap();
        let last = recording.index(&sums[2]).unwrap();
        assert_eq!(last, 3 * 121 - 1);
        for round in 1..20 {
            kit.exec
                .run(|orch| {
                    let replayed = orch.replay(&recording, &recording.bindings())?;
                    orch.wait(&replayed.handle(last)?)
                })
                .unwrap();
            let sums = [1, 2, 3].map(|part| 120 * (3 * round + part));
            assert_eq!(kit.x.to_vec().unwrap()[..3], sums, "{mode:?}");
            assert_eq!(many.get(119).unwrap(), 3 * round + 3);
        }
    }
}

pub(crate) fn a_task_of_hundreds_of_outside_producers() {
    for mode in BOTH {
        let kit = kit(mode, 1024);
        let many = kit.exec.buffer::<u64>(300).unwrap();
        let (_, recording) = kit
            .exec
            .record(|orch| {
                let sum = args().input(many.tensor()).output_existing(at(&kit.x, 0));
                orch.submit(kit.sum, sum, config())?;
                orch.submit(kit.add, args().inout(at(&kit.x, 0)), config())
            })
            .unwrap();
        for round in 1..10 {
            kit.exec
                .run(|orch| {
                    for i in 0..300 {
                        orch.submit(kit.add, args().inout(at(&many, i)), config())?;
                    }
                    orch.replay(&recording, &recording.bindings())?;
                    orch.submit(kit.add, args().inout(at(&kit.x, 0)), config())
                })
                .unwrap();
            assert_eq!(kit.x.get(0).unwrap(), 300 * round + 2, "{mode:?}");
        }
    }
}

pub(crate) fn after_another_task() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let gate = Gate::new(&kit.exec);
        gate.open();
        let (_, recording) = kit
            .exec
            .record(|orch| {
                let first = orch.submit(kit.gate, gate.args(), config())?;
                let options = TaskOptions::new().after(&first);
                let put = args().no_dep(at(&kit.x, 0)).scalar(1);
                orch.submit_with(kit.put, put, config(), &options)
            })
            .unwrap();
        kit.x.set(0, 0).unwrap();
        gate.close();
        let bindings = recording.bindings();
        let run = |orch: &mut Orchestrator| orch.replay(&recording, &bindings);
        let (_, run) = kit.exec.submit_run(run).unwrap();
        gate.await_begun(2);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!run.done());
        gate.open();
        run.wait(None).unwrap();
        assert_eq!(kit.x.get(0).unwrap(), 1, "{mode:?}");
    }
}

pub(crate) fn handles_of_a_replay() {
    let kit = kit(Mode::Process, 256);
    let (first, recording) = kit
        .exec
        .record(|orch| {
            let first = orch.submit(kit.add, args().inout(at(&kit.x, 0)), config())?;
            orch.submit(kit.add, args().inout(at(&kit.x, 1)), config())?;
            Ok(first)
        })
        .unwrap();
    assert_eq!(recording.index(&first).unwrap(), 0);
    kit.exec
        .run(|orch| {
            let replayed = orch.replay(&recording, &recording.bindings())?;
            let again = replayed.handle(0)?;
            assert!(again.id() > first.id());
            assert!(recording.index(&again).is_err());
            orch.wait(&again)?;
            // And a task may come after it.
            let options = TaskOptions::new().after(&replayed.handle(1)?);
            let put = args().no_dep(at(&kit.x, 2)).scalar(9);
            orch.submit_with(kit.put, put, config(), &options)?;
            assert!(replayed.handle(2).is_err());
            Ok(())
        })
        .unwrap();
    assert_eq!(kit.x.to_vec().unwrap()[..3], [2, 2, 9]);
}

pub(crate) fn groups_meet() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let meet = builder.register("meet", bodies::meet).unwrap();
        let exec = builder.build().unwrap();
        let x = exec.buffer::<u64>(1).unwrap();
        let (_, recording) = exec
            .record(|orch| {
                let member = || args().inout(x.tensor());
                orch.submit_group(meet, vec![member(), member(), member()], config())?;
                orch.submit_group(meet, vec![member(), member()], config())
            })
            .unwrap();
        for _ in 0..20 {
            exec.replay(&recording, &recording.bindings()).unwrap();
        }
        assert_eq!(x.get(0).unwrap(), 21 * 5, "{mode:?}");
    }
}

/// Kind, worker, priority, deadline and name of a task are those that were recorded.
pub(crate) fn options_arrive() {
    let mut builder = small(Mode::Process, 2).sub_workers(1);
    let stuck = builder
        .register("stuck", |args, _, _| {
            std::thread::sleep(Duration::from_secs(args.scalar(0)? * 100));
            Ok::<(), AbiError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let (_, recording) = exec
        .record(|orch| {
            let long = TaskOptions::sub()
                .name("the long one")
                .priority(Priority::Urgent)
                .deadline(Duration::from_millis(200));
            orch.submit_with(stuck, args().scalar(0), config(), &long)?;
            let other = TaskOptions::new().on(WorkerId(1));
            orch.submit_with(stuck, args().scalar(0), config(), &other)
        })
        .unwrap();
    let mut bindings = recording.bindings();
    exec.replay(&recording, &bindings).unwrap();
    bindings.scalar(0, 0, 1).unwrap();
    let failed =
        testkit::failed_as(exec.replay(&recording, &bindings), mailring::FailureKind::Deadline);
    assert_eq!((failed.name.as_str(), failed.worker), ("the long one", Some(WorkerId(2))));
    let mut bindings = recording.bindings();
    bindings.scalar(1, 0, 1).unwrap();
    let (_, run) = exec.submit_run(|orch| orch.replay(&recording, &bindings)).unwrap();
    testkit::eventually("worker 1 has it", || exec.is_busy(WorkerId(1)));
    assert!(!exec.is_busy(WorkerId(0)));
    run.cancel();
}
