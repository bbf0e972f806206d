//! What files contain, as a hash. A file whose size and times are as they were is not read again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::file::Temporary;

/// Where what is known of files is kept from run to run.
const NAME: &str = "inputs";
/// A file that was changed less than this before it was read may be changed again without a sign of
/// it: file systems count time in steps.
const STEP: Duration = Duration::from_secs(2);

/// What a file looks like from outside. Whatever writes to it changes this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    size: u64,
    modified: (i64, i64),
    /// When the file or what is said of it was changed: a copy may set `modified` to a time of the past.
    changed: (i64, i64),
    number: u64,
}

impl Look {
    /// `None` for a file that does not exist.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(Self {
                size: meta.size(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
                number: meta.ino(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_recent(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.modified.0.max(self.changed.0);
        last.saturating_add(STEP.as_secs() as i64) >= now.as_secs() as i64
    }
}

/// What is known of files.
pub(crate) struct Inputs {
    directory: PathBuf,
    known: HashMap<PathBuf, (Look, [u8; 32])>,
    /// Something new is known.
    changed: bool,
    /// Files that were read.
    #[cfg(test)]
    read: usize,
}

impl Inputs {
    /// What programs before this one have found out.
    pub(crate) fn load(directory: &Path) -> Self {
        let known = fs::read(directory.join(NAME)).ok().and_then(|bytes| {
            let (sum, rest) = bytes.split_first_chunk::<32>()?;
            (blake3::hash(rest).as_bytes() == sum).then_some(())?;
            postcard::from_bytes(rest).ok()
        });
        Self {
            directory: directory.to_owned(),
            known: known.unwrap_or_default(),
            changed: false,
            #[cfg(test)]
            read: 0,
        }
    }

    /// What a file looks like, and a hash of what is in it; `None` if it does not exist.
    pub(crate) fn content(&mut self, path: &Path) -> io::Result<Option<(Look, [u8; 32])>> {
        let Some(look) = Look::at(path)? else { return Ok(None) };
        if let Some((known, hash)) = self.known.get(path)
            && *known == look
        {
            return Ok(Some((look, *hash)));
        }
        #[cfg(test)]
        {
            self.read += 1;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        let hash = *hasher.finalize().as_bytes();
        if look.is_recent() {
            self.changed |= self.known.remove(path).is_some();
        } else {
            self.known.insert(path.to_owned(), (look.clone(), hash));
            self.changed = true;
        }
        Ok(Some((look, hash)))
    }

    /// Keeps what is known for the next program.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let bytes = postcard::to_allocvec(&self.known).map_err(io::Error::other)?;
        let sum = blake3::hash(&bytes);
        Temporary::write(&self.directory, [sum.as_bytes(), &bytes])?
            .rename(&self.directory.join(NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_file_counts_by_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.c");
        let mut inputs = Inputs::load(directory.path());
        assert_eq!(inputs.content(&path).unwrap(), None);
        fs::write(&path, "int a;").unwrap();
        let first = inputs.content(&path).unwrap().unwrap();
        age(&path, 100);
        let touched = inputs.content(&path).unwrap().unwrap();
        assert_eq!((first.1, inputs.read), (touched.1, 2), "the time alone is no change");
        assert_ne!(first.0, touched.0);
        // The same size, and the time set back to what it was.
        fs::write(&path, "int b;").unwrap();
        age(&path, 100);
        assert_ne!(inputs.content(&path).unwrap().unwrap().1, first.1);
    }

    #[test]
    fn what_has_not_changed_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.c");
        fs::write(&path, "int a;").unwrap();
        // Its times cannot be set into the past: what is known is written by hand.
        let look = Look::at(&path).unwrap().unwrap();
        let mut inputs = Inputs::load(directory.path());
        inputs.content(&path).unwrap();
        assert!(look.is_recent() && inputs.known.is_empty());
        inputs.known.insert(path.clone(), (look, [9; 32]));
        inputs.changed = true;
        inputs.save().unwrap();
        let mut inputs = Inputs::load(directory.path());
        assert_eq!(inputs.content(&path).unwrap().unwrap().1, [9; 32]);
        assert_eq!(inputs.read, 0);
        fs::write(directory.path().join(NAME), "damaged").unwrap();
        assert!(Inputs::load(directory.path()).known.is_empty());
    }
}
