//! Elements that several threads and processes may touch at the same time.
//!
//! Relaxed atomics: a race gives some value that was written, torn at worst where an element has no
//! size of its own, and is nobody's undefined behaviour. They cost what plain moves cost.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use bytemuck::Pod;

#[inline(always)]
fn is_aligned<T>(place: *mut T, align: usize) -> bool {
    align_of::<T>() >= align || (place as usize).is_multiple_of(align)
}

/// Reads an element, in one piece if its size is that of a machine word or a part of one.
///
/// # Safety
/// The element is mapped. Whoever else touches it meanwhile does so through this file, or in
/// another process.
#[inline(always)]
pub(crate) unsafe fn load<T: Pod>(place: *mut T) -> T {
    // SAFETY: mapped by the caller's promise, and aligned where the type asks for it.
    unsafe {
        match size_of::<T>() {
            8 if is_aligned(place, 8) => {
                cast(&AtomicU64::from_ptr(place.cast()).load(Relaxed).to_ne_bytes())
            }
            4 if is_aligned(place, 4) => {
                cast(&AtomicU32::from_ptr(place.cast()).load(Relaxed).to_ne_bytes())
            }
            2 if is_aligned(place, 2) => {
                cast(&AtomicU16::from_ptr(place.cast()).load(Relaxed).to_ne_bytes())
            }
            size => {
                let mut value = T::zeroed();
                let bytes = bytemuck::bytes_of_mut(&mut value);
                for (at, byte) in bytes.iter_mut().enumerate().take(size) {
                    *byte = AtomicU8::from_ptr(place.cast::<u8>().add(at)).load(Relaxed);
                }
                value
            }
        }
    }
}

#[inline(always)]
fn cast<T: Pod>(bytes: &[u8]) -> T {
    bytemuck::pod_read_unaligned(bytes)
}

/// Writes an element, in one piece where [`load`] reads it in one.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn store<T: Pod>(place: *mut T, value: T) {
    let bytes = bytemuck::bytes_of(&value);
    // SAFETY: as in `load`.
    unsafe {
        match size_of::<T>() {
            8 if is_aligned(place, 8) => {
                AtomicU64::from_ptr(place.cast()).store(cast(bytes), Relaxed);
            }
            4 if is_aligned(place, 4) => {
                AtomicU32::from_ptr(place.cast()).store(cast(bytes), Relaxed);
            }
            2 if is_aligned(place, 2) => {
                AtomicU16::from_ptr(place.cast()).store(cast(bytes), Relaxed);
            }
            _ => {
                for (at, &byte) in bytes.iter().enumerate() {
                    AtomicU8::from_ptr(place.cast::<u8>().add(at)).store(byte, Relaxed);
                }
            }
        }
    }
}
