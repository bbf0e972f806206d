//! Submitting tasks to an open run.

use std::mem::MaybeUninit;

use mailring::abi::TaskArgs;
use mailring::limits::{MAX_ARGS_BYTES, MAX_WORKERS};
use mailring::{Callable, TaskHandle};

use super::args::{copy_of, mr_args, room};
use super::error::{Fail, guard};
use super::handles;
use super::options::{mr_task_options, task_options};
use super::raw::{In, Many, Out, Plain, Versioned, VersionedIn, null};
use super::runs::{Opened, lock, mr_run_handle};
use super::status::{MR_ERR_GROUP, MR_ERR_TASK_HANDLE, mr_status};
use super::values::{
    config, dtype, mr_call_config, mr_callable, mr_dtype, mr_tag, mr_tensor, shape, tag,
};

/// A task of an open run: plain data, nothing to free. Useless once the run is closed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_task {
    /// Its number in the order of submission, over all runs of the executor. Never reused.
    pub id: u64,
    /// Of the library.
    pub run: u64,
    /// Of the library.
    pub place: u64,
}

// SAFETY: integers only.
unsafe impl Plain for mr_task {}

impl mr_task {
    /// The task among those of an open run.
    pub(super) fn find<'a>(
        &self,
        run: *const mr_run_handle,
        tasks: &'a [TaskHandle],
    ) -> Result<&'a TaskHandle, Fail> {
        let place = usize::try_from(self.place).ok().filter(|_| self.run == handles::number(run));
        let task = place.and_then(|place| tasks.get(place)).filter(|task| task.id().0 == self.id);
        task.ok_or_else(|| {
            let why = format!("mr_task {} is not a task of this run", self.id);
            Fail::new(MR_ERR_TASK_HANDLE, why)
        })
    }

    pub(super) fn enter(run: *const mr_run_handle, opened: &mut Opened, task: TaskHandle) -> Self {
        let (id, place) = (task.id().0, opened.tasks.len() as u64);
        opened.tasks.push(task);
        Self { id, run: handles::number(run), place }
    }
}

/// A task to submit. Zeros but for size are a task without arguments, with the default
/// configuration and options:
///
///     mr_submission task = {sizeof task, callable, tensors, tags, 2, scalars, 1, NULL, NULL};
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_submission {
    /// Bytes of this structure, set by the caller.
    pub size: usize,
    /// What to run.
    pub callable: mr_callable,
    /// The tensors. NULL when there are none.
    pub tensors: *const mr_tensor,
    /// What the task does with each of them.
    pub tags: *const MaybeUninit<mr_tag>,
    /// How many there are of both.
    pub tensor_count: usize,
    /// The scalars. NULL when there are none.
    pub scalars: *const u64,
    /// How many.
    pub scalar_count: usize,
    /// NULL: the default.
    pub config: *const mr_call_config,
    /// NULL: the default.
    pub options: *const mr_task_options,
}

// SAFETY: integers and pointers, size first.
unsafe impl Versioned for mr_submission {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "mr_submission";
}

impl mr_submission {
    const NONE: Self = Self {
        size: size_of::<Self>(),
        callable: 0,
        tensors: std::ptr::null(),
        tags: std::ptr::null(),
        tensor_count: 0,
        scalars: std::ptr::null(),
        scalar_count: 0,
        config: std::ptr::null(),
        options: std::ptr::null(),
    };

    /// # Safety
    /// Its pointers are those of a caller, for the length of the call.
    #[inline]
    unsafe fn args(&self) -> Result<TaskArgs, Fail> {
        // SAFETY: the caller's promise.
        let (tensors, tags, scalars) = unsafe {
            (
                Many::new(self.tensors, self.tensor_count).check("tensors")?,
                Many::new(self.tags, self.tensor_count).check("tags")?,
                Many::new(self.scalars, self.scalar_count).check("scalars")?,
            )
        };
        // Each takes a word at least.
        let words = self.tensor_count.saturating_mul(5).saturating_add(self.scalar_count);
        if words > MAX_ARGS_BYTES / 8 {
            let bytes = words.saturating_mul(8).saturating_add(8);
            return Err(mailring::Error::ArgsTooLarge(bytes).into());
        }
        let mut args = TaskArgs::new();
        room(&mut args, self.tensor_count, self.scalar_count)?;
        for (tensor, tag) in tensors.each().zip(tags.each()) {
            args.add_tensor(tensor.to_engine()?, self::tag(tag)?)?;
        }
        for scalar in scalars.each() {
            args.add_scalar(scalar);
        }
        Ok(args)
    }
}

