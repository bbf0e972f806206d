//! Workers that die: further attempts, who is charged for it, deadlines.

use std::time::{Duration, Instant};

use mailring::flow::{Cause, Error, Flow, Resources, node};
use testkit::flow::{
    Files, add, append, assert_soon, await_lines, cause, failed, fall, flow, lines, open_gate,
    pass_gate, pid,
};
use testkit::{Random, kill};

/// Dies as often as it is run, up to `deaths` times; then its number of runs.
#[node]
fn mortal(path: &str, deaths: u32) -> u32 {
    append(path, "run");
    let runs = lines(path).len() as u32;
    assert_eq!(mailring::flow::task().map(|task| task.attempt), Some(runs));
    if runs <= deaths {
        fall(libc::SIGKILL);
    }
    runs
}

pub(crate) fn three_more_attempts() {
    let (flow, files) = (flow(1), Files::new());
    let (three, four) = (files.path("three"), files.path("four"));
    assert_eq!(mortal::remote_blocking(&flow, &three, 3u32).unwrap(), 4);
    let error = failed(mortal::remote_blocking(&flow, &four, 4u32));
    assert!(
        matches!(&error.cause, Cause::WorkerCrashed(how) if how.contains("SIGKILL")),
        "{error}"
    );
    assert_eq!((error.attempt, error.worker.as_deref()), (4, Some("cpu/0")), "{error}");
    assert_eq!((lines(&three).len(), lines(&four).len()), (4, 4));
    pid::remote_blocking(&flow).unwrap();
}

pub(crate) fn no_more_attempts() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("runs");
    let once = mortal::options().max_retries(0);
    let error = failed(once.remote_blocking(&flow, &path, 1u32));
    assert!(
        matches!(&error.cause, Cause::WorkerCrashed(how) if how.contains("SIGKILL")),
        "{error}"
    );
    assert_eq!((lines(&path).len(), error.attempt), (1, 1));
    assert!(error.to_string().contains("`mortal`"), "{error}");
}

pub(crate) fn as_many_as_it_takes() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("runs");
    let forever = mortal::options().retry_forever();
    assert_eq!(forever.remote_blocking(&flow, &path, 8u32).unwrap(), 9);
    assert_eq!(lines(&path).len(), 9);
}

#[node]
fn ends(path: &str, how: &str) -> Result<(), String> {
    append(path, "run");
    match how {
        "error" => return Err("no".to_owned()),
        "panic" => panic!("no"),
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        _ => {
            // SAFETY: the default action is not a handler; the library of the test has set one.
            unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
            fall(libc::SIGSEGV);
        }
    }
    Ok(())
}

pub(crate) fn errors_and_panics_are_no_deaths() {
    let (flow, files) = (flow(1), Files::new());
    let worker = pid::remote_blocking(&flow).unwrap();
    for how in ["error", "panic"] {
        let path = files.path(how);
        let cause = cause(ends::options().max_retries(3).remote_blocking(&flow, &path, how));
        assert!(matches!(cause, Cause::App(_) | Cause::Panicked { .. }), "{cause}");
        assert_eq!(lines(&path).len(), 1, "{how}");
    }
    assert_eq!(pid::remote_blocking(&flow).unwrap(), worker);
}

pub(crate) fn ways_to_die() {
    let (flow, files) = (flow(1), Files::new());
    for (how, word) in [("exit", "code 3"), ("abort", "SIGABRT"), ("segfault", "SIGSEGV")] {
        let path = files.path(how);
        let once = ends::options().max_retries(1);
        let Cause::WorkerCrashed(why) = cause(once.remote_blocking(&flow, &path, how)) else {
            panic!("another cause")
        };
        assert!(why.contains(word), "{how}: {why}");
        assert_eq!(lines(&path).len(), 2, "{how}");
    }
}

/// Short, so that others stand behind it at the same worker.
#[node(max_retries = 0)]
fn perhaps(dies: bool) -> u32 {
    if dies {
        fall(libc::SIGKILL);
    }
    7
}

