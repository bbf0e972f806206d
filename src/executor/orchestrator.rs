//! The submitting side of a run: scopes, waiting, cancelling. Submits are in `submit`, what they
//! do when a ring is full in `rings`.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

use super::buffer_allocator::HeldBuffers;
use super::handle::TaskHandle;
use super::run_state::RunState;
use super::shared::{Shared, kind_of};
use super::tasks::Waited;
use crate::abi::ContinuousTensor;
use crate::error::{Error, TaskFailure};
use crate::graph::{Access, Dependencies, Hazards, Producer, ScopeError, ScopeStack, TensorMap};
use crate::ids::{Callable, TaskId, WorkerId, WorkerKind};
use crate::limits::HEAP_RINGS;
use crate::mailbox::descriptor::TaskDescriptors;
use crate::ring::heap::ScopeRef;
use crate::ring::word::GROUP;
use crate::ring::{DistRing, Phase, RingError, Table};
use crate::segment::{Arena, Code, Settled};
use crate::worker::Publisher;

/// Submits the tasks of a run. The closure of [`run`](crate::Executor::run) gets one; it is the
/// only writer of the ring.
pub struct Orchestrator {
    pub(super) shared: Arc<Shared>,
    // Views of the arena that `shared` keeps alive.
    pub(super) arena: &'static Arena,
    pub(super) table: Table<'static>,
    pub(super) descriptors: TaskDescriptors,
    pub(super) publisher: Publisher<'static>,
    pub(super) ring: DistRing,
    pub(super) map: TensorMap,
    pub(super) scopes: ScopeStack,
    pub(super) buffers: HeldBuffers,
    pub(super) heaps: [(u64, u64); HEAP_RINGS],
    /// Runs with tasks in the window, oldest first; the last one is the open one.
    runs: VecDeque<Arc<RunState>>,
    pub(super) run: Arc<RunState>,
    /// Tasks of the open run that failed and have left the window, with their failed roots.
    pub(super) failed: HashMap<u64, u64>,
    pub(super) named: bool,
    /// In a level: what the task of the level above names.
    pub(super) lent: Vec<Range<u64>>,
    // Scratch of a submit, kept to spare the allocator.
    pub(super) accesses: Vec<Access>,
    pub(super) deps: Dependencies,
    pub(super) live: Vec<Producer>,
}

impl Orchestrator {
    pub(super) fn new(shared: Arc<Shared>, hazards: Hazards) -> Result<Self, RingError> {
        // SAFETY: `shared` holds the arena and is a field of the same value, dropped last of all
        // users of these views.
        let arena = unsafe { shared.arena.pinned_in() };
        let producer = arena.shape().total_workers();
        Ok(Self {
            arena,
            table: arena.table(),
            descriptors: arena.descriptors(),
            publisher: Publisher::with_rings(arena, producer),
            ring: DistRing::new(arena.shape().ring)?,
            map: TensorMap::new(hazards),
            scopes: ScopeStack::new(),
            buffers: HeldBuffers::default(),
            heaps: std::array::from_fn(|ring| arena.heap(ring)),
            runs: VecDeque::new(),
            run: Arc::new(RunState::new(0)),
            failed: HashMap::new(),
            named: false,
            lent: Vec::new(),
            accesses: Vec::new(),
            deps: Dependencies::default(),
            live: Vec::new(),
            shared,
        })
    }

    /// Lets the open run name what a task of the level above names.
    pub(super) fn lend(&mut self, tensors: &[ContinuousTensor]) {
        let bytes = |tensor: &ContinuousTensor| {
            let bytes = tensor.quick_nbytes().unwrap_or(0);
            tensor.data()..tensor.data().saturating_add(bytes)
        };
        self.lent.extend(tensors.iter().map(bytes));
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
        self.shared.tasks.check_health()?;
        self.reclaim()?;
        let run = Arc::new(RunState::new(self.ring.next()));
        self.run = Arc::clone(&run);
        self.runs.push_back(Arc::clone(&run));
        self.failed.clear();
        self.lent.clear();
        self.map.keep_from(u64::MAX);
        self.buffers.refresh(&self.shared.buffers, &mut self.map);
        debug_assert_eq!(self.scopes.depth(), 0);
        self.begin().map_err(scope_error)?;
        Ok(run)
    }

    /// Nothing more is submitted to the run. Scopes that it left open end with it.
    pub(super) fn close_run(&mut self, run: &RunState) {
        while self.scopes.depth() > 0 {
            let _ = self.scopes.end();
        }
        run.close(self.ring.next());
        self.shared.submitted.store(self.ring.next(), Relaxed);
    }

