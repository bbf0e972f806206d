//! The state word: everything about a slot that must change in one step, in 64 bits.
//!
//! ```text
//!  63        44 43         25 24      15 14       6  5      4     3   0
//! +------------+-------------+----------+----------+------+-----+-------+
//! | generation | edge list   | owner    | attempt  |CANCEL|WATCH| phase |
//! |    20      | head  19    |   10     |    9     |  1   |  1  |   4   |
//! +------------+-------------+----------+----------+------+-----+-------+
//! ```
//!
//! Zero and all ones are no legal word, so a zeroed or blasted page is recognised. The head is 0
//! for an empty list, otherwise the edge's index plus one; it is frozen from `Done*` on.

use crate::limits::{EDGES_PER_SLOT, MAX_WINDOW};

/// Where a slot stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Never used.
    Free = 1,
    /// Waits for producers.
    Pending = 3,
    /// May be taken.
    Ready = 4,
    /// Leased by the owner.
    Running = 5,
    /// The supervisor has decided that this lease ends; nobody but it may complete the slot.
    Condemned = 6,
    /// Waits for the time of its next attempt.
    Backoff = 7,
    /// Completed, list not yet walked.
    DoneOk = 8,
    /// Completed as failed, list not yet walked.
    DoneFail = 9,
    /// List walked: the slot may be reused.
    RetiredOk = 10,
    /// List walked, task failed: the slot may be reused.
    RetiredFail = 11,
}

impl Phase {
    fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::Free,
            3 => Self::Pending,
            4 => Self::Ready,
            5 => Self::Running,
            6 => Self::Condemned,
            7 => Self::Backoff,
            8 => Self::DoneOk,
            9 => Self::DoneFail,
            10 => Self::RetiredOk,
            11 => Self::RetiredFail,
            _ => return None,
        })
    }

    /// Completed, with the list walked or not.
    #[inline]
    pub fn is_done(self) -> bool {
        self as u8 >= Self::DoneOk as u8
    }

    /// Completed and the list walked.
    #[inline]
    pub fn is_retired(self) -> bool {
        self as u8 >= Self::RetiredOk as u8
    }

    /// Completed as failed.
    #[inline]
    pub fn is_failed(self) -> bool {
        matches!(self, Self::DoneFail | Self::RetiredFail)
    }
}

/// Owner id of the thread that submits.
pub const SUBMITTER: u16 = 1021;
/// Owner id of the supervisor.
pub const SUPERVISOR: u16 = 1022;
/// Owner id of a group that runs.
pub const GROUP: u16 = 1023;

const PHASE: u64 = 0xf;
const WATCH: u64 = 1 << 4;
const CANCEL: u64 = 1 << 5;
const ATTEMPT_SHIFT: u32 = 6;
/// The attempt's bits in the word; the rest is beside it ([`Slot::attempt`](super::slot::Slot::attempt)).
pub const ATTEMPT_BITS: u32 = 9;
const ATTEMPT_MASK: u64 = (1 << ATTEMPT_BITS) - 1;
const ATTEMPT: u64 = ATTEMPT_MASK << ATTEMPT_SHIFT;
const OWNER_SHIFT: u32 = 15;
const OWNER: u64 = 0x3ff << OWNER_SHIFT;
const HEAD_SHIFT: u32 = 25;
const HEAD: u64 = 0x7_ffff << HEAD_SHIFT;
const _: () = assert!(MAX_WINDOW * EDGES_PER_SLOT < 0x7_ffff, "every edge, plus one, is a head");
const GEN_SHIFT: u32 = 44;
/// The generation's bits; it wraps, and nothing rests on it alone.
pub const GEN_MASK: u32 = 0xf_ffff;

/// A state word that has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(pub u64);

impl Word {
    /// A fresh word: empty list, attempt 0, no marks.
    #[inline]
    pub fn new(phase: Phase, owner: u16, generation: u32) -> Self {
        Self(
            phase as u64
                | u64::from(owner) << OWNER_SHIFT
                | u64::from(generation & GEN_MASK) << GEN_SHIFT,
        )
    }

    /// The phase, or nothing when the bits are no phase.
    #[inline]
    pub fn phase(self) -> Option<Phase> {
        Phase::from_bits(self.0 & PHASE)
    }

