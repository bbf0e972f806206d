//! What is meant for workers: hints, sets of slots, doors, and the letters themselves.
//!
//! [`hint`] suggests tasks that any worker of a kind may take, [`bitmap`] holds what must not be
//! lost or is meant for one worker, [`door`] is how a worker sleeps, [`alarm`] how the supervisor
//! sleeps until a deadline, [`letter`] how a task's
//! arguments lie in shared memory. `cell` is the state of a call to one worker, and `bell` how its
//! reply is noticed; both serve flows. Nothing here knows a system call.

use crate::sync;

pub mod alarm;
#[cfg(feature = "flow")]
pub mod bell;
pub mod bitmap;
#[cfg(feature = "flow")]
pub mod cell;
pub mod door;
pub mod group;
pub mod hint;
pub mod letter;
