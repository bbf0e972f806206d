//! The order in which tasks are placed and given memory, and which of them may start.
//!
//! Two things run out: processes, since a body that waits keeps its own, and memory, since a value
//! stays until it has been used. Both are given so that what has begun can end: what a waiting body
//! needs goes before what is new, the deepest first, and what uses values goes before what makes
//! more of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::State;
use super::objects::{Index, Value};
use super::scheduler::ClassId;
use super::tasks::Phase;
use crate::protocol::node::number_of;
use crate::protocol::resources::ONE;
use crate::protocol::value::OWN_PAGES;

/// The order in which memory is given: families (a task, what takes its value, what its body
/// calls) by age; in a family what is called before its caller, and what takes a value before what
/// makes one.
pub(super) type OrderKey = (u64, Reverse<u32>, Reverse<u32>, u64);

/// Tasks that are looked at to find how much they need.
const LOOKED_AT: usize = 10_000;

/// Where a task stands in its family.
#[derive(Clone, Copy, Default)]
pub(super) struct Rank {
    /// The number of the family's oldest task.
    pub(super) age: u64,
    /// How many bodies are above it.
    pub(super) depth: u32,
    /// How many tasks are before it, by its arguments.
    pub(super) level: u32,
}

/// The queues of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Lane {
    /// A body waits for it.
    Awaited = 0,
    /// It is not known to need much memory, or it uses values.
    Light = 1,
    /// It makes a value, and uses none.
    #[default]
    Heavy = 2,
}

pub(super) const LANES: [Lane; 3] = [Lane::Awaited, Lane::Light, Lane::Heavy];

/// Deepest first among the awaited; by number otherwise.
pub(super) type Key = (Reverse<u32>, Reverse<u32>, u64);

/// Tasks in order. One that has left is found out when it is looked at.
#[derive(Default)]
pub(super) struct Queue(VecDeque<(Key, u64)>);

