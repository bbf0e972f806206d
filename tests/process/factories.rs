//! Workers of one's own: made once in each worker's process or thread, and refused with a reason
//! when that fails. Also what `build` refuses.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mailring::abi::{CallConfig, TaskArgsView};
use mailring::{
    BuildError, Error, Executor, FailureKind, Mode, TaskContext, TaskOptions, Worker, WorkerId,
    WorkerKind,
};
use testkit::{
    BOTH, BoxError, args, at, atom, bodies, config, eventually, failed_as, kill, own_kib, raise,
    small,
};

/// Writes into its tensor which worker it is, what it was told, and how often it was called.
struct Clerk {
    id: WorkerId,
    calls: u64,
}

impl Worker for Clerk {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), BoxError> {
        self.calls += 1;
        if callable == 0xdead {
            raise(libc::SIGKILL);
        }
        assert_eq!(context.worker(), self.id);
        atom(&args, 0, 0).store(callable, SeqCst);
        atom(&args, 0, 1).store(u64::from(self.id.0), SeqCst);
        atom(&args, 0, 2).store(self.calls, SeqCst);
        atom(&args, 0, 3).store(config.block_dim as u64, SeqCst);
        Ok(())
    }
}

fn worker_of(error: Result<Executor, BuildError>) -> (u16, String) {
    match error {
        Err(BuildError::Worker { worker, why }) => (worker.0, why),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("built"),
    }
}

/// A failed start is an error of `build`, not a hang of the first run.
pub(crate) fn an_error_names_the_worker() {
    for mode in BOTH {
        let builder = small(mode, 3).worker_factory(WorkerKind::NextLevel, |id| match id.0 {
            1 => Err("device 7 is taken".into()),
            _ => Ok(Box::new(Clerk { id, calls: 0 })),
        });
        let (worker, why) = worker_of(builder.build());
        assert_eq!((worker, why.as_str()), (1, "device 7 is taken"), "{mode:?}");
    }
}

pub(crate) fn a_panic_names_the_worker() {
    let builder = small(Mode::Process, 2).worker_factory(WorkerKind::NextLevel, |id| {
        assert!(id.0 != 1, "no second device");
        Ok(Box::new(Clerk { id, calls: 0 }))
    });
    let (worker, why) = worker_of(builder.build());
    assert_eq!(worker, 1);
    assert!(why.contains("no second device"), "{why}");
}

pub(crate) fn an_exit_names_the_worker() {
    let builder = small(Mode::Process, 2).worker_factory(WorkerKind::NextLevel, |id| {
        if id.0 == 0 {
            // SAFETY: ends this worker, which is what the test is about.
            unsafe { libc::_exit(5) };
        }
        Ok(Box::new(Clerk { id, calls: 0 }))
    });
    let (worker, why) = worker_of(builder.build());
    assert_eq!(worker, 0);
    assert!(why.contains("code 5"), "{why}");
}

