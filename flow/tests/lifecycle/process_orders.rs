//! Processes, actors, cancels and times in rare orders: deaths while one is made, who comes next
//! while another is ended, times without an end.

#![allow(clippy::zombie_processes, reason = "what is not waited for is what is tested")]
#![allow(unreachable_pub, reason = "the functions of an actor are public")]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mailring::flow::{
    Cancel, Cancelled, Cause, Error, Flow, Found, ObjectRef, Resources, actor, node,
};

use crate::driver::{all_gone, announce, shared, start};
use testkit::flow::{
    Files, append, assert_over, assert_soon, await_lines, await_number, cause, flow, lines, nap,
    open_gate, pass_gate,
};
use testkit::{eventually, is_alive, kill};

const LONG: Duration = Duration::from_secs(20);

// ---- actors -------------------------------------------------------------------------------------

pub struct Clerk {
    calls: u64,
}

#[actor(max_restarts = 3)]
impl Clerk {
    pub fn new() -> Self {
        Self { calls: 0 }
    }

    pub fn late(ms: u64) -> Self {
        nap(ms);
        Self { calls: 0 }
    }

    /// Its process dies while it is made, the first time.
    pub fn clumsy(path: &str) -> Self {
        let first = !Path::new(path).exists();
        append(path, "begun");
        if first {
            std::process::abort();
        }
        Self { calls: 0 }
    }

    pub fn call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub fn slow(&mut self, begun: &str, gate: &str) -> u64 {
        append(begun, "begun");
        pass_gate(gate);
        self.call()
    }
}

/// Its process, as soon as the flow knows it.
#[track_caller]
fn pid_of(clerk: &ClerkActor) -> i32 {
    let pid = || clerk.raw().info().and_then(|info| info.pid);
    eventually("the actor's process", || pid().is_some());
    pid().unwrap()
}

pub(crate) fn an_actor_whose_process_dies_in_the_constructor() {
    let (flow, files) = (flow(2), Files::new());
    let path = files.path("made");
    let clerk = ClerkActor::clumsy(&flow, &path).unwrap();
    eventually("it is made twice", || lines(&path).len() == 2);
    for count in 1..3 {
        assert_eq!(clerk.call().remote().unwrap().get_timeout(LONG), Ok(count));
    }
    assert!(is_alive(pid_of(&clerk)));
    clerk.raw().kill().unwrap();
    all_free(&flow);
}

#[track_caller]
fn all_free(flow: &Flow) {
    let workers = || flow.workers().unwrap();
    eventually("all cpus are free", || workers().iter().all(|one| one.free == one.total));
}

pub(crate) fn actors_that_are_killed_while_they_are_made() {
    let builder = Flow::builder().workers("cpu", 2, Resources::cpus(2.0)).memory(64 << 20);
    let flow = builder.build().unwrap();
    for round in 0..12 {
        let clerk = ClerkActor::late(&flow, 50u64).unwrap();
        let call = clerk.call().remote().unwrap();
        nap(round % 4 * 8);
        clerk.raw().kill().unwrap();
        let why = cause(call.get_timeout(LONG));
        assert!(matches!(why, Cause::ActorDied(_)), "{why:?}");
        nap(60);
    }
    all_free(&flow);
    let all = nap::options().cpus(2.0);
    let both: Vec<_> = (0..2).map(|_| all.remote(&flow, 1u64).unwrap()).collect();
    assert_eq!(flow.get_all_timeout(&both, LONG), Ok(vec![1, 1]));
}

pub(crate) fn a_deadline_of_a_call_that_stood_behind_another() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, gate) = (files.path("begun"), files.path("gate"));
    let clerk = ClerkActor::new(&flow).unwrap();
    let first = clerk.slow(&begun, &gate).remote().unwrap();
    let limit = Duration::from_millis(300);
    let shut = files.path("shut");
    let second = clerk.slow(&begun, shut).deadline(limit).remote().unwrap();
    await_lines(&begun, 1);
    nap(400);
    open_gate(&gate);
    assert_eq!(first.get_timeout(LONG), Ok(1), "the other's time is not its own");
    let since = Instant::now();
    assert_eq!(cause(second.get_timeout(LONG)), Cause::Deadline(limit));
    assert_soon(since, "the deadline");
    assert_eq!(lines(&begun).len(), 2, "it had begun");
}

