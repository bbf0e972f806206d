//! Functions that were registered after the start: found by path and symbol, known by content.
//!
//! The host writes path, symbol and digest into the trusted part of the arena before the first
//! task that names the function is published. A worker loads the shared object when the first such
//! task comes to it, so nobody is told anything and a replacement needs nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use libc::RTLD_NOLOAD;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use mailring_process::file::read_regular;
use sha2::{Digest, Sha256};

use super::native::{NativeFunction, call_native};
use super::{BoxError, Functions, TaskContext, Worker};
use crate::abi::{CallConfig, TaskArgsView};
use crate::limits::MAX_FILE_BYTES;
use crate::segment::{Arena, DynamicRecord};

/// Marks callables of functions that were registered after the start.
const DYNAMIC: u64 = 1 << 63;

/// A place in the table of dynamic functions, and how often it was given before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DynamicId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl DynamicId {
    pub(crate) fn callable(self) -> u64 {
        DYNAMIC | u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The place that a callable names, if it is one of a dynamic function.
    #[inline]
    pub(crate) fn of(callable: u64) -> Option<Self> {
        let generation = (callable & !DYNAMIC) >> 32;
        (callable & DYNAMIC != 0)
            .then_some(Self { index: callable as u32, generation: generation as u32 })
    }
}

/// What makes a function the same function: the bytes of its shared object, and its symbol.
pub(crate) fn digest(content: &[u8], symbol: &str) -> [u8; 32] {
    Sha256::new().chain_update(content).chain_update([0]).chain_update(symbol).finalize().into()
}

/// The worker that calls registered functions, those from before the start and dynamic ones.
pub(crate) struct Registered {
    functions: Functions,
    arena: Arc<Arena>,
    loaded: HashMap<u32, Loaded>,
}

struct Loaded {
    generation: u32,
    function: NativeFunction,
    /// Keeps the code mapped.
    _library: Library,
    /// Keeps its name.
    _file: File,
}

impl Registered {
    pub(crate) fn new(functions: Functions, arena: Arc<Arena>) -> Self {
        Self { functions, arena, loaded: HashMap::new() }
    }

    fn find(&mut self, id: DynamicId) -> Result<NativeFunction, BoxError> {
        if let Some(loaded) = self.loaded.get(&id.index)
            && loaded.generation == id.generation
        {
            return Ok(loaded.function);
        }
        let record = self.arena.dynamic(id.index).filter(|r| r.generation == id.generation);
        let record = record.ok_or("the function was unregistered")?;
        let loaded = load(&record)?;
        let function = loaded.function;
        self.loaded.insert(id.index, loaded); // what was there before is closed
        Ok(function)
    }

    #[inline(never)]
    fn run_loaded(
        &mut self,
        id: DynamicId,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), BoxError> {
        let function = self.find(id)?;
        // SAFETY: whoever registered the symbol said that it is such a function; the library stays
        // loaded while it runs.
        unsafe { call_native(function, std::ptr::null_mut(), args, config, context) }
    }
}

impl Worker for Registered {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), BoxError> {
        match DynamicId::of(callable) {
            None => self.functions.run(callable, args, config, context),
            Some(id) => self.run_loaded(id, args, config, context),
        }
    }
}

fn load(record: &DynamicRecord) -> Result<Loaded, BoxError> {
    let path = Path::new(OsStr::from_bytes(record.path()));
    let symbol = std::str::from_utf8(record.symbol())?;
    let changed =
        || format!("{} is not the file that was registered; register it again", path.display());
    let reading = |error| format!("reading {}: {error}", path.display());
    let (file, content) = read_regular(path, MAX_FILE_BYTES).map_err(reading)?;
    if digest(&content, symbol) != record.digest {
        return Err(changed().into());
    }
    // The loader knows objects by their names: under one that it has loaded before it would give
    // what was there then. A name that only this descriptor has is met once.
    let flags = RTLD_NOW | RTLD_LOCAL;
    // SAFETY: loads nothing.
    let known = unsafe { Library::open(Some(path), flags | RTLD_NOLOAD) }.is_ok();
    let name =
        if known { format!("/proc/self/fd/{}", file.as_raw_fd()).into() } else { path.to_owned() };
    // SAFETY: runs the initialisers of the object, in the worker: who registered it answers.
    let library = unsafe { Library::open(Some(&name), flags) }?;
    let (read, now) = (file.metadata()?, std::fs::metadata(&name)?);
    if (read.dev(), read.ino()) != (now.dev(), now.ino()) {
        return Err(changed().into()); // replaced just now
    }
    // SAFETY: the type is that of a body, as the registration demands.
    let function = unsafe { *library.get::<NativeFunction>(symbol.as_bytes())? };
    Ok(Loaded { generation: record.generation, function, _library: library, _file: file })
}
