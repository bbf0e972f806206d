//! How one sleeps and is woken: a futex word. The system calls are in [`futex`](crate::futex); this
//! is the order of the steps.
//!
//! ```text
//! sleeper                                 waker
//!   parker := ASLEEP                        publish the work
//!   fence                                   fence
//!   look for work once more                 parker ASLEEP -> UNPARKED by exchange
//!   sleep while parker == ASLEEP            lost: another waker; won: wake the futex
//!   parker := AWAKE
//! ```

use super::sync::{AcqRel, AtomicU32, Relaxed};

/// The worker is at work, or looking for it.
pub const AWAKE: u32 = 0;
/// The worker sleeps, or is about to.
pub const ASLEEP: u32 = 1;
/// Somebody has claimed the right to wake it.
pub const UNPARKED: u32 = 2;

/// Unparks one worker: true for the one who must wake its futex.
#[inline]
pub fn unpark(parker: &AtomicU32) -> bool {
    parker.compare_exchange(ASLEEP, UNPARKED, AcqRel, Relaxed).is_ok()
}
