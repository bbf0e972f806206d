//! What bodies print, and what a panic leaves.

use std::ffi::CStr;
use std::process::Output;

use mailring::abi::{CallConfig, TaskArgs};
use mailring::flow::{Cause, node};
use mailring::{FailureKind, Mode};

use crate::kit::{ask, storing};
use testkit::flow::{cause, flow};
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
    assert!(first.get().is_ok());
    assert!(matches!(cause(second.get()), Cause::WorkerCrashed(_)));
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
