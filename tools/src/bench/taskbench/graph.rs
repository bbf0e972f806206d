//! A graph of tasks with all that any system wants to know of it: what each task reads and writes,
//! how many it waits for, and who waits for it.
//!
//! Every system keeps values in the same cells and runs the same graph. A task reads the cells of
//! those it waits for and writes its own. There are two rows of cells, for steps in turns, so a task
//! also waits for those that read what it is about to overwrite: in most patterns it waits for them
//! anyway. Tasks of `trivial` wait for nobody and have many more rows.

use std::ops::Range;

use super::pattern::Pattern;

/// Rows of cells; steps use them in turns.
const ROWS: usize = 2;
/// Cells of `trivial`, more than there are tasks in flight in any system.
const TRIVIAL_CELLS: usize = 1 << 13;
/// Cells of any graph; one is as wide as they are many, or less.
pub(super) const MOST_CELLS: usize = TRIVIAL_CELLS;
/// Words of a cell: nobody shares a pair of cache lines.
pub(super) const CELL_WORDS: usize = 16;

pub(super) struct Graph {
    pub(super) pattern: Pattern,
    pub(super) width: usize,
    /// In an order in which they could run one by one.
    pub(super) tasks: Vec<Task>,
    reads: Vec<u32>,
    successors: Vec<u32>,
    pub(super) cells: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Where its value begins.
    pub(super) id: u32,
    /// The cell that it writes.
    pub(super) writes: u32,
    /// How many it waits for.
    pub(super) predecessors: u32,
    reads: Range<u32>,
    successors: Range<u32>,
}

impl Graph {
    pub(super) fn new(pattern: Pattern, width: usize, steps: usize) -> Self {
        let rows = match pattern {
            Pattern::Trivial => (TRIVIAL_CELLS / width).max(ROWS),
            _ => ROWS,
        };
        let cell = |step: usize, point: usize| (step % rows * width + point) as u32;
        let (mut tasks, mut reads) = (Vec::<Task>::new(), Vec::new());
        // The last task that wrote a cell, and those that have read it since.
        let mut writers = vec![None; rows * width];
        let mut readers = vec![Vec::new(); rows * width];
        let mut edges = Vec::new();
        for step in 0..steps {
            for point in pattern.points(step, steps, width) {
                let (this, first) = (tasks.len() as u32, reads.len() as u32);
                let writes = cell(step, point);
                let mut before: Vec<u32> = Vec::new();
                for other in pattern.waits_for(point, step, steps, width) {
                    let read = cell(step - 1, other);
                    reads.push(read);
                    readers[read as usize].push(this);
                    before.extend(writers[read as usize]);
                }
                let overtaken = &mut readers[writes as usize];
                if pattern != Pattern::Trivial && overtaken.is_empty() {
                    before.extend(writers[writes as usize]);
                }
                before.append(overtaken); // they have waited for the writer
                writers[writes as usize] = Some(this);
                before.sort_unstable();
                before.dedup();
                edges.extend(before.iter().map(|&from| (from, this)));
                // Which of the tasks of a cell of `trivial` comes last is nobody's business.
                let id = if pattern == Pattern::Trivial { writes } else { this };
                tasks.push(Task {
                    id,
                    writes,
                    predecessors: before.len() as u32,
                    reads: first..reads.len() as u32,
                    successors: 0..0,
                });
            }
        }
        edges.sort_unstable();
        let mut successors = Vec::with_capacity(edges.len());
        let mut edges = edges.into_iter().peekable();
        for (this, task) in tasks.iter_mut().enumerate() {
            let first = successors.len() as u32;
            while let Some((_, to)) = edges.next_if(|&(from, _)| from == this as u32) {
                successors.push(to);
            }
            task.successors = first..successors.len() as u32;
        }
        Self { pattern, width, tasks, reads, successors, cells: rows * width }
    }

    /// The cells that a task reads.
    pub(super) fn reads(&self, task: &Task) -> &[u32] {
        &self.reads[task.reads.start as usize..task.reads.end as usize]
    }

