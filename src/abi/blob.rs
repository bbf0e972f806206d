//! The length-prefixed argument blob, and the view that reads it in place.
//!
//! ```text
//! | tensors i32 | scalars i32 | tensor 0 (40 bytes) ... | scalar 0 (8 bytes) ... |
//! ```

use std::marker::PhantomData;
use std::mem::offset_of;
use std::slice;

use mailring_process::reach::{self, Refused};

use super::{AbiError, BLOB_HEADER, ContinuousTensor, Element, TaskArgs, cells};
use crate::limits::MAX_ARGS_BYTES;

/// What errors call it.
const WHAT: &str = "blob";
/// More of either fit into no submit.
const MAX_TENSORS: usize = MAX_ARGS_BYTES / size_of::<ContinuousTensor>();
const MAX_SCALARS: usize = MAX_ARGS_BYTES / 8;

/// Arguments as the function of a worker sees them: borrowed from shared memory, 24 bytes.
///
/// Tags do not travel. What a task may do with a tensor was said when it was submitted. A process
/// that the function forks has neither the arguments nor the tensors: copy what it needs before.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TaskArgsView<'a> {
    tensor_count: i32,
    scalar_count: i32,
    tensors: *const ContinuousTensor,
    scalars: *const u64,
    from: PhantomData<&'a [u64]>,
}

