//! Who hears what is recorded of a flow: a log, and those who show how far it is. A thread of its own
//! takes the records away and passes them on, for as long as there is anybody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailring_process::collector::{Collector, LogFile, Next};

use super::parts::recorder::Recorder;
use super::shared::Shared;
use super::steps::completions::poll_completions;
use super::steps::recording::{begin, end, snapshot, take};
use crate::profile::frames::{begin_noting_calls, end_noting_calls};
use crate::profile::log::Log;
use crate::profile::records::Batch;
use crate::profile::tally::Tally;
use crate::protocol::error::Error;

/// Who hears it. Whoever holds the lock may take the state's, and not the other way round.
#[derive(Default)]
struct Hearers {
    log: Option<(LogFile, Log)>,
    tallies: Vec<Arc<Mutex<Tally>>>,
    /// Records and lines on their way.
    batch: Batch,
    text: String,
}

impl Hearers {
    /// Takes what was recorded, and passes it on. Whether more may come soon.
    fn hear(&mut self, shared: &Shared) -> bool {
        let more = take(&mut shared.lock(), &mut self.batch);
        for tally in &self.tallies {
            lock(tally).hear(&self.batch);
        }
        if let Some((file, log)) = &mut self.log {
            log.write(&mut self.text, &mut self.batch);
            file.append(&self.text);
            self.text.clear();
        }
        self.batch.clear();
        more
    }

    fn are_any(&self) -> bool {
        self.log.is_some() || !self.tallies.is_empty()
    }
}

#[derive(Default)]
pub(super) struct Profiler {
    hearers: Arc<Mutex<Hearers>>,
    /// The thread, while there are any.
    collector: Mutex<Option<Collector>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Profiler {
    /// Begins a log, or says where the one is that is being written.
    pub(super) fn start_log(&self, shared: &Arc<Shared>, path: &Path) -> Result<PathBuf, Error> {
        let what = format!("opening the log {} of a profile", path.display());
        let mut collector = lock(&self.collector);
        if let Some((file, _)) = &lock(&self.hearers).log {
            return Ok(file.path().to_owned());
        }
        let mut file = LogFile::open(path).map_err(Error::system(&what))?;
        let path = file.path().to_owned();
        self.join(&mut collector, shared, |hearers, batch| {
            let (mut log, mut text) = (Log::new(), String::new());
            log.header(&mut text, &batch.workers, shared.memory.in_process);
            log.write(&mut text, batch);
            file.append(&text);
            hearers.log = Some((file, log));
        })?;
        begin_noting_calls();
        Ok(path)
    }

    /// Ends the log, if there is one, when all stands in it.
    pub(super) fn stop_log(&self, shared: &Shared) -> Result<(), Error> {
        let mut collector = lock(&self.collector);
        shared.with(poll_completions);
        let mut hearers = lock(&self.hearers);
        hearers.hear(shared);
        let Some((mut file, log)) = hearers.log.take() else { return Ok(()) };
        let mut text = String::new();
        log.end(&mut text);
        file.append(&text);
        drop(hearers);
        end_noting_calls();
        self.leave(&mut collector, shared);
        let what = format!("writing the log {} of a profile", file.path().display());
        file.close().map_err(Error::system(&what))
    }

    /// Counts from now on.
    pub(super) fn start_tally(&self, shared: &Arc<Shared>) -> Result<Arc<Mutex<Tally>>, Error> {
        let tally = Arc::new(Mutex::new(Tally::new()));
        let mut collector = lock(&self.collector);
        self.join(&mut collector, shared, |hearers, batch| {
            lock(&tally).hear(batch);
            hearers.tallies.push(Arc::clone(&tally));
        })?;
        Ok(tally)
    }

    /// Counts no longer, after all that has happened.
    pub(super) fn stop_tally(&self, shared: &Shared, tally: &Arc<Mutex<Tally>>) {
        let mut collector = lock(&self.collector);
        shared.with(poll_completions);
        let mut hearers = lock(&self.hearers);
        hearers.hear(shared);
        hearers.tallies.retain(|known| !Arc::ptr_eq(known, tally));
        drop(hearers);
        self.leave(&mut collector, shared);
    }

    /// The flow ends.
    pub(super) fn stop(&self, shared: &Shared) -> Result<(), Error> {
        let stopped = self.stop_log(shared);
        lock(&self.hearers).tallies.clear();
        self.leave(&mut lock(&self.collector), shared);
        stopped
    }

    /// One more hears what happens from now on, and of what goes on already.
    fn join(
        &self,
        collector: &mut Option<Collector>,
        shared: &Arc<Shared>,
        join: impl FnOnce(&mut Hearers, &mut Batch),
    ) -> Result<(), Error> {
        if collector.is_none() {
            let started = self.start(shared);
            *collector = Some(started.map_err(Error::system("starting the thread of a profile"))?);
        }
        let mut hearers = lock(&self.hearers);
        hearers.hear(shared); // it is for the others
        let mut batch = Batch::default();
        snapshot(&mut shared.lock(), &mut batch);
        join(&mut hearers, &mut batch);
        Ok(())
    }

    fn start(&self, shared: &Arc<Shared>) -> io::Result<Collector> {
        let (hearers, shared_there) = (Arc::clone(&self.hearers), Arc::clone(shared));
        let collector = Collector::start("mailring-profile", move |last| {
            let more = !last && lock(&hearers).hear(&shared_there);
            if more { Next::Soon } else { Next::WhenCalled }
        })?;
        begin(&mut shared.lock(), Recorder::new(collector.thread()));
        Ok(collector)
    }

    /// Nothing is recorded any more, if nobody hears it.
    fn leave(&self, collector: &mut Option<Collector>, shared: &Shared) {
        if lock(&self.hearers).are_any() {
            return;
        }
        if let Some(collector) = collector.take() {
            end(&mut shared.lock());
            collector.stop();
        }
    }
}

/// What a profile costs those that work, by the piece, for `cargo bench`.
pub mod cost {
    use mailring_process::clock::monotonic_ns;

    use super::{Batch, Recorder};
    use crate::profile::frames;
    use crate::profile::records::What;
    use crate::protocol::memory::Stamps;

    /// The driver's notes, without a thread that takes them away.
    pub struct Notes(Recorder, Batch, u64);

    impl Default for Notes {
        fn default() -> Self {
            Self(Recorder::new(std::thread::current()), Batch::default(), 0)
        }
    }

    impl Notes {
        /// One more; now and then they are taken.
        pub fn note(&mut self) {
            let Self(recorder, batch, count) = self;
            *count += 1;
            recorder.note(monotonic_ns(), *count, What::Ready);
            if count.is_multiple_of(1 << 14) {
                recorder.take(batch);
                batch.clear();
            }
        }
    }

    /// What a worker does for a task that is profiled and says nothing: both ends of it.
    pub fn run_one(stamps: &mut TaskTimes) {
        let TaskTimes(stamps, seq) = stamps;
        *seq += 1;
        stamps.begin(*seq, monotonic_ns());
        frames::enter_task(*seq, 0);
        stamps.end(monotonic_ns());
        assert!(frames::leave_task().is_empty());
    }

    /// The times of a task.
    #[derive(Default)]
    pub struct TaskTimes(Stamps, u64);
}
