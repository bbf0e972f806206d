//! Pools of threads: rayon, threads that take from a channel of crossbeam, tokio.
//!
//! None of them infers anything. They are handed the finished graph, which nobody pays for while
//! time is taken: a count of predecessors for each task, and the list of those that wait for it. A
//! task that is through counts them down and spawns those that nothing holds any more.

use std::sync::atomic::Ordering::AcqRel;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rayon::{Scope, ThreadPool, ThreadPoolBuilder};
use tokio::runtime::{Builder, Runtime};

use super::super::run::Measured;
use super::graph::{Graph, MOST_CELLS};
use super::system::{Cell, System, body};

/// A graph while it runs.
struct Running {
    graph: Arc<Graph>,
    cells: Arc<Vec<Cell>>,
    /// For each task, those that it still waits for.
    before: Vec<AtomicU32>,
    /// Tasks that nobody waits for and that are not through.
    last: AtomicUsize,
    /// Told when all are through.
    through: mpsc::Sender<()>,
    iterations: u64,
}

impl Running {
    fn new(
        graph: &Arc<Graph>,
        cells: &Arc<Vec<Cell>>,
        iterations: u64,
    ) -> (Self, mpsc::Receiver<()>) {
        let before = graph.tasks.iter().map(|task| AtomicU32::new(task.predecessors)).collect();
        let last = graph.tasks.iter().filter(|task| graph.successors(task).is_empty()).count();
        let (graph, cells) = (Arc::clone(graph), Arc::clone(cells));
        let (last, (through, wait)) = (AtomicUsize::new(last), mpsc::channel());
        (Self { graph, cells, before, last, through, iterations }, wait)
    }

    fn roots(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.graph.tasks).filter(|(_, task)| task.predecessors == 0).map(|(at, _)| at)
    }

    /// Runs a task and says which are ready now.
    fn run(&self, task: u32, mut ready: impl FnMut(u32)) {
        let task = &self.graph.tasks[task as usize];
        let read = self.graph.reads(task).iter().map(|&cell| &self.cells[cell as usize].0);
        let write = &self.cells[task.writes as usize].0;
        body(task.id.into(), read, write, self.iterations);
        let successors = self.graph.successors(task);
        for &next in successors {
            if self.before[next as usize].fetch_sub(1, AcqRel) == 1 {
                ready(next);
            }
        }
        if successors.is_empty() && self.last.fetch_sub(1, AcqRel) == 1 {
            // Nobody listens in a pool that knows by itself when all are through.
            let _ = self.through.send(());
        }
    }
}

fn new_cells() -> Arc<Vec<Cell>> {
    Arc::new((0..MOST_CELLS).map(|_| Cell::default()).collect())
}

fn values(cells: &[Cell], count: usize) -> Vec<u64> {
    cells[..count].iter().map(|cell| cell.0.load(std::sync::atomic::Ordering::Relaxed)).collect()
}

/// A scope, and a spawn for each task.
pub(super) struct Rayon {
    pool: ThreadPool,
    cells: Arc<Vec<Cell>>,
}

impl Rayon {
    pub(super) fn new(threads: usize) -> Measured<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { pool, cells: new_cells() })
    }
}

impl System for Rayon {
    fn name(&self) -> &'static str {
        "rayon."
    }

    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration> {
        fn one<'s>(running: &'s Running, task: u32, scope: &Scope<'s>) {
            running.run(task, |next| scope.spawn(move |scope| one(running, next, scope)));
        }
        let (running, _) = &Running::new(graph, &self.cells, iterations);
        let begin = Instant::now();
        self.pool.scope(|scope| {
            running.roots().for_each(|task| scope.spawn(move |scope| one(running, task, scope)));
        });
        Ok(begin.elapsed())
    }

    fn cells(&self, count: usize) -> Measured<Vec<u64>> {
        Ok(values(&self.cells, count))
    }
}

/// Numbers of tasks in one channel, which all threads take from.
pub(super) struct Channel {
    threads: usize,
    cells: Arc<Vec<Cell>>,
}

/// Ends a thread.
const END: u32 = u32::MAX;

impl Channel {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, cells: new_cells() }
    }
}

/// They listen as long as there are tasks, so nothing that is sent is lost.
fn say(send: &Sender<u32>, task: u32) {
    let _ = send.send(task);
}

impl System for Channel {
    fn name(&self) -> &'static str {
        "channel."
    }

    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration> {
        let (running, through) = &Running::new(graph, &self.cells, iterations);
        let (send, take): (Sender<u32>, Receiver<u32>) = unbounded();
        // The threads are there before time is taken.
        let all_there = &Barrier::new(self.threads + 1);
        Ok(std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let (send, take) = (send.clone(), take.clone());
                scope.spawn(move || {
                    all_there.wait();
                    for task in take.into_iter().take_while(|&task| task != END) {
                        running.run(task, |next| say(&send, next));
                    }
                });
            }
            all_there.wait();
            let begin = Instant::now();
            running.roots().for_each(|task| say(&send, task));
            let _ = through.recv();
            let time = begin.elapsed();
            (0..self.threads).for_each(|_| say(&send, END));
            time
        }))
    }

    fn cells(&self, count: usize) -> Measured<Vec<u64>> {
        Ok(values(&self.cells, count))
    }
}

/// A future for each task.
pub(super) struct Tokio {
    runtime: Runtime,
    cells: Arc<Vec<Cell>>,
}

impl Tokio {
    pub(super) fn new(threads: usize) -> Measured<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(threads).build()?;
        Ok(Self { runtime, cells: new_cells() })
    }
}

impl System for Tokio {
    fn name(&self) -> &'static str {
        "tokio."
    }

    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration> {
        fn spawn(running: &Arc<Running>, task: u32) {
            let running = Arc::clone(running);
            tokio::spawn(async move { running.run(task, |next| spawn(&running, next)) });
        }
        let (running, through) = Running::new(graph, &self.cells, iterations);
        let running = Arc::new(running);
        let begin = Instant::now();
        self.runtime.spawn(async move { running.roots().for_each(|task| spawn(&running, task)) });
        through.recv()?;
        Ok(begin.elapsed())
    }

    fn cells(&self, count: usize) -> Measured<Vec<u64>> {
        Ok(values(&self.cells, count))
    }
}
