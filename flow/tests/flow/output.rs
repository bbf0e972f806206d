//! What bodies print, with the name of the task in front, or captured for its error.

use std::process::Output;
use std::time::Duration;

use mailring::flow::{Flow, node};
use testkit::flow::builder;
use testkit::harness::again;
use testkit::{eventually, kill, open_fds};

/// What a host of these writes.
fn run(role: &str) -> (String, String) {
    let output: Output = again(role).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    (out, err)
}

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
        "kill" => kill(std::process::id() as i32, libc::SIGKILL),
        "hang" => std::thread::sleep(Duration::from_secs(1000)),
        _ => {}
    }
    Err(how.to_owned())
}

fn capturing(prefix: bool, lines: usize) -> Flow {
    builder(2).prefix_output(prefix).capture_output(lines).build().unwrap()
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
    let (out, err) = run("role::host_with_prefixes");
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
    let (out, _) = run("role::host_that_captures");
    assert!(out.contains("line 99\n") && out.contains("fine 2\n"), "it is printed as well");
}

pub(crate) fn host_with_much_output() {
    let flow = builder(2).prefix_output(true).capture_output(2).build().unwrap();
    eventually("both processes", || {
        let workers = flow.workers().unwrap();
        workers.iter().all(|one| !one.pids.is_empty()) && say::remote_blocking(&flow, 0, "").is_ok()
    });
    std::thread::sleep(Duration::from_millis(100));
    let before = open_fds();
    let all: Vec<_> = (0..20).map(|_| say::remote(&flow, 20_000, "much").unwrap()).collect();
    // The driver is busy with something else.
    std::thread::sleep(Duration::from_millis(500));
    assert!(all.iter().all(|one| one.get().is_ok()));
    assert!(open_fds() <= before + 4);
    drop((all, flow));
}

pub(crate) fn nothing_is_lost_of_much() {
    let (out, _) = run("role::host_with_much_output");
    let whole = |line: &&str| line.starts_with("[say ") && line.contains("] much ");
    assert_eq!(out.lines().filter(whole).count(), 400_000);
    assert_eq!(out.lines().count(), 400_000);
}
