//! Why a task has no value yet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a task stands. Ask any ref with [`Flow::pending`](crate::Flow::pending).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Pending {
    /// Its value is there, or the error in its place.
    Complete,
    /// Its body runs.
    Running {
        /// Where.
        worker: String,
    },
    /// It stands at a worker, behind tasks of the same kind.
    AtWorker {
        /// Which.
        worker: String,
    },
    /// It waits for the value of another task.
    Upstream {
        /// That task's number.
        task: u64,
        /// What it runs.
        name: String,
    },
    /// No worker has all that it needs free.
    Resources {
        /// What it needs.
        needs: String,
        /// What is free, worker by worker.
        free: String,
    },
    /// No worker could ever run it, and its caller said to wait.
    Infeasible {
        /// What is missing.
        why: String,
    },
    /// All processes are taken, and no more may be forked.
    NoProcess {
        /// The limit.
        limit: usize,
    },
    /// There is no memory for its arguments.
    Memory,
    /// The actor runs an earlier call, or is being made.
    Actor {
        /// What it does.
        why: String,
    },
    /// Its result is looked for in the cache.
    Cache,
    /// It is tried again in a moment.
    Retry {
        /// Attempts so far.
        attempts: u32,
    },
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Running { worker } => write!(f, "running on {worker}"),
            Self::AtWorker { worker } => write!(f, "next on {worker}"),
            Self::Upstream { task, name } => write!(f, "waits for `{name}` (task {task})"),
            Self::Resources { needs, free } => write!(f, "needs {needs}; free: {free}"),
            Self::Infeasible { why } => write!(f, "can never run: {why}"),
            Self::NoProcess { limit } => write!(f, "all {limit} processes are taken"),
            Self::Memory => f.write_str("waits for memory"),
            Self::Cache => f.write_str("is looked for in the cache"),
            Self::Actor { why } => f.write_str(why),
            Self::Retry { attempts } => write!(f, "is tried again after {attempts} attempts"),
        }
    }
}
