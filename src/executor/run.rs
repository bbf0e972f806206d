//! One run: which tasks belong to it, and how it went.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mailring_process::descriptors::Descriptor;

use super::shared::{Shared, Waited};
use crate::error::{Error, TaskFailure};
use crate::limits::MAX_ROOT_ERRORS;
use crate::segment::Settled;

/// The tasks of a run are consecutive numbers, since one thread submits at a time.
pub(crate) struct RunState {
    pub(super) first: u64,
    end: AtomicU64,
    roots: Mutex<Vec<TaskFailure>>,
    names: Mutex<HashMap<u64, Arc<str>>>,
}

impl RunState {
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            end: AtomicU64::new(u64::MAX),
            roots: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// Sets its end, once.
    pub(super) fn close(&self, end: u64) {
        let _ = self.end.compare_exchange(u64::MAX, end, Release, Acquire);
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Acquire)
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        seq >= self.first && seq < self.end()
    }

    pub(super) fn set_name(&self, seq: u64, name: Arc<str>) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(seq, name);
    }

    pub(super) fn name(&self, seq: u64) -> Option<Arc<str>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&seq).cloned()
    }

    pub(super) fn forget_name(&self, seq: u64) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&seq);
    }

    /// Keeps a root failure; the first ones by task number.
    pub(super) fn add_root(&self, failure: TaskFailure) {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        let at = roots.partition_point(|known| known.task < failure.task);
        if roots.get(at).is_none_or(|known| known.task != failure.task) {
            roots.insert(at, failure);
            roots.truncate(MAX_ROOT_ERRORS);
        }
    }

    pub(super) fn root(&self, seq: u64) -> Option<TaskFailure> {
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots.iter().find(|failure| failure.task.0 == seq).cloned()
    }

    pub(super) fn first_root(&self) -> Option<TaskFailure> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

/// A run that goes on while its submitter does something else. Can be sent to other threads.
pub struct RunHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) run: Arc<RunState>,
    /// All tasks before it are known to be through.
    cursor: AtomicU64,
    /// For those who poll.
    pub(super) event: OnceLock<Arc<Descriptor>>,
}

impl RunHandle {
    pub(super) fn new(shared: Arc<Shared>, run: Arc<RunState>) -> Self {
        let cursor = AtomicU64::new(run.first);
        Self { shared, run, cursor, event: OnceLock::new() }
    }

    /// Whether every task of the run is through, well or not. What an executor left behind that has
    /// failed, or has been closed or dropped, is through as well: nothing will happen any more.
    pub fn done(&self) -> bool {
        if self.shared.check_process().is_err() {
            return false;
        }
        let end = self.run.end();
        let mut at = self.cursor.load(Acquire);
        while at < end && self.shared.arena.settled(at) != Settled::Open {
            at += 1;
        }
        self.cursor.fetch_max(at, Release);
        if at < end {
            self.shared.worry(); // one who only asks is one who waits
        }
        at >= end || self.shared.health.failure().is_some()
    }

    /// Whether a task of the run has failed so far. Does not wait: what is not through yet may
    /// still fail. True as well when the executor has failed before the run was through.
    pub fn run_failed(&self) -> bool {
        self.shared.check_process().is_ok() && self.shared.has_failed(&self.run, self.run.end())
    }

    /// Waits for all tasks of the run, at most for `timeout`; `Ok(false)` when that has passed.
    ///
    /// # Errors
    /// The first root failure of the run; or the executor has failed.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, Error> {
        self.shared.check_process()?;
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let from = self.cursor.load(Acquire);
        match self.shared.wait_range(from..self.run.end(), until) {
            Waited::TimedOut => return Ok(false),
            Waited::Failed => self.shared.check_health()?,
            Waited::Settled => {}
        }
        // Roots that have not left the window yet are read where they lie; the submitter adds
        // those that have, before it lets their slots go.
        for seq in self.run.first.max(self.shared.health.tail.load(Acquire))..self.run.end() {
            if self.shared.arena.settled(seq) == Settled::Failed
                && let Some(failure) = self.shared.root_failure(seq, self.run.name(seq))
            {
                self.run.add_root(failure);
            }
        }
        match self.run.first_root() {
            Some(failure) => Err(Error::Task(Box::new(failure))),
            None => Ok(true),
        }
    }

    /// Cancels what has not completed: tasks that have not begun never will, running ones see
    /// [`cancelled`](crate::TaskContext::cancelled). Returns how many were marked.
    pub fn cancel(&self) -> u64 {
        if self.shared.check_process().is_err() {
            return 0;
        }
        let from = self.cursor.load(Acquire);
        self.shared.cancel_range(from..self.run.end())
    }
}
