//! The submitting side of a run: scopes, submits, waiting, cancelling.
//!
//! Everything of a submit that can fail comes before the slot is reserved. From there on nothing
//! does, so a submit that returns an error has left no trace.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::handle::{Named, TaskHandle};
use super::in_flight::{InFlight, Patience};
use super::one_pass::{OnePass, Plain};
use super::options::{Priority, TaskOptions};
use super::plan::{Plan, Planner};
use super::profile::Submits;
use super::recording::{Recorder, Recording, Submitted};
use super::request::{Request, check};
use super::run::RunHandle;
use super::run_state::RunState;
use super::shared::{Shared, kind_of};
use super::tasks::Waited;
use crate::abi::{AbiError, CallConfig, ContinuousTensor, DataType, TaskArgs, TensorArgType};
use crate::error::{Error, InvalidHandle, InvalidReplay, Misuse, TaskFailure};
use crate::graph::{Access, Dependencies, Hazards, Producer};
use crate::ids::{Callable, TaskId, WorkerId, WorkerKind};
use crate::limits::{HEAP_ALIGN, HEAP_RINGS, INLINE_ARGS, MAX_FAN_IN};
use crate::mailbox::descriptor::{
    ANYWHERE, GROUP, Head, IMPORTED, Route, SNAPSHOT, SPILLED, TaskDescriptors, URGENT,
};
use crate::mailbox::group;
use crate::ring::dist_ring::{Needs, Reservation};
use crate::ring::heap::{Maker, ScopeRef, align_up};
use crate::ring::{Phase, RingError, word};
use crate::segment::{Code, Settled};

/// Why `try_submit` did not: the error, and the arguments back.
#[derive(Debug)]
pub struct Refused {
    /// What is in the way; [`Error::WouldBlock`] when it will go away by itself.
    pub error: Error,
    /// The arguments as they were.
    pub args: TaskArgs,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// Submits the tasks of a run. The closure of [`run`](crate::Executor::run) gets one; it is the
/// only writer of the ring.
pub struct Orchestrator {
    in_flight: InFlight,
    planner: Planner,
    one_pass: OnePass,
    // Scratch of a submit, kept to spare the allocator.
    deps: Dependencies,
    live: Vec<Producer>,
    /// While a run is recorded.
    recorder: Option<Box<Recorder>>,
}

impl Orchestrator {
    pub(super) fn new(shared: Arc<Shared>, hazards: Hazards) -> Result<Self, RingError> {
        // SAFETY: `shared` holds the arena and is kept beside the views of it, which do nothing when
        // they are dropped.
        let arena = unsafe { shared.arena.pinned_in() };
        Ok(Self {
            in_flight: InFlight::new(Arc::clone(&shared), arena, hazards)?,
            planner: Planner::default(),
            one_pass: OnePass::default(),
            deps: Dependencies::default(),
            live: Vec::new(),
            recorder: None,
        })
    }

    #[inline]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.in_flight.shared()
    }

    /// Lets the open run name what a task of the level above names.
    pub(super) fn lend(&mut self, tensors: &[ContinuousTensor]) {
        self.planner.lend(tensors);
    }

    // ---- runs -----------------------------------------------------------------------------------

