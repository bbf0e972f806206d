//! The runs that have tasks in the window, and what is known of their failures.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::run_state::RunState;

pub(super) struct Runs {
    /// Oldest first; the last one is the open one.
    all: VecDeque<Arc<RunState>>,
    open: Arc<RunState>,
    /// Tasks of the open run that failed and have left the window, with their failed roots.
    failed: HashMap<u64, u64>,
    /// Whether any task has a name of its own.
    named: bool,
}

impl Runs {
    pub(super) fn new() -> Self {
        Self {
            all: VecDeque::new(),
            open: Arc::new(RunState::new(0)),
            failed: HashMap::new(),
            named: false,
        }
    }

    /// Begins the run whose first task has this number.
    pub(super) fn begin(&mut self, first: u64) -> Arc<RunState> {
        let run = Arc::new(RunState::new(first));
        self.open = Arc::clone(&run);
        self.all.push_back(Arc::clone(&run));
        self.failed.clear();
        run
    }

    /// The run that is open, or was last.
    #[inline]
    pub(super) fn open(&self) -> &RunState {
        &self.open
    }

    /// The run of a task that is in the window.
    pub(super) fn of(&self, seq: u64) -> Option<&Arc<RunState>> {
        self.all.iter().find(|run| run.contains(seq))
    }

    /// The name that a task was given.
    pub(super) fn name(&self, seq: u64) -> Option<Arc<str>> {
        self.of(seq).and_then(|run| run.name(seq))
    }

    /// Names a task of the open run.
    pub(super) fn set_name(&mut self, seq: u64, name: &Arc<str>) {
        self.open.set_name(seq, Arc::clone(name));
        self.named = true;
    }

    /// Keeps that a task has failed, if it is of the open run; the number of that run's first task
    /// then.
    pub(super) fn note_failed(&mut self, seq: u64, failed_root: u64) -> Option<u64> {
        let own = self.of(seq).is_some_and(|run| Arc::ptr_eq(run, &self.open));
        own.then(|| {
            self.failed.insert(seq, failed_root);
            self.open.first
        })
    }

    /// Whether a task of the open run has failed and left the window.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The failed root of a task of the open run that has left the window.
    #[inline]
    pub(super) fn failed_root(&self, seq: u64) -> Option<u64> {
        self.failed.get(&seq).copied()
    }

    /// These tasks have left the window.
    pub(super) fn forget(&mut self, tasks: Range<u64>) {
        let tail = tasks.end;
        if self.named {
            for seq in tasks {
                if let Some(run) = self.of(seq) {
                    run.forget_name(seq);
                }
            }
        }
        while self.all.front().is_some_and(|run| run.end() <= tail && !Arc::ptr_eq(run, &self.open))
        {
            self.all.pop_front();
        }
    }
}