/// Waits for a call of the actor.
#[node(max_retries = 0)]
fn calls(clerk: ClerkActor, begun: &str, gate: &str) -> Result<u64, Error> {
    clerk.slow(begun, gate).remote_blocking()
}

pub(crate) fn an_actor_outlives_the_forced_cancel_of_its_caller() {
    let (flow, files) = (flow(2), Files::new());
    let (begun, gate) = (files.path("begun"), files.path("gate"));
    let clerk = ClerkActor::new(&flow).unwrap();
    assert_eq!(clerk.call().remote_blocking(), Ok(1));
    let pid = pid_of(&clerk);
    let task = calls::remote(&flow, &clerk, &begun, &gate).unwrap();
    await_lines(&begun, 1);
    let report = flow.cancel(&task, Cancel::forced().grace(Duration::from_millis(200))).unwrap();
    assert_eq!(report.found, Found::Running);
    assert_eq!(cause(task.get_timeout(LONG)), Cause::Cancelled);
    open_gate(&gate);
    assert_eq!(clerk.call().remote().unwrap().get_timeout(LONG), Ok(3));
    let info = clerk.raw().info().unwrap();
    assert_eq!((info.alive, info.restarts, info.pid), (true, 0, Some(pid)));
}

#[node(max_retries = 0)]
fn asks(clerk: ClerkActor) -> Result<u64, Error> {
    clerk.call().remote_blocking()
}

pub(crate) fn an_actor_of_another_flow_is_refused() {
    let (ours, theirs) = (flow(1), flow(1));
    let (own, foreign) = (ClerkActor::new(&ours).unwrap(), ClerkActor::new(&theirs).unwrap());
    match asks::remote(&ours, &foreign).and_then(|task| task.get()) {
        Err(error) => assert!(error.to_string().contains("another flow"), "{error}"),
        Ok(count) => panic!("an actor was called: {count}"),
    }
    for clerk in [&own, &foreign] {
        assert_eq!(clerk.call().remote_blocking(), Ok(1), "neither was called before");
    }
}

// ---- processes of workers -----------------------------------------------------------------------

pub(crate) fn a_worker_of_two_cpus_leaves_processes_to_others() {
    let builder = Flow::builder().workers("a", 1, Resources::cpus(2.0));
    let builder = builder.workers("b", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.max_processes(2).build().unwrap();
    for worker in ["b", "a", "b"] {
        let task = nap::options().on(worker).remote(&flow, 1u64).unwrap();
        assert_eq!(task.get_timeout(LONG), Ok(1), "on {worker}: {:?}", flow.pending(&task));
    }
}

/// Leaves a subprocess that does not end by TERM; returns as if all were well when it is told.
#[node(max_retries = 0)]
fn stubborn(pid: &str) {
    let text = format!("trap '' TERM; echo $$ > \"{pid}\"; while :; do sleep 0.05; done");
    let _child = Command::new("sh").arg("-c").arg(text).spawn().unwrap();
    let _ = mailring::flow::sleep(Duration::from_secs(50));
}

/// How a tool of its own ends.
#[node(max_retries = 0)]
fn tool(seconds: &str) -> String {
    Command::new("sleep").arg(seconds).status().unwrap().to_string()
}

pub(crate) fn a_cancel_spares_what_the_next_task_starts() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("pid");
    let task = stubborn::remote(&flow, &path).unwrap();
    let pid = await_number(&path);
    let how = Cancel::default().grace(Duration::from_millis(800));
    std::thread::scope(|scope| {
        let cancel = scope.spawn(|| flow.cancel(&task, how));
        assert_eq!(cause(task.get_timeout(LONG)), Cause::Cancelled);
        for seconds in ["0.3", "1.2"] {
            let next = tool::remote(&flow, seconds).unwrap();
            assert_eq!(next.get_timeout(LONG).as_deref(), Ok("exit status: 0"), "{seconds} s");
        }
        let report = cancel.join().unwrap().unwrap();
        let killed = report.ended.iter().any(|one| one.pid == pid && one.killed);
        assert!(killed, "{report}");
        assert!(!is_alive(pid));
    });
}

