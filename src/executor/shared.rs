//! What the entry point, handles, buffers and the supervisor have in common, and how the host
//! waits.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailring_process::futex;
use mailring_process::lineage::lineage;
use mailring_process::reach::Reach;
use mailring_process::wait::WaitStrategy;
use mailring_process::wakeup::Wakeup;

use super::buffer_allocator::BufferAllocator;
use super::callable_names::CallableNames;
use super::dynamic::{DynamicFunctions, DynamicLive};
use super::notify::Notifier;
use super::run::RunState;
use crate::error::{Error, FailureKind, TaskFailure};
use crate::ids::{Callable, TaskId, WorkerId};
use crate::ring::dist_ring::place;
use crate::ring::slot::Watch;
use crate::segment::{Arena, Code, Detail, Settled};
use crate::worker::health::Health;
use crate::worker::imports::Imports;
use crate::worker::inherited_memory::InheritedMemory;

/// How long one waits for a task before one asks whether a worker is stopped.
const WORRY: Duration = Duration::from_millis(500);

/// Tells executors of this process, and of those it forked from, apart.
static EXECUTORS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// In THREAD mode: the arena that this thread works for.
    static SERVING: Cell<*const Arena> = const { Cell::new(std::ptr::null()) };
}

/// Marks this thread as a worker of the arena.
pub(super) fn serve_on(arena: &Arena) {
    SERVING.set(arena);
}

pub(crate) struct Shared {
    /// What the accessors of views may touch in this process. First, so that it goes before the
    /// memory does.
    _reach: Reach,
    pub(super) arena: Arc<Arena>,
    pub(super) health: Arc<Health>,
    pub(super) wakeup: Arc<Wakeup>,
    /// What the callables of each kind are called, where all are known.
    pub(super) callable_names: [Option<Arc<CallableNames>>; 2],
    /// Kinds whose workers call registered functions, and so dynamic ones as well.
    pub(super) calls_functions: [bool; 2],
    /// Memory of the levels above.
    pub(super) inherited: InheritedMemory,
    pub(super) dynamic: Mutex<DynamicFunctions>,
    pub(super) dynamic_live: DynamicLive,
    pub(super) wait: WaitStrategy,
    pub(super) back_pressure: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) imports: Arc<Imports>,
    pub(super) buffer_allocator: Mutex<BufferAllocator>,
    /// Changes with every buffer that comes or goes.
    pub(super) space_version: AtomicU64,
    pub(super) submitted: AtomicU64,
    /// Runs that are polled for.
    pub(super) notifier: Notifier,
    /// What its handles bear.
    pub(super) id: u64,
    lineage: u32,
}

