//! What can be seen of a flow from outside.

use super::pending::Pending;

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
    /// Calls whose result came from the cache.
    pub served: u64,
    /// Calls that were bypassed.
    pub bypassed: u64,
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

/// What is known of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActorInfo {
    /// Its process, while it has one.
    pub pid: Option<i32>,
    /// Whether it takes calls.
    pub alive: bool,
    /// How often it was made again.
    pub restarts: u32,
}
