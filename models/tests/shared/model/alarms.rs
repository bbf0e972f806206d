//! Deadlines that begin and end while the supervisor goes to sleep.
//!
//! Checked: when all is quiet, no end lies before the supervisor's wake-up for which nobody woke
//! it.

use std::sync::Arc;

use super::super::checker::{ALL, explore, spawn};
use super::super::deadline_clock::{DeadlineClock, Flaw};

/// One body ends and another one, with a later end, begins on the same worker.
#[test]
fn the_earliest_ends_and_a_later_one_begins() {
    explore("alarms, one worker", ALL, || one_after_another(Flaw::None));
}

pub(crate) fn one_after_another(flaw: Flaw) {
    let deadline_clock = Arc::new(DeadlineClock::new(flaw, 5));
    let worker = {
        let deadline_clock = Arc::clone(&deadline_clock);
        spawn(move || {
            deadline_clock.leave(0);
            deadline_clock.begin(0, 9);
        })
    };
    let until = deadline_clock.lie_down();
    worker.join().unwrap();
    assert!(!deadline_clock.misses(until), "sleeps until {until}");
}

/// The same on two workers, and one of the new ends is earlier than all others.
#[test]
fn two_workers() {
    explore("alarms, two workers", 3, || {
        let deadline_clock = Arc::new(DeadlineClock::new(Flaw::None, 5));
        let workers = [(0, 9), (1, 3)].map(|(me, end)| {
            let deadline_clock = Arc::clone(&deadline_clock);
            spawn(move || {
                deadline_clock.leave(me);
                deadline_clock.begin(me, end);
            })
        });
        let until = deadline_clock.lie_down();
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(!deadline_clock.misses(until), "sleeps until {until}");
    });
}

#[test]
fn the_first_of_all_begins() {
    explore("alarms, first", ALL, || first_of_all(Flaw::None));
}

pub(crate) fn first_of_all(flaw: Flaw) {
    let deadline_clock = Arc::new(DeadlineClock::new(flaw, 0));
    let worker = {
        let deadline_clock = Arc::clone(&deadline_clock);
        spawn(move || deadline_clock.begin(1, 4))
    };
    let until = deadline_clock.lie_down();
    worker.join().unwrap();
    assert!(!deadline_clock.misses(until), "sleeps until {until}");
}
