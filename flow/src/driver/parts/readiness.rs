//! Which tasks may start, and who may have memory before others.
//!
//! Two things run out: processes, since a body that waits keeps its own, and memory, since a value
//! stays until it has been used. Both are given so that what has begun can end: what a waiting body
//! needs goes before what is new, the deepest first, and what uses values goes before what makes
//! more of them.

use super::admission::Admission;
use super::nodes::Nodes;
use super::objects::Objects;
use super::processes::Processes;
use super::ranks::OrderKey;
use super::scheduler::Scheduler;
use super::store::Store;
use super::tasks::{Index, Phase, Task};
use super::weights::Weights;

/// Tasks that are looked at to find how much they need.
const LOOKED_AT: usize = 10_000;

/// What is looked at; nothing of it is changed.
#[derive(Clone, Copy)]
pub(crate) struct Readiness<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) nodes: &'a Nodes,
    pub(crate) processes: &'a Processes,
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) admission: &'a Admission,
    pub(crate) store: &'a Store,
}

impl<'a> Readiness<'a> {
    pub(crate) fn weights(&self) -> Weights<'a> {
        let (capacity, ..) = self.store.figures();
        Weights { objects: self.objects, nodes: self.nodes, capacity }
    }

    /// Whether a task may start now, if there is a worker for it.
    #[inline]
    pub(crate) fn may_start(&self, index: Index) -> bool {
        let Some(task) = self.objects.task(index) else { return true };
        self.has_process_for(task) && self.has_memory_for(index, task)
    }

    /// Whether a task may have a process now. Those that a body waits for get the last ones; the
    /// fewer are left, the fewer of them at the same time, so that one of them gets to its end.
    #[inline]
    fn has_process_for(&self, task: &Task) -> bool {
        let (taken, places) = self.processes.taken();
        let waiting = self.processes.blocked() + self.admission.waits().len();
        (taken * 2 <= places && waiting * 4 <= places)
            || self.has_scarce_process_for(task, taken, places, waiting)
    }

    fn has_scarce_process_for(
        &self,
        task: &Task,
        taken: usize,
        places: usize,
        waiting: usize,
    ) -> bool {
        let left = places - taken + self.processes.idle();
        if !task.awaited {
            // As many bodies as there are cpus may begin to wait at once.
            let at_once = (self.scheduler.whole_cpus() + 1).min(places / 2);
            let least = if self.nodes.waits(task.runs) { places / 4 } else { 0 };
            return waiting < ((places - at_once) / 2).max(1) && left > least;
        }
        if left * 4 > places {
            return true;
        }
        let awaited = |index| self.objects.task(index).is_some_and(|task| task.awaited);
        let begun = self
            .processes
            .busy_ones()
            .filter(|(_, process)| process.is_at_work() && process.body().is_some_and(awaited));
        begun.count() < (left / 2).max(1)
    }

    /// Whether a task may start, as far as memory goes. Bodies that wait for memory keep what they
    /// have made in memory of their own, so there are to be few of them.
    #[inline]
    fn has_memory_for(&self, index: Index, task: &Task) -> bool {
        self.admission.waits().is_empty() || self.has_scarce_memory_for(index, task)
    }

    fn has_scarce_memory_for(&self, index: Index, task: &Task) -> bool {
        let weights = self.weights();
        if weights.is_light(task) {
            return true;
        }
        let own = self.objects.order_key(index);
        let before_all = self.admission.waits().iter().all(|wait| {
            let body = self.processes.body_of(wait.place);
            body.is_none_or(|index| own < self.objects.order_key(index))
        });
        let many = self.admission.waits().len() >= (2 * self.scheduler.whole_cpus()).max(2);
        let at_work = || {
            self.processes.busy_ones().any(|(_, process)| {
                let body = process.body().and_then(|index| self.objects.task(index));
                process.is_at_work() && body.is_some_and(|task| weights.uses_much(task))
            })
        };
        match (before_all, many) {
            (true, false) => true,
            // One at a time.
            (true, true) => !at_work(),
            // When nothing goes on any more, whatever frees some.
            (false, _) if self.admission.is_starved() && weights.uses_much(task) => true,
            (false, _) => self.nodes.result(task.runs).is_none() && !many,
        }
    }

    // ---- memory -----------------------------------------------------------------------------

    /// Bytes that are to be left for those that are before this one: what they will add, and what
    /// one of them needs while it still has its inputs. For the driver, which is not in the order,
    /// the latter alone. Above `most` it does not matter how much.
    pub(crate) fn left_for_others(
        &self,
        who: Option<(OrderKey, Index)>,
        usual: u64,
        most: u64,
    ) -> u64 {
        let Some(order) = self.objects.order() else { return 0 };
        let weights = self.weights();
        let (mut more, mut at_once) = (0u64, 0u64);
        // Among so many there is one of each kind; the rest makes no difference.
        for (&order_key, &index) in order.iter().take(LOOKED_AT) {
            if who.is_some_and(|(own, _)| order_key >= own) || more.saturating_add(at_once) > most {
                break;
            }
            let Some(task) = self.objects.task(index) else { continue };
            // What it was given already is no longer to be left.
            let requests = weights.expected(task, usual).saturating_sub(self.given(task));
            let back = weights.gives_back(task);
            if who.is_some() {
                more = more.saturating_add(requests.saturating_sub(back));
            }
            at_once = at_once.max(requests.min(back));
        }
        more.saturating_add(at_once)
    }

    /// Bytes that the body of a task has been given.
    fn given(&self, task: &Task) -> u64 {
        let Phase::Posted { place, seq } = task.phase else { return 0 };
        let process = self.processes.at(place);
        process.oldest().filter(|(oldest, _)| *oldest == seq).map_or(0, |_| process.given)
    }

    /// Whether nobody who is before this one could ask for memory before long.
    pub(crate) fn is_first(&self, order_key: OrderKey, own: Index, bytes: u64) -> bool {
        let Some(order) = self.objects.order() else { return true };
        let weights = self.weights();
        order.iter().take_while(|(other, _)| **other < order_key).all(|(_, &index)| {
            let Some(task) = self.objects.task(index) else { return true };
            index == own
                || match task.phase {
                    Phase::Posted { place, .. } => {
                        !self.processes.at(place).waits.is_empty()
                            || weights.expected(task, bytes) <= self.given(task)
                    }
                    Phase::Queued => !self.scheduler.could_start(task.class, self.processes),
                    Phase::AtActor | Phase::Waiting | Phase::Backoff | Phase::Finding => true,
                }
        })
    }

    /// Whether the end of a body, or what it lets go before, would give memory back.
    pub(crate) fn could_free(&self, place: u16) -> bool {
        let process = self.processes.at(place);
        let weights = self.weights();
        let placed = |index: Index| weights.weight(index) > 0;
        let inputs = process.body().and_then(|index| self.objects.task(index));
        process.given > 0
            || process.kept.keys().any(|&index| placed(index))
            || inputs.is_some_and(|task| task.held.iter().any(|&index| placed(index)))
    }

    /// Whether any body goes on by itself, or is about to begin.
    pub(crate) fn is_any_at_work(&self) -> bool {
        self.processes.busy_ones().any(|(_, process)| process.is_at_work())
            || self.objects.next_backoff().is_some()
            || self.processes.is_any_starting()
    }

    /// Whether so many bytes would be left for those before this one (`None`: the driver), if it
    /// had these.
    pub(crate) fn leaves_enough(&self, bytes: u64, who: Option<(OrderKey, Index)>) -> bool {
        let (capacity, used) = self.store.main_figures();
        // The driver comes after all who wait.
        let waiting: u64 = match who {
            None => self.admission.waits().iter().map(|wait| wait.bytes).sum(),
            Some(_) => 0,
        };
        let Some(most) = capacity.checked_sub(used + waiting + bytes) else { return false };
        self.left_for_others(who, bytes, most) <= most
    }
}
