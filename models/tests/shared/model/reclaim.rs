//! A window of two slots whose queue entries outlive the tasks they were for.
//!
//! Checked: no lap of a slot runs twice, a reused slot is never released by an old walk, and the
//! tasks of the second lap see what those of the first wrote.

use std::sync::Arc;

use super::super::checker::{explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::mailbox::ready_queue::ReadyQueue;
use super::super::ring::table::EdgeKind;
use super::super::sync::AtomicU64;
use super::super::world::World;

/// Every task counts on from the one before it.
fn body(world: &World, slot: u32) -> Option<u64> {
    let last = world.read(1 - slot);
    world.write(slot, last + 1);
    None
}

struct EntryQueue {
    head: AtomicU64,
    tail: AtomicU64,
    entries: Vec<AtomicU64>,
}

impl EntryQueue {
    fn new() -> Self {
        let entries = (0..2).map(|_| AtomicU64::new(0)).collect();
        Self { head: AtomicU64::new(0), tail: AtomicU64::new(0), entries }
    }

    fn ring(&self) -> ReadyQueue<'_> {
        ReadyQueue::new(&self.head, &self.tail, &self.entries)
    }
}

/// Takes one task by its queue entry and runs it with what it releases.
fn serve(world: &World, ready_queues: &EntryQueue, me: u16) {
    let taken = ready_queues.ring().take(
        |slot| {
            let word = world.slot(slot).take(me)?;
            world.leased(slot, word);
            Some((slot, word))
        },
        |_| {},
    );
    if let Some((slot, word)) = taken {
        world.run(me, slot, word, &mut |_| {});
    }
}

/// Two workers on the entries of slot 0, whose second lap is published as soon as its first has
/// retired, behind slot 1, whose own entry is slot 0's release.
fn two_laps(kill: Option<&Kill>) {
    let world = Arc::new(World::new(2, body));
    let ready_queues = Arc::new(EntryQueue::new());
    let mut cursor = ready_queues.ring().writer();
    world.publish(0, 1);
    world.wire(1, 1, &[(0, 1, EdgeKind::Data)], 0);
    assert!(ready_queues.ring().push(&mut cursor, 0));
    let first = {
        let (world, ready_queues, kill) =
            (Arc::clone(&world), Arc::clone(&ready_queues), kill.cloned());
        spawn(move || match kill {
            Some(kill) => mortal(&kill, || serve(&world, &ready_queues, 1)).is_some(),
            None => {
                serve(&world, &ready_queues, 1);
                true
            }
        })
    };
    let second = {
        let (world, ready_queues) = (Arc::clone(&world), Arc::clone(&ready_queues));
        spawn(move || {
            serve(&world, &ready_queues, 2);
            serve(&world, &ready_queues, 2);
        })
    };
    // The owner of the ring asks once, and again when all is over.
    let mut reused = reuse(&world, &ready_queues, &mut cursor);
    if !first.join().unwrap() {
        world.recover(1, true, &mut |_| {});
    }
    second.join().unwrap();
    world.drain(3);
    if !reused {
        reused = reuse(&world, &ready_queues, &mut cursor);
        world.drain(3);
    }
    assert!(reused);
    for (slot, generation) in [(0, 1), (1, 1), (0, 2)] {
        let done = world.completions(slot, generation);
        let runs = world.runs(slot, generation);
        assert!(done <= 1 && (runs == 1 || kill.is_some()), "{slot}/{generation}: {done}, {runs}");
    }
    assert_eq!(world.retired(0).generation(), 2);
    assert_eq!(world.retired(1).generation(), 1);
    if kill.is_none() {
        assert_eq!(world.read(0), 3, "a task did not see the one before it");
    }
}

/// Publishes the second lap of slot 0, if the first has retired.
fn reuse(
    world: &World,
    ready_queues: &EntryQueue,
    cursor: &mut super::super::mailbox::ready_queue::Cursor,
) -> bool {
    if !world.slot(0).load().is_retired() {
        return false;
    }
    if world.wire(0, 2, &[(1, 1, EdgeKind::Data)], 1) {
        // A full ring: whoever drains finds it by its state.
        let _ = ready_queues.ring().push(cursor, 0);
    }
    true
}

#[test]
fn stale_entry_of_an_older_lap() {
    explore("reclaim", 2, || two_laps(None));
}

#[test]
#[ignore = "for the fault tier"]
fn soak_stale_entry_of_an_older_lap() {
    explore("reclaim", 3, || two_laps(None));
}

#[test]
fn death_around_reuse() {
    explore_kills("reclaim, death", 1, |kill| two_laps(Some(kill)));
}

#[test]
#[ignore = "for the fault tier"]
fn soak_death_around_reuse() {
    explore_kills("reclaim, death", 2, |kill| two_laps(Some(kill)));
}
