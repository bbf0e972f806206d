//! A yardstick: the bare hot path of a scheduler of forked workers, and nothing else.
//!
//! One arena, one submitter, forked workers. The head of a task's list of consumers is in its state
//! word; a worker takes a task by one exchange; whoever completes a task releases its consumers; no
//! lock and no system call on the way. There is no check of arguments, no overlap of ranges, no
//! edge from a reader to a writer, no error, no recovery, no parking: an engine pays for those. The
//! figures of this loop beside those of an engine, in the same run, say how much.

mod arena;
mod submitter;
mod worker;

pub use submitter::Bare;