    pub(super) fn within_run<R>(
        &mut self,
        submit: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<(Result<R, Error>, Arc<RunState>), Error> {
        let run = self.open_run()?;
        let _span = tracing::debug_span!("run", first = run.first).entered();
        let value = catch_unwind(AssertUnwindSafe(|| submit(self)));
        self.close_run(&run);
        match value {
            Ok(value) => Ok((value, run)),
            Err(panic) => {
                // The closure's own panic: its tasks end first, then it goes on its way.
                let _ = self.finish_run(&run);
                resume_unwind(panic)
            }
        }
    }

    /// Begins a run: everything that is submitted from here on is its own.
    pub(super) fn open_run(&mut self) -> Result<Arc<RunState>, Error> {
        self.shared().tasks.check_health()?;
        self.recorder = None; // of a run that ended otherwise
        self.reclaim()?;
        self.planner.begin_run(&mut self.in_flight);
        self.in_flight.begin_run()
    }

    /// Nothing more is submitted to the run. Scopes that it left open end with it.
    pub(super) fn close_run(&mut self, run: &RunState) {
        self.in_flight.close_run(run);
    }

    /// Takes down what is submitted from here on: to a run that was just opened.
    pub(super) fn begin_recording(&mut self) -> Result<(), Error> {
        if self.recorder.is_some() {
            return Err(InvalidReplay::WhileRecording.into());
        }
        let begun = self.in_flight.window().next() != self.in_flight.runs().open().first;
        if begun || self.in_flight.scopes().depth() > 1 {
            return Err(InvalidReplay::LateRecording.into());
        }
        let shared = self.shared();
        let recorder = Recorder::new(shared.id, self.in_flight.hazards(), shared.is_typed());
        self.recorder = Some(Box::new(recorder));
        Ok(())
    }

    /// What was taken down.
    pub(super) fn end_recording(&mut self) -> Result<Recording, Error> {
        let recorder = self.recorder.take().ok_or(InvalidReplay::NotRecorded)?;
        Ok(recorder.finish()?)
    }

    pub(super) fn is_recording(&self) -> bool {
        self.recorder.is_some()
    }

    /// What a replay works on.
    pub(super) fn parts(&mut self) -> (&mut InFlight, &mut Planner) {
        (&mut self.in_flight, &mut self.planner)
    }

    /// What goes on by itself of a run that was closed.
    pub(super) fn detached(&self, run: Arc<RunState>) -> RunHandle {
        RunHandle::new(Arc::clone(self.shared()), run)
    }

    /// Lets retired slots leave the window.
    pub(super) fn reclaim(&mut self) -> Result<(), Error> {
        self.in_flight.reclaim()
    }

    /// Notes what is submitted from now on, for a profile.
    pub(super) fn note_submits(&mut self, submits: Arc<Submits>) {
        self.in_flight.note_submits(submits);
    }

    /// Bytes held of each heap ring, for other threads.
    pub(super) fn heaps_shown(&mut self) -> [Arc<AtomicU64>; HEAP_RINGS] {
        self.in_flight.heaps_shown()
    }

    /// Waits for every task of the run; its first root failure, if there is one.
    pub(super) fn finish_run(&mut self, run: &Arc<RunState>) -> Result<(), Error> {
        self.shared().check_place()?; // a closure may have forked, and be back in the child
        let waited = self.shared().tasks.wait_range(run.first..run.end(), None);
        if waited == Waited::Failed {
            self.shared().tasks.check_health()?;
        }
        self.reclaim()?;
        self.in_flight.reclaim_heaps();
        // An older run that is still going keeps our slots in the window; read them there.
        for seq in run.first.max(self.in_flight.window().tail())..run.end() {
            self.in_flight.note_failure(seq);
        }
        match run.first_root() {
            Some(failure) => Err(Error::Task(Box::new(failure))),
            None => Ok(()),
        }
    }

    /// Whether it submits to that executor.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(self.shared(), shared)
    }

    /// The number of the oldest task in the window.
    pub(super) fn first_in_window(&self) -> u64 {
        self.in_flight.window().tail()
    }

    /// Tells executors apart, as handles do.
    #[inline]
    pub(crate) fn executor(&self) -> u64 {
        self.shared().id
    }

    /// The innermost scope.
    pub(crate) fn current_scope(&self) -> ScopeRef {
        self.in_flight.scopes().current()
    }

    /// Whether that scope is still open.
    #[inline]
    pub(crate) fn is_open(&self, scope: ScopeRef) -> bool {
        self.in_flight.scopes().is_open(scope)
    }

    /// What a function is called.
    pub(crate) fn name_of(&self, kind: WorkerKind, callable: Callable) -> String {
        self.shared().names.name(kind as u8, callable.0)
    }

    /// The number of the next task.
    pub(super) fn next_task(&self) -> u64 {
        self.in_flight.window().next()
    }

    // ---- scopes ---------------------------------------------------------------------------------

