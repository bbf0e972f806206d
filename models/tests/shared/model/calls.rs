//! Calls of a flow: one cell between the host and a worker, and the notifier.
//!
//! Checked: a task is run or comes back, never both; a completion that is seen is whole; a
//! completion is seen by a host that looks, or told to one that has looked away; and what a death
//! leaves in the word is what was done.

use std::sync::Arc;

use super::super::call_cell::{CallCell, Flaw};
use super::super::checker::{ALL, explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::mailbox::cell::{Phase, Take};

#[test]
fn a_reply_that_is_seen_is_whole() {
    explore("calls, completion", ALL, || completion(Flaw::None));
}

pub(crate) fn completion(flaw: Flaw) {
    let cell = Arc::new(CallCell::new(flaw));
    cell.post(1);
    let worker = {
        let cell = Arc::clone(&cell);
        spawn(move || cell.serve(1))
    };
    if let Some(completion) = cell.look(1) {
        assert_eq!(completion, 11);
    }
    assert_eq!(worker.join().unwrap(), Take::Taken);
    assert_eq!(cell.look(1), Some(11));
}

#[test]
fn a_posted_task_is_run_or_comes_back() {
    explore("calls, recall", ALL, || recall(Flaw::None));
}

pub(crate) fn recall(flaw: Flaw) {
    let cell = Arc::new(CallCell::new(flaw));
    cell.post(1);
    let worker = {
        let cell = Arc::clone(&cell);
        spawn(move || cell.serve(1))
    };
    let back = cell.recall(1);
    let take = worker.join().unwrap();
    assert_eq!(back, take == Take::Passed);
    assert_eq!(back, !cell.ran(1));
}

/// The cell of a task that came back is used again before the worker has looked.
#[test]
fn a_cell_is_used_again() {
    explore("calls, reuse", ALL, || {
        let cell = Arc::new(CallCell::new(Flaw::None));
        cell.post(1);
        let worker = {
            let cell = Arc::clone(&cell);
            spawn(move || {
                let first = cell.serve(1);
                let second = if first == Take::NotYet { Take::NotYet } else { cell.serve(2) };
                (first, second)
            })
        };
        let back = cell.recall(1);
        if back {
            cell.post(2);
        }
        let (first, second) = worker.join().unwrap();
        assert_eq!(back, first == Take::Passed);
        if second == Take::Taken {
            assert_eq!(cell.look(2), Some(21));
        }
        assert_eq!(cell.ran(1), !back);
    });
}

#[test]
fn a_reply_is_seen_or_told() {
    explore("calls, notifier", ALL, || seen_or_told(Flaw::None));
}

pub(crate) fn seen_or_told(flaw: Flaw) {
    let cell = Arc::new(CallCell::new(flaw));
    cell.post(1);
    let worker = {
        let cell = Arc::clone(&cell);
        spawn(move || cell.serve(1))
    };
    let seen = cell.look_away(1);
    let _ = worker.join().unwrap();
    assert!(seen.is_some() || cell.was_told(), "nobody knows of the completion");
}

/// A worker dies anywhere: the word says whether the body has begun, and a completion that is there
/// is whole.
#[test]
fn death_of_the_worker() {
    explore_kills("calls, death", ALL, |kill| worker_dies(Flaw::None, kill));
}

pub(crate) fn worker_dies(flaw: Flaw, kill: &Kill) {
    let cell = Arc::new(CallCell::new(flaw));
    cell.post(1);
    let worker = {
        let (cell, kill) = (Arc::clone(&cell), kill.clone());
        spawn(move || mortal(&kill, || cell.serve(1)))
    };
    let back = cell.recall(1);
    let _ = worker.join().unwrap();
    match cell.phase(1) {
        Some(Phase::Done) => assert_eq!(cell.look(1), Some(11)),
        Some(Phase::Started) => assert!(!back),
        Some(Phase::Taken) => assert!(!cell.ran(1), "it would be run again at no charge"),
        Some(Phase::Posted | Phase::Recalled) => assert!(!cell.ran(1)),
        None => panic!("an invalid word"),
    }
}
