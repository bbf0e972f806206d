//! A ready set: slots that do not fit a ready queue, what is found again after a death, what is
//! urgent, and the directed tasks of one worker.
//!
//! Setting a bit twice is setting it once, so there is no capacity, no half state and nothing to
//! grow in a crash loop. One leaf bit a slot, one summary bit a leaf word:
//!
//! ```text
//! summary  [ 1 0 1 ... ]
//!            │   └─▶ leaf 2 [ bit per slot 128..191 ]
//!            └─────▶ leaf 0 [ bit per slot   0..63  ]
//! ```

use super::sync::{AtomicU64, Relaxed, SeqCst, fence};

/// The set, wherever its words live.
#[derive(Clone, Copy)]
pub struct Bitmap<'a> {
    summary: &'a [AtomicU64],
    leaves: &'a [AtomicU64],
}

impl<'a> Bitmap<'a> {
    /// `summary` has a bit for each leaf.
    pub fn new(summary: &'a [AtomicU64], leaves: &'a [AtomicU64]) -> Self {
        debug_assert!(summary.len() * 64 >= leaves.len());
        Self { summary, leaves }
    }

    /// Adds `slot`.
    pub fn set(&self, slot: u32) {
        let leaf = slot as usize / 64 % self.leaves.len();
        self.leaves[leaf].fetch_or(1 << (slot % 64), SeqCst);
        self.summary[leaf / 64].fetch_or(1 << (leaf % 64), SeqCst);
    }

    /// Whether anything may be in the set.
    #[inline]
    pub fn has_some(&self) -> bool {
        self.summary.iter().any(|word| word.load(Relaxed) != 0)
    }

    /// Removes `slot`, then asks `still` whether it must be in the set after all: a cleaner that
    /// paused here would else hide a task that was made ready again meanwhile. The same for the
    /// summary over its leaf.
    pub fn remove(&self, slot: u32, still: impl FnOnce() -> bool) {
        let leaf = slot as usize / 64 % self.leaves.len();
        self.leaves[leaf].fetch_and(!(1 << (slot % 64)), SeqCst);
        fence(SeqCst);
        if still() {
            self.set(slot);
        }
        self.tidy(leaf);
    }

    fn tidy(&self, leaf: usize) {
        if self.leaves[leaf].load(SeqCst) == 0 {
            let bit = 1 << (leaf % 64);
            self.summary[leaf / 64].fetch_and(!bit, SeqCst);
            fence(SeqCst);
            if self.leaves[leaf].load(SeqCst) != 0 {
                self.summary[leaf / 64].fetch_or(bit, SeqCst);
            }
        }
    }

    /// The slots in the set as it is now, lowest first, until `visit` returns something.
    pub fn find<T>(&self, mut visit: impl FnMut(u32) -> Option<T>) -> Option<T> {
        for (word, summary) in self.summary.iter().enumerate() {
            for bit in bits(summary.load(SeqCst)) {
                let leaf = word * 64 + bit as usize;
                if leaf >= self.leaves.len() {
                    // No step sets it: somebody wrote there, and nobody would sleep any more.
                    summary.fetch_and(!(1 << bit), SeqCst);
                    continue;
                }
                let now = self.leaves[leaf].load(SeqCst);
                if now == 0 {
                    self.tidy(leaf);
                }
                for bit in bits(now) {
                    if let Some(found) = visit(leaf as u32 * 64 + bit) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    /// Makes every summary bit true again after a death between a leaf and its summary.
    pub fn repair(&self) {
        for (index, leaf) in self.leaves.iter().enumerate() {
            if leaf.load(SeqCst) != 0 {
                self.summary[index / 64].fetch_or(1 << (index % 64), SeqCst);
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
