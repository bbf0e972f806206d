//! Slots, a ready queue of a few entries that may be claimed in batches, and a ready set beside it for
//! what does not fit. Every other task is suggested as one of a stream, with the hint beside its slot.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::mailbox::batches::Batches;
use super::mailbox::bitmap::Bitmap;
use super::mailbox::ready_queue::{Cursor, MORE, ReadyQueue};
use super::ring::slot::{NO_FAILED_ROOT, Slot};
use super::ring::table::{Edge, Found, Table, examine};
use super::ring::word::{Phase, SUBMITTER, SUPERVISOR, Word};
use super::sync::{Acquire, AtomicU64};

/// What stands beside `slot` in its entry.
fn hint(slot: u32) -> u32 {
    if slot.is_multiple_of(2) { MORE } else { 0 }
}

/// The ring, the set, and who took what.
pub(crate) struct Queued {
    pub(crate) slots: Vec<Slot>,
    pub(crate) head: AtomicU64,
    pub(crate) tail: AtomicU64,
    pub(crate) entries: Vec<AtomicU64>,
    claimed: AtomicU64,
    through: Vec<AtomicU64>,
    summary: AtomicU64,
    leaves: Vec<AtomicU64>,
    /// Slot and attempt of every lease.
    leases: Mutex<Vec<(u32, u16)>>,
}

impl Queued {
    /// Four slots and two entries.
    pub(crate) fn new() -> Self {
        Self::of(4, 2, 1)
    }

    /// All powers of two.
    pub(crate) fn of(slots: usize, entries: usize, batches: usize) -> Self {
        Self {
            slots: (0..slots).map(|_| Slot::new()).collect(),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            entries: (0..entries).map(|_| AtomicU64::new(0)).collect(),
            claimed: AtomicU64::new(0),
            through: (0..batches).map(|_| AtomicU64::new(0)).collect(),
            summary: AtomicU64::new(0),
            leaves: vec![AtomicU64::new(0)],
            leases: Mutex::default(),
        }
    }

    pub(crate) fn ring(&self) -> ReadyQueue<'_> {
        ReadyQueue::new(&self.head, &self.tail, &self.entries)
    }

    fn batches(&self) -> Batches<'_> {
        Batches::new(self.ring(), &self.claimed, &self.through, 2)
    }

    pub(crate) fn set(&self) -> Bitmap<'_> {
        Bitmap::new(&self.summary, &self.leaves)
    }

    /// Publishes a task and suggests it, in the set when the ring is full.
    pub(crate) fn offer(&self, cursor: &mut Cursor, slot: u32) {
        self.slots[slot as usize].publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        if !self.ring().push(cursor, slot | hint(slot)) {
            self.set().set(slot);
        }
    }

    /// Leases `slot`; no attempt is leased twice.
    pub(crate) fn lease(&self, me: u16, slot: u32) -> Option<Word> {
        let word = self.slots[slot as usize].take(me)?;
        let lease = (slot, word.attempt());
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!leases.contains(&lease), "{lease:?} leased twice");
        leases.push(lease);
        Some(word)
    }

    /// Leases the slot that an entry suggests. The hint has come with it.
    pub(crate) fn lease_suggested(&self, me: u16, suggested: u32) -> Option<(u32, Word)> {
        let slot = suggested & (self.slots.len() as u32 - 1);
        assert_eq!(suggested, slot | hint(slot), "the hint of another task");
        Some((slot, self.lease(me, slot)?))
    }

    /// Takes one task by its queue entry and completes it.
    pub(crate) fn take(&self, me: u16) -> bool {
        self.take_from(me, None)
    }

    /// The same from its batch, or from one that it claims, if it can.
    pub(crate) fn take_in_batches(&self, me: u16, mine: &mut Range<u64>) -> bool {
        self.take_from(me, Some(mine))
    }

    fn take_from(&self, me: u16, mine: Option<&mut Range<u64>>) -> bool {
        let lease = |suggested| self.lease_suggested(me, suggested);
        let batched = mine.and_then(|mine| self.batches().take(mine, lease, |_| {}));
        let taken = batched.or_else(|| self.ring().take(lease, |_| {}));
        if let Some((slot, word)) = taken {
            let _ = self.slots[slot as usize].complete(word, me, true);
        }
        taken.is_some()
    }

    /// What `Recovery::pass` does here.
    pub(crate) fn recover(&self, dead: u16) {
        let edges = [Edge::new()];
        let table = Table::new(&self.slots, &edges);
        for slot in 0..self.slots.len() as u32 {
            match examine(&table, slot, dead, SUPERVISOR) {
                Found::Ready(_) => self.set().set(slot),
                Found::Leased(word)
                    if self.slots[slot as usize].revoke(word, Phase::Ready).is_some() =>
                {
                    self.set().set(slot);
                }
                _ => {}
            }
        }
        self.set().repair();
    }

    /// Takes everything that can be found by its queue entry or in the set, and only that.
    pub(crate) fn drain(&self, me: u16) {
        loop {
            while self.take(me) {}
            let found = self.set().find(|slot| {
                let word = self.lease(me, slot);
                if word.is_some() || !self.is_ready(slot) {
                    self.set().remove(slot, || self.is_ready(slot));
                }
                word.map(|word| (slot, word))
            });
            let Some((slot, word)) = found else { return };
            let _ = self.slots[slot as usize].complete(word, me, true);
        }
    }

    fn is_ready(&self, slot: u32) -> bool {
        self.slots[slot as usize].load().is(Phase::Ready)
    }

    /// Every ready task has its entry between head and tail, or its bit.
    pub(crate) fn all_ready_are_visible(&self) {
        for slot in (0..self.slots.len() as u32).filter(|&slot| self.is_ready(slot)) {
            let head = self.head.load(Acquire);
            let capacity = self.entries.len() as u64;
            let queued = (head..head + capacity).any(|position| {
                let entry = self.entries[(position % capacity) as usize].load(Acquire);
                let lap = position / capacity + 1;
                entry == lap << 32 | u64::from(slot | hint(slot))
            });
            let in_set = self.leaves[0].load(Acquire) >> slot & 1 == 1
                && self.summary.load(Acquire) & 1 == 1;
            assert!(queued || in_set, "slot {slot} is ready and nobody can see it");
        }
    }

    /// All of the first `tasks` are through.
    pub(crate) fn all_taken(&self, tasks: u32) {
        for slot in &self.slots[..tasks as usize] {
            assert!(slot.load().is_retired(), "lost: {:?}", slot.load());
        }
    }

    /// All that were published are through.
    pub(crate) fn all_published_taken(&self) {
        for word in self.slots.iter().map(Slot::load) {
            assert!(word.is_retired() || word.is(Phase::Free), "lost: {word:?}");
        }
    }
}
