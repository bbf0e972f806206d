//! Which entries a directory has. Other programs may change it at any time: the directory is the
//! truth, and it is listed again when its time has changed.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::budget::Budget;
use super::file::{self, SUFFIX};

struct Entry {
    tag: String,
    len: u64,
    /// When it was used last: the time of its file.
    used: SystemTime,
}

pub(super) struct Index {
    directory: PathBuf,
    budget: Budget,
    /// By the name of the file.
    entries: HashMap<String, Entry>,
    /// The same, in the order of their use.
    order: BTreeSet<(SystemTime, String)>,
    total: u64,
    /// The time of the directory when it was listed last, or left by this program.
    listed: Option<SystemTime>,
    /// How often this program has changed it since it was listed.
    changes: u32,
}

/// After so many changes of its own a program lists the directory again: what others did at the same
/// time may have escaped it.
const CHANGES: u32 = 32;

impl Index {
    pub(super) fn new(directory: &Path, budget: Budget) -> Self {
        Self {
            directory: directory.to_owned(),
            budget,
            entries: HashMap::new(),
            order: BTreeSet::new(),
            total: 0,
            listed: None,
            changes: 0,
        }
    }

    /// Lists the directory, if it has changed, and keeps to the budget.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let modified = fs::metadata(&self.directory)?.modified()?;
        if self.listed == Some(modified) {
            return Ok(());
        }
        let mut there = BTreeSet::new();
        for found in fs::read_dir(&self.directory)? {
            let found = found?;
            let Ok(name) = found.file_name().into_string() else { continue };
            // What has vanished meanwhile is not there.
            let Ok(meta) = found.metadata() else { continue };
            let (len, used) = (meta.len(), meta.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            if !name.ends_with(SUFFIX) {
                file::remove_leftover(&found.path(), &name, used);
                continue;
            }
            there.insert(name.clone());
            match self.entries.get(&name) {
                Some(known) if known.len == len => self.touch(&name, used),
                _ => match file::head_of(&found.path()) {
                    Ok(Some(head)) => self.insert(name, head.tag, len, used),
                    Ok(None) => drop(fs::remove_file(found.path())), // no entry, or damaged
                    Err(_) => {}                                     // gone, or somebody else's
                },
            }
        }
        let gone: Vec<String> =
            self.entries.keys().filter(|name| !there.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.forget(name));
        (self.listed, self.changes) = (Some(modified), 0);
        self.make_room(0, None);
        Ok(())
    }

    /// Removes entries, least recently used first, until so many bytes more fit; `kept` is about to
    /// be replaced by them.
    pub(super) fn make_room(&mut self, bytes: u64, kept: Option<&str>) {
        let replaced = kept.and_then(|name| self.entries.get(name)).map_or(0, |entry| entry.len);
        let mut removed = false;
        while (self.total - replaced).saturating_add(bytes) > self.budget.get() {
            let oldest = self.order.iter().find(|(_, name)| Some(name.as_str()) != kept).cloned();
            let Some((used, name)) = oldest else { break };
            let path = self.directory.join(&name);
            // Another program may have read it since.
            match fs::metadata(&path).and_then(|meta| meta.modified()) {
                Ok(now) if now > used => {
                    self.touch(&name, now);
                    continue;
                }
                _ => {}
            }
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cache: an entry cannot be removed");
            }
            self.forget(&name);
            removed = true;
        }
        if removed {
            self.note_change();
        }
    }

    pub(super) fn insert(&mut self, name: String, tag: String, len: u64, used: SystemTime) {
        self.forget(&name);
        self.total += len;
        self.order.insert((used, name.clone()));
        self.entries.insert(name, Entry { tag, len, used });
    }

    /// It was used at this time.
    pub(super) fn touch(&mut self, name: &str, used: SystemTime) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let old = std::mem::replace(&mut entry.used, used);
        if old != used && self.order.remove(&(old, name.to_owned())) {
            self.order.insert((used, name.to_owned()));
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.total -= entry.len;
            self.order.remove(&(entry.used, name.to_owned()));
        }
    }

    /// The directory is as this program has left it.
    pub(super) fn note_change(&mut self) {
        self.changes += 1;
        let time = || fs::metadata(&self.directory).and_then(|meta| meta.modified()).ok();
        self.listed = self.listed.filter(|_| self.changes < CHANGES).and_then(|_| time());
    }

    pub(super) fn tags(&self) -> Vec<String> {
        let mut tags: Vec<String> = self.entries.values().map(|entry| entry.tag.clone()).collect();
        tags.sort_unstable();
        tags
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}
