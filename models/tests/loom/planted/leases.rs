//! Leases that are taken away: from whom, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed as Counting};

use super::super::checker::spawn;
use super::super::crash::mortal;
use super::super::ring::slot::{Completion, NO_FAILED_ROOT, Slot};
use super::super::ring::word::{Phase, SUBMITTER};
use super::super::world::World;
use super::{caught, caught_with_a_death};

/// The supervisor looks, and kills without taking the lease first.
#[test]
fn kill_before_condemn() {
    caught("kill before condemn", 3, || {
        let slots = Arc::new([Slot::new(), Slot::new()]);
        for slot in &*slots {
            slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        }
        let inside = Arc::new(AtomicU32::new(0));
        let lease = slots[0].take(1).unwrap();
        let worker = {
            let (slots, inside) = (Arc::clone(&slots), Arc::clone(&inside));
            spawn(move || {
                let end = slots[0].complete(lease, 1, true);
                if !matches!(end, Completion::Superseded(_)) && slots[1].take(1).is_some() {
                    inside.store(1, Counting);
                }
            })
        };
        let late = slots[0].load();
        if late.same_lease(lease) {
            let _ = slots[1].load(); // whatever comes between the look and the signal
            assert_eq!(inside.load(Counting), 0, "the signal hits the next task");
        }
        worker.join().unwrap();
    });
}

fn body(_: &World, _: u32) -> Option<u64> {
    None
}

/// A replacement under the same number is there before recovery, which takes its lease for that
/// of the dead one.
#[test]
fn respawn_before_recover() {
    caught_with_a_death("respawn before recover", 3, |kill| {
        let world = Arc::new(World::new(2, body));
        world.publish(0, 1);
        world.publish(1, 1);
        let first = {
            let (world, kill) = (Arc::clone(&world), kill.clone());
            spawn(move || mortal(&kill, || world.work(1, 0, &mut |_| {})))
        };
        if first.join().unwrap().is_some() {
            return;
        }
        let second = {
            let world = Arc::clone(&world);
            spawn(move || {
                world.slot(1).take(1).map(|lease| (world.slot(1).complete(lease, 1, true), lease))
            })
        };
        world.recover(1, true, &mut |_| {});
        let end = second.join().unwrap();
        if let Some((end, lease)) = end {
            let revoked = matches!(end, Completion::Superseded(_));
            assert!(!revoked, "a live worker lost its lease {lease:?}");
        }
    });
}

/// Takes the task away from a holder that is only slow.
#[test]
fn revoke_without_a_fence() {
    caught("revoke without a fence", 3, || {
        let world = Arc::new(World::new(1, body));
        world.publish(0, 1);
        let slow = {
            let world = Arc::clone(&world);
            spawn(move || world.work(1, 0, &mut |_| {}))
        };
        let now = world.slot(0).load();
        if now.is(Phase::Running) && world.slot(0).revoke(now, Phase::Ready).is_some() {
            world.work(2, 0, &mut |_| {});
        }
        slow.join().unwrap();
        assert!(world.runs(0, 1) <= 1, "two live bodies of one task");
    });
}
