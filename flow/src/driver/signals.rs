//! Ctrl-C and TERM: the first cleans up and then ends the driver as the signal would have; a
//! second one ends it at once. A handler that the program installed itself stays.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::SeqCst;

use mailring_process::descriptors::Descriptor;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Flows whose driver threads are told; of any further one the fork server cleans up, without a
/// grace.
const DRIVER_THREADS: usize = 64;

/// The signal that came, if one did.
static CAME: AtomicI32 = AtomicI32::new(0);
/// Where driver threads are told, plus one; 0: a free place.
static TELL: [AtomicI32; DRIVER_THREADS] = [const { AtomicI32::new(0) }; DRIVER_THREADS];

const ENDING: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

extern "C" fn came(signal: i32) {
    let errno = nix::errno::Errno::last_raw();
    let driver_threads = || TELL.iter().map(|tell| tell.load(SeqCst) - 1).filter(|fd| *fd >= 0);
    if driver_threads().next().is_none() || CAME.swap(signal, SeqCst) != 0 {
        end(signal);
    }
    let one = 1u64;
    for fd in driver_threads() {
        // SAFETY: eight bytes of a live local; allowed in a handler.
        unsafe { libc::write(fd, (&raw const one).cast(), 8) };
    }
    nix::errno::Errno::set_raw(errno);
}

/// Ends this process as the signal does by default. Only calls what a handler may.
fn end(signal: i32) -> ! {
    // SAFETY: the default action is not a handler of ours, and all calls are allowed in a handler;
    // the set is a live local.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::signal(signal, libc::SIG_DFL);
        // Blocked while its handler runs, and perhaps by the program.
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
        // The first process of a PID namespace (of a container, say) has no default actions.
        libc::_exit(128 + signal)
    }
}

/// Installs the handlers where the program has none. The driver thread of this flow is told.
pub(super) fn install(driver_thread: &Descriptor) {
    let own = driver_thread.as_fd().as_raw_fd() + 1;
    let _ = TELL.iter().find(|tell| tell.compare_exchange(0, own, SeqCst, SeqCst).is_ok());
    let ours = SigAction::new(SigHandler::Handler(came), SaFlags::SA_RESTART, SigSet::empty());
    for signal in ENDING {
        // SAFETY: the handler only does what a handler may; what was there is put back if it
        // was not the default.
        unsafe {
            let Ok(before) = sigaction(signal, &ours) else { continue };
            let others = match before.handler() {
                SigHandler::SigDfl => false,
                SigHandler::Handler(handler) => {
                    !std::ptr::fn_addr_eq(handler, came as extern "C" fn(i32))
                }
                _ => true,
            };
            if others {
                let _ = sigaction(signal, &before);
            }
        }
    }
}

/// This driver thread is not there any more. True when it was the last.
pub(super) fn uninstall(driver_thread: &Descriptor) -> bool {
    let own = driver_thread.as_fd().as_raw_fd() + 1;
    let _ = TELL.iter().find(|tell| tell.compare_exchange(own, 0, SeqCst, SeqCst).is_ok());
    TELL.iter().all(|tell| tell.load(SeqCst) == 0)
}

/// The signal that came and was not acted upon.
pub(super) fn pending() -> Option<i32> {
    Some(CAME.load(SeqCst)).filter(|&signal| signal != 0)
}

/// This flow is clean: when the last one is, the signal has its effect.
pub(super) fn obey(driver_thread: &Descriptor, signal: i32) {
    if uninstall(driver_thread) {
        CAME.store(0, SeqCst);
        end(signal);
    }
}
