//! Shared memory that lives until it is dropped.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, PoisonError};

use super::shared::Shared;
use crate::abi::{AbiError, ContinuousTensor, Element};
use crate::error::Error;
use crate::graph::TensorMap;
use crate::segment::Arena;

/// Buffers begin at multiples of this.
const ALIGN: u64 = 64;

/// The pages of freed buffers of at least this size go back to the machine.
const GIVE_BACK: u64 = 1 << 20;

/// A range of buffer space that somebody holds.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) bytes: Range<u64>,
    /// Grows with every buffer that is made.
    id: u64,
    /// The last task that names it, plus one.
    pub(super) last_use: AtomicU64,
}

/// The buffer space: what is free, what is held, what waits for its last task.
pub(super) struct Space {
    base: u64,
    capacity: u64,
    /// Free ranges by first address; neighbours are merged.
    free: BTreeMap<u64, u64>,
    /// Everything beyond was never used, so it is zero.
    touched: u64,
    /// Buffers made so far.
    made: u64,
    pub(super) held: Vec<Arc<Record>>,
    leaving: Vec<Arc<Record>>,
}

impl Space {
    pub(super) fn new(base: u64, capacity: u64) -> Self {
        let free = BTreeMap::from([(base, base + capacity)]);
        Self { base, capacity, free, touched: base, made: 0, held: Vec::new(), leaving: Vec::new() }
    }

    fn take(&mut self, bytes: u64, tail: u64, arena: &Arena) -> Option<(Arc<Record>, Range<u64>)> {
        self.collect(tail, arena);
        let need = bytes.max(1).checked_next_multiple_of(ALIGN)?;
        let (&start, &end) = self.free.iter().find(|&(&s, &e)| e - s >= need)?;
        self.free.remove(&start);
        if start + need < end {
            self.free.insert(start + need, end);
        }
        let used_before = start..(start + need).min(self.touched).max(start);
        self.touched = self.touched.max(start + need);
        let record = Arc::new(Record {
            bytes: start..start + need,
            id: self.made,
            last_use: AtomicU64::new(0),
        });
        self.made += 1;
        let at = self.held.partition_point(|r| r.bytes.start < start);
        self.held.insert(at, Arc::clone(&record));
        Some((record, used_before))
    }

    /// Frees what was dropped, once its last task has left the window.
    fn collect(&mut self, tail: u64, arena: &Arena) {
        let (free, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|record| record.last_use.load(Acquire) <= tail);
        self.leaving = stay;
        for record in free {
            let Range { mut start, mut end } = record.bytes.clone();
            if end - start >= GIVE_BACK {
                arena.forget(start, (end - start) as usize);
            }
            if let Some((&before, &its_end)) = self.free.range(..start).next_back()
                && its_end == start
            {
                self.free.remove(&before);
                start = before;
            }
            if let Some(its_end) = self.free.remove(&end) {
                end = its_end;
            }
            self.free.insert(start, end);
        }
    }

    fn leave(&mut self, record: &Arc<Record>) {
        self.held.retain(|held| !Arc::ptr_eq(held, record));
        self.leaving.push(Arc::clone(record));
    }

    fn used(&self) -> u64 {
        self.capacity - self.free.iter().map(|(s, e)| e - s).sum::<u64>()
    }
}

/// `len` elements of shared memory, zeroed when made. Every worker sees it at the same address.
///
/// Reading and writing it here while a task uses it gives torn values, never anything worse:
/// the methods copy. (A child that the host forks by itself does not have the memory.) Between runs, and for bytes that no unfinished task names, all is as written.
pub struct Buffer<T: Element> {
    shared: Arc<Shared>,
    record: Arc<Record>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    pub(super) fn new(shared: &Arc<Shared>, len: usize) -> Result<Self, Error> {
        if u32::try_from(len).is_err() {
            return Err(Error::Misuse("a buffer has at most 2^32 - 1 elements; make several"));
        }
        let bytes = (len as u64).checked_mul(size_of::<T>() as u64);
        let mut space = shared.space.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = shared.health.tail.load(Acquire);
        let Some((record, used_before)) =
            bytes.and_then(|bytes| space.take(bytes, tail, &shared.arena))
        else {
            return Err(Error::BufferSpace {
                asked: bytes.unwrap_or(u64::MAX),
                used: space.used(),
                capacity: space.capacity,
            });
        };
        debug_assert!(record.bytes.start >= space.base);
        shared.space_version.fetch_add(1, Release);
        drop(space);
        let count = (used_before.end - used_before.start) as usize;
        // SAFETY: the range is inside the buffer space, ours alone, and no task names it: its
        // former holder's last task has left the window.
        unsafe { pointer::<u8>(used_before.start).write_bytes(0, count) };
        Ok(Self { shared: Arc::clone(shared), record, len, element: PhantomData })
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first element, the same in every worker.
    pub fn address(&self) -> u64 {
        self.record.bytes.start
    }

    /// The first element, for code that wants a slice. Dereferencing is only sound while no
    /// unfinished task writes (or, to write through it, names) the elements.
    pub fn as_mut_ptr(&self) -> *mut T {
        pointer(self.address())
    }

