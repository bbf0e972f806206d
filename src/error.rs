//! The error enums: one for building, one for everything after.

use std::time::Duration;

use mailring_process::limits;
#[doc(inline)]
pub use mailring_process::live::PageError;

use crate::abi::{AbiError, DataType};
use crate::ids::{Shown, TaskId, WorkerId, WorkerKind};
use crate::limits::{MAX_ARGS_BYTES, MAX_ATTEMPTS, MAX_SCOPE_DEPTH, MAX_WORKERS};
use crate::ring::RingError;

/// Why an executor could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No workers, or too many.
    #[error("invalid number of workers {0}: choose 1 to {MAX_WORKERS}, both kinds together")]
    Workers(usize),
    /// An invalid size of the window or of a heap ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// More memory than there is.
    #[error(
        "{what} of {asked} bytes is more than the {available} bytes that this machine (or the \
         memory control group) has left; ask for less"
    )]
    Memory {
        /// `a heap ring`, `the buffer space`, or both together.
        what: &'static str,
        /// Bytes asked for.
        asked: u64,
        /// Bytes there are.
        available: u64,
    },
    /// Its counters could not be published as `Builder::publish` or `Builder::post_mortem` asks.
    #[error("publishing the counters failed: {0}")]
    Publish(#[source] PageError),
    /// More executors than one process can keep apart.
    #[error("this process has hundreds of executors already; drop some")]
    Executors,
    /// A name was registered twice.
    #[error("a function named `{}` is registered already; names must differ", Shown(.0))]
    DuplicateFunction(String),
    /// A descriptor that workers were to keep is not open.
    #[error(
        "descriptor {0}, which workers are to keep, is not open in this process; `keep_fd` is for descriptors that are open at `build`"
    )]
    Descriptor(i32),
    /// Chip workers without a device.
    #[error("chip workers need devices; name them with `ChipRuntime::devices`")]
    NoDevices,
    /// Two workers for one device.
    #[error("device {0} is named twice; a device has one worker")]
    DuplicateDevice(i32),
    /// `workers` contradicts the devices of `chip_workers`.
    #[error(
        "{workers} NEXT_LEVEL workers for {devices} devices; leave `workers` to `chip_workers`"
    )]
    DeviceCount {
        /// Devices of the chip runtime.
        devices: usize,
        /// Workers asked for afterwards.
        workers: usize,
    },
    /// Devices side by side in one process.
    #[error("{0} devices need a process each: use Mode::Process, or one device")]
    DevicesInThreads(usize),
    /// A system call failed.
    #[error("{what} failed: {source}{hint}", hint = limits::hint(source))]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A guard of a buffer is alive.
    #[error(
        "worker processes cannot be forked while this process holds a guard of a buffer (`Buffer::read`, \
         `Buffer::write`), whose memory they would not have; drop it first"
    )]
    Guarded,
    /// A worker did not come up.
    #[error("{worker} did not start: {why}")]
    Worker {
        /// Which.
        worker: WorkerId,
        /// Its own words, or how it ended.
        why: String,
    },
}

impl BuildError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// How a task ended that did not end well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FailureKind {
    /// Its function returned an error.
    Error,
    /// Its function panicked.
    Panic,
    /// It took longer than its deadline.
    Deadline,
    /// Its worker died.
    WorkerDied,
    /// It was cancelled.
    Cancelled,
    /// No worker was left that could run it.
    NoWorker,
}

impl FailureKind {
    fn verb(self) -> &'static str {
        match self {
            Self::Error => "failed",
            Self::Panic => "panicked",
            Self::Deadline => "missed its deadline",
            Self::WorkerDied => "lost its worker",
            Self::Cancelled => "was cancelled",
            Self::NoWorker => "could not run",
        }
    }
}

/// The task at the root of a failure, in its worker's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskFailure {
    /// Which task.
    pub task: TaskId,
    /// Its name: its own, or its function's, or its callable.
    pub name: String,
    /// How it ended.
    pub kind: FailureKind,
    /// Where, if it had begun.
    pub worker: Option<WorkerId>,
    /// In which attempt, counted from 1.
    pub attempt: u32,
    /// Which member of its group, if it is one.
    pub member: Option<u16>,
    /// What was said.
    pub message: String,
    /// What a function of C returned, if that is why.
    pub returned: Option<i32>,
    /// The exit code of the worker's process, if it ended by itself.
    pub exit_status: Option<i32>,
    /// The signal that ended the worker's process.
    pub signal: Option<i32>,
}

