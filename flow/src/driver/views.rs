//! What the public face asks of the table, beyond calls and values.

use std::time::Instant;

use mailring_process::fork_server::ChildHandle;

use super::State;
use super::actors::Life;
use super::build::check_group;
use super::host::Host;
use super::objects::Value;
use super::tasks::Phase;
use crate::protocol::args::{Arg, Args};
use crate::protocol::error::Error;
use crate::protocol::handle::{Endpoint, Name};
use crate::protocol::info::ActorInfo;
use crate::protocol::info::{FlowStats, TaskView, WorkerInfo};
use crate::protocol::options::Packing;
use crate::protocol::resources::Resources;

use smallvec::SmallVec;

/// Bytes of a value that is kept in the table: so many of them fit an answer to a body.
const INLINE: usize = 256;

impl Host {
    /// A value of the driver's own: an object that is complete from the beginning.
    pub(super) fn put_value(&self, mut args: Args) -> Result<Name, Error> {
        self.check()?;
        let mut held = None;
        if args.bytes.len() > INLINE {
            let mut fill = |room: &mut [u8]| room.copy_from_slice(&args.bytes);
            let len = args.bytes.len() as u64;
            let (id, address, _) = self.take_block(len)?;
            held = Some(id);
            self.fill_block(address, len, &mut fill)?;
            args.list = smallvec::smallvec![Arg::Ref(id)];
        }
        let entered = (|| {
            let mut state = self.lock();
            if let Some(why) = &state.closed {
                return Err(Error::Closed(why.clone()));
            }
            let nested: Result<Vec<_>, Error> =
                args.nested.iter().map(|&id| state.find(id)).collect();
            let nested = nested?;
            let index = match args.list.first() {
                Some(Arg::Ref(id)) => {
                    let index = state.find(*id)?;
                    state.objects.hold(index);
                    state.objects.at_mut(index).shared = false;
                    index
                }
                _ => {
                    let value = Value::Inline(SmallVec::from_slice(&args.bytes));
                    state.objects.add(0, value)
                }
            };
            nested.iter().for_each(|&child| state.objects.hold(child));
            state.objects.at_mut(index).children = nested;
            // One that people see, as for a task; it is not a task.
            state.number += 1;
            state.puts += 1;
            state.objects.at_mut(index).number = state.number;
            let name = state.objects.name(index);
            Ok(name)
        })();
        if let Some(block) = held {
            self.release(block); // the name has one of its own
        }
        entered
    }

    pub(crate) fn lose(&self, id: u64) -> Result<(), Error> {
        self.check()?;
        self.with(|state| {
            if let Ok(index) = state.find(id) {
                state.lose(index, "it was freed");
            }
        });
        Ok(())
    }

    pub(crate) fn add_group(&self, bundles: &[Resources], packing: Packing) -> Result<u64, Error> {
        self.check()?;
        self.with(|state| state.add_group(bundles, packing))
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
        self.with(|state| {
            state.poll_completions();
            state.add_workers(group, count, each)?;
            state.changed = true;
            Ok(())
        })
    }

    pub(crate) fn tasks(&self) -> Vec<TaskView> {
        self.with(|state| {
            state.poll_completions();
            let open = state.objects.indices().filter_map(|index| {
                let task = state.objects.task(index)?;
                Some(TaskView {
                    task: state.objects.at(index).number,
                    name: state.name_of(index),
                    tag: task.overrides.as_ref().and_then(|over| over.tag.clone()),
                    pending: state.pending(index),
                })
            });
            let mut tasks: Vec<TaskView> = open.collect();
            tasks.sort_by_key(|task| task.task);
            tasks
        })
    }

    pub(crate) fn workers(&self) -> Vec<WorkerInfo> {
        self.with(|state| {
            state.poll_completions();
            let workers = state.workers.iter().enumerate();
            let info = workers.map(|(at, worker)| WorkerInfo {
                name: worker.name.clone(),
                total: state.classes.describe_supply(&worker.total),
                free: state.classes.describe_supply(&worker.free),
                pids: state.pids_of(at),
            });
            info.collect()
        })
    }

