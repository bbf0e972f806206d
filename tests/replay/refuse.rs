//! What a recording or a replay refuses, and that nothing has happened then.

use mailring::abi::DataType;
use mailring::{Error, Executor, InvalidReplay, Mode};
use testkit::{args, at, bodies, config, small};

use crate::order::{Kit, kit};

#[track_caller]
fn refused<T>(result: Result<T, Error>, why: InvalidReplay) {
    match result.map(drop) {
        Err(Error::Replay(found)) => assert_eq!(found, why, "{found}"),
        other => panic!("expected {why:?}, not {other:?}"),
    }
}

fn ready() -> Kit {
    kit(Mode::Process, 64)
}

pub(crate) fn another_executor() {
    let (one, two) = (ready(), ready());
    let recording = one.two_steps();
    refused(two.exec.replay(&recording, &recording.bindings()), InvalidReplay::OtherExecutor);
    refused(recording.bindings().buffer(0, &two.x), InvalidReplay::OtherExecutor);
}

pub(crate) fn bindings_of_another_recording() {
    let kit = ready();
    let (one, two) = (kit.two_steps(), kit.two_steps());
    refused(kit.exec.replay(&one, &two.bindings()), InvalidReplay::OtherBindings);
}

pub(crate) fn while_recording() {
    let kit = ready();
    let recording = kit.two_steps();
    let nested = kit.exec.record(|orch| orch.replay(&recording, &recording.bindings()));
    refused(nested, InvalidReplay::WhileRecording);
    kit.exec.replay(&recording, &recording.bindings()).unwrap();
}

pub(crate) fn a_recording_in_the_middle() {
    let kit = ready();
    let mut run = kit.exec.begin().unwrap();
    run.record().unwrap();
    refused(run.record(), InvalidReplay::WhileRecording);
    kit.step(&mut run, 3, 1).unwrap();
    assert_eq!(run.end_recorded().unwrap().len(), 1);
    let mut run = kit.exec.begin().unwrap();
    kit.step(&mut run, 3, 1).unwrap();
    refused(run.record(), InvalidReplay::LateRecording);
    refused(run.end_recorded(), InvalidReplay::NotRecorded);
}

pub(crate) fn unknown_bindings() {
    let kit = ready();
    let recording = kit.two_steps();
    let other = kit.exec.buffer::<u64>(64).unwrap();
    let mut bindings = recording.bindings();
    let none = InvalidReplay::NoBinding { number: 1, bindings: 1 };
    refused(bindings.tensor(1, &other), none);
    refused(bindings.tensor(&other, &other), InvalidReplay::NotNamed(other.address()));
    let foreign = vec![0u64; 64];
    let address = foreign.as_ptr() as u64;
    let tensor = mailring::abi::ContinuousTensor::new(address, &[64], DataType::Uint64).unwrap();
    bindings.tensor(0, tensor).unwrap();
    let unknown = InvalidReplay::Unknown { binding: 0, address, bytes: 8 };
    refused(kit.exec.replay(&recording, &bindings), unknown);
    assert_eq!(kit.x.get(0).unwrap(), 1);
}

pub(crate) fn too_short() {
    let kit = ready();
    let (_, recording) = kit
        .exec
        .record(|orch| orch.submit(kit.add, args().inout(at(&kit.x, 9)), config()))
        .unwrap();
    let other = kit.exec.buffer::<u64>(9).unwrap();
    let short = InvalidReplay::TooShort { binding: 0, bytes: 72, needed: 80 };
    refused(recording.bindings().tensor(0, &other), short);
}

pub(crate) fn overlapping_in_new_ways() {
    let kit = ready();
    let y = kit.exec.buffer::<u64>(64).unwrap();
    let (_, recording) = kit
        .exec
        .record(|orch| {
            orch.submit(kit.add, args().inout(at(&kit.x, 0)), config())?;
            orch.submit(kit.sum, args().input(at(&y, 1)).inout(at(&y, 0)), config())
        })
        .unwrap();
    let mut bindings = recording.bindings();
    bindings.tensor(0, y.view(1, &[1]).unwrap()).unwrap();
    let overlap =
        InvalidReplay::Overlap { first: 0, second: 1, address: y.address() + 8, bytes: 8 };
    refused(kit.exec.replay(&recording, &bindings), overlap);
    bindings.tensor(0, y.view(2, &[1]).unwrap()).unwrap();
    kit.exec.replay(&recording, &bindings).unwrap();
    assert_eq!(y.to_vec().unwrap()[..3], [0, 0, 1]);
}

