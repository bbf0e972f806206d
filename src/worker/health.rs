//! How an executor is: what the supervisor tells the rest of the host, and what it is told.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use mailring_process::wakeup::Wakeup;

use crate::segment::Arena;

/// What the supervisor tells the rest of the host, and what it is told.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failed: OnceLock<String>,
    pub(super) stopping: AtomicBool,
    /// Workers of each kind that live or will be replaced.
    pub(crate) live: [AtomicU32; 2],
    /// Workers that died.
    pub(crate) deaths: AtomicU64,
    /// Workers that replaced one that died.
    pub(crate) respawns: AtomicU64,
    /// Workers that we killed (deadlines, members of failed groups).
    pub(crate) kills: AtomicU64,
    /// The oldest task in the window.
    pub(crate) tail: AtomicU64,
    /// Somebody has waited for a task for long: is a worker stopped?
    worried: AtomicBool,
    /// Nanoseconds of the monotonic clock when the last death was seen.
    pub(crate) last_death_ns: AtomicU64,
}

impl Health {
    /// Why the executor cannot go on, if it cannot.
    #[inline]
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    pub(crate) fn fail(&self, why: String, arena: &Arena) {
        tracing::error!(why, "executor failed");
        let _ = self.failed.set(why);
        arena.notify_host();
    }

    /// The executor was dropped: whoever still waits is told.
    pub(crate) fn close(&self, arena: &Arena) {
        let _ = self.failed.set("it was dropped".to_owned());
        arena.notify_host();
    }

    /// Somebody has waited for long. The supervisor sees it when it looks next, which it does once
    /// a second in any case.
    pub(crate) fn worry(&self) {
        self.worried.store(true, SeqCst);
    }

    pub(super) fn take_worry(&self) -> bool {
        self.worried.swap(false, SeqCst)
    }

    pub(crate) fn stop(&self, wakeup: &Wakeup) {
        self.stopping.store(true, SeqCst);
        wakeup.notify();
    }
}
