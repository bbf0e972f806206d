//! Ctrl-C and TERM: the first cleans up and then ends the driver as the signal would have; a
//! second one ends it at once. A handler that the program installed itself stays.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The signal that came, if one did.
static CAME: AtomicI32 = AtomicI32::new(0);
/// Where the keeper is told; -1: nobody is there to clean up.
static TELL: AtomicI32 = AtomicI32::new(-1);

const ENDING: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

extern "C" fn came(signal: i32) {
    let tell = TELL.load(SeqCst);
    if tell < 0 || CAME.swap(signal, SeqCst) != 0 {
        end(signal);
        return;
    }
    let one = 1u64;
    // SAFETY: eight bytes of a live local; allowed in a handler.
    unsafe { libc::write(tell, (&raw const one).cast(), 8) };
}

/// Ends this process as the signal does by default. Only calls what a handler may.
fn end(signal: i32) {
    // SAFETY: the default action is no handler of ours, and both calls are allowed in a handler.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Installs the handlers where the program has none. The keeper of this flow is told.
pub(super) fn install(keeper: &OwnedFd) {
    TELL.store(keeper.as_raw_fd(), SeqCst);
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

/// This keeper is not there any more.
pub(super) fn uninstall(keeper: &OwnedFd) {
    let own = keeper.as_raw_fd();
    let _ = TELL.compare_exchange(own, -1, SeqCst, SeqCst);
}

/// The signal that came and was not acted upon.
pub(super) fn pending() -> Option<i32> {
    Some(CAME.load(Relaxed)).filter(|&signal| signal != 0)
}

/// All is clean: now it may have its effect.
pub(super) fn obey(signal: i32) {
    CAME.store(0, SeqCst);
    TELL.store(-1, SeqCst);
    end(signal);
}
