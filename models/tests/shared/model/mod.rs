//! The scenarios, the same for both checkers.

pub(crate) mod alarms;
pub(crate) mod bitmap;
pub(crate) mod calls;
pub(crate) mod doors;
pub(crate) mod groups;
mod hints;
mod leases;
mod reclaim;
mod slots;
mod watch;