impl std::fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (`{}`", self.task, Shown(&self.name))?;
        if let Some(member) = self.member {
            write!(f, ", member {member}")?;
        }
        write!(f, ") {}", self.kind.verb())?;
        if let Some(worker) = self.worker {
            write!(f, " on {worker}, attempt {}", self.attempt)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for TaskFailure {}

/// A heap ring that only the thread that waits for it could free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinnedHeap {
    /// Which heap ring.
    pub ring: usize,
    /// Bytes in use.
    pub pinned: u64,
    /// Bytes there are.
    pub capacity: u64,
    /// Depth of the open scope that holds the oldest slab; 1 is that of the run. 0: its scope has
    /// closed, and the arguments of the submit itself are what holds it.
    pub scope: usize,
    /// Whether the arguments of the submit itself name the slab.
    pub argument: bool,
    /// Bytes asked for.
    pub bytes: u64,
    /// Whose slab is oldest (for an `alloc`: the task submitted next).
    pub task: TaskId,
    /// Its name; `alloc` for an `alloc`.
    pub name: String,
    /// Whether that slab is an `alloc`, and no output of a task.
    pub alloc: bool,
    /// Bytes of that slab.
    pub oldest_bytes: u64,
}

impl std::fmt::Display for PinnedHeap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ring, pinned, capacity, scope, bytes, task, oldest_bytes, .. } = self;
        let name = Shown(&self.name);
        write!(f, "heap ring {ring} is full: {pinned} of {capacity} bytes pinned by ")?;
        match (scope, self.argument) {
            (0, _) => write!(f, "an argument of this very submit")?,
            (depth, false) => write!(f, "the open scope {depth} of the calling thread")?,
            (depth, true) => write!(
                f,
                "the open scope {depth} of the calling thread and an argument of this very submit"
            )?,
        }
        write!(f, ", {bytes} more asked for, oldest slab from ")?;
        match self.alloc {
            true => write!(f, "an `alloc` before {task} ({oldest_bytes} bytes)")?,
            false => write!(f, "{task} (`{name}`, {oldest_bytes} bytes)")?,
        }
        match (scope, self.argument) {
            (0, _) => write!(f, "; raise heap_bytes, or submit from a scope of another depth"),
            (_, true) => write!(f, "; raise heap_bytes, or submit from a deeper scope"),
            (_, false) => write!(f, "; close the scope first or raise heap_bytes"),
        }
    }
}

/// An invalid argument of a typed task. Parameters are counted from 1; the context is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArgumentError {
    /// What the task is called.
    pub task: String,
    /// Which parameter.
    pub parameter: usize,
    /// Of which member, if it is a group.
    pub member: Option<usize>,
    /// What is wrong with the argument.
    pub fault: ArgumentFault,
}

impl std::fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "parameter {} of `{}`", self.parameter, Shown(&self.task))?;
        if let Some(member) = self.member {
            write!(f, ", member {member}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for ArgumentError {}

/// What is wrong with an argument of a typed task.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentFault {
    /// A part that is not inside.
    #[error("elements {first}..{end} are no part of {len} elements")]
    OutOfRange {
        /// The first element.
        first: usize,
        /// The one behind the last.
        end: usize,
        /// Elements there are.
        len: usize,
    },
    /// A shape with more or fewer elements than the view has.
    #[error("the shape {shape:?} is not one of {len} elements")]
    Shape {
        /// The shape asked for.
        shape: Vec<u32>,
        /// Elements there are.
        len: u64,
    },
    /// More dimensions than there can be, or another size that no tensor has.
    #[error(transparent)]
    Tensor(#[from] AbiError),
    /// A tensor of another data type, of no possible shape, or at an address that is not aligned.
    #[error("it is not a tensor of {} at an aligned address", .0.name())]
    Elements(DataType),
    /// Memory of another executor.
    #[error("it is memory of another executor; use one of the executor that runs the task")]
    OtherExecutor,
    /// Memory of a scope that has closed.
    #[error(
        "the scope that it was allocated in has closed; allocate it in a scope that is open for \
         as long as tasks are submitted that name it, or use a buffer"
    )]
    ScopeClosed,
    /// Memory that somebody outside can write to at any time.
    #[error(
        "it is imported memory, to which others may write while the task has a slice of it; copy \
         it to a buffer of the executor, or promise that they do not, with the unsafe `View::of`"
    )]
    Imported,
    /// Bytes that the task gets twice, and writes.
    #[error(
        "it shares {bytes} bytes with parameter {parameter}{}, and one of the two is written; name \
         parts that share nothing, or take the bytes once, as `InOut`",
        .member.map_or_else(String::new, |member| format!(" of member {member}"))
    )]
    Overlap {
        /// The other parameter.
        parameter: usize,
        /// Whose, where it is that of another member of the group.
        member: Option<usize>,
        /// How many bytes they share there.
        bytes: u64,
    },
}

