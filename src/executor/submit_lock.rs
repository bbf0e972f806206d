//! The lock that submitters hold. There is one orchestrator, the only writer of the ring; it is
//! handed from run to run, in the order in which they ask.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::orchestrator::Orchestrator;
use crate::error::{Error, Misuse};

/// The orchestrator while nobody has it, and who has it otherwise.
pub(super) struct SubmitLock {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    orchestrator: Option<Box<Orchestrator>>,
    holder: Option<ThreadId>,
    /// Tickets of those who wait: the next one, and the one that is served.
    drawn: u64,
    called: u64,
    /// Numbers of those who went away before they were called.
    left: BTreeSet<u64>,
    /// No run begins any more.
    closed: bool,
}

impl State {
    /// Calls the next one who is still there.
    fn call_next(&mut self) {
        self.called += 1;
        while self.left.remove(&self.called) {
            self.called += 1;
        }
    }
}

impl SubmitLock {
    pub(super) fn new(orchestrator: Orchestrator) -> Self {
        let orchestrator = Some(Box::new(orchestrator));
        Self {
            state: Mutex::new(State {
                orchestrator,
                holder: None,
                drawn: 0,
                called: 0,
                left: BTreeSet::new(),
                closed: false,
            }),
            freed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the run that is open has been closed, and takes its place; at most until then.
    /// `None`: the time has passed.
    pub(super) fn take(
        self: &Arc<Self>,
        until: Option<Instant>,
    ) -> Result<Option<SubmitGuard>, Error> {
        let me = std::thread::current().id();
        let mut state = self.state();
        if state.holder == Some(me) {
            return Err(Misuse::NestedRun.into());
        }
        let number = state.drawn;
        state.drawn += 1;
        loop {
            if !state.closed
                && state.called == number
                && let Some(orchestrator) = state.orchestrator.take()
            {
                state.call_next();
                state.holder = Some(me);
                return Ok(Some(SubmitGuard::new(self, orchestrator)));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if state.closed || left == Some(Duration::ZERO) {
                if state.called == number {
                    state.call_next();
                } else {
                    state.left.insert(number);
                }
                let closed = state.closed;
                drop(state);
                self.freed.notify_all(); // another one may be next
                if closed {
                    return Err(Error::Failed("it was closed".to_owned()));
                }
                return Ok(None);
            }
            state = match left {
                None => self.freed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.freed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// No run begins any more; whoever waits for one is told.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.freed.notify_all();
    }

    /// The same for one who closes the executor: nobody else begins a run meanwhile. `None`: a run is
    /// open still.
    pub(super) fn take_until(self: &Arc<Self>, until: Option<Instant>) -> Option<SubmitGuard> {
        loop {
            if let Some(held) = self.try_take() {
                return Some(held);
            }
            let state = self.state();
            if state.orchestrator.is_some() {
                continue; // it came back just now
            }
            if state.holder == Some(std::thread::current().id()) {
                return None; // it would wait for itself
            }
            let Some(until) = until else {
                drop(self.freed.wait(state).unwrap_or_else(PoisonError::into_inner));
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            drop(self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The orchestrator, if no run is open.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<SubmitGuard> {
        let mut state = self.state();
        if state.called != state.drawn && !state.closed {
            return None; // somebody waits
        }
        let orchestrator = state.orchestrator.take()?;
        state.holder = Some(std::thread::current().id());
        Some(SubmitGuard::new(self, orchestrator))
    }
}

/// The orchestrator in the hands of a run. Goes back when it is dropped, also by a panic.
pub(super) struct SubmitGuard {
    submit_lock: Arc<SubmitLock>,
    /// Taken out by the drop alone.
    orchestrator: Option<Box<Orchestrator>>,
}

impl SubmitGuard {
    fn new(submit_lock: &Arc<SubmitLock>, orchestrator: Box<Orchestrator>) -> Self {
        orchestrator.shared().accesses.begin_submits();
        Self { submit_lock: Arc::clone(submit_lock), orchestrator: Some(orchestrator) }
    }
}

impl Deref for SubmitGuard {
    type Target = Orchestrator;

    fn deref(&self) -> &Orchestrator {
        match &self.orchestrator {
            Some(orchestrator) => orchestrator,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl DerefMut for SubmitGuard {
    fn deref_mut(&mut self) -> &mut Orchestrator {
        match &mut self.orchestrator {
            Some(orchestrator) => orchestrator,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl Drop for SubmitGuard {
    fn drop(&mut self) {
        let mut state = self.submit_lock.state();
        if let Some(orchestrator) = &self.orchestrator {
            orchestrator.shared().accesses.end_submits();
        }
        state.orchestrator = self.orchestrator.take();
        state.holder = None;
        drop(state);
        self.submit_lock.freed.notify_all(); // the one whose number it is goes on
    }
}
