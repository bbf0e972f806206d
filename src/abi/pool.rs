//! Argument lists, kept for reuse by the thread that dropped them.
//!
//! A submit makes and drops one builder a task. Taking its memory from here instead of the
//! allocator, already initialised, is a third of what such a submit costs.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::{ContinuousTensor, TensorArgType};

/// Lists that a thread keeps, at most.
const SPARE: u32 = 32;
/// Room for that many tensors, and as many scalars, is taken at first.
const ROOM: usize = 8;
/// A list with room for more than that is not kept.
const LARGE: usize = 64;

thread_local! {
    static SPARES: Cell<Option<Box<List>>> = const { Cell::new(None) };
}

/// Vectors, since a list is used again: they have their memory already.
#[derive(Debug)]
pub(super) struct List {
    pub(super) tensors: Vec<ContinuousTensor>,
    /// One a tensor.
    pub(super) tags: Vec<TensorArgType>,
    pub(super) scalars: Vec<u64>,
    pub(super) misplaced: bool,
    /// Of a spare one: the one below it, and how many there are below.
    below: Option<Box<List>>,
    height: u32,
}

impl List {
    #[cold]
    fn new() -> Box<Self> {
        Box::new(Self {
            tensors: Vec::with_capacity(ROOM),
            tags: Vec::with_capacity(ROOM),
            scalars: Vec::with_capacity(ROOM),
            misplaced: false,
            below: None,
            height: 0,
        })
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors
            && self.tags == other.tags
            && self.scalars == other.scalars
            && self.misplaced == other.misplaced
    }
}

impl Eq for List {}

/// A list that goes back to its thread when it is dropped. Moving it moves a pointer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pooled(ManuallyDrop<Box<List>>);

impl Default for Pooled {
    #[inline]
    fn default() -> Self {
        let taken = SPARES.try_with(|spares| {
            let mut list = spares.take()?;
            if list.height > 0 {
                list.height = 0;
                spares.set(list.below.take());
            }
            Some(list)
        });
        Self(ManuallyDrop::new(taken.ok().flatten().unwrap_or_else(List::new)))
    }
}

impl Clone for Pooled {
    #[inline]
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.tensors.extend_from_slice(&self.tensors);
        copy.tags.extend_from_slice(&self.tags);
        copy.scalars.extend_from_slice(&self.scalars);
        copy.misplaced = self.misplaced;
        copy
    }
}

impl Deref for Pooled {
    type Target = List;

    #[inline(always)]
    fn deref(&self) -> &List {
        &self.0
    }
}

impl DerefMut for Pooled {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut List {
        &mut self.0
    }
}

impl Drop for Pooled {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: taken once, here; the value is not used after its drop.
        let mut list = unsafe { ManuallyDrop::take(&mut self.0) };
        if list.tensors.capacity() > LARGE || list.scalars.capacity() > LARGE {
            return drop_large(list);
        }
        list.tensors.clear();
        list.tags.clear();
        list.scalars.clear();
        list.misplaced = false;
        // A thread that is ending has no spares any more; the list is freed then.
        let _ = SPARES.try_with(|spares| match spares.take() {
            None => spares.set(Some(list)),
            Some(below) => put_on(spares, below, list),
        });
    }
}

#[cold]
#[inline(never)]
fn drop_large(list: Box<List>) {
    drop(list);
}

/// Puts a list on those that a thread has already.
#[inline(never)]
fn put_on(spares: &Cell<Option<Box<List>>>, below: Box<List>, mut list: Box<List>) {
    let height = below.height;
    if height + 1 == SPARE {
        spares.set(Some(below));
    } else {
        (list.below, list.height) = (Some(below), height + 1);
        spares.set(Some(list));
    }
}
