//! Sleeping until a deadline.

use super::super::deadline_clock::Flaw;
use super::super::model::alarms::{first_of_all, one_after_another};
use super::caught;

#[test]
fn sleep_by_another_look_than_announced() {
    caught("announces one look, sleeps by another", 3, || {
        one_after_another(Flaw::SleepsByTheSecond);
    });
}

#[test]
fn no_look_after_the_announcement() {
    caught("no look after the announcement", 3, || first_of_all(Flaw::LooksOnce));
}
