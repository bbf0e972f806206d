//! Workers that drive chips: mailring_host_runtime.h says what they load.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use mailring::abi::{ArgDirection, ChipCallable, CoreCallable};
use mailring::chip::{ChipError, ChipRuntime};
use mailring::limits::{MAX_CHILDREN, MAX_SIGNATURE};

use super::builder::{Making, mr_builder};
use super::error::{Fail, guard};
use super::handles;
use super::raw::{Many, Out, Plain, Text, Versioned, VersionedIn, null, number};
use super::status::{MR_ERR_ARGS, MR_ERR_DUPLICATE, MR_ERR_MISUSE, MR_ERR_OTHER, mr_status};
use super::values::mr_callable;

/// A chip as a host sees it. Nothing is opened before a worker starts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_chip_runtime {
    /// Bytes of this structure, set by the caller.
    pub size: usize,
    /// The host runtime: a shared object with the six functions of mailring_host_runtime.h. A path
    /// without a slash is looked for where the system keeps its libraries.
    pub host_runtime: *const c_char,
    /// A file for the control processors, handed to the runtime with every call. NULL: none.
    pub aicpu: *const c_char,
    /// A file for the compute cores, likewise. NULL: none.
    pub aicore: *const c_char,
    /// A shared object that is loaded before the runtime, with its symbols visible to all. NULL: none.
    pub sim_context: *const c_char,
    /// The devices: one worker of kind MR_NEXT_LEVEL for each, in this order.
    pub devices: *const i32,
    /// How many.
    pub device_count: usize,
}

// SAFETY: integers and pointers, size first.
unsafe impl Versioned for mr_chip_runtime {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "mr_chip_runtime";
}

/// What a program of a chip does with an argument.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_direction {
    /// A number, no tensor.
    MR_DIRECTION_SCALAR = 0,
    /// A tensor that it reads.
    MR_DIRECTION_IN = 1,
    /// A tensor that it writes.
    MR_DIRECTION_OUT = 2,
    /// A tensor that it reads and writes.
    MR_DIRECTION_INOUT = 3,
}

/// A kernel of a program of a chip.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_chip_kernel {
    /// The number by which the program launches it.
    pub func_id: i32,
    /// Zero.
    pub padding: u32,
    /// What it does with its arguments. NULL when that is not said.
    pub signature: *const MaybeUninit<mr_direction>,
    /// How many there are, at most 16.
    pub signature_count: usize,
    /// The file with its binary.
    pub file: *const c_char,
}

// SAFETY: integers and pointers.
unsafe impl Plain for mr_chip_kernel {}

/// A program of a chip, which tasks can name. Files are read when it is registered.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_chip_program {
    /// Bytes of this structure, set by the caller.
    pub size: usize,
    /// The function of the binary that orchestrates.
    pub function: *const c_char,
    /// The function that configures it. NULL: none.
    pub config_function: *const c_char,
    /// What it does with its arguments. NULL when that is not said.
    pub signature: *const MaybeUninit<mr_direction>,
    /// How many there are, at most 16.
    pub signature_count: usize,
    /// The file with the binary that orchestrates.
    pub file: *const c_char,
    /// Its kernels.
    pub kernels: *const mr_chip_kernel,
    /// How many.
    pub kernel_count: usize,
}

// SAFETY: integers and pointers, size first.
unsafe impl Versioned for mr_chip_program {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "mr_chip_program";
}

fn chip_error(error: ChipError) -> Fail {
    let status = match &error {
        ChipError::DuplicateProgram(_) => MR_ERR_DUPLICATE,
        ChipError::Args(_) => MR_ERR_ARGS,
        _ => MR_ERR_OTHER,
    };
    Fail::new(status, error.to_string())
}

/// # Safety
/// Null, or as many directions are readable.
unsafe fn signature(
    first: *const MaybeUninit<mr_direction>,
    count: usize,
) -> Result<Vec<ArgDirection>, Fail> {
    // SAFETY: the caller's promise.
    let given = unsafe { Many::new(first, count) }.read("directions", MAX_SIGNATURE)?;
    let known = |given| ArgDirection::try_from(number(given) as i32).map_err(Fail::from);
    given.into_iter().map(known).collect()
}

