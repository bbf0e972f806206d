//! The lock around the table, and how threads of the driver wait.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use mailring_process::descriptors::Descriptor;
use mailring_process::futex;
use mailring_process::map::OwnMark;
use mailring_process::wait::WaitStrategy;
use mailring_process::wakeup::notify;

use super::State;
use super::objects::{Index, Value};
use super::store::NoRoom;
use super::tasks::{Caller, NewTask};
use crate::protocol::args::Args;
use crate::protocol::cancel::{Cancel, CancelReport, Target};
use crate::protocol::error::Error;
use crate::protocol::handle::{Each, Endpoint, Fill, Name};
use crate::protocol::memory::Memory;
use crate::protocol::node::{NodeDesc, by_number};
use crate::protocol::notifier::{DRIVER_THREAD, NOBODY, THREAD};
use crate::protocol::options::Overrides;
use crate::protocol::pending::Pending;
use crate::protocol::value::{Encoded, OWN_PAGES};

/// A sleep that nobody ends is looked at again after this long.
const RECHECK: Duration = Duration::from_secs(1);

/// A flow, as its handles hold it.
pub(crate) struct Host {
    state: Mutex<State>,
    pub(super) memory: Arc<Memory>,
    pub(super) driver_thread: Descriptor,
    wait: WaitStrategy,
    pub(super) stopping: AtomicBool,
    /// The process in which it was built; a child of that has a copy, which is good for nothing.
    own: OwnMark,
}

/// The flow that was built last in this process.
static CURRENT: Mutex<Weak<Host>> = Mutex::new(Weak::new());

/// The flow that was built last in this process, if there still is one.
pub(crate) fn current() -> Option<Arc<Host>> {
    let last = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    last.filter(|host| host.is_own())
}

