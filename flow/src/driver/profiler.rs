//! The profile that is being written, if there is one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailring_process::collector::{Collector, Next};

use super::parts::recorder::Recorder;
use super::shared::Shared;
use super::steps::completions::poll_completions;
use super::steps::recording::{begin, end, take, worker_names};
use crate::profile::frames::{begin_noting_calls, end_noting_calls};
use crate::profile::log::Log;
use crate::profile::records::Batch;
use crate::protocol::error::Error;

#[derive(Default)]
pub(super) struct Profiler(Mutex<Option<Collector>>);

impl Profiler {
    fn lock(&self) -> MutexGuard<'_, Option<Collector>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one; its log.
    pub(super) fn start(&self, shared: &Arc<Shared>, path: &Path) -> Result<PathBuf, Error> {
        let mut running = self.lock();
        if let Some(collector) = &*running {
            return Ok(collector.path().to_owned());
        }
        let mut log = Log::new();
        let mut workers = Some(worker_names(&shared.lock()));
        let mut batch = Batch::default();
        let shared_there = Arc::clone(shared);
        let write = move |text: &mut String, last: bool| {
            if let Some(workers) = workers.take() {
                log.header(text, &workers, shared_there.memory.in_process);
            }
            let mut state = shared_there.lock();
            let more = if last {
                end(&mut state, &mut batch);
                false
            } else {
                take(&mut state, &mut batch)
            };
            drop(state);
            log.write(text, &mut batch);
            batch.clear();
            if last {
                log.end(text);
            }
            if more { Next::Soon } else { Next::WhenCalled }
        };
        let collector = Collector::start(path, write).map_err(|error| {
            Error::system(&format!("opening the log {} of a profile", path.display()))(error)
        })?;
        shared.with(|state| begin(state, Recorder::new(collector.thread())));
        begin_noting_calls();
        let path = collector.path().to_owned();
        *running = Some(collector);
        Ok(path)
    }

    /// Ends it, if there is one.
    pub(super) fn stop(&self, shared: &Shared) -> Result<(), Error> {
        let Some(collector) = self.lock().take() else { return Ok(()) };
        end_noting_calls();
        shared.with(poll_completions);
        let path = collector.path().to_owned();
        collector.stop().map_err(|error| {
            Error::system(&format!("writing the log {} of a profile", path.display()))(error)
        })
    }
}
