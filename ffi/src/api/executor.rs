//! An executor: what can be asked of it, dynamic functions, the end.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::sync::Arc;

use mailring::{Callable, Executor, WorkerId};

use super::builder::Body;
use super::error::{Fail, guard};
use super::handles::{self, Kind, Object, Shared};
use super::pending::timeout;
use super::raw::{ManyOut, Out, Text, Versioned, VersionedOut};
use super::status::mr_status;
use super::values::{kind, mr_callable, mr_worker_kind};

/// Workers, the memory they share with this process, and the ring that tasks go through.
///
/// All functions on an executor may be called from several threads at the same time. Runs go one
/// after the other: mr_run and mr_run_begin wait until the run before has been closed; everything
/// else does not wait.
pub struct mr_executor {
    _opaque: [u8; 0],
}

/// The executor, and then what its functions are called with.
pub(super) struct Engine(
    pub(super) Executor,
    #[allow(dead_code, reason = "dropped after the executor")] pub(super) Vec<Arc<Body>>,
);

// SAFETY: the only type of that kind.
unsafe impl Object for Engine {
    const KIND: Kind = Kind::Executor;
}
impl Shared for Engine {}

/// Counters of an executor since it was built. Set size to sizeof(mr_stats) before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_stats {
    /// Bytes of this structure, set by the caller.
    pub size: usize,
    /// Tasks submitted up to the last closed run, internal fan-in nodes included.
    pub submitted: u64,
    /// Functions that workers ran to an end (members of groups count each).
    pub bodies: u64,
    /// Workers that died.
    pub deaths: u64,
    /// Workers that replaced a dead one.
    pub respawns: u64,
    /// Workers that were ended: deadlines, members of failed groups.
    pub kills: u64,
    /// Times a worker went to sleep.
    pub sleeps: u64,
    /// Ends of superseded attempts: counted, not applied.
    pub superseded: u64,
    /// When the last death was noticed, in nanoseconds of CLOCK_MONOTONIC; 0: never.
    pub last_death_ns: u64,
}

// SAFETY: integers, size first.
unsafe impl Versioned for mr_stats {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "mr_stats";
}

/// Closes an executor: cancels what has not begun, gives what runs its grace (once), ends all
/// workers. NULL does nothing. A thread that waits in mr_run or mr_run_begin returns with
/// MR_ERR_FAILED. Waiting for an open or detached run of it gives an error: MR_ERR_TASK where tasks
/// were cancelled, or MR_ERR_FAILED. Submitting gives MR_ERR_FAILED. Buffers stay readable until they
/// are freed.
///
/// When another thread is inside a function on this executor, the workers end with the end of that
/// call, and this function returns before.
///
/// MR_ERR_MISUSE: called by the function of a task (THREAD mode; in PROCESS mode a worker does not have
/// the handle). Nothing is closed then.
#[unsafe(no_mangle)]
pub extern "C" fn mr_executor_close(exec: *mut mr_executor) -> mr_status {
    guard(|| {
        if exec.is_null() {
            return Ok(());
        }
        handles::get::<Engine, _>(exec)?.0.refuse_runs()?;
        handles::end::<Engine, _>(exec).map(drop)
    })
}

/// The same when all tasks of all runs are through, detached ones included; what is not through after
/// timeout_ns nanoseconds (MR_FOREVER: as long as it takes) is cancelled as by mr_executor_close.
/// The executor is closed in every case but those of MR_ERR_HANDLE and MR_ERR_MISUSE at once.
///
/// MR_ERR_TIMEOUT: tasks were not through, which the text names. MR_ERR_MISUSE: a run was open
/// still when the time had passed. How tasks ended is told by mr_pending_wait.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_executor_close_for(exec: *mut mr_executor, timeout_ns: u64) -> mr_status {
    guard(|| {
        handles::get::<Engine, _>(exec)?.0.refuse_runs()?;
        let engine = handles::end::<Engine, _>(exec)?;
        let drained = engine.0.drain(timeout(timeout_ns));
        drop(engine);
        Ok(drained?)
    })
}

/// The number of workers of a kind (MR_NEXT_LEVEL, MR_SUB).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_executor_workers(
    exec: *mut mr_executor,
    kind: MaybeUninit<mr_worker_kind>,
    out: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        out.check("out")?.set(engine.0.workers(self::kind(kind)?));
        Ok(())
    })
}

/// The process ids of all workers, in their order; zeros in THREAD mode and for a worker that is
/// being replaced. At most capacity of them are written to pids (which may be NULL); *count is
/// how many there are.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_executor_pids(
    exec: *mut mr_executor,
    pids: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (pids, count) = unsafe { (ManyOut::new(pids, capacity), Out::new(count)) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let count = count.check("count")?;
        let known = engine.0.worker_pids();
        pids.set(&known);
        count.set(known.len());
        Ok(())
    })
}

/// Whether a worker is inside the function of a task at this moment: 1 or 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_executor_busy(
    exec: *mut mr_executor,
    worker: u32,
    out: *mut c_int,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let out = out.check("out")?;
        let workers = engine.0.worker_pids().len();
        let known = u16::try_from(worker).ok().filter(|&worker| usize::from(worker) < workers);
        let known = known.ok_or_else(|| {
            Fail::argument(format!("there is no worker {worker}: the executor has {workers}"))
        })?;
        out.set(engine.0.is_busy(WorkerId(known)).into());
        Ok(())
    })
}

/// Counters since the executor was built.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_executor_stats(
    exec: *mut mr_executor,
    out: *mut mr_stats,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { VersionedOut::new(out) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let size = out.check()?;
        let stats = engine.0.stats();
        let stats = mr_stats {
            size,
            submitted: stats.submitted,
            bodies: stats.bodies,
            deaths: stats.deaths,
            respawns: stats.respawns,
            kills: stats.kills,
            sleeps: stats.sleeps,
            superseded: stats.superseded,
            last_death_ns: stats.last_death_ns,
        };
        out.write(size, stats);
        Ok(())
    })
}

/// Registers function symbol (an mr_function, called with a NULL user) of the shared object at
/// path while workers run. Each worker loads it with the first task that names it; what loading
/// it says is the error of that task.
///
/// The function is known by what is in the file: the same content and symbol give the same
/// callable, and a file that was changed since is refused by the workers.
///
/// MR_ERR_LIBRARY: the file cannot be read, is not a shared object, or does not have the symbol;
/// 512 are registered.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_register_library(
    exec: *mut mr_executor,
    path: *const c_char,
    symbol: *const c_char,
    out: *mut mr_callable,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (path, symbol, out) = unsafe { (Text::new(path), Text::new(symbol), Out::new(out)) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let out = out.check("out")?;
        let (path, symbol) = (path.path("path")?, symbol.read("symbol")?);
        // SAFETY: the caller says that the symbol is such a function.
        let callable = unsafe { engine.0.register_library(path, &symbol) }?;
        out.set(callable.0);
        Ok(())
    })
}

/// Takes a function that was registered after the start back: it cannot be submitted any more.
/// Tasks that were submitted before run it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_unregister(exec: *mut mr_executor, callable: mr_callable) -> mr_status {
    guard(|| {
        handles::get::<Engine, _>(exec)?.0.unregister(Callable(callable))?;
        Ok(())
    })
}