impl Queue {
    pub(super) fn insert(&mut self, key: Key, id: u64) {
        if self.0.back().is_none_or(|(last, _)| *last <= key) {
            self.0.push_back((key, id));
        } else {
            let at = self.0.partition_point(|(other, _)| *other <= key);
            self.0.insert(at, (key, id));
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<u64> {
        self.0.get(at).map(|(_, id)| *id)
    }

    /// Removes the entry at this place, if it still is this one.
    pub(super) fn remove(&mut self, at: usize, id: u64) {
        if self.get(at) == Some(id) {
            if at == 0 {
                self.0.pop_front()
            } else {
                self.0.remove(at)
            };
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Incomplete tasks that may ask for much, in their order. Kept only while memory is scarce.
pub(super) type TaskOrder = BTreeMap<OrderKey, Index>;

impl State {
    pub(super) fn order_key(&self, index: Index) -> OrderKey {
        let object = self.objects.at(index);
        let Rank { age, depth, level } = object.rank;
        (age, Reverse(depth), Reverse(level), object.number)
    }

    /// The rank of a new task. Producers that it waits for join its family if that is older.
    pub(super) fn rank(&mut self, number: u64, parent: Option<Index>, inputs: &[Index]) -> Rank {
        let mut rank = match parent {
            None => Rank { age: number, depth: 0, level: 0 },
            Some(parent) => {
                let above = self.objects.at(parent).rank;
                Rank { age: above.age, depth: above.depth.saturating_add(1), level: 0 }
            }
        };
        let mut mixed = false;
        for &input in inputs {
            let object = self.objects.at(input);
            // A block, or a value of the driver's own, is nobody's family; and one that is kept in
            // the table takes no room.
            let kept = match object.value {
                Value::Inline(_) => object.children.is_empty(),
                Value::Failed(_) => true,
                Value::Pending | Value::Placed { .. } => false,
            };
            if object.number == 0 || kept {
                continue;
            }
            rank.level = rank.level.max(object.rank.level.saturating_add(1));
            mixed |= object.rank.age != rank.age;
            rank.age = rank.age.min(object.rank.age);
        }
        if mixed {
            for &input in inputs {
                let object = self.objects.at(input);
                if object.rank.age > rank.age && object.task.is_some() {
                    self.change_rank(input, |rank_of| rank_of.age = rank.age);
                }
            }
        }
        rank
    }

    fn change_rank(&mut self, index: Index, change: impl FnOnce(&mut Rank)) {
        let old = self.order_key(index);
        change(&mut self.objects.at_mut(index).rank);
        let new = self.order_key(index);
        if let Some(task_order) = &mut self.task_order
            && task_order.remove(&old).is_some()
        {
            task_order.insert(new, index);
        }
    }

    // ---- queues ---------------------------------------------------------------------------------

    pub(super) fn lane_of(&self, index: Index) -> Lane {
        let Some(task) = self.objects.task(index) else { return Lane::Heavy };
        if task.awaited {
            return Lane::Awaited;
        }
        let makes = |bytes: u64| self.is_large(bytes);
        let light = !self.nodes[number_of(task.node) as usize].result.is_some_and(makes)
            || task.needed().iter().any(|&input| self.is_large(self.weight(input)));
        if light { Lane::Light } else { Lane::Heavy }
    }

    pub(super) fn key_of(&self, index: Index, lane: Lane) -> Key {
        let object = self.objects.at(index);
        match lane {
            Lane::Awaited => {
                (Reverse(object.rank.depth), Reverse(object.rank.level), object.number)
            }
            Lane::Light | Lane::Heavy => (Reverse(0), Reverse(0), object.number),
        }
    }

    /// A body waits for these: they, and what they need, go first from now on.
    pub(super) fn await_all(&mut self, ids: &[Index], depth: u32) {
        let mut open = ids.to_vec();
        while let Some(index) = open.pop() {
            let Some(task) = self.objects.task_mut(index) else { continue };
            if std::mem::replace(&mut task.awaited, true) {
                continue;
            }
            if task.remaining > 0 {
                open.extend_from_slice(task.needed());
            }
            let (phase, class, actor) = (task.phase, task.class, task.actor);
            self.change_rank(index, |rank| rank.depth = rank.depth.max(depth));
            match phase {
                Phase::Queued => drop(self.queue(class, index)),
                Phase::AtActor => {
                    open.extend(actor.into_iter().flat_map(|(actor, _)| self.actor_needs(actor)));
                }
                _ => {}
            }
        }
    }

    // ---- processes ------------------------------------------------------------------------------

    /// Whether a task may have a process now. Those that a body waits for get the last ones; the
    /// fewer are left, the fewer of them at the same time, so that one of them gets to its end.
    fn has_process_for(&self, index: Index) -> bool {
        let places = self.memory.places();
        let used = self.procs.len() - self.free_places.len();
        let waiting = self.blocked + self.memory_waits.len();
        if used * 2 <= places && waiting * 4 <= places {
            return true;
        }
        let Some(task) = self.objects.task(index) else { return true };
        let idle: usize = self.workers.iter().map(|worker| worker.idle.len()).sum();
        let left = places - used + idle;
        if !task.awaited {
            // As many bodies as there are cpus may begin to wait at once.
            let cpus: i64 = self.workers.iter().map(|worker| worker.total.cpus).sum();
            let at_once = (cpus.div_euclid(ONE) as usize + 1).min(places / 2);
            let nests = self.nodes[number_of(task.node) as usize].waits;
            let least = if nests { places / 4 } else { 0 };
            return waiting < ((places - at_once) / 2).max(1) && left > least;
        }
        if left * 4 > places {
            return true;
        }
        let begun = |place: &&u16| {
            let awaited = |index| self.objects.task(index).is_some_and(|task| task.awaited);
            self.is_at_work(**place) && self.body_of(**place).is_some_and(awaited)
        };
        self.busy.iter().filter(begun).count() < (left / 2).max(1)
    }

    /// Whether a process has a body that goes on by itself.
    pub(super) fn is_at_work(&self, place: u16) -> bool {
        let process = &self.procs[usize::from(place)];
        process.outstanding() > 0
            && process.waits.is_empty()
            && !self.memory_waits.iter().any(|wait| wait.place == place)
    }

    // ---- memory ---------------------------------------------------------------------------------

    /// Whether so many bytes count: below, they are taken without regard to the order.
    pub(super) fn is_large(&self, bytes: u64) -> bool {
        bytes >= OWN_PAGES.min(self.store.figures().0 / 64)
    }

    /// Bytes of memory that a value has, or will have.
    pub(super) fn weight(&self, index: Index) -> u64 {
        let object = self.objects.at(index);
        let own = |index: Index| match &self.objects.at(index).value {
            Value::Placed { len, .. } => *len,
            _ => 0,
        };
        match &object.value {
            Value::Placed { len, .. } => *len,
            Value::Inline(_) => object.children.iter().map(|&child| own(child)).sum(),
            Value::Failed(_) => 0,
            Value::Pending => {
                let node = object.task.as_ref().map(|task| number_of(task.node) as usize);
                node.and_then(|node| self.nodes[node].result).unwrap_or(0)
            }
        }
    }

    /// Bytes that a task is thought to ask for: as calls of its node have. One whose node has not
    /// run yet: as much as it uses; or if it is at work and uses nothing, as much as is `usual`.
    fn expected(&self, index: Index, usual: u64) -> u64 {
        let Some(task) = self.objects.task(index) else { return 0 };
        if let Some(known) = self.nodes[number_of(task.node) as usize].result {
            return known;
        }
        let uses: u64 = task.needed().iter().map(|&input| self.weight(input)).sum();
        match task.phase {
            Phase::Posted { .. } if uses == 0 => usual,
            _ => uses,
        }
    }

    /// Bytes that the end of a task gives back: of its inputs, its part.
    fn gives_back(&self, index: Index) -> u64 {
        let Some(task) = self.objects.task(index) else { return 0 };
        let part = |&input: &Index| {
            let users = u64::from(self.objects.at(input).users.max(1));
            self.weight(input) / users
        };
        task.needed().iter().map(part).sum()
    }

    /// Notes that a body has asked for so many bytes in all.
    pub(super) fn note_result(&mut self, index: Index, bytes: u64) {
        let Some(task) = self.objects.task(index) else { return };
        let result = &mut self.nodes[number_of(task.node) as usize].result;
        *result = Some(match *result {
            Some(known) if known > bytes => known - (known - bytes) / 8,
            _ => bytes,
        });
    }

    /// An incomplete task may be one that asks for much.
    pub(super) fn enter_order(&mut self, index: Index) {
        if self.task_order.is_none() {
            return;
        }
        let node = self.objects.task(index).map(|task| number_of(task.node) as usize);
        let known = node.and_then(|node| self.nodes[node].result);
        if known.is_none_or(|bytes| self.is_large(bytes)) {
            let order_key = self.order_key(index);
            if let Some(task_order) = &mut self.task_order {
                task_order.insert(order_key, index);
            }
        }
    }

    pub(super) fn leave_order(&mut self, index: Index) {
        if self.task_order.is_some() {
            let order_key = self.order_key(index);
            if let Some(task_order) = &mut self.task_order {
                task_order.remove(&order_key);
            }
        }
    }

    /// Memory is scarce from now on, or not any more.
    pub(super) fn track_order(&mut self, scarce: bool) {
        if scarce && self.task_order.is_none() {
            self.task_order = Some(TaskOrder::new());
            let open: Vec<Index> = self.objects.indices().collect();
            for index in open {
                if self.objects.task(index).is_some() {
                    self.enter_order(index);
                }
            }
        } else if !scarce {
            self.task_order = None;
        }
    }

    /// Bytes that are to be left for those that are before this one: what they will add, and what
    /// one of them needs while it still has its inputs. For the driver, which is not in the order,
    /// the latter alone. Above `most` it does not matter how much.
    pub(super) fn left_for_others(
        &self,
        who: Option<(OrderKey, Index)>,
        usual: u64,
        most: u64,
    ) -> u64 {
        let Some(task_order) = &self.task_order else { return 0 };
        let (mut more, mut at_once) = (0u64, 0u64);
        // Among so many there is one of each kind; the rest makes no difference.
        for (&order_key, &index) in task_order.iter().take(LOOKED_AT) {
            if who.is_some_and(|(own, _)| order_key >= own) || more.saturating_add(at_once) > most {
                break;
            }
            // What it was given already is no longer to be left.
            let requests = self.expected(index, usual).saturating_sub(self.given(index));
            let back = self.gives_back(index);
            if who.is_some() {
                more = more.saturating_add(requests.saturating_sub(back));
            }
            at_once = at_once.max(requests.min(back));
        }
        more.saturating_add(at_once)
    }

    /// Bytes that the body of a task has been given.
    fn given(&self, index: Index) -> u64 {
        match self.objects.task(index).map(|task| task.phase) {
            Some(Phase::Posted { place, seq }) => {
                let process = &self.procs[usize::from(place)];
                process.oldest().filter(|(oldest, _)| *oldest == seq).map_or(0, |_| process.given)
            }
            _ => 0,
        }
    }

    /// Whether anybody who is before this one could ask for memory before long.
    pub(super) fn is_first(&self, order_key: OrderKey, own: Index, bytes: u64) -> bool {
        let Some(task_order) = &self.task_order else { return true };
        task_order.iter().take_while(|(other, _)| **other < order_key).all(|(_, &index)| {
            let Some(task) = self.objects.task(index) else { return true };
            index == own
                || match task.phase {
                    Phase::Posted { place, .. } => {
                        !self.procs[usize::from(place)].waits.is_empty()
                            || self.expected(index, bytes) <= self.given(index)
                    }
                    Phase::Queued => !self.could_start(task.class),
                    Phase::AtActor | Phase::Waiting | Phase::Backoff => true,
                }
        })
    }

    fn could_start(&self, class: ClassId) -> bool {
        let demand = &self.classes.at(class).demand;
        self.workers.iter().any(|worker| !worker.is_paused() && worker.free.covers(demand))
    }

    /// Whether a task may start, as far as memory goes. Bodies that wait for memory keep what they
    /// have made in memory of their own, so there are to be few of them.
    fn has_memory_for(&self, index: Index) -> bool {
        if self.memory_waits.is_empty() {
            return true;
        }
        let Some(task) = self.objects.task(index) else { return true };
        let known = self.nodes[number_of(task.node) as usize].result;
        if known.is_some_and(|bytes| !self.is_large(bytes)) {
            return true;
        }
        let own = self.order_key(index);
        let waiting = |wait: &super::admission::MemoryWait| {
            self.body_of(wait.place).is_none_or(|index| own < self.order_key(index))
        };
        let before_all = self.memory_waits.iter().all(waiting);
        let cpus: i64 = self.workers.iter().map(|worker| worker.total.cpus).sum();
        let many = self.memory_waits.len() >= (2 * cpus.div_euclid(ONE) as usize).max(2);
        let uses = |index: Index| {
            let task = self.objects.task(index);
            task.is_some_and(|task| {
                task.needed().iter().any(|&one| self.is_large(self.weight(one)))
            })
        };
        let at_work =
            |place: &u16| self.is_at_work(*place) && self.body_of(*place).is_some_and(uses);
        match (before_all, many) {
            (true, false) => true,
            // One at a time.
            (true, true) => !self.busy.iter().any(at_work),
            // When nothing goes on any more, whatever frees some.
            (false, _) if self.starved_since.is_some() && uses(index) => true,
            (false, _) => known.is_none() && !many,
        }
    }

    /// Whether a task may start now, if there is a worker for it.
    #[inline]
    pub(super) fn may_start(&self, index: Index) -> bool {
        self.has_process_for(index) && self.has_memory_for(index)
    }
}
