//! The ways to call a node, and what can be given to one.

use std::cell::Cell;

use mailring::flow::{Cause, Error, Flow, call_remote, node, nodes};
use serde::{Deserialize, Serialize};
use testkit::flow::{app, failed, flow, worker_of};

#[node]
fn own_pid() -> u32 {
    std::process::id()
}

#[node]
fn sum_of_two(a: u64, b: u64) -> u64 {
    a + b
}

#[node(name = "modes.renamed")]
fn renamed() -> u8 {
    7
}

pub(crate) fn a_local_call_runs_here() {
    assert_eq!(own_pid(), std::process::id());
    let flow = flow(2);
    assert_eq!(own_pid(), std::process::id());
    assert_eq!(flow.stats().unwrap().tasks, 0, "a local call is not a task");
}

pub(crate) fn a_remote_call_runs_on_a_worker() {
    let flow = flow(2);
    let there = own_pid::remote(&flow).unwrap().get().unwrap();
    assert_ne!(there, std::process::id());
    assert!(worker_of(&flow, there as i32).starts_with("cpu/"));
}

pub(crate) fn blocking_is_remote_and_get() {
    let flow = flow(2);
    assert_eq!(sum_of_two::remote_blocking(&flow, 2u64, 3u64), Ok(5));
    assert_eq!(sum_of_two::remote(&flow, 2u64, 3u64).unwrap().get(), Ok(5));
    let handle = sum_of_two::options().cpus(0.5);
    assert_eq!(handle.remote_blocking(&flow, 2u64, 3u64), Ok(5));
    let there = [
        own_pid::remote_blocking(&flow).unwrap(),
        own_pid::options().cpus(0.5).remote_blocking(&flow).unwrap(),
        own_pid::NODE.remote_blocking(&flow).unwrap(),
    ];
    assert!(there.iter().all(|&pid| pid != std::process::id() && pid != 0));
    let error = failed(may_fail::remote_blocking(&flow, false));
    assert_eq!(error.name, "may_fail");
}

#[node]
fn calls_directly() -> (u32, u32) {
    (std::process::id(), own_pid())
}

pub(crate) fn a_direct_call_in_a_body_runs_in_the_body() {
    let flow = flow(2);
    let (body, inner) = calls_directly::remote_blocking(&flow).unwrap();
    assert_eq!(body, inner);
    assert_eq!(flow.stats().unwrap().tasks, 1);
}

// ---- methods ------------------------------------------------------------------------------------

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    count: Cell<u32>,
}

#[nodes]
impl Counter {
    #[node]
    fn bump(&self, by: u32) -> u32 {
        self.count.set(self.count.get() + by);
        self.count.get()
    }

    #[node]
    fn into_count(self) -> (u32, u32) {
        (self.count.get(), std::process::id())
    }

    #[node]
    fn with_count(count: u32) -> Counter {
        Self { count: Cell::new(count) }
    }

    fn plain(&self) -> u32 {
        self.count.get()
    }
}

pub(crate) fn a_receiver_is_a_copy() {
    let flow = flow(2);
    let counter = Counter::default();
    assert_eq!(Counter::BUMP.remote(&flow, &counter, 3u32).unwrap().get(), Ok(3));
    assert_eq!(Counter::BUMP.remote_blocking(&flow, &counter, 4u32), Ok(4), "a new copy each time");
    assert_eq!(counter.plain(), 0, "the worker's change is lost");
    assert_eq!(counter.bump(2), 2);
    assert_eq!(counter.plain(), 2, "a local call works on the value itself");
    assert_eq!(Counter::BUMP.options().cpus(0.1).remote_blocking(&flow, &counter, 1u32), Ok(3));
}

pub(crate) fn a_receiver_by_value_and_none() {
    let flow = flow(2);
    let (count, pid) =
        Counter::INTO_COUNT.remote_blocking(&flow, Counter { count: Cell::new(9) }).unwrap();
    assert_eq!(count, 9);
    assert_ne!(pid, std::process::id());
    let made = Counter::WITH_COUNT.remote_blocking(&flow, 5u32).unwrap();
    assert_eq!(made, Counter::with_count(5));
}

// ---- the functional form ------------------------------------------------------------------------

