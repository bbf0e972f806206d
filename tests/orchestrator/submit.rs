//! Submits that go well.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mailring::abi::{ContinuousTensor, DataType, TaskArgs};
use mailring::{Buffer, Callable, Error, Executor, Hazards, Mode};
use testkit::{BOTH, Done, Gate, args, at, atom, bodies, config, eventually, failure, small};

struct Kit {
    exec: Executor,
    gate: Callable,
    count: Callable,
    fail: Callable,
    state: Gate,
}

fn kit(mode: Mode, hazards: Hazards) -> Kit {
    let mut builder = small(mode, 2).sub_workers(1).hazards(hazards).heap_bytes(64 << 10);
    let gate = builder.register("gate", bodies::gate).unwrap();
    let count = builder.register("count", bodies::count).unwrap();
    let fail = builder.register("fail", bodies::fail).unwrap();
    let exec = builder.build().unwrap();
    let state = Gate::new(&exec);
    Kit { exec, gate, count, fail, state }
}

impl Kit {
    fn with_state(&self, all: TaskArgs) -> TaskArgs {
        all.no_dep(self.state.tensor())
    }

    fn counted(&self) -> u64 {
        self.state.counted()
    }

    /// Submits the gate over `first`, then `count` over `second`, which waits for it or does not.
    #[track_caller]
    fn check(&self, first: TaskArgs, second: TaskArgs, waits: bool) {
        let before = self.counted();
        self.state.close();
        let begun = self.state.begun();
        self.exec
            .run(|orch| {
                orch.submit(self.gate, self.with_state(first), config())?;
                self.state.await_begun(begun + 1);
                let second = orch.submit(self.count, self.with_state(second), config())?;
                if waits {
                    std::thread::sleep(Duration::from_millis(20));
                    assert_eq!(self.counted(), before, "it came too early");
                } else {
                    eventually("it waits for nobody", || self.counted() > before);
                }
                self.state.open();
                orch.wait(&second)
            })
            .unwrap();
        assert_eq!(self.counted(), before + 1);
    }
}

pub(crate) fn an_independent_task_is_ready() {
    for mode in BOTH {
        for hazards in [Hazards::Strict, Hazards::Compatible] {
            let kit = kit(mode, hazards);
            let data = kit.exec.buffer::<u64>(2).unwrap();
            kit.check(args().output(at(&data, 0)), args().output(at(&data, 1)), false);
        }
    }
}

pub(crate) fn a_dependent_task_waits() {
    for mode in BOTH {
        for hazards in [Hazards::Strict, Hazards::Compatible] {
            let kit = kit(mode, hazards);
            let data = kit.exec.buffer::<u64>(2).unwrap();
            kit.check(args().output(at(&data, 0)), args().input(at(&data, 0)), true);
        }
    }
}

pub(crate) fn a_consumed_producer_is_forgotten() {
    for mode in BOTH {
        let kit = kit(mode, Hazards::Strict);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        kit.exec
            .run(|orch| {
                let all = kit.with_state(args().output(data.tensor()));
                orch.submit(kit.count, all, config()).map(drop)
            })
            .unwrap();
        // Its failure, too, is of its own run only.
        let run = |callable| {
            kit.exec.run(|orch| {
                let all = kit.with_state(args().inout(data.tensor()));
                orch.submit(callable, all, config()).map(drop)
            })
        };
        run(kit.count).unwrap();
        failure(run(kit.fail));
        run(kit.count).unwrap();
        assert_eq!(kit.counted(), 3);
    }
}

pub(crate) fn no_dep_makes_no_edge() {
    for mode in BOTH {
        for hazards in [Hazards::Strict, Hazards::Compatible] {
            let kit = kit(mode, hazards);
            let data = kit.exec.buffer::<u64>(1).unwrap();
            let one = || args().inout(data.tensor());
            kit.check(one(), args().no_dep(data.tensor()), false);
            kit.check(args().no_dep(data.tensor()), one(), false);
        }
    }
}

fn null(elements: u32) -> ContinuousTensor {
    ContinuousTensor::new(0, &[elements], DataType::Uint64).unwrap()
}

