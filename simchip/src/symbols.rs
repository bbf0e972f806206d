//! The six functions that a chip worker looks for.
//!
//! Each of them returns whatever happens: a panic becomes the general code, and reasons are
//! printed on standard error.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::context::{Context, read};
use crate::fault::Fault;
use crate::run::{Call, RUNTIME_BYTES};
use crate::status::{Failure, GENERAL, invalid, say};

/// The code of a call.
fn code(device: Option<i32>, call: impl FnOnce() -> Result<(), Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => 0,
        Ok(Err(Failure { code, why })) => {
            say(device, &why);
            code
        }
        Err(_) => GENERAL,
    }
}

/// The context behind a pointer.
///
/// # Safety
/// If it is not null, it came from [`create_device_context`], was not destroyed, and no other call
/// uses it.
unsafe fn context<'a>(context: *mut c_void) -> Result<&'a mut Context, Failure> {
    // SAFETY: as the caller says.
    unsafe { context.cast::<Context>().as_mut() }.ok_or_else(|| invalid("the context is null"))
}

/// A new device context; null when `SIMCHIP_FAULT` says so, or has an invalid value.
#[unsafe(no_mangle)]
pub extern "C" fn create_device_context() -> *mut c_void {
    let mut made = std::ptr::null_mut();
    code(None, || {
        if read(None)?.contains(&Fault::Create) {
            return Err(invalid("create_device_context fails on demand"));
        }
        made = Box::into_raw(Box::<Context>::default()).cast();
        Ok(())
    });
    made
}

/// Ends a context, with its device if one is still set.
///
/// # Safety
/// `context` is null or came from [`create_device_context`]; it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn destroy_device_context(context: *mut c_void) {
    if !context.is_null() {
        code(None, || {
            // SAFETY: made by `Box::into_raw`, and destroyed once, as the caller says.
            drop(unsafe { Box::from_raw(context.cast::<Context>()) });
            Ok(())
        });
    }
}

/// Bytes of the runtime buffer.
#[unsafe(no_mangle)]
pub extern "C" fn get_runtime_size() -> usize {
    let mut size = 0;
    code(None, || {
        if !read(None)?.contains(&Fault::Size) {
            size = RUNTIME_BYTES;
        }
        Ok(())
    });
    size
}

/// Takes a device: 0 to 15.
///
/// # Safety
/// `ctx` is null or a context that no other call uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn set_device(ctx: *mut c_void, device: c_int) -> c_int {
    // SAFETY: as the caller says.
    code(Some(device), || unsafe { context(ctx) }?.set_device(device))
}

/// Runs a callable on the device.
///
/// # Safety
/// What is not null is what the interface says it is: a context that no other call uses, a runtime
/// buffer of [`get_runtime_size`] bytes, a chip callable, an argument block, binaries of those
/// sizes; the tensors of the block lie in memory of this process that nobody else touches.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn run_runtime(
    ctx: *mut c_void,
    runtime_buffer: *mut c_void,
    callable: *const c_void,
    args: *const c_void,
    block_dim: c_int,
    aicpu_thread_num: c_int,
    device: c_int,
    aicpu: *const u8,
    aicpu_size: usize,
    aicore: *const u8,
    aicore_size: usize,
    enable_profiling: c_int,
    enable_dump_tensor: c_int,
) -> c_int {
    let call = Call {
        runtime_buffer,
        callable: callable.cast(),
        args: args.cast(),
        block_dim,
        aicpu_thread_num,
        device,
        binaries: [("AICPU", aicpu, aicpu_size), ("AICore", aicore, aicore_size)],
        switches: [
            ("enable_profiling", enable_profiling),
            ("enable_dump_tensor", enable_dump_tensor),
        ],
    };
    // SAFETY: as the caller says.
    code(Some(device), || unsafe { call.run(context(ctx)?) })
}

/// Lets the device go.
///
/// # Safety
/// `ctx` is null or a context that no other call uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn finalize_device(ctx: *mut c_void) -> c_int {
    // SAFETY: as the caller says.
    code(None, || unsafe { context(ctx) }?.finalize())
}
