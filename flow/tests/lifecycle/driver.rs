//! The driver ends, or its flow does, and nothing is left: by kill -9, by `exit`, by a drop. Also
//! drivers that fork, that have two flows, that build again and again, that have nothing to do.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailring::flow::{
    Cancel, Error, Flow, ObjectRef, Packing, Resources, TrackedRef, WaitOptions, WaitSet, actor,
    node,
};
use testkit::flow::{
    Files, SOON, append, assert_over, assert_soon, await_lines, await_number, flow, lines,
    open_gate, pass_gate, pid, worker_pids,
};
use testkit::harness::again;
use testkit::{cpu_time, eventually, is_alive, kill, open_fds, parent_of};

/// Where a host and its test share files.
const PLACE: &str = "MAILRING_TEST_FILES";

/// Starts a host, and reads the numbers of its processes as soon as it says them.
pub(crate) fn start(role: &str, files: &Files) -> (Child, Vec<i32>) {
    let mut command = again(role);
    // The tests may have been started with signals ignored (by `nohup`, or `&` in a script), which
    // a host goes on to do.
    // SAFETY: only system calls, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    let mut host = command.env(PLACE, files.path("")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() >= 3, "{role} said {line:?}");
    assert!(pids.iter().all(|&pid| is_alive(pid)), "{role} said {line:?}");
    (host, pids)
}

/// In a host: a file that it shares with its test.
pub(crate) fn shared(name: &str) -> String {
    format!("{}{name}", std::env::var(PLACE).unwrap())
}

/// In a host: says the numbers of all its processes, and of those in `more`.
pub(crate) fn announce(flow: &Flow, more: &[i32]) {
    let workers = worker_pids(flow).concat();
    let fork_server = parent_of(workers[0]);
    let all = workers.iter().chain(more).chain([&fork_server]).map(i32::to_string);
    println!("{}", all.collect::<Vec<_>>().join(" "));
    std::io::stdout().flush().unwrap();
}

pub(crate) fn all_gone(since: Instant, pids: &[i32]) {
    while let Some(pid) = pids.iter().find(|&&pid| is_alive(pid)) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert!(since.elapsed() < SOON, "process {pid} ({}) is there", name.trim());
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("all gone after {:?}", since.elapsed());
}

/// Runs a script and waits for it; then until it is told to end.
#[node]
pub(crate) fn script(text: &str) {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(text).stdin(Stdio::null()).stdout(Stdio::null());
    let _ = shell.spawn().unwrap().wait();
    let _ = mailring::flow::sleep(Duration::from_secs(50));
}

/// Two bodies that do not end, with subprocesses: one in a session of its own, one that is deaf.
fn busy(flow: &Flow, path: impl Fn(&str) -> String) -> (Vec<ObjectRef<()>>, Vec<i32>) {
    let (session, deaf) = (path("session"), path("deaf"));
    let scripts = [
        format!("setsid sh -c 'echo $$ > \"{session}\"; exec sleep 100' & exec sleep 100"),
        format!("trap '' TERM INT; echo $$ > \"{deaf}\"; while :; do sleep 0.1; done"),
    ];
    let tasks = scripts.iter().map(|text| script::remote(flow, text).unwrap()).collect();
    (tasks, [session, deaf].iter().map(|path| await_number(path)).collect())
}

pub(crate) fn killed() {
    let files = Files::new();
    let (mut host, pids) = start("role::host_to_be_killed", &files);
    let since = Instant::now();
    kill(host.id() as i32, libc::SIGKILL);
    all_gone(since, &pids);
    host.wait().unwrap();
}

pub(crate) fn host_to_be_killed() {
    let flow = flow(2);
    let (_tasks, children) = busy(&flow, shared);
    announce(&flow, &children);
    std::thread::sleep(Duration::from_secs(50));
}

pub(crate) fn exits_without_dropping() {
    let files = Files::new();
    let (mut host, pids) = start("role::host_that_exits", &files);
    append(&files.path("go"), "go");
    assert_eq!(host.wait().unwrap().code(), Some(0));
    all_gone(Instant::now(), &pids);
}

pub(crate) fn host_that_exits() {
    let flow = flow(2);
    let (_tasks, children) = busy(&flow, shared);
    announce(&flow, &children);
    await_lines(&shared("go"), 1);
    std::process::exit(0);
}

