//! Rows of workers: what overlaps on one stands in several rows.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::model::{Attempt, Run};

/// An attempt, by its call and its place there, and its row among those of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) call: usize,
    pub(super) which: usize,
    pub(super) row: usize,
}

impl Place {
    pub(super) fn attempt<'a>(&self, run: &'a Run) -> &'a Attempt {
        &run.calls[self.call].attempts[self.which]
    }
}

/// What ran on a worker, in order of its beginning.
pub(super) struct Band {
    pub(super) name: String,
    pub(super) places: Vec<Place>,
    pub(super) rows: usize,
}

/// The workers on which something ran: the program first, and last what ran nobody knows where.
pub(super) fn bands(run: &Run) -> Vec<Band> {
    let mut by_worker: Vec<Vec<(i64, i64, usize, usize)>> = vec![Vec::new(); run.workers.len() + 1];
    for (call, what) in run.calls.iter().enumerate() {
        for (which, attempt) in what.attempts.iter().enumerate() {
            let worker = attempt.worker.unwrap_or(run.workers.len());
            by_worker[worker].push((attempt.start, attempt.end, call, which));
        }
    }
    let mut order: Vec<_> = (0..by_worker.len()).collect();
    order.sort_by_key(|&worker| !run.workers.get(worker).is_some_and(|worker| worker.is_program));
    let band = |worker: usize| {
        let mut attempts = std::mem::take(&mut by_worker[worker]);
        attempts.sort_unstable();
        let (lanes, rows) = lanes(attempts.iter().map(|&(from, to, ..)| (from, to)));
        let placed = attempts.iter().zip(lanes);
        let places = placed.map(|(&(.., call, which), row)| Place { call, which, row }).collect();
        let known = run.workers.get(worker);
        let name = known.map_or("(worker unknown)", |worker| &worker.id).to_owned();
        Band { name, places, rows }
    };
    order.into_iter().map(band).filter(|band| band.rows > 0).collect()
}

/// The lane of each interval, in the order given, which has to be that of their beginnings, and how
/// many lanes there are. Each goes into the first one that is free.
pub(super) fn lanes(intervals: impl IntoIterator<Item = (i64, i64)>) -> (Vec<usize>, usize) {
    let (mut free, mut busy) = (BTreeSet::new(), BinaryHeap::new());
    let mut count = 0;
    let mut places = Vec::new();
    for (from, to) in intervals {
        while let Some(&Reverse((end, lane))) = busy.peek() {
            if end > from {
                break;
            }
            busy.pop();
            free.insert(lane);
        }
        let lane = free.pop_first().unwrap_or_else(|| {
            count += 1;
            count - 1
        });
        busy.push(Reverse((to, lane)));
        places.push(lane);
    }
    (places, count)
}
