//! The arguments of a chip runtime: one block of 1672 bytes with a place for every argument.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use super::{AbiError, ContinuousTensor, TaskArgsView};
use crate::limits::{CHIP_MAX_SCALAR_ARGS, CHIP_MAX_TENSOR_ARGS};

const WHAT: &str = "chip arguments";

/// What a chip runtime takes as its arguments.
///
/// ```text
///  0                        640                     1664           1668          1672
/// | 16 tensors of 40 bytes | 128 scalars of 8 bytes | tensor_count | scalar_count |
/// ```
///
/// Places beyond the counts hold whatever they held before: one block is made once and used for
/// call after call ([`view_to_chip_storage`]).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct ChipStorageTaskArgs {
    tensors: [ContinuousTensor; CHIP_MAX_TENSOR_ARGS],
    scalars: [u64; CHIP_MAX_SCALAR_ARGS],
    tensor_count: i32,
    scalar_count: i32,
}

const _: () = {
    assert!(size_of::<ChipStorageTaskArgs>() == 1672 && align_of::<ChipStorageTaskArgs>() == 8);
    assert!(offset_of!(ChipStorageTaskArgs, tensors) == 0);
    assert!(offset_of!(ChipStorageTaskArgs, scalars) == 640);
    assert!(offset_of!(ChipStorageTaskArgs, tensor_count) == 1664);
    assert!(offset_of!(ChipStorageTaskArgs, scalar_count) == 1668);
};

impl ChipStorageTaskArgs {
    /// No arguments.
    #[must_use]
    pub fn new() -> Self {
        Self::zeroed()
    }

    /// The block that these bytes are, in place. Counts and tensors are checked when they are
    /// asked for.
    ///
    /// # Errors
    /// Not 1672 bytes, or not at a multiple of 8.
    pub fn from_bytes(bytes: &[u8]) -> Result<&Self, AbiError> {
        let (need, have) = (size_of::<Self>(), bytes.len());
        if have != need {
            return Err(AbiError::WrongSize { what: WHAT, need, have });
        }
        let address = bytes.as_ptr() as usize;
        let align = align_of::<Self>();
        bytemuck::try_from_bytes(bytes).map_err(|_| AbiError::Misaligned {
            what: WHAT,
            address,
            align,
        })
    }

    /// All bytes, as a chip runtime takes them.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// A scalar was added before, there are 16 tensors already, or the count is invalid. Nothing
    /// is changed then.
    pub fn add_tensor(&mut self, tensor: ContinuousTensor) -> Result<(), AbiError> {
        let count = self.tensors()?.len();
        if !self.scalars()?.is_empty() {
            return Err(AbiError::TensorAfterScalar { tensor: count });
        }
        let place = self.tensors.get_mut(count);
        *place.ok_or_else(|| too_many("tensors", count + 1, CHIP_MAX_TENSOR_ARGS))? = tensor;
        self.tensor_count += 1;
        Ok(())
    }

    /// Adds a scalar.
    ///
    /// # Errors
    /// There are 128 scalars already, or their count is invalid. Nothing is changed then.
    pub fn add_scalar(&mut self, scalar: u64) -> Result<(), AbiError> {
        let count = self.scalars()?.len();
        let place = self.scalars.get_mut(count);
        *place.ok_or_else(|| too_many("scalars", count + 1, CHIP_MAX_SCALAR_ARGS))? = scalar;
        self.scalar_count += 1;
        Ok(())
    }

    /// Forgets all arguments. Their bytes stay.
    pub fn clear(&mut self) {
        (self.tensor_count, self.scalar_count) = (0, 0);
    }

    /// The tensors in use. Each of them is unchecked until it is used.
    ///
    /// # Errors
    /// Their count is negative or above 16.
    pub fn tensors(&self) -> Result<&[ContinuousTensor], AbiError> {
        in_use(&self.tensors, "tensor_count", self.tensor_count)
    }