/// Makes the workers of kind MR_NEXT_LEVEL drive chips: one for each device, in its own process (in
/// THREAD mode there can be one device), where it loads the runtime and takes its device. Instead of
/// workers in mr_options. How long that may take is start_timeout_ns there.
///
/// MR_ERR_MISUSE: this builder has chips already. What else is wrong is the error of mr_build.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_builder_chips(
    builder: *mut mr_builder,
    runtime: *const mr_chip_runtime,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let given = unsafe { VersionedIn::new(runtime) };
    guard(|| {
        let mut making = handles::lock::<Making, _>(builder)?;
        let none = mr_chip_runtime {
            size: 0,
            host_runtime: std::ptr::null(),
            aicpu: std::ptr::null(),
            aicore: std::ptr::null(),
            sim_context: std::ptr::null(),
            devices: std::ptr::null(),
            device_count: 0,
        };
        let given = given.read(none)?.ok_or_else(|| null("runtime"))?;
        // SAFETY: text and numbers that the caller promised to keep during this call.
        let (host, aicpu, aicore, context, devices) = unsafe {
            (
                Text::new(given.host_runtime),
                Text::new(given.aicpu),
                Text::new(given.aicore),
                Text::new(given.sim_context),
                Many::new(given.devices, given.device_count),
            )
        };
        let devices = devices.read("devices", mailring::limits::MAX_WORKERS)?;
        if making.chips.is_some() {
            let why = "this builder has chips already; name all devices in one call";
            return Err(Fail::new(MR_ERR_MISUSE, why));
        }
        // SAFETY: the caller says that a host runtime lies there.
        let mut chips = unsafe { ChipRuntime::new(host.path("host_runtime")?) }.devices(devices);
        if !aicpu.is_null() {
            chips = chips.aicpu(aicpu.path("aicpu")?);
        }
        if !aicore.is_null() {
            chips = chips.aicore(aicore.path("aicore")?);
        }
        if !context.is_null() {
            chips = chips.sim_context(context.path("sim_context")?);
        }
        making.chips = Some(chips);
        Ok(())
    })
}

/// Adds a program of the chips under a name that no other has; *out is what to submit, to workers of
/// kind MR_NEXT_LEVEL. After mr_builder_chips.
///
/// MR_ERR_ARGS: a file cannot be read, or something is too long. MR_ERR_DUPLICATE: the name is taken.
/// MR_ERR_MISUSE: the builder has no chips.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_register_chip(
    builder: *mut mr_builder,
    name: *const c_char,
    program: *const mr_chip_program,
    out: *mut mr_callable,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (name, given, out) = unsafe { (Text::new(name), VersionedIn::new(program), Out::new(out)) };
    guard(|| {
        let mut making = handles::lock::<Making, _>(builder)?;
        let out = out.check("out")?;
        let name = name.name("the name of a program")?.ok_or_else(|| null("name"))?;
        let none = mr_chip_program {
            size: 0,
            function: std::ptr::null(),
            config_function: std::ptr::null(),
            signature: std::ptr::null(),
            signature_count: 0,
            file: std::ptr::null(),
            kernels: std::ptr::null(),
            kernel_count: 0,
        };
        let given = given.read(none)?.ok_or_else(|| null("program"))?;
        // SAFETY: text and arrays that the caller promised to keep during this call.
        let (function, config, signature_, file, kernels) = unsafe {
            (
                Text::new(given.function).read("function")?,
                Text::new(given.config_function).maybe("config_function")?,
                signature(given.signature, given.signature_count)?,
                Text::new(given.file).path("file")?,
                Many::new(given.kernels, given.kernel_count).read("kernels", MAX_CHILDREN)?,
            )
        };
        let mut program = ChipCallable::builder(function).signature(signature_);
        program = program.binary_file(file)?;
        if let Some(config) = config {
            program = program.config_name(config);
        }
        for kernel in kernels {
            // SAFETY: as above.
            let (signature, file) = unsafe {
                (
                    signature(kernel.signature, kernel.signature_count)?,
                    Text::new(kernel.file).path("the file of a kernel")?,
                )
            };
            program = program.child(kernel.func_id, CoreCallable::from_file(&signature, file)?);
        }
        let program = program.build()?;
        let Some(chips) = &mut making.chips else {
            let why = "this builder has no chips; call mr_builder_chips first";
            return Err(Fail::new(MR_ERR_MISUSE, why));
        };
        out.set(chips.register(&name, program).map_err(chip_error)?.0);
        Ok(())
    })
}