    /// Those that wait for a task.
    pub(super) fn successors(&self, task: &Task) -> &[u32] {
        &self.successors[task.successors.start as usize..task.successors.end as usize]
    }

    /// What stands in the cells when all tasks have run, beginning with `cells`.
    pub(super) fn values(&self, mut cells: Vec<u64>) -> Vec<u64> {
        for task in &self.tasks {
            let read = self.reads(task).iter().map(|&cell| cells[cell as usize]);
            cells[task.writes as usize] = value(task.id.into(), read);
        }
        cells
    }
}

/// What a task writes: a number that depends on all that it reads, so that one that runs too early
/// spoils the result.
#[inline]
pub(super) fn value(id: u64, read: impl Iterator<Item = u64>) -> u64 {
    read.fold(id + 1, |sum, value| {
        (sum.rotate_left(9) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether one task comes before another on some way through the graph.
    fn reaches(graph: &Graph, from: u32, to: u32) -> bool {
        let mut reached = vec![false; graph.tasks.len()];
        reached[from as usize] = true;
        for at in from as usize..graph.tasks.len() {
            if reached[at] {
                for &next in graph.successors(&graph.tasks[at]) {
                    reached[next as usize] = true;
                }
            }
        }
        reached[to as usize]
    }

    /// The number of a task by step and point.
    fn number(pattern: Pattern, width: usize, steps: usize, step: usize, point: usize) -> u32 {
        let before: usize = (0..step).map(|s| pattern.points(s, steps, width).len()).sum();
        (before + point - pattern.points(step, steps, width).start) as u32
    }

    #[test]
    fn who_waits_comes_after_who_is_waited_for_and_counts_agree() {
        let (width, steps) = (8, 12);
        for pattern in Pattern::ALL {
            let graph = Graph::new(pattern, width, steps);
            let mut counts = vec![0; graph.tasks.len()];
            for task in &graph.tasks {
                for &next in graph.successors(task) {
                    counts[next as usize] += 1;
                }
            }
            for (task, count) in graph.tasks.iter().zip(counts) {
                assert_eq!(task.predecessors, count, "{}", pattern.name());
            }
            for step in 1..steps {
                for point in pattern.points(step, steps, width) {
                    let this = number(pattern, width, steps, step, point);
                    let all = pattern.waits_for(point, step, steps, width);
                    let reads = graph.reads(&graph.tasks[this as usize]);
                    assert_eq!(reads.len(), all.len());
                    for other in all {
                        let other = number(pattern, width, steps, step - 1, other);
                        assert!(reads.contains(&graph.tasks[other as usize].writes));
                        assert!(reaches(&graph, other, this), "{}", pattern.name());
                    }
                }
            }
        }
    }

    #[test]
    fn two_rows_add_nothing_to_a_stencil_and_nothing_waits_in_trivial() {
        let stencil = Graph::new(Pattern::Stencil, 4, 10);
        assert_eq!(stencil.tasks.len(), 40);
        assert_eq!(stencil.tasks[4..].iter().map(|t| t.predecessors).sum::<u32>(), 9 * 10);
        let nearest = Graph::new(Pattern::Nearest, 8, 3);
        assert_eq!(nearest.tasks[16 + 4].predecessors, 5);
        let trivial = Graph::new(Pattern::Trivial, 4, 5000);
        assert_eq!(trivial.tasks.len(), 20_000);
        assert!(trivial.tasks.iter().all(|task| task.predecessors == 0));
    }

    /// A system that runs a task too early, or too late, is found out.
    #[test]
    fn another_order_has_another_result() {
        let graph = Graph::new(Pattern::Stencil, 4, 20);
        let right = graph.values(vec![0; graph.cells]);
        for wrong in [5, 40, 75] {
            let mut changed = Graph::new(Pattern::Stencil, 4, 20);
            changed.tasks.swap(wrong, wrong + 4);
            assert_ne!(changed.values(vec![0; graph.cells]), right, "{wrong}");
        }
    }
}
