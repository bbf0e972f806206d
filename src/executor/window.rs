//! The slots in flight as their only writer holds them: room for tasks is taken and given back, and
//! a task that was written is made visible and entered into the lists of its producers.

use std::sync::Arc;

use mailring_process::sync::prefetch_write;

use super::profile::Submits;
use crate::abi::{CallConfig, TaskArgs};
use crate::graph::Producer;
use crate::ids::WorkerKind;
use crate::limits::{HEAP_RINGS, MAX_FAN_IN};
use crate::mailbox::descriptor::{ANYWHERE, FAN_IN, Head, Route, TaskDescriptors};
use crate::mailbox::ready_queue::MORE;
use crate::ring::dist_ring::{Needs, Reservation};
use crate::ring::slot::{GUARD, NO_FAILED_ROOT, Push};
use crate::ring::table::EdgeKind;
use crate::ring::word::SUBMITTER;
use crate::ring::{DistRing, HeapRing, RingError, Table, Word};
use crate::segment::{Arena, Settled};
use crate::worker::Publisher;

/// How many slots ahead of the present one their lines are fetched: far enough for a transfer from
/// another cache to be over, and not so far that a small window is still at work there.
const AHEAD: u32 = 12;

/// So many tasks one after the other, without a wait in between, are a stream.
const STREAM: u64 = 16;

/// The ring of slots, and the memory of the heap rings that goes with them.
pub(super) struct Window {
    arena: &'static Arena,
    table: Table<'static>,
    descriptors: TaskDescriptors,
    publisher: Publisher<'static>,
    ring: DistRing,
    /// The task from which on more would be a stream; later again when the window is looked through,
    /// which whoever has waited does.
    stream_from: u64,
    /// Where tasks are noted, for a profile.
    submits: Option<Arc<Submits>>,
    /// What was published, for tests: the task, its producers, its failed root.
    #[cfg(test)]
    pub(super) published: Vec<(u64, Vec<Producer>, u64)>,
}

impl Window {
    pub(super) fn new(arena: &'static Arena) -> Result<Self, RingError> {
        let producer = arena.shape().total_workers();
        Ok(Self {
            arena,
            table: arena.table(),
            descriptors: arena.descriptors(),
            publisher: Publisher::with_rings(arena, producer),
            ring: DistRing::new(arena.shape().ring)?,
            stream_from: STREAM,
            submits: None,
            #[cfg(test)]
            published: Vec::new(),
        })
    }

    /// Notes what is submitted from now on.
    pub(super) fn note_submits(&mut self, submits: Arc<Submits>) {
        self.submits = Some(submits);
    }