    /// Opens a scope, lets `submit` fill it, and closes it. Slabs made in it can be reclaimed once
    /// it has closed and the tasks that name them are through. Does not wait.
    ///
    /// # Errors
    /// What the closure returned. [`Error::ScopeDepth`]: 64 scopes are open.
    pub fn scope<R>(
        &mut self,
        submit: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.scope_begin()?;
        let depth = self.in_flight.scopes().depth();
        let value = catch_unwind(AssertUnwindSafe(|| submit(self)));
        if let Some(recorder) = &mut self.recorder {
            recorder.end_scopes((self.in_flight.scopes().depth() + 1).saturating_sub(depth));
        }
        self.in_flight.end_scopes(depth - 1);
        value.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Opens a scope by hand; [`scope`](Self::scope) closes its own.
    ///
    /// # Errors
    /// [`Error::ScopeDepth`]: 64 scopes are open.
    pub fn scope_begin(&mut self) -> Result<(), Error> {
        self.shared().check_place()?;
        self.in_flight.begin_scope()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_scope();
        }
        Ok(())
    }

    /// Closes the scope that [`scope_begin`](Self::scope_begin) opened last. The scope of the run
    /// itself is not the caller's to close.
    ///
    /// # Errors
    /// [`Error::NoScope`]: no scope is open but that of the run.
    pub fn scope_end(&mut self) -> Result<(), Error> {
        if self.in_flight.scopes().depth() <= 1 {
            return Err(Error::NoScope);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.end_scopes(1);
        }
        self.in_flight.end_scope()
    }

    /// Open scopes; 1 directly in a run.
    pub fn scope_depth(&self) -> usize {
        self.in_flight.scopes().depth()
    }

    /// Cancels every task that was submitted in the innermost scope, scopes inside it included.
    /// Returns how many had not completed.
    pub fn cancel_scope(&mut self) -> u64 {
        if self.shared().check_place().is_err() {
            return 0;
        }
        let first = self
            .in_flight
            .scopes()
            .innermost()
            .map_or(self.in_flight.window().next(), |scope| scope.first);
        self.shared().tasks.cancel_range(first..self.in_flight.window().next())
    }

    // ---- single tasks ---------------------------------------------------------------------------

    /// Waits for a task of this run.
    ///
    /// # Errors
    /// [`Error::Task`] with the root of the failure that reached it. [`Error::Handle`]: the task is of
    /// another run or executor.
    pub fn wait(&mut self, handle: &TaskHandle) -> Result<(), Error> {
        self.wait_for(handle, None).map(drop)
    }

    /// The same, at most for `timeout`; `Ok(false)` when that has passed.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for(
        &mut self,
        handle: &TaskHandle,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<bool, Error> {
        self.shared().check_place()?;
        let own = handle.executor == self.shared().id
            && self.in_flight.runs().open().contains(handle.seq);
        if !own || handle.seq >= self.in_flight.window().next() {
            return Err(InvalidHandle::OtherRun(handle.id()).into());
        }
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        match self.shared().tasks.wait_settled(handle.seq, until) {
            Waited::TimedOut => return Ok(false),
            Waited::Failed => self.shared().tasks.check_health()?,
            Waited::Settled => {}
        }
        self.reclaim()?;
        let failed_root = if handle.seq < self.in_flight.window().tail() {
            self.in_flight.runs().failed_root(handle.seq)
        } else {
            let window = self.in_flight.window();
            let failed = window.settled(handle.seq) == Settled::Failed;
            failed.then(|| window.failed_root(handle.seq))
        };
        match failed_root {
            None => Ok(true),
            Some(failed_root) => Err(Error::Task(Box::new(self.root_of(failed_root)))),
        }
    }

    /// The failed task at the root of a failure.
    fn root_of(&mut self, failed_root: u64) -> TaskFailure {
        let root = failed_root >> 8;
        if root >= self.in_flight.window().tail() {
            // It has released those who depend on it, maybe not all of them yet.
            let _ = self.shared().tasks.wait_settled(root, None);
            self.in_flight.note_failure(root);
        }
        self.in_flight.runs().open().root(root).unwrap_or_else(|| TaskFailure {
            task: TaskId(root),
            name: "unknown".to_owned(),
            kind: kind_of(Code::from_bits(failed_root as u8)),
            worker: None,
            attempt: 1,
            member: None,
            message: String::new(),
            returned: None,
            exit_status: None,
            signal: None,
        })
    }

