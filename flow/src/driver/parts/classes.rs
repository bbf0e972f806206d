//! Classes of tasks with equal needs, their queues, and the numbers of labels.

use std::collections::HashMap;
use std::time::Instant;

use smallvec::SmallVec;

use super::quantities::{ClassId, Demand, Supply};
use super::ranks::{Key, LANES, Lane, Queue};
use crate::protocol::error::Error;
use crate::protocol::options::Strategy;
use crate::protocol::resources::{Amount, Resources};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClassKey {
    pub(crate) demand: Demand,
    pub(crate) strategy: Strategy,
    pub(crate) priority: i32,
}

/// Tasks that need the same, in order.
pub(crate) struct Class {
    pub(crate) demand: Demand,
    pub(crate) strategy: Strategy,
    pub(crate) priority: i32,
    queues: [Queue; 3],
    /// The first one in each queue that could not be placed, and since when.
    pub(crate) fronts: [Option<(u64, Instant)>; 3],
    /// The worker to begin with, when they are spread.
    pub(crate) next: usize,
}

/// All classes, labels, and those that have a queue. What nobody uses any more is found by a
/// sweep, whenever there are twice as many as the last one has left.
#[derive(Default)]
pub(crate) struct Classes {
    list: Vec<Class>,
    known: HashMap<ClassKey, ClassId>,
    /// By number; those that are free have no name.
    labels: Vec<String>,
    numbers: HashMap<String, u16>,
    /// With a queue.
    waiting: SmallVec<[ClassId; 4]>,
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
    pub(crate) fn at(&self, id: ClassId) -> &Class {
        &self.list[id as usize]
    }

    fn at_mut(&mut self, id: ClassId) -> &mut Class {
        &mut self.list[id as usize]
    }

    /// Quantities by label numbers. A label that is not in the table has none.
    pub(crate) fn demand(&self, resources: &Resources) -> Demand {
        let number = |name: &String| self.numbers.get(name).copied().unwrap_or(UNKNOWN);
        let labels = resources.labels.iter();
        let mut labels: SmallVec<[(u16, i64); 2]> =
            labels.map(|(name, amount)| (number(name), *amount)).collect();
        labels.sort_unstable();
        Demand { cpus: resources.cpus, labels }
    }

    pub(crate) fn enter(&mut self, key: ClassKey) -> ClassId {
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
    pub(crate) fn held(&self, id: ClassId) -> (i64, Vec<(String, i64)>) {
        let demand = &self.at(id).demand;
        let named =
            |&(label, amount): &(u16, i64)| (self.labels[usize::from(label)].clone(), amount);
        (demand.cpus, demand.labels.iter().map(named).collect())
    }

    /// The name of a label.
    pub(crate) fn label(&self, number: u16) -> &str {
        self.labels.get(usize::from(number)).map_or("?", String::as_str)
    }

    pub(crate) fn describe(&self, demand: &Demand) -> String {
        let mut text = format!("cpus {}", Amount(demand.cpus));
        for &(label, amount) in &demand.labels {
            text += &format!(", {} {}", self.label(label), Amount(amount));
        }
        text
    }

    pub(crate) fn describe_supply(&self, supply: &Supply) -> String {
        let labels = (0..).zip(&supply.labels).filter(|(_, amount)| **amount != 0);
        self.describe(&Demand { cpus: supply.cpus, labels: labels.map(|(l, a)| (l, *a)).collect() })
    }

    /// The class of tasks like this, if there is one.
    pub(crate) fn find(&self, key: &ClassKey) -> Option<ClassId> {
        self.known.get(key).copied()
    }

    /// Whether a sweep should come before another class.
    pub(crate) fn are_many(&self) -> bool {
        self.free.is_empty() && self.list.len() >= self.sweep_at.max(FEW)
    }

    pub(crate) fn has_label(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// Whether a sweep should come before another label.
    pub(crate) fn are_labels_many(&self) -> bool {
        let few = self.sweep_labels_at.max(FEW).min(usize::from(UNKNOWN));
        self.free_labels.is_empty() && self.labels.len() >= few
    }

    /// Gives a label a number.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn enter_label(&mut self, name: &str) -> Result<(), Error> {
        if self.free_labels.is_empty() && self.labels.len() >= usize::from(UNKNOWN) {
            return Err(Error::Quantity(format!(
                "`{name}` is one label too many: workers, and tasks that wait for workers to come, have {UNKNOWN} labels together at most"
            )));
        }
        let number = self.free_labels.pop().unwrap_or_else(|| {
            self.labels.push(String::new());
            (self.labels.len() - 1) as u16
        });
        name.clone_into(&mut self.labels[usize::from(number)]);
        self.numbers.insert(name.to_owned(), number);
        Ok(())
    }

    /// Frees classes other than these, and labels that no worker has and no task waits for.
    pub(crate) fn sweep<'a>(
        &mut self,
        in_use: impl Iterator<Item = ClassId>,
        totals: impl Iterator<Item = &'a Supply>,
    ) {
        let mut used = vec![false; self.list.len()];
        in_use.for_each(|class| used[class as usize] = true);
        let mut labels = vec![false; self.labels.len()];
        for supply in totals {
            let own = labels.iter_mut().zip(&supply.labels);
            own.for_each(|(used, amount)| *used |= *amount != 0);
        }
        let live = self.list.iter().zip(&used).filter(|(_, used)| **used);
        for &(label, _) in live.flat_map(|(class, _)| &class.demand.labels) {
            labels.iter_mut().skip(usize::from(label)).take(1).for_each(|used| *used = true);
        }
        self.known.retain(|_, class| used[*class as usize]);
        self.waiting.retain(|class| used[*class as usize]);
        self.free = (0..).zip(&used).filter(|(_, used)| !**used).map(|(id, _)| id).collect();
        for &id in &self.free {
            self.list[id as usize].queues = Default::default();
        }
        self.numbers.retain(|_, number| labels[usize::from(*number)]);
        self.free_labels = (0..).zip(&labels).filter(|(_, used)| !**used).map(|(l, _)| l).collect();
        for &label in &self.free_labels {
            self.labels[usize::from(label)] = String::new();
        }
        self.sweep_at = 2 * (self.list.len() - self.free.len());
        self.sweep_labels_at = 2 * (self.labels.len() - self.free_labels.len());
    }

