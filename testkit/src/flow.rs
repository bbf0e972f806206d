//! For tests of flows: small flows, files that bodies and the test share, gates at which bodies
//! wait, nodes that many tests call, and errors taken apart.

use std::fmt::Debug;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use mailring::flow::{
    AppError, Builder, Cause, Error, Flow, Resources, TaskError, cancelled, node,
};
use tempfile::TempDir;

use crate::{eventually, kill};

/// For what happens at once. A loaded machine needs more than a moment.
pub const SOON: Duration = Duration::from_secs(5);

/// The options of a flow of so many workers of one cpu each.
pub fn builder(workers: usize) -> Builder {
    Flow::builder().workers("cpu", workers, Resources::cpus(1.0)).memory(64 << 20)
}

/// A flow of so many workers of one cpu each.
pub fn flow(workers: usize) -> Flow {
    builder(workers).build().expect("a flow")
}

/// The logical worker that a process belongs to. The list has a new process only after a moment.
#[track_caller]
pub fn worker_of(flow: &Flow, pid: i32) -> String {
    let mut found = None;
    eventually("the process is in the list of workers", || {
        let all = flow.workers().expect("the list of workers");
        found = all.into_iter().find(|worker| worker.pids.contains(&pid)).map(|own| own.name);
        found.is_some()
    });
    found.unwrap_or_default()
}

/// The processes of each worker: at least one, as soon as the flow knows it.
#[track_caller]
pub fn worker_pids(flow: &Flow) -> Vec<Vec<i32>> {
    let all = || flow.workers().expect("the list of workers");
    let pids = || all().into_iter().map(|one| one.pids).collect::<Vec<_>>();
    eventually("processes for all workers", || pids().iter().all(|pids| !pids.is_empty()));
    pids()
}

/// Waits until all workers have all of what they advertise.
#[track_caller]
pub fn all_free(flow: &Flow) {
    let all = || flow.workers().expect("the list of workers");
    eventually("resources are given back", || {
        all().iter().all(|worker| worker.free == worker.total)
    });
}

/// Fails when it took long.
#[track_caller]
pub fn assert_soon(since: Instant, what: &str) {
    assert!(since.elapsed() < SOON, "{what} took {:?}", since.elapsed());
}

// ---- nodes --------------------------------------------------------------------------------------

/// Where a call runs: the process.
#[node]
pub fn pid() -> i32 {
    std::process::id() as i32
}

/// The square of a number.
#[node]
pub fn square(n: u64) -> u64 {
    n * n
}

/// The sum of two numbers.
#[node]
pub fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Sleeps, deaf to a cancel, and says for how many milliseconds.
#[node]
pub fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

/// Calls itself until nothing is left, and waits each time: so many bodies wait at once.
#[node]
pub fn depth(left: u32) -> Result<u32, Error> {
    if left == 0 {
        return Ok(0);
    }
    Ok(1 + depth::remote_blocking(&Flow::current()?, left - 1)?)
}

/// Ends the calling process by a signal.
pub fn fall(signal: i32) {
    kill(std::process::id() as i32, signal);
    std::thread::sleep(Duration::from_secs(20)); // it may take a moment to arrive
}

// ---- files --------------------------------------------------------------------------------------

/// A directory for files that bodies and the test share.
pub struct Files(TempDir);

impl Files {
    /// An empty one, which goes when it is dropped.
    #[expect(clippy::new_without_default, reason = "a directory is made")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// The path of a file in it, whether it is there or not.
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a path of text").to_owned()
    }
}

/// One more line, in one write, so that lines of different processes stay whole.
pub fn append(path: &str, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect(path);
    file.write_all(format!("{line}\n").as_bytes()).expect(path);
}

/// The lines of a file; none, if it is not there.
pub fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits until the file has so many lines.
#[track_caller]
pub fn await_lines(path: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in {path}"), || lines(path).len() >= count);
    lines(path)
}

/// The number in a file, once there is a whole line.
#[track_caller]
pub fn await_number(path: &str) -> i32 {
    let ends = || fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'));
    eventually(&format!("a number in {path}"), ends);
    lines(path)[0].trim().parse().expect("a number")
}

/// Opens a gate at which bodies wait.
pub fn open_gate(path: &str) {
    fs::write(path, "open").expect(path);
}

/// In a body: waits until the gate is open.
pub fn pass_gate(path: &str) {
    eventually(&format!("the gate {path}"), || Path::new(path).exists());
}

// ---- a gate that knows who has come ---------------------------------------------------------------

/// Calls of [`hold()`] wait at it until it is opened, for one of them or for all.
pub struct Gate {
    directory: TempDir,
}

impl Gate {
    /// One that is closed.
    #[expect(clippy::new_without_default, reason = "a directory is made")]
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// What [`hold()`] is told.
    pub fn path(&self) -> &str {
        self.directory.path().to_str().expect("a path of text")
    }

    /// Who has come, in order.
    pub fn begun(&self) -> Vec<String> {
        lines(self.directory.path().join("begun").to_str().expect("a path of text"))
    }

    /// Waits until so many have come.
    #[track_caller]
    pub fn await_begun(&self, count: usize) {
        eventually("so many bodies at the gate", || self.begun().len() >= count);
    }

    /// Lets all pass.
    pub fn open(&self) {
        fs::write(self.directory.path().join("open"), "").expect("the gate");
    }

    /// Lets one pass.
    pub fn open_for(&self, who: &str) {
        fs::write(self.directory.path().join(format!("open-{who}")), "").expect("the gate");
    }
}

/// Comes to the gate and waits there. True when it was opened, false when it was cancelled, or the
/// gate is gone.
#[node]
pub fn hold(gate: &str, who: &str) -> bool {
    append(&format!("{gate}/begun"), who);
    let gate = Path::new(gate);
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until && gate.exists() && !cancelled() {
        if gate.join("open").exists() || gate.join(format!("open-{who}")).exists() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

// ---- errors -------------------------------------------------------------------------------------

/// The failed task behind an error.
#[track_caller]
pub fn failed<T: Debug>(result: Result<T, Error>) -> TaskError {
    match result {
        Err(Error::Task(task)) => *task,
        other => panic!("expected a failed task, not {other:?}"),
    }
}

/// Fails unless the call ended with its flow: what a body that was told to end returns then is not
/// a value.
#[track_caller]
pub fn assert_over<T: Debug>(result: Result<T, Error>) {
    let over = |error: &Error| matches!(error, Error::Closed(_)) || error.is_cancelled();
    assert!(result.as_ref().is_err_and(over), "{result:?}");
}

/// Why it failed.
#[track_caller]
pub fn cause<T: Debug>(result: Result<T, Error>) -> Cause {
    failed(result).cause
}

/// The error that a function returned.
#[track_caller]
pub fn app<T: Debug>(result: Result<T, Error>) -> AppError {
    match cause(result) {
        Cause::App(error) => error,
        other => panic!("expected an error of the function, not {other:?}"),
    }
}

/// A refusal because no worker could ever do it: what it needs, and why.
#[track_caller]
pub fn infeasible<T: Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Infeasible { needs, why, .. }) => (needs, why),
        other => panic!("expected a refusal, not {other:?}"),
    }
}
