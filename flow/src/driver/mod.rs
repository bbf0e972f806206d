//! The driver's side of a flow: one state of everything, under one lock, in private memory.
//!
//! Workers are given one task at a time and never see the state, so none of them can spoil it, and
//! the death of one loses nothing. Whoever waits in the driver does the work: a thread in `get`
//! reads completions, completes tasks and posts what follows, without any hop through another
//! thread. When none waits, the driver thread does it.
//!
//! What is known stands in [`parts`]; what happens is written as [`steps`] between them. A call is
//! read from `steps::submitting` over `placing`, `posting` and `completions` to `settling`.

mod backend;
mod build;
mod cache_thread;
mod cancel_threads;
mod host;
mod live;
mod local;
mod parts;
mod profiler;
mod shared;
mod signals;
mod steps;
mod thread;

pub(crate) use build::{Settings, launch};
pub(crate) use host::{Host, current};
pub(crate) use local::call_here;
pub use profiler::cost as profile_cost;
