//! Placement groups: bundles of resources that are reserved at once.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::State;
use super::claims::{Standing, Who};
use super::scheduler::{Demand, Spot, Supply};
use crate::protocol::error::Error;
use crate::protocol::options::Packing;
use crate::protocol::resources::Resources;

pub(super) struct Group {
    id: u64,
    bundles: Vec<Bundle>,
    packing: Packing,
    /// Its bundles are taken from workers.
    pub(super) ready: bool,
    /// Where it stands among those that wait: behind tasks up to this number.
    number: u64,
    since: Instant,
}

impl Group {
    fn standing(&self) -> Standing {
        Standing { priority: 0, number: self.number, who: Who::Group(self.id) }
    }
}

struct Bundle {
    demand: Demand,
    total: Supply,
    free: Supply,
    worker: usize,
}

impl State {
    /// A new group. It is reserved as soon as all of it is free.
    pub(super) fn add_group(
        &mut self,
        bundles: &[Resources],
        packing: Packing,
    ) -> Result<u64, Error> {
        if bundles.is_empty() {
            return Err(Error::Invalid("a placement group has at least one bundle".to_owned()));
        }
        bundles.iter().try_for_each(Resources::check)?;
        let needs = || bundles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ");
        let demands: Vec<Demand> =
            bundles.iter().map(|resources| self.classes.demand(resources)).collect();
        let never = || Error::Infeasible {
            node: format!("a placement group ({packing:?})"),
            needs: needs(),
            why: format!("{} workers could never hold it at once", self.workers.len()),
        };
        let totals = self.workers.iter().map(|worker| &worker.total);
        // Labels that nobody has are found here, and not entered.
        if demands.iter().any(|demand| !totals.clone().any(|total| total.covers(demand))) {
            return Err(never());
        }
        let bundles = demands.into_iter().map(|demand| {
            let total = Supply::of(&demand);
            Bundle { demand, free: total.clone(), total, worker: 0 }
        });
        let bundles: Vec<Bundle> = bundles.collect();
        let totals: Vec<Supply> = self.workers.iter().map(|worker| worker.total.clone()).collect();
        if self.fit(&bundles, packing, totals).is_none() {
            return Err(never());
        }
        // No other group has this number, of whatever flow.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed);
        let (number, since) = (self.number, Instant::now());
        self.groups.push(Group { id, bundles, packing, ready: false, number, since });
        self.reserve_groups();
        Ok(id)
    }

    /// Reserves what can be, in the order of the groups.
    pub(super) fn reserve_groups(&mut self) {
        if self.groups.iter().all(|group| group.ready) {
            return;
        }
        for at in 0..self.groups.len() {
            if self.groups[at].ready {
                continue;
            }
            let group = &self.groups[at];
            let standing = group.standing();
            let workers = self.workers.iter().enumerate();
            let free =
                workers.map(|(at, worker)| self.left_for(standing, &worker.free, Spot::on(at)));
            let free: Vec<Supply> = free.collect();
            let Some(places) = self.fit(&group.bundles, group.packing, free) else { continue };
            for (bundle, worker) in self.groups[at].bundles.iter_mut().zip(places) {
                bundle.worker = worker;
                self.workers[worker].free.add(&bundle.demand, -1);
            }
            self.groups[at].ready = true;
            self.claims.end(Who::Group(self.groups[at].id));
            self.changed = true;
        }
    }

    /// Where a task could run in a group that is reserved, if all of it were free. `None`: it is not
    /// reserved yet, or will not be any more.
    pub(super) fn bundles_for(
        &self,
        id: u64,
        which: Option<usize>,
        demand: &Demand,
    ) -> Option<Vec<Spot>> {
        let group = self.group(id).filter(|group| group.ready)?;
        let meant = |at: usize| which.is_none_or(|which| which == at);
        let all = group.bundles.iter().enumerate();
        let able = all.filter(|(at, bundle)| meant(*at) && bundle.total.covers(demand));
        Some(able.map(|(at, b)| Spot { worker: b.worker, bundle: Some((id, at)) }).collect())
    }

