//! What a body takes: slices of the memory that all share, and plain data.

use std::ops::{Deref, DerefMut};
use std::slice::{ChunksExact, ChunksExactMut, from_raw_parts, from_raw_parts_mut};

use bytemuck::Pod;
use mailring_process::reach;

use crate::abi::{AbiError, Element, TaskArgsView};
use crate::worker::BoxError;

/// A slice that the task reads.
#[derive(Clone, Copy, Debug)]
pub struct In<'a, T> {
    data: &'a [T],
    shape: &'a [u32],
}

/// A slice that the task writes. What is in it before is whatever was there.
#[derive(Debug)]
pub struct Out<'a, T> {
    data: &'a mut [T],
    shape: &'a [u32],
}

/// A slice that the task reads and writes.
#[derive(Debug)]
pub struct InOut<'a, T> {
    data: &'a mut [T],
    shape: &'a [u32],
}

/// Elements of a row: the last dimension, or all if there is none.
#[inline]
fn columns(shape: &[u32], all: usize) -> usize {
    shape.last().map_or(all, |&columns| columns as usize).max(1)
}

impl<'a, T> In<'a, T> {
    /// The shape that the argument had; a buffer has one dimension.
    #[inline]
    pub fn shape(&self) -> &'a [u32] {
        self.shape
    }

    /// The rows: slices of the last dimension, one after the other.
    #[inline]
    pub fn rows(&self) -> ChunksExact<'a, T> {
        self.data.chunks_exact(columns(self.shape, self.data.len()))
    }

    /// The slice itself.
    #[inline]
    pub fn into_slice(self) -> &'a [T] {
        self.data
    }
}

impl<T> Deref for In<'_, T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        self.data
    }
}

/// What the two that write have in common.
macro_rules! writes {
    ($name:ident) => {
        impl<'a, T> $name<'a, T> {
            /// The shape that the argument had; a buffer has one dimension.
            #[inline]
            pub fn shape(&self) -> &'a [u32] {
                self.shape
            }

            /// The rows: slices of the last dimension, one after the other.
            #[inline]
            pub fn rows(&self) -> ChunksExact<'_, T> {
                self.data.chunks_exact(columns(self.shape, self.data.len()))
            }

            /// The rows, to write to.
            #[inline]
            pub fn rows_mut(&mut self) -> ChunksExactMut<'_, T> {
                let columns = columns(self.shape, self.data.len());
                self.data.chunks_exact_mut(columns)
            }

            /// The slice itself.
            #[inline]
            pub fn into_slice(self) -> &'a mut [T] {
                self.data
            }
        }

        impl<T> Deref for $name<'_, T> {
            type Target = [T];

            #[inline(always)]
            fn deref(&self) -> &[T] {
                self.data
            }
        }

        impl<T> DerefMut for $name<'_, T> {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut [T] {
                self.data
            }
        }
    };
}
writes!(Out);
writes!(InOut);

/// What a parameter of a body can be: [`In`], [`Out`], [`InOut`], or plain data ([`Pod`]) of at most
/// eight bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a task",
    label = "use `In<T>`, `Out<T>`, `InOut<T>`, or plain data of at most eight bytes"
)]
pub trait Param: sealed::Param {}

impl<P: sealed::Param> Param for P {}

pub(super) mod sealed {
    use super::{BoxError, Source};

    #[diagnostic::on_unimplemented(
        message = "`{Self}` cannot be a parameter of a task",
        label = "use `In<T>`, `Out<T>`, `InOut<T>`, or plain data of at most eight bytes"
    )]
    pub trait Param {
        /// The same, for one call of the body.
        type At<'a>;
        /// The same as handles of tasks name it.
        type Spec;

        /// Whether it takes a slice.
        const SLICE: bool;

        /// Takes the next argument.
        ///
        /// # Safety
        /// The arguments are those of a task that `spawn` submitted, for parameters that begin with
        /// those read so far and this one; and they are read once in a call of its body, which
        /// does not keep what is read.
        unsafe fn read<'a>(from: &mut Source<'a>) -> Result<Self::At<'a>, BoxError>;
    }
}

/// The arguments of a call, read from the first to the last.
pub struct Source<'a> {
    task: &'a str,
    args: TaskArgsView<'a>,
    tensors: usize,
    scalars: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(task: &'a str, args: TaskArgsView<'a>) -> Self {
        Self { task, args, tensors: 0, scalars: 0 }
    }

    /// First element, number of elements and shape of the next tensor: aligned, of this type, and
    /// inside memory of an executor that is mapped here.
    #[inline]
    fn elements<T: Element>(&mut self) -> Result<(*mut T, usize, &'a [u32]), BoxError> {
        const { assert!(size_of::<T>() == T::DTYPE.size(), "`Element` describes another size") };
        let index = self.tensors;
        self.tensors += 1;
        self.quick_elements(index).ok_or_else(|| self.explain(&self.why_not::<T>(index)))
    }

    #[inline(always)]
    fn quick_elements<T: Element>(&self, index: usize) -> Option<(*mut T, usize, &'a [u32])> {
        let tensor = self.args.tensors().get(index).filter(|tensor| tensor.is_of(T::DTYPE))?;
        let bytes = tensor.quick_nbytes()?;
        let (address, count) = (tensor.data(), bytes as usize / size_of::<T>());
        if count == 0 {
            return Some((std::ptr::dangling_mut(), 0, tensor.shape()));
        }
        // What is mapped stays so: the task holds it until it is through.
        let fits = address != 0
            && address.is_multiple_of(align_of::<T>() as u64)
            && reach::within(address, bytes, || ()).is_some();
        let first = std::ptr::with_exposed_provenance_mut(address as usize);
        fits.then_some((first, count, tensor.shape()))
    }

    /// Why there is no slice of elements of this type.
    #[cold]
    fn why_not<T: Element>(&self, index: usize) -> String {
        let why = || {
            let tensor = self.args.tensor(index)?;
            let (bytes, dtype) = (tensor.nbytes()?, tensor.dtype()?);
            if dtype != T::DTYPE {
                let (is, takes) = (dtype.name(), T::DTYPE.name());
                return Ok(format!("its elements are {is}, the body takes {takes}"));
            }
            let address = tensor.data();
            if address == 0 || !address.is_multiple_of(align_of::<T>() as u64) {
                return Ok(format!("its address, {address:#x}, is null or misaligned"));
            }
            Ok(format!("its {bytes} bytes at {address:#x} are no memory of an executor"))
        };
        why().unwrap_or_else(|error: AbiError| error.to_string())
    }

    /// What is wrong with the parameter that was read last.
    #[cold]
    fn explain(&self, why: &str) -> BoxError {
        format!("parameter {} of `{}`: {why}", self.tensors + self.scalars, self.task).into()
    }
}

