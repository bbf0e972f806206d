//! Arguments in their encoded form.

use std::ffi::c_void;

use mailring::abi::{
    AbiError, CallConfig, ChipStorageTaskArgs, ContinuousTensor, TaskArgsView, read_blob,
    view_to_chip_storage, write_blob,
};
use mailring::native::{NativeFunction, call_native};
use mailring::{TaskContext, Worker};

use super::args::{copy_of, mr_args};
use super::error::{Fail, guard};
use super::raw::{In, Many, Out, null};
use super::status::{MR_ERR_ARGS, MR_ERR_BODY, MR_ERR_CAPACITY, mr_status};
use super::values::{config, mr_call_config, mr_function, mr_task_args_view, mr_tensor, native};

/// Bytes of the blob of these arguments:
///
///     | tensors i32 | scalars i32 | tensor 0 (40 bytes) ... | scalar 0 (8 bytes) ... |
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_blob_size(args: *const mr_args, out: *mut usize) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        out.check("out")?.set(copy_of(args)?.blob_len());
        Ok(())
    })
}

/// Writes the blob of these arguments to buffer, which has room for capacity bytes. *written is
/// its length.
///
/// MR_ERR_CAPACITY: it does not fit; the text says how long it is. Nothing is written then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_blob_write(
    args: *const mr_args,
    buffer: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let written = unsafe { Out::new(written) };
    guard(|| {
        let args = copy_of(args)?;
        let written = written.check("written")?;
        if buffer.is_null() {
            return Err(null("buffer"));
        }
        let need = args.blob_len();
        if need > capacity {
            let why = format!("the blob takes {need} bytes, the buffer has {capacity}");
            return Err(Fail::new(MR_ERR_CAPACITY, why));
        }
        // Encoded apart and then copied: the caller's bytes may not be initialised.
        let mut bytes = vec![0; need];
        write_blob(&args, &mut bytes)?;
        // SAFETY: `capacity` bytes are writable, and `need` is not more.
        unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), need) };
        written.set(need);
        Ok(())
    })
}

/// The bytes of a caller, to be read in place.
///
/// # Safety
/// Null, or `len` bytes are readable for as long as the result is used.
unsafe fn bytes<'a>(blob: *const c_void, len: usize) -> Result<&'a [u8], Fail> {
    if blob.is_null() {
        return Err(null("blob"));
    }
    if isize::try_from(len).is_err() {
        return Err(Fail::argument(format!("a blob of {len} bytes is not possible")));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(blob.cast(), len) })
}

/// Checks the blob in the len bytes at blob, an address that is a multiple of 8, and describes it
/// in *out without copying: *out is good for as long as those bytes stay as they are. The
/// addresses inside the tensors are not looked at.
///
/// MR_ERR_ARGS: these bytes are no blob.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_blob_read(
    blob: *const c_void,
    len: usize,
    out: *mut mr_task_args_view,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (given, out) = unsafe { (bytes(blob, len), Out::new(out)) };
    guard(|| {
        let out = out.check("out")?;
        let view = read_blob(given?)?;
        out.set(mr_task_args_view {
            tensor_count: view.tensors().len() as i32,
            scalar_count: view.scalars().len() as i32,
            tensors: view.tensors().as_ptr().cast::<mr_tensor>(),
            scalars: view.scalars().as_ptr(),
        });
        Ok(())
    })
}

/// The arguments of a task as a chip runtime takes them. 1672 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_chip_args {
    /// The tensors; only the first tensor_count are meant.
    pub tensors: [mr_tensor; MR_CHIP_MAX_TENSORS],
    /// The scalars; only the first scalar_count are meant.
    pub scalars: [u64; MR_CHIP_MAX_SCALARS],
    /// Number of tensors.
    pub tensor_count: i32,
    /// Number of scalars.
    pub scalar_count: i32,
}

/// Tensors that a chip runtime takes, at most.
pub const MR_CHIP_MAX_TENSORS: usize = 16;
/// Scalars that a chip runtime takes, at most.
pub const MR_CHIP_MAX_SCALARS: usize = 128;

