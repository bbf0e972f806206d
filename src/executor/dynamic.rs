//! Registering functions after the start, by shared object and symbol.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mailring_process::file::read_regular;

use crate::error::Error;
use crate::ids::{Callable, registration};
use crate::limits::{MAX_DYNAMIC_FUNCTIONS, MAX_FILE_BYTES};
use crate::segment::{Arena, DynamicRecord, MAX_DYNAMIC_PATH, MAX_DYNAMIC_SYMBOL};
use crate::worker::elf::{self, Symbol};
use crate::worker::library::{DynamicId, digest};

/// The host's table of dynamic functions.
pub(super) struct DynamicFunctions {
    entries: Mutex<Vec<Entry>>,
    /// By place: the generation that can be submitted now, or 0. Read by every submit of such a
    /// task.
    live: Box<[AtomicU32]>,
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

/// A function that was looked at and can be registered.
pub(super) struct Candidate {
    path: PathBuf,
    symbol: String,
    digest: [u8; 32],
}

impl Candidate {
    /// Looks whether the shared object has the function.
    pub(super) fn new(asked: &Path, symbol: &str) -> Result<Self, Error> {
        let path = asked.canonicalize().map_err(|e| refuse(asked, symbol, e.to_string()))?;
        let read = read_regular(&path, MAX_FILE_BYTES);
        let (_, content) = read.map_err(|e| refuse(&path, symbol, e.to_string()))?;
        let bytes = path.as_os_str().len();
        if bytes > MAX_DYNAMIC_PATH || symbol.len() > MAX_DYNAMIC_SYMBOL || symbol.is_empty() {
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
        Ok(Self { path, symbol: symbol.to_owned(), digest })
    }
}

impl DynamicFunctions {
    pub(super) fn new() -> Self {
        let live = (0..MAX_DYNAMIC_FUNCTIONS).map(|_| AtomicU32::new(0)).collect();
        Self { entries: Mutex::default(), live }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the function can be submitted.
    #[inline]
    pub(super) fn has(&self, id: DynamicId) -> bool {
        id.generation != 0
            && self.live.get(id.index as usize).is_some_and(|g| g.load(Acquire) == id.generation)
    }

    /// What a dynamic function is called.
    pub(super) fn name(&self, callable: u64) -> Option<String> {
        let id = DynamicId::of(callable)?;
        let entries = self.entries();
        let entry = entries.get(id.index as usize)?;
        (entry.generation == id.generation).then(|| entry.name.clone())
    }

    /// Registers a function, or finds it again. `through` says which tasks are through and which
    /// one is the next, `None` while that is unknown; it is asked when all places are in
    /// use.
    pub(super) fn register(
        &self,
        arena: &Arena,
        candidate: Candidate,
        through: impl FnOnce() -> Option<(u64, u64)>,
    ) -> Result<Callable, Error> {
        let Candidate { path, symbol, digest } = candidate;
        let mut entries = self.entries();
        let known = entries.iter_mut().enumerate().find(|(_, e)| e.is(digest, &symbol, &path));
        if let Some((index, entry)) = known {
            entry.standing = Standing::Registered;
            let id = DynamicId { index: index as u32, generation: entry.generation };
            self.live[index].store(id.generation, Release);
            return Ok(Callable(id.callable()));
        }
        let index = match entries.len() {
            used if used < MAX_DYNAMIC_FUNCTIONS => used,
            _ => through().and_then(|through| find_left(&mut entries, through)).ok_or_else(|| {
                let why = format!(
                    "{MAX_DYNAMIC_FUNCTIONS} functions are registered; unregister some, outside of runs"
                );
                refuse(&path, &symbol, why)
            })?,
        };
        let generation = registration(); // of any executor, so that no other takes it for its own
        let bytes = path.as_os_str().as_bytes();
        let record = DynamicRecord::new(generation, digest, bytes, symbol.as_bytes());
        let entry =
            Entry { generation, digest, path, name: symbol, standing: Standing::Registered };
        match entries.get_mut(index) {
            Some(place) => *place = entry,
            None => entries.push(entry),
        }
        let id = DynamicId { index: index as u32, generation };
        arena.write_dynamic(id.index, &record);
        self.live[index].store(generation, Release);
        Ok(Callable(id.callable()))
    }

    /// Takes a function back. False when it is not registered.
    pub(super) fn unregister(&self, callable: Callable) -> bool {
        let Some(id) = DynamicId::of(callable.0).filter(|&id| self.has(id)) else { return false };
        let mut entries = self.entries();
        let entry = entries.get_mut(id.index as usize);
        let Some(entry) = entry.filter(|entry| entry.generation == id.generation) else {
            return false;
        };
        entry.standing = Standing::Leaving(None);
        self.live[id.index as usize].store(0, Release);
        true
    }
}

/// A place whose function was unregistered and whose last task is through.
fn find_left(entries: &mut [Entry], (tail, next): (u64, u64)) -> Option<usize> {
    for entry in entries.iter_mut() {
        if let Standing::Leaving(until @ None) = &mut entry.standing {
            *until = Some(next);
        }
    }
    entries
        .iter()
        .position(|e| matches!(e.standing, Standing::Leaving(Some(until)) if until <= tail))
}

fn refuse(path: &Path, symbol: &str, why: impl Into<String>) -> Error {
    let path = path.display().to_string();
    Error::Library { path, symbol: symbol.to_owned(), why: why.into() }
}
