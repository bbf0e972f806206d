//! The scheduler of resources: which worker a task may have, what is taken from it, and for whom
//! what becomes free is kept. It decides and keeps accounts; others post.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::bundles::Groups;
use super::claims::{Claim, Claims, Standing, Who};
use super::classes::{Class, ClassKey, Classes};
use super::nodes::Nodes;
use super::objects::Objects;
use super::processes::{Lease, Process, Processes};
use super::quantities::{ClassId, Demand, Part, Spot, Supply};
use super::ranks::{Key, LANES, Lane};
use super::tasks::{Index, Phase, Task};
use super::workers::{Logical, fill_then_level, worker_for};
use crate::protocol::error::Error;
use crate::protocol::node::NodeDesc;
use crate::protocol::options::Packing;
use crate::protocol::options::{Overrides, Strategy};
use crate::protocol::resources::{ONE, Resources};

/// How long one waits before what becomes free is kept for it. Until then smaller ones pass.
const PATIENCE: Duration = Duration::from_millis(500);
/// Callers of callers that are looked at.
const CALLERS: usize = 64;

#[derive(Default)]
pub(crate) struct Scheduler {
    classes: Classes,
    workers: Vec<Logical>,
    groups: Groups,
    /// What is kept for whom.
    claims: Claims,
}

// ---- workers --------------------------------------------------------------------------------

impl Scheduler {
    #[inline]
    pub(crate) fn workers(&self) -> &[Logical] {
        &self.workers
    }

    /// More workers, each with these resources: the cpus of one.
    ///
    /// # Errors
    /// More labels than there can be.
    pub(crate) fn add_workers(
        &mut self,
        group: &str,
        count: usize,
        resources: &Resources,
        used: Used<'_>,
    ) -> Result<i64, Error> {
        self.enter_labels(resources, used)?;
        let total = Supply::of(&self.classes.demand(resources));
        let first = self.workers.iter().filter(|worker| worker.group == group).count();
        for index in first..first + count {
            self.workers.push(Logical {
                group: group.to_owned(),
                name: format!("{group}/{index}"),
                free: total.clone(),
                total: total.clone(),
            });
        }
        Ok(total.cpus)
    }

    /// Whole cpus that all workers have together.
    pub(crate) fn whole_cpus(&self) -> usize {
        let cpus: i64 = self.workers.iter().map(|worker| worker.total.cpus).sum();
        cpus.div_euclid(ONE) as usize
    }
}

// ---- classes --------------------------------------------------------------------------------

/// Who uses classes, besides the scheduler: what a sweep leaves.
#[derive(Clone, Copy)]
pub(crate) struct Used<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) processes: &'a Processes,
    pub(crate) nodes: &'a Nodes,
}

impl Scheduler {
    #[inline]
    pub(crate) fn class(&self, id: ClassId) -> &Class {
        self.classes.at(id)
    }

