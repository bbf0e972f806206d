//! Ends the fork server with its host while it cannot look for itself.
//!
//! It tries locks that another thread of the host may have held at the fork (`start`). One that is
//! never opened holds it there until the host kills it, and for ever once the host has died. So a
//! timer interrupts it, and the handler, which takes no lock, looks whether the host is alive.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signal::{sigaction, sigprocmask};
use nix::unistd::Pid;

use crate::process;

/// How often it looks.
const EACH: Duration = Duration::from_millis(50);

/// The pidfd of the host, -1 where there are none.
static HOST: AtomicI32 = AtomicI32::new(-1);
static HOST_PID: AtomicI32 = AtomicI32::new(0);

/// The timer, which stops when this is dropped.
pub(super) struct HostWatch(());

impl HostWatch {
    /// In the fork server, before it takes any lock. Its host has this number, and this pidfd.
    pub(super) fn start(pid: Pid, pidfd: Option<&OwnedFd>) -> Self {
        HOST.store(pidfd.map_or(-1, AsRawFd::as_raw_fd), Relaxed);
        HOST_PID.store(pid.as_raw(), Relaxed);
        let look = SigAction::new(SigHandler::Handler(look), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler makes system calls only and leaves `errno` as it was.
        let _ = unsafe { sigaction(Signal::SIGALRM, &look) };
        let alarm = SigSet::from(Signal::SIGALRM);
        let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&alarm), None);
        set_timer(EACH);
        Self(())
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        set_timer(Duration::ZERO); // the handler stays until all signals are reset
    }
}

/// The first time and then each time after so long; never for zero.
fn set_timer(each: Duration) {
    let each = libc::timeval { tv_sec: 0, tv_usec: each.as_micros() as libc::suseconds_t };
    let timer = libc::itimerval { it_interval: each, it_value: each };
    // SAFETY: reads one live local.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

extern "C" fn look(_: i32) {
    let errno = Errno::last_raw();
    let pidfd = HOST.load(Relaxed);
    let is_dead = if pidfd >= 0 {
        let mut fd = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one live local.
        unsafe { libc::poll(&raw mut fd, 1, 0) > 0 }
    } else {
        // SAFETY: signal 0 only asks.
        unsafe { libc::kill(HOST_PID.load(Relaxed), 0) != 0 }
    };
    if is_dead {
        process::exit_now(0);
    }
    Errno::set_raw(errno);
}
