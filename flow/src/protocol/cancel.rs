//! Cancelling: what is asked for, and what came of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// End the worker if the task runs; it is replaced. Otherwise the body is told, and a call that
    /// blocks it is interrupted.
    pub force: bool,
    /// How long subprocesses of the task have after TERM before they get KILL.
    pub grace: Duration,
}

impl Default for Cancel {
    fn default() -> Self {
        Self { force: false, grace: Duration::from_secs(25) }
    }
}

impl Cancel {
    /// With the worker, if need be.
    pub fn forced() -> Self {
        Self { force: true, ..Self::default() }
    }

    /// The same with another grace.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

/// Which tasks are to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// Those of these refs.
    Refs(Vec<u64>),
    /// The one with this number.
    Number(u64),
    /// All that are not complete, but for the constructors of actors.
    All,
}

/// A process that was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedProcess {
    /// Its number.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// Whether TERM was not enough.
    pub killed: bool,
}

/// What a cancel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Found {
    /// It had not begun, and never will.
    Queued,
    /// Its body ran, and has been told (or ended with its worker).
    Running,
    /// It was complete: nothing has changed.
    Finished,
}

/// What a cancel did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelReport {
    /// The number of the task.
    pub task: u64,
    /// Where it stood.
    pub found: Found,
    /// Subprocesses of the task that were ended.
    pub ended: Vec<EndedProcess>,
    /// Whether its worker was ended.
    pub worker_ended: bool,
}

impl fmt::Display for CancelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Found::Queued => write!(f, "task {} had not begun", self.task)?,
            Found::Running => write!(f, "task {} was running", self.task)?,
            Found::Finished => write!(f, "task {} was complete", self.task)?,
        }
        if self.worker_ended {
            f.write_str("; its worker was ended")?;
        }
        for one in &self.ended {
            let how = if one.killed { "killed" } else { "ended" };
            write!(f, "; {how} {} ({})", one.pid, one.name)?;
        }
        Ok(())
    }
}
