//! A waiter and whoever retires the slot: either the waiter sees it retired or it is told.

use std::sync::Arc;

use super::super::checker::{ALL, explore, explore_kills, spawn};
use super::super::crash::mortal;
use super::super::ring::slot::{NO_FAILED_ROOT, Watch};
use super::super::ring::table::EdgeKind;
use super::super::ring::word::SUBMITTER;
use super::super::world::World;

fn body(_: &World, _: u32) -> Option<u64> {
    None
}

/// Watches slot 0 while a worker finishes it, with or without a list to walk.
fn watched(with_consumer: bool) {
    let world = Arc::new(World::new(2, body));
    world.publish(0, 1);
    if with_consumer {
        world.wire(1, 1, &[(0, 1, EdgeKind::Data)], 0);
    }
    let lease = world.slot(0).take(1).unwrap();
    let worker = {
        let world = Arc::clone(&world);
        spawn(move || {
            let (table, slot) = (world.table(), world.slot(0));
            !slot.complete_alone(lease) && table.finish(slot, lease, 1, None, |_| {}).unwrap()
        })
    };
    let armed = world.slot(0).watch(1) == Watch::Armed;
    let seen = world.slot(0).load().is_retired();
    let told = worker.join().unwrap();
    assert!(seen || told || !armed, "armed, not retired, and nobody wakes");
    assert!(armed || seen, "not armed although it had not retired");
    assert_eq!(armed, told, "told although nobody asked, or asked and not told");
}

#[test]
fn watch_and_retire() {
    explore("watch, list empty", ALL, || watched(false));
    explore("watch, list to walk", ALL, || watched(true));
}

/// A waiter that asks for a lap that has gone never sleeps.
#[test]
fn watch_of_another_lap() {
    explore("watch, next lap", ALL, || {
        let world = Arc::new(World::new(2, body));
        world.publish(0, 1);
        let worker = {
            let world = Arc::clone(&world);
            spawn(move || {
                world.work(1, 0, &mut |_| {});
                world.slot(0).publish_ready(SUBMITTER, 2, NO_FAILED_ROOT);
            })
        };
        let armed = world.slot(0).watch(1) == Watch::Armed;
        worker.join().unwrap();
        let word = world.slot(0).load();
        assert!(!word.watched(), "the mark went into the next lap, {word:?}, armed {armed}");
    });
}

/// Whoever dies between completing and retiring, the supervisor retires and wakes.
#[test]
fn watch_and_death() {
    explore_kills("watch, death", ALL, |kill| {
        let world = Arc::new(World::new(2, body));
        world.publish(0, 1);
        world.wire(1, 1, &[(0, 1, EdgeKind::Data)], 0);
        let (worker, kill) = (Arc::clone(&world), kill.clone());
        let worker = spawn(move || mortal(&kill, || worker.work(1, 0, &mut |_| {})));
        let _ = world.slot(0).watch(1);
        if worker.join().unwrap().is_none() {
            world.recover(1, true, &mut |_| {});
        }
        world.drain(1);
        world.retired(0);
        world.retired(1);
    });
}
