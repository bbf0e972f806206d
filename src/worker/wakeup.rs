//! How the supervisor is woken.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::participant::RECHECK;
use crate::sys::descriptors::{self, Descriptor};
use crate::sys::futex;

/// How often one looks who cannot be told, since the program has closed our descriptors.
const DEAF: Duration = Duration::from_millis(20);

/// What wakes the supervisor.
pub(crate) enum Wakeup {
    /// PROCESS mode: it sleeps on the ends of processes as well.
    Event(Descriptor),
    /// THREAD mode, without any descriptor.
    Word(AtomicU32),
}

impl Wakeup {
    pub(crate) fn event() -> std::io::Result<Self> {
        descriptors::event().map(Self::Event)
    }

    pub(crate) fn word() -> Self {
        Self::Word(AtomicU32::new(0))
    }

    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Event(event) => Some(event.as_fd().as_raw_fd()),
            Self::Word(_) => None,
        }
    }

    pub(crate) fn notify(&self) {
        match self {
            Self::Event(event) => notify(event),
            Self::Word(word) => {
                word.fetch_add(1, SeqCst);
                futex::wake(word, 1);
            }
        }
    }

    /// To be asked for before one looks: whoever notifies after it ends the sleep.
    pub(crate) fn seen(&self) -> u32 {
        match self {
            Self::Event(_) => 0, // the counter is in the event
            Self::Word(word) => word.load(SeqCst),
        }
    }

    /// Sleeps until it is notified, one of the others becomes readable, or `wake`; never for long,
    /// since the program may close our descriptors under us, and then nothing would end it.
    pub(crate) fn sleep<'a>(
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
pub(crate) fn notify(event: impl AsFd) {
    let one = 1u64;
    // SAFETY: eight bytes from a live local; a full counter is as good as a written one.
    unsafe { libc::write(event.as_fd().as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Waits until one of them is readable, at most for `longest`. The first is the event that one is
/// told by, which is read. Whether any of them has something.
pub(crate) fn wait(fds: &mut [PollFd<'_>], longest: Duration) -> bool {
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
