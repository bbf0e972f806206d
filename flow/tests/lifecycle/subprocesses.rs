//! Subprocesses of tasks: how they end with their task, and which live on.

#![allow(clippy::zombie_processes, reason = "what is not waited for is what is tested")]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailring::flow::{Cancel, CancelReport, Cause, EndedProcess, Flow, Found, ObjectRef, node};
use testkit::flow::{
    Files, append, assert_soon, await_lines, await_number, cause, flow, lines, worker_pids,
};
use testkit::{eventually, is_alive, kill, stat};

/// Says its number in the file, and goes on for long. Quoted for use inside of other scripts.
fn sleeper(pid: &str) -> String {
    format!("echo $$ > \"{pid}\"; exec sleep 100")
}

fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Runs a script and waits for it; then goes on until it is cancelled.
#[node]
fn run(script: &str) {
    let _ = shell(script).wait();
    let _ = mailring::flow::sleep(Duration::from_secs(50));
}

/// Waits until a script has become `sleep`.
#[track_caller]
fn asleep(path: &str) -> i32 {
    let pid = await_number(path);
    eventually("it sleeps", || name(pid) == "sleep");
    pid
}

fn name(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// Cancels, and sees that the task was running and that its value is gone.
#[track_caller]
fn cancel(flow: &Flow, task: &ObjectRef<()>, cancel: Cancel) -> CancelReport {
    let report = flow.cancel(task, cancel).unwrap();
    assert_eq!(report.found, Found::Running);
    let result = task.get_timeout(Duration::from_secs(20));
    let gone = result.as_ref().is_err_and(mailring::flow::Error::is_cancelled);
    assert!(gone, "{result:?} after: {report}");
    report
}

/// With the default grace: whoever heeds TERM makes nobody wait.
#[track_caller]
fn ends_by_term(flow: &Flow, task: &ObjectRef<()>, pid: i32) {
    let since = Instant::now();
    let report = cancel(flow, task, Cancel::default());
    assert_soon(since, "the cancel");
    assert!(!is_alive(pid));
    let sleep = EndedProcess { pid, name: "sleep".to_owned(), killed: false };
    assert!(report.ended.contains(&sleep), "{report:?}");
    assert!(report.ended.iter().all(|one| !one.killed), "{report:?}");
    assert!(report.to_string().contains(&format!("ended {pid} (sleep)")), "{report}");
}

#[track_caller]
fn script_ends_by_term(script: impl FnOnce(&str) -> String) {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("pid");
    let task = run::remote(&flow, script(&path)).unwrap();
    let pid = asleep(&path);
    ends_by_term(&flow, &task, pid);
}

pub(crate) fn a_child_gets_term() {
    script_ends_by_term(sleeper);
}

pub(crate) fn a_new_session_is_found() {
    script_ends_by_term(|path| format!("setsid sh -c '{}' & wait; sleep 0.1", sleeper(path)));
}

/// Its parent is gone before the task is cancelled.
pub(crate) fn a_double_fork_is_found() {
    script_ends_by_term(|path| format!("(setsid sh -c '{}' &)", sleeper(path)));
}

#[node]
fn run_in_thread(script: &str) {
    let script = script.to_owned();
    let helper = std::thread::spawn(move || shell(&script).wait());
    let _ = helper.join();
    let _ = mailring::flow::sleep(Duration::from_secs(50));
}

pub(crate) fn a_child_of_a_helper_thread_is_found() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("pid");
    let task = run_in_thread::remote(&flow, sleeper(&path)).unwrap();
    let pid = asleep(&path);
    ends_by_term(&flow, &task, pid);
}

pub(crate) fn who_ignores_term_is_killed() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("pid");
    let script = format!("trap '' TERM; echo $$ > \"{path}\"; while :; do sleep 0.05; done");
    let task = run::remote(&flow, script).unwrap();
    let pid = await_number(&path);
    let since = Instant::now();
    let grace = Duration::from_millis(300);
    let report = cancel(&flow, &task, Cancel::default().grace(grace));
    assert!(since.elapsed() >= grace, "{:?}", since.elapsed());
    assert_soon(since, "the cancel");
    let ended = report.ended.iter().find(|one| one.pid == pid);
    assert_eq!(ended.map(|one| (one.name.as_str(), one.killed)), Some(("sh", true)));
    assert!(report.to_string().contains(&format!("killed {pid} (sh)")), "{report}");
    assert!(!is_alive(pid));
    assert!(!report.worker_ended);
}

