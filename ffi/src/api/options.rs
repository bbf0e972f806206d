//! Options of an executor and of a task.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::time::Duration;

use mailring::{
    Builder, Executor, Hazards, Mode, Priority, TaskHandle, TaskOptions, WaitStrategy, WorkerId,
    WorkerKind,
};

use super::error::{Fail, guard};
use super::raw::{Many, Out, Text, Versioned, VersionedIn, number};
use super::runs::mr_run_handle;
use super::status::mr_status;
use super::submit::mr_task;
use super::values::{MR_NEXT_LEVEL, flag, kind, mr_worker_kind};

/// Where workers live.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_mode {
    /// Forked processes: one may die at any instruction, and the rest goes on.
    MR_MODE_PROCESS = 0,
    /// Threads of this process: no isolation, and nothing ends a function that hangs.
    MR_MODE_THREAD = 1,
}
pub use mr_mode::*;

/// How dependencies follow from bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_hazards {
    /// On every shared byte: read after write, write after write, write after read.
    MR_HAZARDS_STRICT = 0,
    /// The tag table of simpler, on base addresses only.
    MR_HAZARDS_COMPATIBLE = 1,
}
pub use mr_hazards::*;

/// How workers and the host wait.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_wait_strategy {
    /// Spin briefly, then let others run, then sleep.
    MR_WAIT_ADAPTIVE = 0,
    /// Never sleep. Lowest latency, a whole processor for each worker.
    MR_WAIT_SPIN = 1,
    /// Sleep at once.
    MR_WAIT_PARK = 2,
}
pub use mr_wait_strategy::*;

/// For heap_bytes and buffer_bytes: none at all.
pub const MR_NONE: u64 = u64::MAX;

/// Options of an executor. mr_options_init sets all of them to their defaults; a member that is 0
/// means its default as well.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_options {
    /// Bytes of this structure; mr_options_init sets it.
    pub size: usize,
    /// What the shared memory is called in /proc/PID/maps. NULL: "mailring".
    pub name: *const c_char,
    /// MR_MODE_PROCESS or MR_MODE_THREAD.
    pub mode: MaybeUninit<mr_mode>,
    /// MR_HAZARDS_STRICT or MR_HAZARDS_COMPATIBLE.
    pub hazards: MaybeUninit<mr_hazards>,
    /// MR_WAIT_ADAPTIVE, MR_WAIT_SPIN or MR_WAIT_PARK.
    pub wait: MaybeUninit<mr_wait_strategy>,
    /// 1: keep each worker on a processor of its own, as far as there are enough.
    pub pin_cpus: u32,
    /// Workers of kind MR_NEXT_LEVEL. There must be 1 to 256 workers, both kinds together.
    pub workers: u64,
    /// Workers of kind MR_SUB.
    pub sub_workers: u64,
    /// Tasks in flight: a power of two from 16 to 65536. 0: 4096.
    pub slot_window: u64,
    /// Bytes of each of the four heap rings. 0: 1 GiB (virtual: nothing is touched before use, but
    /// more than the machine has left is refused). valgrind looks through all of it when a process
    /// ends: use 16 MiB there.
    /// MR_NONE: no outputs are allocated.
    pub heap_bytes: u64,
    /// Bytes for all buffers together. 0: 1 GiB (as above). MR_NONE: no buffers.
    pub buffer_bytes: u64,
    /// Nanoseconds that a submit may wait for room without any progress. 0: as long as it takes.
    pub back_pressure_ns: u64,
    /// Nanoseconds that members of a failed group, and running tasks of a closed executor, may go
    /// on. 0: one second.
    pub grace_ns: u64,
    /// Descriptors of the program that workers keep, under the same numbers. They hold no others but
    /// 0 (which is /dev/null), 1 and 2.
    pub keep_fds: *const c_int,
    /// How many.
    pub keep_fd_count: usize,
    /// Nanoseconds that a worker may take to come up: a chip runtime that is loaded, a device that is
    /// set. 0: 30 seconds.
    pub start_timeout_ns: u64,
    /// Addresses set aside for imported buffers, in bytes; they cost nothing. 0: 16 GiB.
    pub import_bytes: u64,
    /// Bytes of stack for the functions of tasks. 0: 8 MiB; at least 128 KiB.
    pub stack_size: u64,
}

// SAFETY: integers and pointers, size first; the four 32-bit members are two words.
unsafe impl Versioned for mr_options {
    const FIRST: usize = 88;
    const NAME: &'static str = "mr_options";
}

