//! Whether the host wants to be told that a worker has something for it.
//!
//! A completion is written into its cell and nobody is told: usually a thread of the host is
//! looking at the cell already. A thread that stops looking says so first.
//!
//! ```text
//! host, about to look away                worker
//!   want := THREAD or DRIVER_THREAD         write the completion, Done
//!   fence for both (membarrier)             (fence)
//!   look once more                          want?  NOBODY: done (the usual case)
//!   sleep                                   take it by exchange; who took it wakes
//! ```
//!
//! Either the host sees the completion or the worker sees the wish. As with parkers, the fence of
//! the one who works is moved to the one who has nothing to do, where the system can.

use super::sync::{AcqRel, AtomicU32, Relaxed, SeqCst, fence};

/// Nobody needs to be told: somebody looks, or nobody waits for anything.
pub(crate) const NOBODY: u32 = 0;
/// A thread of the host sleeps on the notifier.
pub(crate) const THREAD: u32 = 1;
/// The host's own thread is to look.
pub(crate) const DRIVER_THREAD: u32 = 2;

/// The word, and how it is fenced.
#[derive(Clone, Copy)]
pub(crate) struct Notifier<'a> {
    want: &'a AtomicU32,
    asymmetric: bool,
}

impl<'a> Notifier<'a> {
    /// `asymmetric`: the host calls `membarrier` between [`want`](Self::want) and its last look.
    pub(crate) fn new(want: &'a AtomicU32, asymmetric: bool) -> Self {
        Self { want, asymmetric }
    }

    /// Host: somebody is to be told from here on. The caller looks once more after it.
    pub(crate) fn want(&self, who: u32) {
        self.want.store(who, SeqCst);
        fence(SeqCst);
    }

    /// Host: nobody is to be told any more.
    #[inline]
    pub(crate) fn rest(&self) {
        self.want.store(NOBODY, Relaxed);
    }

    /// Host: who is to be told.
    #[inline]
    pub(crate) fn wanted(&self) -> u32 {
        self.want.load(Relaxed)
    }

    /// Worker, after it has published something: who is to be told.
    #[inline]
    pub(crate) fn asked(&self) -> u32 {
        if self.asymmetric {
            std::sync::atomic::compiler_fence(SeqCst);
        } else {
            fence(SeqCst);
        }
        self.want.load(Relaxed)
    }

    /// Worker: takes the duty to tell `who`. False when another has.
    pub(crate) fn take(&self, who: u32) -> bool {
        self.want.compare_exchange(who, NOBODY, AcqRel, Relaxed).is_ok()
    }
}
