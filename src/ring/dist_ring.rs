//! The owner's side of the ring: which slots, edges, payload bytes and group words are taken.
//!
//! Everything here is private to the thread that submits. A slot leaves the window when it is the
//! oldest and has retired; what it held of the other three rings goes with it. Heap slabs have a
//! life of their own ([`HeapRing`]), so an open scope or an `alloc` pins bytes, never slots.

use super::heap::HeapRing;
use super::span::SpanRing;
use super::sync::prefetch_write;
use super::table::Table;
use super::word::{GEN_MASK, Word};
use crate::limits::{
    EDGES_PER_SLOT, HEAP_ALIGN, HEAP_RINGS, MAX_WINDOW, MIN_WINDOW, PAYLOAD_BYTES,
};

/// How many slots ahead of the one that leaves lines are fetched: workers have written them last.
const RECLAIM_AHEAD: u64 = 16;

/// Why a ring is not made, or does not give what is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The window is not a power of two, or out of bounds.
    #[error(
        "a slot window of {0} slots is not possible: it must be a power of two from {MIN_WINDOW} to {MAX_WINDOW}"
    )]
    Window(usize),
    /// More than the whole ring was asked for.
    #[error(
        "{bytes} bytes can never fit heap ring {ring} of {capacity} bytes; raise heap_bytes or split the task"
    )]
    TooLarge {
        /// Which heap ring.
        ring: usize,
        /// Bytes asked for, aligned.
        bytes: u64,
        /// Bytes of the ring.
        capacity: u64,
    },
    /// A snapshot larger than the ring for copies.
    #[error(
        "the snapshot of this task takes {bytes} bytes, and all snapshots together have {capacity}; \
         raise heap_bytes or split the task"
    )]
    SnapshotTooLarge {
        /// Bytes of the copies, aligned.
        bytes: u64,
        /// Bytes there are.
        capacity: u64,
    },
}

/// The sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Slots: a power of two.
    pub window: usize,
    /// Bytes of each heap ring; rounded down to whole slab units.
    pub heap_bytes: usize,
    /// Words for groups.
    pub group_words: usize,
}

impl Geometry {
    /// Edges of the pool.
    pub fn edges(&self) -> usize {
        self.window * EDGES_PER_SLOT
    }
}

/// What one task takes from the rings besides its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Edges, one a live producer.
    pub edges: u64,
    /// Bytes of the payload ring.
    pub payload: u64,
    /// Words of the group ring.
    pub group: u64,
}

/// A slot that has been set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The task's number.
    pub seq: u64,
    /// Its slot.
    pub slot: u32,
    /// The lap of the slot.
    pub generation: u32,
    /// Cursor of its first edge.
    pub edges: u64,
    /// Place of its payload.
    pub payload: u64,
    /// Place of its group words.
    pub group: u64,
}

/// What leaves with a slot.
#[derive(Clone, Copy, Default)]
struct Held {
    edges: u64,
    /// It has payload or group words, up to [`DistRing::spans`].
    has_spans: bool,
}

/// The window and its rings, as their owner keeps them.
pub struct DistRing {
    window: u64,
    shift: u32,
    next: u64,
    tail: u64,
    edge_capacity: u64,
    edge_next: u64,
    edge_tail: u64,
    payload: SpanRing,
    group: SpanRing,
    held: Box<[Held]>,
    /// Ends of payload and group words, where a slot has some.
    spans: Box<[(u64, u64)]>,
    /// The heap rings, by class of scope depth.
    pub heaps: [HeapRing; HEAP_RINGS],
    /// Copies that snapshots keep until their task has retired. Apart from the heap rings, where an
    /// older slab that a scope holds would keep them until it closes.
    pub copies: HeapRing,
}

impl DistRing {
    /// An empty ring.
    pub fn new(geometry: Geometry) -> Result<Self, RingError> {
        let window = geometry.window;
        if !window.is_power_of_two() || !(MIN_WINDOW..=MAX_WINDOW).contains(&window) {
            return Err(RingError::Window(window));
        }
        let heap = (geometry.heap_bytes - geometry.heap_bytes % HEAP_ALIGN) as u64;
        Ok(Self {
            window: window as u64,
            shift: window.trailing_zeros(),
            next: 0,
            tail: 0,
            edge_capacity: geometry.edges() as u64,
            edge_next: 0,
            edge_tail: 0,
            payload: SpanRing::new(PAYLOAD_BYTES as u64),
            group: SpanRing::new(geometry.group_words as u64),
            held: vec![Held::default(); window].into_boxed_slice(),
            spans: vec![(0, 0); window].into_boxed_slice(),
            heaps: std::array::from_fn(|_| HeapRing::new(heap)),
            copies: HeapRing::new(heap),
        })
    }

