//! The scheduler: resources, classes of tasks with equal needs, and the choice of a worker.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use mailring_process::backoff::Starts;
use smallvec::SmallVec;

use super::State;
use super::bundles::bundle_free;
use super::objects::Index;
use super::order::{Key, LANES, Lane, Queue};
use super::posting::Written;
use super::store::NoRoom;
use super::tasks::{Phase, Task};
use crate::protocol::error::Error;
use crate::protocol::memory::CELL_ARGS;
use crate::protocol::node::{NodeDesc, number_of};
use crate::protocol::options::{Overrides, Strategy};
use crate::protocol::resources::{Amount, ONE, Resources};

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
    /// As much as this.
    pub(super) fn of(demand: &Demand) -> Self {
        let mut supply = Self { cpus: demand.cpus, labels: Vec::new() };
        for &(label, amount) in &demand.labels {
            let label = usize::from(label);
            supply.labels.resize(supply.labels.len().max(label + 1), 0);
            supply.labels[label] = amount;
        }
        supply
    }

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
    /// The first one in each queue that could not be placed, and since when.
    pub(super) fronts: [Option<(u64, Instant)>; 3],
    next: usize,
}

/// All classes, labels, and those that have a queue. What nobody uses any more is found by a
/// sweep, whenever there are twice as many as the last one has left.
#[derive(Default)]
pub(super) struct Classes {
    list: Vec<Class>,
    known: HashMap<ClassKey, ClassId>,
    /// By number; those that are free have no name.
    labels: Vec<String>,
    numbers: HashMap<String, u16>,
    /// With a queue.
    pub(super) waiting: SmallVec<[ClassId; 4]>,
    free: Vec<ClassId>,
    free_labels: Vec<u16>,
    sweep_at: usize,
    sweep_labels_at: usize,
}

/// As many classes, or labels, are not worth a sweep.
const FEW: usize = 1024;
/// The number of a label that is not in the table: nobody has it.
const UNKNOWN: u16 = u16::MAX;

impl Classes {
    pub(super) fn at(&self, id: ClassId) -> &Class {
        &self.list[id as usize]
    }

    pub(super) fn at_mut(&mut self, id: ClassId) -> &mut Class {
        &mut self.list[id as usize]
    }

    /// Quantities by label numbers. A label that is not in the table has none.
    pub(super) fn demand(&self, resources: &Resources) -> Demand {
        let number = |name: &String| self.numbers.get(name).copied().unwrap_or(UNKNOWN);
        let labels = resources.labels.iter();
        let mut labels: SmallVec<[(u16, i64); 2]> =
            labels.map(|(name, amount)| (number(name), *amount)).collect();
        labels.sort_unstable();
        Demand { cpus: resources.cpus, labels }
    }

    fn enter_label(&mut self, name: &str) {
        let number = self.free_labels.pop().unwrap_or_else(|| {
            self.labels.push(String::new());
            (self.labels.len() - 1) as u16
        });
        name.clone_into(&mut self.labels[usize::from(number)]);
        self.numbers.insert(name.to_owned(), number);
    }

