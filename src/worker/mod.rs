//! Workers: what they run ([`Worker`], [`TaskContext`]), how they find it (`participant`), where
//! they live (`thread`, `process` behind `nursery`), and who looks after them (`supervisor`).

mod context;
mod functions;
mod gang;
pub(crate) mod nursery;
pub(crate) mod participant;
mod publish;
pub(crate) mod recover;
pub(crate) mod supervisor;

pub use context::{Cancelled, GroupContext, TaskContext};
pub(crate) use functions::{BoxError, Factory, Functions, describe, make};
pub(crate) use publish::Publisher;

use crate::abi::{CallConfig, TaskArgsView};

/// What a worker does with a task. The default worker calls registered functions; a runtime that
/// drives a device brings its own.
///
/// Made by a factory inside the worker's own process (or thread), so it may hold what cannot be
/// forked: a device context, a connection.
pub trait Worker {
    /// Runs one task to its end.
    ///
    /// # Errors
    /// Whatever is returned becomes the text of the task's failure; so does a panic.
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