impl Host {
    pub(super) fn new(
        memory: Arc<Memory>,
        patience: Duration,
        driver_thread: Descriptor,
        wait: WaitStrategy,
    ) -> Arc<Self> {
        let state = Mutex::new(State::new(Arc::clone(&memory), patience));
        let host = Arc::new(Self {
            state,
            memory,
            driver_thread,
            wait,
            stopping: AtomicBool::new(false),
            own: OwnMark::new(),
        });
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&host);
        host
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the process that built the flow.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_own()
    }

    /// # Errors
    /// This is a child of the process that built the flow.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_own() {
            return Ok(());
        }
        Err(Error::Closed("it was built in another process, of which this is a child".to_owned()))
    }

    /// Does something with the table, and what follows from it. Not in a child.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = f(&mut state);
        self.leave(&mut state);
        result
    }

    /// Before the lock is given back: whoever has to know is told, and if things are left that only
    /// a worker's completion can move, somebody is to look at that.
    pub(super) fn leave(&self, state: &mut State) {
        // Each round that finds nothing new is the last; a busy flow goes on with the next call.
        for round in 0..4 {
            if state.changed {
                state.changed = false;
                state.reserve_groups();
                if state.parked > 0 {
                    self.wake_threads();
                }
            }
            if state.wakeup {
                state.wakeup = false;
                notify(&self.driver_thread);
            }
            let want = if state.parked > 0 {
                THREAD
            } else if state.unposted > 0
                || state.blocked > 0
                || state.eager > 0
                || !state.memory_waits.is_empty()
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
            if want == DRIVER_THREAD && state.has_standing() {
                notify(&self.driver_thread);
            }
            let more = state.poll_completions();
            if !more && !state.changed && !state.wakeup {
                return;
            }
            if round == 3 {
                state.wakeup = false;
                notify(&self.driver_thread); // it goes on with the rest
            }
        }
    }

    pub(super) fn wake_threads(&self) {
        self.memory.notifier_word().fetch_add(1, SeqCst);
        futex::wake(self.memory.notifier_word(), i32::MAX);
    }

    /// Waits until `ready` has something, doing meanwhile what completions make possible. `None`
    /// when the time is over.
    pub(crate) fn until<R>(
        &self,
        until: Option<Instant>,
        mut ready: impl FnMut(&mut State) -> Option<R>,
    ) -> Result<Option<R>, Error> {
        self.check()?;
        let mut round = 0;
        loop {
            let mut state = self.lock();
            // Somebody looks: nobody needs to be told.
            if state.parked == 0 {
                self.memory.notifier().rest();
            }
            state.poll_completions();
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
            if state.wakeup || state.changed {
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
            state.poll_completions();
            let result = ready(&mut state);
            let asleep = result.is_none() && state.closed.is_none();
            if asleep {
                if state.wakeup || state.changed {
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

    fn late(&self, id: u64, since: Instant) -> Error {
        let state = self.lock();
        let name = match state.objects.find(id) {
            Some(index) => {
                format!("`{}` (task {})", state.name_of(index), state.objects.at(index).number)
            }
            None => "the value".to_owned(),
        };
        Error::Timeout(name, since.elapsed())
    }
}

impl Endpoint for Host {
    fn stamp(&self) -> usize {
        Arc::as_ptr(&self.memory) as usize
    }

    fn retain(&self, id: u64) -> bool {
        if !self.is_own() {
            return false;
        }
        let mut state = self.lock();
        let found = state.objects.find(id);
        if let Some(index) = found {
            state.objects.hold(index);
            if let Some(task) = state.objects.task_mut(index) {
                task.caller = Caller::Driver;
            }
        }
        found.is_some()
    }

    fn release(&self, id: u64) {
        if !self.is_own() {
            return;
        }
        let mut state = self.lock();
        if let Some(index) = state.objects.find(id) {
            let State { objects, store, .. } = &mut *state;
            objects.unhold(index, store);
            // A value that named calls of its body may be gone, and with it the last who held them.
            let unwanted = !state.objects.unwanted.is_empty();
            state.end_unwanted();
            // Somebody may wait for the memory.
            let threads = state.parked > 0;
            if unwanted || threads || !state.memory_waits.is_empty() || state.memory_short {
                state.relieve();
                state.wakeup = true;
                state.changed |= threads;
                self.leave(&mut state);
            }
        }
    }

    fn take_block(&self, bytes: u64) -> Result<(u64, u64, u64), Error> {
        let mut patience: Option<(u64, Instant)> = None;
        let block = self.until(None, |state| {
            // What is left for bodies is the driver's as well when none of them is at work.
            let main = state.leaves_enough(bytes, None) || !state.is_any_at_work();
            let why = match state.store.take(bytes, main) {
                Ok(block) => return Some(Ok(block)),
                Err(why) => why,
            };
            let now = Instant::now();
            if patience.is_none_or(|(freed, _)| freed != state.store.freed) {
                patience = Some((state.store.freed, now));
            }
            // Nothing runs that could free anything, or nothing has been freed for long.
            let idle = state.incomplete == 0;
            let long =
                patience.is_some_and(|(_, since)| now.duration_since(since) > state.patience);
            (why != NoRoom::Now || idle || long).then(|| Err(state.no_memory(bytes, &why)))
        })?;
        let block =
            block.unwrap_or_else(|| Err(Error::Closed("while waiting for memory".to_owned())))?;
        Ok(self.with(|state| {
            let (address, len) = state.store.place(block);
            let index = state.add_block(block, address, bytes);
            (state.objects.id(index), address, len)
        }))
    }

    fn fill_block(&self, address: u64, bytes: u64, fill: Fill<'_>) -> Result<(), Error> {
        // SAFETY: taken just now, and nobody else knows of it.
        if let Some(room) = unsafe { self.memory.room(address, bytes) } {
            fill(room);
        }
        Ok(())
    }

    fn is_block(&self, id: u64, address: u64, len: u64) -> bool {
        if !self.is_own() {
            return false;
        }
        let state = self.lock();
        state.objects.find(id).is_some_and(|index| {
            let object = state.objects.at(index);
            let is = matches!(object.value, Value::Placed { address: a, len: l, .. } if a == address && l == len);
            object.shared && is
        })
    }

    fn wait_for(&self, id: u64, until: Option<Instant>) -> Result<(), Error> {
        let started = Instant::now();
        let done = self.until(until, |state| match state.find(id) {
            Ok(index) => (!state.objects.at(index).value.is_pending()).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        })?;
        done.unwrap_or_else(|| Err(self.late(id, started)))
    }

    fn encoded(&self, id: u64, until: Option<Instant>) -> Result<Encoded, Error> {
        let started = Instant::now();
        let found = self.until(until, |state| match state.find(id) {
            Ok(index) => state.read(index).transpose(),
            Err(error) => Some(Err(error)),
        })?;
        found.unwrap_or_else(|| Err(self.late(id, started)))
    }

    fn encoded_each(
        &self,
        ids: &[u64],
        until: Option<Instant>,
        each: Each<'_>,
    ) -> Result<(), Error> {
        let mut one = |id| {
            let encoded = self.encoded(id, until)?;
            // SAFETY: the caller's handle holds the object.
            each(unsafe { encoded.bytes() })
        };
        if let [id] = *ids {
            return one(id);
        }
        let started = Instant::now();
        let mut missing = ids.len();
        let waited = self.with_set(ids, |set| {
            self.until(until, |state| {
                let mut ready = state.take_ready(set, 1).unwrap_or_default();
                ready.sort_unstable();
                missing -= ready.len();
                // The first failure ends it, whatever else is not there yet.
                let failed = ready.iter().find_map(|&at| {
                    let index = state.objects.find(ids[at as usize])?;
                    state.read(index).err()
                });
                match failed {
                    Some(error) => Some(Err(error)),
                    None => (missing == 0).then_some(Ok(())),
                }
            })
        })?;
        let late = ids.first().copied().unwrap_or(0);
        waited.unwrap_or_else(|| Err(self.late(late, started)))?;
        ids.iter().try_for_each(|&id| one(id))
    }

    fn submit(
        &self,
        node: u32,
        args: Args,
        overrides: Option<&Overrides>,
        actor: Option<u64>,
    ) -> Result<Name, Error> {
        self.check()?;
        let node = known(node)?;
        let overrides = overrides.map(|over| Box::new(over.clone()));
        let mut state = self.lock();
        if let Some(why) = &state.closed {
            return Err(Error::Closed(why.clone()));
        }
        // A driver that only submits reads completions as well.
        state.poll_completions();
        let actor = match actor {
            Some(id) => Some((state.find_actor(id)?, caller())),
            None => None,
        };
        let new = NewTask { node, args, overrides, parent: None, actor, makes: None };
        let entered = state.submit(new).map(|index| state.objects.name(index));
        self.leave(&mut state);
        entered
    }

    fn put(&self, args: Args) -> Result<Name, Error> {
        self.put_value(args)
    }

    fn spawn(
        &self,
        node: u32,
        args: Args,
        overrides: &Overrides,
        max_restarts: Option<i32>,
    ) -> Result<u64, Error> {
        self.check()?;
        let node = known(node)?;
        let overrides = Box::new(overrides.clone());
        self.with(|state| match &state.closed {
            Some(why) => Err(Error::Closed(why.clone())),
            None => state.spawn_actor(node, args, overrides, max_restarts),
        })
    }

    fn kill(&self, actor: u64) -> Result<(), Error> {
        self.kill_actor(actor)
    }

    fn cancel(&self, target: &Target, cancel: Cancel) -> Result<Vec<CancelReport>, Error> {
        self.cancel_targets(target, cancel)
    }

    fn pending(&self, id: u64) -> Result<Pending, Error> {
        self.check()?;
        self.with(|state| {
            state.poll_completions();
            state.find(id).map(|index| state.pending(index))
        })
    }

    fn wait_some(
        &self,
        ids: &[u64],
        need: usize,
        until: Option<Instant>,
    ) -> Result<Vec<bool>, Error> {
        let look = |state: &mut State| {
            let complete = |&id: &u64| Ok(!state.objects.at(state.find(id)?).value.is_pending());
            ids.iter().map(complete).collect::<Result<Vec<bool>, Error>>()
        };
        let enough = |ready: &[bool]| ready.iter().filter(|ready| **ready).count() >= need;
        let waited = self.until(until, |state| match look(state) {
            Ok(ready) => enough(&ready).then_some(Ok(ready)),
            Err(error) => Some(Err(error)),
        })?;
        waited.unwrap_or_else(|| self.with(look))
    }
}

fn known(node: u32) -> Result<&'static NodeDesc, Error> {
    by_number(node).ok_or_else(|| Error::NotANode(format!("node {node}")))
}

/// A number for the calling thread: its calls of an actor are in order.
fn caller() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static OWN: u64 = NEXT.fetch_add(1, Relaxed));
    OWN.with(|own| *own)
}

impl State {
    /// The encoded value of an object, if it is complete.
    fn read(&self, index: Index) -> Result<Option<Encoded>, Error> {
        match &self.objects.at(index).value {
            Value::Pending => Ok(None),
            Value::Inline(bytes) => Ok(Some(Encoded::Copied(bytes.to_vec()))),
            // With pages of its own, which its worker has closed.
            &Value::Placed { address, len, .. } if len >= OWN_PAGES => {
                Ok(Some(Encoded::Placed { address, len }))
            }
            &Value::Placed { address, len, .. } => {
                let copy = self.memory.copy(address, len).unwrap_or_default();
                Ok(Some(Encoded::Copied(copy)))
            }
            Value::Failed(error) => Err(Error::Task(Box::new((**error).clone()))),
        }
    }
}