/// A call that is not possible where, or with what, it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// Made inside the function of a task.
    #[error(
        "this executor belongs to the host: inside a task's function it does not submit or wait; \
         return the data and submit from the host"
    )]
    InsideTask,
    /// Made in a process that the host forked by itself.
    #[error(
        "this executor belongs to the process that built it, and this is a child of it; build one \
         here"
    )]
    ForkedChild,
    /// A run inside a run of the same executor.
    #[error(
        "a run inside a run of the same executor would wait for itself; submit to the `orch` that \
         is open, in a nested scope if need be"
    )]
    NestedRun,
    /// The executor was closed while a run was open that was begun by hand.
    #[error(
        "a run that was begun by hand was still open when its executor was closed, and was \
         cancelled; end or detach it first"
    )]
    OpenRun,
    /// An untyped submit of a function that has typed parameters.
    #[error(
        "callable {0:#x} was registered with `Builder::task`, so its arguments go through `spawn`, \
         which checks them against its parameters"
    )]
    TypedFunction(u64),
    /// A typed task where two tasks may have the same bytes at the same time.
    #[error(
        "typed tasks get slices, which compatible hazards do not keep from others: build the \
         executor with strict hazards, or register the function with `register`"
    )]
    CompatibleHazards,
    /// A NO_DEP tensor of an untyped task in an executor with typed tasks.
    #[error(
        "NO_DEP in an executor with typed tasks, which hold slices of what they name: use another \
         tag, or a typed task with the unsafe `View::unordered`"
    )]
    UnorderedBesideTyped,
    /// A guard of an imported buffer.
    #[error(
        "others may write to an imported buffer, so there is no slice of it; copy it (`to_vec`), or \
         use `as_mut_ptr`"
    )]
    ImportedSlice,
    /// `unregister` of a function that was there from the start.
    #[error(
        "callable {0:#x} was registered before the start, and stays; only functions of \
         `register_library` are taken back"
    )]
    NotDynamic(u64),
}

/// Options of a task that are invalid, or contradict each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOptions {
    /// Retries of a body that may have written half of its outputs.
    #[error(
        "{0} retries need `idempotent` or `snapshot`: a body that was cut short may have written \
         half of its outputs"
    )]
    UnsafeRetries(u32),
    /// More retries than there can be.
    #[error("invalid retries {0}: at most {max}", max = MAX_ATTEMPTS - 1)]
    Retries(u32),
    /// A deadline of no time, or of more than there can be.
    #[error(
        "invalid deadline {0:?}: it lies between one microsecond and 2^32 microseconds (71 minutes)"
    )]
    Deadline(Duration),
    /// A task that only a worker could run that will not come back.
    #[error("{0} was retired; direct the task elsewhere")]
    RetiredWorker(WorkerId),
    /// A group that is directed to one worker.
    #[error("a group takes whichever workers are idle, and is directed to {0}: leave out `on`")]
    DirectedGroup(WorkerId),
    /// A group with a snapshot.
    #[error(
        "members of a group start at different times, so a snapshot of one could hold what another \
         has written already: retry groups with `idempotent`"
    )]
    GroupSnapshot,
}

