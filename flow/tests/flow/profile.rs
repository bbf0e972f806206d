//! Profiles: what stands in the log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mailring::flow::{Flow, ObjectRef, Pending, Resources, actor, add_info, log_event, node};
use serde_json::{Value, json};
use testkit::flow::{Files, fall, flow};

#[node]
fn double(n: u64) -> u64 {
    2 * n
}

#[node]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[node]
fn nap(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[node]
fn wrong(text: &str) -> Result<u64, String> {
    Err(text.to_owned())
}

#[node]
fn with_info(n: u64) -> u64 {
    add_info("n", n);
    add_info("text", "a \"quoted\"\nline </script>");
    add_info("deep", json!({"list": [1, null, 2.5], "flag": true}));
    add_info("n", n + 1);
    if n > 0 {
        assert_eq!(with_info(n - 1), n - 1); // an ordinary call, with values of its own
    }
    add_info("last", n as f64 / 2.0);
    n
}

/// The lines of a log.
fn read(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

fn about<'a>(lines: &'a [Value], call: &Value) -> HashMap<&'a str, &'a Value> {
    let own = lines.iter().filter(|line| line["call_id"] == *call);
    own.map(|line| (line["type"].as_str().unwrap(), line)).collect()
}

fn ts(line: &Value) -> f64 {
    line["ts"].as_f64().unwrap()
}

/// Runs this with a profile: its lines.
fn profiled(flow: Flow, run: impl FnOnce(&Flow)) -> Vec<Value> {
    let files = Files::new();
    let path = flow.start_collector(files.path("log")).unwrap();
    run(&flow);
    drop(flow);
    read(&path)
}

pub(crate) fn a_call_from_the_first_to_the_last_line() {
    let flow = Flow::builder().workers("cpu", 2, Resources::cpus(1.0).with("board", 1.0)).build();
    let lines = profiled(flow.unwrap(), |flow| {
        let first = nap::options().resource("board", 1.0).display_name("a \"nap\"").tag("t/1");
        first.remote_blocking(flow, 20u64).unwrap();
    });
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["run", "submitted", "ready", "dispatch", "complete", "run_end"]);
    let [run, submitted, ready, dispatch, complete, end] = &lines[..] else { panic!() };
    assert_eq!((&run["version"], &run["mode"]), (&json!(1), &json!("process")));
    assert_eq!(run["pid"], json!(std::process::id()));
    assert_eq!(
        run["workers"][1],
        json!({"worker_id": "cpu/1", "node_id": "cpu", "resources": {"cpus": 1.0, "board": 1.0}})
    );
    let id = run["run"].as_str().unwrap();
    assert_eq!((id.len(), &end["run"]), (12, &run["run"]));
    assert_eq!(submitted["call_id"], json!(format!("{id}_000001")));
    assert!(submitted["func"].as_str().unwrap().ends_with("profile::nap"), "{submitted}");
    for line in [submitted, dispatch] {
        assert_eq!(line["resources"], json!({"cpus": 1.0, "board": 1.0}));
        assert_eq!((&line["obj_ref_deps"], &line["is_remote"]), (&json!([]), &json!(true)));
    }
    assert_eq!((&submitted["caller"], &submitted["tag"]), (&Value::Null, &json!("t/1")));
    assert_eq!(submitted["caller_worker_id"], json!("driver"));
    for line in [submitted, dispatch, complete] {
        assert_eq!(line["display_name"], json!("a \"nap\""));
    }
    for line in [dispatch, complete] {
        assert_eq!((&line["worker_id"], &line["node_id"]), (&json!("cpu/0"), &json!("cpu")));
        assert_eq!(line["attempt"], json!(1));
        assert!(line["pid"].as_u64().unwrap() > 1);
    }
    let times = [submitted, ready, dispatch, complete].map(ts);
    assert!(times.is_sorted(), "{times:?}");
    let took = complete["exec_time_s"].as_f64().unwrap();
    assert!((0.02..5.0).contains(&took) && times[3] - times[2] >= took - 1e-5, "{took} {times:?}");
    assert!(complete["bytes_in"].as_u64().unwrap() >= 1);
    assert_eq!(end["totals"]["completed"], json!(1));
}

