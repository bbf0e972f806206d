//! A run that is opened and closed by hand, for callers that cannot pass a closure.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::orchestrator::Orchestrator;
use super::recording::Recording;
use super::run::RunHandle;
use super::run_state::RunState;
use super::submit_lock::SubmitGuard;
use crate::error::Error;

/// A run between its begin and its end; what it can do is on [`Orchestrator`].
///
/// No other run of the executor begins while it lives. It may be moved to another thread, which
/// must then not begin a run of the same executor itself: that would wait for ever. Dropping it
/// closes the run without waiting for its tasks.
///
/// ```rust,standalone_crate
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mailring::abi::{CallConfig, TaskArgs};
/// let mut builder = mailring::Executor::builder().workers(1);
/// let set = builder.register("set", |args, _config, _context| args.set(0, 0, 7u64))?;
/// let exec = builder.build()?;
/// let cell = exec.buffer::<u64>(1)?;
/// let mut run = exec.begin()?;
/// run.submit(set, TaskArgs::new().output(&cell), CallConfig::default())?;
/// run.end()?;
/// assert_eq!(cell.to_vec()?, [7]);
/// # Ok(())
/// # }
/// ```
pub struct OpenRun {
    held: SubmitGuard,
    run: Arc<RunState>,
}

impl OpenRun {
    pub(super) fn begin(mut held: SubmitGuard) -> Result<Self, Error> {
        let run = held.open_run()?;
        Ok(Self { held, run })
    }

    /// Records the run from here on: see [`Executor::record`](crate::Executor::record).
    ///
    /// # Errors
    /// [`Error::Replay`]: the run has tasks or scopes already, or is recorded already.
    pub fn record(&mut self) -> Result<(), Error> {
        self.held.begin_recording()
    }

    /// Closes a run that is recorded and waits for all its tasks.
    ///
    /// # Errors
    /// [`Error::Replay`]: it is not recorded, or cannot be replayed; as [`end`](Self::end).
    pub fn end_recorded(mut self) -> Result<Recording, Error> {
        let recording = self.held.end_recording();
        self.end()?;
        recording
    }

    /// Closes the run and waits for all its tasks.
    ///
    /// # Errors
    /// The first root failure of the run in the order of submission.
    pub fn end(mut self) -> Result<(), Error> {
        let run = Arc::clone(&self.run);
        self.held.close_run(&run);
        self.held.finish_run(&run)
    }

    /// Closes the run without waiting.
    pub fn detach(mut self) -> RunHandle {
        let run = Arc::clone(&self.run);
        self.held.close_run(&run);
        self.held.detached(run)
    }
}

impl Deref for OpenRun {
    type Target = Orchestrator;

    fn deref(&self) -> &Orchestrator {
        &self.held
    }
}

impl DerefMut for OpenRun {
    fn deref_mut(&mut self) -> &mut Orchestrator {
        &mut self.held
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        let run = Arc::clone(&self.run);
        self.held.close_run(&run); // does nothing the second time
    }
}
