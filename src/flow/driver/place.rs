//! Which worker runs which task: resources, classes of tasks that need the same, and the choice.

use std::cmp::Reverse;
use std::collections::HashMap;

use smallvec::SmallVec;

use super::State;
use super::bundles::bundle_free;
use super::letters::Written;
use super::objects::Index;
use super::store::NoRoom;
use super::tasks::{Phase, Task};
use super::turns::{Key, LANES, Lane, Queue};
use crate::flow::error::Error;
use crate::flow::memory::CELL_ARGS;
use crate::flow::node::{NodeDesc, number_of};
use crate::flow::options::{Overrides, Strategy};
use crate::flow::resources::{Amount, ONE, Resources};
use crate::worker::starts::Starts;

/// A class's place in the table.
pub(super) type ClassId = u32;
/// Tasks of a class that stand at one process at the same time, if their bodies are short.
const DEPTH: u64 = 16;
/// Tasks of a queue that may not start yet and are passed over.
const PASSED: usize = 32;
/// Bodies up to this long are worth standing behind each other.
const SHORT_NS: f32 = 50_000.0;

/// Quantities, by label number; cpus apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Demand {
    pub(super) cpus: i64,
    pub(super) labels: SmallVec<[(u16, i64); 2]>,
}

/// What a worker or a bundle has.
#[derive(Clone, Debug, Default)]
pub(super) struct Supply {
    pub(super) cpus: i64,
    /// By label number.
    pub(super) labels: Vec<i64>,
}

impl Supply {
    pub(super) fn covers(&self, demand: &Demand) -> bool {
        let label = |&(label, amount): &(u16, i64)| {
            self.labels.get(usize::from(label)).is_some_and(|&has| has >= amount)
        };
        // A task without cpus may start beside one that holds them all.
        (demand.cpus == 0 || self.cpus >= demand.cpus) && demand.labels.iter().all(label)
    }

    pub(super) fn add(&mut self, demand: &Demand, sign: i64) {
        self.cpus += sign * demand.cpus;
        self.add_labels(demand, sign);
    }

    fn add_labels(&mut self, demand: &Demand, sign: i64) {
        for &(label, amount) in &demand.labels {
            if let Some(has) = self.labels.get_mut(usize::from(label)) {
                *has += sign * amount;
            }
        }
    }
}

/// A logical worker: it advertises resources; as many processes as its tasks need belong to it.
pub(super) struct Logical {
    pub(super) group: String,
    /// `group/index`.
    pub(super) name: String,
    pub(super) total: Supply,
    pub(super) free: Supply,
    pub(super) idle: Vec<u16>,
    pub(super) processes: usize,
    /// Kept although they have nothing to do.
    pub(super) base: usize,
    /// How the starts of its processes go.
    pub(super) starts: Starts,
}

impl Logical {
    /// No process is there for another task, and none is tried for a moment since starts fail.
    pub(super) fn is_paused(&self) -> bool {
        self.idle.is_empty() && self.starts.next().is_some()
    }
}

/// Where a task's resources are taken from: a worker, or a bundle on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) worker: usize,
    pub(super) bundle: Option<(u64, usize)>,
}

/// Which part of a demand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Cpus,
    Labels,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct ClassKey {
    demand: Demand,
    strategy: Strategy,
    priority: i32,
}

/// Tasks that need the same, in order.
pub(super) struct Class {
    pub(super) demand: Demand,
    pub(super) strategy: Strategy,
    pub(super) priority: i32,
    pub(super) queues: [Queue; 3],
    next: usize,
}

/// All classes, labels, and those that have a queue.
#[derive(Default)]
pub(super) struct Classes {
    list: Vec<Class>,
    known: HashMap<ClassKey, ClassId>,
    labels: Vec<String>,
    /// With a queue.
    waiting: SmallVec<[ClassId; 4]>,
}

impl Classes {
    pub(super) fn at(&self, id: ClassId) -> &Class {
        &self.list[id as usize]
    }

