//! How the processes of a flow begin, and how they are ended where the system refuses the usual
//! way: locks that are held at the fork, pidfds that are refused, a stopped fork server, a driver
//! that is the first process of its namespace.

use std::process::Command;
use std::time::{Duration, Instant};

use mailring::flow::{Cancel, Cause, Error, Flow, Resources, node};
use testkit::flow::{
    Files, append, assert_soon, await_lines, await_number, cause, failed, flow, square, worker_pids,
};
use testkit::harness::again;
use testkit::shortage::{children, refuse_calls};
use testkit::{eventually, is_alive, kill, parent_of};

#[node]
fn panics() {
    panic!("as it should");
}

#[node]
fn for_ever(begun: &str) {
    append(begun, &std::process::id().to_string());
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[node]
fn deep(kilobytes: u64) -> u64 {
    let block = std::hint::black_box([kilobytes as u8; 1024]);
    if kilobytes == 0 { 0 } else { deep(kilobytes - 1) + u64::from(block[3] & 1) }
}

pub(crate) fn a_panic_on_another_thread() {
    std::panic::set_hook(Box::new(|_| std::thread::sleep(Duration::from_millis(50))));
    let thread = std::thread::spawn(|| std::panic::catch_unwind(|| panic!("x")));
    std::thread::sleep(Duration::from_millis(10));
    let flow = flow(1);
    for _ in 0..2 {
        let nine = square::remote(&flow, 3).unwrap();
        assert_eq!(nine.get_timeout(Duration::from_secs(10)).unwrap(), 9);
        let why = cause(panics::remote(&flow).unwrap().get_timeout(Duration::from_secs(10)));
        let place = "flow/tests/lifecycle/start.rs";
        let said = matches!(&why, Cause::Panicked { message, at } if message.contains("should") && at.contains(place));
        assert!(said, "{why}");
        kill(worker_pids(&flow)[0][0], libc::SIGKILL);
    }
    assert!(thread.join().unwrap().is_err());
}

/// A deadline and a forced cancel, and a worker that was stopped.
fn kills_work(stop: bool) {
    let files = Files::new();
    let flow = flow(1);
    let begun = |name| files.path(name);
    let late = for_ever::options().deadline(Duration::from_millis(300)).remote(&flow, begun("a"));
    let since = Instant::now();
    assert!(matches!(
        cause(late.unwrap().get_timeout(Duration::from_secs(10))),
        Cause::Deadline(_)
    ));
    assert_soon(since, "the deadline");
    let task = for_ever::remote(&flow, begun("b")).unwrap();
    let pid = await_number(&begun("b"));
    flow.cancel(&task, Cancel::forced()).unwrap();
    assert!(!is_alive(pid), "a forced cancel returns when the killed are gone");
    assert!(task.get().is_err_and(|error| error.is_cancelled()));
    if !stop {
        return; // it takes a while
    }
    let stopped = worker_pids(&flow)[0][0];
    kill(stopped, libc::SIGSTOP);
    let nine = square::remote(&flow, 3).unwrap();
    assert_eq!(nine.get_timeout(Duration::from_secs(20)).unwrap(), 9);
    assert!(!is_alive(stopped));
}

pub(crate) fn pidfds_are_not_permitted() {
    refuse_calls(&[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal], libc::EPERM);
    kills_work(false);
}

pub(crate) fn pidfds_are_unknown() {
    refuse_calls(&[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal], libc::ENOSYS);
    kills_work(false);
}

pub(crate) fn signals_by_pidfd_are_not_permitted() {
    refuse_calls(&[libc::SYS_pidfd_send_signal], libc::EPERM);
    kills_work(false);
}

pub(crate) fn soak_a_stopped_worker_where_pidfds_are_not_permitted() {
    refuse_calls(&[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal], libc::EPERM);
    kills_work(true);
}

pub(crate) fn the_fork_server_is_stopped() {
    let files = Files::new();
    let flow = flow(2);
    let workers = worker_pids(&flow).concat();
    let fork_server = parent_of(workers[0]);
    kill(fork_server, libc::SIGSTOP);
    kill(workers[0], libc::SIGKILL);
    let since = Instant::now();
    let late =
        for_ever::options().deadline(Duration::from_millis(300)).remote(&flow, files.path("a"));
    let tasks: Vec<_> = (0..4).map(|n| square::remote(&flow, n).unwrap()).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.get_timeout(Duration::from_secs(10)).unwrap(), n * n);
    }
    assert!(matches!(
        cause(late.unwrap().get_timeout(Duration::from_secs(10))),
        Cause::Deadline(_)
    ));
    kill(fork_server, libc::SIGSTOP);
    drop(flow);
    assert_soon(since, "the end");
    assert!(!is_alive(fork_server));
}