    /// The class of a call, and its further attempts.
    ///
    /// # Errors
    /// An invalid quantity, or no worker could ever run it.
    pub(crate) fn class_of(
        &mut self,
        node: &'static NodeDesc,
        overrides: Option<&Overrides>,
        method: bool,
        used: Used<'_>,
    ) -> Result<(ClassId, i32), Error> {
        let none = Overrides::default();
        let over = overrides.unwrap_or(&none);
        let merged = node.merged(over)?;
        if over.wait_infeasible {
            self.enter_labels(&merged.resources, used)?;
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
        let class = match self.classes.find(&key) {
            Some(class) => class,
            None => {
                if self.classes.are_many() {
                    self.sweep(used);
                }
                self.classes.enter(key)
            }
        };
        Ok((class, merged.max_retries))
    }

    /// Makes sure that all labels have numbers.
    fn enter_labels(&mut self, resources: &Resources, used: Used<'_>) -> Result<(), Error> {
        for (name, _) in &resources.labels {
            if self.classes.has_label(name) {
                continue;
            }
            if self.classes.are_labels_many() {
                self.sweep(used);
            }
            self.classes.enter_label(name)?;
        }
        Ok(())
    }

    /// Frees classes of which there is no task and no lease, and labels that no worker has and no
    /// task waits for.
    #[cold]
    fn sweep(&mut self, used: Used<'_>) {
        let tasks = used.objects.tasks().map(|(_, task)| task.class);
        let leases = used.processes.all().filter_map(|(_, process)| process.lease);
        let classes = tasks.chain(leases.map(|lease| lease.class)).chain(used.nodes.classes());
        self.classes.sweep(classes, self.workers.iter().map(|worker| &worker.total));
    }

    /// Why no worker could ever run tasks of this class.
    pub(crate) fn infeasible(&self, class: ClassId) -> Option<String> {
        let Class { demand, strategy, .. } = self.classes.at(class);
        self.never(demand, strategy)
    }

    /// Why no worker could ever run what needs this.
    fn never(&self, demand: &Demand, strategy: &Strategy) -> Option<String> {
        if let Strategy::Placed { group, bundle } = strategy {
            let describe = |demand: &Demand| self.classes.describe(demand);
            return self.groups.infeasible(*group, *bundle, demand, describe);
        }
        let able = |worker: &&Logical| worker.total.covers(demand);
        if let Strategy::Worker { name, soft } = strategy {
            let mut named = self.workers.iter().filter(|worker| worker.is_named(name)).peekable();
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
    pub(crate) fn may_run(&self, class: ClassId) -> Vec<usize> {
        let Class { demand, strategy, .. } = self.classes.at(class);
        let able = |at: &usize| self.workers[*at].total.covers(demand);
        let all = 0..self.workers.len();
        match strategy {
            Strategy::Placed { group, bundle } => {
                self.groups.spots(*group, *bundle).map(|(spot, _)| spot.worker).collect()
            }
            Strategy::Worker { name, soft } => {
                let named = |at: &usize| self.workers[*at].is_named(name) && able(at);
                let found: Vec<usize> = all.clone().filter(named).collect();
                if found.is_empty() && *soft { all.filter(able).collect() } else { found }
            }
            Strategy::Default | Strategy::Spread => all.filter(able).collect(),
        }
    }

    /// Where tasks of a class could run, if everything were free; `None` if nobody can say: workers
    /// may still come that have it.
    pub(crate) fn spots_for(&self, class: ClassId) -> Option<Vec<Spot>> {
        if self.infeasible(class).is_some() {
            return None;
        }
        let Class { demand, strategy, .. } = self.classes.at(class);
        if let Strategy::Placed { group, bundle } = strategy {
            return self.groups.able(*group, *bundle, demand);
        }
        Some(self.may_run(class).into_iter().map(Spot::on).collect())
    }
}

// ---- queues ---------------------------------------------------------------------------------

impl Scheduler {
    /// Puts a task into the queue of its class. Whether it is the first there.
    pub(crate) fn queue(&mut self, class: ClassId, lane: Lane, key: Key, id: u64) -> bool {
        self.classes.queue(class, lane, key, id)
    }

    /// Whether no task is in any queue.
    #[inline]
    pub(crate) fn nobody_waits(&self) -> bool {
        self.classes.waiting().is_empty()
    }

    /// Whether nothing waits, no task and no group, and nothing is kept.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.nobody_waits() && self.claims.is_empty() && self.groups.are_all_ready()
    }

    /// The task of an entry of a queue, if it still waits there.
    pub(crate) fn queued(id: u64, lane: Lane, objects: &Objects) -> Option<Index> {
        let (index, task) = objects.find_task(id)?;
        (task.phase == Phase::Queued && task.lane == lane).then_some(index)
    }

    /// What stands at this place of a queue.
    #[inline]
    pub(crate) fn entry(&self, class: ClassId, lane: Lane, at: usize) -> Option<u64> {
        self.classes.entry(class, lane, at)
    }

    /// Removes the entry at this place, if it still is this one.
    pub(crate) fn remove(&mut self, class: ClassId, lane: Lane, at: usize, id: u64) {
        self.classes.remove(class, lane, at, id);
    }

    /// The queues that have tasks, in the order in which these are placed: by priority, those that
    /// bodies wait for first, and by age.
    pub(crate) fn queues_in_order(
        &self,
        objects: &Objects,
    ) -> impl Iterator<Item = (ClassId, Lane)> + use<> {
        let mut order = self.classes.filled();
        if order.len() > 1 {
            let age = |&(class, lane): &(ClassId, Lane)| {
                let priority = Reverse(self.classes.at(class).priority);
                let mut first = (0..).map_while(|at| self.classes.entry(class, lane, at));
                let first = first.find_map(|id| Self::queued(id, lane, objects));
                let key = first.map(|index| objects.key_of(index, lane));
                let last: Key = (Reverse(0), Reverse(0), u64::MAX);
                (priority, lane != Lane::Awaited, key.unwrap_or(last))
            };
            order.sort_by_cached_key(age);
        }
        order.into_iter()
    }

    /// The first task of each class in a queue.
    pub(crate) fn first_of_each(&self, objects: &Objects) -> Vec<Index> {
        let first = |&class: &ClassId| {
            LANES
                .into_iter()
                .find_map(|lane| Self::queued(self.classes.entry(class, lane, 0)?, lane, objects))
        };
        self.classes.waiting().iter().filter_map(first).collect()
    }

    /// The first of a queue could not be placed.
    pub(crate) fn note_front(&mut self, class: ClassId, lane: Lane, id: u64) {
        self.classes.note_front(class, lane, id);
    }

    /// Classes without tasks in a queue do not wait any more.
    pub(crate) fn drop_empty(&mut self) {
        self.classes.drop_empty();
    }
}

// ---- the choice of a worker -----------------------------------------------------------------

impl Scheduler {
    /// A worker, or a bundle, that has all that a task needs free, and does not keep it for others.
    #[inline]
    pub(crate) fn choose(
        &mut self,
        class: ClassId,
        index: Index,
        objects: &Objects,
        processes: &Processes,
    ) -> Option<Spot> {
        let Class { demand, strategy, .. } = self.classes.at(class);
        if !self.claims.is_empty() {
            return self.choose_what_is_not_kept(class, index, objects, processes);
        }
        let workers = &self.workers;
        let able = |at: usize| !processes.is_paused(at) && workers[at].free.covers(demand);
        if let Strategy::Default = strategy {
            return fill_then_level(workers, able).map(Spot::on);
        }
        self.choose_as_told(class, processes)
    }

    /// The same for a strategy that is not the usual one.
    #[inline(never)]
    fn choose_as_told(&mut self, class: ClassId, processes: &Processes) -> Option<Spot> {
        let Class { demand, strategy, next, .. } = self.classes.at(class);
        let workers = &self.workers;
        let able = |at: usize| !processes.is_paused(at) && workers[at].free.covers(demand);
        if let Strategy::Placed { group, bundle } = strategy {
            return self.bundle_for(*group, *bundle, processes, |free, _| free.covers(demand));
        }
        let (before, mut next) = (*next, *next);
        let found = worker_for(workers, demand, strategy, &mut next, able).map(Spot::on);
        if next != before {
            self.classes.set_next(class, next);
        }
        found
    }

    #[cold]
    fn choose_what_is_not_kept(
        &mut self,
        class: ClassId,
        index: Index,
        objects: &Objects,
        processes: &Processes,
    ) -> Option<Spot> {
        let Class { demand, strategy, next, .. } = self.classes.at(class);
        let mut next = *next;
        let standing = self.standing_of(index, objects);
        let able = |free: &Supply, spot: Spot| {
            free.covers(demand)
                && self.left_for(standing, free, spot, objects, processes).covers(demand)
        };
        let spot = match strategy {
            Strategy::Placed { group, bundle } => {
                self.bundle_for(*group, *bundle, processes, able)?
            }
            strategy => {
                let workers = &self.workers;
                let able =
                    |at: usize| !processes.is_paused(at) && able(&workers[at].free, Spot::on(at));
                Spot::on(worker_for(workers, demand, strategy, &mut next, able)?)
            }
        };
        self.classes.set_next(class, next);
        Some(spot)
    }

    /// A bundle that is able to, by what it has free.
    fn bundle_for(
        &self,
        group: u64,
        which: Option<usize>,
        processes: &Processes,
        able: impl Fn(&Supply, Spot) -> bool,
    ) -> Option<Spot> {
        let mut spots = self.groups.spots(group, which);
        let found =
            spots.find(|(spot, free)| !processes.is_paused(spot.worker) && able(free, *spot));
        found.map(|(spot, _)| spot)
    }

    /// Whether an idle process is on a worker that has what tasks of a class need.
    pub(crate) fn has_idle_for(&self, class: ClassId, processes: &Processes) -> bool {
        let demand = &self.classes.at(class).demand;
        let mut workers = self.workers.iter().enumerate();
        workers.any(|(at, worker)| processes.has_idle(at) && worker.free.covers(demand))
    }

    /// Whether a worker that does not pause has what tasks of a class need.
    pub(crate) fn could_start(&self, class: ClassId, processes: &Processes) -> bool {
        let demand = &self.classes.at(class).demand;
        let mut workers = self.workers.iter().enumerate();
        workers.any(|(at, worker)| !processes.is_paused(at) && worker.free.covers(demand))
    }
}

// ---- accounts -------------------------------------------------------------------------------

impl Scheduler {
    /// What a process holds while it runs tasks of a class there.
    #[inline]
    pub(crate) fn lease(&mut self, class: ClassId, spot: Spot) -> Lease {
        self.charge(spot, class, Part::All, 1);
        Lease { class, spot, lent: false }
    }

    /// Gives back what a process has held.
    #[inline]
    pub(crate) fn end_lease(&mut self, lease: Lease) {
        let part = if lease.lent { Part::Labels } else { Part::All };
        self.charge(lease.spot, lease.class, part, -1);
    }

    /// The cpus of a lease are lent now, or taken back. Taking them back does not wait: for a
    /// moment there may be more at work than there are cpus, which cannot deadlock.
    pub(crate) fn lent(&mut self, lease: Lease) {
        self.charge(lease.spot, lease.class, Part::Cpus, if lease.lent { -1 } else { 1 });
    }

    /// Takes (1) or gives back (-1) what tasks of a class hold: all of it, or the cpus only, or
    /// all but the cpus.
    fn charge(&mut self, spot: Spot, class: ClassId, part: Part, sign: i64) {
        let demand = &self.classes.at(class).demand;
        let free = match spot.bundle {
            None => &mut self.workers[spot.worker].free,
            // A group that was removed meanwhile: its tasks run on what the worker has.
            Some((group, bundle)) => {
                self.groups.free_mut(group, bundle).unwrap_or(&mut self.workers[spot.worker].free)
            }
        };
        if part != Part::Labels {
            free.cpus -= sign * demand.cpus;
        }
        if part != Part::Cpus {
            free.add_labels(demand, -sign);
        }
    }

    /// What a spot has free; `None` if its group is not there.
    fn free_of(&self, spot: Spot) -> Option<&Supply> {
        match spot.bundle {
            None => Some(&self.workers[spot.worker].free),
            Some((group, at)) => self.groups.free(group, at),
        }
    }

    /// Whether the group of a bundle is still there.
    pub(crate) fn has_bundle(&self, group: u64, at: usize) -> bool {
        self.groups.free(group, at).is_some()
    }

    /// How much of a label there is at a spot: free, or reserved by groups and not in use, since
    /// the driver may drop groups.
    pub(crate) fn free_or_reserved(&self, spot: Spot, label: u16) -> i64 {
        let of = |supply: &Supply| supply.labels.get(usize::from(label)).copied().unwrap_or(0);
        match spot.bundle.and_then(|(group, bundle)| self.groups.free(group, bundle)) {
            Some(bundle) => of(bundle),
            None => {
                let reserved = self.groups.reserved_on(spot.worker).map(|(_, free)| of(free));
                of(&self.workers[spot.worker].free) + reserved.sum::<i64>()
            }
        }
    }
}

// ---- placement groups -----------------------------------------------------------------------

impl Scheduler {
    /// A new group, behind tasks up to this number. It is to be reserved as soon as all of it is
    /// free.
    ///
    /// # Errors
    /// No bundle, an invalid quantity, or the workers could never hold it.
    pub(crate) fn add_group(
        &mut self,
        bundles: &[Resources],
        packing: Packing,
        number: u64,
    ) -> Result<u64, Error> {
        if bundles.is_empty() {
            return Err(Error::Invalid("a placement group has at least one bundle".to_owned()));
        }
        bundles.iter().try_for_each(Resources::check)?;
        let needs = || bundles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ");
        let demands: Vec<Demand> =
            bundles.iter().map(|resources| self.classes.demand(resources)).collect();
        let totals: Vec<Supply> = self.workers.iter().map(|worker| worker.total.clone()).collect();
        // Labels that nobody has are found here, and not entered.
        let held = |demand: &Demand| totals.iter().any(|total| total.covers(demand));
        let id = match demands.iter().all(held) {
            true => self.groups.add(demands, packing, totals, number),
            false => None,
        };
        id.ok_or_else(|| Error::Infeasible {
            node: format!("a placement group ({packing:?})"),
            needs: needs(),
            why: format!("{} workers could never hold it at once", self.workers.len()),
        })
    }

    /// Reserves what can be, in the order of the groups. Whether any was.
    #[inline]
    pub(crate) fn reserve_groups(&mut self, objects: &Objects, processes: &Processes) -> bool {
        !self.groups.are_all_ready() && self.reserve_waiting_groups(objects, processes)
    }

    fn reserve_waiting_groups(&mut self, objects: &Objects, processes: &Processes) -> bool {
        let mut any = false;
        for standing in self.groups.waiting() {
            let Who::Group(id) = standing.who else { continue };
            let workers = self.workers.iter().enumerate();
            let free = workers.map(|(at, worker)| {
                self.left_for(standing, &worker.free, Spot::on(at), objects, processes)
            });
            let free: Vec<Supply> = free.collect();
            let Some(taken) = self.groups.reserve(id, free) else { continue };
            for (worker, demand) in taken {
                self.workers[worker].free.add(&demand, -1);
            }
            self.claims.end(standing.who);
            any = true;
        }
        any
    }

    /// Gives back what a group has reserved and does not use; tasks in it go on, and give back
    /// to the worker what they hold. False if there is no such group.
    pub(crate) fn remove_group(&mut self, id: u64) -> bool {
        let Some(back) = self.groups.remove(id) else { return false };
        for (worker, supply) in back {
            let free = &mut self.workers[worker].free;
            free.cpus += supply.cpus;
            for (has, back) in free.labels.iter_mut().zip(&supply.labels) {
                *has += back;
            }
        }
        true
    }

    /// Whether a group is reserved.
    ///
    /// # Errors
    /// It has been removed.
    pub(crate) fn group_ready(&self, id: u64) -> Result<bool, Error> {
        self.groups.is_ready(id)
    }

    /// The workers of a group's bundles, once it is reserved.
    pub(crate) fn group_workers(&self, id: u64) -> Vec<String> {
        let spots = self.groups.spots(id, None);
        spots.map(|(spot, _)| self.workers[spot.worker].name.clone()).collect()
    }
}

// ---- what is kept ---------------------------------------------------------------------------

impl Scheduler {
    /// A task has what it has waited for.
    #[inline]
    pub(crate) fn end_claim(&mut self, index: Index) {
        self.claims.end(Who::Task(index));
    }

    /// Whether something is kept for somebody.
    pub(crate) fn keeps_any(&self) -> bool {
        !self.claims.is_empty()
    }

    fn standing_of(&self, index: Index, objects: &Objects) -> Standing {
        let class = objects.task(index).map(|task| self.classes.at(task.class));
        let priority = class.map_or(0, |class| class.priority);
        Standing { priority, number: objects.at(index).number, who: Who::Task(index) }
    }

    /// Finds out anew for whom something is to be kept. Nothing is for a task that may not start,
    /// for other reasons.
    #[inline]
    pub(crate) fn give_claims(
        &mut self,
        objects: &Objects,
        processes: &Processes,
        may_start: impl Fn(&Self, Index) -> bool,
    ) {
        if self.classes.fronts().next().is_none() && self.groups.are_all_ready() {
            return self.claims.clear();
        }
        self.give_claims_anew(objects, processes, may_start);
    }

    fn give_claims_anew(
        &mut self,
        objects: &Objects,
        processes: &Processes,
        may_start: impl Fn(&Self, Index) -> bool,
    ) {
        let now = Instant::now();
        let late = self.classes.fronts().filter_map(|(lane, id, since)| {
            let late = now.saturating_duration_since(since) >= PATIENCE;
            let index = Self::queued(id, lane, objects).filter(|_| late)?;
            may_start(self, index).then(|| self.standing_of(index, objects))
        });
        let mut late: Vec<Standing> = late.collect();
        late.extend(self.groups.late(now, PATIENCE));
        if late.is_empty() {
            return self.claims.clear();
        }
        late.sort_unstable_by_key(Standing::key);
        let before = self.claims.take();
        let workers = 0..self.workers.len();
        let given: Vec<Supply> =
            workers.map(|at| self.comes_by_itself(Spot::on(at), processes)).collect();
        for standing in late {
            let old = before.of(standing.who);
            let spots = match standing.who {
                Who::Task(index) => self.spot_to_keep(index, old, &given, objects, processes),
                Who::Group(id) => self.workers_to_keep(id, old, &given),
            };
            if let Some(spots) = spots {
                self.claims.add(standing, spots);
            }
        }
    }

    /// A worker or bundle for a task, where it will be able to run when those that run now are
    /// through. `None` also if it could be placed now, and waits for something else.
    fn spot_to_keep(
        &self,
        index: Index,
        old: Option<&Claim>,
        given: &[Supply],
        objects: &Objects,
        processes: &Processes,
    ) -> Option<Vec<(Spot, Demand)>> {
        let class = self.classes.at(objects.task(index)?.class);
        let demand = &class.demand;
        let spots: Vec<Spot> = match &class.strategy {
            Strategy::Placed { group, bundle } => {
                self.groups.spots(*group, *bundle).map(|(spot, _)| spot).collect()
            }
            Strategy::Worker { name, soft } => {
                let all = 0..self.workers.len();
                let named = |&at: &usize| self.workers[at].is_named(name);
                let able = |at: usize| self.workers[at].total.covers(demand);
                let any = *soft && !all.clone().any(|at| named(&at) && able(at));
                all.filter(|at| any || named(at)).map(Spot::on).collect()
            }
            _ => (0..self.workers.len()).map(Spot::on).collect(),
        };
        let mut best: Option<(bool, i64, Spot)> = None;
        for spot in spots {
            if processes.is_paused(spot.worker) || self.claims.is_kept(spot) {
                continue;
            }
            let Some(free) = self.free_of(spot) else { continue };
            if free.covers(demand) {
                return None;
            }
            let comes = match spot.bundle {
                None => given[spot.worker].covers(demand),
                Some(_) => self.comes_by_itself(spot, processes).covers(demand),
            };
            // It stays where it was; or else where least is missing.
            let known = old.is_some_and(|old| old.spots.iter().any(|(at, _)| *at == spot));
            let rank = (known, free.cpus);
            if comes && best.is_none_or(|(known, cpus, _)| rank > (known, cpus)) {
                best = Some((rank.0, rank.1, spot));
            }
        }
        best.map(|(.., spot)| vec![(spot, demand.clone())])
    }

    /// The same for a placement group.
    fn workers_to_keep(
        &self,
        id: u64,
        old: Option<&Claim>,
        given: &[Supply],
    ) -> Option<Vec<(Spot, Demand)>> {
        let open = |at: usize| !self.claims.is_kept(Spot::on(at));
        if let Some(old) = old {
            let mut left = given.to_vec();
            let still = old.spots.iter().all(|(spot, demand)| {
                let fits = open(spot.worker) && left[spot.worker].covers(demand);
                left[spot.worker].add(demand, -1);
                fits
            });
            if still {
                return Some(old.spots.clone());
            }
        }
        let have = given.iter().enumerate();
        let have = have.map(|(at, given)| if open(at) { given.clone() } else { Supply::default() });
        self.groups.would_take(id, have.collect())
    }

    /// What is free, and what bodies hold that run and wait for nothing: it comes back when they
    /// are through.
    fn comes_by_itself(&self, spot: Spot, processes: &Processes) -> Supply {
        let mut supply = self.free_of(spot).cloned().unwrap_or_default();
        for (_, process) in processes.busy_ones() {
            let Some(lease) = process.lease.filter(|lease| lease.spot == spot) else { continue };
            if process.actor.is_none() && !lease.lent && !process.is_waiting() {
                supply.add(&self.classes.at(lease.class).demand, 1);
            }
        }
        supply
    }

    /// What of `free` is there for one who stands here: not what is kept for those before it.
    fn left_for(
        &self,
        standing: Standing,
        free: &Supply,
        spot: Spot,
        objects: &Objects,
        processes: &Processes,
    ) -> Supply {
        self.claims.left_for(standing, free, spot, |kept| {
            self.serves_holder(standing, spot, kept, objects, processes)
        })
    }

    /// Whether what stands behind a process's tasks would keep its lease from others.
    #[inline]
    pub(crate) fn keeps_from(&self, process: &Process, index: Index, objects: &Objects) -> bool {
        if self.claims.is_empty() {
            return false;
        }
        let Some(lease) = process.lease else { return false };
        self.claims.is_kept_from(self.standing_of(index, objects), lease.spot)
    }

    /// Whether a task that has waited for long itself was called, at however many removes, by a
    /// body that holds a part of what is kept: that body may be looking for its value again and
    /// again without waiting, and nothing comes back before it is through.
    fn serves_holder(
        &self,
        standing: Standing,
        spot: Spot,
        kept: &Demand,
        objects: &Objects,
        processes: &Processes,
    ) -> bool {
        let Who::Task(index) = standing.who else { return false };
        let Some(task) = objects.task(index) else { return false };
        let fronts = self.classes.at(task.class).fronts;
        let id = objects.id(index);
        let late = |(known, since): (u64, Instant)| known == id && since.elapsed() >= PATIENCE;
        if !fronts.into_iter().flatten().any(late) {
            return false;
        }
        let mut parent = task.parent;
        for _ in 0..CALLERS {
            let Some((_, task)) = parent.and_then(|id| objects.find_task(id)) else { return false };
            if let Phase::Posted { place, .. } = task.phase
                && let Some(lease) = processes.at(place).lease
                && lease.spot == spot
            {
                let held = &self.classes.at(lease.class).demand;
                let cpus = !lease.lent && held.cpus > 0 && kept.cpus > 0;
                let same = |(label, _): &(u16, i64)| kept.labels.iter().any(|(l, _)| l == label);
                if cpus || held.labels.iter().any(same) {
                    return true;
                }
            }
            parent = task.parent;
        }
        false
    }
}

// ---- in words -------------------------------------------------------------------------------

impl Scheduler {
    /// What tasks of this class hold: cpus, and labels by name.
    pub(crate) fn held(&self, class: ClassId) -> (i64, Vec<(String, i64)>) {
        self.classes.held(class)
    }

    /// The name of a label.
    pub(crate) fn label(&self, number: u16) -> &str {
        self.classes.label(number)
    }

    /// What keeps tasks of a class from starting: what is not free where the least is missing.
    /// Empty: nothing is. `None` stands for cpus.
    pub(crate) fn missing(&self, class: ClassId) -> SmallVec<[Option<u16>; 4]> {
        let demand = &self.classes.at(class).demand;
        let needed = || demand.labels.iter().filter(|(_, amount)| *amount > 0);
        let all = || {
            let cpus = (demand.cpus > 0).then_some(None);
            cpus.into_iter().chain(needed().map(|&(label, _)| Some(label))).collect()
        };
        let Some(spots) = self.spots_for(class) else { return all() };
        let mut least: Option<SmallVec<[Option<u16>; 4]>> = None;
        for free in spots.iter().filter_map(|&spot| self.free_of(spot)) {
            let mut missing = SmallVec::new();
            if demand.cpus > 0 && free.cpus < demand.cpus {
                missing.push(None);
            }
            let has = |label: u16| free.labels.get(usize::from(label)).copied().unwrap_or(0);
            let lacks = needed().filter(|&&(label, amount)| has(label) < amount);
            missing.extend(lacks.map(|&(label, _)| Some(label)));
            if least.as_ref().is_none_or(|least| missing.len() < least.len()) {
                least = Some(missing);
            }
        }
        match least {
            // It is there, and kept for others.
            Some(least) if least.is_empty() && self.keeps_any() => all(),
            least => least.unwrap_or_default(),
        }
    }

    pub(crate) fn describe(&self, demand: &Demand) -> String {
        self.classes.describe(demand)
    }

    pub(crate) fn describe_supply(&self, supply: &Supply) -> String {
        self.classes.describe_supply(supply)
    }

    /// What is free, and who has what for good, for messages. `actor_name` is what an actor is
    /// called.
    pub(crate) fn free_text<'a>(
        &self,
        objects: &Objects,
        processes: &Processes,
        actor_name: impl Fn(u32) -> &'a str,
    ) -> String {
        let parts = self.workers.iter().enumerate().map(|(at, worker)| {
            let free = self.classes.describe_supply(&worker.free);
            let held = self.held_for_life(at, processes, &actor_name);
            format!("{}: {free}{held}{}", worker.name, self.kept_text(at, objects))
        });
        parts.collect::<Vec<_>>().join("; ")
    }

    /// What actors and placement groups have of a worker, which no end of a task gives back.
    fn held_for_life<'a>(
        &self,
        worker: usize,
        processes: &Processes,
        actor_name: &impl Fn(u32) -> &'a str,
    ) -> String {
        let on = |spot: Spot| spot.worker == worker && spot.bundle.is_none();
        let mut held: Vec<String> = Vec::new();
        for (_, process) in processes.all() {
            let (Some(actor), Some(lease)) = (process.actor, process.lease) else { continue };
            let mut demand = self.classes.at(lease.class).demand.clone();
            demand.cpus = if lease.lent { 0 } else { demand.cpus };
            if on(lease.spot) && demand != Demand::default() {
                let (name, has) = (actor_name(actor), self.classes.describe(&demand));
                held.push(format!("actor `{name}` holds {has}"));
            }
        }
        let bundles = self.groups.reserved_on(worker);
        held.extend(bundles.map(|(bundle, _)| {
            format!("a placement group holds {}", self.classes.describe(bundle))
        }));
        let more = held.len().saturating_sub(3);
        held.truncate(3);
        held.extend((more > 0).then(|| format!("and {more} more")));
        if held.is_empty() { String::new() } else { format!(" ({})", held.join(", ")) }
    }

