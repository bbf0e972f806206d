//! The scenarios, the same for both checkers.

pub(crate) mod alarms;
mod batches;
pub(crate) mod bitmap;
pub(crate) mod calls;
pub(crate) mod groups;
mod leases;
pub(crate) mod parking;
mod ready_queue;
mod reclaim;
mod slots;
mod watch;
