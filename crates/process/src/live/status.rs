//! What a page says. It is JSON in the page: fields that a reader does not know are passed over, and
//! those that it misses are empty.

use serde::{Deserialize, Serialize};

/// How an executor or a flow stands at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Which of the two.
    pub kind: Kind,
    /// The program: the name of its executable.
    pub program: String,
    /// The version of mailring in it.
    pub version: String,
    /// `process` or `thread`.
    pub mode: String,
    /// Seconds since the epoch when this was written.
    pub written: f64,
    /// Seconds since the publisher began.
    pub uptime: f64,
    /// It has ended in good order.
    pub ended: bool,
    /// Why it does not go on, if so.
    pub failure: Option<String>,
    /// Tasks completed in the last second.
    pub tasks_per_second: f64,
    /// Counters since it was built.
    pub totals: Totals,
    /// What is limited, and how much of it is taken.
    pub gauges: Vec<Gauge>,
    /// What is ready and waits for a worker.
    pub queues: Vec<Queue>,
    /// Those who run tasks.
    pub workers: Vec<WorkerStatus>,
    /// Workers beyond those above, for which the page had no room.
    pub workers_left_out: usize,
    /// What is not done, and why.
    pub waiting: Vec<Waiting>,
}

/// Which of the two front doors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An engine's executor.
    #[default]
    Executor,
    /// A flow.
    Flow,
}

impl Kind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Executor => "executor",
            Self::Flow => "flow",
        }
    }
}

/// Counters since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Tasks submitted.
    pub submitted: u64,
    /// Tasks that are through, whatever became of them.
    pub completed: u64,
    /// Workers that died.
    pub deaths: u64,
    /// Workers that replaced one.
    pub replaced: u64,
    /// Workers that were killed on purpose (deadlines, cancellation).
    pub killed: u64,
}

/// Something limited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gauge {
    /// What.
    pub name: String,
    /// How much is taken.
    pub used: f64,
    /// Of how much.
    pub limit: f64,
    /// `bytes`, or what is counted.
    pub unit: String,
}

/// Ready tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// For whom.
    pub name: String,
    /// How many, about.
    pub depth: u64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// Its name.
    pub name: String,
    /// Its process, 0 for a thread or none.
    pub pid: u32,
    /// In a word or two: running, looking, asleep, starting, gone.
    pub state: String,
    /// What it is inside of.
    pub work: Option<WorkerWork>,
    /// Bodies it has run, 0 where that is not counted.
    pub ran: u64,
    /// What it advertises, and what of that is free.
    pub resources: String,
}

/// What a worker runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerWork {
    /// The function.
    pub function: String,
    /// The task's number.
    pub task: u64,
    /// Seconds since the publisher first saw it there.
    pub seconds: f64,
}

/// Tasks that are not done, of one function and for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// The function, or who waits.
    pub function: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}
