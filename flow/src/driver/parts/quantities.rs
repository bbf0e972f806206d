//! Quantities of resources: what tasks need, what workers have, and where it is taken from.

use smallvec::SmallVec;

/// A class's place in the table.
pub(crate) type ClassId = u32;

/// Quantities, by label number; cpus apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Demand {
    pub(crate) cpus: i64,
    pub(crate) labels: SmallVec<[(u16, i64); 2]>,
}

/// What a worker or a bundle has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    pub(crate) cpus: i64,
    /// By label number.
    pub(crate) labels: Vec<i64>,
}

impl Supply {
    /// As much as this.
    pub(crate) fn of(demand: &Demand) -> Self {
        let mut supply = Self { cpus: demand.cpus, labels: Vec::new() };
        for &(label, amount) in &demand.labels {
            let label = usize::from(label);
            supply.labels.resize(supply.labels.len().max(label + 1), 0);
            supply.labels[label] = amount;
        }
        supply
    }

    pub(crate) fn covers(&self, demand: &Demand) -> bool {
        let label = |&(label, amount): &(u16, i64)| {
            self.labels.get(usize::from(label)).is_some_and(|&has| has >= amount)
        };
        // A task without cpus may start beside one that holds them all.
        (demand.cpus == 0 || self.cpus >= demand.cpus) && demand.labels.iter().all(label)
    }

    pub(crate) fn add(&mut self, demand: &Demand, sign: i64) {
        self.cpus += sign * demand.cpus;
        self.add_labels(demand, sign);
    }

    pub(crate) fn add_labels(&mut self, demand: &Demand, sign: i64) {
        for &(label, amount) in &demand.labels {
            if let Some(has) = self.labels.get_mut(usize::from(label)) {
                *has += sign * amount;
            }
        }
    }
}

/// Where a task's resources are taken from: a worker, or a bundle on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spot {
    pub(crate) worker: usize,
    pub(crate) bundle: Option<(u64, usize)>,
}

/// Which part of a demand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    Cpus,
    Labels,
}

impl Spot {
    pub(crate) fn on(worker: usize) -> Self {
        Self { worker, bundle: None }
    }
}
