//! How a worker sleeps and is woken: one futex word for each worker (its parker) and one bit for
//! each worker in its pool (parked). The system calls are elsewhere; this is the order of the
//! steps.
//!
//! ```text
//! sleeper                                 waker
//!   parker := ASLEEP                        publish the work
//!   set my parked bit                       fence
//!   fence                                   any parked bit?  no: done (the usual case)
//!   look for work once more                 parker ASLEEP -> UNPARKED by exchange
//!   sleep while parker == ASLEEP            lost: another sleeper; won: wake the futex
//!   clear my bit, parker := AWAKE
//! ```
//!
//! Either the sleeper sees the work or the waker sees the bit: these two fences are the only
//! store-load pairs of the protocol. The waker's is on the path of every task, and there it would
//! wait until all stores of the submit have reached the other processor's cache. Where the system
//! can, it is therefore moved to the sleeper: `membarrier` makes every running thread of every
//! registered process pass a fence, 2 µs for the one who has nothing to do anyway. A bit is set and
//! cleared by its own worker alone (and by the supervisor once the worker is dead).

use super::bitmap::bits;
use super::parker::{ASLEEP, AWAKE, unpark};
use super::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release, SeqCst, fence};

/// The parked bits of one pool.
#[derive(Clone, Copy)]
pub struct Parked<'a> {
    words: &'a [AtomicU64],
    /// Sleepers fence for the wakers as well.
    asymmetric: bool,
}

impl<'a> Parked<'a> {
    /// One bit a worker of the executor.
    pub fn new(words: &'a [AtomicU64]) -> Self {
        Self { words, asymmetric: false }
    }

    /// The same where every sleeper calls `membarrier` between [`announce`](Self::announce) and
    /// its last look, and every process that wakes others is registered for it.
    pub fn asymmetric(words: &'a [AtomicU64], asymmetric: bool) -> Self {
        Self { words, asymmetric }
    }

    /// First half of going to sleep. The caller must look for work once more after it.
    pub fn announce(&self, worker: u16, parker: &AtomicU32) {
        parker.store(ASLEEP, Relaxed);
        self.words[usize::from(worker) / 64].fetch_or(1 << (worker % 64), SeqCst);
        fence(SeqCst);
    }

    /// Second half, after the sleep or instead of it.
    pub fn retract(&self, worker: u16, parker: &AtomicU32) {
        self.forget(worker);
        parker.store(AWAKE, Release);
    }

    /// Clears the bit of `worker`.
    pub fn forget(&self, worker: u16) {
        self.words[usize::from(worker) / 64].fetch_and(!(1 << (worker % 64)), AcqRel);
    }

    /// Whether anybody of the pool sleeps. The caller has published its work before.
    #[inline]
    pub fn anybody(&self) -> bool {
        if self.asymmetric {
            std::sync::atomic::compiler_fence(SeqCst);
        } else {
            fence(SeqCst);
        }
        let [first, others @ ..] = self.words else { return false };
        first.load(Relaxed) != 0 || (!others.is_empty() && Self::are_some(others))
    }

    /// The same in executors with very many workers.
    #[cold]
    #[inline(never)]
    fn are_some(words: &[AtomicU64]) -> bool {
        words.iter().any(|word| word.load(Relaxed) != 0)
    }

    /// Claims a sleeper by its parker; the caller wakes the futex of the one returned.
    pub fn claim<'d>(&self, parker: impl Fn(u16) -> &'d AtomicU32) -> Option<u16> {
        for (index, word) in self.words.iter().enumerate() {
            for bit in bits(word.load(Acquire)) {
                let worker = (index * 64) as u16 + bit as u16;
                if unpark(parker(worker)) {
                    return Some(worker);
                }
            }
        }
        None
    }
}
