//! Many tasks, many runs, little memory; and what happens when a ring is full.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::abi::DataType;
use mailring::abi::{ContinuousTensor, TaskArgs};
use mailring::{Callable, Error, Executor, Mode, Orchestrator};
use testkit::{
    BOTH, BoxError, args, at, atom, await_value, bodies, bounds_memory, cell, config, eventually,
    own_kib, small,
};

/// Memory that host and workers have for themselves, in KiB.
fn own(exec: &Executor) -> u64 {
    let workers = exec.worker_pids().into_iter().filter(|&pid| pid != 0);
    own_kib(std::process::id()) + workers.map(own_kib).sum::<u64>()
}

fn adder(mode: Mode, workers: usize, window: usize) -> (Executor, Callable) {
    let mut builder = small(mode, workers).slot_window(window);
    let add = builder.register("add", bodies::add_one).unwrap();
    (builder.build().unwrap(), add)
}

/// Nor does the end of a run free what a worker still looks at: slots are only used again.
pub(crate) fn ten_thousand_runs_stay_flat() {
    for mode in BOTH {
        let (exec, add) = adder(mode, 2, 256);
        let data = exec.buffer::<u64>(2).unwrap();
        let run = |times: usize| {
            for _ in 0..times {
                exec.run(|orch| {
                    let temporary = orch.alloc(&[10], DataType::Uint64)?;
                    orch.submit(add, args().inout(temporary), config())?;
                    orch.submit(add, args().inout(at(&data, 0)), config())?;
                    orch.submit(add, args().inout(at(&data, 0)), config()).map(drop)
                })
                .unwrap();
            }
        };
        run(1000);
        let before = own(&exec);
        run(9000);
        let after = own(&exec);
        assert_eq!(data.get(0).unwrap(), 20_000);
        let flat = after < before + 1024 || !bounds_memory();
        assert!(flat, "{mode:?}: {before} KiB grew to {after} KiB");
    }
}

/// One scope, one buffer, a window of 64: a task leaves the window when it is through, whatever
/// scope is open.
pub(crate) fn many_tasks_over_one_buffer() {
    over_one_buffer(200_000);
}

pub(crate) fn soak_ten_million_tasks_over_one_buffer() {
    over_one_buffer(10_000_000);
}

fn over_one_buffer(tasks: u64) {
    let (exec, add) = adder(Mode::Process, 1, 64);
    let data = exec.buffer::<u64>(8).unwrap();
    let mut before = 0;
    exec.run(|orch| {
        for i in 0..tasks {
            if i == tasks / 10 {
                before = own(&exec);
            }
            orch.submit(add, args().inout(at(&data, i as usize % 8)), config())?;
        }
        Ok(())
    })
    .unwrap();
    let after = own(&exec);
    assert_eq!(data.to_vec().unwrap(), [tasks / 8; 8]);
    let flat = after < before + 1024 || !bounds_memory();
    assert!(flat, "{before} KiB grew to {after} KiB");
}

fn null(elements: u32) -> ContinuousTensor {
    ContinuousTensor::new(0, &[elements], DataType::Uint64).unwrap()
}

