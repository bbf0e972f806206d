//! The numbers that functions return.

use std::ffi::{CStr, c_char, c_int};

/// What a function returns: MR_OK, or one of the MR_ERR_ numbers, which are negative.
pub type mr_status = c_int;

/// All went well.
pub const MR_OK: mr_status = 0;
/// A fault of this library: it panicked. The text says where; the handle can be closed.
pub const MR_ERR_PANIC: mr_status = -1;
/// A handle is NULL, was closed, is of another kind, or was made before a fork.
pub const MR_ERR_HANDLE: mr_status = -2;
/// A pointer is NULL that must not be.
pub const MR_ERR_NULL: mr_status = -3;
/// A number or text that is not possible here.
pub const MR_ERR_ARGUMENT: mr_status = -4;
/// The size member of a structure is wrong, or what lies behind the known part is not zero.
pub const MR_ERR_SIZE: mr_status = -5;
/// An array of the caller is too short for the result; the text says what is needed.
pub const MR_ERR_CAPACITY: mr_status = -6;
/// There is nothing of that kind: no failed task, no writer.
pub const MR_ERR_NOT_FOUND: mr_status = -7;
/// Building: no workers, or too many.
pub const MR_ERR_WORKERS: mr_status = -10;
/// An invalid size of a ring, or a ring that is smaller than what was asked for.
pub const MR_ERR_RING: mr_status = -11;
/// No memory: building, more than the machine has left; otherwise, none for what the call needs.
pub const MR_ERR_MEMORY: mr_status = -12;
/// Building: a name was registered twice.
pub const MR_ERR_DUPLICATE: mr_status = -13;
/// A system call failed.
pub const MR_ERR_SYSTEM: mr_status = -14;
/// Building: a worker did not start.
pub const MR_ERR_WORKER_START: mr_status = -15;
/// A task failed; mr_last_failure tells which and how.
pub const MR_ERR_TASK: mr_status = -20;
/// Arguments or a tensor that are invalid, as the text says.
pub const MR_ERR_ARGS: mr_status = -21;
/// More argument bytes than one submit takes.
pub const MR_ERR_ARGS_TOO_LARGE: mr_status = -22;
/// A tensor that no worker could reach: NULL, or outside of buffers and outputs.
pub const MR_ERR_ADDRESS: mr_status = -23;
/// A group without members, or larger than its pool of workers.
pub const MR_ERR_GROUP: mr_status = -24;
/// There is no such worker, or none of that kind.
pub const MR_ERR_WORKER: mr_status = -25;
/// The callable is not a registered function.
pub const MR_ERR_FUNCTION: mr_status = -26;
/// The library or the symbol of a function could not be loaded.
pub const MR_ERR_LIBRARY: mr_status = -27;
/// Options of a task that contradict each other.
pub const MR_ERR_OPTIONS: mr_status = -28;
/// Scopes too deep, or the end of one that is not open.
pub const MR_ERR_SCOPE: mr_status = -29;
/// There is no room now, and the function does not wait.
pub const MR_ERR_WOULD_BLOCK: mr_status = -30;
/// Waiting would never end: only the caller itself could free the space.
pub const MR_ERR_HEAP_DEADLOCK: mr_status = -31;
/// The back-pressure time-out has passed.
pub const MR_ERR_BACK_PRESSURE: mr_status = -32;
/// An mr_task of another run, or an output that was not allocated.
pub const MR_ERR_TASK_HANDLE: mr_status = -33;
/// Buffer space is used up.
pub const MR_ERR_BUFFER_SPACE: mr_status = -34;
/// Called in a place where it cannot work.
pub const MR_ERR_MISUSE: mr_status = -35;
/// The executor cannot go on, or was closed during the call. Build a new one.
pub const MR_ERR_FAILED: mr_status = -36;
/// A body that was called by hand returned an error.
pub const MR_ERR_BODY: mr_status = -37;
/// A descriptor that is not mappable, or is shorter than the buffer over it.
pub const MR_ERR_IMPORT: mr_status = -38;
/// The time that the caller gave has passed.
pub const MR_ERR_TIMEOUT: mr_status = -39;
/// A recording or bindings that are invalid, as the text says.
pub const MR_ERR_REPLAY: mr_status = -40;
/// Another error; the text says which.
pub const MR_ERR_OTHER: mr_status = -99;

