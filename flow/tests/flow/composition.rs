//! One call with several features: what each of them does, it does beside every other.

use std::fmt;
use std::time::Duration;

use mailring::flow::{
    Budget, Cache, Cancel, Config, ObjectRef, Packing, Pending, Resources, add_info, node,
};
use serde_json::Value;
use testkit::eventually;
use testkit::flow::{Files, append, builder, fall, lines};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Feature {
    Tagged,
    Cached,
    Profiled,
    Hooked,
    Retried,
    Placed,
    Chained,
    Cancelled,
}

use Feature::*;

const ALL: [Feature; 8] = [Tagged, Cached, Profiled, Hooked, Retried, Placed, Chained, Cancelled];

/// Which ones a call has.
struct With<'a>(&'a [Feature]);

impl With<'_> {
    fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }
}

impl fmt::Display for With<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[node]
fn note(log: &str, what: &str) {
    append(log, what);
}

#[node]
fn half(n: u64) -> u64 {
    n / 2
}

/// Dies in its first attempt if it is to, and waits to be cancelled if it is to.
#[node]
fn work(log: &str, n: u64, dies: bool, waits: bool) -> Result<u64, mailring::flow::Cancelled> {
    let task = mailring::flow::task().unwrap();
    append(log, &format!("body {} {:?} {}", task.worker, task.tag.as_deref(), task.attempt));
    add_info("n", n);
    if dies && task.attempt == 1 {
        fall(libc::SIGKILL);
    }
    if waits {
        mailring::flow::sleep(Duration::from_secs(100))?;
    }
    Ok(2 * n)
}

/// What a worker has on which nothing runs that is not placed there.
fn lab() -> Resources {
    Resources::cpus(1.0).with("board", 1.0)
}

/// Makes a call with these, and looks whether each has done what it does.
fn check(with: &With<'_>) {
    let files = Files::new();
    let log = files.path("log");
    let flow = builder(1).workers("lab", 1, lab()).build().unwrap();
    let cache = Cache::open(files.path("cache"), Budget::unlimited()).unwrap();
    if with.has(Cached) {
        let config = Config::parse("cache: {'composition::work': {serve: true}}").unwrap();
        flow.configure(&config.cache(&cache)).unwrap();
    }
    let profile = with.has(Profiled).then(|| flow.start_collector(files.path("profile")).unwrap());

    let mut call = work::options();
    if with.has(Tagged) {
        call = call.tag("a tag");
    }
    if with.has(Hooked) {
        call = call.setup(&note::NODE, (&*log, "setup")).cleanup(&note::NODE, (&*log, "cleanup"));
    }
    let group = with.has(Placed).then(|| {
        let group = flow.placement_group(&[lab()], Packing::Pack).unwrap();
        group.wait_ready(Duration::from_secs(10)).unwrap();
        group
    });
    if let Some(group) = &group {
        call = call.placed(group, Some(0));
    }
    let (dies, waits) = (with.has(Retried), with.has(Cancelled));
    let send = || -> ObjectRef<u64> {
        if with.has(Chained) {
            let n = half::remote(&flow, 42u64).unwrap();
            return call.remote(&flow, &*log, &n, dies, waits).unwrap();
        }
        call.remote(&flow, &*log, 21u64, dies, waits).unwrap()
    };
    let reference = send();
    let below = half::remote(&flow, &reference).unwrap();
    let attempts = if dies { 2 } else { 1 };
    let bodies = || lines(&log).iter().filter(|line| line.starts_with("body")).count();
    if waits {
        eventually("the last attempt runs", || {
            bodies() == attempts
                && matches!(flow.pending(&reference).unwrap(), Pending::Running { .. })
        });
        flow.cancel(&reference, Cancel::default()).unwrap();
        assert!(reference.get().unwrap_err().is_cancelled(), "{with}");
        assert!(below.get().unwrap_err().is_cancelled(), "{with}");
    } else {
        assert_eq!((reference.get().unwrap(), below.get().unwrap()), (42, 21), "{with}");
        // Once more: from the cache, or by running.
        assert_eq!(send().get().unwrap(), 42, "{with}");
    }
    let more = usize::from(!waits && !with.has(Cached));
    let more = if more == 1 { attempts } else { 0 };
    let place = group.as_ref().map(|group| group.workers()[0].clone());
    assert!(place.as_ref().is_none_or(|place| place == "lab/0"));
    drop(flow); // what is cleaned up is, and the profile is whole

    // What the bodies and their hooks said.
    let said = lines(&log);
    let runs: Vec<&String> = said.iter().filter(|line| line.starts_with("body")).collect();
    assert_eq!(runs.len(), attempts + more, "{with}: {said:?}");
    for run in &runs {
        let tag = if with.has(Tagged) { "Some(\"a tag\")" } else { "None" };
        assert!(run.contains(tag), "{with}: {run}");
        assert!(place.as_ref().is_none_or(|place| run.contains(place)), "{with}: {run}");
    }
    if with.has(Hooked) {
        // A worker that dies does not clean up.
        let one = |dies: bool| match dies {
            true => &["setup", "body", "setup", "body", "cleanup"][..],
            false => &["setup", "body", "cleanup"],
        };
        let times = if more > 0 { 2 } else { 1 };
        let kinds: Vec<&str> = said.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, one(dies).repeat(times), "{with}");
    } else {
        assert_eq!(said.len(), runs.len());
    }
    // What was stored.
    if with.has(Cached) && !waits {
        assert_eq!(cache.keys().unwrap().len(), 1, "{with}");
    } else {
        assert!(cache.keys().unwrap().is_empty(), "{with}");
    }
    if let Some(path) = profile {
        let text = std::fs::read_to_string(path).unwrap();
        let all: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        check_profile(with, &all, attempts, more);
    }
}

