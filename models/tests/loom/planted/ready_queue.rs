//! The ready queue: pop before lease.

use std::sync::Arc;

use super::super::checker::spawn;
use super::super::crash::mortal;
use super::super::queued::Queued;
use super::super::sync::{AcqRel, Acquire, Relaxed};
use super::caught_with_a_death;

/// Moves the head on first and leases after.
fn pop_then_lease(place: &Queued, me: u16) {
    let position = place.head.load(Acquire);
    let entry = place.entries[position as usize % 2].load(Acquire);
    if entry >> 32 != position / 2 + 1 {
        return;
    }
    if place.head.compare_exchange(position, position + 1, AcqRel, Relaxed).is_ok()
        && let Some((slot, word)) = place.lease_suggested(me, entry as u32)
    {
        let _ = place.slots[slot as usize].complete(word, me, true);
    }
}

#[test]
fn pop_before_lease() {
    caught_with_a_death("pop before lease", 3, |kill| {
        let place = Arc::new(Queued::new());
        let mut cursor = place.ring().writer();
        place.offer(&mut cursor, 0);
        let taker = {
            let (place, kill) = (Arc::clone(&place), kill.clone());
            spawn(move || mortal(&kill, || pop_then_lease(&place, 1)))
        };
        place.offer(&mut cursor, 1);
        taker.join().unwrap();
        place.all_ready_are_visible();
    });
}
