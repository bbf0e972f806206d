//! The thread that writes a page ten times a second.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::page::{Page, PageError, check_name};
use super::status::{Status, WorkerStatus};
use crate::collector::{Collector, Next};

/// How often a page is written.
const PERIOD: Duration = Duration::from_millis(100);
/// The thread works one part in this many, where a status takes long to make.
const SHARE: u32 = 50;
/// Periods over which the rate is taken.
const RATE_OVER: usize = 10;
/// Room for a status, without its workers; and for each worker.
const FIXED_TEXT: usize = 64 << 10;
const WORKER_TEXT: usize = 512;

/// Where a status is to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// As a named segment.
    pub name: Option<String>,
    /// As a file that stays.
    pub file: Option<PathBuf>,
}

impl Publication {
    /// Whether there is anything to do.
    pub fn is_wanted(&self) -> bool {
        self.name.is_some() || self.file.is_some()
    }

    /// Whether the name can be one.
    ///
    /// # Errors
    /// [`PageError::InvalidName`].
    pub fn check(&self) -> Result<(), PageError> {
        self.name.as_deref().map_or(Ok(()), check_name)
    }
}

/// Writes what `sample` says until it is dropped.
pub struct Publisher {
    collector: Option<Collector>,
    /// The process that started the thread.
    pid: u32,
}

impl Publisher {
    /// Makes the pages and starts the thread. `workers` is how many a status may list.
    ///
    /// `sample` gives the state of the moment; what is the same for all (program, times, rate) is added
    /// here.
    ///
    /// # Errors
    /// [`PageError`]: a page is not made, or no thread is to be had.
    pub fn start(
        publication: &Publication,
        workers: usize,
        sample: impl FnMut() -> Status + Send + 'static,
    ) -> Result<Self, PageError> {
        publication.check()?;
        let capacity = FIXED_TEXT + workers * WORKER_TEXT;
        let segment = publication.name.as_deref().map(|name| Page::segment(name, capacity));
        let file = publication.file.as_deref().map(|path| Page::file(path, capacity));
        let pages = segment.into_iter().chain(file).collect::<Result<Vec<_>, _>>()?;
        let mut writer = Writer::new(pages, capacity, sample);
        writer.write(false); // a reader that comes at once finds something
        let mut written = true;
        let started = Collector::start("mailring-live", move |last| {
            if std::mem::take(&mut written) && !last {
                return Next::In(PERIOD);
            }
            let before = Instant::now();
            writer.write(last);
            Next::In(PERIOD.max(before.elapsed() * SHARE))
        });
        let collector = started.map_err(|source| PageError::System {
            what: "starting the thread that publishes".to_owned(),
            source,
        })?;
        Ok(Self { collector: Some(collector), pid: std::process::id() })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let Some(collector) = self.collector.take() else { return };
        if self.pid == std::process::id() {
            collector.stop();
        } else {
            std::mem::forget(collector); // a child does not have the thread
        }
    }
}

struct Writer<S> {
    pages: Vec<Page>,
    capacity: usize,
    sample: S,
    program: String,
    began: Instant,
    /// When, and how many tasks were through: the last second.
    recent: Vec<(Instant, u64)>,
}

impl<S: FnMut() -> Status> Writer<S> {
    fn new(pages: Vec<Page>, capacity: usize, sample: S) -> Self {
        let program = std::env::current_exe().ok();
        let program =
            program.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Self {
            pages,
            capacity,
            sample,
            program: program.unwrap_or_default(),
            began: Instant::now(),
            recent: Vec::new(),
        }
    }

    fn write(&mut self, ended: bool) {
        let mut status = (self.sample)();
        let now = Instant::now();
        self.recent.push((now, status.totals.completed));
        if self.recent.len() > RATE_OVER + 1 {
            self.recent.remove(0);
        }
        let (since, before) = self.recent[0];
        let seconds = (now - since).as_secs_f64();
        if seconds > 0.0 {
            let done = status.totals.completed.saturating_sub(before);
            status.tasks_per_second = done as f64 / seconds;
        }
        status.program.clone_from(&self.program);
        status.version = env!("CARGO_PKG_VERSION").to_owned();
        status.uptime = (now - self.began).as_secs_f64();
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        status.written = epoch.unwrap_or_default().as_secs_f64();
        status.ended = ended;
        let text = fitting(&mut status, self.capacity);
        for page in &mut self.pages {
            page.write(&text);
        }
    }
}

/// The status as text of at most `capacity` bytes. Long names may take more than was reckoned with:
/// then the last lists are shortened.
fn fitting(status: &mut Status, capacity: usize) -> Vec<u8> {
    loop {
        let text = serde_json::to_vec(status).unwrap_or_default();
        if text.len() <= capacity {
            return text;
        }
        let half = status.workers.len() / 2;
        if status.waiting.len() > half {
            status.waiting.truncate(status.waiting.len() / 2);
        } else if !status.workers.is_empty() {
            status.workers_left_out += status.workers.len() - half;
            status.workers.truncate(half);
        } else {
            *status = Status {
                failure: status.failure.take().map(|why| why.chars().take(1000).collect()),
                totals: status.totals,
                ended: status.ended,
                written: status.written,
                workers: Vec::<WorkerStatus>::new(),
                ..Status::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{WriterState, read_file, read_segment};

    fn sample() -> impl FnMut() -> Status + Send {
        let mut status = Status::default();
        move || {
            status.totals.completed += 10;
            status.clone()
        }
    }

    #[test]
    fn a_status_is_published_until_the_end() {
        let name = format!("test-live-{}", std::process::id());
        let folder = tempfile::tempdir().expect("a folder");
        let publication =
            Publication { name: Some(name.clone()), file: Some(folder.path().join("page")) };
        let publisher = Publisher::start(&publication, 4, sample()).expect("it starts");
        let first = read_segment(&name).expect("it is there at once");
        assert_eq!(first.writer, WriterState::Alive);
        let again = Publisher::start(&publication, 4, sample()).err().expect("the name is taken");
        assert!(again.to_string().contains(&std::process::id().to_string()), "{again}");
        std::thread::sleep(PERIOD * 4);
        let later = read_segment(&name).expect("it is there");
        assert!(later.status.totals.completed > first.status.totals.completed);
        assert!(later.status.tasks_per_second > 0.0, "{later:?}");
        drop(publisher);
        assert!(matches!(read_segment(&name), Err(PageError::Missing(_))));
        let kept = read_file(&folder.path().join("page")).expect("it stays");
        assert_eq!(kept.writer, WriterState::Ended);
    }

    #[test]
    fn a_status_that_is_too_long_is_cut() {
        let worker = WorkerStatus { name: "w".repeat(2000), ..WorkerStatus::default() };
        let mut status = Status { workers: vec![worker; 100], ..Status::default() };
        let text = fitting(&mut status, 20_000);
        let read: Status = serde_json::from_slice(&text).expect("it is JSON");
        assert!(!read.workers.is_empty() && read.workers.len() + read.workers_left_out == 100);
        let mut status = Status { failure: Some("x".repeat(50_000)), ..Status::default() };
        assert!(fitting(&mut status, 20_000).len() <= 20_000);
    }
}
