//! The worker that drives one device: its states, and the order of calls.

use std::error::Error;
use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::Arc;

use mailring_process::file::read_regular;

use super::buffer::RuntimeBuffer;
use super::library::{DeviceContext, HostRuntime, keep_simulation_context};
use super::runtime::{Program, find};
use super::{ChipError, ChipRuntime};
use crate::abi::{
    CallConfig, ChipCallable, ChipStorageTaskArgs, TaskArgsView, check_reach, view_to_chip_storage,
};
use crate::limits::MAX_FILE_BYTES;
use crate::worker::{TaskContext, Worker};

/// Drives one device through a host runtime.
///
/// ```text
///         init            set_device            run_callable, any number of times
///  new ─────────▶ ready ──────────────▶ set ──┐
///   │               ▲                    │ ▲───┘
///   │               └─── reset_device ───┘
///   └───────────▶ finalized ◀── finalize (from everywhere; a drop does it as well)
/// ```
///
/// A process drives one device at a time; the executor gives each worker a process of its own.
#[derive(Default)]
pub struct ChipWorker {
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    New,
    Ready(Box<Chip>),
    Finalized,
}

/// A loaded runtime with all that its calls take.
struct Chip {
    device: Option<i32>,
    context: DeviceContext,
    buffer: RuntimeBuffer,
    args: ChipStorageTaskArgs,
    aicpu: Vec<u8>,
    aicore: Vec<u8>,
    programs: Vec<Arc<Program>>,
}

impl ChipWorker {
    /// A worker without a runtime.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A worker that drives `device`, in this process.
    ///
    /// # Errors
    /// As [`init`](Self::init) and [`set_device`](Self::set_device); the device is named.
    pub fn start(runtime: &ChipRuntime, device: i32) -> Result<Self, ChipError> {
        let mut worker = Self::new();
        let opened = worker.init(runtime);
        opened.map_err(|source| ChipError::Start { device, source: Box::new(source) })?;
        worker.set_device(device)?;
        Ok(worker)
    }

    /// Loads the runtime and makes a device context. After an error all is as before.
    ///
    /// # Errors
    /// It was done before, the worker is finalized, a library or a file cannot be read, one of the
    /// six functions is missing, there is no context, the size of the runtime buffer is invalid.
    pub fn init(&mut self, runtime: &ChipRuntime) -> Result<(), ChipError> {
        match self.state {
            State::New => {}
            State::Ready(_) => return Err(ChipError::AlreadyInitialized),
            State::Finalized => return Err(ChipError::Finalized),
        }
        if let Some(path) = &runtime.sim_context {
            keep_simulation_context(path)?;
        }
        let context = HostRuntime::open(&runtime.host)?.context()?;
        let aicpu = read("AICPU", runtime.aicpu.as_ref())?;
        let aicore = read("AICore", runtime.aicore.as_ref())?;
        // SAFETY: takes nothing.
        let size = unsafe { (context.runtime.runtime_size)() };
        let buffer = RuntimeBuffer::new(size).ok_or(ChipError::RuntimeSize(size))?;
        tracing::debug!(runtime = %runtime.host.display(), size, "chip runtime loaded");
        self.state = State::Ready(Box::new(Chip {
            device: None,
            context,
            buffer,
            args: ChipStorageTaskArgs::new(),
            aicpu,
            aicore,
            programs: runtime.programs.clone(),
        }));
        Ok(())
    }

    /// Takes a device.
    ///
    /// # Errors
    /// `init` comes first; one is set already; the runtime refuses.
    pub fn set_device(&mut self, device: i32) -> Result<(), ChipError> {
        let chip = match &mut self.state {
            State::New => return Err(ChipError::NotInitialized),
            State::Finalized => return Err(ChipError::Finalized),
            State::Ready(chip) => chip,
        };
        if let Some(device) = chip.device {
            return Err(ChipError::DeviceAlreadySet(device));
        }
        // SAFETY: the context is the library's own, and no other call is under way.
        match unsafe { (chip.context.runtime.set_device)(chip.context.as_ptr(), device) } {
            0 => {
                chip.device = Some(device);
                Ok(())
            }
            code => Err(ChipError::SetDevice { device, code }),
        }
    }

    /// Runs a callable on the device, to its end.
    ///
    /// # Errors
    /// No device is set; more arguments than a chip takes; a tensor that is not memory of an
    /// executor in this process; the runtime returned a code.
    pub fn run_callable(
        &mut self,
        callable: &ChipCallable,
        args: TaskArgsView<'_>,
        config: &CallConfig,
    ) -> Result<(), ChipError> {
        match &mut self.state {
            State::New => Err(ChipError::DeviceNotSet),
            State::Finalized => Err(ChipError::Finalized),
            State::Ready(chip) => chip.run(callable, args, config),
        }
    }

