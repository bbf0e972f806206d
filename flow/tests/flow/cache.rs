//! The cache: what is stored, when, and under what; what is served; what goes wrong with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mailring::flow::{Budget, Cache, Config, Error, Flow, ObjectRef, Shared, gather, node, nodes};
use serde::{Deserialize, Serialize};
use testkit::eventually;
use testkit::flow::{Files, add, append, flow, lines, square};
use testkit::harness::again;

const UNLIMITED: Budget = Budget::unlimited();

fn cache(files: &Files) -> Cache {
    Cache::open(files.path("cache"), UNLIMITED).unwrap()
}

/// A flow with this file and this cache.
fn configured(yaml: &str, cache: &Cache) -> Flow {
    let flow = flow(2);
    flow.configure(&Config::parse(yaml).unwrap().cache(cache)).unwrap();
    flow
}

/// Notes each run in a file.
#[node]
fn noted(log: &str, text: &str) -> String {
    append(log, text);
    text.to_uppercase()
}

#[node]
fn other(n: u64) -> u64 {
    n + 1
}

#[node]
fn fails(log: &str) -> Result<u64, String> {
    append(log, "run");
    Err("no".to_owned())
}

#[node]
fn large(n: usize) -> Vec<u64> {
    (0..n as u64).collect()
}

/// Without waiting for the task.
fn call(flow: &Flow, tag: &str, n: u64) -> ObjectRef<u64> {
    square::options().tag(tag).remote(flow, n).unwrap()
}

pub(crate) fn a_result_is_stored_when_its_task_completes() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {square: true}", &cache);
    drop(call(&flow, "never fetched", 3));
    eventually("the result is stored", || cache.has("never fetched"));
    assert_eq!(cache.read::<u64>("never fetched").unwrap(), Some(9));
    // Whoever has the value finds it in the cache at once.
    for n in 0..50u64 {
        let tag = format!("t{n}");
        assert_eq!(call(&flow, &tag, n).get().unwrap(), n * n);
        assert!(cache.has(&tag), "{tag}");
    }
    // The last writer wins, and what is on its way at the end of the flow arrives.
    let last: Vec<_> = (0..50).map(|n| call(&flow, &format!("t{n}"), n + 1)).collect();
    flow.get_all(&last).unwrap();
    drop(flow);
    assert_eq!(cache.read::<u64>("t49").unwrap(), Some(2500));
    assert_eq!(cache.keys().unwrap().len(), 51);
}

pub(crate) fn only_what_the_file_says_is_stored() {
    let files = Files::new();
    let cache = cache(&files);
    let yaml = r#"
cache:
  square: {cache: true, tags: ["iter\\d+", 'x|y']}
  add: {cache: true, tags: []}
  "cache::other": no
  fails: yes
"#;
    let flow = configured(yaml, &cache);
    for tag in ["iter1", "iter12", "iter", "xiter1", "iter1x", "x", "y", "xy", ""] {
        call(&flow, tag, 2).get().unwrap();
    }
    square::remote_blocking(&flow, 3).unwrap(); // without a tag
    add::options().tag("x").remote_blocking(&flow, 1, 2).unwrap();
    other::options().tag("other").remote_blocking(&flow, 1).unwrap();
    let log = files.path("log");
    fails::options().tag("failed").remote_blocking(&flow, &log).unwrap_err();
    drop(flow);
    assert_eq!(cache.keys().unwrap(), ["iter1", "iter12", "x", "y"]);
    assert_eq!(lines(&log).len(), 1);
}

pub(crate) fn values_of_all_sizes_come_back() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {large: true}", &cache);
    for n in [0, 1, 30, 300, 5000, 100_000] {
        let tag = format!("{n}");
        let expected: Vec<u64> = (0..n as u64).collect();
        assert_eq!(large::options().tag(&tag).remote_blocking(&flow, n).unwrap(), expected);
        assert_eq!(cache.read::<Vec<u64>>(&tag).unwrap(), Some(expected));
    }
}