pub(crate) fn outputs_are_allocated_in_the_heap() {
    for mode in BOTH {
        let kit = kit(mode, Hazards::Strict);
        kit.exec
            .run(|orch| {
                let floor = orch.alloc(&[1], DataType::Uint8)?.data();
                let two = kit.with_state(args().output(null(5)).output(null(200)));
                let handle = orch.submit(kit.count, two, config())?;
                let (first, second) = (handle.tensor(0)?, handle.tensor(1)?);
                for tensor in [first, second] {
                    assert_ne!(tensor.data(), 0);
                    assert_eq!(tensor.data() % 1024, 0);
                    assert!((floor..floor + (64 << 10)).contains(&tensor.data()));
                }
                assert_eq!(second.data() - first.data(), 1024);
                assert_eq!((first.shape(), second.shape()), (&[5][..], &[200][..]));
                let other =
                    orch.submit(kit.count, kit.with_state(args().output(null(1))), config())?;
                assert_eq!(other.tensor(0)?.data() - second.data(), 2048);
                Ok(())
            })
            .unwrap();
    }
}

pub(crate) fn inout_waits_for_its_creator() {
    for mode in BOTH {
        for hazards in [Hazards::Strict, Hazards::Compatible] {
            let kit = kit(mode, hazards);
            let data = kit.exec.buffer::<u64>(1).unwrap();
            kit.check(args().output(data.tensor()), args().inout(data.tensor()), true);
            kit.check(args().inout(data.tensor()), args().inout(data.tensor()), true);
        }
    }
}

/// Compatible: what only overwrites waits for nobody, and nobody's write waits for readers.
pub(crate) fn outputs_only_insert() {
    for mode in BOTH {
        for (hazards, waits) in [(Hazards::Compatible, false), (Hazards::Strict, true)] {
            let kit = kit(mode, hazards);
            let data = kit.exec.buffer::<u64>(1).unwrap();
            let all = || data.tensor();
            for first in [args().output(all()), args().inout(all()), args().input(all())] {
                kit.check(first.clone(), args().output(all()), waits);
                kit.check(first, args().output_existing(all()), waits);
            }
            kit.check(args().input(all()), args().inout(all()), waits);
            kit.check(args().output_existing(all()), args().input(all()), true);
        }
    }
}

pub(crate) fn members_have_their_own_arguments() {
    for mode in BOTH {
        for hazards in [Hazards::Strict, Hazards::Compatible] {
            let mut builder = small(mode, 2).hazards(hazards);
            let write = builder
                .register("write", |args, _, context| {
                    let index = context.group().map_or(99, |group| group.index());
                    assert_eq!(args.tensors().len(), 1 + index);
                    args.set(0, 0, args.scalar(0)? + index as u64)
                })
                .unwrap();
            let sum = builder.register("sum", bodies::sum).unwrap();
            let exec = builder.build().unwrap();
            let data = exec.buffer::<u64>(3).unwrap();
            exec.run(|orch| {
                let first = args().output(at(&data, 0)).scalar(10);
                let second = args().output(at(&data, 1)).no_dep(at(&data, 2)).scalar(20);
                orch.submit_group(write, vec![first, second], config())?;
                let all = args().input(at(&data, 0)).input(at(&data, 1)).output(at(&data, 2));
                orch.submit(sum, all, config()).map(drop)
            })
            .unwrap();
            assert_eq!(data.to_vec().unwrap(), [10, 21, 31]);
        }
    }
}

