//! The atomics facade: the only place where the lock-free layers (`ring`, `mailbox`) get their
//! atomics from.
//!
//! The package `models` compiles the same source files against loom and shuttle by putting a
//! module of this name, with these names in it, beside them.

pub use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
pub use std::sync::atomic::{AtomicU32, AtomicU64, fence};

/// Asks the processor to fetch the line of `target`, for writing: no other processor has it then.
/// A hint only.
#[inline(always)]
pub fn prefetch_write<T>(target: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults and changes nothing that the program can see. Processors
    // without this instruction do nothing at its encoding.
    unsafe {
        // By hand: for a plain x86-64, the intrinsic is compiled to a fetch for *reading*, so that
        // the write that follows would still have to take the line away from others.
        std::arch::asm!(
            "prefetchw [{}]",
            in(reg) target,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
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