pub(crate) fn readers_may_overlap() {
    let kit = ready();
    let [a, b] = [kit.exec.buffer::<u64>(4).unwrap(), kit.exec.buffer::<u64>(4).unwrap()];
    b.copy_from_slice(&[5; 4]).unwrap();
    let (_, recording) = kit
        .exec
        .record(|orch| {
            let sum = args().input(&a).input(&b).output_existing(at(&kit.x, 0));
            orch.submit(kit.sum, sum, config())
        })
        .unwrap();
    let mut bindings = recording.bindings();
    bindings.tensor(&a, &b).unwrap();
    kit.exec.replay(&recording, &bindings).unwrap();
    assert_eq!(kit.x.get(0).unwrap(), 40);
}

pub(crate) fn a_dropped_buffer() {
    let kit = ready();
    let gone = kit.exec.buffer::<u64>(4).unwrap();
    let (_, recording) =
        kit.exec.record(|orch| orch.submit(kit.add, args().inout(at(&gone, 0)), config())).unwrap();
    let (bindings, size) = (recording.bindings(), gone.len());
    drop(gone);
    refused(kit.exec.replay(&recording, &bindings), InvalidReplay::Dropped(0));
    let in_its_place = kit.exec.buffer::<u64>(size).unwrap();
    refused(kit.exec.replay(&recording, &bindings), InvalidReplay::Dropped(0));
    assert_eq!(in_its_place.get(0).unwrap(), 0);
    let mut bindings = bindings;
    bindings.tensor(0, &in_its_place).unwrap();
    kit.exec.replay(&recording, &bindings).unwrap();
    assert_eq!(in_its_place.get(0).unwrap(), 1);
}

pub(crate) fn memory_of_a_closed_scope() {
    let kit = ready();
    let recorded = kit.exec.record(|orch| {
        let slab = orch.scope(|orch| orch.alloc(&[1], DataType::Uint64))?;
        orch.submit(kit.put, args().output_existing(slab).scalar(1), config())
    });
    refused(recorded, InvalidReplay::ScopeClosed { task: 0 });
}

#[track_caller]
fn guarded<T>(result: Result<T, Error>) {
    match result.map(drop) {
        Err(Error::BufferGuarded { tensor: Some(0) }) => {}
        other => panic!("expected a guarded buffer, not {other:?}"),
    }
}

pub(crate) fn guarded_buffers() {
    let kit = ready();
    let recording = kit.two_steps();
    let bindings = recording.bindings();
    let guard = kit.x.read().unwrap();
    guarded(kit.exec.replay(&recording, &bindings));
    drop(guard);
    // And the other way round.
    let gate = testkit::Gate::new(&kit.exec);
    let (_, run) = kit
        .exec
        .submit_run(|orch| {
            let held = args().inout(at(&kit.x, 0)).no_dep(gate.tensor());
            orch.submit(kit.gate, held, config())?;
            orch.replay(&recording, &bindings)
        })
        .unwrap();
    assert!(matches!(kit.x.write().map(drop), Err(Error::BufferInUse { .. })));
    gate.open();
    run.wait(None).unwrap();
    assert_eq!(kit.x.write().unwrap()[0], 22);
}

pub(crate) fn tasks_and_scalars() {
    let kit = ready();
    let recording = kit.two_steps();
    let mut bindings = recording.bindings();
    refused(bindings.scalar(2, 0, 0), InvalidReplay::NoTask { task: 2, tasks: 2 });
    let none = InvalidReplay::NoScalar { task: 1, scalar: 2, scalars: 2 };
    refused(bindings.scalar(1, 2, 0), none);
}

fn free_bytes(exec: &Executor) -> bool {
    exec.buffer::<u64>(1 << 20).is_ok()
}

/// A replay that is refused holds nothing: neither for the host nor for the allocator.
pub(crate) fn nothing_is_held_after_an_error() {
    let mut builder = small(Mode::Process, 1).buffer_bytes(9 << 20);
    let add = builder.register("add", bodies::add_one).unwrap();
    let exec = builder.build().unwrap();
    let [a, b] = [exec.buffer::<u64>(8).unwrap(), exec.buffer::<u64>(8).unwrap()];
    let (_, recording) = exec
        .record(|orch| {
            orch.submit(add, args().inout(&a), config())?;
            orch.submit(add, args().inout(&b), config())
        })
        .unwrap();
    let large = exec.buffer::<u64>(1 << 20).unwrap();
    let mut bindings = recording.bindings();
    bindings.tensor(0, &large).unwrap();
    let guard = b.read().unwrap();
    assert!(exec.replay(&recording, &bindings).is_err());
    drop(guard);
    assert_eq!(large.write().unwrap()[0], 0);
    drop(large);
    assert!(free_bytes(&exec));
}