pub(crate) fn a_single_task_is_no_group() {
    let mut builder = small(Mode::Process, 1);
    let check = builder
        .register("check", |args, _, context| {
            args.set(0, 0, 1 + u64::from(context.group().is_some()))
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(2).unwrap();
    exec.run(|orch| {
        orch.submit(check, args().output(at(&data, 0)), config())?;
        orch.submit_group(check, vec![args().output(at(&data, 1))], config()).map(drop)
    })
    .unwrap();
    assert_eq!(data.to_vec().unwrap(), [1, 2]);
}

pub(crate) fn alloc_gives_memory_of_its_own() {
    for mode in BOTH {
        let kit = kit(mode, Hazards::Strict);
        kit.exec
            .run(|orch| {
                let tensor = orch.alloc(&[8, 8], DataType::Uint8)?;
                assert_ne!(tensor.data(), 0);
                assert_eq!((tensor.shape(), tensor.nbytes()?), (&[8, 8][..], 64));
                assert_eq!(tensor.dtype()?, DataType::Uint8);
                let point = orch.alloc(&[], DataType::Float32)?;
                assert_eq!((point.nbytes()?, point.data() - tensor.data()), (4, 1024));
                let nothing = orch.alloc(&[3, 0], DataType::Uint64)?;
                assert_eq!((nothing.data(), nothing.nbytes()?), (0, 0));
                let error = orch.alloc(&[1; 6], DataType::Uint8).unwrap_err();
                assert!(error.to_string().contains("at most 5"), "{error}");
                let error = orch.alloc(&[u32::MAX; 5], DataType::Uint8).unwrap_err();
                assert!(error.to_string().contains("64 bits"), "{error}");
                Ok(())
            })
            .unwrap();
    }
}

fn flow(exec: &Executor, put: Callable, add: Callable, out: &Buffer<u64>) -> Result<(), Error> {
    exec.run(|orch| {
        let temporary = orch.alloc(&[64], DataType::Uint64)?;
        orch.submit(put, args().inout(temporary).scalar(5), config())?;
        let unused = orch.alloc(&[64], DataType::Uint64)?;
        assert_ne!(unused.data(), temporary.data());
        orch.submit(add, args().input(temporary).inout(out.tensor()), config()).map(drop)
    })
}

fn put_and_add(mode: Mode) -> (Executor, Callable, Callable) {
    let mut builder = small(mode, 2);
    let put = builder
        .register("put", |args, _, _| {
            (0..64).try_for_each(|i| args.set(0, i, args.scalar(0)? * i as u64))
        })
        .unwrap();
    let add = builder
        .register("add", |args, _, _| {
            let mut sum = args.get::<u64>(1, 0)?;
            for i in 0..64 {
                sum += args.get::<u64>(0, i)?;
            }
            args.set(1, 0, sum)
        })
        .unwrap();
    (builder.build().unwrap(), put, add)
}

pub(crate) fn an_alloc_flows_from_task_to_task() {
    for mode in BOTH {
        let (exec, put, add) = put_and_add(mode);
        let out = exec.buffer::<u64>(1).unwrap();
        flow(&exec, put, add, &out).unwrap();
        assert_eq!(out.get(0).unwrap(), 5 * 63 * 32);
    }
}

pub(crate) fn eight_runs_with_allocs() {
    for mode in BOTH {
        let (exec, put, add) = put_and_add(mode);
        let out = exec.buffer::<u64>(1).unwrap();
        for round in 1..=8 {
            flow(&exec, put, add, &out).unwrap();
            assert_eq!(out.get(0).unwrap(), round * 5 * 63 * 32);
        }
    }
}

pub(crate) fn the_handle_names_outputs() {
    for mode in BOTH {
        let kit = kit(mode, Hazards::Strict);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        kit.exec
            .run(|orch| {
                let mixed = args().input(data.tensor()).output(null(4)).inout(data.tensor());
                let handle = orch.submit(kit.count, kit.with_state(mixed), config())?;
                assert_eq!(handle.tensor(1)?.shape(), [4]);
                for index in [0, 2, 3, 4, usize::MAX] {
                    let error = handle.tensor(index).unwrap_err();
                    assert!(matches!(error, Error::Handle(_)), "{index}: {error}");
                }
                let none = kit.with_state(args().output(data.tensor()));
                let handle = orch.submit(kit.count, none, config())?;
                let why = handle.tensor(0).unwrap_err().to_string();
                assert!(
                    why.contains("already named by the caller"),
                    "the caller has named it: {why}"
                );
                Ok(())
            })
            .unwrap();
    }
}

/// No bytes: no edge, no memory, no fault.
pub(crate) fn empty_tensors() {
    for mode in BOTH {
        let kit = kit(mode, Hazards::Strict);
        let data = kit.exec.buffer::<u64>(4).unwrap();
        let empty = data.view(2, &[0, 7]).unwrap();
        kit.check(args().inout(data.tensor()), args().inout(empty).output(null(0)), false);
        kit.check(args().inout(empty), args().inout(empty), false);
        assert!(kit.exec.buffer::<u64>(0).unwrap().is_empty());
    }
}

pub(crate) fn zero_bytes_beside_others() {
    let kit = kit(Mode::Process, Hazards::Strict);
    kit.exec
        .run(|orch| {
            let all = args().output(null(0)).output(null(3)).output(null(0)).output(null(2));
            let handle = orch.submit(kit.count, kit.with_state(all), config())?;
            assert_eq!((handle.tensor(0)?.data(), handle.tensor(2)?.data()), (0, 0));
            assert_eq!(handle.tensor(3)?.data() - handle.tensor(1)?.data(), 1024);
            Ok(())
        })
        .unwrap();
}

pub(crate) fn sub_tasks_get_arguments() {
    for mode in BOTH {
        let mut builder = small(mode, 1).sub_workers(2);
        let add = builder
            .register("add", |args, _, _| {
                atom(&args, 0, 0).fetch_add(args.scalar(0)?, SeqCst);
                Done::Ok(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let sum = exec.buffer::<u64>(1).unwrap();
        exec.run(|orch| {
            (1..=20).try_for_each(|n| {
                orch.submit_sub(add, args().no_dep(sum.tensor()).scalar(n)).map(drop)
            })
        })
        .unwrap();
        assert_eq!(sum.get(0).unwrap(), 210);
    }
}

/// A body may hand a tensor on, to C as well, where padding has to be zero.
pub(crate) fn padding_is_zero() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let check = builder
            .register("check", |args, _, _| {
                let padding =
                    |tensor| bytemuck::bytes_of(tensor)[33..].iter().all(|&byte| byte == 0);
                if args.tensors().iter().all(padding) { Ok(()) } else { Err("padding is not zero") }
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let x = exec.buffer::<u64>(20).unwrap();
        // Inside the descriptor, and beside it.
        let few = || args().input(at(&x, 0)).output_existing(at(&x, 1));
        let many = || (2..20).fold(few(), |all, index| all.input(at(&x, index)));
        let submit = |orch: &mut mailring::Orchestrator| {
            orch.submit(check, few(), config())?;
            orch.submit(check, many(), config())?;
            orch.submit_group(check, vec![many()], config()).map(drop)
        };
        let ((), recording) = exec.record(submit).unwrap();
        exec.replay(&recording, &recording.bindings()).unwrap();
    }
}

pub(crate) fn ids_follow_each_other() {
    for mode in BOTH {
        let kit = kit(mode, Hazards::Strict);
        let mut next = 0;
        for _ in 0..3 {
            kit.exec
                .run(|orch| {
                    for _ in 0..300 {
                        let handle = orch.submit(kit.count, kit.with_state(args()), config())?;
                        assert_eq!(handle.id().0, next);
                        next += 1;
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
}

pub(crate) fn no_tensor_at_all() {
    let mut builder = small(Mode::Process, 1);
    let check = builder
        .register("check", |args, _, _| {
            let empty = args.tensors().is_empty() && args.scalars().is_empty();
            if empty { Ok(()) } else { Err("something came") }
        })
        .unwrap();
    let exec = builder.build().unwrap();
    exec.run(|orch| (0..100).try_for_each(|_| orch.submit(check, args(), config()).map(drop)))
        .unwrap();
}

pub(crate) fn every_data_type() {
    let mut builder = small(Mode::Process, 1);
    let check = builder
        .register("check", |args, _, _| {
            for (tensor, dtype) in args.tensors().iter().zip(DataType::ALL) {
                assert_eq!(tensor.dtype()?, dtype);
                assert_eq!(tensor.nbytes()?, 6 * dtype.size() as u64);
            }
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    exec.run(|orch| {
        let all = DataType::ALL.into_iter().try_fold(args(), |all, dtype| {
            Ok::<_, Error>(all.output(ContinuousTensor::new(0, &[2, 3], dtype)?))
        });
        orch.submit(check, all?, config()).map(drop)
    })
    .unwrap();
}

/// What a handle names does not depend on what stands beside it.
pub(crate) fn an_output_of_the_caller_is_not_the_handles() {
    for mode in BOTH {
        let kit = kit(mode, Hazards::Strict);
        let data = kit.exec.buffer::<u64>(1).unwrap();
        kit.exec
            .run(|orch| {
                let alone = args().output(data.tensor());
                let beside = args().output(data.tensor()).output(null(4));
                for all in [alone, beside] {
                    let handle = orch.submit(kit.count, kit.with_state(all), config())?;
                    assert!(matches!(handle.tensor(0), Err(Error::Handle(_))));
                }
                // Nothing to allocate, but left to the submit all the same.
                for all in [args().output(null(0)), args().output(null(0)).output(null(4))] {
                    let handle = orch.submit(kit.count, kit.with_state(all), config())?;
                    assert_eq!(handle.tensor(0)?.data(), 0);
                }
                Ok(())
            })
            .unwrap();
    }
}