    /// Cancels a task unless it has completed: it never begins, or its body sees it. Dependents
    /// fail with it as their root. True when it had not completed.
    pub fn cancel(&mut self, handle: &TaskHandle) -> bool {
        handle.executor == self.shared().id
            && self.shared().check_place().is_ok()
            && self.shared().tasks.cancel_range(handle.seq..handle.seq + 1) == 1
    }

    /// Whether a task of this run has failed so far. Does not wait: what is not through yet may
    /// still fail. True as well when the executor has failed before the run was through.
    pub fn run_failed(&self) -> bool {
        self.shared().check_place().is_ok()
            && self
                .shared()
                .tasks
                .has_failed(self.in_flight.runs().open(), self.in_flight.window().next())
    }

    // ---- the end --------------------------------------------------------------------------------

    pub(super) fn cancel_everything(&mut self) {
        self.shared()
            .tasks
            .cancel_range(self.in_flight.window().tail()..self.in_flight.window().next());
    }

    /// Waits until everything in the window is through, whichever run it belongs to.
    pub(super) fn drain(&mut self, until: Option<Instant>) -> Result<(), Error> {
        let began = Instant::now();
        match self
            .shared()
            .tasks
            .wait_range(self.in_flight.window().tail()..self.in_flight.window().next(), until)
        {
            Waited::Settled => self.reclaim(),
            Waited::Failed => self.shared().tasks.check_health(),
            Waited::TimedOut => Err(self.still_running(began.elapsed())),
        }
    }

    fn still_running(&self, waited: Duration) -> Error {
        const NAMED: usize = 4;
        let open = || {
            (self.in_flight.window().tail()..self.in_flight.window().next())
                .filter(|&seq| self.in_flight.window().settled(seq) == Settled::Open)
        };
        let mut tasks: Vec<String> =
            open().take(NAMED).map(|seq| self.describe_open(seq)).collect();
        let count = open().count() as u64;
        if count > tasks.len() as u64 {
            tasks.push("...".to_owned());
        }
        Error::StillRunning { waited, count, tasks: tasks.join(", ").into() }
    }

    /// A task that is not through, with its name and where it is.
    fn describe_open(&self, seq: u64) -> String {
        let name = self.in_flight.task_name(seq);
        let word = self.in_flight.window().word(seq);
        let place = match word.phase() {
            Some(Phase::Running | Phase::Condemned) if word.owner() == word::GROUP => {
                "runs as a group".to_owned()
            }
            Some(Phase::Running | Phase::Condemned) => {
                format!("runs on {}", WorkerId(word.owner()))
            }
            Some(Phase::Ready) => "waits for a worker".to_owned(),
            _ => "waits for others".to_owned(),
        };
        format!("{} (`{name}`, {place})", TaskId(seq))
    }

    /// Whether everything was through by then.
    pub(super) fn settle(&mut self, until: Instant) -> bool {
        let tasks = self.in_flight.window().tail()..self.in_flight.window().next();
        self.shared().tasks.wait_range(tasks, Some(until)) == Waited::Settled
    }

    // ---- submitting ----------------------------------------------------------------------------

    /// Submits a task to the NEXT_LEVEL workers. Waits while the rings are full.
    ///
    /// OUTPUT tensors with a null address are allocated from the heap ring of the innermost scope;
    /// the handle names them.
    ///
    /// # Errors
    /// Invalid arguments ([`Error::Args`], [`Error::UnknownAddress`], [`Error::NullTensor`],
    /// [`Error::OverlappingWrites`], [`Error::ArgsTooLarge`]); a function or worker that is not there
    /// ([`Error::UnknownFunction`], [`Error::NoWorkers`]); a request that never fits
    /// ([`Error::Ring`]); a wait that would never end ([`Error::HeapDeadlock`]) or took too long
    /// ([`Error::BackPressure`]). Nothing is changed then.
    #[inline]
    pub fn submit(
        &mut self,
        callable: impl Into<Callable>,
        args: TaskArgs,
        config: CallConfig,
    ) -> Result<TaskHandle, Error> {
        self.submit_plain(&Plain::new(callable.into(), config, WorkerKind::NextLevel), args)
    }

