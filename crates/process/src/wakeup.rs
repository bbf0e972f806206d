//! Events: how a thread is woken that sleeps on descriptors as well.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::descriptors::{self, Descriptor};
use crate::futex;
use crate::wait::RECHECK;

/// How often a thread checks for work when nothing can wake it, since the program has closed our
/// descriptors.
const DEAF: Duration = Duration::from_millis(20);

/// What wakes a supervising thread.
pub enum Wakeup {
    /// PROCESS mode: it sleeps on the ends of processes as well.
    Event(Descriptor),
    /// THREAD mode, without any descriptor.
    Word(AtomicU32),
}

impl Wakeup {
    /// For PROCESS mode.
    pub fn event() -> std::io::Result<Self> {
        descriptors::event().map(Self::Event)
    }

    /// For THREAD mode.
    pub fn word() -> Self {
        Self::Word(AtomicU32::new(0))
    }

    /// The event, which workers keep.
    pub fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Event(event) => Some(event.as_fd().as_raw_fd()),
            Self::Word(_) => None,
        }
    }

    /// Ends the sleep, or the next one.
    pub fn notify(&self) {
        match self {
            Self::Event(event) => notify(event),
            Self::Word(word) => {
                word.fetch_add(1, SeqCst);
                futex::wake(word, 1);
            }
        }
    }

    /// To be asked for before one looks: whoever notifies after it ends the sleep.
    pub fn seen(&self) -> u32 {
        match self {
            Self::Event(_) => 0, // the counter is in the event
            Self::Word(word) => word.load(SeqCst),
        }
    }

    /// Sleeps until it is notified, one of the others becomes readable, or `wake`; never for long,
    /// since the program may close our descriptors under us, and then nothing would end it.
    pub fn sleep<'a>(
        &'a self,
        seen: u32,
        others: impl Iterator<Item = &'a Descriptor>,
        wake: Option<Instant>,
    ) {
        let left = wake.map_or(RECHECK, |at| at.saturating_duration_since(Instant::now()));
        let left = left.min(RECHECK);
        match self {
            Self::Event(event) => {
                let mut fds = vec![PollFd::new(event.as_fd(), PollFlags::POLLIN)];
                fds.extend(others.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
                wait(&mut fds, left);
            }
            Self::Word(word) => futex::wait(word, seen, Some(left)),
        }
    }
}

/// Notifies an event.
pub fn notify(event: impl AsFd) {
    let one = 1u64;
    // SAFETY: eight bytes from a live local; a full counter is as good as a written one.
    unsafe { libc::write(event.as_fd().as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Waits until one of them is readable, at most for `longest`. The first is the event that one is
/// told by, which is read. Whether any of them has something.
pub fn wait(fds: &mut [PollFd<'_>], longest: Duration) -> bool {
    // Rounded up: waking early would turn the last millisecond into a spin.
    let longest = longest + Duration::from_micros(999);
    let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
    if poll(fds, timeout).unwrap_or(0) == 0 {
        return false;
    }
    let told = fds[0].revents().unwrap_or(PollFlags::empty());
    if told.contains(PollFlags::POLLIN) {
        let mut count = [0; 8];
        // SAFETY: borrowed by the caller's list for as long as this lasts.
        let event = unsafe { std::os::fd::BorrowedFd::borrow_raw(fds[0].as_fd().as_raw_fd()) };
        let _ = nix::unistd::read(event, &mut count);
    } else if !told.is_empty() {
        std::thread::sleep(DEAF.min(longest)); // closed: it would be reported again at once
    }
    true
}

/// Whether a descriptor has something to read, now.
pub fn is_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            Ok(ready) => return ready > 0,
            Err(_) => return false,
        }
    }
}
