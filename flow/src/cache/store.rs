//! A cache as programs use it.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mailring_process::map::OwnMark;

use super::budget::Budget;
use super::file::{self, CallKey, Found, Head, Temporary};
use super::index::Index;
use crate::protocol::codec::{self, Buffer, Value};
use crate::protocol::error::Error;
use crate::protocol::refs;

/// A directory of results, each under its tag.
///
/// Results of calls come there by themselves, as the `cache` section of a
/// [`Config`](crate::Config) says; what is there can be read, written and removed by hand as well.
/// Several programs, and workers, may use one directory at the same time. Clones are the same cache.
///
/// ```
/// use mailring::flow::cache::{Budget, Cache};
///
/// let directory = std::env::temp_dir().join(format!("mailring-doc-{}", std::process::id()));
/// let cache = Cache::open(&directory, Budget::bytes(1 << 20))?;
/// assert!(cache.write("answer", &42u64)?);
/// assert_eq!(cache.read::<u64>("answer")?, Some(42));
/// assert_eq!(cache.keys()?, ["answer"]);
/// assert!(cache.evict("answer")? && !cache.has("answer"));
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), mailring::flow::Error>(())
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    budget: Budget,
    index: Mutex<Index>,
    /// Values on their way to the disk, by tag.
    pending: Mutex<HashMap<String, usize>>,
    stored: Condvar,
    /// The process that opened it: another one has a copy of the locks, and of what was on its way.
    own: OwnMark,
}

/// The call that an entry is the value of, and the encoded value.
type Loaded = (Option<CallKey>, Vec<u8>);

/// Where a cache is: its directory and its budget.
pub(crate) type Place = (PathBuf, u64);

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({}, {})", self.0.directory.display(), self.0.budget)
    }
}

