//! The scenarios, the same for both checkers.

mod bitmap;
mod doors;
mod groups;
mod hints;
mod leases;
mod reclaim;
mod slots;
mod watch;
