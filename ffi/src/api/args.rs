//! The arguments of a task.

use std::sync::{Mutex, PoisonError};

use mailring::abi::TaskArgs;

use super::error::{Fail, guard};
use super::handles::{self, Kind, Object};
use super::raw::{In, Out};
use super::status::mr_status;
use super::values::{mr_tensor, tag};

/// Arguments of one task: tensors, each with a tag, then scalars. A submit copies them, so one
/// mr_args can be cleared and filled again for the next task.
///
/// Functions on the same mr_args wait for each other; use one a thread.
pub struct mr_args {
    _opaque: [u8; 0],
}

pub(super) struct Arguments(Mutex<TaskArgs>);

impl Object for Arguments {
    const KIND: Kind = Kind::Args;
}

impl Arguments {
    pub(super) fn copy(&self) -> TaskArgs {
        self.with(|args| args.clone())
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&mut TaskArgs) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a handle of arguments holds, copied.
pub(super) fn copy_of(args: *const mr_args) -> Result<TaskArgs, Fail> {
    Ok(handles::get::<Arguments, _>(args)?.copy())
}

/// No arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_args_new(out: *mut *mut mr_args) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        out.set(handles::insert(Arguments(Mutex::new(TaskArgs::new())))?);
        Ok(())
    })
}

/// Ends them.
#[unsafe(no_mangle)]
pub extern "C" fn mr_args_free(args: *mut mr_args) -> mr_status {
    guard(|| handles::take::<Arguments, _>(args).map(drop))
}

/// Forgets all tensors and scalars.
#[unsafe(no_mangle)]
pub extern "C" fn mr_args_clear(args: *mut mr_args) -> mr_status {
    guard(|| {
        handles::get::<Arguments, _>(args)?.with(TaskArgs::clear);
        Ok(())
    })
}

/// Adds a tensor (copied) and what the task does with it, MR_INPUT to MR_NO_DEP.
///
/// MR_ERR_ARGS: a scalar was added before; the tensor has too many dimensions, no element type, or
/// too many bytes. Nothing is added then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_args_add_tensor(
    args: *mut mr_args,
    tensor: *const mr_tensor,
    tag: i32,
) -> mr_status {
    // SAFETY: the caller's promise.
    let tensor = unsafe { In::new(tensor) };
    guard(|| {
        let args = handles::get::<Arguments, _>(args)?;
        let (tensor, tag) = (tensor.read("tensor")?.to_engine(), self::tag(tag)?);
        tensor.nbytes()?;
        args.with(|args| args.add_tensor(tensor, tag).map(drop))?;
        Ok(())
    })
}

/// Adds a scalar.
#[unsafe(no_mangle)]
pub extern "C" fn mr_args_add_scalar(args: *mut mr_args, scalar: u64) -> mr_status {
    guard(|| {
        handles::get::<Arguments, _>(args)?.with(|args| _ = args.add_scalar(scalar));
        Ok(())
    })
}

/// How many tensors and scalars there are. Either pointer may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_args_count(
    args: *const mr_args,
    tensors: *mut usize,
    scalars: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (tensors, scalars) = unsafe { (Out::new(tensors), Out::new(scalars)) };
    guard(|| {
        let args = handles::get::<Arguments, _>(args)?;
        let counts = args.with(|args| (args.tensors().len(), args.scalars().len()));
        tensors.set(counts.0);
        scalars.set(counts.1);
        Ok(())
    })
}
