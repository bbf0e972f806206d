//! Logical workers: what they have, and the choice of one.

use super::quantities::{Demand, Supply};
use crate::protocol::options::Strategy;
use crate::protocol::resources::ONE;

/// A logical worker: it advertises resources; as many processes as its tasks need belong to it.
pub(crate) struct Logical {
    pub(crate) group: String,
    /// `group/index`.
    pub(crate) name: String,
    pub(crate) total: Supply,
    pub(crate) free: Supply,
}

impl Logical {
    /// Whether a strategy that names workers, or a group of them, means this one.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.group == name
    }
}

/// A worker that is able to, as the strategy chooses; `next` is the one to begin with.
#[inline]
pub(crate) fn worker_for(
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
            let named = |at: usize| workers[at].is_named(name);
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
#[inline]
pub(crate) fn fill_then_level(workers: &[Logical], able: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    for (at, worker) in workers.iter().enumerate() {
        if !able(at) {
            continue;
        }
        let total = worker.total.cpus.max(1);
        if 2 * worker.free.cpus > total {
            return Some(at);
        }
        let free = worker.free.cpus * ONE / total;
        if best.is_none_or(|(_, most)| free > most) {
            best = Some((at, free));
        }
    }
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers with so many cpus in all, and free.
    fn workers(of: &[(i64, i64)]) -> Vec<Logical> {
        let supply = |cpus: i64| Supply { cpus: cpus * ONE, labels: Vec::new() };
        let one = |(at, &(total, free)): (usize, &(i64, i64))| Logical {
            group: "cpu".to_owned(),
            name: format!("cpu/{at}"),
            total: supply(total),
            free: supply(free),
        };
        of.iter().enumerate().map(one).collect()
    }

    fn chosen(
        workers: &[Logical],
        cpus: i64,
        strategy: &Strategy,
        next: &mut usize,
    ) -> Option<usize> {
        let demand = Demand { cpus: cpus * ONE, ..Demand::default() };
        worker_for(workers, &demand, strategy, next, |at| workers[at].free.covers(&demand))
    }

    #[test]
    fn workers_are_filled_to_the_half_and_then_evenly() {
        let next = &mut 0;
        assert_eq!(chosen(&workers(&[(4, 3), (4, 4)]), 1, &Strategy::Default, next), Some(0));
        assert_eq!(chosen(&workers(&[(4, 2), (4, 4)]), 1, &Strategy::Default, next), Some(1));
        assert_eq!(chosen(&workers(&[(4, 1), (4, 2)]), 1, &Strategy::Default, next), Some(1));
        assert_eq!(chosen(&workers(&[(4, 1), (4, 0)]), 2, &Strategy::Default, next), None);
    }

    #[test]
    fn spread_goes_round() {
        let (workers, next) = (workers(&[(2, 2), (2, 0), (2, 2)]), &mut 0);
        let all: Vec<_> =
            (0..4).map(|_| chosen(&workers, 1, &Strategy::Spread, next).unwrap()).collect();
        assert_eq!(all, [0, 2, 0, 2]);
    }

    #[test]
    fn a_soft_name_gives_way_only_when_it_could_never_do() {
        let named = |soft| Strategy::Worker { name: "cpu/0".to_owned(), soft };
        let next = &mut 0;
        let busy = workers(&[(2, 0), (2, 2)]);
        assert_eq!(chosen(&busy, 1, &named(true), next), None, "it will have it");
        let small = workers(&[(1, 1), (2, 2)]);
        assert_eq!(chosen(&small, 2, &named(true), next), Some(1));
        assert_eq!(chosen(&small, 2, &named(false), next), None);
    }
}
