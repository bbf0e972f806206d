//! Descriptors of the host that no process which it forks for another executor is to keep: they
//! would hold memory, and the ends of sockets, beyond the life of the executor they belong to.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::SeqCst;

/// How many are kept track of; further ones go to those processes as well, which costs memory.
const PLACES: usize = 4096;

/// No lock, since another thread may hold it when a process is forked. 0: free (no descriptor of
/// ours has that number).
static PRIVATE: [AtomicI32; PLACES] = [const { AtomicI32::new(0) }; PLACES];

fn exchange(old: i32, new: i32) {
    let _ = PRIVATE.iter().find(|place| place.compare_exchange(old, new, SeqCst, SeqCst).is_ok());
}

/// Such a descriptor.
#[derive(Debug)]
pub(crate) struct Private(OwnedFd);

impl From<OwnedFd> for Private {
    fn from(fd: OwnedFd) -> Self {
        exchange(0, fd.as_raw_fd());
        Self(fd)
    }
}

impl AsFd for Private {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Before it is closed: its number may be another's right after.
        exchange(self.0.as_raw_fd(), 0);
    }
}

/// In a process that was forked just now, and ends without running destructors of what it has
/// inherited: closes them all.
pub(crate) fn close_private() {
    for place in &PRIVATE {
        let fd = place.swap(0, SeqCst);
        if fd != 0 {
            // SAFETY: a copy that came with the fork; nothing in this process uses it.
            unsafe { libc::close(fd) };
        }
    }
}
