//! Registering functions after the start, by shared object and symbol.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, PoisonError};

use mailring_process::file::read_regular;

use super::Executor;
use super::shared::Shared;
use crate::error::Error;
use crate::ids::{Callable, registration};
use crate::limits::{MAX_DYNAMIC_FUNCTIONS, MAX_FILE_BYTES};
use crate::segment::{DynamicRecord, MAX_DYNAMIC_PATH, MAX_DYNAMIC_SYMBOL};
use crate::worker::elf::{self, Symbol};
use crate::worker::library::{DynamicId, digest};

/// The host's table of dynamic functions.
pub(super) struct DynamicFunctions {
    entries: Vec<Entry>,
}

struct Entry {
    generation: u32,
    digest: [u8; 32],
    path: PathBuf,
    name: String,
    standing: Standing,
}

enum Standing {
    Registered,
    /// Free again when this task has left the window; `None`: as soon as that can be found out.
    Leaving(Option<u64>),
}

impl Entry {
    /// Whether this is the function, and its own file still is what it was.
    fn is(&self, its: [u8; 32], symbol: &str, path: &Path) -> bool {
        let unchanged = || {
            let now = read_regular(&self.path, MAX_FILE_BYTES);
            now.is_ok_and(|(_, now)| digest(&now, symbol) == its)
        };
        self.digest == its && (self.path == path || unchanged())
    }
}

impl DynamicFunctions {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(super) fn name(&self, id: DynamicId) -> Option<&str> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.generation == id.generation).then_some(entry.name.as_str())
    }
}

/// By place: the generation that can be submitted now, or 0. Read by every submit of such a task.
pub(super) struct DynamicLive(Box<[AtomicU32]>);

impl DynamicLive {
    pub(super) fn new() -> Self {
        Self((0..MAX_DYNAMIC_FUNCTIONS).map(|_| AtomicU32::new(0)).collect())
    }

    #[inline]
    pub(super) fn has(&self, id: DynamicId) -> bool {
        id.generation != 0
            && self.0.get(id.index as usize).is_some_and(|g| g.load(Acquire) == id.generation)
    }
}

fn refuse(path: &Path, symbol: &str, why: impl Into<String>) -> Error {
    let path = path.display().to_string();
    Error::Library { path, symbol: symbol.to_owned(), why: why.into() }
}

