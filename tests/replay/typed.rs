//! Typed tasks are recorded and replayed; what takes the place of their memory is checked as their
//! arguments are.

use mailring::abi::DataType;
use mailring::prelude::*;
use mailring::{InvalidReplay, Recording};
use testkit::{BOTH, small};

struct Kit {
    exec: Executor,
    recording: Recording,
    x: Buffer<f32>,
    y: Buffer<f32>,
}

/// y += a * x, and then y += y
fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 2).import_bytes(1 << 20);
    let axpy = builder
        .task("axpy", |a: f32, x: In<f32>, mut y: InOut<f32>| {
            y.iter_mut().zip(x.iter()).for_each(|(y, x)| *y += a * x);
        })
        .unwrap();
    let double = builder.task("double", |mut y: InOut<f32>| y.iter_mut().for_each(|y| *y *= 2.0));
    let double = double.unwrap();
    let exec = builder.build().unwrap();
    let [x, y] = [exec.buffer::<f32>(16).unwrap(), exec.buffer::<f32>(16).unwrap()];
    x.copy_from_slice(&[1.0; 16]).unwrap();
    let (_, recording) = exec
        .record(|s| {
            s.spawn(axpy, (3.0, &x, &y))?;
            s.spawn(double, (y.part(8..),))
        })
        .unwrap();
    assert_eq!((y.get(7).unwrap(), y.get(8).unwrap()), (3.0, 6.0));
    Kit { exec, recording, x, y }
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, why: InvalidReplay) {
    match result.map(drop) {
        Err(Error::Replay(found)) => assert_eq!(found, why, "{found}"),
        other => panic!("expected {why:?}, not {other:?}"),
    }
}

pub(crate) fn rebound() {
    for mode in BOTH {
        let kit = kit(mode);
        let z = kit.exec.buffer::<f32>(16).unwrap();
        let mut bindings = kit.recording.bindings();
        bindings.buffer(&kit.y, &z).unwrap();
        bindings.scalar(0, 0, u64::from(2f32.to_bits())).unwrap();
        kit.exec.replay(&kit.recording, &bindings).unwrap();
        kit.exec.replay(&kit.recording, &bindings).unwrap();
        assert_eq!((z.get(7).unwrap(), z.get(8).unwrap()), (4.0, 12.0), "{mode:?}");
        assert_eq!(kit.y.get(7).unwrap(), 3.0);
        // Both in the place of one is what no spawn would take.
        bindings.buffer(&kit.x, &z).unwrap();
        let overlap =
            InvalidReplay::Overlap { first: 0, second: 1, address: z.address(), bytes: 64 };
        refused(kit.exec.replay(&kit.recording, &bindings), overlap);
    }
}

pub(crate) fn element_types() {
    let kit = kit(Mode::Process);
    let mut bindings = kit.recording.bindings();
    let words = kit.exec.buffer::<i32>(16).unwrap();
    let elements =
        InvalidReplay::Elements { binding: 1, recorded: DataType::Float32, given: DataType::Int32 };
    refused(bindings.buffer(&kit.y, &words), elements);
    refused(bindings.tensor(&kit.y, &words), InvalidReplay::Typed(1));
    let short = kit.exec.buffer::<f32>(15).unwrap();
    let too_short = InvalidReplay::TooShort { binding: 1, bytes: 60, needed: 64 };
    refused(bindings.buffer(&kit.y, &short), too_short);
}

pub(crate) fn views() {
    let kit = kit(Mode::Process);
    let large = kit.exec.buffer::<f32>(40).unwrap();
    let mut bindings = kit.recording.bindings();
    bindings.view(&kit.y, large.part(20..36)).unwrap();
    kit.exec.replay(&kit.recording, &bindings).unwrap();
    assert_eq!((large.get(19).unwrap(), large.get(20).unwrap()), (0.0, 3.0));
    assert_eq!((large.get(35).unwrap(), large.get(36).unwrap()), (6.0, 0.0));
    assert!(bindings.view(&kit.y, large.part(30..50)).is_err());
    // Memory of a scope.
    let (mut run, mut bindings) = (kit.exec.begin().unwrap(), kit.recording.bindings());
    let array = run.array::<f32>(&[16]).unwrap();
    bindings.view(1, array).unwrap();
    run.replay(&kit.recording, &bindings).unwrap();
    run.end().unwrap();
    let late = kit.exec.replay(&kit.recording, &bindings);
    assert!(matches!(late, Err(Error::Replay(InvalidReplay::Unknown { binding: 1, .. }))));
}

pub(crate) fn imported_memory() {
    let kit = kit(Mode::Process);
    let own = kit.exec.memfd_buffer::<f32>(16).unwrap();
    let mut bindings = kit.recording.bindings();
    bindings.buffer(&kit.y, &own).unwrap();
    kit.exec.replay(&kit.recording, &bindings).unwrap();
    assert_eq!(own.get(15).unwrap(), 6.0);
    let file = std::fs::File::from(testkit_memfd(64));
    let foreign = kit.exec.import::<f32>(file.into(), 16).unwrap();
    refused(bindings.buffer(&kit.y, &foreign), InvalidReplay::Imported(1));
}

fn testkit_memfd(bytes: i64) -> std::os::fd::OwnedFd {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: the name is a string; the descriptor is ours, if it is one.
    unsafe {
        let fd =
            libc::memfd_create(c"replay".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert!(fd >= 0);
        assert_eq!(libc::ftruncate(fd, bytes), 0);
        OwnedFd::from_raw_fd(fd)
    }
}

/// An untyped buffer of the same bytes, at an odd address: the worker looks at it as ever.
pub(crate) fn bodies_are_checked_as_ever() {
    let kit = kit(Mode::Process);
    let mut bindings = kit.recording.bindings();
    let bytes = kit.exec.buffer::<u8>(100).unwrap();
    assert!(bindings.buffer(&kit.y, &bytes).is_err());
    kit.exec.replay(&kit.recording, &bindings).unwrap();
}
