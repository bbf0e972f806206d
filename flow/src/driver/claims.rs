//! Reservations: a task that has waited long for more than is free at once has what becomes free
//! reserved, while smaller ones wait behind it.
//!
//! What is kept is never held by those who wait for it, and it is kept only as long as the rest will
//! come by itself: all that is missing is held by bodies that run and do not wait. As soon as one
//! of them waits, for whatever it may be, what was kept is for all again. So nothing can wait in a
//! circle that leads through what is kept.

use std::time::{Duration, Instant};

use super::State;
use super::objects::Index;
use super::order::{LANES, Lane};
use super::processes::Lease;
use super::scheduler::{ClassId, Demand, Spot, Supply};
use super::tasks::Phase;
use crate::protocol::options::Strategy;

/// How long one waits before what becomes free is kept for it. Until then smaller ones pass.
const PATIENCE: Duration = Duration::from_millis(500);
/// Callers of callers that are looked at.
const CALLERS: usize = 64;

/// One that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Task(Index),
    Group(u64),
}

/// Where it stands: the highest first, and of those the oldest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    pub(super) priority: i32,
    pub(super) number: u64,
    pub(super) who: Who,
}

impl Standing {
    fn key(&self) -> (i64, u64) {
        (-i64::from(self.priority), self.number)
    }
}

/// What is kept for one: so much, of these.
struct Claim {
    standing: Standing,
    spots: Vec<(Spot, Demand)>,
}

/// All that is kept, for the first of those who wait first; of one worker or bundle, for one.
#[derive(Default)]
pub(super) struct Claims {
    list: Vec<Claim>,
}

impl Claims {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// It has what it has waited for.
    pub(super) fn end(&mut self, who: Who) {
        self.list.retain(|claim| claim.standing.who != who);
    }

    fn on(&self, spot: Spot) -> impl Iterator<Item = (&Standing, &Demand)> {
        let spots = self.list.iter().flat_map(|claim| {
            claim.spots.iter().map(|(spot, demand)| (*spot, &claim.standing, demand))
        });
        spots.filter(move |(on, ..)| *on == spot).map(|(_, standing, demand)| (standing, demand))
    }
}

impl State {
    /// The first of a class could not be placed.
    pub(super) fn note_front(&mut self, class: ClassId, lane: Lane, id: u64) {
        let front = &mut self.classes.at_mut(class).fronts[lane as usize];
        if front.is_none_or(|(known, _)| known != id) {
            *front = Some((id, Instant::now()));
        }
    }

    pub(super) fn end_claim(&mut self, index: Index) {
        if !self.claims.is_empty() {
            self.claims.end(Who::Task(index));
        }
    }

    pub(super) fn standing_of(&self, index: Index) -> Standing {
        let class = self.objects.task(index).map(|task| self.classes.at(task.class));
        let priority = class.map_or(0, |class| class.priority);
        Standing { priority, number: self.objects.at(index).number, who: Who::Task(index) }
    }

    /// Finds out anew for whom something is to be kept.
    pub(super) fn give_claims(&mut self) {
        let waits = |&class: &ClassId| self.classes.at(class).fronts.iter().any(Option::is_some);
        if !self.classes.waiting.iter().any(waits) && self.groups.iter().all(|group| group.ready) {
            self.claims.list.clear();
            return;
        }
        let now = Instant::now();
        let fronts = self
            .classes
            .waiting
            .iter()
            .flat_map(|&class| LANES.into_iter().zip(self.classes.at(class).fronts));
        let late = fronts.filter_map(|(lane, front)| {
            let (id, since) = front?;
            let late = now.saturating_duration_since(since) >= PATIENCE;
            let index = self.queued(id, lane).filter(|_| late)?;
            // Nothing is kept for one that may not begin, for other reasons.
            self.may_start(index).then(|| self.standing_of(index))
        });
        let mut late: Vec<Standing> = late.collect();
        late.extend(self.late_groups(now, PATIENCE));
        if late.is_empty() {
            self.claims.list.clear();
            return;
        }
        late.sort_unstable_by_key(Standing::key);
        let before = std::mem::take(&mut self.claims.list);
        let given: Vec<Supply> =
            (0..self.workers.len()).map(|at| self.comes_by_itself(Spot::on(at))).collect();
        for standing in late {
            let old = before.iter().find(|claim| claim.standing.who == standing.who);
            let spots = match standing.who {
                Who::Task(index) => self.spot_to_keep(index, old, &given),
                Who::Group(id) => self.workers_to_keep(id, old, &given),
            };
            if let Some(spots) = spots {
                self.claims.list.push(Claim { standing, spots });
            }
        }
    }

    fn is_kept(&self, spot: Spot) -> bool {
        self.claims.on(spot).next().is_some()
    }

