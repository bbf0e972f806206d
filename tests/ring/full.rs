//! Full rings, seen from a submit.

use std::time::{Duration, Instant};

use mailring::abi::{ContinuousTensor, DataType};
use mailring::ring::RingError;
use mailring::{Error, Mode};
use testkit::{BOTH, Gate, args, bodies, config, kill, parent_of, small};

struct Full {
    exec: mailring::Executor,
    gate: mailring::Callable,
    state: Gate,
}

fn full(mode: Mode, limit: Option<Duration>) -> Full {
    let mut builder = small(mode, 1).slot_window(16).heap_bytes(2048);
    if let Some(limit) = limit {
        builder = builder.back_pressure_timeout(limit);
    }
    let gate = builder.register("gate", bodies::gate).unwrap();
    let exec = builder.build().unwrap();
    let state = Gate::new(&exec);
    Full { exec, gate, state }
}

fn kibibyte() -> ContinuousTensor {
    ContinuousTensor::new(0, &[1024], DataType::Uint8).unwrap()
}

impl Full {
    fn submit(&self, orch: &mut mailring::Orchestrator) -> Result<(), Error> {
        orch.scope(|orch| {
            let all = args().output(kibibyte()).no_dep(self.state.tensor());
            orch.submit(self.gate, all, config()).map(drop)
        })
    }
}

pub(crate) fn release_unblocks_a_submit() {
    for mode in BOTH {
        let full = full(mode, None);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                full.state.await_begun(1);
                std::thread::sleep(Duration::from_millis(50));
                full.state.open();
            });
            let began = Instant::now();
            full.exec.run(|orch| (0..3).try_for_each(|_| full.submit(orch))).unwrap();
            assert!(began.elapsed() >= Duration::from_millis(40), "the third had to wait");
        });
        assert_eq!(full.state.begun(), 3);
    }
}

pub(crate) fn waiting_has_an_end() {
    for mode in BOTH {
        let limit = Duration::from_millis(50);
        let full = full(mode, Some(limit));
        full.exec
            .run(|orch| {
                (0..2).try_for_each(|_| full.submit(orch))?;
                let began = Instant::now();
                let error = full.submit(orch).unwrap_err();
                assert!(matches!(error, Error::BackPressure { .. }), "{error}");
                assert!(began.elapsed() >= limit && began.elapsed() < Duration::from_secs(10));
                full.state.open();
                full.submit(orch)
            })
            .unwrap();
        assert_eq!(full.state.begun(), 3);
    }
}

/// Nobody will ever make room: the submit says so instead of waiting.
pub(crate) fn a_failed_executor_unblocks_a_submit() {
    let full = full(Mode::Process, None);
    let fork_server = parent_of(full.exec.worker_pids()[0] as i32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            full.state.await_begun(1);
            std::thread::sleep(Duration::from_millis(30));
            kill(fork_server, libc::SIGKILL);
        });
        let error = full.exec.run(|orch| (0..3).try_for_each(|_| full.submit(orch))).unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{error}");
    });
}

pub(crate) fn too_large_is_refused_at_once() {
    for mode in BOTH {
        let full = full(mode, None);
        let mut builder = small(mode, 1).heap_bytes(8192);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        exec.run(|orch| {
            let bytes = |n| ContinuousTensor::new(0, &[n], DataType::Uint8);
            let error = orch.submit(nop, args().output(bytes(8193)?), config()).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Ring(RingError::TooLarge { ring: 0, bytes: 9216, capacity: 8192 })
                ),
                "{error}"
            );
            // Five outputs, each rounded up.
            let five = (0..9).try_fold(args(), |all, _| Ok::<_, Error>(all.output(bytes(1)?)))?;
            assert!(matches!(orch.submit(nop, five, config()), Err(Error::Ring(_))));
            assert!(matches!(orch.alloc(&[8193], DataType::Uint8), Err(Error::Ring(_))));
            orch.submit(nop, args().output(bytes(8192)?), config()).map(drop)
        })
        .unwrap();
        drop(full);
    }
}
