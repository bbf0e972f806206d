//! The harness of the integration tests: every test runs in a process of its own, on its main
//! thread, under a watchdog, and nothing of it may be left afterwards.
//!
//! A test binary is started again with the name of one test in its environment. Whatever descends
//! from it inherits a mark in that environment, by which survivors are found in `/proc`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{is_alive, kill};

/// Names the test that this process is to run.
const TEST: &str = "MAILRING_TEST";
/// The same in a test's process and in all that descend from it, different for each test.
const MARK: &str = "MAILRING_TEST_MARK";
/// Longest time of one test, unless `MAILRING_WATCHDOG` (seconds) says otherwise.
const WATCHDOG: Duration = Duration::from_secs(60);
/// The same for tests of the fault tier, whose names begin with `soak_`.
const SOAK_WATCHDOG: Duration = Duration::from_secs(600);
/// How long what a test has started may outlive it.
const LEAVE: Duration = Duration::from_secs(2);

/// A test, or with a name in `role::` a helper process that a test starts.
pub struct Test {
    /// Labels and name, as it is selected on the command line.
    pub name: &'static str,
    /// What is run.
    pub body: fn(),
}

/// Lists the tests of a binary and makes its `main`: the part of the name in front, the module
/// (or `crate`) that holds the functions, and their names.
#[macro_export]
macro_rules! tests {
    ($($label:literal in $module:ident { $($name:ident),+ $(,)? })+) => {
        fn main() -> std::process::ExitCode {
            $crate::harness::run(&[$($($crate::harness::Test {
                name: concat!($label, "::", stringify!($name)),
                body: $module::$name,
            }),+),+])
        }
    };
}

/// Runs the tests that the command line selects, or the one that the environment names.
pub fn run(tests: &'static [Test]) -> ExitCode {
    if let Ok(name) = std::env::var(TEST) {
        let Some(test) = tests.iter().find(|test| test.name == name) else {
            eprintln!("no test is called {name}");
            return ExitCode::from(102);
        };
        (test.body)(); // a panic ends the process with 101
        return ExitCode::SUCCESS;
    }
    let mut args = Arguments::from_args();
    // Most tests sleep most of the time; those that do not would be late beside many others.
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get() + 1);
    args.test_threads.get_or_insert(threads);
    let show = args.nocapture;
    let trials = tests
        .iter()
        .filter(|test| !test.name.starts_with("role::"))
        .map(|test| {
            Trial::test(test.name, move || watch(test.name, show))
                .with_ignored_flag(is_soak(test.name))
        })
        .collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// Tests of the fault tier take long: plain `cargo test` leaves them out, `.ci/run` runs them.
fn is_soak(name: &str) -> bool {
    name.rsplit("::").next().is_some_and(|name| name.starts_with("soak_"))
}

/// Whether this process is to run a single test or role.
pub fn is_one_test() -> bool {
    std::env::var_os(TEST).is_some()
}

/// Whether the arguments of this binary ask for any of these tests to be run.
pub fn chosen(tests: &[Test]) -> bool {
    let args = Arguments::from_args();
    let fits = |name: &str, filter: &String| {
        if args.exact { name == filter.as_str() } else { name.contains(filter.as_str()) }
    };
    !args.list
        && tests.iter().any(|test| {
            args.filter.as_ref().is_none_or(|filter| fits(test.name, filter))
                && !args.skip.iter().any(|filter| fits(test.name, filter))
        })
}

/// This binary once more, to run one test or role.
pub fn again(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this binary"));
    command.env(TEST, name).stdin(Stdio::null());
    command
}

fn watch(test: &str, show: bool) -> Result<(), Failed> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{MARK}={}-{number}-{test}", std::process::id());
    let segments = segments();
    let mut said = tempfile::tempfile()?;
    let mut command = again(test);
    command.env(MARK, &mark[MARK.len() + 1..]);
    if !show {
        command.stdout(said.try_clone()?).stderr(said.try_clone()?);
    }
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let more = Duration::from_millis(30) * number("MAILRING_KILLS").unwrap_or(0);
    let limit = number("MAILRING_WATCHDOG");
    let usual = if is_soak(test) { SOAK_WATCHDOG } else { WATCHDOG };
    let limit = limit.map_or(usual + more, |s| Duration::from_secs(u64::from(s)));
    let ended = await_end(&mut command.spawn()?, limit);
    let late = if ended.is_none() { stacks(&mark) } else { String::new() };
    let left = match ended {
        Some(_) => await_none(&mark),
        None => Vec::new(),
    };
    kill_all(&mark);
    let complaint = match ended {
        None => format!("still running after {limit:?}\n{late}"),
        Some(status) if !status.success() => format!("ended with {status}"),
        Some(_) if !left.is_empty() => format!("left processes behind: {}", left.join(", ")),
        Some(_) => match left_segment(&segments) {
            Some(segment) => format!("left /dev/shm/{segment} behind"),
            None => return Ok(()),
        },
    };
    Err(format!("{complaint}\n{}", read(&mut said)).into())
}

fn await_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    let mut nap = Duration::from_millis(1);
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(20));
    }
    None
}

fn read(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let skip = text.len().saturating_sub(20_000);
    let from = (skip..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text[from..].to_owned()
}

// ---- what a test leaves -----------------------------------------------------------------------

fn segments() -> BTreeSet<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("mailring")).collect()
}

/// A segment that was not there before and belongs to no process that lives: tests that run beside
/// this one have segments as well.
fn left_segment(before: &BTreeSet<String>) -> Option<String> {
    let until = Instant::now() + LEAVE;
    loop {
        let left = segments().difference(before).find(|name| !is_in_use(name)).cloned();
        // One that is just being made does not say yet whose it is.
        if left.is_none() || Instant::now() > until {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the writer of a page of counters lives (the third word is its process).
fn is_in_use(segment: &str) -> bool {
    let page = fs::read(format!("/dev/shm/{segment}")).unwrap_or_default();
    let pid = page.get(16..20).and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    pid.is_some_and(|pid| pid > 0 && is_alive(pid))
}

/// Living processes with this `NAME=value` in the environment they were started with.
pub fn marked(mark: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        pid != own
            && environ.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
            && is_alive(pid)
    })
    .collect()
}

fn await_none(mark: &str) -> Vec<String> {
    let until = Instant::now() + LEAVE;
    loop {
        let left = marked(mark);
        if left.is_empty() || Instant::now() > until {
            return left.iter().map(|&pid| describe(pid)).collect();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn describe(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{pid} ({})", name.trim())
}

fn kill_all(mark: &str) {
    // Once more until none is left: one of them may just have forked.
    for _ in 0..100 {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, libc::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where everybody hangs, as far as the kernel tells.
fn stacks(mark: &str) -> String {
    let mut text = String::new();
    for pid in marked(mark) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let at = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let (name, place, call) = (at("comm"), at("wchan"), at("syscall"));
            text += &format!("  {pid} {}: {place} {call}", name.trim());
        }
    }
    text
}
