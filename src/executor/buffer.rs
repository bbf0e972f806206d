//! Shared memory that lives until it is dropped.

use std::marker::PhantomData;
use std::sync::Arc;

use super::buffer_allocator::Record;
use super::guards::{Claim, ReadGuard, WriteGuard};
use super::shared::Shared;
use crate::abi::{AbiError, ContinuousTensor, Element, cells};
use crate::error::{Error, Misuse};

/// `len` elements of shared memory, zeroed when made. Every worker sees it at the same address.
///
/// The host reads and writes it between runs, or at least while no task that names it is unfinished: at
/// other times that is refused, with an error that names the task. [`read`](Self::read) and
/// [`write`](Self::write) give slices, and keep tasks away as long as these live.
///
/// ```rust,standalone_crate
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mailring::prelude::*;
/// let mut builder = Executor::builder().workers(1);
/// let double = builder.task("double", |mut x: InOut<u64>| x.iter_mut().for_each(|x| *x *= 2))?;
/// let exec = builder.build()?;
/// let data = exec.buffer::<u64>(4)?;
/// data.write()?.copy_from_slice(&[1, 2, 3, 4]);
/// let (_, run) = exec.submit_run(|s| s.spawn(double, (&data,)))?;
/// run.wait(None)?; // until then, `read` is refused
/// let doubled = data.read()?;
/// assert_eq!(doubled.iter().sum::<u64>(), 20);
/// // As long as `doubled` lives, no task may write to it.
/// assert!(exec.run(|s| s.spawn(double, (&data,))).is_err());
/// # Ok(())
/// # }
/// ```
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
            return Err(Error::BufferLength(len));
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

    /// The first element, for code that answers for its accesses itself. Dereferencing is only sound
    /// while no unfinished task and no guard writes (or, to write through it, names) the elements, and in
    /// the process that built the executor.
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

    /// Its elements, to read for as long as the guard lives. Meanwhile a submit of a task that may
    /// write to the buffer is refused, as is writing here. (Tasks without types may write to whatever
    /// they name.)
    ///
    /// # Errors
    /// A task that names the buffer is not through, and may write to it, or was submitted before one
    /// that may; a [`WriteGuard`] is alive; the buffer is imported, so others may write to it
    /// ([`to_vec`](Self::to_vec) copies such memory); this process does not have the memory.
    pub fn read(&self) -> Result<ReadGuard<'_, T>, Error> {
        self.is_here()?;
        self.is_ours()?;
        // SAFETY: mapped as long as the buffer lives, aligned to 64 bytes; not imported.
        unsafe { ReadGuard::new(&self.shared, &self.record, self.as_mut_ptr(), self.len) }
    }

    /// Its elements, to write for as long as the guard lives. Meanwhile a submit of a task that names
    /// the buffer is refused, as is every other access here.
    ///
    /// # Errors
    /// A task that names the buffer is not through; another guard is alive; the buffer is imported;
    /// this process does not have the memory.
    pub fn write(&self) -> Result<WriteGuard<'_, T>, Error> {
        self.is_here()?;
        self.is_ours()?;
        // SAFETY: as in `read`.
        unsafe { WriteGuard::new(&self.shared, &self.record, self.as_mut_ptr(), self.len) }
    }

    /// Copies `values` to the beginning.
    ///
    /// # Errors
    /// There are more values than elements; a task that names the buffer is not through; a guard is
    /// alive; this process does not have the memory.
    pub fn copy_from_slice(&self, values: &[T]) -> Result<(), Error> {
        if values.len() > self.len {
            let (index, count) = (values.len(), self.len);
            return Err(AbiError::OutOfRange { what: "element", index, count }.into());
        }
        let _claim = self.claim(true)?;
        if self.foreign {
            for (index, &value) in values.iter().enumerate() {
                // SAFETY: inside the buffer, which is mapped here.
                unsafe { cells::store(self.as_mut_ptr().add(index), value) };
            }
        } else {
            // SAFETY: inside the buffer, which is mapped here; nobody else touches it meanwhile.
            unsafe { self.as_mut_ptr().copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        }
        Ok(())
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// A task that names the buffer is not through, as for [`read`](Self::read); a [`WriteGuard`] is
    /// alive; this process does not have the memory.
    pub fn to_vec(&self) -> Result<Vec<T>, Error> {
        let _claim = self.claim(false)?;
        if self.foreign {
            // SAFETY: inside the buffer, which is mapped here.
            return Ok((0..self.len)
                .map(|i| unsafe { cells::load(self.as_mut_ptr().add(i)) })
                .collect());
        }
        // SAFETY: inside the buffer, which is mapped here; nobody writes to it meanwhile.
        Ok(unsafe { std::slice::from_raw_parts(self.as_mut_ptr(), self.len) }.to_vec())
    }

    /// A copy of element `index`.
    ///
    /// # Errors
    /// There is no such element; as [`to_vec`](Self::to_vec).
    pub fn get(&self, index: usize) -> Result<T, Error> {
        self.check_index(index)?;
        let _claim = self.claim(false)?;
        // SAFETY: inside the buffer, which is mapped here.
        Ok(unsafe { cells::load(self.as_mut_ptr().add(index)) })
    }

    /// Writes element `index`.
    ///
    /// # Errors
    /// There is no such element; as [`copy_from_slice`](Self::copy_from_slice).
    pub fn set(&self, index: usize, value: T) -> Result<(), Error> {
        self.check_index(index)?;
        let _claim = self.claim(true)?;
        // SAFETY: inside the buffer, which is mapped here.
        unsafe { cells::store(self.as_mut_ptr().add(index), value) };
        Ok(())
    }

    fn claim(&self, writes: bool) -> Result<Claim<'_>, Error> {
        self.is_here()?;
        Claim::new(&self.shared, &self.record, writes)
    }

    fn is_ours(&self) -> Result<(), Error> {
        match self.foreign {
            false => Ok(()),
            true => Err(Misuse::ImportedSlice.into()),
        }
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
