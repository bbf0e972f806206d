//! Cancelling tasks, scopes and runs; deadlines; invalid options.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{
    Buffer, Callable, Error, Executor, FailureKind, Mode, Orchestrator, TaskHandle, TaskOptions,
};
use testkit::{
    BOTH, BoxError, Done, Gate, args, at, atom, bodies, config, eventually, failed_as, small,
};

struct Kit {
    exec: Executor,
    gate: Callable,
    count: Callable,
    patient: Callable,
    /// Sleeps for as many milliseconds as its scalar says, then counts.
    nap: Callable,
    state: Gate,
}

fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 2);
    let gate = builder.register("gate", bodies::gate).unwrap();
    let count = builder.register("count", bodies::count).unwrap();
    let patient = builder.register("patient", bodies::patient).unwrap();
    let nap = builder
        .register("nap", |args, config, context| {
            std::thread::sleep(Duration::from_millis(args.scalar(0)?));
            Ok::<(), BoxError>(bodies::count(args, config, context)?)
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let state = Gate::new(&exec);
    Kit { exec, gate, count, patient, nap, state }
}

impl Kit {
    fn block(&self, orch: &mut Orchestrator, data: &Buffer<u64>) -> Result<TaskHandle, Error> {
        let all = args().inout(data.tensor()).no_dep(self.state.tensor());
        let handle = orch.submit(self.gate, all, config())?;
        self.state.await_begun(1);
        Ok(handle)
    }

    fn open(&self) {
        self.state.open();
    }

    fn counted(&self) -> u64 {
        self.state.counted()
    }
}

pub(crate) fn a_task_that_has_not_begun() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let failure = failed_as(
            kit.exec.run(|orch| {
                kit.block(orch, &data)?;
                let mut handles = Vec::new();
                for i in 0..5 {
                    let all = args().inout(data.tensor()).no_dep(kit.state.tensor());
                    let named = TaskOptions::new().name(format!("link {i}"));
                    handles.push(orch.submit_with(kit.count, all, config(), &named)?);
                }
                let free = orch.submit(kit.count, kit.state.args(), config())?;
                assert!(orch.cancel(&handles[2]));
                assert!(orch.cancel(&handles[2]), "not yet through, so once more is true again");
                kit.open();
                failed_as(orch.wait(&handles[2]), FailureKind::Cancelled);
                let reached = failed_as(orch.wait(&handles[4]), FailureKind::Cancelled);
                assert_eq!(reached.task, handles[2].id());
                orch.wait(&handles[1])?;
                orch.wait(&free)
            }),
            FailureKind::Cancelled,
        );
        assert_eq!((failure.name.as_str(), failure.worker), ("link 2", None));
        assert_eq!(kit.counted(), 3, "two links before it, and the free one");
    }
}

pub(crate) fn a_task_that_is_through() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                let handle = orch.submit(kit.count, kit.state.args(), config())?;
                orch.wait(&handle)?;
                assert!(!orch.cancel(&handle));
                for _ in 0..600 {
                    orch.submit(kit.count, kit.state.args(), config())?;
                }
                // By now another task has its slot; it must not be hit.
                assert!(!orch.cancel(&handle));
                Ok(())
            })
            .unwrap();
        assert_eq!(kit.counted(), 601);
    }
}

pub(crate) fn a_running_body_sees_it() {
    for mode in BOTH {
        let kit = kit(mode);
        let failure = failed_as(
            kit.exec.run(|orch| {
                let handle = orch.submit(kit.patient, kit.state.args(), config())?;
                kit.state.await_begun(1);
                assert!(orch.cancel(&handle));
                orch.submit(kit.count, kit.state.args(), config()).map(drop)
            }),
            FailureKind::Cancelled,
        );
        assert!(failure.worker.is_none_or(|worker| worker.0 < 2));
        assert_eq!((kit.counted(), kit.state.told()), (1, 1), "{mode:?}");
    }
}

pub(crate) fn a_scope_with_those_inside() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let error = kit.exec.run(|orch| {
            let count = |orch: &mut Orchestrator, n: u64| {
                (0..n).try_for_each(|_| {
                    let all = args().input(data.tensor()).no_dep(kit.state.tensor());
                    orch.submit(kit.count, all, config()).map(drop)
                })
            };
            kit.block(orch, &data)?;
            count(orch, 3)?;
            orch.scope(|orch| {
                count(orch, 10)?;
                orch.scope(|orch| count(orch, 20))?;
                count(orch, 10)?;
                assert_eq!(orch.cancel_scope(), 40);
                count(orch, 5) // later ones are not meant
            })?;
            kit.open();
            Ok(())
        });
        failed_as(error, FailureKind::Cancelled);
        assert_eq!(kit.counted(), 8, "{mode:?}");
    }
}

pub(crate) fn a_run_from_its_handle() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let ((), handle) = kit
            .exec
            .submit_run(|orch| {
                kit.block(orch, &data)?;
                (0..100).try_for_each(|_| {
                    let all = args().inout(data.tensor()).no_dep(kit.state.tensor());
                    orch.submit(kit.count, all, config()).map(drop)
                })
            })
            .unwrap();
        assert!(!handle.done());
        assert_eq!(handle.cancel(), 101);
        kit.open();
        failed_as(handle.wait(None), FailureKind::Cancelled);
        assert!(handle.done());
        assert_eq!(handle.cancel(), 0);
        assert_eq!(kit.counted(), 0);
        // The executor is as good as before.
        kit.exec.run(|orch| orch.submit(kit.count, kit.state.args(), config()).map(drop)).unwrap();
        assert_eq!(kit.counted(), 1);
    }
}