pub(crate) fn any_tag_will_do() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {square: true}", &cache);
    let long = "x".repeat(5000);
    let tags = ["../../../tmp/escape", "a/b", "a_b", "", ".", "..", "nul\0", "ü", &long];
    for (n, tag) in (0..).zip(tags) {
        call(&flow, tag, n).get().unwrap();
        assert_eq!(cache.read::<u64>(tag).unwrap(), Some(n * n), "{tag:.20}");
    }
    assert_eq!(cache.keys().unwrap().len(), tags.len());
    assert_eq!(fs::read_dir(cache.directory()).unwrap().count(), tags.len());
}

#[node]
fn names_a_ref(n: u64) -> Vec<ObjectRef<u64>> {
    vec![square::remote(&Flow::current().unwrap(), n).unwrap()]
}

#[node]
fn names_a_block() -> Shared<u64> {
    Shared::from_slice(&Flow::current().unwrap(), &[1, 2, 3]).unwrap()
}

pub(crate) fn what_names_refs_is_not_stored() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {names_a_ref: {serve: true}, names_a_block: true}", &cache);
    for _ in 0..2 {
        let refs = names_a_ref::options().tag("refs").remote_blocking(&flow, 3).unwrap();
        assert_eq!(refs[0].get().unwrap(), 9);
        let block = names_a_block::options().tag("block").remote_blocking(&flow).unwrap();
        assert_eq!(*block, [1, 2, 3]);
    }
    assert!(cache.keys().unwrap().is_empty());
    assert!(matches!(cache.write("refs", &call(&flow, "t", 1)), Err(Error::Encode { .. })));
}

pub(crate) fn a_cached_ref_is_a_ref_like_any_other() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {square: true, add: {serve: true}}", &cache);
    let (two, three) = (call(&flow, "two", 2), call(&flow, "three", 3));
    let both = add::remote(&flow, &two, &three).unwrap();
    let all = gather(&flow, &[two.clone(), three.clone(), both.clone()]).unwrap();
    assert_eq!(all.get().unwrap(), [4, 9, 13]);
    assert!(two.wait_timeout(Duration::from_secs(5)) && two.is_ready());
    assert_eq!(add::remote_blocking(&flow, two, three).unwrap(), 13);
    assert_eq!(flow.stats().unwrap().served, 1);
}

pub(crate) fn a_store_that_fails_is_not_the_calls_failure() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {square: true, noted: {serve: true}}", &cache);
    assert_eq!(call(&flow, "a", 2).get().unwrap(), 4);
    cache.flush();
    fs::remove_dir_all(cache.directory()).unwrap();
    assert_eq!(call(&flow, "b", 3).get().unwrap(), 9);
    let log = files.path("log");
    for _ in 0..2 {
        assert_eq!(noted::remote_blocking(&flow, &log, "x").unwrap(), "X");
    }
    assert_eq!(lines(&log).len(), 2, "nothing to serve from");
    assert!(!cache.has("b") && cache.keys().is_err());
    fs::create_dir(cache.directory()).unwrap();
    assert_eq!(call(&flow, "c", 4).get().unwrap(), 16);
    assert_eq!(cache.keys().unwrap(), ["c"]);
}

/// Another user: who may read the directory, and not write there.
pub(crate) fn a_directory_that_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    let own = cache(&files);
    own.write("there", &7u64).unwrap();
    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(Path::new(&files.path("")), 0o755);
    set(own.directory(), 0o555);
    let flow = flow(1);
    // SAFETY: the effective user of this process alone, which runs one test.
    let root = unsafe { libc::geteuid() == 0 && libc::seteuid(65534) == 0 };
    let cache = Cache::open(own.directory(), UNLIMITED).unwrap();
    assert_eq!(cache.read::<u64>("there").unwrap(), Some(7));
    let error = cache.write("new", &1u64).unwrap_err().to_string();
    assert!(error.contains("writing to the cache directory"), "{error}");
    flow.configure(&Config::parse("cache: {square: true}").unwrap().cache(&cache)).unwrap();
    assert_eq!(call(&flow, "new", 3).get().unwrap(), 9);
    assert_eq!(cache.keys().unwrap(), ["there"]);
    if root {
        // SAFETY: back to what it was.
        unsafe { libc::seteuid(0) };
    }
    set(own.directory(), 0o755);
}

