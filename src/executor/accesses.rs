//! Whether a submit has to look for guards, and an access of the host for a submit (see `guards`).

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, compiler_fence, fence};

use mailring_process::membarrier;

/// Words of which host and submitter look at each other's.
pub(super) struct Accesses {
    /// Guards and other accesses of the host to buffers, and one more where a submit has to fence for
    /// itself.
    count: AtomicU64,
    /// Somebody has the orchestrator.
    submitting: AtomicBool,
    /// No worker is left.
    ended: AtomicBool,
}

impl Accesses {
    pub(super) fn new() -> Self {
        Self {
            count: AtomicU64::new(u64::from(!membarrier::register())),
            submitting: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// One begins. Whatever a submit has noted as used that does not see it, is seen here afterwards.
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, SeqCst);
        fence(SeqCst);
        if self.submitting.load(SeqCst) {
            membarrier::everywhere();
        }
    }

    /// The one that has begun goes on, as another one.
    pub(super) fn add(&self) {
        self.count.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.count.fetch_sub(1, Release);
    }

    /// Somebody takes the orchestrator: and sees what the one before has done, which a Condvar between
    /// them promises as well, but not to a checker of races.
    pub(super) fn begin_submits(&self) {
        self.submitting.swap(true, SeqCst);
        fence(SeqCst);
    }

    pub(super) fn end_submits(&self) {
        self.submitting.store(false, SeqCst);
    }

    /// Whether a submit, which has noted what it uses, has to look whether an access is in its way.
    #[inline]
    pub(super) fn are_some(&self) -> bool {
        compiler_fence(SeqCst);
        self.count.load(Acquire) != 0 && {
            fence(SeqCst);
            true
        }
    }

    /// All workers are through, and no task begins any more.
    pub(super) fn end_workers(&self) {
        self.ended.store(true, Release);
    }

    pub(super) fn have_workers_ended(&self) -> bool {
        self.ended.load(Acquire)
    }
}
