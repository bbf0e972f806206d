//! Getting values, and errors in their place.

use std::fmt;
use std::time::Duration;

use mailring::flow::{Cause, Error, Flow, ObjectRef, node};
use serde::{Deserialize, Serialize};
use testkit::flow::{Gate, app, failed, flow, hold, square};

#[node]
fn fails_with(why: &str) -> Result<u64, String> {
    Err(why.to_owned())
}

/// A value as soon as the gate is open.
#[node]
fn square_after(_open: bool, n: u64) -> u64 {
    n * n
}

fn squares(flow: &Flow, count: u64) -> Vec<ObjectRef<u64>> {
    (0..count).map(|n| square::remote(flow, n).unwrap()).collect()
}

/// A ref whose value comes when the gate is opened.
fn late(flow: &Flow, gate: &Gate, n: u64) -> ObjectRef<u64> {
    let open = hold::remote(flow, gate.path(), "late").unwrap();
    gate.await_begun(1);
    square_after::remote(flow, open, n).unwrap()
}

// ---- lists --------------------------------------------------------------------------------------

pub(crate) fn a_list_is_in_its_order() {
    let flow = flow(2);
    let gate = Gate::new();
    let mut all = squares(&flow, 100);
    all[10] = late(&flow, &gate, 10); // complete long after the others
    gate.open();
    assert_eq!(flow.get_all(&all), Ok((0..100).map(|n| n * n).collect()));
    all.reverse();
    let reversed: Vec<u64> = (0..100).rev().map(|n| n * n).collect();
    assert_eq!(flow.get_all(&all), Ok(reversed));
    let twice = [all[0].clone(), all[0].clone()];
    assert_eq!(flow.get_all(&twice), Ok(vec![99 * 99; 2]));
}

pub(crate) fn an_empty_list() {
    let flow = flow(1);
    assert_eq!(flow.get_all::<u64>(&[]), Ok(Vec::new()));
    assert_eq!(flow.get_all_timeout::<u64>(&[], Duration::ZERO), Ok(Vec::new()));
}

pub(crate) fn a_failure_in_a_list_does_not_wait() {
    let flow = flow(2);
    let gate = Gate::new();
    let waits = late(&flow, &gate, 3);
    let all = [
        waits.clone(),
        square::remote(&flow, 2u64).unwrap(),
        fails_with::remote(&flow, "now").unwrap(),
    ];
    let result = flow.get_all_timeout(&all, Duration::from_secs(10));
    assert_eq!(app(result).message, "now");
    assert!(!waits.is_ready());
    gate.open();
    assert_eq!(waits.get(), Ok(9));
}

pub(crate) fn a_failure_far_behind_in_a_list_does_not_wait_either() {
    let flow = flow(2);
    let gate = Gate::new();
    let mut all = vec![late(&flow, &gate, 3)];
    all.extend(squares(&flow, 300));
    all.push(fails_with::remote(&flow, "far behind").unwrap());
    let result = flow.get_all_timeout(&all, Duration::from_secs(3));
    assert_eq!(app(result).message, "far behind");
    gate.open();
}

// ---- time-outs ----------------------------------------------------------------------------------

pub(crate) fn a_timeout_of_zero_looks() {
    let flow = flow(2);
    let gate = Gate::new();
    let value = late(&flow, &gate, 5);
    for _ in 0..3 {
        let early = value.get_timeout(Duration::ZERO);
        assert!(
            matches!(&early, Err(Error::Timeout(name, _)) if name.contains("`square_after`")),
            "{early:?}"
        );
    }
    assert!(!value.is_ready() && !value.wait_timeout(Duration::ZERO));
    gate.open();
    assert_eq!(value.get(), Ok(25));
    assert_eq!(value.get_timeout(Duration::ZERO), Ok(25));
    assert!(value.is_ready() && value.wait_timeout(Duration::ZERO));
}

pub(crate) fn a_timeout_and_then_the_value() {
    let flow = flow(2);
    let gate = Gate::new();
    let value = late(&flow, &gate, 6);
    let limit = Duration::from_millis(30);
    match value.get_timeout(limit) {
        Err(Error::Timeout(_, after)) => assert!(after >= limit, "{after:?}"),
        other => panic!("{other:?}"),
    }
    let list = flow.get_all_timeout(&[square::remote(&flow, 1u64).unwrap(), value.clone()], limit);
    assert!(matches!(list, Err(Error::Timeout(..))), "{list:?}");
    gate.open();
    assert_eq!(value.get_timeout(Duration::MAX), Ok(36), "the task has gone on");
    assert_eq!(flow.get_all_timeout(&[value], limit), Ok(vec![36]));
}

