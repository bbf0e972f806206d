//! Refs as arguments: what runs when, what does not run, and refs inside of values.

use std::time::Duration;

use mailring::flow::{Cancel, Cause, Error, Flow, ObjectRef, Pending, gather, node, nodes};
use serde::{Deserialize, Serialize};
use testkit::eventually;
use testkit::flow::{Files, Gate, app, append, await_lines, failed, flow, hold, lines};

#[node]
fn plus(a: u64, b: u64) -> u64 {
    a + b
}

#[node]
fn minus(a: u64, b: u64) -> u64 {
    a - b
}

/// A value, and a line for each time it is computed.
#[node]
fn counted(marks: &str, value: u64) -> u64 {
    append(marks, "counted");
    value
}

#[node]
fn fails(why: &str) -> Result<u64, String> {
    Err(why.to_owned())
}

#[node]
fn opened(open: bool, value: u64) -> u64 {
    u64::from(open) + value
}

pub(crate) fn refs_and_values_by_position() {
    let flow = flow(2);
    let ten = plus::remote(&flow, 4u64, 6u64).unwrap();
    let three = plus::remote(&flow, 1u64, 2u64).unwrap();
    assert_eq!(minus::remote(&flow, &ten, &three).unwrap().get(), Ok(7));
    assert_eq!(minus::remote(&flow, &ten, 4u64).unwrap().get(), Ok(6));
    assert_eq!(minus::remote(&flow, 40u64, &ten).unwrap().get(), Ok(30));
    assert_eq!(plus::remote(&flow, &ten, &ten).unwrap().get(), Ok(20), "one ref twice");
    // A ref that is given away with the call.
    let eleven = plus::remote(&flow, ten, 1u64).unwrap();
    assert_eq!(eleven.get(), Ok(11));
    assert_eq!(plus::remote_blocking(&flow, eleven.clone(), eleven), Ok(22));
}

pub(crate) fn a_diamond() {
    let flow = flow(2);
    let files = Files::new();
    let marks = files.path("marks");
    let top = counted::remote(&flow, &marks, 5u64).unwrap();
    let left = plus::remote(&flow, &top, 1u64).unwrap();
    let right = minus::remote(&flow, &top, 1u64).unwrap();
    let bottom = plus::remote(&flow, &left, &right).unwrap();
    assert_eq!(bottom.get(), Ok(10));
    assert_eq!(lines(&marks).len(), 1);
}

pub(crate) fn a_value_for_many_is_computed_once() {
    let flow = flow(2);
    let files = Files::new();
    let marks = files.path("marks");
    let source = counted::remote(&flow, &marks, 100u64).unwrap();
    let all: Vec<_> = (0..50u64).map(|n| plus::remote(&flow, &source, n).unwrap()).collect();
    let expected: Vec<u64> = (100..150).collect();
    assert_eq!(flow.get_all(&all), Ok(expected));
    // And those that come when it has long been there.
    assert_eq!(plus::remote(&flow, &source, 1u64).unwrap().get(), Ok(101));
    assert_eq!(lines(&marks).len(), 1);
}

pub(crate) fn a_long_chain() {
    let flow = flow(2);
    let mut last = plus::remote(&flow, 0u64, 1u64).unwrap();
    for _ in 1..5000 {
        last = plus::remote(&flow, last, 1u64).unwrap();
    }
    assert_eq!(last.get(), Ok(5000));
    assert_eq!(flow.stats().unwrap().objects, 1, "those in between are gone");
}

// ---- failures -----------------------------------------------------------------------------------

pub(crate) fn what_is_below_a_failure_does_not_run() {
    let flow = flow(2);
    let files = Files::new();
    let marks = files.path("marks");
    let gate = Gate::new();
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    let base = opened::remote(&flow, &open, 0u64).unwrap();
    let root = fails_after::remote(&flow, &base, "no luck").unwrap();
    let middle = counted::remote(&flow, &marks, &root).unwrap();
    let last = counted::options().display_name("the last");
    let last = last.remote(&flow, &marks, &middle).unwrap();
    gate.open();
    let error = failed(last.get());
    assert_eq!(error.name, "fails_after");
    assert!(matches!(&error.cause, Cause::App(app) if app.message == "no luck"), "{error}");
    let (number, name) = error.below.clone().unwrap();
    assert_eq!(name, "the last");
    assert_ne!(number, error.task);
    assert_eq!(error.attempt, 1);
    assert!(error.worker.is_some());
    let text = error.to_string();
    assert!(text.contains("`the last`") && text.contains("`fails_after`"), "{text}");
    assert!(text.contains("did not run") && text.contains("no luck"), "{text}");
    let own = failed(root.get());
    assert_eq!((own.below, own.task), (None, error.task));
    assert_eq!(failed(middle.get()).below.unwrap().1, "counted");
    // One that is called when the failure is known already.
    let late = failed(counted::remote(&flow, &marks, &last).unwrap().get());
    assert_eq!((late.task, late.name.as_str()), (error.task, "fails_after"));
    assert_eq!(lines(&marks).len(), 0);
}