const _: () = assert!(size_of::<mr_options>() == 128, "no padding");

impl mr_options {
    const DEFAULT: Self = Self {
        size: size_of::<Self>(),
        name: std::ptr::null(),
        mode: MaybeUninit::new(MR_MODE_PROCESS),
        hazards: MaybeUninit::new(MR_HAZARDS_STRICT),
        wait: MaybeUninit::new(MR_WAIT_ADAPTIVE),
        pin_cpus: 0,
        workers: 0,
        sub_workers: 0,
        slot_window: 0,
        heap_bytes: 0,
        buffer_bytes: 0,
        back_pressure_ns: 0,
        grace_ns: 0,
        keep_fds: std::ptr::null(),
        keep_fd_count: 0,
        start_timeout_ns: 0,
        import_bytes: 0,
        stack_size: 0,
    };
}

fn count(number: u64, what: &str) -> Result<usize, Fail> {
    usize::try_from(number).map_err(|_| Fail::argument(format!("{number} {what} are too many")))
}

fn choose<E: Copy, T: Copy>(what: &str, given: MaybeUninit<E>, choices: &[T]) -> Result<T, Fail> {
    let number = number(given);
    choices.get(number as usize).copied().ok_or_else(|| {
        let last = choices.len() - 1;
        Fail::argument(format!("{what} {number} does not exist; the known ones are 0 to {last}"))
    })
}

/// The builder that the options ask for.
pub(super) fn builder(given: VersionedIn<mr_options>) -> Result<Builder, Fail> {
    let given = given.read(mr_options::DEFAULT)?.ok_or_else(|| super::raw::null("options"))?;
    // SAFETY: text that the caller promised to keep during this call.
    let name = unsafe { Text::new(given.name) }.name("the name of an executor")?;
    let waits = [WaitStrategy::Adaptive, WaitStrategy::Spin, WaitStrategy::Park];
    let mut builder = Executor::builder()
        .mode(choose("mode", given.mode, &[Mode::Process, Mode::Thread])?)
        .hazards(choose("hazards", given.hazards, &[Hazards::Strict, Hazards::Compatible])?)
        .wait_strategy(choose("wait", given.wait, &waits)?)
        .pin_cpus(flag(given.pin_cpus, "pin_cpus")?)
        .workers(count(given.workers, "workers")?)
        .sub_workers(count(given.sub_workers, "sub_workers")?);
    if let Some(name) = name {
        builder = builder.name(&name);
    }
    if given.slot_window != 0 {
        builder = builder.slot_window(count(given.slot_window, "slots")?);
    }
    match given.heap_bytes {
        0 => {}
        MR_NONE => builder = builder.heap_bytes(0),
        bytes => builder = builder.heap_bytes(count(bytes, "heap_bytes")?),
    }
    match given.buffer_bytes {
        0 => {}
        MR_NONE => builder = builder.buffer_bytes(0),
        bytes => builder = builder.buffer_bytes(count(bytes, "buffer_bytes")?),
    }
    if given.back_pressure_ns != 0 {
        builder = builder.back_pressure_timeout(Duration::from_nanos(given.back_pressure_ns));
    }
    if given.grace_ns != 0 {
        builder = builder.grace(Duration::from_nanos(given.grace_ns));
    }
    // SAFETY: numbers that the caller promised to keep during this call.
    let kept = unsafe { Many::new(given.keep_fds, given.keep_fd_count) };
    for fd in kept.read("descriptors", 1 << 20)? {
        builder = builder.keep_fd(fd);
    }
    if given.start_timeout_ns != 0 {
        builder = builder.start_timeout(Duration::from_nanos(given.start_timeout_ns));
    }
    if given.import_bytes != 0 {
        builder = builder.import_bytes(count(given.import_bytes, "import_bytes")?);
    }
    if given.stack_size != 0 {
        builder = builder.stack_size(count(given.stack_size, "bytes of stack")?);
    }
    Ok(builder)
}

/// Sets all options to their defaults, and size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_options_init(out: *mut mr_options) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        out.check("out")?.set(mr_options::DEFAULT);
        Ok(())
    })
}

/// Which of the ready tasks go first.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_priority {
    /// In the order in which they become ready, roughly.
    MR_PRIORITY_NORMAL = 0,
    /// Before all normal tasks that are ready.
    MR_PRIORITY_URGENT = 1,
}
pub use mr_priority::*;