/// A cancelled task still completes in its turn: a later writer does not overtake an earlier one.
pub(crate) fn order_is_kept() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let error = kit.exec.run(|orch| {
            let cells = kit.state.tensor();
            kit.block(orch, &data)?;
            let both = args().inout(data.tensor()).no_dep(cells);
            let middle = orch.submit(kit.count, both, config())?;
            let both = args().output(data.tensor()).no_dep(cells);
            let later = orch.submit(kit.count, both, config())?;
            orch.cancel(&middle);
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(kit.counted(), 0, "the gate still has the buffer");
            kit.open();
            orch.wait(&later)
        });
        failed_as(error, FailureKind::Cancelled);
        assert_eq!(kit.counted(), 1);
    }
}

pub(crate) fn deadline_in_a_process() {
    let kit = kit(Mode::Process);
    let data = kit.exec.buffer::<u64>(1).unwrap();
    let began = Instant::now();
    let failure = failed_as(
        kit.exec.run(|orch| {
            let state = || args().inout(data.tensor()).no_dep(kit.state.tensor());
            let short = TaskOptions::new().deadline(Duration::from_millis(50)).name("slow");
            orch.submit_with(kit.nap, state().scalar(60_000), config(), &short)?;
            orch.submit(kit.nap, state().scalar(0), config())?;
            orch.submit(kit.nap, kit.state.args().scalar(0), config())?;
            Ok(())
        }),
        FailureKind::Deadline,
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!((failure.name.as_str(), failure.attempt), ("slow", 1));
    assert!(failure.worker.is_some());
    assert_eq!(kit.counted(), 1, "only what did not wait for it");
    assert_eq!(kit.exec.stats().kills, 1);
    eventually("replaced", || kit.exec.stats().respawns == 1);
}

/// A thread cannot be ended: the deadline is reported when the body returns, which sees it.
pub(crate) fn deadline_in_a_thread() {
    let kit = kit(Mode::Thread);
    let short = TaskOptions::new().deadline(Duration::from_millis(30));
    let run = |callable, scalar| {
        kit.exec.run(|orch| {
            let all = kit.state.args().scalar(scalar);
            orch.submit_with(callable, all, config(), &short).map(drop)
        })
    };
    failed_as(run(kit.nap, 200), FailureKind::Deadline);
    assert_eq!(kit.counted(), 1, "the body went on to its end");
    // What the body says after its deadline does not count.
    failed_as(run(kit.patient, 0), FailureKind::Deadline);
    assert_eq!(kit.state.told(), 1, "it saw `cancelled`");
    run(kit.nap, 0).unwrap();
    assert_eq!(kit.counted(), 2);
    assert_eq!(kit.exec.stats().kills, 0);
}

pub(crate) fn deadline_of_quick_tasks() {
    for mode in BOTH {
        let kit = kit(mode);
        let long = TaskOptions::new().deadline(Duration::from_secs(30));
        for _ in 0..5 {
            kit.exec
                .run(|orch| {
                    (0..500).try_for_each(|_| {
                        let all = kit.state.args();
                        orch.submit_with(kit.count, all, config(), &long).map(drop)
                    })
                })
                .unwrap();
        }
        assert_eq!(kit.counted(), 2500);
        assert_eq!((kit.exec.stats().kills, kit.exec.stats().superseded), (0, 0));
    }
}

pub(crate) fn deadline_then_another_attempt() {
    let mut builder = small(Mode::Process, 2);
    let body = builder
        .register("slow at first", |args, _, context| {
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            if context.attempt() < 3 {
                std::thread::sleep(Duration::from_secs(60));
            }
            atom(&args, 0, 1).fetch_add(1, SeqCst);
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let count = exec.buffer::<u64>(2).unwrap();
    let options = TaskOptions::new().deadline(Duration::from_millis(40)).idempotent();
    let run = |options: &TaskOptions| {
        exec.run(|orch| {
            orch.submit_with(body, args().no_dep(count.tensor()), config(), options).map(drop)
        })
    };
    run(&options.clone().retries(2)).unwrap();
    assert_eq!(count.to_vec().unwrap(), [3, 1]);
    let failure = failed_as(run(&options.retries(1)), FailureKind::Deadline);
    assert_eq!(failure.attempt, 2);
    assert_eq!(count.to_vec().unwrap(), [5, 1]);
}

pub(crate) fn bad_options_are_refused() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        kit.exec
            .run(|orch| {
                let plain = TaskOptions::new;
                for options in [
                    plain().deadline(Duration::ZERO),
                    plain().deadline(Duration::from_nanos(10)),
                    plain().deadline(Duration::from_secs(100_000)),
                    plain().retries(1),
                    plain().retries(63).idempotent(),
                    plain().retries(u32::MAX).idempotent(),
                ] {
                    let all = args().inout(at(&data, 0)).no_dep(kit.state.tensor());
                    let refused = orch.submit_with(kit.count, all, config(), &options);
                    assert!(matches!(refused, Err(Error::Options(_))), "{options:?}: {refused:?}");
                }
                let all = args().inout(at(&data, 0)).no_dep(kit.state.tensor());
                let most = plain().retries(62).idempotent().deadline(Duration::from_secs(4000));
                orch.submit_with(kit.count, all, config(), &most).map(drop)
            })
            .unwrap();
        assert_eq!(kit.counted(), 1);
        assert_eq!(kit.exec.stats().submitted, 1);
    }
}
