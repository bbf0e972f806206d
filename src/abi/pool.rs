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
    tensors: Vec<ContinuousTensor>,
    /// One a tensor.
    tags: Vec<TensorArgType>,
    /// Room that both have: no more than either capacity.
    room: usize,
    scalars: Vec<u64>,
    /// [`TOO_LARGE`], [`MISPLACED`], [`UNORDERED`]: 0 of most.
    rare: u8,
    /// Of a spare one: the one below it, and how many there are below.
    below: Option<Box<List>>,
    height: u32,
}

/// Too large to be kept.
const TOO_LARGE: u8 = 1;
/// A tensor was to come after a scalar.
pub(super) const MISPLACED: u8 = 2;
/// A tensor is, or was, NO_DEP.
pub(super) const UNORDERED: u8 = 4;

impl List {
    #[cold]
    fn new() -> Box<Self> {
        let mut list = Box::new(Self {
            tensors: Vec::with_capacity(ROOM),
            tags: Vec::with_capacity(ROOM),
            room: 0,
            scalars: Vec::with_capacity(ROOM),
            rare: 0,
            below: None,
            height: 0,
        });
        list.note_room();
        list
    }

    #[inline(always)]
    pub(super) fn tensors(&self) -> &[ContinuousTensor] {
        &self.tensors
    }

    #[inline(always)]
    pub(super) fn tags(&self) -> &[TensorArgType] {
        &self.tags
    }

    #[inline(always)]
    pub(super) fn scalars(&self) -> &[u64] {
        &self.scalars
    }

    /// Tensors, whose tags remain as they are.
    #[inline(always)]
    pub(super) fn tensors_mut(
        &mut self,
    ) -> impl Iterator<Item = (&mut ContinuousTensor, TensorArgType)> {
        self.tensors.iter_mut().zip(self.tags.iter().copied())
    }

    /// A tensor and its tag.
    #[inline(always)]
    pub(super) fn push(&mut self, tensor: ContinuousTensor, tag: TensorArgType) {
        if tag == TensorArgType::NoDep {
            self.rare |= UNORDERED;
        }
        let count = self.tensors.len();
        if count == self.room {
            self.grow();
        }
        // SAFETY: there is room for both (`room`), and they are written before they count.
        unsafe {
            self.tensors.as_mut_ptr().add(count).write(tensor);
            self.tensors.set_len(count + 1);
            self.tags.as_mut_ptr().add(count).write(tag);
            self.tags.set_len(count + 1);
        }
    }

    /// Makes room for a tensor. It is not given that tensor, which can so stay in registers.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.tensors.reserve(1);
        self.tags.reserve(1);
        self.note_room();
    }

    #[inline(always)]
    pub(super) fn push_scalar(&mut self, scalar: u64) {
        if self.scalars.len() == self.scalars.capacity() {
            return self.push_scalar_beyond(scalar);
        }
        self.scalars.push(scalar);
    }

    #[cold]
    #[inline(never)]
    fn push_scalar_beyond(&mut self, scalar: u64) {
        self.scalars.push(scalar);
        self.note_room();
    }

    /// After one of the vectors has grown.
    #[cold]
    fn note_room(&mut self) {
        self.room = self.tensors.capacity().min(self.tags.capacity());
        let large = self.tensors.capacity() > LARGE || self.scalars.capacity() > LARGE;
        if large {
            self.rare |= TOO_LARGE;
        }
    }

    /// Whether there is such a tensor.
    pub(super) fn set_tag(&mut self, index: usize, tag: TensorArgType) -> bool {
        let Some(place) = self.tags.get_mut(index) else { return false };
        *place = tag;
        if tag == TensorArgType::NoDep {
            self.rare |= UNORDERED;
        }
        true
    }

    /// Notes what it is, of what most are not.
    pub(super) fn note(&mut self, rare: u8) {
        self.rare |= rare;
    }

    /// Whether it is this, of what most are not.
    #[inline(always)]
    pub(super) fn is(&self, rare: u8) -> bool {
        self.rare & rare != 0
    }

    #[inline(always)]
    pub(super) fn has_room(&self, tensors: usize, scalars: usize) -> bool {
        tensors <= self.room - self.tensors.len()
            && scalars <= self.scalars.capacity() - self.scalars.len()
    }

    #[cold]
    pub(super) fn try_grow(&mut self, tensors: usize, scalars: usize) -> bool {
        let grown = self.tensors.try_reserve(tensors).is_ok()
            && self.tags.try_reserve(tensors).is_ok()
            && self.scalars.try_reserve(scalars).is_ok();
        self.note_room();
        grown
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors
            && self.tags == other.tags
            && self.scalars == other.scalars
            && self.is(MISPLACED) == other.is(MISPLACED)
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
        copy.note(self.rare & !TOO_LARGE);
        copy.note_room();
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
        give_back(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}

impl Pooled {
    /// As its drop, in line.
    #[inline(always)]
    pub(super) fn give_back(self) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: taken once, here; there is no drop of this value.
        give_back(unsafe { ManuallyDrop::take(&mut this.0) });
    }
}

/// Keeps a list, empty, for the next one who wants one on this thread.
#[inline(always)]
fn give_back(mut list: Box<List>) {
    if list.rare != 0 {
        return give_back_rare(list);
    }
    list.tensors.clear();
    list.tags.clear();
    list.scalars.clear();
    // A thread that is ending has no spares any more; the list is freed then.
    let _ = SPARES.try_with(|spares| match spares.take() {
        None => spares.set(Some(list)),
        Some(below) => put_on(spares, below, list),
    });
}

#[cold]
#[inline(never)]
fn give_back_rare(mut list: Box<List>) {
    list.rare = 0;
    list.note_room();
    if !list.is(TOO_LARGE) {
        give_back(list);
    }
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