pub(crate) fn ready_or_not() {
    let flow = flow(2);
    let gate = Gate::new();
    let value = late(&flow, &gate, 1);
    let bad = fails_with::remote(&flow, "x").unwrap();
    assert!(bad.wait_timeout(Duration::from_secs(10)), "a failure is there as well");
    assert!(bad.is_ready() && !value.is_ready());
    gate.open();
    assert!(value.wait_timeout(Duration::from_secs(10)) && value.is_ready());
    assert!(flow.put(&1u64).unwrap().is_ready());
}

// ---- forms --------------------------------------------------------------------------------------

pub(crate) fn with_a_callback() {
    let flow = flow(1);
    let value = square::remote(&flow, 4u64).unwrap();
    assert_eq!(value.get_with(|n| format!("<{n}>")), Ok("<16>".to_owned()));
    let mut called = false;
    let bad = fails_with::remote(&flow, "no").unwrap();
    let result = bad.get_with(|_| called = true);
    assert_eq!(app(result).message, "no");
    assert!(!called, "not on failure");
}

pub(crate) fn as_often_as_one_likes() {
    let flow = flow(1);
    let value = square::remote(&flow, 9u64).unwrap();
    let copy = value.clone();
    assert_eq!((value.get(), value.get(), copy.get()), (Ok(81), Ok(81), Ok(81)));
    drop(value);
    assert_eq!(copy.get(), Ok(81));
    let bad = fails_with::remote(&flow, "each time").unwrap();
    assert_eq!(failed(bad.get()), failed(bad.get()));
}

pub(crate) fn from_many_threads_at_once() {
    let flow = flow(2);
    let gate = Gate::new();
    let common = late(&flow, &gate, 7);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let (flow, common) = (&flow, common.clone());
                scope.spawn(move || {
                    for n in 0..200 {
                        let n = thread * 1000 + n;
                        assert_eq!(square::remote_blocking(flow, n), Ok(n * n));
                    }
                    common.get()
                })
            })
            .collect();
        gate.open();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(49));
        }
    });
}

// ---- errors -------------------------------------------------------------------------------------

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum BuildError {
    Missing { file: String },
    Linker(LinkError),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LinkError(u32);

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the linker ended with {}", self.0)
    }
}

impl std::error::Error for LinkError {}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { file } => write!(f, "{file} is missing"),
            Self::Linker(_) => f.write_str("cannot link"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Missing { .. } => None,
            Self::Linker(error) => Some(error),
        }
    }
}

const ABOVE_BUILD: u32 = line!();
#[node]
fn build(file: &str) -> Result<u8, BuildError> {
    match file.parse() {
        Ok(code) => Err(BuildError::Linker(LinkError(code))),
        Err(_) => Err(BuildError::Missing { file: file.to_owned() }),
    }
}

pub(crate) fn an_error_keeps_its_type() {
    let flow = flow(1);
    let error = app(build::remote_blocking(&flow, "a.c"));
    assert_eq!(error.type_name, std::any::type_name::<BuildError>());
    assert_eq!(error.message, "a.c is missing");
    assert!(error.chain.is_empty());
    assert!(error.is::<BuildError>() && !error.is::<LinkError>());
    assert_eq!(error.downcast(), Some(BuildError::Missing { file: "a.c".to_owned() }));
    assert_eq!(error.downcast::<LinkError>(), None);
    assert_eq!(error.downcast::<String>(), None);
    let (file, line) = error.at.rsplit_once(':').unwrap();
    assert_eq!(file, file!());
    let line: u32 = line.parse().unwrap();
    assert!((ABOVE_BUILD + 1..=ABOVE_BUILD + 2).contains(&line), "{line}");
}