pub(crate) fn who_stands_behind_is_not_charged() {
    let flow = flow(1);
    for _ in 0..200 {
        perhaps::remote_blocking(&flow, false).unwrap(); // known to be short
    }
    for _ in 0..5 {
        let calls = (0..100).map(|n| perhaps::remote(&flow, n == 20).unwrap());
        for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            match call.get() {
                Ok(value) => assert!(n != 20 && value == 7),
                Err(error) => {
                    assert_eq!(n, 20, "{error}");
                    assert!(matches!(cause(Err::<(), _>(error)), Cause::WorkerCrashed(_)));
                }
            }
        }
    }
}

#[node]
fn square(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(2));
    n * n
}

pub(crate) fn workers_killed_at_random() {
    let flow = flow(2);
    let forever = square::options().retry_forever();
    let sums = add::options().retry_forever();
    let squares: Vec<_> = (0..200u64).map(|n| forever.remote(&flow, n).unwrap()).collect();
    let mut total = flow.put(&0u64).unwrap();
    for square in &squares {
        total = sums.remote(&flow, &total, square).unwrap();
    }
    let mut random = Random(7);
    let mut kills = 0;
    while kills < 10 && !total.wait_timeout(Duration::from_millis(15)) {
        let workers = flow.workers().unwrap();
        let pids = &workers[random.below(workers.len())].pids;
        if !pids.is_empty() {
            kill(pids[random.below(pids.len())], libc::SIGKILL);
            kills += 1;
        }
    }
    assert!(kills >= 3, "the tasks were over too soon");
    let right: u64 = (0..200u64).map(|n| n * n).sum();
    assert_eq!(total.get_timeout(Duration::from_secs(30)).unwrap(), right);
    assert_eq!(flow.stats().unwrap().incomplete, 0);
}

#[node(max_retries = 0)]
fn waits(begun: &str, gate: &str) -> i32 {
    append(begun, "begun");
    pass_gate(gate);
    std::process::id() as i32
}

pub(crate) fn a_deadline_hits_nobody_else() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, gate, shut) = (files.path("begun"), files.path("gate"), files.path("shut"));
    let limit = Duration::from_millis(200);
    let timed = waits::options().deadline(limit).max_retries(3);
    let since = Instant::now();
    let late = timed.remote(&flow, &begun, &shut).unwrap();
    let behind: Vec<_> = (0..20).map(|_| perhaps::remote(&flow, false).unwrap()).collect();
    let error = failed(late.get_timeout(Duration::from_secs(20)));
    assert!(since.elapsed() >= limit);
    assert_soon(since, "the deadline");
    assert_eq!(error.cause, Cause::Deadline(limit));
    assert!(error.to_string().contains("200ms"), "{error}");
    for call in behind {
        assert_eq!(call.get().unwrap(), 7);
    }
    assert_eq!(lines(&begun).len(), 1, "no further attempt");
    // The clock starts with the body, not with the call; and one that is in time is not hit later.
    let first = waits::remote(&flow, &begun, &gate).unwrap();
    let second = timed.remote(&flow, &begun, &gate).unwrap();
    await_lines(&begun, 2);
    std::thread::sleep(2 * limit);
    assert!(!second.is_ready());
    open_gate(&gate);
    let worker = first.get().unwrap();
    assert_eq!(second.get().unwrap(), worker);
    std::thread::sleep(2 * limit);
    assert_eq!(pid::remote_blocking(&flow).unwrap(), worker);
}

#[node]
fn stops() {
    fall(libc::SIGSTOP);
}

pub(crate) fn a_deadline_ends_a_stopped_worker() {
    let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = flow.build().unwrap();
    let limit = Duration::from_millis(300);
    let since = Instant::now();
    let result = stops::options().deadline(limit).remote_blocking(&flow);
    assert_eq!(cause(result), Cause::Deadline(limit));
    assert_soon(since, "the deadline");
    let next: Result<i32, Error> = pid::remote(&flow).unwrap().get_timeout(Duration::from_secs(10));
    next.unwrap();
}
