//! Submits that fail must leave slabs and buffers as they found them. They once named the next
//! task as the last that uses the bytes, and if that never came, nobody could have the space.

use std::time::Duration;

use mailring::abi::ContinuousTensor;
use mailring::{Callable, Error, Executor, Mode, Orchestrator, TaskHandle};

use testkit::{BOTH, args, config, new_kib, small, within};

/// Bytes of a heap ring, in KiB; slabs are larger than half of it.
const RING: u32 = 64;
const SLAB: u32 = 40;

fn kit(mode: Mode) -> (Executor, Callable) {
    let mut builder = small(mode, 2)
        .heap_bytes(RING as usize * 1024)
        .buffer_bytes(1 << 20)
        .back_pressure_timeout(Duration::from_secs(4));
    let fill = builder
        .register("fill", |args, _, _| {
            let last = args.tensors().len() - 1;
            (0..args.elements::<u64>(last)?.1).try_for_each(|i| args.set(last, i, 7u64))
        })
        .unwrap();
    (builder.build().unwrap(), fill)
}

type Fails = fn(&mut Orchestrator, Callable, ContinuousTensor) -> Error;

/// Ways to fail after `named` was looked at.
const WAYS: [(&str, Fails); 6] = [
    ("no room while the scope is open", |orch, fill, named| {
        let error = orch.submit(fill, args().input(named).output(new_kib(SLAB)), config());
        let error = error.unwrap_err();
        assert!(matches!(error, Error::HeapDeadlock(_)), "{error}");
        error
    }),
    ("refused by `try_submit`", |orch, fill, named| {
        let all = args().input(named).output(new_kib(SLAB));
        orch.try_submit(fill, all, config()).unwrap_err().error
    }),
    ("too large for the ring", |orch, fill, named| {
        let error = orch.submit(fill, args().input(named).output(new_kib(2 * RING)), config());
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Ring(_)), "{error}");
        error
    }),
    ("an unknown address", |orch, fill, named| {
        let nowhere = ContinuousTensor::from_raw(0x1000, [8, 0, 0, 0, 0], 1, 0);
        let error = orch.submit(fill, args().inout(named).input(nowhere), config()).unwrap_err();
        assert!(matches!(error, Error::UnknownAddress { index: 1, .. }), "{error}");
        error
    }),
    ("a null input", |orch, fill, named| {
        let error = orch.submit(fill, args().output_existing(named).input(new_kib(1)), config());
        let error = error.unwrap_err();
        assert!(matches!(error, Error::NullTensor(1)), "{error}");
        error
    }),
    ("a group whose last member is impossible", |orch, fill, named| {
        let all = vec![args().no_dep(named), args().input(new_kib(1))];
        orch.submit_group(fill, all, config()).unwrap_err()
    }),
];

/// Runs `f` in `more` scopes inside the present one.
fn deeper<R>(
    orch: &mut Orchestrator,
    more: usize,
    f: impl FnOnce(&mut Orchestrator) -> Result<R, Error>,
) -> Result<R, Error> {
    if more == 0 {
        return f(orch);
    }
    orch.scope(|orch| deeper(orch, more - 1, f))
}

pub(crate) fn a_failed_submit_leaves_no_mark_on_a_slab() {
    for mode in BOTH {
        let (exec, fill) = kit(mode);
        for (how, fails) in WAYS {
            for scopes in 0..5 {
                println!("{mode:?}, {how}, {scopes} scopes");
                let one = |orch: &mut Orchestrator| {
                    orch.submit(fill, args().output(new_kib(SLAB)), config())
                };
                exec.run(|orch| {
                    deeper(orch, scopes, |orch| {
                        let named = one(orch)?.tensor(0)?;
                        fails(orch, fill, named);
                        Ok(()) // nothing more in this run: the number named is not given away
                    })
                })
                .unwrap();
                within(5, || exec.run(|orch| deeper(orch, scopes, |orch| one(orch).map(drop))))
                    .unwrap();
            }
        }
    }
}

pub(crate) fn a_failed_submit_leaves_no_mark_in_its_own_run() {
    for mode in BOTH {
        let (exec, fill) = kit(mode);
        for (how, fails) in WAYS {
            println!("{mode:?}, {how}");
            within(5, || {
                exec.run(|orch| {
                    for scopes in (1..5).chain(1..5) {
                        deeper(orch, scopes, |orch| {
                            let all = args().output(new_kib(SLAB));
                            let named = orch.submit(fill, all, config())?.tensor(0)?;
                            fails(orch, fill, named);
                            Ok(())
                        })?;
                    }
                    Ok(())
                })
            })
            .unwrap();
        }
    }
}

pub(crate) fn a_failed_submit_leaves_no_mark_on_a_buffer() {
    for mode in BOTH {
        let (exec, fill) = kit(mode);
        let len = (768 << 10) / 8;
        for (how, fails) in WAYS {
            println!("{mode:?}, {how}");
            let buffer = exec.buffer::<u64>(len).unwrap();
            exec.run(|orch| {
                orch.submit(fill, args().output(new_kib(SLAB)), config())?; // so that it is full
                fails(orch, fill, buffer.tensor());
                Ok(())
            })
            .unwrap();
            drop(buffer);
            let again = within(5, || exec.buffer::<u64>(len)).unwrap();
            exec.run(|orch| {
                orch.submit(fill, args().output_existing(again.tensor()), config()).map(drop)
            })
            .unwrap();
            assert_eq!(again.get(len - 1).unwrap(), 7);
        }
    }
}

/// The slab's scope has closed, so the wait for it looked as if it could end. But its last task is
/// the one that asks.
pub(crate) fn an_argument_that_fills_the_ring_is_refused_at_once() {
    for mode in BOTH {
        let (exec, fill) = kit(mode);
        exec.run(|orch| {
            deeper(orch, 3, |orch| {
                for _ in 0..20 {
                    let inner = deeper(orch, 1, |orch| -> Result<TaskHandle, Error> {
                        orch.submit(fill, args().output(new_kib(SLAB)), config())
                    })?;
                    let copy = args().input(inner.tensor(0)?).output(new_kib(SLAB));
                    let error = within(2, || orch.submit(fill, copy, config())).unwrap_err();
                    match &error {
                        Error::HeapDeadlock(pinned) => {
                            assert_eq!((pinned.scope, pinned.ring), (0, 3), "{error}");
                            assert_eq!(pinned.oldest_bytes, u64::from(SLAB) * 1024);
                            assert!(error.to_string().contains("this very submit"), "{error}");
                        }
                        _ => panic!("{error}"),
                    }
                    // It can be named by what fits, and its space is had by others afterwards.
                    let read = args().input(inner.tensor(0)?).output(new_kib(1));
                    deeper(orch, 1, |orch| orch.submit(fill, read, config()))?;
                }
                Ok(())
            })
        })
        .unwrap();
    }
}
