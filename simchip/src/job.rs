//! A running task: what `launch` and `scratch` do.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use crate::fault::{Fault, faults};
use crate::interface::{SimTask, SimTensor};
use crate::loader::Program;
use crate::memory::DeviceMemory;
use crate::status::{GENERAL, INVALID, say};

/// What is behind `sim_task.chip`.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Program,
    pub(crate) memory: &'a DeviceMemory,
    pub(crate) device: i32,
}

impl Job<'_> {
    fn launch(
        &self,
        func_id: i32,
        blocks: u32,
        tensors: &[SimTensor],
        scalars: &[u64],
    ) -> Result<(), (i32, String)> {
        let wrong = |why: String| Err((INVALID, format!("launch of child {func_id}: {why}")));
        let Some(kernel) = self.program.child(func_id) else {
            return wrong("the callable has no such child".to_owned());
        };
        if blocks == 0 {
            return wrong("no blocks".to_owned());
        }
        for (index, tensor) in tensors.iter().enumerate() {
            if tensor.bytes > 0 && !self.memory.holds(tensor.data.cast(), tensor.bytes) {
                let SimTensor { data, bytes, .. } = tensor;
                return wrong(format!(
                    "tensor {index} ({bytes} bytes at {data:p}) is not in device memory"
                ));
            }
        }
        for block in 0..blocks {
            // SAFETY: the arrays have the lengths that go with them, and every tensor lies in
            // device memory of this task; the rest is the kernel's own.
            let code = unsafe {
                kernel(
                    block,
                    blocks,
                    tensors.as_ptr(),
                    tensors.len() as u32,
                    scalars.as_ptr(),
                    scalars.len() as u32,
                )
            };
            if code != 0 {
                let why = format!("block {block} of child {func_id} returned {code}");
                return Err((if code < 0 { code } else { GENERAL }, why));
            }
        }
        Ok(())
    }
}

/// The job behind a task that a function of a binary passed back.
///
/// # Safety
/// If it is not null, `task` is the one that the function was called with, or a copy of it.
unsafe fn job<'a>(task: *const SimTask) -> Option<&'a Job<'a>> {
    // SAFETY: as the caller says; the job lives until the orchestration function returns.
    unsafe { task.as_ref()?.chip.cast::<Job<'a>>().as_ref() }
}

/// An array of C. None if the length is invalid.
///
/// # Safety
/// If `first` is not null and aligned, `count` elements lie there and stay as they are.
unsafe fn array<'a, T>(first: *const T, count: u32) -> Option<&'a [T]> {
    if count == 0 {
        return Some(&[]);
    }
    if first.is_null() || !first.is_aligned() {
        return None;
    }
    // SAFETY: as the caller says; 2^32 elements of 48 bytes at most, fewer than an isize counts.
    Some(unsafe { std::slice::from_raw_parts(first, count as usize) })
}

/// `sim_task.launch`.
pub(crate) unsafe extern "C" fn launch(
    task: *const SimTask,
    func_id: i32,
    blocks: u32,
    tensors: *const SimTensor,
    tensor_count: u32,
    scalars: *const u64,
    scalar_count: u32,
) -> c_int {
    let run = || {
        // SAFETY: the orchestration function passes what the header asks for.
        let (job, tensors, scalars) =
            unsafe { (job(task), array(tensors, tensor_count), array(scalars, scalar_count)) };
        let (Some(job), Some(tensors), Some(scalars)) = (job, tensors, scalars) else {
            say(None, "launch: a task, tensors or scalars at address 0 or misaligned");
            return INVALID;
        };
        match job.launch(func_id, blocks, tensors, scalars) {
            Ok(()) => 0,
            Err((code, why)) => {
                say(Some(job.device), &why);
                code
            }
        }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(GENERAL)
}

/// `sim_task.scratch`.
pub(crate) unsafe extern "C" fn scratch(task: *const SimTask, bytes: u64) -> *mut c_void {
    let take = || {
        // SAFETY: as in `launch`.
        let job = unsafe { job(task) }?;
        let none = faults(Some(job.device)).is_ok_and(|all| all.contains(&Fault::Scratch));
        if none { None } else { job.memory.take(usize::try_from(bytes).ok()?) }
    };
    catch_unwind(AssertUnwindSafe(take)).ok().flatten().map_or(null_mut(), |p| p.as_ptr().cast())
}
