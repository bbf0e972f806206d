//! Runs: opening, closing, scopes, waiting.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use mailring::{Error, Executor, OpenRun, Recording, RunHandle, TaskHandle};

use super::error::{Fail, guard, guard_status, last_status};
use super::executor::{Engine, mr_executor};
use super::handles::{self, Held, Kind, Object, Owned};
use super::pending::{Detached, MR_FOREVER, mr_pending, timeout};
use super::raw::{In, Out, null};
use super::status::{MR_ERR_MISUSE, MR_ERR_TIMEOUT, MR_OK, mr_status};
use super::submit::mr_task;

/// A run that is open: tasks can be submitted to it.
///
/// Functions on the same run wait for each other: while one thread is in mr_wait, or in a submit
/// that waits for room, all others on this run wait as well. (To wait and cancel at the same time,
/// detach the run: functions on an mr_pending do not wait for each other.) A run may be used from
/// any thread; but a thread that opens a second run of the same executor waits until the first one
/// has been closed, so the thread that is to close it must not.
pub struct mr_run_handle {
    _opaque: [u8; 0],
}

/// What fills a run: returns 0, or a number that mr_run is to return. It may return the status of
/// a function that failed.
///
/// No longjmp may leave it; an exception of C++ that leaves it ends the program.
pub type mr_run_body =
    Option<unsafe extern "C-unwind" fn(run: *mut mr_run_handle, user: *mut c_void) -> c_int>;

/// An open run and the tasks that its caller can name.
pub(super) struct Opened {
    pub(super) run: OpenRun,
    pub(super) tasks: Vec<TaskHandle>,
}

pub(super) struct Running {
    stage: Stage,
    /// Of `mr_run`, which closes it itself.
    by_callback: bool,
}

enum Stage {
    Open(Opened),
    /// Closed; its end did not come in the time that the caller had.
    Closed(RunHandle),
    /// Between the two, under the lock.
    Closing,
}

// SAFETY: the only type of that kind.
unsafe impl Object for Running {
    const KIND: Kind = Kind::Run;
}
impl Owned for Running {}

impl Running {
    pub(super) fn begin(
        exec: &Executor,
        by_callback: bool,
        timeout: Option<Duration>,
    ) -> Result<Self, Fail> {
        let run = exec.begin_for(timeout)?.ok_or_else(|| {
            let why = "another run of this executor stayed open; end it first, or wait longer";
            Fail::new(MR_ERR_TIMEOUT, why)
        })?;
        let opened = Opened { run, tasks: Vec::new() };
        Ok(Self { stage: Stage::Open(opened), by_callback })
    }

    /// The run, to submit to it.
    #[inline]
    pub(super) fn open(&mut self) -> Result<&mut Opened, Fail> {
        match &mut self.stage {
            Stage::Open(opened) => Ok(opened),
            Stage::Closed(_) | Stage::Closing => Err(closed()),
        }
    }

    fn check_caller(&self) -> Result<(), Fail> {
        if self.by_callback {
            let why = "this run is closed by mr_run when its body returns; return from it instead";
            return Err(Fail::new(MR_ERR_MISUSE, why));
        }
        Ok(())
    }

    fn end(self) -> Result<(), Fail> {
        match self.stage {
            Stage::Open(opened) => Ok(opened.run.end()?),
            Stage::Closed(run) => Ok(run.wait(None).map(drop)?),
            Stage::Closing => Err(closed()),
        }
    }

    /// Ends one that was recorded.
    pub(super) fn end_recorded(self) -> Result<Recording, Fail> {
        match self.stage {
            Stage::Open(opened) => Ok(opened.run.end_recorded()?),
            Stage::Closed(_) | Stage::Closing => Err(closed()),
        }
    }

    fn detach(self) -> Result<RunHandle, Fail> {
        match self.stage {
            Stage::Open(opened) => Ok(opened.run.detach()),
            Stage::Closed(run) => Ok(run),
            Stage::Closing => Err(closed()),
        }
    }

