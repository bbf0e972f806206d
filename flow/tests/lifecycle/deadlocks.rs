//! Waits that could never end, and some that only look like it.

use std::time::{Duration, Instant};

use mailring::flow::{Cause, Error, Flow, ObjectRef, Packing, Resources, actor, node};
use testkit::flow::{Files, append, await_lines, depth, failed, open_gate, pass_gate};

const LONG: Duration = Duration::from_secs(20);
/// For what is found at once. A loaded machine needs more than a moment.
const AT_ONCE: Duration = Duration::from_secs(3);

fn lab(boards: f64) -> Flow {
    let group = Resources::cpus(4.0).with("board", boards);
    Flow::builder().workers("lab", 1, group).memory(64 << 20).build().unwrap()
}

#[node]
fn at_gate(begun: &str, gate: &str) -> u32 {
    append(begun, "begun");
    pass_gate(gate);
    7
}

#[node(resources(board = 1))]
fn wants() -> u32 {
    1
}

#[node(resources(board = 1))]
fn holds() -> Result<u32, Error> {
    wants::remote_blocking(&Flow::current()?)
}

#[node]
fn between() -> Result<u32, Error> {
    wants::remote_blocking(&Flow::current()?)
}

#[node(resources(board = 1))]
fn holds_above() -> Result<u32, Error> {
    let flow = Flow::current()?;
    let other = between::remote(&flow)?;
    between::remote(&flow)?;
    other.get()
}

