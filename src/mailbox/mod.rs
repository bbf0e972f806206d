//! What is meant for workers: ready queues, sets of slots, parkers, and the task descriptors.
//!
//! [`ready_queue`] suggests tasks that any worker of a kind may take, [`bitmap`] holds what must not be
//! lost or is meant for one worker, [`parker`] is how a worker sleeps, [`alarm`] how the supervisor
//! sleeps until a deadline, [`descriptor`] how a task's arguments lie in shared memory. `cell` is
//! the state of a call to one worker, and `notifier` how its completion is noticed; both serve
//! flows. Nothing here knows a system call.

use crate::sync;

pub mod alarm;
pub mod bitmap;
#[cfg(feature = "flow")]
pub mod cell;
pub mod descriptor;
pub mod group;
#[cfg(feature = "flow")]
pub mod notifier;
pub mod parker;
pub mod ready_queue;
