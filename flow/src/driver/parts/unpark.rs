//! Waking a worker that sleeps.

use std::sync::atomic::Ordering::SeqCst;

use mailring_process::wait;

use crate::protocol::memory::Memory;

/// Wakes the worker at this place, if it sleeps. What it is woken for was written before.
#[inline]
pub(crate) fn unpark(memory: &Memory, place: u16) {
    let entry = memory.entry(place);
    if memory.asymmetric {
        std::sync::atomic::compiler_fence(SeqCst);
    } else {
        std::sync::atomic::fence(SeqCst);
    }
    wait::unpark(&entry.parker);
}