/// The deadlock that a body was told of, through those that waited for it.
#[track_caller]
fn deadlock(error: Error) -> String {
    match error {
        Error::Deadlock(why) => why,
        Error::Task(task) => match task.cause {
            Cause::App(app) => deadlock(app.downcast().unwrap_or_else(|| panic!("{app}"))),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

/// However long others are at work.
pub(crate) fn a_label_that_the_caller_holds_is_found_beside_strangers() {
    let (flow, files) = (lab(1.0), Files::new());
    let (begun, gate) = (files.path("begun"), files.path("gate"));
    let stranger = at_gate::remote(&flow, &begun, &gate).unwrap();
    await_lines(&begun, 1);
    for (call, holder) in
        [(holds::remote(&flow), "`holds`"), (holds_above::remote(&flow), "`holds_above`")]
    {
        let since = Instant::now();
        let why = deadlock(call.unwrap().get_timeout(LONG).unwrap_err());
        assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
        let all = ["`wants`", "board 1", holder];
        assert!(all.iter().all(|part| why.contains(part)), "{why}");
    }
    open_gate(&gate);
    assert_eq!(stranger.get(), Ok(7));
    assert_eq!(wants::remote_blocking(&flow), Ok(1));
}

#[node(resources(board = 1))]
fn holds_at_gate(begun: &str, gate: &str) -> u32 {
    append(begun, "begun");
    pass_gate(gate);
    7
}

/// Of two boards one is held by a body that is at work.
pub(crate) fn a_label_that_a_stranger_will_give_back() {
    let (flow, files) = (lab(2.0), Files::new());
    let (begun, gate) = (files.path("begun"), files.path("gate"));
    let stranger = holds_at_gate::remote(&flow, &begun, &gate).unwrap();
    await_lines(&begun, 1);
    let call = holds::remote(&flow).unwrap();
    assert!(matches!(call.get_timeout(Duration::from_millis(400)), Err(Error::Timeout(..))));
    open_gate(&gate);
    assert_eq!((call.get_timeout(LONG), stranger.get()), (Ok(1), Ok(7)));
    // Of two that hold one each and want another one has to give up.
    let all: Vec<_> = (0..2).map(|_| holds::remote(&flow).unwrap()).collect();
    let ends: Vec<_> = all.iter().map(|one| one.get_timeout(LONG)).collect();
    let gave_up: Vec<_> = ends.into_iter().filter_map(Result::err).map(deadlock).collect();
    assert!(gave_up.len() <= 1 && gave_up.iter().all(|why| why.contains("board 1")), "{gave_up:?}");
}

#[node(resources(board = 1))]
fn holds_for_a_worker() -> Result<u32, Error> {
    let call = wants_a_gpu::options().wait_infeasible();
    call.remote_blocking(&Flow::current()?)
}

#[node(resources(gpu = 1))]
fn wants_a_gpu() -> u32 {
    3
}

/// The holder of what a body waits for waits itself, for what may still come.
pub(crate) fn a_worker_that_may_still_come() {
    let flow = lab(1.0);
    let holder = holds_for_a_worker::remote(&flow).unwrap();
    let waiter = between::remote(&flow).unwrap();
    let early = waiter.get_timeout(Duration::from_millis(1500));
    assert!(matches!(early, Err(Error::Timeout(..))), "{early:?}");
    flow.add_workers("gpu", 1, &Resources::cpus(1.0).with("gpu", 1.0)).unwrap();
    assert_eq!((holder.get_timeout(LONG), waiter.get_timeout(LONG)), (Ok(3), Ok(1)));
}

pub(crate) struct Keeper;

#[actor(resources(board = 1))]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Keeper {
    pub fn new() -> Self {
        Self
    }

    pub fn ask(&mut self) -> Result<u32, Error> {
        wants::remote_blocking(&Flow::current()?)
    }
}

/// What an actor holds comes back when somebody ends it; but not for its own calls.
pub(crate) fn a_label_that_an_actor_holds() {
    let flow = lab(1.0);
    let keeper = KeeperActor::new(&flow).unwrap();
    let since = Instant::now();
    let why = deadlock(keeper.ask().remote().unwrap().get_timeout(LONG).unwrap_err());
    assert!(why.contains("`wants`") && why.contains("Keeper::ask"), "{why}");
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    let waiter = between::remote(&flow).unwrap();
    let early = waiter.get_timeout(Duration::from_millis(400));
    assert!(matches!(early, Err(Error::Timeout(..))), "{early:?}");
    keeper.raw().kill().unwrap();
    assert_eq!(waiter.get_timeout(LONG), Ok(1));
}

pub(crate) fn a_label_that_a_group_holds() {
    let flow = lab(1.0);
    let bundle = Resources::cpus(1.0).with("board", 1.0);
    let group = flow.placement_group(&[bundle], Packing::Pack).unwrap();
    assert!(group.wait_ready(LONG).is_ok());
    let waiter = between::remote(&flow).unwrap();
    let early = waiter.get_timeout(Duration::from_millis(400));
    assert!(matches!(early, Err(Error::Timeout(..))), "the driver may drop the group: {early:?}");
    drop(group);
    assert_eq!(waiter.get_timeout(LONG), Ok(1));
}

/// All who cannot go on are told at once, and the limit is named.
pub(crate) fn too_deep_for_the_processes() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.max_processes(8).build().unwrap();
    for _ in 0..2 {
        let since = Instant::now();
        let all: Vec<ObjectRef<u32>> =
            (0..3).map(|_| depth::remote(&flow, 12u32).unwrap()).collect();
        for one in all {
            let error = one.get_timeout(LONG).unwrap_err();
            let why = deadlock(error);
            assert!(why.contains("all 8 processes") && why.contains("max_processes"), "{why}");
        }
        assert_eq!(depth::remote(&flow, 6u32).unwrap().get_timeout(LONG), Ok(6));
        assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    }
    let three: Vec<_> = (0..3).map(|_| depth::remote(&flow, 6u32).unwrap()).collect();
    assert_eq!(flow.get_all_timeout(&three, LONG), Ok(vec![6; 3]), "one after the other");
}

/// What is told to one of them may be enough for others: nobody fails without need.
#[node(resources(board = 1))]
fn tries() -> Result<u32, Error> {
    match wants::remote(&Flow::current()?)?.get_timeout(Duration::from_secs(20)) {
        Err(Error::Timeout(..)) => Ok(0),
        other => other,
    }
}

pub(crate) fn a_wait_with_a_timeout_is_left_alone() {
    let flow = lab(1.0);
    let call = tries::remote(&flow).unwrap();
    let early = call.get_timeout(Duration::from_millis(500));
    assert!(matches!(early, Err(Error::Timeout(..))), "{early:?}");
    let report = flow.cancel(&call, mailring::flow::Cancel::default());
    assert!(report.is_ok(), "{report:?}");
    assert!(matches!(failed(call.get_timeout(LONG)).cause, Cause::Cancelled));
}