const _: () = {
    assert!(size_of::<mr_chip_args>() == size_of::<ChipStorageTaskArgs>());
    assert!(std::mem::offset_of!(mr_chip_args, scalars) == 640);
    assert!(std::mem::offset_of!(mr_chip_args, tensor_count) == 1664);
    assert!(std::mem::offset_of!(mr_chip_args, scalar_count) == 1668);
    assert!(MR_CHIP_MAX_TENSORS == mailring::limits::CHIP_MAX_TENSOR_ARGS);
    assert!(MR_CHIP_MAX_SCALARS == mailring::limits::CHIP_MAX_SCALAR_ARGS);
};

/// Writes what the view describes to *out, as a chip runtime takes it: 40 bytes a tensor, 8 a
/// scalar, and the two counts. What is behind them stays as it was.
///
/// MR_ERR_ARGS: more than 16 tensors or 128 scalars, or a negative number of them. Nothing is written
/// then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_view_to_chip_args(
    view: *const mr_task_args_view,
    out: *mut mr_chip_args,
) -> mr_status {
    // SAFETY: the caller's promise.
    let view = unsafe { In::new(view) };
    guard(|| {
        let view = view.read("view")?;
        if out.is_null() {
            return Err(null("out"));
        }
        let count = |what, count: i32| {
            usize::try_from(count)
                .map_err(|_| Fail::new(MR_ERR_ARGS, format!("{what} is {count}; it is 0 or more")))
        };
        let tensors = count("tensor_count", view.tensor_count)?;
        let scalars = count("scalar_count", view.scalar_count)?;
        // SAFETY: the caller's promise for the pointers inside of structures.
        let (tensors, scalars) =
            unsafe { (Many::new(view.tensors, tensors), Many::new(view.scalars, scalars)) };
        for (what, count, most) in [
            ("tensors", view.tensor_count, MR_CHIP_MAX_TENSORS),
            ("scalars", view.scalar_count, MR_CHIP_MAX_SCALARS),
        ] {
            if count as usize > most {
                let why = format!("{count} {what} are too many for a chip runtime: at most {most}");
                return Err(Fail::new(MR_ERR_ARGS, why));
            }
        }
        // As the engine does it: the padding of a view does not matter.
        let tensors: Vec<ContinuousTensor> = tensors
            .read("tensors", MR_CHIP_MAX_TENSORS)?
            .into_iter()
            .map(|t| ContinuousTensor::from_raw(t.data, t.shapes, t.ndims, t.dtype))
            .collect();
        let scalars = scalars.read("scalars", MR_CHIP_MAX_SCALARS)?;
        let mut block = ChipStorageTaskArgs::new();
        view_to_chip_storage(TaskArgsView::from_slices(&tensors, &scalars), &mut block)?;
        let (from, to) = (block.as_bytes().as_ptr(), out.cast::<u8>());
        let parts = [(0, tensors.len() * 40), (640, scalars.len() * 8), (1664, 8)];
        for (at, len) in parts {
            // SAFETY: both are 1672 bytes, and the parts lie inside.
            unsafe { to.add(at).copy_from_nonoverlapping(from.add(at), len) };
        }
        Ok(())
    })
}

/// A worker that calls one function.
struct Caller {
    function: NativeFunction,
    user: *mut c_void,
}

impl Worker for Caller {
    fn run(
        &mut self,
        _callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // SAFETY: who asked for the call says that this is such a function.
        unsafe { call_native(self.function, self.user, args, config, context) }
    }
}

/// Calls the function of a task here and now, on arguments in their encoded form and outside of
/// any run: as task 0 on worker 0, never cancelled, in no group. config may be NULL.
///
/// MR_ERR_ARGS: these bytes are no blob. MR_ERR_BODY: the function returned something else than 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run_from_blob(
    function: mr_function,
    user: *mut c_void,
    blob: *const c_void,
    len: usize,
    config: *const mr_call_config,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (blob, given) = unsafe { (bytes(blob, len), In::new(config)) };
    guard(|| {
        let mut worker = Caller { function: native(function, "function")?, user };
        // SAFETY: the caller answers for the tensors that its function touches.
        let called = unsafe { worker.run_from_blob(0, blob?, &self::config(given)) };
        called.map_err(|error| {
            let status = if error.is::<AbiError>() { MR_ERR_ARGS } else { MR_ERR_BODY };
            Fail::new(status, error.to_string())
        })
    })
}