pub(crate) fn the_fork_server_is_no_child() {
    let flow = flow(1);
    square::remote_blocking(&flow, 3).unwrap();
    assert_eq!(children(std::process::id() as i32), [0; 0]);
    // SAFETY: no pointers but a null one are passed.
    let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!((pid, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)));
}

/// No zombie is left, whichever way the fork server ends.
pub(crate) fn a_driver_to_which_orphans_come() {
    // SAFETY: passes no pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let own = std::process::id() as i32;
    drop(flow(2));
    assert_eq!(children(own), [0; 0]);
    let flow = flow(2);
    let fork_server = parent_of(worker_pids(&flow)[0][0]);
    kill(fork_server, libc::SIGKILL);
    eventually("it is closed", || matches!(square::remote(&flow, 1), Err(Error::Closed(_))));
    eventually("no zombie is left", || children(own).is_empty());
}

pub(crate) fn an_overflow_is_named() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(16 << 20);
    let flow = builder.stack_size(32 << 20).build().unwrap();
    deep::remote_blocking(&flow, 8 << 10).unwrap();
    let lost = deep::options().max_retries(0).remote(&flow, 100 << 10).unwrap();
    let error = failed(lost.get_timeout(Duration::from_secs(20)));
    println!("{error}");
    assert!(error.to_string().contains("stack overflowed"), "{error}");
}

/// The driver is the first process of a namespace of its own, as in a container: TERM cleans up, and
/// ends it.
pub(crate) fn terminated_as_the_first_process() {
    first("--mount-proc");
}

/// The same where `/proc` shows the processes outside.
pub(crate) fn terminated_as_the_first_process_without_its_proc() {
    first("--fork");
}

fn first(option: &str) {
    let files = Files::new();
    let ready = files.path("ready");
    let mut unshare = Command::new("unshare");
    // SAFETY: asks for a constant.
    if unsafe { libc::geteuid() } != 0 {
        unshare.arg("--map-root-user");
    }
    let role = again("role::first_process");
    unshare.args(["-pf", option]).arg(role.get_program());
    for (name, value) in role.get_envs() {
        unshare.env(name, value.unwrap());
    }
    let mut unshare = unshare.env("MAILRING_TEST_FILES", &ready).spawn().unwrap();
    await_lines(&ready, 1);
    let first = children(unshare.id() as i32)[0];
    let workers: Vec<i32> = descendants(first);
    assert!(workers.len() >= 2, "{workers:?}");
    let since = Instant::now();
    kill(first, libc::SIGTERM);
    let status = unshare.wait().unwrap();
    assert_soon(since, "the end");
    assert_eq!(status.code(), Some(128 + libc::SIGTERM), "{status}");
    eventually("all are gone", || workers.iter().all(|&pid| !is_alive(pid)));
}

fn descendants(pid: i32) -> Vec<i32> {
    let own = children(pid);
    let below: Vec<i32> = own.iter().flat_map(|&child| descendants(child)).collect();
    own.into_iter().chain(below).collect()
}

pub(crate) fn first_process() {
    assert_eq!(std::process::id(), 1);
    // SAFETY: the disposition that the test needs, whatever it was started with.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
    let flow = flow(2);
    assert_eq!(square::remote_blocking(&flow, 3).unwrap(), 9);
    append(&std::env::var("MAILRING_TEST_FILES").unwrap(), "ready");
    std::thread::sleep(Duration::from_secs(50));
}
