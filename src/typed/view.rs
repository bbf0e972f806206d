//! Parts of shared memory, as arguments.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use crate::abi::{AbiError, ContinuousTensor, Element};
use crate::error::ArgumentFault;
use crate::executor::{Buffer, Orchestrator};
use crate::limits::MAX_DIMS;
use crate::ring::heap::ScopeRef;

/// A part of a buffer, or memory of a scope, with a shape: an argument for `In`, `Out` or `InOut`.
///
/// What is wrong with it is told by the `spawn` that takes it.
///
/// ```rust,standalone_crate
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mailring::prelude::*;
/// let mut builder = Executor::builder().workers(1);
/// let sums = builder.task("sums", |matrix: In<f64>, mut sums: Out<f64>| {
///     for (row, sum) in matrix.rows().zip(sums.iter_mut()) {
///         *sum = row.iter().sum();
///     }
/// })?;
/// let exec = builder.build()?;
/// let data = exec.buffer::<f64>(8)?;
/// data.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0])?;
/// let matrix = data.part(..6).shaped(&[2, 3]);
/// exec.run(|s| s.spawn(sums, (matrix, data.part(6..))))?;
/// assert_eq!(data.to_vec()[6..], [6.0, 15.0]);
/// # Ok(())
/// # }
/// ```
pub struct View<'b, T> {
    tensor: Result<ContinuousTensor, Bad>,
    memory: Memory,
    ordered: bool,
    of: PhantomData<&'b [T]>,
}

/// Whose memory it is.
#[derive(Clone, Copy)]
enum Memory {
    Buffer {
        executor: u64,
        foreign: bool,
    },
    Scope {
        executor: u64,
        scope: ScopeRef,
    },
    /// Somebody has promised that it is right.
    Promised,
}

/// Why there is no such view.
#[derive(Clone, Copy)]
enum Bad {
    Range { first: usize, end: usize, len: usize },
    Shape { shape: [u32; MAX_DIMS], dims: usize, len: u64 },
    Dims(usize),
    Long(usize),
    Element,
}

impl From<Bad> for ArgumentFault {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::Range { first, end, len } => Self::OutOfRange { first, end, len },
            Bad::Shape { shape, dims, len } => Self::Shape { shape: shape[..dims].to_vec(), len },
            Bad::Dims(dims) => AbiError::TooManyDims(dims).into(),
            Bad::Long(count) => {
                let (field, limit) = ("elements in one dimension", u32::MAX as usize);
                AbiError::TooMany { what: "a part", field, count, limit }.into()
            }
            Bad::Element => AbiError::ElementType {
                index: 0,
                size: 0,
                why: "its data type is another one, or its address is misaligned",
            }
            .into(),
        }
    }
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<T> fmt::Debug for View<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tensor {
            Ok(tensor) => f.debug_tuple("View").field(tensor).finish(),
            Err(bad) => f.debug_tuple("View").field(&ArgumentFault::from(*bad)).finish(),
        }
    }
}

impl<T: Element> Buffer<T> {
    /// A part of it, as an argument of a typed task.
    pub fn part(&self, elements: impl RangeBounds<usize>) -> View<'_, T> {
        let memory = Memory::Buffer { executor: self.executor(), foreign: self.is_foreign() };
        View { tensor: Ok(self.tensor()), memory, ordered: true, of: PhantomData }.part(elements)
    }
}

impl<'b, T: Element> View<'b, T> {
    /// Memory of the innermost scope.
    pub(super) fn in_scope(tensor: ContinuousTensor, orchestrator: &Orchestrator) -> Self {
        let (executor, scope) = (orchestrator.executor(), orchestrator.current_scope());
        let memory = Memory::Scope { executor, scope };
        View { tensor: Ok(tensor), memory, ordered: true, of: PhantomData }
    }

