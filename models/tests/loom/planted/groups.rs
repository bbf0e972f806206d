//! Groups and the recovery of their members.

use super::super::group_pool::Flaw;
use super::super::model::groups::{one_member_dies, two};
use super::{caught, caught_with_a_death};

#[test]
fn start_that_rings_nobody() {
    caught("the starter wakes nobody", 3, || two(Flaw::StartsQuietly));
}

#[test]
fn member_that_leaves_quietly() {
    caught_with_a_death("a member leaves a condemned group quietly", 3, |kill| {
        one_member_dies(kill, Flaw::LeavesQuietly);
    });
}

#[test]
fn recovery_that_looks_once() {
    caught_with_a_death("a group starts under the hands of recovery", 3, |kill| {
        one_member_dies(kill, Flaw::LooksOnce);
    });
}

#[test]
fn recovery_that_forgets_the_last() {
    caught_with_a_death("the last member dies before it completes", 2, |kill| {
        one_member_dies(kill, Flaw::ForgetsTheLast);
    });
}

#[test]
fn new_attempt_that_rings_nobody() {
    caught_with_a_death("a new attempt wakes nobody", 2, |kill| {
        one_member_dies(kill, Flaw::RingsNobody);
    });
}
