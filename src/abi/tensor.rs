//! A tensor descriptor (40 bytes) and its data types.

use std::fmt;
use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};
use mailring_process::reach;

use super::AbiError;
use crate::limits::MAX_DIMS;

/// The element type of a tensor, by the number that travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the types")]
pub enum DataType {
    Float32 = 0,
    Float16 = 1,
    Int32 = 2,
    Int16 = 3,
    Int8 = 4,
    Uint8 = 5,
    Bfloat16 = 6,
    Int64 = 7,
    Uint64 = 8,
}

impl DataType {
    /// All types, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Float32,
        Self::Float16,
        Self::Int32,
        Self::Int16,
        Self::Int8,
        Self::Uint8,
        Self::Bfloat16,
        Self::Int64,
        Self::Uint64,
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 => 1,
            Self::Float16 | Self::Int16 | Self::Bfloat16 => 2,
            Self::Float32 | Self::Int32 => 4,
            Self::Int64 | Self::Uint64 => 8,
        }
    }

    /// The name that other tools print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float32 => "FLOAT32",
            Self::Float16 => "FLOAT16",
            Self::Int32 => "INT32",
            Self::Int16 => "INT16",
            Self::Int8 => "INT8",
            Self::Uint8 => "UINT8",
            Self::Bfloat16 => "BFLOAT16",
            Self::Int64 => "INT64",
            Self::Uint64 => "UINT64",
        }
    }
}

impl TryFrom<u8> for DataType {
    type Error = AbiError;

    fn try_from(value: u8) -> Result<Self, AbiError> {
        Self::ALL.get(usize::from(value)).copied().ok_or(AbiError::UnknownDtype(value))
    }
}

/// A Rust type that a tensor element can be seen as.
///
/// There is no 64-bit float among the data types; `f64` travels as [`DataType::Uint64`], same
/// bits.
pub trait Element: Pod {
    /// How it is described.
    const DTYPE: DataType;
}

macro_rules! element {
    ($($ty:ty => $dtype:ident),* $(,)?) => { $(impl Element for $ty {
        const DTYPE: DataType = DataType::$dtype;
    })* };
}
element!(f32 => Float32, f64 => Uint64, i8 => Int8, u8 => Uint8, i16 => Int16, i32 => Int32,
         i64 => Int64, u64 => Uint64);
// There is no unsigned 16- or 32-bit type either; same bits again.
element!(u16 => Int16, u32 => Int32);

/// Where a tensor lies, its shape and its element type. Rows are contiguous.
///
/// ```text
///  0        8                    28      32     33         40
/// | data u64 | shapes u32 x 5     | ndims | dtype | padding  |
/// ```
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct ContinuousTensor {
    data: u64,
    shapes: [u32; MAX_DIMS],
    ndims: u32,
    dtype: u8,
    padding: [u8; 7],
}

const _: () = {
    assert!(size_of::<ContinuousTensor>() == 40 && align_of::<ContinuousTensor>() == 8);
    assert!(offset_of!(ContinuousTensor, data) == 0);
    assert!(offset_of!(ContinuousTensor, shapes) == 8);
    assert!(offset_of!(ContinuousTensor, ndims) == 28);
    assert!(offset_of!(ContinuousTensor, dtype) == 32);
    assert!(offset_of!(ContinuousTensor, padding) == 33);
};

impl ContinuousTensor {
    /// Whether the task that it travels to only reads it, as far as that was marked.
    #[inline]
    pub(crate) fn is_read_only(&self) -> bool {
        self.padding[0] != 0
    }

    /// The same, marked whether the task that it travels to only reads it: for `set`, in executors with
    /// typed tasks.
    #[inline(always)]
    pub(crate) fn marked(self, read_only: bool) -> Self {
        let mark = |value: u8| u64::from_ne_bytes([0, value, 0, 0, 0, 0, 0, 0]);
        // As a word: a byte that is written by itself would hold up those who read all of it.
        let mut words: [u64; size_of::<Self>() / 8] = bytemuck::cast(self);
        let last = &mut words[size_of::<Self>() / 8 - 1];
        *last = *last & !mark(u8::MAX) | mark(u8::from(read_only));
        bytemuck::cast(words)
    }