    /// Waits for every task of the run; its first root failure, if there is one.
    pub(super) fn finish_run(&mut self, run: &Arc<RunState>) -> Result<(), Error> {
        self.shared.check_place()?; // a closure may have forked, and be back in the child
        let waited = self.shared.tasks.wait_range(run.first..run.end(), None);
        if waited == Waited::Failed {
            self.shared.tasks.check_health()?;
        }
        self.reclaim()?;
        self.reclaim_heaps();
        // An older run that is still going keeps our slots in the window; read them there.
        for seq in run.first.max(self.ring.tail())..run.end() {
            self.note_failure(seq);
        }
        match run.first_root() {
            Some(failure) => Err(Error::Task(Box::new(failure))),
            None => Ok(()),
        }
    }

    /// The run of a task that is in the window.
    pub(super) fn run_of(&self, seq: u64) -> Option<&Arc<RunState>> {
        self.runs.iter().find(|run| run.contains(seq))
    }

    /// Keeps what is known of a task that has retired as failed.
    fn note_failure(&mut self, seq: u64) {
        if self.arena.settled(seq) != Settled::Failed {
            return;
        }
        let (slot, _) = self.ring.place(seq);
        let failed_root = self.arena.failed_root_of(slot, seq);
        let Some(run) = self.runs.iter().find(|run| run.contains(seq)) else { return };
        if Arc::ptr_eq(run, &self.run) {
            self.failed.insert(seq, failed_root);
            self.map.keep_from(run.first);
        }
        if let Some(failure) = self.shared.root_failure(seq, run.name(seq)) {
            tracing::warn!(task = seq, %failure, "task failed");
            run.add_root(failure);
        }
    }

    /// Lets retired slots leave the window.
    pub(super) fn reclaim(&mut self) -> Result<(), Error> {
        let mut failed: Vec<u64> = Vec::new();
        let before = self.ring.tail();
        let table = self.table;
        let result = self.ring.reclaim(&table, u64::MAX, |seq, word| {
            if word.is_failed() {
                failed.push(seq);
            }
        });
        let tail = self.ring.tail();
        if tail == before && result.is_ok() {
            return Ok(());
        }
        for seq in failed {
            self.note_failure(seq);
        }
        if self.named {
            for seq in before..tail {
                if let Some(run) = self.runs.iter().find(|run| run.contains(seq)) {
                    run.forget_name(seq);
                }
            }
        }
        while self.runs.front().is_some_and(|run| run.end() <= tail && !Arc::ptr_eq(run, &self.run))
        {
            self.runs.pop_front();
        }
        self.shared.health.tail.store(tail, Release);
        result.map_err(|word| {
            let why = format!(
                "the slot of {} holds {word:?}, which is invalid; a worker wrote where it must not",
                TaskId(tail)
            );
            self.shared.health.fail(why.clone(), self.arena);
            Error::Failed(why)
        })
    }

    /// Whether it submits to that executor.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// The number of the oldest task in the window.
    pub(super) fn first_in_window(&self) -> u64 {
        self.ring.tail()
    }

    /// Tells executors apart, as handles do.
    #[inline]
    pub(crate) fn executor(&self) -> u64 {
        self.shared.id
    }

    /// The innermost scope.
    pub(crate) fn current_scope(&self) -> ScopeRef {
        self.scopes.current()
    }

    /// Whether that scope is still open.
    #[inline]
    pub(crate) fn is_open(&self, scope: ScopeRef) -> bool {
        self.scopes.is_open(scope)
    }

    /// What a function is called.
    pub(crate) fn name_of(&self, kind: WorkerKind, callable: Callable) -> String {
        self.shared.names.name(kind as u8, callable.0)
    }

    /// The number of the next task.
    pub(super) fn next_task(&self) -> u64 {
        self.ring.next()
    }

    // ---- scopes ---------------------------------------------------------------------------------

    fn begin(&mut self) -> Result<(), ScopeError> {
        self.scopes.begin(self.ring.next())
    }

