//! The bytes that others know: tensor descriptors, the argument blob, the call configuration, the
//! arguments and callables of a chip runtime.
//!
//! Layouts are those of the host runtime that this library follows, so that a chip runtime built
//! for it can be driven from here. Every size and offset is asserted at compile time. This room
//! depends on nothing else in the crate but [`limits`](crate::limits).

mod args;
mod blob;
mod callable;
pub(crate) mod cells;
mod chip;
mod config;
mod pool;
mod tag;
mod tensor;

pub use args::{BLOB_HEADER, TaskArgs, blob_len};
pub use blob::{TaskArgsView, read_blob, write_blob};
pub use callable::{
    ArgDirection, Children, ChipCallable, ChipCallableBuilder, ChipCallableView, CoreCallable,
    CoreCallableView,
};
pub use chip::{ChipStorageTaskArgs, view_to_chip_storage};
pub use config::CallConfig;
pub use tag::TensorArgType;
pub(crate) use tensor::check_reach;
pub use tensor::{ContinuousTensor, DataType, Element};

/// Invalid arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AbiError {
    /// More dimensions than the descriptor has room for.
    #[error("a tensor has at most {max} dimensions, not {0}", max = crate::limits::MAX_DIMS)]
    TooManyDims(usize),
    /// The dtype byte names no type.
    #[error("{0} is not a data type; the known ones are 0 (FLOAT32) to 8 (UINT64)")]
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
    /// No such argument, child or entry.
    #[error("there is no {what} {index}: there are {count}, counted from 0")]
    OutOfRange {
        /// `tensor`, `scalar`, `child` and the like.
        what: &'static str,
        /// Asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Bytes are fewer than their counts say.
    #[error("{what}: {field} needs {need} bytes, the buffer has {have}")]
    Truncated {
        /// What was read or written.
        what: &'static str,
        /// Which part.
        field: &'static str,
        /// Bytes it takes to hold it.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A value of fixed size in a buffer of another size.
    #[error("{what} take {need} bytes exactly, the buffer has {have}")]
    WrongSize {
        /// What was read.
        what: &'static str,
        /// Bytes it takes.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A number in a header is negative or impossibly large.
    #[error("{what}: {field} is {value}; possible are 0 to {limit}")]
    BadCount {
        /// What was read.
        what: &'static str,
        /// Which number.
        field: &'static str,
        /// What it says.
        value: i64,
        /// The largest that can be.
        limit: usize,
    },
    /// Bytes do not begin where they must.
    #[error("{what}: the buffer at {address:#x} is not aligned to {align} bytes")]
    Misaligned {
        /// What was read.
        what: &'static str,
        /// Where it begins.
        address: usize,
        /// What its address must be a multiple of.
        align: usize,
    },
    /// More than the layout has places for.
    #[error("{what}: {count} {field} are too many, there is room for {limit}; use fewer")]
    TooMany {
        /// What was to be made.
        what: &'static str,
        /// `tensors`, `scalars` and the like.
        field: &'static str,
        /// How many were given.
        count: usize,
        /// How many there can be.
        limit: usize,
    },
    /// More bytes than the layout can count.
    #[error("{what}: {bytes} bytes are more than the {limit} that it can count")]
    TooLarge {
        /// What was to be made.
        what: &'static str,
        /// Bytes given.
        bytes: u64,
        /// Bytes there can be.
        limit: u64,
    },
    /// An invalid tensor among others.
    #[error("tensor {index}, {field}: {source}")]
    Tensor {
        /// Which tensor.
        index: usize,
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        source: Box<AbiError>,
    },
    /// An invalid entry of a list.
    #[error("{what} {index}: {source}")]
    Entry {
        /// `child` or `signature entry`.
        what: &'static str,
        /// Which one.
        index: usize,
        /// What is wrong with it.
        source: Box<AbiError>,
    },
    /// The number names no direction.
    #[error("{0} is not an argument direction; the known ones are 0 (SCALAR) to 3 (INOUT)")]
    UnknownDirection(i32),
    /// An invalid name.
    #[error("chip callable: {field} {why}")]
    BadName {
        /// `func_name` or `config_name`.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A child lies where it cannot.
    #[error("chip callable: child {index} begins at offset {offset}, {why}")]
    ChildPlace {
        /// Which child.
        index: usize,
        /// Its offset in the storage.
        offset: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A null pointer where there should be a callable.
    #[error("{0}: the pointer is null")]
    Null(&'static str),
    /// A binary could not be read from its file.
    #[error("binary `{path}`: {why}")]
    File {
        /// The file.
        path: Box<str>,
        /// What the system said.
        why: Box<str>,
    },
    /// A buffer in a process that does not have its memory.
    #[error(
        "this buffer's memory is not mapped here: it belongs to the process that built its executor, \
         not to workers of other executors, nor to a child that was forked since; use it there, or \
         hand the tensor to a task"
    )]
    NotMapped,
    /// A view that was made by hand, and not for a task.
    #[error(
        "tensor {index} is one of a view that was made by hand; `get` and `set` follow the arguments of \
         a task, `slice` (unsafe) what its caller answers for"
    )]
    NotOfATask {
        /// Which tensor.
        index: usize,
    },
    /// Memory of a higher level that has typed tasks.
    #[error(
        "tensor {index} is memory of a higher level with typed tasks, which hold slices of it; take it \
         as a parameter of a typed task (`View::of`)"
    )]
    OtherTyped {
        /// Which tensor.
        index: usize,
    },
    /// A write to a tensor that the task only reads, where typed tasks may read it at the same time.
    #[error(
        "tensor {index} was submitted as INPUT, and the executor has typed tasks, which may read it at \
         the same time; submit it as INOUT or OUTPUT_EXISTING"
    )]
    ReadOnly {
        /// Which tensor.
        index: usize,
    },
    /// A tensor names memory that is not any executor's.
    #[error(
        "tensor {index} names {address:#x}, which is not memory of an executor in this process; use \
         a buffer or a slab, or `slice` for memory of your own"
    )]
    OutOfReach {
        /// Which tensor.
        index: usize,
        /// Where.
        address: u64,
    },
    /// The element type asked for is not the tensor's.
    #[error("tensor {index} is invalid as a slice of elements of {size} bytes: {why}")]
    ElementType {
        /// Which tensor.
        index: usize,
        /// Bytes of the element asked for.
        size: usize,
        /// What is wrong.
        why: &'static str,
    },
}
