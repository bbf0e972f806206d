//! What a submit does when a ring is full: wait for what will end by itself, refuse what will not.

use std::time::{Duration, Instant};

use super::orchestrator::Orchestrator;
use super::shared::Waited;
use crate::error::{Error, PinnedHeap};
use crate::ids::TaskId;
use crate::ring::RingError;
use crate::ring::dist_ring::Needs;

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

    /// Takes a slab of `bytes` (a multiple of the slab unit) in the heap ring of this depth; the
    /// result is its address. `used` says that the next task names it.
    pub(super) fn take_slab(
        &mut self,
        bytes: u64,
        used: bool,
        patience: Patience,
    ) -> Result<u64, Error> {
        self.make_heap_room(bytes, patience)?;
        let (index, task, scope) = self.slab_owner();
        match self.ring.heaps[index].take(bytes, task, scope, used) {
            Some(offset) => {
                let address = self.heaps[index].0 + offset;
                if !used {
                    // Nobody writes it yet; what is known of its bytes is from an earlier life.
                    self.map.erase(&(address..address + bytes));
                }
                Ok(address)
            }
            None => Err(Error::Failed("a heap ring had room and then had none".to_owned())),
        }
    }

    fn slab_owner(&self) -> (usize, u64, crate::ring::heap::ScopeRef) {
        (self.scopes.heap_ring(), self.ring.next(), self.scopes.current())
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
            let Some(oldest) = heap.oldest().copied() else {
                return Err(Error::Failed("an empty heap ring has no room".to_owned()));
            };
            let holder = oldest.last_use.unwrap_or(oldest.task);
            let own = holder >= self.ring.next();
            if own || self.scopes.is_open(oldest.scope) {
                // Only this thread can close that scope (or withdraw the arguments that name the
                // slab), and it is here: nothing that runs helps.
                let (pinned, last) = (heap.used(), oldest.task);
                return Err(Error::HeapDeadlock(Box::new(PinnedHeap {
                    ring: index,
                    pinned,
                    capacity,
                    scope: if own { 0 } else { usize::from(oldest.scope.depth) + 1 },
                    bytes,
                    task: TaskId(last),
                    name: self.slab_name(&oldest),
                    oldest_bytes: oldest.bytes(),
                })));
            }
            if patience == Patience::Refuse {
                return Err(Error::WouldBlock { what: "a heap ring", why: self.oldest_task() });
            }
            timer.progress(self.ring.tail() != before);
            tracing::debug!(ring = index, bytes, "back-pressure: heap ring full");
            self.await_task(holder, &timer, "a heap ring")?;
            if self.ring.tail() <= holder {
                self.await_task(self.ring.tail(), &timer, "a heap ring")?;
            }
        }
    }

    fn slab_name(&self, slab: &crate::ring::Slab) -> String {
        match slab.last_use {
            Some(task) if task == slab.task => self.task_name(slab.task),
            _ => "alloc".to_owned(),
        }
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
        match self.shared.wait_settled(seq, timer.until) {
            Waited::Settled => Ok(()),
            Waited::Failed => self.shared.check_health(),
            Waited::TimedOut => Err(Error::BackPressure {
                what,
                why: self.oldest_task().into(),
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
        if let Some(name) = self.run.name(seq) {
            return name.to_string();
        }
        let head = self.letters.head(self.ring.place(seq).0);
        if head.seq != seq {
            return "a task that is through".to_owned();
        }
        self.shared.callable_name(head.route.kind, head.callable)
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
