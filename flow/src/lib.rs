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
mod driver;
pub mod limits;
mod protocol;
mod worker;

/// The guide's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/flows.md")]
mod guide {}

pub use mailring_macros::{actor, node, nodes};

pub use api::actor::{ActorCall, ActorHandle, ActorOptions};
pub use api::call::{Call, Callee, IntoArgs, Node, call_remote};
pub use api::flow::{Builder, Flow, gather};
pub use api::into_arg::IntoArg;
pub use api::placement::PlacementGroup;
pub use api::reference::ObjectRef;
pub use api::shared::Shared;
pub use api::view::View;
pub use api::wait::{TrackedRef, WaitOptions, WaitSet, wait};
pub use protocol::cancel::{Cancel, CancelReport, EndedProcess, Found};
pub use protocol::codec::{Value, Viewable};
pub use protocol::error::{AppError, Cause, Error, TaskError};
pub use protocol::info::{ActorInfo, FlowStats, TaskView, WorkerInfo};
pub use protocol::options::{Packing, Strategy};
pub use protocol::pending::Pending;
pub use protocol::resources::Resources;
pub use worker::task::{Cancelled, TaskInfo, cancelled, sleep, task};

/// What expansions of the attributes name. Not for people.
#[doc(hidden)]
pub mod __private {
    pub use linkme;
    pub use serde;

    pub use crate::api::{probe, raise};
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
