//! Two producers, one of which fails, and a consumer that is wired while they run.
//!
//! Checked: no attempt is leased twice, the consumer's body sees what its producers wrote, it is
//! failed exactly if a producer of data failed, and everything retires, whoever dies where.

use std::sync::Arc;

use super::super::checker::{explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::ring::table::EdgeKind;
use super::super::world::{World, root};

const GOOD: u32 = 0;
const BAD: u32 = 1;
const CONSUMER: u32 = 2;

fn body(world: &World, slot: u32) -> Option<u64> {
    match slot {
        GOOD => world.write(GOOD, 7),
        BAD => return Some(root(BAD)),
        _ => assert_eq!(world.read(GOOD), 7, "the consumer ran before its producer's result"),
    }
    None
}

fn ready_pair() -> Arc<World> {
    let world = Arc::new(World::new(4, body));
    world.publish(GOOD, 1);
    world.publish(BAD, 1);
    world
}

/// `kind` is the edge from the producer that fails.
fn wire(world: &World, kind: EdgeKind) {
    world.wire(CONSUMER, 1, &[(GOOD, 1, EdgeKind::Data), (BAD, 1, kind)], 0);
}

/// `lost`: the good producer was failed because its worker died.
fn check(world: &World, kind: EdgeKind, lost: bool) {
    let consumer = world.retired(CONSUMER);
    let must_fail = lost || kind == EdgeKind::Data;
    assert_eq!(consumer.is_failed(), must_fail, "consumer ended as {consumer:?}");
    assert_eq!(world.retired(GOOD).is_failed(), lost);
    assert!(world.retired(BAD).is_failed());
    if must_fail {
        let failed_root = if lost { root(GOOD) } else { root(BAD) };
        assert_eq!(world.slot(CONSUMER).failed_root(), failed_root, "the smallest root wins");
        assert_eq!(world.runs(CONSUMER, 1), 0, "a task with a failed producer was run");
    }
    for slot in [GOOD, BAD, CONSUMER] {
        assert!(world.completions(slot, 1) <= 1, "slot {slot} completed twice");
    }
}

fn nobody_dies(kind: EdgeKind) {
    let world = ready_pair();
    let workers = [GOOD, BAD].map(|slot| {
        let world = Arc::clone(&world);
        spawn(move || world.work(slot as u16 + 1, slot, &mut |_| {}))
    });
    wire(&world, kind);
    for worker in workers {
        worker.join().unwrap();
    }
    world.drain(3);
    check(&world, kind, false);
    assert_eq!(world.runs(CONSUMER, 1), usize::from(kind == EdgeKind::Order));
    for slot in [GOOD, BAD, CONSUMER] {
        assert_eq!(world.completions(slot, 1), 1);
    }
}

#[test]
fn failed_producer() {
    explore("slots, data edge", 4, || nobody_dies(EdgeKind::Data));
}

#[test]
fn ordered_consumer() {
    explore("slots, order edge", 4, || nobody_dies(EdgeKind::Order));
}

/// The worker on `mine` dies; its slots are recovered while the other one works, and a
/// replacement under its number goes on.
fn one_dies(kill: &Kill, mine: u32, kind: EdgeKind, retry: bool) {
    let world = ready_pair();
    let [worker, other] = [Arc::clone(&world), Arc::clone(&world)];
    let kill = kill.clone();
    let worker = spawn(move || mortal(&kill, || worker.work(1, mine, &mut |_| {})));
    let other = spawn(move || other.work(2, GOOD + BAD - mine, &mut |_| {}));
    wire(&world, kind);
    if worker.join().unwrap().is_none() {
        world.recover(1, retry, &mut |_| {});
    }
    world.work(1, mine, &mut |_| {});
    other.join().unwrap();
    world.drain(1);
    let lost = world.retired(GOOD).is_failed();
    assert!(!(lost && retry), "a task that may be retried was given up");
    check_after_death(&world, kind, lost);
}

/// After a death without a retry the consumer, too, may be the one whose body was cut.
fn check_after_death(world: &World, kind: EdgeKind, lost: bool) {
    let consumer = world.retired(CONSUMER);
    let cut = kind == EdgeKind::Order && !lost && consumer.is_failed();
    if !cut {
        check(world, kind, lost);
    }
}

#[test]
fn death_of_the_good_ones_worker() {
    explore_kills("slots, death on the good one", 2, |kill| {
        one_dies(kill, GOOD, EdgeKind::Data, true);
    });
}

#[test]
fn death_of_the_bad_ones_worker() {
    explore_kills("slots, death on the bad one", 2, |kill| {
        one_dies(kill, BAD, EdgeKind::Data, true);
    });
}

#[test]
fn death_before_an_ordered_consumer() {
    explore_kills("slots, death, order edge", 2, |kill| {
        one_dies(kill, GOOD, EdgeKind::Order, true);
    });
}

#[test]
fn death_without_a_retry() {
    explore_kills("slots, death, no retry", 2, |kill| {
        one_dies(kill, GOOD, EdgeKind::Order, false);
    });
}