    /// What a bundle has free, if its group is still there.
    pub(super) fn bundle_supply(&self, id: u64, at: usize) -> Option<&Supply> {
        self.group(id)?.bundles.get(at).map(|bundle| &bundle.free)
    }

    /// What groups have reserved of a worker and do not use.
    pub(super) fn reserved_on(&self, worker: usize) -> impl Iterator<Item = &Supply> {
        let ready = self.groups.iter().filter(|group| group.ready);
        let bundles = ready.flat_map(|group| &group.bundles);
        bundles.filter(move |bundle| bundle.worker == worker).map(|bundle| &bundle.free)
    }

    /// Groups that have waited for so long, and where they stand.
    pub(super) fn late_groups(&self, now: Instant, patience: Duration) -> Vec<Standing> {
        let late = self
            .groups
            .iter()
            .filter(|group| !group.ready && now.saturating_duration_since(group.since) >= patience);
        late.map(Group::standing).collect()
    }

    /// What a group that waits would take of which worker, out of what these have.
    pub(super) fn group_on(&self, id: u64, have: Vec<Supply>) -> Option<Vec<(Spot, Demand)>> {
        let group = self.group(id)?;
        let places = self.fit(&group.bundles, group.packing, have)?;
        let spots = group.bundles.iter().zip(places);
        Some(spots.map(|(bundle, worker)| (Spot::on(worker), bundle.demand.clone())).collect())
    }

    /// The bundles that are reserved on a worker.
    pub(super) fn bundles_on(&self, worker: usize) -> impl Iterator<Item = &Demand> {
        let ready = self.groups.iter().filter(|group| group.ready);
        let bundles = ready.flat_map(|group| &group.bundles);
        bundles.filter(move |bundle| bundle.worker == worker).map(|bundle| &bundle.demand)
    }

    /// A worker for each bundle, out of what these have.
    fn fit(&self, bundles: &[Bundle], packing: Packing, have: Vec<Supply>) -> Option<Vec<usize>> {
        if matches!(packing, Packing::Pack | Packing::StrictPack) {
            let whole = (0..have.len()).find(|&worker| {
                let mut left = have[worker].clone();
                bundles.iter().all(|bundle| {
                    let fits = left.covers(&bundle.demand);
                    left.add(&bundle.demand, -1);
                    fits
                })
            });
            if whole.is_some() || packing == Packing::StrictPack {
                return whole.map(|worker| vec![worker; bundles.len()]);
            }
        }
        // The largest first, which leaves the fewest dead ends.
        let size = |demand: &Demand| {
            demand.cpus + demand.labels.iter().map(|(_, amount)| amount).sum::<i64>()
        };
        let mut order: Vec<usize> = (0..bundles.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(size(&bundles[at].demand)));
        let mut search = Search { bundles, packing, order, have, steps: 0 };
        let mut taken = vec![usize::MAX; bundles.len()];
        search.place(0, &mut taken).then_some(taken)
    }

