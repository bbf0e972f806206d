//! Bodies that call nodes and wait for them, with few cpus; and waits that would never end.

use std::time::{Duration, Instant};

use mailring::flow::{Cause, Error, Flow, ObjectRef, Resources, actor, node};
use testkit::eventually;
use testkit::flow::{assert_soon, cause, depth, failed, flow};

const LONG: Duration = Duration::from_secs(20);

pub(crate) fn fifty_deep_on_one_cpu() {
    let flow = flow(1);
    assert_eq!(depth::remote(&flow, 50u32).unwrap().get_timeout(LONG).unwrap(), 50);
}

#[node]
fn fib(n: u64) -> Result<u64, Error> {
    if n < 2 {
        return Ok(n);
    }
    let flow = Flow::current()?;
    let (a, b) = (fib::remote(&flow, n - 1)?, fib::remote(&flow, n - 2)?);
    Ok(a.get()? + b.get()?)
}

pub(crate) fn fib_on_one_cpu() {
    let flow = flow(1);
    assert_eq!(fib::remote(&flow, 8u64).unwrap().get_timeout(LONG).unwrap(), 21);
    let objects = flow.stats().unwrap().objects;
    assert_eq!(objects, 0, "all refs are gone");
}

#[node]
fn breaks() -> Result<u32, String> {
    Err("broken".to_owned())
}

#[node]
fn passes(value: u32) -> u32 {
    value
}

#[node]
fn asks(deep: u32) -> Result<u32, Error> {
    let flow = Flow::current()?;
    if deep > 0 {
        return asks::remote_blocking(&flow, deep - 1);
    }
    let broken = breaks::remote(&flow)?;
    passes::remote_blocking(&flow, &broken)
}

/// What a body hands on is the error that it was given, with all it knows of the first task.
pub(crate) fn errors_come_up_with_their_root() {
    let flow = flow(1);
    let mut error = failed(asks::remote_blocking(&flow, 2u32));
    for _ in 0..3 {
        assert_eq!(error.name, "asks");
        let Cause::App(app) = &error.cause else { panic!("{error}") };
        assert!(app.message.contains("`breaks`") && app.message.contains("broken"), "{app}");
        let Some(Error::Task(inner)) = app.downcast() else { panic!("{app}") };
        error = *inner;
    }
    assert_eq!(error.name, "breaks");
    assert_eq!(error.below.as_ref().map(|(_, name)| name.as_str()), Some("passes"));
    assert!(matches!(&error.cause, Cause::App(app) if app.message == "broken"), "{error}");
}

/// The first of so many, with a message of this length.
#[node]
fn fails_far_below(deep: u32, len: usize) -> Result<u32, Error> {
    let flow = Flow::current()?;
    match deep {
        0 => long_failure::remote_blocking(&flow, len),
        _ => fails_far_below::remote_blocking(&flow, deep - 1, len),
    }
}

#[node]
fn long_failure(len: usize) -> Result<u32, String> {
    Err("e".repeat(len))
}

/// The same, looked at in a body: the name and the message of the first.
#[node]
fn looks_at_the_root(deep: u32, len: usize) -> Result<(String, String), Error> {
    match fails_far_below::remote_blocking(&Flow::current()?, deep, len) {
        Err(Error::Task(error)) => {
            let root = error.root();
            let Cause::App(app) = root.cause else { return Ok((root.name, String::new())) };
            Ok((root.name, app.message))
        }
        other => Ok((String::new(), format!("{other:?}"))),
    }
}

#[derive(Debug)]
struct Wrapped(Error);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrapped")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[node]
fn wraps(deep: u32) -> Result<u32, Wrapped> {
    let flow = Flow::current().map_err(Wrapped)?;
    fails_far_below::remote_blocking(&flow, deep, 3usize).map_err(Wrapped)
}

#[node]
fn without_end(depth: u32) -> Result<u32, Error> {
    without_end::remote_blocking(&Flow::current()?, depth + 1)
}

