//! What can be said of a task besides its callable and arguments.

use std::sync::Arc;
use std::time::Duration;

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
    /// attempt. Costs a copy of them in the heap ring.
    #[must_use]
    pub fn snapshot(self) -> Self {
        Self { snapshot: true, ..self }
    }

    /// What messages call it, instead of its function's name.
    #[must_use]
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }
}