#[node(max_retries = 0)]
fn naps_until_told(pid: &str) -> Result<(), Cancelled> {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    append(pid, &child.id().to_string());
    mailring::flow::sleep(Duration::from_secs(50))
}

/// Also when the body returns at once, so that its worker ends what is left.
pub(crate) fn a_cancel_lists_what_was_ended() {
    let (flow, files) = (flow(1), Files::new());
    for round in 0..10 {
        let path = files.path(&format!("pid {round}"));
        let task = naps_until_told::remote(&flow, &path).unwrap();
        let pid = await_number(&path);
        let report = flow.cancel(&task, Cancel::default()).unwrap();
        assert_eq!(cause(task.get_timeout(LONG)), Cause::Cancelled);
        assert!(!is_alive(pid));
        let ended: Vec<_> = report.ended.iter().map(|one| (one.pid, one.killed)).collect();
        assert_eq!(ended, [(pid, false)], "round {round}: {report}");
    }
}

/// Starts processes again and again, eight at the same time, whatever it is told.
#[node(max_retries = 0)]
fn farm(begun: &str) {
    append(begun, "begun");
    let until = Instant::now() + Duration::from_secs(40);
    let run = || {
        while Instant::now() < until {
            let _ = Command::new("sleep").arg("1000").status();
        }
    };
    std::thread::scope(|scope| {
        (0..8).for_each(|_| drop(scope.spawn(run)));
    });
}

/// A flow whose body starts processes again and again.
fn farming() -> (Flow, ObjectRef<()>) {
    let (flow, files) = (flow(1), Files::new());
    let begun = files.path("begun");
    let task = farm::remote(&flow, &begun).unwrap();
    await_lines(&begun, 1);
    nap(50);
    (flow, task)
}

#[track_caller]
fn assert_within_seconds(since: Instant, what: &str) {
    assert!(since.elapsed() < Duration::from_secs(12), "{what} took {:?}", since.elapsed());
}

pub(crate) fn processes_again_and_again_and_a_cancel() {
    let (flow, task) = farming();
    let since = Instant::now();
    let report = flow.cancel(&task, Cancel::default().grace(Duration::from_millis(100))).unwrap();
    assert_within_seconds(since, "the cancel");
    assert_eq!((report.found, report.worker_ended), (Found::Running, false));
    assert!(!report.ended.is_empty(), "{report}");
}

pub(crate) fn processes_again_and_again_and_a_forced_cancel() {
    let (flow, task) = farming();
    let since = Instant::now();
    let report = flow.cancel(&task, Cancel::forced().grace(Duration::from_millis(100))).unwrap();
    assert_within_seconds(since, "the cancel");
    assert_eq!((report.found, report.worker_ended), (Found::Running, true));
    assert_eq!(cause(task.get_timeout(LONG)), Cause::Cancelled);
    assert_eq!(nap::remote(&flow, 1u64).unwrap().get_timeout(LONG), Ok(1));
}

pub(crate) fn processes_again_and_again_and_the_end_of_the_flow() {
    let (flow, task) = farming();
    let since = Instant::now();
    drop(flow);
    assert_within_seconds(since, "the end");
    assert_over(task.get());
}

// ---- times --------------------------------------------------------------------------------------

#[node(resources(gpu = 1))]
fn on_gpu(x: u64) -> u64 {
    x
}

