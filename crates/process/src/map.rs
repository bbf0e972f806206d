//! Shared memory: a sealed memfd, mapped once before any fork.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::descriptors::above_standard;
use super::limits::check_file_length;

/// A mapping that every process forked later sees at the same address.
pub struct Mapping {
    map: MmapRaw,
    /// The number of its file, as `/proc/PID/maps` shows it.
    inode: u64,
}

/// A memfd of `len` bytes of zeros.
pub fn memory_file(name: &str, len: usize) -> io::Result<OwnedFd> {
    // The system takes 249 bytes.
    let name: String = name.replace('\0', " ").chars().take(60).collect();
    let name = std::ffi::CString::new(name)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = above_standard(memfd_create(name.as_c_str(), flags)?)?;
    check_file_length(len as u64)?;
    nix::unistd::ftruncate(&fd, i64::try_from(len).map_err(io::Error::other)?)?;
    Ok(fd)
}

/// The length of a file that can be mapped.
pub fn file_bytes(file: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(file)?.st_size.max(0) as u64)
}

/// Keeps a memfd from being made shorter. False when it is not a file that can be sealed.
pub fn seal_length(file: BorrowedFd<'_>) -> bool {
    let _ = fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK));
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
    seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_SHRINK))
}

/// Addresses without memory, set aside before the fork: what is mapped there later can lie at the
/// same place in every process.
pub struct Window {
    base: u64,
    len: u64,
}

impl Window {
    /// Sets `len` bytes aside; none at all where the system does not give them.
    pub fn new(len: usize) -> Self {
        let len = len / PAGE * PAGE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, at an address of the system's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if len == 0 || base == libc::MAP_FAILED {
            return Self { base: 0, len: 0 };
        }
        Self { base: base as u64, len: len as u64 }
    }

    /// Its addresses.
    pub fn bytes(&self) -> Range<u64> {
        self.base..self.base + self.len
    }

    /// Maps the beginning of a file at these addresses, for this process alone and not for its
    /// children.
    pub fn map(&self, at: &Range<u64>, file: BorrowedFd<'_>) -> io::Result<()> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        self.place(at, prot, libc::MAP_SHARED, file.as_raw_fd())?;
        keep_from_children(at)
    }

    /// Takes what is mapped at these addresses away.
    pub fn unmap(&self, at: &Range<u64>) {
        // A failure leaves the old mapping, which nobody names.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let _ = self.place(at, libc::PROT_NONE, flags, -1);
    }

    fn place(&self, at: &Range<u64>, prot: i32, flags: i32, fd: i32) -> io::Result<()> {
        let own = self.bytes();
        if at.start < own.start || at.end > own.end || at.is_empty() {
            return Err(io::Error::other("outside of the window for later memory"));
        }
        let (start, len) = parts(at);
        // SAFETY: inside the addresses that we set aside, so nothing else is replaced.
        let got = unsafe { libc::mmap(start, len, prot, flags | libc::MAP_FIXED, fd, 0) };
        if got == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.len > 0 {
            let (start, len) = parts(&self.bytes());
            // SAFETY: ours alone, and nobody has the addresses any more.
            unsafe { libc::munmap(start, len) };
        }
    }
}

fn parts(bytes: &Range<u64>) -> (*mut libc::c_void, usize) {
    let start = std::ptr::with_exposed_provenance_mut(bytes.start as usize);
    (start, (bytes.end - bytes.start) as usize)
}

/// Processes that are forked from here on get this part of a mapping of ours (whole pages).
pub fn lend_to_children(bytes: &Range<u64>) -> io::Result<()> {
    advise_at(bytes, libc::MADV_DOFORK)
}

/// They do not.
pub fn keep_from_children(bytes: &Range<u64>) -> io::Result<()> {
    advise_at(bytes, libc::MADV_DONTFORK)
}

