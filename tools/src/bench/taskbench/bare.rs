//! The bare loop: what an engine of this shape costs without features. It has no edge from a reader
//! to a writer, so it runs those graphs alone in which all such edges are there anyway.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mailring_compare::Bare;

use super::super::run::Measured;
use super::graph::{Graph, MOST_CELLS};
use super::pattern::Pattern;
use super::system::{Cell, System, body};

/// A task in a word: its number, its kind, and iterations above. Those that run it have the numbers
/// of its cells from that.
const WIDTH_SHIFT: u32 = 20;
const STENCIL: u64 = 1 << 24;
const NO_COMM: u64 = 1 << 25;
const ITERATIONS_SHIFT: u32 = 28;

/// Where the cells lie, in the caller and in the workers that it forks.
static CELLS: AtomicPtr<Cell> = AtomicPtr::new(std::ptr::null_mut());

pub(super) struct Loop {
    bare: Bare,
}

impl Loop {
    /// Forks; before there are threads. Once in a process: its cells are never unmapped.
    pub(super) fn start(processors: &[usize]) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let (anywhere, bytes) = (std::ptr::null_mut(), MOST_CELLS * size_of::<Cell>());
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(anywhere, bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        CELLS.store(at.cast(), Relaxed);
        // The submitter shares the processors with the workers.
        Ok(Self { bare: Bare::start(processors, true, run_task)? })
    }
}

fn cells() -> &'static [Cell] {
    // SAFETY: mapped and zeroed before anybody asks, aligned to a page, never unmapped; zeros are
    // values of cells, which are atomic.
    unsafe { std::slice::from_raw_parts(CELLS.load(Relaxed), MOST_CELLS) }
}

fn run_task(word: u64) {
    let (id, cells) = (word & ((1 << WIDTH_SHIFT) - 1), cells());
    let width_log = word >> WIDTH_SHIFT & 0xf;
    let iterations = word >> ITERATIONS_SHIFT;
    if word & (STENCIL | NO_COMM) == 0 {
        return body(id, std::iter::empty(), &cells[id as usize].0, iterations);
    }
    let (step, width) = ((id >> width_log) as usize, 1 << width_log);
    let point = id as usize & (width - 1);
    let (this, other) = cells[..2 * width].split_at(width);
    let (write, read) = if step.is_multiple_of(2) { (this, other) } else { (other, this) };
    let read = match step {
        0 => &[],
        _ if word & NO_COMM != 0 => &read[point..=point],
        _ => &read[point.saturating_sub(1)..(point + 2).min(width)],
    };
    body(id, read.iter().map(|cell| &cell.0), &write[point].0, iterations);
}

impl System for Loop {
    fn name(&self) -> &'static str {
        "bare."
    }

    fn runs(&self, pattern: Pattern) -> bool {
        matches!(pattern, Pattern::Trivial | Pattern::NoComm | Pattern::Stencil)
    }

    fn run(&mut self, graph: &Arc<Graph>, iterations: u64) -> Measured<Duration> {
        if !graph.width.is_power_of_two() || graph.tasks.len() >> WIDTH_SHIFT != 0 {
            return Err("the bare loop wants another width, or fewer tasks".into());
        }
        let kind = match graph.pattern {
            Pattern::Stencil => STENCIL,
            Pattern::NoComm => NO_COMM,
            _ => 0,
        };
        let width_log = u64::from(graph.width.trailing_zeros()) << WIDTH_SHIFT;
        let common = iterations << ITERATIONS_SHIFT | kind | width_log;
        let begin = Instant::now();
        self.bare.awake(|bare| {
            // It names tensors by numbers that are not 0.
            let name = |cell: u32| u64::from(cell) + 1;
            let mut inputs = [0; 3];
            for task in &graph.tasks {
                let reads = graph.reads(task);
                inputs.iter_mut().zip(reads).for_each(|(input, &cell)| *input = name(cell));
                let word = common | u64::from(task.id);
                bare.submit(&inputs[..reads.len()], &[name(task.writes)], word);
            }
        });
        Ok(begin.elapsed())
    }

    fn cells(&self, count: usize) -> Measured<Vec<u64>> {
        Ok(cells()[..count].iter().map(|cell| cell.0.load(Relaxed)).collect())
    }
}