/// Outputs of a nested scope go round and round in a heap ring of 64 KiB.
pub(crate) fn outputs_flow_through_the_heap() {
    for mode in BOTH {
        let mut builder = small(mode, 2).heap_bytes(64 << 10);
        let make = builder
            .register("make", |args, _, _| {
                let (_, count) = args.elements::<u64>(0)?;
                (0..count).try_for_each(|i| args.set(0, i, args.scalar(0)? + i as u64))
            })
            .unwrap();
        let sum = builder
            .register("sum", |args, _, _| {
                let (_, count) = args.elements::<u64>(0)?;
                for i in 0..count {
                    args.set(1, 0, args.get::<u64>(1, 0)? + args.get::<u64>(0, i)?)?;
                }
                Ok::<(), mailring::abi::AbiError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let total = exec.buffer::<u64>(1).unwrap();
        let mut expected = 0u64;
        exec.run(|orch| {
            for round in 0..3000u64 {
                let elements = 1 + (round * 37 % 1500) as u32;
                orch.scope(|orch| {
                    let out = args().output(null(elements)).scalar(round);
                    let made = orch.submit(make, out, config())?;
                    let all = args().input(made.tensor(0)?).inout(total.tensor());
                    orch.submit(sum, all, config()).map(drop)
                })?;
                expected += (0..u64::from(elements)).map(|i| round + i).sum::<u64>();
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(total.get(0).unwrap(), expected, "{mode:?}");
    }
}

pub(crate) fn a_small_window_is_enough() {
    for mode in BOTH {
        for window in [16, 32] {
            let (exec, add) = adder(mode, 3, window);
            let data = exec.buffer::<u64>(5).unwrap();
            exec.run(|orch| {
                for i in 0..5000 {
                    // Fan-in nodes need slots of the same window.
                    orch.submit(
                        add,
                        args().inout(at(&data, i % 5)).input(data.tensor()),
                        config(),
                    )?;
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(data.to_vec().unwrap(), [1000; 5]);
        }
    }
}

fn gated(mode: Mode, limit: Option<Duration>) -> (Executor, Callable, Callable) {
    let mut builder = small(mode, 1).slot_window(16).heap_bytes(8 << 10);
    if let Some(limit) = limit {
        builder = builder.back_pressure_timeout(limit);
    }
    let gate = builder
        .register("gate", |args, _, _| {
            if await_value(atom(&args, 0, 0), args.scalar(0)?) {
                Ok(())
            } else {
                Err("nobody opened")
            }
            .map_err(BoxError::from)
        })
        .unwrap();
    let count = builder
        .register("count", |args, _, _| {
            atom(&args, 0, 1).fetch_add(1, SeqCst);
            Ok::<(), String>(())
        })
        .unwrap();
    (builder.build().unwrap(), gate, count)
}

pub(crate) fn try_submit_gives_back() {
    for mode in BOTH {
        let (exec, gate, count) = gated(mode, None);
        let state = exec.buffer::<u64>(2).unwrap();
        let mine = || args().no_dep(state.tensor()).scalar(1);
        exec.run(|orch| {
            orch.submit(gate, mine(), config())?;
            let mut went = 0;
            let refused = loop {
                match orch.try_submit(count, mine(), config()) {
                    Ok(_) => went += 1,
                    Err(refused) => break refused,
                }
                assert!(went < 16);
            };
            assert_eq!(went, 15, "the window has 16 slots");
            assert!(matches!(refused.error, Error::WouldBlock { .. }), "{}", refused.error);
            assert!(refused.error.to_string().contains("gate"), "{}", refused.error);
            assert_eq!(refused.args, mine());
            cell(&state, 0).store(1, SeqCst);
            let until = Instant::now() + Duration::from_secs(20);
            let mut again = refused.args;
            while let Err(refused) = orch.try_submit(count, again, config()) {
                again = refused.args;
                assert!(Instant::now() < until);
            }
            // What can never be is refused as such.
            let bad = orch.try_submit(Callable(99), mine(), config()).unwrap_err();
            assert!(matches!(bad.error, Error::UnknownFunction(99)));
            Ok(())
        })
        .unwrap();
        assert_eq!(state.get(1).unwrap(), 16);
    }
}

/// The bound is on waiting without progress. It names what is full and who holds it; afterwards
/// everything goes on.
pub(crate) fn back_pressure_has_an_end() {
    for mode in BOTH {
        let limit = Duration::from_millis(60);
        let (exec, gate, count) = gated(mode, Some(limit));
        let state = exec.buffer::<u64>(2).unwrap();
        let one = |n| args().no_dep(state.tensor()).scalar(n);
        let fill = |orch: &mut Orchestrator, make: &dyn Fn() -> TaskArgs| -> Error {
            for _ in 0..100 {
                if let Err(error) = orch.submit(count, make(), config()) {
                    return error;
                }
            }
            panic!("there is room for 100");
        };
        exec.run(|orch| {
            // The window.
            orch.submit(gate, one(1), config())?;
            let began = Instant::now();
            let error = fill(orch, &|| one(0));
            assert!(began.elapsed() >= limit);
            assert!(matches!(error, Error::BackPressure { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("window") && text.contains("gate"), "{text}");
            cell(&state, 0).store(1, SeqCst);
            let last = orch.submit(count, one(0), config())?;
            orch.wait(&last)?;
            // A heap ring, held by a task of a scope that has closed.
            let mine = |n| args().no_dep(state.tensor()).output(null(1 << 9)).scalar(n);
            orch.scope(|orch| orch.submit(gate, mine(2), config()).map(drop))?;
            let error = loop {
                if let Err(error) = orch.scope(|orch| orch.submit(count, mine(0), config())) {
                    break error;
                }
            };
            assert!(matches!(error, Error::BackPressure { .. }), "{error}");
            assert!(error.to_string().contains("heap ring"), "{error}");
            cell(&state, 0).store(2, SeqCst);
            let last = orch.scope(|orch| orch.submit(count, mine(0), config()))?;
            orch.wait(&last)
        })
        .unwrap();
        eventually("all ran", || state.get(1).unwrap() >= 17);
    }
}

/// Buffers are given back and used again, zeroed, but not before their last task is through.
pub(crate) fn buffers_come_and_go() {
    for mode in BOTH {
        let mut builder = small(mode, 2).buffer_bytes(1 << 20);
        let add = builder.register("add", bodies::add_one_to_each).unwrap();
        let exec = builder.build().unwrap();
        for round in 0..50 {
            let data = exec.buffer::<u64>(1 << 15).unwrap(); // a quarter of the space
            assert_eq!(
                (data.get(0).unwrap(), data.get(data.len() - 1).unwrap()),
                (0, 0),
                "{round}"
            );
            exec.run(|orch| orch.submit(add, args().inout(data.tensor()), config()).map(drop))
                .unwrap();
            assert_eq!(data.get(data.len() - 1).unwrap(), 1);
        }
        let all = exec.buffer::<u8>(1 << 20).unwrap();
        let error = exec.buffer::<u8>(1).map(drop).unwrap_err();
        assert!(matches!(error, Error::BufferSpace { used: 1_048_576, .. }), "{error}");
        drop(all);
        // Dropped while its task has not begun: the bytes are not given to somebody else.
        let ((), handle) = exec
            .submit_run(|orch| {
                let data = exec.buffer::<u64>(1 << 15)?;
                for _ in 0..50 {
                    orch.submit(add, args().inout(data.tensor()), config())?;
                }
                Ok(())
            })
            .unwrap();
        let others: Vec<_> = (0..3).map(|_| exec.buffer::<u64>(1 << 15).unwrap()).collect();
        assert!(handle.wait(None).unwrap());
        assert!(others.iter().all(|other| other.to_vec().unwrap().iter().all(|&v| v == 0)));
    }
}