/// Opens whole pages of a mapping of ours for reading and writing, or for reading only, in this
/// process. Writes to what can only be read end it, which is the purpose.
pub fn protect(bytes: &Range<u64>, writing: bool) -> io::Result<()> {
    let (start, len) = parts(bytes);
    let prot = if writing { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: the caller names pages of a shared mapping of ours; nothing is unmapped.
    let code = unsafe { libc::mprotect(start, len, prot) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn advise_at(bytes: &Range<u64>, advice: i32) -> io::Result<()> {
    let (start, len) = parts(bytes);
    // SAFETY: only called for mappings of ours, and what each advice does to the bytes is said
    // where it is given; what is not mapped is an error.
    let code = unsafe { libc::madvise(start, len, advice) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Words of zeros that this process shares with those that it forks later.
pub struct SharedWords {
    base: NonNull<AtomicU32>,
    count: usize,
}

// SAFETY: atomics, mapped for as long as this lives.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// So many words, all 0.
    pub fn new(count: usize) -> io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let len = count.max(1) * size_of::<AtomicU32>();
        // SAFETY: a new mapping, at an address of the system's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a successful mapping is not at address zero.
        Ok(Self { base: unsafe { NonNull::new_unchecked(base.cast()) }, count })
    }

    /// Word `index`, which exists.
    pub fn at(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.count, "word {index} of {}", self.count);
        // SAFETY: inside the mapping, aligned, and zeros are a value of it.
        unsafe { self.base.add(index).as_ref() }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let len = self.count.max(1) * size_of::<AtomicU32>();
        // SAFETY: ours, and nobody has the address any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), len) };
    }
}

/// A page that a child of this process finds empty: whoever asks whether this is still the process
/// that made it needs no system call.
pub struct OwnMark {
    word: Option<NonNull<u32>>,
    /// For systems that cannot wipe pages.
    pid: u32,
}

// SAFETY: the word is written once, before the mark is shared.
unsafe impl Send for OwnMark {}
// SAFETY: as above.
unsafe impl Sync for OwnMark {}

impl OwnMark {
    /// Marks this process as the owner.
    #[expect(clippy::new_without_default, reason = "it is the mark of one process")]
    pub fn new() -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the system's choice.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, prot, flags, -1, 0) };
        let pid = std::process::id();
        if page == libc::MAP_FAILED {
            return Self { word: None, pid };
        }
        let start = page as u64;
        if advise_at(&(start..start + PAGE as u64), libc::MADV_WIPEONFORK).is_err() {
            // SAFETY: ours, and nobody has the address.
            unsafe { libc::munmap(page, PAGE) };
            return Self { word: None, pid };
        }
        let word = page.cast::<u32>();
        // SAFETY: the page is ours alone, writable and aligned.
        unsafe { word.write(1) };
        Self { word: NonNull::new(word), pid }
    }

    /// Whether this is the process that made it.
    #[inline]
    pub fn is_own(&self) -> bool {
        match self.word {
            // SAFETY: mapped as long as the mark lives.
            Some(word) => unsafe { word.read_volatile() == 1 },
            None => std::process::id() == self.pid,
        }
    }
}

impl Drop for OwnMark {
    fn drop(&mut self) {
        if let Some(word) = self.word {
            // SAFETY: ours, and nobody else has the address.
            unsafe { libc::munmap(word.as_ptr().cast(), PAGE) };
        }
    }
}

/// The size of a page.
pub const PAGE: usize = 4096;

impl Mapping {
    /// Maps `len` bytes of zeros. Nothing is touched: pages come with their first use.
    ///
    /// The file is sealed against shrinking, so no process can take pages away under another,
    /// and its descriptor is closed: only the mapping keeps the memory.
    pub fn new(name: &str, len: usize) -> io::Result<Self> {
        let fd = memory_file(name, len)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        let map = MmapOptions::new().len(len).map_raw(&fd)?;
        let inode = nix::sys::stat::fstat(&fd)?.st_ino;
        Ok(Self { map, inode })
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        // SAFETY: a successful mapping is not at address zero.
        unsafe { NonNull::new_unchecked(self.map.as_mut_ptr()) }
    }

    /// The number of its file.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "a mapping has at least a page")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Makes the first `len` bytes read-only for this process.
    pub fn protect_front(&self, len: usize) -> io::Result<()> {
        // SAFETY: the range is inside our mapping. Writes to it from here on end the process,
        // which is the purpose.
        let code = unsafe { libc::mprotect(self.base().as_ptr().cast(), len, libc::PROT_READ) };
        if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Keeps the mapping from processes that this one forks from now on.
    pub fn not_for_children(&self) -> io::Result<()> {
        self.advise(0, self.len(), libc::MADV_DONTFORK)
    }

    /// Gives the pages of a range back; they read as zeros again.
    pub fn forget(&self, offset: usize, len: usize) {
        let from = offset.next_multiple_of(PAGE);
        let to = (offset + len) / PAGE * PAGE;
        if to > from {
            // A failure only means that the pages stay.
            let _ = self.advise(from, to - from, libc::MADV_REMOVE);
        }
    }

    /// Touches a range for writing, so that no page fault hits the first tasks.
    pub fn populate(&self, offset: usize, len: usize) {
        let from = offset / PAGE * PAGE;
        // A failure only means page faults later.
        let _ = self.advise(from, offset + len - from, libc::MADV_POPULATE_WRITE);
    }

    fn advise(&self, offset: usize, len: usize, advice: i32) -> io::Result<()> {
        let end = self.len().min(offset + len) as u64;
        let base = self.base().as_ptr() as u64;
        advise_at(&(base + offset as u64..base + end), advice)
    }
}