/// What a handle does not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHandle {
    /// A task of another run, or of another executor.
    #[error(
        "{0} belongs to another run, which has ended, or to another executor; wait for it in its own \
         run"
    )]
    OtherRun(TaskId),
    /// The same, in `after`.
    #[error(
        "`after` takes tasks of the run that is open, and {0} is of another run or executor; wait \
         for that run first, or submit both in one run"
    )]
    After(TaskId),
    /// A tensor that the submit has not allocated.
    #[error(
        "tensor argument {argument} of {task} was not allocated by the submit; only OUTPUT \
         arguments with a null address are, and the others are already named by the caller"
    )]
    NotAllocated {
        /// The task.
        task: TaskId,
        /// Which of its tensor arguments, members one after the other.
        argument: usize,
    },
}

/// What is in the way of a recording, or of a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReplay {
    /// A recording, or a buffer, of another executor.
    #[error(
        "this is of another executor; a recording names functions and memory of the executor that          recorded it: record the graph there"
    )]
    OtherExecutor,
    /// Bindings of another recording.
    #[error("these bindings are of another recording; take `Recording::bindings` of this one")]
    OtherBindings,
    /// A recording, or a replay, while a run is recorded.
    #[error(
        "this run is being recorded already, and a recording holds no replays: submit its tasks, or          end the recording first"
    )]
    WhileRecording,
    /// A recording that would begin in the middle of a run.
    #[error("this run has tasks already, and is recorded as a whole or not: begin another one")]
    LateRecording,
    /// A run that was not recorded.
    #[error("this run is not recorded: call `OpenRun::record` before its first task")]
    NotRecorded,
    /// The handle of a task that was not recorded.
    #[error("{0} is no task of this recording; handles of the recorded run name its tasks")]
    OtherTask(TaskId),
    /// A number of memory that there is not.
    #[error(
        "there is no binding {number}: the recording names {bindings} pieces of memory, from 0 on"
    )]
    NoBinding {
        /// Asked for.
        number: usize,
        /// How many there are.
        bindings: usize,
    },
    /// Memory that was not recorded.
    #[error("the recording names no memory at {0:#x}; `Bindings::memory` has what it names")]
    NotNamed(u64),
    /// Less memory than tasks name.
    #[error(
        "binding {binding} takes memory of at least {needed} bytes, which its tasks name, and this has          {bytes}; bind a longer tensor"
    )]
    TooShort {
        /// Which binding.
        binding: usize,
        /// Bytes of what it was given.
        bytes: u64,
        /// Bytes that it takes.
        needed: u64,
    },
    /// Typed tasks were given a tensor.
    #[error(
        "binding {0} becomes slices of typed tasks, which take a buffer or a view of their element          type: use `Bindings::buffer` or `Bindings::view`"
    )]
    Typed(usize),
    /// Typed tasks were given elements of another type.
    #[error("binding {binding} becomes slices of {}, and these are elements of {}", .recorded.name(), .given.name())]
    Elements {
        /// Which binding.
        binding: usize,
        /// The type that tasks take it for.
        recorded: DataType,
        /// That of the buffer.
        given: DataType,
    },
    /// Typed tasks were given memory that others may write to.
    #[error(
        "binding {0} becomes slices of typed tasks, and to imported memory others may write meanwhile;          copy it to a buffer of the executor"
    )]
    Imported(usize),
    /// A task that there is not.
    #[error("there is no task {task}: the recording has {tasks}, from 0 on")]
    NoTask {
        /// Asked for.
        task: usize,
        /// How many there are.
        tasks: usize,
    },
    /// A scalar that a task does not have.
    #[error("task {task} of the recording has no scalar {scalar}: it has {scalars}, from 0 on")]
    NoScalar {
        /// Which task.
        task: usize,
        /// Asked for.
        scalar: usize,
        /// How many it has.
        scalars: usize,
    },
    /// Two pieces of memory that become one.
    #[error(
        "bindings {first} and {second} share the {bytes} bytes at {address:#x}, and tasks write to one          of them: the recorded dependencies hold for memory that is apart; bind them apart, or record          the graph as it is now"
    )]
    Overlap {
        /// Which binding.
        first: usize,
        /// Which other one.
        second: usize,
        /// First byte that they share.
        address: u64,
        /// How many they share there.
        bytes: u64,
    },
    /// The recorded buffer is no more.
    #[error(
        "the buffer that was recorded as binding {0} was dropped; bind another one in its place"
    )]
    Dropped(usize),
    /// Memory that no worker could reach.
    #[error(
        "binding {binding} ({bytes} bytes at {address:#x}) lies in no live slab and no buffer of this          executor; bind a buffer, or memory of a scope that is open"
    )]
    Unknown {
        /// Which binding.
        binding: usize,
        /// First byte.
        address: u64,
        /// Bytes that tasks name.
        bytes: u64,
    },
    /// A task of a recording names memory of a scope that had closed.
    #[error(
        "task {task} of the recording names memory of a scope that had closed, which a replay could          find given to others; submit it while that scope is open"
    )]
    ScopeClosed {
        /// Which task.
        task: usize,
    },
}

