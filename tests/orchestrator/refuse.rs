//! Bad input gets a clear error and changes nothing: after each refusal the same run goes on and
//! ends well.

use mailring::abi::{AbiError, ContinuousTensor, DataType, TaskArgs, TensorArgType};
use mailring::{Buffer, Callable, Error, Executor, Mode, Orchestrator, WorkerKind};
use testkit::{BOTH, Random, args, at, bodies, config, small};

struct Kit {
    exec: Executor,
    add: Callable,
    data: Buffer<u64>,
}

fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 2).heap_bytes(64 << 10);
    let add = builder.register("add", bodies::add_one).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer(4).unwrap();
    Kit { exec, add, data }
}

/// Every way to submit is refused with text that holds `says`, before and after tasks that work.
fn refused(bad: impl Fn(&Kit) -> TaskArgs, says: &str) {
    for mode in BOTH {
        let kit = kit(mode);
        let good = |orch: &mut Orchestrator| {
            orch.submit(kit.add, args().inout(at(&kit.data, 0)), config()).map(drop)
        };
        kit.exec
            .run(|orch| {
                good(orch)?;
                for _ in 0..200 {
                    let group = vec![args().inout(at(&kit.data, 1)), bad(&kit)];
                    for error in [
                        orch.submit(kit.add, bad(&kit), config()).unwrap_err(),
                        orch.try_submit(kit.add, bad(&kit), config()).unwrap_err().error,
                        orch.submit_group(kit.add, group, config()).unwrap_err(),
                    ] {
                        let text = error.to_string();
                        assert!(text.contains(says), "{says:?} is not in {text:?}");
                    }
                }
                let refused = orch.try_submit(kit.add, bad(&kit), config()).unwrap_err();
                assert_eq!(refused.args, bad(&kit), "the arguments come back as they were");
                good(orch)
            })
            .unwrap();
        assert_eq!(kit.data.to_vec().unwrap(), [2, 0, 0, 0]);
        assert_eq!(kit.exec.stats().submitted, 2);
        kit.exec.run(good).unwrap();
        assert_eq!(kit.data.get(0).unwrap(), 3);
    }
}

fn raw(kit: &Kit, shape: [u32; 5], dims: u32, dtype: u8) -> ContinuousTensor {
    ContinuousTensor::from_raw(kit.data.address(), shape, dims, dtype)
}

pub(crate) fn too_many_dimensions() {
    refused(|kit| args().inout(raw(kit, [1; 5], 6, 8)), "at most 5 dimensions, not 6");
    refused(|kit| args().no_dep(raw(kit, [1; 5], u32::MAX, 8)), "dimensions");
    let error = ContinuousTensor::new(0, &[1; 6], DataType::Uint8).unwrap_err();
    assert_eq!(error, AbiError::TooManyDims(6));
}

pub(crate) fn an_unknown_dtype() {
    for dtype in [9, 14, 255] {
        refused(
            |kit| args().inout(raw(kit, [1; 5], 1, dtype)),
            &format!("{dtype} is not a data type"),
        );
        assert_eq!(DataType::try_from(dtype), Err(AbiError::UnknownDtype(dtype)));
    }
}

pub(crate) fn sizes_that_overflow() {
    refused(|kit| args().inout(raw(kit, [u32::MAX; 5], 5, 5)), "64 bits can count");
    refused(
        |_| args().output(ContinuousTensor::from_raw(0, [u32::MAX; 5], 5, 5)),
        "64 bits can count",
    );
    // Each fits, all together do not; and one that runs over the end of all addresses.
    let large = ContinuousTensor::from_raw(0, [u32::MAX, u32::MAX, 0, 0, 0], 2, 5);
    refused(|_| args().output(large).output(large), "64 bits can count");
    let end = ContinuousTensor::from_raw(u64::MAX - 3, [4, 0, 0, 0, 0], 1, 5);
    refused(|_| args().input(end), "end of the address space");
    refused(|_| args().output(large), "can never fit");
}

pub(crate) fn a_tensor_after_a_scalar() {
    refused(|kit| args().scalar(1).inout(kit.data.tensor()), "after a scalar");
    let mut late = TaskArgs::new();
    late.add_scalar(1);
    let tensor = ContinuousTensor::new(0, &[1], DataType::Uint8).unwrap();
    let error = late.add_tensor(tensor, TensorArgType::Input).unwrap_err();
    assert_eq!(error, AbiError::TensorAfterScalar { tensor: 0 });
    assert_eq!(late, args().scalar(1), "nothing is changed");
}

