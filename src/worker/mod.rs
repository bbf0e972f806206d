//! Workers: what runs tasks ([`Worker`]), and what a body can ask about the task it runs
//! ([`TaskContext`]).

// How a worker finds tasks is in `participant`, where it lives in `life`, who looks after it in
// `supervisor`.
mod context;
pub(crate) mod elf;
mod functions;
mod groups;
pub(crate) mod health;
pub(crate) mod imports;
pub(crate) mod inherited_memory;
mod levels;
pub(crate) mod library;
pub(crate) mod life;
mod look;
pub(crate) mod native;
pub(crate) mod participant;
pub(crate) mod processes;
mod publish;
pub(crate) mod recover;
mod stream;
pub(crate) mod supervisor;
pub(crate) mod times;
mod words;

pub use context::{Cancelled, GroupContext, TaskContext};
pub(crate) use functions::{Factory, Functions, make};
pub(crate) use publish::Publisher;
pub(crate) use words::{BoxError, Words};

use mailring_process::reach;

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

    /// The number behind an error of [`run`](Self::run), where the callable returned one:
    /// [`TaskFailure::returned`](crate::TaskFailure::returned). A worker that wraps another one
    /// passes the question on.
    fn return_code(&self, error: &(dyn std::error::Error + 'static)) -> Option<i32> {
        let _ = error;
        None
    }

    /// Runs a callable on arguments in their encoded form, outside of any task: a loop of one's
    /// own that receives blobs, or a test.
    ///
    /// ```
    /// use mailring::abi::{CallConfig, TaskArgs, TaskArgsView, write_blob};
    /// use mailring::{TaskContext, Worker};
    ///
    /// struct Sum(u64);
    /// impl Worker for Sum {
    ///     fn run(
    ///         &mut self,
    ///         _callable: u64,
    ///         args: TaskArgsView<'_>,
    ///         _config: &CallConfig,
    ///         _context: &TaskContext<'_>,
    ///     ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ///         self.0 += args.scalars().iter().sum::<u64>();
    ///         Ok(())
    ///     }
    /// }
    /// let mut words = [0u64; 3];
    /// write_blob(&TaskArgs::new().scalar(4).scalar(5), bytemuck::cast_slice_mut(&mut words))?;
    /// let mut sum = Sum(0);
    /// // SAFETY: the blob names no tensors.
    /// unsafe { sum.run_from_blob(0, bytemuck::cast_slice(&words), &CallConfig::default()) }?;
    /// assert_eq!(sum.0, 9);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are no blob ([`AbiError`](crate::abi::AbiError)), or what the callable returned.
    ///
    /// # Safety
    /// Tensors in the blob that the callable touches are memory of this process, and nobody else
    /// writes them meanwhile.
    unsafe fn run_from_blob(
        &mut self,
        callable: u64,
        blob: &[u8],
        config: &CallConfig,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let args = crate::abi::read_blob(blob)?;
        reach::trusting(|| self.run(callable, args, config, &TaskContext::detached()))
    }
}
