//! Records: what the driver notes of calls, in memory, as it happens.
//!
//! A record is a few words and says what only its place knows; names, resources and inputs are
//! noted once, with the call. Texts that many calls share (resources, reasons) are noted once, and
//! records have their numbers.

use smallvec::SmallVec;

use crate::protocol::node::NodeDesc;
use crate::protocol::note::CallName;
use crate::protocol::note::LocalCall;

/// Calls whose values, or refs, a call takes.
pub(crate) type Inputs = SmallVec<[u64; 2]>;

/// What kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Actor,
    Method,
}

/// Names that a caller gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) display: Option<String>,
    pub(crate) tag: Option<String>,
}

/// How an attempt without a value, or a call, ended.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) attempt: u32,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) is_final: bool,
}

/// What is noted. Times are those of the monotonic clock; calls are told by their numbers.
pub(crate) enum What {
    Submitted {
        node: &'static NodeDesc,
        resources: u32,
        /// The call whose body has called, and its worker; 0: the driver.
        caller: u64,
        caller_worker: u16,
        kind: Kind,
        /// Nothing is missing.
        is_ready: bool,
        inputs: Inputs,
        names: Option<Box<Names>>,
    },
    Ready,
    /// Why it does not start: the number of a reason.
    Waiting(u32),
    Began {
        attempt: u32,
        worker: u16,
        pid: i32,
    },
    /// The function begins, after a hook.
    Body {
        attempt: u32,
    },
    /// A provider runs in its place: one that was registered, or that of data files.
    Bypassed {
        registered: bool,
    },
    /// Its value came from the cache.
    Served,
    Completed {
        attempt: u32,
        /// How long the function took.
        body_ns: u64,
        bytes_in: u64,
        bytes_out: u64,
        extra: Extra,
    },
    Failed(Box<Failure>, Extra),
    Retried {
        attempt: u32,
        reason: &'static str,
    },
    Cancelled {
        attempt: u32,
        by: &'static str,
        message: Option<Box<str>>,
    },
    Local(Box<LocalCall>, u16),
    Event {
        call: Option<CallName>,
        worker: u16,
        kind: Box<str>,
        object: Box<str>,
    },
    Died {
        worker: u16,
        pid: i32,
        how: Box<str>,
    },
}

/// Objects of JSON, from bodies.
#[allow(clippy::box_collection, reason = "one word, in what there are many of")]
pub(crate) type Extra = Option<Box<Vec<String>>>;

/// What is noted, of which call, and when.
pub(crate) struct Record {
    pub(crate) at: u64,
    pub(crate) call: u64,
    pub(crate) what: What,
}

/// The driver, among workers.
pub(crate) const DRIVER: u16 = u16::MAX;

/// A worker that calls may name from now on, by its number.
#[derive(Clone, Debug)]
pub(crate) struct WorkerName {
    pub(crate) name: String,
    pub(crate) group: String,
    /// An object of JSON.
    pub(crate) resources: String,
}

/// Records since the last batch, and what they name for the first time.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    /// All workers, if there are more than before.
    pub(crate) workers: Vec<WorkerName>,
    /// Objects of JSON.
    pub(crate) resources: Vec<String>,
    /// Members of a line.
    pub(crate) reasons: Vec<String>,
    /// Records for which there was no room.
    pub(crate) lost: u64,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        let Self { records, workers, resources, reasons, lost } = self;
        records.clear();
        workers.clear();
        resources.clear();
        reasons.clear();
        *lost = 0;
    }
}
