//! A failure reaches those that read what the failed task was to write, and nobody else: not those
//! that have the same bytes in another life.

use std::time::Duration;

use mailring::abi::DataType;
use mailring::{Callable, Executor, FailureKind, Mode};

use testkit::{BOTH, args, config, failed_as, new_kib, small, within};

const SLAB: u32 = 40;

struct Kit {
    exec: Executor,
    fail: Callable,
    read: Callable,
    write: Callable,
}

/// A heap ring holds one slab at a time, so each comes to lie where the one before it was.
fn kit(mode: Mode, slow: u64) -> Kit {
    let mut builder = small(mode, 2).heap_bytes(64 << 10).buffer_bytes(64 << 10);
    let fail = builder
        .register("fail", move |_, _, _| {
            std::thread::sleep(Duration::from_millis(slow));
            Err::<(), _>("on purpose")
        })
        .unwrap();
    let read = builder.register("read", |args, _, _| args.get::<u64>(0, 0).map(drop)).unwrap();
    let write = builder.register("write", |args, _, _| args.set::<u64>(0, 0, 5)).unwrap();
    Kit { exec: builder.build().unwrap(), fail, read, write }
}

pub(crate) fn memory_of_a_failed_task_is_clean_when_allocated_again() {
    for mode in BOTH {
        for (slow, wait) in [(0, true), (0, false), (5, false)] {
            let Kit { exec, fail, read, .. } = kit(mode, slow);
            for scopes in 1..4 {
                let ended = within(10, || {
                    exec.run(|orch| {
                        (1..scopes).try_for_each(|_| orch.scope_begin())?;
                        for _ in 0..10 {
                            let (failed, old) = orch.scope(|orch| {
                                let slab = orch.alloc(&[SLAB * 128], DataType::Uint64)?;
                                let all = args().output_existing(slab);
                                Ok((orch.submit(fail, all, config())?, slab))
                            })?;
                            if wait {
                                failed_as(orch.wait(&failed), FailureKind::Error);
                            }
                            orch.scope(|orch| {
                                let slab = orch.alloc(&[SLAB * 128], DataType::Uint64)?;
                                assert_eq!(slab.data(), old.data(), "the same memory");
                                let reader = orch.submit(read, args().input(slab), config())?;
                                orch.wait(&reader).expect("not failed by a producer");
                                Ok(())
                            })?;
                        }
                        Ok(())
                    })
                });
                assert_eq!(failed_as(ended, FailureKind::Error).name, "fail");
            }
        }
    }
}

pub(crate) fn outputs_over_a_failed_task_are_clean() {
    for mode in BOTH {
        let Kit { exec, fail, read, write } = kit(mode, 1);
        let ended = within(10, || {
            exec.run(|orch| {
                for _ in 0..10 {
                    let old = orch.scope(|orch| {
                        let all = args().output(new_kib(SLAB));
                        orch.submit(fail, all, config())?.tensor(0)
                    })?;
                    orch.scope(|orch| {
                        let new = orch.submit(write, args().output(new_kib(SLAB)), config())?;
                        assert_eq!(new.tensor(0)?.data(), old.data(), "the same memory");
                        let all = args().input(new.tensor(0)?);
                        let reader = orch.submit(read, all, config())?;
                        orch.wait(&new).expect("not failed by a producer");
                        orch.wait(&reader).expect("not failed by a producer");
                        Ok(())
                    })?;
                }
                Ok(())
            })
        });
        assert_eq!(failed_as(ended, FailureKind::Error).name, "fail");
    }
}

pub(crate) fn a_buffer_made_again_in_the_same_run_is_clean() {
    for mode in BOTH {
        let Kit { exec, fail, read, .. } = kit(mode, 0);
        let ended = within(10, || {
            exec.run(|orch| {
                for _ in 0..20 {
                    let buffer = exec.buffer::<u64>(6000)?;
                    let old = buffer.address();
                    let all = args().output_existing(buffer.tensor());
                    let failed = orch.submit(fail, all, config())?;
                    let reader = orch.submit(read, args().input(buffer.tensor()), config())?;
                    failed_as(orch.wait(&failed), FailureKind::Error);
                    // Failed with its producer, and rightly so.
                    assert_eq!(failed_as(orch.wait(&reader), FailureKind::Error).name, "fail");
                    drop(buffer);
                    let buffer = exec.buffer::<u64>(6000)?;
                    assert_eq!(buffer.address(), old, "the same memory");
                    let reader = orch.submit(read, args().input(buffer.tensor()), config())?;
                    orch.wait(&reader).expect("not failed by a producer");
                    let all = args().inout(buffer.view(5999, &[1])?);
                    let reader = orch.submit(read, all, config())?;
                    orch.wait(&reader).expect("not failed by a producer");
                    assert_eq!(buffer.get(5999).unwrap(), 0, "zeroed");
                }
                Ok(())
            })
        });
        assert_eq!(failed_as(ended, FailureKind::Error).name, "fail");
    }
}

pub(crate) fn a_buffer_made_again_for_a_later_run_is_clean() {
    for mode in BOTH {
        let Kit { exec, fail, read, .. } = kit(mode, 1);
        for round in 0..40 {
            let buffer = exec.buffer::<u64>(6000).unwrap();
            let old = buffer.address();
            let (_, failed) = exec
                .submit_run(|orch| {
                    orch.submit(fail, args().inout(buffer.tensor()), config()).map(drop)
                })
                .unwrap();
            if round % 2 == 0 {
                // The next run reads what the earlier one failed to write: that is its own affair.
                exec.run(|orch| {
                    orch.submit(read, args().input(buffer.tensor()), config()).map(drop)
                })
                .unwrap();
            }
            failed_as(failed.wait(None), FailureKind::Error);
            exec.run(|_| Ok(())).unwrap(); // what has ended leaves the window
            drop(buffer);
            let buffer = exec.buffer::<u64>(6000).unwrap();
            assert_eq!(buffer.address(), old, "the same memory");
            let (_, handle) = exec
                .submit_run(|orch| {
                    orch.submit(read, args().input(buffer.tensor()), config()).map(drop)
                })
                .unwrap();
            assert!(handle.wait(Some(Duration::from_secs(5))).unwrap());
            exec.run(|_| Ok(())).unwrap();
        }
    }
}
