//! Notes: what code says of the call that it runs in, for the profile.

use serde::{Deserialize, Serialize};

/// A call, as those know it who have no table of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CallName {
    /// The task with this number.
    Task(u64),
    /// A call of a node as an ordinary function: the process, and which of its calls.
    Local(u32, u64),
}

/// What is said. Times are those of the monotonic clock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// Of the task whose completion comes next: an object of JSON. There may be several.
    Info { object: String },
    /// An event of the user's, with an object of JSON.
    Event { at: u64, call: Option<CallName>, kind: String, object: String },
    /// A call of a node as an ordinary function has ended.
    Local(Box<LocalCall>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LocalCall {
    /// Which of the calls of its process.
    pub(crate) number: u64,
    pub(crate) process: u32,
    pub(crate) caller: Option<CallName>,
    pub(crate) node: u32,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// What was said of it, an object of JSON; empty: nothing.
    pub(crate) object: String,
    pub(crate) panicked: bool,
}