    pub(super) fn label(&mut self, name: &str) -> u16 {
        let known = self.labels.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.labels.push(name.to_owned());
            self.labels.len() - 1
        }) as u16
    }

    pub(super) fn demand(&mut self, resources: &Resources) -> Demand {
        let mut labels: SmallVec<[(u16, i64); 2]> =
            resources.labels.iter().map(|(name, amount)| (self.label(name), *amount)).collect();
        labels.sort_unstable();
        Demand { cpus: resources.cpus, labels }
    }

    pub(super) fn supply(&mut self, resources: &Resources) -> Supply {
        let mut supply = Supply { cpus: resources.cpus, labels: Vec::new() };
        for (name, amount) in &resources.labels {
            let label = usize::from(self.label(name));
            supply.labels.resize(supply.labels.len().max(label + 1), 0);
            supply.labels[label] = *amount;
        }
        supply
    }

    pub(super) fn describe(&self, demand: &Demand) -> String {
        let mut text = format!("cpus {}", Amount(demand.cpus));
        for &(label, amount) in &demand.labels {
            text += &format!(", {} {}", self.labels[usize::from(label)], Amount(amount));
        }
        text
    }

    pub(super) fn describe_supply(&self, supply: &Supply) -> String {
        let labels = (0..).zip(&supply.labels).filter(|(_, amount)| **amount != 0);
        self.describe(&Demand { cpus: supply.cpus, labels: labels.map(|(l, a)| (l, *a)).collect() })
    }
}

impl State {
    /// The class of a call, and its further attempts.
    pub(super) fn class_of(
        &mut self,
        node: &'static NodeDesc,
        overrides: Option<&Overrides>,
        method: bool,
    ) -> Result<(ClassId, i32), Error> {
        let number = number_of(node) as usize;
        if overrides.is_none()
            && let Some(class) = self.nodes[number].class
        {
            return Ok((class, node.max_retries));
        }
        let none = Overrides::default();
        let over = overrides.unwrap_or(&none);
        let merged = over.merged(node)?;
        let demand = self.classes.demand(&merged.resources);
        let (strategy, priority) = (over.strategy.clone(), over.priority);
        let key = ClassKey { demand, strategy, priority };
        let class = match self.classes.known.get(&key) {
            Some(&class) => class,
            None => {
                let class = self.classes.list.len() as ClassId;
                self.classes.list.push(Class {
                    demand: key.demand.clone(),
                    strategy: key.strategy.clone(),
                    priority,
                    queues: Default::default(),
                    next: 0,
                });
                self.classes.known.insert(key, class);
                class
            }
        };
        if !over.wait_infeasible
            && !method
            && let Some(why) = self.infeasible(class)
        {
            let needs = self.classes.describe(&self.classes.at(class).demand);
            return Err(Error::Infeasible { node: node.name.to_owned(), needs, why });
        }
        if overrides.is_none() {
            self.nodes[number].class = Some(class);
        }
        Ok((class, merged.max_retries))
    }

    /// Why no worker could ever run tasks of this class.
    pub(super) fn infeasible(&self, class: ClassId) -> Option<String> {
        let Class { demand, strategy, .. } = self.classes.at(class);
        if let Strategy::Placed { group, bundle } = strategy {
            return self.bundle_infeasible(*group, *bundle, demand);
        }
        let able = |worker: &&Logical| worker.total.covers(demand);
        if let Strategy::Worker { name, soft } = strategy {
            let mut named = self.workers.iter().filter(|worker| is_named(worker, name)).peekable();
            if named.peek().is_none() && !soft {
                return Some(format!("no worker is called `{name}`"));
            }
            if named.any(|worker| able(&worker)) {
                return None;
            }
            if !soft {
                return Some(format!("`{name}` does not have it"));
            }
        }
        if self.workers.iter().any(|worker| able(&worker)) {
            return None;
        }
        let mut kinds: Vec<_> =
            self.workers.iter().map(|w| self.classes.describe_supply(&w.total)).collect();
        kinds.sort();
        kinds.dedup();
        Some(format!("the workers have {}", kinds.join(" | ")))
    }