pub(crate) fn edges_are_those_of_refs() {
    let lines = profiled(flow(2), |flow| {
        let one: ObjectRef<u64> = double::remote(flow, 1u64).unwrap(); // 1
        let two: ObjectRef<u64> = double::remote(flow, &one).unwrap(); // 2
        let both = add::remote(flow, &one, &two).unwrap(); // 3
        assert_eq!(both.get().unwrap(), 6);
        // Fetched before, and passed on.
        let again = add::remote(flow, &both, &both).unwrap(); // 4
        // As values they are nobody's.
        let none = add::remote(flow, 6u64, again.get().unwrap()).unwrap(); // 5
        let all = mailring::flow::gather(flow, &[again, none]).unwrap(); // 6
        assert_eq!(all.get().unwrap(), [12, 18]);
    });
    let submitted = of(&lines, "submitted");
    let number = |id: &Value| id.as_str().unwrap().rsplit('_').next().unwrap().parse().unwrap();
    let deps = |line: &&Value| -> Vec<u32> {
        line["obj_ref_deps"].as_array().unwrap().iter().map(number).collect()
    };
    let edges: Vec<_> = submitted.iter().map(deps).collect();
    assert_eq!(edges, [vec![], vec![1], vec![1, 2], vec![3], vec![], vec![4, 5]]);
    for line in of(&lines, "dispatch") {
        let own = submitted.iter().find(|other| other["call_id"] == line["call_id"]).unwrap();
        assert_eq!(line["obj_ref_deps"], own["obj_ref_deps"]);
    }
    assert_eq!(of(&lines, "complete").len(), 6);
}

pub(crate) fn why_a_call_waits() {
    let flow = Flow::builder()
        .workers("cpu", 1, Resources::cpus(1.0))
        .workers("lab", 1, Resources::cpus(4.0).with("board", 1.0))
        .build();
    let lines = profiled(flow.unwrap(), |flow| {
        let on = |label: &str| nap::options().resource(label, 1.0);
        let naps: Vec<ObjectRef<()>> =
            (0..3).map(|_| on("board").remote(flow, 30u64).unwrap()).collect();
        naps.iter().for_each(|nap| nap.get().unwrap());
    });
    let waiting = of(&lines, "waiting");
    assert_eq!(waiting.len(), 2, "{waiting:#?}");
    for line in waiting {
        assert_eq!((&line["for"], &line["what"]), (&json!("resources"), &json!(["board"])));
        let call = about(&lines, &line["call_id"]);
        assert!(ts(call["ready"]) <= ts(line) && ts(line) < ts(call["dispatch"]));
        assert!(ts(call["dispatch"]) - ts(call["submitted"]) > 0.025);
    }
}

pub(crate) fn what_is_said_of_calls() {
    let lines = profiled(flow(1), |flow| {
        add_info("nobody's", 1);
        assert_eq!(with_info::remote_blocking(flow, 1u64).unwrap(), 1);
        assert_eq!(with_info::remote_blocking(flow, 0u64).unwrap(), 0);
        assert_eq!(double::remote_blocking(flow, 1u64).unwrap(), 2);
        assert_eq!(with_info(0), 0); // in the driver
        log_event("phase", json!({"name": "x\u{1}", "type": "dispatch"}));
    });
    let deep = json!({"list": [1, null, 2.5], "flag": true});
    let extra = |n: u64| json!({"n": n + 1, "text": "a \"quoted\"\nline </script>", "deep": deep, "last": n as f64 / 2.0});
    let complete = of(&lines, "complete");
    assert_eq!(
        complete.iter().map(|line| &line["extra"]).collect::<Vec<_>>(),
        [&extra(1), &extra(0), &Value::Null]
    );
    let [nested, own] = of(&lines, "local_end")[..] else { panic!("{lines:#?}") };
    assert_eq!((&nested["extra"], &own["extra"]), (&extra(0), &extra(0)));
    assert_eq!((&nested["caller"], &own["caller"]), (&complete[0]["call_id"], &Value::Null));
    assert_eq!((&nested["worker_id"], &own["worker_id"]), (&json!("cpu/0"), &json!("driver")));
    assert_eq!(own["pid"], json!(std::process::id()));
    assert_eq!(of(&lines, "local_start").len(), 2);
    let [event] = of(&lines, "phase")[..] else { panic!("{lines:#?}") };
    assert_eq!((&event["name"], &event["worker_id"]), (&json!("x\u{1}"), &json!("driver")));
}