/// Options of a task. Set them with mr_task_options_init first: 0 is not the default of worker.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_task_options {
    /// Bytes of this structure; mr_task_options_init sets it.
    pub size: usize,
    /// What messages call the task, instead of its function's name. NULL: no name of its own.
    pub name: *const c_char,
    /// Which workers may run it: MR_NEXT_LEVEL or MR_SUB.
    pub kind: MaybeUninit<mr_worker_kind>,
    /// MR_PRIORITY_NORMAL or MR_PRIORITY_URGENT.
    pub priority: MaybeUninit<mr_priority>,
    /// Only this worker may run it; -1: any of its kind. Workers are counted from 0, first those
    /// of kind MR_NEXT_LEVEL.
    pub worker: i32,
    /// Further attempts, at most 62, when a worker died or was ended over the task; an error that
    /// the function returns is final. Needs idempotent or snapshot.
    pub retries: u32,
    /// Microseconds that its function may take before it is ended with its worker (THREAD mode:
    /// reported when it returns). 0: as long as it takes; at most 2^32 - 1.
    pub deadline_us: u64,
    /// 1: running it again over half-written outputs gives the right result.
    pub idempotent: u32,
    /// 1: MR_INOUT and MR_OUTPUT_EXISTING ranges are saved before the function and restored before
    /// another attempt. Costs a copy of them in the heap ring. Not for groups.
    pub snapshot: u32,
    /// Tasks of the same run that this one comes after, besides those that its tensors name; it fails
    /// when one of them does. One that is through counts as done, however long ago.
    pub after: *const mr_task,
    /// How many.
    pub after_count: usize,
    /// The same, however they end: to clean up, or to take turns.
    pub after_any: *const mr_task,
    /// How many.
    pub after_any_count: usize,
}

// SAFETY: integers and pointers, size first; 32-bit members come in pairs.
unsafe impl Versioned for mr_task_options {
    const FIRST: usize = 48;
    const NAME: &'static str = "mr_task_options";
}

const _: () = assert!(size_of::<mr_task_options>() == 80, "no padding");

impl mr_task_options {
    const DEFAULT: Self = Self {
        size: size_of::<Self>(),
        name: std::ptr::null(),
        kind: MaybeUninit::new(MR_NEXT_LEVEL),
        priority: MaybeUninit::new(MR_PRIORITY_NORMAL),
        worker: -1,
        retries: 0,
        deadline_us: 0,
        idempotent: 0,
        snapshot: 0,
        after: std::ptr::null(),
        after_count: 0,
        after_any: std::ptr::null(),
        after_any_count: 0,
    };
}

/// The options of a task of this run; the default ones at null.
pub(super) fn task_options(
    given: VersionedIn<mr_task_options>,
    run: *const mr_run_handle,
    tasks: &[TaskHandle],
) -> Result<TaskOptions, Fail> {
    let Some(given) = given.read(mr_task_options::DEFAULT)? else {
        return Ok(TaskOptions::default());
    };
    let mut options = match kind(given.kind)? {
        WorkerKind::Sub => TaskOptions::sub(),
        WorkerKind::NextLevel => TaskOptions::new(),
    };
    let priorities = [Priority::Normal, Priority::Urgent];
    options = options.priority(choose("priority", given.priority, &priorities)?);
    if given.worker != -1 {
        let worker = u16::try_from(given.worker).map_err(|_| {
            let worker = given.worker;
            Fail::argument(format!("worker {worker} does not exist; -1 means any"))
        })?;
        options = options.on(WorkerId(worker));
    }
    if given.deadline_us != 0 {
        options = options.deadline(Duration::from_micros(given.deadline_us));
    }
    if given.retries != 0 {
        options = options.retries(given.retries);
    }
    if flag(given.idempotent, "idempotent")? {
        options = options.idempotent();
    }
    if flag(given.snapshot, "snapshot")? {
        options = options.snapshot();
    }
    // SAFETY: text and arrays that the caller promised to keep during this call.
    let (name, after, after_any) = unsafe {
        (
            Text::new(given.name),
            Many::new(given.after, given.after_count),
            Many::new(given.after_any, given.after_any_count),
        )
    };
    for task in after.check("after")?.each() {
        options = options.after(task.find(run, tasks)?);
    }
    for task in after_any.check("after_any")?.each() {
        options = options.after_any(task.find(run, tasks)?);
    }
    if let Some(name) = name.name("the name of a task")? {
        options = options.name(name);
    }
    Ok(options)
}

/// Sets all options of a task to their defaults, and size. NULL options mean the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_task_options_init(out: *mut mr_task_options) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        out.check("out")?.set(mr_task_options::DEFAULT);
        Ok(())
    })
}
