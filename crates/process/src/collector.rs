//! A thread that appends to a log what others have noted, now and then.

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
    /// When it is unparked.
    WhenCalled,
}

/// The thread, which ends when it is told to.
#[derive(Debug)]
pub struct Collector {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Collector {
    /// Opens the log (in a directory, the one called `mailring-profile.log`) and starts the thread.
    /// It calls `write` again and again, which appends whole lines to the text that it is given;
    /// the second argument says that it is the last call.
    ///
    /// # Errors
    /// The file cannot be opened for writing, or there are no more threads.
    pub fn start(
        path: &Path,
        write: impl FnMut(&mut String, bool) -> Next + Send + 'static,
    ) -> io::Result<Self> {
        let path = if path.is_dir() { path.join(NAME) } else { path.to_owned() };
        let file = open(&path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("mailring-profile".to_owned());
        let thread = thread.spawn(move || collect(file, &told, write))?;
        Ok(Self { path, stop, thread })
    }

    /// The log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unpark it to have it look.
    pub fn thread(&self) -> Thread {
        self.thread.thread().clone()
    }

    /// Has it write what is there, and ends it.
    ///
    /// # Errors
    /// Some of the lines could not be written.
    pub fn stop(self) -> io::Result<()> {
        self.stop.store(true, SeqCst);
        self.thread.thread().unpark();
        let panicked = |_| Err(io::Error::other("the thread that writes the profile panicked"));
        self.thread.join().unwrap_or_else(panicked)
    }
}

/// For appending, behind a line that is complete: the last one was cut if its program was killed.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn collect(
    mut file: File,
    stop: &AtomicBool,
    mut write: impl FnMut(&mut String, bool) -> Next,
) -> io::Result<()> {
    let mut text = String::new();
    let mut written = Ok(());
    loop {
        let last = stop.load(SeqCst);
        let next = write(&mut text, last);
        // A disk that is full stays full: no line is written with a gap before it.
        if written.is_ok() {
            written = file.write_all(text.as_bytes());
            if let Err(error) = &written {
                tracing::error!(%error, "a profile cannot be written; it ends here");
            }
        }
        text.clear();
        if last {
            return written;
        }
        match next {
            Next::Soon => std::thread::park_timeout(PAUSE),
            Next::WhenCalled => std::thread::park(),
        }
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
        let collector = Collector::start(&directory, |text, last| {
            text.push_str(if last { "last\n" } else { "" });
            Next::WhenCalled
        });
        let collector = collector.unwrap();
        assert_eq!(collector.path(), path);
        collector.stop().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"cut\nlast\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