#[node]
fn dies_once(path: &str) -> u64 {
    testkit::flow::append(path, "run");
    add_info("lost", true);
    if testkit::flow::lines(path).len() == 1 {
        fall(libc::SIGKILL);
    }
    7
}

pub(crate) fn failures_and_retries() {
    let files = Files::new();
    let path = files.path("runs");
    let lines = profiled(flow(1), |flow| {
        assert_eq!(dies_once::remote_blocking(flow, &path).unwrap(), 7); // 1
        let twice = wrong::options().max_retries(1).retry_on_any_error();
        let failed = twice.remote(flow, "no </b>").unwrap(); // 2
        let below = double::remote(flow, &failed).unwrap(); // 3
        below.get().unwrap_err();
        let late = nap::options().deadline(Duration::from_millis(30)).max_retries(0);
        late.remote_blocking(flow, 10_000u64).unwrap_err(); // 4
        let cancelled = nap::remote(flow, 10_000u64).unwrap(); // 5
        while !matches!(flow.pending(&cancelled).unwrap(), Pending::Running { .. }) {}
        flow.cancel(&cancelled, mailring::flow::Cancel::forced()).unwrap();
        cancelled.get().unwrap_err();
    });
    let id = |n: u32| json!(format!("{}_{n:06}", lines[0]["run"].as_str().unwrap()));
    let story = |n: u32| -> Vec<(&str, &Value)> {
        let own = lines.iter().filter(|line| line["call_id"] == id(n));
        own.map(|line| (line["type"].as_str().unwrap(), &line["attempt"])).collect()
    };
    let (one, two, none) = (&json!(1), &json!(2), &Value::Null);
    assert_eq!(
        story(1),
        [
            ("submitted", none),
            ("ready", none),
            ("dispatch", one),
            ("failed", one),
            ("retried", two),
            ("dispatch", two),
            ("complete", two)
        ]
    );
    let failed = of(&lines, "failed");
    let story_of_failures: Vec<_> = failed
        .iter()
        .map(|line| (line["kind"].as_str().unwrap(), line["final"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        story_of_failures,
        [("worker_died", false), ("error", false), ("error", true), ("deadline", true)]
    );
    assert_eq!(failed[0]["signal"], json!(libc::SIGKILL));
    assert_eq!(failed[0].get("extra"), None);
    assert!(failed[1]["message"].as_str().unwrap().contains("no </b>"));
    assert_eq!(story(3), [("submitted", none), ("cancelled", &json!(0))]);
    assert_eq!(about(&lines, &id(3))["cancelled"]["by"], json!("dependency"));
    assert_eq!(about(&lines, &id(5))["cancelled"]["by"], json!("user"));
    assert_eq!(of(&lines, "worker_died").len(), 3, "{lines:#?}");
    let end = &lines[lines.len() - 1]["totals"];
    let totals = ["submitted", "completed", "failed", "cancelled", "retried"].map(|key| &end[key]);
    assert_eq!(totals, [&json!(5), one, two, two, two]);
}

#[node]
fn prepare() {
    std::thread::sleep(Duration::from_millis(20));
}

pub(crate) fn setup_is_told_apart() {
    let lines = profiled(flow(1), |flow| {
        nap::options().setup(&prepare::NODE, ()).remote_blocking(flow, 1u64).unwrap();
    });
    let complete = of(&lines, "complete")[0];
    let call = about(&lines, &complete["call_id"]);
    assert!(ts(call["setup_done"]) - ts(call["dispatch"]) >= 0.02);
    assert!(
        complete["exec_time_s"].as_f64().unwrap() <= ts(complete) - ts(call["setup_done"]) + 1e-5
    );
}

pub(crate) struct Counter(u64);

#[actor]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Counter {
    pub fn new(first: u64) -> Self {
        Self(first)
    }

    pub fn next(&mut self) -> u64 {
        std::thread::sleep(Duration::from_millis(5));
        self.0 += 1;
        self.0
    }
}

#[node]
fn outer(n: u64) -> u64 {
    let flow = Flow::current().unwrap();
    double::remote(&flow, n).unwrap().get().unwrap()
}

pub(crate) fn actors_and_calls_of_bodies() {
    let lines = profiled(flow(1), |flow| {
        let counter = CounterActor::new(flow, 1u64).unwrap();
        let calls: Vec<_> = (0..20).map(|_| counter.next().remote().unwrap()).collect();
        assert_eq!(calls[19].get().unwrap(), 21);
        assert_eq!(outer::remote_blocking(flow, 4u64).unwrap(), 8);
    });
    let submitted = of(&lines, "submitted");
    let count = |kind: &str| submitted.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!([count("actor"), count("method"), count("task")], [1, 20, 2]);
    let inner = submitted.last().unwrap();
    assert_eq!(inner["caller"], submitted[submitted.len() - 2]["call_id"]);
    assert_eq!(inner["caller_worker_id"], json!("cpu/0"));
    assert!(of(&lines, "waiting").iter().any(|line| line["for"] == "order"), "{lines:#?}");
    assert_eq!(of(&lines, "complete").len(), 23);
}

pub(crate) fn runs_are_appended() {
    let (flow, files) = (flow(1), Files::new());
    let directory = files.path("logs");
    std::fs::create_dir(&directory).unwrap();
    flow.stop_collector().unwrap(); // none: nothing
    let path = flow.start_collector(&directory).unwrap();
    assert_eq!(path, PathBuf::from(&directory).join("mailring-profile.log"));
    double::remote_blocking(&flow, 1u64).unwrap();
    assert_eq!(flow.start_collector("/nowhere/at/all").unwrap(), path, "the first goes on");
    flow.stop_collector().unwrap();
    double::remote_blocking(&flow, 1u64).unwrap(); // between two runs
    // One that goes on when the run begins, and ends in it.
    let open = nap::remote(&flow, 50u64).unwrap();
    let begun = Instant::now();
    flow.start_collector(&directory).unwrap();
    open.get().unwrap();
    flow.stop_collector().unwrap();
    let lines = read(&path);
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[6..], ["run", "submitted", "ready", "dispatch", "complete", "run_end"]);
    assert_ne!(lines[0]["run"], lines[6]["run"]);
    let took = lines[10]["exec_time_s"].as_f64().unwrap();
    assert!(took >= 0.049 && took < begun.elapsed().as_secs_f64() + 0.2, "{took}");
    let error = flow.start_collector("/nowhere/at/all").unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
}

