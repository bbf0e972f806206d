//! The driver as its handles see it: what the public face asks of the state.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mailring_process::fork_server::ChildHandle;
use mailring_process::live::Publisher;
use smallvec::SmallVec;

use super::parts::actors::Life;
use super::parts::features::{Features, Gate, look_at};
use super::parts::objects::{Value, Waiter};
use super::parts::processes::Processes;
use super::parts::state::State;
use super::parts::store::NoRoom;
use super::parts::tasks::{Index, NewTask};
use super::profiler::Profiler;
use super::shared::Shared;
use super::steps::acting::{kill_actor, spawn_actor};
use super::steps::completions::poll_completions;
use super::steps::enlarging::{add_workers, check_group, remove_group};
use super::steps::follow_up::follow_up;
use super::steps::giving::{leaves_enough, no_memory, relieve};
use super::steps::pending::pending;
use super::steps::placing::reserve_groups;
use super::steps::recording::said;
use super::steps::submitting::submit;
use super::{cache_thread, cancel_threads};
use crate::config::call::Dispatch;
use crate::config::snapshot::Snapshot;
use crate::profile::tally::Tally;
use crate::protocol::args::{Arg, Args};
use crate::protocol::cancel::{Cancel, CancelReport, Target};
use crate::protocol::error::Error;
use crate::protocol::handle::{Each, Endpoint, Fill, Given, Name};
use crate::protocol::info::{ActorInfo, FlowStats, TaskView, WorkerInfo};
use crate::protocol::node::{NodeDesc, by_number};
use crate::protocol::note::Note;
use crate::protocol::options::{Overrides, Packing};
use crate::protocol::pending::Pending;
use crate::protocol::resources::Resources;
use crate::protocol::value::{Encoded, OWN_PAGES};

/// Calls that stand behind others, after which completions are read.
const AT_ONCE: u32 = 12;
/// Bytes of a value that is kept in the table: so many of them fit an answer to a body.
const INLINE: usize = 256;

/// A flow, as its handles hold it.
pub(crate) struct Host {
    shared: Arc<Shared>,
    /// Writes the counters where other processes read them, if that was asked for.
    publisher: Mutex<Option<Publisher>>,
    profiler: Profiler,
    cache_thread: Mutex<Option<JoinHandle<()>>>,
}

/// The flow that was built last in this process.
static CURRENT: Mutex<Weak<Host>> = Mutex::new(Weak::new());

/// The flow that was built last in this process, if there still is one.
pub(crate) fn current() -> Option<Arc<Host>> {
    let last = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    last.filter(|host| host.is_own())
}

