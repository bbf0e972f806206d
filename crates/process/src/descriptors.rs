//! Which descriptors we use, and which ones a process that we fork keeps.
//!
//! Ours are numbered 3 and above, also where the host has closed some of 0 to 2: whatever prints
//! there would write into our sockets. A process that we fork holds what it was given and nothing
//! else, so that a listening socket or a pipe of the host ends when the host closes it.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;

/// The first number that is not a standard stream.
const FIRST: RawFd = 3;
/// Where the system tells neither the open descriptors nor a limit, how far they are looked for.
const FAR: u64 = 1 << 16;

/// Ours begin here: in a fork server and its workers above all that the host had. Whoever uses the
/// number of a descriptor that was closed there must not find one of ours.
static FLOOR: AtomicI32 = AtomicI32::new(FIRST);

/// The same descriptor at a number above the standard streams.
pub fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    let floor = FLOOR.load(Relaxed);
    if fd.as_raw_fd() >= floor {
        return Ok(fd);
    }
    let moved = match fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(floor)) {
        // The limit may be lower than what the host once had.
        Err(_) if fd.as_raw_fd() >= FIRST => return Ok(fd),
        Err(_) => fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST))?,
        Ok(moved) => moved,
    };
    // SAFETY: the system has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// A descriptor of ours, closed with it; unless the program has closed it already (`closefrom`, a
/// loop over all numbers): then nothing is closed, since the number may be another's by now.
#[derive(Debug)]
pub struct Descriptor {
    fd: ManuallyDrop<OwnedFd>,
    /// Device and file number.
    is: (u64, u64),
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        let is = identity(&fd);
        Self { fd: ManuallyDrop::new(fd), is }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let fd = self.fd.as_raw_fd();
        if is_open(fd) && identity(self.as_fd()) == self.is {
            // SAFETY: ours, and not used again. (The library's own type would end the process if
            // somebody closes it between the look and this.)
            unsafe { libc::close(fd) };
        }
    }
}

fn identity(fd: impl AsFd) -> (u64, u64) {
    nix::sys::stat::fstat(fd).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino))
}

/// A pair of connected sockets for datagrams.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (one, other) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    Ok((above_standard(one)?, above_standard(other)?))
}

/// A pipe: its reading and its writing end.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((above_standard(read)?, above_standard(write)?))
}

/// An eventfd that nobody waits in.
pub fn event() -> io::Result<Descriptor> {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    above_standard(event.into()).map(Descriptor::from)
}

/// Whether the process has such a descriptor.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: passes no pointers, and changes nothing.
    fd >= 0 && unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0
}

/// In a process that was forked just now and has one thread: standard input is empty, and where
/// the host has closed its output or its error, what is written there vanishes.
pub fn settle_standard() {
    let mode = Mode::empty();
    // Where there is no /dev, the end of a pipe that nobody writes.
    let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR, mode)
        .or_else(|_| nix::unistd::pipe().map(|(read, _)| read));
    let Ok(null) = null else { return };
    for standard in 0..FIRST {
        if null.as_raw_fd() != standard && (standard == 0 || !is_open(standard)) {
            // SAFETY: passes no pointers. Whatever had the number is the host's, which has its own.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
    if null.as_raw_fd() < FIRST {
        std::mem::forget(null); // it is in its place
    }
}

/// In a process that was forked just now, before anything is closed: descriptors of
/// ours begin above all that are open now.
pub fn stay_above_host() {
    let highest = listed().into_iter().flatten().max();
    FLOOR.store(highest.map_or(FIRST, |fd| fd.saturating_add(1).max(FIRST)), Relaxed);
}

/// The numbers of all descriptors, also of the one by which they are listed, which is closed.
fn listed() -> Option<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    Some(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// In a process that was forked just now, has one thread, and ends without running destructors of
/// what it has inherited: closes all descriptors but the standard streams and these.
pub fn keep_only(kept: &[RawFd]) {
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|&fd| fd >= FIRST).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = FIRST;
    for &fd in &kept {
        if fd > first && !close_range(first, fd - 1) {
            return close_one_by_one(&kept);
        }
        first = fd + 1;
    }
    if !close_range(first, RawFd::MAX) {
        close_one_by_one(&kept);
    }
}

/// False where the system has no such call, or refuses it.
fn close_range(first: RawFd, last: RawFd) -> bool {
    // SAFETY: passes no pointers; what is closed is a copy that came with the fork, and nothing in
    // this process uses it.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

fn close_one_by_one(kept: &[RawFd]) {
    let open = listed().unwrap_or_else(|| {
        let most = super::limits::soft(libc::RLIMIT_NOFILE).unwrap_or(FAR);
        (FIRST..most.min(FAR) as RawFd).collect()
    });
    for fd in open {
        if fd >= FIRST && kept.binary_search(&fd).is_err() {
            // SAFETY: as in `close_range`. The directory that was listed is closed already.
            unsafe { libc::close(fd) };
        }
    }
}
