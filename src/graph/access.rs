//! What a map is asked and what it answers: the accesses of a task, and the tasks to wait for.

use std::ops::Range;

use crate::abi::TensorArgType;
use crate::ring::EdgeKind;

/// One tensor of a task, as the map sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its bytes. Empty ones are nothing to strict hazards; to compatible ones, which go by the first
    /// address alone, they are as good as others.
    pub bytes: Range<u64>,
    /// What the task does with them.
    pub tag: TensorArgType,
    /// The segment that was found at the look-up, for the entry that follows. Only a hint.
    pub(super) seen: u32,
}

impl Access {
    /// What a task does with a range of bytes.
    #[inline]
    pub fn new(bytes: Range<u64>, tag: TensorArgType) -> Self {
        Self { bytes, tag, seen: u32::MAX }
    }

    /// Whether strict hazards look at it.
    #[inline]
    pub(super) fn counts(&self) -> bool {
        self.tag != TensorArgType::NoDep && !self.bytes.is_empty()
    }
}

/// A task to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Producer {
    /// Its number.
    pub task: u64,
    /// Whether its failure is the consumer's.
    pub data: bool,
}

impl Producer {
    /// The kind of the edge.
    pub fn kind(self) -> EdgeKind {
        if self.data { EdgeKind::Data } else { EdgeKind::Order }
    }
}

/// Earlier tasks that a task must wait for, each once. Reused from submit to submit.
#[derive(Debug, Default)]
pub struct Dependencies {
    found: Vec<Producer>,
}

impl Dependencies {
    /// Adds one; `data` says that its failure is the consumer's.
    #[inline]
    pub fn add(&mut self, task: u64, data: bool) {
        match self.found.last_mut() {
            Some(last) if last.task == task => last.data |= data,
            _ => self.found.push(Producer { task, data }),
        }
    }

    /// Forgets all.
    #[inline]
    pub fn clear(&mut self) {
        self.found.clear();
    }

    /// Sorted by task, each task once; a data dependency outweighs mere order.
    #[inline]
    pub fn settle(&mut self) -> &[Producer] {
        if self.found.len() > 1 {
            self.found.sort_unstable();
            self.found.dedup_by(|later, kept| {
                let same = later.task == kept.task;
                kept.data |= same && later.data;
                same
            });
        }
        &self.found
    }
}
