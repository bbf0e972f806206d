//! What bodies print, and what a panic leaves.

use std::ffi::CStr;
use std::process::Output;
use std::time::Duration;

use mailring::abi::{CallConfig, TaskArgs};
use mailring::flow::{Cause, node};
use mailring::{FailureKind, Mode};

use crate::kit::{ask, flow, storing};
use testkit::harness::again;
use testkit::{failed_as, small};

fn run(role: &str, backtrace: &str) -> (Output, String, String) {
    let mut command = again(role);
    let output = command.env("RUST_BACKTRACE", backtrace).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    (output, out, err)
}

fn print_c(text: &CStr) {
    // SAFETY: a live string without conversions.
    unsafe { libc::printf(text.as_ptr()) };
}

#[node]
fn print_some() {
    print!("rust of a flow;");
    print_c(c"c of a flow;");
}

#[node]
fn abort_now() {
    std::process::abort();
}

pub(crate) fn host_that_prints() {
    let flow = flow(1);
    // The second stands behind the first, and its death takes no text of the first along.
    let first = print_some::remote(&flow).unwrap();
    let second = abort_now::options().max_retries(0).remote(&flow).unwrap();
    assert!(first.get().is_ok() && second.get().is_err());
    let print = || {
        print!("rust of an engine;");
        print_c(c"c of an engine;");
        1
    };
    let (exec, function) = storing(Mode::Process, |b| b, print);
    ask(&exec, function);
    drop(exec);
}

pub(crate) fn text_without_a_newline_is_written() {
    let (_, out, _) = run("role::host_that_prints", "0");
    for text in ["rust of a flow;", "c of a flow;", "rust of an engine;", "c of an engine;"] {
        assert_eq!(out.matches(text).count(), 1, "{text} in {out}");
    }
}

