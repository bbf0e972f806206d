//! The sources of the room `mailbox` that have atomics in them, as they are.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the scenarios do not call everything; the package itself checks these"
)]

use super::sync;

#[path = "../../../src/mailbox/alarm.rs"]
pub mod alarm;
#[path = "../../../src/mailbox/bell.rs"]
pub mod bell;
#[path = "../../../src/mailbox/bitmap.rs"]
pub mod bitmap;
#[path = "../../../src/mailbox/cell.rs"]
pub mod cell;
#[path = "../../../src/mailbox/door.rs"]
pub mod door;
#[path = "../../../src/mailbox/group.rs"]
pub mod group;
#[path = "../../../src/mailbox/hint.rs"]
pub mod hint;
