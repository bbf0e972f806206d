//! Requests of a worker to the host, and the host's responses.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::args::Args;
use super::cancel::{Cancel, CancelReport, Target};
use super::error::{Error, TaskError, cut};
use super::handle::Name;
use super::note::Note;
use super::options::Overrides;
use super::pending::Pending;

/// From a worker. Those without an answer say so.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Calls a node, or a method of an actor.
    Submit {
        node: u32,
        args: Args,
        overrides: Option<Box<Overrides>>,
        actor: Option<u64>,
        /// What the condition says that was asked for this call.
        verdict: Option<bool>,
    },
    /// Makes an actor.
    Spawn {
        node: u32,
        args: Args,
        overrides: Box<Overrides>,
        max_restarts: Option<i32>,
    },
    /// Ends an actor.
    Kill {
        actor: u64,
    },
    /// Waits until `need` of these are complete.
    Wait {
        ids: Vec<u64>,
        need: usize,
        timeout: Option<Duration>,
    },
    /// Waits for these values, or the first failure.
    Values {
        ids: Vec<u64>,
        timeout: Option<Duration>,
    },
    /// Room for a value of this worker; or for an error, which is urgent: at once or not at all.
    Room {
        bytes: u64,
        urgent: bool,
    },
    /// A block that others share.
    Block {
        bytes: u64,
    },
    Cancel {
        target: Target,
        cancel: Cancel,
    },
    Pending {
        id: u64,
    },
    /// No answer: these are held by this process from now on.
    Keep {
        ids: Vec<u64>,
    },
    /// No answer: one is not any more.
    Release {
        id: u64,
    },
    /// No response: the completion that comes next names these.
    Children {
        ids: Vec<u64>,
    },
    /// What is known of the task with this number, which this process runs.
    About {
        task: u64,
    },
    /// No answer: where the body that has just panicked was, for its error.
    Backtrace {
        text: String,
    },
    /// No answer: what code says for the profile.
    Note(Note),
    /// No answer: subprocesses that a task has left running on purpose (number, start time).
    Spare {
        members: Vec<(i32, u64)>,
    },
}

/// An ask with the number that its answer will have.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    pub(crate) number: u64,
    pub(crate) what: T,
}

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Done,
    Task(Name),
    Actor(u64),
    /// Whether a call is bypassed is up to this condition, at an address of the program.
    Condition {
        address: u64,
        data: Option<PathBuf>,
        /// The directory and the budget.
        cache: Option<(PathBuf, u64)>,
    },
    Settled(Vec<bool>),
    Values(Vec<WireValue>),
    TimedOut,
    Room {
        address: u64,
        len: u64,
    },
    Block {
        id: u64,
        address: u64,
    },
    Reports(Vec<CancelReport>),
    Pending(Pending),
    About(About),
    Refused(Error),
}

impl Response {
    /// The same with errors cut to what fits.
    pub(crate) fn shortened(self) -> Self {
        match self {
            Self::Values(values) => Self::Values(
                values
                    .into_iter()
                    .map(|value| match value {
                        WireValue::Failed(error) => WireValue::Failed(Box::new(error.shortened())),
                        other => other,
                    })
                    .collect(),
            ),
            Self::Refused(Error::Task(error)) => Self::Refused(error.shortened().into()),
            Self::Refused(Error::Deadlock(why)) => Self::Refused(Error::Deadlock(cut(&why))),
            Self::Refused(other) => Self::Refused(Error::Invalid(cut(&other.to_string()))),
            Self::Reports(mut reports) => {
                let mut left = 200usize;
                for report in &mut reports {
                    report.ended.truncate(left);
                    left -= report.ended.len();
                }
                Self::Reports(reports)
            }
            other => other,
        }
    }
}

/// What a body can ask of its task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) tag: Option<String>,
    pub(crate) group: String,
    pub(crate) index: usize,
    pub(crate) cpus: i64,
    pub(crate) labels: Vec<(String, i64)>,
}

/// A value on its way to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireValue {
    Inline(Vec<u8>),
    Placed { address: u64, len: u64 },
    Failed(Box<TaskError>),
}

/// A message of ours as bytes.
pub(crate) fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(message).map_err(|error| error.to_string())
}

/// A message of ours; what is left over is an error as well.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} of {} bytes are left over", rest.len(), bytes.len())),
        Err(error) => Err(error.to_string()),
    }
}
