//! Failures reach those that read what was not written, and nobody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mailring::{Callable, Error, Executor, FailureKind, Mode, TaskOptions};
use testkit::{BOTH, BoxError, args, at, atom, bodies, cell, config, failed_as, failure, small};

struct Kit {
    exec: Executor,
    /// Fails after as many milliseconds as its scalar says.
    fail: Callable,
    /// Counts in its last tensor, element 0.
    count: Callable,
}

fn kit(mode: Mode, window: usize) -> Kit {
    let mut builder = small(mode, 3).slot_window(window);
    let fail = builder
        .register("fail", |args, _, _| {
            std::thread::sleep(Duration::from_millis(args.scalar(0)?));
            Err::<(), String>(format!("after {} ms", args.scalar(0)?)).map_err(BoxError::from)
        })
        .unwrap();
    let count = builder
        .register("count", |args, _, _| {
            atom(&args, args.tensors().len() - 1, 0).fetch_add(1, SeqCst);
            Ok::<(), String>(())
        })
        .unwrap();
    Kit { exec: builder.build().unwrap(), fail, count }
}

pub(crate) fn dependents_do_not_run() {
    for mode in BOTH {
        for fast in [true, false] {
            let Kit { exec, fail, count } = kit(mode, 64);
            let data = exec.buffer::<u64>(2).unwrap();
            let ran = exec.buffer::<u64>(1).unwrap();
            let failure = failed_as(
                exec.run(|orch| {
                    let nap = if fast { 0 } else { 20 };
                    orch.submit(fail, args().output(at(&data, 0)).scalar(nap), config())?;
                    for i in 0..300 {
                        let one = args().inout(at(&data, i % 2));
                        let all = if i % 2 == 1 { one.input(at(&data, 0)) } else { one };
                        orch.submit(count, all.no_dep(ran.tensor()), config())?;
                    }
                    Ok(())
                }),
                FailureKind::Error,
            );
            assert_eq!(failure.name, "fail");
            assert_eq!(ran.get(0).unwrap(), 0, "{mode:?}");
            let stats = exec.stats();
            assert_eq!((stats.submitted, stats.bodies), (301, 1));
        }
    }
}

/// Whoever fails first in time does not matter.
pub(crate) fn the_first_root_by_submission() {
    for mode in BOTH {
        let Kit { exec, fail, .. } = kit(mode, 64);
        for _ in 0..10 {
            let failure = failure(exec.run(|orch| {
                for (nap, name) in [(15, "first"), (0, "second"), (5, "third")] {
                    let named = TaskOptions::new().name(name);
                    orch.submit_with(fail, args().scalar(nap), config(), &named)?;
                }
                Ok(())
            }));
            assert_eq!(failure.name, "first", "{mode:?}");
            assert!(failure.message.contains("after 15 ms"));
        }
    }
}

/// A later writer of what a failed task read (or overwrote unread) only had to come after it.
pub(crate) fn mere_order_does_not_poison() {
    for mode in BOTH {
        let Kit { exec, fail, count } = kit(mode, 64);
        let data = exec.buffer::<u64>(2).unwrap();
        let ran = exec.buffer::<u64>(1).unwrap();
        for nap in [0, 10] {
            failure(exec.run(|orch| {
                let both = args().input(at(&data, 0)).output(at(&data, 1)).scalar(nap);
                orch.submit(fail, both, config())?;
                for all in [
                    args().output(at(&data, 0)),          // write after read
                    args().inout(at(&data, 0)),           // of what that one wrote
                    args().output_existing(at(&data, 1)), // write after write
                ] {
                    orch.submit(count, all.no_dep(ran.tensor()), config())?;
                }
                Ok(())
            }));
        }
        assert_eq!(ran.get(0).unwrap(), 6, "{mode:?}");
    }
}

pub(crate) fn overwriting_cures() {
    for mode in BOTH {
        let Kit { exec, fail, count } = kit(mode, 64);
        let data = exec.buffer::<u64>(1).unwrap();
        let ran = exec.buffer::<u64>(2).unwrap();
        failure(exec.run(|orch| {
            orch.submit(fail, args().output(data.tensor()).scalar(5), config())?;
            orch.submit(count, args().input(data.tensor()).no_dep(at(&ran, 0)), config())?;
            orch.submit(count, args().output(data.tensor()).no_dep(at(&ran, 1)), config())?;
            orch.submit(count, args().input(data.tensor()).no_dep(at(&ran, 1)), config())?;
            Ok(())
        }));
        assert_eq!(ran.to_vec().unwrap(), [0, 2], "{mode:?}");
    }
}