    fn group(&self, id: u64) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == id)
    }

    pub(crate) fn group_ready(&self, id: u64) -> Result<bool, Error> {
        let gone = || Error::Invalid("this placement group has been removed".to_owned());
        self.group(id).map(|group| group.ready).ok_or_else(gone)
    }

    /// The workers of a group's bundles, once it is reserved.
    pub(crate) fn group_workers(&self, id: u64) -> Vec<String> {
        let group = self.group(id).filter(|group| group.ready);
        let bundles = group.into_iter().flat_map(|group| &group.bundles);
        bundles.map(|bundle| self.workers[bundle.worker].name.clone()).collect()
    }

    /// Gives back what a group has reserved and does not use; tasks in it go on, and give back
    /// to the worker what they hold.
    pub(crate) fn remove_group(&mut self, id: u64) {
        let Some(at) = self.groups.iter().position(|group| group.id == id) else { return };
        let group = self.groups.swap_remove(at);
        if group.ready {
            for bundle in group.bundles {
                let free = &mut self.workers[bundle.worker].free;
                free.cpus += bundle.free.cpus;
                for (has, back) in free.labels.iter_mut().zip(&bundle.free.labels) {
                    *has += back;
                }
            }
        }
        self.changed = true;
        self.fail_stranded();
        self.schedule();
    }

    /// Why a task could never run in a bundle.
    pub(super) fn bundle_infeasible(
        &self,
        id: u64,
        which: Option<usize>,
        demand: &Demand,
    ) -> Option<String> {
        let Some(group) = self.group(id) else {
            return Some("its placement group has been removed".to_owned());
        };
        let count = group.bundles.len();
        if let Some(which) = which
            && which >= count
        {
            return Some(format!(
                "its placement group has {count} bundles, and it names number {which}"
            ));
        }
        let mut candidates = (0..count).filter(|at| which.is_none_or(|which| which == *at));
        if candidates.any(|at| group.bundles[at].total.covers(demand)) {
            return None;
        }
        let all = group.bundles.iter().map(|bundle| self.classes.describe(&bundle.demand));
        Some(format!("the bundles have {}", all.collect::<Vec<_>>().join(" | ")))
    }

    /// A bundle that is able to, by what it has free.
    pub(super) fn bundle_for(
        &self,
        id: u64,
        which: Option<usize>,
        able: impl Fn(&Supply, Spot) -> bool,
    ) -> Option<Spot> {
        let group = self.group(id).filter(|group| group.ready)?;
        let mut bundles = (0..).zip(&group.bundles);
        bundles.find_map(|(at, bundle)| {
            let meant =
                which.is_none_or(|which| which == at) && !self.workers[bundle.worker].is_paused();
            let spot = Spot { worker: bundle.worker, bundle: Some((id, at)) };
            (meant && able(&bundle.free, spot)).then_some(spot)
        })
    }
}

impl State {
    /// The workers on which the bundles of a group are, or one of them.
    pub(super) fn workers_of_bundle(&self, id: u64, which: Option<usize>) -> Vec<usize> {
        let Some(group) = self.group(id).filter(|group| group.ready) else { return Vec::new() };
        let meant = group.bundles.iter().enumerate();
        let meant = meant.filter(|(at, _)| which.is_none_or(|which| which == *at));
        meant.map(|(_, bundle)| bundle.worker).collect()
    }
}

/// Looks for a worker for each bundle, and goes back when there is none.
struct Search<'a> {
    bundles: &'a [Bundle],
    packing: Packing,
    order: Vec<usize>,
    have: Vec<Supply>,
    steps: usize,
}

impl Search<'_> {
    /// More would take too long; what has not been found by then waits or is refused.
    const STEPS: usize = 20_000;

    fn place(&mut self, next: usize, taken: &mut [usize]) -> bool {
        let Some(&at) = self.order.get(next) else { return true };
        let mut workers: Vec<usize> = (0..self.have.len()).collect();
        let held = |worker: usize| taken.iter().filter(|&&one| one == worker).count();
        match self.packing {
            // Where much is already; or where little is.
            Packing::Pack | Packing::StrictPack => {
                workers.sort_by_key(|&worker| std::cmp::Reverse(held(worker)));
            }
            Packing::Spread => workers.sort_by_key(|&worker| held(worker)),
            Packing::StrictSpread => workers.retain(|&worker| held(worker) == 0),
        }
        let demand = &self.bundles[at].demand;
        for worker in workers {
            self.steps += 1;
            if self.steps > Self::STEPS {
                return false;
            }
            if !self.have[worker].covers(demand) {
                continue;
            }
            self.have[worker].add(demand, -1);
            taken[at] = worker;
            if self.place(next + 1, taken) {
                return true;
            }
            taken[at] = usize::MAX;
            self.have[worker].add(demand, 1);
        }
        false
    }
}

/// What a bundle has free, if its group is still there.
pub(super) fn bundle_free(groups: &mut [Group], id: u64, at: usize) -> Option<&mut Supply> {
    let group = groups.iter_mut().find(|group| group.id == id)?;
    group.bundles.get_mut(at).map(|bundle| &mut bundle.free)
}
