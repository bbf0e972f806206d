//! The sources of the module `ring` that have atomics in them, as they are.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the scenarios do not call everything; the package itself checks these"
)]

use super::sync;

#[path = "../../../src/ring/slot.rs"]
pub mod slot;
#[path = "../../../src/ring/table.rs"]
pub mod table;
#[path = "../../../src/ring/word.rs"]
pub mod word;
