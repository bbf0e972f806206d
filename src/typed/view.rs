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
/// assert_eq!(data.to_vec()?[6..], [6.0, 15.0]);
/// # Ok(())
/// # }
/// ```
pub struct View<'b, T> {
    // In one piece, as it travels: moving it right after it was put together would stall.
    tensor: ContinuousTensor,
    executor: u64,
    scope: u64,
    depth: u16,
    memory: Memory,
    ordered: bool,
    /// What is wrong with it; the words of the tensor are then the figures that say it.
    bad: Option<Bad>,
    of: PhantomData<&'b [T]>,
}

const _: () = assert!(size_of::<View<'_, u64>>() == 64, "a cache line");

/// Whose memory it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Buffer,
    /// Others may have it as well.
    Imported,
    Scope,
    /// Somebody has promised that it is right.
    Promised,
}

/// Why there is no such view.
#[derive(Clone, Copy)]
enum Bad {
    /// Elements from the address to what the first two words of the shape say, of as many as the next
    /// two say.
    Range,
    /// The shape, of as many elements as the address.
    Shape,
    /// As many dimensions as the address.
    Dims,
    /// As many elements as the address.
    Long,
    Element,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<T: Element> fmt::Debug for View<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault() {
            None => f.debug_tuple("View").field(&self.tensor).finish(),
            Some(fault) => f.debug_tuple("View").field(&fault).finish(),
        }
    }
}

impl<T: Element> Buffer<T> {
    /// A part of it, as an argument of a typed task.
    #[inline]
    pub fn part(&self, elements: impl RangeBounds<usize>) -> View<'_, T> {
        let memory = if self.is_foreign() { Memory::Imported } else { Memory::Buffer };
        let (executor, scope) = (self.executor(), ScopeRef::default());
        View::new(self.tensor(), memory, executor, scope).part(elements)
    }
}

impl<'b, T: Element> View<'b, T> {
    #[inline]
    fn new(tensor: ContinuousTensor, memory: Memory, executor: u64, scope: ScopeRef) -> Self {
        let ScopeRef { depth, id: scope } = scope;
        View { tensor, executor, scope, depth, memory, ordered: true, bad: None, of: PhantomData }
    }

    /// No view, for a reason that these figures tell.
    #[cold]
    fn bad(self, why: Bad, figure: u64, more: [u32; MAX_DIMS], dims: usize) -> Self {
        let tensor = ContinuousTensor::from_raw(figure, more, dims as u32, T::DTYPE as u8);
        Self { tensor, bad: Some(why), ..self }
    }