    /// Opens a scope, lets `submit` fill it, and closes it. Slabs made in it can be reclaimed once
    /// it has closed and the tasks that name them are through. Does not wait.
    ///
    /// # Errors
    /// 64 scopes are open; or what the closure returned.
    pub fn scope<R>(
        &mut self,
        submit: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.scope_begin()?;
        let depth = self.scopes.depth();
        let value = catch_unwind(AssertUnwindSafe(|| submit(self)));
        while self.scopes.depth() >= depth {
            let _ = self.scopes.end();
        }
        value.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Opens a scope by hand; [`scope`](Self::scope) closes its own.
    ///
    /// # Errors
    /// 64 scopes are open.
    pub fn scope_begin(&mut self) -> Result<(), Error> {
        self.shared.check_place()?;
        self.begin().map_err(scope_error)
    }

    /// Closes the scope that [`scope_begin`](Self::scope_begin) opened last. The scope of the run
    /// itself is not the caller's to close.
    ///
    /// # Errors
    /// There is none.
    pub fn scope_end(&mut self) -> Result<(), Error> {
        if self.scopes.depth() <= 1 {
            return Err(Error::NoScope);
        }
        self.scopes.end().map(drop).map_err(scope_error)
    }

    /// Open scopes; 1 directly in a run.
    pub fn scope_depth(&self) -> usize {
        self.scopes.depth()
    }

    /// Cancels every task that was submitted in the innermost scope, scopes inside it included.
    /// Returns how many had not completed.
    pub fn cancel_scope(&mut self) -> u64 {
        if self.shared.check_place().is_err() {
            return 0;
        }
        let first = self.scopes.innermost().map_or(self.ring.next(), |scope| scope.first);
        self.shared.tasks.cancel_range(first..self.ring.next())
    }

    // ---- single tasks ---------------------------------------------------------------------------

    /// Waits for a task of this run.
    ///
    /// # Errors
    /// The failure that reached it, by its root.
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
        self.shared.check_place()?;
        let own = handle.executor == self.shared.id && self.run.contains(handle.seq);
        if !own || handle.seq >= self.ring.next() {
            return Err(Error::Handle(
                "this task belongs to another run, which has ended, or to another executor",
            ));
        }
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        match self.shared.tasks.wait_settled(handle.seq, until) {
            Waited::TimedOut => return Ok(false),
            Waited::Failed => self.shared.tasks.check_health()?,
            Waited::Settled => {}
        }
        self.reclaim()?;
        let failed_root = if handle.seq < self.ring.tail() {
            self.failed.get(&handle.seq).copied()
        } else {
            let (slot, _) = self.ring.place(handle.seq);
            let failed = self.arena.settled(handle.seq) == Settled::Failed;
            failed.then(|| self.arena.failed_root_of(slot, handle.seq))
        };
        match failed_root {
            None => Ok(true),
            Some(failed_root) => Err(Error::Task(Box::new(self.root_of(failed_root)))),
        }
    }

    /// The failed task at the root of a failure.
    fn root_of(&mut self, failed_root: u64) -> TaskFailure {
        let root = failed_root >> 8;
        if root >= self.ring.tail() {
            // It has released those who depend on it, maybe not all of them yet.
            let _ = self.shared.tasks.wait_settled(root, None);
            self.note_failure(root);
        }
        self.run.root(root).unwrap_or_else(|| TaskFailure {
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
        handle.executor == self.shared.id
            && self.shared.check_place().is_ok()
            && self.shared.tasks.cancel_range(handle.seq..handle.seq + 1) == 1
    }

    /// Whether a task of this run has failed so far. Does not wait: what is not through yet may
    /// still fail. True as well when the executor has failed before the run was through.
    pub fn run_failed(&self) -> bool {
        self.shared.check_place().is_ok()
            && self.shared.tasks.has_failed(&self.run, self.ring.next())
    }

    // ---- the end --------------------------------------------------------------------------------

    pub(super) fn cancel_everything(&mut self) {
        self.shared.tasks.cancel_range(self.ring.tail()..self.ring.next());
    }

    /// Waits until everything in the window is through, whichever run it belongs to.
    pub(super) fn drain(&mut self, until: Option<Instant>) -> Result<(), Error> {
        let began = Instant::now();
        match self.shared.tasks.wait_range(self.ring.tail()..self.ring.next(), until) {
            Waited::Settled => self.reclaim(),
            Waited::Failed => self.shared.tasks.check_health(),
            Waited::TimedOut => Err(self.still_running(began.elapsed())),
        }
    }

    fn still_running(&self, waited: Duration) -> Error {
        const NAMED: usize = 4;
        let open = || {
            (self.ring.tail()..self.ring.next())
                .filter(|&seq| self.arena.settled(seq) == Settled::Open)
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
        let (slot, _) = self.ring.place(seq);
        let run = self.runs.iter().find(|run| run.contains(seq));
        let name = run.and_then(|run| run.name(seq)).map_or_else(
            || {
                let head = self.descriptors.head(slot);
                self.shared.names.name(head.route.kind, head.callable)
            },
            |name| name.to_string(),
        );
        let word = self.table.slot(slot).load();
        let place = match word.phase() {
            Some(Phase::Running | Phase::Condemned) if word.owner() == GROUP => {
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
        let tasks = self.ring.tail()..self.ring.next();
        self.shared.tasks.wait_range(tasks, Some(until)) == Waited::Settled
    }
}

fn scope_error(error: ScopeError) -> Error {
    match error {
        ScopeError::TooDeep => Error::ScopeDepth,
        ScopeError::NoneOpen => Error::NoScope,
    }
}
