//! Order that is asked for, besides the order that follows from tensors; and whether a run has
//! failed so far.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::abi::TaskArgs;
use mailring::{
    Buffer, Callable, Error, Executor, FailureKind, InvalidHandle, Mode, Orchestrator, TaskHandle,
    TaskOptions,
};
use testkit::{BOTH, args, atom, await_value, cell, config, eventually, failed_as, small};

/// Bodies that draw a number when they begin: element `scalar 0` of the order. Nothing else links
/// them.
struct Kit {
    exec: Executor,
    note: Callable,
    gate: Callable,
    fail: Callable,
    order: Buffer<u64>,
}

const PLACES: usize = 400;
const DRAWN: usize = PLACES;
const OPEN: usize = PLACES + 1;

fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 3).slot_window(64);
    let note = builder
        .register("note", |args, _, _| {
            let number = atom(&args, 0, DRAWN).fetch_add(1, SeqCst) + 1;
            atom(&args, 0, args.scalar(0)? as usize).store(number, SeqCst);
            Ok::<(), mailring::abi::AbiError>(())
        })
        .unwrap();
    let gate = builder
        .register("gate", |args, _, context| {
            context.group().map_or(Ok(()), |group| group.barrier()).map_err(|_| "cancelled")?;
            if !await_value(atom(&args, 0, OPEN), 1) {
                return Err("nobody opened");
            }
            let number = atom(&args, 0, DRAWN).fetch_add(1, SeqCst) + 1;
            atom(&args, 0, args.scalar(0).map_err(|_| "no place")? as usize).store(number, SeqCst);
            Ok(())
        })
        .unwrap();
    let fail = builder.register("fail", |_, _, _| Err("it is broken")).unwrap();
    let exec = builder.build().unwrap();
    let order = exec.buffer(PLACES + 2).unwrap();
    Kit { exec, note, gate, fail, order }
}

impl Kit {
    fn at(&self, place: u64) -> TaskArgs {
        args().no_dep(self.order.tensor()).scalar(place)
    }

    fn submit(
        &self,
        orch: &mut Orchestrator,
        callable: Callable,
        place: u64,
        options: &TaskOptions,
    ) -> Result<TaskHandle, Error> {
        orch.submit_with(callable, self.at(place), config(), options)
    }

    fn open(&self) {
        cell(&self.order, OPEN).store(1, SeqCst);
    }

    /// The number that was drawn there; 0: nobody was.
    fn number(&self, place: u64) -> u64 {
        cell(&self.order, place as usize).load(SeqCst)
    }

    fn reset(&self) {
        self.order.copy_from_slice(&vec![0; PLACES + 2]).unwrap();
    }
}

fn plain() -> TaskOptions {
    TaskOptions::new()
}

pub(crate) fn one_after_another_without_tensors() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                let mut last = kit.submit(orch, kit.gate, 0, &plain())?;
                for place in 1..300 {
                    last = kit.submit(orch, kit.note, place, &plain().after(&last))?;
                    if place == 20 {
                        assert_eq!(kit.number(1), 0, "it waits");
                        kit.open();
                    }
                }
                Ok(())
            })
            .unwrap();
        let numbers: Vec<u64> = (0..300).map(|place| kit.number(place)).collect();
        assert_eq!(numbers, (1..=300).collect::<Vec<u64>>(), "{mode:?}");
    }
}

/// Failure travels along `after`, through tasks without tensors, and ends at `after_any`.
pub(crate) fn failure_travels_or_not() {
    for mode in BOTH {
        let kit = kit(mode);
        let failed = kit.exec.run(|orch| {
            let root = kit.submit(orch, kit.fail, 0, &plain().name("root"))?;
            let next = kit.submit(orch, kit.note, 1, &plain().after(&root))?;
            let third = kit.submit(orch, kit.note, 2, &plain().after(&next))?;
            let clean = kit.submit(orch, kit.note, 3, &plain().after_any(&third))?;
            let both = kit.submit(orch, kit.note, 4, &plain().after_any(&root).after(&clean))?;
            let twice = kit.submit(orch, kit.note, 5, &plain().after_any(&root).after(&root))?;
            for handle in [&next, &third, &twice] {
                let failure = failed_as(orch.wait(handle), FailureKind::Error);
                assert_eq!((failure.task, failure.name.as_str()), (root.id(), "root"));
            }
            orch.wait(&clean)?;
            orch.wait(&both)
        });
        failed_as(failed, FailureKind::Error);
        assert_eq!([1, 2, 5].map(|place| kit.number(place)), [0; 3], "{mode:?}: they never ran");
        assert!(0 < kit.number(3) && kit.number(3) < kit.number(4));
    }
}