impl Executor {
    /// Registers function `symbol` of the shared object at `path`, without a restart of workers.
    /// Each worker loads it with the first task that names it.
    ///
    /// The function is known by what is in the file: registering the same content and symbol again
    /// gives the same callable, and a file that was changed since is refused by the workers. It is
    /// called as a [`NativeFunction`](crate::native::NativeFunction) with a null `user`, by workers
    /// that call registered functions.
    ///
    /// # Errors
    /// The file cannot be read, is not a shared object, or does not have the symbol; the table is
    /// full. What loading it says is the error of the first task.
    ///
    /// # Safety
    /// The shared object's initialisers can run in a worker, and the symbol is a function of that
    /// type.
    pub unsafe fn register_library(
        &self,
        path: impl AsRef<Path>,
        symbol: &str,
    ) -> Result<Callable, Error> {
        self.shared.check_process()?;
        let asked = path.as_ref();
        let path = asked.canonicalize().map_err(|e| refuse(asked, symbol, e.to_string()))?;
        let read = read_regular(&path, MAX_FILE_BYTES);
        let (_, content) = read.map_err(|e| refuse(&path, symbol, e.to_string()))?;
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() > MAX_DYNAMIC_PATH || symbol.len() > MAX_DYNAMIC_SYMBOL || symbol.is_empty()
        {
            let why = format!(
                "a path has at most {MAX_DYNAMIC_PATH} bytes, a symbol 1 to {MAX_DYNAMIC_SYMBOL}"
            );
            return Err(refuse(&path, symbol, why));
        }
        match elf::find(&content, symbol).map_err(|why| refuse(&path, symbol, why))? {
            Symbol::Function => {}
            Symbol::Missing => return Err(refuse(&path, symbol, "it has no such symbol")),
            Symbol::Other => {
                let why =
                    "that symbol is not a function; name one with the type of a task's function";
                return Err(refuse(&path, symbol, why));
            }
        }
        let digest = digest(&content, symbol);
        let mut dynamic = self.shared.dynamic.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            dynamic.entries.iter_mut().enumerate().find(|(_, e)| e.is(digest, symbol, &path));
        if let Some((index, entry)) = known {
            entry.standing = Standing::Registered;
            let id = DynamicId { index: index as u32, generation: entry.generation };
            self.shared.dynamic_live.0[index].store(id.generation, Release);
            return Ok(Callable(id.callable()));
        }
        let index = match dynamic.entries.len() {
            used if used < MAX_DYNAMIC_FUNCTIONS => used,
            _ => self.find_left(&mut dynamic).ok_or_else(|| {
                let why = format!(
                    "{MAX_DYNAMIC_FUNCTIONS} functions are registered; unregister some, outside of runs"
                );
                refuse(&path, symbol, why)
            })?,
        };
        let generation = registration(); // of any executor, so that no other takes it for its own
        let name = symbol.to_owned();
        let record = DynamicRecord::new(generation, digest, bytes, symbol.as_bytes());
        let entry = Entry { generation, digest, path, name, standing: Standing::Registered };
        match dynamic.entries.get_mut(index) {
            Some(place) => *place = entry,
            None => dynamic.entries.push(entry),
        }
        let id = DynamicId { index: index as u32, generation };
        self.shared.arena.write_dynamic(id.index, &record);
        self.shared.dynamic_live.0[index].store(generation, Release);
        Ok(Callable(id.callable()))
    }

    /// A place whose function was unregistered and whose last task is through.
    fn find_left(&self, dynamic: &mut DynamicFunctions) -> Option<usize> {
        let mut held = self.submit_lock.try_take()?;
        if !Arc::ptr_eq(&held.shared, &self.shared) {
            return None; // somebody exchanged the orchestrators of two executors
        }
        held.reclaim().ok()?;
        let (tail, next) = (held.first_in_window(), held.next_task());
        for entry in &mut dynamic.entries {
            if let Standing::Leaving(until @ None) = &mut entry.standing {
                *until = Some(next);
            }
        }
        dynamic
            .entries
            .iter()
            .position(|e| matches!(e.standing, Standing::Leaving(Some(until)) if until <= tail))
    }

    /// Takes a function that was registered after the start back: it cannot be submitted any more.
    /// Tasks that were submitted before run it.
    ///
    /// # Errors
    /// No such function is registered.
    pub fn unregister(&self, callable: Callable) -> Result<(), Error> {
        self.shared.check_process()?;
        let mut early = self.shared.callable_names.iter().flatten();
        if early.any(|known| known.has(callable)) {
            return Err(Error::Misuse(
                "only functions that were registered after the start can be taken back",
            ));
        }
        let known = DynamicId::of(callable.0).filter(|&id| self.shared.dynamic_live.has(id));
        let id = known.ok_or(Error::UnknownFunction(callable.0))?;
        let mut dynamic = self.shared.dynamic.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = dynamic.entries.get_mut(id.index as usize);
        let entry = entry.filter(|entry| entry.generation == id.generation);
        let entry = entry.ok_or(Error::UnknownFunction(callable.0))?;
        entry.standing = Standing::Leaving(None);
        self.shared.dynamic_live.0[id.index as usize].store(0, Release);
        Ok(())
    }
}

impl Shared {
    /// What a dynamic function is called.
    pub(super) fn dynamic_name(&self, callable: u64) -> Option<String> {
        let dynamic = self.dynamic.lock().unwrap_or_else(PoisonError::into_inner);
        dynamic.name(DynamicId::of(callable)?).map(str::to_owned)
    }
}
