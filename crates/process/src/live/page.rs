//! The page: text behind a header of words, in two halves that are written in turn.
//!
//! ```text
//! word 0      1         2     3            4          5         6        7
//!      magic | version | pid | start time | capacity | current | unused | unused
//!      half 0: sequence | length | checksum | text ..   (capacity bytes)
//!      half 1: sequence | length | checksum | text ..
//! ```
//!
//! The writer fills the half that is not current (odd sequence meanwhile), then makes it the current
//! one. A writer that dies at any instruction leaves a whole text in the current half; a reader that
//! was overtaken (the sequence has changed, or the sum is wrong) reads again. Nothing that a page says
//! is believed before it was checked against the length of the mapping.
//!
//! The named segment is that of the `shared_memory` crate, mode 0600: `/dev/shm/mailring-UID-NAME`.
//! The file of a post-mortem has the same content.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::time::{Duration, SystemTime};

use memmap2::{MmapOptions, MmapRaw};
use nix::unistd::{Pid, getuid};
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::status::Status;
use crate::limits::check_file_length;
use crate::map::OwnMark;
use crate::process;

const MAGIC: u64 = u64::from_le_bytes(*b"mailpage");
/// Changes when a reader of the last one would misread the header or the status.
const VERSION: u64 = 1;

/// Words of the header; of a half in front of its text.
const HEADER: usize = 8;
const HALF: usize = 3;

/// Longest name of a segment.
const MAX_NAME: usize = 64;
/// Largest text; more than any status has.
const MAX_TEXT: usize = 16 << 20;
/// Where named segments are.
const DIRECTORY: &str = "/dev/shm";

/// Why a page was not made, or not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The name is empty, too long, or has other characters than letters, digits, `.`, `_`, `-`.
    #[error(
        "invalid name {0:?}: 1 to {MAX_NAME} letters, digits, '.', '_' or '-', and no '.' in front"
    )]
    InvalidName(String),
    /// A living process publishes under this name.
    #[error("process {pid} publishes as `{name}` already; choose another name or end it")]
    InUse {
        /// The name.
        name: String,
        /// Its process.
        pid: i32,
    },
    /// Nobody publishes under this name.
    #[error(
        "nobody publishes as `{0}`; an executor or a flow does when it was built with `publish`"
    )]
    Missing(String),
    /// The page is of another version of mailring.
    #[error(
        "{what} has version {found} of the page, and this program reads version {expected}; use the \
         `mailring` command of the version that the program was built with"
    )]
    Version {
        /// Where it was found.
        what: String,
        /// The page's version.
        found: u64,
        /// This program's version.
        expected: u64,
    },
    /// It is not a page, or was cut.
    #[error("{what} is not a page of mailring: {why}")]
    Invalid {
        /// Where it was found.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was done.
        what: String,
        /// The error.
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(what: String) -> impl FnOnce(E) -> PageError {
    move |source| PageError::System { what, source: source.into() }
}

/// Whether a segment can have this name.
///
/// # Errors
/// [`PageError::InvalidName`].
pub(super) fn check_name(name: &str) -> Result<(), PageError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let valid =
        (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain);
    if valid { Ok(()) } else { Err(PageError::InvalidName(name.to_owned())) }
}

fn prefix() -> String {
    format!("mailring-{}-", getuid())
}

fn file_of(name: &str) -> String {
    format!("{}{name}", prefix())
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(file_of(name))
}

/// Where a page lies.
enum Region {
    Segment(Shmem),
    File(MmapRaw),
}

impl Region {
    fn words(&self) -> &[AtomicU64] {
        let (base, len) = match self {
            Self::Segment(segment) => (segment.as_ptr(), segment.len()),
            Self::File(map) => (map.as_mut_ptr(), map.len()),
        };
        // SAFETY: a mapping of `len` bytes that lives as long as the region, aligned to a page; atomics
        // may be changed by others, and every bit pattern is a value.
        unsafe { std::slice::from_raw_parts(base.cast::<AtomicU64>(), len / 8) }
    }
}

/// A page that this process writes.
pub(super) struct Page {
    region: Region,
    half: usize,
    /// A child that this process forks does not own it.
    own: OwnMark,
}

// SAFETY: `Shmem` is a mapping, a descriptor and a name: nothing of it belongs to a thread.
unsafe impl Send for Page {}

