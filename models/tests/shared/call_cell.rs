//! A host and one worker of a flow with a single cell between them: tasks, completions, the
//! notifier.

use super::mailbox::cell::{CellState, Phase, Take};
use super::mailbox::notifier::{DRIVER_THREAD, NOBODY, Notifier};
use super::sync::{AtomicU32, AtomicU64, Relaxed};

/// A wrong step that the protocol avoids.
#[allow(dead_code, reason = "the planted ones are looked for on loom only")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// The worker is done before it has written its completion.
    DoneFirst,
    /// The worker runs the body before it says so.
    StartLast,
    /// The host posts again what the worker may have taken.
    RecallWithoutAsking,
    /// The host looks away without a fence.
    NoFence,
}

/// The cell, what is written into it, and what bodies have done.
pub(crate) struct CallCell {
    flaw: Flaw,
    state: CellState,
    descriptor: AtomicU64,
    completion: AtomicU64,
    want: AtomicU32,
    /// Whether the worker has told the host.
    told: AtomicU32,
    /// One bit a task whose body has begun.
    ran: AtomicU64,
}

impl CallCell {
    pub(crate) fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            state: CellState::new(),
            descriptor: AtomicU64::new(0),
            completion: AtomicU64::new(0),
            want: AtomicU32::new(NOBODY),
            told: AtomicU32::new(0),
            ran: AtomicU64::new(0),
        }
    }

    fn notifier(&self) -> Notifier<'_> {
        Notifier::new(&self.want, false)
    }

    // ---- host -------------------------------------------------------------------------------

    pub(crate) fn post(&self, seq: u64) {
        self.descriptor.store(seq * 10, Relaxed);
        self.state.post(seq);
    }

    /// True when the task is the host's again.
    pub(crate) fn recall(&self, seq: u64) -> bool {
        self.state.recall(seq) || self.flaw == Flaw::RecallWithoutAsking
    }

    /// The completion, if it is there.
    pub(crate) fn look(&self, seq: u64) -> Option<u64> {
        (self.state.look(seq) == Some(Phase::Done)).then(|| self.completion.load(Relaxed))
    }

    /// Looks away, for somebody else to be told. The completion, if it came just before.
    pub(crate) fn look_away(&self, seq: u64) -> Option<u64> {
        if self.flaw == Flaw::NoFence {
            self.want.store(DRIVER_THREAD, Relaxed);
        } else {
            self.notifier().want(DRIVER_THREAD);
        }
        self.look(seq)
    }

    pub(crate) fn was_told(&self) -> bool {
        self.told.load(Relaxed) != 0
    }

    /// Where a task of a dead worker stands.
    pub(crate) fn phase(&self, seq: u64) -> Option<Phase> {
        self.state.look(seq)
    }

    pub(crate) fn ran(&self, seq: u64) -> bool {
        self.ran.load(Relaxed) & 1 << seq != 0
    }

    // ---- worker -----------------------------------------------------------------------------

    /// One look for task `seq`.
    pub(crate) fn serve(&self, seq: u64) -> Take {
        let take = self.state.take(seq);
        if take == Take::Taken {
            self.run(seq);
        }
        take
    }

    fn run(&self, seq: u64) {
        let descriptor = self.descriptor.load(Relaxed);
        assert_eq!(descriptor, seq * 10, "the task is what was posted");
        if self.flaw != Flaw::StartLast {
            self.state.start(seq);
        }
        self.ran.fetch_or(1 << seq, Relaxed);
        if self.flaw == Flaw::StartLast {
            self.state.start(seq);
        }
        if self.flaw == Flaw::DoneFirst {
            self.state.done(seq);
            self.completion.store(descriptor + 1, Relaxed);
        } else {
            self.completion.store(descriptor + 1, Relaxed);
            self.state.done(seq);
        }
        let notifier = self.notifier();
        let asked = notifier.asked();
        if asked != NOBODY && notifier.take(asked) {
            self.told.store(1, Relaxed);
        }
    }
}
