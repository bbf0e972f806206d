//! Refs of a flow that is gone, and of another one.

use std::fmt::Debug;
use std::time::Duration;

use crate::values::{MIB, make, make_after, number, pattern};
use mailring::flow::{
    Cancel, Error, ObjectRef, TrackedRef, WaitOptions, WaitSet, gather, node, wait,
};
use testkit::flow::{Gate, flow, hold};

pub(crate) fn refs_of_a_flow_that_was_dropped() {
    let flow = flow(1);
    let gate = Gate::new();
    let running = hold::remote(&flow, gate.path(), "one").unwrap();
    gate.await_begun(1);
    let queued = number::remote(&flow, 1u8).unwrap();
    let clone = flow.clone();
    drop(flow);
    assert!(!queued.is_ready(), "a clone is the same flow");
    drop(clone);
    let closed = |error: &Error| matches!(error, Error::Closed(why) if why.contains("dropped"));
    // A body that ran was cancelled, and what it returned then is not a value.
    let ended = |error: &Error| closed(error) || error.is_cancelled();
    let result = running.get();
    assert!(result.as_ref().is_err_and(ended), "{result:?}");
    for result in [queued.get(), queued.get_timeout(Duration::ZERO)] {
        assert!(result.as_ref().is_err_and(closed), "{result:?}");
    }
    let view = made_below_a_body_of_a_dropped_flow().view().map(|view| view.len());
    assert!(view.as_ref().is_err_and(ended), "{view:?}");
    assert!(!queued.is_ready());
    // Another flow takes no harm, and takes none of them.
    let other = testkit::flow::flow(1);
    refused("a ref of a closed flow", number::remote(&other, &queued));
    assert_eq!(number::remote_blocking(&other, 2u8), Ok(2));
}

/// A ref that waits for a body, whose flow is gone.
fn made_below_a_body_of_a_dropped_flow() -> ObjectRef<Vec<u8>> {
    let gate = Gate::new(); // goes after the flow, or it would be passed
    let flow = flow(1);
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    gate.await_begun(1);
    make_after::remote(&flow, open, 5usize).unwrap()
}

pub(crate) fn a_value_that_was_there_when_the_flow_was_dropped() {
    let flow = flow(1);
    let (small, large) =
        (make::remote(&flow, 100usize).unwrap(), make::remote(&flow, MIB).unwrap());
    let view = large.view().unwrap();
    small.get().unwrap();
    drop(flow);
    // The memory is there as long as refs are; whoever asks is given the value, or told.
    for (one, len) in [(&small, 100), (&large, MIB)] {
        match one.get() {
            Ok(value) => assert!(value == pattern(len)),
            Err(error) => assert!(matches!(error, Error::Closed(_)), "{error:?}"),
        }
    }
    assert!(*view == pattern(MIB));
}

/// An error that says so, whatever it is about.
#[track_caller]
fn refused<T: Debug>(what: &str, result: Result<T, Error>) {
    match result {
        Err(error) => assert!(error.to_string().contains("another flow"), "{what}: {error}"),
        Ok(value) => panic!("{what}: {value:?}"),
    }
}

pub(crate) fn a_ref_of_one_flow_is_nothing_to_another() {
    let (ours, theirs) = (flow(1), flow(1));
    // The same calls in both, so that their tables look alike.
    let here: Vec<_> = (0..3u8).map(|n| number::remote(&ours, n).unwrap()).collect();
    let there: Vec<_> = (10..13u8).map(|n| number::remote(&theirs, n).unwrap()).collect();
    let untouched = || {
        assert_eq!(ours.get_all(&here), Ok(vec![0, 1, 2]));
        assert_eq!(theirs.get_all(&there), Ok(vec![10, 11, 12]));
    };
    untouched();
    for one in &here {
        refused("an argument", number::remote(&theirs, one).and_then(|value| value.get()));
        let nested = vec![one.clone()];
        refused("inside of one", count::remote(&theirs, nested).and_then(|value| value.get()));
        refused("a value that is put", theirs.put(&vec![one.clone()]));
        refused("its state", theirs.pending(one));
        refused("a cancel", theirs.cancel(one, Cancel::default()));
    }
    refused("a list", theirs.get_all(&here));
    refused("gathered", gather(&theirs, &here).and_then(|all| all.get()));
    let mut tracked: Vec<_> = here.iter().map(|one| TrackedRef::new(one.clone())).collect();
    refused(
        "a wait",
        wait(&theirs, &mut tracked, &WaitOptions::default()).map(|ready| ready.len()),
    );
    let mut set = WaitSet::new(&theirs).unwrap();
    refused("a member of a set", set.add(here[0].clone()));
    refused("freeing", theirs.free(&here));
    untouched();
}

#[node]
fn count(refs: Vec<ObjectRef<u8>>) -> usize {
    refs.len()
}

/// Two flows in one process: values decoded in the older one belong to it.
pub(crate) fn refs_inside_of_values_of_two_flows() {
    let older = flow(1);
    let inner = older.put(&5u8).unwrap();
    let outer = older.put(&vec![inner]).unwrap();
    let younger = flow(1);
    let also = younger.put(&6u8).unwrap();
    assert_eq!(outer.get().unwrap()[0].get(), Ok(5));
    assert_eq!(also.get(), Ok(6));
}
