//! Two takers, at least one of which claims a batch.
//!
//! Checked: nothing is leased twice, and every ready task is visible between head and tail at any time,
//! whoever has claimed it: also when the claimer dies in the middle of its batch.

use std::sync::Arc;

use super::super::checker::{explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::queued::Queued;

fn filled(batches: usize, tasks: u32) -> Arc<Queued> {
    let place = Arc::new(Queued::of(4, 4, batches));
    let mut cursor = place.ring().writer();
    (0..tasks).for_each(|slot| place.offer(&mut cursor, slot));
    place
}

fn take_two(place: &Queued, me: u16) {
    let mut mine = 0..0;
    for _ in 0..2 {
        place.take_in_batches(me, &mut mine);
    }
}

#[test]
fn two_claimers() {
    claimers(1);
}

#[test]
#[ignore = "for the fault tier"]
fn soak_two_claimers() {
    claimers(2);
}

/// There are enough for two batches of one entry, then for one taker more.
fn claimers(bound: usize) {
    explore("batches, two claimers", bound, || {
        let place = filled(4, 3);
        let first = {
            let place = Arc::clone(&place);
            spawn(move || take_two(&place, 1))
        };
        take_two(&place, 2);
        first.join().unwrap();
        place.all_ready_are_visible();
        place.drain(3);
        place.all_taken(3);
    });
}

/// What a dead claimer has not come to is found from the head, before anything is recovered; only its
/// lease is not.
fn claimer_dies(kill: &Kill) {
    let place = filled(2, 4);
    let first = {
        let (place, kill) = (Arc::clone(&place), kill.clone());
        spawn(move || mortal(&kill, || take_two(&place, 1)))
    };
    place.take_in_batches(2, &mut (0..0));
    let dead = first.join().unwrap().is_none();
    place.all_ready_are_visible();
    place.drain(3);
    if dead {
        place.recover(1);
        place.drain(3);
    }
    place.all_taken(4);
}

#[test]
fn death_of_a_claimer() {
    explore_kills("batches, death of a claimer", 1, claimer_dies);
}
