//! A running task as its functions see it: the structures of `include/simchip.h`.

use std::ffi::{c_int, c_void};

/// `sim_tensor`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct SimTensor {
    pub(crate) data: *mut c_void,
    pub(crate) bytes: u64,
    pub(crate) shape: [u32; 5],
    pub(crate) ndims: u32,
    pub(crate) dtype: u32,
}

/// `sim_task`.
#[repr(C)]
pub(crate) struct SimTask {
    pub(crate) tensors: *const SimTensor,
    pub(crate) scalars: *const u64,
    pub(crate) tensor_count: u32,
    pub(crate) scalar_count: u32,
    pub(crate) block_dim: i32,
    pub(crate) device: i32,
    pub(crate) chip: *mut c_void,
    pub(crate) launch: SimLaunch,
    pub(crate) scratch: SimScratch,
}

const _: () = {
    assert!(size_of::<SimTensor>() == 48 && size_of::<SimTask>() == 56);
    assert!(std::mem::offset_of!(SimTensor, shape) == 16);
    assert!(std::mem::offset_of!(SimTask, block_dim) == 24);
    assert!(std::mem::offset_of!(SimTask, launch) == 40);
    assert!(std::mem::offset_of!(SimTask, scratch) == 48);
};

pub(crate) type SimOrchestration = unsafe extern "C" fn(*const SimTask) -> c_int;
pub(crate) type SimKernel =
    unsafe extern "C" fn(u32, u32, *const SimTensor, u32, *const u64, u32) -> c_int;
pub(crate) type SimLaunch =
    unsafe extern "C" fn(*const SimTask, i32, u32, *const SimTensor, u32, *const u64, u32) -> c_int;
pub(crate) type SimScratch = unsafe extern "C" fn(*const SimTask, u64) -> *mut c_void;
