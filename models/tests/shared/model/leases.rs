//! Who decides about a lease: its holder, the supervisor, a canceller.

use std::sync::Arc;

use super::super::checker::{ALL, explore, explore_kills, spawn};
use super::super::crash::mortal;
use super::super::ring::slot::{Completion, NO_FAILED_ROOT, Slot};
use super::super::ring::word::{Phase, SUBMITTER, Word};
use super::super::world::World;

fn leased() -> (Arc<Slot>, Word) {
    let slot = Arc::new(Slot::new());
    slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
    let lease = slot.take(1).unwrap();
    (slot, lease)
}

/// As a worker completes a task that has succeeded: whether it still had the lease.
fn completes(slot: &Slot, lease: Word) -> bool {
    slot.complete_alone(lease)
        || !matches!(slot.complete(lease, 1, true), Completion::Superseded(_))
}

/// A deadline against the end of the task: exactly one wins.
#[test]
fn condemn_or_complete() {
    explore("leases, condemn", ALL, || {
        let (slot, lease) = leased();
        let worker = {
            let slot = Arc::clone(&slot);
            spawn(move || completes(&slot, lease))
        };
        let condemned = slot.condemn(lease);
        let completed = worker.join().unwrap();
        assert_ne!(condemned.is_some(), completed);
        if let Some(word) = condemned {
            assert!(slot.revoke(word, Phase::Ready).is_some());
            let again = slot.take(2).unwrap();
            assert_eq!(again.attempt(), 1);
        }
    });
}

/// A mark that comes while the task is taken and completed is never lost and never strays into
/// another lap.
#[test]
fn cancel_and_take() {
    explore("leases, cancel", ALL, || {
        let slot = Arc::new(Slot::new());
        slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        let worker = {
            let slot = Arc::clone(&slot);
            spawn(move || {
                let lease = slot.take(1).expect("a mark does not hide a ready task");
                let seen = lease.cancelled() || slot.load().cancelled();
                if seen || !slot.complete_alone(lease) {
                    let end = slot.complete(lease, 1, !seen);
                    assert!(matches!(end, Completion::Retired { .. }), "{end:?}");
                }
                slot.publish_ready(SUBMITTER, 2, NO_FAILED_ROOT);
                seen
            })
        };
        let marked = slot.cancel(1);
        let seen = worker.join().unwrap();
        assert!(marked || !seen);
        let word = slot.load();
        assert!(!word.cancelled(), "the mark went into the next lap: {word:?}");
    });
}

/// A cancelled task whose worker dies is not lost.
#[test]
fn cancel_and_death() {
    fn body(_: &World, _: u32) -> Option<u64> {
        None
    }
    explore_kills("leases, cancel and death", ALL, |kill| {
        let world = Arc::new(World::new(1, body));
        world.publish(0, 1);
        let worker = {
            let (world, kill) = (Arc::clone(&world), kill.clone());
            spawn(move || mortal(&kill, || world.work(1, 0, &mut |_| {})))
        };
        let marked = world.slot(0).cancel(1);
        if worker.join().unwrap().is_none() {
            world.recover(1, true, &mut |_| {});
        }
        world.drain(1);
        let word = world.retired(0);
        assert!(!word.is_failed() || marked, "failed although nobody cancelled it");
        assert!(!marked || word.cancelled(), "the mark was lost");
    });
}

/// The deadline of one task must not reach the next one that its worker takes: the worker goes
/// on only if it completed, and then the supervisor has not condemned.
#[test]
fn condemn_reaches_no_other_task() {
    explore("leases, next task", ALL, || {
        let world = Arc::new([Slot::new(), Slot::new()]);
        for slot in &*world {
            slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        }
        let lease = world[0].take(1).unwrap();
        let worker = {
            let world = Arc::clone(&world);
            spawn(move || completes(&world[0], lease) && world[1].take(1).is_some())
        };
        let kills = world[0].condemn(lease).is_some();
        let went_on = worker.join().unwrap();
        assert!(!(kills && went_on), "killed in the middle of the next task");
    });
}
