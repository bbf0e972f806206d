//! Which process of ours this is: what was built in one is not used in another.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// Another number in every process that we forked: what was built in one process is not used in
/// another.
static LINEAGE: AtomicU32 = AtomicU32::new(0);

/// The number of this process in that sense.
#[inline]
pub fn lineage() -> u32 {
    LINEAGE.load(Relaxed)
}

/// In a process that was forked just now.
pub fn enter(pid: u32) {
    LINEAGE.store(pid, Relaxed);
}
