//! Workers that go to sleep while work comes.
//!
//! Checked: when all is quiet, nobody sleeps unwoken while there is work to be seen, unless for
//! each piece of work somebody was woken who has not looked yet.

use std::sync::Arc;

use super::super::checker::{ALL, explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::sleepers::{Flaw, Sleepers};

macro_rules! sleeper {
    ($workers:expr, $me:expr) => {{
        let workers = Arc::clone(&$workers);
        spawn(move || workers.look_or_sleep($me))
    }};
}

#[test]
fn push_and_park() {
    explore("parking, ring", ALL, || wake_one(Flaw::None));
}

pub(crate) fn wake_one(flaw: Flaw) {
    let workers = Arc::new(Sleepers::new(flaw));
    let sleeper = sleeper!(workers, 0);
    workers.push(0);
    sleeper.join().unwrap();
    workers.nobody_sleeps_through(0..1);
}

#[test]
fn set_and_park() {
    explore("parking, set", ALL, || {
        let workers = Arc::new(Sleepers::new(Flaw::None));
        let sleeper = sleeper!(workers, 0);
        workers.set(0);
        sleeper.join().unwrap();
        workers.nobody_sleeps_through(0..1);
    });
}

#[test]
fn two_sleepers_two_tasks() {
    two_and_two(1);
}

#[test]
#[ignore = "for the fault tier"]
fn soak_two_sleepers_two_tasks() {
    two_and_two(2);
}

fn two_and_two(bound: usize) {
    explore("parking, two and two", bound, || {
        let workers = Arc::new(Sleepers::new(Flaw::None));
        let sleepers = [sleeper!(workers, 0), sleeper!(workers, 1)];
        workers.push(0);
        workers.set(1);
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        workers.nobody_sleeps_through(0..2);
    });
}

/// A worker that tidies the set after itself and then stays in a long body hides nothing from
/// one that goes to sleep meanwhile.
#[test]
fn park_beside_a_busy_cleaner() {
    explore("parking, busy cleaner", 2, || busy_cleaner(Flaw::None));
}

#[test]
#[ignore = "for the fault tier"]
fn soak_park_beside_a_busy_cleaner() {
    explore("parking, busy cleaner", 3, || busy_cleaner(Flaw::None));
}

pub(crate) fn busy_cleaner(flaw: Flaw) {
    let workers = Arc::new(Sleepers::new(flaw));
    workers.set(0);
    let busy = {
        let workers = Arc::clone(&workers);
        spawn(move || {
            // Busy from here on; if it found nothing, it is idle like the other one.
            if !workers.serve(1) {
                workers.look_or_sleep(1);
            }
        })
    };
    let sleeper = sleeper!(workers, 0);
    workers.set(1);
    busy.join().unwrap();
    sleeper.join().unwrap();
    workers.nobody_sleeps_through(0..2);
}

/// A waker dies anywhere; recovery wakes again.
#[test]
fn death_of_the_waker() {
    explore_kills("parking, death of the waker", 2, |kill| waker_dies(Flaw::None, kill));
}

pub(crate) fn waker_dies(flaw: Flaw, kill: &Kill) {
    let workers = Arc::new(Sleepers::new(flaw));
    let sleeper = sleeper!(workers, 0);
    let waker = {
        let (workers, kill) = (Arc::clone(&workers), kill.clone());
        spawn(move || mortal(&kill, || workers.push(0)))
    };
    if waker.join().unwrap().is_none() {
        workers.recover(None);
    }
    sleeper.join().unwrap();
    workers.nobody_sleeps_through(0..1);
}

/// A sleeper dies anywhere, perhaps with the only wake-up; recovery hands it on.
#[test]
fn death_of_a_sleeper() {
    explore_kills("parking, death of a sleeper", 1, |kill| {
        let workers = Arc::new(Sleepers::new(Flaw::None));
        let first = {
            let (workers, kill) = (Arc::clone(&workers), kill.clone());
            spawn(move || mortal(&kill, || workers.look_or_sleep(0)))
        };
        let second = sleeper!(workers, 1);
        workers.push(0);
        if first.join().unwrap().is_none() {
            workers.recover(Some(0));
        }
        second.join().unwrap();
        workers.nobody_sleeps_through(0..2);
    });
}
