//! The thread of the cache: it reads and writes files, so that nobody else waits for a disk.
//!
//! It is started with the first configuration that has a cache, long after the fork.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;

use super::parts::features::{Known, Piece};
use super::parts::objects::Value;
use super::parts::results::{FindJob, Job, StoreJob};
use super::shared::Shared;
use super::steps::finding::{run, serve, serve_from_memory};
use super::steps::giving::room_for_result;
use crate::cache::file::CallKey;
use crate::cache::inputs::{Inputs, Look};
use crate::cache::key::KeyWriter;
use crate::cache::store::{Cache, call_tag};
use crate::protocol::error::Error;

/// Bytes of a value that is kept in the table.
const INLINE: usize = 256;

/// Starts it. It ends when the state has closed its results, and all jobs are done.
pub(super) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, Error> {
    let (sender, jobs) = channel();
    let mut thread = CacheThread { shared: Arc::clone(shared), inputs: HashMap::new() };
    let named = std::thread::Builder::new().name("mailring-cache".to_owned());
    let handle = named.spawn(move || thread.serve(&jobs));
    let handle = handle.map_err(Error::system("starting the thread of the cache"))?;
    shared.with(|state| state.results.open(sender));
    Ok(handle)
}

struct CacheThread {
    shared: Arc<Shared>,
    /// What is known of files, by the directory of the cache.
    inputs: HashMap<PathBuf, Inputs>,
}

impl CacheThread {
    fn serve(&mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Disconnected) => return self.save_inputs(),
                Err(TryRecvError::Empty) => {
                    self.save_inputs();
                    match jobs.recv() {
                        Ok(job) => job,
                        Err(_) => return,
                    }
                }
            };
            match job {
                Job::Store(job) => self.store(&job),
                Job::Find(job) => self.find(&job),
            }
        }
    }

    fn save_inputs(&mut self) {
        for (directory, inputs) in &mut self.inputs {
            if let Err(error) = inputs.save() {
                let directory = directory.display();
                tracing::warn!(%directory, %error, "cache: what is known of files is not kept");
            }
        }
    }

    // ---- storing ----------------------------------------------------------------------------

    fn store(&self, job: &StoreJob) {
        let StoreJob { cache, object, bytes, head, inputs } = job;
        let is_as_it_was =
            |(path, look): &(PathBuf, Option<Look>)| Look::at(path).is_ok_and(|now| now == *look);
        let stored = if inputs.iter().all(is_as_it_was) {
            self.with_value(*object, |value| cache.store(head, value))
        } else {
            tracing::info!(tag = head.tag, "cache: not stored, since a file changed meanwhile");
            Ok(false)
        };
        if let Err(error) = stored {
            tracing::warn!(tag = head.tag, %error, "cache: not stored");
        }
        self.shared.with(|state| state.results.arrived(*bytes));
        self.release(*object);
        cache.end(&head.tag);
    }

    /// Reads the value of an object that is held.
    fn with_value<R>(
        &self,
        object: u64,
        f: impl FnOnce(&[u8]) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let value: Result<Value, Error> = self.shared.with(|state| {
            let index = state.objects.named(object)?;
            Ok(state.objects.at(index).value.clone())
        });
        match value? {
            Value::Inline(bytes) => f(&bytes),
            Value::Placed { address, len, .. } => {
                self.with_bytes(address, len, f).unwrap_or_else(|| Err(gone()))
            }
            Value::Pending | Value::Failed(_) => Err(gone()),
        }
    }

    /// Reads bytes of the values that are held. Small ones share a page with what their worker may
    /// still write, so they are read from a copy.
    fn with_bytes<R>(&self, address: u64, len: u64, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if len >= crate::protocol::value::OWN_PAGES {
            // SAFETY: a complete value with pages of its own, which is held.
            return Some(f(unsafe { self.shared.memory.bytes(address, len) }?));
        }
        Some(f(&self.shared.memory.copy(address, len)?))
    }

    fn release(&self, object: u64) {
        self.shared.with(|state| {
            if let Some(index) = state.objects.find(object) {
                state.objects.unhold(index, &mut state.store);
            }
            state.effects.wakeup = true; // somebody may wait for the memory
        });
    }

    // ---- finding ----------------------------------------------------------------------------

    fn find(&mut self, job: &FindJob) {
        let known = self.key_of(job);
        for piece in &job.args {
            if let Piece::Placed { object, .. } = piece {
                self.release(*object);
            }
        }
        let known = match known {
            Ok(known) => known,
            Err(error) => {
                let function = job.function;
                tracing::warn!(function, %error, "cache: not served: a file cannot be read");
                None
            }
        };
        if let Some(known) = &known
            && self.serve_known(job, &known.call)
        {
            return;
        }
        self.shared.with(|state| run(state, job.object, known));
    }

    /// The call; `None` if an argument is not the same in each run.
    fn key_of(&mut self, job: &FindJob) -> io::Result<Option<Known>> {
        let mut key = KeyWriter::default();
        for piece in &job.args {
            let same = match piece {
                Piece::Here(bytes) => key.argument(bytes),
                Piece::Placed { address, len, .. } => {
                    let argument = |bytes: &[u8]| key.argument(bytes);
                    self.with_bytes(*address, *len, argument).unwrap_or(false)
                }
            };
            if !same {
                return Ok(None);
            }
        }
        let directory = job.cache.directory();
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for path in &job.inputs {
            let content = self.known_inputs(directory).content(path)?;
            let (look, hash) = content.unzip();
            key.file(hash);
            inputs.push((path.clone(), look));
        }
        Ok(Some(Known { call: key.finish(job.function, &job.version), inputs }))
    }

    fn known_inputs(&mut self, directory: &Path) -> &mut Inputs {
        let inputs = self.inputs.entry(directory.to_owned());
        inputs.or_insert_with(|| Inputs::load(directory))
    }

    /// Whether the task is complete, with the result of an earlier call.
    fn serve_known(&self, job: &FindJob, call: &CallKey) -> bool {
        let tag = job.tag.clone().unwrap_or_else(|| call_tag(call));
        if !job.cache.is_of(&tag, call) {
            return false;
        }
        if self.shared.with(|state| serve_from_memory(state, job.object, call)) {
            job.cache.touch(&tag);
            return true;
        }
        let Some(value) = load(&job.cache, &tag, call) else { return false };
        let value = if value.len() <= INLINE {
            Value::Inline(value[..].into())
        } else {
            let len = value.len() as u64;
            let room = self.shared.with(|state| room_for_result(state, len));
            let Some((block, address)) = room else { return false };
            // SAFETY: taken just now, and nobody else knows of it.
            if let Some(room) = unsafe { self.shared.memory.room(address, len) } {
                room.copy_from_slice(&value);
            }
            Value::Placed { block, address, len }
        };
        self.shared.with(|state| serve(state, job.object, value, call));
        true
    }
}

/// The value of an entry, if it is of this call.
fn load(cache: &Cache, tag: &str, call: &CallKey) -> Option<Vec<u8>> {
    match cache.load(tag) {
        Ok(Some((Some(of), value))) if of == *call => Some(value),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(tag, %error, "cache: not served");
            None
        }
    }
}

fn gone() -> Error {
    Error::Invalid("its value is gone".to_owned())
}