    /// Submits a task to the SUB workers.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_sub(
        &mut self,
        callable: impl Into<Callable>,
        args: TaskArgs,
    ) -> Result<TaskHandle, Error> {
        let config = CallConfig::default();
        self.submit_plain(&Plain::new(callable.into(), config, WorkerKind::Sub), args)
    }

    /// Submits a task with options; they also say to which kind of worker.
    ///
    /// # Errors
    /// As [`submit`](Self::submit). [`Error::Options`]: they are invalid, or contradict each other.
    /// [`Error::Handle`]: `after` names a task of another run. [`Error::WrongWorker`].
    #[inline]
    pub fn submit_with(
        &mut self,
        callable: impl Into<Callable>,
        mut args: TaskArgs,
        config: CallConfig,
        options: &TaskOptions,
    ) -> Result<TaskHandle, Error> {
        let callable = callable.into();
        if options.are_plain() {
            return self.submit_plain(&Plain::new(callable, config, options.kind), args);
        }
        let request = check(&self.in_flight, callable, config, options, None, None)?;
        self.submit_checked(&request, std::slice::from_mut(&mut args), Patience::Wait)
    }

    /// Submits a task if that is possible without waiting.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::WouldBlock`]; the arguments come back.
    pub fn try_submit(
        &mut self,
        callable: impl Into<Callable>,
        mut args: TaskArgs,
        config: CallConfig,
    ) -> Result<TaskHandle, Box<Refused>> {
        let callable = callable.into();
        let plain = Plain::new(callable, config, WorkerKind::NextLevel);
        if let Some(seq) = self.submit_in_one_pass(&plain, &mut args) {
            return Ok(self.with_tensors(seq));
        }
        let options = TaskOptions::default();
        let submitted =
            check(&self.in_flight, callable, config, &options, None, None).and_then(|request| {
                self.submit_checked(&request, std::slice::from_mut(&mut args), Patience::Refuse)
            });
        submitted.map_err(|error| Box::new(Refused { error, args }))
    }

    /// Submits one node with a member for each of `args`, each run by another worker of the
    /// NEXT_LEVEL pool at the same time.
    ///
    /// # Errors
    /// As [`submit`](Self::submit). [`Error::EmptyGroup`], [`Error::GroupTooLarge`]: no members, or
    /// more than the pool has workers.
    pub fn submit_group(
        &mut self,
        callable: impl Into<Callable>,
        args: Vec<TaskArgs>,
        config: CallConfig,
    ) -> Result<TaskHandle, Error> {
        self.submit_group_with(callable, args, config, &TaskOptions::default())
    }

    /// The same on SUB workers.
    ///
    /// # Errors
    /// As [`submit_group`](Self::submit_group).
    pub fn submit_sub_group(
        &mut self,
        callable: impl Into<Callable>,
        args: Vec<TaskArgs>,
    ) -> Result<TaskHandle, Error> {
        self.submit_group_with(callable, args, CallConfig::default(), &TaskOptions::sub())
    }

    /// The same with options. A group goes to whichever workers are idle, so it cannot be
    /// directed to one; deadline and retries count for the group as a whole.
    ///
    /// # Errors
    /// As [`submit_group`](Self::submit_group) and [`submit_with`](Self::submit_with).
    pub fn submit_group_with(
        &mut self,
        callable: impl Into<Callable>,
        mut args: Vec<TaskArgs>,
        config: CallConfig,
        options: &TaskOptions,
    ) -> Result<TaskHandle, Error> {
        let request =
            check(&self.in_flight, callable.into(), config, options, Some(args.len()), None)?;
        self.submit_checked(&request, &mut args, Patience::Wait)
    }

    /// Submits a single task of the typed front, as [`submit_typed`](Self::submit_typed) does.
    #[inline]
    pub(crate) fn submit_typed_task(
        &mut self,
        callable: Callable,
        mut args: TaskArgs,
        options: &TaskOptions,
        parameters: &[u8],
    ) -> Result<TaskHandle, Error> {
        if options.are_plain() {
            let plain = Plain::new(callable, CallConfig::default(), options.kind);
            return self.submit_plain(&Plain { slices: Some(parameters), ..plain }, args);
        }
        let args = std::slice::from_mut(&mut args);
        self.submit_typed(callable, args, options, false, parameters)
    }

    /// Submits what the typed front has made of its arguments: a task, or a group. `parameters` has
    /// the parameter (from 1) of each tensor. Bytes that one of the arguments writes are those of no
    /// other one, of no other member either, unless they are NO_DEP: else it is refused.
    pub(crate) fn submit_typed(
        &mut self,
        callable: Callable,
        args: &mut [TaskArgs],
        options: &TaskOptions,
        group: bool,
        parameters: &[u8],
    ) -> Result<TaskHandle, Error> {
        if self.in_flight.hazards() != Hazards::Strict {
            return Err(Misuse::CompatibleHazards.into());
        }
        let members = group.then_some(args.len());
        let config = CallConfig::default();
        let request = check(&self.in_flight, callable, config, options, members, Some(parameters))?;
        self.submit_checked(&request, args, Patience::Wait)
    }

    /// Memory in the heap ring of the innermost scope, not yet written by anybody. It lives until
    /// the scope has closed and every task that names it is through.
    ///
    /// # Errors
    /// [`Error::Args`]: more than five dimensions, or a size that overflows. [`Error::Ring`],
    /// [`Error::HeapDeadlock`]: more than a heap ring has, or a ring that is full for good.
    pub fn alloc(&mut self, shape: &[u32], dtype: DataType) -> Result<ContinuousTensor, Error> {
        self.in_flight.shared().check_place()?;
        let mut tensor = ContinuousTensor::new(0, shape, dtype)?;
        let bytes = tensor.nbytes()?;
        if bytes > 0 {
            let aligned = align_up(bytes).ok_or_else(|| AbiError::SizeOverflow(shape.to_vec()))?;
            self.in_flight.make_heap_room(aligned, Patience::Wait)?;
            tensor.set_data(self.in_flight.take_slabs(&[bytes], false, Maker::Alloc)?);
            if let Some(recorder) = &mut self.recorder {
                recorder.alloc(tensor.data(), bytes);
            }
        }
        Ok(tensor)
    }

    // ---- the submit itself ----------------------------------------------------------------------

    /// A single task without options, in one pass if it is one as most are.
    fn submit_plain(&mut self, plain: &Plain<'_>, mut args: TaskArgs) -> Result<TaskHandle, Error> {
        match self.submit_in_one_pass(plain, &mut args) {
            Some(seq) => {
                args.discard();
                if self.one_pass.named().is_some() {
                    return Ok(self.with_tensors(seq));
                }
                Ok(TaskHandle { seq, executor: self.shared().id, tensors: None })
            }
            None => self.submit_anyhow(plain, args),
        }
    }

    /// The number of the task. `None`: it is not as most are.
    #[inline(always)]
    fn submit_in_one_pass(&mut self, plain: &Plain<'_>, args: &mut TaskArgs) -> Option<u64> {
        if self.recorder.is_some() {
            return None; // it goes the long way, where it is taken down
        }
        let buffers = self.planner.buffers();
        self.one_pass.submit(&mut self.in_flight, buffers, plain, args)
    }

    /// The handle of a task that was submitted in one pass, with what was allocated for it.
    #[inline(never)]
    fn with_tensors(&mut self, seq: u64) -> TaskHandle {
        TaskHandle { seq, executor: self.shared().id, tensors: self.one_pass.named().take() }
    }

    #[cold]
    #[inline(never)]
    fn submit_anyhow(
        &mut self,
        plain: &Plain<'_>,
        mut args: TaskArgs,
    ) -> Result<TaskHandle, Error> {
        let &Plain { callable, config, kind, slices } = plain;
        let options = TaskOptions { kind, ..TaskOptions::default() };
        let args = std::slice::from_mut(&mut args);
        if let Some(slices) = slices {
            return self.submit_typed(callable, args, &options, false, slices);
        }
        let request = check(&self.in_flight, callable, config, &options, None, None)?;
        self.submit_checked(&request, args, Patience::Wait)
    }

    #[inline]
    fn submit_checked(
        &mut self,
        request: &Request<'_>,
        args: &mut [TaskArgs],
        patience: Patience,
    ) -> Result<TaskHandle, Error> {
        let plan = self.planner.plan(&mut self.in_flight, request, args)?;
        let mut deps = std::mem::take(&mut self.deps);
        deps.clear();
        let accesses = self.planner.accesses();
        if !accesses.is_empty() {
            self.in_flight.look_up(accesses, &mut deps);
        }
        for after in &request.options.after {
            deps.add(after.task, after.fails);
        }
        let placed = self.place(request, plan, args, deps.settle(), patience);
        self.deps = deps;
        placed
    }

    /// Submits what was planned, to come after these producers.
    #[inline]
    pub(super) fn place(
        &mut self,
        request: &Request<'_>,
        mut plan: Plan,
        args: &mut [TaskArgs],
        producers: &[Producer],
        patience: Patience,
    ) -> Result<TaskHandle, Error> {
        let spilled = request.group
            || plan.blobs > INLINE_ARGS
            || request.deadline_us != 0
            || request.options.retries != 0
            || request.options.snapshot;
        let own = Needs {
            edges: 0,
            payload: if spilled {
                TaskDescriptors::spill_words(args, plan.saved.len()) as u64 * 8
            } else {
                0
            },
            group: if request.group { group::words(args.len()) as u64 } else { 0 },
        };
        let room = self.make_all_room(patience, own, producers, &plan);
        if let Err(error) = room {
            self.planner.unmark(&mut self.in_flight);
            return Err(error);
        }
        // From here on nothing fails.
        let mut live = std::mem::take(&mut self.live);
        let failed_root = self.in_flight.find_live(producers, &mut live);
        let expected = self.in_flight.window().next();
        if live.len() > MAX_FAN_IN {
            self.planner.hold_meanwhile(&self.in_flight, live.len());
            self.join_many(request, &mut live);
            self.in_flight.add_fan_in_nodes(request.options.kind, &mut live);
        }
        let tensors = self.allocate(request, &mut plan, args)?;
        if self.in_flight.window().next() != expected {
            self.planner.hold_for_later(&mut self.in_flight);
        }
        let needs = Needs { edges: live.len() as u64, ..own };
        let Some(reserved) = self.in_flight.reserve(needs) else {
            return Err(Error::Failed("the ring had room and then had none".to_owned()));
        };
        let head = self.head(request, &reserved, args.len(), spilled, !plan.saved.is_empty());
        let descriptors = self.in_flight.window().descriptors();
        // SAFETY: this is the submitter, and slot and payload were reserved just now.
        unsafe {
            if spilled {
                descriptors.write_spilled(reserved.slot, &head, args, &plan.saved, plan.copies);
            } else {
                descriptors.write_inline(reserved.slot, &head, &args[0]);
            }
        }
        if let Some(area) = self.in_flight.window().arena().group(&head).filter(|_| request.group) {
            area.reset();
        }
        let (accesses, name) = (self.planner.accesses(), request.options.name.as_ref());
        self.in_flight.publish(&reserved, head.route, accesses, name, &live, failed_root);
        self.live = live;
        if self.recorder.is_some() {
            self.take_down(request, &head, args, tensors.as_ref());
        }
        Ok(TaskHandle { seq: reserved.seq, executor: self.in_flight.shared().id, tensors })
    }

    /// Records a task that was submitted.
    #[cold]
    fn take_down(
        &mut self,
        request: &Request<'_>,
        head: &Head,
        args: &[TaskArgs],
        allocated: Option<&Named>,
    ) {
        let Some(recorder) = &mut self.recorder else { return };
        let task = Submitted {
            head: head.unplaced(),
            options: request.options,
            group: request.group,
            inline: !head.has(SPILLED),
            args,
            allocated,
        };
        let (planner, in_flight) = (&self.planner, &mut self.in_flight);
        recorder.task(head.seq, &task, |bytes| planner.home_of(in_flight, bytes));
    }

    /// Room in the heap ring, the window and its rings, all before anything is taken.
    #[inline]
    fn make_all_room(
        &mut self,
        patience: Patience,
        own: Needs,
        producers: &[Producer],
        plan: &Plan,
    ) -> Result<(), Error> {
        if producers.len() > MAX_FAN_IN {
            self.in_flight.reclaim()?; // most of them may be through, and need no edge then
        }
        if plan.slab > 0 {
            self.in_flight.make_heap_room(plan.slab, patience)?;
        }
        if plan.copies > 0 {
            self.in_flight.make_copy_room(plan.copies, patience)?;
        }
        self.in_flight.make_room(patience, |tail| {
            let (slots, edges) = room_of(producers.iter().filter(|p| p.task >= tail).count());
            (slots, Needs { edges, ..own })
        })
    }

    /// The task waits for more than a task can name. Where others will have to wait for the same, they
    /// are to find one task in their place, and so does this one.
    #[cold]
    fn join_many(&mut self, request: &Request<'_>, live: &mut Vec<Producer>) {
        let (kind, accesses) = (request.options.kind, self.planner.accesses());
        if !self.in_flight.join_many(kind, accesses, room_of(live.len())) {
            return;
        }
        let mut deps = Dependencies::default();
        self.in_flight.look_up(accesses, &mut deps);
        request.options.after.iter().for_each(|after| deps.add(after.task, after.fails));
        self.in_flight.find_live(deps.settle(), live);
    }

    /// Gives outputs their addresses and a snapshot its place. What the handle names, if anything.
    #[inline]
    fn allocate(
        &mut self,
        request: &Request<'_>,
        plan: &mut Plan,
        args: &mut [TaskArgs],
    ) -> Result<Option<Named>, Error> {
        if plan.copies > 0 {
            let base = self.in_flight.take_copies(plan.copies)?;
            for range in &mut plan.saved {
                range.copy += base;
            }
            plan.copies = base; // from here on: the address of the seal
            self.in_flight.shared().arena.write_word(base, 0);
        }
        if !plan.null_outputs {
            return Ok(None);
        }
        let mut at = 0;
        if plan.slab > 0 {
            let maker = match &request.options.name {
                Some(name) => Maker::Named(Arc::clone(name)),
                None => Maker::Task(request.options.kind as u8, request.callable.0),
            };
            at = self.in_flight.take_slabs(&plan.outputs, true, maker)?;
        }
        let mut named = None;
        let tensors = args.iter_mut().flat_map(TaskArgs::tensors_mut);
        for (argument, (tensor, tag)) in tensors.enumerate() {
            if tag != TensorArgType::Output || tensor.data() != 0 {
                continue;
            }
            let bytes = tensor.nbytes()?;
            if bytes > 0 {
                tensor.set_data(at);
                self.planner.accesses().push(Access::new(at..at + bytes, tag));
                at += bytes.next_multiple_of(HEAP_ALIGN as u64);
            }
            Named::add(&mut named, argument, *tensor);
        }
        Ok(named)
    }

    #[inline(always)]
    fn head(
        &self,
        request: &Request<'_>,
        reserved: &Reservation,
        members: usize,
        spilled: bool,
        saved: bool,
    ) -> Head {
        let options = request.options;
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        Head {
            seq: reserved.seq,
            callable: request.callable.0,
            config: request.config,
            route: Route {
                kind: options.kind as u8,
                flags: flag(options.priority == Priority::Urgent, URGENT)
                    | flag(spilled, SPILLED)
                    | flag(saved, SNAPSHOT)
                    | flag(request.group, GROUP)
                    | flag(self.planner.names_imports(), IMPORTED),
                target: options.worker.map_or(ANYWHERE, |worker| worker.0),
            },
            payload: (reserved.payload / 8) as u32,
            members: members as u16,
            retries: options.retries as u16,
            deadline_us: request.deadline_us,
            group: reserved.group as u32,
        }
    }
}

/// Slots and edges of a task with so many producers, fan-in nodes included.
#[inline]
fn room_of(producers: usize) -> (u64, u64) {
    let over = producers.saturating_sub(MAX_FAN_IN);
    let fan_in_nodes = if over > 0 { over.div_ceil(23) + 1 } else { 0 };
    (1 + fan_in_nodes as u64, (producers + fan_in_nodes) as u64)
}

#[cfg(test)]
mod tests;
