//! Bypass: what stands in for a function, when, and where it runs; what a file may not say.

#![allow(unreachable_pub, reason = "the functions of an actor are public")]

use std::fs;
use std::sync::Mutex;

use mailring::flow::{
    self, Budget, Bypassed, Cache, Cause, Config, Dispatch, Error, Flow, Node, Resources, actor,
    node, nodes,
};
use serde::{Deserialize, Serialize};
use testkit::flow::{Files, add, append, failed, flow, infeasible, lines, square, worker_of};

/// What runs for real says so in a file.
#[node]
fn build(log: &str, source: &str) -> String {
    append(log, source);
    format!("built {source}")
}

#[node]
fn replay(call: Bypassed, log: &str, source: &str) -> String {
    format!("{:?} {} {source}", call.tag(), log.is_empty())
}

fn config(yaml: &str) -> Config {
    Config::parse(yaml).unwrap()
}

fn why_not(config: Result<Config, Error>) -> String {
    match config.and_then(|config| flow(1).configure(&config)) {
        Err(error) => error.to_string(),
        Ok(()) => panic!("this configuration is in force"),
    }
}

pub(crate) fn a_provider_runs_in_place_of_the_function() {
    let files = Files::new();
    let (flow, log) = (flow(1), files.path("log"));
    let off = config("bypass: {'bypass::build': false}").provider(&build::NODE, &replay::NODE);
    let on = config("bypass: {'bypass::build': true}").provider(&build::NODE, &replay::NODE);
    let call = |tag: Option<&str>| match tag {
        Some(tag) => build::options().tag(tag).remote_blocking(&flow, &log, "a").unwrap(),
        None => build::remote_blocking(&flow, &log, "a").unwrap(),
    };
    assert_eq!(call(None), "built a");
    flow.configure(&on).unwrap();
    assert_eq!(call(None), "None false a");
    assert_eq!(call(Some("t")), "Some(\"t\") false a");
    flow.configure(&off).unwrap();
    assert_eq!(call(None), "built a");
    flow.configure(&on).unwrap();
    flow.configure(&Config::default()).unwrap();
    assert_eq!(call(None), "built a");
    assert_eq!(lines(&log).len(), 3);
    assert_eq!(flow.stats().unwrap().bypassed, 2);
}

#[node(cpus = 2, resources(board = 1))]
fn measure(n: u64) -> i32 {
    panic!("not to be run with {n}")
}

#[node]
fn where_it_runs(call: Bypassed, n: u64) -> Result<i32, String> {
    let task = flow::task().ok_or("outside of a task")?;
    assert_eq!((task.tag.as_deref(), call.tag(), n), (Some("t"), Some("t"), 49));
    assert_eq!(task.name, "BYPASS_measure");
    assert!(task.cpus == 2.0 && task.labels == [("board".to_owned(), 1.0)], "{task:?}");
    Ok(std::process::id() as i32)
}

#[node]
fn hook(log: &str) {
    append(log, "hook");
}

