//! What may not grow with all that is held or was named: each pattern among few and among many.

use mailring::Hazards;
use mailring::abi::{CallConfig, ContinuousTensor, DataType, TaskArgs, TensorArgType};
use mailring::graph::{Access, Dependencies, TensorMap};
use mailring::prelude::*;

use crate::engine::Engine;
use crate::rows::Counted;
use crate::stage::{BATCHES, batch_done, counted};

/// A new buffer before each task, beside `HELD` others.
pub(crate) fn buffers<const HELD: usize>(tasks: usize) -> Counted<()> {
    let engine = Engine::large()?;
    let held: Result<Vec<Buffer<u64>>, _> = (0..HELD).map(|_| engine.exec.buffer(1)).collect();
    let mut held = held?;
    held.reserve(BATCHES * tasks);
    engine.batches(tasks, TaskArgs::new, |orch, _| {
        let new = engine.exec.buffer::<u64>(1)?;
        let args = TaskArgs::new().output(&new);
        held.push(new);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

/// Each of `ALL` buffers in turns.
pub(crate) fn turns<const ALL: usize>(tasks: usize) -> Counted<()> {
    let engine = Engine::large()?;
    let all: Result<Vec<Buffer<u64>>, _> = (0..ALL).map(|_| engine.exec.buffer(1)).collect();
    let all = all?;
    let mut turn = 0;
    let name_all = |orch: &mut Orchestrator| {
        all.iter().try_for_each(|buffer| {
            let args = TaskArgs::new().inout(buffer);
            orch.submit(engine.empty, args, CallConfig::default()).map(drop)
        })
    };
    engine.batches_after(name_all, tasks, TaskArgs::new, |orch, _| {
        turn += 1;
        let args = TaskArgs::new().inout(&all[turn % ALL]);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

/// Each reads all of what others have written part by part.
pub(crate) fn parts<const PARTS: usize>(tasks: usize) -> Counted<()> {
    let engine = Engine::large()?;
    let data = engine.exec.buffer::<u64>(PARTS + 1)?;
    engine.exec.run(|orch| {
        (0..PARTS).try_for_each(|part| {
            let args = TaskArgs::new().output(data.view(part, &[1])?);
            orch.submit(engine.empty, args, CallConfig::default()).map(drop)
        })
    })?;
    let whole = data.view(0, &[PARTS as u32])?;
    engine.batches(tasks, TaskArgs::new, |orch, task| {
        let args = TaskArgs::new().input(whole).scalar(task as u64);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

/// Rows of a square matrix are read; tiles of a row, and cells, are written.
pub(crate) fn matrix<const N: usize>(tasks: usize) -> Counted<()> {
    let engine = Engine::large()?;
    let data = engine.exec.buffer::<u64>(N * N)?;
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % N
    };
    engine.batches(tasks, TaskArgs::new, |orch, task| {
        let (row, column) = (random() * N, random());
        let args = match task % 3 {
            0 => TaskArgs::new().input(data.view(row, &[N as u32])?),
            1 => {
                let len = 4.min(N - column) as u32;
                TaskArgs::new().inout(data.view(row + column, &[len])?)
            }
            _ => TaskArgs::new().output(data.view(row + column, &[1])?),
        };
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

/// The map alone: each of `ALL` tensors in turns, in a window of 4,096 tasks.
pub(crate) fn tensors<const ALL: u64>(tasks: usize) -> Counted<()> {
    let mut map = TensorMap::new(Hazards::Strict);
    let mut found = Dependencies::default();
    let mut task = 0u64;
    for _ in 0..BATCHES {
        counted(|| {
            for _ in 0..tasks {
                let at = task % ALL * 64;
                let mut access = [Access::new(at..at + 64, TensorArgType::InOut)];
                found.clear();
                map.lookup(&mut access, &mut found);
                // Tasks leave by quarters of the window.
                map.record(&access, task, task.saturating_sub(3072) & !1023);
                task += 1;
            }
        });
        batch_done();
    }
    Ok(())
}

/// Allocated outputs in a scope that holds `HELD` others.
pub(crate) fn outputs<const HELD: usize>(tasks: usize) -> Counted<()> {
    let engine = Engine::large()?;
    let output = ContinuousTensor::new(0, &[8], DataType::Float32)?;
    let submit = |orch: &mut Orchestrator, _| {
        let args = TaskArgs::new().output(output);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    };
    let before = |orch: &mut Orchestrator| (0..HELD).try_for_each(|task| submit(orch, task));
    engine.batches_after(before, tasks, TaskArgs::new, submit)
}
