//! Values, arguments and errors that are too long, do not fit, are given up, or never filled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mailring::flow::{Cause, Error, Flow, ObjectRef, Resources, Shared, gather, node};
use testkit::eventually;
use testkit::flow::{add, assert_soon, cause, flow};

const LONG: Duration = Duration::from_secs(20);

#[node]
fn long_error(len: usize) -> Result<u64, String> {
    Err("e".repeat(len))
}

/// The error of a nested call, as its body sees it.
#[node]
fn told(len: usize) -> Result<String, Error> {
    match long_error::remote_blocking(&Flow::current()?, len) {
        Err(Error::Task(error)) => match error.cause {
            Cause::App(app) => Ok(app.message),
            other => Ok(format!("not that: {other}")),
        },
        other => Ok(format!("not that: {other:?}")),
    }
}

pub(crate) fn errors_of_any_length_reach_a_body() {
    let flow = flow(1);
    for len in [100, 3_000, 20_000, 100_000, 1_000_000] {
        let message = told::remote(&flow, len).unwrap().get_timeout(LONG).unwrap();
        let all = message.bytes().take_while(|&byte| byte == b'e').count();
        assert!(all >= len.min(1000), "{message:.2000}");
        assert!(all == len || message.contains("more"), "it says that it was cut");
    }
}

#[node]
fn sum_of_lengths(refs: Vec<ObjectRef<Vec<u8>>>) -> Result<usize, Error> {
    Ok(Flow::current()?.get_all(&refs)?.iter().map(Vec::len).sum())
}

pub(crate) fn a_body_gets_sixty_values_at_once() {
    let flow = flow(1);
    let refs: Vec<_> = (0..60).map(|_| flow.put(&vec![1u8; 1500]).unwrap()).collect();
    let sum = sum_of_lengths::remote(&flow, refs).unwrap();
    assert_eq!(sum.get_timeout(LONG), Ok(90_000));
}

#[node]
fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

fn tiny() -> mailring::flow::Builder {
    Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(1 << 20)
}

pub(crate) fn arguments_that_find_no_room_end() {
    let flow = tiny().memory_patience(Duration::from_millis(300)).build().unwrap();
    let mut held = Vec::new();
    let full = loop {
        match flow.put(&vec![1u8; 3000]) {
            Ok(one) => held.push(one),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Memory { .. }), "{full:?}");
    // Short ones, and small results, have room of their own.
    assert_eq!(length::remote(&flow, vec![1u8; 1000]).unwrap().get_timeout(LONG), Ok(1000));
    let since = Instant::now();
    let long = length::remote(&flow, vec![1u8; 70_000]).map(drop);
    assert!(matches!(&long, Err(Error::Memory { why, .. }) if why.contains("driver")), "{long:?}");
    assert_soon(since, "the end of its patience");
    assert_eq!(add::remote(&flow, 1u64, 1u64).unwrap().get_timeout(LONG), Ok(2));
    drop(held);
    assert_eq!(length::remote(&flow, vec![1u8; 1000]).unwrap().get_timeout(LONG), Ok(1000));
}

/// It could never fit, so no patience is needed.
pub(crate) fn a_gather_larger_than_the_memory_ends_at_once() {
    let flow = tiny().memory_patience(Duration::from_secs(60)).build().unwrap();
    let refs: Vec<_> = (0..10_000).map(|_| flow.put(&vec![1u8; 150]).unwrap()).collect();
    let since = Instant::now();
    let all = gather(&flow, &refs).unwrap();
    let why = cause(all.get_timeout(LONG));
    assert!(matches!(why, Cause::OutOfMemory(_)), "{why:?}");
    assert_soon(since, "the refusal");
    assert_eq!(add::remote(&flow, 1u64, 1u64).unwrap().get_timeout(LONG), Ok(2));
}

fn all_freed(flow: &Flow) {
    let used = || flow.stats().unwrap().memory_used;
    eventually("all is freed", || used() == 0);
}

#[node]
fn is_zeroed(len: usize) -> Result<bool, Error> {
    let mut zeroed = false;
    Shared::<u32>::new(&Flow::current()?, len, |room| {
        zeroed = room.iter().all(|&one| one == 0);
        room.fill(7);
    })?;
    Ok(zeroed)
}

pub(crate) fn new_blocks_are_zeroed() {
    let flow = flow(1);
    for _ in 0..5 {
        let mut zeroed = false;
        let fill = |room: &mut [u32]| {
            zeroed = room.iter().all(|&one| one == 0);
            room.fill(7);
        };
        let block = Shared::new(&flow, 1000, fill).unwrap();
        assert!(zeroed && block.iter().all(|&one| one == 7));
        drop(block);
        all_freed(&flow); // so that the next one has the same place
        assert!(is_zeroed::remote_blocking(&flow, 1000usize).unwrap());
        all_freed(&flow);
    }
}

#[node]
fn panics_while_it_fills() -> Result<usize, Error> {
    Ok(Shared::<u8>::new(&Flow::current()?, 1 << 20, |_| panic!("in a body"))?.len())
}

pub(crate) fn a_panic_while_a_block_is_filled_leaks_nothing() {
    let flow = flow(1);
    for _ in 0..3 {
        let fill = || Shared::<u8>::new(&flow, 1 << 20, |_| panic!("in the driver"));
        assert!(catch_unwind(AssertUnwindSafe(fill)).is_err());
        let why = cause(panics_while_it_fills::remote_blocking(&flow));
        assert!(matches!(why, Cause::Panicked { .. }), "{why:?}");
    }
    all_freed(&flow);
}

#[node]
fn bytes(byte: u8, len: usize) -> Vec<u8> {
    vec![byte; len]
}

pub(crate) fn a_view_outlives_what_is_given_up() {
    let flow = flow(1);
    let first = bytes::remote(&flow, 7u8, 1usize << 20).unwrap();
    let view = first.view().unwrap();
    flow.free(std::slice::from_ref(&first)).unwrap();
    let why = cause(first.get());
    assert!(matches!(why, Cause::ObjectLost(_)), "{why:?}");
    drop(first);
    for _ in 0..3 {
        assert_eq!(bytes::remote_blocking(&flow, 9u8, 1usize << 20).unwrap()[0], 9);
        assert!(view.len() == 1 << 20 && view.iter().all(|&byte| byte == 7));
    }
    drop(view);
    all_freed(&flow);
}

// ---- names, refs --------------------------------------------------------------------------------

mod twins {
    use mailring::flow::node;

    #[node(name = "the same name")]
    fn one() -> u64 {
        1
    }

    #[node(name = "the same name")]
    fn two() -> u64 {
        2
    }
}

pub(crate) fn nodes_of_one_name_are_told_apart() {
    let flow = flow(1);
    match flow.call_by_name::<u64>("the same name", &[]) {
        Err(Error::Invalid(why)) => {
            assert!(
                why.contains("several") && why.matches("value_limits.rs:").count() == 2,
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn a_ref_encoded_outside_of_a_call_is_not_kept() {
    let flow = flow(1);
    for n in 0..100u8 {
        let one = flow.put(&n).unwrap();
        let bytes = rmp_serde::to_vec(&one);
        assert_eq!(one.get(), Ok(n), "{bytes:?}");
    }
    eventually("all objects are gone", || flow.stats().unwrap().objects == 0);
}