    /// The workers that may run tasks of this class.
    pub(super) fn may_run(&self, class: ClassId) -> Vec<usize> {
        let Class { demand, strategy, .. } = self.classes.at(class);
        let able = |at: &usize| self.workers[*at].total.covers(demand);
        let all = 0..self.workers.len();
        match strategy {
            Strategy::Placed { group, bundle } => self.workers_of_bundle(*group, *bundle),
            Strategy::Worker { name, soft } => {
                let named = |at: &usize| is_named(&self.workers[*at], name) && able(at);
                let found: Vec<usize> = all.clone().filter(named).collect();
                if found.is_empty() && *soft { all.filter(able).collect() } else { found }
            }
            Strategy::Default | Strategy::Spread => all.filter(able).collect(),
        }
    }

    /// Puts a task into the queue that is for it. Whether none that is like it was there before.
    pub(super) fn queue(&mut self, class: ClassId, index: Index) -> bool {
        let lane = self.lane_of(index);
        let key = self.key_of(index, lane);
        if let Some(task) = self.objects.task_mut(index) {
            task.lane = lane;
        }
        let id = self.objects.id(index);
        let queue = &mut self.classes.list[class as usize].queues[lane as usize];
        queue.insert(key, id);
        let first = queue.get(0) == Some(id);
        if !self.classes.waiting.contains(&class) {
            self.classes.waiting.push(class);
        }
        first
    }

    #[inline]
    pub(super) fn nobody_waits(&self) -> bool {
        self.classes.waiting.is_empty()
    }

    /// Posts whatever can be posted now.
    pub(super) fn schedule(&mut self) {
        self.reserve_groups();
        if self.classes.waiting.is_empty() || self.closed.is_some() {
            return;
        }
        let mut turn: SmallVec<[(ClassId, Lane); 8]> = SmallVec::new();
        for &class in &self.classes.waiting {
            let queues = &self.classes.at(class).queues;
            let filled = LANES.into_iter().filter(|&lane| !queues[lane as usize].is_empty());
            turn.extend(filled.map(|lane| (class, lane)));
        }
        if turn.len() > 1 {
            let age = |&(class, lane): &(ClassId, Lane)| {
                let priority = Reverse(self.classes.at(class).priority);
                let mut first = (0..).map_while(|at| self.entry(class, lane, at));
                let first = first.find_map(|id| self.queued(id, lane));
                let key = first.map(|index| self.key_of(index, lane));
                let last: Key = (Reverse(0), Reverse(0), u64::MAX);
                (priority, lane != Lane::Awaited, key.unwrap_or(last))
            };
            turn.sort_by_cached_key(age);
        }
        for (class, lane) in turn {
            self.place_from(class, lane);
        }
        let list = &self.classes.list;
        let filled = |class: &ClassId| list[*class as usize].queues.iter().any(|q| !q.is_empty());
        self.classes.waiting.retain(|class| filled(class));
    }

    fn entry(&self, class: ClassId, lane: Lane, at: usize) -> Option<u64> {
        self.classes.at(class).queues[lane as usize].get(at)
    }

    /// Places tasks of one queue in order, as long as there is a place for such. One that may not
    /// start yet is passed over.
    fn place_from(&mut self, class: ClassId, lane: Lane) {
        let mut at = 0;
        while let Some(id) = self.entry(class, lane, at) {
            if let Some(index) = self.queued(id, lane) {
                if !self.may_start(index) {
                    at += 1;
                    if at < PASSED {
                        continue;
                    }
                    break;
                }
                if !self.place(class, index) {
                    break;
                }
            }
            // One that could not be placed ever has ended, and more may have followed from it.
            let queue = &mut self.classes.list[class as usize].queues[lane as usize];
            queue.remove(at, id);
        }
    }

