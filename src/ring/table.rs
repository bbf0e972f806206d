//! The slot window as all participants see it: slots, edges, and the walk that releases consumers.
//!
//! ```text
//! producer's word.head ──▶ edge 7 ──▶ edge 3 ──▶ 0
//!                          │ to: consumer, bit, kind, lap
//!                          └ next
//! ```
//!
//! The owner of the ring writes an edge before it pushes it and reuses it only when the
//! *consumer* has left the window. The window is first-in first-out, so by then every producer of
//! that consumer has retired: no walker can still be on the edge.

use super::slot::{Completion, Slot};
use super::sync::{AtomicU64, Relaxed};
use super::word::{Phase, Word};

/// Whether the failure of a producer reaches the consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EdgeKind {
    /// The consumer reads what the producer wrote: it fails with it.
    Data,
    /// The consumer only has to come later.
    Order,
}

/// One consumer of one producer.
#[repr(C)]
#[derive(Default)]
pub struct Edge {
    /// consumer slot 20 | bit 6 | kind 1 | generation 20
    to: AtomicU64,
    next: AtomicU64,
}

impl Edge {
    /// A free edge.
    pub fn new() -> Self {
        Self { to: AtomicU64::new(0), next: AtomicU64::new(0) }
    }

    /// Writes the target; the ring's owner alone does this.
    #[inline]
    pub fn set(&self, consumer: u32, bit: u32, kind: EdgeKind, generation: u32) {
        let word = u64::from(consumer)
            | u64::from(bit) << 20
            | u64::from(kind == EdgeKind::Data) << 26
            | u64::from(generation) << 27;
        self.to.store(word, Relaxed);
    }

    /// Writes the link.
    #[inline]
    pub fn set_next(&self, next: u32) {
        self.next.store(u64::from(next), Relaxed);
    }
}

/// A task that no longer waits for anybody, found during a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Released {
    /// Its slot.
    pub slot: u32,
    /// Its lap.
    pub generation: u32,
}

/// The slots and edges of a window, wherever they live.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    slots: &'a [Slot],
    edges: &'a [Edge],
}

impl<'a> Table<'a> {
    /// Both lengths are powers of two.
    pub fn new(slots: &'a [Slot], edges: &'a [Edge]) -> Self {
        assert!(slots.len().is_power_of_two() && edges.len().is_power_of_two());
        Self { slots, edges }
    }

    /// The slot of this index; an index out of range is cut to the window.
    #[inline(always)]
    pub fn slot(&self, index: u32) -> &'a Slot {
        // SAFETY: the length is a power of two (`new`), so the index is below it.
        unsafe { self.slots.get_unchecked(index as usize & (self.slots.len() - 1)) }
    }

    /// The edge of this index; an index out of range is cut to the pool.
    #[inline(always)]
    pub fn edge(&self, index: u32) -> &'a Edge {
        // SAFETY: as in `slot`.
        unsafe { self.edges.get_unchecked(index as usize & (self.edges.len() - 1)) }
    }

    /// The edge at this cursor of its owner's.
    #[inline]
    pub fn edge_index(&self, cursor: u64) -> u32 {
        cursor as u32 & (self.edges.len() as u32 - 1)
    }

    /// Slots in the window.
    #[inline]
    pub fn window(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Releases all consumers in the list from `head`; tells `released` those that wait for
    /// nobody any more. `failed_root` is what they fail with, if the producer failed.
    ///
    /// May be interrupted anywhere and done again: clearing twice changes nothing. Bounded by the
    /// number of edges, so a scribbled link cannot make it endless.
    #[inline(always)]
    pub fn walk(&self, head: u32, failed_root: Option<u64>, mut released: impl FnMut(Released)) {
        let mut link = head;
        let mut bound = self.edges.len();
        while link != 0 && bound > 0 {
            bound -= 1;
            let edge = self.edge(link - 1);
            let to = edge.to.load(Relaxed);
            link = edge.next.load(Relaxed) as u32; // before the clear
            let slot = (to & 0xf_ffff) as u32;
            let bit = 1u64 << (to >> 20 & 0x3f);
            let generation = (to >> 27 & 0xf_ffff) as u32;
            let consumer = self.slot(slot);
            if let Some(failed_root) = failed_root
                && to >> 26 & 1 == 1
            {
                consumer.mark_failed_root(failed_root);
            }
            if consumer.clear(bit, generation) {
                released(Released { slot, generation });
            }
        }
    }

    /// Completes `slot`, releases its consumers and retires it.
    ///
    /// `None`: the lease was superseded, nothing happened. Otherwise whether somebody sleeps
    /// until this.
    #[inline(always)]
    pub fn finish(
        &self,
        slot: &Slot,
        lease: Word,
        by: u16,
        failed_root: Option<u64>,
        released: impl FnMut(Released),
    ) -> Option<bool> {
        match slot.complete(lease, by, failed_root.is_none()) {
            Completion::Retired { watched } => Some(watched),
            Completion::Walk { head, .. } => {
                self.walk(head, failed_root, released);
                Some(slot.retire(lease.generation()))
            }
            Completion::Superseded(_) => None,
        }
    }
}

/// What a pass over one slot found after the death of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Found {
    /// Nothing to do.
    Nothing,
    /// Ready, perhaps with its queue entry lost: suggest it again.
    Ready(Word),
    /// Leased by the dead: the policy decides between `revoke` and `fail_dead`.
    Leased(Word),
    /// Completed by the dead (or adopted by an interrupted pass): adopt, walk, retire.
    Unwalked(Word),
    /// No legal word.
    Corrupt(Word),
}

/// Looks at one slot on behalf of the dead worker `dead`. Repairs what needs no policy: a pending
/// slot whose last clearer died before it made the slot ready.
///
/// Every repair is an exchange from the exact word, so a pass may stop anywhere, be done again,
/// and overlap living workers.
pub fn examine(table: &Table<'_>, index: u32, dead: u16, me: u16) -> Found {
    let slot = table.slot(index);
    let word = slot.load();
    let Some(phase) = word.phase() else { return Found::Corrupt(word) };
    match phase {
        Phase::Ready => Found::Ready(word),
        Phase::Running | Phase::Condemned if word.owner() == dead => Found::Leased(word),
        Phase::DoneOk | Phase::DoneFail if word.owner() == dead || word.owner() == me => {
            Found::Unwalked(word)
        }
        Phase::Pending if slot.fan_in_is_zero(word.generation()) => {
            if slot.make_ready(me, word.generation()) {
                Found::Ready(slot.load())
            } else {
                Found::Nothing
            }
        }
        _ => Found::Nothing,
    }
}
