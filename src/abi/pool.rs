//! Argument lists, kept for reuse by the thread that dropped them.
//!
//! A submit makes and drops one builder a task. Taking its memory from here instead of the
//! allocator, already initialised, is a third of what such a submit costs.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use smallvec::SmallVec;

use super::{ContinuousTensor, TensorArgType};

/// Lists that a thread keeps, at most.
const SPARE: usize = 32;

thread_local! {
    #[allow(clippy::vec_box, reason = "a list is moved between here and a builder as a pointer")]
    static SPARES: RefCell<Vec<Box<List>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) tensors: SmallVec<[ContinuousTensor; 4]>,
    pub(super) tags: SmallVec<[TensorArgType; 4]>,
    pub(super) scalars: SmallVec<[u64; 4]>,
    pub(super) misplaced: bool,
}

impl List {
    #[inline]
    fn clear(&mut self) {
        // SAFETY: the elements are plain values, so to forget them is to drop them; `clear` would
        // walk them one by one.
        unsafe {
            self.tensors.set_len(0);
            self.tags.set_len(0);
            self.scalars.set_len(0);
        }
        self.misplaced = false;
    }
}

/// A list that goes back to its thread when it is dropped. Moving it moves a pointer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pooled(ManuallyDrop<Box<List>>);

impl Default for Pooled {
    #[inline]
    fn default() -> Self {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
        Self(ManuallyDrop::new(spare.unwrap_or_default()))
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
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here; the value is not used after its drop.
        let mut list = unsafe { ManuallyDrop::take(&mut self.0) };
        if list.tensors.spilled() || list.scalars.spilled() {
            return; // a large one is not kept
        }
        // A thread that is ending has no spares any more; the list is freed then.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                list.clear();
                spares.push(list);
            }
        });
    }
}
