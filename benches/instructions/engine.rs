//! Tasks of the engine.

use mailring::abi::{AbiError, CallConfig, ContinuousTensor, DataType, TaskArgs};
use mailring::prelude::*;
use mailring::{Callable, WaitStrategy};

use crate::rows::Counted;
use crate::stage::{BATCHES, Stage, batch_done, counted};

/// Cells of the buffer.
const CELLS: usize = 1 << 13;
/// Width of the stencil.
const WIDTH: usize = 4;

type Empty = Task<(In<'static, u64>, Out<'static, u64>, u64)>;

/// An executor with bodies that do nothing.
pub(crate) struct Engine {
    pub(crate) exec: Executor,
    workers: usize,
    stage: Stage,
    gate: Callable,
    stop: Callable,
    pub(crate) empty: Callable,
    say: Callable,
    typed: Empty,
    data: Buffer<u64>,
}

impl Engine {
    fn build(workers: usize, wait: WaitStrategy) -> Counted<Self> {
        Self::with_room(workers, wait, 1 << 20, 1 << 12)
    }

    /// With one worker, and much of each kind of memory.
    pub(crate) fn large() -> Counted<Self> {
        Self::with_room(1, WaitStrategy::Adaptive, 256 << 20, 1 << 12)
    }

    /// With one worker, and many tasks in flight.
    pub(crate) fn wide() -> Counted<Self> {
        Self::with_room(1, WaitStrategy::Adaptive, 1 << 20, 1 << 14)
    }

    fn with_room(workers: usize, wait: WaitStrategy, bytes: usize, window: usize) -> Counted<Self> {
        let stage = Stage::new()?;
        let mut builder = Executor::builder()
            .name("mailring-instructions")
            .workers(workers)
            .wait_strategy(wait)
            .slot_window(window)
            .heap_bytes(bytes)
            .buffer_bytes(bytes);
        let mut register = |name: &str, does: fn(Stage)| {
            builder.register(name, move |_, _, _| {
                does(stage);
                Ok::<(), AbiError>(())
            })
        };
        let gate = register("gate", Stage::pass)?;
        let stop = register("stop", Stage::stop)?;
        let say = register("say", Stage::say)?;
        let empty = builder.register("empty", |_, _, _| Ok::<(), AbiError>(()))?;
        let typed = builder.task("typed", |_: In<u64>, _: Out<u64>, _: u64| ())?;
        let exec = builder.build()?;
        let data = exec.buffer(CELLS)?;
        Ok(Self { exec, workers, stage, gate, stop, empty, say, typed, data })
    }

    fn cell(&self, at: usize) -> Counted<ContinuousTensor> {
        Ok(self.data.view(at, &[1])?)
    }

    fn cells(&self, from: usize, count: usize) -> Counted<Vec<ContinuousTensor>> {
        (from..from + count).map(|at| self.cell(at)).collect()
    }

    /// Until the gate is opened, each worker stays in a task.
    fn close(&self, orch: &mut Orchestrator) -> Result<(), Error> {
        for _ in 0..self.workers {
            orch.submit(self.gate, TaskArgs::new(), CallConfig::default())?;
        }
        self.stage.await_closed(self.workers as u64);
        Ok(())
    }

    /// Batches of `tasks`, submitted while the one worker stays at the gate. `last` are the arguments of
    /// the task after all others.
    pub(crate) fn batches(
        &self,
        tasks: usize,
        last: impl Fn() -> TaskArgs,
        submit: impl FnMut(&mut Orchestrator, usize) -> Result<(), Error>,
    ) -> Counted<()> {
        self.batches_after(|_| Ok(()), tasks, last, submit)
    }

    /// The same, after something that is not counted.
    pub(crate) fn batches_after(
        &self,
        before: impl FnOnce(&mut Orchestrator) -> Result<(), Error>,
        tasks: usize,
        last: impl Fn() -> TaskArgs,
        submit: impl FnMut(&mut Orchestrator, usize) -> Result<(), Error>,
    ) -> Counted<()> {
        self.all_batches(before, |_| Ok(()), tasks, last, submit)
    }

    /// The same, with something in each batch that is not counted: before its tasks, while the worker
    /// stays at the gate.
    pub(crate) fn prepared_batches(
        &self,
        prepare: impl FnMut(&mut Orchestrator) -> Result<(), Error>,
        tasks: usize,
        last: impl Fn() -> TaskArgs,
        submit: impl FnMut(&mut Orchestrator, usize) -> Result<(), Error>,
    ) -> Counted<()> {
        self.all_batches(|_| Ok(()), prepare, tasks, last, submit)
    }

