//! Workers that go to sleep while work comes.
//!
//! Checked: when all is quiet, nobody sleeps unrung while there is work to be seen, unless for
//! each piece of work somebody was rung who has not looked yet.

use std::sync::Arc;

use super::super::bedroom::{Bedroom, Flaw};
use super::super::checker::{ALL, explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};

macro_rules! sleeper {
    ($room:expr, $me:expr) => {{
        let room = Arc::clone(&$room);
        spawn(move || room.look_or_sleep($me))
    }};
}

#[test]
fn push_and_park() {
    explore("doors, ring", ALL, || ring_one(Flaw::None));
}

pub(crate) fn ring_one(flaw: Flaw) {
    let room = Arc::new(Bedroom::new(flaw));
    let sleeper = sleeper!(room, 0);
    room.push(0);
    sleeper.join().unwrap();
    room.nobody_sleeps_through(0..1);
}

#[test]
fn set_and_park() {
    explore("doors, set", ALL, || {
        let room = Arc::new(Bedroom::new(Flaw::None));
        let sleeper = sleeper!(room, 0);
        room.set(0);
        sleeper.join().unwrap();
        room.nobody_sleeps_through(0..1);
    });
}

#[test]
fn two_sleepers_two_tasks() {
    explore("doors, two and two", 2, || {
        let room = Arc::new(Bedroom::new(Flaw::None));
        let sleepers = [sleeper!(room, 0), sleeper!(room, 1)];
        room.push(0);
        room.set(1);
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        room.nobody_sleeps_through(0..2);
    });
}

/// A worker that tidies the set after itself and then stays in a long body hides nothing from
/// one that goes to sleep meanwhile.
#[test]
fn park_beside_a_busy_cleaner() {
    explore("doors, busy cleaner", 3, || busy_cleaner(Flaw::None));
}

pub(crate) fn busy_cleaner(flaw: Flaw) {
    let room = Arc::new(Bedroom::new(flaw));
    room.set(0);
    let busy = {
        let room = Arc::clone(&room);
        spawn(move || {
            // Busy from here on; if it found nothing, it is idle like the other one.
            if !room.serve(1) {
                room.look_or_sleep(1);
            }
        })
    };
    let sleeper = sleeper!(room, 0);
    room.set(1);
    busy.join().unwrap();
    sleeper.join().unwrap();
    room.nobody_sleeps_through(0..2);
}

/// A ringer dies anywhere; recovery rings again.
#[test]
fn death_of_the_ringer() {
    explore_kills("doors, death of the ringer", 2, |kill| ringer_dies(Flaw::None, kill));
}

pub(crate) fn ringer_dies(flaw: Flaw, kill: &Kill) {
    let room = Arc::new(Bedroom::new(flaw));
    let sleeper = sleeper!(room, 0);
    let ringer = {
        let (room, kill) = (Arc::clone(&room), kill.clone());
        spawn(move || mortal(&kill, || room.push(0)))
    };
    if ringer.join().unwrap().is_none() {
        room.recover(None);
    }
    sleeper.join().unwrap();
    room.nobody_sleeps_through(0..1);
}

/// A sleeper dies anywhere, perhaps with the only ring; recovery hands it on.
#[test]
fn death_of_a_sleeper() {
    explore_kills("doors, death of a sleeper", 1, |kill| {
        let room = Arc::new(Bedroom::new(Flaw::None));
        let first = {
            let (room, kill) = (Arc::clone(&room), kill.clone());
            spawn(move || mortal(&kill, || room.look_or_sleep(0)))
        };
        let second = sleeper!(room, 1);
        room.push(0);
        if first.join().unwrap().is_none() {
            room.recover(Some(0));
        }
        second.join().unwrap();
        room.nobody_sleeps_through(0..2);
    });
}