pub(crate) fn more_arguments_than_a_descriptor_holds() {
    let many = |scalars: usize| {
        let mut all = args();
        (0..scalars).for_each(|i| _ = all.add_scalar(i as u64));
        all
    };
    let kit = kit(Mode::Process);
    let kib = (2 << 20) / 8;
    kit.exec
        .run(|orch| {
            let error = orch.submit(kit.add, many(kib), config()).unwrap_err();
            assert!(matches!(error, Error::ArgsTooLarge(2_097_160)), "{error}");
            assert!(error.to_string().contains("tensors"), "{error}");
            let error = orch
                .submit_group(kit.add, vec![many(kib / 2), many(kib / 2)], config())
                .unwrap_err();
            assert!(matches!(error, Error::ArgsTooLarge(_)), "{error}");
            // The largest that can be, many times over: the payload ring is reused.
            let mut most = args().inout(at(&kit.data, 0));
            (0..kib - 1 - 5).for_each(|i| _ = most.add_scalar(i as u64));
            for _ in 0..20 {
                orch.submit(kit.add, most.clone(), config())?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(kit.data.get(0).unwrap(), 20);
}

pub(crate) fn addresses_of_nobody() {
    let mine = Box::new([0u64; 4]);
    let here = mine.as_ptr() as u64;
    for tag in [
        TensorArgType::Input,
        TensorArgType::Output,
        TensorArgType::InOut,
        TensorArgType::OutputExisting,
        TensorArgType::NoDep,
    ] {
        let make = |address: u64| {
            let tensor = ContinuousTensor::from_raw(address, [4, 0, 0, 0, 0], 1, 8);
            let mut all = args();
            all.add_tensor(tensor, tag).unwrap();
            all
        };
        refused(|_| make(here), "no buffer of this executor");
        refused(|_| make(8), "no buffer of this executor");
        // One byte over the end, and in front; the buffer is 64 bytes long inside.
        refused(|kit| make(kit.data.address() + 40), "no buffer of this executor");
        refused(|kit| make(kit.data.address() - 8), "no buffer of this executor");
    }
}

pub(crate) fn null_where_nothing_is_allocated() {
    let null = ContinuousTensor::new(0, &[4], DataType::Uint64).unwrap();
    refused(|_| args().input(null), "has a null address");
    refused(|_| args().output(null).inout(null), "has a null address");
    refused(|_| args().output_existing(null), "null address");
}

pub(crate) fn unknown_functions() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                for id in [1, 2, 1 << 40, u64::MAX] {
                    let error = orch.submit(Callable(id), args(), config()).unwrap_err();
                    assert!(matches!(error, Error::UnknownFunction(found) if found == id));
                    let error = orch.submit_group(Callable(id), vec![args()], config());
                    assert!(matches!(error, Err(Error::UnknownFunction(_))));
                }
                orch.submit(kit.add, args().inout(at(&kit.data, 0)), config()).map(drop)
            })
            .unwrap();
        assert_eq!(kit.exec.stats().submitted, 1);
    }
}

pub(crate) fn pools_without_workers() {
    for mode in BOTH {
        let kit = kit(mode);
        let mut builder = small(mode, 0).sub_workers(1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let subs = builder.build().unwrap();
        let error = kit.exec.run(|orch| orch.submit_sub(kit.add, args()).map(drop)).unwrap_err();
        assert!(matches!(error, Error::NoWorkers(WorkerKind::Sub)), "{error}");
        let error = subs.run(|orch| orch.submit(nop, args(), config()).map(drop)).unwrap_err();
        assert!(matches!(error, Error::NoWorkers(WorkerKind::NextLevel)), "{error}");
        subs.run(|orch| orch.submit_sub(nop, args()).map(drop)).unwrap();
    }
}

pub(crate) fn a_scope_end_without_begin() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                let error = orch.scope_end().unwrap_err();
                assert!(error.to_string().contains("without an open scope"), "{error}");
                orch.submit(kit.add, args().inout(at(&kit.data, 0)), config()).map(drop)
            })
            .unwrap();
        assert_eq!(kit.data.get(0).unwrap(), 1);
    }
}

