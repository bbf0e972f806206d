//! What `spawn` refuses, by which parameter of which task; and that a refusal leaves no trace.

use mailring::abi::{AbiError, ContinuousTensor, DataType};
use mailring::prelude::*;
use mailring::{ArgumentError, ArgumentFault, Callable, FailureKind, Hazards};
use testkit::{BOTH, BoxError, args, config, failed_as, small};

type Add = Task<(In<'static, u64>, In<'static, u64>, Out<'static, u64>)>;
type Both = Task<(InOut<'static, u64>, InOut<'static, u64>)>;

struct Kit {
    exec: Executor,
    add: Add,
    both: Both,
    data: Buffer<u64>,
}

fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 2);
    let add = builder
        .task("add", |x: In<u64>, y: In<u64>, mut z: Out<u64>| {
            z.iter_mut().zip(x.iter().zip(y.iter())).for_each(|(z, (x, y))| *z = x + y);
        })
        .unwrap();
    let both = builder
        .task("both", |mut x: InOut<u64>, mut y: InOut<u64>| {
            x.iter_mut().chain(y.iter_mut()).for_each(|x| *x += 1);
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer(16).unwrap();
    Kit { exec, add, both, data }
}

#[track_caller]
fn fault<T: std::fmt::Debug>(result: Result<T, Error>) -> ArgumentError {
    match result {
        Err(Error::Argument(error)) => *error,
        other => panic!("expected a refused argument, not {other:?}"),
    }
}

pub(crate) fn what_overlaps() {
    for mode in BOTH {
        let Kit { exec, add, both, data } = kit(mode);
        let part = |range: std::ops::Range<usize>| data.part(range);
        exec.run(|s| {
            let refused = [
                (s.spawn(add, (&data, part(0..4), &data)), 1, 3, 128),
                (s.spawn(add, (part(0..4), part(4..8), part(7..11))), 2, 3, 8),
                (s.spawn(add, (part(8..9), part(0..4), part(2..10))), 1, 3, 8),
                (s.spawn(both, (part(0..4), part(3..5))), 1, 2, 8),
                (s.spawn(both, (part(3..5), part(0..4))), 1, 2, 8),
                (s.spawn(both, (&data, &data)), 1, 2, 128),
            ];
            for (result, first, second, bytes) in refused {
                let error = fault(result);
                assert_eq!(error.parameter, first);
                let overlap = ArgumentFault::Overlap { parameter: second, member: None, bytes };
                assert_eq!(error.fault, overlap);
            }
            // Neighbours, and nothing, share nothing.
            s.spawn(both, (part(0..4), part(4..8)))?;
            s.spawn(both, (part(0..4), part(2..2)))?;
            s.spawn(add, (part(0..4), part(0..4), part(4..8)))
        })
        .unwrap();
        assert_eq!(data.to_vec().unwrap()[..8], [2, 2, 2, 2, 4, 4, 4, 4]);
    }
}

pub(crate) fn members_that_overlap() {
    let Kit { exec, add, both, data } = kit(Mode::Process);
    let part = |range: std::ops::Range<usize>| data.part(range);
    exec.run(|s| {
        // Two write the same; one reads what the other writes; one that writes all.
        let error =
            fault(s.spawn_group(both, [(part(0..2), part(2..4)), (part(4..6), part(3..4))]));
        assert_eq!((error.member, error.parameter), (Some(0), 2));
        let other = ArgumentFault::Overlap { parameter: 2, member: Some(1), bytes: 8 };
        assert_eq!(error.fault, other);
        let groups = [
            [(part(0..4), part(0..4), part(8..9)), (part(0..9), part(0..4), part(9..10))],
            [(part(5..6), part(0..1), part(8..9)), (part(9..10), part(9..10), part(0..8))],
        ];
        for group in groups {
            let error = fault(s.spawn_group(add, group));
            assert_eq!(error.member, Some(0), "{error}");
            let other = matches!(error.fault, ArgumentFault::Overlap { member: Some(1), .. });
            assert!(other, "{error}");
        }
        // Within one member.
        let error =
            fault(s.spawn_group(both, [(part(0..2), part(2..4)), (part(4..6), part(5..8))]));
        assert_eq!((error.member, error.parameter), (Some(1), 1));
        let own = ArgumentFault::Overlap { parameter: 2, member: None, bytes: 8 };
        assert_eq!(error.fault, own);
        assert_eq!(
            error.to_string(),
            "parameter 1 of `both`, member 1: it shares 8 bytes with parameter 2, and one of the \
             two is written; name parts that share nothing, or take the bytes once, as `InOut`"
        );
        let none: [(View<'_, u64>, View<'_, u64>); 0] = [];
        assert!(matches!(s.spawn_group(both, none), Err(Error::EmptyGroup)));
        s.spawn_group(both, [(part(0..2), part(2..4)), (part(4..6), part(6..8))])
    })
    .unwrap();
    assert_eq!(data.to_vec().unwrap()[..9], [1, 1, 1, 1, 1, 1, 1, 1, 0]);
}

pub(crate) fn parts_that_are_not_inside() {
    let Kit { exec, both, data, .. } = kit(Mode::Thread);
    exec.run(|s| {
        #[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let bad = [
            (data.part(10..17), 10, 17),
            (data.part(17..), 17, 16),
            (data.part(5..4), 5, 4),
            (data.part(usize::MAX..), usize::MAX, 16),
            (data.part(..=usize::MAX), 0, usize::MAX),
            (data.part(4..8).part(2..5), 2, 5),
            (data.part(4..40).part(2..5).shaped(&[3]), 4, 40),
        ];
        for (view, first, end) in bad {
            let error = fault(s.spawn(both, (data.part(..1), view)));
            assert_eq!(error.parameter, 2);
            let len = if (first, end) == (2, 5) { 4 } else { 16 };
            assert_eq!(error.fault, ArgumentFault::OutOfRange { first, end, len });
            assert!(view.is_empty());
        }
        Ok(())
    })
    .unwrap();
}

