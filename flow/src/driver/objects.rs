//! The table of objects: values that exist or will, who holds them, who waits for them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::order::Rank;
use super::store::{BlockId, Store};
use super::tasks::{Caller, Task};
use crate::protocol::error::TaskError;
use crate::protocol::handle::Name;

/// An object's place in the table.
pub(super) type Index = u32;

/// What an object is.
#[derive(Clone)]
pub(super) enum Value {
    /// Nothing yet: its task goes on.
    Pending,
    /// Small, and kept here.
    Inline(SmallVec<[u8; 32]>),
    /// In the values. The object has a use of the block.
    Placed { block: BlockId, address: u64, len: u64 },
    /// Why there is none.
    Failed(Arc<TaskError>),
}

impl Value {
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending)
    }
}

/// Who is to be told when an object is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiter {
    /// A process that waits, by the number of its ask.
    Process(u16, u64),
    /// A wait set, and which of its members this is.
    Set(u32, u64),
}

pub(super) struct Object {
    generation: u32,
    /// Handles of the driver, tasks that need it, values that name it, processes that keep it.
    pub(super) holds: u32,
    /// The number of its task, for people; 0 for a block.
    pub(super) number: u64,
    pub(super) value: Value,
    /// Its task's full name, and where that stands in its family.
    pub(super) node: Option<&'static str>,
    pub(super) rank: Rank,
    /// Incomplete tasks that take its value.
    pub(super) users: u32,
    /// Objects that the value names.
    pub(super) children: Vec<Index>,
    pub(super) waiters: SmallVec<[Waiter; 1]>,
    /// Tasks that need it, by name: those that failed meanwhile may be gone.
    pub(super) dependents: SmallVec<[u64; 2]>,
    /// Gone when the value is there.
    pub(super) task: Option<Box<Task>>,
    /// The block of a value that was freed by hand: whoever reads it may still do so.
    pub(super) lost: Option<BlockId>,
    /// Whether the value was a block of elements, made by hand.
    pub(super) shared: bool,
}

#[derive(Default)]
pub(super) struct Objects {
    slots: Vec<Object>,
    free: Vec<Index>,
    /// In use.
    pub(super) live: usize,
    /// By name: incomplete tasks that only they themselves hold, and whose caller is gone.
    pub(super) unwanted: Vec<u64>,
}

impl Objects {
    /// A new object with one hold.
    #[inline]
    pub(super) fn add(&mut self, number: u64, value: Value) -> Index {
        self.live += 1;
        if let Some(index) = self.free.pop() {
            let object = &mut self.slots[index as usize];
            object.holds = 1;
            object.number = number;
            object.value = value;
            object.node = None;
            object.rank = Rank::default();
            object.users = 0;
            object.shared = false;
            return index;
        }
        self.slots.push(Object {
            generation: 1,
            holds: 1,
            number,
            value,
            node: None,
            rank: Rank::default(),
            users: 0,
            children: Vec::new(),
            waiters: SmallVec::new(),
            dependents: SmallVec::new(),
            task: None,
            lost: None,
            shared: false,
        });
        self.slots.len() as Index - 1
    }

    /// The name by which handles know it.
    #[inline]
    pub(super) fn id(&self, index: Index) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    /// The same, and its number for people.
    #[inline]
    pub(super) fn name(&self, index: Index) -> Name {
        Name { id: self.id(index), number: self.slots[index as usize].number }
    }

    /// The object that handles know by this name, if it still is there.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<Index> {
        let index = id as u32;
        let object = self.slots.get(index as usize)?;
        (u64::from(object.generation) == id >> 32 && object.holds > 0).then_some(index)
    }

    #[inline]
    pub(super) fn set_task(&mut self, index: Index, task: Box<Task>) {
        self.slots[index as usize].task = Some(task);
    }

    #[inline]
    pub(super) fn at(&self, index: Index) -> &Object {
        &self.slots[index as usize]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, index: Index) -> &mut Object {
        &mut self.slots[index as usize]
    }

    #[inline]
    pub(super) fn task(&self, index: Index) -> Option<&Task> {
        self.slots[index as usize].task.as_deref()
    }

    #[inline]
    pub(super) fn task_mut(&mut self, index: Index) -> Option<&mut Task> {
        self.slots[index as usize].task.as_deref_mut()
    }

    pub(super) fn hold(&mut self, index: Index) {
        self.slots[index as usize].holds += 1;
    }

    /// Lets one hold go; the last one frees the value and lets go of what that names. A task that
    /// goes on holds its own object.
    pub(super) fn unhold(&mut self, index: Index, store: &mut Store) {
        let object = &mut self.slots[index as usize];
        debug_assert!(object.holds > 0);
        object.holds = object.holds.saturating_sub(1);
        if object.holds > 0 {
            return self.note_unwanted(index);
        }
        let mut open = self.free_one(index, store);
        // Children may be many and deep: no recursion.
        while let Some(child) = open.pop() {
            let object = &mut self.slots[child as usize];
            object.holds = object.holds.saturating_sub(1);
            if object.holds == 0 {
                open.extend(self.free_one(child, store));
            } else {
                self.note_unwanted(child);
            }
        }
    }

    /// Whether nobody but the task itself is left who holds it, and its caller is gone.
    #[inline]
    pub(super) fn is_unwanted(&self, index: Index) -> bool {
        let object = &self.slots[index as usize];
        object.holds == 1 && object.task.as_ref().is_some_and(|task| task.caller == Caller::Gone)
    }

    #[inline]
    pub(super) fn note_unwanted(&mut self, index: Index) {
        if self.is_unwanted(index) {
            self.unwanted.push(self.id(index));
        }
    }

    /// Nobody holds it: what its value names.
    #[inline]
    fn free_one(&mut self, index: Index, store: &mut Store) -> Vec<Index> {
        let object = &mut self.slots[index as usize];
        if let Value::Placed { block, .. } = object.value {
            store.release(block);
        }
        if let Some(block) = object.lost.take() {
            store.release(block);
        }
        object.value = Value::Pending;
        object.task = None;
        object.waiters.clear();
        object.dependents.clear();
        object.generation = object.generation.wrapping_add(1).max(1);
        self.free.push(index);
        self.live -= 1;
        std::mem::take(&mut object.children)
    }

    /// Every object in use.
    pub(super) fn indices(&self) -> impl Iterator<Item = Index> + '_ {
        (0..self.slots.len() as Index).filter(|&index| self.slots[index as usize].holds > 0)
    }
}