#[node(max_retries = 0)]
fn asks_a_gpu() -> Result<u64, Error> {
    on_gpu::options().wait_infeasible().remote_blocking(&Flow::current()?, 5u64)
}

/// What no worker can run yet is not a reason to say that nothing will ever move.
pub(crate) fn a_body_that_waits_for_workers_to_come() {
    let flow = flow(1);
    let task = asks_a_gpu::remote(&flow).unwrap();
    let early = task.get_timeout(Duration::from_millis(1500));
    assert!(matches!(early, Err(Error::Timeout(..))), "{early:?}");
    flow.add_workers("gpu", 1, &Resources::cpus(1.0).with("gpu", 1.0)).unwrap();
    assert_eq!(task.get_timeout(LONG), Ok(5));
}

pub(crate) fn times_without_an_end() {
    let files = Files::new();
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.grace(Duration::MAX).memory_patience(Duration::MAX).build().unwrap();
    for deadline in [Duration::MAX, Duration::from_secs(600 * 365 * 86_400)] {
        let task = nap::options().deadline(deadline).remote(&flow, 20u64).unwrap();
        assert_eq!(task.get_timeout(Duration::MAX), Ok(20));
    }
    let clerk = ClerkActor::new(&flow).unwrap();
    assert_eq!(clerk.call().deadline(Duration::MAX).remote_blocking(), Ok(1));
    // What it has started ends by TERM, so the grace need not end.
    let path = files.path("pid");
    let task = naps_until_told::remote(&flow, &path).unwrap();
    let pid = await_number(&path);
    let since = Instant::now();
    let report = flow.cancel(&task, Cancel::default().grace(Duration::MAX)).unwrap();
    assert_eq!(report.found, Found::Running);
    assert_eq!(cause(task.get_timeout(LONG)), Cause::Cancelled);
    assert!(!is_alive(pid));
    drop(flow);
    assert_soon(since, "both ends");
}

/// Leaves a thread behind, which goes on waiting.
#[node]
fn leaves_a_thread(said: &str, one: Vec<ObjectRef<u64>>) {
    let said = said.to_owned();
    std::thread::spawn(move || {
        let result = one[0].get_timeout(Duration::from_millis(300));
        let late = matches!(result, Err(Error::Timeout(..)));
        append(&said, if late { "late" } else { "wrong" });
    });
    nap(50);
}

pub(crate) fn a_timeout_in_a_thread_that_a_body_has_left() {
    let (flow, files) = (flow(1), Files::new());
    let said = files.path("said");
    let never = on_gpu::options().wait_infeasible().remote(&flow, 1u64).unwrap();
    leaves_a_thread::remote_blocking(&flow, &said, vec![never.clone()]).unwrap();
    // The driver does not look at the flow meanwhile.
    assert_eq!(await_lines(&said, 1), ["late"]);
    assert!(!never.is_ready());
}

// ---- signals ------------------------------------------------------------------------------------

/// TERM while the flow waits for a body ends the program all the same.
pub(crate) fn terminated_while_a_flow_is_dropped() {
    let files = Files::new();
    let (mut host, pids) = start("role::host_that_is_told_while_it_drops", &files);
    append(&files.path("go"), "go");
    await_lines(&files.path("dropping"), 1);
    nap(100);
    assert!(is_alive(host.id() as i32), "it is patient");
    let since = Instant::now();
    kill(host.id() as i32, libc::SIGTERM);
    let mut status = None;
    eventually("the host ends", || {
        status = host.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.signal()), Some(libc::SIGTERM), "{status:?}");
    all_gone(since, &pids);
}

pub(crate) fn host_that_is_told_while_it_drops() {
    let builder = Flow::builder().workers("cpu", 2, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.grace(Duration::from_secs(10)).build().unwrap();
    announce(&flow, &[]);
    await_lines(&shared("go"), 1);
    let _task = nap::remote(&flow, 1000u64).unwrap(); // within the grace
    nap(100);
    append(&shared("dropping"), "dropping");
    drop(flow);
    nap(50_000);
}
