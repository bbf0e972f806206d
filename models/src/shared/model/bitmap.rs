//! A set of slots between those who make tasks ready and those who clean up after themselves.
//!
//! Checked: a task that is ready when all is quiet has its bit, and the bit its summary; after a
//! death at the latest when the supervisor has been there.

use std::sync::Arc;

use super::super::checker::{explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::mailbox::bitmap::Bitmap;
use super::super::ring::slot::{NO_CAUSE, Slot};
use super::super::ring::word::{Phase, SUBMITTER};
use super::super::sync::AtomicU64;

/// Two slots of the same leaf.
struct Set {
    slots: [Slot; 2],
    summary: [AtomicU64; 1],
    leaves: [AtomicU64; 1],
}

impl Set {
    fn new() -> Self {
        Self {
            slots: [Slot::new(), Slot::new()],
            summary: [AtomicU64::new(0)],
            leaves: [AtomicU64::new(0)],
        }
    }

    fn map(&self) -> Bitmap<'_> {
        Bitmap::new(&self.summary, &self.leaves)
    }

    fn make_ready(&self, slot: u32, generation: u32) {
        self.slots[slot as usize].publish_ready(SUBMITTER, generation, NO_CAUSE);
        self.map().set(slot);
    }

    fn ready(&self, slot: u32) -> bool {
        self.slots[slot as usize].load().is(Phase::Ready)
    }

    /// Takes one task out of the set and completes it, removing stale bits on the way.
    fn serve(&self, me: u16) {
        let taken = self.map().find(|slot| {
            let word = self.slots[slot as usize].take(me);
            if word.is_some() || !self.ready(slot) {
                self.map().remove(slot, || self.ready(slot));
            }
            word.map(|word| (slot, word))
        });
        if let Some((slot, word)) = taken {
            let _ = self.slots[slot as usize].complete(word, me, true);
        }
    }

    /// Makes the slot ready in its next lap, if it has retired.
    fn again(&self, slot: u32) {
        if self.slots[slot as usize].load().is_retired() {
            self.make_ready(slot, 2);
        }
    }

    fn recover(&self) {
        for slot in 0..2 {
            if self.ready(slot) {
                self.map().set(slot);
            }
        }
        self.map().repair();
    }

    fn all_visible(&self) {
        for wanted in (0..2).filter(|&slot| self.ready(slot)) {
            let found = self.map().find(|slot| (slot == wanted).then_some(()));
            assert!(found.is_some(), "slot {wanted} is ready and not in the set");
        }
    }
}

/// Two takers; the slot of the first task is reused, and another one of the same leaf comes.
fn takers(kill: Option<&Kill>, another: bool) {
    let set = Arc::new(Set::new());
    set.make_ready(0, 1);
    let first = {
        let (set, kill) = (Arc::clone(&set), kill.cloned());
        spawn(move || match kill {
            Some(kill) => mortal(&kill, || set.serve(1)).is_some(),
            None => {
                set.serve(1);
                true
            }
        })
    };
    let second = {
        let set = Arc::clone(&set);
        spawn(move || set.serve(2))
    };
    if another {
        set.make_ready(1, 1);
    } else {
        set.again(0);
    }
    if !first.join().unwrap() {
        set.recover();
    }
    second.join().unwrap();
    set.all_visible();
}

#[test]
fn reuse_under_a_cleaner() {
    explore("bitmap, same slot", 3, || takers(None, false));
}

#[test]
fn neighbour_under_a_cleaner() {
    explore("bitmap, same leaf", 3, || takers(None, true));
}

#[test]
fn death_of_a_cleaner() {
    explore_kills("bitmap, death, same slot", 2, |kill| takers(Some(kill), false));
    explore_kills("bitmap, death, same leaf", 2, |kill| takers(Some(kill), true));
}

/// A setter dies between state, leaf and summary.
#[test]
fn death_of_a_setter() {
    explore_kills("bitmap, death of the setter", 3, |kill| {
        let set = Arc::new(Set::new());
        set.make_ready(0, 1);
        let setter = {
            let (set, kill) = (Arc::clone(&set), kill.clone());
            spawn(move || mortal(&kill, || set.make_ready(1, 1)))
        };
        set.serve(1);
        if setter.join().unwrap().is_none() {
            set.recover();
        }
        set.all_visible();
    });
}
