//! Placement groups: bundles of resources that are reserved at once.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::claims::{Standing, Who};
use super::quantities::{Demand, Spot, Supply};
use crate::protocol::error::Error;
use crate::protocol::options::Packing;

struct Group {
    id: u64,
    bundles: Vec<Bundle>,
    packing: Packing,
    /// Its bundles are taken from workers.
    ready: bool,
    /// Where it stands among those that wait: behind tasks up to this number.
    number: u64,
    since: Instant,
}

impl Group {
    fn standing(&self) -> Standing {
        Standing { priority: 0, number: self.number, who: Who::Group(self.id) }
    }

    /// The bundles that are meant.
    fn meant(&self, which: Option<usize>) -> impl Iterator<Item = (usize, &Bundle)> + '_ {
        let all = self.bundles.iter().enumerate();
        all.filter(move |(at, _)| which.is_none_or(|which| which == *at))
    }
}

struct Bundle {
    demand: Demand,
    total: Supply,
    free: Supply,
    worker: usize,
}

/// All groups, in their order.
#[derive(Default)]
pub(crate) struct Groups {
    list: Vec<Group>,
}

impl Groups {
    /// A new group, behind tasks up to this number. `None` if these workers could never hold it.
    pub(crate) fn add(
        &mut self,
        demands: Vec<Demand>,
        packing: Packing,
        totals: Vec<Supply>,
        number: u64,
    ) -> Option<u64> {
        let bundles = demands.into_iter().map(|demand| {
            let total = Supply::of(&demand);
            Bundle { demand, free: total.clone(), total, worker: 0 }
        });
        let bundles: Vec<Bundle> = bundles.collect();
        fit(&bundles, packing, totals)?;
        // No other group has this number, of whatever flow.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed);
        self.list.push(Group { id, bundles, packing, ready: false, number, since: Instant::now() });
        Some(id)
    }

    /// Whether none waits.
    #[inline]
    pub(crate) fn are_all_ready(&self) -> bool {
        self.list.iter().all(|group| group.ready)
    }

    /// Those that wait, in their order.
    pub(crate) fn waiting(&self) -> Vec<Standing> {
        self.list.iter().filter(|group| !group.ready).map(Group::standing).collect()
    }

    /// Those that have waited for so long.
    pub(crate) fn late(&self, now: Instant, patience: Duration) -> Vec<Standing> {
        let waits = self.list.iter().filter(|group| !group.ready);
        let late = waits.filter(|group| now.saturating_duration_since(group.since) >= patience);
        late.map(Group::standing).collect()
    }

    /// Reserves a group, if it fits what is free: what is taken from which worker.
    pub(crate) fn reserve(&mut self, id: u64, free: Vec<Supply>) -> Option<Vec<(usize, Demand)>> {
        let group = self.list.iter_mut().find(|group| group.id == id)?;
        let workers = fit(&group.bundles, group.packing, free)?;
        group.ready = true;
        let mut taken = Vec::new();
        for (bundle, worker) in group.bundles.iter_mut().zip(workers) {
            bundle.worker = worker;
            taken.push((worker, bundle.demand.clone()));
        }
        Some(taken)
    }

    /// What a group that waits would take of which worker, out of what these have.
    pub(crate) fn would_take(&self, id: u64, have: Vec<Supply>) -> Option<Vec<(Spot, Demand)>> {
        let group = self.group(id)?;
        let workers = fit(&group.bundles, group.packing, have)?;
        let spots = group.bundles.iter().zip(workers);
        Some(spots.map(|(bundle, worker)| (Spot::on(worker), bundle.demand.clone())).collect())
    }