pub(crate) fn shapes_that_do_not_fit() {
    let Kit { exec, both, data, .. } = kit(Mode::Thread);
    exec.run(|s| {
        for shape in [&[15][..], &[], &[4, 5], &[u32::MAX; 5], &[16, 0]] {
            let error = fault(s.spawn(both, (data.part(..).shaped(shape), data.part(..0))));
            assert_eq!(error.fault, ArgumentFault::Shape { shape: shape.to_vec(), len: 16 });
        }
        let error = fault(s.spawn(both, (data.part(..).shaped(&[1; 6]), data.part(..0))));
        assert_eq!(error.fault, ArgumentFault::Tensor(AbiError::TooManyDims(6)));
        let error = s.array::<u64>(&[1; 6]).unwrap_err();
        assert!(matches!(error, Error::Args(AbiError::TooManyDims(6))), "{error}");
        Ok(())
    })
    .unwrap();
}

pub(crate) fn memory_of_others() {
    for mode in BOTH {
        let (ours, theirs) = (kit(mode), kit(mode));
        theirs
            .exec
            .run(|other| {
                let array = other.array::<u64>(&[4])?;
                ours.exec.run(|s| {
                    let (data, free) = (&ours.data, ours.data.part(8..));
                    for error in [
                        fault(s.spawn(ours.both, (&theirs.data, free))),
                        fault(s.spawn(ours.both, (theirs.data.part(..1), free))),
                        fault(s.spawn(ours.both, (array, free))),
                        fault(s.spawn_group(ours.both, [(array.part(1..), free)])),
                    ] {
                        assert_eq!(error.parameter, 1);
                        assert_eq!(error.fault, ArgumentFault::OtherExecutor);
                    }
                    s.spawn(ours.both, (data.part(..8), free)).map(drop)
                })
            })
            .unwrap();
        assert_eq!(ours.data.to_vec().unwrap(), [1; 16]);
        assert_eq!(theirs.exec.stats().submitted, 0);
    }
}

pub(crate) fn memory_of_a_closed_scope() {
    let Kit { exec, both, data, .. } = kit(Mode::Thread);
    let earlier = exec
        .run(|s| {
            let outer = s.array::<u64>(&[4])?;
            let inner = s.scope(|s| {
                let inner = s.array::<u64>(&[4])?;
                s.spawn(both, (inner, outer))?;
                Ok(inner)
            })?;
            // Another scope of the same depth, with memory at the same place perhaps.
            s.scope(|s| {
                s.array::<u64>(&[4])?;
                let error = fault(s.spawn(both, (outer, inner)));
                assert_eq!((error.parameter, error.fault), (2, ArgumentFault::ScopeClosed));
                s.spawn(both, (outer, &data)).map(drop)
            })?;
            Ok(outer)
        })
        .unwrap();
    exec.run(|s| {
        let error = fault(s.spawn(both, (earlier.part(..1), &data)));
        assert_eq!(error.fault, ArgumentFault::ScopeClosed);
        Ok(())
    })
    .unwrap();
}