impl Cache {
    /// Opens the cache in a directory, which is made if it does not exist. If there is more than the
    /// budget allows, what was used least recently is removed.
    ///
    /// # Errors
    /// The directory cannot be made or read. One that can only be read is no error: what is there
    /// is found, and nothing is stored.
    pub fn open(directory: impl AsRef<Path>, budget: Budget) -> Result<Self, Error> {
        let given = directory.as_ref();
        let at = |what: &'static str| {
            move |error: io::Error| Error::System {
                what: format!("{what} the cache directory {}", given.display()),
                why: error.to_string(),
            }
        };
        fs::create_dir_all(given).map_err(at("making"))?;
        // A program that changes its working directory still means this one.
        let directory = given.canonicalize().map_err(at("finding"))?;
        let cache = Self::at(&directory, budget);
        cache.index().refresh().map_err(at("reading"))?;
        Ok(cache)
    }

    fn at(directory: &Path, budget: Budget) -> Self {
        Self(Arc::new(Inner {
            directory: directory.to_owned(),
            budget,
            index: Mutex::new(Index::new(directory, budget)),
            pending: Mutex::new(HashMap::new()),
            stored: Condvar::new(),
            own: OwnMark::new(),
        }))
    }

    /// Its directory and its budget, for a process that has not opened it.
    pub(crate) fn place(&self) -> Place {
        (self.0.directory.clone(), self.0.budget.get())
    }

    /// The cache there.
    pub(crate) fn of((directory, budget): &Place) -> Self {
        Self::at(directory, Budget::bytes(*budget))
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// The most bytes that it takes.
    pub fn budget(&self) -> Budget {
        self.0.budget
    }

    /// Whether there is an entry with this tag. This does not count as a use of it.
    pub fn has(&self, tag: &str) -> bool {
        self.settle(Some(tag));
        self.path(tag).exists()
    }

    /// The value of an entry, which is the most recently used one then. `None`: there is no entry
    /// with this tag. A damaged one is none, and is removed.
    ///
    /// # Errors
    /// The value is not a `T`, or the system refuses to read it.
    pub fn read<T: Value>(&self, tag: &str) -> Result<Option<T>, Error> {
        self.settle(Some(tag));
        let Some((_, value)) = self.load(tag)? else { return Ok(None) };
        let what = || format!("the value of \"{tag}\" in the cache");
        let value = refs::decode(&value, None)
            .map_err(|fault| Error::Decode { what: what(), why: fault.to_string() })?;
        Ok(Some(value))
    }

    /// Stores a value under a tag, in place of what was there. What was used least recently is
    /// removed until it fits. False, with a message in the log, if it alone is more than the
    /// budget: what was there stays.
    ///
    /// # Errors
    /// The value cannot be encoded, or names refs, or the system refuses to write it.
    pub fn write<T: Value>(&self, tag: &str, value: &T) -> Result<bool, Error> {
        self.settle(Some(tag));
        let what = || format!("the value for \"{tag}\" in the cache");
        let failed = |why: String| Error::Encode { what: what(), why };
        let mut encoded = Buffer::new();
        let named = refs::encode(value, None, &mut encoded);
        let named = named.map_err(|fault| failed(fault.to_string()))?;
        if !named.is_empty() {
            return Err(failed("it names refs, which mean nothing in another run".to_owned()));
        }
        self.store(&Head { tag: tag.to_owned(), call: None }, &encoded)
    }

    /// Removes an entry. Whether there was one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn evict(&self, tag: &str) -> Result<bool, Error> {
        self.settle(Some(tag));
        let name = file::name_of(tag);
        let mut index = self.index();
        index.forget(&name);
        match fs::remove_file(self.0.directory.join(&name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("removing an entry of")(error)),
        }
    }

    /// The tags of all entries, in alphabetical order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn keys(&self) -> Result<Vec<String>, Error> {
        Ok(self.listed()?.tags())
    }

    /// The bytes that all entries take.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn size(&self) -> Result<u64, Error> {
        Ok(self.listed()?.total())
    }

    /// Waits until all results of calls that are complete are on the disk.
    pub fn flush(&self) {
        self.settle(None);
    }

    fn listed(&self) -> Result<MutexGuard<'_, Index>, Error> {
        self.settle(None);
        let mut index = self.index();
        index.refresh().map_err(self.failed("reading"))?;
        Ok(index)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, tag: &str) -> PathBuf {
        self.0.directory.join(file::name_of(tag))
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> Error + '_ {
        move |error| Error::System {
            what: format!("{what} the cache directory {}", self.0.directory.display()),
            why: error.to_string(),
        }
    }

    // ---- for the driver -----------------------------------------------------------------------

    /// What the entry of a tag is, checked.
    pub(crate) fn load(&self, tag: &str) -> Result<Option<Loaded>, Error> {
        let name = file::name_of(tag);
        let path = self.0.directory.join(&name);
        match file::read(&path).map_err(self.failed("reading an entry of"))? {
            // Two tags may have one file name.
            Found::Entry(head, value) if head.tag == tag && codec::is_self_contained(&value) => {
                self.index().touch(&name, SystemTime::now());
                Ok(Some((head.call, value)))
            }
            Found::Damaged(why) => {
                tracing::warn!(path = %path.display(), why, "cache: a damaged entry is removed");
                self.index().forget(&name);
                Ok(None)
            }
            Found::Entry(..) | Found::Nothing => Ok(None),
        }
    }

    /// Whether an entry is the value of this call, without a look at the value.
    pub(crate) fn is_of(&self, tag: &str, call: &CallKey) -> bool {
        let head = file::head_of(&self.path(tag)).ok().flatten();
        head.is_some_and(|head| head.tag == tag && head.call.as_ref() == Some(call))
    }

    /// Stores an encoded value. False if it is more than the budget.
    pub(crate) fn store(&self, head: &Head, value: &[u8]) -> Result<bool, Error> {
        let tag = &head.tag;
        if !codec::is_self_contained(value) {
            let (what, why) = (format!("the value for \"{tag}\" in the cache"), "it names refs");
            return Err(Error::Encode { what, why: why.to_owned() });
        }
        let failed = self.failed("writing to");
        let prelude = file::prelude(head, value).map_err(&failed)?;
        let len = (prelude.len() + value.len()) as u64;
        if len > self.0.budget.get() {
            let budget = self.0.budget;
            tracing::warn!(tag, len, %budget, "cache: a value is more than the whole budget");
            return Ok(false);
        }
        let temporary = Temporary::write(&self.0.directory, [&prelude, value]).map_err(&failed)?;
        let name = file::name_of(tag);
        let mut index = self.index();
        index.refresh().map_err(&failed)?;
        index.make_room(len, Some(&name));
        temporary.rename(&self.0.directory.join(&name)).map_err(&failed)?;
        index.insert(name, tag.clone(), len, SystemTime::now());
        index.note_change();
        Ok(true)
    }

    /// An entry was used without being read.
    pub(crate) fn touch(&self, tag: &str) {
        let (name, now) = (file::name_of(tag), SystemTime::now());
        // It may be another user's.
        let touched =
            fs::File::open(self.0.directory.join(&name)).and_then(|it| it.set_modified(now));
        if touched.is_ok() {
            self.index().touch(&name, now);
        }
    }

    /// A value for this tag is on its way.
    pub(crate) fn begin(&self, tag: &str) {
        *self.pending().entry(tag.to_owned()).or_default() += 1;
    }

    /// It has arrived, or never will.
    pub(crate) fn end(&self, tag: &str) {
        let mut pending = self.pending();
        if let Some(count) = pending.get_mut(tag) {
            *count -= 1;
            if *count == 0 {
                pending.remove(tag);
            }
        }
        self.0.stored.notify_all();
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for values that are on their way to the disk: that of a tag, or all.
    fn settle(&self, tag: Option<&str>) {
        if !self.0.own.is_own() {
            return; // only the driver has any
        }
        let mut pending = self.pending();
        while tag.map_or(!pending.is_empty(), |tag| pending.contains_key(tag)) {
            pending = self.0.stored.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The tag of the result of a call that has none: the function, and a hash of all that tells the call
/// apart.
pub(crate) fn call_tag(call: &CallKey) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [call.function.as_bytes(), call.version.as_bytes(), &call.arguments] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let function = call.function.rsplit("::").next().unwrap_or_default();
    format!("{function} {}", &hasher.finalize().to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path, budget: u64) -> Cache {
        Cache::open(directory, Budget::bytes(budget)).unwrap()
    }

    fn set_age(cache: &Cache, tag: &str, seconds: u64) {
        let time = SystemTime::now() - std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(cache.path(tag)).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let all = open(directory.path(), u64::MAX);
        for tag in ["a", "b", "c"] {
            all.write(tag, &vec![1u8; 1000]).unwrap();
        }
        let each = all.size().unwrap() / 3;
        let cache = open(directory.path(), 3 * each);
        for (tag, age) in [("a", 30), ("b", 20), ("c", 10)] {
            set_age(&cache, tag, age);
        }
        let cache = open(directory.path(), 3 * each);
        assert!(cache.has("a"), "a look is no use");
        assert!(cache.read::<Vec<u8>>("b").unwrap().is_some());
        assert!(cache.write("d", &vec![1u8; 1000]).unwrap());
        assert_eq!(cache.keys().unwrap(), ["b", "c", "d"]);
        assert!(cache.write("e", &vec![1u8; 1000]).unwrap());
        assert_eq!(cache.keys().unwrap(), ["b", "d", "e"]);
        assert_eq!(cache.size().unwrap(), 3 * each);
        // One that is replaced makes room for itself.
        assert!(cache.write("e", &vec![2u8; 1000]).unwrap());
        assert_eq!(cache.keys().unwrap(), ["b", "d", "e"]);
    }

    #[test]
    fn more_than_the_budget_is_not_stored_and_the_old_value_stays() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), 500);
        assert!(cache.write("t", &7u32).unwrap());
        assert!(!cache.write("t", &vec![0u8; 1000]).unwrap());
        assert_eq!(cache.read::<u32>("t").unwrap(), Some(7));
    }

    #[test]
    fn a_smaller_budget_holds_from_the_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), u64::MAX);
        for n in 0..10 {
            cache.write(&format!("t{n}"), &vec![0u8; 100]).unwrap();
            set_age(&cache, &format!("t{n}"), 100 - n);
        }
        let budget = cache.size().unwrap() / 2;
        let cache = open(directory.path(), budget);
        assert_eq!(cache.keys().unwrap(), ["t5", "t6", "t7", "t8", "t9"]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5);
    }

    #[test]
    fn a_damaged_entry_is_a_miss_and_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), u64::MAX);
        cache.write("t", &"text".to_owned()).unwrap();
        let file = fs::File::options().write(true).open(cache.path("t")).unwrap();
        file.set_len(55).unwrap();
        assert_eq!(cache.read::<String>("t").unwrap(), None);
        assert!(!cache.has("t") && cache.keys().unwrap().is_empty());
        fs::write(directory.path().join("other.mrcache"), "no entry").unwrap();
        assert!(open(directory.path(), u64::MAX).keys().unwrap().is_empty());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_type_is_an_error_that_names_the_tag() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), u64::MAX);
        cache.write("t", &"text".to_owned()).unwrap();
        let error = cache.read::<Vec<f64>>("t").unwrap_err().to_string();
        assert!(error.contains("\"t\" in the cache"), "{error}");
    }

    #[test]
    fn two_programs_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (open(directory.path(), 2000), open(directory.path(), 2000));
        one.write("a", &vec![1u8; 500]).unwrap();
        assert_eq!(other.read::<Vec<u8>>("a").unwrap(), Some(vec![1; 500]));
        other.write("b", &vec![2u8; 500]).unwrap();
        assert_eq!(one.keys().unwrap(), ["a", "b"]);
        assert!(other.evict("a").unwrap());
        assert_eq!(one.read::<Vec<u8>>("a").unwrap(), None);
        assert!(!one.evict("a").unwrap());
        // Both at once, and over the budget: what is there is whole, and in the end within it.
        std::thread::scope(|scope| {
            for cache in [&one, &other] {
                scope.spawn(move || {
                    for n in 0..200usize {
                        let tag = format!("t{}", n % 7);
                        cache.write(&tag, &vec![n as u8; 400]).unwrap();
                        if let Some(value) = cache.read::<Vec<u8>>(&tag).unwrap() {
                            assert_eq!(value.len(), 400);
                            assert!(value.iter().all(|byte| *byte == value[0]));
                        }
                    }
                });
            }
        });
        let last = open(directory.path(), 2000);
        assert!(last.size().unwrap() <= 2000 && !last.keys().unwrap().is_empty());
    }

    #[test]
    fn where_nothing_can_be_written_writes_fail_and_reads_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), u64::MAX);
        fs::remove_dir(directory.path()).unwrap();
        let error = cache.write("t", &1u8).unwrap_err().to_string();
        assert!(error.contains("writing to the cache directory"), "{error}");
        assert_eq!(cache.read::<u8>("t").unwrap(), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Cache::open(file.path(), Budget::unlimited()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