    /// Removes a group: what it has reserved and does not use, of which worker. `None`: there is
    /// no such group.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Vec<(usize, Supply)>> {
        let at = self.list.iter().position(|group| group.id == id)?;
        let group = self.list.swap_remove(at);
        let bundles = group.bundles.into_iter().filter(|_| group.ready);
        Some(bundles.map(|bundle| (bundle.worker, bundle.free)).collect())
    }

    /// Whether a group is reserved.
    ///
    /// # Errors
    /// It has been removed.
    pub(crate) fn is_ready(&self, id: u64) -> Result<bool, Error> {
        let gone = || Error::Invalid("this placement group has been removed".to_owned());
        self.group(id).map(|group| group.ready).ok_or_else(gone)
    }

    fn group(&self, id: u64) -> Option<&Group> {
        self.list.iter().find(|group| group.id == id)
    }

    fn reserved(&self, id: u64) -> Option<&Group> {
        self.group(id).filter(|group| group.ready)
    }

    // ---- bundles ----------------------------------------------------------------------------

    /// Where the bundles of a group are, or one of them, and what they have free; none as long as
    /// the group is not reserved.
    pub(crate) fn spots(
        &self,
        id: u64,
        which: Option<usize>,
    ) -> impl Iterator<Item = (Spot, &Supply)> + '_ {
        let meant = self.reserved(id).into_iter().flat_map(move |group| group.meant(which));
        meant.map(move |(at, bundle)| {
            (Spot { worker: bundle.worker, bundle: Some((id, at)) }, &bundle.free)
        })
    }

    /// Where a task could run in a group that is reserved, if all of it were free. `None`: it is not
    /// reserved yet, or will not be any more.
    pub(crate) fn able(&self, id: u64, which: Option<usize>, demand: &Demand) -> Option<Vec<Spot>> {
        let able = self.reserved(id)?.meant(which).filter(|(_, b)| b.total.covers(demand));
        Some(able.map(|(at, b)| Spot { worker: b.worker, bundle: Some((id, at)) }).collect())
    }

    /// What a bundle has free, if its group is still there.
    pub(crate) fn free(&self, id: u64, at: usize) -> Option<&Supply> {
        self.group(id)?.bundles.get(at).map(|bundle| &bundle.free)
    }

    pub(crate) fn free_mut(&mut self, id: u64, at: usize) -> Option<&mut Supply> {
        let group = self.list.iter_mut().find(|group| group.id == id)?;
        group.bundles.get_mut(at).map(|bundle| &mut bundle.free)
    }

    /// What is reserved on a worker: all of each bundle, and what of it is not in use.
    pub(crate) fn reserved_on(
        &self,
        worker: usize,
    ) -> impl Iterator<Item = (&Demand, &Supply)> + '_ {
        let ready = self.list.iter().filter(|group| group.ready);
        let bundles = ready.flat_map(|group| &group.bundles);
        let on = bundles.filter(move |bundle| bundle.worker == worker);
        on.map(|bundle| (&bundle.demand, &bundle.free))
    }

    /// Why a task could never run in a bundle. `describe` puts what a bundle has in words.
    pub(crate) fn infeasible(
        &self,
        id: u64,
        which: Option<usize>,
        demand: &Demand,
        describe: impl Fn(&Demand) -> String,
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
        if group.meant(which).any(|(_, bundle)| bundle.total.covers(demand)) {
            return None;
        }
        let all = group.bundles.iter().map(|bundle| describe(&bundle.demand));
        Some(format!("the bundles have {}", all.collect::<Vec<_>>().join(" | ")))
    }
}

/// A worker for each bundle, out of what these have.
fn fit(bundles: &[Bundle], packing: Packing, have: Vec<Supply>) -> Option<Vec<usize>> {
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
    let size =
        |demand: &Demand| demand.cpus + demand.labels.iter().map(|(_, amount)| amount).sum::<i64>();
    let mut order: Vec<usize> = (0..bundles.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(size(&bundles[at].demand)));
    let mut search = Search { bundles, packing, order, have, steps: 0 };
    let mut taken = vec![usize::MAX; bundles.len()];
    search.place(0, &mut taken).then_some(taken)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(cpus: i64) -> Demand {
        Demand { cpus, ..Demand::default() }
    }

    fn supplies(of: &[i64]) -> Vec<Supply> {
        of.iter().map(|&n| Supply::of(&cpus(n))).collect()
    }

    #[test]
    fn bundles_are_packed_or_spread() {
        let demands = || vec![cpus(2), cpus(2)];
        let workers = |packing, have: &[i64]| {
            let mut groups = Groups::default();
            let id = groups.add(demands(), packing, supplies(&[4, 4]), 0)?;
            let taken = groups.reserve(id, supplies(have))?;
            Some(taken.into_iter().map(|(worker, _)| worker).collect::<Vec<_>>())
        };
        assert_eq!(workers(Packing::Pack, &[3, 4]), Some(vec![1, 1]));
        assert_eq!(workers(Packing::Pack, &[3, 3]), Some(vec![0, 1]));
        assert_eq!(workers(Packing::StrictPack, &[3, 3]), None);
        assert_eq!(workers(Packing::StrictSpread, &[4, 1]), None);
        assert_eq!(workers(Packing::Spread, &[4, 1]), Some(vec![0, 0]));
    }

    #[test]
    fn what_is_not_in_use_is_given_back() {
        let mut groups = Groups::default();
        let id = groups.add(vec![cpus(2)], Packing::Pack, supplies(&[4]), 0).unwrap();
        assert_eq!(groups.spots(id, None).count(), 0, "not reserved yet");
        assert_eq!(groups.reserve(id, supplies(&[4])).unwrap(), vec![(0, cpus(2))]);
        assert!(groups.are_all_ready() && groups.is_ready(id).unwrap());
        groups.free_mut(id, 0).unwrap().add(&cpus(1), -1); // a task runs there
        let back = groups.remove(id).unwrap();
        assert_eq!(
            back.iter().map(|(worker, free)| (*worker, free.cpus)).collect::<Vec<_>>(),
            [(0, 1)]
        );
        assert!(groups.is_ready(id).is_err() && groups.remove(id).is_none());
    }
}
