//! Failures, cancels and deaths in a replay are those of a run.

use mailring::{Error, FailureKind, Mode, TaskOptions};
use testkit::{BOTH, Gate, args, at, bodies, config, failed_as, raise, small};

use crate::order::kit;

/// Fails if the first element is the first scalar, and adds one otherwise.
fn fails_at(
    args: mailring::abi::TaskArgsView<'_>,
    _: &mailring::abi::CallConfig,
    _: &mailring::TaskContext<'_>,
) -> Result<(), testkit::BoxError> {
    let value = args.get::<u64>(0, 0)?;
    if value == args.scalar(0)? {
        return Err("it is so much".into());
    }
    Ok(args.set(0, 0, value + 1)?)
}

pub(crate) fn a_failure_reaches_dependents() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let step = builder.register("step", fails_at).unwrap();
        let exec = builder.build().unwrap();
        let x = exec.buffer::<u64>(2).unwrap();
        let one = |i| args().inout(at(&x, i)).scalar(100);
        let (_, recording) = exec
            .record(|orch| {
                orch.submit(step, one(0), config())?;
                orch.submit(step, one(0), config())?;
                orch.submit(step, one(1), config())
            })
            .unwrap();
        let mut bindings = recording.bindings();
        bindings.scalar(0, 0, 2).unwrap();
        let ran = exec.run(|orch| {
            let replayed = orch.replay(&recording, &bindings)?;
            let root = failed_as(orch.wait(&replayed.handle(1)?), FailureKind::Error);
            assert_eq!(root.task, replayed.handle(0)?.id());
            orch.wait(&replayed.handle(2)?)
        });
        assert_eq!(failed_as(ran, FailureKind::Error).message, "it is so much");
        assert_eq!(x.to_vec().unwrap(), [2, 2], "{mode:?}");
    }
}

pub(crate) fn and_no_later_replay() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let step = builder.register("step", fails_at).unwrap();
        let exec = builder.build().unwrap();
        let x = exec.buffer::<u64>(1).unwrap();
        let one = || args().inout(x.tensor()).scalar(5);
        let (_, recording) = exec.record(|orch| orch.submit(step, one(), config())).unwrap();
        let bindings = recording.bindings();
        for round in 0..50 {
            let replayed = exec.replay(&recording, &bindings);
            let fails = round >= 4;
            assert_eq!(replayed.is_err(), fails, "{mode:?}, {round}");
        }
        // In one run it does, also from beyond the window.
        let mut recovers = recording.bindings();
        recovers.scalar(0, 0, 6).unwrap();
        let ran = exec.run(|orch| {
            orch.replay(&recording, &bindings)?;
            for _ in 0..600 {
                orch.replay(&recording, &recovers)?;
            }
            Ok(())
        });
        failed_as(ran, FailureKind::Error);
        assert_eq!(x.get(0).unwrap(), 5);
        exec.replay(&recording, &recovers).unwrap();
        assert_eq!(x.get(0).unwrap(), 6);
    }
}

pub(crate) fn a_failure_before_the_replay() {
    for mode in BOTH {
        let kit = kit(mode, 16);
        let recording = kit.two_steps();
        let ran = kit.exec.run(|orch| {
            // One argument short.
            let failing = orch.submit(kit.affine, args().inout(at(&kit.x, 0)), config())?;
            assert!(orch.wait(&failing).is_err());
            for i in 0..40 {
                orch.submit(kit.add, args().inout(at(&kit.x, 8 + i)), config())?;
            }
            orch.replay(&recording, &recording.bindings())
        });
        failed_as(ran, FailureKind::Error);
        assert_eq!(kit.x.get(0).unwrap(), 1, "{mode:?}");
        kit.exec.replay(&recording, &recording.bindings()).unwrap();
        assert_eq!(kit.x.get(0).unwrap(), 22);
    }
}

