//! What becomes of the calls that a body has made when its attempt ends, however it ends.

use std::time::{Duration, Instant};

use mailring::flow::{Cancel, Cancelled, Cause, Error, Flow, ObjectRef, Resources, actor, node};
use testkit::flow::{
    Files, append, assert_soon, await_lines, await_number, cause, depth, fall, flow, lines,
    open_gate, pass_gate,
};
use testkit::{eventually, is_alive};

const LONG: Duration = Duration::from_secs(20);

/// Runs until it is told to stop.
#[node]
fn forever(begun: &str) -> Result<u32, Cancelled> {
    append(begun, &std::process::id().to_string());
    mailring::flow::sleep(Duration::from_secs(3600)).map(|()| 0)
}

/// Listens to nobody.
#[node]
fn deaf(begun: &str) -> u32 {
    append(begun, &std::process::id().to_string());
    loop {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[node]
fn passes(value: u32) -> u32 {
    value
}

/// Calls a child that never ends, waits for a while, and then ends in this way.
#[node]
fn gives_up(child: &str, way: &str) -> Result<u32, Error> {
    let flow = Flow::current()?;
    let waits = forever::remote(&flow, child)?;
    let _queued = forever::remote(&flow, child)?;
    eventually("the child", || {
        !lines(child).is_empty() || waits.wait_timeout(Duration::from_millis(5))
    });
    match way {
        "error" => Err(waits.get_timeout(Duration::from_millis(50)).unwrap_err()),
        "panic" => panic!("on purpose"),
        "death" => {
            std::mem::forget(waits);
            fall(libc::SIGKILL);
            Ok(0)
        }
        "stuck" => waits.get(),
        "leaks" => {
            std::mem::forget(waits);
            Ok(1)
        }
        _ => Ok(1),
    }
}

/// All that is left of the flow is what the test itself has called.
#[track_caller]
fn nothing_runs(flow: &Flow) {
    eventually("the children's end", || flow.stats().unwrap().incomplete == 0);
    let free = || flow.workers().unwrap().iter().all(|one| one.free == one.total);
    eventually("all cpus", free);
}

pub(crate) fn they_end_with_every_end_of_their_caller() {
    let flow = flow(1);
    let files = Files::new();
    for way in ["error", "panic", "value"] {
        let child = files.path(way);
        let result = gives_up::remote(&flow, &child, way).unwrap().get_timeout(LONG);
        assert_eq!(result.is_ok(), way == "value", "{way}: {result:?}");
        nothing_runs(&flow);
        assert_eq!(lines(&child).len(), 1, "{way}: the one that was queued has not run");
    }
    let once = gives_up::options().max_retries(0);
    let died = once.remote(&flow, files.path("death"), "death").unwrap();
    assert!(matches!(cause(died.get_timeout(LONG)), Cause::WorkerCrashed(_)));
    nothing_runs(&flow);
    let late = gives_up::options().deadline(Duration::from_millis(200));
    let late = late.remote(&flow, files.path("late"), "stuck").unwrap();
    assert!(matches!(cause(late.get_timeout(LONG)), Cause::Deadline(_)));
    nothing_runs(&flow);
    let stuck = gives_up::remote(&flow, files.path("stuck"), "stuck").unwrap();
    await_lines(&files.path("stuck"), 1);
    flow.cancel(&stuck, Cancel::default()).unwrap();
    assert_eq!(cause(stuck.get_timeout(LONG)), Cause::Cancelled);
    nothing_runs(&flow);
    assert_eq!(passes::remote_blocking(&flow, 3u32), Ok(3));
}

#[node]
fn calls_the_deaf(child: &str) -> Result<u32, Error> {
    let flow = Flow::current()?;
    deaf::remote(&flow, child)?.get_timeout(Duration::from_millis(100))
}

/// A child that does not listen is ended with its process, after the grace of the flow.
pub(crate) fn one_that_does_not_listen() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.grace(Duration::from_millis(100)).build().unwrap();
    let files = Files::new();
    let child = files.path("child");
    let since = Instant::now();
    let gave_up = cause(calls_the_deaf::remote(&flow, &child).unwrap().get_timeout(LONG));
    assert!(
        matches!(&gave_up, Cause::App(error) if error.message.contains("not complete after")),
        "{gave_up:?}"
    );
    assert_eq!(passes::remote(&flow, 1u32).unwrap().get_timeout(LONG), Ok(1));
    assert_soon(since, "the child's end");
    assert!(!is_alive(await_number(&child)));
    nothing_runs(&flow);
}

/// Dies while its child holds the only cpu, twice; the third attempt is through.
#[node]
fn dies_twice(child: &str, runs: &str) -> Result<u32, Error> {
    append(runs, "run");
    let flow = Flow::current()?;
    if lines(runs).len() < 3 {
        let one = deaf::remote(&flow, child)?;
        let count = lines(child).len();
        eventually("the child", || {
            lines(child).len() > count || one.wait_timeout(Duration::from_millis(5))
        });
        fall(libc::SIGKILL);
    }
    passes::remote_blocking(&flow, 7u32)
}

pub(crate) fn a_retry_does_not_queue_behind_its_orphan() {
    let (flow, files) = (flow(1), Files::new());
    let since = Instant::now();
    let (child, runs) = (files.path("child"), files.path("runs"));
    let task = dies_twice::remote(&flow, &child, &runs).unwrap();
    assert_eq!(task.get_timeout(LONG), Ok(7));
    assert_soon(since, "three attempts");
    nothing_runs(&flow);
    assert_eq!(lines(&runs).len(), 3);
}

#[node]
fn nested(begun: &str, deep: u32) -> Result<u32, Error> {
    let flow = Flow::current()?;
    match deep {
        0 => forever::remote_blocking(&flow, begun),
        1 => {
            // Two that need each other's values, below one another.
            let first = forever::remote(&flow, begun)?;
            let next = passes::remote(&flow, &first)?;
            drop(first);
            passes::remote_blocking(&flow, &next)
        }
        _ => nested::remote_blocking(&flow, begun, deep - 1),
    }
}

#[node]
fn drops_a_tree(begun: &str, deep: u32) -> Result<(), Error> {
    let tree = nested::remote(&Flow::current()?, begun, deep)?;
    eventually("the tree", || {
        !lines(begun).is_empty() || tree.wait_timeout(Duration::from_millis(2))
    });
    Err(Error::Invalid("enough".to_owned()))
}

pub(crate) fn a_deep_tree_ends() {
    let (flow, files) = (flow(2), Files::new());
    for deep in [0, 1, 2, 5] {
        let begun = files.path(&format!("begun {deep}"));
        let since = Instant::now();
        let failed = cause(drops_a_tree::remote(&flow, &begun, deep).unwrap().get_timeout(LONG));
        assert!(matches!(failed, Cause::App(_)), "{failed:?}");
        nothing_runs(&flow);
        assert_soon(since, "a tree");
        assert_eq!(lines(&begun).len(), 1);
    }
}

/// Keeps refs.
#[derive(Default)]
pub(crate) struct Shelf(Vec<ObjectRef<u32>>);

#[actor]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Shelf {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put(&mut self, refs: Vec<ObjectRef<u32>>) {
        self.0.extend(refs);
    }

    pub fn take(&mut self) -> Vec<ObjectRef<u32>> {
        std::mem::take(&mut self.0)
    }

    pub fn add(&mut self, path: &str) {
        std::thread::sleep(Duration::from_millis(20));
        append(path, "added");
    }
}

