//! The arguments of a task.

use std::mem::MaybeUninit;

use mailring::abi::TaskArgs;

use super::error::{Fail, guard};
use super::handles::{self, Kind, Object, Owned};
use super::raw::{In, Out};
use super::status::{MR_ERR_MEMORY, mr_status};
use super::values::{mr_tag, mr_tensor, tag};

/// Arguments of one task: tensors, each with a tag, then scalars. A submit copies them, so one
/// mr_args can be cleared and filled again for the next task. (mr_submit takes arrays instead.)
///
/// Functions on the same mr_args wait for each other; use one a thread.
pub struct mr_args {
    _opaque: [u8; 0],
}

pub(super) struct Arguments(TaskArgs);

// SAFETY: the only type of that kind.
unsafe impl Object for Arguments {
    const KIND: Kind = Kind::Args;
}
impl Owned for Arguments {}

/// Room for more arguments.
#[inline]
pub(super) fn room(args: &mut TaskArgs, tensors: usize, scalars: usize) -> Result<(), Fail> {
    if args.try_reserve(tensors, scalars) { Ok(()) } else { Err(no_memory()) }
}

#[cold]
fn no_memory() -> Fail {
    Fail::new(MR_ERR_MEMORY, "no memory for another argument")
}

/// What a handle of arguments holds, copied.
pub(super) fn copy_of(args: *const mr_args) -> Result<TaskArgs, Fail> {
    Ok(handles::lock::<Arguments, _>(args)?.0.clone())
}

/// No arguments.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_args_new(out: *mut *mut mr_args) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        out.set(handles::insert(Arguments(TaskArgs::new()))?);
        Ok(())
    })
}

/// Ends them. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn mr_args_free(args: *mut mr_args) -> mr_status {
    guard(|| if args.is_null() { Ok(()) } else { handles::take::<Arguments, _>(args).map(drop) })
}

/// Forgets all tensors and scalars.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_args_clear(args: *mut mr_args) -> mr_status {
    guard(|| {
        handles::lock::<Arguments, _>(args)?.0.clear();
        Ok(())
    })
}

/// Adds a tensor (copied) and what the task does with it, MR_INPUT to MR_NO_DEP.
///
/// MR_ERR_ARGS: a scalar was added before; the tensor has too many dimensions, no element type, or
/// too many bytes. MR_ERR_MEMORY: there is none for it. Nothing is added then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_args_add_tensor(
    args: *mut mr_args,
    tensor: *const mr_tensor,
    tag: MaybeUninit<mr_tag>,
) -> mr_status {
    // SAFETY: the caller's promise.
    let tensor = unsafe { In::new(tensor) };
    guard(|| {
        let mut args = handles::lock::<Arguments, _>(args)?;
        let (tensor, tag) = (tensor.read("tensor")?.to_engine()?, self::tag(tag)?);
        tensor.nbytes()?;
        room(&mut args.0, 1, 0)?;
        args.0.add_tensor(tensor, tag)?;
        Ok(())
    })
}

/// Adds a scalar.
///
/// MR_ERR_MEMORY: there is none for it. Nothing is added then.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_args_add_scalar(args: *mut mr_args, scalar: u64) -> mr_status {
    guard(|| {
        let mut args = handles::lock::<Arguments, _>(args)?;
        room(&mut args.0, 0, 1)?;
        args.0.add_scalar(scalar);
        Ok(())
    })
}

/// How many tensors and scalars there are. Either pointer may be NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_args_count(
    args: *const mr_args,
    tensors: *mut usize,
    scalars: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (tensors, scalars) = unsafe { (Out::new(tensors), Out::new(scalars)) };
    guard(|| {
        let args = handles::lock::<Arguments, _>(args)?;
        tensors.set(args.0.tensors().len());
        scalars.set(args.0.scalars().len());
        Ok(())
    })
}
