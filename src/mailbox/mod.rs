//! What is meant for workers: ready queues, sets of slots, parkers, and the task descriptors.
//!
//! [`ready_queue`] suggests tasks that any worker of a kind may take, [`batches`] lets several do so side
//! by side, [`bitmap`] holds what must not be lost or is meant for one worker, [`parked`] is how a worker
//! sleeps, [`alarm`] how the supervisor sleeps until a deadline, [`descriptor`] how a task's arguments
//! lie in shared memory. `cell` is the state of a call to one worker, and `notifier` how its completion
//! is noticed; both serve flows. Nothing here knows a system call.

use mailring_process::{parker, sync};

pub mod alarm;
pub mod batches;
pub mod bitmap;
pub mod descriptor;
pub mod group;
pub mod parked;
pub mod ready_queue;