    /// A tensor at address `data` (0: to be allocated). No dimensions mean one element.
    ///
    /// # Errors
    /// More than five dimensions; more bytes than 64 bits can count.
    ///
    /// ```
    /// use mailring::abi::{ContinuousTensor, DataType};
    /// let t = ContinuousTensor::new(0, &[2, 3], DataType::Float32)?;
    /// assert_eq!(t.nbytes()?, 24);
    /// assert!(ContinuousTensor::new(0, &[u32::MAX; 5], DataType::Int8).is_err());
    /// # Ok::<(), mailring::abi::AbiError>(())
    /// ```
    pub fn new(data: u64, shape: &[u32], dtype: DataType) -> Result<Self, AbiError> {
        if shape.len() > MAX_DIMS {
            return Err(AbiError::TooManyDims(shape.len()));
        }
        let mut shapes = [0; MAX_DIMS];
        shapes[..shape.len()].copy_from_slice(shape);
        let tensor =
            Self { data, shapes, ndims: shape.len() as u32, dtype: dtype as u8, padding: [0; 7] };
        tensor.nbytes()?;
        Ok(tensor)
    }

    /// A descriptor from raw parts, unchecked until it is used.
    pub fn from_raw(data: u64, shapes: [u32; MAX_DIMS], ndims: u32, dtype: u8) -> Self {
        Self { data, shapes, ndims, dtype, padding: [0; 7] }
    }

    /// The address of the first byte.
    #[inline]
    pub fn data(&self) -> u64 {
        self.data
    }

    /// Names other bytes.
    #[inline]
    pub fn set_data(&mut self, data: u64) {
        self.data = data;
    }

    /// Takes another shape.
    ///
    /// # Errors
    /// As [`new`](Self::new). Nothing is changed then.
    pub fn set_shape(&mut self, shape: &[u32]) -> Result<(), AbiError> {
        *self = Self::new(self.data, shape, self.dtype()?)?;
        Ok(())
    }

    /// Takes another element type.
    ///
    /// # Errors
    /// More bytes than 64 bits can count. Nothing is changed then.
    pub fn set_dtype(&mut self, dtype: DataType) -> Result<(), AbiError> {
        let changed = Self { dtype: dtype as u8, ..*self };
        changed.nbytes()?;
        *self = changed;
        Ok(())
    }

    /// The shape. Dimensions beyond the fifth do not exist, whatever the descriptor says.
    #[inline]
    pub fn shape(&self) -> &[u32] {
        &self.shapes[..(self.ndims as usize).min(MAX_DIMS)]
    }

    /// Whether this is its element type.
    #[inline(always)]
    pub(crate) fn is_of(&self, dtype: DataType) -> bool {
        self.dtype == dtype as u8
    }

    /// All words of the shape, whatever the dimensions.
    pub(crate) fn shapes(&self) -> &[u32; MAX_DIMS] {
        &self.shapes
    }

    /// The element type.
    ///
    /// # Errors
    /// The byte names no type.
    #[inline]
    pub fn dtype(&self) -> Result<DataType, AbiError> {
        DataType::try_from(self.dtype)
    }

    /// Elements in all.
    ///
    /// # Errors
    /// Too many dimensions; overflow.
    #[inline]
    pub fn elements(&self) -> Result<u64, AbiError> {
        if self.ndims as usize > MAX_DIMS {
            return Err(AbiError::TooManyDims(self.ndims as usize));
        }
        let mut count = 1u64;
        for &n in self.shape() {
            count = count
                .checked_mul(u64::from(n))
                .ok_or_else(|| AbiError::SizeOverflow(self.shape().to_vec()))?;
        }
        Ok(count)
    }

