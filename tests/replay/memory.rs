//! Other memory and other scalars; what the graph allocates.

use mailring::abi::{ContinuousTensor, DataType};
use mailring::{Mode, Orchestrator};
use testkit::{BOTH, args, at, bodies, config, new_kib, small};

use crate::order::kit;

pub(crate) fn another_buffer() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let recording = kit.two_steps();
        let others: Vec<_> = (0..20).map(|_| kit.exec.buffer::<u64>(64).unwrap()).collect();
        let mut bindings = recording.bindings();
        assert_eq!(bindings.len(), 1);
        assert_eq!(bindings.memory().next().unwrap(), kit.x.address()..kit.x.address() + 8);
        kit.exec
            .run(|orch| {
                for other in &others {
                    bindings.tensor(&kit.x, other)?;
                    orch.replay(&recording, &bindings)?;
                }
                bindings.tensor(0, kit.x.tensor())?;
                orch.replay(&recording, &bindings)
            })
            .unwrap();
        assert_eq!(kit.x.get(0).unwrap(), (3 + 1) * 5 + 2);
        others.iter().for_each(|other| assert_eq!(other.get(0).unwrap(), 7, "{mode:?}"));
    }
}

pub(crate) fn parts_keep_their_places() {
    let kit = kit(Mode::Process, 256);
    let (_, recording) = kit
        .exec
        .record(|orch| {
            orch.submit(kit.put, args().output_existing(at(&kit.x, 5)).scalar(1), config())?;
            let sum = args().input(at(&kit.x, 5)).output_existing(at(&kit.x, 9));
            orch.submit(kit.sum, sum, config())
        })
        .unwrap();
    let large = kit.exec.buffer::<u64>(100).unwrap();
    let mut bindings = recording.bindings();
    // From element 40 on: the last one that is named is then 49.
    bindings.tensor(0, large.view(40, &[10]).unwrap()).unwrap();
    kit.exec.replay(&recording, &bindings).unwrap();
    let written: Vec<usize> = (0..100).filter(|&i| large.get(i).unwrap() != 0).collect();
    assert_eq!(written, [45, 49]);
}

pub(crate) fn a_slab_for_a_buffer() {
    let kit = kit(Mode::Process, 256);
    let recording = kit.two_steps();
    kit.exec
        .run(|orch| {
            let slab = orch.alloc(&[1], DataType::Uint64)?;
            orch.submit(kit.put, args().output_existing(slab).scalar(1), config())?;
            let mut bindings = recording.bindings();
            bindings.tensor(0, slab)?;
            for _ in 0..3 {
                orch.scope(|orch| orch.replay(&recording, &bindings))?;
            }
            let sum = args().input(slab).output_existing(at(&kit.x, 1));
            orch.submit(kit.sum, sum, config())
        })
        .unwrap();
    let expected = (0..3).fold(1u64, |x, _| x * 15 + 7);
    assert_eq!(kit.x.to_vec().unwrap()[..2], [1, expected]);
}

pub(crate) fn two_buffers_swapped() {
    for mode in BOTH {
        let kit = kit(mode, 64);
        let y = kit.exec.buffer::<u64>(64).unwrap();
        // y = x, x = x + 1
        let (_, recording) = kit
            .exec
            .record(|orch| {
                let copy = args().input(at(&kit.x, 0)).output_existing(at(&y, 0));
                orch.submit(kit.sum, copy, config())?;
                orch.submit(kit.add, args().inout(at(&kit.x, 0)), config())
            })
            .unwrap();
        let there = recording.bindings();
        let mut back = recording.bindings();
        back.tensor(0, &y).unwrap().tensor(1, &kit.x).unwrap();
        kit.exec
            .run(|orch| {
                for _ in 0..50 {
                    orch.replay(&recording, &there)?;
                    orch.replay(&recording, &back)?;
                }
                Ok(())
            })
            .unwrap();
        // 1 and 0 at first; 2 and 1 after every first of the two, 1 and 2 after every second.
        assert_eq!((kit.x.get(0).unwrap(), y.get(0).unwrap()), (1, 2), "{mode:?}");
    }
}

