//! Runs that go on while the host does something else, runs after one another, and the places
//! where no run can start.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mailring::{Buffer, Callable, Error, Executor, FailureKind, Mode};
use testkit::{BOTH, Gate, args, at, bodies, cell, config, eventually, failed_as, small};

struct Kit {
    exec: Executor,
    add: Callable,
    gate: Callable,
    fail: Callable,
    state: Gate,
}

fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 2).slot_window(64);
    let add = builder.register("add", bodies::add_one).unwrap();
    let gate = builder.register("gate", bodies::gate).unwrap();
    let fail = builder.register("fail", bodies::fail).unwrap();
    let exec = builder.build().unwrap();
    let state = Gate::new(&exec);
    Kit { exec, add, gate, fail, state }
}

pub(crate) fn done_and_wait() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let (value, handle) = kit
            .exec
            .submit_run(|orch| {
                orch.submit(
                    kit.gate,
                    args().inout(data.tensor()).no_dep(kit.state.tensor()),
                    config(),
                )?;
                for _ in 0..10 {
                    orch.submit(kit.add, args().inout(data.tensor()), config())?;
                }
                Ok("value")
            })
            .unwrap();
        assert_eq!(value, "value");
        assert!(!handle.done());
        assert_eq!(cell(&data, 0).load(SeqCst), 0);
        kit.state.open();
        assert!(handle.wait(None).unwrap());
        assert!(handle.done());
        assert!(handle.wait(Some(Duration::ZERO)).unwrap());
        assert_eq!(data.get(0).unwrap(), 10);
    }
}

pub(crate) fn a_timeout_leaves_the_run_alone() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let ((), handle) = kit
            .exec
            .submit_run(|orch| {
                let all = args().inout(data.tensor()).no_dep(kit.state.tensor());
                orch.submit(kit.gate, all, config()).map(drop)
            })
            .unwrap();
        for timeout in [0, 1, 30] {
            let timeout = Duration::from_millis(timeout);
            let began = Instant::now();
            assert!(!handle.wait(Some(timeout)).unwrap());
            assert!(began.elapsed() >= timeout, "{:?}", began.elapsed());
            assert!(began.elapsed() < timeout + Duration::from_secs(5));
        }
        kit.state.open();
        assert!(handle.wait(Some(Duration::from_secs(20))).unwrap());
    }
}

/// Asking whether a run is through must not make its failure unknown.
pub(crate) fn done_does_not_swallow_the_failure() {
    for mode in BOTH {
        let kit = kit(mode);
        let ((), handle) =
            kit.exec.submit_run(|orch| orch.submit(kit.fail, args(), config()).map(drop)).unwrap();
        eventually("done", || handle.done());
        for _ in 0..2 {
            failed_as(handle.wait(None), FailureKind::Error);
        }
    }
}

pub(crate) fn a_failure_that_left_the_window() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let ((), handle) =
            kit.exec.submit_run(|orch| orch.submit(kit.fail, args(), config()).map(drop)).unwrap();
        for _ in 0..3 {
            kit.exec
                .run(|orch| {
                    (0..100).try_for_each(|_| {
                        orch.submit(kit.add, args().inout(data.tensor()), config()).map(drop)
                    })
                })
                .unwrap();
        }
        assert!(handle.done());
        let failure = failed_as(handle.wait(None), FailureKind::Error);
        assert_eq!((failure.name.as_str(), failure.message.as_str()), ("fail", "no"));
    }
}

pub(crate) fn handles_in_other_threads() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(8).unwrap();
        std::thread::scope(|scope| {
            for i in 0..8 {
                let ((), handle) = kit
                    .exec
                    .submit_run(|orch| {
                        (0..50).try_for_each(|_| {
                            orch.submit(kit.add, args().inout(at(&data, i)), config()).map(drop)
                        })
                    })
                    .unwrap();
                let data = &data;
                scope.spawn(move || {
                    assert!(handle.wait(None).unwrap());
                    assert_eq!(cell(data, i).load(SeqCst), 50); // other runs go on
                });
            }
        });
    }
}

pub(crate) fn many_runs_in_flight() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let mut handles = Vec::new();
        for _ in 0..1000 {
            let ((), handle) = kit
                .exec
                .submit_run(|orch| {
                    (0..3).try_for_each(|_| {
                        orch.submit(kit.add, args().inout(data.tensor()), config()).map(drop)
                    })
                })
                .unwrap();
            handles.push(handle);
        }
        for handle in handles.iter().rev() {
            assert!(handle.wait(None).unwrap());
        }
        assert!(handles.iter().all(|handle| handle.done()));
        assert_eq!(data.get(0).unwrap(), 3000);
    }
}

pub(crate) fn a_later_run_waits_for_an_earlier_one() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let ((), first) = kit
            .exec
            .submit_run(|orch| {
                let all = args().inout(data.tensor()).no_dep(kit.state.tensor());
                orch.submit(kit.gate, all, config()).map(drop)
            })
            .unwrap();
        let ((), second) = kit
            .exec
            .submit_run(|orch| {
                orch.submit(kit.add, args().inout(data.tensor()), config()).map(drop)
            })
            .unwrap();
        assert!(!second.wait(Some(Duration::from_millis(30))).unwrap());
        assert_eq!(cell(&data, 0).load(SeqCst), 0);
        kit.state.open();
        assert!(second.wait(None).unwrap());
        assert!(first.done());
    }
}