/// A slice that is read.
macro_rules! read {
    ($name:ident, $make:ident) => {
        impl<T: Element> sealed::Param for $name<'_, T> {
            type At<'a> = $name<'a, T>;
            type Spec = $name<'static, T>;

            const SLICE: bool = true;

            #[inline]
            unsafe fn read<'a>(from: &mut Source<'a>) -> Result<$name<'a, T>, BoxError> {
                let (first, count, shape) = from.elements::<T>()?;
                // SAFETY: the elements are mapped, aligned, and valid as any bits are. Nobody else
                // writes them (nor reads, where this may write) before the task is through: tasks are
                // ordered by bytes, `spawn` has refused what overlaps, and the slice goes when the
                // body returns.
                let data = unsafe { $make(first, count) };
                Ok($name { data, shape })
            }
        }
    };
}
read!(In, from_raw_parts);
read!(Out, from_raw_parts_mut);
read!(InOut, from_raw_parts_mut);

impl<S: Pod> sealed::Param for S {
    type At<'a> = S;
    type Spec = S;

    const SLICE: bool = false;

    #[inline]
    unsafe fn read<'a>(from: &mut Source<'a>) -> Result<S, BoxError> {
        const { assert!(size_of::<S>() <= 8, "a scalar has at most eight bytes") };
        let index = from.scalars;
        from.scalars += 1;
        let word = from.args.scalar(index).map_err(|why| from.explain(&why.to_string()))?;
        Ok(bytemuck::pod_read_unaligned(&word.to_le_bytes()[..size_of::<S>()]))
    }
}

/// What travels for a scalar.
#[inline]
pub(super) fn word_of<S: Pod>(value: S) -> u64 {
    const { assert!(size_of::<S>() <= 8, "a scalar has at most eight bytes") };
    let mut bytes = [0; 8];
    bytes[..size_of::<S>()].copy_from_slice(bytemuck::bytes_of(&value));
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::ContinuousTensor;

    /// Why the worker makes no slice of this tensor.
    fn refused<P: Param>(tensors: &[ContinuousTensor], scalars: &[u64]) -> String {
        let mut from = Source::new("body", TaskArgsView::from_slices(tensors, scalars));
        // SAFETY: it is refused.
        match unsafe { P::read(&mut from) } {
            Ok(_) => panic!("a slice was made"),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn the_worker_looks_before_it_makes_a_slice() {
        let raw = |address, dtype| ContinuousTensor::from_raw(address, [2, 0, 0, 0, 0], 1, dtype);
        let words = [0u64; 2];
        let here = words.as_ptr() as u64;
        for (tensor, says) in [
            (raw(here, 8), "no memory of an executor"),
            (raw(u64::MAX - 7, 8), "end of the address space"),
            (raw(here, 7), "its elements are INT64, the body takes UINT64"),
            (raw(here, 200), "200 is not a data type"),
            (raw(here + 1, 8), "misaligned"),
            (raw(0, 8), "null"),
            (ContinuousTensor::from_raw(here, [1; 5], 6, 8), "at most 5 dimensions"),
            (ContinuousTensor::from_raw(here, [u32::MAX; 5], 5, 8), "64 bits can count"),
        ] {
            for why in [
                refused::<In<'_, u64>>(&[tensor], &[]),
                refused::<Out<'_, u64>>(&[tensor], &[]),
                refused::<InOut<'_, u64>>(&[tensor], &[]),
            ] {
                assert!(why.starts_with("parameter 1 of `body`: ") && why.contains(says), "{why}");
            }
        }
        assert!(refused::<In<'_, u64>>(&[], &[1]).contains("there is no tensor 0"));
        assert!(refused::<f64>(&[raw(here, 8)], &[]).contains("there is no scalar 0"));
    }

    #[test]
    fn no_elements_need_no_memory() {
        let tensors = [ContinuousTensor::from_raw(0, [0, 9, 0, 0, 0], 2, 8)];
        let mut from = Source::new("body", TaskArgsView::from_slices(&tensors, &[]));
        // SAFETY: of no elements.
        let empty = unsafe { <Out<'_, u64> as sealed::Param>::read(&mut from) }.unwrap();
        assert_eq!((empty.len(), empty.shape(), empty.rows().count()), (0, &[0, 9][..], 0));
    }
}
