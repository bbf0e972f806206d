//! Ready sets: which slots are found, and in which order.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use mailring::mailbox::bitmap::Bitmap;

/// The words of a set for a window of `slots`.
struct Words {
    summary: AtomicU64,
    leaves: Vec<AtomicU64>,
}

impl Words {
    fn new(slots: usize) -> Self {
        let leaves = (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { summary: AtomicU64::new(0), leaves }
    }

    fn set(&self) -> Bitmap<'_> {
        Bitmap::new(&self.summary, &self.leaves)
    }

    fn found(&self, start: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let nothing: Option<()> = self.set().find_from(start, |slot| {
            found.push(slot);
            None
        });
        assert!(nothing.is_none());
        found
    }
}

pub(crate) fn slots_are_found_in_turn() {
    for window in [16, 64, 128, 4096, 8192, 65_536] {
        let words = Words::new(window);
        let last = window as u32 - 1;
        let slots: Vec<u32> = [0, 1, last / 3, last / 2, last / 2 + 1, last - 1, last].into();
        slots.iter().for_each(|&slot| words.set().set(slot));
        for start in [0, 1, 2, last / 3, last / 3 + 1, last / 2, last - 1, last, last + 1] {
            let mut turn = slots.clone();
            turn.sort_by_key(|&slot| (slot < start && start <= last, slot));
            turn.dedup();
            assert_eq!(words.found(start), turn, "window {window}, from {start}");
        }
    }
}

pub(crate) fn an_empty_set_is_seen_by_its_summary() {
    for window in [64, 65_536] {
        let words = Words::new(window);
        let (set, other) = (words.set(), (window as u32 / 64 - 1).max(1));
        assert!(!set.has_some());
        set.set(0);
        set.set(other); // in another leaf below the same bit, where a bit stands for several
        set.remove(0, || false);
        assert!(set.has_some() && words.found(0) == [other]);
        set.remove(other, || true); // ready again
        assert!(set.has_some() && words.found(0) == [other]);
        set.remove(other, || false);
        assert!(!set.has_some() && words.summary.load(SeqCst) == 0);
    }
}

pub(crate) fn what_no_step_leaves_is_put_right() {
    let words = Words::new(128);
    words.summary.store(1 << 40 | 1, SeqCst); // no such leaf; nothing in the first
    assert!(words.found(0).is_empty() && !words.set().has_some());
    words.leaves[1].store(1, SeqCst); // a death before the summary
    words.set().repair();
    assert_eq!(words.found(0), [64]);
}