impl Page {
    /// A named segment with room for a text of `capacity` bytes. One that a dead process has left is
    /// replaced.
    pub(super) fn segment(name: &str, capacity: usize) -> Result<Self, PageError> {
        check_name(name)?;
        let bytes = page_bytes(capacity);
        let what = || format!("creating the segment `{name}`");
        check_file_length(bytes as u64).map_err(system(what()))?;
        let create = || ShmemConf::new().os_id(format!("/{}", file_of(name))).size(bytes).create();
        let segment = match create() {
            Err(ShmemError::MappingIdExists) => {
                match read_segment(name) {
                    Ok(Reading { pid, writer: WriterState::Alive, .. }) => {
                        return Err(PageError::InUse { name: name.to_owned(), pid });
                    }
                    // Whoever has just begun to make it writes its header at once.
                    _ => remove(name)?,
                }
                create()
            }
            other => other,
        };
        let segment = segment.map_err(|error| system(what())(as_io(error)))?;
        // What is written there later must not find the file system full.
        let file = OpenOptions::new().write(true).open(path_of(name)).map_err(system(what()))?;
        nix::fcntl::posix_fallocate(&file, 0, bytes as i64).map_err(system(what()))?;
        Ok(Self::begin(Region::Segment(segment), capacity))
    }

    /// A file with that room. What it held is lost.
    pub(super) fn file(path: &Path, capacity: usize) -> Result<Self, PageError> {
        let bytes = page_bytes(capacity);
        let what = || format!("creating the page {}", path.display());
        check_file_length(bytes as u64).map_err(system(what()))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path).map_err(system(what()))?;
        nix::fcntl::posix_fallocate(&file, 0, bytes as i64).map_err(system(what()))?;
        let map = MmapOptions::new().len(bytes).map_raw(&file).map_err(system(what()))?;
        Ok(Self::begin(Region::File(map), capacity))
    }

    fn begin(region: Region, capacity: usize) -> Self {
        let page = Self { region, half: 1, own: OwnMark::new() };
        let words = page.region.words();
        words[1].store(VERSION, Relaxed);
        words[2].store(u64::from(std::process::id()), Relaxed);
        words[3].store(process::start_time(Pid::this()).unwrap_or(0), Relaxed);
        words[4].store(text_words(capacity) as u64 * 8, Relaxed);
        words[0].store(MAGIC, Release);
        page
    }

    /// Bytes of a text, at most.
    pub(super) fn capacity(&self) -> usize {
        (self.region.words().len() - HEADER) / 2 * 8 - HALF * 8
    }

    /// Writes a text of at most [`capacity`](Self::capacity) bytes; a longer one is not written.
    pub(super) fn write(&mut self, text: &[u8]) {
        if text.len() > self.capacity() {
            return;
        }
        let words = self.region.words();
        let size = (words.len() - HEADER) / 2;
        let next = 1 - self.half;
        let half = &words[HEADER + next * size..][..size];
        let sequence = half[0].load(Relaxed);
        half[0].store(sequence | 1, Relaxed);
        fence(Release);
        half[1].store(text.len() as u64, Relaxed);
        half[2].store(checksum(text), Relaxed);
        for (word, chunk) in half[HALF..].iter().zip(text.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Relaxed);
        }
        half[0].store((sequence | 1).wrapping_add(1), Release);
        words[5].store(next as u64, Release);
        self.half = next;
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Region::Segment(segment) = &mut self.region
            && !self.own.is_own()
        {
            segment.set_owner(false); // the parent's name
        }
    }
}

fn text_words(capacity: usize) -> usize {
    capacity.clamp(1, MAX_TEXT).div_ceil(8)
}

fn page_bytes(capacity: usize) -> usize {
    (HEADER + 2 * (HALF + text_words(capacity))) * 8
}

/// FNV-1a: tells a torn text, no more is asked of it.
fn checksum(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn as_io(error: ShmemError) -> io::Error {
    match error {
        ShmemError::MapCreateFailed(code)
        | ShmemError::MapOpenFailed(code)
        | ShmemError::UnknownOsError(code) => io::Error::from_raw_os_error(code as i32),
        other => io::Error::other(other.to_string()),
    }
}

/// Whether the writer of a page still is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterState {
    /// It is.
    Alive,
    /// It has ended, and said so.
    Ended,
    /// It has ended without a word.
    Died,
}

impl WriterState {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Ended => "ended",
            Self::Died => "died",
        }
    }
}

/// What a page says.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The process that writes it.
    pub pid: i32,
    /// Whether that still is there.
    pub writer: WriterState,
    /// Since when nothing was written.
    pub age: Duration,
    /// Its text.
    pub status: Status,
}

