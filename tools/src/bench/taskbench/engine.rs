//! This engine: tasks are submitted one by one, and it infers from the cells that they name who
//! waits for whom.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use mailring::abi::{CallConfig, ContinuousTensor, TaskArgs, TaskArgsView};
use mailring::executor::Recording;
use mailring::{Buffer, Callable, Error, Executor, Mode, Orchestrator};

use super::super::run::Measured;
use super::graph::{CELL_WORDS, Graph, MOST_CELLS, Task};
use super::system::{System, body};

/// Identity and iterations of a task share a scalar.
const ID_BITS: u32 = 32;

pub(super) struct Engine {
    name: &'static str,
    exec: Executor,
    task: Callable,
    buffer: Buffer<u64>,
    cells: Vec<ContinuousTensor>,
}

impl Engine {
    /// Workers that may run on any processor.
    pub(super) fn build(
        name: &'static str,
        mode: Mode,
        workers: usize,
    ) -> Result<Self, Box<dyn StdError>> {
        let words = MOST_CELLS * CELL_WORDS;
        let mut builder = Executor::builder()
            .name("mailring-bench")
            .mode(mode)
            .workers(workers)
            .heap_bytes(1 << 20)
            .buffer_bytes(words * size_of::<u64>() + (1 << 20));
        let task = builder.register("task", |args, _, _| run_task(args))?;
        let exec = builder.build()?;
        let buffer = exec.buffer(words)?;
        let cell = |at| buffer.view(at * CELL_WORDS, &[1]);
        let cells = (0..MOST_CELLS).map(cell).collect::<Result<_, _>>()?;
        Ok(Self { name, exec, task, buffer, cells })
    }

    fn submit_all(
        &self,
        orch: &mut Orchestrator,
        graph: &Graph,
        iterations: u64,
    ) -> Result<(), Error> {
        for task in &graph.tasks {
            let mut args = TaskArgs::new();
            for &cell in graph.reads(task) {
                args = args.input(self.cells[cell as usize]);
            }
            let args = args.output(self.cells[task.writes as usize]).scalar(word(task, iterations));
            orch.submit(self.task, args, CallConfig::default())?;
        }
        Ok(())
    }
}

impl System for Engine {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration> {
        let begin = Instant::now();
        self.exec.run(|orch| self.submit_all(orch, graph, iterations))?;
        Ok(begin.elapsed())
    }

    fn cells(&self, count: usize) -> Measured<Vec<u64>> {
        let all = self.buffer.to_vec()?;
        Ok(all.into_iter().step_by(CELL_WORDS).take(count).collect())
    }
}

/// The same with graphs that were recorded: nothing is inferred while time is taken. The scalars are
/// new each time.
pub(super) struct Replay {
    engine: Engine,
    /// By the address of the graph, which is kept.
    recorded: HashMap<*const Graph, (Arc<Graph>, Recording)>,
}

impl Replay {
    pub(super) fn build(workers: usize) -> Result<Self, Box<dyn StdError>> {
        let engine = Engine::build("replay.", Mode::Process, workers)?;
        Ok(Self { engine, recorded: HashMap::new() })
    }
}

impl System for Replay {
    fn name(&self) -> &'static str {
        self.engine.name
    }

    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration> {
        let engine = &self.engine;
        let (_, recording) = match self.recorded.entry(Arc::as_ptr(graph)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let record = |orch: &mut Orchestrator| engine.submit_all(orch, graph, 1);
                let ((), recording) = engine.exec.record(record)?;
                new.insert((Arc::clone(graph), recording))
            }
        };
        let mut bindings = recording.bindings();
        for (at, task) in graph.tasks.iter().enumerate() {
            bindings.scalar(at, 0, word(task, iterations))?;
        }
        let begin = Instant::now();
        engine.exec.replay(recording, &bindings)?;
        Ok(begin.elapsed())
    }

    fn cells(&self, count: usize) -> Measured<Vec<u64>> {
        self.engine.cells(count)
    }
}

/// The scalar of a task.
fn word(task: &Task, iterations: u64) -> u64 {
    iterations << ID_BITS | u64::from(task.id)
}

fn run_task(args: TaskArgsView<'_>) -> Result<(), &'static str> {
    let (&[scalar], [read @ .., write]) = (args.scalars(), args.tensors()) else {
        return Err("a task has a scalar and a cell to write");
    };
    let cell = |tensor: &ContinuousTensor| {
        // SAFETY: a cell of the buffer, aligned, mapped as long as tasks run, and atomic for all.
        unsafe {
            AtomicU64::from_ptr(std::ptr::with_exposed_provenance_mut(tensor.data() as usize))
        }
    };
    let iterations = scalar >> ID_BITS;
    body(scalar & ((1 << ID_BITS) - 1), read.iter().map(cell), cell(write), iterations);
    Ok(())
}