pub(crate) fn the_functional_form() {
    let flow = flow(2);
    let three = call_remote(&flow, &sum_of_two::NODE, (1u64, 2u64)).unwrap();
    let handle = sum_of_two::options().cpus(0.5).display_name("with options");
    let seven = call_remote(&flow, &handle, (&three, 4u64)).unwrap();
    assert_eq!((three.get(), seven.get()), (Ok(3), Ok(7)));
    let counter = Counter { count: Cell::new(1) };
    let bumped = call_remote(&flow, &Counter::BUMP, (&counter, 1u32)).unwrap();
    assert_eq!(bumped.get(), Ok(2));
    assert_ne!(call_remote(&flow, &own_pid::NODE, ()).unwrap().get(), Ok(std::process::id()));
    let refused = call_remote(&flow, &sum_of_two::options().cpus(9.0), (1u64, 2u64));
    assert!(matches!(refused, Err(Error::Infeasible { .. })), "{refused:?}");
}

// ---- by name ------------------------------------------------------------------------------------

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

mod other {
    use mailring::flow::node;

    #[node]
    fn twin() -> u8 {
        1
    }
}

#[node]
fn twin() -> u8 {
    2
}

pub(crate) fn a_call_by_name() {
    let flow = flow(2);
    let (a, b) = (encoded(&40u64), encoded(&2u64));
    for name in ["flow::modes::sum_of_two", "modes::sum_of_two", "sum_of_two"] {
        let sum = flow.call_by_name::<u64>(name, &[&a, &b]).unwrap();
        assert_eq!(sum.get(), Ok(42), "{name}");
    }
    assert_eq!(flow.call_by_name::<u8>("modes.renamed", &[]).unwrap().get(), Ok(7));
    assert_eq!(flow.call_by_name::<u8>("flow::modes::twin", &[]).unwrap().get(), Ok(2));
    assert_eq!(flow.call_by_name::<u8>("other::twin", &[]).unwrap().get(), Ok(1));
    let receiver = encoded(&Counter::default());
    let bumped = flow.call_by_name::<u32>("Counter::bump", &[&receiver, &encoded(&6u32)]);
    assert_eq!(bumped.unwrap().get(), Ok(6));
}

pub(crate) fn unknown_names_are_no_nodes() {
    let flow = flow(1);
    for name in ["nowhere", "", "of_two", "sum_of_two::", "own_pid ", "plain"] {
        let refused = flow.call_by_name::<u64>(name, &[]);
        assert!(matches!(&refused, Err(Error::NotANode(given)) if given == name), "{refused:?}");
    }
    // Two nodes end like this.
    let refused = flow.call_by_name::<u64>("twin", &[]).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("`flow::modes::twin`"), "{text}");
    assert!(text.contains("`flow::modes::other::twin`"), "{text}");
    assert_eq!(flow.stats().unwrap().tasks, 0);
}

#[track_caller]
fn bad_argument(flow: &Flow, args: &[&[u8]]) -> (usize, String, String) {
    match flow.call_by_name::<u64>("sum_of_two", args) {
        Err(Error::BadArgument { node, index, name, why }) => {
            assert_eq!(node, "flow::modes::sum_of_two");
            (index, name, why)
        }
        other => panic!("expected a bad argument, not {other:?}"),
    }
}

pub(crate) fn wrong_bytes_by_name_are_refused() {
    let flow = flow(1);
    let good = encoded(&1u64);
    let (index, name, _) = bad_argument(&flow, &[&good, &[0x80]]);
    assert_eq!((index, name.as_str()), (1, "b"));
    let (index, name, _) = bad_argument(&flow, &[&[], &good]);
    assert_eq!((index, name.as_str()), (0, "a"));
    let (index, _, why) = bad_argument(&flow, &[&good, &[1, 2, 3]]);
    assert!(index == 1 && why.contains("left over"), "{why}");
    let (.., why) = bad_argument(&flow, &[&good]);
    assert!(why.contains("1 arguments for 2 parameters"), "{why}");
    let (.., why) = bad_argument(&flow, &[&good, &good, &good]);
    assert!(why.contains("3 arguments for 2 parameters"), "{why}");
    let (.., why) = bad_argument(&flow, &[]);
    assert!(why.contains("0 arguments for 2 parameters"), "{why}");
    assert_eq!(flow.stats().unwrap().tasks, 0);
}

// ---- what can be given and returned -------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Box { from: Point, to: Point },
}

#[node]
#[allow(clippy::too_many_arguments, reason = "as many as there can be, each of another kind")]
fn kinds(
    text: &str,
    bytes: &[u8],
    owned: String,
    list: Vec<u32>,
    point: &Point,
    maybe: Option<Point>,
    shape: Shape,
    words: &[String],
) -> String {
    format!("{text} {bytes:?} {owned} {list:?} {point:?} {maybe:?} {shape:?} {words:?}")
}