    // ---- queues -----------------------------------------------------------------------------

    /// The classes that have tasks in a queue.
    #[inline]
    pub(crate) fn waiting(&self) -> &[ClassId] {
        &self.waiting
    }

    /// The queues that have tasks.
    pub(crate) fn filled(&self) -> SmallVec<[(ClassId, Lane); 8]> {
        let mut filled = SmallVec::new();
        for &class in &self.waiting {
            let queues = &self.at(class).queues;
            let lanes = LANES.into_iter().filter(|&lane| !queues[lane as usize].is_empty());
            filled.extend(lanes.map(|lane| (class, lane)));
        }
        filled
    }

    /// Puts a task into a queue. Whether it is the first there.
    pub(crate) fn queue(&mut self, class: ClassId, lane: Lane, key: Key, id: u64) -> bool {
        let queue = &mut self.list[class as usize].queues[lane as usize];
        queue.insert(key, id);
        let first = queue.get(0) == Some(id);
        if !self.waiting.contains(&class) {
            self.waiting.push(class);
        }
        first
    }

    /// What stands at this place of a queue.
    #[inline]
    pub(crate) fn entry(&self, class: ClassId, lane: Lane, at: usize) -> Option<u64> {
        self.at(class).queues[lane as usize].get(at)
    }

    /// Removes the entry at this place, if it still is this one.
    pub(crate) fn remove(&mut self, class: ClassId, lane: Lane, at: usize, id: u64) {
        self.list[class as usize].queues[lane as usize].remove(at, id);
    }

    /// Classes without tasks in a queue do not wait any more.
    pub(crate) fn drop_empty(&mut self) {
        let list = &self.list;
        let filled = |class: &ClassId| list[*class as usize].queues.iter().any(|q| !q.is_empty());
        self.waiting.retain(|class| filled(class));
    }

    /// The first of a queue could not be placed.
    pub(crate) fn note_front(&mut self, class: ClassId, lane: Lane, id: u64) {
        let front = &mut self.at_mut(class).fronts[lane as usize];
        if front.is_none_or(|(known, _)| known != id) {
            *front = Some((id, Instant::now()));
        }
    }

    /// Those first in a queue that could not be placed, where they stand, and since when.
    pub(crate) fn fronts(&self) -> impl Iterator<Item = (Lane, u64, Instant)> + '_ {
        let lanes =
            self.waiting.iter().flat_map(|&class| LANES.into_iter().zip(self.at(class).fronts));
        lanes.filter_map(|(lane, front)| front.map(|(id, since)| (lane, id, since)))
    }

    pub(crate) fn set_next(&mut self, class: ClassId, next: usize) {
        self.at_mut(class).next = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_labels(count: u16) -> Classes {
        let mut classes = Classes::default();
        for number in 0..count {
            classes.enter_label(&format!("lock-{number}")).unwrap();
        }
        classes
    }

    #[test]
    fn numbers_of_labels_do_not_wrap() {
        let mut classes = with_labels(UNKNOWN);
        assert!(classes.enter_label("lock-65535").is_err());
        let demand = |name: &str| classes.demand(&Resources::cpus(0.0).with(name, 1.0));
        let supply = Supply::of(&demand("lock-0"));
        assert!(supply.covers(&demand("lock-0")));
        for name in ["lock-1", "lock-65534", "lock-65535", "lock-65536", "other"] {
            assert!(!supply.covers(&demand(name)), "{name}");
        }
        assert_eq!(classes.describe(&demand("lock-65534")), "cpus 0, lock-65534 1");
    }

    #[test]
    fn a_sweep_frees_what_nobody_uses() {
        let mut classes = with_labels(3);
        let key = |classes: &Classes, label: &str| ClassKey {
            demand: classes.demand(&Resources::cpus(1.0).with(label, 1.0)),
            strategy: Strategy::Default,
            priority: 0,
        };
        let keys: Vec<_> = ["lock-0", "lock-1"].map(|label| key(&classes, label)).into();
        let [kept, swept] = [0, 1].map(|at: usize| classes.enter(keys[at].clone()));
        classes.queue(kept, Lane::Light, Key::default(), 7);
        let on_a_worker = Supply::of(&classes.demand(&Resources::cpus(1.0).with("lock-2", 1.0)));
        classes.sweep([kept].into_iter(), [&on_a_worker].into_iter());
        assert_eq!(classes.find(&keys[0]), Some(kept));
        assert_eq!(classes.find(&keys[1]), None);
        assert_eq!(classes.entry(kept, Lane::Light, 0), Some(7));
        let has = ["lock-0", "lock-1", "lock-2"].map(|label| classes.has_label(label));
        assert_eq!(has, [true, false, true]);
        assert_eq!(classes.enter(keys[1].clone()), swept, "its place is used again");
    }
}
