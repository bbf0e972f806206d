//! A run that goes on by itself: asking how it stands, waiting for it, cancelling it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mailring_process::descriptors::{self, Descriptor};

use super::run_state::RunState;
use super::shared::Shared;
use super::tasks::Waited;
use crate::error::Error;
use crate::segment::Settled;

/// A run that goes on while its submitter does something else. Can be sent to other threads.
pub struct RunHandle {
    shared: Arc<Shared>,
    run: Arc<RunState>,
    /// All tasks before it are known to be through.
    cursor: AtomicU64,
    /// For those who poll.
    event: OnceLock<Arc<Descriptor>>,
}

impl RunHandle {
    pub(super) fn new(shared: Arc<Shared>, run: Arc<RunState>) -> Self {
        let cursor = AtomicU64::new(run.first);
        Self { shared, run, cursor, event: OnceLock::new() }
    }

    /// Whether every task of the run is through, well or not. What an executor left behind that has
    /// failed, or has been closed or dropped, is through as well: nothing will happen any more.
    pub fn done(&self) -> bool {
        if self.shared.check_place().is_err() {
            return false;
        }
        let end = self.run.end();
        let mut at = self.cursor.load(Acquire);
        while at < end && !self.shared.tasks.is_open(at) {
            at += 1;
        }
        self.cursor.fetch_max(at, Release);
        if at < end {
            self.shared.tasks.worry(); // one who only asks is one who waits
        }
        at >= end || self.shared.tasks.has_executor_failed()
    }

    /// Whether a task of the run has failed so far. Does not wait: what is not through yet may
    /// still fail. True as well when the executor has failed before the run was through.
    pub fn run_failed(&self) -> bool {
        self.shared.check_place().is_ok() && self.shared.tasks.has_failed(&self.run, self.run.end())
    }

    /// Waits for all tasks of the run, at most for `timeout`; `Ok(false)` when that has passed.
    ///
    /// # Errors
    /// [`Error::Task`] with the first root failure of the run. [`Error::Failed`]: the executor has
    /// failed.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, Error> {
        self.shared.check_place()?;
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let from = self.cursor.load(Acquire);
        match self.shared.tasks.wait_range(from..self.run.end(), until) {
            Waited::TimedOut => return Ok(false),
            Waited::Failed => self.shared.tasks.check_health()?,
            Waited::Settled => {}
        }
        // Roots that have not left the window yet are read where they lie; the submitter adds
        // those that have, before it lets their slots go.
        for seq in self.run.first.max(self.shared.tasks.tail())..self.run.end() {
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
        if self.shared.check_place().is_err() {
            return 0;
        }
        let from = self.cursor.load(Acquire);
        self.shared.tasks.cancel_range(from..self.run.end())
    }

    /// A descriptor that becomes readable when the run is [`done`](Self::done), and stays so: for
    /// `poll` and its like. It belongs to the handle and ends with it.
    ///
    /// # Errors
    /// [`Error::System`]: no descriptor or no thread is left for it.
    pub fn event(&self) -> Result<BorrowedFd<'_>, Error> {
        self.shared.check_place()?;
        if let Some(event) = self.event.get() {
            return Ok(event.as_fd());
        }
        let failed = |what| move |source| Error::System { what, source };
        let event = Arc::new(descriptors::event().map_err(failed("making an event descriptor"))?);
        if let Err(source) = self.shared.notifier.watch(&self.run, &event) {
            return Err(failed("starting a thread that watches runs")(source));
        }
        // Of two threads that come at the same time, one has made one for nothing.
        Ok(self.event.get_or_init(|| event).as_fd())
    }
}
