//! The host dies, in every way: its workers, the fork server and their descendants are gone within
//! a second. Also threads that build and end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Executor, Mode};
use testkit::harness::again;
use testkit::{
    BoxError, Gate, args, at, atom, bodies, cell, config, eventually, is_alive, kill, parent_of,
    small,
};

/// The promise is one second; a loaded machine gets more.
const GONE: Duration = Duration::from_secs(5);

/// Starts a host and reads the process numbers that it prints.
fn start(role: &str) -> (Child, Vec<i32>) {
    let mut host = again(role).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() >= 3, "{role} said {line:?}");
    (host, pids)
}

/// Tells the test all processes of this executor, and those in `more`.
fn announce(exec: &Executor, more: &[i32]) {
    let workers = exec.worker_pids();
    let mut line = format!("{}", parent_of(workers[0] as i32));
    for pid in workers.iter().map(|&pid| pid as i32).chain(more.iter().copied()) {
        line += &format!(" {pid}");
    }
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn all_gone(since: Instant, pids: &[i32]) {
    while let Some(pid) = pids.iter().find(|&&pid| is_alive(pid)) {
        assert!(since.elapsed() < GONE, "process {pid} is there after {:?}", since.elapsed());
        std::thread::sleep(Duration::from_micros(500));
    }
    println!("all gone after {:?}", since.elapsed());
}

fn killed(role: &str) {
    let (mut host, pids) = start(role);
    std::thread::sleep(Duration::from_millis(20));
    assert!(pids.iter().all(|&pid| is_alive(pid)));
    let since = Instant::now();
    kill(host.id() as i32, libc::SIGKILL);
    all_gone(since, &pids);
    host.wait().unwrap();
}

pub(crate) fn killed_in_the_middle_of_a_run() {
    for _ in 0..10 {
        killed("role::busy_host");
    }
}

pub(crate) fn busy_host() {
    let mut builder = small(Mode::Process, 3);
    let work = builder.register("work", bodies::add_one).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(8).unwrap();
    announce(&exec, &[]);
    let _ = exec.run(|orch| {
        (0u64..).try_for_each(|i| {
            orch.submit(work, args().inout(at(&data, i as usize % 8)), config()).map(drop)
        })
    });
}

pub(crate) fn killed_when_idle() {
    killed("role::idle_host");
}

pub(crate) fn idle_host() {
    let mut builder = small(Mode::Process, 2);
    let _ = builder.register("nop", bodies::nop);
    let exec = builder.build().unwrap();
    announce(&exec, &[]);
    std::thread::sleep(Duration::from_secs(50));
}

/// Also what tasks have started, in the worker's process group or in a session of its own.
pub(crate) fn killed_beside_subprocesses() {
    killed("role::host_with_subprocesses");
}

pub(crate) fn host_with_subprocesses() {
    use std::os::unix::process::CommandExt;
    let mut builder = small(Mode::Process, 2);
    let start = builder
        .register("start", |args, _, _| {
            let mut command = std::process::Command::new("sleep");
            command.arg("100").stdout(Stdio::null());
            if args.scalar(0)? == 1 {
                // SAFETY: one system call that takes nothing.
                unsafe {
                    command.pre_exec(|| {
                        libc::setsid();
                        Ok(())
                    });
                }
            }
            let mut child = command.spawn()?;
            atom(&args, 0, 0).store(u64::from(child.id()), SeqCst);
            if args.scalar(1)? == 1 {
                child.wait()?; // the body goes on for as long as the child does
            }
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let pids = exec.buffer::<u64>(4).unwrap();
    let (_, _handle) = exec
        .submit_run(|orch| {
            for (index, (session, wait)) in [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().enumerate()
            {
                let all = args().no_dep(at(&pids, index)).scalar(session).scalar(wait);
                orch.submit(start, all, config())?;
            }
            Ok(())
        })
        .unwrap();
    let pid = |index| cell(&pids, index).load(SeqCst) as i32;
    eventually("four children", || (0..4).all(|index| pid(index) != 0));
    let children: Vec<i32> = (0..4).map(pid).collect();
    announce(&exec, &children);
    std::thread::sleep(Duration::from_secs(50));
}

fn ends_by_itself(role: &str) {
    let (mut host, pids) = start(role);
    host.wait().unwrap();
    all_gone(Instant::now(), &pids);
}

pub(crate) fn exits_without_dropping() {
    ends_by_itself("role::exiting_host");
}

pub(crate) fn exiting_host() {
    let exec = endless();
    announce(&exec, &[]);
    std::process::exit(0);
}

pub(crate) fn panics_without_dropping() {
    ends_by_itself("role::panicking_host");
}

pub(crate) fn panicking_host() {
    let exec = std::mem::ManuallyDrop::new(endless());
    announce(&exec, &[]);
    panic!("the host panics, as the test asks");
}

/// An executor whose workers are inside bodies that will not end.
fn endless() -> Executor {
    let mut builder = small(Mode::Process, 2);
    let deaf = builder.register("deaf", bodies::deaf).unwrap();
    let exec = builder.build().unwrap();
    let state = Gate::new(&exec);
    let (_, _handle) = exec
        .submit_run(|orch| {
            (0..2).try_for_each(|_| orch.submit(deaf, state.args(), config()).map(drop))
        })
        .unwrap();
    state.await_begun(2);
    exec
}

/// The host dies while workers are being forked: the harness finds what would be left.
pub(crate) fn killed_while_building() {
    for delay in 0..30u64 {
        let mut host = again("role::building_host").stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(2000 + 300 * delay));
        kill(host.id() as i32, libc::SIGKILL);
        host.wait().unwrap();
    }
    none_left(Instant::now());
}

/// Processes that this test has started, and those that came from them.
fn descendants() -> Vec<i32> {
    let mark = std::env::var("MAILRING_TEST_MARK").unwrap();
    testkit::harness::marked(&format!("MAILRING_TEST_MARK={mark}"))
}

fn none_left(since: Instant) {
    loop {
        let left = descendants();
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < GONE, "left: {left:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn building_host() {
    loop {
        let mut builder = small(Mode::Process, 4);
        let _ = builder.register("nop", bodies::nop);
        let _exec = builder.build().unwrap();
    }
}

/// The fork server stands at a lock that nobody opens when the host dies.
pub(crate) fn killed_while_locks_are_tried() {
    let mut host = again("role::host_with_a_lock").spawn().unwrap();
    let pid = host.id() as i32;
    let since = Instant::now();
    // Stopped, the host does not end the fork server that it sees there.
    loop {
        assert!(since.elapsed() < Duration::from_secs(8), "no fork server stood at the lock");
        kill(pid, libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(10));
        let sleeps = |&other: &i32| {
            other != pid && testkit::stat(other).is_some_and(|(state, _)| state == 'S')
        };
        if descendants().iter().any(sleeps) {
            break;
        }
        kill(pid, libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(3));
    }
    kill(pid, libc::SIGKILL);
    host.wait().unwrap();
    none_left(Instant::now());
}

pub(crate) fn host_with_a_lock() {
    let _lock = std::io::stderr().lock();
    let _ = small(Mode::Process, 1).build();
}

/// The signal of a parent's death fires when the forking *thread* ends; we must not rest on it.
pub(crate) fn the_building_thread_may_end() {
    let built = std::thread::spawn(|| {
        let mut builder = small(Mode::Process, 2);
        let add = builder.register("add", bodies::add_one).unwrap();
        (builder.build().unwrap(), add)
    });
    let (exec, add) = built.join().unwrap();
    let workers = exec.worker_pids();
    std::thread::sleep(Duration::from_millis(200));
    let sum = exec.buffer::<u64>(1).unwrap();
    exec.run(|orch| {
        (0..100).try_for_each(|_| orch.submit(add, args().inout(sum.tensor()), config()).map(drop))
    })
    .unwrap();
    assert_eq!(sum.get(0).unwrap(), 100);
    assert_eq!(exec.worker_pids(), workers);
    assert_eq!(exec.stats().deaths, 0);
}
