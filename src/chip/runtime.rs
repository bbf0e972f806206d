//! What a chip worker is made from: files, devices, programs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ChipError;
use crate::abi::ChipCallable;
use crate::ids::Callable;

/// A chip as a host sees it: the runtime library with its files, the devices, and the programs
/// that tasks can name. A plain description: nothing is opened before a worker starts.
///
/// ```
/// use mailring::abi::ChipCallable;
/// use mailring::chip::ChipRuntime;
/// // SAFETY: what lies there is a host runtime.
/// let mut chips = unsafe { ChipRuntime::new("/opt/chip/libhost_runtime.so") }.devices([0, 1]);
/// let program = chips.register("add", ChipCallable::builder("add").build()?)?;
/// assert_eq!(program.0, 0); // what to submit
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChipRuntime {
    pub(super) host: PathBuf,
    pub(super) aicpu: Option<PathBuf>,
    pub(super) aicore: Option<PathBuf>,
    pub(super) sim_context: Option<PathBuf>,
    devices: Vec<i32>,
    pub(super) programs: Vec<Arc<Program>>,
    known: HashSet<String>,
}

/// A callable that tasks can name by its number.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    pub(super) callable: ChipCallable,
}

impl ChipRuntime {
    /// A runtime of this library, without further files, devices and programs. A path without a
    /// slash is looked for where the system keeps its libraries.
    ///
    /// # Safety
    /// Whatever lies there when a worker starts is a host runtime: its six functions have the
    /// types of the interface, and touch no memory but their own and what they are given. So are
    /// the other files and the programs what that runtime expects.
    pub unsafe fn new(host: impl Into<PathBuf>) -> Self {
        Self {
            host: host.into(),
            aicpu: None,
            aicore: None,
            sim_context: None,
            devices: Vec::new(),
            programs: Vec::new(),
            known: HashSet::new(),
        }
    }

    /// The binary of the control processors, handed to the runtime with every call.
    #[must_use]
    pub fn aicpu(mut self, file: impl Into<PathBuf>) -> Self {
        self.aicpu = Some(file.into());
        self
    }

    /// The binary of the compute cores, handed to the runtime with every call.
    #[must_use]
    pub fn aicore(mut self, file: impl Into<PathBuf>) -> Self {
        self.aicore = Some(file.into());
        self
    }

    /// A library that is loaded before the runtime, once a process, with its symbols visible to
    /// all: what simulated runtimes share.
    #[must_use]
    pub fn sim_context(mut self, library: impl Into<PathBuf>) -> Self {
        self.sim_context = Some(library.into());
        self
    }

    /// The devices: as many workers, in this order.
    #[must_use]
    pub fn devices(mut self, devices: impl IntoIterator<Item = i32>) -> Self {
        self.devices = devices.into_iter().collect();
        self
    }

    /// Adds a program under a name that no other has; the result is what to submit.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register(&mut self, name: &str, callable: ChipCallable) -> Result<Callable, ChipError> {
        if !self.known.insert(name.to_owned()) {
            return Err(ChipError::DuplicateProgram(name.to_owned()));
        }
        self.programs.push(Arc::new(Program { name: name.to_owned(), callable }));
        Ok(Callable(self.programs.len() as u64 - 1))
    }

    /// The library.
    pub fn host_runtime(&self) -> &Path {
        &self.host
    }

    /// The devices, in the order of their workers.
    pub fn device_ids(&self) -> &[i32] {
        &self.devices
    }

    /// The names of the programs, in the order of their numbers.
    pub fn program_names(&self) -> impl Iterator<Item = &str> {
        self.programs.iter().map(|program| program.name.as_str())
    }

    /// A program by its number.
    ///
    /// # Errors
    /// No program has this number.
    pub fn program(&self, callable: Callable) -> Result<&ChipCallable, ChipError> {
        find(&self.programs, callable.0).map(|program| &program.callable)
    }
}

/// A program by its number.
pub(super) fn find(programs: &[Arc<Program>], callable: u64) -> Result<&Arc<Program>, ChipError> {
    let found = usize::try_from(callable).ok().and_then(|index| programs.get(index));
    found.ok_or(ChipError::UnknownCallable { callable, registered: programs.len() })
}
