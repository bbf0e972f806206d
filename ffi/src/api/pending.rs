//! Runs that go on while their submitter does something else.

use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mailring::{Error, RunHandle};

use super::error::guard;
use super::handles::{self, Kind, Object, Shared};
use super::raw::Out;
use super::status::mr_status;

/// For timeout_ns: as long as it takes.
pub const MR_FOREVER: u64 = u64::MAX;

/// How long to wait; `None` for ever.
pub(super) fn timeout(timeout_ns: u64) -> Option<Duration> {
    (timeout_ns != MR_FOREVER).then(|| Duration::from_nanos(timeout_ns))
}

/// A detached run. All functions on it may be called from several threads at the same time, and
/// none waits for another.
pub struct mr_pending {
    _opaque: [u8; 0],
}

pub(super) struct Detached(pub(super) RunHandle);

// SAFETY: the only type of that kind.
unsafe impl Object for Detached {
    const KIND: Kind = Kind::Pending;
}
impl Shared for Detached {}

/// Whether every task of the run is through, well or not: 1 or 0. Does not wait. After its executor
/// was closed, or has failed, it is 1: nothing will happen any more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_pending_done(pending: *mut mr_pending, out: *mut c_int) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let run = handles::get::<Detached, _>(pending)?;
        out.check("out")?.set(run.0.done().into());
        Ok(())
    })
}

/// Waits for all tasks of the run, at most for timeout_ns nanoseconds (MR_FOREVER: as long as it
/// takes). *finished (which may be NULL) is 1, or 0 when the time has passed, which is MR_OK as
/// well.
///
/// MR_ERR_TASK: all are through (*finished is 1), and this is the first root of a failure. Says so
/// each time.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_pending_wait(
    pending: *mut mr_pending,
    timeout_ns: u64,
    finished: *mut c_int,
) -> mr_status {
    // SAFETY: the caller's promise.
    let finished = unsafe { Out::new(finished) };
    guard(|| {
        let run = handles::get::<Detached, _>(pending)?;
        let waited = run.0.wait(timeout(timeout_ns));
        if matches!(waited, Ok(true) | Err(Error::Task(_))) {
            finished.set(1);
        }
        if !waited? {
            finished.set(0);
        }
        Ok(())
    })
}

/// A descriptor that becomes readable when mr_pending_done says 1, and stays so: for poll, select and
/// epoll. Nothing is to be read from it or written to it. It belongs to the library, is the same each
/// time, and ends with mr_pending_free.
///
/// MR_ERR_SYSTEM: no descriptor is left.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_pending_fd(pending: *mut mr_pending, out: *mut c_int) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let run = handles::get::<Detached, _>(pending)?;
        out.check("out")?.set(run.0.event()?.as_raw_fd());
        Ok(())
    })
}

/// Whether a task of the run has failed so far: 1 or 0. Does not wait: what is not through yet may
/// still fail.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_pending_failed(pending: *mut mr_pending, out: *mut c_int) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let run = handles::get::<Detached, _>(pending)?;
        out.check("out")?.set(run.0.run_failed().into());
        Ok(())
    })
}

/// Cancels what has not completed: tasks that have not begun never will, the functions of running
/// ones see it in context->cancelled. *cancelled (which may be NULL) is how many there were. Does
/// not wait for them.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_pending_cancel(
    pending: *mut mr_pending,
    cancelled: *mut u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let cancelled = unsafe { Out::new(cancelled) };
    guard(|| {
        cancelled.set(handles::get::<Detached, _>(pending)?.0.cancel());
        Ok(())
    })
}

/// Frees the handle; the tasks go on. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn mr_pending_free(pending: *mut mr_pending) -> mr_status {
    guard(
        || if pending.is_null() { Ok(()) } else { handles::end::<Detached, _>(pending).map(drop) },
    )
}
