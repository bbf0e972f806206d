//! Plain structures that functions of tasks read, in the layout of the engine.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{MaybeUninit, offset_of, size_of};

use mailring::abi::{CallConfig, ContinuousTensor, DataType, TaskArgsView, TensorArgType};
use mailring::native::{NativeContext, NativeFunction};

use super::error::{Fail, guard};
use super::raw::{In, Many, Out, Plain, number};
use super::status::{MR_ERR_ARGS, mr_status};

/// The type of the elements of a tensor. MR_FLOAT64, for double, is that of 64-bit words.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_dtype {
    /// 32-bit float.
    MR_FLOAT32 = 0,
    /// 16-bit float.
    MR_FLOAT16 = 1,
    /// 32-bit integer (also for uint32_t, same bits).
    MR_INT32 = 2,
    /// 16-bit integer (also for uint16_t, same bits).
    MR_INT16 = 3,
    /// 8-bit integer.
    MR_INT8 = 4,
    /// Unsigned 8-bit integer.
    MR_UINT8 = 5,
    /// 16-bit brain float.
    MR_BFLOAT16 = 6,
    /// 64-bit integer.
    MR_INT64 = 7,
    /// Unsigned 64-bit integer (also for double, same bits).
    MR_UINT64 = 8,
}
pub use mr_dtype::*;

/// What a task does with a tensor.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_tag {
    /// Reads it.
    MR_INPUT = 0,
    /// Writes all of it without reading. A tensor with address 0 is allocated by the submit, from
    /// the heap ring of the innermost scope.
    MR_OUTPUT = 1,
    /// Reads and writes it.
    MR_INOUT = 2,
    /// Writes all of it without reading; never allocated.
    MR_OUTPUT_EXISTING = 3,
    /// Not looked at for dependencies.
    MR_NO_DEP = 4,
}
pub use mr_tag::*;

/// Dimensions of a tensor, at most.
pub const MR_MAX_DIMS: usize = 5;

/// The kind of a worker.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_worker_kind {
    /// Those that tasks go to by default.
    MR_NEXT_LEVEL = 0,
    /// Those for host functions beside them.
    MR_SUB = 1,
}
pub use mr_worker_kind::*;

/// What a task runs: the number that mr_register or mr_register_library returned. It belongs to
/// the executor that it was registered for; 0 is never one.
pub type mr_callable = u64;

/// Where a tensor lies, its shape and its element type; rows are contiguous. 40 bytes.
///
/// Fill it with mr_tensor_init, or take it from mr_buffer_tensor, mr_alloc or mr_task_tensor.
/// No dimensions mean one element.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_tensor {
    /// Address of the first byte; 0: to be allocated by the submit (MR_OUTPUT only).
    pub data: u64,
    /// Elements in each dimension.
    pub shapes: [u32; MR_MAX_DIMS],
    /// Dimensions in use.
    pub ndims: u32,
    /// Element type, MR_FLOAT32 to MR_UINT64.
    pub dtype: u8,
    /// Zeros.
    pub padding: [u8; 7],
}

/// How a callable is to be launched on a device; functions only see it passed on. 12 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_call_config {
    /// Blocks of a launch. Default 24.
    pub block_dim: i32,
    /// Control threads of a launch. Default 3.
    pub aicpu_thread_num: i32,
    /// 1 to profile.
    pub enable_profiling: u8,
    /// 1 to dump tensors.
    pub enable_dump_tensor: u8,
    /// Zeros.
    pub padding: [u8; 2],
}

/// The arguments of a task as its function sees them: tensors and scalars in the order in which
/// they were added. Tags do not travel. 24 bytes, valid until the function returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_task_args_view {
    /// Number of tensors.
    pub tensor_count: i32,
    /// Number of scalars.
    pub scalar_count: i32,
    /// The tensors.
    pub tensors: *const mr_tensor,
    /// The scalars.
    pub scalars: *const u64,
}