    /// The scalars in use.
    ///
    /// # Errors
    /// Their count is negative or above 128.
    pub fn scalars(&self) -> Result<&[u64], AbiError> {
        in_use(&self.scalars, "scalar_count", self.scalar_count)
    }

    /// Tensor `index`.
    ///
    /// # Errors
    /// There is no such tensor, or the count is invalid.
    pub fn tensor(&self, index: usize) -> Result<&ContinuousTensor, AbiError> {
        let tensors = self.tensors()?;
        let count = tensors.len();
        tensors.get(index).ok_or(AbiError::OutOfRange { what: "tensor", index, count })
    }

    /// Scalar `index`.
    ///
    /// # Errors
    /// There is no such scalar, or the count is invalid.
    pub fn scalar(&self, index: usize) -> Result<u64, AbiError> {
        let scalars = self.scalars()?;
        let count = scalars.len();
        scalars.get(index).copied().ok_or(AbiError::OutOfRange { what: "scalar", index, count })
    }

    /// The way back: the arguments as a worker's function sees them, in place.
    ///
    /// # Errors
    /// An invalid count or tensor.
    pub fn view(&self) -> Result<TaskArgsView<'_>, AbiError> {
        let (tensors, scalars) = (self.tensors()?, self.scalars()?);
        for (index, tensor) in tensors.iter().enumerate() {
            tensor.check(index)?;
        }
        Ok(TaskArgsView::from_slices(tensors, scalars))
    }
}

impl Default for ChipStorageTaskArgs {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ChipStorageTaskArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChipStorageTaskArgs")
            .field("tensors", &self.tensors())
            .field("scalars", &self.scalars())
            .finish()
    }
}

/// Writes what `view` holds into `out`: 40 bytes a tensor, 8 a scalar, and the two counts. All
/// other bytes stay as they are, so that a block that is used again costs what its arguments cost.
///
/// # Errors
/// More than 16 tensors or 128 scalars. Nothing is written then.
///
/// ```
/// use mailring::abi::{ChipStorageTaskArgs, TaskArgsView, view_to_chip_storage};
/// let mut block = ChipStorageTaskArgs::new();
/// view_to_chip_storage(TaskArgsView::from_slices(&[], &[7, 8]), &mut block)?;
/// assert_eq!(block.scalars()?, &[7, 8]);
/// let error = view_to_chip_storage(TaskArgsView::from_slices(&[], &[0; 129]), &mut block);
/// assert!(error.unwrap_err().to_string().contains("129 scalars"));
/// assert_eq!(block.scalars()?, &[7, 8]);
/// # Ok::<(), mailring::abi::AbiError>(())
/// ```
#[inline]
pub fn view_to_chip_storage(
    view: TaskArgsView<'_>,
    out: &mut ChipStorageTaskArgs,
) -> Result<(), AbiError> {
    let (tensors, scalars) = (view.tensors(), view.scalars());
    let Some(places) = out.tensors.get_mut(..tensors.len()) else {
        return Err(too_many("tensors", tensors.len(), CHIP_MAX_TENSOR_ARGS));
    };
    let Some(words) = out.scalars.get_mut(..scalars.len()) else {
        return Err(too_many("scalars", scalars.len(), CHIP_MAX_SCALAR_ARGS));
    };
    places.copy_from_slice(tensors);
    words.copy_from_slice(scalars);
    out.tensor_count = tensors.len() as i32;
    out.scalar_count = scalars.len() as i32;
    Ok(())
}

#[cold]
fn too_many(field: &'static str, count: usize, limit: usize) -> AbiError {
    AbiError::TooMany { what: WHAT, field, count, limit }
}

fn in_use<'a, T>(all: &'a [T], field: &'static str, value: i32) -> Result<&'a [T], AbiError> {
    usize::try_from(value).ok().and_then(|count| all.get(..count)).ok_or(AbiError::BadCount {
        what: WHAT,
        field,
        value: value.into(),
        limit: all.len(),
    })
}