    /// Closes the run where it is.
    fn close(&mut self) -> Result<&RunHandle, Fail> {
        if let Stage::Open(_) = self.stage
            && let Stage::Open(opened) = std::mem::replace(&mut self.stage, Stage::Closing)
        {
            self.stage = Stage::Closed(opened.run.detach());
        }
        match &self.stage {
            Stage::Closed(run) => Ok(run),
            Stage::Open(_) | Stage::Closing => Err(closed()),
        }
    }
}

#[cold]
fn closed() -> Fail {
    let why = "this run was closed by mr_run_end_for, whose time passed; end or detach it";
    Fail::new(MR_ERR_MISUSE, why)
}

/// A run, for this thread alone.
#[inline]
pub(super) fn lock(run: *const mr_run_handle) -> Result<Held<Running>, Fail> {
    handles::lock::<Running, _>(run)
}

/// Takes a run from its caller, to close it.
fn take(run: *const mr_run_handle) -> Result<Box<Running>, Fail> {
    let running = lock(run)?;
    running.check_caller()?;
    Ok(running.take())
}

/// Opens a run, lets body fill it, closes it, and waits for all its tasks.
///
/// Returns what body returned, if that is not 0 (its tasks are waited for all the same); otherwise
/// MR_OK, or MR_ERR_TASK with the first task, in the order of submission, at the root of a failure.
/// The run is body's until it returns; body can neither end nor detach it.
///
/// Waits until no other run of this executor is open. MR_ERR_MISUSE: this thread has one open.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run(
    exec: *mut mr_executor,
    body: mr_run_body,
    user: *mut c_void,
) -> mr_status {
    guard_status(|| {
        let body = body.ok_or_else(|| null("body"))?;
        // The executor is let go: one that is closed meanwhile ends, and the run with it.
        let running = Running::begin(&handles::get::<Engine, _>(exec)?.0, true, None)?;
        let run: *mut mr_run_handle = handles::insert(running)?;
        // SAFETY: the caller says that it is such a function. It does not unwind, or the program
        // ends.
        let code = unsafe { body(run, user) };
        let outcome = handles::take::<Running, _>(run)?.end();
        match code {
            MR_OK => outcome.map(|()| MR_OK),
            // What the failing call inside has said is better than what we could say.
            code if code == last_status() => Ok(code),
            code => Err(Fail::new(code, format!("the body of the run returned {code}"))),
        }
    })
}

/// Opens a run that is closed by mr_run_end or mr_run_detach. Waits until no other run of this
/// executor is open.
///
/// MR_ERR_MISUSE: this thread has one open. MR_ERR_FAILED: the executor was closed meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run_begin(
    exec: *mut mr_executor,
    out: *mut *mut mr_run_handle,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    unsafe { mr_run_begin_for(exec, MR_FOREVER, out) }
}

/// The same, at most for timeout_ns nanoseconds.
///
/// MR_ERR_TIMEOUT: another run is open still.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run_begin_for(
    exec: *mut mr_executor,
    timeout_ns: u64,
    out: *mut *mut mr_run_handle,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let out = out.check("out")?;
        out.set(handles::insert(Running::begin(&engine.0, false, timeout(timeout_ns))?)?);
        Ok(())
    })
}

/// Closes a run and waits for all its tasks. The handle is used up, also by an error.
///
/// MR_ERR_TASK: the first task, in the order of submission, at the root of a failure.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_run_end(run: *mut mr_run_handle) -> mr_status {
    guard(|| take(run)?.end())
}