fn check_profile(with: &With<'_>, all: &[Value], attempts: usize, more: usize) {
    let own = |line: &&Value| line["func"].as_str().is_some_and(|func| func.ends_with("::work"));
    let submitted: Vec<&Value> =
        all.iter().filter(own).filter(|line| line["type"] == "submitted").collect();
    let calls = if with.has(Cancelled) { 1 } else { 2 };
    assert_eq!(submitted.len(), calls, "{with}");
    for line in &submitted {
        assert_eq!(line["tag"] == "a tag", with.has(Tagged), "{line}");
        let edges = line["obj_ref_deps"].as_array().unwrap().len();
        assert_eq!(edges, usize::from(with.has(Chained)), "{line}");
    }
    let ids: Vec<&Value> = submitted.iter().map(|line| &line["call_id"]).collect();
    let count = |kind: &str| {
        all.iter().filter(|line| line["type"] == kind && ids.contains(&&line["call_id"])).count()
    };
    let runs = attempts + more;
    assert_eq!(count("dispatch"), runs, "{with}");
    assert_eq!(count("setup_done"), if with.has(Hooked) { runs } else { 0 }, "{with}");
    let ended = if more > 0 { 2 } else { 1 };
    assert_eq!(count("retried"), if with.has(Retried) { ended } else { 0 }, "{with}");
    assert_eq!(count("failed"), count("retried"), "{with}");
    if with.has(Cancelled) {
        assert_eq!((count("complete"), count("cancelled"), count("served")), (0, 1, 0), "{with}");
    } else {
        assert_eq!(count("complete"), ended, "{with}");
        assert_eq!(count("served"), usize::from(with.has(Cached)), "{with}");
        let said = all.iter().filter(own).filter(|line| line["type"] == "complete");
        said.for_each(|line| assert_eq!(line["extra"]["n"], 21, "{line}"));
    }
}

pub(crate) fn each_alone_and_all_pairs() {
    check(&With(&[]));
    for (at, &one) in ALL.iter().enumerate() {
        check(&With(&[one]));
        for &other in &ALL[at + 1..] {
            check(&With(&[one, other]));
        }
    }
}

pub(crate) fn all_at_once() {
    check(&With(&ALL));
    check(&With(&ALL[..7])); // not cancelled
    for without in 0..ALL.len() {
        let others: Vec<Feature> =
            ALL.into_iter().enumerate().filter(|(at, _)| *at != without).map(|(_, f)| f).collect();
        check(&With(&others));
    }
}