const NAMES: &[(mr_status, &CStr)] = &[
    (MR_OK, c"MR_OK"),
    (MR_ERR_PANIC, c"MR_ERR_PANIC"),
    (MR_ERR_HANDLE, c"MR_ERR_HANDLE"),
    (MR_ERR_NULL, c"MR_ERR_NULL"),
    (MR_ERR_ARGUMENT, c"MR_ERR_ARGUMENT"),
    (MR_ERR_SIZE, c"MR_ERR_SIZE"),
    (MR_ERR_CAPACITY, c"MR_ERR_CAPACITY"),
    (MR_ERR_NOT_FOUND, c"MR_ERR_NOT_FOUND"),
    (MR_ERR_WORKERS, c"MR_ERR_WORKERS"),
    (MR_ERR_RING, c"MR_ERR_RING"),
    (MR_ERR_MEMORY, c"MR_ERR_MEMORY"),
    (MR_ERR_DUPLICATE, c"MR_ERR_DUPLICATE"),
    (MR_ERR_SYSTEM, c"MR_ERR_SYSTEM"),
    (MR_ERR_WORKER_START, c"MR_ERR_WORKER_START"),
    (MR_ERR_TASK, c"MR_ERR_TASK"),
    (MR_ERR_ARGS, c"MR_ERR_ARGS"),
    (MR_ERR_ARGS_TOO_LARGE, c"MR_ERR_ARGS_TOO_LARGE"),
    (MR_ERR_ADDRESS, c"MR_ERR_ADDRESS"),
    (MR_ERR_GROUP, c"MR_ERR_GROUP"),
    (MR_ERR_WORKER, c"MR_ERR_WORKER"),
    (MR_ERR_FUNCTION, c"MR_ERR_FUNCTION"),
    (MR_ERR_LIBRARY, c"MR_ERR_LIBRARY"),
    (MR_ERR_OPTIONS, c"MR_ERR_OPTIONS"),
    (MR_ERR_SCOPE, c"MR_ERR_SCOPE"),
    (MR_ERR_WOULD_BLOCK, c"MR_ERR_WOULD_BLOCK"),
    (MR_ERR_HEAP_DEADLOCK, c"MR_ERR_HEAP_DEADLOCK"),
    (MR_ERR_BACK_PRESSURE, c"MR_ERR_BACK_PRESSURE"),
    (MR_ERR_TASK_HANDLE, c"MR_ERR_TASK_HANDLE"),
    (MR_ERR_BUFFER_SPACE, c"MR_ERR_BUFFER_SPACE"),
    (MR_ERR_MISUSE, c"MR_ERR_MISUSE"),
    (MR_ERR_FAILED, c"MR_ERR_FAILED"),
    (MR_ERR_BODY, c"MR_ERR_BODY"),
    (MR_ERR_IMPORT, c"MR_ERR_IMPORT"),
    (MR_ERR_TIMEOUT, c"MR_ERR_TIMEOUT"),
    (MR_ERR_REPLAY, c"MR_ERR_REPLAY"),
    (MR_ERR_OTHER, c"MR_ERR_OTHER"),
];

/// The name of a status, such as "MR_ERR_TASK"; "unknown status" for other numbers. Never NULL;
/// valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn mr_status_name(status: mr_status) -> *const c_char {
    let known = NAMES.iter().find(|(number, _)| *number == status);
    known.map_or(c"unknown status", |(_, name)| name).as_ptr()
}