/// The failed task has left the window when its reader comes.
pub(crate) fn from_beyond_the_window() {
    for mode in BOTH {
        let Kit { exec, fail, count } = kit(mode, 16);
        let data = exec.buffer::<u64>(2).unwrap();
        let ran = exec.buffer::<u64>(2).unwrap();
        let failure = failure(exec.run(|orch| {
            orch.submit(fail, args().output(at(&data, 0)).scalar(0), config())?;
            for _ in 0..500 {
                orch.submit(count, args().inout(at(&data, 1)).no_dep(at(&ran, 0)), config())?;
            }
            for _ in 0..3 {
                orch.submit(count, args().inout(at(&data, 0)).no_dep(at(&ran, 1)), config())?;
            }
            Ok(())
        }));
        assert_eq!(failure.name, "fail");
        assert_eq!(ran.to_vec().unwrap(), [500, 0], "{mode:?}");
    }
}

pub(crate) fn not_into_the_next_run() {
    for mode in BOTH {
        let Kit { exec, fail, count } = kit(mode, 64);
        let data = exec.buffer::<u64>(1).unwrap();
        let ran = exec.buffer::<u64>(1).unwrap();
        for round in 1..=20 {
            failure(exec.run(|orch| {
                orch.submit(fail, args().inout(data.tensor()).scalar(0), config()).map(drop)
            }));
            exec.run(|orch| {
                let all = args().inout(data.tensor()).no_dep(ran.tensor());
                orch.submit(count, all, config()).map(drop)
            })
            .unwrap();
            assert_eq!(ran.get(0).unwrap(), round);
        }
        // The earlier run is still going when the later one is submitted.
        let ((), handle) = exec
            .submit_run(|orch| {
                orch.submit(fail, args().inout(data.tensor()).scalar(30), config()).map(drop)
            })
            .unwrap();
        exec.run(|orch| {
            let all = args().inout(data.tensor()).no_dep(ran.tensor());
            orch.submit(count, all, config()).map(drop)
        })
        .unwrap();
        assert_eq!(ran.get(0).unwrap(), 21);
        failed_as(handle.wait(None), FailureKind::Error);
    }
}

pub(crate) fn the_smallest_root_of_two() {
    for mode in BOTH {
        let Kit { exec, fail, count } = kit(mode, 64);
        let data = exec.buffer::<u64>(2).unwrap();
        let ran = exec.buffer::<u64>(1).unwrap();
        for naps in [[10, 0], [0, 10], [0, 0]] {
            let error = exec.run(|orch| {
                for (i, nap) in naps.into_iter().enumerate() {
                    let named = TaskOptions::new().name(["a", "b"][i]);
                    let all = args().output(at(&data, i)).scalar(nap);
                    orch.submit_with(fail, all, config(), &named)?;
                }
                let all = args().input(data.tensor()).no_dep(ran.tensor());
                let last = orch.submit(count, all, config())?;
                let root = failure(orch.wait(&last));
                assert_eq!(root.name, "a", "{mode:?} {naps:?}");
                Ok(())
            });
            assert_eq!(failure(error).name, "a");
        }
        assert_eq!(ran.get(0).unwrap(), 0);
    }
}

/// One of many producers behind fan-in nodes fails: so does the one that reads them all. One of
/// many readers fails: whoever overwrites what they read does not care.
pub(crate) fn through_fan_in_nodes() {
    for mode in BOTH {
        for bad in [0, 57, 199] {
            let Kit { exec, fail, count } = kit(mode, 512);
            let data = exec.buffer::<u64>(200).unwrap();
            let ran = exec.buffer::<u64>(3).unwrap();
            let failure = failure(exec.run(|orch| {
                for i in 0..200 {
                    let out = args().output(at(&data, i));
                    if i == bad {
                        orch.submit(fail, out.scalar(3), config())?;
                    } else {
                        orch.submit(count, out.no_dep(at(&ran, 0)), config())?;
                    }
                }
                orch.submit(count, args().input(data.tensor()).no_dep(at(&ran, 1)), config())?;
                for i in 0..200 {
                    let all = args().input(at(&data, 5));
                    if i == bad {
                        orch.submit(fail, all.scalar(3), config())?;
                    } else {
                        orch.submit(count, all.no_dep(at(&ran, 0)), config())?;
                    }
                }
                orch.submit(count, args().output(at(&data, 5)).no_dep(at(&ran, 2)), config())?;
                Ok(())
            }));
            assert_eq!(failure.name, "fail");
            assert_eq!(ran.to_vec().unwrap(), [398, 0, 1], "{mode:?}, task {bad}");
        }
    }
}