    /// A worker or bundle for a task, where it will be able to run when those that run now are
    /// through. `None` also if it could be placed now, and waits for something else.
    fn spot_to_keep(
        &self,
        index: Index,
        old: Option<&Claim>,
        given: &[Supply],
    ) -> Option<Vec<(Spot, Demand)>> {
        let class = self.classes.at(self.objects.task(index)?.class);
        let demand = &class.demand;
        let spots: Vec<Spot> = match &class.strategy {
            Strategy::Placed { group, bundle } => self.bundles_of(*group, *bundle),
            Strategy::Worker { name, soft } => {
                let all = 0..self.workers.len();
                let named = |&at: &usize| super::scheduler::is_named(&self.workers[at], name);
                let able = |at: usize| self.workers[at].total.covers(demand);
                let any = *soft && !all.clone().any(|at| named(&at) && able(at));
                all.filter(|at| any || named(at)).map(Spot::on).collect()
            }
            _ => (0..self.workers.len()).map(Spot::on).collect(),
        };
        let mut best: Option<(bool, i64, Spot)> = None;
        for spot in spots {
            if self.workers[spot.worker].is_paused() || self.is_kept(spot) {
                continue;
            }
            let Some(free) = self.free_of(spot) else { continue };
            if free.covers(demand) {
                return None;
            }
            let comes = match spot.bundle {
                None => given[spot.worker].covers(demand),
                Some(_) => self.comes_by_itself(spot).covers(demand),
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
        let open = |at: usize| !self.is_kept(Spot::on(at));
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
        self.group_on(id, have.collect())
    }

    fn bundles_of(&self, group: u64, bundle: Option<usize>) -> Vec<Spot> {
        let all = std::cell::RefCell::new(Vec::new());
        self.bundle_for(group, bundle, |_, spot| {
            all.borrow_mut().push(spot);
            false
        });
        all.into_inner()
    }

    fn free_of(&self, spot: Spot) -> Option<Supply> {
        let Some((group, at)) = spot.bundle else {
            return Some(self.workers[spot.worker].free.clone());
        };
        let found = std::cell::RefCell::new(None);
        self.bundle_for(group, Some(at), |free, _| {
            *found.borrow_mut() = Some(free.clone());
            false
        });
        found.into_inner()
    }

    /// What is free, and what bodies hold that run and wait for nothing: it comes back when they
    /// are through.
    fn comes_by_itself(&self, spot: Spot) -> Supply {
        let mut supply = self.free_of(spot).unwrap_or_default();
        for &place in &self.busy {
            let process = &self.procs[usize::from(place)];
            let Some(lease) = process.lease.filter(|lease| lease.spot == spot) else { continue };
            if process.actor.is_none() && !lease.lent && !self.is_waiting(place) {
                supply.add(&self.classes.at(lease.class).demand, 1);
            }
        }
        supply
    }

    /// Whether a body waits, for values or for memory.
    fn is_waiting(&self, place: u16) -> bool {
        !self.procs[usize::from(place)].waits.is_empty()
            || self.memory_waits.iter().any(|wait| wait.place == place)
    }

    /// What of `free` is there for one who stands here: not what is kept for those before it.
    pub(super) fn left_for(&self, standing: Standing, free: &Supply, spot: Spot) -> Supply {
        let mut left = free.clone();
        for (before, kept) in self.claims.on(spot) {
            if before.who != standing.who
                && before.key() < standing.key()
                && !self.serves_holder(standing, spot, kept)
            {
                left.add(kept, -1);
            }
        }
        left
    }

    /// Whether what stands behind a process's tasks would keep its lease from others.
    #[inline]
    pub(super) fn keeps_from(&self, lease: Option<Lease>, index: Index) -> bool {
        if self.claims.is_empty() {
            return false;
        }
        let Some(lease) = lease else { return false };
        let standing = self.standing_of(index);
        let mut before = self.claims.on(lease.spot);
        before.any(|(before, _)| before.key() < standing.key())
    }

    /// Whether a task that has waited for long itself was called, at however many removes, by a
    /// body that holds a part of what is kept: that body may be looking for its value again and
    /// again without waiting, and nothing comes back before it is through.
    fn serves_holder(&self, standing: Standing, spot: Spot, kept: &Demand) -> bool {
        let Who::Task(index) = standing.who else { return false };
        let Some(task) = self.objects.task(index) else { return false };
        let fronts = self.classes.at(task.class).fronts;
        let id = self.objects.id(index);
        let late = |(known, since): (u64, Instant)| known == id && since.elapsed() >= PATIENCE;
        if !fronts.into_iter().flatten().any(late) {
            return false;
        }
        let mut parent = task.parent;
        for _ in 0..CALLERS {
            let Some(index) = parent.and_then(|id| self.objects.find(id)) else { return false };
            let Some(task) = self.objects.task(index) else { return false };
            if let Phase::Posted { place, .. } = task.phase
                && let Some(lease) = self.procs[usize::from(place)].lease
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

    /// For whom what becomes free on a worker is kept, for messages.
    pub(super) fn kept_text(&self, worker: usize) -> String {
        let mut kept = self.claims.on(Spot::on(worker));
        kept.next().map_or_else(String::new, |(standing, _)| match standing.who {
            Who::Task(index) => format!(
                ", kept for `{}` (task {}), which waits longer or is higher",
                self.name_of(index),
                standing.number
            ),
            Who::Group(_) => ", kept for a placement group that waits longer".to_owned(),
        })
    }
}
