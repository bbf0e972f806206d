//! Parking, and the ready sets that parked workers look at.

use super::super::model::bitmap::{Cleaning, InSame, takers};
use super::super::model::parking::{busy_cleaner, wake_one, waker_dies};
use super::super::sleepers::Flaw;
use super::{caught, caught_with_a_death};

#[test]
fn no_fence_before_the_last_look() {
    caught("parker without a fence", 3, || {
        wake_one(Flaw::NoFence);
    });
}

#[test]
fn recovery_that_rings_nobody() {
    caught_with_a_death("recovery wakes nobody", 3, |kill| {
        waker_dies(Flaw::RecoveryWakesNobody, kill);
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
        takers(None, InSame::Slot, Cleaning::NoLookAtState);
    });
}

#[test]
fn leaf_not_read_again_after_a_clear() {
    caught("no look at the leaf after a clear", 3, || {
        takers(None, InSame::Leaf, Cleaning::NoLookAtLeaf);
    });
}