/// A disk that is full: no file of this process may be longer than a little.
pub(crate) fn a_full_disk() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {large: true, square: true}", &cache);
    let limit = libc::rlimit { rlim_cur: 10_000, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: this process alone, which runs one test; a longer file is an error instead of a signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
    assert_eq!(large::options().tag("large").remote_blocking(&flow, 5000).unwrap().len(), 5000);
    assert_eq!(call(&flow, "small", 3).get().unwrap(), 9);
    assert_eq!(cache.keys().unwrap(), ["small"]);
    assert_eq!(fs::read_dir(cache.directory()).unwrap().count(), 1, "nothing half written is left");
}

pub(crate) fn what_is_served_has_the_same_arguments() {
    let files = Files::new();
    let (cache, log) = (cache(&files), files.path("log"));
    let yaml = "cache: {noted: {serve: true, version: 1}}";
    let run = |yaml: &str, texts: &[&str]| {
        let flow = configured(yaml, &cache);
        for text in texts {
            assert_eq!(noted::remote_blocking(&flow, &log, *text).unwrap(), text.to_uppercase());
        }
        flow.stats().unwrap().served
    };
    let long = "long ".repeat(1000);
    assert_eq!(run(yaml, &["a", "b", "a", &long, &long]), 2);
    assert_eq!(lines(&log).len(), 3);
    assert_eq!(run(yaml, &["b", "c", "a", &long]), 3);
    assert_eq!(lines(&log).len(), 4);
    // Another version knows nothing of the old one's results, and does not touch them.
    assert_eq!(run("cache: {noted: {serve: true, version: 2}}", &["a", "a"]), 1);
    assert_eq!(run("cache: {noted: {serve: true}}", &["a"]), 0);
    assert_eq!(run("cache: {noted: {cache: true}}", &["a"]), 0);
    assert_eq!(run(yaml, &["a"]), 1);
    // What was removed is not served, though it is in memory.
    let flow = configured(yaml, &cache);
    let kept = noted::remote(&flow, &log, "a").unwrap();
    kept.get().unwrap();
    let runs = lines(&log).len();
    for tag in cache.keys().unwrap() {
        assert!(cache.evict(&tag).unwrap());
    }
    noted::remote_blocking(&flow, &log, "a").unwrap();
    assert_eq!(lines(&log).len(), runs + 1);
}

pub(crate) fn an_entry_with_a_tag_is_served_to_its_own_call_alone() {
    let files = Files::new();
    let (cache, log) = (cache(&files), files.path("log"));
    let flow = configured("cache: {noted: {serve: true}, square: {serve: true}}", &cache);
    let tagged = noted::options().tag("one name");
    for text in ["a", "a", "b", "b", "a"] {
        assert_eq!(tagged.remote_blocking(&flow, &log, text).unwrap(), text.to_uppercase());
    }
    assert_eq!(lines(&log), ["a", "b", "a"], "the tag has the last result");
    // Another function under the same tag.
    assert_eq!(call(&flow, "one name", 5).get().unwrap(), 25);
    assert_eq!(tagged.remote_blocking(&flow, &log, "a").unwrap(), "A");
    // What was written by hand is the result of no call.
    cache.write("one name", &"X".to_owned()).unwrap();
    assert_eq!(tagged.remote_blocking(&flow, &log, "a").unwrap(), "A");
    assert_eq!(lines(&log).len(), 5);
    assert_eq!(cache.keys().unwrap(), ["one name"]);
}