/// A submit that was refused for want of heap space holds no slot, no bytes, no edge, and the
/// run ends.
pub(crate) fn a_failed_submit_leaves_no_trace() {
    for mode in BOTH {
        let kit = kit(mode);
        let null = |kib: u32| ContinuousTensor::new(0, &[kib << 7], DataType::Uint64).unwrap();
        for _ in 0..20 {
            kit.exec
                .run(|orch| {
                    orch.submit(kit.add, args().output(null(60)), config())?;
                    for _ in 0..1000 {
                        let all = args().output(null(5)).inout(kit.data.tensor());
                        let error = orch.submit(kit.add, all, config()).unwrap_err();
                        assert!(matches!(error, Error::HeapDeadlock { .. }), "{error}");
                        let all = args().output(null(65)).inout(kit.data.tensor());
                        let error = orch.submit(kit.add, all, config()).unwrap_err();
                        assert!(matches!(error, Error::Ring(_)), "{error}");
                    }
                    // Nothing of the buffer waits for any of them.
                    orch.submit(kit.add, args().inout(at(&kit.data, 1)), config())?;
                    let handle = orch.submit(kit.add, args().output(null(4)), config())?;
                    assert_eq!(handle.tensor(0)?.data() % 1024, 0);
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(kit.data.to_vec().unwrap(), [0, 20, 0, 0]);
        assert_eq!(kit.exec.stats().submitted, 60);
    }
}

pub(crate) fn buffers_that_cannot_be() {
    let kit = kit(Mode::Process);
    for elements in [usize::MAX, 1 << 33, (16 << 20) / 8 + 1] {
        let why = kit.exec.buffer::<u64>(elements).map(drop).unwrap_err();
        assert!(matches!(why, Error::BufferSpace { .. } | Error::BufferLength(_)), "{why:?}");
    }
    for (first, shape) in [(0, 5), (4, 1), (3, 2)] {
        let why = kit.data.view(first, &[shape]).unwrap_err();
        assert!(matches!(why, AbiError::OutOfRange { .. }), "{first} {shape}: {why:?}");
    }
    let why = kit.data.view(usize::MAX, &[1]).unwrap_err();
    assert!(matches!(why, AbiError::AddressOverflow { .. }), "{why:?}");
    assert_eq!(kit.data.view(0, &[1; 6]), Err(AbiError::TooManyDims(6)));
    let vast = vec![u32::MAX; 5];
    assert_eq!(kit.data.view(1, &vast), Err(AbiError::SizeOverflow(vast.clone())));
    assert!(kit.data.view(3, &[1]).is_ok() && kit.data.view(4, &[0]).is_ok());
    let outside = |why: Error| {
        assert!(matches!(why, Error::Args(AbiError::OutOfRange { .. })), "{why:?}");
    };
    outside(kit.data.set(4, 1).unwrap_err());
    outside(kit.data.get(4).unwrap_err());
    outside(kit.data.copy_from_slice(&[0; 5]).unwrap_err());
    assert_eq!(kit.data.to_vec().unwrap(), [0; 4]);
}

/// Memory that was given back cannot be named any more.
pub(crate) fn a_slab_that_is_gone() {
    for mode in BOTH {
        let kit = kit(mode);
        let stale = kit
            .exec
            .run(|orch| {
                let tensor = orch.alloc(&[4], DataType::Uint64)?;
                orch.submit(kit.add, args().inout(tensor), config())?;
                Ok(tensor)
            })
            .unwrap();
        let error = kit
            .exec
            .run(|orch| orch.submit(kit.add, args().inout(stale), config()).map(drop))
            .unwrap_err();
        assert!(matches!(error, Error::UnknownAddress { index: 0, .. }), "{error}");
        let freed = kit.exec.buffer::<u64>(4).unwrap().tensor();
        let error = kit
            .exec
            .run(|orch| orch.submit(kit.add, args().inout(freed), config()).map(drop))
            .unwrap_err();
        assert!(matches!(error, Error::UnknownAddress { .. }), "{error}");
    }
}

/// Two arguments of one task that write the same bytes, in every combination of tags and overlaps.
pub(crate) fn writes_that_overlap() {
    use TensorArgType::{InOut, Output, OutputExisting};
    let part = |kit: &Kit, from: usize, len: u32| kit.data.view(from, &[len]).unwrap();
    let with = |one: ContinuousTensor, tag, other: ContinuousTensor, tag_other| {
        let mut all = args().input(one);
        all.add_tensor(one, tag).unwrap();
        all.add_tensor(other, tag_other).unwrap();
        all
    };
    // The same bytes, one inside the other, one byte shared.
    for (from, len) in [(0, 2), (0, 4), (1, 1), (1, 3)] {
        for tag in [Output, InOut, OutputExisting] {
            for other in [Output, InOut, OutputExisting] {
                refused_quickly(|kit| with(part(kit, 0, 2), tag, part(kit, from, len), other));
            }
        }
    }
    // Far apart among many.
    refused_quickly(|kit| {
        let byte = |at| ContinuousTensor::new(kit.data.address() + at, &[1], DataType::Uint8);
        let mut all = args();
        for at in (0..32).chain([3]) {
            all.add_tensor(byte(at).unwrap(), OutputExisting).unwrap();
        }
        all
    });
}

fn refused_quickly(bad: impl Fn(&Kit) -> TaskArgs) {
    let kit = kit(Mode::Thread);
    kit.exec
        .run(|orch| {
            for error in [
                orch.submit(kit.add, bad(&kit), config()).unwrap_err(),
                orch.try_submit(kit.add, bad(&kit), config()).unwrap_err().error,
                orch.submit_group(kit.add, vec![args(), bad(&kit)], config()).unwrap_err(),
            ] {
                assert!(matches!(error, Error::OverlappingWrites { .. }), "{error}");
                assert!(error.to_string().contains("both write"), "{error}");
            }
            let Error::OverlappingWrites { first, second, .. } =
                orch.submit(kit.add, bad(&kit), config()).unwrap_err()
            else {
                panic!()
            };
            assert_ne!(first, second);
            Ok(())
        })
        .unwrap();
    assert_eq!(kit.exec.stats().submitted, 0);
}

/// What is not a second write: a task in place, parts side by side, empty ones, NO_DEP, members of
/// a group (they run at the same time, and share what they coordinate), compatible hazards.
pub(crate) fn writes_that_do_not_overlap() {
    for mode in BOTH {
        let kit = kit(mode);
        let part = |from: usize, len: u32| kit.data.view(from, &[len]).unwrap();
        let good = [
            args().output_existing(part(0, 4)).input(part(0, 4)),
            args().inout(part(0, 2)).input(part(1, 3)),
            args().output_existing(part(0, 2)).output_existing(part(2, 2)).inout(part(1, 0)),
            args().inout(part(0, 4)).inout(part(2, 0)),
            args().inout(part(0, 4)).no_dep(part(0, 4)),
        ];
        kit.exec
            .run(|orch| {
                for all in good.clone() {
                    orch.submit(kit.add, all, config())?;
                }
                let shared = || args().inout(part(0, 4));
                orch.submit_group(kit.add, vec![shared(), shared()], config()).map(drop)
            })
            .unwrap();
    }
    let mut builder = small(Mode::Process, 1).hazards(mailring::Hazards::Compatible);
    let nop = builder.register("nop", bodies::nop).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(4).unwrap();
    let twice = args().inout(data.tensor()).output_existing(data.tensor());
    exec.run(|orch| orch.submit(nop, twice, config()).map(drop)).unwrap();
}

/// A buffer ends where it was asked to, whatever it was rounded up to; slabs and imports as well.
pub(crate) fn bytes_behind_the_end() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let bytes = |at: u64, len: u32| ContinuousTensor::new(at, &[len], DataType::Uint8).unwrap();
        let buffer = exec.buffer::<u8>(65).unwrap();
        let memfd = exec.memfd_buffer::<u8>(65).unwrap();
        let nothing = exec.buffer::<u8>(0).unwrap();
        exec.run(|orch| {
            let alloc = orch.alloc(&[65], DataType::Uint8)?;
            let two = args().output(bytes(0, 65)).output(bytes(0, 65));
            let two = orch.submit(nop, two, config())?;
            let places = [buffer.address(), memfd.address(), alloc.data()];
            for at in places.into_iter().chain([two.tensor(0)?.data(), two.tensor(1)?.data()]) {
                for (from, len) in [(0, 128), (0, 66), (64, 2), (65, 1), (100, 1)] {
                    let bad = args().no_dep(bytes(at, 65)).inout(bytes(at + from, len));
                    let error = orch.submit(nop, bad, config()).unwrap_err();
                    assert!(matches!(error, Error::UnknownAddress { index: 1, .. }), "{error}");
                }
                orch.submit(nop, args().inout(bytes(at, 65)), config())?;
                orch.submit(nop, args().inout(bytes(at + 64, 1)), config())?;
            }
            let error = orch.submit(nop, args().input(bytes(nothing.address(), 1)), config());
            assert!(matches!(error, Err(Error::UnknownAddress { .. })), "{error:?}");
            Ok(())
        })
        .unwrap();
    }
}

/// A callable names one function: not that of another executor which has the same place there.
pub(crate) fn functions_of_another_executor() {
    for mode in BOTH {
        let mut first = small(mode, 1).sub_workers(1);
        let mine = first.register("mine", |args, _, _| args.set(0, 0, 1u64)).unwrap();
        let mut copy = first.clone();
        let early = copy.clone();
        let later = first.register("later", |args, _, _| args.set(0, 0, 2u64)).unwrap();
        let copied = copy.register("copied", |args, _, _| args.set(0, 0, 3u64)).unwrap();
        let mut second = small(mode, 1).sub_workers(1);
        let other = second.register("mine", |args, _, _| args.set(0, 0, 4u64)).unwrap();
        let all = [mine, later, copied, other];
        assert!(all.iter().all(|callable| callable.0 != 0));
        let executors = [
            (first.build().unwrap(), &[Some(1), Some(2), None, None]),
            (copy.build().unwrap(), &[Some(1), None, Some(3), None]),
            (early.build().unwrap(), &[Some(1), None, None, None]),
            (second.build().unwrap(), &[None, None, None, Some(4)]),
        ];
        for (exec, values) in executors {
            let cell = exec.buffer::<u64>(1).unwrap();
            for (callable, value) in all.into_iter().zip(values).chain([(Callable(0), &None)]) {
                cell.set(0, 0).unwrap();
                let one = || args().inout(&cell);
                let ran = [
                    exec.run(|orch| orch.submit(callable, one(), config()).map(drop)),
                    exec.run(|orch| orch.submit_sub(callable, one()).map(drop)),
                    exec.run(|orch| orch.submit_group(callable, vec![one()], config()).map(drop)),
                ];
                for ran in ran {
                    match value {
                        Some(_) => ran.unwrap(),
                        None => assert!(
                            matches!(ran, Err(Error::UnknownFunction(n)) if n == callable.0),
                            "{ran:?}"
                        ),
                    }
                }
                assert_eq!(cell.get(0).unwrap(), value.unwrap_or(0));
            }
        }
    }
}

/// Buffers that come and go between submits, at random: those that are there are known, with bytes
/// of their own, and nothing else is.
pub(crate) fn buffers_that_come_and_go() {
    for mode in BOTH {
        let kit = kit(mode);
        let mut random = Random(11);
        let mut held: Vec<(Buffer<u64>, u64)> = Vec::new();
        for _ in 0..20 {
            kit.exec
                .run(|orch| {
                    for _ in 0..100 {
                        let pick = random.below(held.len().max(1));
                        match random.below(8) {
                            0..3 => {
                                let len = 1 + random.below(40);
                                held.push((kit.exec.buffer(len)?, 0));
                            }
                            3..5 if !held.is_empty() => {
                                let (gone, _) = held.swap_remove(pick);
                                let (tensor, address) = (at(&gone, 0), gone.address());
                                drop(gone);
                                let refused = orch.submit(kit.add, args().inout(tensor), config());
                                let expected =
                                    Error::UnknownAddress { index: 0, address, bytes: 8 };
                                let error = refused.unwrap_err();
                                assert_eq!(error.to_string(), expected.to_string());
                            }
                            _ if !held.is_empty() => {
                                let (buffer, added) = &mut held[pick];
                                let last = buffer.len() - 1;
                                for index in [0, last] {
                                    orch.submit(
                                        kit.add,
                                        args().inout(at(buffer, index)),
                                        config(),
                                    )?;
                                }
                                *added += if last == 0 { 2 } else { 1 };
                            }
                            _ => {}
                        }
                    }
                    Ok(())
                })
                .unwrap();
            for (buffer, added) in &held {
                let ends = (buffer.get(0).unwrap(), buffer.get(buffer.len() - 1).unwrap());
                assert_eq!(ends, (*added, *added));
            }
        }
        assert!(held.len() > 100, "{} buffers at the end", held.len());
    }
}
