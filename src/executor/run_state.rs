//! One run: which tasks belong to it, and how it went.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::TaskFailure;
use crate::limits::MAX_ROOT_ERRORS;

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
