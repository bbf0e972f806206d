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

mod actor;
mod args;
mod attach;
mod call;
mod cancel;
mod codec;
mod driver;
mod error;
pub mod limits;
mod memory;
mod node;
mod options;
mod output;
mod pending;
mod placement;
#[doc(hidden)]
pub mod probe;
mod protocol;
#[doc(hidden)]
pub mod raise;
mod reference;
mod resources;
mod stream;
mod value;
mod wait;
mod wire;
mod worker;

/// The guide's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/flows.md")]
mod guide {}

pub use mailring_macros::{actor, node, nodes};

pub use actor::{ActorCall, ActorHandle, ActorInfo, ActorOptions};
pub use args::IntoArg;
pub use call::{Call, call_remote};
pub use cancel::{Cancel, CancelReport, EndedProcess, Found};
pub use codec::{Value, Viewable};
pub use driver::Builder;
pub use error::{AppError, Cause, Error, TaskError};
pub use node::{Callee, IntoArgs, Node};
pub use options::Strategy;
pub use pending::Pending;
pub use placement::{Packing, PlacementGroup};
pub use reference::{ObjectRef, gather};
pub use resources::Resources;
pub use value::{Shared, View};
pub use wait::{TrackedRef, WaitOptions, WaitSet, wait};
pub use worker::context::{Cancelled, TaskInfo, cancelled, sleep, task};

/// What expansions of the attributes name. Not for people.
#[doc(hidden)]
pub mod __private {
    pub use linkme;
    pub use serde;

    pub use crate::args::{ArgWriter, RawArgs};
    pub use crate::attach::call;
    pub use crate::codec::{Lend, Owned, from_outside_or_not, there_and_back};
    pub use crate::error::{BadArgument, Raised};
    pub use crate::node::{Kind, NODES, NodeDesc};
    pub use crate::worker::call::{ActorGuard, CallContext};
    pub use crate::{
        ActorCall, ActorHandle, ActorOptions, Call, Error, Flow, IntoArg, Node, ObjectRef,
    };
    pub use crate::{probe, raise};

    /// What a function hands back that may fail.
    pub trait Fallible {
        /// If it does not.
        type Value;
    }

    impl<T, E> Fallible for Result<T, E> {
        type Value = T;
    }
}

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use args::ArgWriter;
use cancel::Target;
use driver::Host;
use node::{NodeDesc, by_name};
use options::Overrides;
use reference::{Handle, Side};

/// Who ends a flow: the last of its handles.
struct Owner {
    host: Arc<Host>,
    driver_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn new(host: Arc<Host>, driver_thread: JoinHandle<()>) -> Self {
        Self { host, driver_thread: Mutex::new(Some(driver_thread)) }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let driver_thread =
            self.driver_thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match driver_thread {
            Some(driver_thread) if self.host.is_own() => self.host.stop(driver_thread),
            driver_thread => std::mem::forget(driver_thread), // a copy in another process ends nothing
        }
    }
}

#[derive(Clone)]
enum Kind {
    Driver(Arc<Owner>),
    /// Found by a body: another's flow.
    Borrowed(Side),
}

/// Worker processes, and the tasks that they run. Clones are the same flow; it ends with the last
/// of them, and refs that are left say so.
///
/// In a body, [`Flow::current`] is the flow that runs it: a body may call nodes and wait for them.
#[derive(Clone)]
pub struct Flow(Kind);

/// Counters of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowStats {
    /// Tasks so far.
    pub tasks: u64,
    /// Those that are not complete.
    pub incomplete: usize,
    /// Objects: incomplete tasks, values, and errors in their place.
    pub objects: usize,
    /// Processes.
    pub processes: usize,
    /// Bytes for values, and how many of them are taken.
    pub memory: u64,
    /// See `memory`.
    pub memory_used: u64,
    /// Bytes of values in the spill file.
    pub spilled: u64,
}

/// A task that is not complete, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskView {
    /// Its number.
    pub task: u64,
    /// What it runs, or the name its caller gave it.
    pub name: String,
    /// What its caller tagged it with.
    pub tag: Option<String>,
    /// Where it stands.
    pub pending: Pending,
}

/// A logical worker, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// `group/index`.
    pub name: String,
    /// What it advertises.
    pub total: String,
    /// What of that is free.
    pub free: String,
    /// Its processes.
    pub pids: Vec<i32>,
}