    /// A view of what a tensor names: for imported buffers, outputs of untyped tasks, and memory of a
    /// level above. Tasks that name it are ordered by its bytes as ever.
    ///
    /// # Safety
    /// As long as a typed task that names it is not through, nobody writes its bytes (nor reads them,
    /// if the task may write) but tasks that this executor orders: no program that shares the
    /// memory, and no task of another level.
    pub unsafe fn of(tensor: ContinuousTensor) -> Self {
        let fits = tensor.dtype() == Ok(T::DTYPE)
            && tensor.data().is_multiple_of(align_of::<T>() as u64)
            && tensor.quick_nbytes().is_some();
        let tensor = if fits { Ok(tensor) } else { Err(Bad::Element) };
        View { tensor, memory: Memory::Promised, ordered: true, of: PhantomData }
    }

    /// The same bytes, not looked at for dependencies or overlaps (NO_DEP).
    ///
    /// # Safety
    /// As long as a task that names this view is not through, nobody writes its bytes, nor reads them
    /// if the task may write: no other task, no other argument of this one, no other member of its
    /// group, and not the host.
    #[must_use]
    pub unsafe fn unordered(self) -> Self {
        Self { ordered: false, ..self }
    }

    /// Elements; 0 where there is no such view.
    pub fn len(&self) -> usize {
        self.tensor.ok().and_then(|tensor| tensor.elements().ok()).unwrap_or(0) as usize
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of it, in one dimension.
    #[must_use]
    pub fn part(self, elements: impl RangeBounds<usize>) -> Self {
        let Ok(tensor) = self.tensor else { return self };
        let len = self.len();
        let first = match elements.start_bound() {
            Bound::Included(&first) => first,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match elements.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => len,
        };
        let tensor = if first > end || end > len {
            Err(Bad::Range { first, end, len })
        } else {
            let address = tensor.data() + first as u64 * size_of::<T>() as u64;
            flat::<T>(address, end - first)
        };
        Self { tensor, ..self }
    }

    /// The same elements with another shape, row by row.
    #[must_use]
    pub fn shaped(self, shape: &[u32]) -> Self {
        let Ok(tensor) = self.tensor else { return self };
        Self { tensor: shaped::<T>(tensor, shape, self.len() as u64), ..self }
    }

    /// The tensor, if the orchestrator's executor can give it to a task now; and whether it is
    /// ordered by its bytes.
    pub(super) fn resolve(
        &self,
        orchestrator: &Orchestrator,
    ) -> Result<(ContinuousTensor, bool), ArgumentFault> {
        const { assert!(size_of::<T>() == T::DTYPE.size(), "`Element` describes another size") };
        const { assert!(align_of::<T>() <= 64, "shared memory is aligned to 64 bytes") };
        let ours = orchestrator.executor();
        match self.memory {
            Memory::Buffer { executor, .. } | Memory::Scope { executor, .. }
                if executor != ours =>
            {
                return Err(ArgumentFault::OtherExecutor);
            }
            Memory::Buffer { foreign: true, .. } => return Err(ArgumentFault::Imported),
            Memory::Scope { scope, .. } if !orchestrator.is_open(scope) => {
                return Err(ArgumentFault::ScopeClosed);
            }
            _ => {}
        }
        Ok((self.tensor?, self.ordered))
    }
}

fn flat<T: Element>(address: u64, len: usize) -> Result<ContinuousTensor, Bad> {
    let count = u32::try_from(len).map_err(|_| Bad::Long(len))?;
    Ok(ContinuousTensor::from_raw(address, [count, 0, 0, 0, 0], 1, T::DTYPE as u8))
}

fn shaped<T: Element>(
    tensor: ContinuousTensor,
    shape: &[u32],
    len: u64,
) -> Result<ContinuousTensor, Bad> {
    let mut shapes = [0; MAX_DIMS];
    let dims = shapes.get_mut(..shape.len()).ok_or(Bad::Dims(shape.len()))?;
    dims.copy_from_slice(shape);
    let shaped =
        ContinuousTensor::from_raw(tensor.data(), shapes, shape.len() as u32, T::DTYPE as u8);
    match shaped.elements() {
        Ok(elements) if elements == len => Ok(shaped),
        _ => Err(Bad::Shape { shape: shapes, dims: shape.len(), len }),
    }
}
