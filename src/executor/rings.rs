//! What a submit does when a ring is full: wait for what will end by itself, refuse what will not.

use std::time::{Duration, Instant};

use super::orchestrator::Orchestrator;
use super::tasks::Waited;
use crate::error::{Error, PinnedHeap};
use crate::graph::Hazards;
use crate::ids::TaskId;
use crate::limits::HEAP_ALIGN;
use crate::ring::dist_ring::Needs;
use crate::ring::heap::{Maker, Owner};
use crate::ring::{RingError, Slab};

/// How long a submit may wait for room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Wait,
    Refuse,
}

impl Orchestrator {
    /// Makes room in the window and its rings. `needs` is asked again after each wait, since
    /// producers that have finished need no edge any more.
    #[inline]
    pub(super) fn make_room(
        &mut self,
        patience: Patience,
        needs: impl Fn(u64) -> (u64, Needs),
    ) -> Result<(), Error> {
        let (slots, wanted) = needs(self.ring.tail());
        if self.ring.has_room(slots, wanted) {
            return Ok(());
        }
        self.wait_for_window(patience, needs)
    }

    #[cold]
    fn wait_for_window(
        &mut self,
        patience: Patience,
        needs: impl Fn(u64) -> (u64, Needs),
    ) -> Result<(), Error> {
        let mut timer = Timer::new(self.shared.back_pressure);
        loop {
            let before = self.ring.tail();
            self.reclaim()?;
            let (slots, wanted) = needs(self.ring.tail());
            if self.ring.has_room(slots, wanted) {
                return Ok(());
            }
            if patience == Patience::Refuse {
                return Err(Error::WouldBlock { what: "the slot window", why: self.oldest_task() });
            }
            if self.ring.active() == 0 {
                return Err(Error::Failed("an empty window has no room for a task".to_owned()));
            }
            timer.progress(self.ring.tail() != before);
            // A quarter of the window at a time, so that a worker wakes us once for many tasks.
            let ahead = self.ring.tail() + self.ring.window() / 4;
            let target = ahead.min(self.ring.next() - 1);
            tracing::debug!(awaited = target, "back-pressure: slot window full");
            self.await_task(target, &timer, "the slot window")?;
            self.await_task(self.ring.tail(), &timer, "the slot window")?;
        }
    }

    /// Takes slabs side by side in the heap ring of this depth, where
    /// [`make_heap_room`](Self::make_heap_room) has made room; the result is the address of the
    /// first. `used` says that the next task names them.
    pub(super) fn take_slabs(
        &mut self,
        parts: &[u64],
        used: bool,
        maker: Maker,
    ) -> Result<u64, Error> {
        let (index, scope) = (self.scopes.heap_ring(), self.scopes.current());
        let owner = Owner { task: self.ring.next(), used, maker, scope };
        let Some(offset) = self.ring.heaps[index].take_parts(parts, &owner) else {
            return Err(Error::Failed("a heap ring had room and then had none".to_owned()));
        };
        let address = self.heaps[index].0 + offset;
        // What is known of these bytes is from an earlier life. (Ranges that the next task writes as
        // a whole are superseded by it anyway; single addresses inside of them are not.)
        if !used || self.map.hazards() == Hazards::Compatible {
            let bytes: u64 = parts.iter().map(|len| len.next_multiple_of(HEAP_ALIGN as u64)).sum();
            self.map.erase(&(address..address + bytes));
        }
        Ok(address)
    }

    /// Takes room for the copies of the next task's snapshot; the result is the address.
    pub(super) fn take_copies(&mut self, bytes: u64) -> Result<u64, Error> {
        let owner = Owner { task: self.ring.next(), used: true, ..Owner::default() };
        let taken = self.ring.copies.take_parts(&[bytes], &owner);
        let offset = taken.ok_or_else(|| Error::Failed("no room for a snapshot".to_owned()))?;
        Ok(self.arena.copies() + offset)
    }

    /// Makes room for the copies of a snapshot. They are held by their tasks alone, so there always
    /// is something to wait for.
    pub(super) fn make_copy_room(&mut self, bytes: u64, patience: Patience) -> Result<(), Error> {
        let capacity = self.ring.copies.capacity();
        if bytes > capacity {
            return Err(RingError::SnapshotTooLarge { bytes, capacity }.into());
        }
        let what = "the ring for copies of snapshots";
        let mut timer = Timer::new(self.shared.back_pressure);
        while !self.ring.copies.fits(bytes) {
            let before = self.ring.tail();
            self.reclaim()?;
            let tail = self.ring.tail();
            self.ring.copies.reclaim(|slab| slab.task < tail);
            let Some(oldest) = self.ring.copies.oldest().map(|slab| slab.task) else { continue };
            if self.ring.copies.fits(bytes) {
                break;
            }
            if patience == Patience::Refuse {
                return Err(Error::WouldBlock { what, why: self.oldest_task() });
            }
            timer.progress(tail != before);
            self.await_task(oldest, &timer, what)?;
            self.await_task(tail, &timer, what)?;
        }
        Ok(())
    }

