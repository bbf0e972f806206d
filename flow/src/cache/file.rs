//! One entry of a cache as a file: written whole or not at all, and checked when it is read.
//!
//! ```text
//! magic 8 | length of the head 4 | length of the value 8 | BLAKE3 of head and value 32 | head | value
//! ```
//!
//! Numbers are little-endian. The head is postcard's form of [`Head`], the value what the codec of
//! flows has written. A file takes its name by a rename, so other programs see a whole file or none;
//! nothing is flushed to the disk by hand, since the checksum finds what a loss of power has cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// What files of entries end with.
pub(super) const SUFFIX: &str = ".mrcache";
/// What files begin with that are still being written.
const TEMPORARY: &str = ".writing-";
/// Those of programs that have ended are removed after this time: a program in another namespace
/// has a number that means nothing here.
const LEFT_FOR: Duration = Duration::from_secs(60);

const MAGIC: [u8; 8] = *b"mrcache1";
/// Bytes before the head.
const FIXED: usize = 8 + 4 + 8 + 32;
/// The longest head that is read.
const LONGEST_HEAD: usize = 1 << 20;

/// Characters of a tag that stand in the name of its file.
const SLUG: usize = 80;

/// What tells whether an entry is the result of a call: see [`Head::call`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct CallKey {
    /// The full name of the function.
    pub(crate) function: String,
    /// The version that the user has given it.
    pub(crate) version: String,
    /// A hash of the argument bytes, and of what the files contain that count as arguments.
    pub(crate) arguments: [u8; 32],
}

/// What an entry says of its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) tag: String,
    /// The call whose value it is, if calls like it are to be served.
    pub(crate) call: Option<CallKey>,
}

/// What was found under a name.
pub(crate) enum Found {
    Entry(Head, Vec<u8>),
    Nothing,
    /// A file that is no entry, or is damaged.
    Damaged(String),
}

/// The name of the file of a tag: as much of the tag as a file name may have, and a hash of all of it.
pub(super) fn name_of(tag: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let slug: String = tag.chars().take(SLUG).map(plain).collect();
    let slug = slug.trim_start_matches('.');
    let hash = blake3::hash(tag.as_bytes()).to_hex();
    format!("{slug}_{}{SUFFIX}", &hash[..16])
}

/// The bytes before the value, and how long the file is with it.
pub(super) fn prelude(head: &Head, value: &[u8]) -> io::Result<Vec<u8>> {
    let head = postcard::to_allocvec(head).map_err(io::Error::other)?;
    if head.len() > LONGEST_HEAD {
        return Err(io::Error::other(format!(
            "its tag is too long: {} bytes, and at most {LONGEST_HEAD} are possible",
            head.len()
        )));
    }
    let mut bytes = Vec::with_capacity(FIXED + head.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&checksum(&head, value));
    bytes.extend_from_slice(&head);
    Ok(bytes)
}

fn checksum(head: &[u8], value: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(head.len() as u64).to_le_bytes()).update(head).update(value);
    *hasher.finalize().as_bytes()
}

/// A file that has no name of its own yet. It is removed unless it is given one.
pub(super) struct Temporary {
    path: PathBuf,
    named: bool,
}

impl Temporary {
    /// Writes these parts into a new file of the directory.
    pub(super) fn write(directory: &Path, parts: [&[u8]; 2]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let path = directory.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let temporary = Self { path, named: false };
        parts.iter().try_for_each(|part| file.write_all(part))?;
        Ok(temporary)
    }

    /// Gives it its name, in place of what had it.
    pub(super) fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what programs have left that ended while they wrote.
pub(super) fn remove_leftover(path: &Path, name: &str, modified: SystemTime) {
    let Some(rest) = name.strip_prefix(TEMPORARY) else { return };
    let Some(pid) = rest.split('-').next().and_then(|pid| pid.parse::<u32>().ok()) else { return };
    let old = modified.elapsed().is_ok_and(|age| age >= LEFT_FOR);
    if old && !Path::new(&format!("/proc/{pid}")).exists() {
        let _ = fs::remove_file(path);
    }
}

/// The head of an entry, without a look at its value. `None` for what is no entry, or is damaged.
///
/// # Errors
/// It cannot be opened.
pub(super) fn head_of(path: &Path) -> io::Result<Option<Head>> {
    let mut file = File::open(path)?;
    let read = |file: &mut File| {
        let (head_len, value_len, _) = read_fixed(file).ok()?;
        let expected = value_len.checked_add((FIXED + head_len) as u64);
        (Some(file.metadata().ok()?.len()) == expected).then_some(())?;
        let mut head = vec![0; head_len];
        file.read_exact(&mut head).ok()?;
        postcard::from_bytes(&head).ok()
    };
    Ok(read(&mut file))
}

fn read_fixed(file: &mut impl Read) -> io::Result<(usize, u64, [u8; 32])> {
    let mut fixed = [0; FIXED];
    file.read_exact(&mut fixed)?;
    let (magic, rest) = fixed.split_at(8);
    let (head_len, rest) = rest.split_at(4);
    let (value_len, sum) = rest.split_at(8);
    let head_len = u32::from_le_bytes(head_len.try_into().unwrap_or_default()) as usize;
    if magic != MAGIC || head_len > LONGEST_HEAD {
        return Err(io::Error::other("it is not an entry of this version"));
    }
    let value_len = u64::from_le_bytes(value_len.try_into().unwrap_or_default());
    Ok((head_len, value_len, sum.try_into().unwrap_or_default()))
}

/// Reads an entry and checks it. A damaged one is removed, unless another was put in its place
/// meanwhile.
pub(super) fn read(path: &Path) -> io::Result<Found> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    let why = match read_open(&mut file, meta.len()) {
        Ok((head, value)) => {
            // Who was used last is told by the time of the file. It may be another user's.
            let _ = file.set_modified(SystemTime::now());
            return Ok(Found::Entry(head, value));
        }
        Err(why) => why,
    };
    if fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (meta.dev(), meta.ino())) {
        let _ = fs::remove_file(path);
    }
    Ok(Found::Damaged(why))
}

