//! The state of a call's cell: one word, written by the host until it posts and by the worker from
//! the moment it takes. Cells are used in order, so a word names the task by its number, and a
//! cell is used again only for a task that comes a whole round later.
//!
//! ```text
//!            post (host)            take (worker)          start           done
//!   older ───────────────▶ Posted ─────────────────▶ Taken ───────▶ Started ───────▶ Done
//!                            │ recall (host)
//!                            └──────────▶ Recalled
//! ```
//!
//! Taking and recalling are exchanges on the same word, so a task is run by its worker or is the
//! host's again, never both. Everything else has one writer. Whatever the worker wrote before
//! `Done` is visible to the host that has seen `Done`; a worker that dies leaves the word, and when
//! its process is known to be gone the word says exactly what is known: not taken, taken but not
//! begun (to be given to another at no charge), begun, or done.

use super::sync::{AcqRel, Acquire, AtomicU64, Release};

const PHASE_BITS: u32 = 4;

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// In the cell, and not yet taken.
    Posted = 1,
    /// Leased by the worker; its body has not begun.
    Taken = 2,
    /// The body has begun.
    Started = 3,
    /// The completion stands in the cell.
    Done = 4,
    /// The host took it back.
    Recalled = 5,
}

/// What a worker finds where its next task would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Take {
    /// The task is the worker's.
    Taken,
    /// The host took it back: go on to the next.
    Passed,
    /// Not yet posted.
    NotYet,
}

/// The word of a cell.
#[repr(transparent)]
pub(crate) struct CellState(AtomicU64);

const fn word(seq: u64, phase: Phase) -> u64 {
    seq << PHASE_BITS | phase as u64
}

impl CellState {
    /// A cell that was never used. A zeroed one is the same.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Host: task `seq` (from 1) stands in the cell.
    #[inline]
    pub(crate) fn post(&self, seq: u64) {
        self.0.store(word(seq, Phase::Posted), Release);
    }

    /// Host: takes task `seq` back. True when the worker will not run it.
    #[inline]
    #[must_use]
    pub(crate) fn recall(&self, seq: u64) -> bool {
        let (from, to) = (word(seq, Phase::Posted), word(seq, Phase::Recalled));
        self.0.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }

    /// Where task `seq` stands; `None` for an invalid word (or another task's).
    #[inline]
    pub(crate) fn look(&self, seq: u64) -> Option<Phase> {
        let now = self.0.load(Acquire);
        if now >> PHASE_BITS != seq {
            return None;
        }
        Some(match now & ((1 << PHASE_BITS) - 1) {
            1 => Phase::Posted,
            2 => Phase::Taken,
            3 => Phase::Started,
            4 => Phase::Done,
            5 => Phase::Recalled,
            _ => return None,
        })
    }

    /// Worker: takes task `seq` if it is there.
    #[inline]
    pub(crate) fn take(&self, seq: u64) -> Take {
        let now = self.0.load(Acquire);
        if now == word(seq, Phase::Posted) {
            let to = word(seq, Phase::Taken);
            return match self.0.compare_exchange(now, to, AcqRel, Acquire) {
                Ok(_) => Take::Taken,
                Err(_) => Take::Passed, // the only other step from here is the recall
            };
        }
        // A later task in the same cell means that this one was recalled as well.
        if now >= word(seq, Phase::Recalled) { Take::Passed } else { Take::NotYet }
    }

    /// Worker: the body of task `seq` begins.
    #[inline]
    pub(crate) fn start(&self, seq: u64) {
        self.0.store(word(seq, Phase::Started), Release);
    }

    /// Worker: the completion of task `seq` stands in the cell.
    #[inline]
    pub(crate) fn done(&self, seq: u64) {
        self.0.store(word(seq, Phase::Done), Release);
    }
}

impl Default for CellState {
    fn default() -> Self {
        Self::new()
    }
}
