//! The sources of `mailbox` and of flows that have atomics in them, as they are.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the scenarios do not call everything; the package itself checks these"
)]

use super::sync;

#[path = "../../../src/mailbox/alarm.rs"]
pub mod alarm;
#[path = "../../../src/mailbox/batches.rs"]
pub mod batches;
#[path = "../../../src/mailbox/bitmap.rs"]
pub mod bitmap;
#[path = "../../../flow/src/protocol/cell.rs"]
pub mod cell;
#[path = "../../../src/mailbox/group.rs"]
pub mod group;
#[path = "../../../flow/src/protocol/notifier.rs"]
pub mod notifier;
#[path = "../../../src/mailbox/parked.rs"]
pub mod parked;
#[path = "../../../crates/process/src/parker.rs"]
pub mod parker;
#[path = "../../../src/mailbox/ready_queue.rs"]
pub mod ready_queue;
