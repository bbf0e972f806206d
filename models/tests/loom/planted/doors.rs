//! Sleeping and the sets that sleepers look at.

use super::super::bedroom::Flaw;
use super::super::model::bitmap::{Cleaning, takers};
use super::super::model::doors::{busy_cleaner, ring_one, ringer_dies};
use super::{caught, caught_with_a_death};

#[test]
fn no_fence_before_the_last_look() {
    caught("door without a fence", 3, || {
        ring_one(Flaw::NoFence);
    });
}

#[test]
fn recovery_that_rings_nobody() {
    caught_with_a_death("recovery rings nobody", 3, |kill| {
        ringer_dies(Flaw::RecoveryRingsNobody, kill);
    });
}

#[test]
fn cleaner_that_rings_nobody() {
    caught("a cleaner hides work for a moment", 3, || {
        busy_cleaner(Flaw::CleanerRingsNobody);
    });
}

#[test]
fn state_not_read_again_after_a_clear() {
    caught("no look at the state after a clear", 3, || {
        takers(None, false, Cleaning::NoLookAtState);
    });
}

#[test]
fn leaf_not_read_again_after_a_clear() {
    caught("no look at the leaf after a clear", 3, || {
        takers(None, true, Cleaning::NoLookAtLeaf);
    });
}
