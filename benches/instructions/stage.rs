//! How work of one side is counted without the other side in between.
//!
//! The host submits while every worker stays in a task of its own, the gate; then the gate is opened
//! and the workers do what was submitted, while the host sleeps. So neither waits for the other while
//! instructions are counted, and the counts do not depend on who is faster.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::callgrind;

/// Batches of a row; the median counts.
pub(crate) const BATCHES: usize = 5;
/// Longer than a worker takes from the end of a body to the completion, under callgrind.
pub(crate) const SETTLED: Duration = Duration::from_millis(2);
const LOOK: Duration = Duration::from_micros(200);

/// Words that host and workers share.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    /// Workers that have come to the gate.
    come: &'static AtomicU64,
    /// How many of them may pass.
    open: &'static AtomicU64,
    /// Bodies that were run.
    ran: &'static AtomicU64,
}

impl Stage {
    /// Before the workers are forked.
    pub(crate) fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the kernel likes; it stays until the process ends.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: mapped for good, aligned and zeroed, used as atomics only.
        let words = unsafe { &*page.cast::<[AtomicU64; 3]>() };
        Ok(Self { come: &words[0], open: &words[1], ran: &words[2] })
    }

    /// The body of the gate. What its worker does from then on is counted.
    pub(crate) fn pass(self) {
        let number = self.come.fetch_add(1, SeqCst);
        wait_until(|| self.open.load(SeqCst) > number);
        callgrind::toggle();
    }

    /// The body of the last task of a batch.
    pub(crate) fn stop(self) {
        callgrind::toggle();
        callgrind::dump(c"worker");
    }

    /// A body that says that it was run.
    pub(crate) fn say(self) {
        self.ran.fetch_add(1, SeqCst);
    }

    /// Waits until so many bodies were run.
    pub(crate) fn await_ran(self, count: u64) {
        wait_until(|| self.ran.load(SeqCst) >= count);
        std::thread::sleep(SETTLED);
    }

    /// Waits until so many more workers stand at the gate.
    pub(crate) fn await_closed(self, workers: u64) {
        wait_until(|| self.come.load(SeqCst) >= self.open.load(SeqCst) + workers);
    }

    pub(crate) fn open(self, workers: u64) {
        self.open.fetch_add(workers, SeqCst);
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::sleep(LOOK);
    }
}

/// Counts what the host does in it.
#[inline(always)]
pub(crate) fn counted<R>(work: impl FnOnce() -> R) -> R {
    callgrind::toggle();
    let result = work();
    callgrind::toggle();
    result
}

/// The end of a batch of the host.
pub(crate) fn batch_done() {
    callgrind::dump(c"submitter");
}