pub(crate) fn functions_of_others() {
    for mode in BOTH {
        let (ours, theirs) = (kit(mode), kit(mode));
        ours.exec
            .run(|s| {
                let args = (ours.data.part(..8), ours.data.part(8..));
                let error = s.spawn(theirs.both, args).unwrap_err();
                assert!(matches!(error, Error::UnknownFunction(_)), "{error}");
                s.spawn(ours.both, args)
            })
            .unwrap();
    }
    // Nor do workers with a factory of their own have it.
    struct Nobody;
    impl mailring::Worker for Nobody {
        fn run(
            &mut self,
            _: u64,
            _: mailring::abi::TaskArgsView<'_>,
            _: &mailring::abi::CallConfig,
            _: &TaskContext<'_>,
        ) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let mut builder = small(Mode::Thread, 1);
    let task = builder.task("task", || ()).unwrap();
    let builder = builder.worker_factory(mailring::WorkerKind::NextLevel, |_| Ok(Box::new(Nobody)));
    let exec = builder.build().unwrap();
    let error = exec.run(|s| s.spawn(task, ())).unwrap_err();
    assert!(matches!(error, Error::UnknownFunction(_)), "{error}");
    exec.run(|s| s.submit(7, args(), config())).unwrap();
}

/// A body that trusts its arguments gets them from `spawn` alone.
pub(crate) fn untyped_submits() {
    for mode in BOTH {
        let Kit { exec, both, data, .. } = kit(mode);
        exec.run(|s| {
            let twice = || args().no_dep(&data).no_dep(&data);
            let callable = both.callable();
            for error in [
                s.submit(callable, twice(), config()).unwrap_err(),
                s.submit(callable.0, twice(), config()).unwrap_err(),
                s.try_submit(callable, twice(), config()).unwrap_err().error,
                s.submit_group(callable, vec![twice()], config()).unwrap_err(),
            ] {
                assert!(error.to_string().contains("through `spawn`"), "{error}");
            }
            // Nor under another number.
            let other = Callable(callable.0 & !(1 << 31));
            let error = s.submit(other, twice(), config()).unwrap_err();
            assert!(matches!(error, Error::UnknownFunction(_)), "{error}");
            Ok(())
        })
        .unwrap();
        assert_eq!(exec.stats().submitted, 0);
    }
}

pub(crate) fn compatible_hazards() {
    let mut builder = small(Mode::Thread, 1).hazards(Hazards::Compatible);
    let fill = builder.task("fill", |mut x: Out<u64>| x.fill(1)).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer(1).unwrap();
    let error = exec
        .run(|s| {
            let group = s.spawn_group(fill, [(&data,)]).unwrap_err();
            assert!(matches!(group, Error::Misuse(_)), "{group}");
            s.spawn(fill, (&data,))
        })
        .unwrap_err();
    assert!(error.to_string().contains("strict hazards"), "{error}");
    assert_eq!(data.get(0).unwrap(), 0);
}

pub(crate) fn imported_memory() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let fill = builder.task("fill", |mut x: Out<u64>, value: u64| x.fill(value)).unwrap();
        let exec = builder.build().unwrap();
        let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING;
        let file = nix::sys::memfd::memfd_create(c"shared", flags).unwrap();
        nix::unistd::ftruncate(&file, 4096).unwrap();
        let data = exec.import::<u64>(file, 8).unwrap();
        exec.run(|s| {
            for error in
                [fault(s.spawn(fill, (&data, 1))), fault(s.spawn(fill, (data.part(..), 1)))]
            {
                assert_eq!(error.fault, ArgumentFault::Imported);
                assert!(error.to_string().contains("`View::of`"), "{error}");
            }
            // SAFETY: nobody else has the file.
            s.spawn(fill, (unsafe { View::of(data.tensor()) }, 5))
        })
        .unwrap();
        assert_eq!(data.to_vec().unwrap(), [5; 8]);
    }
}

