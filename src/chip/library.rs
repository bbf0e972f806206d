//! The host runtime: a library of six C functions, loaded for as long as a worker needs it.

use std::error::Error;
use std::ffi::{CStr, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};

use super::ChipError;

type CreateContext = unsafe extern "C" fn() -> *mut c_void;
type DestroyContext = unsafe extern "C" fn(*mut c_void);
type RuntimeSize = unsafe extern "C" fn() -> usize;
type SetDevice = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type FinalizeDevice = unsafe extern "C" fn(*mut c_void) -> c_int;
type Run = unsafe extern "C" fn(
    context: *mut c_void,
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
) -> c_int;

/// The functions of a loaded host runtime.
pub(super) struct HostRuntime {
    create_context: CreateContext,
    destroy_context: DestroyContext,
    pub(super) runtime_size: RuntimeSize,
    pub(super) set_device: SetDevice,
    pub(super) run: Run,
    pub(super) finalize_device: FinalizeDevice,
    path: PathBuf,
    /// Closed when this is dropped; the functions are called through `&self` only.
    _library: Library,
}

impl HostRuntime {
    pub(super) fn open(path: &Path) -> Result<Self, ChipError> {
        let library = open("host runtime", path, RTLD_NOW | RTLD_LOCAL)?;
        // SAFETY: the types are those of the runtime's interface, which whoever names a library
        // as a host runtime vouches for.
        unsafe {
            Ok(Self {
                create_context: symbol(&library, path, c"create_device_context")?,
                destroy_context: symbol(&library, path, c"destroy_device_context")?,
                runtime_size: symbol(&library, path, c"get_runtime_size")?,
                set_device: symbol(&library, path, c"set_device")?,
                run: symbol(&library, path, c"run_runtime")?,
                finalize_device: symbol(&library, path, c"finalize_device")?,
                path: path.to_owned(),
                _library: library,
            })
        }
    }

    /// A device context; destroyed, and the library closed, when it is dropped.
    pub(super) fn context(self) -> Result<DeviceContext, ChipError> {
        // SAFETY: takes nothing.
        match NonNull::new(unsafe { (self.create_context)() }) {
            Some(context) => Ok(DeviceContext { context, runtime: self }),
            None => Err(ChipError::NullContext { path: self.path }),
        }
    }
}

/// A context of a host runtime, with the runtime.
pub(super) struct DeviceContext {
    context: NonNull<c_void>,
    pub(super) runtime: HostRuntime,
}

impl DeviceContext {
    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.context.as_ptr()
    }
}

impl Drop for DeviceContext {
    fn drop(&mut self) {
        // SAFETY: made by `create_device_context` of the same library, and destroyed once. The
        // library is closed after this, as a field of `self`.
        unsafe { (self.runtime.destroy_context)(self.context.as_ptr()) };
    }
}

fn open(what: &'static str, path: &Path, flags: i32) -> Result<Library, ChipError> {
    // SAFETY: runs what the library does when it is loaded; whoever names a library as part of a
    // chip's runtime vouches for it.
    let opened = unsafe { Library::open(Some(path), flags) };
    opened.map_err(|error| {
        // The loader's own words are the cause.
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        ChipError::Open { what, path: path.to_owned(), why: why.into() }
    })
}

/// # Safety
/// `T` is the type of that function.
unsafe fn symbol<T: Copy>(
    library: &Library,
    path: &Path,
    name: &'static CStr,
) -> Result<T, ChipError> {
    // SAFETY: as the caller says. A symbol at address 0 is an error of `get`.
    match unsafe { library.get::<T>(name.to_bytes_with_nul()) } {
        Ok(found) => Ok(*found),
        Err(_) => Err(ChipError::MissingSymbol {
            symbol: name.to_str().unwrap_or_default(),
            path: path.to_owned(),
        }),
    }
}

/// Loads the library whose symbols a simulated runtime looks for. It is never closed: libraries
/// that found symbols in it may outlive any worker. The loader knows it the second time, so it is
/// there once a process, however many workers ask.
pub(super) fn keep_simulation_context(path: &Path) -> Result<(), ChipError> {
    std::mem::forget(open("simulation context", path, RTLD_NOW | RTLD_GLOBAL)?);
    Ok(())
}