    /// The number of the next task.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The oldest task that has not left the window; all before it have completed.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Tasks in the window.
    #[inline]
    pub fn active(&self) -> u64 {
        self.next - self.tail
    }

    /// Slots in the window.
    #[inline]
    pub fn window(&self) -> u64 {
        self.window
    }

    /// The slot of a task and the lap it has there.
    #[inline]
    pub fn place(&self, seq: u64) -> (u32, u32) {
        ((seq & (self.window - 1)) as u32, lap(seq, self.shift))
    }

    /// Whether `slots` more tasks, with these needs of all of them together, fit now.
    #[inline]
    pub fn has_room(&self, slots: u64, needs: Needs) -> bool {
        self.has_slots(slots, needs.edges)
            && (needs.payload == 0 || self.payload.fit(needs.payload).is_some())
            && (needs.group == 0 || self.group.fit(needs.group).is_some())
    }

    #[inline]
    fn has_slots(&self, slots: u64, edges: u64) -> bool {
        self.active() + slots <= self.window
            && self.edge_next - self.edge_tail + edges <= self.edge_capacity
    }

    /// Sets a slot aside; nothing when there is no room.
    #[inline(always)]
    pub fn reserve(&mut self, needs: Needs) -> Option<Reservation> {
        if !self.has_slots(1, needs.edges) {
            return None;
        }
        // Most tasks need neither, and to find a place takes a division.
        let (mut payload, mut group) = (0, 0);
        let has_spans = needs.payload > 0 || needs.group > 0;
        if has_spans {
            (payload, group) = self.take_spans(needs)?;
        }
        let seq = self.next;
        let (slot, generation) = self.place(seq);
        let edges = self.edge_next;
        self.next += 1;
        self.edge_next += needs.edges;
        self.held[slot as usize] = Held { edges: self.edge_next, has_spans };
        Some(Reservation { seq, slot, generation, edges, payload, group })
    }

    /// The places of payload and group words. Both or neither.
    #[inline(never)]
    fn take_spans(&mut self, needs: Needs) -> Option<(u64, u64)> {
        if !self.has_room(1, needs) {
            return None;
        }
        let payload = self.payload.take(needs.payload)?;
        let group = self.group.take(needs.group)?;
        self.spans[self.place(self.next).0 as usize] = (self.payload.top(), self.group.top());
        Some((self.payload.place(payload), self.group.place(group)))
    }

    /// Lets retired slots leave the window, oldest first, at most `most`. `left` sees each with
    /// its last word. Stops, and says so, at an invalid word: its generation is not the one
    /// that was published, or it has no legal phase.
    #[inline]
    pub fn reclaim(
        &mut self,
        table: &Table<'_>,
        most: u64,
        mut left: impl FnMut(u64, Word),
    ) -> Result<(), Word> {
        let stop = self.next.min(self.tail.saturating_add(most));
        while self.tail < stop {
            let (slot, generation) = self.place(self.tail);
            if self.tail + RECLAIM_AHEAD < stop {
                // To write: it is this owner's next.
                prefetch_write(table.slot(slot + RECLAIM_AHEAD as u32));
            }
            let word = table.slot(slot).load();
            if word.generation() != generation || word.phase().is_none() {
                return Err(word);
            }
            if !word.is_retired() {
                break;
            }
            left(self.tail, word);
            let held = self.held[slot as usize];
            self.edge_tail = held.edges;
            if held.has_spans {
                let (payload, group) = self.spans[slot as usize];
                self.payload.release_to(payload);
                self.group.release_to(group);
            }
            self.tail += 1;
        }
        Ok(())
    }
}

/// The slot of task `seq` in a window of `1 << shift` slots, and the lap it has there.
#[inline]
pub fn place(seq: u64, shift: u32) -> (u32, u32) {
    let slot = seq & ((1 << shift) - 1);
    (slot as u32, lap(seq, shift))
}

#[inline(always)]
fn lap(seq: u64, shift: u32) -> u32 {
    ((seq >> shift) + 1) as u32 & GEN_MASK
}
