//! What runs graphs: this engine, and others.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::run::Measured;
use super::graph::{Graph, value};
use super::kernel::kernel;
use super::pattern::Pattern;

pub(super) trait System {
    /// The first word of its keys, and its name in plots.
    fn name(&self) -> &'static str;

    /// Runs all tasks of a graph, each with so many iterations: the time from the first until all
    /// are through. Whatever can be known of a graph before it runs is got ready before that.
    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration>;

    /// Whether it can run such graphs.
    fn runs(&self, _: Pattern) -> bool {
        true
    }

    /// What stands in the first so many cells.
    fn cells(&self, count: usize) -> Measured<Vec<u64>>;
}

/// A task, wherever it runs: reads, computes, writes.
#[inline]
pub(super) fn body<'a>(
    id: u64,
    read: impl Iterator<Item = &'a AtomicU64>,
    write: &AtomicU64,
    iterations: u64,
) {
    let value = value(id, read.map(|cell| cell.load(Relaxed)));
    kernel(iterations);
    write.store(value, Relaxed);
}

/// A cell in memory of one's own: nobody shares its pair of lines.
#[repr(C, align(128))]
#[derive(Default)]
pub(super) struct Cell(pub(super) AtomicU64);