/// Notes its value beside the gate when it has passed.
#[node]
fn at_the_gate(gate: &str, value: u32) -> u32 {
    pass_gate(gate);
    append(&format!("{gate}-passed"), &value.to_string());
    value
}

/// Returns one ref, leaves one with an actor, gives one to a call that is returned; drops one.
#[node]
fn spreads(
    shelf: ShelfActor,
    gate: &str,
    dropped: &str,
    dies: bool,
) -> Result<Vec<ObjectRef<u32>>, Error> {
    let flow = Flow::current()?;
    let returned = at_the_gate::remote(&flow, gate, 1u32)?;
    let kept = at_the_gate::remote(&flow, gate, 2u32)?;
    shelf.put(vec![kept]).remote_blocking()?;
    if dies && mailring::flow::task().map(|task| task.attempt) == Some(1) {
        fall(libc::SIGKILL);
    }
    let needed = at_the_gate::remote(&flow, gate, 3u32)?;
    let below = passes::remote(&flow, &needed)?;
    let _dropped = forever::remote(&flow, dropped)?;
    Ok(vec![returned, below])
}

pub(crate) fn what_others_hold_lives_on() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(6.0)).memory(64 << 20);
    let (flow, files) = (builder.build().unwrap(), Files::new());
    let shelf = ShelfActor::new(&flow).unwrap();
    let (gate, dropped) = (files.path("gate"), files.path("dropped"));
    let refs = spreads::remote(&flow, &shelf, &gate, &dropped, true).unwrap();
    let refs = refs.get_timeout(LONG).unwrap();
    let kept = shelf.take().remote_blocking().unwrap();
    assert_eq!(kept.len(), 2, "also of the attempt that died");
    // Four at the gate, or above it; what was dropped is gone.
    eventually("the end of what was dropped", || flow.tasks().unwrap().len() == 5);
    assert!(flow.tasks().unwrap().iter().all(|task| task.name != "forever"));
    open_gate(&gate);
    assert_eq!(flow.get_all_timeout(&refs, LONG), Ok(vec![1, 3]));
    assert_eq!(flow.get_all_timeout(&kept, LONG), Ok(vec![2, 2]));
}

