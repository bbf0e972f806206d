//! What the entry point, the submitter, handles and buffers of an executor have in common, and where
//! it may be used.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailring_process::lineage::lineage;
use mailring_process::reach::Reach;

use super::accesses::Accesses;
use super::buffer_allocator::BufferAllocator;
use super::callable_names::Names;
use super::dynamic::DynamicFunctions;
use super::notify::Notifier;
use super::tasks::Tasks;
use crate::error::{Error, FailureKind, Misuse, TaskFailure};
use crate::ids::{TaskId, WorkerId};
use crate::segment::{Arena, Code, Detail};
use crate::worker::health::Health;
use crate::worker::inherited_memory::InheritedMemory;

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
    pub(super) tasks: Arc<Tasks>,
    pub(super) names: Names,
    pub(super) dynamic: Arc<DynamicFunctions>,
    /// Memory of the levels above.
    pub(super) inherited: InheritedMemory,
    pub(super) buffers: BufferAllocator,
    pub(super) back_pressure: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) submitted: AtomicU64,
    pub(super) accesses: Accesses,
    /// What the submitter waits for room in.
    stalled_on: Mutex<Option<&'static str>>,
    /// Runs that are polled for.
    pub(super) notifier: Arc<Notifier>,
    /// What its handles bear.
    pub(super) id: u64,
    lineage: u32,
}

/// What the builder has made for an executor.
pub(super) struct Parts {
    pub(super) reach: Reach,
    pub(super) arena: Arc<Arena>,
    pub(super) health: Arc<Health>,
    pub(super) tasks: Tasks,
    pub(super) names: Names,
    pub(super) dynamic: Arc<DynamicFunctions>,
    pub(super) inherited: InheritedMemory,
    pub(super) buffers: BufferAllocator,
    pub(super) back_pressure: Option<Duration>,
    pub(super) grace: Duration,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let tasks = Arc::new(parts.tasks);
        Self {
            _reach: parts.reach,
            arena: parts.arena,
            health: parts.health,
            notifier: Arc::new(Notifier::new(Arc::clone(&tasks))),
            tasks,
            names: parts.names,
            dynamic: parts.dynamic,
            inherited: parts.inherited,
            buffers: parts.buffers,
            back_pressure: parts.back_pressure,
            grace: parts.grace,
            submitted: AtomicU64::new(0),
            accesses: Accesses::new(),
            stalled_on: Mutex::new(None),
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
            return Err(Misuse::ForkedChild.into());
        }
        if lineage() != self.lineage || std::ptr::eq(SERVING.get(), Arc::as_ptr(&self.arena)) {
            return Err(Misuse::InsideTask.into());
        }
        Ok(())
    }

    /// What the submitter waits for room in, for those who look; or that it does not any more.
    pub(super) fn stall_on(&self, what: Option<&'static str>) {
        *self.stalled_on.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    pub(super) fn stalled_on(&self) -> Option<&'static str> {
        *self.stalled_on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its tasks get slices.
    pub(super) fn is_typed(&self) -> bool {
        self.arena.shape().typed
    }

    /// What is known of the failed task `seq` in its own words, if it is a root. `None` when
    /// another task's failure reached it, or when the slot serves another task by now.
    pub(super) fn root_failure(&self, seq: u64, name: Option<Arc<str>>) -> Option<TaskFailure> {
        let (slot, generation) = self.tasks.place(seq);
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
            None => self.names.name(head.route.kind, head.callable),
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
