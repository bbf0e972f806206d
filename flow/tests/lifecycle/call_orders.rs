//! Calls and waits in rare orders: what stands behind others, what nobody looks at, and very many.

#![allow(unreachable_pub, reason = "the functions of an actor are public")]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::flow::{
    Cancel, Cause, Error, Flow, ObjectRef, Pending, Resources, Shared, TaskError, actor, node,
};
use serde::{Deserialize, Serialize};
use testkit::eventually;
use testkit::flow::{
    Files, add, append, await_lines, cause, failed, flow, lines, nap, open_gate, pass_gate,
};

const LONG: Duration = Duration::from_secs(20);

/// What a [`step`] does before it adds.
#[derive(Serialize, Deserialize)]
enum Way {
    Straight,
    Sleep(u64),
    FailAfter(u64),
    AskAfter(u64),
    Gate(String),
    FailAtGate(String),
}

/// One node for all ways, so that what is known of its calls is the same for all.
#[node]
fn step(way: Way, x: u64, y: u64) -> Result<u64, String> {
    match way {
        Way::Straight => {}
        Way::Sleep(ms) => _ = nap(ms),
        Way::FailAfter(ms) => {
            nap(ms);
            return Err("as planned".to_owned());
        }
        Way::AskAfter(ms) => {
            nap(ms);
            let flow = Flow::current().map_err(|error| error.to_string())?;
            let asked = step::remote_blocking(&flow, Way::Straight, x, y);
            return asked.map_err(|error| error.to_string());
        }
        Way::Gate(gate) => pass_gate(&gate),
        Way::FailAtGate(gate) => {
            pass_gate(&gate);
            return Err("as planned".to_owned());
        }
    }
    Ok(x + y)
}

/// Lets the flow learn that steps are short, so that others are sent to stand behind them.
fn practise(flow: &Flow, worker: &str) {
    for _ in 0..200 {
        let step = step::options().on(worker);
        step.remote_blocking(flow, Way::Straight, 1u64, 1u64).unwrap();
    }
}

/// The failed task, and that another one was asked for.
#[track_caller]
fn below<T: std::fmt::Debug>(result: Result<T, Error>) -> TaskError {
    let error = failed(result);
    assert!(error.below.is_some(), "{error}");
    error
}

// ---- an actor with many calls of its own --------------------------------------------------------

pub struct Mill;

#[actor]
impl Mill {
    pub fn new() -> Self {
        Self
    }

    /// Makes many calls, and drops their refs.
    pub fn burst(&mut self, count: u64) -> Result<u64, Error> {
        let flow = Flow::current()?;
        let call = add::options().cpus(0.0);
        let all = (0..count).map(|n| call.remote(&flow, n, n)).collect::<Result<Vec<_>, _>>()?;
        all[count as usize - 1].get()
    }

    pub fn block(&mut self, byte: u8, len: usize) -> Vec<u8> {
        vec![byte; len]
    }
}

const LEN: usize = 200_000;

/// Bursts with values in between, for half a second: how many calls there were, and how many of
/// them failed or had another's bytes.
fn grind(flow: &Flow) -> (usize, usize) {
    let mill = MillActor::new(flow).unwrap();
    let begin = Instant::now();
    let (mut count, mut wrong) = (0, 0);
    while begin.elapsed() < Duration::from_millis(500) {
        let burst = mill.burst(400u64).remote().unwrap();
        let blocks = (1..7u8).map(|byte| mill.block(byte, LEN).remote().unwrap());
        let blocks: Vec<_> = blocks.collect();
        wrong += usize::from(burst.get() != Ok(2 * 399));
        let values: Vec<_> = blocks.iter().map(ObjectRef::get).collect();
        for (value, byte) in values.into_iter().zip(1..) {
            let right = |all: Vec<u8>| all.len() == LEN && all.iter().all(|&one| one == byte);
            wrong += usize::from(!value.is_ok_and(right));
        }
        count += 7;
    }
    (count, wrong)
}

/// Values stay as they are while an actor gives refs back and asks for room by turns.
pub(crate) fn many_calls_in_a_method_leave_values_alone() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(2.0)).memory(64 << 20);
    let flow = builder.build().unwrap();
    let (count, wrong) = grind(&flow);
    assert!(count > 0 && wrong == 0, "{wrong} of {count} calls");
}

/// And so do the driver's own blocks.
pub(crate) fn many_calls_in_a_method_leave_blocks_alone() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(2.0)).memory(64 << 20);
    let flow = builder.build().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let blocks = scope.spawn(|| {
            let (mut count, mut wrong) = (0, 0);
            while !over.load(SeqCst) {
                let block = Shared::<u8>::new(&flow, LEN, |all| all.fill(9)).unwrap();
                std::thread::sleep(Duration::from_micros(300));
                count += 1;
                wrong += usize::from(block.iter().any(|&byte| byte != 9));
            }
            (count, wrong)
        });
        let calls = grind(&flow);
        over.store(true, SeqCst);
        let (count, wrong) = blocks.join().unwrap();
        assert!(count > 0 && wrong == 0, "{wrong} of {count} blocks");
        assert!(calls.0 > 0 && calls.1 == 0, "{} of {} calls", calls.1, calls.0);
    });
}

// ---- what stands behind others ------------------------------------------------------------------