    /// The same on tensors in any memory.
    ///
    /// # Errors
    /// As [`run_callable`](Self::run_callable), tensors excepted.
    ///
    /// # Safety
    /// Every tensor names as many bytes as its shape says, which this process may read and write,
    /// and which nobody else touches until the call returns.
    pub unsafe fn run_callable_on(
        &mut self,
        callable: &ChipCallable,
        args: TaskArgsView<'_>,
        config: &CallConfig,
    ) -> Result<(), ChipError> {
        mailring_process::reach::trusting(|| self.run_callable(callable, args, config))
    }

    /// Lets the device go; another one may be set then. Nothing happens when none is set.
    ///
    /// # Errors
    /// The runtime returned a code. The device counts as let go.
    pub fn reset_device(&mut self) -> Result<(), ChipError> {
        match &mut self.state {
            State::Ready(chip) => chip.reset(),
            State::New | State::Finalized => Ok(()),
        }
    }

    /// Lets the device go, destroys the context, and closes the library. Nothing happens the
    /// second time.
    ///
    /// # Errors
    /// The runtime returned a code for the device. All the rest is done.
    pub fn finalize(&mut self) -> Result<(), ChipError> {
        match std::mem::replace(&mut self.state, State::Finalized) {
            State::Ready(mut chip) => chip.reset(),
            State::New | State::Finalized => Ok(()),
        }
    }

    /// Whether a runtime is loaded.
    pub fn is_initialized(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// The device, if one is set.
    pub fn device(&self) -> Option<i32> {
        match &self.state {
            State::Ready(chip) => chip.device,
            State::New | State::Finalized => None,
        }
    }
}

impl Chip {
    fn run(
        &mut self,
        callable: &ChipCallable,
        args: TaskArgsView<'_>,
        config: &CallConfig,
    ) -> Result<(), ChipError> {
        let device = self.device.ok_or(ChipError::DeviceNotSet)?;
        check_reach(args.tensors())?;
        view_to_chip_storage(args, &mut self.args)?;
        let (aicpu, aicore) = (pointer(&self.aicpu), pointer(&self.aicore));
        // SAFETY: the context is the library's own and no other call is under way; buffer,
        // callable, arguments and binaries have the sizes and alignments of the interface and
        // stay where they are until the call returns. The tensors were checked just now.
        let code = unsafe {
            (self.context.runtime.run)(
                self.context.as_ptr(),
                self.buffer.zeroed(),
                callable.as_ptr().cast(),
                self.args.as_bytes().as_ptr().cast(),
                config.block_dim,
                config.aicpu_thread_num,
                device,
                aicpu,
                self.aicpu.len(),
                aicore,
                self.aicore.len(),
                c_int::from(config.enable_profiling),
                c_int::from(config.enable_dump_tensor),
            )
        };
        if code == 0 { Ok(()) } else { Err(ChipError::Run { device, code }) }
    }

    fn reset(&mut self) -> Result<(), ChipError> {
        let Some(device) = self.device.take() else { return Ok(()) };
        // SAFETY: the context is the library's own, and no other call is under way.
        match unsafe { (self.context.runtime.finalize_device)(self.context.as_ptr()) } {
            0 => Ok(()),
            code => Err(ChipError::FinalizeDevice { device, code }),
        }
    }
}

impl Drop for ChipWorker {
    fn drop(&mut self) {
        if let Err(error) = self.finalize() {
            tracing::warn!(%error, "the device was not let go properly");
        }
    }
}

impl Worker for ChipWorker {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        _context: &TaskContext<'_>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        match &mut self.state {
            State::New => Err(ChipError::NotInitialized.into()),
            State::Finalized => Err(ChipError::Finalized.into()),
            State::Ready(chip) => {
                let program = Arc::clone(find(&chip.programs, callable)?);
                Ok(chip.run(&program.callable, args, config)?)
            }
        }
    }

    fn return_code(&self, error: &(dyn Error + 'static)) -> Option<i32> {
        match error.downcast_ref() {
            Some(ChipError::Run { code, .. }) => Some(*code),
            _ => None,
        }
    }
}

impl std::fmt::Debug for ChipWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::New => "new",
            State::Ready(_) => "ready",
            State::Finalized => "finalized",
        };
        let mut shown = f.debug_struct("ChipWorker");
        shown.field("state", &state).field("device", &self.device()).finish()
    }
}

fn read(what: &'static str, file: Option<&PathBuf>) -> Result<Vec<u8>, ChipError> {
    let Some(path) = file else { return Ok(Vec::new()) };
    let read = read_regular(path, MAX_FILE_BYTES);
    let (_, bytes) =
        read.map_err(|source| ChipError::Binary { what, path: path.clone(), source })?;
    Ok(bytes)
}

/// No bytes have no address.
fn pointer(bytes: &[u8]) -> *const u8 {
    if bytes.is_empty() { std::ptr::null() } else { bytes.as_ptr() }
}
