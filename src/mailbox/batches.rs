//! Taking the entries of a queue in batches, where many wait.
//!
//! Whoever takes from the head of a queue moves it on, so among several takers its line travels with each
//! task, and each of them fetches slots that another one then takes. Where many entries wait, a taker
//! therefore claims a few of them at once and goes through those by itself.
//!
//! ```text
//!           head          claimed                          tail
//!             ▼               ▼                              ▼
//!   | through | A | through | next | next | next | next | .. |
//! ```
//!
//! A claim is advice and nothing more. All entries stay between head and tail until somebody has looked
//! at them, so who finds nothing to claim takes from the head as ever, and there it finds what a claimer
//! that is busy, stopped or dead has not come to. The head passes a batch when its claimer is through with
//! it. Nobody claims far before the head, so a task is overtaken by no more than a few batches.

use std::ops::Range;

use super::ready_queue::{AHEAD, ReadyQueue};
use super::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release};

/// Entries of a batch: a cache line of them.
pub const BATCH: u64 = 8;

/// A queue whose takers claim batches.
#[derive(Clone, Copy)]
pub struct Batches<'a> {
    queue: ReadyQueue<'a>,
    /// Where the next batch begins, unless the head is behind it.
    claimed: &'a AtomicU64,
    /// For each batch the last lap in which its claimer was through with it.
    through: &'a [AtomicU64],
    /// Entries of a batch: a power of two.
    size: u64,
    /// So many entries before the head nobody claims any more.
    far: u64,
}

impl<'a> Batches<'a> {
    /// One word for each batch; both they and the entries are a power of two.
    pub fn new(
        queue: ReadyQueue<'a>,
        claimed: &'a AtomicU64,
        through: &'a [AtomicU64],
        takers: usize,
    ) -> Self {
        let size = queue.capacity() / through.len() as u64;
        debug_assert!(size.is_power_of_two() && through.len().is_power_of_two());
        let far = (2 * takers).min(through.len() / 2) as u64 * size;
        Self { queue, claimed, through, size, far }
    }

    /// Leases a slot of `mine`, or of the next batch if there are enough entries for several. `lease` and
    /// `ahead` are those of [`ReadyQueue::take`], which is asked when there are not.
    #[inline(always)]
    pub fn take<T>(
        &self,
        mine: &mut Range<u64>,
        mut lease: impl FnMut(u32) -> Option<T>,
        mut ahead: impl FnMut(u32),
    ) -> Option<T> {
        if mine.is_empty() {
            *mine = self.claim()?;
            let first = mine.clone().take(AHEAD as usize);
            first.filter_map(|at| self.queue.suggested(at)).for_each(&mut ahead);
        }
        while let Some(position) = mine.next() {
            let later = position.wrapping_add(AHEAD);
            if later < mine.end
                && let Some(soon) = self.queue.suggested(later)
            {
                ahead(soon);
            }
            let taken = self.queue.suggested(position).and_then(&mut lease);
            if mine.is_empty() {
                self.pass(position);
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// The next batch, if another one is there as well.
    #[inline(always)]
    fn claim(&self) -> Option<Range<u64>> {
        let head = self.queue.head();
        let claimed = self.claimed.load(Relaxed);
        let first = head & !(self.size - 1);
        let begin = match claimed.wrapping_sub(first) {
            ahead if ahead <= self.far => claimed & !(self.size - 1),
            // What others have claimed comes first.
            ahead if ahead <= self.queue.capacity() => return None,
            // The head has passed it; or somebody wrote there who must not.
            _ => first,
        };
        let end = begin.wrapping_add(self.size);
        let begin = if begin == first { head } else { begin };
        // An idle taker sees here that there is nothing, and leaves alone what is written next.
        self.queue.suggested(begin)?;
        self.queue.suggested(end.wrapping_add(self.size - 1))?;
        self.claimed.compare_exchange(claimed, end, AcqRel, Relaxed).ok()?;
        Some(begin..end)
    }

    /// All of the batch with this entry were looked at: moves the head past it, and past others that come
    /// next. If two do this at the same time, the head may stay behind; the next one moves it on.
    #[inline(never)]
    fn pass(&self, position: u64) {
        self.word(position).store(self.queue.lap(position), Release);
        let mut head = self.queue.head();
        for _ in 0..self.through.len() {
            if self.word(head).load(Acquire) != self.queue.lap(head) {
                return;
            }
            let next = (head | (self.size - 1)).wrapping_add(1);
            head = match self.queue.move_on(head, next) {
                Ok(_) => next,
                Err(other) => other,
            };
        }
    }

    fn word(&self, position: u64) -> &'a AtomicU64 {
        &self.through[(position / self.size) as usize & (self.through.len() - 1)]
    }
}
