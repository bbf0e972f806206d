//! The tasks in the window as every thread of the host sees them: whether they are through, how to
//! wait for them, and how they are cancelled.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::fence;
use std::time::{Duration, Instant};

use mailring_process::futex;
use mailring_process::wait::{FirstLook, LONG, Patience, WaitStrategy};
use mailring_process::wakeup::Wakeup;

use super::run_state::RunState;
use crate::error::Error;
use crate::mailbox::descriptor::FAN_IN;
use crate::ring::Phase;
use crate::ring::dist_ring::place;
use crate::ring::slot::Watch;
use crate::segment::{Arena, Settled};
use crate::worker::health::Health;

/// How long one waits for a task before one asks whether a worker is stopped.
const WORRY: Duration = Duration::from_millis(500);

/// A wait for a task is a long one while the task so many before it is not through.
const FAR: u64 = 16;

/// How waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    Settled,
    TimedOut,
    Failed,
}

/// A view of the window; whoever submits moves it on.
pub(super) struct Tasks {
    arena: Arc<Arena>,
    health: Arc<Health>,
    wakeup: Arc<Wakeup>,
    patience: Patience,
    first_look: FirstLook,
}

impl Tasks {
    pub(super) fn new(
        arena: Arc<Arena>,
        health: Arc<Health>,
        wakeup: Arc<Wakeup>,
        wait: WaitStrategy,
    ) -> Self {
        let patience = arena.patience(wait);
        Self { arena, health, wakeup, patience, first_look: FirstLook::new() }
    }

    /// The place and the lap of a task.
    #[inline]
    pub(super) fn place(&self, seq: u64) -> (u32, u32) {
        place(seq, self.arena.shape().ring.window.trailing_zeros())
    }

    #[inline]
    pub(super) fn is_open(&self, seq: u64) -> bool {
        self.arena.settled(seq) == Settled::Open
    }

    /// The oldest task that is in the window.
    pub(super) fn tail(&self) -> u64 {
        self.health.tail.load(Acquire)
    }

    pub(super) fn has_executor_failed(&self) -> bool {
        self.health.failure().is_some()
    }

    pub(super) fn check_health(&self) -> Result<(), Error> {
        match self.health.failure() {
            Some(why) => Err(Error::Failed(why.to_owned())),
            None => Ok(()),
        }
    }

    /// Asks whoever completes a task to ring the host. False when it has just been completed.
    pub(super) fn arm(&self, seq: u64) -> bool {
        let (slot, generation) = self.place(seq);
        self.arena.table().slot(slot).watch(generation) == Watch::Armed
    }

    /// To be asked for before one looks: whoever notifies the host after it ends the sleep.
    pub(super) fn seen(&self) -> u32 {
        self.arena.control().host_parker.load(Acquire)
    }

    /// Sleeps until somebody notifies the host.
    pub(super) fn sleep(&self, seen: u32, longest: Duration) {
        futex::wait(&self.arena.control().host_parker, seen, Some(longest));
    }

    pub(super) fn notify_host(&self) {
        self.arena.notify_host();
    }

    /// Waits until task `seq` has retired. Spins, then lets others run, then sleeps; whoever
    /// retires the slot notifies.
    #[inline]
    pub(super) fn wait_settled(&self, seq: u64, until: Option<Instant>) -> Waited {
        if !self.is_open(seq) {
            return Waited::Settled;
        }
        let waits = &self.arena.control().host_waits;
        waits.store(1, Relaxed);
        let far = self.is_far(seq);
        let waited = match !far && self.wait_short(seq) {
            true => Waited::Settled,
            false => self.wait_long(seq, until, far),
        };
        waits.store(0, Relaxed);
        waited
    }

    /// Whether it takes long enough for one who has no processor of its own to leave it to the workers.
    #[inline]
    fn is_far(&self, seq: u64) -> bool {
        self.patience.gives_way() && seq >= FAR && self.is_open(seq - FAR)
    }

    /// The first rounds. False: it takes longer.
    #[inline]
    fn wait_short(&self, seq: u64) -> bool {
        let look = self.patience.has_processor().then(|| self.first_look.begin());
        for round in 0..LONG {
            if !self.is_open(seq) {
                if let Some(look) = look {
                    self.first_look.came(&look, round);
                }
                return true;
            }
            if self.patience.pause(round, || self.arena.awake()).is_none() {
                break;
            }
        }
        false
    }