/// Reads the page that is published under this name.
///
/// # Errors
/// [`PageError`]: the name is invalid, nobody has published under it, the page is of another version
/// or no page, or the system refuses.
pub fn read_segment(name: &str) -> Result<Reading, PageError> {
    check_name(name)?;
    let what = format!("the segment `{name}`");
    let path = path_of(name);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PageError::Missing(name.to_owned()));
        }
        file => file.map_err(system(what.clone()))?,
    };
    let len = file.metadata().map_err(system(what.clone()))?.len();
    if len < (HEADER * 8) as u64 {
        return Err(PageError::Invalid { what, why: format!("it has {len} bytes") });
    }
    let opened = ShmemConf::new().os_id(format!("/{}", file_of(name))).open();
    let segment = opened.map_err(|error| system(what.clone())(as_io(error)))?;
    let region = Region::Segment(segment);
    whole(&what, || read(region.words(), &what))
}

/// Reads a page that was saved as a file.
///
/// # Errors
/// As [`read_segment`].
pub fn read_file(path: &Path) -> Result<Reading, PageError> {
    let what = path.display().to_string();
    let read_copy = || {
        let len = std::fs::metadata(path).map_err(system(what.clone()))?.len();
        if len > page_bytes(MAX_TEXT) as u64 {
            return Err(PageError::Invalid {
                what: what.clone(),
                why: format!("it has {len} bytes"),
            });
        }
        // A copy: a file may be cut while it is read, and a mapping of it would then be no memory.
        let bytes = std::fs::read(path).map_err(system(what.clone()))?;
        read(&words_of(&bytes), &what)
    };
    whole(&what, read_copy)
}

fn words_of(bytes: &[u8]) -> Vec<AtomicU64> {
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap_or_default());
    bytes.chunks_exact(8).map(|chunk| AtomicU64::new(word(chunk))).collect()
}

/// For `fuzz/`: any bytes are a page, or an error. The checksums of its texts are put right, or else
/// nothing would come past them.
#[doc(hidden)]
pub fn page_or_not(bytes: &[u8]) -> Option<Reading> {
    let words = words_of(bytes);
    let half = words.get(4).map_or(0, |capacity| (capacity.load(Relaxed) / 8) as usize);
    for half in words.get(HEADER..).unwrap_or_default().chunks_exact(half.saturating_add(HALF)) {
        let len = (half[1].load(Relaxed) as usize).min((half.len() - HALF) * 8);
        half[2].store(checksum(&bytes_of(half, len)), Relaxed);
    }
    read(&words, "a page").ok()?
}

/// A reader that is overtaken again and again gives up after this many times.
const TRIES: usize = 100;

/// Reads until nothing was written meanwhile.
fn whole(
    what: &str,
    mut read: impl FnMut() -> Result<Option<Reading>, PageError>,
) -> Result<Reading, PageError> {
    for _ in 0..TRIES {
        if let Some(reading) = read()? {
            return Ok(reading);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(PageError::Invalid {
        what: what.to_owned(),
        why: "nothing whole was written in it".to_owned(),
    })
}

/// What the current half says; `None` if it is being written.
fn read(words: &[AtomicU64], what: &str) -> Result<Option<Reading>, PageError> {
    let invalid = |why: String| PageError::Invalid { what: what.to_owned(), why };
    if words.len() < HEADER || words[0].load(Acquire) != MAGIC {
        return Err(invalid("it does not begin as one".to_owned()));
    }
    let found = words[1].load(Relaxed);
    if found != VERSION {
        return Err(PageError::Version { what: what.to_owned(), found, expected: VERSION });
    }
    let capacity = words[4].load(Relaxed);
    let half = (capacity / 8) as usize + HALF;
    if capacity > MAX_TEXT as u64 || words.len() < HEADER + 2 * half {
        return Err(invalid(format!("{} bytes are too few for its texts", words.len() * 8)));
    }
    let pid = words[2].load(Relaxed) as i32;
    let start = words[3].load(Relaxed);
    let current = (words[5].load(Acquire) & 1) as usize;
    let part = &words[HEADER + current * half..][..half];
    let Some(text) = text_of(part) else { return Ok(None) };
    let status: Status =
        serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    let alive = process::is_there(Pid::from_raw(pid), (start != 0).then_some(start));
    let writer = match (status.ended, alive) {
        (true, _) => WriterState::Ended,
        (false, true) => WriterState::Alive,
        (false, false) => WriterState::Died,
    };
    let written = SystemTime::UNIX_EPOCH
        .checked_add(Duration::try_from_secs_f64(status.written).unwrap_or_default());
    let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
    Ok(Some(Reading { pid, writer, age: age.unwrap_or_default(), status }))
}

/// The text of a half, if it is whole.
fn text_of(half: &[AtomicU64]) -> Option<Vec<u8>> {
    let sequence = half[0].load(Acquire);
    let len = usize::try_from(half[1].load(Relaxed)).ok()?;
    let sum = half[2].load(Relaxed);
    if sequence == 0 || sequence % 2 == 1 || len > (half.len() - HALF) * 8 {
        return None;
    }
    let text = bytes_of(half, len);
    fence(Acquire);
    (half[0].load(Relaxed) == sequence && checksum(&text) == sum).then_some(text)
}

/// The first `len` bytes of the text of a half.
fn bytes_of(half: &[AtomicU64], len: usize) -> Vec<u8> {
    let words = half[HALF..].iter().take(len.div_ceil(8));
    let mut text: Vec<u8> = words.flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
    text.truncate(len);
    text
}

/// The names of this user's segments, in order.
pub fn list() -> Vec<String> {
    let (prefix, own) = (prefix(), getuid().as_raw());
    let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.metadata().is_ok_and(|data| data.is_file() && data.uid() == own))
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(&prefix)?.to_owned()))
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    names
}