const _: () = {
    assert!(size_of::<TaskArgsView<'_>>() == 24 && align_of::<TaskArgsView<'_>>() == 8);
    assert!(offset_of!(TaskArgsView<'_>, tensor_count) == 0);
    assert!(offset_of!(TaskArgsView<'_>, scalar_count) == 4);
    assert!(offset_of!(TaskArgsView<'_>, tensors) == 8);
    assert!(offset_of!(TaskArgsView<'_>, scalars) == 16);
};

// SAFETY: a view only reads memory that is shared and stays as it is while the view lives.
unsafe impl Send for TaskArgsView<'_> {}
// SAFETY: as above.
unsafe impl Sync for TaskArgsView<'_> {}

impl<'a> TaskArgsView<'a> {
    /// A view of arguments that lie in ordinary memory. What lies beyond number `i32::MAX`, which
    /// no submit takes, is not seen.
    pub fn from_slices(tensors: &'a [ContinuousTensor], scalars: &'a [u64]) -> Self {
        // A count that wrapped to a negative one would become a length beyond the slice.
        const MOST: usize = i32::MAX as usize;
        Self {
            tensor_count: tensors.len().min(MOST) as i32,
            scalar_count: scalars.len().min(MOST) as i32,
            tensors: tensors.as_ptr(),
            scalars: scalars.as_ptr(),
            from: PhantomData,
        }
    }

    /// A view of `tensors` tensors with `scalars` scalars behind them, from `first` on.
    ///
    /// # Safety
    /// All of that lies there and stays as it is for `'a`; neither number is beyond `i32::MAX`.
    #[inline(always)]
    pub(crate) unsafe fn from_blob(
        first: *const ContinuousTensor,
        tensors: u32,
        scalars: u32,
    ) -> Self {
        Self {
            tensor_count: tensors as i32,
            scalar_count: scalars as i32,
            tensors: first,
            scalars: first.wrapping_add(tensors as usize).cast(),
            from: PhantomData,
        }
    }

    /// A view of a builder's arguments.
    pub fn of(args: &'a TaskArgs) -> Self {
        Self::from_slices(args.tensors(), args.scalars())
    }

    /// The tensors.
    #[inline]
    pub fn tensors(&self) -> &'a [ContinuousTensor] {
        // SAFETY: every constructor took pointer and count from one slice that lives for 'a.
        unsafe { slice::from_raw_parts(self.tensors, self.tensor_count as usize) }
    }

    /// The scalars.
    #[inline]
    pub fn scalars(&self) -> &'a [u64] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts(self.scalars, self.scalar_count as usize) }
    }

    /// Tensor `index`.
    ///
    /// # Errors
    /// There is no such tensor.
    #[inline]
    pub fn tensor(&self, index: usize) -> Result<&'a ContinuousTensor, AbiError> {
        let count = self.tensor_count as usize;
        self.tensors().get(index).ok_or(AbiError::OutOfRange { what: "tensor", index, count })
    }

    /// Scalar `index`.
    ///
    /// # Errors
    /// There is no such scalar.
    #[inline]
    pub fn scalar(&self, index: usize) -> Result<u64, AbiError> {
        let count = self.scalar_count as usize;
        self.scalars().get(index).copied().ok_or(AbiError::OutOfRange {
            what: "scalar",
            index,
            count,
        })
    }

    /// First element and number of elements of tensor `index`, seen as elements of `T`.
    ///
    /// # Errors
    /// No such tensor, another element size, a misaligned or null address.
    pub fn elements<T: Element>(&self, index: usize) -> Result<(*mut T, usize), AbiError> {
        let tensor = self.tensor(index)?;
        let wrong = |why| AbiError::ElementType { index, size: size_of::<T>(), why };
        if tensor.dtype()?.size() != size_of::<T>() {
            return Err(wrong("its elements have another size"));
        }
        let address = tensor.data() as usize;
        let count = usize::try_from(tensor.elements()?).map_err(|_| wrong("it is too large"))?;
        if count == 0 {
            return Ok((std::ptr::dangling_mut(), 0));
        }
        if address == 0 || !address.is_multiple_of(align_of::<T>()) {
            return Err(wrong("its address is null or misaligned"));
        }
        Ok((std::ptr::with_exposed_provenance_mut(address), count))
    }

    /// Element `at` of tensor `index`, read in one piece.
    ///
    /// # Errors
    /// As [`elements`](Self::elements), or no such element; the view is not one of a task, but made by
    /// hand (memory of one's own is for [`slice`](Self::slice)); the tensor does not lie in memory of an
    /// executor that this process has mapped.
    pub fn get<T: Element>(&self, index: usize, at: usize) -> Result<T, AbiError> {
        // SAFETY: mapped (`follow`).
        self.follow(index, at, |place, _| Ok(unsafe { cells::load(place) }))
    }

    /// Writes element `at` of tensor `index`.
    ///
    /// # Errors
    /// As [`get`](Self::get); the executor has typed tasks as well, and this task was submitted with
    /// the tensor as INPUT.
    pub fn set<T: Element>(&self, index: usize, at: usize, value: T) -> Result<(), AbiError> {
        self.follow(index, at, |place, typed| {
            if typed && self.tensor(index)?.is_read_only() {
                return Err(AbiError::ReadOnly { index });
            }
            // SAFETY: as in `get`.
            unsafe { cells::store(place, value) };
            Ok(())
        })
    }

    /// Touches element `at`, if that may be: `touch` learns whether it is memory of typed tasks.
    #[inline]
    fn follow<T: Element, R>(
        &self,
        index: usize,
        at: usize,
        touch: impl FnOnce(*mut T, bool) -> Result<R, AbiError>,
    ) -> Result<R, AbiError> {
        let (first, count) = self.elements::<T>(index)?;
        if at >= count {
            return Err(AbiError::OutOfRange { what: "element", index: at, count });
        }
        let place = first.wrapping_add(at);
        let (address, bytes) = (place as u64, size_of::<T>() as u64);
        let touched =
            reach::follow(self.tensors as u64, address, bytes, |typed| touch(place, typed));
        touched.unwrap_or_else(|refused| {
            Err(match refused {
                Refused::Unmapped => AbiError::OutOfReach { index, address },
                Refused::NoTask => AbiError::NotOfATask { index },
                Refused::Typed => AbiError::OtherTyped { index },
            })
        })
    }

    /// Tensor `index` as a slice.
    ///
    /// # Errors
    /// As [`elements`](Self::elements).
    ///
    /// # Safety
    /// Nobody writes these bytes while the slice lives, in any process. That is a promise about the
    /// whole program, which safe code elsewhere can break, so make it where you know all of it:
    ///
    /// * The task was submitted with this tensor as INPUT or INOUT, under strict dependencies. (NO_DEP
    ///   orders nothing; compatible dependencies let a later task overwrite what this one reads.)
    /// * Nobody who shares the file of an imported buffer writes to them. (The host does not: guards and
    ///   accessors of [`Buffer`](crate::Buffer) refuse what an unfinished task names.)
    /// * No other member of its group, and no other argument of this task, writes to them.
    ///
    /// Where one of these is not known, [`get`](Self::get) is right: a race gives it some value.
    pub unsafe fn slice<T: Element>(&self, index: usize) -> Result<&'a [T], AbiError> {
        let (first, count) = self.elements::<T>(index)?;
        // SAFETY: the address is aligned and mapped; the caller answers for the writers.
        Ok(unsafe { slice::from_raw_parts(first, count) })
    }

    /// Tensor `index` as a slice to write to.
    ///
    /// # Errors
    /// As [`elements`](Self::elements).
    ///
    /// # Safety
    /// Nobody else reads or writes these bytes while the slice lives, in any process: as for
    /// [`slice`](Self::slice), with the tensor submitted as OUTPUT, INOUT or OUTPUT_EXISTING, and no other
    /// argument of the task overlaps it.
    #[allow(clippy::mut_from_ref, reason = "the view stands for memory it does not own")]
    pub unsafe fn slice_mut<T: Element>(&self, index: usize) -> Result<&'a mut [T], AbiError> {
        let (first, count) = self.elements::<T>(index)?;
        // SAFETY: the address is aligned and mapped; the caller answers for exclusiveness.
        Ok(unsafe { slice::from_raw_parts_mut(first, count) })
    }
}

impl std::fmt::Debug for TaskArgsView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskArgsView")
            .field("tensors", &self.tensors())
            .field("scalars", &self.scalars())
            .finish()
    }
}

/// Writes the blob of `args` to the beginning of `out`; returns its length.
///
/// # Errors
/// `out` is too short.
pub fn write_blob(args: &TaskArgs, out: &mut [u8]) -> Result<usize, AbiError> {
    let need = args.blob_len();
    let have = out.len();
    let fits = |field, count, limit| {
        if count <= limit {
            Ok(())
        } else {
            Err(AbiError::TooMany { what: WHAT, field, count, limit })
        }
    };
    fits("tensors", args.tensors().len(), MAX_TENSORS)?;
    fits("scalars", args.scalars().len(), MAX_SCALARS)?;
    let Some(out) = out.get_mut(..need) else {
        return Err(AbiError::Truncated { what: WHAT, field: "the whole", need, have });
    };
    let (counts, rest) = out.split_at_mut(BLOB_HEADER);
    counts[..4].copy_from_slice(&(args.tensors().len() as i32).to_ne_bytes());
    counts[4..].copy_from_slice(&(args.scalars().len() as i32).to_ne_bytes());
    let (tensors, scalars) = rest.split_at_mut(size_of_val(args.tensors()));
    tensors.copy_from_slice(bytemuck::cast_slice(args.tensors()));
    scalars.copy_from_slice(bytemuck::cast_slice(args.scalars()));
    Ok(need)
}

/// Reads a blob in place: counts and tensors are checked, nothing is copied.
///
/// # Errors
/// Misaligned or truncated buffer, a negative or oversized count, an invalid tensor.
///
/// ```
/// use mailring::abi::{TaskArgs, read_blob, write_blob};
/// let mut words = [0u64; 4];
/// let bytes = bytemuck::cast_slice_mut(&mut words);
/// let len = write_blob(&TaskArgs::new().scalar(5).scalar(6), bytes)?;
/// assert_eq!(read_blob(&bytes[..len])?.scalars(), &[5, 6]);
/// assert!(read_blob(&bytes[..len - 1]).is_err());
/// # Ok::<(), mailring::abi::AbiError>(())
/// ```
pub fn read_blob(bytes: &[u8]) -> Result<TaskArgsView<'_>, AbiError> {
    let have = bytes.len();
    if !(bytes.as_ptr() as usize).is_multiple_of(8) {
        let address = bytes.as_ptr() as usize;
        return Err(AbiError::Misaligned { what: WHAT, address, align: 8 });
    }
    if have < BLOB_HEADER {
        return Err(AbiError::Truncated {
            what: WHAT,
            field: "the counts",
            need: BLOB_HEADER,
            have,
        });
    }
    let counts: &[i32] = bytemuck::cast_slice(&bytes[..BLOB_HEADER]);
    let count = |field, value: i32, limit| {
        usize::try_from(value).ok().filter(|&n| n <= limit).ok_or(AbiError::BadCount {
            what: WHAT,
            field,
            value: value.into(),
            limit,
        })
    };
    let tensors = count("tensor_count", counts[0], MAX_TENSORS)?;
    let scalars = count("scalar_count", counts[1], MAX_SCALARS)?;
    let behind_tensors = BLOB_HEADER + tensors * size_of::<ContinuousTensor>();
    if have < behind_tensors {
        return Err(AbiError::Truncated {
            what: WHAT,
            field: "tensors",
            need: behind_tensors,
            have,
        });
    }
    let need = behind_tensors + scalars * 8;
    if have < need {
        return Err(AbiError::Truncated { what: WHAT, field: "scalars", need, have });
    }
    let tensors: &[ContinuousTensor] = bytemuck::cast_slice(&bytes[BLOB_HEADER..behind_tensors]);
    for (index, tensor) in tensors.iter().enumerate() {
        tensor.check(index)?;
    }
    Ok(TaskArgsView::from_slices(tensors, bytemuck::cast_slice(&bytes[behind_tensors..need])))
}