    /// Bytes in all.
    ///
    /// # Errors
    /// Too many dimensions, unknown type, overflow of the size or of the address.
    #[inline]
    pub fn nbytes(&self) -> Result<u64, AbiError> {
        match self.quick_nbytes() {
            Some(bytes) => Ok(bytes),
            None => self.explain_nbytes(),
        }
    }

    /// The same without a reason, in registers.
    #[inline(always)]
    pub(crate) fn quick_nbytes(&self) -> Option<u64> {
        /// Logarithm of the element size, by the number of the type.
        const SHIFTS: [u8; 9] = [2, 1, 2, 1, 0, 0, 1, 3, 3];
        let shift = *SHIFTS.get(usize::from(self.dtype))?;
        let bytes = match self.ndims {
            1 => u64::from(self.shapes[0]) << shift,
            _ => self.size_of_all(shift)?,
        };
        self.data.checked_add(bytes)?;
        Some(bytes)
    }

    /// Bytes of all elements, `1 << shift` each.
    #[inline(never)]
    fn size_of_all(&self, shift: u8) -> Option<u64> {
        let dims = self.shapes.get(..self.ndims as usize)?;
        dims.iter().try_fold(1u64 << shift, |bytes, &n| bytes.checked_mul(u64::from(n)))
    }

    /// Checks a tensor that came as number `index` of several, from outside.
    pub(super) fn check(&self, index: usize) -> Result<(), AbiError> {
        let Err(source) = self.nbytes() else { return Ok(()) };
        let field = match source {
            AbiError::TooManyDims(_) => "ndims",
            AbiError::UnknownDtype(_) => "dtype",
            AbiError::AddressOverflow { .. } => "data",
            _ => "shapes",
        };
        Err(AbiError::Tensor { index, field, source: Box::new(source) })
    }

    #[cold]
    fn explain_nbytes(&self) -> Result<u64, AbiError> {
        let size = self.dtype()?.size() as u64;
        let bytes = self
            .elements()?
            .checked_mul(size)
            .ok_or_else(|| AbiError::SizeOverflow(self.shape().to_vec()))?;
        if self.data.checked_add(bytes).is_none() {
            return Err(AbiError::AddressOverflow { address: self.data, bytes });
        }
        Ok(bytes)
    }
}

impl fmt::Debug for ContinuousTensor {
    /// Address, shape and the name of the type; what the numbers say where they say nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tensor = f.debug_struct("ContinuousTensor");
        tensor.field("data", &format_args!("{:#x}", self.data));
        match self.shapes.get(..self.ndims as usize) {
            Some(shape) => tensor.field("shape", &shape),
            None => tensor.field("shapes", &self.shapes).field("ndims", &self.ndims),
        };
        match self.dtype() {
            Ok(dtype) => tensor.field("dtype", &format_args!("{}", dtype.name())),
            Err(_) => tensor.field("dtype", &format_args!("{} (unknown)", self.dtype)),
        };
        tensor.finish()
    }
}

impl PartialEq for ContinuousTensor {
    /// Padding does not count, nor do shapes beyond the dimensions.
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
            && self.ndims == other.ndims
            && self.dtype == other.dtype
            && self.shape() == other.shape()
    }
}

impl Eq for ContinuousTensor {}

/// Whether the tensors are those of a task, and their bytes memory of an executor that this process
/// has mapped: then they stay so until the task is through.
pub(crate) fn check_reach(tensors: &[ContinuousTensor]) -> Result<(), AbiError> {
    if reach::is_trusting() {
        return Ok(());
    }
    for (index, tensor) in tensors.iter().enumerate() {
        let (address, bytes) = (tensor.data(), tensor.nbytes()?);
        if bytes > 0 && !reach::holds(address, bytes) {
            return Err(AbiError::OutOfReach { index, address });
        }
        if bytes > 0 && !reach::is_given(tensors.as_ptr() as u64) {
            return Err(AbiError::NotOfATask { index });
        }
    }
    Ok(())
}