/// More roots than are kept: the first one is still the one that is told.
pub(crate) fn a_hundred_roots() {
    for mode in BOTH {
        let Kit { exec, fail, .. } = kit(mode, 32);
        let first = failure(exec.run(|orch| {
            for i in 0..300u64 {
                let named = TaskOptions::new().name(format!("root {i}"));
                orch.submit_with(fail, args().scalar(0), config(), &named)?;
            }
            Ok(())
        }));
        assert_eq!(first.name, "root 0", "{mode:?}");
    }
}

pub(crate) fn wait_tells_the_root() {
    for mode in BOTH {
        let Kit { exec, fail, count } = kit(mode, 64);
        let data = exec.buffer::<u64>(2).unwrap();
        let ran = exec.buffer::<u64>(1).unwrap();
        let value = exec.run(|orch| {
            let root = orch.submit(fail, args().output(at(&data, 0)).scalar(2), config())?;
            let all = args().inout(at(&data, 0)).no_dep(ran.tensor());
            let reached = orch.submit(count, all, config())?;
            let all = args().inout(at(&data, 1)).no_dep(ran.tensor());
            let free = orch.submit(count, all, config())?;
            for handle in [&reached, &root] {
                let failure = failed_as(orch.wait(handle), FailureKind::Error);
                assert_eq!((failure.task, failure.name.as_str()), (root.id(), "fail"));
            }
            orch.wait(&free)?;
            // Long after it has left the window, too.
            for _ in 0..200 {
                orch.submit(count, args().no_dep(ran.tensor()), config())?;
            }
            assert_eq!(failure(orch.wait(&reached)).task, root.id());
            Ok(7)
        });
        assert_eq!(failure(value).name, "fail", "the run failed, whatever the closure says");
        assert_eq!(ran.get(0).unwrap(), 201);
    }
}

pub(crate) fn the_closures_own_error_comes_first() {
    for mode in BOTH {
        let Kit { exec, fail, count } = kit(mode, 64);
        let ran = exec.buffer::<u64>(1).unwrap();
        let error = exec
            .run(|orch| {
                orch.submit(fail, args().scalar(0), config())?;
                for _ in 0..50 {
                    orch.submit(count, args().no_dep(ran.tensor()), config())?;
                }
                Err::<(), _>(Error::other("changed my mind"))
            })
            .unwrap_err();
        assert_eq!(error.to_string(), "changed my mind");
        assert!(error.failure().is_none());
        assert_eq!(ran.get(0).unwrap(), 50, "what was submitted is through all the same");
        exec.run(|_| Ok(())).unwrap();
    }
}

pub(crate) fn a_panicking_closure_waits_for_its_tasks() {
    for mode in BOTH {
        let Kit { exec, count, .. } = kit(mode, 64);
        let ran = exec.buffer::<u64>(1).unwrap();
        for round in 1..=3 {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                exec.run(|orch| {
                    for _ in 0..50 {
                        orch.submit(count, args().no_dep(ran.tensor()), config())?;
                    }
                    orch.scope(|_| -> Result<(), Error> { panic!("halfway") })
                })
            }));
            let text = panic.expect_err("the panic goes on its way").downcast::<&str>();
            assert_eq!(*text.unwrap(), "halfway");
            assert_eq!(ran.get(0).unwrap(), 50 * round);
            exec.run(|orch| {
                assert_eq!(orch.scope_depth(), 1);
                Ok(())
            })
            .unwrap();
        }
    }
}

/// A task may be through while the failed one that it depends on still releases others: the words
/// of the failure are known all the same.
pub(crate) fn a_root_that_still_releases_others() {
    let mut builder = small(Mode::Process, 2);
    let fail = builder.register("fail", |args, _, _| {
        let all_submitted = atom(&args, 1, 0);
        while all_submitted.load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
        Err::<(), _>("the very words")
    });
    let fail = fail.unwrap();
    let read = builder.register("read", bodies::nop).unwrap();
    let exec = builder.build().unwrap();
    let [data, gate] = [exec.buffer::<u64>(1).unwrap(), exec.buffer::<u64>(1).unwrap()];
    for _ in 0..1000 {
        gate.set(0, 0).unwrap();
        let ended = exec.run(|orch| {
            orch.submit(fail, args().output(&data).no_dep(&gate), config())?;
            let readers = (0..40).map(|_| orch.submit(read, args().input(&data), config()));
            let readers = readers.collect::<Result<Vec<_>, _>>()?;
            cell(&gate, 0).store(1, SeqCst);
            let failed = failure(orch.wait(&readers[38]));
            assert_eq!((failed.name.as_str(), failed.message.as_str()), ("fail", "the very words"));
            Ok(())
        });
        assert_eq!(failure(ended).message, "the very words");
    }
}