    /// Whether the phase is `phase`.
    #[inline]
    pub fn is(self, phase: Phase) -> bool {
        self.0 & PHASE == phase as u64
    }

    /// Completed, with the list walked or not. False for an illegal word.
    #[inline]
    pub fn is_done(self) -> bool {
        self.phase().is_some_and(Phase::is_done)
    }

    /// Completed and walked. False for an illegal word.
    #[inline]
    pub fn is_retired(self) -> bool {
        self.phase().is_some_and(Phase::is_retired)
    }

    /// Completed as failed. False for an illegal word.
    #[inline]
    pub fn is_failed(self) -> bool {
        self.phase().is_some_and(Phase::is_failed)
    }

    /// Who holds or last held the slot.
    #[inline]
    pub fn owner(self) -> u16 {
        ((self.0 & OWNER) >> OWNER_SHIFT) as u16
    }

    /// The low bits of the attempt: a fence tag, not a budget and not a count.
    #[inline]
    pub fn attempt(self) -> u16 {
        ((self.0 & ATTEMPT) >> ATTEMPT_SHIFT) as u16
    }

    /// The first edge of the release list plus one, or 0.
    #[inline]
    pub fn head(self) -> u32 {
        ((self.0 & HEAD) >> HEAD_SHIFT) as u32
    }

    /// The lap of the slot, modulo 2^20.
    #[inline]
    pub fn generation(self) -> u32 {
        (self.0 >> GEN_SHIFT) as u32
    }

    /// Whether somebody waits for this slot to complete or retire.
    #[inline]
    pub fn watched(self) -> bool {
        self.0 & WATCH != 0
    }

    /// Whether the task is marked cancelled.
    #[inline]
    pub fn cancelled(self) -> bool {
        self.0 & CANCEL != 0
    }

    /// The same word in another phase.
    #[inline]
    #[must_use]
    pub fn with_phase(self, phase: Phase) -> Self {
        Self(self.0 & !PHASE | phase as u64)
    }

    /// The same word with another owner.
    #[inline]
    #[must_use]
    pub fn with_owner(self, owner: u16) -> Self {
        Self(self.0 & !OWNER | u64::from(owner) << OWNER_SHIFT)
    }

    /// The same word with the list's head at `head`.
    #[inline]
    #[must_use]
    pub fn with_head(self, head: u32) -> Self {
        Self(self.0 & !HEAD | u64::from(head) << HEAD_SHIFT & HEAD)
    }

    /// The same word in another attempt, back with the supervisor. A word that says `Ready` has no
    /// owner that matters, so its bits carry more of the attempt: one who has slept through many
    /// attempts does not take the present one for the one it knew.
    #[inline]
    #[must_use]
    pub fn in_attempt(self, attempt: u32) -> Self {
        // Numbers that no worker has in any executor but the largest, from the top downwards.
        let owner = match u64::from(attempt >> ATTEMPT_BITS) % 1020 {
            0 => u64::from(SUPERVISOR),
            more => 1021 - more,
        };
        let low = u64::from(attempt) & ATTEMPT_MASK;
        Self(self.0 & !(ATTEMPT | OWNER) | low << ATTEMPT_SHIFT | owner << OWNER_SHIFT)
    }

    /// The same word, watched.
    #[inline]
    #[must_use]
    pub fn with_watch(self) -> Self {
        Self(self.0 | WATCH)
    }

    /// The same word, marked cancelled.
    #[inline]
    #[must_use]
    pub fn with_cancel(self) -> Self {
        Self(self.0 | CANCEL)
    }

    /// Whether the list is empty and no mark is set.
    #[inline(always)]
    pub fn is_bare(self) -> bool {
        self.0 & (HEAD | WATCH | CANCEL) == 0
    }

    /// Whether `other` is the same lease: only head and marks may differ.
    #[inline]
    pub fn same_lease(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(HEAD | WATCH | CANCEL) == 0
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?}(owner {}, attempt {}, head {}, gen {}{}{})",
            self.phase(),
            self.owner(),
            self.attempt(),
            self.head(),
            self.generation(),
            if self.watched() { ", watched" } else { "" },
            if self.cancelled() { ", cancelled" } else { "" },
        )
    }
}