pub(crate) fn dropped_in_the_middle() {
    let files = Files::new();
    let builder = Flow::builder().workers("cpu", 2, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.grace(Duration::from_millis(300)).build().unwrap();
    let (tasks, mut pids) = busy(&flow, |name| files.path(name));
    pids.extend(worker_pids(&flow).concat());
    let queued = pid::remote(&flow).unwrap();
    let since = Instant::now();
    drop(flow);
    assert_soon(since, "the drop");
    all_gone(since, &pids);
    for task in tasks {
        let result = task.get();
        assert_over(result);
    }
    assert!(matches!(queued.get(), Err(Error::Closed(_))));
}

/// Who forks the workers is killed: the flow is closed, and nobody hangs.
pub(crate) fn the_fork_server_dies() {
    let files = Files::new();
    let flow = flow(2);
    let (tasks, pids) = busy(&flow, |name| files.path(name));
    // What has a session of its own is out of reach when nobody is left to adopt it.
    let (session, mut pids) = (pids[0], pids[1..].to_vec());
    let workers = worker_pids(&flow).concat();
    let fork_server = parent_of(workers[0]);
    assert_ne!(fork_server, std::process::id() as i32);
    pids.extend(workers);
    let since = Instant::now();
    kill(fork_server, libc::SIGKILL);
    for task in &tasks {
        let result = task.get_timeout(Duration::from_secs(20));
        assert!(
            matches!(&result, Err(Error::Closed(why)) if why.contains("fork server")),
            "{result:?}"
        );
    }
    assert!(matches!(pid::remote(&flow), Err(Error::Closed(_))));
    all_gone(since, &pids);
    drop(flow);
    assert_soon(since, "the end");
    kill(session, libc::SIGKILL);
}

// ---- copies, several flows --------------------------------------------------------------------

/// A number that grows.
#[derive(Default)]
pub(crate) struct Tally(u32);

#[actor]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Tally {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn raise(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

#[node]
fn passes_gate(gate: &str) -> u32 {
    pass_gate(gate);
    3
}

fn is_closed<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Closed(_)))
}

/// What works in the copy of a flow that a forked child has, by name.
fn works_in_a_copy(flow: &Flow, done: &ObjectRef<i32>, tally: &TallyActor) -> Vec<&'static str> {
    let all = std::slice::from_ref(done);
    let bundle = [Resources::cpus(0.1)];
    let tries: [(&str, &dyn Fn() -> bool); 22] = [
        ("call_by_name", &|| is_closed(flow.call_by_name::<i32>("testkit::flow::pid", &[]))),
        ("get_all", &|| is_closed(flow.get_all(all))),
        ("free", &|| is_closed(flow.free(all))),
        ("add_workers", &|| is_closed(flow.add_workers("more", 1, &Resources::cpus(1.0)))),
        ("workers", &|| is_closed(flow.workers())),
        ("tasks", &|| is_closed(flow.tasks())),
        ("placement_group", &|| is_closed(flow.placement_group(&bundle, Packing::Pack))),
        ("cancel_all", &|| is_closed(flow.cancel_all(Cancel::default()))),
        ("cancel_many", &|| is_closed(flow.cancel_many(all, Cancel::default()))),
        ("cancel_task", &|| is_closed(flow.cancel_task(1, Cancel::default()))),
        ("an actor's call", &|| is_closed(tally.raise().remote())),
        ("a new actor", &|| is_closed(TallyActor::new(flow).map(drop))),
        ("an actor's end", &|| is_closed(tally.raw().kill())),
        ("remote", &|| is_closed(pid::remote(flow))),
        ("get", &|| is_closed(done.get())),
        ("get_timeout", &|| is_closed(done.get_timeout(Duration::ZERO))),
        ("put", &|| is_closed(flow.put(&1u32))),
        ("cancel", &|| is_closed(flow.cancel(done, Cancel::default()))),
        ("pending", &|| is_closed(flow.pending(done))),
        ("stats", &|| is_closed(flow.stats())),
        ("wait", &|| {
            let mut tracked = vec![TrackedRef::new(done.clone())];
            is_closed(mailring::flow::wait(flow, &mut tracked, &WaitOptions::default()))
        }),
        ("set", &|| is_closed(WaitSet::new(flow).and_then(|mut set| set.add(done.clone())))),
    ];
    tries.iter().filter(|(_, closed)| !closed()).map(|(what, _)| *what).collect()
}