/// What a task's function can ask and say. Its functions take the context itself:
/// context->barrier(context). Valid until the function returns, in its thread.
///
/// The functions come as pointers, so a shared object with functions for mr_register_library
/// needs to be linked with nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_task_context {
    /// Bytes of this structure. Grows when members are added at the end: compare it before using
    /// one that your version of the library may not have.
    pub size: usize,
    /// The task's number.
    pub task: u64,
    /// The worker that runs it.
    pub worker: u32,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Which member of its group, from 0.
    pub member: u32,
    /// Members of its group; 0: it is not a group.
    pub members: u32,
    /// 1 when the function should stop: cancelled, over its deadline, or another member of its
    /// group failed. What it returns after that is not looked at.
    pub cancelled: Option<unsafe extern "C" fn(context: *const mr_task_context) -> c_int>,
    /// Waits for all members of the group: 0; -1 when one of them will not come (return then), or
    /// there is no group. What members wrote before it is visible to all after it.
    pub barrier: Option<unsafe extern "C" fn(context: *const mr_task_context) -> c_int>,
    /// Reads word 0 to 7 of the 64 bytes that the members share; they begin as zeros. 0 without a
    /// group.
    pub load: Option<unsafe extern "C" fn(context: *const mr_task_context, index: u32) -> u64>,
    /// Writes one of those words.
    pub store:
        Option<unsafe extern "C" fn(context: *const mr_task_context, index: u32, value: u64)>,
    /// Adds to one of those words; returns the old value.
    pub fetch_add: Option<
        unsafe extern "C" fn(context: *const mr_task_context, index: u32, value: u64) -> u64,
    >,
    /// What the error of a function that returns non-zero says besides its number: text in UTF-8,
    /// copied; about 1,000 bytes are kept.
    pub fail: Option<unsafe extern "C" fn(context: *const mr_task_context, message: *const c_char)>,
    /// Not for the function.
    pub call: *const c_void,
}

/// The function of a task. 0: it went well; anything else fails the task.
///
/// It runs in a worker process, forked when the executor was built, one task at a time; in THREAD
/// mode in a worker thread, so it must be thread-safe there. The bytes that its tensors name are
/// shared memory: what it writes there, the host and later tasks see. All other memory is the
/// worker's own copy. user is what was given to mr_register; NULL for mr_register_library.
///
/// No exception and no longjmp may leave it: the worker dies (in THREAD mode the program).
pub type mr_function = Option<
    unsafe extern "C" fn(
        args: *const mr_task_args_view,
        config: *const mr_call_config,
        context: *const mr_task_context,
        user: *mut c_void,
    ) -> c_int,
>;

// SAFETY: integers only.
unsafe impl Plain for mr_tensor {}
// SAFETY: integers only.
unsafe impl Plain for mr_call_config {}
// SAFETY: four bytes of any value.
unsafe impl<E: Copy> Plain for MaybeUninit<E> {}