pub(crate) fn all_kinds_of_arguments() {
    let flow = flow(2);
    let point = Point { x: -3, name: "ä €".to_owned() };
    let shape = Shape::Box { from: point.clone(), to: Point { x: 1, name: String::new() } };
    let words = vec!["one".to_owned(), String::new()];
    let maybe = Some(point.clone());
    let here = kinds(
        "text",
        &[0, 255],
        "owned".to_owned(),
        vec![1, u32::MAX],
        &point,
        Some(point.clone()),
        shape.clone(),
        &words,
    );
    let lent = kinds::remote(
        &flow,
        "text",
        &[0u8, 255][..],
        "owned",
        &[1, u32::MAX][..],
        &point,
        &maybe,
        &shape,
        &words,
    );
    assert_eq!(lent.unwrap().get().unwrap(), here);
    let given = kinds::remote(
        &flow,
        "text".to_owned(),
        vec![0u8, 255],
        "owned".to_owned(),
        vec![1, u32::MAX],
        point.clone(),
        Some(point.clone()),
        shape,
        words,
    );
    assert_eq!(given.unwrap().get().unwrap(), here);
    let least = kinds::remote_blocking(
        &flow,
        "",
        &[][..],
        "",
        Vec::new(),
        &point,
        None,
        Shape::Empty,
        Vec::new(),
    );
    let none = kinds("", &[], String::new(), Vec::new(), &point, None, Shape::Empty, &[]);
    assert_eq!(least.unwrap(), none);
}

#[node]
fn grown(shape: Shape) -> Option<Shape> {
    match shape {
        Shape::Circle(radius) => Some(Shape::Circle(2.0 * radius)),
        _ => None,
    }
}

#[node]
fn may_fail(ok: bool) -> Result<Vec<Point>, String> {
    if ok { Ok(vec![Point { x: 1, name: "p".to_owned() }]) } else { Err("told to".to_owned()) }
}

#[node]
fn nothing() {}

#[node]
fn nothing_or_error(ok: bool) -> Result<(), String> {
    if ok { Ok(()) } else { Err("nothing to say".to_owned()) }
}

pub(crate) fn all_kinds_of_values() {
    let flow = flow(2);
    assert_eq!(grown::remote_blocking(&flow, Shape::Circle(1.5)), Ok(Some(Shape::Circle(3.0))));
    assert_eq!(grown::remote_blocking(&flow, Shape::Empty), Ok(None));
    assert_eq!(may_fail::remote_blocking(&flow, true).unwrap()[0].name, "p");
    assert_eq!(app(may_fail::remote_blocking(&flow, false)).message, "told to");
    assert_eq!(nothing::remote_blocking(&flow), Ok(()));
    assert_eq!(nothing_or_error::remote_blocking(&flow, true), Ok(()));
    let error = failed(nothing_or_error::remote_blocking(&flow, false));
    assert_eq!(error.name, "nothing_or_error");
    assert!(matches!(&error.cause, Cause::App(app) if app.message == "nothing to say"), "{error}");
}

pub(crate) fn names_of_nodes() {
    assert_eq!(own_pid::NODE.name(), "flow::modes::own_pid");
    assert_eq!(renamed::NODE.name(), "modes.renamed");
    assert_eq!(Counter::BUMP.name(), "flow::modes::Counter::bump");
    let flow = flow(1);
    let error = failed(may_fail::remote_blocking(&flow, false));
    assert!(error.to_string().contains("`may_fail`"), "{error}");
}

pub(crate) fn nodes_inside_of_functions() {
    #[derive(Serialize, Deserialize)]
    struct Local(u32);

    #[node]
    fn inside(local: Local, times: u32) -> (u32, u32) {
        (local.0 * times, std::process::id())
    }

    let flow = flow(1);
    assert_eq!(inside(Local(2), 3), (6, std::process::id()));
    let (product, pid) = inside::remote_blocking(&flow, Local(4), 5u32).unwrap();
    assert_eq!(product, 20);
    assert_ne!(pid, std::process::id());
    let args = [encoded(&3u32), encoded(&3u32)];
    let named = flow.call_by_name::<(u32, u32)>("inside", &[&args[0], &args[1]]).unwrap();
    assert_eq!(named.get().unwrap().0, 9);
}
