//! A set of slots between those who make tasks ready and those who clean up after themselves.
//!
//! Checked: a task that is ready when all is quiet has its bit, and the bit its summary; after a
//! death at the latest when the supervisor has been there.

use std::sync::Arc;

use super::super::checker::{ALL, explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::mailbox::bitmap::Bitmap;
use super::super::ring::slot::{NO_FAILED_ROOT, Slot};
use super::super::ring::word::{Phase, SUBMITTER};
use super::super::sync::{AtomicU64, SeqCst};

/// How the bits are cleared.
#[allow(dead_code, reason = "the planted ones are looked for on loom only")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleaning {
    /// By the real one.
    Proper,
    /// Without another look at the state.
    NoLookAtState,
    /// Without another look at the leaf, once the summary is cleared.
    NoLookAtLeaf,
}

/// What the task that comes while the first one is taken has in common with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InSame {
    /// The slot: it is the next task there.
    Slot,
    /// The leaf of its bit.
    Leaf,
    /// The bit of the summary, but not the leaf.
    Row,
}

/// Two slots below one bit of the summary.
struct ReadySet {
    cleaning: Cleaning,
    slots: [Slot; 2],
    summary: AtomicU64,
    leaves: Vec<AtomicU64>,
}

impl ReadySet {
    /// The two slots are bits of one leaf, or of a leaf each.
    fn new(cleaning: Cleaning, leaves: usize) -> Self {
        Self {
            cleaning,
            slots: [Slot::new(), Slot::new()],
            summary: AtomicU64::new(0),
            leaves: (0..leaves).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn map(&self) -> Bitmap<'_> {
        Bitmap::in_rows(&self.summary, &self.leaves, self.leaves.len())
    }

    /// From one bit to the next one, if there is a leaf for each.
    fn stride(&self) -> u32 {
        if self.leaves.len() > 1 { 64 } else { 1 }
    }

    fn find<T>(&self, mut visit: impl FnMut(u32) -> Option<T>) -> Option<T> {
        self.map().find(|bit| visit(bit / self.stride()))
    }

    fn set(&self, slot: u32) {
        self.map().set(slot * self.stride());
    }

    fn make_ready(&self, slot: u32, generation: u32) {
        self.slots[slot as usize].publish_ready(SUBMITTER, generation, NO_FAILED_ROOT);
        self.set(slot);
    }

    fn ready(&self, slot: u32) -> bool {
        self.slots[slot as usize].load().is(Phase::Ready)
    }

    /// Takes one task out of the set and completes it, removing stale bits on the way.
    fn serve(&self, me: u16) {
        let taken = self.find(|slot| {
            let word = self.slots[slot as usize].take(me);
            if word.is_some() || !self.ready(slot) {
                self.remove(slot);
            }
            word.map(|word| (slot, word))
        });
        if let Some((slot, word)) = taken {
            let _ = self.slots[slot as usize].complete(word, me, true);
        }
    }

    fn remove(&self, slot: u32) {
        match self.cleaning {
            Cleaning::Proper => self.map().remove(slot * self.stride(), || self.ready(slot)),
            Cleaning::NoLookAtState => self.map().remove(slot * self.stride(), || false),
            Cleaning::NoLookAtLeaf => {
                let (leaf, bit) = match self.stride() {
                    1 => (0, 1 << slot),
                    _ => (slot as usize, 1),
                };
                self.leaves[leaf].fetch_and(!bit, SeqCst);
                if self.leaves.iter().all(|leaf| leaf.load(SeqCst) == 0) {
                    self.summary.fetch_and(!1, SeqCst);
                }
                if self.ready(slot) {
                    self.set(slot);
                }
            }
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
                self.set(slot);
            }
        }
        self.map().repair();
    }

    fn all_visible(&self) {
        for wanted in (0..2).filter(|&slot| self.ready(slot)) {
            let found = self.find(|slot| (slot == wanted).then_some(()));
            assert!(found.is_some(), "slot {wanted} is ready and not in the set");
        }
    }
}

/// Two takers; meanwhile the slot of the first task is reused, or another task comes.
pub(crate) fn takers(kill: Option<&Kill>, meanwhile: InSame, cleaning: Cleaning) {
    let leaves = if meanwhile == InSame::Row { 2 } else { 1 };
    let set = Arc::new(ReadySet::new(cleaning, leaves));
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
    match meanwhile {
        InSame::Slot => set.again(0),
        InSame::Leaf | InSame::Row => set.make_ready(1, 1),
    }
    if !first.join().unwrap() {
        set.recover();
    }
    second.join().unwrap();
    set.all_visible();
}

#[test]
fn reuse_under_a_cleaner() {
    explore("bitmap, same slot", 4, || takers(None, InSame::Slot, Cleaning::Proper));
}

#[test]
fn neighbour_under_a_cleaner() {
    explore("bitmap, same leaf", 3, || takers(None, InSame::Leaf, Cleaning::Proper));
}

#[test]
fn neighbour_in_another_leaf_under_a_cleaner() {
    explore("bitmap, same row", 3, || takers(None, InSame::Row, Cleaning::Proper));
}

#[test]
fn death_of_a_cleaner() {
    for (name, meanwhile) in [
        ("bitmap, death, same slot", InSame::Slot),
        ("bitmap, death, same leaf", InSame::Leaf),
        ("bitmap, death, same row", InSame::Row),
    ] {
        explore_kills(name, 2, move |kill| takers(Some(kill), meanwhile, Cleaning::Proper));
    }
}

/// A setter dies between state, leaf and summary.
#[test]
fn death_of_a_setter() {
    explore_kills("bitmap, death of the setter", ALL, |kill| {
        let set = Arc::new(ReadySet::new(Cleaning::Proper, 1));
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