// Layouts: those of the engine, byte for byte. Fields that are private there are asserted there
// to lie at the offsets that are repeated here.
const _: () = {
    assert!(size_of::<mr_tensor>() == size_of::<ContinuousTensor>());
    assert!(align_of::<mr_tensor>() == align_of::<ContinuousTensor>());
    assert!(size_of::<mr_tensor>() == 40 && offset_of!(mr_tensor, data) == 0);
    assert!(offset_of!(mr_tensor, shapes) == 8 && offset_of!(mr_tensor, ndims) == 28);
    assert!(offset_of!(mr_tensor, dtype) == 32 && offset_of!(mr_tensor, padding) == 33);

    assert!(size_of::<mr_call_config>() == size_of::<CallConfig>());
    assert!(align_of::<mr_call_config>() == align_of::<CallConfig>());
    assert!(offset_of!(mr_call_config, block_dim) == offset_of!(CallConfig, block_dim));
    assert!(
        offset_of!(mr_call_config, aicpu_thread_num) == offset_of!(CallConfig, aicpu_thread_num)
    );
    assert!(
        offset_of!(mr_call_config, enable_profiling) == offset_of!(CallConfig, enable_profiling)
    );
    assert!(
        offset_of!(mr_call_config, enable_dump_tensor)
            == offset_of!(CallConfig, enable_dump_tensor)
    );
    assert!(size_of::<mr_call_config>() == 12 && offset_of!(mr_call_config, padding) == 10);

    assert!(size_of::<mr_task_args_view>() == size_of::<TaskArgsView<'_>>());
    assert!(align_of::<mr_task_args_view>() == align_of::<TaskArgsView<'_>>());
    assert!(size_of::<mr_task_args_view>() == 24);
    assert!(offset_of!(mr_task_args_view, tensor_count) == 0);
    assert!(offset_of!(mr_task_args_view, scalar_count) == 4);
    assert!(offset_of!(mr_task_args_view, tensors) == 8);
    assert!(offset_of!(mr_task_args_view, scalars) == 16);

    assert!(size_of::<mr_task_context>() == size_of::<NativeContext>());
    assert!(align_of::<mr_task_context>() == align_of::<NativeContext>());
    assert!(offset_of!(mr_task_context, size) == offset_of!(NativeContext, size));
    assert!(offset_of!(mr_task_context, task) == offset_of!(NativeContext, task));
    assert!(offset_of!(mr_task_context, worker) == offset_of!(NativeContext, worker));
    assert!(offset_of!(mr_task_context, attempt) == offset_of!(NativeContext, attempt));
    assert!(offset_of!(mr_task_context, member) == offset_of!(NativeContext, member));
    assert!(offset_of!(mr_task_context, members) == offset_of!(NativeContext, members));
    assert!(offset_of!(mr_task_context, cancelled) == offset_of!(NativeContext, cancelled));
    assert!(offset_of!(mr_task_context, barrier) == offset_of!(NativeContext, barrier));
    assert!(offset_of!(mr_task_context, load) == offset_of!(NativeContext, load));
    assert!(offset_of!(mr_task_context, store) == offset_of!(NativeContext, store));
    assert!(offset_of!(mr_task_context, fetch_add) == offset_of!(NativeContext, fetch_add));
    assert!(offset_of!(mr_task_context, fail) == offset_of!(NativeContext, fail));
    assert!(offset_of!(mr_task_context, call) == offset_of!(NativeContext, fail) + 8);

    assert!(MR_MAX_DIMS == mailring::limits::MAX_DIMS);
    assert!(
        MR_FLOAT32 as u32 == DataType::Float32 as u32
            && MR_FLOAT16 as u32 == DataType::Float16 as u32
    );
    assert!(MR_INT32 as u32 == DataType::Int32 as u32 && MR_INT16 as u32 == DataType::Int16 as u32);
    assert!(MR_INT8 as u32 == DataType::Int8 as u32 && MR_UINT8 as u32 == DataType::Uint8 as u32);
    assert!(
        MR_BFLOAT16 as u32 == DataType::Bfloat16 as u32
            && MR_INT64 as u32 == DataType::Int64 as u32
    );
    assert!(MR_UINT64 as u32 == DataType::Uint64 as u32);
    assert!(
        MR_INPUT as i32 == TensorArgType::Input as i32
            && MR_OUTPUT as i32 == TensorArgType::Output as i32
    );
    assert!(
        MR_INOUT as i32 == TensorArgType::InOut as i32
            && MR_NO_DEP as i32 == TensorArgType::NoDep as i32
    );
    assert!(MR_OUTPUT_EXISTING as i32 == TensorArgType::OutputExisting as i32);
    assert!(MR_NEXT_LEVEL as u32 == mailring::WorkerKind::NextLevel as u32);
    assert!(MR_SUB as u32 == mailring::WorkerKind::Sub as u32);
};

impl mr_tensor {
    /// As the engine sees it.
    #[inline]
    pub(super) fn to_engine(self) -> Result<ContinuousTensor, Fail> {
        // By words: the engine copies it by words, and what was written in smaller pieces is slow to read.
        const PADDING: u64 = u64::from_ne_bytes([0, 255, 255, 255, 255, 255, 255, 255]);
        let words: [u64; 5] = bytemuck::cast(self);
        if words[4] & PADDING != 0 {
            return Err(unset());
        }
        Ok(bytemuck::cast(words))
    }

    pub(super) fn of(tensor: ContinuousTensor) -> Self {
        bytemuck::cast(tensor)
    }
}

// SAFETY: integers and pointers.
unsafe impl Plain for mr_task_args_view {}

// SAFETY: integers without padding between them.
unsafe impl bytemuck::Zeroable for mr_tensor {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for mr_tensor {}

#[cold]
fn unset() -> Fail {
    let why = "the padding of a tensor is not zero; fill it with mr_tensor_init, or begin with \
               mr_tensor t = {0}";
    Fail::new(MR_ERR_ARGS, why)
}

pub(super) fn dtype(given: MaybeUninit<mr_dtype>) -> Result<DataType, Fail> {
    let number = number(given);
    let known = u8::try_from(number).ok().and_then(|number| DataType::try_from(number).ok());
    known.ok_or_else(|| {
        Fail::argument(format!(
            "{number} is not an element type; see MR_FLOAT32 (0) to MR_UINT64 (8)"
        ))
    })
}

#[inline]
pub(super) fn tag(given: MaybeUninit<mr_tag>) -> Result<TensorArgType, Fail> {
    use TensorArgType::{InOut, Input, NoDep, Output, OutputExisting};
    const TAGS: [TensorArgType; 5] = [Input, Output, InOut, OutputExisting, NoDep];
    let number = number(given);
    TAGS.get(number as usize).copied().ok_or_else(|| no_tag(number))
}

#[cold]
fn no_tag(number: u32) -> Fail {
    Fail::argument(format!("{} is not a tag; see MR_INPUT (0) to MR_NO_DEP (4)", number as i32))
}

pub(super) fn kind(given: MaybeUninit<mr_worker_kind>) -> Result<mailring::WorkerKind, Fail> {
    let number = number(given);
    mailring::WorkerKind::ALL.into_iter().find(|&kind| kind as u32 == number).ok_or_else(|| {
        Fail::argument(format!(
            "{number} is not a kind of worker; see MR_NEXT_LEVEL (0) and MR_SUB (1)"
        ))
    })
}

/// A flag of C: 0 or 1.
pub(super) fn flag(number: u32, what: &str) -> Result<bool, Fail> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Fail::argument(format!("{what} is {other}; it can be 0 or 1"))),
    }
}

