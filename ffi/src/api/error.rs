//! What the calling thread is told of its last error, and the guard around every function.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mailring::abi::AbiError;
use mailring::{BuildError, Error, FailureKind, TaskFailure};

use super::raw::{Versioned, VersionedOut};
use super::status::*;

/// How a task ended that did not end well.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_failure_kind {
    /// Its function returned something else than 0.
    MR_FAILURE_ERROR = 0,
    /// Its function panicked (functions in Rust).
    MR_FAILURE_PANIC = 1,
    /// It took longer than its deadline.
    MR_FAILURE_DEADLINE = 2,
    /// Its worker died: a signal, an exit, abort().
    MR_FAILURE_WORKER_DIED = 3,
    /// It was cancelled.
    MR_FAILURE_CANCELLED = 4,
    /// No worker was left that could run it.
    MR_FAILURE_NO_WORKER = 5,
    /// A kind that this header does not know yet.
    MR_FAILURE_OTHER = 99,
}
pub use mr_failure_kind::*;

/// The task at the root of a failure. Set size to sizeof(mr_failure) and call mr_last_failure.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_failure {
    /// Bytes of this structure, set by the caller.
    pub size: usize,
    /// The task's number.
    pub task: u64,
    /// How it ended.
    pub kind: mr_failure_kind,
    /// In which attempt, from 1.
    pub attempt: u32,
    /// On which worker; -1: it had not begun.
    pub worker: i32,
    /// Which member of its group; -1: it is not a group.
    pub member: i32,
    /// Its name: its own, or its function's. Valid until the next failing call of this thread.
    pub name: *const c_char,
    /// What was said (for a function: with fail, and the number that it returned), without the rest
    /// of mr_last_error. Valid as long as name.
    pub message: *const c_char,
    /// Which of the three numbers below are set: MR_FAILURE_HAS_...
    pub has: u32,
    /// What its function returned (of a chip runtime: run_runtime).
    pub returned: i32,
    /// The exit status of the worker's process, which ended by itself.
    pub exit_status: i32,
    /// The signal that ended the worker's process.
    pub signal: i32,
}

/// In has: returned is set.
pub const MR_FAILURE_HAS_RETURNED: u32 = 1;
/// In has: exit_status is set.
pub const MR_FAILURE_HAS_EXIT_STATUS: u32 = 2;
/// In has: signal is set.
pub const MR_FAILURE_HAS_SIGNAL: u32 = 4;

// SAFETY: integers and pointers in C layout, `size` first, no padding.
unsafe impl Versioned for mr_failure {
    const FIRST: usize = 48;
    const NAME: &'static str = "mr_failure";
}

/// Why a function did not do what it was asked.
pub(super) struct Fail {
    pub(super) status: mr_status,
    message: String,
    failure: Option<Box<TaskFailure>>,
}

impl Fail {
    pub(super) fn new(status: mr_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), failure: None }
    }

    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new(MR_ERR_ARGUMENT, message)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Task(_) => MR_ERR_TASK,
            Error::Args(_) => MR_ERR_ARGS,
            Error::Ring(_) => MR_ERR_RING,
            Error::ArgsTooLarge(_) => MR_ERR_ARGS_TOO_LARGE,
            Error::UnknownAddress { .. } | Error::NullTensor(_) => MR_ERR_ADDRESS,
            Error::EmptyGroup | Error::GroupTooLarge { .. } => MR_ERR_GROUP,
            Error::NoWorkers(_) | Error::WrongWorker { .. } => MR_ERR_WORKER,
            Error::UnknownFunction(_) => MR_ERR_FUNCTION,
            Error::Library { .. } => MR_ERR_LIBRARY,
            Error::Options(_) => MR_ERR_OPTIONS,
            Error::ScopeDepth | Error::NoScope => MR_ERR_SCOPE,
            Error::WouldBlock { .. } => MR_ERR_WOULD_BLOCK,
            Error::HeapDeadlock(_) => MR_ERR_HEAP_DEADLOCK,
            Error::BackPressure { .. } => MR_ERR_BACK_PRESSURE,
            Error::Handle(_) => MR_ERR_TASK_HANDLE,
            Error::BufferSpace { .. } | Error::ImportSpace { .. } | Error::Imports(_) => {
                MR_ERR_BUFFER_SPACE
            }
            Error::Import { .. } | Error::ImportTooShort { .. } | Error::ImportUnsealed => {
                MR_ERR_IMPORT
            }
            Error::Misuse(_) | Error::BufferLength(_) => MR_ERR_MISUSE,
            Error::StillRunning { .. } => MR_ERR_TIMEOUT,
            Error::OverlappingWrites { .. } => MR_ERR_ARGS,
            Error::System { .. } => MR_ERR_SYSTEM,
            Error::Replay(_) => MR_ERR_REPLAY,
            Error::Failed(_) => MR_ERR_FAILED,
            _ => MR_ERR_OTHER,
        };
        let message = in_c(error.to_string());
        let failure = match error {
            Error::Task(failure) => Some(failure),
            _ => None,
        };
        Self { status, message, failure }
    }
}