pub(crate) fn misaligned_promises() {
    let Kit { exec, both, data, .. } = kit(Mode::Thread);
    exec.run(|s| {
        let at = |address, dtype| ContinuousTensor::new(address, &[1], dtype).unwrap();
        let null = ContinuousTensor::from_raw(0, [1, 0, 0, 0, 0], 1, DataType::Uint64 as u8);
        for bad in [
            at(data.address() + 4, DataType::Uint64),
            at(data.address(), DataType::Float32),
            at(data.address(), DataType::Int64),
            ContinuousTensor::from_raw(data.address(), [1; 5], 6, DataType::Uint64 as u8),
            ContinuousTensor::from_raw(data.address(), [1; 5], 1, 99),
        ] {
            // SAFETY: none of them becomes a slice.
            let error = fault(s.spawn(both, (data.part(8..), unsafe { View::of(bad) })));
            assert_eq!(error.parameter, 2);
            assert_eq!(error.fault, ArgumentFault::Elements(DataType::Uint64));
        }
        // SAFETY: as above.
        let error = s.spawn(both, (&data, unsafe { View::of(null) })).unwrap_err();
        assert!(matches!(error, Error::NullTensor(1)), "{error}");
        // SAFETY: as above.
        let nowhere = unsafe { View::of(at(1 << 20, DataType::Uint64)) };
        let error = s.spawn(both, (&data, nowhere)).unwrap_err();
        assert!(matches!(error, Error::UnknownAddress { index: 1, .. }), "{error}");
        Ok(())
    })
    .unwrap();
}

pub(crate) fn what_is_not_ordered() {
    let mut builder = small(Mode::Process, 2);
    // Two that run at the same time over the same bytes, and only look at their lengths.
    let meet = builder
        .task("meet", |context: &TaskContext, x: Out<u64>| -> Result<(), BoxError> {
            let group = context.group().ok_or("no group")?;
            group.fetch_add(0, x.len() as u64);
            group.barrier()?;
            if group.load(0) == 8 { Ok(()) } else { Err("someone is not here".into()) }
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(4).unwrap();
    exec.run(|s| {
        fault(s.spawn_group(meet, [(&data,), (&data,)]));
        // SAFETY: the bodies touch no element.
        let free = unsafe { data.part(..).unordered() };
        s.spawn_group(meet, [(free,), (free,)])
    })
    .unwrap();
}

pub(crate) fn a_refusal_leaves_no_trace() {
    for mode in BOTH {
        let Kit { exec, both, data, .. } = kit(mode);
        exec.run(|s| {
            let inner = s.array::<u64>(&[1])?;
            for _ in 0..300 {
                fault(s.spawn(both, (&data, &data)));
                fault(s.spawn(both, (inner, data.part(99..))));
                fault(s.spawn_group(both, [(inner, data.part(..)), (inner, data.part(..))]));
            }
            s.spawn(both, (data.part(..1), data.part(1..2)))
        })
        .unwrap();
        assert_eq!(exec.stats().submitted, 1);
        assert_eq!(data.to_vec().unwrap()[..3], [1, 1, 0]);
    }
}

pub(crate) fn names_in_messages() {
    let mut builder = small(Mode::Thread, 1);
    let task = builder.task("name it", |_: &TaskContext, _: u64, _: In<u64>| ()).unwrap();
    let error = builder.task("name it", || ()).unwrap_err();
    assert!(error.to_string().contains("`name it` is registered already"), "{error}");
    let fail = builder.task("fail", |_: u64| Err::<(), _>("no")).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(3).unwrap();
    exec.run(|s| {
        let error = s.spawn(task, (1, data.part(2..9))).unwrap_err();
        let text = "parameter 2 of `name it`: elements 2..9 are no part of 3 elements";
        assert_eq!(error.to_string(), text);
        let options = TaskOptions::new().name("mine");
        let error = s.spawn_with(task, (1, data.part(2..9)), &options).unwrap_err();
        assert!(error.to_string().starts_with("parameter 2 of `mine`: "), "{error}");
        Ok(())
    })
    .unwrap();
    let failure = failed_as(exec.run(|s| s.spawn(fail, (1,))), FailureKind::Error);
    assert_eq!((failure.name.as_str(), failure.message.as_str()), ("fail", "no"));
}