    /// Memory of the innermost scope.
    pub(super) fn in_scope(tensor: ContinuousTensor, orchestrator: &Orchestrator) -> Self {
        let (executor, scope) = (orchestrator.executor(), orchestrator.current_scope());
        Self::new(tensor, Memory::Scope, executor, scope)
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
        let view = Self::new(tensor, Memory::Promised, 0, ScopeRef::default());
        Self { bad: (!fits).then_some(Bad::Element), ..view }
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
    #[inline]
    pub fn len(&self) -> usize {
        match self.bad {
            // As many as the tensor had, so they can be counted.
            None => self.tensor.shape().iter().map(|&n| n as usize).product(),
            Some(_) => 0,
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of it, in one dimension.
    #[inline]
    #[must_use]
    pub fn part(self, elements: impl RangeBounds<usize>) -> Self {
        if self.bad.is_some() {
            return self;
        }
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
        if first > end || end > len {
            let [end, len] = [end, len].map(|n| [n as u32, (n as u64 >> 32) as u32]);
            let figures = [end[0], end[1], len[0], len[1], 0];
            return self.bad(Bad::Range, first as u64, figures, 0);
        }
        let Ok(count) = u32::try_from(end - first) else {
            return self.bad(Bad::Long, (end - first) as u64, [0; MAX_DIMS], 0);
        };
        let address = self.tensor.data() + first as u64 * size_of::<T>() as u64;
        let dtype = T::DTYPE as u8;
        Self { tensor: ContinuousTensor::from_raw(address, [count, 0, 0, 0, 0], 1, dtype), ..self }
    }

    /// The same elements with another shape, row by row.
    #[must_use]
    pub fn shaped(self, shape: &[u32]) -> Self {
        if self.bad.is_some() {
            return self;
        }
        let (dims, len) = (shape.len(), self.len() as u64);
        let mut shapes = [0; MAX_DIMS];
        let Some(part) = shapes.get_mut(..dims) else {
            return self.bad(Bad::Dims, dims as u64, shapes, 0);
        };
        part.copy_from_slice(shape);
        let count = |elements: u64, &n: &u32| elements.checked_mul(u64::from(n));
        if shape.iter().try_fold(1, count) != Some(len) {
            return self.bad(Bad::Shape, len, shapes, dims);
        }
        let (address, dtype) = (self.tensor.data(), T::DTYPE as u8);
        Self { tensor: ContinuousTensor::from_raw(address, shapes, dims as u32, dtype), ..self }
    }

    /// Whether tasks that name it are ordered by its bytes.
    #[inline]
    pub(super) fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// The tensor of a view that is not bad.
    #[inline]
    pub(super) fn tensor(&self) -> ContinuousTensor {
        self.tensor
    }

    /// Whether the orchestrator's executor can give it to a task now.
    #[inline]
    pub(super) fn check(&self, orchestrator: &Orchestrator) -> Result<(), Box<ArgumentFault>> {
        const { assert!(size_of::<T>() == T::DTYPE.size(), "`Element` describes another size") };
        const { assert!(align_of::<T>() <= 64, "shared memory is aligned to 64 bytes") };
        let ours = self.executor == orchestrator.executor();
        let there = match self.memory {
            Memory::Buffer => ours,
            Memory::Scope => {
                let scope = ScopeRef { depth: self.depth, id: self.scope };
                ours && orchestrator.is_open(scope)
            }
            Memory::Promised => true,
            Memory::Imported => false,
        };
        if there && self.bad.is_none() { Ok(()) } else { Err(self.refuse(ours)) }
    }

    /// Its tensor, for a recording of this executor, and whether others may write to it. (Whether its
    /// scope is open is seen when it is replayed.)
    pub(super) fn as_binding(
        &self,
        executor: u64,
    ) -> Result<(ContinuousTensor, bool), ArgumentFault> {
        let ours = self.executor == executor || self.memory == Memory::Promised;
        match self.fault() {
            Some(fault) => Err(fault),
            None if !ours => Err(ArgumentFault::OtherExecutor),
            None => Ok((self.tensor, self.memory == Memory::Imported)),
        }
    }

    #[cold]
    fn refuse(&self, ours: bool) -> Box<ArgumentFault> {
        Box::new(match self.memory {
            Memory::Promised => self.fault().unwrap_or(ArgumentFault::Imported),
            _ if !ours => ArgumentFault::OtherExecutor,
            Memory::Imported => ArgumentFault::Imported,
            _ => self.fault().unwrap_or(ArgumentFault::ScopeClosed),
        })
    }

    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<ArgumentFault> {
        let figure = self.tensor.data() as usize;
        Some(match self.bad? {
            Bad::Range => {
                let words = self.tensor.shapes();
                let wide = |at: usize| u64::from(words[at]) | u64::from(words[at + 1]) << 32;
                let (end, len) = (wide(0) as usize, wide(2) as usize);
                ArgumentFault::OutOfRange { first: figure, end, len }
            }
            Bad::Shape => {
                ArgumentFault::Shape { shape: self.tensor.shape().to_vec(), len: figure as u64 }
            }
            Bad::Dims => AbiError::TooManyDims(figure).into(),
            Bad::Long => {
                let (field, limit) = ("elements in one dimension", u32::MAX as usize);
                AbiError::TooMany { what: "a part", field, count: figure, limit }.into()
            }
            Bad::Element => ArgumentFault::Elements(T::DTYPE),
        })
    }
}
