//! This engine: tasks are submitted one by one, and it infers from the cells that they name who
//! waits for whom.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use mailring::abi::{CallConfig, ContinuousTensor, TaskArgs, TaskArgsView};
use mailring::{Buffer, Callable, Error, Executor, Mode};

use super::super::run::Measured;
use super::graph::{CELL_WORDS, Graph, MOST_CELLS};
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

    fn submit_all(&self, graph: &Graph, iterations: u64) -> Result<(), Error> {
        self.exec.run(|orch| {
            for task in &graph.tasks {
                let mut args = TaskArgs::new();
                for &cell in graph.reads(task) {
                    args = args.input(self.cells[cell as usize]);
                }
                let args = args
                    .output(self.cells[task.writes as usize])
                    .scalar(iterations << ID_BITS | u64::from(task.id));
                orch.submit(self.task, args, CallConfig::default())?;
            }
            Ok(())
        })
    }
}

impl System for Engine {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration> {
        let begin = Instant::now();
        self.submit_all(graph, iterations)?;
        Ok(begin.elapsed())
    }

    fn cells(&self, count: usize) -> Measured<Vec<u64>> {
        let all = self.buffer.to_vec()?;
        Ok(all.into_iter().step_by(CELL_WORDS).take(count).collect())
    }
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
