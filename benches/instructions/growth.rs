//! What may not grow with all that is held or was named: each pattern among few and among many.

use mailring::abi::{CallConfig, ContinuousTensor, DataType, TaskArgs};
use mailring::prelude::*;

use crate::engine::Engine;
use crate::rows::Counted;
use crate::stage::BATCHES;

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

/// Each writes the next one of `ALL` tensors, of which `FIRST` have been written before.
pub(crate) fn tensors<const ALL: usize, const FIRST: usize>(tasks: usize) -> Counted<()> {
    let engine = Engine::large()?;
    let data = engine.exec.buffer::<u64>(ALL)?;
    let submit = |orch: &mut Orchestrator, at: usize| {
        let args = TaskArgs::new().output(data.view(at % ALL, &[1])?);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    };
    let before = |orch: &mut Orchestrator| (0..FIRST).try_for_each(|at| submit(orch, at));
    let mut at = FIRST;
    engine.batches_after(before, tasks, TaskArgs::new, |orch, _| {
        at += 1;
        submit(orch, at - 1)
    })
}

/// Each reads all of what others will have written part by part: none of them has begun.
pub(crate) fn live<const PARTS: usize>(tasks: usize) -> Counted<()> {
    let engine = Engine::wide()?;
    let data = engine.exec.buffer::<u64>(PARTS + 1)?;
    let whole = data.view(0, &[PARTS as u32])?;
    let write_all = |orch: &mut Orchestrator| {
        (0..PARTS).try_for_each(|part| {
            let args = TaskArgs::new().output(data.view(part, &[1])?);
            orch.submit(engine.empty, args, CallConfig::default()).map(drop)
        })
    };
    engine.prepared_batches(write_all, tasks, TaskArgs::new, |orch, task| {
        let args = TaskArgs::new().input(whole).scalar(task as u64);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

/// Groups of one that are ready all at once.
pub(crate) fn groups(tasks: usize) -> Counted<()> {
    let engine = Engine::wide()?;
    let data = engine.exec.buffer::<u64>(tasks)?;
    let all = || TaskArgs::new().input(&data);
    engine.batches(tasks, all, |orch, task| {
        let members = vec![TaskArgs::new().output(data.view(task, &[1])?)];
        orch.submit_group(engine.empty, members, CallConfig::default()).map(drop)
    })
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
