//! Functions with the calling convention of C: what they are given, and how they are called.
//!
//! ```c
//! int body(const args *, const config *, const context *, void *user);   // 0: all went well
//! ```
//!
//! The context carries the functions that a body may call as pointers, so a shared object with
//! such bodies needs to be linked with nothing.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};

use super::words::Returned;
use super::{BoxError, GroupContext, TaskContext};
use crate::abi::{CallConfig, TaskArgsView};

/// A function of C that a task can run. Anything but 0 fails the task.
pub type NativeFunction = unsafe extern "C" fn(
    args: *const TaskArgsView<'_>,
    config: *const CallConfig,
    context: *const NativeContext,
    user: *mut c_void,
) -> c_int;

/// [`TaskContext`] as C sees it. Valid until the body returns, in the thread of the body.
#[repr(C)]
#[derive(Debug)]
pub struct NativeContext {
    /// Bytes of this structure; grows when fields are added behind.
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
    /// 1 when the body should stop.
    pub cancelled: extern "C" fn(context: *const NativeContext) -> c_int,
    /// Waits for all members of the group: 0, or -1 when one of them will not come (or there is
    /// no group).
    pub barrier: extern "C" fn(context: *const NativeContext) -> c_int,
    /// Reads word 0 to 7 of the bytes that the members share; 0 without a group.
    pub load: extern "C" fn(context: *const NativeContext, index: u32) -> u64,
    /// Writes one of those words.
    pub store: extern "C" fn(context: *const NativeContext, index: u32, value: u64),
    /// Adds to one of those words; the old value.
    pub fetch_add: extern "C" fn(context: *const NativeContext, index: u32, value: u64) -> u64,
    /// What the error of a body that returns non-zero says besides its number: text in UTF-8, copied.
    pub fail: extern "C" fn(context: *const NativeContext, message: *const c_char),
    /// Not for the body.
    call: *const c_void,
}

/// What `call` of a context points to.
struct Call<'a> {
    context: &'a TaskContext<'a>,
    message: RefCell<String>,
}

/// The call behind a context that the body hands back.
///
/// # Safety
/// `context` is null, or the one that the body was given, and the body has not returned.
unsafe fn call_of<'a>(context: *const NativeContext) -> Option<&'a Call<'a>> {
    // SAFETY: the caller's promise; `call` points to a local of `call_native`, which waits for the
    // body.
    unsafe { context.as_ref().and_then(|context| context.call.cast::<Call<'a>>().as_ref()) }
}

/// The group of the call.
///
/// # Safety
/// As [`call_of`].
unsafe fn group_of<'a>(context: *const NativeContext) -> Option<&'a GroupContext<'a>> {
    // SAFETY: the caller's promise.
    unsafe { call_of(context) }.and_then(|call| call.context.group())
}

extern "C" fn cancelled(context: *const NativeContext) -> c_int {
    // SAFETY: the body passes its context, as its documentation demands.
    let call = unsafe { call_of(context) };
    call.is_some_and(|call| call.context.cancelled()).into()
}

extern "C" fn barrier(context: *const NativeContext) -> c_int {
    // SAFETY: as above.
    let group = unsafe { group_of(context) };
    if group.is_some_and(|group| group.barrier().is_ok()) { 0 } else { -1 }
}

extern "C" fn load(context: *const NativeContext, index: u32) -> u64 {
    // SAFETY: as above.
    let group = unsafe { group_of(context) };
    group.map_or(0, |group| group.load(index as usize))
}

extern "C" fn store(context: *const NativeContext, index: u32, value: u64) {
    // SAFETY: as above.
    if let Some(group) = unsafe { group_of(context) } {
        group.store(index as usize, value);
    }
}

extern "C" fn fetch_add(context: *const NativeContext, index: u32, value: u64) -> u64 {
    // SAFETY: as above.
    let group = unsafe { group_of(context) };
    group.map_or(0, |group| group.fetch_add(index as usize, value))
}

extern "C" fn fail(context: *const NativeContext, message: *const c_char) {
    // SAFETY: as above.
    if let Some(call) = unsafe { call_of(context) }
        && !message.is_null()
    {
        // SAFETY: the body passes text that ends with a zero, as its documentation demands.
        let text = unsafe { CStr::from_ptr(message) };
        call.message.replace(text.to_string_lossy().into_owned());
    }
}

/// Calls a function of C as the body of a task.
///
/// # Errors
/// It returned something else than 0; the error has the number and what it said with `fail`.
///
/// # Safety
/// `function` is a function of this type, and `user` is what it expects.
pub unsafe fn call_native(
    function: NativeFunction,
    user: *mut c_void,
    args: TaskArgsView<'_>,
    config: &CallConfig,
    context: &TaskContext<'_>,
) -> Result<(), BoxError> {
    let call = Call { context, message: RefCell::default() };
    let group = context.group();
    let native = NativeContext {
        size: size_of::<NativeContext>(),
        task: context.task().0,
        worker: u32::from(context.worker().0),
        attempt: context.attempt(),
        member: group.map_or(0, |group| group.index() as u32),
        members: group.map_or(0, |group| group.size() as u32),
        cancelled,
        barrier,
        load,
        store,
        fetch_add,
        fail,
        call: (&raw const call).cast(),
    };
    // SAFETY: the caller's promise; all that is passed lives until the call returns.
    let code = unsafe { function(&raw const args, config, &raw const native, user) };
    match (code, call.message.into_inner()) {
        (0, _) => Ok(()),
        (code, text) => Err(Returned::new(code, text).into()),
    }
}