impl From<BuildError> for Fail {
    fn from(error: BuildError) -> Self {
        let status = match &error {
            BuildError::Workers(_) => MR_ERR_WORKERS,
            BuildError::Ring(_) => MR_ERR_RING,
            BuildError::Memory { .. } => MR_ERR_MEMORY,
            BuildError::DuplicateFunction(_) => MR_ERR_DUPLICATE,
            BuildError::System { .. } => MR_ERR_SYSTEM,
            BuildError::Worker { .. } => MR_ERR_WORKER_START,
            _ => MR_ERR_OTHER,
        };
        Self::new(status, in_c(error.to_string()))
    }
}

impl From<AbiError> for Fail {
    fn from(error: AbiError) -> Self {
        Self::new(MR_ERR_ARGS, error.to_string())
    }
}

/// What the engine calls things, and what C calls them. Phrases that no name contains.
const PHRASES: &[(&str, &str)] = &[
    (
        "use an output of a task, `alloc`, or `Executor::buffer`",
        "use an output of a task, mr_alloc, or mr_buffer_new",
    ),
    (
        "those that its builder's `register` returned are",
        "those that mr_register and mr_register_library returned are",
    ),
    (
        "submit to the `orch` that is open, in a nested scope if need be",
        "submit to the run that is open, in a nested scope if need be",
    ),
    ("(the builder's `stack_size` makes it larger)", "(stack_size of mr_options makes it larger)"),
    ("leave out `on`", "leave worker at -1"),
    ("retry groups with `idempotent`", "retry groups with idempotent"),
    ("retries need `idempotent` or `snapshot`", "retries need idempotent or snapshot"),
    ("scope_end without an open scope", "mr_scope_end without an open scope"),
    ("call scope_begin first", "call mr_scope_begin first"),
    ("only functions of `register_library`", "only functions of mr_register_library"),
    ("an `alloc` before", "an mr_alloc before"),
    ("give `close` more time", "give mr_executor_close_for more time"),
    ("drop buffers or raise", "free buffers or raise"),
    ("drop imported buffers or raise", "free imported buffers or raise"),
    ("the most there can be; drop some", "the most there can be; free some"),
    (
        "has hundreds of executors already; drop some",
        "has hundreds of executors already; close some",
    ),
    (
        "the executor has failed: it was dropped; build a new one",
        "the executor was closed; build a new one",
    ),
    (
        "the executor has failed: it was closed; build a new one",
        "the executor was closed; build a new one",
    ),
    (
        "`keep_fd` is for descriptors that are open at `build`",
        "keep_fds is for descriptors that are open at mr_build",
    ),
    ("name them with `ChipRuntime::devices`", "name them in mr_chip_runtime"),
    ("leave `workers` to `chip_workers`", "leave workers at 0"),
    ("use Mode::Process, or one device", "use MR_MODE_PROCESS, or one device"),
    ("`ChipRuntime::register` returns them", "mr_register_chip returns them"),
];

/// A text of the engine in the words of C.
fn in_c(mut text: String) -> String {
    for (rust, c) in PHRASES {
        if text.contains(rust) {
            text = text.replace(rust, c);
        }
    }
    text
}

/// The last error of a thread, in the form that C reads.
#[derive(Default)]
struct Last {
    status: mr_status,
    message: CString,
    failure: Option<Failure>,
}

struct Failure {
    failure: Box<TaskFailure>,
    name: CString,
    message: CString,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// Text with a zero at its end; zeros inside become question marks.
fn text(text: String) -> CString {
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 0 { b'?' } else { byte }).collect();
    CString::new(bytes).unwrap_or_default()
}

/// Keeps the error for `mr_last_error`. A thread that is ending keeps none.
fn keep(fail: Fail) -> mr_status {
    let status = fail.status;
    let failure = fail.failure.map(|failure| Failure {
        name: text(failure.name.clone()),
        message: text(in_c(failure.message.clone())),
        failure,
    });
    let last = Last { status, message: text(fail.message), failure };
    let _ = LAST.try_with(|kept| kept.replace(last));
    status
}

/// The status of the thread's last error; `MR_OK` when there was none.
pub(super) fn last_status() -> mr_status {
    LAST.try_with(|last| last.borrow().status).unwrap_or(MR_OK)
}

