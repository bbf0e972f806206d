//! The lock-free sources of mailring under two model checkers, with deaths.
//!
//! The files `src/ring/{word,slot,table}.rs` and `src/mailbox/{hint,bitmap,door,group}.rs` of the
//! main package are compiled here twice more, unchanged: they take their atomics from a module
//! `sync` beside them, and here that module stands on loom (`on_loom`) or on shuttle
//! (`on_shuttle`).
//!
//! ```text
//!            src/ring, src/mailbox
//!              ▲               ▲            shared/: facade, deaths, a small world, scenarios
//!   on_loom::sync     on_shuttle::sync
//!   all interleavings  random and PCT schedules,
//!   within a bound,    all atomics sequentially
//!   weak memory        consistent, deaths anywhere
//! ```
//!
//! A *death* is what SIGKILL does: the facade counts the operations of a model thread and unwinds
//! it, without running anything more of it, before the operation it was told. Loom runs a scenario
//! once for each possible point of death; shuttle draws the point for each schedule.
//!
//! `planted` re-creates defects that the protocol avoids, and asserts that the same checks find
//! them.
//!
//! Everything is a test; `cargo test model` runs all of it, with `-- --nocapture` the number of
//! executions and points of death of each scenario is printed.

#![allow(clippy::duplicate_mod, reason = "the same sources against two checkers is what this is for")]

#[cfg(test)]
#[path = "../../src/limits.rs"]
#[allow(dead_code, unreachable_pub, reason = "only the sources included here use it")]
mod limits;

#[cfg(test)]
mod on_loom;
#[cfg(test)]
mod on_shuttle;