pub(crate) fn errors_from_far_below_keep_their_root() {
    let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).max_processes(70);
    let flow = flow.build().unwrap();
    for (deep, len) in [(1, 10), (4, 10), (45, 10), (64, 10), (10, 5_000), (20, 7_500)] {
        let error = failed(fails_far_below::remote_blocking(&flow, deep, len));
        assert_eq!(error.name, "fails_far_below");
        let root = error.root();
        assert_eq!(root.name, "long_failure", "{deep} levels: {root:.300}");
        let Cause::App(app) = &root.cause else { panic!("{root}") };
        assert_eq!(app.message.len(), len, "whole, {deep} levels");
        let text = error.to_string();
        assert!(text.contains("long_failure") && text.len() < len + 1500, "{text:.3000}");
    }
    for deep in [0, 20] {
        let error = failed(wraps::remote_blocking(&flow, deep));
        assert_eq!(error.root().name, "long_failure", "{error}");
    }
    for (deep, len) in [(0, 10), (64, 10), (3, 7_500), (64, 7_500), (3, 20_000)] {
        let looked = looks_at_the_root::remote(&flow, deep, len).unwrap().get_timeout(LONG);
        let (name, message) = looked.unwrap();
        assert_eq!(name, "long_failure", "{deep} levels: {message:.300}");
        if len <= 8_000 {
            assert_eq!(message.len(), len, "whole, {deep} levels");
        } else {
            let kept = message.bytes().take_while(|&byte| byte == b'e').count();
            assert!(kept > 7_900, "{message}");
            assert_eq!(message[kept..], format!(" [{} bytes more]", len - kept));
        }
    }
    // Recursion without an end says which limit it has hit.
    let error = failed(without_end::remote_blocking(&flow, 0u32));
    let text = error.to_string();
    assert!(text.len() < 2500 && text.contains("max_processes"), "{text}");
    assert!(error.root().to_string().contains("max_processes"), "{text}");
}

/// Where bodies leave refs for each other.
#[derive(Default)]
pub(crate) struct Board(Vec<(String, ObjectRef<u32>)>);

#[actor]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Board {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put(&mut self, name: &str, one: Vec<ObjectRef<u32>>) {
        self.0.extend(one.into_iter().map(|one| (name.to_owned(), one)));
    }

    pub fn look(&self, name: &str) -> Option<ObjectRef<u32>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, one)| one.clone())
    }
}

