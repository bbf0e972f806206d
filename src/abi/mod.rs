//! The bytes that others know: tensor descriptors, the argument blob, the call configuration.
//!
//! Layouts are those of the host runtime that this library follows, so that a chip runtime built
//! for it can be driven from here. Every size and offset is asserted at compile time. This room
//! depends on nothing else in the crate but [`limits`](crate::limits).

mod args;
mod blob;
mod pool;
mod tensor;

pub use args::{TaskArgs, TensorArgType};
pub use blob::{BLOB_HEADER, TaskArgsView, blob_len, read_blob, write_blob};
pub use tensor::{CallConfig, ContinuousTensor, DataType, Element};

/// Arguments that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AbiError {
    /// More dimensions than the descriptor has room for.
    #[error("a tensor has at most {max} dimensions, not {0}", max = crate::limits::MAX_DIMS)]
    TooManyDims(usize),
    /// The dtype byte names no type.
    #[error("{0} is no data type; the known ones are 0 (FLOAT32) to 8 (UINT64)")]
    UnknownDtype(u8),
    /// Elements times element size is no 64-bit number.
    #[error("a tensor of shape {0:?} has more bytes than 64 bits can count")]
    SizeOverflow(Vec<u32>),
    /// The tensor lies across the end of the address space.
    #[error("a tensor of {bytes} bytes at {address:#x} runs over the end of the address space")]
    AddressOverflow {
        /// First byte.
        address: u64,
        /// Length.
        bytes: u64,
    },
    /// Tensors come first, then scalars.
    #[error("tensor {tensor} was added after a scalar; add all tensors first, then the scalars")]
    TensorAfterScalar {
        /// Which tensor it would have been.
        tensor: usize,
    },
    /// No such argument.
    #[error("there is no {what} {index}: the task has {count}")]
    OutOfRange {
        /// `tensor` or `scalar`.
        what: &'static str,
        /// Asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A blob is shorter than its counts say.
    #[error("blob: {field} needs {need} bytes, the buffer has {have}")]
    Truncated {
        /// Which part.
        field: &'static str,
        /// Bytes it takes to hold it.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A count in a blob is negative or impossibly large.
    #[error("blob: {field} is {value}, which is no possible count")]
    BadCount {
        /// `tensor_count` or `scalar_count`.
        field: &'static str,
        /// What it says.
        value: i32,
    },
    /// A blob does not begin at a multiple of 8.
    #[error("blob: the buffer at {0:#x} is not aligned to 8 bytes")]
    Misaligned(usize),
    /// The element type asked for is not the tensor's.
    #[error("tensor {index} cannot be seen as elements of {size} bytes: {why}")]
    ElementType {
        /// Which tensor.
        index: usize,
        /// Bytes of the element asked for.
        size: usize,
        /// What is wrong.
        why: &'static str,
    },
}
