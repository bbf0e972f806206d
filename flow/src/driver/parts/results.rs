//! Results on their way to and from the cache: what its thread is to do, and which values that it
//! would read are in memory still.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use super::features::Piece;
use crate::cache::file::{CallKey, Head};
use crate::cache::inputs::Look;
use crate::cache::store::Cache;

/// Of this many bytes of memory for values, one may be on its way to the disk: whoever computes
/// faster than the disk takes it is not to run out of memory.
const SHARE: u64 = 4;

/// What the thread of the cache is to do.
pub(crate) enum Job {
    /// Stores the value of an object, which is held.
    Store(StoreJob),
    /// Looks for the result of a call.
    Find(FindJob),
}

pub(crate) struct StoreJob {
    pub(crate) cache: Cache,
    pub(crate) object: u64,
    pub(crate) bytes: u64,
    pub(crate) head: Head,
    /// They have to be as they were.
    pub(crate) inputs: Vec<(PathBuf, Option<Look>)>,
}

pub(crate) struct FindJob {
    pub(crate) cache: Cache,
    /// The task.
    pub(crate) object: u64,
    pub(crate) function: &'static str,
    pub(crate) version: String,
    pub(crate) tag: Option<String>,
    pub(crate) args: Vec<Piece>,
    pub(crate) inputs: Vec<PathBuf>,
}

#[derive(Default)]
pub(crate) struct Results {
    /// To the thread of the cache, while there is one.
    jobs: Option<Sender<Job>>,
    /// Objects that have the value of a call; they may be gone by now.
    in_memory: HashMap<CallKey, u64>,
    /// Bytes of values that are to be stored and are held for that.
    on_their_way: u64,
    /// How many calls were served, and how many bypassed.
    pub(crate) served: u64,
    pub(crate) bypassed: u64,
}

impl Results {
    pub(crate) fn open(&mut self, jobs: Sender<Job>) {
        self.jobs = Some(jobs);
    }

    /// There is nobody any more who would do a job.
    pub(crate) fn close(&mut self) {
        self.jobs = None;
    }

    /// Gives a job to the thread. False, and nothing happens, if there is none.
    pub(crate) fn send(&mut self, job: Job) -> bool {
        let bytes = match &job {
            Job::Store(store) => store.bytes,
            Job::Find(_) => 0,
        };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent {
            self.on_their_way += bytes;
        }
        sent
    }

    pub(crate) fn is_open(&self) -> bool {
        self.jobs.is_some()
    }

    /// Whether so many bytes more may be held until they are stored.
    pub(crate) fn has_room(&self, bytes: u64, memory: u64) -> bool {
        self.on_their_way == 0 || self.on_their_way + bytes <= memory / SHARE
    }

    /// A value is not held any more.
    pub(crate) fn arrived(&mut self, bytes: u64) {
        self.on_their_way -= bytes;
    }

    /// This object has the value of a call. `is_there` tells of others whether they still are.
    pub(crate) fn note(&mut self, call: CallKey, object: u64, is_there: impl Fn(u64) -> bool) {
        let full = self.in_memory.len() == self.in_memory.capacity();
        if full && self.in_memory.len() >= 1024 {
            self.in_memory.retain(|_, object| is_there(*object));
        }
        self.in_memory.insert(call, object);
    }

    /// The object that had the value of a call last.
    pub(crate) fn in_memory(&self, call: &CallKey) -> Option<u64> {
        self.in_memory.get(call).copied()
    }
}