pub(crate) fn long_calls_stand_there_while_they_run() {
    let (flow, files) = (flow(1), Files::new());
    let path = flow.start_collector(files.path("log")).unwrap();
    let nap = nap::remote(&flow, 400u64).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while of(&read(&path), "dispatch").is_empty() {
        assert!(Instant::now() < until && !nap.is_ready(), "{:#?}", read(&path));
        std::thread::sleep(Duration::from_millis(10));
    }
    nap.get().unwrap();
    drop(flow);
    assert_eq!(of(&read(&path), "dispatch").len(), 1);
}

pub(crate) fn many_calls_and_none_is_lost() {
    let lines = profiled(flow(2), |flow| {
        let mut last: ObjectRef<u64> = double::remote(flow, 0u64).unwrap();
        for _ in 0..5000 {
            last = double::remote(flow, last).unwrap();
        }
        let beside: Vec<_> = (0..5000u64).map(|n| double::remote(flow, n).unwrap()).collect();
        assert_eq!(last.get().unwrap(), 0);
        beside.iter().for_each(|one| assert!(one.get().is_ok()));
    });
    let mut seen: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in &lines {
        if let Some(call) = line["call_id"].as_str() {
            seen.entry(call).or_default().push(line["type"].as_str().unwrap());
        }
    }
    assert_eq!(seen.len(), 10_001);
    for (call, kinds) in seen {
        let kinds: Vec<&str> = kinds.into_iter().filter(|kind| *kind != "waiting").collect();
        assert_eq!(kinds, ["submitted", "ready", "dispatch", "complete"], "{call}");
    }
    let submitted = of(&lines, "submitted");
    assert_eq!(submitted[5000]["obj_ref_deps"], json!([submitted[4999]["call_id"]]));
}

pub(crate) fn in_process() {
    let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).in_process().build();
    let lines = profiled(flow.unwrap(), |flow| {
        assert_eq!(with_info::remote_blocking(flow, 1u64).unwrap(), 1);
    });
    assert_eq!(lines[0]["mode"], json!("thread"));
    let complete = of(&lines, "complete")[0];
    assert_eq!(
        (&complete["extra"]["n"], &complete["pid"]),
        (&json!(2), &json!(std::process::id()))
    );
    assert_eq!(of(&lines, "local_end")[0]["caller"], complete["call_id"]);
}
