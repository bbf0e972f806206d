//! A run as it was: calls, their attempts, and what each moment of a call was spent on. Times are
//! microseconds since the run began.

use serde_json::{Map, Value};

use crate::words::time;

/// What a moment was spent on. Those before `Resources` are their own index among the reasons of a
/// run; waits for resources have one for each set of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// From the submit to the last input.
    Inputs,
    Memory,
    Worker,
    Order,
    /// Ready, and nobody said what for it waits: the way to a worker.
    Overhead,
    SetUp,
    Running,
    /// An attempt that did not end well.
    Lost,
    /// From the end of an attempt to the beginning of the next.
    Retry,
    /// What no call accounts for: the program itself. In the critical path only.
    Program,
    Resources,
}

pub(super) const FIXED: [(Phase, &str, &str); 10] = [
    (Phase::Inputs, "inputs", "waiting for inputs"),
    (Phase::Memory, "memory", "waiting for memory"),
    (Phase::Worker, "worker", "waiting for a worker"),
    (Phase::Order, "order", "waiting its turn"),
    (Phase::Overhead, "overhead", "overhead"),
    (Phase::SetUp, "setup", "set-up"),
    (Phase::Running, "running", "running"),
    (Phase::Lost, "lost", "lost in failed attempts"),
    (Phase::Retry, "retry", "between attempts"),
    (Phase::Program, "program", "the program itself"),
];

/// A phase, and of which resources.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    pub(super) phase: Phase,
    /// For styles and JSON.
    pub(super) key: String,
    /// For people.
    pub(super) label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Index into `Run::reasons`.
    pub(super) reason: usize,
    pub(super) from: i64,
    pub(super) to: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed,
    Cancelled,
    /// From the cache, without running.
    Served,
    /// No end was recorded.
    Unfinished,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Served => "served",
            Self::Unfinished => "unfinished",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) worker: Option<usize>,
    pub(super) pid: Option<u64>,
    pub(super) start: i64,
    pub(super) setup_done: Option<i64>,
    pub(super) end: i64,
    pub(super) outcome: Outcome,
    /// Why it failed: kind and message.
    pub(super) error: Option<String>,
    pub(super) bytes_in: Option<u64>,
    pub(super) bytes_out: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: String,
    /// Index into `Run::functions`.
    pub(super) func: usize,
    pub(super) display_name: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) is_remote: bool,
    pub(super) caller: Option<usize>,
    /// Calls whose results are arguments.
    pub(super) deps: Vec<usize>,
    /// Inputs that the log does not know.
    pub(super) unknown_deps: usize,
    /// `cpus 1, board 1`
    pub(super) resources: String,
    pub(super) submitted: Option<i64>,
    pub(super) ready: Option<i64>,
    pub(super) attempts: Vec<Attempt>,
    /// All its time, in order.
    pub(super) spans: Vec<Span>,
    pub(super) outcome: Outcome,
    pub(super) end: i64,
    /// Why it failed, by whom it was cancelled, where it came from.
    pub(super) remark: Option<String>,
    pub(super) bypassed: Option<String>,
    /// Of a call that was done: what its body took, as its log says.
    pub(super) exec_s: Option<f64>,
    pub(super) extra: Map<String, Value>,
}

impl Call {
    /// When the log first knows of it.
    pub(super) fn begin(&self) -> i64 {
        self.submitted.or(self.attempts.first().map(|first| first.start)).unwrap_or(self.end)
    }

    pub(super) fn start(&self) -> Option<i64> {
        self.attempts.first().map(|first| first.start)
    }

    /// A node that a body, or a hook, called as an ordinary function: its time is its caller's.
    pub(super) fn is_inside(&self) -> bool {
        !self.is_remote && self.caller.is_some()
    }

    pub(super) fn retried(&self) -> bool {
        self.attempts.len() > 1
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    pub(super) id: String,
    pub(super) node: Option<String>,
    pub(super) resources: String,
    pub(super) pids: Vec<u64>,
    /// The process that began the run, not one of its workers.
    pub(super) is_program: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) at: i64,
    pub(super) worker: Option<usize>,
    pub(super) pid: Option<u64>,
    pub(super) how: String,
    pub(super) replaced_by: Option<String>,
}

/// What a body said by `log_event`, and what this program does not know.
#[derive(Clone, Debug)]
pub(super) struct Remark {
    pub(super) at: i64,
    pub(super) kind: String,
    pub(super) worker: Option<usize>,
    pub(super) fields: Map<String, Value>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) file: String,
    pub(super) number: usize,
    pub(super) runs_in_file: usize,
    pub(super) id: Option<String>,
    pub(super) program: Option<String>,
    pub(super) host: Option<String>,
    pub(super) pid: Option<u64>,
    pub(super) mode: Option<String>,
    pub(super) mailring: Option<String>,
    /// It has a header; logs of the reference have none.
    pub(super) header: bool,
    /// Its end was recorded.
    pub(super) ended: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) about: About,
    /// Microseconds since the epoch.
    pub(super) epoch: i64,
    pub(super) length: i64,
    pub(super) functions: Vec<String>,
    pub(super) workers: Vec<Worker>,
    pub(super) reasons: Vec<Reason>,
    /// In order of their beginning.
    pub(super) calls: Vec<Call>,
    pub(super) deaths: Vec<Death>,
    pub(super) remarks: Vec<Remark>,
    /// What is wrong with the log.
    pub(super) notes: Vec<String>,
}

impl Run {
    /// What a person calls it.
    pub(super) fn name<'a>(&'a self, call: &'a Call) -> &'a str {
        call.display_name.as_deref().unwrap_or(&self.functions[call.func])
    }

    pub(super) fn title(&self) -> &str {
        let program = self.about.program.as_deref().unwrap_or(&self.about.file);
        program.rsplit('/').next().unwrap_or(program)
    }

    /// Only the calls of some functions; edges to others are let go.
    pub(super) fn keep(&mut self, functions: &[String]) {
        let kept: Vec<_> =
            self.calls.iter().map(|call| functions.contains(&self.functions[call.func])).collect();
        let mut next = 0;
        let places: Vec<_> = kept
            .iter()
            .map(|kept| {
                next += usize::from(*kept);
                kept.then(|| next - 1)
            })
            .collect();
        let mut at = 0;
        self.calls.retain(|_| {
            at += 1;
            kept[at - 1]
        });
        for call in &mut self.calls {
            call.caller = call.caller.and_then(|caller| places[caller]);
            call.deps = call.deps.iter().filter_map(|&dep| places[dep]).collect();
        }
    }
}

/// For people: microseconds, which are whole in a log.
pub(super) fn duration(us: i64) -> String {
    match us.max(0) {
        us @ 0..1_000 => format!("{us} us"),
        us => time(us as f64 * 1e3),
    }
}

pub(super) fn deaths(count: usize) -> String {
    let plural = if count == 1 { "death of a worker" } else { "deaths of workers" };
    format!("{count} {plural}")
}