    fn all_batches(
        &self,
        before: impl FnOnce(&mut Orchestrator) -> Result<(), Error>,
        mut prepare: impl FnMut(&mut Orchestrator) -> Result<(), Error>,
        tasks: usize,
        last: impl Fn() -> TaskArgs,
        mut submit: impl FnMut(&mut Orchestrator, usize) -> Result<(), Error>,
    ) -> Counted<()> {
        self.exec.run(|orch| {
            before(orch)?;
            for _ in 0..BATCHES {
                self.close(orch)?;
                prepare(orch)?;
                counted(|| (0..tasks).try_for_each(|task| submit(orch, task)))?;
                batch_done();
                let last = orch.submit(self.stop, last(), CallConfig::default())?;
                self.stage.open(1);
                orch.wait(&last)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn one() -> Counted<Engine> {
    Engine::build(1, WaitStrategy::Adaptive)
}

/// Each with an input and an output of its own, and a scalar.
pub(crate) fn independent(tasks: usize) -> Counted<()> {
    let engine = one()?;
    let (inputs, outputs) = (engine.cells(0, tasks)?, engine.cells(tasks, tasks)?);
    engine.batches(tasks, TaskArgs::new, |orch, task| {
        let args = TaskArgs::new().input(inputs[task]).output(outputs[task]).scalar(task as u64);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

/// All read and write one element, and have a scalar.
pub(crate) fn chained(tasks: usize) -> Counted<()> {
    let engine = one()?;
    let link = engine.cell(0)?;
    engine.batches(
        tasks,
        || TaskArgs::new().inout(link),
        |orch, task| {
            let args = TaskArgs::new().inout(link).scalar(task as u64);
            orch.submit(engine.empty, args, CallConfig::default()).map(drop)
        },
    )
}

/// Each reads what it and its neighbours wrote a step before.
pub(crate) fn stencil(tasks: usize) -> Counted<()> {
    let engine = one()?;
    let rows = [engine.cells(0, WIDTH + 2)?, engine.cells(WIDTH + 2, WIDTH + 2)?];
    let all = || {
        let cells = rows.iter().flatten();
        cells.fold(TaskArgs::new(), |args, cell| args.input(*cell))
    };
    engine.batches(tasks, all, |orch, task| {
        let (step, at) = (task / WIDTH, task % WIDTH);
        let (from, to) = (&rows[step % 2], &rows[(step + 1) % 2]);
        let args = TaskArgs::new().input(from[at]).input(from[at + 1]).input(from[at + 2]);
        let args = args.output_existing(to[at + 1]).scalar(task as u64);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

/// Each has an output that is allocated.
pub(crate) fn alloc(tasks: usize) -> Counted<()> {
    let engine = one()?;
    let input = engine.cell(0)?;
    let output = ContinuousTensor::new(0, &[8], DataType::Float32)?;
    engine.batches(tasks, TaskArgs::new, |orch, task| {
        if task == 0 {
            orch.scope_begin()?;
        }
        let args = TaskArgs::new().input(input).output(output).scalar(task as u64);
        orch.submit(engine.empty, args, CallConfig::default())?;
        if task + 1 == tasks { orch.scope_end() } else { Ok(()) }
    })
}

/// Two members on two workers, one output each. The workers wait for each other, so only the
/// submitter is counted.
pub(crate) fn group(tasks: usize) -> Counted<()> {
    let engine = Engine::build(2, WaitStrategy::Adaptive)?;
    let outputs = engine.cells(0, 2 * tasks)?;
    let mut handles = Vec::with_capacity(tasks);
    engine.exec.run(|orch| {
        for _ in 0..BATCHES {
            engine.close(orch)?;
            counted(|| {
                (0..tasks).try_for_each(|task| {
                    let member = |at: usize| {
                        TaskArgs::new().output(outputs[2 * task + at]).scalar(task as u64)
                    };
                    let members = vec![member(0), member(1)];
                    let config = CallConfig::default();
                    handles.push(orch.submit_group(engine.empty, members, config)?);
                    Ok::<(), Error>(())
                })
            })?;
            batch_done();
            engine.stage.open(2);
            // No worker is to wait in a group while another one stands at the gate.
            handles.drain(..).try_for_each(|group| orch.wait(&group))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// As `independent`, through the typed front.
pub(crate) fn typed(tasks: usize) -> Counted<()> {
    let engine = one()?;
    let cells: Vec<Buffer<u64>> =
        (0..64).map(|_| engine.exec.buffer(1)).collect::<Result<_, _>>()?;
    let (inputs, outputs) = cells.split_at(32);
    engine.batches(tasks, TaskArgs::new, |orch, task| {
        let (input, output) = (&inputs[task % 32], &outputs[task % 32]);
        orch.spawn(engine.typed, (input, output, task as u64)).map(drop)
    })
}

/// As `independent`, recorded once and replayed.
pub(crate) fn replay_independent(tasks: usize) -> Counted<()> {
    let engine = one()?;
    let (inputs, outputs) = (engine.cells(0, tasks)?, engine.cells(tasks, tasks)?);
    let (_, graph) = engine.exec.record(|orch| {
        for (task, (input, output)) in inputs.iter().zip(&outputs).enumerate() {
            let args = TaskArgs::new().input(*input).output(*output).scalar(task as u64);
            orch.submit(engine.empty, args, CallConfig::default())?;
        }
        Ok(())
    })?;
    let bindings = graph.bindings();
    engine.batches(1, TaskArgs::new, |orch, _| orch.replay(&graph, &bindings).map(drop))
}

/// As `chained`, recorded once and replayed.
pub(crate) fn replay_chained(tasks: usize) -> Counted<()> {
    let engine = one()?;
    let link = engine.cell(0)?;
    let (_, graph) = engine.exec.record(|orch| {
        (0..tasks).try_for_each(|task| {
            let args = TaskArgs::new().inout(link).scalar(task as u64);
            orch.submit(engine.empty, args, CallConfig::default()).map(drop)
        })
    })?;
    let bindings = graph.bindings();
    let last = || TaskArgs::new().inout(link);
    engine.batches(1, last, |orch, _| orch.replay(&graph, &bindings).map(drop))
}

/// Submit and wait, without what passes in between.
pub(crate) fn round_trip(tasks: usize) -> Counted<()> {
    let engine = Engine::build(1, WaitStrategy::Spin)?;
    let outputs = engine.cells(0, tasks)?;
    engine.exec.run(|orch| {
        for batch in 0..BATCHES {
            for (task, output) in outputs.iter().enumerate() {
                let args = TaskArgs::new().output(*output).scalar(task as u64);
                let submitted = counted(|| orch.submit(engine.say, args, CallConfig::default()))?;
                engine.stage.await_ran((batch * tasks + task + 1) as u64);
                counted(|| orch.wait(&submitted))?;
            }
            batch_done();
        }
        Ok(())
    })?;
    Ok(())
}