    /// The same from round [`LONG`] on, or, if the task is `far`, without a look in between.
    #[cold]
    fn wait_long(&self, seq: u64, until: Option<Instant>, far: bool) -> Waited {
        let mut round = LONG;
        let mut since: Option<Instant> = None;
        loop {
            if !self.is_open(seq) {
                return Waited::Settled;
            }
            if !far && self.patience.pause(round, || self.arena.awake()).is_some() {
                round = round.wrapping_add(1);
                if round.is_multiple_of(64) && until.is_some_and(|at| Instant::now() >= at) {
                    return Waited::TimedOut;
                }
                if round.is_multiple_of(4096) {
                    if self.health.failure().is_some() || self.is_corrupt(seq) {
                        return Waited::Failed;
                    }
                    self.worry_after_long(&mut since);
                }
                continue;
            }
            self.worry_after_long(&mut since);
            // First the parker: whoever changes what is looked at below notifies it afterwards.
            let seen = self.seen();
            if self.health.failure().is_some() || self.is_corrupt(seq) {
                return Waited::Failed;
            }
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Waited::TimedOut;
            }
            if self.arm(seq) {
                self.sleep(seen, left.map_or(WORRY, |l| l.min(WORRY)));
            }
        }
    }

    /// One who has waited for a task for long has the workers looked at, again and again.
    pub(super) fn worry_after_long(&self, since: &mut Option<Instant>) {
        let now = Instant::now();
        if now.duration_since(*since.get_or_insert(now)) >= WORRY {
            *since = Some(now);
            self.health.worry();
            self.wakeup.notify();
        }
    }

    /// The same for one who only asks now and then.
    pub(super) fn worry(&self) {
        self.health.worry();
    }

    /// A word that no step of the protocol writes: somebody wrote where it must not.
    fn is_corrupt(&self, seq: u64) -> bool {
        let (slot, _) = self.place(seq);
        let word = self.arena.table().slot(slot).load();
        if word.phase().is_some() {
            return false;
        }
        let why = format!("slot {slot} holds {word:?}, which is not a state; a worker wrote there");
        self.health.fail(why, &self.arena);
        true
    }

    /// Waits until all tasks of the range have retired.
    pub(super) fn wait_range(&self, tasks: Range<u64>, until: Option<Instant>) -> Waited {
        if tasks.is_empty() {
            return Waited::Settled;
        }
        // The last one first: then most of the others are through, and few waits remain.
        for seq in std::iter::once(tasks.end - 1).chain(tasks) {
            match self.wait_settled(seq, until) {
                Waited::Settled => {}
                other => return other,
            }
        }
        Waited::Settled
    }

    /// Whether a task of the run has failed so far; those before `end` have been submitted.
    pub(super) fn has_failed(&self, run: &RunState, end: u64) -> bool {
        // The window first: what leaves it meanwhile is noted before its place is used again.
        let tail = self.health.tail.load(Acquire);
        let mut open = false;
        let mut failed = |seq| {
            let settled = self.arena.settled(seq);
            open |= settled == Settled::Open;
            settled == Settled::Failed
        };
        (run.first.max(tail)..end).any(&mut failed)
            || run.first_root().is_some()
            || (open && self.health.failure().is_some())
    }

    /// A task before `end` that is not through and names some of the bytes, if there is one. The last
    /// of them may be on its way here still, for which the bytes are held already.
    pub(super) fn unfinished(&self, bytes: &Range<u64>, end: u64) -> Option<u64> {
        let descriptors = self.arena.descriptors();
        let names = |seq: u64| {
            let (slot, generation) = self.place(seq);
            let word = self.arena.table().slot(slot).load();
            if word.generation() != generation || word.is(Phase::Free) {
                return seq + 1 == end && self.tail() <= seq;
            }
            if word.is_retired() {
                return false;
            }
            // It stands still as long as the task is not through.
            let names = descriptors.names(slot, bytes);
            fence(Acquire);
            names && self.is_open(seq)
        };
        (self.tail()..end).find(|&seq| names(seq))
    }

    /// Marks tasks cancelled; returns how many had not completed.
    pub(super) fn cancel_range(&self, tasks: Range<u64>) -> u64 {
        let tail = self.health.tail.load(Acquire);
        let (table, descriptors) = (self.arena.table(), self.arena.descriptors());
        // The newest first: nobody is through before those it waits for, so the count is exact.
        let marked = (tasks.start.max(tail)..tasks.end).rev().filter(|&seq| {
            let (slot, generation) = self.place(seq);
            // A fan-in node runs nothing, and tasks outside of the range may wait for it.
            !descriptors.route(slot).has(FAN_IN) && table.slot(slot).cancel(generation)
        });
        marked.count() as u64
    }

    /// Marks everything in the window cancelled, whoever submits.
    pub(super) fn cancel_window(&self) {
        let tail = self.health.tail.load(Acquire);
        // Places that nobody has taken yet serve another lap, and are left alone.
        self.cancel_range(tail..tail + self.arena.shape().ring.window as u64);
    }
}
