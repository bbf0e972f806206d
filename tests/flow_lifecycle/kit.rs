//! What these tests have in common: files in which bodies leave lines, gates, a task's error.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use mailring::flow::{Cause, Error, Flow, Resources, TaskError, node};
use testkit::eventually;

/// For what happens at once. A loaded machine needs more than a moment.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Workers of one cpu each.
pub(crate) fn flow(workers: usize) -> Flow {
    let builder = Flow::builder().workers("cpu", workers, Resources::cpus(1.0));
    builder.memory(64 << 20).build().unwrap()
}

/// Calls itself until nothing is left, and waits each time: so many bodies wait at once.
#[node]
pub(crate) fn depth(left: u32) -> Result<u32, Error> {
    if left == 0 {
        return Ok(0);
    }
    Ok(1 + depth::remote_blocking(&Flow::current()?, left - 1)?)
}

/// The processes of each worker: at least one, as soon as the flow knows it.
#[track_caller]
pub(crate) fn worker_pids(flow: &Flow) -> Vec<Vec<i32>> {
    let pids = || flow.workers().unwrap().into_iter().map(|one| one.pids).collect::<Vec<_>>();
    eventually("processes for all workers", || pids().iter().all(|pids| !pids.is_empty()));
    pids()
}

/// A directory for files that bodies and the test share.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// One more line, whole.
pub(crate) fn append(path: &str, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

pub(crate) fn lines(path: &str) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits until the file has so many lines.
#[track_caller]
pub(crate) fn await_lines(path: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in {path}"), || lines(path).len() >= count);
    lines(path)
}

/// The number in a file, once there is a whole line.
#[track_caller]
pub(crate) fn await_number(path: &str) -> i32 {
    let ends = || std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'));
    eventually(&format!("a number in {path}"), ends);
    lines(path)[0].trim().parse().unwrap()
}

/// Opens a gate at which bodies wait.
pub(crate) fn open_gate(path: &str) {
    std::fs::write(path, "open").unwrap();
}

/// In a body: waits until the gate is open.
pub(crate) fn pass_gate(path: &str) {
    eventually(&format!("the gate {path}"), || Path::new(path).exists());
}

/// Ends the calling process by a signal.
pub(crate) fn fall(signal: i32) {
    // SAFETY: passes no pointers.
    unsafe { libc::kill(libc::getpid(), signal) };
    std::thread::sleep(Duration::from_secs(20)); // it may take a moment to arrive
}

/// The failed task behind a result.
#[track_caller]
pub(crate) fn failed<T: std::fmt::Debug>(result: Result<T, Error>) -> TaskError {
    match result {
        Err(Error::Task(error)) => *error,
        other => panic!("expected a failed task, not {other:?}"),
    }
}

/// Why it failed.
#[track_caller]
pub(crate) fn cause<T: std::fmt::Debug>(result: Result<T, Error>) -> Cause {
    failed(result).cause
}

#[track_caller]
pub(crate) fn assert_soon(since: Instant, what: &str) {
    assert!(since.elapsed() < SOON, "{what} took {:?}", since.elapsed());
}