pub(crate) fn a_forked_child_has_no_flow() {
    let files = Files::new();
    let said = files.path("said");
    let flow = flow(1);
    let done = pid::remote(&flow).unwrap();
    let worker = done.get().unwrap();
    let tally = TallyActor::new(&flow).unwrap();
    assert_eq!(tally.raise().remote_blocking(), Ok(1));
    let gate = files.path("gate");
    let running = passes_gate::remote(&flow, &gate).unwrap();
    // SAFETY: the child uses no lock that another thread may hold but the allocator's, which is
    // made for that, and ends with `_exit`; the alarm ends it if it hangs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: passes no pointers.
        unsafe { libc::alarm(10) };
        append(&said, &format!("{:?}", works_in_a_copy(&flow, &done, &tally)));
        drop((done, running, tally));
        drop(flow);
        append(&said, "dropped");
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child; the status is a live local.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(lines(&said), ["[]", "dropped"], "status {status:#x}");
    // None of it has reached the original.
    assert_eq!(done.get().unwrap(), worker);
    assert_eq!(flow.workers().unwrap().len(), 1);
    open_gate(&gate);
    assert_eq!(running.get_timeout(SOON), Ok(3));
    assert_eq!(tally.raise().remote_blocking(), Ok(2));
    assert!(is_alive(worker) && pid::remote_blocking(&flow).is_ok());
}

pub(crate) fn two_flows_side_by_side() {
    let files = Files::new();
    let (one, two) = (flow(1), flow(1));
    let first = pid::remote_blocking(&one).unwrap();
    let kept = pid::remote(&two).unwrap();
    assert_ne!(kept.get().unwrap(), first);
    let text = format!("echo $$ > \"{0}\"; exec sleep 100", files.path("begun"));
    let lost = script::remote(&one, text).unwrap();
    await_number(&files.path("begun"));
    drop(one);
    let result = lost.get();
    assert_over(result);
    eventually("its worker is gone", || !is_alive(first));
    assert_eq!(pid::remote_blocking(&two).unwrap(), kept.get().unwrap());
}

#[node]
fn with_own_flow() -> Result<(i32, i32), Error> {
    let own = flow(1);
    Ok((std::process::id() as i32, pid::remote_blocking(&own)?))
}

pub(crate) fn a_flow_inside_a_body() {
    let flow = flow(1);
    for _ in 0..3 {
        let (worker, inner) = with_own_flow::remote_blocking(&flow).unwrap();
        assert_eq!(pid::remote_blocking(&flow).unwrap(), worker, "it serves on");
        assert_ne!(inner, worker);
        assert!(!is_alive(inner), "gone with the flow of the body");
    }
}

/// Children of this process, zombies included.
fn children() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    lists.flatten().map(|list| list.split_whitespace().count()).sum()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

pub(crate) fn building_again_and_again() {
    let cycle = || {
        let flow = flow(2);
        let kept = pid::remote(&flow).unwrap();
        kept.get().unwrap();
        drop(flow);
        drop(kept); // the last that knows of it
    };
    (0..3).for_each(|_| cycle());
    let before = (open_fds(), children(), threads());
    assert_eq!((before.1, before.2), (0, 1));
    (0..50).for_each(|_| cycle());
    assert_eq!((open_fds(), children(), threads()), before);
}

pub(crate) fn idle_costs_nothing() {
    let flow = flow(2);
    pid::remote_blocking(&flow).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let workers = worker_pids(&flow).concat();
    let own = std::process::id();
    let all: Vec<u32> = workers
        .iter()
        .chain([&parent_of(workers[0])])
        .map(|&pid| pid as u32)
        .chain([own])
        .collect();
    let spent = || all.iter().map(|&pid| cpu_time(pid)).sum::<Duration>();
    let before = spent();
    std::thread::sleep(Duration::from_secs(1));
    let idle = spent() - before;
    assert!(idle < Duration::from_millis(100), "{idle:?} of a second");
}