pub(crate) fn an_error_keeps_its_causes() {
    let flow = flow(1);
    let result = build::remote_blocking(&flow, "17");
    let text = result.as_ref().unwrap_err().to_string();
    let error = app(result);
    assert_eq!(
        (error.message.as_str(), &error.chain[..]),
        ("cannot link", &["the linker ended with 17".to_owned()][..])
    );
    assert_eq!(error.downcast(), Some(BuildError::Linker(LinkError(17))));
    for part in ["`build`", "cpu/0", "cannot link: the linker ended with 17", "BuildError", file!()]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[node]
fn says(what: &str) -> Result<(), String> {
    Err(what.to_owned())
}

#[node]
fn reads(path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

#[node]
fn boxed(code: u32) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    Err(Box::new(BuildError::Linker(LinkError(code))))
}

pub(crate) fn errors_of_other_types() {
    let flow = flow(1);
    let error = app(says::remote_blocking(&flow, "words only"));
    assert_eq!((error.message.as_str(), error.chain.len()), ("words only", 0));
    assert_eq!(error.downcast(), Some("words only".to_owned()));
    // Cannot be serialised: what it says is there, it itself is not.
    let error = app(reads::remote_blocking(&flow, "/nonexistent/file"));
    assert!(error.is::<std::io::Error>(), "{error}");
    assert!(error.message.contains("No such file"), "{error}");
    let error = app(boxed::remote_blocking(&flow, 3u32));
    assert_eq!((error.message.as_str(), error.chain.len()), ("cannot link", 1));
}

#[node]
fn long_error(len: usize) -> Result<(), String> {
    Err("x".repeat(len))
}

pub(crate) fn an_error_of_any_length() {
    let flow = flow(1);
    for len in [0, 1, 15, 16, 100, 192, 300, 5000, 1 << 20] {
        let error = app(long_error::remote_blocking(&flow, len));
        assert_eq!(error.message.len(), len);
        assert_eq!(error.downcast::<String>().map(|text| text.len()), Some(len));
    }
}

const ABOVE_PANIC: u32 = line!();
#[node]
fn divides(a: u32, b: u32) -> u32 {
    assert!(b != 0, "{a} cannot be divided by {b}");
    a / b
}

pub(crate) fn a_panic_says_where() {
    let flow = flow(1);
    assert_eq!(divides::remote_blocking(&flow, 6u32, 3u32), Ok(2));
    let error = failed(divides::remote_blocking(&flow, 6u32, 0u32));
    let Cause::Panicked { message, at } = &error.cause else { panic!("{error}") };
    assert_eq!(message, "6 cannot be divided by 0");
    let mut place = at.rsplitn(3, ':');
    let (column, line) = (place.next().unwrap(), place.next().unwrap());
    assert_eq!((place.next(), line.parse()), (Some(file!()), Ok(ABOVE_PANIC + 3)));
    assert!(column.parse::<u32>().is_ok_and(|column| column > 0), "{at}");
    assert_eq!((error.worker.as_deref(), error.attempt), (Some("cpu/0"), 1));
    assert_eq!(divides::remote_blocking(&flow, 8u32, 2u32), Ok(4), "the worker goes on");
}

// ---- views --------------------------------------------------------------------------------------

#[node]
fn bytes_of(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8).collect()
}

#[node]
fn text_of(len: usize) -> String {
    "abcdefgh".chars().cycle().take(len).collect()
}

pub(crate) fn values_in_place() {
    let flow = flow(1);
    for len in [0, 1, 100, 5000, 1 << 20] {
        let bytes = bytes_of::remote(&flow, len).unwrap();
        let view = bytes.view().unwrap();
        assert_eq!(view.len(), len);
        assert!(view.iter().enumerate().all(|(at, &byte)| byte == at as u8));
        assert_eq!(bytes.get().unwrap(), *view);
        let text = text_of::remote(&flow, len).unwrap();
        let view = text.view().unwrap();
        assert_eq!(&*view, text_of(len));
    }
    let bad = says_bytes::remote(&flow, "no bytes").unwrap();
    assert_eq!(app(bad.view().map(|view| view.len())).message, "no bytes");
}

#[node]
fn says_bytes(what: &str) -> Result<Vec<u8>, String> {
    Err(what.to_owned())
}

pub(crate) fn a_large_value_is_not_copied_by_views() {
    let flow = flow(1);
    let bytes = bytes_of::remote(&flow, 1usize << 20).unwrap();
    let (first, second) = (bytes.view().unwrap(), bytes.view().unwrap());
    assert_eq!(first.as_ptr(), second.as_ptr());
    drop((bytes, second));
    // The view keeps what it shows.
    for _ in 0..20 {
        let other = bytes_of::remote(&flow, 1usize << 20).unwrap();
        assert_eq!(other.get().unwrap().len(), 1 << 20);
    }
    assert!(first.iter().enumerate().all(|(at, &byte)| byte == at as u8));
}