pub(crate) fn a_run_inside_a_run_is_refused() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        kit.exec
            .run(|orch| {
                let inner = kit.exec.run(|_| Ok(()));
                assert!(matches!(inner, Err(Error::Misuse(_))), "{inner:?}");
                let inner = kit.exec.submit_run(|_| Ok(()));
                assert!(matches!(inner, Err(Error::Misuse(_))));
                orch.submit(kit.add, args().inout(data.tensor()), config()).map(drop)
            })
            .unwrap();
        // A run that failed or panicked does not count as open.
        let ended = kit.exec.run(|_| Err::<(), _>(Error::other("no")));
        assert!(ended.is_err_and(|error| error.to_string() == "no"));
        kit.exec
            .run(|orch| orch.submit(kit.add, args().inout(data.tensor()), config()).map(drop))
            .unwrap();
        assert_eq!(data.get(0).unwrap(), 2);
    }
}

pub(crate) fn runs_of_two_threads_take_turns() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        kit.exec
                            .run(|orch| {
                                (0..5).try_for_each(|_| {
                                    orch.submit(kit.add, args().inout(data.tensor()), config())
                                        .map(drop)
                                })
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(data.get(0).unwrap(), 2000);
    }
}

fn refused_here(exec: &Executor) -> Result<(), String> {
    let refused = [
        exec.run(|_| Ok(())),
        exec.submit_run(|_| Ok(())).map(drop),
        exec.buffer::<u64>(1).map(drop),
    ];
    match refused.iter().position(|r| !matches!(r, Err(Error::Misuse(_)))) {
        None => Ok(()),
        Some(index) => Err(format!("call {index} went through: {:?}", refused[index])),
    }
}

/// THREAD mode: a body that finds the executor it runs for. PROCESS mode: one that was given an
/// executor of the host by its closure.
pub(crate) fn the_executor_inside_a_body_is_refused() {
    static EXEC: OnceLock<Executor> = OnceLock::new();
    let mut builder = small(Mode::Thread, 1);
    let refused = builder.register("refused", |_, _, _| refused_here(EXEC.get().unwrap())).unwrap();
    EXEC.set(builder.build().unwrap()).ok().unwrap();
    let exec = EXEC.get().unwrap();
    exec.run(|orch| orch.submit(refused, args(), config()).map(drop)).unwrap();

    let mut builder = small(Mode::Process, 1);
    let add = builder.register("add", bodies::add_one).unwrap();
    let outer = Arc::new(builder.build().unwrap());
    let copy = Arc::clone(&outer);
    let mut builder = small(Mode::Process, 1);
    let refused = builder.register("refused", move |_, _, _| refused_here(&copy)).unwrap();
    let exec = builder.build().unwrap();
    exec.run(|orch| orch.submit(refused, args(), config()).map(drop)).unwrap();
    drop(exec);
    let data = outer.buffer::<u64>(1).unwrap();
    outer.run(|orch| orch.submit(add, args().inout(data.tensor()), config()).map(drop)).unwrap();
    assert_eq!(data.get(0).unwrap(), 1);
}

/// Workers may drive executors of their own.
pub(crate) fn an_executor_inside_a_body() {
    for outer in BOTH {
        for inner in BOTH {
            let mut builder = small(outer, 1);
            let nest = builder
                .register("nest", move |args, _, _| {
                    let mut builder = small(inner, 2);
                    let add = builder
                        .register("add", bodies::add_one)
                        .map_err(|error| error.to_string())?;
                    let exec = builder.build().map_err(|error| error.to_string())?;
                    let data = exec.buffer::<u64>(1).map_err(|error| error.to_string())?;
                    let ran = exec.run(|orch| {
                        (0..100)
                            .try_for_each(|_| orch.submit(add, args_of(&data), config()).map(drop))
                    });
                    ran.map_err(|error| error.to_string())?;
                    args.set::<u64>(0, 0, data.get(0).unwrap_or(0))
                        .map_err(|error| error.to_string())
                })
                .unwrap();
            let exec = builder.build().unwrap();
            let data = exec.buffer::<u64>(1).unwrap();
            for _ in 0..3 {
                data.set(0, 0).unwrap();
                exec.run(|orch| orch.submit(nest, args().inout(data.tensor()), config()).map(drop))
                    .unwrap();
                assert_eq!(data.get(0).unwrap(), 100, "{outer:?} {inner:?}");
            }
        }
    }
}

fn args_of(data: &Buffer<u64>) -> mailring::abi::TaskArgs {
    args().inout(data.tensor())
}

pub(crate) fn an_empty_run() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let _ = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        assert_eq!(exec.run(|_| Ok(5)).unwrap(), 5);
        let ((), handle) = exec.submit_run(|_| Ok(())).unwrap();
        assert!(handle.done());
        assert!(handle.wait(None).unwrap());
        assert_eq!(handle.cancel(), 0);
        exec.run(|orch| orch.scope(|orch| orch.scope(|_| Ok(())))).unwrap();
    }
}
