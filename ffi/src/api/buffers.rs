//! Shared memory that lives until it is freed.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use mailring::Buffer;
use mailring::abi::ContinuousTensor;

use super::error::{Fail, guard};
use super::executor::{Engine, mr_executor};
use super::handles::{self, Kind, Object, Shared};
use super::raw::{Many, Out};
use super::status::{MR_ERR_BUFFER_SPACE, MR_ERR_IMPORT, mr_status};
use super::values::{dtype, mr_dtype, mr_tensor, shape};

/// Zeroed shared memory: inputs and results of runs. Every worker sees it at the same address.
///
/// All functions on it may be called from several threads at the same time; none waits.
pub struct mr_buffer {
    _opaque: [u8; 0],
}

struct Memory {
    held: Held,
    bytes: usize,
    tensor: ContinuousTensor,
}

/// In words, since one buffer of words can be larger than one of bytes; or to the byte.
enum Held {
    Words(Buffer<u64>),
    Bytes(Buffer<u8>),
}

impl Held {
    fn first(&self) -> *mut c_void {
        match self {
            Self::Words(words) => words.as_mut_ptr().cast(),
            Self::Bytes(bytes) => bytes.as_mut_ptr().cast(),
        }
    }
}

// SAFETY: the only type of that kind.
unsafe impl Object for Memory {
    const KIND: Kind = Kind::Buffer;
}
impl Shared for Memory {}

/// Zeroed shared memory for a tensor of this shape and type, at a multiple of 64 bytes.
///
/// MR_ERR_BUFFER_SPACE: the buffer space is used up.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_buffer_new(
    exec: *mut mr_executor,
    dtype: MaybeUninit<mr_dtype>,
    shape: *const u32,
    ndims: usize,
    out: *mut *mut mr_buffer,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let (dims, out) = unsafe { (Many::new(shape, ndims), Out::new(out)) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let out = out.check("out")?;
        let mut tensor = ContinuousTensor::new(0, &self::shape(dims)?, self::dtype(dtype)?)?;
        let bytes = tensor.nbytes()?;
        let words = bytes.div_ceil(8);
        if words > u64::from(u32::MAX) {
            let why =
                format!("a buffer of {bytes} bytes is too large: at most 32 GiB; make several");
            return Err(Fail::new(MR_ERR_BUFFER_SPACE, why));
        }
        let words = engine.0.buffer::<u64>(words as usize)?;
        tensor.set_data(words.address());
        let held = Held::Words(words);
        out.set(handles::insert(Memory { held, bytes: bytes as usize, tensor })?);
        Ok(())
    })
}

/// A tensor of this shape and type in memory that others share as well: the first bytes of a memfd,
/// or of any file that can be mapped shared, readable and writable. The descriptor stays the
/// caller's own, and may be closed right after. Workers map it once, with the first task that
/// names it.
///
/// A memfd that allows it is sealed against shrinking. Nobody may make another file shorter while
/// the buffer is there: whoever touches the missing bytes dies of SIGBUS.
///
/// MR_ERR_IMPORT: the file is shorter than the tensor, or cannot be mapped. MR_ERR_BUFFER_SPACE: no
/// addresses are left for such buffers, or too many are there.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_buffer_import(
    exec: *mut mr_executor,
    fd: c_int,
    dtype: MaybeUninit<mr_dtype>,
    shape: *const u32,
    ndims: usize,
    out: *mut *mut mr_buffer,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (dims, out) = unsafe { (Many::new(shape, ndims), Out::new(out)) };
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let out = out.check("out")?;
        let mut tensor = ContinuousTensor::new(0, &self::shape(dims)?, self::dtype(dtype)?)?;
        let bytes = tensor.nbytes()?;
        if fd < 0 {
            return Err(Fail::argument(format!("{fd} is not a descriptor")));
        }
        // SAFETY: borrowed for the copy alone; a number that is not a descriptor is its error.
        let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
        let memory = copy.map_err(|e| Fail::new(MR_ERR_IMPORT, format!("descriptor {fd}: {e}")))?;
        // SAFETY: that nobody makes the file shorter is the caller's promise.
        let held = unsafe {
            if bytes.is_multiple_of(8) {
                Held::Words(engine.0.import_unsealed(memory, (bytes / 8) as usize)?)
            } else {
                Held::Bytes(engine.0.import_unsealed(memory, bytes as usize)?)
            }
        };
        tensor.set_data(held.first() as u64);
        out.set(handles::insert(Memory { held, bytes: bytes as usize, tensor })?);
        Ok(())
    })
}

/// The whole buffer as a tensor. For a part of it, use mr_tensor_init with an address inside.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_buffer_tensor(
    buffer: *mut mr_buffer,
    out: *mut mr_tensor,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let memory = handles::get::<Memory, _>(buffer)?;
        out.check("out")?.set(mr_tensor::of(memory.tensor));
        Ok(())
    })
}

/// The first byte, and the number of bytes (bytes may be NULL). The memory may be read and written
/// by the host until the buffer is freed; while an unfinished task writes the same bytes, that
/// gives torn values. In a child that the program forks by itself the address is not mapped.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_buffer_data(
    buffer: *mut mr_buffer,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (data, bytes) = unsafe { (Out::new(data), Out::new(bytes)) };
    guard(|| {
        let memory = handles::get::<Memory, _>(buffer)?;
        data.check("data")?.set(memory.held.first());
        bytes.set(memory.bytes);
        Ok(())
    })
}

/// Frees a buffer. Tasks that name it are not disturbed: the memory is used again only when the
/// last of them is through. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn mr_buffer_free(buffer: *mut mr_buffer) -> mr_status {
    guard(|| if buffer.is_null() { Ok(()) } else { handles::end::<Memory, _>(buffer).map(drop) })
}
