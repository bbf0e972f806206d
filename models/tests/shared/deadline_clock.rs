//! Two workers whose bodies have deadlines, and a supervisor that sleeps by the clock; the steps of
//! `Watch::next_wake` and `Participant::call`.
//!
//! Time is a number: a sleep is what the supervisor has decided, and an end that lies before its
//! wake-up must have woken it.

use super::mailbox::alarm::{Alarm, NEVER};
use super::sync::{AtomicU32, AtomicU64, Relaxed, SeqCst, fence};

/// Steps that can be done wrong, to see that it is noticed.
#[allow(dead_code, reason = "the planted ones are looked for on loom only")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// All is done as it should be.
    None,
    /// Announces by one look and sleeps by the other.
    SleepsByTheSecond,
    /// Looks once, before it announces.
    LooksOnce,
}

/// The words of the supervisor and of two workers.
pub(crate) struct DeadlineClock {
    flaw: Flaw,
    announced: AtomicU64,
    ends: [AtomicU64; 2],
    woken: AtomicU32,
}

impl DeadlineClock {
    /// Worker 0 is inside a body that must end at `first`.
    pub(crate) fn new(flaw: Flaw, first: u64) -> Self {
        Self {
            flaw,
            announced: AtomicU64::new(1), // of the last sleep: past by now
            ends: [AtomicU64::new(first), AtomicU64::new(0)],
            woken: AtomicU32::new(0),
        }
    }

    fn earliest(&self) -> u64 {
        let ends = self.ends.iter().map(|end| end.load(SeqCst));
        ends.filter(|&end| end != 0).min().unwrap_or(NEVER)
    }

    /// Supervisor: until when it sleeps.
    pub(crate) fn lie_down(&self) -> u64 {
        match self.flaw {
            Flaw::None => Alarm::new(&self.announced).set(|| self.earliest()),
            Flaw::SleepsByTheSecond => {
                self.announced.store(self.earliest(), SeqCst);
                fence(SeqCst);
                self.earliest()
            }
            Flaw::LooksOnce => {
                let until = self.earliest();
                self.announced.store(until, SeqCst);
                until
            }
        }
    }

    /// Worker: its body is through.
    pub(crate) fn leave(&self, worker: usize) {
        self.ends[worker].store(0, SeqCst);
    }

    /// Worker: begins a body that must end at `end`.
    pub(crate) fn begin(&self, worker: usize, end: u64) {
        if Alarm::new(&self.announced).enter(&self.ends[worker], end) {
            self.woken.fetch_or(1, Relaxed);
        }
    }

    /// Whether a supervisor that sleeps until `until` misses an end that is still to come.
    pub(crate) fn misses(&self, until: u64) -> bool {
        self.earliest() < until && self.woken.load(Relaxed) == 0
    }
}