    /// The task of an entry of a queue, if it still waits there.
    fn queued(&self, id: u64, lane: Lane) -> Option<Index> {
        let index = self.objects.find(id)?;
        let task = self.objects.task(index)?;
        (task.phase == Phase::Queued && task.lane == lane).then_some(index)
    }

    /// Posts a task, if there is a place for it.
    pub(super) fn place(&mut self, class: ClassId, index: Index) -> bool {
        let makes = self.objects.task(index).and_then(|task| task.makes);
        let Some(spot) = self.choose(class) else {
            return makes.is_none() && self.place_behind(class, index);
        };
        let Some(place) = self.process_on(spot.worker) else { return false };
        match self.write_letter(place, index) {
            Written::Yes => {}
            other => {
                self.workers[spot.worker].idle.push(place);
                return self.not_written(index, other);
            }
        }
        self.lease(place, class, spot);
        self.post(place, index);
        if let Some(actor) = makes {
            self.dedicate(place, actor);
        } else {
            self.post_followers(place);
        }
        true
    }

    /// Behind tasks of the same class, where those do not take long.
    fn place_behind(&mut self, class: ClassId, index: Index) -> bool {
        let Some(task) = self.objects.task(index) else { return false };
        if self.mean_ns(task.node).is_none_or(|mean| mean > SHORT_NS) || task.timed() {
            return false;
        }
        let room = |place: &&u16| {
            let process = &self.procs[usize::from(**place)];
            process.serves(class) && process.outstanding() < DEPTH && process.room() > 0
        };
        let least = self.busy.iter().filter(room);
        let least = least.min_by_key(|place| self.procs[usize::from(**place)].outstanding());
        let Some(&place) = least else { return false };
        match self.write_letter(place, index) {
            Written::Yes => {}
            other => return self.not_written(index, other),
        }
        self.post(place, index);
        self.post_followers(place);
        true
    }

    /// Tasks first in their queues whose arguments have found no room for long.
    pub(super) fn fail_what_has_no_room(&mut self) {
        for class in self.classes.waiting.clone() {
            let first = |lane| self.entry(class, lane, 0).and_then(|id| self.queued(id, lane));
            let Some(index) = LANES.into_iter().find_map(first) else { continue };
            let bytes = self.objects.task(index).and_then(|task| self.letter_bytes(task, None));
            if let Some((bytes, _)) = bytes.filter(|(bytes, _)| *bytes > CELL_ARGS) {
                let error = self.no_memory(bytes as u64, &NoRoom::Now);
                self.fail(index, None, error.into());
            }
        }
        self.schedule();
    }

    /// True when the task is through, and those behind it may be looked at.
    fn not_written(&mut self, index: Index, written: Written) -> bool {
        if written == Written::Unfit {
            self.end_unfit(index);
        }
        written == Written::Unfit
    }

    /// A task that waits only for tasks at one process goes behind them, if all are short: the
    /// worker then goes from one to the next without asking anybody.
    pub(super) fn post_behind_its_producer(&mut self, index: Index) {
        let Some(task) = self.objects.task(index) else { return };
        if task.timed()
            || task.makes.is_some()
            || task.actor.is_some()
            || self.mean_ns(task.node).is_none_or(|mean| mean > SHORT_NS)
        {
            return;
        }
        let mut at = None;
        for &dep in &task.held {
            if !self.objects.at(dep).value.is_pending() {
                continue;
            }
            let Some(Task { phase: Phase::Posted { place, .. }, .. }) = self.objects.task(dep)
            else {
                return;
            };
            if at.is_some_and(|known| known != *place) {
                return;
            }
            at = Some(*place);
        }
        let Some(place) = at else { return };
        let process = &self.procs[usize::from(place)];
        // Half of the cells stay free, so that what stands there can be looked back upon.
        if !process.serves(task.class) || process.room() < 2 || process.outstanding() >= 32 {
            return;
        }
        if self.write_letter(place, index) == Written::Yes {
            self.post(place, index);
        }
    }

