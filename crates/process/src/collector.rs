//! A thread that takes away now and then what others have noted, and the log that it appends to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// How long notes lie before they are written.
const PAUSE: Duration = Duration::from_millis(50);
/// The file's name in a directory.
const NAME: &str = "mailring-profile.log";

/// When the collector looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After a pause.
    Soon,
    /// After that long.
    In(Duration),
    /// When it is unparked.
    WhenCalled,
}

/// The thread, which ends when it is told to.
#[derive(Debug)]
pub struct Collector {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Starts the thread of this name, which calls `look` again and again; with `true` for the last time.
    ///
    /// # Errors
    /// There are no more threads.
    pub fn start(
        name: &str,
        mut look: impl FnMut(bool) -> Next + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            loop {
                let last = told.load(SeqCst);
                match look(last) {
                    _ if last => return,
                    Next::Soon => std::thread::park_timeout(PAUSE),
                    Next::In(pause) => std::thread::park_timeout(pause),
                    Next::WhenCalled => std::thread::park(),
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Unpark it to have it look.
    pub fn thread(&self) -> Thread {
        self.thread.thread().clone()
    }

    /// Has it look once more, and ends it.
    pub fn stop(self) {
        self.stop.store(true, SeqCst);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that collects panicked");
        }
    }
}

/// A log to which lines are appended.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    written: io::Result<()>,
}

impl LogFile {
    /// Opens it; in a directory, the one called `mailring-profile.log`. What comes stands behind a
    /// line that is complete: the last one was cut if its program was killed.
    ///
    /// # Errors
    /// Opening it for writing fails.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = if path.is_dir() { path.join(NAME) } else { path.to_owned() };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut last = [b'\n'];
        // A device or a pipe has no last line.
        if file.metadata()?.is_file() && file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
        Ok(Self { path, file, written: Ok(()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines. After the first write that fails it takes no more: a log has no
    /// gaps.
    pub fn append(&mut self, text: &str) {
        if self.written.is_ok() && !text.is_empty() {
            self.written = self.file.write_all(text.as_bytes());
            if let Err(error) = &self.written {
                tracing::error!(%error, log = %self.path.display(), "a profile ends here");
            }
        }
    }

    /// Closes it.
    ///
    /// # Errors
    /// Some of it could not be written.
    pub fn close(self) -> io::Result<()> {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_behind_a_cut_one() {
        let directory = std::env::temp_dir().join(format!("collector-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(NAME);
        std::fs::write(&path, "{\"cut").unwrap();
        let mut log = LogFile::open(&directory).unwrap();
        assert_eq!(log.path(), path);
        log.append("line\n");
        log.close().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"cut\nline\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let mut log = LogFile::open(Path::new("/dev/full")).unwrap();
        log.append("line\n");
        log.append("line\n");
        assert!(log.close().is_err());
    }

    #[test]
    fn the_last_look_is_the_last() {
        let (said, heard) = std::sync::mpsc::channel();
        let collector = Collector::start("test", move |last| {
            said.send(last).unwrap();
            Next::WhenCalled
        });
        collector.unwrap().stop();
        assert_eq!(heard.iter().last(), Some(true));
    }
}