pub(crate) fn it_is_scheduled_like_the_function() {
    let files = Files::new();
    let log = files.path("log");
    let flow = Flow::builder()
        .workers("cpu", 2, Resources::cpus(4.0))
        .workers("lab", 1, Resources::cpus(2.0).with("board", 1.0))
        .memory(16 << 20)
        .build()
        .unwrap();
    let on =
        config("bypass: {'bypass::measure': yes}").provider(&measure::NODE, &where_it_runs::NODE);
    flow.configure(&on).unwrap();
    // The refs are resolved, a name of the caller's own is no error, and hooks are the function's.
    let n = square::remote(&flow, 7).unwrap();
    let call = measure::options().tag("t").display_name("own").max_retries(0);
    let call = call.setup(&hook::NODE, (&log,)).cleanup(&hook::NODE, (&log,));
    assert_eq!(worker_of(&flow, call.remote_blocking(&flow, n).unwrap()), "lab/0");
    assert!(lines(&log).is_empty());
    let (needs, _) = infeasible(measure::options().resource("other", 1.0).remote(&flow, 1));
    assert_eq!(needs, "cpus 2, other 1");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Report {
    cycles: u64,
    name: String,
}

#[node]
fn text_of(_n: u64) -> Result<String, String> {
    Err("not to be run".to_owned())
}

#[node]
fn bytes_of() -> Vec<u8> {
    panic!("not to be run")
}

#[node]
fn report_of(_n: u64) -> Report {
    panic!("not to be run")
}

pub(crate) fn a_data_file_gives_the_value() {
    let files = Files::new();
    fs::write(files.path("text.txt"), "as it is\n").unwrap();
    fs::write(files.path("raw"), [0, 255, 7]).unwrap();
    fs::write(files.path("report.json"), r#"{"cycles": 12, "name": "x"}"#).unwrap();
    let yaml = "
bypass:
  text_of: {bypass: true, data: text.txt}
  bytes_of: {bypass: true, data: raw}
  report_of: {bypass: true, data: report.json}
";
    fs::write(files.path("flow.yaml"), yaml).unwrap();
    let flow = flow(1);
    flow.configure(&Config::load(files.path("flow.yaml")).unwrap()).unwrap();
    assert_eq!(text_of::remote_blocking(&flow, 1).unwrap(), "as it is\n");
    assert_eq!(bytes_of::remote_blocking(&flow).unwrap(), [0, 255, 7]);
    let report = Report { cycles: 12, name: "x".to_owned() };
    assert_eq!(report_of::remote_blocking(&flow, 1).unwrap(), report);
    fs::write(files.path("report.json"), r#"{"cycles": -1}"#).unwrap();
    let error = report_of::remote_blocking(&flow, 1).unwrap_err().to_string();
    assert!(error.contains("Report") && error.contains("as JSON"), "{error}");
    fs::remove_file(files.path("raw")).unwrap();
    let error = bytes_of::remote_blocking(&flow).unwrap_err().to_string();
    assert!(error.contains(&files.path("raw")), "{error}");
    // A provider goes before the file, and may read it.
    let with = Config::load(files.path("flow.yaml"));
    fs::write(files.path("raw"), [1]).unwrap();
    let with = with.or_else(|_| Config::load(files.path("flow.yaml"))).unwrap();
    flow.configure(&with.provider(&text_of::NODE, &shout::NODE)).unwrap();
    assert_eq!(text_of::remote_blocking(&flow, 3).unwrap(), "AS IT IS\n3");
}

#[node]
fn shout(call: Bypassed, n: u64) -> Result<String, Error> {
    Ok(format!("{}{n}", call.text()?.to_uppercase()))
}

#[node]
fn zero(_call: Bypassed, _n: u64) -> u64 {
    0
}

#[node]
fn broken(_call: Bypassed, n: u64) -> Result<u64, String> {
    Err(format!("no record of {n}"))
}

pub(crate) fn tags_decide_and_conditions_after_them() {
    let flow = flow(1);
    let yaml = r#"bypass: {square: {bypass: true, tags: ["iter\\d+", last]}}"#;
    let with = |yaml: &str| config(yaml).provider(&square::NODE, &zero::NODE);
    let call = |tag: &str| square::options().tag(tag).remote_blocking(&flow, 3).unwrap();
    flow.configure(&with(yaml)).unwrap();
    assert_eq!((call("iter10"), call("last"), call("iter"), call("xiter1")), (0, 0, 9, 9));
    assert_eq!(square::remote_blocking(&flow, 3).unwrap(), 9, "patterns, and no tag");
    flow.configure(&with("bypass: {square: {bypass: true, tags: []}}")).unwrap();
    assert_eq!((call(""), call("iter1")), (9, 9));
    flow.configure(&with("bypass: {square: {bypass: true, tags: .*}}")).unwrap();
    assert_eq!((call(""), call("any")), (0, 0));
    assert_eq!(square::remote_blocking(&flow, 3).unwrap(), 9);
    flow.configure(&with("bypass: {square: true}")).unwrap();
    assert_eq!(square::remote_blocking(&flow, 3).unwrap(), 0);
    // The condition is asked here, after the tag.
    static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let odd = |call: &Dispatch<'_>| {
        let n = call.arg::<u64>(0)?;
        ASKED.lock().unwrap().push(format!("{:?} {n:?}", call.tag()));
        Ok(n.is_some_and(|n| n % 2 == 1))
    };
    let asking = |yaml: &str| with(yaml).condition(&square::NODE, odd);
    flow.configure(&asking(yaml)).unwrap();
    let three = square::options().tag("iter1").remote_blocking(&flow, 3).unwrap();
    let four = square::options().tag("iter2").remote_blocking(&flow, 4).unwrap();
    let other = square::options().tag("other").remote_blocking(&flow, 5).unwrap();
    assert_eq!((three, four, other), (0, 16, 25));
    let held = Files::new();
    let late = testkit::flow::nap::remote(&flow, 200).unwrap();
    let by_ref = square::options().tag("iter3").remote(&flow, &late).unwrap();
    assert_eq!(by_ref.get().unwrap(), 40_000);
    let put = flow.put(&7u64).unwrap();
    assert_eq!(square::options().tag("last").remote_blocking(&flow, put).unwrap(), 0);
    let asked = ASKED.lock().unwrap().clone();
    let expected = [
        "Some(\"iter1\") Some(3)",
        "Some(\"iter2\") Some(4)",
        "Some(\"iter3\") None",
        "Some(\"last\") Some(7)",
    ];
    assert_eq!(asked, expected);
    drop(held);
}

pub(crate) fn errors_come_where_they_happen() {
    let flow = flow(1);
    let on = || config("bypass: {square: true}").provider(&square::NODE, &broken::NODE);
    flow.configure(&on()).unwrap();
    let call = square::remote(&flow, 3).unwrap(); // the provider's: at `get`
    let error = failed(call.get());
    assert_eq!(error.name, "BYPASS_square");
    assert!(matches!(&error.cause, Cause::App(app) if app.message == "no record of 3"), "{error}");
    // The condition's: at the call.
    let asking = on().condition(&square::NODE, |call| Err(call.arg::<String>(0).unwrap_err()));
    flow.configure(&asking).unwrap();
    assert!(matches!(square::remote(&flow, 3), Err(Error::Decode { .. })));
    let asking = on().condition(&square::NODE, |call| call.arg::<u64>(1).map(|_| true));
    flow.configure(&asking).unwrap();
    let error = square::remote(&flow, 3).unwrap_err().to_string();
    assert!(error.contains("no argument 1"), "{error}");
    // Another type of provider, by name.
    let wrong = config("bypass: {square: true}").provider_named("square", &replay::NODE);
    flow.configure(&wrong).unwrap();
    assert!(matches!(failed(square::remote_blocking(&flow, 3)).cause, Cause::Codec(_)));
}

#[derive(Serialize, Deserialize)]
struct One;

#[derive(Serialize, Deserialize)]
struct Two;

#[nodes]
impl One {
    #[node]
    fn make(&self, n: u64) -> u64 {
        n + 1
    }
}

#[nodes]
impl Two {
    #[node]
    fn make(&self, n: u64) -> u64 {
        n + 2
    }
}

#[node]
fn of_one(_call: Bypassed, _one: One, _n: u64) -> u64 {
    100
}

#[node]
fn of_any(call: Bypassed, _self: (), n: u64) -> Result<u64, Error> {
    Ok(200 + n + u64::from(call.data().is_some()) + call.text().map_or(0, |text| text.len() as u64))
}

pub(crate) fn a_qualified_name_goes_before_a_bare_one_for_each_setting() {
    let flow = flow(1);
    let files = Files::new();
    fs::write(files.path("a"), "a").unwrap();
    fs::write(files.path("bb"), "bb").unwrap();
    let call = |tag: &str| {
        let one = One::MAKE.options().tag(tag).remote_blocking(&flow, &One, 0).unwrap();
        (one, Two::MAKE.options().tag(tag).remote_blocking(&flow, &Two, 0).unwrap())
    };
    let (data_a, data_b) = (files.path("a"), files.path("bb"));
    let set = |yaml: &str| {
        let yaml = yaml.replace("DATA_A", &data_a).replace("DATA_B", &data_b);
        let any = config(&yaml).provider_named("make", &of_any::NODE);
        flow.configure(&any.provider(&One::MAKE, &of_one::NODE)).unwrap();
    };
    // The flag, and the provider.
    set("bypass: {make: true}");
    assert_eq!(call("t"), (100, 200));
    set("bypass: {make: true, 'One::make': false}");
    assert_eq!(call("t"), (1, 200));
    set("bypass: {'flow::bypass::Two::make': true, make: false}");
    assert_eq!(call("t"), (1, 200));
    // Tags: the bare entry has the flag for both.
    set("bypass: {make: {bypass: true, tags: x}, 'One::make': {tags: y}}");
    assert_eq!((call("x"), call("y")), ((1, 200), (100, 2)));
    // Data, with the flag and the tags of the bare entry.
    set("bypass: {make: {bypass: true, tags: x, data: DATA_A}, 'Two::make': {data: DATA_B}}");
    assert_eq!((call("x"), call("y")), ((100, 203), (1, 2)));
    // The condition.
    let both = config("bypass: {make: true}").provider_named("make", &of_any::NODE);
    let both = both.provider(&One::MAKE, &of_one::NODE).condition_named("make", |_| Ok(false));
    flow.configure(&both.clone()).unwrap();
    assert_eq!(call("t"), (1, 2));
    flow.configure(&both.condition(&Two::MAKE, |_| Ok(true))).unwrap();
    assert_eq!(call("t"), (1, 200));
}

#[node]
fn outer(n: u64) -> Result<u64, Error> {
    let flow = Flow::current()?;
    let tagged = square::options().tag("inner");
    add::remote_blocking(&flow, tagged.remote(&flow, n)?, square::remote(&flow, n)?)
}

pub(crate) fn calls_of_bodies_have_the_configuration_of_their_call() {
    let flow = flow(1); // one worker: the process is used again and again
    let mut pids = Vec::new();
    let mut run = || {
        pids.push(testkit::flow::pid::remote_blocking(&flow).unwrap());
        outer::remote_blocking(&flow, 3).unwrap()
    };
    assert_eq!(run(), 18);
    let all = config("bypass: {square: true}").provider(&square::NODE, &zero::NODE);
    let some = config("bypass: {square: {bypass: true, tags: inner}}")
        .provider(&square::NODE, &zero::NODE);
    let asked = all.clone().condition(&square::NODE, |call| Ok(call.arg(0)? == Some(3u64)));
    let never = all.clone().condition(&square::NODE, |call| {
        assert!(flow::task().is_some(), "asked in the process that calls");
        Ok(call.tag().is_none() && call.arg(0)? == Some(3u64))
    });
    for _ in 0..3 {
        for (config, expected) in
            [(&all, 0), (&some, 9), (&asked, 0), (&never, 9), (&Config::default(), 18)]
        {
            flow.configure(config).unwrap();
            assert_eq!(run(), expected);
        }
    }
    pids.dedup();
    assert_eq!(pids.len(), 1);
    // An error of a condition is the call's, in the body.
    flow.configure(&all.condition(&square::NODE, |call| call.arg::<u64>(5).map(|_| true))).unwrap();
    let error = outer::remote_blocking(&flow, 3).unwrap_err().to_string();
    assert!(error.contains("no argument 5"), "{error}");
}

#[node]
fn waits_and_calls(gate: &str, n: u64) -> Result<u64, Error> {
    append(&format!("{gate}/begun"), "x");
    testkit::flow::pass_gate(&format!("{gate}/open"));
    square::remote_blocking(&Flow::current()?, n)
}

pub(crate) fn a_body_that_runs_keeps_the_configuration_of_its_call() {
    let flow = flow(1);
    let gate = testkit::flow::Gate::new();
    let all = config("bypass: {square: true}").provider(&square::NODE, &zero::NODE);
    flow.configure(&all).unwrap();
    let early = waits_and_calls::remote(&flow, gate.path(), 3).unwrap();
    gate.await_begun(1);
    flow.configure(&Config::default()).unwrap();
    gate.open();
    assert_eq!(early.get().unwrap(), 0);
    assert_eq!(waits_and_calls::remote_blocking(&flow, gate.path(), 3).unwrap(), 9);
}

struct Holder;

#[actor]
impl Holder {
    pub fn new() -> Self {
        Self
    }

    pub fn call(&self, n: u64) -> Result<u64, Error> {
        square::remote_blocking(&Flow::current()?, n)
    }
}

pub(crate) fn methods_of_actors_run_and_what_they_call_may_not() {
    let flow = flow(2);
    let all = config("bypass: {square: true}").provider(&square::NODE, &zero::NODE);
    let holder = HolderActor::new(&flow).unwrap();
    assert_eq!(holder.call(3u64).remote().unwrap().get().unwrap(), 9);
    flow.configure(&all).unwrap();
    assert_eq!(holder.call(3u64).remote().unwrap().get().unwrap(), 0);
    let why = why_not(Config::parse("bypass: {'Holder::call': true}"));
    assert!(why.contains("1:10") && why.contains("no node is called `Holder::call`"), "{why}");
}

#[node]
fn from_cache(call: Bypassed, _log: &str, _source: &str) -> Result<String, Error> {
    call.cached()
}

/// The flow of the original's example: the first run is cold, the second one warm.
pub(crate) fn cold_and_then_warm() {
    let files = Files::new();
    let log = files.path("log");
    let yaml = "
cache:
  bypass::build: {cache: true, tags: 'iter\\d+_opt\\d+'}
bypass:
  bypass::build: {bypass: true, tags: 'iter\\d+_opt\\d+'}
";
    fs::write(files.path("flow.yaml"), yaml).unwrap();
    let run = |with_condition: bool| {
        let cache = Cache::open(files.path("cache"), Budget::bytes(1 << 20)).unwrap();
        let mut config = Config::load(files.path("flow.yaml")).unwrap().cache(&cache);
        config = config.provider(&build::NODE, &from_cache::NODE);
        if with_condition {
            config = config.condition(&build::NODE, |call| Ok(call.is_cached()));
        }
        let flow = flow(2);
        flow.configure(&config).unwrap();
        let calls: Vec<_> = (0..6)
            .map(|n| {
                let tag = format!("iter{}_opt{}", n / 2, n % 2);
                build::options().tag(&tag).remote(&flow, &log, format!("{n}")).unwrap()
            })
            .collect();
        let values = flow.get_all(&calls);
        (values, flow.stats().unwrap().bypassed)
    };
    // Without the condition a cold cache is an error.
    let error = run(false).0.unwrap_err().to_string();
    assert!(error.contains("BYPASS_build") && error.contains("no entry \"iter"), "{error}");
    let expected: Vec<String> = (0..6).map(|n| format!("built {n}")).collect();
    assert_eq!(run(true), (Ok(expected.clone()), 0));
    assert_eq!(lines(&log).len(), 6);
    assert_eq!(run(true), (Ok(expected.clone()), 6));
    assert_eq!(run(false), (Ok(expected), 6));
    assert_eq!(lines(&log).len(), 6, "nothing was built again");
}

pub(crate) fn what_a_provider_says_is_stored_but_never_served() {
    let files = Files::new();
    let cache = Cache::open(files.path("cache"), Budget::unlimited()).unwrap();
    let flow = flow(1);
    let yaml = "{cache: {square: {serve: true}}, bypass: {square: true}}";
    let on = config(yaml).cache(&cache).provider(&square::NODE, &zero::NODE);
    flow.configure(&on).unwrap();
    assert_eq!(square::options().tag("t").remote_blocking(&flow, 3).unwrap(), 0);
    assert_eq!(square::remote_blocking(&flow, 3).unwrap(), 0);
    assert_eq!(cache.read::<u64>("t").unwrap(), Some(0));
    assert_eq!(cache.keys().unwrap(), ["t"]);
    flow.configure(&config("cache: {square: {serve: true}}").cache(&cache)).unwrap();
    assert_eq!(square::options().tag("t").remote_blocking(&flow, 3).unwrap(), 9);
    // Bypass goes before the cache.
    flow.configure(&on).unwrap();
    assert_eq!(square::remote_blocking(&flow, 3).unwrap(), 0);
}

pub(crate) fn a_file_that_is_wrong_says_where() {
    let files = Files::new();
    fs::write(files.path("data"), "x").unwrap();
    for (yaml, at, part) in [
        ("bypass: [square]", "1:9", "`bypass` is a list; expected a map of functions"),
        (
            "cash:\n  square: true\n",
            "1:1",
            "no section `cash`; expected the sections `cache` and `bypass`",
        ),
        ("cache:\n  sqare: true\n", "2:3", "no node is called `sqare`"),
        ("cache:\n  A.square: true\n", "2:3", "did you mean `testkit::flow::square`?"),
        (
            "cache:\n  square: maybe\n",
            "2:11",
            "`square` is `maybe`; expected true, false, or a map",
        ),
        ("cache:\n  square: 'true'\n", "2:11", "is the text \"true\""),
        ("cache:\n  square: {}\n", "2:11", "expected true, false, or a map"),
        ("cache:\n  square:\n", "2:9", "`square` is nothing"),
        ("cache:\n  square: {cache: 1}\n", "2:19", "`cache` is `1`; expected true or false"),
        (
            "cache:\n  square: {data: x}\n",
            "2:12",
            "no setting `data`; expected one of cache, tags, serve, version",
        ),
        (
            "bypass:\n  square:\n    tags:\n      - ok\n      - '(x'\n",
            "5:9",
            "invalid regular expression `(x`",
        ),
        ("bypass:\n  square: {tags: 'a(?=b)'}\n", "2:18", "look-around"),
        (
            "bypass:\n  square: {tags: {a: b}}\n",
            "2:18",
            "`tags` is a map; expected a regular expression",
        ),
        ("bypass:\n  square: {bypass: true, data: none.txt}\n", "2:32", "the data file"),
        ("cache:\n  square: true\n  square: false\n", "3:3", "twice, first in line 2"),
        ("cache: {square: true\n", "2:1", "not YAML"),
        ("cache:\n  square: true\n bypass: x\n", "3:2", "not YAML"),
        ("a: &x 1\nb: *x\n", "2:4", "an alias (`*`) is not supported"),
        ("cache: {square: *x}\n", "1:17", "not YAML"),
        ("cache: {square: !!bool true}\n", "1:17", "a tag (`!`) has no meaning here"),
        ("cache: {}\n---\nbypass: {}\n", "2:1", "a second document"),
        ("just text", "1:1", "the file is `just text`; expected the sections"),
        // What could never do anything.
        (
            "bypass:\n  square: true\n",
            "2:3",
            "`square` is to be bypassed, but nothing stands in for `testkit::flow::square`",
        ),
        ("cache:\n  square: true\n", "2:3", "has no cache"),
        ("bypass:\n  square: {tags: x}\n", "2:3", "nothing says `bypass: true` for it"),
        ("cache:\n  square: {version: 2}\n", "2:3", "nothing says `cache: true` for it"),
        (
            "bypass:\n  square: false\n  flow::square: {bypass: true, data: Cargo.toml}\n",
            "2:3",
            "entries with fuller names say all",
        ),
    ] {
        let why = why_not(Config::parse(yaml));
        assert!(why.starts_with(&format!("configuration:{at}: ")), "{yaml}\n{why}");
        assert!(why.contains(part), "{yaml}\n{why}");
    }
    fs::write(files.path("bad.yaml"), "cache:\n  sqare: true\n").unwrap();
    match Config::load(files.path("bad.yaml")) {
        Err(Error::Config { file, line: 2, column: 3, .. }) => {
            assert_eq!(file, files.path("bad.yaml"));
        }
        other => panic!("{other:?}"),
    }
    let missing = Config::load(files.path("missing.yaml")).unwrap_err().to_string();
    assert!(missing.contains("missing.yaml") && missing.contains("No such file"), "{missing}");
    for nothing in ["", "# nothing\n", "cache:\nbypass:\n", "{}", "bypass: {}", "---\n"] {
        flow(1).configure(&config(nothing)).unwrap();
    }
    let unknown = Config::default().provider_named("nobody", &zero::NODE);
    assert_eq!(flow(1).configure(&unknown), Err(Error::NotANode("nobody".to_owned())));
    let unknown = Config::default().condition_named("nobody", |_| Ok(true));
    assert_eq!(flow(1).configure(&unknown), Err(Error::NotANode("nobody".to_owned())));
}

pub(crate) fn threads_in_place_of_processes() {
    let files = Files::new();
    let log = files.path("log");
    let cache = Cache::open(files.path("cache"), Budget::unlimited()).unwrap();
    let flow = testkit::flow::builder(2).in_process().build().unwrap();
    let yaml = "{cache: {'bypass::build': {serve: true}}, bypass: {square: true}}";
    let on = config(yaml).cache(&cache).provider(&square::NODE, &zero::NODE);
    flow.configure(&on.condition(&square::NODE, |call| Ok(call.tag().is_some()))).unwrap();
    assert_eq!(outer::remote_blocking(&flow, 3).unwrap(), 9);
    for _ in 0..2 {
        assert_eq!(build::remote_blocking(&flow, &log, "a").unwrap(), "built a");
    }
    assert_eq!(lines(&log).len(), 1);
    let _: Node<(Bypassed, u64), u64> = zero::NODE;
}