pub(crate) fn scalars_of_tasks_and_members() {
    let mut builder = small(Mode::Process, 2);
    let put = builder.register("put", bodies::put).unwrap();
    let exec = builder.build().unwrap();
    let x = exec.buffer::<u64>(4).unwrap();
    let (_, recording) = exec
        .record(|orch| {
            let one = |i: usize| args().output_existing(at(&x, i)).scalar(10 + i as u64).scalar(0);
            orch.submit(put, one(0), config())?;
            orch.submit_group(put, vec![one(1), one(2)], config())?;
            orch.submit(put, one(3), config())
        })
        .unwrap();
    let mut bindings = recording.bindings();
    bindings.scalar(1, 2, 22).unwrap().scalar(3 - 1, 0, 33).unwrap();
    bindings.scalar(0, 0, 5).unwrap().scalar(0, 0, 6).unwrap();
    exec.replay(&recording, &bindings).unwrap();
    assert_eq!(x.to_vec().unwrap(), [6, 11, 22, 33]);
    exec.replay(&recording, &recording.bindings()).unwrap();
    assert_eq!(x.to_vec().unwrap(), [10, 11, 12, 13]);
}

/// An output that a later task reads, in slabs that are others each time.
fn with_outputs(kit: &crate::order::Kit, orch: &mut Orchestrator) -> Result<(), mailring::Error> {
    let out = args().output(new_kib(4)).output(new_kib(8)).scalar(4);
    let made = orch.submit(kit.put, out, config())?;
    let small = ContinuousTensor::new(made.tensor(0)?.data(), &[1], DataType::Uint64)?;
    orch.submit(kit.add, args().inout(small), config())?;
    let room = orch.alloc(&[512], DataType::Uint64)?;
    let first = ContinuousTensor::new(room.data(), &[1], DataType::Uint64)?;
    orch.submit(kit.sum, args().input(small).output_existing(first), config())?;
    orch.submit(kit.sum, args().input(first).inout(at(&kit.x, 0)), config()).map(drop)
}

pub(crate) fn allocated_outputs() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let (_, recording) = kit.exec.record(|orch| with_outputs(&kit, orch)).unwrap();
        for _ in 0..50 {
            kit.x.set(0, 0).unwrap();
            kit.exec.replay(&recording, &recording.bindings()).unwrap();
            assert_eq!(kit.x.get(0).unwrap(), 5, "{mode:?}");
        }
    }
}

pub(crate) fn outputs_of_scopes_are_given_back() {
    for mode in BOTH {
        let kit = kit(mode, 64);
        let recorded = kit.exec.record(|orch| {
            orch.scope_begin()?;
            orch.scope(|orch| with_outputs(&kit, orch))?;
            orch.scope_end()?;
            orch.scope(|orch| with_outputs(&kit, orch))
        });
        let recording = recorded.unwrap().1;
        // 2 * 16 KiB each time, many times the heap ring, in one run.
        kit.exec
            .run(|orch| {
                for _ in 0..300 {
                    orch.replay(&recording, &recording.bindings())?;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(kit.x.get(0).unwrap(), 5, "{mode:?}");
    }
}

pub(crate) fn what_was_allocated_is_named_afterwards() {
    let kit = kit(Mode::Process, 256);
    let (_, recording) = kit
        .exec
        .record(|orch| orch.submit(kit.put, args().output(new_kib(1)).scalar(4), config()))
        .unwrap();
    kit.exec
        .run(|orch| {
            let mut bindings = recording.bindings();
            for value in [4, 40] {
                bindings.scalar(0, 0, value)?;
                let made = orch.replay(&recording, &bindings)?.handle(0)?.tensor(0)?;
                let first = ContinuousTensor::new(made.data(), &[1], DataType::Uint64)?;
                let place = at(&kit.x, value as usize);
                orch.submit(kit.sum, args().input(first).output_existing(place), config())?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!((kit.x.get(4).unwrap(), kit.x.get(40).unwrap()), (4, 40));
}

pub(crate) fn an_imported_buffer() {
    let kit = kit(Mode::Process, 256);
    let recording = kit.two_steps();
    for _ in 0..10 {
        let late = kit.exec.memfd_buffer::<u64>(64).unwrap();
        let mut bindings = recording.bindings();
        bindings.tensor(0, &late).unwrap();
        kit.exec.replay(&recording, &bindings).unwrap();
        kit.exec.replay(&recording, &bindings).unwrap();
        assert_eq!(late.get(0).unwrap(), 7 * 15 + 7);
    }
}

pub(crate) fn buffers_are_free_afterwards() {
    let kit = kit(Mode::Process, 16);
    let recording = kit.two_steps();
    // Sixteen megabytes of buffers in all: each is given back.
    for _ in 0..100 {
        let large = kit.exec.buffer::<u64>(1 << 20).unwrap();
        let mut bindings = recording.bindings();
        bindings.tensor(0, &large).unwrap();
        kit.exec.replay(&recording, &bindings).unwrap();
        assert_eq!(large.get(0).unwrap(), 7);
        large.set(0, 1).unwrap();
        assert_eq!(large.write().unwrap()[0], 1);
    }
}
