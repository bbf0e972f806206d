//! How far a flow is, as it is shown.

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailring::flow::{Flow, FunctionProgress, ProgressReport, Resources, node};
use testkit::eventually;
use testkit::flow::flow;
use testkit::harness::again;

#[node]
fn work(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

#[node]
fn after(n: u64) -> Result<u64, String> {
    if n == 0 { Err("nothing".to_owned()) } else { Ok(n) }
}

/// The entry of a function, which is empty before the first call was heard of.
fn of(report: &ProgressReport, name: &str) -> FunctionProgress {
    let found = report.functions.iter().find(|function| function.name == name);
    found.cloned().unwrap_or_default()
}

pub(crate) fn what_a_report_says() {
    let flow = Flow::builder()
        .workers("cpu", 1, Resources::cpus(1.0))
        .workers("lab", 1, Resources::cpus(2.0).with("board", 1.0))
        .build()
        .unwrap();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&reports);
    let progress = flow
        .progress_with(Duration::from_millis(10), move |report| {
            heard.lock().unwrap().push(report.clone());
        })
        .unwrap();
    let board = work::options().resource("board", 1.0);
    let first = board.remote(&flow, 300u64).unwrap();
    let second = board.remote(&flow, 0u64).unwrap();
    let below = [after::remote(&flow, &first).unwrap(), after::remote(&flow, &second).unwrap()];
    let last = after::remote(&flow, &below[1]).unwrap();
    eventually("it runs", || of(&progress.report(), "work").running == 1);
    let report = progress.report();
    assert_eq!(of(&report, "work").waiting, [("board".to_owned(), 1)], "{report}");
    assert_eq!(of(&report, "after").waiting_for_inputs, 3);
    assert!(report.to_string().contains("1 waits for board"), "{report}");
    assert!(last.get().is_err());
    drop(progress);
    let reports = reports.lock().unwrap();
    let end = reports.last().unwrap();
    let (work, after) = (of(end, "work"), of(end, "after"));
    assert_eq!((work.calls, work.completed, work.over()), (2, 2, 2));
    assert!(work.mean.unwrap() >= Duration::from_millis(140), "{work}");
    assert_eq!((after.completed, after.failed, after.cancelled), (1, 1, 1), "{after}");
    assert_eq!(end.left, None);
    assert!(reports.iter().any(|report| of(report, "work").longest > Duration::from_millis(50)));
}

pub(crate) fn beside_a_log() {
    let (flow, files) = (flow(1), testkit::flow::Files::new());
    let early = work::remote(&flow, 100u64).unwrap();
    let log = flow.start_collector(files.path("log")).unwrap();
    let progress = flow.progress_with(Duration::from_secs(10), |_| {}).unwrap();
    let late = work::remote(&flow, 0u64).unwrap();
    assert_eq!((early.get().unwrap(), late.get().unwrap()), (100, 0));
    eventually("all is seen", || of(&progress.report(), "work").completed == 2);
    drop(progress);
    work::remote_blocking(&flow, 0u64).unwrap(); // the log goes on
    flow.stop_collector().unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    let count = |kind: &str| text.matches(&format!("\"type\":\"{kind}\"")).count();
    assert_eq!(["submitted", "dispatch", "complete", "run_end"].map(count), [3, 3, 3, 1], "{text}");
    // And the other way round: the log comes later.
    let progress = flow.progress_with(Duration::from_secs(10), |_| {}).unwrap();
    let open = work::remote(&flow, 400u64).unwrap();
    eventually("it runs", || of(&progress.report(), "work").running == 1);
    let log = flow.start_collector(files.path("other")).unwrap();
    open.get().unwrap();
    drop(flow);
    assert_eq!(of(&progress.report(), "work").completed, 1);
    let text = std::fs::read_to_string(log).unwrap();
    let count = |kind: &str| text.matches(&format!("\"type\":\"{kind}\"")).count();
    assert_eq!(["submitted", "dispatch", "complete", "run_end"].map(count), [1; 4], "{text}");
}

pub(crate) fn host_with_progress() {
    let flow = flow(2);
    let progress = flow.progress().unwrap();
    progress.print("a line above");
    let naps: Vec<_> = (0..4).map(|_| work::remote(&flow, 200u64).unwrap()).collect();
    naps.iter().for_each(|nap| assert_eq!(nap.get().unwrap(), 200));
}

pub(crate) fn nothing_is_drawn_without_a_terminal() {
    let output: Output = again("role::host_with_progress").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "a line above\n");
}

pub(crate) fn on_a_terminal() {
    let host = again("role::host_with_progress");
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let mut line = format!("stty cols 120; {}", quoted(host.get_program()));
    host.get_args().for_each(|arg| line += &format!(" {}", quoted(arg)));
    let run = |no_color: &str| {
        let mut script = Command::new("script");
        for (name, value) in host.get_envs() {
            script.env(name, value.unwrap_or_default());
        }
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        if no_color.is_empty() {
            script.env_remove("NO_COLOR");
        } else {
            script.env("NO_COLOR", no_color);
        }
        let output = script.output().expect("script, of util-linux");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let plain = run("1");
    assert!(plain.contains("a line above") && plain.contains("4/4"), "{plain:?}");
    assert!(plain.contains("2 running, up to ") && plain.contains("2 wait for"), "{plain:?}");
    assert!(!plain.contains("\x1b[3"), "a colour: {plain:?}");
    assert!(run("").contains("\x1b[3"), "no colour");
}