/// Removes a segment, whoever has left it.
///
/// # Errors
/// [`PageError::System`], [`PageError::InvalidName`].
pub fn remove(name: &str) -> Result<(), PageError> {
    check_name(name)?;
    match std::fs::remove_file(path_of(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(system(format!("removing the segment `{name}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(failure: &str) -> Vec<u8> {
        let failure = Some(failure.to_owned());
        serde_json::to_vec(&Status { failure, ..Status::default() }).expect("it is JSON")
    }

    #[test]
    fn a_page_is_read_back_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page");
        let mut page = Page::file(&path, 1000).expect("a page");
        assert!(matches!(read_file(&path), Err(PageError::Invalid { .. })), "nothing written yet");
        for text in ["one", "two", "three"] {
            page.write(&status(text));
            let read = read_file(&path).expect("whole");
            assert_eq!(read.status.failure.as_deref(), Some(text));
            assert_eq!((read.pid, read.writer), (std::process::id() as i32, WriterState::Alive));
        }
        // A writer that died in the middle of the other half.
        let words = page.region.words();
        let size = (words.len() - HEADER) / 2;
        let other = &words[HEADER + (1 - page.half) * size..];
        other[0].store(other[0].load(Relaxed) | 1, Relaxed);
        other[HALF].store(0, Relaxed);
        let read = read_file(&path).expect("the current one is whole");
        assert_eq!(read.status.failure.as_deref(), Some("three"));
        page.write(&vec![b' '; page.capacity() + 1]);
        assert_eq!(read_file(&path).expect("too long a text is not written").pid, read.pid);
        page.write(&status("four"));
        assert_eq!(read_file(&path).expect("whole").status.failure.as_deref(), Some("four"));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page");
        let mut page = Page::file(&path, 100).expect("a page");
        page.write(b"{}");
        let whole = std::fs::read(&path).expect("a file");
        let with = |at: usize, word: u64| {
            let mut bytes = whole.clone();
            bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
            std::fs::write(&path, bytes).expect("written");
            read_file(&path)
        };
        assert!(with(1, VERSION).is_ok());
        let newer = with(1, 7).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(newer.contains("version 7") && newer.contains("version 1"), "{newer}");
        assert!(matches!(with(0, 1), Err(PageError::Invalid { .. })));
        for capacity in [u64::MAX, 1 << 30, 4096] {
            assert!(matches!(with(4, capacity), Err(PageError::Invalid { .. })), "{capacity}");
        }
        for word in HEADER..HEADER + HALF {
            assert!(matches!(with(word, u64::MAX), Err(PageError::Invalid { .. })), "{word}");
        }
        for len in [0, 5, 63, 64, whole.len() - 8] {
            std::fs::write(&path, &whole[..len]).expect("written");
            assert!(matches!(read_file(&path), Err(PageError::Invalid { .. })), "{len}");
        }
    }

    #[test]
    fn names() {
        for name in ["a", "gp.run_1-x", &"x".repeat(MAX_NAME)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".hidden", "a/b", "a b", "ü", &"x".repeat(MAX_NAME + 1)] {
            assert!(matches!(check_name(name), Err(PageError::InvalidName(_))), "{name}");
        }
    }
}
