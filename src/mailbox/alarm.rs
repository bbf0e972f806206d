//! When one who sleeps by the clock will look again, and who must wake it earlier: the supervisor
//! on one side, workers whose bodies have a deadline on the other.
//!
//! ```text
//! supervisor                              worker that begins a body
//!   announced := earliest end known         its end := now + deadline
//!   fence                                   fence
//!   look at all ends once more              end before what is announced? then wake it
//!   sleep until the earlier of both
//! ```
//!
//! Either the second look sees the new end, or the worker sees the announcement. What the worker
//! saw must then be true: the sleep may end earlier than was announced and never later, also when
//! the body that the announcement was made for is through by the second look. To sleep by the
//! second look alone would let an end behind the announcement pass unseen.

use super::sync::{AtomicU64, SeqCst, fence};

/// No end: the sleeper does not look by itself, and everybody wakes it.
pub const NEVER: u64 = u64::MAX;

/// The word that says when the sleeper looks anyway.
#[derive(Clone, Copy)]
pub struct Alarm<'a> {
    announced: &'a AtomicU64,
}

impl<'a> Alarm<'a> {
    /// Over the word of the sleeper.
    pub fn new(announced: &'a AtomicU64) -> Self {
        Self { announced }
    }

    /// Sleeper: announces a look, and says until when it may sleep. `earliest` looks at all ends;
    /// [`NEVER`] when there is none.
    pub fn set(&self, mut earliest: impl FnMut() -> u64) -> u64 {
        let announced = earliest();
        self.announced.store(announced, SeqCst);
        fence(SeqCst);
        announced.min(earliest())
    }

    /// Worker: enters its end. True when the sleeper would look too late by itself.
    #[must_use]
    pub fn enter(&self, own: &AtomicU64, end: u64) -> bool {
        own.store(end, SeqCst);
        fence(SeqCst);
        end < self.announced.load(SeqCst)
    }
}
