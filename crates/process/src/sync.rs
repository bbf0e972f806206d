//! The atomics facade: the only place where the lock-free layers (`ring`, `mailbox`) get their
//! atomics from.
//!
//! The package `models` compiles the same source files against loom and shuttle by putting a
//! module of this name, with these names in it, beside them.

pub use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
pub use std::sync::atomic::{AtomicU32, AtomicU64, fence};

/// Asks the processor to fetch the line of `target`, for writing. A hint only.
#[inline(always)]
pub fn prefetch_write<T>(target: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and reads nothing that the program can see.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(target.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}

/// Asks the processor to fetch the line of `target`, for reading. A hint only.
#[inline(always)]
pub fn prefetch_read<T>(target: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and reads nothing that the program can see.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(target.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}
