//! Ctrl-C and TERM at the driver: what its tasks have started gets TERM and a grace, then it ends
//! as the signal would have it. A second one does not wait, and a program's own handlers stay.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::flow::{Flow, Resources};

use crate::driver::{all_gone, announce, script, shared, start};
use testkit::flow::{Files, assert_soon, await_lines, await_number, flow, lines, pid, worker_pids};
use testkit::{eventually, is_alive, kill};

/// With a grace that nobody should need.
fn patient() -> Flow {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    builder.grace(Duration::from_secs(30)).build().unwrap()
}

/// A task of this flow with a subprocess that cleans up when it is told to; its number.
fn tidy(flow: &Flow, name: &str) -> i32 {
    let (pid, clean) = (shared(&format!("{name} pid")), shared(&format!("{name} clean")));
    let text = format!(
        "trap 'sleep 0.1; echo clean > \"{clean}\"; exit' TERM; echo $$ > \"{pid}\"; \
         while :; do sleep 0.05; done"
    );
    drop(script::remote(flow, text).unwrap());
    await_number(&pid)
}

/// Waits for the host's end, which is by this signal.
#[track_caller]
fn ends_by(mut host: Child, signal: i32, pids: &[i32]) {
    let since = Instant::now();
    let mut status = None;
    eventually("the host ends", || {
        status = host.try_wait().unwrap();
        status.is_some()
    });
    assert_soon(since, "the end");
    assert_eq!(status.and_then(|status| status.signal()), Some(signal), "{status:?}");
    all_gone(since, pids);
}

#[track_caller]
fn cleans_up(role: &str, signal: i32, names: &[&str]) {
    let files = Files::new();
    let (host, pids) = start(role, &files);
    kill(host.id() as i32, signal);
    ends_by(host, signal, &pids);
    for name in names {
        assert_eq!(lines(&files.path(&format!("{name} clean"))), ["clean"], "{name}");
    }
}

pub(crate) fn interrupted() {
    cleans_up("role::host_to_be_told", libc::SIGINT, &["one"]);
}

pub(crate) fn terminated() {
    cleans_up("role::host_to_be_told", libc::SIGTERM, &["one"]);
}

pub(crate) fn host_to_be_told() {
    let flow = patient();
    let child = tidy(&flow, "one");
    announce(&flow, &[child]);
    let never = script::remote(&flow, "").unwrap(); // behind the other
    let _ = never.get();
    std::thread::sleep(Duration::from_secs(50));
}

pub(crate) fn interrupted_with_two_flows() {
    cleans_up("role::host_with_two_flows", libc::SIGINT, &["one", "two"]);
}

pub(crate) fn host_with_two_flows() {
    let (one, two) = (patient(), patient());
    let mut children = vec![tidy(&one, "one"), tidy(&two, "two")];
    children.extend(worker_pids(&two).concat());
    announce(&one, &children);
    std::thread::sleep(Duration::from_secs(50));
}

pub(crate) fn interrupted_after_another_was_dropped() {
    cleans_up("role::host_that_dropped_another", libc::SIGINT, &["one"]);
}

pub(crate) fn host_that_dropped_another() {
    let (one, two) = (patient(), patient());
    drop(two);
    let child = tidy(&one, "one");
    announce(&one, &[child]);
    std::thread::sleep(Duration::from_secs(50));
}

pub(crate) fn a_second_one_does_not_wait() {
    let files = Files::new();
    let (host, pids) = start("role::host_with_a_stubborn_child", &files);
    kill(host.id() as i32, libc::SIGINT);
    await_lines(&files.path("told"), 1);
    std::thread::sleep(Duration::from_millis(200));
    assert!(is_alive(host.id() as i32), "it is patient");
    kill(host.id() as i32, libc::SIGINT);
    ends_by(host, libc::SIGINT, &pids);
}

pub(crate) fn host_with_a_stubborn_child() {
    let flow = patient();
    let (pid, told) = (shared("pid"), shared("told"));
    let text = format!(
        "trap 'echo told >> \"{told}\"' TERM; echo $$ > \"{pid}\"; while :; do sleep 0.05; done"
    );
    drop(script::remote(&flow, text).unwrap());
    let child = await_number(&pid);
    announce(&flow, &[child]);
    std::thread::sleep(Duration::from_secs(50));
}

static CAME: AtomicU32 = AtomicU32::new(0);

extern "C" fn came(_: i32) {
    CAME.fetch_add(1, SeqCst);
}

pub(crate) fn own_handlers_stay() {
    let handler: extern "C" fn(i32) = came;
    // SAFETY: the handler only counts; ignoring a signal needs nothing.
    unsafe {
        libc::signal(libc::SIGINT, handler as libc::sighandler_t);
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
    }
    let flow = flow(1);
    let own = std::process::id() as i32;
    kill(own, libc::SIGINT);
    kill(own, libc::SIGTERM);
    kill(own, libc::SIGINT);
    eventually("the handler ran", || CAME.load(SeqCst) >= 1);
    std::thread::sleep(Duration::from_millis(100));
    assert_ne!(pid::remote_blocking(&flow).unwrap(), own);
    drop(flow);
    let before = CAME.load(SeqCst);
    kill(own, libc::SIGINT);
    eventually("it still does", || CAME.load(SeqCst) > before);
}
