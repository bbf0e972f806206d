//! A ready queue: a ring with one writer, many takers, values that only *suggest* a slot.
//!
//! ```text
//!   head (any taker moves it on)          tail (private to the writer)
//!     ▼                                     ▼
//!   | lap,slot | lap,slot | lap,slot | old lap ... |
//! ```
//!
//! The state word of the slot is the truth, so an entry may be lost, doubled or stale. A taker
//! reads the entry at the head, leases the slot it names, and only then moves the head on: a death
//! between the two leaves a stale entry, never a task that nobody sees.

use super::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release, prefetch_write};

/// How far ahead of the head slots are fetched: a transfer from another processor takes as long as
/// several short tasks.
pub(super) const AHEAD: u64 = 6;

/// Beside a suggested slot: its writer has suggested many one after the other, and more are likely to
/// follow at once. A hint only.
pub const MORE: u32 = 1 << 31;

/// The writer's own knowledge of its ring.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    tail: u64,
    head_seen: u64,
}

/// The ring, wherever its words live.
#[derive(Clone, Copy)]
pub struct ReadyQueue<'a> {
    head: &'a AtomicU64,
    /// Where a new writer goes on after the death of the last one.
    tail: &'a AtomicU64,
    entries: &'a [AtomicU64],
}

impl<'a> ReadyQueue<'a> {
    /// The number of entries is a power of two.
    pub fn new(head: &'a AtomicU64, tail: &'a AtomicU64, entries: &'a [AtomicU64]) -> Self {
        debug_assert!(entries.len().is_power_of_two());
        Self { head, tail, entries }
    }

    #[inline]
    fn entry(&self, position: u64) -> &'a AtomicU64 {
        &self.entries[position as usize & (self.entries.len() - 1)]
    }

    #[inline]
    pub(super) fn lap(&self, position: u64) -> u64 {
        ((position >> self.entries.len().trailing_zeros()) + 1) & 0xffff_ffff
    }

    /// Where a writer starts: at the shared tail, or behind an entry that the last writer had
    /// stored when it died before it moved the tail on.
    pub fn writer(&self) -> Cursor {
        let mut tail = self.tail.load(Acquire);
        while self.entry(tail).load(Acquire) >> 32 == self.lap(tail) {
            tail = tail.wrapping_add(1);
        }
        Cursor { tail, head_seen: self.head.load(Acquire) }
    }

    /// Suggests `slot`, with or without [`MORE`]. False when the ring is full.
    #[inline]
    #[must_use]
    pub fn push(&self, at: &mut Cursor, slot: u32) -> bool {
        let capacity = self.entries.len() as u64;
        if at.tail.wrapping_sub(at.head_seen) >= capacity {
            // Only now, since the line of the head belongs to the takers.
            at.head_seen = self.head.load(Acquire);
            if at.tail.wrapping_sub(at.head_seen) >= capacity {
                return false;
            }
        }
        if at.tail.is_multiple_of(8) {
            // A line of entries, which takers have read one lap ago.
            prefetch_write(self.entry(at.tail.wrapping_add(16)));
        }
        self.entry(at.tail).store(self.lap(at.tail) << 32 | u64::from(slot), Release);
        at.tail = at.tail.wrapping_add(1);
        self.tail.store(at.tail, Release);
        true
    }

    /// Leases the oldest suggested slot that `lease` accepts, passing stale entries. `ahead` is
    /// told a slot that will be looked at soon, to prefetch it. Both are told it as it was suggested.
    #[inline(always)]
    pub fn take<T>(
        &self,
        mut lease: impl FnMut(u32) -> Option<T>,
        mut ahead: impl FnMut(u32),
    ) -> Option<T> {
        // Bounded: another taker moves the head on as well, and the writer may keep up with us.
        let mut more = self.entries.len();
        loop {
            let position = self.head.load(Acquire);
            let entry = self.entry(position).load(Acquire);
            if entry >> 32 != self.lap(position) {
                return None;
            }
            let next = position.wrapping_add(1); // an overwritten head is any number
            let later = position.wrapping_add(AHEAD);
            let soon = self.entry(later).load(Relaxed);
            if soon >> 32 == self.lap(later) {
                // An entry of the lap before would name a slot that is just being written.
                ahead(soon as u32);
            }
            let taken = lease(entry as u32);
            let _ = self.head.compare_exchange(position, next, AcqRel, Relaxed);
            if taken.is_some() || more == 0 {
                return taken;
            }
            more -= 1;
        }
    }

    /// Where takers are.
    #[inline(always)]
    pub(super) fn head(&self) -> u64 {
        self.head.load(Acquire)
    }

    /// Moves takers on, if they are still at `from`; else, where they are.
    #[inline]
    pub(super) fn move_on(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.head.compare_exchange(from, to, AcqRel, Acquire)
    }

    /// What the entry at `position` suggests, if it was written.
    #[inline(always)]
    pub(super) fn suggested(&self, position: u64) -> Option<u32> {
        let entry = self.entry(position).load(Acquire);
        (entry >> 32 == self.lap(position)).then_some(entry as u32)
    }

    /// Entries in all.
    #[inline(always)]
    pub(super) fn capacity(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The slot of the entry before the head, as it was suggested: the last one that was taken, unless
    /// the ring was never used. A hint only.
    #[inline]
    pub fn last_taken(&self) -> u32 {
        self.entry(self.head.load(Relaxed).wrapping_sub(1)).load(Relaxed) as u32
    }

    /// Entries as of now, about: some may be stale, and both ends move.
    pub fn depth(&self) -> u64 {
        let entries = self.tail.load(Relaxed).wrapping_sub(self.head.load(Relaxed));
        if entries > self.entries.len() as u64 { 0 } else { entries }
    }

    /// Whether an entry is visible (it may be stale).
    #[inline]
    pub fn has_some(&self) -> bool {
        let position = self.head.load(Acquire);
        self.entry(position).load(Acquire) >> 32 == self.lap(position)
    }
}