    fn enter(&mut self, key: ClassKey) -> ClassId {
        let class = Class {
            demand: key.demand.clone(),
            strategy: key.strategy.clone(),
            priority: key.priority,
            queues: Default::default(),
            fronts: [None; 3],
            next: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.list[id as usize] = class;
                id
            }
            None => {
                self.list.push(class);
                (self.list.len() - 1) as ClassId
            }
        };
        self.known.insert(key, id);
        id
    }

    /// What tasks of this class hold: cpus, and labels by name.
    pub(super) fn held(&self, id: ClassId) -> (i64, Vec<(String, i64)>) {
        let demand = &self.at(id).demand;
        let named =
            |&(label, amount): &(u16, i64)| (self.labels[usize::from(label)].clone(), amount);
        (demand.cpus, demand.labels.iter().map(named).collect())
    }

    pub(super) fn describe(&self, demand: &Demand) -> String {
        let mut text = format!("cpus {}", Amount(demand.cpus));
        for &(label, amount) in &demand.labels {
            let name = self.labels.get(usize::from(label)).map_or("?", String::as_str);
            text += &format!(", {name} {}", Amount(amount));
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
        let merged = node.merged(over)?;
        if over.wait_infeasible {
            self.enter_labels(&merged.resources)?;
        }
        let demand =
            if method { Demand::default() } else { self.classes.demand(&merged.resources) };
        // What is refused is not entered anywhere.
        if !over.wait_infeasible
            && !method
            && let Some(why) = self.never(&demand, &over.strategy)
        {
            let (node, needs) = (node.name.to_owned(), merged.resources.to_string());
            return Err(Error::Infeasible { node, needs, why });
        }
        let key = ClassKey { demand, strategy: over.strategy.clone(), priority: merged.priority };
        let class = match self.classes.known.get(&key) {
            Some(&class) => class,
            None => {
                if self.classes.free.is_empty()
                    && self.classes.list.len() >= self.classes.sweep_at.max(FEW)
                {
                    self.sweep();
                }
                self.classes.enter(key)
            }
        };
        if overrides.is_none() {
            self.nodes[number].class = Some(class);
        }
        Ok((class, merged.max_retries))
    }

    /// Makes sure that all labels have numbers.
    pub(super) fn enter_labels(&mut self, resources: &Resources) -> Result<(), Error> {
        for (name, _) in &resources.labels {
            if self.classes.numbers.contains_key(name) {
                continue;
            }
            let (full, few) = (usize::from(UNKNOWN), self.classes.sweep_labels_at.max(FEW));
            if self.classes.free_labels.is_empty() && self.classes.labels.len() >= few.min(full) {
                self.sweep();
            }
            if self.classes.free_labels.is_empty() && self.classes.labels.len() >= full {
                return Err(Error::Quantity(format!(
                    "`{name}` is one label too many: workers, and tasks that wait for workers to come, have {full} labels together at most"
                )));
            }
            self.classes.enter_label(name);
        }
        Ok(())
    }

    /// Frees classes of which there is no task and no lease, and labels that no worker has and no
    /// task waits for.
    #[cold]
    fn sweep(&mut self) {
        let tasks = self.objects.indices().filter_map(|index| self.objects.task(index));
        let tasks = tasks.map(|task| task.class);
        let leases = self.procs.iter().filter_map(|process| process.lease).map(|one| one.class);
        let cached = self.nodes.iter().filter_map(|stat| stat.class);
        let mut used = vec![false; self.classes.list.len()];
        tasks.chain(leases).chain(cached).for_each(|class| used[class as usize] = true);
        let mut labels = vec![false; self.classes.labels.len()];
        let mut has = |supply: &Supply| {
            let own = labels.iter_mut().zip(&supply.labels);
            own.for_each(|(used, amount)| *used |= *amount != 0);
        };
        self.workers.iter().for_each(|worker| has(&worker.total));
        let classes = &mut self.classes;
        let live = classes.list.iter().zip(&used).filter(|(_, used)| **used);
        for &(label, _) in live.flat_map(|(class, _)| &class.demand.labels) {
            labels.iter_mut().skip(usize::from(label)).take(1).for_each(|used| *used = true);
        }
        classes.known.retain(|_, class| used[*class as usize]);
        classes.waiting.retain(|class| used[*class as usize]);
        classes.free = (0..).zip(&used).filter(|(_, used)| !**used).map(|(id, _)| id).collect();
        for &id in &classes.free {
            classes.list[id as usize].queues = Default::default();
        }
        classes.numbers.retain(|_, number| labels[usize::from(*number)]);
        classes.free_labels =
            (0..).zip(&labels).filter(|(_, used)| !**used).map(|(l, _)| l).collect();
        for &label in &classes.free_labels {
            classes.labels[usize::from(label)] = String::new();
        }
        classes.sweep_at = 2 * (classes.list.len() - classes.free.len());
        classes.sweep_labels_at = 2 * (classes.labels.len() - classes.free_labels.len());
    }

    /// Why no worker could ever run tasks of this class.
    pub(super) fn infeasible(&self, class: ClassId) -> Option<String> {
        let Class { demand, strategy, .. } = self.classes.at(class);
        self.never(demand, strategy)
    }

    /// Why no worker could ever run what needs this.
    fn never(&self, demand: &Demand, strategy: &Strategy) -> Option<String> {
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
        self.give_claims();
        self.reserve_groups();
        if self.classes.waiting.is_empty() || self.closed.is_some() {
            return;
        }
        let mut order: SmallVec<[(ClassId, Lane); 8]> = SmallVec::new();
        for &class in &self.classes.waiting {
            let queues = &self.classes.at(class).queues;
            let filled = LANES.into_iter().filter(|&lane| !queues[lane as usize].is_empty());
            order.extend(filled.map(|lane| (class, lane)));
        }
        if order.len() > 1 {
            let age = |&(class, lane): &(ClassId, Lane)| {
                let priority = Reverse(self.classes.at(class).priority);
                let mut first = (0..).map_while(|at| self.entry(class, lane, at));
                let first = first.find_map(|id| self.queued(id, lane));
                let key = first.map(|index| self.key_of(index, lane));
                let last: Key = (Reverse(0), Reverse(0), u64::MAX);
                (priority, lane != Lane::Awaited, key.unwrap_or(last))
            };
            order.sort_by_cached_key(age);
        }
        for (class, lane) in order {
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
                    // What is known of its node by now may have made it another's.
                    if self.lane_of(index) != lane {
                        self.classes.list[class as usize].queues[lane as usize].remove(at, id);
                        self.queue(class, index);
                        continue;
                    }
                    at += 1;
                    if at < PASSED {
                        continue;
                    }
                    break;
                }
                if !self.place(class, index) {
                    self.note_front(class, lane, id);
                    break;
                }
            }
            // One that could not be placed ever has ended, and more may have followed from it.
            let queue = &mut self.classes.list[class as usize].queues[lane as usize];
            queue.remove(at, id);
        }
    }

    /// The task of an entry of a queue, if it still waits there.
    pub(super) fn queued(&self, id: u64, lane: Lane) -> Option<Index> {
        let index = self.objects.find(id)?;
        let task = self.objects.task(index)?;
        (task.phase == Phase::Queued && task.lane == lane).then_some(index)
    }

    /// Posts a task, if there is a place for it.
    pub(super) fn place(&mut self, class: ClassId, index: Index) -> bool {
        let makes = self.objects.task(index).and_then(|task| task.makes);
        let Some(spot) = self.choose(class, index) else {
            return makes.is_none() && self.place_behind(class, index);
        };
        let Some(place) = self.process_on(spot.worker) else { return false };
        match self.write_descriptor(place, index) {
            Written::Yes => {}
            other => {
                self.workers[spot.worker].idle.push(place);
                return self.not_written(index, other);
            }
        }
        self.lease(place, class, spot);
        self.end_claim(index);
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
            process.serves(class)
                && process.outstanding() < DEPTH
                && process.room() > 0
                && !self.keeps_from(process.lease, index)
        };
        let least = self.busy.iter().filter(room);
        let least = least.min_by_key(|place| self.procs[usize::from(**place)].outstanding());
        let Some(&place) = least else { return false };
        match self.write_descriptor(place, index) {
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
            let bytes = self.objects.task(index).and_then(|task| self.descriptor_bytes(task, None));
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
        if !process.serves(task.class)
            || process.room() < 2
            || process.outstanding() >= 32
            || self.keeps_from(process.lease, index)
        {
            return;
        }
        if self.write_descriptor(place, index) == Written::Yes {
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

    /// A worker, or a bundle, that has all of it free, and does not keep it for others.
    fn choose(&mut self, class: ClassId, index: Index) -> Option<Spot> {
        if !self.claims.is_empty() {
            return self.choose_what_is_not_kept(class, index);
        }
        let workers = &self.workers;
        let Class { demand, strategy, next, .. } = &mut self.classes.list[class as usize];
        let able = |at: usize| !workers[at].is_paused() && workers[at].free.covers(demand);
        match strategy {
            Strategy::Placed { group, bundle } => {
                let (group, bundle, demand) = (*group, *bundle, demand.clone());
                self.bundle_for(group, bundle, |free, _| free.covers(&demand))
            }
            strategy => worker_for(workers, demand, strategy, next, able).map(Spot::on),
        }
    }

    #[cold]
    fn choose_what_is_not_kept(&mut self, class: ClassId, index: Index) -> Option<Spot> {
        let Class { demand, strategy, next, .. } = self.classes.at(class);
        let (demand, strategy, mut next) = (demand.clone(), strategy.clone(), *next);
        let standing = self.standing_of(index);
        let able = |free: &Supply, spot: Spot| {
            free.covers(&demand) && self.left_for(standing, free, spot).covers(&demand)
        };
        let spot = match strategy {
            Strategy::Placed { group, bundle } => self.bundle_for(group, bundle, able)?,
            strategy => {
                let workers = &self.workers;
                let able =
                    |at: usize| !workers[at].is_paused() && able(&workers[at].free, Spot::on(at));
                Spot::on(worker_for(workers, &demand, &strategy, &mut next, able)?)
            }
        };
        self.classes.list[class as usize].next = next;
        Some(spot)
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

    /// What is free, and who has what for good, for messages.
    pub(super) fn free_text(&self) -> String {
        let parts = self.workers.iter().enumerate().map(|(at, worker)| {
            let free = self.classes.describe_supply(&worker.free);
            let (held, kept) = (self.held_for_life(at), self.kept_text(at));
            format!("{}: {free}{held}{kept}", worker.name)
        });
        parts.collect::<Vec<_>>().join("; ")
    }

    /// What actors and placement groups have of a worker, which no end of a task gives back.
    fn held_for_life(&self, worker: usize) -> String {
        let on = |spot: Spot| spot.worker == worker && spot.bundle.is_none();
        let mut held: Vec<String> = Vec::new();
        for process in &self.procs {
            let (Some(actor), Some(lease)) = (process.actor, process.lease) else { continue };
            let mut demand = self.classes.at(lease.class).demand.clone();
            demand.cpus = if lease.lent { 0 } else { demand.cpus };
            if on(lease.spot) && demand != Demand::default() {
                let (name, has) = (self.actor_name(actor), self.classes.describe(&demand));
                held.push(format!("actor `{name}` holds {has}"));
            }
        }
        let bundles = self.bundles_on(worker);
        held.extend(
            bundles.map(|b| format!("a placement group holds {}", self.classes.describe(b))),
        );
        let more = held.len().saturating_sub(3);
        held.truncate(3);
        held.extend((more > 0).then(|| format!("and {more} more")));
        if held.is_empty() { String::new() } else { format!(" ({})", held.join(", ")) }
    }
}

impl Spot {
    pub(super) fn on(worker: usize) -> Self {
        Self { worker, bundle: None }
    }
}

pub(super) fn is_named(worker: &Logical, name: &str) -> bool {
    worker.name == name || worker.group == name
}

/// A worker that is able to, as the strategy chooses; `next` is the one to begin with.
fn worker_for(
    workers: &[Logical],
    demand: &Demand,
    strategy: &Strategy,
    next: &mut usize,
    able: impl Fn(usize) -> bool,
) -> Option<usize> {
    match strategy {
        Strategy::Spread => {
            let count = workers.len();
            let found = (0..count).map(|k| (*next + k) % count).find(|&at| able(at))?;
            *next = found + 1;
            Some(found)
        }
        Strategy::Worker { name, soft } => {
            let named = |at: usize| is_named(&workers[at], name);
            let found = fill_then_level(workers, |at| named(at) && able(at));
            // Another one only if those of that name could never do it.
            let could = || (0..workers.len()).any(|w| named(w) && workers[w].total.covers(demand));
            match found {
                None if *soft && !could() => fill_then_level(workers, able),
                found => found,
            }
        }
        _ => fill_then_level(workers, able),
    }
}

/// The first that is less than half in use, or else the one with the most free.
fn fill_then_level(workers: &[Logical], able: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    for (at, worker) in workers.iter().enumerate() {
        if !able(at) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_labels_do_not_wrap() {
        let mut classes = Classes::default();
        for number in 0..UNKNOWN {
            classes.enter_label(&format!("lock-{number}"));
        }
        let demand = |name: &str| classes.demand(&Resources::cpus(0.0).with(name, 1.0));
        let supply = Supply::of(&demand("lock-0"));
        assert!(supply.covers(&demand("lock-0")));
        for name in ["lock-1", "lock-65534", "lock-65535", "lock-65536", "other"] {
            assert!(!supply.covers(&demand(name)), "{name}");
        }
        assert_eq!(classes.describe(&demand("lock-65534")), "cpus 0, lock-65534 1");
    }
}
