//! What can be said of a task besides its callable and arguments.

use std::sync::Arc;
use std::time::Duration;

use super::handle::TaskHandle;
use crate::ids::{WorkerId, WorkerKind};

/// Which tasks go first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Priority {
    /// In the order in which they become ready, roughly.
    #[default]
    Normal,
    /// Before all normal tasks that are ready.
    Urgent,
}

/// Options of a task; the default is a NEXT_LEVEL task that any worker may run once, for as long
/// as it takes.
///
/// ```
/// use std::time::Duration;
/// use mailring::TaskOptions;
/// let options = TaskOptions::sub().name("load").deadline(Duration::from_millis(50));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    pub(super) kind: WorkerKind,
    pub(super) priority: Priority,
    pub(super) worker: Option<WorkerId>,
    pub(super) deadline: Option<Duration>,
    pub(super) retries: u32,
    pub(super) idempotent: bool,
    pub(super) snapshot: bool,
    pub(super) name: Option<Arc<str>>,
    pub(super) after: Vec<After>,
}

/// A task that another one is to come after.
#[derive(Clone, Copy, Debug)]
pub(super) struct After {
    pub(super) task: u64,
    pub(super) executor: u64,
    /// Whether its failure is the failure of the one that comes after it.
    pub(super) fails: bool,
}

impl TaskOptions {
    /// A task for NEXT_LEVEL workers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A task for SUB workers.
    pub fn sub() -> Self {
        Self { kind: WorkerKind::Sub, ..Self::default() }
    }

    /// Whether nothing is said but the kind of workers.
    #[inline]
    pub(super) fn are_plain(&self) -> bool {
        self.priority == Priority::Normal
            && self.worker.is_none()
            && self.deadline.is_none()
            && self.retries == 0
            && !self.snapshot
            && self.name.is_none()
            && self.after.is_empty()
    }

    /// The kind of workers that it asks for.
    #[inline]
    pub(crate) fn worker_kind(&self) -> WorkerKind {
        self.kind
    }

    /// Whether the other ones say the same, but for whom the task comes after.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let all = |of: &Self| {
            let Self { kind, priority, worker, deadline, retries, idempotent, snapshot, .. } = of;
            (*kind, *priority, *worker, *deadline, *retries, *idempotent, *snapshot)
        };
        all(self) == all(other) && self.name == other.name
    }

    /// What messages are to call it.
    pub(crate) fn own_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Goes first among the ready ones.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Only this worker may run it.
    #[must_use]
    pub fn on(self, worker: WorkerId) -> Self {
        Self { worker: Some(worker), ..self }
    }

    /// A body that takes longer is ended with its worker (in THREAD mode: reported when it
    /// returns). Between 1 µs and about 71 minutes.
    ///
    /// The time begins with the body. A worker that a signal has stopped before that, while
    /// somebody waits, is replaced after about a second, and the task goes to another one, with all
    /// its attempts left. In a group the time is that of the member whose body began first; the
    /// error names a member that the others wait for.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Further attempts when a worker died or was ended over the task; an error that the body
    /// returns is final. Needs [`idempotent`](Self::idempotent) or [`snapshot`](Self::snapshot).
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Running it again over half-written outputs gives the right result.
    #[must_use]
    pub fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// INOUT and OUTPUT_EXISTING ranges are saved before the body and restored before another
    /// attempt. Costs a copy of them, in a ring of its own of `heap_bytes`, until the task is through.
    #[must_use]
    pub fn snapshot(self) -> Self {
        Self { snapshot: true, ..self }
    }

    /// Comes after another task of the same run, besides those that its tensors name, and fails
    /// when that one fails. One that is through counts as done, however long ago; several calls
    /// add up. Only tasks that were submitted before have handles, so there are no circles.
    ///
    /// The submit refuses a handle of another run or of another executor.
    #[must_use]
    pub fn after(self, handle: &TaskHandle) -> Self {
        self.behind(handle, true)
    }

    /// The same, however the other task ends: to clean up, or to take turns.
    #[must_use]
    pub fn after_any(self, handle: &TaskHandle) -> Self {
        self.behind(handle, false)
    }

    fn behind(mut self, handle: &TaskHandle, fails: bool) -> Self {
        self.after.push(After { task: handle.seq, executor: handle.executor, fails });
        self
    }

    /// What messages call it, instead of its function's name.
    #[must_use]
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }
}