#[node]
fn leaves_calls(shelf: ShelfActor, path: &str, fails: bool) -> Result<(), Error> {
    for _ in 0..5 {
        shelf.add(path).remote()?;
    }
    if fails { Err(Error::Invalid("enough".to_owned())) } else { Ok(()) }
}

/// A call of an actor is a message, and heard however its caller has ended.
pub(crate) fn calls_of_actors_arrive() {
    let (flow, files) = (flow(2), Files::new());
    let shelf = ShelfActor::new(&flow).unwrap();
    let (path, other) = (files.path("path"), files.path("other"));
    leaves_calls::remote_blocking(&flow, &shelf, &path, false).unwrap();
    await_lines(&path, 5);
    let failed = cause(leaves_calls::remote_blocking(&flow, &shelf, &other, true));
    assert!(matches!(&failed, Cause::App(error) if error.message.contains("enough")), "{failed:?}");
    await_lines(&other, 5);
    nothing_runs(&flow);
}

/// What the driver itself drops goes on, and so does what it was given; what a body had dropped
/// does not.
pub(crate) fn what_the_driver_drops_goes_on() {
    let (flow, files) = (flow(6), Files::new());
    let shelf = ShelfActor::new(&flow).unwrap();
    let gate = files.path("gate");
    drop(at_the_gate::remote(&flow, &gate, 1u32).unwrap());
    let refs =
        spreads::remote_blocking(&flow, &shelf, &gate, files.path("dropped"), false).unwrap();
    drop(refs);
    open_gate(&gate);
    nothing_runs(&flow);
    let mut passed = lines(&format!("{gate}-passed"));
    passed.sort_unstable();
    assert_eq!(passed, ["1", "1", "2", "3"]);
}

/// What a body has called and given up does not start the next deadlock.
pub(crate) fn after_a_deadlock_all_is_free() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.max_processes(8).build().unwrap();
    let error = depth::remote(&flow, 60u32).unwrap().get_timeout(LONG).unwrap_err();
    assert!(error.to_string().contains("processes"), "{error}");
    let since = Instant::now();
    assert_eq!(depth::remote(&flow, 5u32).unwrap().get_timeout(LONG), Ok(5));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    nothing_runs(&flow);
}