/// Runs the body of a function: no panic leaves it, and its error is kept.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Fail>) -> mr_status {
    guard_status(|| body().map(|()| MR_OK))
}

/// The same for a body that chooses the status itself.
pub(super) fn guard_status(body: impl FnOnce() -> Result<mr_status, Fail>) -> mr_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => status,
        Ok(Err(fail)) => keep(fail),
        Err(panic) => {
            let said = said(panic.as_ref());
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again); // its drop panics as well
            }
            keep(Fail::new(MR_ERR_PANIC, format!("mailring panicked, please report it: {said}")))
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// What the last failing call of this thread had to say: the thing, the limit, the way out, in
/// UTF-8. Never NULL; empty before the first error. Valid until the next failing call of this
/// thread; calls that succeed leave it as it is.
#[unsafe(no_mangle)]
pub extern "C" fn mr_last_error() -> *const c_char {
    let message = LAST.try_with(|last| last.borrow().message.as_ptr());
    message.unwrap_or(c"".as_ptr())
}

/// The task behind the last error of this thread, if that was MR_ERR_TASK.
///
/// MR_ERR_NOT_FOUND: it was not. This function leaves mr_last_error as it is in every case but
/// that of a bad out.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_last_failure(out: *mut mr_failure) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { VersionedOut::new(out) };
    guard_status(|| {
        let size = out.check()?;
        let failure = LAST.try_with(|last| last.borrow().failure.as_ref().map(Failure::to_c));
        let Ok(Some(failure)) = failure else { return Ok(MR_ERR_NOT_FOUND) };
        out.write(size, failure);
        Ok(MR_OK)
    })
}

impl Failure {
    fn to_c(&self) -> mr_failure {
        let failure = &self.failure;
        mr_failure {
            size: 0,
            task: failure.task.0,
            kind: match failure.kind {
                FailureKind::Error => MR_FAILURE_ERROR,
                FailureKind::Panic => MR_FAILURE_PANIC,
                FailureKind::Deadline => MR_FAILURE_DEADLINE,
                FailureKind::WorkerDied => MR_FAILURE_WORKER_DIED,
                FailureKind::Cancelled => MR_FAILURE_CANCELLED,
                FailureKind::NoWorker => MR_FAILURE_NO_WORKER,
                _ => MR_FAILURE_OTHER,
            },
            attempt: failure.attempt,
            worker: failure.worker.map_or(-1, |worker| i32::from(worker.0)),
            member: failure.member.map_or(-1, i32::from),
            name: self.name.as_ptr(),
            message: self.message.as_ptr(),
            has: [
                (failure.returned, MR_FAILURE_HAS_RETURNED),
                (failure.exit_status, MR_FAILURE_HAS_EXIT_STATUS),
                (failure.signal, MR_FAILURE_HAS_SIGNAL),
            ]
            .iter()
            .filter(|(number, _)| number.is_some())
            .fold(0, |has, (_, flag)| has | flag),
            returned: failure.returned.unwrap_or(0),
            exit_status: failure.exit_status.unwrap_or(0),
            signal: failure.signal.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use mailring::WorkerKind;

    use super::*;

    #[test]
    fn texts_speak_c() {
        let mut texts = vec![
            Error::UnknownAddress { index: 0, address: 1, bytes: 2 }.to_string(),
            Error::UnknownFunction(7).to_string(),
            Error::NoScope.to_string(),
            Error::NoWorkers(WorkerKind::Sub).to_string(),
            Error::BufferSpace { asked: 1, used: 2, capacity: 3 }.to_string(),
            Error::ImportSpace { asked: 1, used: 2, capacity: 3 }.to_string(),
            Error::Imports(3).to_string(),
            Error::Failed("it was dropped".to_owned()).to_string(),
            BuildError::Executors.to_string(),
            BuildError::Descriptor(9).to_string(),
            BuildError::NoDevices.to_string(),
            BuildError::DeviceCount { devices: 1, workers: 2 }.to_string(),
            BuildError::DevicesInThreads(2).to_string(),
        ];
        // Those that the engine writes as plain text.
        let used = |phrase: &str| texts.iter().any(|text| text.contains(phrase));
        let plain =
            PHRASES.iter().filter(|(rust, _)| !used(rust)).map(|(rust, _)| (*rust).to_owned());
        texts.extend(plain.collect::<Vec<_>>());
        for text in texts {
            let said = in_c(text);
            for word in
                ["::", "`orch`", "`on`", "`alloc`", "`close`", "`register`", " drop ", "`build`"]
            {
                assert!(!said.contains(word), "{said}");
            }
        }
    }
}
