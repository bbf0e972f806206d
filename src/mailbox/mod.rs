//! What is meant for workers: hints, sets of slots, doors, and the letters themselves.
//!
//! [`hint`] suggests tasks that any worker of a kind may take, [`bitmap`] holds what must not be
//! lost or is meant for one worker, [`door`] is how a worker sleeps, [`letter`] how a task's
//! arguments lie in shared memory. Nothing here knows a system call.

use crate::sync;

pub mod bitmap;
pub mod door;
pub mod group;
pub mod hint;
pub mod letter;
