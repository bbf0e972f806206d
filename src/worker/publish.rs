//! Suggesting ready tasks to those who may take them.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;

use mailring_process::futex;
use mailring_process::wait::unpark;

use crate::ids::WorkerKind;
use crate::mailbox::descriptor::{ANYWHERE, GROUP, Route, URGENT};
use crate::mailbox::parked::Parked;
use crate::mailbox::ready_queue::{Cursor, ReadyQueue};
use crate::segment::Arena;

/// One who makes tasks ready: a worker, the submitter (both with ready queues of their own), or the
/// supervisor (bitmaps only, where doing it twice is doing it once).
pub(crate) struct Publisher<'a> {
    arena: &'a Arena,
    parked: [Parked<'a>; 2],
    queues: Option<[(ReadyQueue<'a>, Cursor); 2]>,
}

impl<'a> Publisher<'a> {
    /// `producer` is the worker's number, or the number of workers for the submitter.
    pub(crate) fn with_rings(arena: &'a Arena, producer: usize) -> Self {
        let queues = WorkerKind::ALL.map(|kind| {
            let queue = arena.ready_queue(producer, kind);
            (queue, queue.writer())
        });
        Self { queues: Some(queues), ..Self::supervisor(arena) }
    }

    /// Without rings of its own.
    pub(crate) fn supervisor(arena: &'a Arena) -> Self {
        let parked = WorkerKind::ALL.map(|kind| arena.parked(kind));
        Self { arena, parked, queues: None }
    }

    /// Puts the ready task of `slot` where its takers look, and wakes one if all sleep.
    #[inline(never)]
    pub(crate) fn suggest(&mut self, slot: u32, route: Route) {
        self.suggest_with(slot, 0, route);
    }

    /// The same with a `hint` beside the slot: 0, or
    /// [`MORE`](crate::mailbox::ready_queue::MORE).
    #[inline(always)]
    pub(crate) fn suggest_with(&mut self, slot: u32, hint: u32, route: Route) {
        let kind = route.pool();
        if route.target == ANYWHERE
            && route.flags & (GROUP | URGENT) == 0
            && let Some(queues) = &mut self.queues
        {
            let (ring, cursor) = &mut queues[kind.index()];
            if ring.push(cursor, slot | hint) {
                self.wake_one(kind);
                return;
            }
        }
        self.suggest_aside(slot, route);
    }

    /// The same for what has no place in a ring.
    #[cold]
    fn suggest_aside(&mut self, slot: u32, route: Route) {
        let kind = route.pool();
        if route.flags & GROUP != 0 {
            self.arena.ready_groups(kind).set(slot);
            self.wake_one(kind);
        } else if route.target != ANYWHERE {
            self.arena.pinned(route.target).set(slot);
            fence(SeqCst);
            unpark(&self.arena.entry(route.target).parker);
        } else {
            self.arena.urgent(kind).set(slot);
            self.wake_one(kind);
        }
    }

    /// Wakes one sleeper of the pool, if there is any.
    #[inline]
    pub(crate) fn wake_one(&self, kind: WorkerKind) {
        let parked = &self.parked[kind.index()];
        if parked.anybody() {
            self.wake_sleeper(*parked);
        }
    }

    #[cold]
    fn wake_sleeper(&self, parked: Parked<'a>) {
        if let Some(worker) = parked.claim(|w| &self.arena.entry(w).parker) {
            futex::wake(&self.arena.entry(worker).parker, 1);
        }
    }

    /// Wakes all sleepers of the pool.
    pub(crate) fn wake_all(&self, kind: WorkerKind) {
        let shape = self.arena.shape();
        fence(SeqCst);
        for worker in 0..shape.total_workers() {
            // Once each: one who goes back to sleep has looked after we published.
            if shape.kind_of(worker) == kind {
                unpark(&self.arena.entry(worker as u16).parker);
            }
        }
    }
}
