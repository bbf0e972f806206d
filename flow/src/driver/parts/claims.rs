//! Reservations: a task that has waited long for more than is free at once has what becomes free
//! reserved, while smaller ones wait behind it.
//!
//! What is kept is never held by those who wait for it, and it is kept only as long as the rest will
//! come by itself: all that is missing is held by bodies that run and do not wait. As soon as one
//! of them waits, for whatever it may be, what was kept is for all again. So nothing can wait in a
//! circle that leads through what is kept.

use super::quantities::{Demand, Spot, Supply};
use super::tasks::Index;

/// One that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Task(Index),
    Group(u64),
}

/// Where it stands: the highest first, and of those the oldest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) priority: i32,
    pub(crate) number: u64,
    pub(crate) who: Who,
}

impl Standing {
    pub(crate) fn key(&self) -> (i64, u64) {
        (-i64::from(self.priority), self.number)
    }
}

/// What is kept for one: so much, of these.
pub(crate) struct Claim {
    standing: Standing,
    pub(crate) spots: Vec<(Spot, Demand)>,
}

/// All that is kept, for the first of those who wait first; of one worker or bundle, for one.
#[derive(Default)]
pub(crate) struct Claims {
    list: Vec<Claim>,
}

impl Claims {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Nothing is kept any more: what was.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    pub(crate) fn add(&mut self, standing: Standing, spots: Vec<(Spot, Demand)>) {
        self.list.push(Claim { standing, spots });
    }

    /// What is kept for this one.
    pub(crate) fn of(&self, who: Who) -> Option<&Claim> {
        self.list.iter().find(|claim| claim.standing.who == who)
    }

    /// It has what it has waited for.
    #[inline]
    pub(crate) fn end(&mut self, who: Who) {
        if !self.is_empty() {
            self.list.retain(|claim| claim.standing.who != who);
        }
    }

    /// What is kept of a worker or a bundle, and for whom.
    pub(crate) fn on(&self, spot: Spot) -> impl Iterator<Item = (&Standing, &Demand)> {
        let spots = self.list.iter().flat_map(|claim| {
            claim.spots.iter().map(|(spot, demand)| (*spot, &claim.standing, demand))
        });
        spots.filter(move |(on, ..)| *on == spot).map(|(_, standing, demand)| (standing, demand))
    }

    pub(crate) fn is_kept(&self, spot: Spot) -> bool {
        self.on(spot).next().is_some()
    }

    /// Whether some of it is kept for one who stands before this one.
    pub(crate) fn is_kept_from(&self, standing: Standing, spot: Spot) -> bool {
        self.on(spot).any(|(before, _)| before.key() < standing.key())
    }

    /// What of `free` is there for one who stands here: not what is kept for those before it,
    /// except what it may have all the same.
    pub(crate) fn left_for(
        &self,
        standing: Standing,
        free: &Supply,
        spot: Spot,
        may_have: impl Fn(&Demand) -> bool,
    ) -> Supply {
        let mut left = free.clone();
        for (before, kept) in self.on(spot) {
            if before.who != standing.who && before.key() < standing.key() && !may_have(kept) {
                left.add(kept, -1);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(index: Index, priority: i32) -> Standing {
        Standing { priority, number: u64::from(index), who: Who::Task(index) }
    }

    fn cpus(cpus: i64) -> Demand {
        Demand { cpus, ..Demand::default() }
    }

    #[test]
    fn what_is_kept_is_for_the_one_and_those_before_it() {
        let (spot, other) = (Spot::on(0), Spot::on(1));
        let mut claims = Claims::default();
        claims.add(task(5, 0), vec![(spot, cpus(3))]);
        let free = Supply::of(&cpus(4));
        let left = |who, spot, may| claims.left_for(who, &free, spot, |_| may).cpus;
        assert_eq!(left(task(5, 0), spot, false), 4, "its own");
        assert_eq!(left(task(4, 0), spot, false), 4, "older");
        assert_eq!(left(task(9, 1), spot, false), 4, "higher");
        assert_eq!(left(task(9, 0), spot, false), 1);
        assert_eq!(left(task(9, 0), spot, true), 4);
        assert_eq!(left(task(9, 0), other, false), 4);
        assert!(claims.is_kept_from(task(9, 0), spot) && !claims.is_kept_from(task(4, 0), spot));
        claims.end(Who::Task(5));
        assert!(claims.is_empty() && !claims.is_kept(spot));
    }
}
