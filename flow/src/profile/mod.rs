//! The profile of a flow: what is recorded of calls, and the log that it becomes.
//!
//! | files | contents |
//! | --- | --- |
//! | [`frames`] | the calls that a thread is in, and what code says of them |
//! | [`records`] | what the driver notes, in memory |
//! | [`log`] | the same as lines of JSON |
//! | [`tally`] | the same as numbers: how far the flow is |

pub(crate) mod frames;
pub(crate) mod log;
pub(crate) mod records;
pub(crate) mod tally;