#[node]
fn fails_after(_value: u64, why: &str) -> Result<u64, String> {
    Err(why.to_owned())
}

pub(crate) fn a_failure_does_not_wait_for_other_arguments() {
    let flow = flow(2);
    let gate = Gate::new();
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    gate.await_begun(1);
    let bad = fails::remote(&flow, "at once").unwrap();
    let both = opened::remote(&flow, &open, &bad).unwrap();
    let error = failed(both.get_timeout(Duration::from_secs(10)));
    assert_eq!((error.name.as_str(), error.below.unwrap().1.as_str()), ("fails", "opened"));
    assert!(!open.is_ready(), "the other one goes on");
    gate.open();
    assert_eq!(open.get(), Ok(true));
}

pub(crate) fn what_is_below_a_cancelled_task_does_not_run() {
    let flow = flow(1);
    let (gate, files) = (Gate::new(), Files::new());
    let marks = files.path("marks");
    let running = hold::remote(&flow, gate.path(), "running").unwrap();
    gate.await_begun(1);
    let queued = hold::options().display_name("the queued one");
    let queued = queued.remote(&flow, gate.path(), "queued").unwrap();
    let mut below = Vec::new();
    for upstream in [&running, &queued] {
        let value = opened::remote(&flow, upstream, 1u64).unwrap();
        below.push(counted::remote(&flow, &marks, &value).unwrap());
    }
    flow.cancel(&queued, Cancel::default()).unwrap();
    flow.cancel(&running, Cancel::default()).unwrap();
    for (one, root) in below.iter().zip(["hold", "the queued one"]) {
        let result = one.get();
        assert!(result.as_ref().is_err_and(Error::is_cancelled), "{result:?}");
        let error = failed(result);
        assert_eq!((error.name.as_str(), &error.cause), (root, &Cause::Cancelled));
        assert_eq!(error.below.unwrap().1, "counted");
    }
    assert_eq!(gate.begun(), ["running"]);
    assert_eq!(lines(&marks).len(), 0);
}

// ---- refs inside of values ----------------------------------------------------------------------

#[node]
fn sum_of_refs(marks: &str, refs: Vec<ObjectRef<u64>>) -> Result<u64, Error> {
    append(marks, "begun");
    let values = Flow::current()?.get_all(&refs)?;
    Ok(values.iter().sum())
}

#[derive(Serialize, Deserialize)]
struct Order {
    title: String,
    amount: ObjectRef<u64>,
    more: Option<Box<Order>>,
}

#[node]
fn total(order: Order) -> Result<(String, u64), Error> {
    let mut total = order.amount.get()?;
    let mut title = order.title;
    let mut rest = order.more;
    while let Some(order) = rest {
        total += order.amount.get()?;
        title += &order.title;
        rest = order.more;
    }
    Ok((title, total))
}

pub(crate) fn refs_inside_arrive_as_refs() {
    let flow = flow(2);
    let (gate, files) = (Gate::new(), Files::new());
    let marks = files.path("marks");
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    let late = opened::remote(&flow, &open, 10u64).unwrap();
    let refs = vec![plus::remote(&flow, 1u64, 1u64).unwrap(), late];
    let sum = sum_of_refs::remote(&flow, &marks, refs).unwrap();
    // It begins without waiting for what it names.
    eventually("the body has begun", || lines(&marks).len() == 1);
    assert!(!sum.is_ready());
    assert!(matches!(flow.pending(&sum), Ok(Pending::Running { .. })));
    gate.open();
    assert_eq!(sum.get(), Ok(13));
}

pub(crate) fn refs_inside_of_structs() {
    let flow = flow(1);
    let inner = Order { title: "b".to_owned(), amount: flow.put(&5u64).unwrap(), more: None };
    let order = Order {
        title: "a".to_owned(),
        amount: plus::remote(&flow, 1u64, 2u64).unwrap(),
        more: Some(Box::new(inner)),
    };
    let sum = total::remote(&flow, order).unwrap(); // its refs are the only ones
    assert_eq!(sum.get(), Ok(("ab".to_owned(), 8)));
    drop(sum);
    eventually("all is freed", || flow.stats().unwrap().objects == 0);
}

pub(crate) fn a_failure_inside_keeps_its_root() {
    let flow = flow(1);
    let files = Files::new();
    let marks = files.path("marks");
    let refs = vec![fails::remote(&flow, "deep down").unwrap()];
    let error = app(sum_of_refs::remote(&flow, &marks, refs).unwrap().get());
    assert_eq!(lines(&marks).len(), 1, "the body runs; it is its `get` that fails");
    assert!(error.is::<Error>(), "{error}");
    let root = failed(error.downcast::<Error>().map_or(Ok(()), Err));
    assert_eq!(root.name, "fails");
    assert!(error.message.contains("deep down"), "{error}");
}