    pub(super) fn make_heap_room(&mut self, bytes: u64, patience: Patience) -> Result<(), Error> {
        let index = self.scopes.heap_ring();
        let capacity = self.ring.heaps[index].capacity();
        if bytes > capacity {
            return Err(RingError::TooLarge { ring: index, bytes, capacity }.into());
        }
        if self.ring.heaps[index].fits(bytes) {
            return Ok(());
        }
        let mut timer = Timer::new(self.shared.back_pressure);
        loop {
            let before = self.ring.tail();
            self.reclaim()?;
            self.reclaim_heaps();
            let heap = &self.ring.heaps[index];
            if heap.fits(bytes) {
                return Ok(());
            }
            let Some(oldest) = heap.oldest().cloned() else {
                return Err(Error::Failed("an empty heap ring has no room".to_owned()));
            };
            let own = oldest.last_use.is_some_and(|task| task >= self.ring.next());
            let open = self.scopes.is_open(oldest.scope);
            if own || open {
                // Only this thread can close that scope (or withdraw the arguments that name the
                // slab), and it is here: nothing that runs helps.
                return Err(Error::HeapDeadlock(Box::new(PinnedHeap {
                    ring: index,
                    pinned: heap.used(),
                    capacity,
                    scope: if open { usize::from(oldest.scope.depth) + 1 } else { 0 },
                    argument: own,
                    bytes,
                    task: TaskId(oldest.task),
                    name: self.maker_name(&oldest.maker),
                    alloc: oldest.maker == Maker::Alloc,
                    oldest_bytes: oldest.bytes(),
                })));
            }
            if patience == Patience::Refuse {
                return Err(Error::WouldBlock { what: "a heap ring", why: self.holder(&oldest) });
            }
            timer.progress(self.ring.tail() != before);
            tracing::debug!(ring = index, bytes, "back-pressure: heap ring full");
            // Its scope has closed, so what holds it is the last task that names it.
            let last = oldest.last_use.unwrap_or(oldest.task);
            let why = || self.holder(&oldest);
            self.await_or_say(last, &timer, "a heap ring", why)?;
            if self.ring.tail() <= last {
                self.await_or_say(self.ring.tail(), &timer, "a heap ring", why)?;
            }
        }
    }

    /// What a slab was made for, in words.
    fn maker_name(&self, maker: &Maker) -> String {
        match maker {
            Maker::Unknown => "unknown".to_owned(),
            Maker::Alloc => "alloc".to_owned(),
            Maker::Task(kind, callable) => self.shared.names.name(*kind, *callable),
            Maker::Named(name) => name.to_string(),
        }
    }

    /// What holds a slab whose scope has closed, in words.
    fn holder(&self, slab: &Slab) -> String {
        let (bytes, name) = (slab.bytes(), self.maker_name(&slab.maker));
        let last = slab.last_use.unwrap_or(slab.task);
        format!(
            "its oldest slab ({bytes} bytes, `{name}`) is held by {} (`{}`); {}",
            TaskId(last),
            self.task_name(last),
            self.oldest_task()
        )
    }

    /// Gives back slabs whose scope has closed and whose last task has left the window.
    pub(super) fn reclaim_heaps(&mut self) {
        let tail = self.ring.tail();
        let scopes = &self.scopes;
        for heap in &mut self.ring.heaps {
            heap.reclaim(|slab| {
                !scopes.is_open(slab.scope) && slab.last_use.is_none_or(|task| task < tail)
            });
        }
    }

    fn await_task(&self, seq: u64, timer: &Timer, what: &'static str) -> Result<(), Error> {
        self.await_or_say(seq, timer, what, || self.oldest_task())
    }

    /// Waits for a task; when the time is over, `why` says what holds the ring.
    fn await_or_say(
        &self,
        seq: u64,
        timer: &Timer,
        what: &'static str,
        why: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match self.shared.tasks.wait_settled(seq, timer.until) {
            Waited::Settled => Ok(()),
            Waited::Failed => self.shared.tasks.check_health(),
            Waited::TimedOut => Err(Error::BackPressure {
                what,
                why: why().into(),
                waited: timer.bound.unwrap_or_default(),
            }),
        }
    }

    /// What holds the window, in words.
    fn oldest_task(&self) -> String {
        let tail = self.ring.tail();
        if tail == self.ring.next() {
            return "more is asked for than it ever holds".to_owned();
        }
        let (slot, _) = self.ring.place(tail);
        let phase = self.table.slot(slot).load().phase();
        let doing = phase.map_or_else(|| "in no legal state".to_owned(), |p| format!("{p:?}"));
        format!(
            "{} tasks are in flight, the oldest is {} (`{}`), {}",
            self.ring.active(),
            TaskId(tail),
            self.task_name(tail),
            doing.to_lowercase()
        )
    }

    fn task_name(&self, seq: u64) -> String {
        if let Some(name) = self.run_of(seq).and_then(|run| run.name(seq)) {
            return name.to_string();
        }
        let head = self.descriptors.head(self.ring.place(seq).0);
        if head.seq != seq {
            return "a task that is through".to_owned();
        }
        self.shared.names.name(head.route.kind, head.callable)
    }
}

/// The user's bound on a wait without progress.
struct Timer {
    bound: Option<Duration>,
    until: Option<Instant>,
}

impl Timer {
    fn new(bound: Option<Duration>) -> Self {
        Self { bound, until: bound.and_then(|b| Instant::now().checked_add(b)) }
    }

    fn progress(&mut self, made: bool) {
        if made {
            *self = Self::new(self.bound);
        }
    }
}