/// TERM comes before the worker is ended, and is waited for.
pub(crate) fn force_leaves_the_grace() {
    let (flow, files) = (flow(1), Files::new());
    let (path, termed) = (files.path("pid"), files.path("termed"));
    let script = format!(
        "trap 'sleep 0.2; echo term > \"{termed}\"; exit' TERM; echo $$ > \"{path}\"; \
         while :; do sleep 0.05; done"
    );
    let task = stubborn::remote(&flow, script).unwrap();
    let pid = await_number(&path);
    let report = cancel(&flow, &task, Cancel::forced());
    assert!(report.worker_ended, "{report}");
    assert_eq!(lines(&termed), ["term"], "{report}");
    let ended = report.ended.iter().find(|one| one.pid == pid).unwrap();
    assert!(!ended.killed && !is_alive(pid), "{report}");
}

#[node]
fn stubborn(script: &str) {
    let _child = shell(script);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

// ---- without a cancel -------------------------------------------------------------------------

/// Starts a child in a session of its own, and fails.
#[node]
fn fails(path: &str, how: &str) -> Result<(), String> {
    let mut command = Command::new("sleep");
    command.arg("100").stdin(Stdio::null());
    // SAFETY: one system call that takes nothing.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    append(path, &child.id().to_string());
    match how {
        "error" => Err("no".to_owned()),
        _ => panic!("no"),
    }
}

#[node]
fn look(path: &str, seen: &str) {
    append(seen, if is_alive(await_number(path)) { "alive" } else { "gone" });
}

pub(crate) fn a_failed_body_takes_them_with_it() {
    let (flow, files) = (flow(1), Files::new());
    for how in ["error", "panic"] {
        let (path, seen) = (files.path(how), files.path(&format!("{how} seen")));
        let call = fails::options().cleanup(&look::NODE, (&path, &seen));
        let result = call.remote_blocking(&flow, &path, how);
        assert!(!is_alive(await_number(&path)), "dead before the error arrives");
        assert_eq!(lines(&seen), ["gone"], "dead before the cleanup runs");
        match cause(result) {
            Cause::App(error) => assert_eq!((how, error.message.as_str()), ("error", "no")),
            Cause::Panicked { message, .. } => assert_eq!((how, message.as_str()), ("panic", "no")),
            other => panic!("{other}"),
        }
    }
}

#[node]
fn leaves() -> i32 {
    let child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap();
    child.id() as i32
}

pub(crate) fn a_body_that_returns_may_leave_them() {
    let (flow, files) = (flow(1), Files::new());
    let left = leaves::remote_blocking(&flow).unwrap();
    assert!(is_alive(left));
    // Another task of that worker is cancelled, and one fails: the first one's child is not theirs.
    let path = files.path("pid");
    let task = run::remote(&flow, sleeper(&path)).unwrap();
    let pid = asleep(&path);
    let report = cancel(&flow, &task, Cancel::default());
    assert!(!is_alive(pid) && is_alive(left));
    assert!(report.ended.iter().all(|one| one.pid != left), "{report}");
    let path = files.path("failing");
    cause(fails::remote_blocking(&flow, &path, "error"));
    assert!(!is_alive(await_number(&path)) && is_alive(left));
    drop(flow);
    eventually("it ends with the flow", || !is_alive(left));
}

pub(crate) fn they_go_with_their_worker() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("pid");
    let script = format!("setsid sh -c '{}' & sleep 100", sleeper(&path));
    let task = run::options().max_retries(0).remote(&flow, script).unwrap();
    let pid = asleep(&path);
    let since = Instant::now();
    kill(worker_pids(&flow)[0][0], libc::SIGKILL);
    assert!(matches!(cause(task.get()), Cause::WorkerCrashed(_)));
    eventually("the child is gone", || !is_alive(pid));
    assert_soon(since, "that");
}

#[node]
fn beside_a_zombie(path: &str) {
    let child = Command::new("true").spawn().unwrap();
    eventually("a zombie", || stat(child.id() as i32).is_some_and(|(state, _)| state == 'Z'));
    append(path, &child.id().to_string());
    let _ = mailring::flow::sleep(Duration::from_secs(50));
}

pub(crate) fn a_zombie_is_not_waited_for() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("pid");
    let task = beside_a_zombie::remote(&flow, &path).unwrap();
    await_lines(&path, 1);
    let since = Instant::now();
    let report = cancel(&flow, &task, Cancel::default());
    assert_soon(since, "the cancel");
    assert!(report.ended.is_empty(), "{report}");
}
