//! Everything that can go wrong between a worker and its chip.

use std::io;
use std::path::PathBuf;

use crate::abi::AbiError;

/// Why a chip worker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChipError {
    /// Used after its end.
    #[error("the chip worker is finalized; make a new one")]
    Finalized,
    /// `init` was called twice.
    #[error("the chip worker is initialized already; finalize it and make a new one")]
    AlreadyInitialized,
    /// `set_device` before `init`.
    #[error("the chip worker is not initialized; call `init` first")]
    NotInitialized,
    /// `set_device` twice.
    #[error("device {0} is set already; call `reset_device` first")]
    DeviceAlreadySet(i32),
    /// `run_callable` before `set_device`.
    #[error("device not set; call `set_device` first")]
    DeviceNotSet,
    /// A library cannot be loaded.
    #[error("dlopen of the {what} `{path}` failed: {why}", path = path.display())]
    Open {
        /// `host runtime` or `simulation context`.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the loader said.
        why: Box<str>,
    },
    /// The host runtime lacks one of its six functions. It is closed again.
    #[error("the host runtime `{path}` has no symbol `{symbol}`; it needs six", path = path.display())]
    MissingSymbol {
        /// Which function.
        symbol: &'static str,
        /// The library.
        path: PathBuf,
    },
    /// `create_device_context` returned null.
    #[error("create_device_context returned null (host runtime `{path}`)", path = path.display())]
    NullContext {
        /// The library.
        path: PathBuf,
    },
    /// A binary of the device cannot be read.
    #[error("the {what} binary `{path}` cannot be read: {source}", path = path.display())]
    Binary {
        /// `AICPU` or `AICore`.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An invalid size of the runtime buffer.
    #[error("get_runtime_size returned {0}, for which no buffer can be made")]
    RuntimeSize(usize),
    /// `set_device` failed.
    #[error("set_device failed with code {code} (device {device})")]
    SetDevice {
        /// Which device.
        device: i32,
        /// What it returned.
        code: i32,
    },
    /// `run_runtime` failed.
    #[error("run_runtime failed with code {code} ({name}) on device {device}", name = run_code_name(*code))]
    Run {
        /// Which device.
        device: i32,
        /// What it returned.
        code: i32,
    },
    /// `finalize_device` failed. The device counts as let go all the same.
    #[error("finalize_device failed with code {code} (device {device})")]
    FinalizeDevice {
        /// Which device.
        device: i32,
        /// What it returned.
        code: i32,
    },
    /// A worker could not be started for its device.
    #[error("device {device}: {source}")]
    Start {
        /// Which device.
        device: i32,
        /// What failed.
        source: Box<ChipError>,
    },
    /// A task names no program of this runtime.
    #[error(
        "callable {callable} is not a chip program: {registered} are registered, counted from 0; \
         `ChipRuntime::register` returns them"
    )]
    UnknownCallable {
        /// What the task named.
        callable: u64,
        /// How many programs there are.
        registered: usize,
    },
    /// A name was registered twice.
    #[error("a chip program named `{0}` is registered already; names must differ")]
    DuplicateProgram(String),
    /// Arguments that a chip cannot take.
    #[error(transparent)]
    Args(#[from] AbiError),
}

/// What a code that `run_runtime` returned means.
///
/// ```
/// use mailring::chip::run_code_name;
/// assert_eq!(run_code_name(-5), "invalid arguments");
/// assert_eq!(run_code_name(-100), "scheduler failure");
/// ```
pub fn run_code_name(code: i32) -> &'static str {
    match code {
        0 => "success",
        // The orchestrator's first code and the runtime's general one are the same number.
        -1 => "scope deadlock, or a failure without a code of its own",
        -2 => "heap ring deadlock",
        -3 => "flow-control deadlock",
        -4 => "dependency pool overflow",
        -5 => "invalid arguments",
        -6 => "dependency overflow",
        -7 => "invalid sync start",
        -8 => "tensor wait time-out",
        -9 => "explicit fatal error",
        -100 => "scheduler failure",
        _ => "no documented code",
    }
}