impl Flow {
    /// The options of a flow.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn of(owner: Arc<Owner>) -> Self {
        Self(Kind::Driver(owner))
    }

    /// In a body: the flow that runs it. In the driver: the one that was built last.
    ///
    /// # Errors
    /// There is none.
    pub fn current() -> Result<Self, Error> {
        Side::current().map(|side| Self(Kind::Borrowed(side)))
    }

    fn side(&self) -> Side {
        match &self.0 {
            Kind::Driver(owner) => Side::Host(Arc::clone(&owner.host)),
            Kind::Borrowed(side) => side.clone(),
        }
    }

    fn host(&self, what: &str) -> Result<Arc<Host>, Error> {
        match self.side() {
            Side::Host(host) => host.check().map(|()| host),
            Side::Worker(_) => {
                Err(Error::Invalid(format!("`{what}` is for the driver, not for a body")))
            }
        }
    }

    /// What a ref is known by, if it is of this flow.
    fn own<T>(&self, reference: &ObjectRef<T>) -> Result<u64, Error> {
        if reference.handle().stamp() == self.side().stamp() {
            return Ok(reference.handle().id());
        }
        Err(Error::Invalid(codec::FOREIGN.to_owned()))
    }

    fn dispatch<R>(
        &self,
        node: &'static NodeDesc,
        overrides: Option<&Overrides>,
        put: &mut dyn FnMut(&mut ArgWriter),
    ) -> Result<ObjectRef<R>, Error> {
        attach::dispatched(node);
        let side = self.side();
        let mut writer = ArgWriter::new(side.clone());
        put(&mut writer);
        let handle = match side {
            Side::Host(host) => {
                let name = host.dispatch(node, overrides, writer, None)?;
                Handle::counted(name, Side::Host(host))
            }
            Side::Worker(connection) => connection.dispatch(node, overrides, writer, None)?,
        };
        Ok(ObjectRef::new(handle))
    }

    /// Calls a node by its full name, or by the last part of it if that is enough. Each argument is
    /// an item of MessagePack, as other languages and `rmp_serde::to_vec_named` write it. The bytes
    /// are decoded once here, so that wrong ones are refused at once.
    ///
    /// # Errors
    /// No node has this name, or an argument is not what the node takes, or names a ref.
    pub fn call_by_name<R>(&self, name: &str, args: &[&[u8]]) -> Result<ObjectRef<R>, Error> {
        let node = by_name(name)?;
        let bad = |index: usize, why: String| Error::BadArgument {
            node: node.name.to_owned(),
            index,
            name: node.params.get(index).map_or_else(String::new, ToString::to_string),
            why,
        };
        if args.len() != node.params.len() {
            let why = format!("{} arguments for {} parameters", args.len(), node.params.len());
            return Err(bad(args.len().min(node.params.len()), why));
        }
        let mut encoded = Vec::with_capacity(args.len());
        for (index, arg) in args.iter().enumerate() {
            let value = codec::from_outside(arg);
            encoded.push(value.map_err(|fault| bad(index, fault.to_string()))?);
        }
        let parts: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
        (node.check)(&args::RawArgs(&parts)).map_err(|error| bad(error.index, error.why))?;
        self.dispatch(node, None, &mut |writer| parts.iter().for_each(|arg| writer.encoded(arg)))
    }

    /// Puts a value where workers find it: once, for many calls that take its ref.
    ///
    /// # Errors
    /// It cannot be encoded, or would not arrive as it is; there is no memory.
    pub fn put<T: Value>(&self, value: &T) -> Result<ObjectRef<T>, Error> {
        let side = self.side();
        let mut writer = ArgWriter::new(side.clone());
        writer.value(value);
        let handle = match side {
            Side::Host(host) => host.put(writer)?,
            Side::Worker(connection) => {
                connection.dispatch(&reference::SAME, None, writer, None)?
            }
        };
        Ok(ObjectRef::new(handle))
    }

    /// All values, in order.
    ///
    /// # Errors
    /// The first failure that is there, without waiting for the rest.
    pub fn get_all<T: DeserializeOwned>(&self, refs: &[ObjectRef<T>]) -> Result<Vec<T>, Error> {
        self.get_all_until(refs, None)
    }

    /// The same, at most for `timeout`.
    ///
    /// # Errors
    /// As for [`get_all`](Self::get_all), and [`Error::Timeout`].
    pub fn get_all_timeout<T: DeserializeOwned>(
        &self,
        refs: &[ObjectRef<T>],
        timeout: Duration,
    ) -> Result<Vec<T>, Error> {
        self.get_all_until(refs, Instant::now().checked_add(timeout))
    }

    fn get_all_until<T: DeserializeOwned>(
        &self,
        refs: &[ObjectRef<T>],
        until: Option<Instant>,
    ) -> Result<Vec<T>, Error> {
        let ids = refs.iter().map(|one| self.own(one)).collect::<Result<Vec<u64>, _>>()?;
        match self.side() {
            Side::Host(host) => host.get_all(&ids, until),
            Side::Worker(connection) => connection.get_all(&ids, until),
        }
    }

    /// Cancels a task, and what its body has called and nobody else holds. One that has not begun
    /// never will; the body of one that runs is told, and with `force` ended with its worker. In
    /// both cases what it has started ends: TERM, a grace, KILL. What was complete stays.
    ///
    /// With `force` it returns when the killed are gone.
    ///
    /// # Errors
    /// `force` on a call of an actor; the flow is closed.
    pub fn cancel<T>(&self, task: &ObjectRef<T>, cancel: Cancel) -> Result<CancelReport, Error> {
        let id = self.own(task)?;
        self.cancel_one(&Target::Refs(vec![id]), cancel)
    }

    /// The same for the task with this number, as [`tasks`](Self::tasks), errors and
    /// [`task`](task()) in a body name it, whoever has a ref to it.
    ///
    /// # Errors
    /// No task has had this number yet; `force` on a call of an actor; the flow is closed.
    pub fn cancel_task(&self, number: u64, cancel: Cancel) -> Result<CancelReport, Error> {
        self.cancel_one(&Target::Number(number), cancel)
    }

    /// The same for many tasks at once: what has not begun is cancelled first, in whatever order
    /// they are given, so that none of them begins only because another has ended. The reports are
    /// in the order of the refs.
    ///
    /// # Errors
    /// As for [`cancel`](Self::cancel); nothing is cancelled then.
    pub fn cancel_many<T>(
        &self,
        tasks: &[ObjectRef<T>],
        cancel: Cancel,
    ) -> Result<Vec<CancelReport>, Error> {
        let ids = tasks.iter().map(|one| self.own(one)).collect::<Result<Vec<u64>, _>>()?;
        self.cancel_by(&Target::Refs(ids), cancel)
    }

    /// Cancels all tasks that are not complete, by whomever they were called, what has not begun
    /// first. Actors live on, also those that are being made; their calls are cancelled, but never
    /// by force. The reports are in the order of the tasks' numbers.
    ///
    /// # Errors
    /// The flow is closed; called by a body.
    pub fn cancel_all(&self, cancel: Cancel) -> Result<Vec<CancelReport>, Error> {
        self.host("cancel_all")?.cancel(&Target::All, cancel)
    }

    fn cancel_by(&self, target: &Target, cancel: Cancel) -> Result<Vec<CancelReport>, Error> {
        match self.side() {
            Side::Host(host) => host.cancel(target, cancel),
            Side::Worker(connection) => connection.cancel(target, cancel),
        }
    }

    fn cancel_one(&self, target: &Target, cancel: Cancel) -> Result<CancelReport, Error> {
        let report = self.cancel_by(target, cancel)?.pop();
        report.ok_or_else(|| Error::Closed("a cancel was answered with nothing".to_owned()))
    }

    /// Why a task has no value yet.
    ///
    /// # Errors
    /// The flow is closed, or the ref is of another one.
    pub fn pending<T>(&self, task: &ObjectRef<T>) -> Result<Pending, Error> {
        let id = self.own(task)?;
        match self.side() {
            Side::Host(host) => host.pending(id),
            Side::Worker(connection) => connection.pending(id),
        }
    }

    /// Gives values up, whoever has refs to them: who asks for one from now on is told that it is
    /// lost. Its memory comes back when no ref is left, as others may be reading it.
    ///
    /// # Errors
    /// Called by a body.
    pub fn free<T>(&self, refs: &[ObjectRef<T>]) -> Result<(), Error> {
        let host = self.host("free")?;
        refs.iter().try_for_each(|one| host.lose(self.own(one)?))
    }

    /// Reserves bundles of resources at once, as soon as they are free.
    ///
    /// # Errors
    /// The workers could never hold them; an invalid quantity; called by a body.
    pub fn placement_group(
        &self,
        bundles: &[Resources],
        packing: Packing,
    ) -> Result<PlacementGroup, Error> {
        let host = self.host("placement_group")?;
        let id = host.add_group(bundles, packing)?;
        Ok(PlacementGroup::new(id, host))
    }

    /// More workers. Tasks that waited for such go on.
    ///
    /// # Errors
    /// An invalid name or quantity; called by a body.
    pub fn add_workers(&self, group: &str, count: usize, each: &Resources) -> Result<(), Error> {
        self.host("add_workers")?.add_workers(group, count, each)
    }

    /// The logical workers.
    ///
    /// # Errors
    /// Called by a body.
    pub fn workers(&self) -> Result<Vec<WorkerInfo>, Error> {
        Ok(self.host("workers")?.workers())
    }

    /// The tasks that are not complete, in the order in which they were called.
    ///
    /// # Errors
    /// Called by a body.
    pub fn tasks(&self) -> Result<Vec<TaskView>, Error> {
        Ok(self.host("tasks")?.tasks())
    }

    /// Counters.
    ///
    /// # Errors
    /// Called by a body.
    pub fn stats(&self) -> Result<FlowStats, Error> {
        Ok(self.host("stats")?.stats())
    }
}