    #[inline]
    pub(super) fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// The number of the next task.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.ring.next()
    }

    /// The number of the oldest task in the window.
    #[inline]
    pub(super) fn tail(&self) -> u64 {
        self.ring.tail()
    }

    /// Slots in all.
    pub(super) fn slots(&self) -> u64 {
        self.ring.window()
    }

    /// Slots in use.
    pub(super) fn active(&self) -> u64 {
        self.ring.active()
    }

    #[inline]
    pub(super) fn has_room(&self, slots: u64, needs: Needs) -> bool {
        self.ring.has_room(slots, needs)
    }

    #[inline]
    pub(super) fn reserve(&mut self, needs: Needs) -> Option<Reservation> {
        self.ring.reserve(needs)
    }

    /// Lets retired slots leave; `failed` gets those that failed.
    ///
    /// # Errors
    /// The oldest slot holds a word that no step of the protocol writes.
    pub(super) fn reclaim(&mut self, failed: &mut Vec<u64>) -> Result<(), Word> {
        let table = self.table;
        self.stream_from = self.ring.next() + STREAM;
        self.ring.reclaim(&table, u64::MAX, |seq, word| {
            if word.is_failed() {
                failed.push(seq);
            }
        })
    }

    /// The heap ring of this number, to look at it.
    pub(super) fn slabs(&self, index: usize) -> &HeapRing {
        &self.ring.heaps[index]
    }

    /// The heap ring of this number.
    #[inline]
    pub(super) fn heap(&mut self, index: usize) -> &mut HeapRing {
        &mut self.ring.heaps[index]
    }

    pub(super) fn heaps(&mut self) -> &mut [HeapRing; HEAP_RINGS] {
        &mut self.ring.heaps
    }

    /// The ring of the copies of snapshots.
    pub(super) fn copies(&mut self) -> &mut HeapRing {
        &mut self.ring.copies
    }

    /// How a task in the window stands.
    pub(super) fn settled(&self, seq: u64) -> Settled {
        self.arena.settled(seq)
    }

    /// What is known of why a task in the window failed.
    pub(super) fn failed_root(&self, seq: u64) -> u64 {
        self.arena.failed_root_of(self.ring.place(seq).0, seq)
    }

    /// The slot of a task.
    #[cfg(test)]
    pub(super) fn place(&self, seq: u64) -> u32 {
        self.ring.place(seq).0
    }

    pub(super) fn word(&self, seq: u64) -> Word {
        self.table.slot(self.ring.place(seq).0).load()
    }

    pub(super) fn head(&self, seq: u64) -> Head {
        self.descriptors.head(self.ring.place(seq).0)
    }

    #[inline]
    pub(super) fn descriptors(&self) -> TaskDescriptors {
        self.descriptors
    }

    /// Fetches those lines of a task descriptor ahead that only long ones have.
    #[inline]
    pub(super) fn fetch_more(&self, slot: u32) {
        self.descriptors.more_lines(slot + AHEAD).into_iter().for_each(prefetch_write);
    }

    /// More producers than a fan-in word can name are collected, as often as it takes, by tasks
    /// that run nothing.
    #[cold]
    pub(super) fn add_fan_in_nodes(&mut self, kind: WorkerKind, live: &mut Vec<Producer>) {
        let (mut data, mut order): (Vec<_>, Vec<_>) = live.drain(..).partition(|p| p.data);
        while data.len() + order.len() > MAX_FAN_IN {
            let longer = if data.len() >= order.len() { &mut data } else { &mut order };
            let from = longer.len().saturating_sub(MAX_FAN_IN);
            let joined: Vec<Producer> = longer.drain(from..).collect();
            let is_data = joined[0].data;
            if let Some(task) = self.submit_fan_in(kind, &joined) {
                longer.insert(0, Producer { task, data: is_data });
            }
        }
        live.append(&mut data);
        live.append(&mut order);
    }

    /// One task that runs nothing and waits for all of these, if there is room for it, for `slots` more,
    /// and for `edges` of those.
    pub(super) fn join(
        &mut self,
        kind: WorkerKind,
        mut producers: Vec<Producer>,
        slots: u64,
        edges: u64,
    ) -> Option<u64> {
        let nodes = (producers.len() as u64 - 1).div_ceil(MAX_FAN_IN as u64 - 1);
        let edges = edges + producers.len() as u64 + nodes;
        if !self.has_room(slots + nodes, Needs { edges, ..Needs::default() }) {
            return None;
        }
        let mut at = 0;
        while producers.len() - at > 1 {
            let some = at..producers.len().min(at + MAX_FAN_IN);
            at = some.end;
            let task = self.submit_fan_in(kind, &producers[some])?;
            producers.push(Producer { task, data: true });
        }
        producers.pop().map(|last| last.task)
    }

    fn submit_fan_in(&mut self, kind: WorkerKind, producers: &[Producer]) -> Option<u64> {
        let needs = Needs { edges: producers.len() as u64, ..Needs::default() };
        let reserved = self.ring.reserve(needs)?;
        let route = Route { kind: kind as u8, flags: FAN_IN, target: ANYWHERE };
        let head = Head::single(reserved.seq, 0, CallConfig::default(), route);
        // SAFETY: this is the submitter, and the slot was reserved just now.
        unsafe { self.descriptors.write_inline(reserved.slot, &head, &TaskArgs::new()) };
        self.publish(&reserved, route, producers, NO_FAILED_ROOT);
        Some(reserved.seq)
    }

    /// Makes the task visible, enters it into the lists of its producers, and lets it go. Its task
    /// descriptor is written. `producers` are in the window, each once, and as many as were reserved.
    #[inline(always)]
    pub(super) fn publish(
        &mut self,
        at: &Reservation,
        route: Route,
        producers: &[Producer],
        failed_root: u64,
    ) {
        #[cfg(test)]
        self.published.push((at.seq, producers.to_vec(), failed_root));
        let &Reservation { slot, generation, edges, .. } = at;
        if self.submits.is_some() {
            self.note_submit(slot, producers);
        }
        let cell = self.table.slot(slot);
        prefetch_write(self.table.slot(slot + AHEAD));
        self.descriptors.lines(slot + AHEAD).into_iter().for_each(prefetch_write);
        if producers.is_empty() {
            cell.publish_ready(SUBMITTER, generation, failed_root);
            self.suggest(at.seq, slot, route);
            return;
        }
        // Workers have read that line one lap ago.
        prefetch_write(self.table.edge(edges as u32 + 16));
        cell.publish_pending(SUBMITTER, generation, producers.len() as u32, failed_root);
        let mut finished = GUARD;
        for (bit, producer) in producers.iter().enumerate() {
            let (from, lap) = self.ring.place(producer.task);
            let index = self.table.edge_index(edges + bit as u64);
            let edge = self.table.edge(index);
            edge.set(slot, bit as u32, producer.kind(), generation);
            match self.table.slot(from).push_edge(lap, index, |next| edge.set_next(next)) {
                Push::Pushed => {}
                Push::Finished { failed } => {
                    finished |= 1 << bit;
                    if failed && producer.kind() == EdgeKind::Data {
                        cell.mark_failed_root(self.arena.failed_root_of(from, producer.task));
                    }
                }
            }
        }
        if cell.clear(finished, generation) && cell.make_ready(SUBMITTER, generation) {
            self.suggest(at.seq, slot, route);
        }
    }

    /// Notes a task, before anybody else can have it.
    #[cold]
    #[inline(never)]
    fn note_submit(&self, slot: u32, producers: &[Producer]) {
        if let Some(submits) = &self.submits {
            let producers = producers.iter().map(|producer| producer.task);
            submits.note(&self.descriptors.head(slot), producers);
        }
    }

    /// The same for a task that waits for others, out of line.
    #[inline(never)]
    pub(super) fn publish_waiting(
        &mut self,
        at: Reservation,
        route: Route,
        producers: &[Producer],
        failed_root: u64,
    ) {
        self.publish(&at, route, producers, failed_root);
    }

    #[inline(always)]
    fn suggest(&mut self, seq: u64, slot: u32, route: Route) {
        let hint = if seq >= self.stream_from { MORE } else { 0 };
        self.publisher.suggest_with(slot, hint, route);
    }
}
