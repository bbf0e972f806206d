//! What these tests share: small flows, files in which bodies leave marks, a gate that bodies wait
//! at, and errors taken apart.

use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use mailring::flow::{AppError, Cause, Error, Flow, Resources, TaskError, cancelled, node};
use tempfile::TempDir;
use testkit::eventually;

/// Two workers of one cpu each.
pub(crate) fn two() -> Flow {
    workers(2)
}

/// One worker of one cpu.
pub(crate) fn one() -> Flow {
    workers(1)
}

/// So many workers of one cpu each.
pub(crate) fn workers(count: usize) -> Flow {
    let builder = Flow::builder().workers("cpu", count, Resources::cpus(1.0));
    builder.memory(64 << 20).build().unwrap()
}

/// The logical worker that a process belongs to. The list has a new process only after a moment.
#[track_caller]
pub(crate) fn worker_of(flow: &Flow, pid: u32) -> String {
    let mut found = None;
    eventually("the process is in the list of workers", || {
        let all = flow.workers().unwrap();
        let own = all.into_iter().find(|worker| worker.pids.contains(&(pid as i32)));
        found = own.map(|worker| worker.name);
        found.is_some()
    });
    found.unwrap_or_default()
}

/// Where a call runs: the process.
#[node]
pub(crate) fn pid_there() -> u32 {
    std::process::id()
}

// ---- marks ------------------------------------------------------------------------------------

/// A file to which bodies append lines.
pub(crate) struct Marks {
    directory: TempDir,
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> String {
        self.directory.path().join("marks").to_str().unwrap().to_owned()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        lines(Path::new(&self.path()))
    }

    pub(crate) fn count(&self) -> usize {
        self.lines().len()
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Appends a line, in one write, so that lines of different processes stay whole.
pub(crate) fn mark(path: &str, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Lines so far.
pub(crate) fn marks_at(path: &str) -> usize {
    lines(Path::new(path)).len()
}

/// In a body: waits until there are so many lines; false when that takes too long.
pub(crate) fn await_marks(path: &str, count: usize) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while marks_at(path) < count {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

// ---- a gate -----------------------------------------------------------------------------------

/// Bodies wait at it until it is opened, for one of them or for all.
pub(crate) struct Gate {
    directory: TempDir,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// Who has come, in order.
    pub(crate) fn begun(&self) -> Vec<String> {
        lines(&self.directory.path().join("begun"))
    }

    #[track_caller]
    pub(crate) fn await_begun(&self, count: usize) {
        eventually("so many bodies at the gate", || self.begun().len() >= count);
    }

    pub(crate) fn open(&self) {
        fs::write(self.directory.path().join("open"), "").unwrap();
    }

    pub(crate) fn open_for(&self, who: &str) {
        fs::write(self.directory.path().join(format!("open-{who}")), "").unwrap();
    }
}

/// Comes to the gate and waits there. True when it was opened, false when it was cancelled, or the
/// gate is gone.
#[node]
pub(crate) fn hold(gate: &str, who: &str) -> bool {
    let gate = Path::new(gate);
    mark(gate.join("begun").to_str().unwrap(), who);
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until && gate.exists() && !cancelled() {
        if gate.join("open").exists() || gate.join(format!("open-{who}")).exists() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

// ---- errors -----------------------------------------------------------------------------------

/// The failed task behind an error.
#[track_caller]
pub(crate) fn failed<T: Debug>(result: Result<T, Error>) -> TaskError {
    match result {
        Err(Error::Task(task)) => *task,
        other => panic!("expected a failed task, not {other:?}"),
    }
}

/// The error that a function returned.
#[track_caller]
pub(crate) fn app<T: Debug>(result: Result<T, Error>) -> AppError {
    match failed(result).cause {
        Cause::App(error) => error,
        other => panic!("expected an error of the function, not {other:?}"),
    }
}

/// A refusal because no worker could ever do it: what it needs, and why.
#[track_caller]
pub(crate) fn infeasible<T: Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Infeasible { needs, why, .. }) => (needs, why),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

/// Waits until all workers have all of what they advertise.
#[track_caller]
pub(crate) fn all_free(flow: &Flow) {
    let free = || flow.workers().unwrap().iter().all(|worker| worker.free == worker.total);
    eventually("resources are given back", free);
}