/// The same, at most for timeout_ns nanoseconds. When the time has passed, that is MR_OK as well,
/// and *finished (which may be NULL) is 0: nothing more can be submitted to the run, its tasks go on,
/// and the handle stays, to be given to this function, mr_run_end or mr_run_detach again. Otherwise
/// *finished is 1, and the handle is used up.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run_end_for(
    run: *mut mr_run_handle,
    timeout_ns: u64,
    finished: *mut c_int,
) -> mr_status {
    // SAFETY: the caller's promise.
    let finished = unsafe { Out::new(finished) };
    guard(|| {
        let mut running = lock(run)?;
        running.check_caller()?;
        let waited = running.close()?.wait(timeout(timeout_ns));
        if !matches!(waited, Ok(false)) {
            running.take();
        }
        finished.set((!matches!(waited, Ok(false))).into());
        Ok(waited.map(drop)?)
    })
}

/// Closes a run without waiting; its tasks go on. The handle is used up; *out is to wait with.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run_detach(
    run: *mut mr_run_handle,
    out: *mut *mut mr_pending,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        out.set(handles::insert(Detached(take(run)?.detach()?))?);
        Ok(())
    })
}

/// Opens a scope. Outputs made in it can be reclaimed once it has closed and the tasks that name
/// them are through. Scopes of a run end with it.
///
/// MR_ERR_SCOPE: 64 are open, the run's own included.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_scope_begin(run: *mut mr_run_handle) -> mr_status {
    guard(|| Ok(lock(run)?.open()?.run.scope_begin()?))
}

/// Closes the scope that was opened last. Does not wait.
///
/// MR_ERR_SCOPE: none is open but the run's own.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_scope_end(run: *mut mr_run_handle) -> mr_status {
    guard(|| Ok(lock(run)?.open()?.run.scope_end()?))
}

/// Cancels every task that was submitted in the innermost scope, scopes inside it included.
/// *cancelled (which may be NULL) is how many had not completed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_cancel_scope(
    run: *mut mr_run_handle,
    cancelled: *mut u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let cancelled = unsafe { Out::new(cancelled) };
    guard(|| {
        cancelled.set(lock(run)?.open()?.run.cancel_scope());
        Ok(())
    })
}

/// Waits for a task of this run.
///
/// MR_ERR_TASK: it failed, or a task failed that it depends on; mr_last_failure names the root.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_wait(run: *mut mr_run_handle, task: *const mr_task) -> mr_status {
    // SAFETY: the caller's promise.
    unsafe { mr_wait_for(run, task, MR_FOREVER, std::ptr::null_mut()) }
}

/// The same, at most for timeout_ns nanoseconds. *finished (which may be NULL) is 1, or 0 when the
/// time has passed, which is MR_OK as well.
///
/// MR_ERR_TASK: as mr_wait; *finished is 1.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_wait_for(
    run: *mut mr_run_handle,
    task: *const mr_task,
    timeout_ns: u64,
    finished: *mut c_int,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (task, finished) = unsafe { (In::new(task), Out::new(finished)) };
    guard(|| {
        let task = task.read("task")?;
        let mut running = lock(run)?;
        let Opened { run: open, tasks } = running.open()?;
        let waited = open.wait_for(task.find(run, tasks)?, timeout(timeout_ns));
        if matches!(waited, Ok(true) | Err(Error::Task(_))) {
            finished.set(1);
        }
        if !waited? {
            finished.set(0);
        }
        Ok(())
    })
}

/// Whether a task of this run has failed so far: 1 or 0. Does not wait: what is not through yet may
/// still fail.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run_failed(run: *mut mr_run_handle, out: *mut c_int) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let mut running = lock(run)?;
        out.check("out")?.set(running.open()?.run.run_failed().into());
        Ok(())
    })
}

/// Cancels a task unless it has completed: it never begins, or its function sees it in
/// context->cancelled. Tasks that read what it writes fail with it. *open (which may be NULL) is 1
/// when it had not completed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_cancel(
    run: *mut mr_run_handle,
    task: *const mr_task,
    open: *mut c_int,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (task, was_open) = unsafe { (In::new(task), Out::new(open)) };
    guard(|| {
        let task = task.read("task")?;
        let mut running = lock(run)?;
        let Opened { run: open, tasks } = running.open()?;
        was_open.set(open.cancel(task.find(run, tasks)?).into());
        Ok(())
    })
}
