//! What tasks are thought to need of the memory, and to give back to it.

use super::nodes::Nodes;
use super::objects::{Objects, Value};
use super::ranks::Lane;
use super::tasks::{Index, Phase, Task};
use crate::protocol::value::OWN_PAGES;

/// What is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) nodes: &'a Nodes,
    /// Bytes of memory in all.
    pub(crate) capacity: u64,
}

impl Weights<'_> {
    /// Whether so many bytes count: below, they are taken without regard to the order.
    pub(crate) fn is_large(&self, bytes: u64) -> bool {
        bytes >= OWN_PAGES.min(self.capacity / 64)
    }

    /// Bytes of memory that a value has, or will have.
    pub(crate) fn weight(&self, index: Index) -> u64 {
        let object = self.objects.at(index);
        match &object.value {
            Value::Placed { len, .. } => *len,
            Value::Inline(_) => {
                object.children.iter().map(|&child| self.objects.in_memory(child)).sum()
            }
            Value::Failed(_) => 0,
            Value::Pending => {
                let task = self.objects.task(index);
                task.and_then(|task| self.nodes.result(task.runs)).unwrap_or(0)
            }
        }
    }

    /// Whether it takes a value that counts.
    pub(crate) fn uses_much(&self, task: &Task) -> bool {
        task.needed().iter().any(|&input| self.is_large(self.weight(input)))
    }

    /// Whether it takes a value that is there, and counts.
    pub(crate) fn uses_much_now(&self, task: &Task) -> bool {
        task.needed().iter().any(|&input| self.is_large(self.objects.in_memory(input)))
    }

    /// Whether calls of its node are known to ask for little.
    pub(crate) fn is_light(&self, task: &Task) -> bool {
        self.nodes.result(task.runs).is_some_and(|bytes| !self.is_large(bytes))
    }

    /// The queue of its class that is for it.
    #[inline]
    pub(crate) fn lane_of(&self, task: &Task) -> Lane {
        if task.awaited {
            return Lane::Awaited;
        }
        let makes_much = self.nodes.result(task.runs).is_some_and(|bytes| self.is_large(bytes));
        if !makes_much || self.uses_much(task) { Lane::Light } else { Lane::Heavy }
    }

    /// Bytes that a task is thought to ask for: as calls of its node have. One whose node has not
    /// run yet: as much as it uses; or if it is at work and uses nothing, as much as is `usual`.
    pub(crate) fn expected(&self, task: &Task, usual: u64) -> u64 {
        if let Some(known) = self.nodes.result(task.runs) {
            return known;
        }
        let uses: u64 = task.needed().iter().map(|&input| self.weight(input)).sum();
        match task.phase {
            Phase::Posted { .. } if uses == 0 => usual,
            _ => uses,
        }
    }

    /// Bytes that the end of a task gives back: of its inputs, its part.
    pub(crate) fn gives_back(&self, task: &Task) -> u64 {
        let part = |&input: &Index| {
            let users = u64::from(self.objects.at(input).users.max(1));
            self.weight(input) / users
        };
        task.needed().iter().map(part).sum()
    }
}
