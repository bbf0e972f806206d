//! A ready set: slots that do not fit a ready queue, what is found again after a death, what is
//! urgent, and the directed tasks of one worker.
//!
//! Setting a bit twice is setting it once, so there is no capacity, no half state and nothing to
//! grow in a crash loop. One leaf bit a slot; one summary word, each bit of which stands for one leaf
//! word, or for a few in a row where there are more than 64, so that to see that the set is empty is
//! one load:
//!
//! ```text
//! summary  [ 1 0 1 ... ]
//!            │   └─▶ leaf 2 [ bit per slot 128..191 ]
//!            └─────▶ leaf 0 [ bit per slot   0..63  ]
//! ```

use std::cmp::Ordering;

use super::sync::{AtomicU64, Relaxed, SeqCst, fence};

/// The set, wherever its words live.
#[derive(Clone, Copy)]
pub struct Bitmap<'a> {
    summary: &'a AtomicU64,
    leaves: &'a [AtomicU64],
    /// Leaves for each bit of the summary.
    row: usize,
}

impl<'a> Bitmap<'a> {
    /// The number of leaves is a power of two.
    pub fn new(summary: &'a AtomicU64, leaves: &'a [AtomicU64]) -> Self {
        Self::in_rows(summary, leaves, leaves.len().div_ceil(64))
    }

    /// With `row` leaves for each bit of the summary.
    pub fn in_rows(summary: &'a AtomicU64, leaves: &'a [AtomicU64], row: usize) -> Self {
        debug_assert!(leaves.len().is_power_of_two() && leaves.len() <= 64 * row);
        Self { summary, leaves, row }
    }

    fn leaf_of(&self, slot: u32) -> usize {
        slot as usize / 64 % self.leaves.len()
    }

    /// Adds `slot`.
    pub fn set(&self, slot: u32) {
        let leaf = self.leaf_of(slot);
        self.leaves[leaf].fetch_or(1 << (slot % 64), SeqCst);
        self.summary.fetch_or(1 << (leaf / self.row), SeqCst);
    }

    /// Whether anything may be in the set.
    #[inline(always)]
    pub fn has_some(&self) -> bool {
        self.summary.load(Relaxed) != 0
    }

    /// Slots in the set as of now, about.
    pub fn count(&self) -> u64 {
        self.leaves.iter().map(|leaf| u64::from(leaf.load(Relaxed).count_ones())).sum()
    }

    /// Removes `slot`, then asks `still` whether it must be in the set after all: a cleaner that
    /// paused here would else hide a task that was made ready again meanwhile. The same for the
    /// summary over its leaves.
    pub fn remove(&self, slot: u32, still: impl FnOnce() -> bool) {
        let leaf = self.leaf_of(slot);
        self.leaves[leaf].fetch_and(!(1 << (slot % 64)), SeqCst);
        fence(SeqCst);
        if still() {
            self.set(slot);
        }
        self.tidy(leaf / self.row);
    }

    /// The leaves below bit `bit` of the summary; none when no step sets that bit.
    fn row(&self, bit: usize) -> &'a [AtomicU64] {
        self.leaves.get(bit * self.row..(bit + 1) * self.row).unwrap_or(&[])
    }

    fn tidy(&self, bit: usize) {
        let empty = || self.row(bit).iter().all(|leaf| leaf.load(SeqCst) == 0);
        if empty() {
            self.summary.fetch_and(!(1 << bit), SeqCst);
            fence(SeqCst);
            if !empty() {
                self.summary.fetch_or(1 << bit, SeqCst);
            }
        }
    }

    /// The slots in the set as it is now, lowest first, until `visit` returns something.
    pub fn find<T>(&self, visit: impl FnMut(u32) -> Option<T>) -> Option<T> {
        self.find_from(0, visit)
    }

    /// The same from slot `start` upwards, and then from the lowest one. Slots are handed out in
    /// turn, so from where the last search ended this is about the order of submission, and whatever
    /// stays in the set has its turn once in a lap.
    pub fn find_from<T>(&self, start: u32, mut visit: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let start = start % (self.leaves.len() as u32 * 64);
        self.search(start, u32::MAX, &mut visit).or_else(|| match start {
            0 => None,
            _ => self.search(0, start, &mut visit),
        })
    }

    /// The slots from `start` to before `end`.
    fn search<T>(
        &self,
        start: u32,
        end: u32,
        visit: &mut impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        let first = self.leaf_of(start);
        for bit in bits(self.summary.load(SeqCst) & u64::MAX << (first / self.row)) {
            let row = self.row(bit as usize);
            let mut seen = 0;
            for (leaf, word) in (bit as usize * self.row..).zip(row) {
                let now = word.load(SeqCst);
                seen |= now;
                let from = match leaf.cmp(&first) {
                    Ordering::Less => continue,
                    Ordering::Equal => start % 64,
                    Ordering::Greater => 0,
                };
                for bit in bits(now & u64::MAX << from) {
                    let slot = leaf as u32 * 64 + bit;
                    if slot >= end {
                        return None;
                    }
                    if let Some(found) = visit(slot) {
                        return Some(found);
                    }
                }
            }
            if seen == 0 {
                // Also a bit that no step sets: somebody wrote there, and nobody would sleep any more.
                self.tidy(bit as usize);
            }
        }
        None
    }

    /// Makes every summary bit true again after a death between a leaf and its summary.
    pub fn repair(&self) {
        for (index, leaf) in self.leaves.iter().enumerate() {
            if leaf.load(SeqCst) != 0 {
                self.summary.fetch_or(1 << (index / self.row), SeqCst);
            }
        }
    }
}

/// The positions of the ones in `word`, lowest first.
pub fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            bit
        })
    })
}
