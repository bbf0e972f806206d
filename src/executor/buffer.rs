//! Shared memory that lives until it is dropped.

use std::marker::PhantomData;
use std::sync::Arc;

use super::buffer_allocator::Record;
use super::shared::Shared;
use crate::abi::{AbiError, ContinuousTensor, Element, cells};
use crate::error::Error;

/// `len` elements of shared memory, zeroed when made. Every worker sees it at the same address.
///
/// Reading and writing it here while a task uses it gives some values that were written, never
/// anything worse: the methods copy, element by element. Between runs, and for bytes that no
/// unfinished task names, all is as written.
///
/// The memory is there in the process that built the executor, and in its workers under the
/// tensors of their tasks. A function of another executor that has captured the buffer, and a
/// child that the host forked by itself, do not have it: reading and writing are refused there.
pub struct Buffer<T: Element> {
    shared: Arc<Shared>,
    record: Arc<Record>,
    len: usize,
    /// Others may have the memory as well, and write to it when they like.
    foreign: bool,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Takes part of the arena.
    pub(super) fn new(shared: &Arc<Shared>, len: usize) -> Result<Self, Error> {
        if u32::try_from(len).is_err() {
            return Err(Error::Misuse("a buffer has at most 2^32 - 1 elements; make several"));
        }
        let bytes = (len as u64).checked_mul(size_of::<T>() as u64);
        let (record, used_before) = shared.buffers.take(bytes)?;
        let count = (used_before.end - used_before.start) as usize;
        // SAFETY: the range is inside the buffer space, ours alone, and no task names it: its
        // former holder's last task has left the window.
        unsafe { pointer::<u8>(used_before.start).write_bytes(0, count) };
        Ok(Self::over(shared, record, len, false))
    }

    pub(super) fn over(
        shared: &Arc<Shared>,
        record: Arc<Record>,
        len: usize,
        foreign: bool,
    ) -> Self {
        Self { shared: Arc::clone(shared), record, len, foreign, element: PhantomData }
    }

    /// Whose it is, as handles say it.
    #[inline]
    pub(crate) fn executor(&self) -> u64 {
        self.shared.id
    }

    /// Whether somebody else may have the memory, and write to it when they like.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign
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
        self.record.bytes().start
    }

    /// The first element, for code that wants a slice. Dereferencing is only sound while no
    /// unfinished task writes (or, to write through it, names) the elements, and in the process that
    /// built the executor.
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
    /// There are more values than elements; this process does not have the memory.
    pub fn copy_from_slice(&self, values: &[T]) -> Result<(), Error> {
        if values.len() > self.len {
            let (index, count) = (values.len(), self.len);
            return Err(AbiError::OutOfRange { what: "element", index, count }.into());
        }
        self.is_here()?;
        for (index, &value) in values.iter().enumerate() {
            // SAFETY: inside the buffer, which is mapped here.
            unsafe { cells::store(self.as_mut_ptr().add(index), value) };
        }
        Ok(())
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// This process does not have the memory.
    pub fn to_vec(&self) -> Result<Vec<T>, Error> {
        self.is_here()?;
        // SAFETY: inside the buffer, which is mapped here.
        Ok((0..self.len).map(|i| unsafe { cells::load(self.as_mut_ptr().add(i)) }).collect())
    }

    /// A copy of element `index`.
    ///
    /// # Errors
    /// There is no such element; this process does not have the memory.
    pub fn get(&self, index: usize) -> Result<T, Error> {
        self.check_index(index)?;
        self.is_here()?;
        // SAFETY: inside the buffer, which is mapped here.
        Ok(unsafe { cells::load(self.as_mut_ptr().add(index)) })
    }

    /// Writes element `index`.
    ///
    /// # Errors
    /// There is no such element; this process does not have the memory.
    pub fn set(&self, index: usize, value: T) -> Result<(), Error> {
        self.check_index(index)?;
        self.is_here()?;
        // SAFETY: inside the buffer, which is mapped here.
        unsafe { cells::store(self.as_mut_ptr().add(index), value) };
        Ok(())
    }

    #[inline]
    fn is_here(&self) -> Result<(), Error> {
        match self.shared.is_own() {
            true => Ok(()),
            false => Err(AbiError::NotMapped.into()),
        }
    }

    #[inline]
    fn check_index(&self, index: usize) -> Result<(), Error> {
        match index < self.len {
            true => Ok(()),
            false => Err(AbiError::OutOfRange { what: "element", index, count: self.len }.into()),
        }
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
        if !self.shared.is_own() {
            return; // a copy in another process frees nothing
        }
        self.shared.buffers.leave(&self.record);
    }
}