    pub(crate) fn stats(&self) -> FlowStats {
        self.with(|state| {
            state.poll_completions();
            let (memory, memory_used, spilled) = state.store.figures();
            FlowStats {
                tasks: state.number - state.puts,
                incomplete: state.incomplete,
                objects: state.objects.live,
                processes: state.procs.iter().filter(|process| process.used).count(),
                memory,
                memory_used,
                spilled,
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
        let watched: Result<(), Error> = self.with(|state| {
            state.poll_completions();
            (0..).zip(ids).try_for_each(|(member, &id)| state.watch(set, id, member))
        });
        let result = watched.and_then(|()| f(set));
        self.drop_set(set, (0..).zip(ids).map(|(member, &id)| (member, id)));
        result
    }

    pub(crate) fn new_set(&self) -> Result<u32, Error> {
        self.check()?;
        Ok(self.lock().add_set())
    }

    pub(crate) fn watch(&self, set: u32, id: u64, member: u64) -> Result<(), Error> {
        self.check()?;
        self.lock().watch(set, id, member)
    }

    pub(crate) fn take_ready(
        &self,
        set: u32,
        need: usize,
        until: Option<Instant>,
    ) -> Result<Vec<u64>, Error> {
        match self.until(until, |state| state.take_ready(set, need))? {
            Some(ready) => Ok(ready),
            None => Ok(self.lock().take_ready(set, 0).unwrap_or_default()),
        }
    }

    /// A member of a set is another object from now on: what was heard of the old one is forgotten.
    pub(crate) fn forget_member(&self, set: u32, id: u64, member: u64) {
        if self.is_own() {
            self.lock().forget_member(set, id, member);
        }
    }

    pub(crate) fn drop_set(&self, set: u32, left: impl Iterator<Item = (u64, u64)>) {
        if !self.is_own() {
            return;
        }
        let mut state = self.lock();
        for (member, id) in left {
            state.unwatch(set, id, member);
        }
        state.remove_set(set);
    }

    /// Whether all workers together have what a task needs free, and so much of it unused.
    pub(crate) fn could_be_placed(&self, id: u64, min_free: f64, demand_absent: bool) -> bool {
        self.with(|state| state.could_be_placed(id, min_free, demand_absent))
    }

    // ---- actors -----------------------------------------------------------------------------

    pub(crate) fn kill_actor(&self, id: u64) -> Result<(), Error> {
        self.check()?;
        self.with(|state| {
            state.poll_completions();
            state.find_actor(id)?;
            state.kill_actor(id);
            state.changed = true;
            Ok(())
        })
    }

    pub(crate) fn actor_info(&self, id: u64) -> Option<ActorInfo> {
        self.check().ok()?;
        self.with(|state| {
            state.poll_completions();
            let number = state.find_actor(id).ok()?;
            let actor = &state.actors[number as usize];
            let process = actor.place.map(|place| &state.procs[usize::from(place)]);
            let pid = process.and_then(|process| process.child.as_ref()).map(shown);
            let alive = !matches!(actor.life, Life::Dead(_));
            Some(ActorInfo { pid: pid.filter(|_| alive), alive, restarts: actor.restarts })
        })
    }
}

impl State {
    fn pids_of(&self, worker: usize) -> Vec<i32> {
        let own = self.procs.iter().filter(|process| process.used && process.worker == worker);
        own.filter_map(|process| process.child.as_ref().map(shown)).collect()
    }

    fn could_be_placed(&self, id: u64, min_free: f64, demand_absent: bool) -> bool {
        let Some(index) = self.objects.find(id) else { return false };
        let Some(task) = self.objects.task(index) else { return false };
        // While something is kept for others, what is free means nothing.
        if task.phase != Phase::Queued || !self.claims.is_empty() {
            return false;
        }
        let demand = &self.classes.at(task.class).demand;
        let sum = |of: &dyn Fn(&super::scheduler::Logical) -> i64| -> i64 {
            self.workers.iter().map(of).sum()
        };
        let enough = |free: i64, total: i64, need: i64| {
            // Nothing of it anywhere: it can never run, which is not being stuck.
            total > 0 && free >= need && free as f64 >= min_free * total as f64
        };
        let cpus =
            demand.cpus == 0 || enough(sum(&|w| w.free.cpus), sum(&|w| w.total.cpus), demand.cpus);
        let label = |&(label, need): &(u16, i64)| {
            let at = usize::from(label);
            let free = sum(&|w| w.free.labels.get(at).copied().unwrap_or(0));
            let total = sum(&|w| w.total.labels.get(at).copied().unwrap_or(0));
            enough(free, total, need)
        };
        let wanted = demand_absent
            && self.objects.indices().any(|other| {
                other != index
                    && self.objects.task(other).is_some_and(|other| {
                        other.phase == Phase::Queued
                            && self.classes.at(other.class).demand == *demand
                    })
            });
        cpus && demand.labels.iter().all(label) && !wanted
    }
}

/// The process of a worker; that of the driver, if the worker is a thread of it.
fn shown(child: &ChildHandle) -> i32 {
    if child.pid > 0 { child.pid } else { std::process::id() as i32 }
}