#[node]
fn dispatches(n: u64) -> Result<ObjectRef<u64>, Error> {
    plus::remote(&Flow::current()?, n, 1u64)
}

#[node]
fn dispatches_many(n: u64, waits: bool) -> Result<Vec<ObjectRef<u64>>, Error> {
    let flow = Flow::current()?;
    let refs: Vec<_> = (0..n).map(|k| plus::remote(&flow, k, 1u64)).collect::<Result<_, _>>()?;
    if waits {
        flow.get_all(&refs)?;
    }
    Ok(refs)
}

pub(crate) fn a_body_returns_refs() {
    let flow = flow(1);
    let five: ObjectRef<u64> = dispatches::remote_blocking(&flow, 4u64).unwrap();
    assert_eq!(five.get(), Ok(5));
    drop(five);
    // When it returns, nobody but its value holds those that are complete.
    for (n, waits) in [(20, false), (20, true), (300, false), (300, true)] {
        let outer = dispatches_many::remote(&flow, n, waits).unwrap();
        assert!(outer.wait_timeout(Duration::from_secs(10)));
        std::thread::sleep(Duration::from_millis(20));
        let inner = outer.get().unwrap();
        drop(outer);
        assert_eq!(flow.get_all(&inner), Ok((1..=n).collect()), "{n} refs");
        assert_eq!(plus::remote_blocking(&flow, inner.last().unwrap(), 1u64), Ok(n + 1));
        drop(inner);
        eventually("all is freed", || flow.stats().unwrap().objects == 0);
    }
}

// ---- gather -------------------------------------------------------------------------------------

#[node]
fn sum(all: Vec<u64>) -> u64 {
    all.iter().sum()
}

pub(crate) fn gathered_values() {
    let flow = flow(2);
    assert_eq!(gather::<u64>(&flow, &[]).unwrap().get(), Ok(Vec::new()));
    let mut all: Vec<_> = (0..3u64).map(|n| plus::remote(&flow, n, 10u64).unwrap()).collect();
    let three = gather(&flow, &all).unwrap();
    assert_eq!(three.get(), Ok(vec![10, 11, 12]));
    assert_eq!(sum::remote(&flow, &three).unwrap().get(), Ok(33));
    all.extend((3..1000u64).map(|n| plus::remote(&flow, n, 10u64).unwrap()));
    let thousand = gather(&flow, &all).unwrap();
    drop(all);
    assert_eq!(sum::remote(&flow, &thousand).unwrap().get(), Ok((10..1010).sum()));
    assert_eq!(thousand.get(), Ok((10..1010).collect()));
    let twice = gather(&flow, &[three.clone(), three]).unwrap();
    assert_eq!(twice.get(), Ok(vec![vec![10, 11, 12]; 2]));
}

pub(crate) fn gathered_with_a_failure() {
    let flow = flow(2);
    let mut all: Vec<_> = (0..10u64).map(|n| plus::remote(&flow, n, 10u64).unwrap()).collect();
    all[6] = fails::remote(&flow, "the seventh").unwrap();
    let error = failed(gather(&flow, &all).unwrap().get());
    assert_eq!(error.name, "fails");
    assert_eq!(error.below.unwrap().1, "gather");
}

// ---- receivers, siblings ------------------------------------------------------------------------

#[derive(Serialize, Deserialize)]
struct Part {
    size: u64,
}

#[nodes]
impl Part {
    #[node]
    fn size_times(&self, times: u64) -> u64 {
        self.size * times
    }
}

#[node]
fn make_part(size: u64) -> Part {
    Part { size }
}

pub(crate) fn a_receiver_by_ref() {
    let flow = flow(2);
    let part = make_part::remote(&flow, 7u64).unwrap();
    let times = plus::remote(&flow, 1u64, 2u64).unwrap();
    assert_eq!(Part::SIZE_TIMES.remote(&flow, &part, &times).unwrap().get(), Ok(21));
    assert_eq!(Part::SIZE_TIMES.remote_blocking(&flow, &Part { size: 2 }, times), Ok(6));
}

/// Comes, and waits for the other one.
#[node]
fn meets(marks: &str) -> bool {
    append(marks, "here");
    await_lines(marks, 2).len() == 2
}

pub(crate) fn independent_tasks_run_at_the_same_time() {
    let flow = flow(2);
    let files = Files::new();
    let marks = files.path("marks");
    let all = [(); 2].map(|()| meets::remote(&flow, &marks).unwrap());
    assert_eq!(flow.get_all(&all), Ok(vec![true, true]));
}