impl Host {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        let host = Arc::new(Self {
            shared,
            publisher: Mutex::new(None),
            profiler: Profiler::default(),
            cache_thread: Mutex::new(None),
        });
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&host);
        host
    }

    /// Whether this is the process that built the flow.
    pub(crate) fn is_own(&self) -> bool {
        self.shared.is_own()
    }

    /// # Errors
    /// This is a child of the process that built the flow.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.shared.check()
    }

    pub(super) fn keep_publisher(&self, publisher: Publisher) {
        *self.publisher.lock().unwrap_or_else(PoisonError::into_inner) = Some(publisher);
    }

    /// Ends it all, and waits for that.
    pub(crate) fn stop(&self, driver_thread: JoinHandle<()>) {
        self.shared.stop();
        let _ = driver_thread.join();
        self.end_cache_thread();
        self.shared.end_output();
        // With the last figures.
        drop(self.publisher.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Err(error) = self.profiler.stop(&self.shared) {
            tracing::error!(%error, "the profile is not complete");
        }
        self.shared.close("it was dropped");
    }

    /// Begins a profile, or says where the one is that is being written.
    pub(crate) fn start_collector(&self, log: &Path) -> Result<PathBuf, Error> {
        self.check()?;
        self.profiler.start_log(&self.shared, log)
    }

    /// Ends the profile, if there is one.
    pub(crate) fn stop_collector(&self) -> Result<(), Error> {
        self.check()?;
        self.profiler.stop_log(&self.shared)
    }

    /// Counts how far it is, from now on.
    pub(crate) fn start_tally(&self) -> Result<Arc<Mutex<Tally>>, Error> {
        self.check()?;
        self.profiler.start_tally(&self.shared)
    }

    /// Counts no longer.
    pub(crate) fn stop_tally(&self, tally: &Arc<Mutex<Tally>>) {
        if self.is_own() {
            self.profiler.stop_tally(&self.shared, tally);
        }
    }

    /// This configuration is in force for the calls that come; none of them is the old one's.
    pub(crate) fn configure(&self, config: Arc<Snapshot>) -> Result<(), Error> {
        self.check()?;
        let mut cache_thread = self.cache_thread();
        if let Some(why) = &self.shared.lock().closed {
            return Err(Error::Closed(why.clone()));
        }
        if config.cache.is_some() && cache_thread.is_none() {
            *cache_thread = Some(cache_thread::start(&self.shared)?);
        }
        self.shared.with(|state| {
            tracing::debug!(epoch = config.epoch(), "a configuration is in force");
            state.config = Some(config);
            state.configured = true;
        });
        Ok(())
    }

    fn cache_thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.cache_thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is complete is stored; then the thread of the cache ends.
    fn end_cache_thread(&self) {
        if let Some(thread) = self.cache_thread().take() {
            self.shared.with(|state| state.results.close());
            let _ = thread.join();
        }
    }

    /// What the configuration in force makes of a call, if there is one.
    pub(super) fn features_of(
        &self,
        node: &'static NodeDesc,
        args: &mut Args,
        overrides: &mut Option<Box<Overrides>>,
    ) -> Result<Option<Box<Features>>, Error> {
        self.check()?;
        let config = self.shared.lock().config.clone();
        config.map(|config| self.features(&config, node, args, overrides)).transpose()
    }

    /// So many calls more were served, and bypassed.
    pub(super) fn count(&self, served: u64, bypassed: u64) {
        let mut state = self.shared.lock();
        state.results.served += served;
        state.results.bypassed += bypassed;
    }

    /// What the configuration makes of a call.
    #[cold]
    fn features(
        &self,
        config: &Arc<Snapshot>,
        node: &'static NodeDesc,
        args: &mut Args,
        overrides: &mut Option<Box<Overrides>>,
    ) -> Result<Box<Features>, Error> {
        let mut verdict = None;
        loop {
            let bypass = match look_at(config, node, args, overrides, verdict)? {
                Gate::Enter(features) => return Ok(features),
                Gate::Ask(bypass) => bypass,
            };
            let call = Dispatch {
                tag: overrides.as_ref().and_then(|over| over.tag.as_deref()),
                data: bypass.data.as_deref(),
                cache: config.cache.clone(),
                args,
                flow: self,
            };
            verdict = Some(bypass.condition.map_or(Ok(true), |condition| condition(&call))?);
        }
    }

    /// The time is over: it began to pass when it had an end.
    fn late(&self, id: u64, since: Option<Instant>) -> Error {
        let state = self.shared.lock();
        let name = match state.objects.find(id) {
            Some(index) => {
                format!(
                    "`{}` (task {})",
                    state.objects.name_of(index),
                    state.objects.at(index).number
                )
            }
            None => "the value".to_owned(),
        };
        Error::Timeout(name, since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// A value of the driver's own: an object that is complete from the beginning.
    pub(super) fn put_value(&self, args: &mut Args) -> Result<Name, Error> {
        self.check()?;
        let mut held = None;
        if args.bytes.len() > INLINE {
            let mut fill = |room: &mut [u8]| room.copy_from_slice(&args.bytes);
            let len = args.bytes.len() as u64;
            let (id, address) = self.take_block(len)?;
            held = Some(id);
            self.fill_block(address, len, &mut fill)?;
            args.list = smallvec::smallvec![Arg::Ref(id)];
        }
        let entered = (|| {
            let mut state = self.shared.lock();
            if let Some(why) = &state.closed {
                return Err(Error::Closed(why.clone()));
            }
            let nested: Result<Vec<_>, Error> =
                args.nested.iter().map(|&id| state.objects.named(id)).collect();
            let nested = nested?;
            let index = match args.list.first() {
                Some(Arg::Ref(id)) => {
                    let index = state.objects.named(*id)?;
                    state.objects.hold(index);
                    index
                }
                _ => state.objects.add_inline(&args.bytes),
            };
            state.objects.set_put(index, nested);
            Ok(state.objects.name(index))
        })();
        if let Some(block) = held {
            self.release(block); // the name has one of its own
        }
        entered
    }

    pub(crate) fn lose(&self, id: u64) -> Result<(), Error> {
        self.check()?;
        self.shared.with(|state| {
            if let Ok(index) = state.objects.named(id) {
                state.objects.lose(index, "it was freed");
            }
        });
        Ok(())
    }

    pub(crate) fn add_group(&self, bundles: &[Resources], packing: Packing) -> Result<u64, Error> {
        self.check()?;
        self.shared.with(|state| {
            let number = state.objects.last_number();
            let group = state.scheduler.add_group(bundles, packing, number)?;
            reserve_groups(state);
            Ok(group)
        })
    }

    pub(crate) fn add_workers(
        &self,
        group: &str,
        count: usize,
        each: &Resources,
    ) -> Result<(), Error> {
        self.check()?;
        each.check()?;
        check_group(group)?;
        self.shared.with(|state| {
            poll_completions(state);
            add_workers(state, group, count, each)?;
            state.effects.changed = true;
            Ok(())
        })
    }

    pub(crate) fn tasks(&self) -> Vec<TaskView> {
        self.shared.with(|state| {
            poll_completions(state);
            let open = state.objects.tasks().map(|(index, task)| TaskView {
                task: state.objects.at(index).number,
                name: task.name().to_owned(),
                tag: task.overrides.as_ref().and_then(|over| over.tag.clone()),
                pending: pending(state, index),
            });
            let mut tasks: Vec<TaskView> = open.collect();
            tasks.sort_by_key(|task| task.task);
            tasks
        })
    }

    pub(crate) fn workers(&self) -> Vec<WorkerInfo> {
        self.shared.with(|state| {
            poll_completions(state);
            let workers = state.scheduler.workers().iter().enumerate();
            let info = workers.map(|(at, worker)| WorkerInfo {
                name: worker.name.clone(),
                total: state.scheduler.describe_supply(&worker.total),
                free: state.scheduler.describe_supply(&worker.free),
                pids: pids_of(&state.processes, at),
            });
            info.collect()
        })
    }

    pub(crate) fn stats(&self) -> FlowStats {
        self.shared.with(|state| {
            poll_completions(state);
            let (memory, memory_used, spilled) = state.store.figures();
            FlowStats {
                tasks: state.objects.tasks_so_far(),
                incomplete: state.objects.incomplete(),
                objects: state.objects.live(),
                processes: state.processes.all().count(),
                memory,
                memory_used,
                spilled,
                served: state.results.served,
                bypassed: state.results.bypassed,
            }
        })
    }

    // ---- waiting for some -------------------------------------------------------------------

    /// A set of these for as long as `f` runs; each is called by its place in the list.
    pub(super) fn with_set<R>(
        &self,
        ids: &[u64],
        f: impl FnOnce(u32) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let set = self.new_set()?;
        let watched: Result<(), Error> = self.shared.with(|state| {
            poll_completions(state);
            (0..).zip(ids).try_for_each(|(member, &id)| watch(state, set, id, member))
        });
        let result = watched.and_then(|()| f(set));
        self.drop_set(set, (0..).zip(ids).map(|(member, &id)| (member, id)));
        result
    }

    pub(crate) fn new_set(&self) -> Result<u32, Error> {
        self.check()?;
        Ok(self.shared.lock().wait_sets.add())
    }

    /// Tells a set when an object is complete; `member` is what the set calls it.
    pub(crate) fn watch(&self, set: u32, id: u64, member: u64) -> Result<(), Error> {
        self.check()?;
        watch(&mut self.shared.lock(), set, id, member)
    }

    pub(crate) fn take_ready(
        &self,
        set: u32,
        need: usize,
        until: Option<Instant>,
    ) -> Result<Vec<u64>, Error> {
        match self.shared.until(until, |state| state.wait_sets.take_ready(set, need))? {
            Some(ready) => Ok(ready),
            None => Ok(self.shared.lock().wait_sets.take_ready(set, 0).unwrap_or_default()),
        }
    }

    /// A member of a set is another object from now on: what was heard of the old one is forgotten.
    pub(crate) fn forget_member(&self, set: u32, id: u64, member: u64) {
        if self.is_own() {
            let mut state = self.shared.lock();
            unwatch(&mut state, set, id, member);
            state.wait_sets.forget(set, member);
        }
    }

    pub(crate) fn drop_set(&self, set: u32, left: impl Iterator<Item = (u64, u64)>) {
        if !self.is_own() {
            return;
        }
        let mut state = self.shared.lock();
        for (member, id) in left {
            unwatch(&mut state, set, id, member);
        }
        state.wait_sets.remove(set);
    }

    /// Whether all workers together have what a task needs free, and so much of it unused.
    pub(crate) fn could_be_placed(&self, id: u64, min_free: f64, demand_absent: bool) -> bool {
        self.shared.with(|state| {
            let State { scheduler, objects, .. } = state;
            objects.find_task(id).is_some_and(|(index, task)| {
                scheduler.could_be_placed(index, task, min_free, demand_absent, objects)
            })
        })
    }

    // ---- actors -----------------------------------------------------------------------------

    pub(crate) fn kill_actor(&self, id: u64) -> Result<(), Error> {
        self.check()?;
        self.shared.with(|state| {
            poll_completions(state);
            let number = state.actors.find(id)?;
            kill_actor(state, number);
            state.effects.changed = true;
            Ok(())
        })
    }

    pub(crate) fn actor_info(&self, id: u64) -> Option<ActorInfo> {
        self.check().ok()?;
        self.shared.with(|state| {
            poll_completions(state);
            let number = state.actors.find(id).ok()?;
            let actor = state.actors.at(number);
            let process = actor.place.map(|place| state.processes.at(place));
            let pid = process.and_then(|process| process.child.as_ref()).map(shown);
            let alive = !matches!(actor.life, Life::Dead(_));
            Some(ActorInfo { pid: pid.filter(|_| alive), alive, restarts: actor.restarts })
        })
    }

    // ---- placement groups -------------------------------------------------------------------

    /// Waits until a group is reserved. False when the time is over.
    pub(crate) fn wait_for_group(&self, id: u64, until: Option<Instant>) -> Result<bool, Error> {
        let ready = self.shared.until(until, |state| match state.scheduler.group_ready(id) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })?;
        ready.transpose().map(|ready| ready.is_some())
    }

    /// The workers of a group's bundles, once it is reserved.
    pub(crate) fn group_workers(&self, id: u64) -> Vec<String> {
        self.shared.with(|state| state.scheduler.group_workers(id))
    }

    pub(crate) fn remove_group(&self, id: u64) {
        self.shared.with(|state| remove_group(state, id));
    }
}

impl Endpoint for Host {
    fn stamp(&self) -> usize {
        Arc::as_ptr(&self.shared.memory) as usize
    }

    fn retain(&self, id: u64) -> bool {
        if !self.is_own() {
            return false;
        }
        self.shared.lock().objects.retain(id)
    }

    fn release(&self, id: u64) {
        if !self.is_own() {
            return;
        }
        let mut state = self.shared.lock();
        if let Some(index) = state.objects.find(id) {
            let State { objects, store, .. } = &mut *state;
            objects.unhold(index, store);
            // A value that named calls of its body may be gone, and with it the last who held them.
            let unwanted = objects.has_unwanted();
            // Somebody may wait for the memory.
            let threads = state.parked > 0;
            if unwanted || threads || state.admission.is_scarce() {
                follow_up(&mut state);
                relieve(&mut state);
                state.effects.wakeup = true;
                state.effects.changed |= threads;
                self.shared.leave(&mut state);
            }
        }
    }

    fn take_block(&self, bytes: u64) -> Result<(u64, u64), Error> {
        let mut patience: Option<(u64, Instant)> = None;
        let block = self.shared.until(None, |state| {
            // What is left for bodies is the driver's as well when none of them is at work.
            let main = leaves_enough(state, bytes, None) || !state.readiness().is_any_at_work();
            let why = match state.store.take(bytes, main) {
                Ok(block) => return Some(Ok(block)),
                Err(why) => why,
            };
            let now = Instant::now();
            if patience.is_none_or(|(freed, _)| freed != state.store.freed()) {
                patience = Some((state.store.freed(), now));
            }
            // Nothing runs that could free anything, or nothing has been freed for long.
            let idle = state.objects.incomplete() == 0;
            let long = patience
                .is_some_and(|(_, since)| now.duration_since(since) > state.admission.patience());
            (why != NoRoom::Now || idle || long).then(|| Err(no_memory(state, bytes, &why)))
        })?;
        let block =
            block.unwrap_or_else(|| Err(Error::Closed("while waiting for memory".to_owned())))?;
        Ok(self.shared.with(|state| {
            let (address, _) = state.store.place(block);
            let index = state.objects.add_block(block, address, bytes);
            (state.objects.id(index), address)
        }))
    }

    fn fill_block(&self, address: u64, bytes: u64, fill: Fill<'_>) -> Result<(), Error> {
        // SAFETY: taken just now, and nobody else knows of it.
        if let Some(room) = unsafe { self.shared.memory.room(address, bytes) } {
            fill(room);
        }
        Ok(())
    }

    fn is_block(&self, id: u64, address: u64, len: u64) -> bool {
        if !self.is_own() {
            return false;
        }
        let state = self.shared.lock();
        state.objects.find(id).is_some_and(|index| {
            let object = state.objects.at(index);
            let is = matches!(object.value, Value::Placed { address: a, len: l, .. } if a == address && l == len);
            object.shared && is
        })
    }

    fn wait_for(&self, id: u64, until: Option<Instant>) -> Result<(), Error> {
        let started = until.map(|_| Instant::now());
        let done = self.shared.until(until, |state| match state.objects.named(id) {
            Ok(index) => (!state.objects.is_pending(index)).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        })?;
        done.unwrap_or_else(|| Err(self.late(id, started)))
    }

    fn encoded(&self, id: u64, until: Option<Instant>) -> Result<Encoded, Error> {
        let started = until.map(|_| Instant::now());
        let found = self.shared.until(until, |state| match state.objects.named(id) {
            Ok(index) => (!state.objects.is_pending(index)).then(|| read(state, index)),
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
        let started = until.map(|_| Instant::now());
        let mut missing = ids.len();
        let waited = self.with_set(ids, |set| {
            self.shared.until(until, |state| {
                let mut ready = state.wait_sets.take_ready(set, 1).unwrap_or_default();
                ready.sort_unstable();
                missing -= ready.len();
                // The first failure ends it, whatever else is not there yet.
                let failed = ready.iter().find_map(|&at| {
                    let index = state.objects.find(ids[at as usize])?;
                    read(state, index).err()
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
        args: &mut Args,
        given: &mut Given,
        overrides: Option<&Overrides>,
        actor: Option<u64>,
    ) -> Result<Name, Error> {
        self.check()?;
        let node = known(node)?;
        let mut overrides = overrides.map(boxed);
        let mut state = self.shared.lock();
        let mut features = None;
        if let Some(config) = &state.config {
            let config = Arc::clone(config);
            drop(state); // a condition is the user's own code
            features = Some(self.features(&config, node, args, &mut overrides)?);
            state = self.shared.lock();
        }
        if let Some(why) = &state.closed {
            return Err(Error::Closed(why.clone()));
        }
        // A driver that only submits reads completions as well. A call that takes refs stands behind
        // what makes them, whether that is known to be complete or not: so then for several at once.
        let waits = actor.is_none() && args.list.iter().any(|arg| matches!(arg, Arg::Ref(_)));
        if !waits {
            poll_completions(&mut state);
        }
        let actor = match actor {
            Some(id) => Some((state.actors.find(id)?, caller())),
            None => None,
        };
        let mut new = NewTask { node, args, overrides, parent: None, actor, makes: None, features };
        let entered = submit(&mut state, &mut new).map(|index| state.objects.name(index));
        if entered.is_ok() {
            // The task holds them now.
            while let Some(id) = given.take() {
                let State { objects, store, .. } = &mut *state;
                if let Some(index) = objects.find(id) {
                    objects.unhold(index, store);
                }
            }
        }
        if waits {
            state.unread += 1;
            if state.unread >= AT_ONCE || state.objects.unposted() > 0 {
                state.unread = 0;
                poll_completions(&mut state);
            }
        }
        self.shared.leave(&mut state);
        entered
    }

    fn put(&self, args: &mut Args) -> Result<Name, Error> {
        self.put_value(args)
    }

    fn spawn(
        &self,
        node: u32,
        args: &mut Args,
        overrides: &Overrides,
        max_restarts: Option<i32>,
    ) -> Result<u64, Error> {
        self.check()?;
        let node = known(node)?;
        let overrides = Box::new(overrides.clone());
        self.shared.with(|state| match &state.closed {
            Some(why) => Err(Error::Closed(why.clone())),
            None => spawn_actor(state, node, std::mem::take(args), overrides, max_restarts),
        })
    }

    fn kill(&self, actor: u64) -> Result<(), Error> {
        self.kill_actor(actor)
    }

    fn cancel(&self, target: &Target, cancel: Cancel) -> Result<Vec<CancelReport>, Error> {
        cancel_threads::cancel(&self.shared, target, cancel)
    }

    fn note(&self, note: Note) {
        if self.is_own() {
            self.shared.with(|state| said(state, None, note));
        }
    }

    fn pending(&self, id: u64) -> Result<Pending, Error> {
        self.check()?;
        self.shared.with(|state| {
            poll_completions(state);
            state.objects.named(id).map(|index| pending(state, index))
        })
    }

    fn wait_some(
        &self,
        ids: &[u64],
        need: usize,
        until: Option<Instant>,
    ) -> Result<Vec<bool>, Error> {
        let look = |state: &mut State| {
            let complete = |&id: &u64| Ok(!state.objects.is_pending(state.objects.named(id)?));
            ids.iter().map(complete).collect::<Result<Vec<bool>, Error>>()
        };
        let enough = |ready: &[bool]| ready.iter().filter(|ready| **ready).count() >= need;
        let waited = self.shared.until(until, |state| match look(state) {
            Ok(ready) => enough(&ready).then_some(Ok(ready)),
            Err(error) => Some(Err(error)),
        })?;
        waited.unwrap_or_else(|| self.shared.with(look))
    }
}

fn known(node: u32) -> Result<&'static NodeDesc, Error> {
    by_number(node).ok_or_else(|| Error::NotANode(format!("node {node}")))
}

#[cold]
fn boxed(overrides: &Overrides) -> Box<Overrides> {
    Box::new(overrides.clone())
}

/// A number for the calling thread: its calls of an actor are in order.
fn caller() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static OWN: u64 = NEXT.fetch_add(1, Relaxed));
    OWN.with(|own| *own)
}

/// The encoded value of an object that is complete.
fn read(state: &State, index: Index) -> Result<Encoded, Error> {
    match &state.objects.at(index).value {
        Value::Inline(bytes) => Ok(Encoded::Short(SmallVec::from_slice(bytes))),
        // With pages of its own, which its worker has closed.
        &Value::Placed { address, len, .. } if len >= OWN_PAGES => {
            Ok(Encoded::Placed { address, len })
        }
        &Value::Placed { address, len, .. } => {
            Ok(Encoded::Copied(state.memory.copy(address, len).unwrap_or_default()))
        }
        Value::Failed(error) => Err(Error::Task(Box::new((**error).clone()))),
        Value::Pending => Err(Error::Invalid("a value that is not there yet".to_owned())),
    }
}

/// Tells a set when an object is complete.
fn watch(state: &mut State, set: u32, id: u64, member: u64) -> Result<(), Error> {
    let index = state.objects.named(id)?;
    if state.objects.is_pending(index) {
        state.objects.add_waiter(index, Waiter::Set(set, member));
    } else {
        state.wait_sets.add_ready(set, member);
    }
    Ok(())
}

/// The object does not tell the set any more.
fn unwatch(state: &mut State, set: u32, id: u64, member: u64) {
    if let Some(index) = state.objects.find(id) {
        state.objects.remove_waiter(index, Waiter::Set(set, member));
    }
}

fn pids_of(processes: &Processes, worker: usize) -> Vec<i32> {
    let own = processes.all().filter(|(_, process)| process.worker == worker);
    own.filter_map(|(_, process)| process.child.as_ref().map(shown)).collect()
}

/// The process of a worker; that of the driver, if the worker is a thread of it.
fn shown(child: &ChildHandle) -> i32 {
    if child.pid > 0 { child.pid } else { std::process::id() as i32 }
}