/// Waits for what the board has under this name.
#[node]
fn follows(board: BoardActor, name: &str) -> Result<u32, Error> {
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        if let Some(other) = board.look(name).remote_blocking()? {
            return other.get();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(0)
}

/// The deadlock that a body was told of, through those that waited for it.
#[track_caller]
fn deadlock(error: Error) -> String {
    match error {
        Error::Deadlock(why) => why,
        Error::Task(task) => match task.cause {
            Cause::App(app) => deadlock(app.downcast().unwrap_or_else(|| panic!("{app}"))),
            Cause::Deadlock(why) => why,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

/// A body waits for a task that takes its value.
pub(crate) fn a_body_and_what_waits_for_it() {
    let flow = flow(2);
    let board = BoardActor::new(&flow).unwrap();
    let since = Instant::now();
    let body = follows::remote(&flow, &board, "below").unwrap();
    let below = passes::remote(&flow, &body).unwrap();
    board.put("below", vec![below.clone()]).remote_blocking().unwrap();
    let why = deadlock(body.get_timeout(LONG).unwrap_err());
    assert!(why.contains("`follows`") && why.contains("`passes`"), "{why}");
    assert_soon(since, "finding it");
    assert_eq!(failed(below.get()).name, "follows");
}

pub(crate) fn two_that_wait_for_each_other() {
    let flow = flow(2);
    let board = BoardActor::new(&flow).unwrap();
    let since = Instant::now();
    let call = |own: &str, name: &str| {
        follows::options().display_name(own).remote(&flow, &board, name).unwrap()
    };
    let (left, right) = (call("left", "right"), call("right", "left"));
    board.put("left", vec![left.clone()]).remote_blocking().unwrap();
    board.put("right", vec![right.clone()]).remote_blocking().unwrap();
    for one in [left, right] {
        let why = deadlock(one.get_timeout(LONG).unwrap_err());
        assert!(why.contains("`left`") && why.contains("`right`"), "{why}");
    }
    assert_soon(since, "finding it");
    passes::remote_blocking(&flow, 1u32).unwrap();
}

#[node(resources(board = 1))]
fn greedy() -> Result<u32, Error> {
    wants::remote_blocking(&Flow::current()?)
}

#[node(resources(board = 1))]
fn wants() -> u32 {
    1
}

pub(crate) fn a_label_that_the_waiter_holds() {
    let lab = Resources::cpus(2.0).with("board", 1.0);
    let flow = Flow::builder().workers("lab", 1, lab).memory(64 << 20).build().unwrap();
    let since = Instant::now();
    let why = deadlock(greedy::remote(&flow).unwrap().get_timeout(LONG).unwrap_err());
    assert!(why.contains("board 1") && why.contains("`wants`"), "{why}");
    assert_soon(since, "finding it");
    assert_eq!(wants::remote_blocking(&flow).unwrap(), 1);
}

pub(crate) fn a_limit_of_processes() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.max_processes(8).build().unwrap();
    assert_eq!(depth::remote(&flow, 6u32).unwrap().get_timeout(LONG).unwrap(), 6);
    let since = Instant::now();
    let why = deadlock(depth::remote(&flow, 20u32).unwrap().get_timeout(LONG).unwrap_err());
    assert!(why.contains("all 8 processes"), "{why}");
    assert_soon(since, "finding it");
    assert!(flow.stats().unwrap().processes <= 8);
    // What the body called and did not get has ended with it.
    eventually("the rest", || flow.stats().unwrap().incomplete == 0);
    assert_eq!(depth::remote(&flow, 6u32).unwrap().get_timeout(LONG).unwrap(), 6);
}

/// When it was at work, in nanoseconds of the clock that all processes share.
#[node]
fn leaf() -> (u64, u64) {
    let begin = now();
    std::thread::sleep(Duration::from_millis(2));
    (begin, now())
}

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[node]
fn branch(deep: u32) -> Result<Vec<(u64, u64)>, Error> {
    let flow = Flow::current()?;
    if deep == 0 {
        let leaves = (0..4).map(|_| leaf::remote(&flow)).collect::<Result<Vec<_>, _>>()?;
        return flow.get_all(&leaves);
    }
    let branches =
        (0..2).map(|_| branch::remote(&flow, deep - 1)).collect::<Result<Vec<_>, _>>()?;
    Ok(flow.get_all(&branches)?.concat())
}

/// The most that were at work at the same time.
fn most(spans: &[(u64, u64)]) -> usize {
    let at = |time: u64| spans.iter().filter(|(begin, end)| (*begin..*end).contains(&time)).count();
    spans.iter().map(|&(begin, _)| at(begin)).max().unwrap_or(0)
}

pub(crate) fn cpus_are_lent_and_no_more() {
    for (cpus, workers) in [(1, 1), (2, 1), (1, 2)] {
        let group = Resources::cpus(f64::from(cpus));
        let flow = Flow::builder().workers("cpu", workers, group).memory(64 << 20).build().unwrap();
        let spans = branch::remote(&flow, 2u32).unwrap().get_timeout(LONG).unwrap();
        assert_eq!(spans.len(), 16);
        assert!(most(&spans) <= cpus as usize * workers, "{workers} workers of {cpus} cpus");
        // All is given back, also by bodies that failed while others waited for them.
        assert!(matches!(cause(asks::remote_blocking(&flow, 3u32)), Cause::App(_)));
        let all = flow.workers().unwrap();
        assert!(all.iter().all(|one| one.free == one.total), "{all:?}");
    }
}
