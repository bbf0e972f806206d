//! Whose turn it is to submit. There is one orchestrator, the only writer of the ring; it is handed
//! from run to run, in the order in which they ask.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Instant;

use super::orchestrator::Orchestrator;
use crate::error::Error;

/// The orchestrator while nobody has it, and who has it otherwise.
pub(super) struct Turn {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    orchestrator: Option<Box<Orchestrator>>,
    holder: Option<ThreadId>,
    /// Those who wait come in turn: the number that the next one draws, and whose it is now.
    drawn: u64,
    called: u64,
}

impl Turn {
    pub(super) fn new(orchestrator: Orchestrator) -> Self {
        let orchestrator = Some(Box::new(orchestrator));
        Self {
            state: Mutex::new(State { orchestrator, holder: None, drawn: 0, called: 0 }),
            freed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the run that is open has been closed, and takes its place.
    pub(super) fn take(self: &Arc<Self>) -> Result<Held, Error> {
        let me = std::thread::current().id();
        let mut state = self.state();
        if state.holder == Some(me) {
            return Err(Error::Misuse(
                "a run inside a run of the same executor would wait for itself; \
                 submit to the `orch` that is open, in a nested scope if need be",
            ));
        }
        let number = state.drawn;
        state.drawn += 1;
        loop {
            if state.called == number
                && let Some(orchestrator) = state.orchestrator.take()
            {
                state.called += 1;
                state.holder = Some(me);
                return Ok(Held { turn: Arc::clone(self), orchestrator: Some(orchestrator) });
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same, at most until then, for one who has the executor to itself: nobody else waits, and
    /// nobody draws a number meanwhile. `None`: a run is open still.
    pub(super) fn take_until(self: &Arc<Self>, until: Option<Instant>) -> Option<Held> {
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
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Held> {
        let mut state = self.state();
        if state.called != state.drawn {
            return None; // somebody waits
        }
        let orchestrator = state.orchestrator.take()?;
        state.holder = Some(std::thread::current().id());
        Some(Held { turn: Arc::clone(self), orchestrator: Some(orchestrator) })
    }
}

/// The orchestrator in the hands of a run. Goes back when it is dropped, also by a panic.
pub(super) struct Held {
    turn: Arc<Turn>,
    /// Taken out by the drop alone.
    orchestrator: Option<Box<Orchestrator>>,
}

impl Deref for Held {
    type Target = Orchestrator;

    fn deref(&self) -> &Orchestrator {
        match &self.orchestrator {
            Some(orchestrator) => orchestrator,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Orchestrator {
        match &mut self.orchestrator {
            Some(orchestrator) => orchestrator,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.turn.state();
        state.orchestrator = self.orchestrator.take();
        state.holder = None;
        drop(state);
        self.turn.freed.notify_all(); // the one whose number it is goes on
    }
}