/// A task that is through counts as done, one that failed as failed, also long after it has left
/// the window.
pub(crate) fn of_what_has_left_the_window() {
    for mode in BOTH {
        let kit = kit(mode);
        let failed = kit.exec.run(|orch| {
            let well = kit.submit(orch, kit.note, 0, &plain())?;
            let root = kit.submit(orch, kit.fail, 0, &plain())?;
            for place in 1..300 {
                kit.submit(orch, kit.note, place, &plain())?;
            }
            orch.wait(&well)?;
            let good = kit.submit(orch, kit.note, 300, &plain().after(&well).after_any(&root))?;
            let bad = kit.submit(orch, kit.note, 301, &plain().after(&root).after(&well))?;
            let group = vec![kit.at(302), kit.at(303)];
            let group = orch.submit_group_with(kit.note, group, config(), &plain().after(&root))?;
            orch.wait(&good)?;
            for handle in [&bad, &group] {
                assert_eq!(failed_as(orch.wait(handle), FailureKind::Error).task, root.id());
            }
            Ok(())
        });
        failed_as(failed, FailureKind::Error);
        assert!(kit.number(300) > 0);
        assert_eq!([301, 302, 303].map(|place| kit.number(place)), [0; 3], "{mode:?}");
    }
}

/// More than one fan-in word can name, each of them named once by tensor as well.
pub(crate) fn of_very_many() {
    for mode in BOTH {
        let kit = kit(mode);
        for fails in [false, true] {
            kit.reset();
            let ran = kit.exec.run(|orch| {
                let gate = kit.submit(orch, kit.gate, 0, &plain())?;
                let mut all = plain();
                for place in 1..60 {
                    let one = kit.submit(orch, kit.note, place, &plain().after(&gate))?;
                    all = if place % 2 == 0 { all.after(&one) } else { all.after_any(&one) };
                }
                if fails {
                    all = all.after(&kit.submit(orch, kit.fail, 0, &plain())?);
                }
                kit.open();
                let last = kit.submit(orch, kit.note, 60, &all)?;
                orch.wait(&last)
            });
            if fails {
                failed_as(ran, FailureKind::Error);
            } else {
                ran.unwrap();
            }
            let last = if fails { 0 } else { 61 };
            assert_eq!(kit.number(60), last, "{mode:?}");
        }
    }
}

pub(crate) fn of_groups_and_by_groups() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                let single = kit.submit(orch, kit.gate, 0, &plain())?;
                let members = || vec![kit.at(1), kit.at(2)];
                let behind = plain().after(&single);
                let group = orch.submit_group_with(kit.gate, members(), config(), &behind)?;
                kit.submit(orch, kit.note, 3, &plain().after(&group))?;
                std::thread::sleep(Duration::from_millis(5));
                assert_eq!([1, 2, 3].map(|place| kit.number(place)), [0; 3]);
                kit.open();
                Ok(())
            })
            .unwrap();
        assert_eq!((kit.number(0), kit.number(3)), (1, 4), "{mode:?}");
        assert_eq!(kit.number(1) + kit.number(2), 5);
    }
}

/// A cancelled task is a failed one for those after it.
pub(crate) fn of_a_cancelled_one() {
    for mode in BOTH {
        let kit = kit(mode);
        let failed = kit.exec.run(|orch| {
            let gate = kit.submit(orch, kit.gate, 0, &plain())?;
            let doomed = kit.submit(orch, kit.note, 1, &plain().after(&gate))?;
            let after = kit.submit(orch, kit.note, 2, &plain().after(&doomed))?;
            let any = kit.submit(orch, kit.note, 3, &plain().after_any(&doomed))?;
            assert!(orch.cancel(&doomed));
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(kit.number(3), 0, "a cancelled task keeps its place in the order");
            kit.open();
            assert_eq!(failed_as(orch.wait(&after), FailureKind::Cancelled).task, doomed.id());
            orch.wait(&any)
        });
        failed_as(failed, FailureKind::Cancelled);
        assert_eq!([0, 1, 2, 3].map(|place| kit.number(place)), [1, 0, 0, 2], "{mode:?}");
    }
}

