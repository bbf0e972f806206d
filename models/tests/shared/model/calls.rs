//! Calls of a flow: one cell between the host and a worker, and the bell.
//!
//! Checked: a letter is run or comes back, never both; a reply that is seen is whole; a reply is
//! seen by a host that looks, or told to one that has looked away; and what a death leaves in the
//! word is what was done.

use std::sync::Arc;

use super::super::checker::{ALL, explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::desk::{Desk, Flaw};
use super::super::mailbox::cell::{Phase, Take};

#[test]
fn a_reply_that_is_seen_is_whole() {
    explore("calls, reply", ALL, || reply(Flaw::None));
}

pub(crate) fn reply(flaw: Flaw) {
    let desk = Arc::new(Desk::new(flaw));
    desk.post(1);
    let worker = {
        let desk = Arc::clone(&desk);
        spawn(move || desk.serve(1))
    };
    if let Some(reply) = desk.look(1) {
        assert_eq!(reply, 11);
    }
    assert_eq!(worker.join().unwrap(), Take::Taken);
    assert_eq!(desk.look(1), Some(11));
}

#[test]
fn a_letter_is_run_or_comes_back() {
    explore("calls, recall", ALL, || recall(Flaw::None));
}

pub(crate) fn recall(flaw: Flaw) {
    let desk = Arc::new(Desk::new(flaw));
    desk.post(1);
    let worker = {
        let desk = Arc::clone(&desk);
        spawn(move || desk.serve(1))
    };
    let back = desk.recall(1);
    let take = worker.join().unwrap();
    assert_eq!(back, take == Take::Passed);
    assert_eq!(back, !desk.ran(1));
}

/// The cell of a letter that came back is used again before the worker has looked.
#[test]
fn a_cell_is_used_again() {
    explore("calls, reuse", ALL, || {
        let desk = Arc::new(Desk::new(Flaw::None));
        desk.post(1);
        let worker = {
            let desk = Arc::clone(&desk);
            spawn(move || {
                let first = desk.serve(1);
                let second = if first == Take::NotYet { Take::NotYet } else { desk.serve(2) };
                (first, second)
            })
        };
        let back = desk.recall(1);
        if back {
            desk.post(2);
        }
        let (first, second) = worker.join().unwrap();
        assert_eq!(back, first == Take::Passed);
        if second == Take::Taken {
            assert_eq!(desk.look(2), Some(21));
        }
        assert_eq!(desk.ran(1), !back);
    });
}

#[test]
fn a_reply_is_seen_or_told() {
    explore("calls, bell", ALL, || seen_or_told(Flaw::None));
}

pub(crate) fn seen_or_told(flaw: Flaw) {
    let desk = Arc::new(Desk::new(flaw));
    desk.post(1);
    let worker = {
        let desk = Arc::clone(&desk);
        spawn(move || desk.serve(1))
    };
    let seen = desk.look_away(1);
    let _ = worker.join().unwrap();
    assert!(seen.is_some() || desk.was_told(), "nobody knows of the reply");
}

/// A worker dies anywhere: the word says whether the body has begun, and a reply that is there is
/// whole.
#[test]
fn death_of_the_worker() {
    explore_kills("calls, death", ALL, |kill| worker_dies(Flaw::None, kill));
}

pub(crate) fn worker_dies(flaw: Flaw, kill: &Kill) {
    let desk = Arc::new(Desk::new(flaw));
    desk.post(1);
    let worker = {
        let (desk, kill) = (Arc::clone(&desk), kill.clone());
        spawn(move || mortal(&kill, || desk.serve(1)))
    };
    let back = desk.recall(1);
    let _ = worker.join().unwrap();
    match desk.phase(1) {
        Some(Phase::Done) => assert_eq!(desk.look(1), Some(11)),
        Some(Phase::Started) => assert!(!back),
        Some(Phase::Taken) => assert!(!desk.ran(1), "it would be run again at no charge"),
        Some(Phase::Posted | Phase::Recalled) => assert!(!desk.ran(1)),
        None => panic!("a word that cannot be"),
    }
}