pub(crate) fn host_with_text_left() {
    print!("rust of the host;");
    print_c(c"c of the host;");
    let flow = flow(2);
    let (exec, function) = storing(Mode::Process, |b| b, || 1);
    for _ in 0..4 {
        print_some::remote_blocking(&flow).unwrap();
        ask(&exec, function);
    }
    drop((exec, flow));
    // SAFETY: null stands for all files.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

pub(crate) fn what_the_host_had_not_written_comes_once() {
    let (_, out, _) = run("role::host_with_text_left", "0");
    for (text, count) in [
        ("rust of the host;", 1),
        ("c of the host;", 1),
        ("rust of a flow;", 4),
        ("c of a flow;", 4),
    ] {
        assert_eq!(out.matches(text).count(), count, "{text} in {out}");
    }
}

// ---- panics -------------------------------------------------------------------------------------

#[inline(never)]
fn deep_inside(text: &str) -> u32 {
    panic!("too {text}")
}

#[node]
fn panicking() -> u32 {
    deep_inside("deep")
}

#[node]
fn above() -> Result<u32, mailring::flow::Error> {
    panicking::remote_blocking(&mailring::flow::Flow::current()?)
}

pub(crate) fn host_of_a_panic() {
    std::panic::set_hook(Box::new(|_| eprintln!("the hook of the host")));
    let flow = flow(2);
    let error = panicking::remote_blocking(&flow).unwrap_err();
    println!("error: {error}");
    let task = error.task().unwrap();
    let Cause::Panicked { message, at } = &task.cause else { panic!("{error}") };
    assert!(message == "too deep" && at.contains("output.rs"), "{error}");
    println!("has: {}", task.backtrace.is_some());
    let error = above::remote_blocking(&flow).unwrap_err();
    let root = error.task().unwrap().root();
    println!("above: {}", error.to_string().matches("deep_inside").count());
    println!("root: {}", root.backtrace.is_some_and(|text| text.contains("deep_inside")));
    // Its own hook is there as before.
    let _ = std::panic::catch_unwind(|| panic!("of the host"));
}

pub(crate) fn a_panic_has_a_backtrace() {
    let (_, out, err) = run("role::host_of_a_panic", "1");
    assert!(out.contains("has: true") && out.contains("deep_inside"), "{out}");
    assert!(out.contains("panicking"), "{out}");
    for noise in ["panic_fmt", "force_capture", "catch_unwind", "mailring::flow::worker"] {
        assert!(!out.contains(noise), "{noise} in {out}");
    }
    assert_eq!(err.matches("the hook of the host").count(), 1, "{err}");
}

pub(crate) fn no_backtrace_unless_asked_for() {
    let (_, out, err) = run("role::host_of_a_panic", "0");
    assert!(out.contains("has: false") && !out.contains("deep_inside"), "{out}");
    assert_eq!(err.matches("the hook of the host").count(), 1, "{err}");
}

pub(crate) fn a_root_keeps_its_backtrace() {
    let (_, out, _) = run("role::host_of_a_panic", "1");
    assert!(out.contains("above: 0") && out.contains("root: true"), "{out}");
}

pub(crate) fn engine_of_a_panic() {
    let mut builder = small(Mode::Process, 1);
    let body = |_: mailring::abi::TaskArgsView<'_>,
                _: &CallConfig,
                _: &mailring::TaskContext<'_>|
     -> Result<(), mailring::abi::AbiError> {
        deep_inside("deep");
        Ok(())
    };
    let function = builder.register("panics", body).unwrap();
    let exec = builder.build().unwrap();
    let ran =
        exec.run(|run| run.submit(function, TaskArgs::new(), CallConfig::default()).map(drop));
    let failure = failed_as(ran, FailureKind::Panic);
    assert!(failure.message.starts_with("too deep"), "{failure}");
}

pub(crate) fn the_engine_prints_backtraces() {
    let (_, _, err) = run("role::engine_of_a_panic", "1");
    assert!(err.contains("deep_inside") && err.contains("too deep"), "{err}");
    let (_, _, err) = run("role::engine_of_a_panic", "0");
    assert_eq!(err, "");
}

// ---- prefix and capture ---------------------------------------------------------------------------

#[node]
fn say(lines: u32, text: &str) -> u32 {
    for line in 0..lines {
        println!("{text} {line}");
    }
    lines
}

#[node]
fn say_and_fail(lines: u32, how: &str) -> Result<u32, String> {
    for line in 0..lines {
        println!("line {line}");
    }
    eprint!("an end without a newline");
    let script = "echo from a subprocess; echo and its error >&2";
    std::process::Command::new("sh").arg("-c").arg(script).status().unwrap();
    match how {
        "panic" => panic!("as asked"),
        "abort" => std::process::abort(),
        "kill" => testkit::kill(std::process::id() as i32, libc::SIGKILL),
        "hang" => std::thread::sleep(Duration::from_secs(1000)),
        _ => {}
    }
    Err(how.to_owned())
}

fn capturing(prefix: bool, lines: usize) -> mailring::flow::Flow {
    crate::kit::builder(2).prefix_output(prefix).capture_output(lines).build().unwrap()
}

pub(crate) fn host_with_prefixes() {
    let flow = capturing(true, 0);
    let first = say::options().display_name("the first").remote(&flow, 3, "a").unwrap();
    let second = say::remote(&flow, 2, "b").unwrap();
    assert_eq!((first.get().unwrap(), second.get().unwrap()), (3, 2));
    let _ = say_and_fail::remote_blocking(&flow, 1, "error");
    drop(flow);
    println!("the program's own");
}

pub(crate) fn names_stand_in_front() {
    let (_, out, err) = run("role::host_with_prefixes", "0");
    let lines: Vec<_> = out.lines().collect();
    for line in 0..3 {
        let text = format!("a {line}");
        let found = lines.iter().find(|line| line.ends_with(&text)).expect(&text);
        assert!(found.starts_with("[the first 1 cpu/"), "{found}");
    }
    assert!(lines.iter().any(|line| line.starts_with("[say 2 cpu/") && line.ends_with("] b 1")));
    let sub = lines.iter().find(|line| line.ends_with("from a subprocess")).expect("it");
    assert!(sub.starts_with("[say_and_fail 3 cpu/"), "{sub}");
    // It came in two parts, of which only one had an end.
    let one = err.lines().find(|line| line.contains("an end without a newline")).expect("it");
    assert!(one.starts_with("[say_and_fail 3 cpu/"), "{one}");
    assert!(lines.contains(&"the program's own"), "{out}");
}

pub(crate) fn host_that_captures() {
    let flow = capturing(false, 4);
    for how in ["error", "panic", "abort", "kill"] {
        let call = say_and_fail::options().max_retries(0);
        let error = call.remote(&flow, 100, how).unwrap().get().unwrap_err();
        let output = &error.task().unwrap().output;
        assert!(output.len() == 4 && output.iter().any(|line| line == "line 99"), "{output:?}");
        assert!(output.iter().any(|line| line == "from a subprocess"), "{output:?}");
        assert!(output.iter().any(|line| line.starts_with("an end without")), "{output:?}");
        assert!(error.to_string().contains("\n  line 99\n"), "{error}");
    }
    let late = say_and_fail::options().deadline(Duration::from_millis(300)).max_retries(0);
    let error = late.remote(&flow, 3, "hang").unwrap().get().unwrap_err();
    assert!(error.task().unwrap().output.iter().any(|line| line == "line 2"), "{error}");
    // One that stood behind others, and before others.
    let many: Vec<_> = (0..40)
        .map(|n| {
            let (how, lines) = if n % 2 == 0 { ("error", n + 1) } else { ("other", n + 1) };
            say_and_fail::remote(&flow, lines, how).unwrap()
        })
        .collect();
    for (n, one) in (0..).zip(many) {
        let error = one.get().unwrap_err();
        let output = &error.task().unwrap().output;
        assert!(output.contains(&format!("line {n}")), "{n}: {output:?}");
    }
    assert!(say::remote_blocking(&flow, 3, "fine").is_ok());
}

pub(crate) fn an_error_has_the_last_lines() {
    let (_, out, _) = run("role::host_that_captures", "0");
    assert!(out.contains("line 99\n") && out.contains("fine 2\n"), "it is printed as well");
}

pub(crate) fn host_with_much_output() {
    let flow = crate::kit::builder(2).prefix_output(true).capture_output(2).build().unwrap();
    testkit::eventually("both processes", || {
        let workers = flow.workers().unwrap();
        workers.iter().all(|one| !one.pids.is_empty()) && say::remote_blocking(&flow, 0, "").is_ok()
    });
    std::thread::sleep(Duration::from_millis(100));
    let before = testkit::open_fds();
    let all: Vec<_> = (0..20).map(|_| say::remote(&flow, 20_000, "much").unwrap()).collect();
    // The driver is busy with something else.
    std::thread::sleep(Duration::from_millis(500));
    assert!(all.iter().all(|one| one.get().is_ok()));
    assert!(testkit::open_fds() <= before + 4);
    drop((all, flow));
}

pub(crate) fn nothing_is_lost_of_much() {
    let (_, out, _) = run("role::host_with_much_output", "0");
    let whole = |line: &&str| line.starts_with("[say ") && line.contains("] much ");
    assert_eq!(out.lines().filter(whole).count(), 400_000);
    assert_eq!(out.lines().count(), 400_000);
}
