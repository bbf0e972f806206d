//! The builder of a task's arguments (tensors with tags, then scalars), and what they take as a
//! blob.

use super::pool::{MISPLACED, Pooled, UNORDERED};
use super::{AbiError, ContinuousTensor, TensorArgType};

/// Bytes of the two counts in front of a blob.
pub const BLOB_HEADER: usize = 8;

/// Bytes of a blob with this many tensors and scalars; `usize::MAX` if there cannot be so many.
#[inline]
pub const fn blob_len(tensors: usize, scalars: usize) -> usize {
    let tensors = tensors.saturating_mul(size_of::<ContinuousTensor>());
    BLOB_HEADER.saturating_add(tensors).saturating_add(scalars.saturating_mul(8))
}

/// Arguments of one task: tensors, each with a tag, then scalars.
///
/// ```
/// use mailring::abi::{ContinuousTensor, DataType, TaskArgs, TensorArgType};
/// let t = ContinuousTensor::new(0, &[8], DataType::Float32)?;
/// let mut args = TaskArgs::new();
/// args.add_tensor(t, TensorArgType::Output)?;
/// args.add_scalar(7);
/// assert_eq!((args.tensors().len(), args.scalars()), (1, &[7][..]));
/// assert!(args.add_tensor(t, TensorArgType::Input).is_err()); // tensors come first
/// # Ok::<(), mailring::abi::AbiError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskArgs {
    // A pointer, since a builder is moved from call to call: moving 40 bytes a tensor right after
    // they were written in smaller pieces stalls the processor for longer than all the rest takes.
    list: Pooled,
}

impl TaskArgs {
    /// No arguments.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// A scalar was added before. Nothing is changed then.
    #[inline(always)]
    pub fn add_tensor(
        &mut self,
        tensor: ContinuousTensor,
        tag: TensorArgType,
    ) -> Result<&mut Self, AbiError> {
        if !self.list.scalars().is_empty() {
            return Err(AbiError::TensorAfterScalar { tensor: self.list.tensors().len() });
        }
        self.list.push(tensor, tag);
        Ok(self)
    }

    /// Adds a tensor, whatever was added before: the two lists lie apart.
    #[inline(always)]
    pub(crate) fn push_tensor(&mut self, tensor: ContinuousTensor, tag: TensorArgType) {
        self.list.push(tensor, tag);
    }

    /// Adds a scalar.
    #[inline]
    pub fn add_scalar(&mut self, scalar: u64) -> &mut Self {
        self.list.push_scalar(scalar);
        self
    }

    #[inline(always)]
    fn with(mut self, tensor: impl Into<ContinuousTensor>, tag: TensorArgType) -> Self {
        // A misplaced tensor is remembered and refused at submit, so that chains need no `?`.
        if self.add_tensor(tensor.into(), tag).is_err() {
            self.list.note(MISPLACED);
        }
        self
    }

    /// Adds a tensor that the task reads. A tensor after a scalar makes the submit fail.
    #[inline(always)]
    #[must_use]
    pub fn input(self, tensor: impl Into<ContinuousTensor>) -> Self {
        self.with(tensor, TensorArgType::Input)
    }

    /// Adds a tensor that the task overwrites; address 0: allocated from the heap ring.
    #[inline(always)]
    #[must_use]
    pub fn output(self, tensor: impl Into<ContinuousTensor>) -> Self {
        self.with(tensor, TensorArgType::Output)
    }

    /// Adds a tensor that the task reads and writes.
    #[inline(always)]
    #[must_use]
    pub fn inout(self, tensor: impl Into<ContinuousTensor>) -> Self {
        self.with(tensor, TensorArgType::InOut)
    }

    /// Adds a tensor that the task overwrites and that exists already.
    #[inline(always)]
    #[must_use]
    pub fn output_existing(self, tensor: impl Into<ContinuousTensor>) -> Self {
        self.with(tensor, TensorArgType::OutputExisting)
    }

    /// Adds a tensor that is not looked at for dependencies.
    #[inline(always)]
    #[must_use]
    pub fn no_dep(self, tensor: impl Into<ContinuousTensor>) -> Self {
        self.with(tensor, TensorArgType::NoDep)
    }

    /// Adds a scalar.
    #[inline(always)]
    #[must_use]
    pub fn scalar(mut self, scalar: u64) -> Self {
        self.list.push_scalar(scalar);
        self
    }

    /// The tensors, in order.
    #[inline]
    pub fn tensors(&self) -> &[ContinuousTensor] {
        self.list.tensors()
    }

    /// The tags, one a tensor.
    #[inline]
    pub fn tags(&self) -> &[TensorArgType] {
        self.list.tags()
    }

    /// The scalars, in order.
    #[inline]
    pub fn scalars(&self) -> &[u64] {
        self.list.scalars()
    }

    /// Changes the tag of tensor `index`.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn set_tag(&mut self, index: usize, tag: TensorArgType) -> Result<(), AbiError> {
        let count = self.list.tags().len();
        if !self.list.set_tag(index, tag) {
            return Err(AbiError::OutOfRange { what: "tensor", index, count });
        }
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Makes room for more; false when there is no memory for it. Without this, adding ends the
    /// program then.
    #[inline]
    pub fn try_reserve(&mut self, tensors: usize, scalars: usize) -> bool {
        self.list.has_room(tensors, scalars) || self.list.try_grow(tensors, scalars)
    }

    /// Bytes of the blob that carries these arguments.
    #[inline]
    pub fn blob_len(&self) -> usize {
        // Both lists lie in memory, so this cannot overflow.
        BLOB_HEADER + size_of_val(self.tensors()) + size_of_val(self.scalars())
    }

    /// Tensors and tags, if they are in order.
    #[inline(always)]
    pub(crate) fn in_order(&self) -> Option<(&[ContinuousTensor], &[TensorArgType])> {
        let list = &*self.list;
        (!list.is(MISPLACED)).then(|| (list.tensors(), list.tags()))
    }

    /// Whether one of them may be NO_DEP.
    #[inline(always)]
    pub(crate) fn names_unordered(&self) -> bool {
        self.list.is(UNORDERED)
    }

    #[inline]
    pub(crate) fn check_order(&self) -> Result<(), AbiError> {
        if self.list.is(MISPLACED) {
            return Err(AbiError::TensorAfterScalar { tensor: self.list.tensors().len() });
        }
        Ok(())
    }

    /// Drops it, in line.
    #[inline(always)]
    pub(crate) fn discard(self) {
        self.list.give_back();
    }

    /// Tensors, to be given addresses, with their tags.
    pub(crate) fn tensors_mut(
        &mut self,
    ) -> impl Iterator<Item = (&mut ContinuousTensor, TensorArgType)> {
        self.list.tensors_mut()
    }
}
