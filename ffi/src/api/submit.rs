//! Submitting tasks to an open run.

use mailring::abi::TaskArgs;
use mailring::limits::MAX_WORKERS;
use mailring::{Callable, TaskHandle};

use super::args::{copy_of, mr_args};
use super::error::{Fail, guard};
use super::handles;
use super::options::{mr_task_options, task_options};
use super::raw::{In, Many, Out, Plain, VersionedIn};
use super::runs::{Opened, mr_run_handle, with};
use super::status::{MR_ERR_GROUP, MR_ERR_TASK_HANDLE, mr_status};
use super::values::{config, dtype, mr_call_config, mr_callable, mr_tensor, shape};

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
            let why = format!("mr_task {} is no task of this run", self.id);
            Fail::new(MR_ERR_TASK_HANDLE, why)
        })
    }

    fn enter(run: *const mr_run_handle, opened: &mut Opened, task: TaskHandle) -> Self {
        let (id, place) = (task.id().0, opened.tasks.len() as u64);
        opened.tasks.push(task);
        Self { id, run: handles::number(run), place }
    }
}

/// Submits a task to an open run. Waits while the rings are full; otherwise returns at once.
///
/// It runs when all earlier tasks that it has to wait for, by the bytes that its tensors name, are
/// through. args are copied. config and options may be NULL: the defaults. out may be NULL, for a
/// task that is never named; a million tasks that are named take 32 MB until the run is closed.
///
/// Bad arguments (MR_ERR_ARGS, MR_ERR_ADDRESS, MR_ERR_FUNCTION, MR_ERR_WORKER, MR_ERR_OPTIONS), a
/// request that can never fit (MR_ERR_RING, MR_ERR_ARGS_TOO_LARGE), a wait that could never end
/// (MR_ERR_HEAP_DEADLOCK) or took too long (MR_ERR_BACK_PRESSURE): nothing is submitted then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_submit(
    run: *mut mr_run_handle,
    callable: mr_callable,
    args: *const mr_args,
    config: *const mr_call_config,
    options: *const mr_task_options,
    out: *mut mr_task,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let (given, options, out) =
        unsafe { (In::new(config), VersionedIn::new(options), Out::new(out)) };
    guard(|| {
        let (config, options) = (self::config(given), task_options(options)?);
        let args = copy_of(args)?;
        with(run, |opened| {
            let task = opened.run.submit_with(Callable(callable), args, config, &options)?;
            if out.is_wanted() {
                out.set(mr_task::enter(run, opened, task));
            }
            Ok(())
        })
    })
}

/// Submits one task with a member for each of args[0] to args[count - 1], run by different workers
/// at the same time. Members meet at context->barrier and share 64 bytes. The same mr_args may be
/// given several times. Deadline and retries count for the group as a whole.
///
/// As mr_submit; MR_ERR_GROUP: no members, or more than there are workers of that kind.
#[unsafe(no_mangle)]
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
        let (config, options) = (self::config(given), task_options(options)?);
        let list = list.read("args", MAX_WORKERS)?;
        let args: Vec<TaskArgs> = list.into_iter().map(copy_of).collect::<Result<_, _>>()?;
        with(run, |opened| {
            let task = opened.run.submit_group_with(Callable(callable), args, config, &options)?;
            if out.is_wanted() {
                out.set(mr_task::enter(run, opened, task));
            }
            Ok(())
        })
    })
}

/// Tensor argument index of a task (members of a group one after the other) with the address that
/// the submit gave it. Its bytes live until the scope it was submitted in has closed and every
/// task that names them is through; the host may read them once mr_wait says that they are written.
///
/// MR_ERR_TASK_HANDLE: that argument was not allocated by the submit.
#[unsafe(no_mangle)]
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
        with(run, |opened| {
            out.set(mr_tensor::of(task.find(run, &opened.tasks)?.tensor(index)?));
            Ok(())
        })
    })
}

/// Memory in the heap ring of the innermost scope, not yet written by anybody. It lives until the
/// scope has closed and every task that names it is through. Waits while the ring is full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_alloc(
    run: *mut mr_run_handle,
    dtype: u32,
    shape: *const u32,
    ndims: usize,
    out: *mut mr_tensor,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (dims, out) = unsafe { (Many::new(shape, ndims), Out::new(out)) };
    guard(|| {
        let out = out.check("out")?;
        let (shape, dtype) = (self::shape(dims)?, self::dtype(dtype)?);
        with(run, |opened| {
            out.set(mr_tensor::of(opened.run.alloc(&shape, dtype)?));
            Ok(())
        })
    })
}
