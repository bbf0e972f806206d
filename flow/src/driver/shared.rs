//! The lock around the state, and how threads of the driver wait.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mailring_process::descriptors::Descriptor;
use mailring_process::futex;
use mailring_process::map::OwnMark;
use mailring_process::wait::{RECHECK, WaitStrategy};
use mailring_process::wakeup::notify;

use super::parts::state::State;
use super::steps::completions::poll_completions;
use super::steps::follow_up::follow_up;
use super::steps::placing::reserve_groups;
use crate::protocol::error::Error;
use crate::protocol::memory::Memory;
use crate::protocol::notifier::{DRIVER_THREAD, NOBODY, THREAD};

/// What handles and the driver thread share.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) memory: Arc<Memory>,
    pub(super) driver_thread: Descriptor,
    wait: WaitStrategy,
    stopping: AtomicBool,
    /// The process in which it was built; a child of that has a copy, which is good for nothing.
    own: OwnMark,
}

impl Shared {
    pub(super) fn new(
        memory: Arc<Memory>,
        patience: Duration,
        driver_thread: Descriptor,
        wait: WaitStrategy,
    ) -> Self {
        Self {
            state: Mutex::new(State::new(Arc::clone(&memory), patience)),
            memory,
            driver_thread,
            wait,
            stopping: AtomicBool::new(false),
            own: OwnMark::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the process that built the flow.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_own()
    }

    /// # Errors
    /// This is a child of the process that built the flow.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_own() {
            return Ok(());
        }
        Err(Error::Closed("it was built in another process, of which this is a child".to_owned()))
    }

    /// The flow is to end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        notify(&self.driver_thread);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// There is nothing more to do, for this reason, or for one that was there before.
    pub(super) fn close(&self, why: &str) {
        self.with(|state| {
            state.closed.get_or_insert_with(|| why.to_owned());
            state.effects.changed = true;
        });
    }

    /// What workers have left is passed on; they have ended.
    pub(super) fn end_output(&self) {
        let receiver = self.lock().receiver.clone();
        if let Some(receiver) = receiver {
            receiver.stop();
        }
    }

    /// Does something with the state, and what follows from it. Not in a child.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = f(&mut state);
        self.leave(&mut state);
        result
    }

    /// Before the lock is given back: whoever has to know is told, and if things are left that only
    /// a worker's completion can move, somebody is to look at that.
    pub(super) fn leave(&self, state: &mut State) {
        follow_up(state);
        // Each round that finds nothing new is the last; a busy flow goes on with the next call.
        for round in 0..4 {
            if state.effects.changed {
                state.effects.changed = false;
                reserve_groups(state);
                if state.parked > 0 {
                    self.wake_threads();
                }
            }
            if state.effects.wakeup {
                state.effects.wakeup = false;
                notify(&self.driver_thread);
            }
            let want = if state.parked > 0 {
                THREAD
            } else if state.objects.unposted() > 0
                || state.processes.blocked() > 0
                || state.objects.are_any_eager()
                || !state.admission.waits().is_empty()
            {
                DRIVER_THREAD
            } else {
                NOBODY
            };
            let notifier = self.memory.notifier();
            if notifier.wanted() == want {
                return;
            }
            if want == NOBODY {
                return notifier.rest();
            }
            notifier.want(want);
            self.memory.fence_others();
            // A worker may go on to a longer task than was thought, and tell nobody.
            if want == DRIVER_THREAD && state.processes.has_standing() {
                notify(&self.driver_thread);
            }
            let more = poll_completions(state);
            if !more && !state.effects.are_outside() {
                return;
            }
            if round == 3 {
                state.effects.wakeup = false;
                notify(&self.driver_thread); // it goes on with the rest
            }
        }
    }

    fn wake_threads(&self) {
        self.memory.notifier_word().fetch_add(1, SeqCst);
        futex::wake(self.memory.notifier_word(), i32::MAX);
    }

    /// Waits until `ready` has something, doing meanwhile what completions make possible. `None`
    /// when the time is over.
    pub(super) fn until<R>(
        &self,
        until: Option<Instant>,
        mut ready: impl FnMut(&mut State) -> Option<R>,
    ) -> Result<Option<R>, Error> {
        self.check()?;
        let mut round = 0;
        loop {
            let mut state = self.lock();
            // Somebody looks: nobody needs to be told. (A write would take the line away from the
            // workers, who look at it after each task.)
            if state.parked == 0 && self.memory.notifier().wanted() != NOBODY {
                self.memory.notifier().rest();
            }
            poll_completions(&mut state);
            if let Some(result) = ready(&mut state) {
                self.leave(&mut state);
                return Ok(Some(result));
            }
            if let Some(why) = &state.closed {
                let why = why.clone();
                self.leave(&mut state);
                return Err(Error::Closed(why));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                self.leave(&mut state);
                return Ok(None);
            }
            if state.effects.are_outside() {
                self.leave(&mut state);
            }
            if self.wait.pause(round).is_some() {
                round += 1;
                continue;
            }
            // Nothing for a while: sleep until notified.
            state.parked += 1;
            let seen = self.memory.notifier_word().load(Acquire);
            self.memory.notifier().want(THREAD);
            self.memory.fence_others();
            poll_completions(&mut state);
            let result = ready(&mut state);
            let asleep = result.is_none() && state.closed.is_none();
            if asleep {
                if state.effects.are_outside() {
                    // What was just done may concern others who sleep, and not us.
                    self.leave(&mut state);
                }
                drop(state);
                let left =
                    until.map_or(RECHECK, |until| until.saturating_duration_since(Instant::now()));
                let slept = Instant::now();
                futex::wait(self.memory.notifier_word(), seen, Some(left.min(RECHECK)));
                if slept.elapsed() >= RECHECK {
                    notify(&self.driver_thread); // somebody waits for long: is all well?
                }
                state = self.lock();
            }
            state.parked -= 1;
            if let Some(result) = result {
                self.leave(&mut state);
                return Ok(Some(result));
            }
            if state.parked == 0 {
                self.memory.notifier().rest();
            }
            round = 0;
        }
    }
}