fn read_open(file: &mut impl Read, len: u64) -> Result<(Head, Vec<u8>), String> {
    let text = |error: io::Error| error.to_string();
    let (head_len, value_len, sum) = read_fixed(file).map_err(text)?;
    let expected = value_len.checked_add((FIXED + head_len) as u64);
    if expected != Some(len) {
        return Err(format!("it has {len} bytes, and its head says otherwise"));
    }
    let mut head = vec![0; head_len];
    file.read_exact(&mut head).map_err(text)?;
    let mut value = Vec::with_capacity(value_len as usize);
    file.take(value_len).read_to_end(&mut value).map_err(text)?;
    if checksum(&head, &value) != sum {
        return Err("its checksum is wrong".to_owned());
    }
    let head = postcard::from_bytes(&head).map_err(|error| error.to_string())?;
    Ok((head, value))
}

/// For `fuzz/`: any bytes are an entry or a damaged one, and an entry is what would be written. The
/// checksum is put right, or else nothing would come past it.
#[doc(hidden)]
pub fn entry_or_not(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Ok((head_len, _, _)) = read_fixed(&mut &bytes[..])
        && let Some((head, value)) = bytes[FIXED..].split_at_checked(head_len)
    {
        let sum = checksum(head, value);
        bytes[FIXED - sum.len()..FIXED].copy_from_slice(&sum);
    }
    let Ok((head, value)) = read_open(&mut &bytes[..], bytes.len() as u64) else { return };
    let again = [prelude(&head, &value).expect("its head was as long"), value.clone()].concat();
    let read = read_open(&mut &again[..], again.len() as u64);
    assert_eq!(read, Ok((head, value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_tag_has_a_file_name() {
        let long = "x".repeat(10_000);
        let tags = ["", ".", "..", "../../etc/passwd", "a/b", "a_b", "a\0b", "ü", "A", "a", &long];
        let names: Vec<String> = tags.iter().map(|tag| name_of(tag)).collect();
        for name in &names {
            assert!(!name.contains(['/', '\0']) && !name.starts_with('.'), "{name}");
            assert!(name.len() <= SLUG + 17 + SUFFIX.len(), "{name}");
        }
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let key = CallKey { function: "f".into(), version: "2".into(), arguments: [7; 32] };
        let head = Head { tag: "t".into(), call: Some(key) };
        let value: Vec<u8> = (0..1000).map(|n| n as u8).collect();
        let prelude = prelude(&head, &value).unwrap();
        Temporary::write(directory.path(), [&prelude, &value]).unwrap().rename(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        assert!(matches!(read(&path), Ok(Found::Entry(h, v)) if h == head && v == value));
        assert_eq!(head_of(&path).unwrap(), Some(head));
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(matches!(read(&path), Ok(Found::Damaged(_))), "byte {at}");
            assert!(!path.exists(), "a damaged entry is removed");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(matches!(read(&path), Ok(Found::Damaged(_))), "cut at {at}");
        }
        assert!(matches!(read(&path), Ok(Found::Nothing)));
    }

    #[test]
    fn what_a_program_left_half_written_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let left = directory.path().join(format!("{TEMPORARY}999999999-0"));
        fs::write(&left, "half").unwrap();
        let name = left.file_name().unwrap().to_str().unwrap();
        remove_leftover(&left, name, SystemTime::now());
        assert!(left.exists(), "it may be that of a program elsewhere");
        remove_leftover(&left, name, SystemTime::now() - LEFT_FOR);
        assert!(!left.exists());
        let own = format!("{TEMPORARY}{}-0", std::process::id());
        fs::write(&left, "half").unwrap();
        remove_leftover(&left, &own, SystemTime::UNIX_EPOCH);
        assert!(left.exists());
    }
}
