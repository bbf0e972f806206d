//! A ready queue of two entries with one writer and two takers.
//!
//! Checked: a ready task is visible in the ring, or recovery makes it so; nothing is leased twice;
//! the hint beside a task comes with it and with no other; a new writer goes on where a dead one
//! stopped.

use std::sync::Arc;

use super::super::checker::{explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::queued::Queued;

const TASKS: u32 = 3;

#[test]
fn wrap_with_two_takers() {
    wrap(1);
}

#[test]
#[ignore = "for the fault tier"]
fn soak_wrap_with_two_takers() {
    wrap(2);
}

fn wrap(bound: usize) {
    explore("ready queue, wrap", bound, || {
        let place = Arc::new(Queued::new());
        let takers = [1, 2].map(|me| {
            let place = Arc::clone(&place);
            spawn(move || {
                place.take(me);
                place.take(me);
            })
        });
        let mut cursor = place.ring().writer();
        for slot in 0..TASKS {
            place.offer(&mut cursor, slot);
        }
        for taker in takers {
            taker.join().unwrap();
        }
        place.all_ready_are_visible();
        place.drain(3);
        place.all_taken(TASKS);
    });
}

/// Of a taker that dies, the lease is found by its owner, and every other task is still visible
/// *before* anything is recovered: lease first, head after.
fn taker_dies(kill: &Kill) {
    let place = Arc::new(Queued::new());
    let first = {
        let (place, kill) = (Arc::clone(&place), kill.clone());
        spawn(move || {
            mortal(&kill, || {
                place.take(1);
                place.take(1);
            })
        })
    };
    let second = {
        let place = Arc::clone(&place);
        spawn(move || place.take(2))
    };
    let mut cursor = place.ring().writer();
    for slot in 0..TASKS {
        place.offer(&mut cursor, slot);
    }
    let dead = first.join().unwrap().is_none();
    second.join().unwrap();
    place.all_ready_are_visible();
    if dead {
        place.recover(1);
    }
    place.drain(3);
    place.all_taken(TASKS);
}

#[test]
fn death_of_a_taker() {
    explore_kills("ready queue, death of a taker", 1, taker_dies);
}

/// A writer dies anywhere in its pushes; a new one resumes in the same ring.
fn writer_dies(kill: &Kill) {
    let place = Arc::new(Queued::new());
    let writer = {
        let (place, kill) = (Arc::clone(&place), kill.clone());
        spawn(move || {
            mortal(&kill, || {
                let mut cursor = place.ring().writer();
                place.offer(&mut cursor, 0);
                place.offer(&mut cursor, 1);
            })
        })
    };
    let taker = {
        let place = Arc::clone(&place);
        spawn(move || place.take(2))
    };
    if writer.join().unwrap().is_none() {
        place.recover(1);
    }
    let mut cursor = place.ring().writer();
    place.offer(&mut cursor, 2);
    taker.join().unwrap();
    place.all_ready_are_visible();
    place.drain(3);
    assert!(!place.take(3));
    place.all_published_taken();
}

#[test]
fn death_of_the_writer() {
    explore_kills("ready queue, death of the writer", 3, writer_dies);
}
