//! Shared memory: a sealed memfd, mapped once before any fork.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A mapping that every process forked later sees at the same address.
pub(crate) struct Mapping {
    map: MmapRaw,
}

/// Processes that are forked from here on get this part of a mapping of ours (whole pages).
pub(crate) fn lend_to_children(bytes: std::ops::Range<u64>) -> io::Result<()> {
    let start = std::ptr::without_provenance_mut::<libc::c_void>(bytes.start as usize);
    let len = (bytes.end - bytes.start) as usize;
    // SAFETY: changes nothing about the bytes; a range that is not mapped is an error.
    let code = unsafe { libc::madvise(start, len, libc::MADV_DOFORK) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The size of a page.
pub(crate) const PAGE: usize = 4096;

impl Mapping {
    /// Maps `len` bytes of zeros. Nothing is touched: pages come with their first use.
    ///
    /// The file is sealed against shrinking, so no process can take pages away under another,
    /// and its descriptor is closed: only the mapping keeps the memory.
    pub(crate) fn new(name: &str, len: usize) -> io::Result<Self> {
        let name = std::ffi::CString::new(name.replace('\0', " "))?;
        let fd: OwnedFd =
            memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&fd, len as i64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        let map = MmapOptions::new().len(len).map_raw(&fd)?;
        Ok(Self { map })
    }

    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        // SAFETY: a successful mapping is not at address zero.
        unsafe { NonNull::new_unchecked(self.map.as_mut_ptr()) }
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Makes the first `len` bytes read-only for this process.
    pub(crate) fn protect_front(&self, len: usize) -> io::Result<()> {
        // SAFETY: the range is inside our mapping. Writes to it from here on end the process,
        // which is the purpose.
        let code = unsafe { libc::mprotect(self.base().as_ptr().cast(), len, libc::PROT_READ) };
        if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Keeps the mapping from processes that this one forks from now on.
    pub(crate) fn not_for_children(&self) -> io::Result<()> {
        self.advise(0, self.len(), libc::MADV_DONTFORK)
    }

    /// Gives the pages of a range back; they read as zeros again.
    pub(crate) fn forget(&self, offset: usize, len: usize) {
        let from = offset.next_multiple_of(PAGE);
        let to = (offset + len) / PAGE * PAGE;
        if to > from {
            // A failure only means that the pages stay.
            let _ = self.advise(from, to - from, libc::MADV_REMOVE);
        }
    }

    /// Touches a range for writing, so that no page fault hits the first tasks.
    pub(crate) fn populate(&self, offset: usize, len: usize) {
        let from = offset / PAGE * PAGE;
        // A failure only means page faults later.
        let _ = self.advise(from, offset + len - from, libc::MADV_POPULATE_WRITE);
    }

    fn advise(&self, offset: usize, len: usize, advice: i32) -> io::Result<()> {
        let len = len.min(self.len() - offset);
        // SAFETY: the range is inside our mapping; what each advice does to the bytes is said
        // where it is given.
        let code = unsafe { libc::madvise(self.base().as_ptr().add(offset).cast(), len, advice) };
        if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
