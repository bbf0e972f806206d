//! The memory of all: slots, edges and queues.
//!
//! ```text
//! state word    generation 30 | first edge + 1 22 | owner 8 | phase 4
//! fan-in word   guard | a bit for each producer that is not through
//! queue entry   lap + 1 32 | slot 32
//! ```

use std::io;
use std::ops::Deref;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Tasks in flight: the part of the arena that is in use stays in a cache.
pub(crate) const WINDOW: usize = 1 << 12;
const LAP_SHIFT: u32 = WINDOW.trailing_zeros();
pub(crate) const EDGES: usize = 4 * WINDOW;
pub(crate) const MOST_WORKERS: usize = 16;
/// Tensors whose descriptors a slot has room for.
pub(crate) const TENSORS: usize = 2;

pub(crate) const PHASE: u64 = 0xf;
pub(crate) const PENDING: u64 = 2;
pub(crate) const READY: u64 = 3;
pub(crate) const RUNNING: u64 = 4;
/// Through, its consumers not yet released.
pub(crate) const DONE: u64 = 5;
/// Its consumers are released: the slot may be used again.
pub(crate) const RETIRED: u64 = 6;
pub(crate) const OWNER: u64 = 0xff << OWNER_SHIFT;
pub(crate) const OWNER_SHIFT: u32 = 4;
pub(crate) const HEAD: u64 = ((1 << 22) - 1) << HEAD_SHIFT;
pub(crate) const HEAD_SHIFT: u32 = 12;
pub(crate) const GENERATION_SHIFT: u32 = 34;
pub(crate) const GUARD: u64 = 1 << 63;

/// What workers are to do.
pub(crate) const WORK: u32 = 0;
pub(crate) const SLEEP: u32 = 1;
pub(crate) const END: u32 = 2;

/// Two lines, since processors fetch lines in pairs.
#[repr(C, align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

#[repr(C, align(128))]
pub(crate) struct Slot {
    pub(crate) state: AtomicU64,
    pub(crate) fan_in: AtomicU64,
    pub(crate) callable: AtomicU64,
    pub(crate) scalar: AtomicU64,
    /// Address, elements, size of an element, shape.
    pub(crate) tensors: [[AtomicU64; 4]; TENSORS],
}

#[repr(C)]
pub(crate) struct Edge {
    /// The consumer's slot, and which bit of its fan-in word stands for the producer.
    pub(crate) to: AtomicU64,
    pub(crate) next: AtomicU64,
}

/// Slots that are ready, or were: whoever leases one runs it.
#[repr(C)]
pub(crate) struct Queue {
    head: Apart<AtomicU64>,
    entries: Apart<[AtomicU64; WINDOW]>,
}

impl Queue {
    /// By the only writer of the queue.
    #[inline(always)]
    pub(crate) fn push(&self, at: u64, slot: usize) {
        self.entry(at).store(((at >> LAP_SHIFT) + 1) << 32 | slot as u64, Release);
    }

    #[inline(always)]
    fn entry(&self, at: u64) -> &AtomicU64 {
        &self.entries.0[at as usize % WINDOW]
    }

    /// Reads the entry at the head, leases its slot, and only then moves the head.
    #[inline(always)]
    pub(crate) fn take(&self, slots: &[Slot; WINDOW], owner: u64) -> Option<usize> {
        loop {
            let at = self.head.0.load(Acquire);
            let entry = self.entry(at).load(Acquire);
            if entry >> 32 != (at >> LAP_SHIFT) + 1 {
                return None;
            }
            let ahead = self.entry(at + 2).load(Relaxed) as u32 as usize;
            prefetch(&slots[ahead % WINDOW]);
            let slot = entry as u32 as usize % WINDOW;
            let mine = slots[slot].lease(owner);
            let _ = self.head.0.compare_exchange(at, at + 1, AcqRel, Relaxed);
            if mine {
                return Some(slot);
            }
        }
    }
}

impl Slot {
    /// A failed exchange is tried again: an edge may have come into the same word.
    #[inline(always)]
    fn lease(&self, owner: u64) -> bool {
        self.exchange(READY, RUNNING | owner << OWNER_SHIFT).is_some()
    }

    /// From one phase to another, which may come with an owner; the word before.
    #[inline(always)]
    pub(crate) fn exchange(&self, from: u64, to: u64) -> Option<u64> {
        let mut word = self.state.load(Acquire);
        while word & PHASE == from {
            let new = (word & !(PHASE | OWNER)) | to;
            match self.state.compare_exchange(word, new, AcqRel, Acquire) {
                Ok(before) => return Some(before),
                Err(now) => word = now,
            }
        }
        None
    }
}

#[repr(C)]
pub(crate) struct Arena {
    /// Of [`WORK`] and its like; workers sleep on it.
    pub(crate) order: Apart<AtomicU32>,
    pub(crate) submitted: Queue,
    pub(crate) released: [Queue; MOST_WORKERS],
    pub(crate) slots: [Slot; WINDOW],
    pub(crate) edges: [Edge; EDGES],
}

/// Shared with the children that are forked later.
pub(crate) struct Mapping(*mut libc::c_void);

impl Mapping {
    pub(crate) fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let (anywhere, bytes) = (std::ptr::null_mut(), size_of::<Arena>());
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(anywhere, bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = Self(at);
        for slot in &mapping.slots {
            slot.state.store(RETIRED, Relaxed);
        }
        Ok(mapping)
    }
}

impl Deref for Mapping {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        // SAFETY: mapped, aligned to a page and zeroed; zeros are a value of it, all of it is
        // atomic, and it is mapped while `self` lives.
        unsafe { &*self.0.cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our mapping; no reference to it outlives `self`.
        unsafe { libc::munmap(self.0, size_of::<Arena>()) };
    }
}

#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which is allowed for any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// A line that is about to be written.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which is allowed for any address.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
