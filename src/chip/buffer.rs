//! The memory that a host runtime works in.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::ptr::NonNull;

/// What the address of a runtime buffer is a multiple of.
const ALIGN: usize = 64;

/// Aligned bytes that begin as zeros for every call.
pub(super) struct RuntimeBuffer {
    first: NonNull<u8>,
    layout: Layout,
    used: bool,
}

impl RuntimeBuffer {
    /// `None` for an invalid size, or without memory for it.
    pub(super) fn new(size: usize) -> Option<Self> {
        let layout =
            Layout::from_size_align(size, ALIGN).ok().filter(|layout| layout.size() > 0)?;
        // SAFETY: the size is not zero.
        let first = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { first, layout, used: false })
    }

    /// The buffer for one call, all zeros.
    pub(super) fn zeroed(&mut self) -> *mut c_void {
        if std::mem::replace(&mut self.used, true) {
            // SAFETY: these bytes are ours, and the call before this one has returned.
            unsafe { self.first.as_ptr().write_bytes(0, self.layout.size()) };
        }
        self.first.as_ptr().cast()
    }
}

impl Drop for RuntimeBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.first.as_ptr(), self.layout) };
    }
}