    /// The chain behind the last task that was posted to a process.
    pub(super) fn post_followers(&mut self, place: u16) {
        while let Some(last) = self.procs[usize::from(place)].last_posted() {
            let Some(&next) = self.objects.at(last).dependents.first() else { return };
            let Some(next) = self.objects.find(next) else { return };
            if !self.waits(next) {
                return;
            }
            self.post_behind_its_producer(next);
            if self.waits(next) {
                return;
            }
        }
    }

    fn waits(&self, index: Index) -> bool {
        self.objects.task(index).is_some_and(|task| task.phase == Phase::Waiting)
    }

    /// A worker, or a bundle, that has all of it free.
    fn choose(&mut self, class: ClassId) -> Option<Spot> {
        let workers = &self.workers;
        let Class { demand, strategy, next, .. } = &mut self.classes.list[class as usize];
        let able = |worker: &Logical| !worker.is_paused() && worker.free.covers(demand);
        match strategy {
            Strategy::Default => fill_then_level(workers, |worker| able(worker)).map(Spot::on),
            Strategy::Spread => {
                let count = workers.len();
                let found = (0..count).map(|k| (*next + k) % count).find(|&w| able(&workers[w]))?;
                *next = found + 1;
                Some(Spot::on(found))
            }
            Strategy::Worker { name, soft } => {
                let named = |worker: &Logical| is_named(worker, name);
                let found = fill_then_level(workers, |worker| named(worker) && able(worker));
                // Another one only if those of that name could never do it.
                let could = || workers.iter().any(|w| named(w) && w.total.covers(demand));
                match found {
                    None if *soft && !could() => fill_then_level(workers, able).map(Spot::on),
                    found => found.map(Spot::on),
                }
            }
            Strategy::Placed { group, bundle } => {
                let (group, bundle, demand) = (*group, *bundle, demand.clone());
                self.bundle_for(group, bundle, &demand)
            }
        }
    }

    /// Takes (1) or gives back (-1) what tasks of a class hold: all of it, or the cpus only, or
    /// all but the cpus.
    pub(super) fn charge(&mut self, spot: Spot, class: ClassId, part: Part, sign: i64) {
        let demand = &self.classes.list[class as usize].demand;
        let free = match spot.bundle {
            None => &mut self.workers[spot.worker].free,
            // A group that was removed meanwhile: its tasks run on what the worker has.
            Some((group, bundle)) => bundle_free(&mut self.groups, group, bundle)
                .unwrap_or(&mut self.workers[spot.worker].free),
        };
        if part != Part::Labels {
            free.cpus -= sign * demand.cpus;
        }
        if part != Part::Cpus {
            free.add_labels(demand, -sign);
        }
    }

    /// What is free, for messages.
    pub(super) fn free_text(&self) -> String {
        let parts = self.workers.iter().map(|worker| {
            format!("{}: {}", worker.name, self.classes.describe_supply(&worker.free))
        });
        parts.collect::<Vec<_>>().join("; ")
    }
}

impl Spot {
    fn on(worker: usize) -> Self {
        Self { worker, bundle: None }
    }
}

pub(super) fn is_named(worker: &Logical, name: &str) -> bool {
    worker.name == name || worker.group == name
}

/// The first that is less than half in use, or else the one with the most free.
fn fill_then_level(workers: &[Logical], able: impl Fn(&Logical) -> bool) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    for (at, worker) in workers.iter().enumerate() {
        if !able(worker) {
            continue;
        }
        let free = worker.free.cpus * ONE / worker.total.cpus.max(1);
        if free > ONE / 2 {
            return Some(at);
        }
        if best.is_none_or(|(_, most)| free > most) {
            best = Some((at, free));
        }
    }
    best.map(|(at, _)| at)
}
