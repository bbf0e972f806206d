//! **mailring** runs a graph of tasks on forked worker processes of one host, through shared
//! memory, and survives the death of any worker at any instruction.
//!
//! ```text
//!  your process                         one arena (sealed memfd, mapped before the fork)
//! ┌──────────────┐  submit   ┌───────────────────────────────────────────────┐
//! │ orchestrator │──────────▶│ slots │ descriptors │ edges │ queues │ heaps   │
//! │ supervisor   │           └───────────────────────────────────────────────┘
//! └──────┬───────┘                 ▲ take, run, release consumers ▲
//!        │ pidfds            ┌─────┴────┐                   ┌─────┴────┐
//!   fork server ── forks ───▶│ worker 0 │       ...         │ worker N │
//!                            └──────────┘                   └──────────┘
//! ```
//!
//! A task is a function of slices and plain values. Dependencies are inferred from the bytes that
//! its arguments name.
//!
//! ```rust,standalone_crate
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mailring::prelude::*;
//! let mut builder = Executor::builder().workers(2);
//! let fill = builder.task("fill", |mut out: Out<u64>, value: u64| out.fill(value))?;
//! let add = builder.task("add", |x: In<u64>, y: In<u64>, mut sum: Out<u64>| {
//!     sum.iter_mut().zip(x.iter().zip(y.iter())).for_each(|(sum, (x, y))| *sum = x + y);
//! })?;
//! let exec = builder.build()?;
//! let [a, b, sum] = [exec.buffer(1000)?, exec.buffer(1000)?, exec.buffer(1000)?];
//! exec.run(|s| {
//!     s.spawn(fill, (&a, 1))?;
//!     s.spawn(fill, (&b, 100))?;
//!     s.spawn(add, (&a, &b, &sum)) // waits for both: it reads what they write
//! })?;
//! assert_eq!(sum.to_vec()?, [101; 1000]);
//! # Ok(())
//! # }
//! ```
//!
//! Begin with [`typed`], [`Executor::builder`] and [`Executor::run`]; what a closure of a run can
//! do is on [`Orchestrator`]. Below it lies the form without types: a *callable*, tensors with
//! tags, and scalars, which a function sees as a [`TaskArgsView`](abi::TaskArgsView).
//!
//! | module | contents |
//! | --- | --- |
#![cfg_attr(
    feature = "flow",
    doc = "| [`flow`] | functions as nodes: calls, refs, actors, waits |"
)]
//! | [`typed`] | tasks with typed parameters |
//! | [`executor`] | options, handles, runs that are ended by hand, levels |
//! | [`worker`] | workers of one's own, and what a body can ask |
//! | [`error`] | every error, with what it names |
//! | [`ids`] | numbers of tasks, workers and functions |
//! | [`abi`] | tensor descriptors, the argument blob, data types, callables |
//! | [`chip`] | workers that drive a chip through a runtime library |
//! | [`native`] | bodies in C |
//! | [`limits`] | every bound |
//!
//! Linux on x86-64 and aarch64.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("mailring needs Linux on x86-64 or aarch64");
#[cfg(target_endian = "big")]
compile_error!("mailring needs a little-endian machine: its byte layouts are those of the wire");

pub mod abi;
pub mod chip;
pub mod error;
pub mod executor;
pub mod ids;
pub mod limits;
pub mod typed;
pub mod worker;

// Public for their tests alone.
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod mailbox;
#[doc(hidden)]
pub mod ring;

/// Functions with the calling convention of C, as bodies of tasks: for bindings, and for what
/// [`Executor::register_library`] loads.
pub mod native {
    pub use crate::worker::native::{NativeContext, NativeFunction, call_native};
}

/// What a program with typed tasks needs.
pub mod prelude {
    pub use crate::typed::{In, InOut, Out, Task, View};
    pub use crate::{
        Buffer, Error, Executor, Mode, Orchestrator, TaskContext, TaskHandle, TaskOptions,
    };
}

mod segment;

#[cfg(feature = "flow")]
#[doc(inline)]
pub use mailring_flow as flow;

#[doc(inline)]
pub use error::{BuildError, Error};
#[doc(inline)]
pub use executor::{
    Bindings, Buffer, Builder, Executor, Mode, Orchestrator, Recording, RunHandle, TaskHandle,
    TaskOptions,
};
#[doc(inline)]
pub use worker::TaskContext;

// The rest has its place in the modules above; the short paths work as well.
#[doc(hidden)]
pub use error::{
    ArgumentError, ArgumentFault, FailureKind, InvalidHandle, InvalidOptions, InvalidReplay,
    Misuse, PinnedHeap, TaskFailure,
};
#[doc(hidden)]
pub use executor::{
    Bound, Hazards, Level, OpenRun, Priority, ReadGuard, Refused, Replayed, Stats, WaitStrategy,
    WriteGuard,
};
#[doc(hidden)]
pub use ids::{Callable, TaskId, WorkerId, WorkerKind};
#[doc(hidden)]
pub use worker::{Cancelled, GroupContext, Worker};