    /// All of it, as a tensor of one dimension.
    pub fn tensor(&self) -> ContinuousTensor {
        let address = self.address();
        ContinuousTensor::from_raw(address, [self.len as u32, 0, 0, 0, 0], 1, T::DTYPE as u8)
    }

    /// The part that begins at element `first` and has this shape.
    ///
    /// # Errors
    /// The part is not inside the buffer; too many dimensions.
    pub fn view(&self, first: usize, shape: &[u32]) -> Result<ContinuousTensor, AbiError> {
        let offset = (first as u64).saturating_mul(size_of::<T>() as u64);
        let address = self.address().saturating_add(offset);
        let tensor = ContinuousTensor::new(address, shape, T::DTYPE)?;
        let end = (first as u64).saturating_add(tensor.elements()?);
        if end > self.len as u64 {
            return Err(AbiError::OutOfRange {
                what: "element",
                index: end as usize,
                count: self.len,
            });
        }
        Ok(tensor)
    }

    /// Copies `values` to the beginning.
    ///
    /// # Errors
    /// There are more values than elements.
    pub fn copy_from_slice(&self, values: &[T]) -> Result<(), AbiError> {
        if values.len() > self.len {
            let (index, count) = (values.len(), self.len);
            return Err(AbiError::OutOfRange { what: "element", index, count });
        }
        for (index, &value) in values.iter().enumerate() {
            // SAFETY: inside the buffer; volatile, since a task may look at the same time.
            unsafe { self.as_mut_ptr().add(index).write_volatile(value) };
        }
        Ok(())
    }

    /// A copy of all elements.
    pub fn to_vec(&self) -> Vec<T> {
        // SAFETY: inside the buffer; volatile, since a task may write at the same time.
        (0..self.len).map(|i| unsafe { self.as_mut_ptr().add(i).read_volatile() }).collect()
    }

    /// A copy of element `index`.
    pub fn get(&self, index: usize) -> Option<T> {
        // SAFETY: as in `to_vec`.
        (index < self.len).then(|| unsafe { self.as_mut_ptr().add(index).read_volatile() })
    }

    /// Writes element `index`.
    ///
    /// # Errors
    /// There is no such element.
    pub fn set(&self, index: usize, value: T) -> Result<(), AbiError> {
        if index >= self.len {
            return Err(AbiError::OutOfRange { what: "element", index, count: self.len });
        }
        // SAFETY: as in `copy_from_slice`.
        unsafe { self.as_mut_ptr().add(index).write_volatile(value) };
        Ok(())
    }
}

fn pointer<T>(address: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

impl<T: Element> From<&Buffer<T>> for ContinuousTensor {
    fn from(buffer: &Buffer<T>) -> Self {
        buffer.tensor()
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        let mut space = self.shared.space.lock().unwrap_or_else(PoisonError::into_inner);
        space.leave(&self.record);
        self.shared.space_version.fetch_add(1, Release);
    }
}

/// The submitter's own copy of what is held, so that a submit takes no lock.
#[derive(Default)]
pub(super) struct HeldBuffers {
    version: u64,
    known: bool,
    /// Buffers made before the last look.
    seen: u64,
    held: Vec<Arc<Record>>,
    last: usize,
}

impl HeldBuffers {
    #[inline]
    pub(super) fn refresh(&mut self, shared: &Shared, map: &mut TensorMap) {
        let version = shared.space_version.load(Acquire);
        if version != self.version || !self.known {
            let space = shared.space.lock().unwrap_or_else(PoisonError::into_inner);
            self.version = shared.space_version.load(Relaxed);
            self.held.clone_from(&space.held);
            // New ones may lie where others were: what was known of those bytes is not theirs.
            for record in self.held.iter().filter(|record| record.id >= self.seen) {
                map.erase(&record.bytes);
            }
            self.seen = space.made;
            self.last = 0;
            self.known = true;
        }
    }

    /// Takes `note_use` back for a task that was not submitted after all.
    pub(super) fn unmark(&mut self, bytes: &Range<u64>, task: u64) {
        let holder = self.held.iter().find(|r| {
            r.bytes.start <= bytes.start
                && bytes.end <= r.bytes.end
                && r.last_use.load(Relaxed) == task + 1
        });
        if let Some(record) = holder {
            record.last_use.store(task, Relaxed);
        }
    }

    /// The buffer that holds all of the range; `task` is the next one that names it.
    #[inline]
    pub(super) fn note_use(&mut self, bytes: &Range<u64>, task: u64) -> bool {
        let holds =
            |record: &Record| record.bytes.start <= bytes.start && bytes.end <= record.bytes.end;
        if !self.held.get(self.last).is_some_and(|record| holds(record)) {
            let at = self.held.partition_point(|r| r.bytes.start <= bytes.start);
            let Some(found) = at.checked_sub(1).filter(|&i| holds(&self.held[i])) else {
                return false;
            };
            self.last = found;
        }
        self.held[self.last].last_use.store(task + 1, Relaxed); // numbers only grow
        true
    }
}
