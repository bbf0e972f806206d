//! Two workers with parkers, a ready queue and a ready set; the steps of `Participant::park` and
//! `Publisher::suggest`.

use std::ops::Range;

use super::mailbox::bitmap::Bitmap;
use super::mailbox::parked::Parked;
use super::mailbox::parker::{ASLEEP, AWAKE, UNPARKED};
use super::mailbox::ready_queue::ReadyQueue;
use super::ring::slot::{NO_FAILED_ROOT, Slot};
use super::ring::table::{Edge, Found, Table, examine};
use super::ring::word::{Phase, SUBMITTER, SUPERVISOR};
use super::sync::{AcqRel, AtomicU32, AtomicU64, Relaxed, SeqCst};

const WORKERS: u16 = 2;

/// Steps that can be left out, to see that they are missed.
#[allow(dead_code, reason = "the planted ones are looked for on loom only")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// All is done as it should be.
    None,
    /// Whoever takes from the set does not look whether anything is left in it.
    CleanerRingsNobody,
    /// No fence between the announcement and the last look.
    NoFence,
    /// Recovery does not ring.
    RecoveryWakesNobody,
}

/// Everything that a sleeper looks at.
pub(crate) struct Sleepers {
    flaw: Flaw,
    slots: Vec<Slot>,
    head: AtomicU64,
    tail: AtomicU64,
    entries: Vec<AtomicU64>,
    summary: AtomicU64,
    leaves: Vec<AtomicU64>,
    parked: Vec<AtomicU64>,
    parkers: Vec<AtomicU32>,
}

impl Sleepers {
    pub(crate) fn new(flaw: Flaw) -> Self {
        let words = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Self {
            flaw,
            slots: vec![Slot::new(), Slot::new()],
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            entries: words(2),
            summary: AtomicU64::new(0),
            leaves: words(1),
            parked: words(1),
            parkers: (0..WORKERS).map(|_| AtomicU32::new(AWAKE)).collect(),
        }
    }

    fn ring(&self) -> ReadyQueue<'_> {
        ReadyQueue::new(&self.head, &self.tail, &self.entries)
    }

    fn bits(&self) -> Bitmap<'_> {
        Bitmap::new(&self.summary, &self.leaves)
    }

    fn parked(&self) -> Parked<'_> {
        Parked::new(&self.parked)
    }

    fn parker(&self, worker: u16) -> &AtomicU32 {
        &self.parkers[usize::from(worker)]
    }

    fn is_ready(&self, slot: u32) -> bool {
        self.slots[slot as usize].load().is(Phase::Ready)
    }

    // ---- those who ring ---------------------------------------------------------------------

    /// A task by its queue entry.
    pub(crate) fn push(&self, slot: u32) {
        self.slots[slot as usize].publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        assert!(self.ring().push(&mut self.ring().writer(), slot));
        self.wake_one();
    }

    /// A task by its bit.
    pub(crate) fn set(&self, slot: u32) {
        self.slots[slot as usize].publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        self.bits().set(slot);
        self.wake_one();
    }

    /// The futex is left out: a parker that is unparked is a worker that wakes.
    fn wake_one(&self) {
        if self.parked().anybody() {
            let _ = self.parked().claim(|worker| self.parker(worker));
        }
    }

    // ---- those who sleep ----------------------------------------------------------------------

    /// Runs all it can see, then goes to bed; ends asleep or with nothing to be seen.
    pub(crate) fn look_or_sleep(&self, me: u16) {
        for _ in 0..3 {
            while self.serve(me) {}
            if self.flaw == Flaw::NoFence {
                self.parker(me).store(ASLEEP, Relaxed);
                self.parked[0].fetch_or(1 << me, SeqCst);
            } else {
                self.parked().announce(me, self.parker(me));
            }
            if !self.anything_visible() {
                return;
            }
            self.parked().retract(me, self.parker(me));
        }
    }

    fn anything_visible(&self) -> bool {
        self.bits().has_some() || self.ring().has_some()
    }

    /// Takes one task, if there is any.
    pub(crate) fn serve(&self, me: u16) -> bool {
        let by_bit = || {
            self.bits().find(|slot| {
                let word = self.slots[slot as usize].take(me);
                if word.is_some() || !self.is_ready(slot) {
                    self.bits().remove(slot, || self.is_ready(slot));
                }
                word.map(|word| (slot, word))
            })
        };
        let by_entry = || {
            let lease = |slot: u32| Some((slot, self.slots[slot as usize].take(me)?));
            self.ring().take(lease, |_| {})
        };
        let Some((slot, word)) = by_bit().or_else(by_entry) else { return false };
        if self.flaw != Flaw::CleanerRingsNobody && self.bits().has_some() {
            // What was hidden for a moment while it was tidied may have sent somebody to sleep.
            self.wake_one();
        }
        let _ = self.slots[slot as usize].complete(word, me, true);
        true
    }

    // ---- the supervisor -------------------------------------------------------------------------

    /// What `Recovery::pass` does here. The dead one's number is given to another worker, which
    /// is awake.
    pub(crate) fn recover(&self, dead: Option<u16>) {
        let edges = [Edge::new()];
        let table = Table::new(&self.slots, &edges);
        for slot in 0..self.slots.len() as u32 {
            match examine(&table, slot, dead.unwrap_or(SUBMITTER), SUPERVISOR) {
                Found::Ready(_) => self.again(slot),
                Found::Leased(word)
                    if self.slots[slot as usize].revoke(word, Phase::Ready).is_some() =>
                {
                    self.again(slot);
                }
                _ => {}
            }
        }
        self.bits().repair();
        if let Some(dead) = dead {
            self.parked().forget(dead);
            self.parker(dead).fetch_and(AWAKE, AcqRel);
        }
        if self.flaw != Flaw::RecoveryWakesNobody && self.parked().anybody() {
            while self.parked().claim(|worker| self.parker(worker)).is_some() {}
        }
    }

    fn again(&self, slot: u32) {
        self.bits().set(slot);
        if self.flaw != Flaw::RecoveryWakesNobody {
            self.wake_one();
        }
    }

    // ---- the end --------------------------------------------------------------------------------

    /// With these workers: whoever was woken looks again; after that nothing is ready, or nobody
    /// sleeps.
    pub(crate) fn nobody_sleeps_through(&self, workers: Range<u16>) {
        let parker = |worker: u16| self.parker(worker).fetch_or(0, AcqRel);
        while let Some(woken) = workers.clone().find(|&worker| parker(worker) == UNPARKED) {
            self.parked().forget(woken);
            self.parker(woken).fetch_and(AWAKE, Relaxed);
            self.look_or_sleep(woken);
        }
        let waiting = (0..self.slots.len() as u32).any(|slot| self.is_ready(slot));
        let asleep = workers.clone().any(|worker| parker(worker) == ASLEEP);
        assert!(!(waiting && asleep), "somebody sleeps and there is work");
    }
}