pub(crate) fn a_cancelled_replay() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let recording = kit.two_steps();
        let gate = Gate::new(&kit.exec);
        let ran = kit.exec.run(|orch| {
            let held = args().inout(at(&kit.x, 0)).no_dep(gate.tensor());
            orch.submit(kit.gate, held, config())?;
            let replayed = orch.replay(&recording, &recording.bindings())?;
            assert!(orch.cancel(&replayed.handle(1)?));
            gate.open();
            orch.wait(&replayed.handle(0)?)?;
            failed_as(orch.wait(&replayed.handle(1)?), FailureKind::Cancelled);
            Ok(())
        });
        failed_as(ran, FailureKind::Cancelled);
        assert_eq!(kit.x.get(0).unwrap(), 4, "{mode:?}");
    }
}

pub(crate) fn a_worker_that_dies_is_tried_again() {
    let mut builder = small(Mode::Process, 2);
    let step = builder
        .register("step", |args, _, context| {
            args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + 1)?;
            if args.scalar(0)? != 0 && context.attempt() == 1 {
                raise(libc::SIGKILL);
            }
            Ok::<(), mailring::abi::AbiError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let x = exec.buffer::<u64>(1).unwrap();
    let again = TaskOptions::new().retries(3).snapshot();
    let (_, recording) = exec
        .record(|orch| {
            for _ in 0..20 {
                let step_args = args().inout(x.tensor()).scalar(0);
                orch.submit_with(step, step_args, config(), &again)?;
            }
            Ok(())
        })
        .unwrap();
    let mut bindings = recording.bindings();
    for task in [3, 4, 11] {
        bindings.scalar(task, 0, 1).unwrap();
    }
    exec.replay(&recording, &bindings).unwrap();
    exec.replay(&recording, &bindings).unwrap();
    assert_eq!(x.get(0).unwrap(), 60);
    assert_eq!(exec.stats().deaths, 6);
}

/// Memory runs out in the middle: what was submitted goes on, and is waited for by what follows.
pub(crate) fn a_replay_that_stops_halfway() {
    for mode in BOTH {
        let kit = kit(mode, 256);
        let (_, recording) = kit
            .exec
            .record(|orch| {
                kit.step(orch, 3, 1)?;
                orch.alloc(&[64 << 10], mailring::abi::DataType::Uint64)?;
                kit.step(orch, 5, 2)
            })
            .unwrap();
        kit.x.set(0, 1).unwrap();
        let gate = Gate::new(&kit.exec);
        let (_, run) = kit
            .exec
            .submit_run(|orch| {
                let held = args().inout(at(&kit.x, 0)).no_dep(gate.tensor());
                orch.submit(kit.gate, held, config())?;
                orch.alloc(&[96 << 10], mailring::abi::DataType::Uint64)?;
                let refused = orch.replay(&recording, &recording.bindings());
                assert!(matches!(refused, Err(Error::HeapDeadlock(_))), "{refused:?}");
                kit.step(orch, 7, 3)
            })
            .unwrap();
        gate.open();
        run.wait(None).unwrap();
        assert_eq!(kit.x.get(0).unwrap(), 4 * 7 + 3, "{mode:?}");
        kit.x.set(0, 1).unwrap();
    }
}

pub(crate) fn a_failed_run_is_no_recording() {
    let mut builder = small(Mode::Process, 1);
    let fail = builder.register("fail", bodies::fail).unwrap();
    let exec = builder.build().unwrap();
    let recorded = exec.record(|orch| orch.submit(fail, args(), config()));
    failed_as(recorded.map(drop), FailureKind::Error);
}

pub(crate) fn a_closure_that_panics_records_nothing() {
    let kit = kit(Mode::Process, 64);
    let panics = std::panic::AssertUnwindSafe(|| kit.exec.record::<()>(|_| panic!("away")));
    assert!(std::panic::catch_unwind(panics).is_err());
    let recording = kit.two_steps();
    assert_eq!(recording.len(), 2);
    // A replay is refused while a run is recorded, and none is now.
    kit.exec.replay(&recording, &recording.bindings()).unwrap();
}