    /// For whom what becomes free on a worker is kept.
    fn kept_text(&self, worker: usize, objects: &Objects) -> String {
        let mut kept = self.claims.on(Spot::on(worker));
        kept.next().map_or_else(String::new, |(standing, _)| match standing.who {
            Who::Task(index) => format!(
                ", kept for `{}` (task {}), which waits longer or is higher",
                objects.name_of(index),
                standing.number
            ),
            Who::Group(_) => ", kept for a placement group that waits longer".to_owned(),
        })
    }

    /// Whether all workers together have what a task in a queue needs free, and so much of it
    /// unused; not while something is kept for others, when what is free means nothing.
    pub(crate) fn could_be_placed(
        &self,
        index: Index,
        task: &Task,
        min_free: f64,
        demand_absent: bool,
        objects: &Objects,
    ) -> bool {
        if task.phase != Phase::Queued || self.keeps_any() {
            return false;
        }
        let demand = &self.classes.at(task.class).demand;
        let sum = |of: &dyn Fn(&Logical) -> i64| -> i64 { self.workers.iter().map(of).sum() };
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
            && objects.tasks().any(|(other, task)| {
                other != index
                    && task.phase == Phase::Queued
                    && self.classes.at(task.class).demand == *demand
            });
        cpus && demand.labels.iter().all(label) && !wanted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::driver::parts::effects::Effects;
    use crate::driver::parts::tasks::NewTask;
    use crate::protocol::args::Args;
    use crate::protocol::memory::Memory;
    use crate::protocol::node::NODES;

    struct House {
        scheduler: Scheduler,
        objects: Objects,
        processes: Processes,
        nodes: Nodes,
    }

    impl House {
        /// One worker with so many cpus.
        fn new(cpus: f64) -> Self {
            let memory = Arc::new(Memory::new("scheduler", 4, 1 << 20, None).unwrap());
            let mut house = Self {
                scheduler: Scheduler::default(),
                objects: Objects::default(),
                processes: Processes::new(memory),
                nodes: Nodes::new(),
            };
            let Self { scheduler, objects, processes, nodes } = &mut house;
            let used = Used { objects, processes, nodes };
            scheduler.add_workers("cpu", 1, &Resources::cpus(cpus), used).unwrap();
            processes.add_worker(1);
            processes.fill_up_evenly(&mut Effects::default());
            house
        }

        fn class(&mut self, cpus: f64, strategy: Strategy) -> ClassId {
            let mut over = Overrides { strategy, ..Overrides::default() };
            over.cpus(cpus);
            let Self { scheduler, objects, processes, nodes } = self;
            let used = Used { objects, processes, nodes };
            scheduler.class_of(&NODES[0], Some(&over), false, used).unwrap().0
        }

        fn task(&mut self, class: ClassId) -> Index {
            let (node, args, overrides) = (&NODES[0], &mut Args::default(), None);
            let (parent, actor, makes, features) = (None, None, None, None);
            let mut new = NewTask { node, args, overrides, parent, actor, makes, features };
            self.objects.enter(&mut new, Default::default(), class, 0).index
        }

        fn choose(&mut self, class: ClassId, index: Index) -> Option<Spot> {
            self.scheduler.choose(class, index, &self.objects, &self.processes)
        }
    }

    #[test]
    fn what_is_held_is_given_back_and_cpus_are_lent() {
        let mut house = House::new(2.0);
        let class = house.class(2.0, Strategy::Default);
        let index = house.task(class);
        let spot = house.choose(class, index).unwrap();
        let lease = house.scheduler.lease(class, spot);
        assert_eq!(house.choose(class, index), None);
        house.scheduler.lent(Lease { lent: true, ..lease });
        assert_eq!(house.choose(class, index), Some(spot));
        house.scheduler.lent(lease); // taken back
        assert_eq!(house.choose(class, index), None);
        house.scheduler.end_lease(lease);
        assert_eq!(house.choose(class, index), Some(spot));
    }

    #[test]
    fn what_could_never_run_is_refused() {
        let mut house = House::new(2.0);
        let over = |strategy| Overrides { strategy, cpus: Some(3 * ONE), ..Overrides::default() };
        let House { scheduler, objects, processes, nodes } = &mut house;
        let used = Used { objects, processes, nodes };
        let refused = scheduler.class_of(&NODES[0], Some(&over(Strategy::Default)), false, used);
        assert!(matches!(refused, Err(Error::Infeasible { .. })));
        let waits = Overrides { wait_infeasible: true, ..over(Strategy::Default) };
        let (class, _) = scheduler.class_of(&NODES[0], Some(&waits), false, used).unwrap();
        assert!(scheduler.infeasible(class).is_some());
        assert_eq!(scheduler.spots_for(class), None, "a worker may come that has it");
    }

    #[test]
    fn a_group_takes_its_bundles_from_workers_and_gives_them_back() {
        let mut house = House::new(2.0);
        let House { scheduler, objects, processes, .. } = &mut house;
        let id = scheduler.add_group(&[Resources::cpus(2.0)], Packing::Pack, 0).unwrap();
        assert!(scheduler.reserve_groups(objects, processes));
        assert!(scheduler.group_ready(id).unwrap());
        let outside = house.class(1.0, Strategy::Default);
        let inside = house.class(1.0, Strategy::Placed { group: id, bundle: None });
        let (one, other) = (house.task(outside), house.task(inside));
        assert_eq!(house.choose(outside, one), None);
        let spot = house.choose(inside, other).unwrap();
        let lease = house.scheduler.lease(inside, spot);
        assert!(house.scheduler.remove_group(id));
        assert_eq!(house.choose(outside, one), Some(Spot::on(0)), "the half that is not in use");
        house.scheduler.end_lease(lease);
        assert_eq!(house.scheduler.workers()[0].free.cpus, 2 * ONE);
    }

    #[test]
    fn queues_are_placed_by_priority_and_age() {
        let mut house = House::new(2.0);
        let classes = [1.0, 2.0].map(|cpus| house.class(cpus, Strategy::Default));
        let tasks = classes.map(|class| house.task(class));
        for at in [1, 0] {
            house.objects.set_queued(tasks[at], Lane::Light);
            let key = house.objects.key_of(tasks[at], Lane::Light);
            let id = house.objects.id(tasks[at]);
            assert!(house.scheduler.queue(classes[at], Lane::Light, key, id));
        }
        let order: Vec<_> = house.scheduler.queues_in_order(&house.objects).collect();
        assert_eq!(order, classes.map(|class| (class, Lane::Light)));
        // An awaited one goes before an older one.
        house.objects.set_queued(tasks[1], Lane::Awaited);
        let key = house.objects.key_of(tasks[1], Lane::Awaited);
        let id = house.objects.id(tasks[1]);
        house.scheduler.queue(classes[1], Lane::Awaited, key, id);
        let first = house.scheduler.queues_in_order(&house.objects).next();
        assert_eq!(first, Some((classes[1], Lane::Awaited)));
    }
}
