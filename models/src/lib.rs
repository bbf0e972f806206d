//! The lock-free sources of mailring under two model checkers, with deaths.
//!
//! The files `src/ring/{word,slot,table}.rs` and
//! `src/mailbox/{alarm,batches,bitmap,cell,group,notifier,parker,ready_queue}.rs` of the main package are
//! compiled here twice more, unchanged: they take their atomics from a module `sync` beside them,
//! and here that module stands on loom (`tests/loom`) or on shuttle (`tests/shuttle`).
//!
//! ```text
//!              src/ring, src/mailbox
//!                ▲               ▲
//!          tests/loom      tests/shuttle      tests/shared: facade, deaths, small worlds,
//!   interleavings within     random and PCT                 and the scenarios, `model`
//!   a bound, weak memory,    schedules, all
//!   a death at any write,    atomics in one
//!   planted defects          order, a death
//!                            anywhere
//! ```
//!
//! A *death* is what SIGKILL does: the facade counts the operations of a model thread and unwinds
//! it, without running anything more of it, before the operation it was told. Loom runs a scenario
//! once for each possible point of death; shuttle draws the point for each schedule.
//!
//! What lies around the included sources, a worker's loop and the supervisor's pass over the slots,
//! is repeated in a few lines by the worlds (`world`, `queued`, `sleepers`, `call_cell`,
//! `group_pool`, `deadline_clock`). `model_planted` re-creates defects that the protocol avoids,
//! and asserts that the same checks find them.
//!
//! `cargo test model` runs all of it. With `-- --nocapture` the number of executions and of points
//! of death is printed for each scenario; `MODEL_MORE_PREEMPTIONS=1` raises loom's bounds and
//! `MODEL_SCHEDULES=100000` shuttle's number of schedules, for a longer run.