/// A task fails, one behind it waits in its body, and one behind that takes both their values.
pub(crate) fn who_stood_behind_a_waiting_body_ends() {
    let flow = flow(1);
    practise(&flow, "cpu");
    for _ in 0..3 {
        let one = step::remote(&flow, Way::FailAfter(30), 0u64, 0u64).unwrap();
        let two = step::remote(&flow, Way::AskAfter(50), 1u64, 1u64).unwrap();
        let three = step::remote(&flow, Way::Straight, &one, &two).unwrap();
        assert!(matches!(cause(one.get_timeout(LONG)), Cause::App(_)));
        assert_eq!(two.get_timeout(LONG), Ok(2));
        let error = below(three.get_timeout(LONG));
        assert!(matches!(&error.cause, Cause::App(app) if app.message == "as planned"), "{error}");
        let next = step::remote(&flow, Way::Straight, 1u64, 2u64).unwrap();
        assert_eq!(next.get_timeout(LONG), Ok(3), "others of its kind run");
    }
}

pub(crate) fn who_stood_behind_a_cancelled_producer_is_cancelled() {
    let flow = flow(1);
    practise(&flow, "cpu");
    let producer = step::remote(&flow, Way::Sleep(300), 0u64, 0u64).unwrap();
    let consumer = step::remote(&flow, Way::Straight, &producer, 1u64).unwrap();
    let runs = || matches!(flow.pending(&producer), Ok(Pending::Running { .. }));
    eventually("the producer runs", runs);
    flow.cancel(&producer, Cancel::default()).unwrap();
    assert_eq!(cause(producer.get_timeout(LONG)), Cause::Cancelled);
    let error = below(consumer.get_timeout(LONG));
    assert_eq!(error.cause, Cause::Cancelled);
    assert_eq!(step::remote(&flow, Way::Straight, 1u64, 1u64).unwrap().get_timeout(LONG), Ok(2));
}

#[node]
fn touch(path: &str, value: u64) -> u64 {
    append(path, "ran");
    value
}

/// A value goes on its way though a long task stands behind the one that made it.
pub(crate) fn a_value_does_not_wait_for_who_stands_behind() {
    let (flow, files) = (flow(2), Files::new());
    practise(&flow, "cpu/0");
    let (gate, ran) = (files.path("gate"), files.path("ran"));
    let on = || step::options().on("cpu/0");
    let short = on().remote(&flow, Way::Sleep(30), 3u64, 4u64).unwrap();
    let long = on().remote(&flow, Way::Gate(gate.clone()), 0u64, 0u64).unwrap();
    let below = touch::remote(&flow, &ran, &short).unwrap();
    await_lines(&ran, 1); // the driver does not look at the flow meanwhile
    open_gate(&gate);
    assert_eq!((long.get(), below.get()), (Ok(0), Ok(7)));
}

#[node]
fn fails_twice(path: &str) -> Result<usize, String> {
    append(path, "attempt");
    match lines(path).len() {
        0..3 => Err("again".to_owned()),
        count => Ok(count),
    }
}

pub(crate) fn retries_go_on_while_nobody_looks() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("attempts");
    practise(&flow, "cpu");
    let again = fails_twice::options().retry_on_any_error().max_retries(5);
    let task = again.remote(&flow, &path).unwrap();
    await_lines(&path, 3);
    assert_eq!(task.get_timeout(LONG), Ok(3));
}

/// Many at once, below one that fails: no time that grows with their square.
pub(crate) fn a_failure_above_300_000_calls_of_an_actor() {
    let (flow, files) = (flow(1), Files::new());
    let gate = files.path("gate");
    let mill = MillActor::new(&flow).unwrap();
    let bad = step::options().cpus(0.0);
    let bad = bad.remote(&flow, Way::FailAtGate(gate.clone()), 0u64, 0u64).unwrap();
    let bad = narrow::options().cpus(0.0).remote(&flow, &bad).unwrap();
    let begin = Instant::now();
    let calls = (0..300_000).map(|_| mill.block(&bad, 1usize).remote().unwrap());
    let calls: Vec<_> = calls.collect();
    open_gate(&gate);
    let error = below(calls[calls.len() - 1].get_timeout(LONG));
    assert!(matches!(error.cause, Cause::App(_)), "{error}");
    assert!(calls.iter().all(ObjectRef::is_ready));
    assert_eq!(mill.block(1, 1usize).remote_blocking(), Ok(vec![1]), "the actor goes on");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[node]
fn narrow(value: u64) -> u8 {
    value as u8
}

#[node]
fn waits_for(path: &str, one: Vec<ObjectRef<u64>>) -> Result<u64, Error> {
    let value = one[0].get()?;
    append(path, "got");
    Ok(value)
}

pub(crate) fn a_body_that_waits_for_a_chain_of_300_000() {
    let (flow, files) = (flow(2), Files::new());
    let (gate, got) = (files.path("gate"), files.path("got"));
    let begin = Instant::now();
    let mut last = step::remote(&flow, Way::Gate(gate.clone()), 0u64, 0u64).unwrap();
    for _ in 0..300_000 {
        last = add::remote(&flow, &last, 1u64).unwrap();
    }
    let waits = waits_for::remote(&flow, &got, vec![last]).unwrap();
    let runs = || matches!(flow.pending(&waits), Ok(Pending::Running { .. }));
    eventually("the body waits", runs);
    nap(100);
    open_gate(&gate);
    assert_eq!(waits.get_timeout(LONG), Ok(300_000));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