/// Submits a task to an open run. Waits while the rings are full; otherwise returns at once.
///
/// It runs when all earlier tasks that it has to wait for, by the bytes that its tensors name, are
/// through. What task points to is copied. out may be NULL, for a task that is never named; a
/// million tasks that are named take 32 MB until the run is closed.
///
/// Bad arguments (MR_ERR_ARGS, MR_ERR_ADDRESS, MR_ERR_FUNCTION, MR_ERR_WORKER, MR_ERR_OPTIONS), a
/// request that can never fit (MR_ERR_RING, MR_ERR_ARGS_TOO_LARGE), a wait that could never end
/// (MR_ERR_HEAP_DEADLOCK) or took too long (MR_ERR_BACK_PRESSURE): nothing is submitted then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_submit(
    run: *mut mr_run_handle,
    task: *const mr_submission,
    out: *mut mr_task,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let (given, out) = unsafe { (VersionedIn::new(task), Out::new(out)) };
    guard(|| {
        let task = given.read(mr_submission::NONE)?.ok_or_else(|| null("task"))?;
        // SAFETY: the caller's promise for the pointers inside of structures.
        let (args, given, options) =
            unsafe { (task.args()?, In::new(task.config), VersionedIn::new(task.options)) };
        let config = config(given);
        let mut opened = lock(run)?;
        let opened = opened.open()?;
        let submitted = if task.options.is_null() {
            opened.run.submit(Callable(task.callable), args, config)
        } else {
            let options = task_options(options, run, &opened.tasks)?;
            opened.run.submit_with(Callable(task.callable), args, config, &options)
        };
        match submitted {
            Ok(task) if out.is_wanted() => out.set(mr_task::enter(run, opened, task)),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })
}

/// Submits a task with arguments that were put together one by one. As mr_submit; config and
/// options may be NULL: the defaults.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_submit_args(
    run: *mut mr_run_handle,
    callable: mr_callable,
    args: *const mr_args,
    config: *const mr_call_config,
    options: *const mr_task_options,
    out: *mut mr_task,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (given, options, out) =
        unsafe { (In::new(config), VersionedIn::new(options), Out::new(out)) };
    guard(|| {
        let (config, args) = (self::config(given), copy_of(args)?);
        let mut opened = lock(run)?;
        let opened = opened.open()?;
        let options = task_options(options, run, &opened.tasks)?;
        let task = opened.run.submit_with(Callable(callable), args, config, &options)?;
        if out.is_wanted() {
            out.set(mr_task::enter(run, opened, task));
        }
        Ok(())
    })
}

/// Submits one task with a member for each of args[0] to args[count - 1], run by different workers
/// at the same time. Members meet at context->barrier and share 64 bytes. The same mr_args may be
/// given several times. Deadline and retries count for the group as a whole.
///
/// As mr_submit; MR_ERR_GROUP: no members, or more than there are workers of that kind.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_submit_group(
    run: *mut mr_run_handle,
    callable: mr_callable,
    args: *const *const mr_args,
    count: usize,
    config: *const mr_call_config,
    options: *const mr_task_options,
    out: *mut mr_task,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (list, given, options, out) = unsafe {
        (Many::new(args, count), In::new(config), VersionedIn::new(options), Out::new(out))
    };
    guard(|| {
        if count > MAX_WORKERS {
            let why = format!("a group of {count} members is too large: at most {MAX_WORKERS}");
            return Err(Fail::new(MR_ERR_GROUP, why));
        }
        let config = self::config(given);
        let list = list.read("args", MAX_WORKERS)?;
        let args: Vec<TaskArgs> = list.into_iter().map(copy_of).collect::<Result<_, _>>()?;
        let mut opened = lock(run)?;
        let opened = opened.open()?;
        let options = task_options(options, run, &opened.tasks)?;
        let task = opened.run.submit_group_with(Callable(callable), args, config, &options)?;
        if out.is_wanted() {
            out.set(mr_task::enter(run, opened, task));
        }
        Ok(())
    })
}

/// Tensor argument index of a task (members of a group one after the other) with the address that
/// the submit gave it. Its bytes live until the scope it was submitted in has closed and every
/// task that names them is through; the host may read them once mr_wait says that they are written.
///
/// MR_ERR_TASK_HANDLE: that argument was not allocated by the submit.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_task_tensor(
    run: *mut mr_run_handle,
    task: *const mr_task,
    index: usize,
    out: *mut mr_tensor,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (task, out) = unsafe { (In::new(task), Out::new(out)) };
    guard(|| {
        let (task, out) = (task.read("task")?, out.check("out")?);
        let mut opened = lock(run)?;
        out.set(mr_tensor::of(task.find(run, &opened.open()?.tasks)?.tensor(index)?));
        Ok(())
    })
}

/// Memory in the heap ring of the innermost scope, not yet written by anybody. It lives until the
/// scope has closed and every task that names it is through. Waits while the ring is full.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_alloc(
    run: *mut mr_run_handle,
    dtype: MaybeUninit<mr_dtype>,
    shape: *const u32,
    ndims: usize,
    out: *mut mr_tensor,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (dims, out) = unsafe { (Many::new(shape, ndims), Out::new(out)) };
    guard(|| {
        let out = out.check("out")?;
        let (shape, dtype) = (self::shape(dims)?, self::dtype(dtype)?);
        out.set(mr_tensor::of(lock(run)?.open()?.run.alloc(&shape, dtype)?));
        Ok(())
    })
}