pub(crate) fn foreign_handles_are_refused() {
    let (ours, others) = (kit(Mode::Thread), kit(Mode::Thread));
    let earlier = ours.exec.run(|orch| ours.submit(orch, ours.note, 0, &plain())).unwrap();
    let foreign = others.exec.run(|orch| {
        others.submit(orch, others.note, 0, &plain())?;
        others.submit(orch, others.note, 1, &plain())
    });
    let foreign = foreign.unwrap();
    ours.exec
        .run(|orch| {
            let own = ours.submit(orch, ours.note, 2, &plain())?;
            assert_eq!(own.id(), foreign.id(), "the same number in another executor");
            let submitted = ours.exec.stats().submitted;
            for handle in [&earlier, &foreign] {
                for options in [plain().after(handle), plain().after(&own).after_any(handle)] {
                    let refused = ours.submit(orch, ours.note, 3, &options).unwrap_err();
                    assert!(matches!(refused, Error::Handle(InvalidHandle::After(task)) if task == handle.id()));
                    let all = vec![ours.at(3)];
                    let refused = orch.submit_group_with(ours.note, all, config(), &options);
                    assert!(matches!(refused, Err(Error::Handle(_))));
                }
            }
            assert!(matches!(orch.wait(&foreign), Err(Error::Handle(_))));
            assert!(!orch.cancel(&foreign));
            assert_eq!(ours.exec.stats().submitted, submitted);
            Ok(())
        })
        .unwrap();
    assert_eq!(ours.number(3), 0);
}

/// Chains with failures in them, in a window that they go round many times.
pub(crate) fn random_orders() {
    let kit = kit(Mode::Process);
    let mut random = testkit::Random(0xAF7E5);
    for _ in 0..40 {
        kit.reset();
        kit.open();
        let mut fate: Vec<bool> = Vec::new(); // whether it runs well
        let mut links: Vec<Vec<(usize, bool)>> = Vec::new();
        let _ = kit.exec.run(|orch| {
            let mut handles: Vec<TaskHandle> = Vec::new();
            for place in 0..200 {
                let mut options = plain();
                let mut own = Vec::new();
                for _ in 0..random.below(4).min(place) {
                    let to = random.below(place);
                    let any = random.chance(50);
                    let to_it = &handles[to];
                    options = if any { options.after_any(to_it) } else { options.after(to_it) };
                    own.push((to, any));
                }
                let broken = random.chance(5);
                let callable = if broken { kit.fail } else { kit.note };
                let reached = own.iter().any(|&(to, any)| !any && !fate[to]);
                fate.push(!broken && !reached);
                links.push(own);
                handles.push(kit.submit(orch, callable, place as u64, &options)?);
            }
            for (handle, well) in handles.iter().zip(&fate) {
                assert_eq!(orch.wait(handle).is_ok(), *well);
            }
            Ok(())
        });
        for (place, own) in links.iter().enumerate() {
            assert_eq!(kit.number(place as u64) > 0, fate[place]);
            for &(to, _) in own.iter().filter(|(to, _)| fate[place] && fate[*to]) {
                assert!(kit.number(to as u64) < kit.number(place as u64), "{to} before {place}");
            }
        }
    }
}

// ---- has it failed so far? ----------------------------------------------------------------------

pub(crate) fn a_run_tells_whether_it_has_failed() {
    for mode in BOTH {
        let kit = kit(mode);
        let ((), handle) = kit
            .exec
            .submit_run(|orch| {
                assert!(!orch.run_failed());
                let gate = kit.submit(orch, kit.gate, 0, &plain())?;
                kit.submit(orch, kit.note, 1, &plain().after(&gate))?;
                kit.submit(orch, kit.note, 2, &plain())?;
                let began = Instant::now();
                assert!(!orch.run_failed());
                assert!(began.elapsed() < Duration::from_secs(1), "it does not wait");
                let failed = kit.submit(orch, kit.fail, 0, &plain())?;
                failed_as(orch.wait(&failed), FailureKind::Error);
                assert!(orch.run_failed());
                Ok(())
            })
            .unwrap();
        assert!(handle.run_failed() && !handle.done());
        // Later runs have a fate of their own, and push the failed task out of the window.
        kit.open();
        for _ in 0..3 {
            let ((), next) = kit
                .exec
                .submit_run(|orch| {
                    assert!(!orch.run_failed());
                    (0..100)
                        .try_for_each(|place| kit.submit(orch, kit.note, place, &plain()).map(drop))
                })
                .unwrap();
            assert!(next.wait(None).unwrap() && !next.run_failed());
        }
        assert!(handle.run_failed());
        failed_as(handle.wait(None), FailureKind::Error);
        // A handle of a run that is still to fail, asked by one who never waits.
        let ((), late) =
            kit.exec.submit_run(|orch| kit.submit(orch, kit.fail, 0, &plain()).map(drop)).unwrap();
        eventually("it is seen to have failed", || late.run_failed());
    }
}
