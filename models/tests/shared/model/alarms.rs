//! Deadlines that begin and end while the supervisor goes to sleep.
//!
//! Checked: when all is quiet, no end lies before the supervisor's wake-up that nobody poked for.

use std::sync::Arc;

use super::super::checker::{ALL, explore, spawn};
use super::super::watchman::{Flaw, Watchman};

/// One body ends and another one, with a later end, begins on the same worker.
#[test]
fn the_earliest_ends_and_a_later_one_begins() {
    explore("alarms, one worker", ALL, || one_after_another(Flaw::None));
}

pub(crate) fn one_after_another(flaw: Flaw) {
    let watchman = Arc::new(Watchman::new(flaw, 5));
    let worker = {
        let watchman = Arc::clone(&watchman);
        spawn(move || {
            watchman.leave(0);
            watchman.begin(0, 9);
        })
    };
    let until = watchman.lie_down();
    worker.join().unwrap();
    assert!(!watchman.misses(until), "sleeps until {until}");
}

/// The same on two workers, and one of the new ends is earlier than all others.
#[test]
fn two_workers() {
    explore("alarms, two workers", 3, || {
        let watchman = Arc::new(Watchman::new(Flaw::None, 5));
        let workers = [(0, 9), (1, 3)].map(|(me, end)| {
            let watchman = Arc::clone(&watchman);
            spawn(move || {
                watchman.leave(me);
                watchman.begin(me, end);
            })
        });
        let until = watchman.lie_down();
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(!watchman.misses(until), "sleeps until {until}");
    });
}

#[test]
fn the_first_of_all_begins() {
    explore("alarms, first", ALL, || first_of_all(Flaw::None));
}

pub(crate) fn first_of_all(flaw: Flaw) {
    let watchman = Arc::new(Watchman::new(flaw, 0));
    let worker = {
        let watchman = Arc::clone(&watchman);
        spawn(move || watchman.begin(1, 4))
    };
    let until = watchman.lie_down();
    worker.join().unwrap();
    assert!(!watchman.misses(until), "sleeps until {until}");
}