pub(crate) fn refs_count_by_their_values() {
    let files = Files::new();
    let (cache, log) = (cache(&files), files.path("log"));
    for round in 0..2 {
        let flow = configured("cache: {join: {serve: true}}", &cache);
        for len in [10usize, 400, 100_000] {
            let numbers = large::remote(&flow, len).unwrap();
            let put = flow.put(&"text".to_owned()).unwrap();
            let joined = join::remote(&flow, &log, numbers, put).unwrap();
            assert_eq!(joined.get().unwrap(), format!("text{len}"));
        }
        // The same values by another way.
        let again = join::remote(&flow, &log, (0..10u64).collect::<Vec<_>>(), "text").unwrap();
        assert_eq!(again.get().unwrap(), "text10");
        assert_eq!(flow.stats().unwrap().served, if round == 0 { 1 } else { 4 });
    }
    assert_eq!(lines(&log).len(), 3);
}

#[node]
fn join(log: &str, numbers: &[u64], text: &str) -> String {
    append(log, "join");
    format!("{text}{}", numbers.len())
}

pub(crate) fn a_value_that_is_in_memory_is_served_from_there() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {large: {serve: true}}", &cache);
    let first = large::remote(&flow, 1_000_000).unwrap();
    let place = |one: &ObjectRef<Vec<u64>>| one.view().unwrap().as_ptr();
    let (address, used) = (place(&first), flow.stats().unwrap().memory_used);
    let again: Vec<_> = (0..5).map(|_| large::remote(&flow, 1_000_000).unwrap()).collect();
    assert!(again.iter().all(|one| place(one) == address), "one copy for all");
    assert_eq!(flow.stats().unwrap().memory_used, used);
    assert_eq!(flow.stats().unwrap().served, 5);
    drop(first);
    assert_eq!(again[4].view().unwrap()[999_999], 999_999);
    drop(again);
    // From the disk, once nobody has it.
    eventually("the memory is free", || flow.stats().unwrap().memory_used == 0);
    assert_eq!(large::remote(&flow, 1_000_000).unwrap().view().unwrap()[999_999], 999_999);
    assert_eq!(flow.stats().unwrap().served, 6);
}

#[node]
fn nested(log: &str, text: &str) -> Result<String, Error> {
    let flow = Flow::current()?;
    let one = noted::options().tag("nested").remote(&flow, log, text)?;
    noted::remote_blocking(&flow, log, one)
}

pub(crate) fn calls_of_bodies_are_stored_and_served() {
    let files = Files::new();
    let (cache, log) = (cache(&files), files.path("log"));
    for served in [0, 2, 4] {
        let flow = configured("cache: {noted: {serve: true}}", &cache);
        assert_eq!(nested::remote_blocking(&flow, &log, "deep").unwrap(), "DEEP");
        if served > 2 {
            assert_eq!(nested::remote_blocking(&flow, &log, "deep").unwrap(), "DEEP");
        }
        assert_eq!(flow.stats().unwrap().served, served);
    }
    assert_eq!(lines(&log), ["deep", "DEEP"]);
}

#[derive(Serialize, Deserialize)]
struct Board {
    log: String,
    names: BTreeMap<String, u32>,
}

#[nodes]
impl Board {
    #[node]
    fn measure(&self, n: u32) -> u32 {
        append(&self.log, "measure");
        self.names.values().sum::<u32>() + n
    }
}

pub(crate) fn a_receiver_counts() {
    let files = Files::new();
    let (cache, log) = (cache(&files), files.path("log"));
    let flow = configured("cache: {'Board::measure': {serve: true}}", &cache);
    let mut board = Board { log: log.clone(), names: BTreeMap::from([("a".to_owned(), 1)]) };
    for (more, sum) in [(1, 2), (1, 2), (2, 3)] {
        assert_eq!(Board::MEASURE.remote_blocking(&flow, &board, more).unwrap(), sum);
    }
    board.names.insert("b".to_owned(), 5);
    assert_eq!(Board::MEASURE.remote_blocking(&flow, &board, 1).unwrap(), 7);
    assert_eq!(lines(&log).len(), 3);
}

#[node]
fn length(log: &str, path: &str) -> usize {
    append(log, path);
    fs::read(path).map_or(0, |bytes| bytes.len())
}

