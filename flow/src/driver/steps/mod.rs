//! What happens: steps between the parts, from a call to its value.
//!
//! A step uses only those above it in this list. What it finds out for one below it, it notes in
//! the effects, and [`follow_up`] acts upon these when the step is over.
//!
//! | file | step |
//! | --- | --- |
//! | [`recording`] | what the others do is noted, for the profile |
//! | [`storing`] | a result is held for the cache |
//! | [`settling`] | an object becomes complete, and with a failure all that needs it |
//! | [`posting`] | a task's descriptor is written into a cell, and given to its worker |
//! | [`recalling`] | posted tasks are taken back, and run again; processes are ended |
//! | [`answering`] | responses to workers, and the ends of waits of their bodies |
//! | [`placing`] | a task that has all it needs gets a process, or waits in a queue |
//! | [`serving`] | the same for calls of actors |
//! | [`submitting`] | a call enters the table |
//! | [`acting`], [`cancelling`] | the life of an actor; what has not begun ends, what runs is told |
//! | [`follow_up`] | what follows from a step |
//! | [`giving`] | bodies are given memory |
//! | [`pending`] | why an object is not complete, in words |
//! | [`requests`] | what bodies ask for |
//! | [`completions`] | what workers have written is read |
//! | [`deaths`], [`starts`], [`deadlocks`] | processes end, or do not come up; waits that never end |
//! | [`enlarging`] | more workers |

pub(crate) mod acting;
pub(crate) mod answering;
pub(crate) mod cancelling;
pub(crate) mod completions;
pub(crate) mod deadlocks;
pub(crate) mod deaths;
pub(crate) mod enlarging;
pub(crate) mod finding;
pub(crate) mod follow_up;
pub(crate) mod giving;
pub(crate) mod pending;
pub(crate) mod placing;
pub(crate) mod posting;
pub(crate) mod recalling;
pub(crate) mod recording;
pub(crate) mod requests;
pub(crate) mod serving;
pub(crate) mod settling;
pub(crate) mod starts;
pub(crate) mod storing;
pub(crate) mod submitting;
