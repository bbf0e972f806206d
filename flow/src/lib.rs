//! **Flows**: any function becomes a node, called here or on a worker process, chained by refs,
//! retried, cancelled.
//!
//! ```rust,standalone_crate
//! use mailring::flow::{Flow, Resources, node};
//!
//! #[node]
//! fn compile(source: &str) -> Vec<u8> {
//!     source.bytes().rev().collect()
//! }
//!
//! #[node(cpus = 2, resources(board = 1))]
//! fn run(image: &[u8], times: u32) -> Result<u64, String> {
//!     Ok(image.len() as u64 * u64::from(times))
//! }
//!
//! # fn main() -> Result<(), mailring::flow::Error> {
//! let flow = Flow::builder()
//!     .workers("cpu", 2, Resources::cpus(1.0))
//!     .workers("lab", 1, Resources::cpus(2.0).with("board", 1.0))
//!     .build()?;
//!
//! let here = compile("abc"); // an ordinary call
//! let image = compile::remote(&flow, "abc")?; // on a worker: a ref at once
//! let total = run::remote(&flow, &image, 3u32)?; // depends on it, by the ref
//! assert_eq!(image.get()?, here);
//! assert_eq!(total.get()?, 9);
//! # Ok(())
//! # }
//! ```
//!
//! The guide is `docs/flows.md`. A flow has worker processes of its own and needs no daemon and no
//! interpreter; everything ends with the driver, however that ends.

mod api;
pub mod cache;
mod config;
mod driver;
pub mod limits;
mod profile;
mod protocol;
mod worker;

/// The guide's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/flows.md")]
mod guide {}

pub use mailring_macros::{actor, node, nodes};

pub use api::config::Config;
pub use api::flow::{Builder, Flow};
pub use api::reference::ObjectRef;
pub use api::shared::Shared;
pub use api::view::View;
pub use api::wait::WaitSet;
pub use protocol::cancel::Cancel;
pub use protocol::error::Error;
pub use protocol::resources::Resources;

// Of the modules below; here as well, so that one line names what a program needs.
#[doc(hidden)]
pub use {
    actors::*,
    body::*,
    bypass::*,
    cache::{Budget, Cache},
    calls::*,
    errors::*,
    profiling::*,
    status::*,
    waits::*,
};

/// Calls: nodes as values, options of a call, where it runs.
pub mod calls {
    pub use crate::api::call::{Call, Callee, IntoArgs, Node, call_remote};
    pub use crate::api::flow::gather;
    pub use crate::api::into_arg::IntoArg;
    pub use crate::api::placement::PlacementGroup;
    pub use crate::protocol::codec::{Value, Viewable};
    pub use crate::protocol::options::{Packing, Strategy};
}

/// Bypass: something else runs in place of a function.
pub mod bypass {
    pub use crate::api::provide::ProvidesFor;
    pub use crate::config::call::{Bypassed, Condition, Dispatch};
}

/// Actors: values that live on a worker.
pub mod actors {
    pub use crate::api::actor::{ActorCall, ActorHandle, ActorOptions};
    pub use crate::protocol::info::ActorInfo;
}

/// Waiting for some of many refs, and finding tasks that are stuck.
pub mod waits {
    pub use crate::api::wait::{TrackedRef, WaitOptions, wait};
}

/// What a body can ask about itself.
pub mod body {
    pub use crate::worker::task::{Cancelled, TaskInfo, cancelled, sleep, task};
}

/// What calls and bodies can say for the profile ([`Flow::start_collector`]).
pub mod profiling {
    pub use crate::api::profile::log_event;
    pub use crate::profile::frames::add_info;
}

/// Why a task has no value.
pub mod errors {
    pub use crate::protocol::error::{AppError, Cause, TaskError};
}

/// What can be seen of a flow: tasks, workers, counters, reports of cancels.
pub mod status {
    pub use crate::api::progress::Progress;
    pub use crate::protocol::cancel::{CancelReport, EndedProcess, Found};
    pub use crate::protocol::info::{FlowStats, TaskView, WorkerInfo};
    pub use crate::protocol::pending::Pending;
    pub use crate::protocol::progress::{FunctionProgress, ProgressReport};
}

/// What most programs with flows need.
///
/// ```rust,standalone_crate
/// use mailring::flow::prelude::*;
///
/// #[node]
/// fn double(n: u64) -> u64 {
///     2 * n
/// }
///
/// # fn main() -> Result<(), Error> {
/// let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).build()?;
/// assert_eq!(double::remote(&flow, 21u64)?.get()?, 42);
/// # Ok(())
/// # }
/// ```
pub mod prelude {
    pub use crate::{
        Cache, Cancel, Config, Error, Flow, ObjectRef, Resources, Shared, WaitSet, actor, node,
        nodes,
    };
}

/// What expansions of the attributes name. Not for people.
#[doc(hidden)]
pub mod __private {
    pub use linkme;
    pub use serde;

    pub use crate::api::profile::{LocalCall, local_call};
    pub use crate::api::{probe, raise};
    pub use crate::cache::entry_or_not;
    pub use crate::driver::profile_cost;
    pub use crate::protocol::arg_writer::{ArgWriter, RawArgs};
    pub use crate::protocol::call_context::{ActorGuard, CallContext};
    pub use crate::protocol::codec::{Lend, Owned, from_outside_or_not, there_and_back};
    pub use crate::protocol::error::{BadArgument, Raised};
    pub use crate::protocol::node::{Kind, NODES, NodeDesc};
    pub use crate::{
        ActorCall, ActorHandle, ActorOptions, Call, Error, Flow, IntoArg, Node, ObjectRef,
    };

    /// What a function hands back that may fail.
    pub trait Fallible {
        /// If it does not.
        type Value;
    }

    impl<T, E> Fallible for Result<T, E> {
        type Value = T;
    }
}