/// Why a submit, a wait or a run did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A task failed. For a run: the first root, in the order of submission.
    #[error("{0}")]
    Task(Box<TaskFailure>),
    /// Invalid arguments.
    #[error(transparent)]
    Args(#[from] AbiError),
    /// An invalid argument of a typed task.
    #[error(transparent)]
    Argument(Box<ArgumentError>),
    /// A ring can never give what was asked.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// More argument bytes than the payload ring takes.
    #[error(
        "the arguments of one submit take {0} bytes, and a task descriptor holds {MAX_ARGS_BYTES} at most; \
         pass large data as tensors"
    )]
    ArgsTooLarge(usize),
    /// A tensor that no worker could reach.
    #[error(
        "tensor {index} ({bytes} bytes at {address:#x}) lies in no live slab and no buffer of \
         this executor; use an output of a task, `alloc`, or `Executor::buffer`"
    )]
    UnknownAddress {
        /// Which argument.
        index: usize,
        /// First byte.
        address: u64,
        /// Length.
        bytes: u64,
    },
    /// A null address where nothing is allocated.
    #[error("tensor {0} has a null address; only an OUTPUT is allocated by the submit")]
    NullTensor(usize),
    /// Two arguments of one task that write the same bytes.
    #[error(
        "tensors {first} and {second} of one task both write the {bytes} bytes at {address:#x}; \
         the order of two writes of one task is nobody's: name them once, or as parts that share \
         no byte"
    )]
    OverlappingWrites {
        /// Which argument.
        first: usize,
        /// Which other one.
        second: usize,
        /// First byte that both write.
        address: u64,
        /// How many bytes they share there.
        bytes: u64,
    },
    /// A group without members.
    #[error("invalid group of 0 members: it needs at least one")]
    EmptyGroup,
    /// A group that can never form.
    #[error("a group of {members} members is larger than its pool of {pool} {kind} workers")]
    GroupTooLarge {
        /// Members asked for.
        members: usize,
        /// Workers there are.
        pool: usize,
        /// Of which kind.
        kind: WorkerKind,
    },
    /// A kind of which there are no workers.
    #[error("there are no {0} workers in this executor; ask the builder for some")]
    NoWorkers(WorkerKind),
    /// A worker that does not exist, or is of the other kind.
    #[error("{worker} is no {kind} worker of this executor; direct the task to one that is")]
    WrongWorker {
        /// Asked for.
        worker: WorkerId,
        /// The kind of the task.
        kind: WorkerKind,
    },
    /// A callable that was never registered.
    #[error(
        "callable {0:#x} is not a registered function of this executor; those that its builder's \
         `register` returned are, and those of another executor are not"
    )]
    UnknownFunction(u64),
    /// A function was not registered after the start.
    #[error("cannot register `{}` of {}: {why}", Shown(symbol), Shown(path))]
    Library {
        /// The shared object.
        path: String,
        /// The function.
        symbol: String,
        /// What is in the way.
        why: String,
    },
    /// Options that are invalid, or contradict each other.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// Scopes too deep.
    #[error("scopes are {MAX_SCOPE_DEPTH} deep already; close one first")]
    ScopeDepth,
    /// `scope_end` without `scope_begin`.
    #[error("scope_end without an open scope of this run; call scope_begin first")]
    NoScope,
    /// The rings are full, and `try_submit` does not wait.
    #[error("{what} is full: {why}; wait for a task, or use `submit`")]
    WouldBlock {
        /// Which ring.
        what: &'static str,
        /// What holds it.
        why: String,
    },
    /// Waiting would never end: the space is held by something that only the caller can release.
    #[error("{0}")]
    HeapDeadlock(Box<PinnedHeap>),
    /// The back-pressure time-out of the builder has passed.
    #[error("{what} stayed full for {waited:?}: {why}; raise the limit or the time-out")]
    BackPressure {
        /// Which ring.
        what: &'static str,
        /// What holds it.
        why: Box<str>,
        /// How long.
        waited: Duration,
    },
    /// An executor that was closed before its tasks were through.
    #[error(
        "the executor was closed after {waited:?} with {count} tasks not through: {tasks}; they \
         were cancelled; end or wait for their runs first, or give `close` more time"
    )]
    StillRunning {
        /// How long they were waited for.
        waited: Duration,
        /// Tasks that were not through.
        count: u64,
        /// The first of them: number, name, where each was.
        tasks: Box<str>,
    },
    /// A handle of another run, or an output that was not allocated.
    #[error(transparent)]
    Handle(#[from] InvalidHandle),
    /// A buffer with more elements than a tensor has.
    #[error("invalid length {0} of a buffer: at most 2^32 - 1 elements; make several")]
    BufferLength(usize),
    /// Buffer space is used up.
    #[error(
        "no room for a buffer of {asked} bytes: {used} of {capacity} bytes of buffer space are in \
         use; drop buffers or raise buffer_bytes"
    )]
    BufferSpace {
        /// Bytes asked for.
        asked: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes there are.
        capacity: u64,
    },
    /// A buffer that the host was to read or write while a task uses it.
    #[error(
        "{task} (`{}`), which is not through, names the buffer; wait for the task (`Orchestrator::wait`) \
         or for its run first",
        Shown(name)
    )]
    BufferInUse {
        /// The first such task.
        task: TaskId,
        /// What its function is called.
        name: String,
    },
    /// A buffer that a guard of the host keeps from others.
    #[error(
        "{}a buffer of which the host holds a guard (`Buffer::read`, `Buffer::write`); drop the guard \
         first",
        .tensor.map_or_else(|| "this is ".to_owned(), |tensor| format!("tensor {tensor} lies in "))
    )]
    BufferGuarded {
        /// Which argument of a submit; `None` for another access of the host.
        tensor: Option<usize>,
    },
    /// Memory that came after the fork is not available.
    #[error("importing memory: {what} failed: {source}{hint}", hint = limits::hint(source))]
    Import {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("{what} failed: {source}{hint}", hint = limits::hint(source))]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is shorter than the buffer over it.
    #[error(
        "importing memory: the file has {available} bytes, and the buffer would have {asked}; ask for \
         fewer elements, or make the file longer first"
    )]
    ImportTooShort {
        /// Bytes asked for.
        asked: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The file could be made shorter under those who use it.
    #[error(
        "importing memory: the file does not take the seal against shrinking (F_SEAL_SHRINK), and \
         whoever touched what was cut off would die of SIGBUS; import a memfd made with MFD_ALLOW_SEALING, \
         or use the unsafe `import_unsealed`"
    )]
    ImportUnsealed,
    /// No addresses are left for imports.
    #[error(
        "no addresses for an import of {asked} bytes: {used} of {capacity} are in use; drop \
         imported buffers or raise import_bytes"
    )]
    ImportSpace {
        /// Bytes asked for.
        asked: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes there are.
        capacity: u64,
    },
    /// The table of imports is full.
    #[error("{0} imported buffers are there, the most there can be; drop some")]
    Imports(usize),
    /// A call that is not possible where it was made.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// A recording or a replay that is not possible.
    #[error(transparent)]
    Replay(#[from] InvalidReplay),
    /// The executor has failed as a whole, or was closed.
    #[error("the executor has failed: {0}; build a new one")]
    Failed(String),
    /// What the closure of a run returned by itself.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps an error of the caller's own, to return it from the closure of a run.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// The task at the root, if a task's failure is what this is.
    pub fn failure(&self) -> Option<&TaskFailure> {
        match self {
            Self::Task(failure) => Some(failure),
            _ => None,
        }
    }
}
