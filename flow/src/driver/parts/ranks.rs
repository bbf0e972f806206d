//! Where a task stands among others: its rank in its family, and the queues of a class.

use std::cmp::Reverse;
use std::collections::VecDeque;

/// The order in which memory is given: families (a task, what takes its value, what its body
/// calls) by age; in a family what is called before its caller, and what takes a value before what
/// makes one.
pub(crate) type OrderKey = (u64, Reverse<u32>, Reverse<u32>, u64);

/// Where a task stands in its family.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rank {
    /// The number of the family's oldest task.
    pub(crate) age: u64,
    /// How many bodies are above it.
    pub(crate) depth: u32,
    /// How many tasks are before it, by its arguments.
    pub(crate) level: u32,
}

/// The queues of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Lane {
    /// A body waits for it.
    Awaited = 0,
    /// It is not known to need much memory, or it uses values.
    Light = 1,
    /// It makes a value, and uses none.
    #[default]
    Heavy = 2,
}

pub(crate) const LANES: [Lane; 3] = [Lane::Awaited, Lane::Light, Lane::Heavy];

/// Deepest first among the awaited; by number otherwise.
pub(crate) type Key = (Reverse<u32>, Reverse<u32>, u64);

/// Tasks in order. One that has left is found out when it is looked at.
#[derive(Default)]
pub(crate) struct Queue(VecDeque<(Key, u64)>);

impl Queue {
    pub(crate) fn insert(&mut self, key: Key, id: u64) {
        if self.0.back().is_none_or(|(last, _)| *last <= key) {
            self.0.push_back((key, id));
        } else {
            let at = self.0.partition_point(|(other, _)| *other <= key);
            self.0.insert(at, (key, id));
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<u64> {
        self.0.get(at).map(|(_, id)| *id)
    }

    /// Removes the entry at this place, if it still is this one.
    pub(crate) fn remove(&mut self, at: usize, id: u64) {
        if self.get(at) == Some(id) {
            if at == 0 {
                self.0.pop_front()
            } else {
                self.0.remove(at)
            };
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