pub(super) fn shape(shape: Many<u32>) -> Result<Vec<u32>, Fail> {
    shape.read("dimensions", MR_MAX_DIMS)
}

/// The configuration of a caller, or the default at null.
pub(super) fn config(config: In<mr_call_config>) -> CallConfig {
    let Some(given) = config.maybe() else { return CallConfig::default() };
    let mut config = CallConfig::default();
    config.block_dim = given.block_dim;
    config.aicpu_thread_num = given.aicpu_thread_num;
    config.enable_profiling = given.enable_profiling;
    config.enable_dump_tensor = given.enable_dump_tensor;
    config
}

/// The same function, as the engine calls it.
pub(super) fn native(function: mr_function, what: &str) -> Result<NativeFunction, Fail> {
    let function = function.ok_or_else(|| super::raw::null(what))?;
    // SAFETY: only the names of the structures behind the pointers differ; their layouts are
    // asserted above to be the same.
    Ok(unsafe {
        std::mem::transmute::<
            unsafe extern "C" fn(
                *const mr_task_args_view,
                *const mr_call_config,
                *const mr_task_context,
                *mut c_void,
            ) -> c_int,
            NativeFunction,
        >(function)
    })
}

/// Describes ndims dimensions of elements of type dtype at data (NULL: to be allocated by the
/// submit). No memory is made or touched.
///
/// MR_ERR_ARGS: more bytes than 64 bits can count.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_tensor_init(
    out: *mut mr_tensor,
    data: *const c_void,
    dtype: MaybeUninit<mr_dtype>,
    shape: *const u32,
    ndims: usize,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let (out, dims) = unsafe { (Out::new(out), Many::new(shape, ndims)) };
    guard(|| {
        let out = out.check("out")?;
        let shape = self::shape(dims)?;
        let tensor = ContinuousTensor::new(data.addr() as u64, &shape, self::dtype(dtype)?)?;
        out.set(mr_tensor::of(tensor));
        Ok(())
    })
}

/// The number of bytes that a tensor names.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_tensor_bytes(tensor: *const mr_tensor, out: *mut u64) -> mr_status {
    // SAFETY: the caller's promise.
    let (tensor, out) = unsafe { (In::new(tensor), Out::new(out)) };
    guard(|| {
        let tensor = tensor.read("tensor")?.to_engine()?;
        out.check("out")?.set(tensor.nbytes()?);
        Ok(())
    })
}

/// The default configuration of a call. A NULL configuration means the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_call_config_init(out: *mut mr_call_config) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let CallConfig {
            block_dim, aicpu_thread_num, enable_profiling, enable_dump_tensor, ..
        } = CallConfig::default();
        let padding = [0; 2];
        out.check("out")?.set(mr_call_config {
            block_dim,
            aicpu_thread_num,
            enable_profiling,
            enable_dump_tensor,
            padding,
        });
        Ok(())
    })
}