/// How waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    Settled,
    TimedOut,
    Failed,
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "one caller, named fields would say it twice")]
    pub(super) fn new(
        arena: Arc<Arena>,
        health: Arc<Health>,
        wakeup: Arc<Wakeup>,
        callable_names: [Option<Arc<CallableNames>>; 2],
        calls_functions: [bool; 2],
        inherited: InheritedMemory,
        reach: Reach,
        wait: WaitStrategy,
        back_pressure: Option<Duration>,
        grace: Duration,
    ) -> Self {
        Self {
            buffer_allocator: Mutex::new(BufferAllocator::new(&arena)),
            imports: Arc::default(),
            arena,
            health,
            wakeup,
            callable_names,
            calls_functions,
            inherited,
            dynamic: Mutex::new(DynamicFunctions::new()),
            dynamic_live: DynamicLive::new(),
            wait,
            back_pressure,
            grace,
            space_version: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            notifier: Notifier::default(),
            _reach: reach,
            id: EXECUTORS.fetch_add(1, Relaxed),
            lineage: lineage(),
        }
    }

    /// Whether neither of the two checks below would complain.
    #[inline(always)]
    pub(super) fn is_fit(&self) -> bool {
        self.arena.is_own()
            && !std::ptr::eq(SERVING.get(), Arc::as_ptr(&self.arena))
            && self.health.failure().is_none()
    }

    /// Whether this is the process that built it, and not a child of it, in which the memory is not
    /// mapped and locks may be held by nobody.
    #[inline(always)]
    pub(super) fn is_own(&self) -> bool {
        self.arena.is_own()
    }

    /// Refuses the host's side of an executor inside the functions of its workers, in those of
    /// other executors, and in a child that the host forked by itself: none of them has its
    /// memory, or may wait for what only they can do.
    #[inline]
    pub(super) fn check_place(&self) -> Result<(), Error> {
        if lineage() == self.lineage && !self.is_own() {
            return Err(Error::Misuse(
                "this executor belongs to the process that built it, and this is a child of it",
            ));
        }
        if lineage() != self.lineage || std::ptr::eq(SERVING.get(), Arc::as_ptr(&self.arena)) {
            return Err(Error::Misuse(
                "this executor belongs to the host: inside a task's function it cannot submit or \
                 wait; return the data and submit from the host",
            ));
        }
        Ok(())
    }

    /// The same.
    pub(super) fn check_process(&self) -> Result<(), Error> {
        self.check_place()
    }

    pub(super) fn check_health(&self) -> Result<(), Error> {
        match self.health.failure() {
            Some(why) => Err(Error::Failed(why.to_owned())),
            None => Ok(()),
        }
    }

    pub(super) fn window_shift(&self) -> u32 {
        self.arena.shape().ring.window.trailing_zeros()
    }

    /// Waits until task `seq` has retired. Spins, then lets others run, then sleeps; whoever
    /// retires the slot notifies.
    #[inline]
    pub(super) fn wait_settled(&self, seq: u64, until: Option<Instant>) -> Waited {
        let mut round: u32 = 0;
        let mut since: Option<Instant> = None;
        loop {
            if self.arena.settled(seq) != Settled::Open {
                return Waited::Settled;
            }
            if self.wait.pause(round).is_some() {
                round = round.wrapping_add(1);
                if round.is_multiple_of(64) && until.is_some_and(|at| Instant::now() >= at) {
                    return Waited::TimedOut;
                }
                if round.is_multiple_of(4096) {
                    if self.health.failure().is_some() || self.is_corrupt(seq) {
                        return Waited::Failed;
                    }
                    self.worry_after_long(&mut since);
                }
                continue;
            }
            self.worry_after_long(&mut since);
            // First the parker: whoever changes what is looked at below notifies it afterwards.
            let parker = &self.arena.control().host_parker;
            let seen = parker.load(Acquire);
            if self.health.failure().is_some() || self.is_corrupt(seq) {
                return Waited::Failed;
            }
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Waited::TimedOut;
            }
            let (slot, generation) = place(seq, self.window_shift());
            if self.arena.table().slot(slot).watch(generation) == Watch::Armed {
                futex::wait(parker, seen, Some(left.map_or(WORRY, |l| l.min(WORRY))));
            }
        }
    }

    /// One who has waited for a task for long has the workers looked at, again and again.
    pub(super) fn worry_after_long(&self, since: &mut Option<Instant>) {
        let now = Instant::now();
        if now.duration_since(*since.get_or_insert(now)) >= WORRY {
            *since = Some(now);
            self.health.worry();
            self.wakeup.notify();
        }
    }

    /// The same for one who only asks now and then.
    pub(super) fn worry(&self) {
        self.health.worry();
    }

    /// A word that no step of the protocol writes: somebody wrote where it must not.
    fn is_corrupt(&self, seq: u64) -> bool {
        let (slot, _) = place(seq, self.window_shift());
        let word = self.arena.table().slot(slot).load();
        if word.phase().is_some() {
            return false;
        }
        let why = format!("slot {slot} holds {word:?}, which is not a state; a worker wrote there");
        self.health.fail(why, &self.arena);
        true
    }

    /// Waits until all tasks of the range have retired.
    pub(super) fn wait_range(&self, tasks: std::ops::Range<u64>, until: Option<Instant>) -> Waited {
        if tasks.is_empty() {
            return Waited::Settled;
        }
        // The last one first: then most of the others are through, and few waits remain.
        for seq in std::iter::once(tasks.end - 1).chain(tasks) {
            match self.wait_settled(seq, until) {
                Waited::Settled => {}
                other => return other,
            }
        }
        Waited::Settled
    }

    /// Whether a task of the run has failed so far; those before `end` have been submitted.
    pub(super) fn has_failed(&self, run: &RunState, end: u64) -> bool {
        // The window first: what leaves it meanwhile is noted before its place is used again.
        let tail = self.health.tail.load(Acquire);
        let mut open = false;
        let mut failed = |seq| {
            let settled = self.arena.settled(seq);
            open |= settled == Settled::Open;
            settled == Settled::Failed
        };
        (run.first.max(tail)..end).any(&mut failed)
            || run.first_root().is_some()
            || (open && self.health.failure().is_some())
    }

    /// Marks tasks cancelled; returns how many had not completed.
    pub(super) fn cancel_range(&self, tasks: std::ops::Range<u64>) -> u64 {
        let tail = self.health.tail.load(Acquire);
        let table = self.arena.table();
        // The newest first: nobody is through before those it waits for, so the count is exact.
        let marked = (tasks.start.max(tail)..tasks.end).rev().filter(|&seq| {
            let (slot, generation) = place(seq, self.window_shift());
            table.slot(slot).cancel(generation)
        });
        marked.count() as u64
    }

    /// Marks everything in the window cancelled, whoever submits.
    pub(super) fn cancel_window(&self) {
        let tail = self.health.tail.load(Acquire);
        // Places that nobody has taken yet serve another lap, and are left alone.
        self.cancel_range(tail..tail + self.arena.shape().ring.window as u64);
    }

    /// What is known of the failed task `seq` in its own words, if it is a root. `None` when
    /// another task's failure reached it, or when the slot serves another task by now.
    pub(super) fn root_failure(&self, seq: u64, name: Option<Arc<str>>) -> Option<TaskFailure> {
        let (slot, generation) = place(seq, self.window_shift());
        let cell = self.arena.table().slot(slot);
        let failed_root = self.arena.failed_root_of(slot, seq);
        let record = self.arena.read_error(slot);
        let head = self.arena.descriptors().head(slot);
        std::sync::atomic::fence(Acquire);
        let word = cell.load();
        if word.generation() != generation || head.seq != seq || failed_root >> 8 != seq {
            return None;
        }
        let code = Code::from_bits(failed_root as u8);
        let (worker, attempt, member, message, detail) = if record.seq_plus_one == seq + 1 {
            let worker = Some(record.worker).filter(|&w| w < u16::MAX && code != Code::Gone);
            let began = code != Code::Cancelled || !record.text().is_empty();
            let worker = worker.filter(|_| began).map(WorkerId);
            let member = Some(record.member).filter(|&m| m != u16::MAX);
            (worker, record.attempt.saturating_add(1), member, record.text(), record.detail())
        } else {
            (None, 1, None, String::new(), Detail::None)
        };
        let name = match name {
            Some(name) => name.to_string(),
            None => self.callable_name(head.route.kind, head.callable),
        };
        Some(TaskFailure {
            task: TaskId(seq),
            name,
            kind: kind_of(code),
            worker,
            attempt,
            member,
            message,
            returned: match detail {
                Detail::Returned(code) => Some(code),
                _ => None,
            },
            exit_status: match detail {
                Detail::Exited(code) => Some(code),
                _ => None,
            },
            signal: match detail {
                Detail::Signalled(number) => Some(number),
                _ => None,
            },
        })
    }

    pub(super) fn callable_name(&self, kind: u8, callable: u64) -> String {
        let known = self.callable_names[usize::from(kind & 1)].as_ref();
        let name = known.and_then(|known| known.name(Callable(callable)));
        let dynamic =
            || self.dynamic_name(callable).filter(|_| self.calls_functions[usize::from(kind & 1)]);
        let name = name.map(str::to_owned).or_else(dynamic);
        name.unwrap_or_else(|| format!("callable {callable:#x}"))
    }
}

pub(super) fn kind_of(code: Code) -> FailureKind {
    match code {
        Code::Error => FailureKind::Error,
        Code::Panic => FailureKind::Panic,
        Code::Deadline => FailureKind::Deadline,
        Code::Died => FailureKind::WorkerDied,
        Code::Cancelled => FailureKind::Cancelled,
        Code::Gone => FailureKind::NoWorker,
    }
}