fn set_times_back(path: &str) {
    let time = SystemTime::now() - Duration::from_secs(1000);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

pub(crate) fn files_count_by_their_content() {
    let files = Files::new();
    let (cache, log, input) = (cache(&files), files.path("log"), files.path("input"));
    let flow = configured("cache: {length: {serve: true}}", &cache);
    let expect = |runs: usize, len: usize| {
        let call = length::options().inputs([&input]);
        assert_eq!(call.remote_blocking(&flow, &log, &input).unwrap(), len);
        cache.flush(); // what changes before a result is stored is taken to have changed during the run
        assert_eq!(lines(&log).len(), runs);
    };
    expect(1, 0); // it does not exist
    expect(1, 0);
    fs::write(&input, "12345").unwrap();
    expect(2, 5);
    fs::write(&input, "12345").unwrap(); // touched, and as it was
    expect(2, 5);
    set_times_back(&input);
    expect(2, 5);
    fs::write(&input, "123456").unwrap();
    expect(3, 6);
    fs::write(&input, "12345").unwrap(); // as it was before
    expect(3, 5);
    fs::remove_file(&input).unwrap();
    expect(3, 0);
    fs::create_dir(&input).unwrap(); // cannot be read
    expect(4, 0);
    expect(5, 0);
}

#[node]
fn changes_its_input(log: &str, path: &str) -> usize {
    append(log, "run");
    let len = fs::read(path).map_or(0, |bytes| bytes.len());
    append(path, "more");
    len
}

pub(crate) fn a_file_that_changes_meanwhile_spoils_nothing() {
    let files = Files::new();
    let (cache, log, input) = (cache(&files), files.path("log"), files.path("input"));
    let flow = configured("cache: {changes_its_input: {serve: true}}", &cache);
    fs::write(&input, "x").unwrap();
    let call = changes_its_input::options().inputs([&input]);
    assert_eq!(call.remote_blocking(&flow, &log, &input).unwrap(), 1);
    fs::write(&input, "x").unwrap();
    assert_eq!(call.remote_blocking(&flow, &log, &input).unwrap(), 1);
    assert_eq!(lines(&log).len(), 2);
    assert!(cache.keys().unwrap().is_empty());
}

pub(crate) fn a_call_that_is_looked_for_can_be_cancelled() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {square: {serve: true}}", &cache);
    for round in 0..20u64 {
        let calls: Vec<_> = (0..10).map(|n| square::remote(&flow, n + round).unwrap()).collect();
        let chained = square::remote(&flow, &calls[3]).unwrap();
        flow.cancel_many(&calls, mailring::flow::Cancel::default()).unwrap();
        for one in calls.iter().chain([&chained]) {
            match one.get() {
                Ok(_) => {}
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
    }
    assert_eq!(flow.stats().unwrap().incomplete, 0);
}

pub(crate) fn a_driver_that_is_killed_leaves_whole_entries() {
    let files = Files::new();
    let directory = files.path("cache");
    for round in 0..5 {
        let mut host = again("role::cache_writer").env("CACHE", &directory).spawn().unwrap();
        let cache = Cache::open(&directory, UNLIMITED).unwrap();
        eventually("it has begun to write", || cache.keys().unwrap().len() > round);
        std::thread::sleep(Duration::from_millis(7 * round as u64));
        host.kill().unwrap();
        host.wait().unwrap();
        for tag in Cache::open(&directory, UNLIMITED).unwrap().keys().unwrap() {
            let value = cache.read::<Vec<u64>>(&tag).unwrap().expect("a whole entry");
            assert_eq!(value.len(), 20_000);
        }
    }
}

pub(crate) fn local_calls_take_part() {
    let files = Files::new();
    let (cache, log, input) = (cache(&files), files.path("log"), files.path("input"));
    let flow =
        configured("cache: {noted: {serve: true}, square: true, length: {serve: true}}", &cache);
    for _ in 0..2 {
        assert_eq!(noted::options().local(&flow, &log, "a").unwrap(), "A");
    }
    assert_eq!(noted::remote_blocking(&flow, &log, "a").unwrap(), "A", "the same entry");
    let text = flow.put(&"a".to_owned()).unwrap();
    assert_eq!(noted::options().local(&flow, &log, &text).unwrap(), "A");
    assert_eq!((lines(&log).len(), flow.stats().unwrap().served), (1, 3));
    let two = square::remote(&flow, 2).unwrap();
    assert_eq!(square::options().tag("t").local(&flow, &two).unwrap(), 16);
    assert_eq!(cache.read::<u64>("t").unwrap(), Some(16));
    assert_eq!(square::options().local(&flow, 3).unwrap(), 9);
    fs::write(&input, "123").unwrap();
    let length = length::options().inputs([&input]);
    for _ in 0..2 {
        assert_eq!(length.local(&flow, &log, &input).unwrap(), 3);
    }
    fs::write(&input, "1234").unwrap();
    assert_eq!(length.local(&flow, &log, &input).unwrap(), 4);
    assert_eq!(lines(&log).len(), 3);
    let error = fails::options().local(&flow, &log).unwrap_err().to_string();
    assert!(error.contains("no") && error.contains("fails"), "{error}");
    // Bypassed, in this process; a plain call stays one.
    let yaml = "bypass: {'cache::other': true}";
    let config = Config::parse(yaml).unwrap().provider(&other::NODE, &seven::NODE);
    flow.configure(&config).unwrap();
    assert_eq!((other::options().local(&flow, 1).unwrap(), other(1)), (7, 2));
    flow.configure(&config.condition(&other::NODE, |call| Ok(call.arg(0)? == Some(5u64)))).unwrap();
    assert_eq!(other::options().local(&flow, 1).unwrap(), 2);
    assert_eq!(other::options().local(&flow, 5).unwrap(), 7);
    assert_eq!(flow.stats().unwrap().bypassed, 2);
}

#[node]
fn seven(_call: mailring::flow::Bypassed, _n: u64) -> u64 {
    7
}

pub(crate) fn a_profile_says_what_was_served_and_bypassed() {
    let files = Files::new();
    let cache = cache(&files);
    let flow = configured("cache: {square: {serve: true}}", &cache);
    call(&flow, "t", 3).get().unwrap();
    let log = flow.start_collector(files.path("log")).unwrap();
    assert_eq!(call(&flow, "t", 3).get().unwrap(), 9);
    let yaml = "bypass: {'cache::other': true}";
    let config = Config::parse(yaml).unwrap().provider(&other::NODE, &seven::NODE);
    flow.configure(&config).unwrap();
    assert_eq!(other::remote_blocking(&flow, 1).unwrap(), 7);
    drop(flow);
    let lines: Vec<serde_json::Value> = lines(log.to_str().unwrap())
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |func: &str| {
        let own =
            lines.iter().filter(|line| line["func"].as_str().is_some_and(|it| it.ends_with(func)));
        own.map(|line| line["type"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("::square"), ["submitted", "served"]);
    assert_eq!(of("::other"), ["submitted", "bypassed", "dispatch", "complete"]);
    let line = |kind: &str| lines.iter().find(|line| line["type"] == kind).unwrap();
    assert_eq!((&line("served")["from"], &line("served")["tag"]), (&"cache".into(), &"t".into()));
    assert_eq!(line("bypassed")["provider"], "registered");
    assert_eq!(line("dispatch")["display_name"], "BYPASS_other");
    let totals = &line("run_end")["totals"];
    assert_eq!((&totals["served"], &totals["bypassed"]), (&1.into(), &1.into()));
}

/// Stores without end.
pub(crate) fn cache_writer() {
    let cache = Cache::open(std::env::var("CACHE").unwrap(), UNLIMITED).unwrap();
    let flow = configured("cache: {large: true}", &cache);
    for n in 0..100_000 {
        let tag = format!("{} {n}", std::process::id());
        large::options().tag(&tag).remote_blocking(&flow, 20_000).unwrap();
    }
}