pub(crate) fn once_a_worker() {
    for mode in BOTH {
        // Copied by the fork, so in PROCESS mode each worker counts its own makings.
        let made = Arc::new([const { AtomicU64::new(0) }; 2]);
        let count = Arc::clone(&made);
        let exec = small(mode, 2)
            .worker_factory(WorkerKind::NextLevel, move |id| {
                let nth = count[usize::from(id.0)].fetch_add(1, SeqCst);
                assert_eq!(nth, 0, "made twice");
                Ok(Box::new(Clerk { id, calls: 0 }))
            })
            .build()
            .unwrap();
        let seen = exec.buffer::<u64>(8).unwrap();
        let mut config = config();
        config.block_dim = 5;
        for round in 1..=10 {
            exec.run(|orch| {
                for worker in 0..2 {
                    let there = TaskOptions::new().on(WorkerId(worker));
                    let mine = seen.view(usize::from(worker) * 4, &[4])?;
                    // Numbers mean what the worker takes them for: none is unknown to the host.
                    orch.submit_with(0xbeef, args().output(mine), config, &there)?;
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(seen.to_vec().unwrap(), [0xbeef, 0, round, 5, 0xbeef, 1, round, 5]);
        }
        let by_host: u64 = made.iter().map(|n| n.load(SeqCst)).sum();
        assert_eq!(by_host, if mode == Mode::Thread { 2 } else { 0 });
    }
}

pub(crate) fn again_for_a_replacement() {
    let exec = small(Mode::Process, 1)
        .worker_factory(WorkerKind::NextLevel, |id| Ok(Box::new(Clerk { id, calls: 0 })))
        .build()
        .unwrap();
    let seen = exec.buffer::<u64>(4).unwrap();
    let run = |callable: u64| {
        exec.run(|orch| orch.submit(callable, args().output(seen.tensor()), config()).map(drop))
    };
    run(1).unwrap();
    run(2).unwrap();
    assert_eq!(seen.get(2).unwrap(), 2);
    let failure = failed_as(run(0xdead), FailureKind::WorkerDied);
    assert_eq!(failure.name, "callable 0xdead");
    run(3).unwrap();
    assert_eq!(seen.get(2).unwrap(), 1, "the replacement was made anew");
}

pub(crate) fn only_the_sub_kind() {
    for mode in BOTH {
        let mut builder = small(mode, 1).sub_workers(1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder
            .worker_factory(WorkerKind::Sub, |id| Ok(Box::new(Clerk { id, calls: 0 })))
            .build()
            .unwrap();
        let seen = exec.buffer::<u64>(4).unwrap();
        exec.run(|orch| {
            orch.submit(nop, args(), config())?;
            orch.submit_sub(77, args().output(seen.tensor()))?;
            let unknown = orch.submit(77, args(), config());
            assert!(matches!(unknown, Err(Error::UnknownFunction(77))), "{unknown:?}");
            Ok(())
        })
        .unwrap();
        assert_eq!(&seen.to_vec().unwrap()[..2], [77, 1]);
    }
}

/// A factory that works once and never again: the only worker is retired, and runs say why.
pub(crate) fn refusing_later_gives_up() {
    static FLAG: OnceLock<std::path::PathBuf> = OnceLock::new();
    let directory = tempfile::tempdir().unwrap();
    FLAG.set(directory.path().join("broken")).unwrap();
    let exec = small(Mode::Process, 1)
        .worker_factory(WorkerKind::NextLevel, |id| {
            if FLAG.get().unwrap().exists() {
                return Err("the device burnt down".into());
            }
            Ok(Box::new(Clerk { id, calls: 0 }))
        })
        .build()
        .unwrap();
    let seen = exec.buffer::<u64>(4).unwrap();
    std::fs::write(FLAG.get().unwrap(), "").unwrap();
    let error = exec
        .run(|orch| {
            orch.submit(1, args().inout(seen.tensor()), config())?;
            kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
            for _ in 0..20 {
                orch.submit(1, args().inout(seen.tensor()), config())?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
        .unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::Failed(_) | Error::Task(_)), "{error}");
    eventually(
        "the executor says so",
        || matches!(exec.run(|_| Ok(())), Err(Error::Failed(why)) if why.contains("retired")),
    );
}

pub(crate) fn bad_numbers_are_refused() {
    let of = |next, sub| Executor::builder().workers(next).sub_workers(sub).build();
    for (next, sub) in [(0, 0), (257, 0), (200, 57), (usize::MAX, 1), (1 << 40, 0)] {
        match of(next, sub) {
            Err(BuildError::Workers(_)) => {}
            other => panic!("{next} + {sub}: {:?}", other.err()),
        }
    }
    for window in [0, 1, 8, 17, 100, 1 << 17, usize::MAX] {
        match Executor::builder().workers(1).slot_window(window).build() {
            Err(BuildError::Ring(error)) => {
                assert!(error.to_string().contains("power of two"), "{error}");
            }
            other => panic!("window {window}: {:?}", other.err()),
        }
    }
    assert_eq!(testkit::open_fds(), {
        let _ = of(0, 0);
        testkit::open_fds()
    });
}

/// The kernel refuses no mapping, so this is ours to do. And what fits costs nothing until used.
pub(crate) fn no_room_is_refused() {
    let huge = 1usize << 50;
    for builder in [
        Executor::builder().workers(1).heap_bytes(huge),
        Executor::builder().workers(1).buffer_bytes(huge),
    ] {
        match builder.build() {
            Err(error @ BuildError::Memory { .. }) => {
                assert!(error.to_string().contains(&huge.to_string()), "{error}");
            }
            other => panic!("{:?}", other.err()),
        }
    }
    let mut builder = Executor::builder().workers(1); // the default sizes: gigabytes
    let nop = builder.register("nop", bodies::nop).unwrap();
    let exec = builder.build().unwrap();
    exec.run(|orch| orch.submit(nop, args(), config()).map(drop)).unwrap();
    assert!(own_kib(std::process::id()) < 200 << 10);
}

pub(crate) fn a_name_twice_is_refused() {
    let mut builder = small(Mode::Process, 1);
    let first = builder.register("f", |args, _, _| args.set::<u64>(0, 0, 1)).unwrap();
    let error = builder.register("f", |args, _, _| args.set::<u64>(0, 0, 2)).unwrap_err();
    assert!(matches!(&error, BuildError::DuplicateFunction(name) if name == "f"), "{error}");
    let other = builder.register("g", |args, _, _| args.set::<u64>(0, 0, 3)).unwrap();
    let exec = builder.build().unwrap();
    let out = exec.buffer::<u64>(2).unwrap();
    exec.run(|orch| {
        orch.submit(first, args().output(at(&out, 0)), config())?;
        orch.submit(other, args().output(at(&out, 1)), config())?;
        Ok(())
    })
    .unwrap();
    assert_eq!(out.to_vec().unwrap(), [1, 3]);
}
