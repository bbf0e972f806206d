//! A best-fit allocator: cuts a range of pages into blocks. The smallest free piece that is large
//! enough is taken, and the first of several; so blocks of one size find exactly what such a block
//! has left.

use std::collections::{BTreeMap, BTreeSet};

/// Which pages are free.
pub(crate) struct BlockAllocator {
    /// By first page, how many.
    by_place: BTreeMap<u32, u32>,
    /// The same as (how many, first page).
    by_len: BTreeSet<(u32, u32)>,
}

impl BlockAllocator {
    pub(crate) fn new(pages: u32) -> Self {
        let mut new = Self { by_place: BTreeMap::new(), by_len: BTreeSet::new() };
        if pages > 0 {
            new.put(0, pages);
        }
        new
    }

    /// The first of so many pages.
    pub(crate) fn take(&mut self, pages: u32) -> Option<u32> {
        let &(len, first) = self.by_len.range((pages, 0)..).next()?;
        self.cut(first, len);
        if len > pages {
            self.put(first + pages, len - pages);
        }
        Some(first)
    }

    /// Gives pages back that were taken together.
    pub(crate) fn give(&mut self, first: u32, pages: u32) {
        let (mut first, mut len) = (first, pages);
        if let Some((&before, &pages)) = self.by_place.range(..first).next_back()
            && before + pages == first
        {
            self.cut(before, pages);
            (first, len) = (before, len + pages);
        }
        if let Some(&behind) = self.by_place.get(&(first + len)) {
            self.cut(first + len, behind);
            len += behind;
        }
        self.put(first, len);
    }

    /// Pages of the largest free piece.
    pub(crate) fn largest(&self) -> u32 {
        self.by_len.last().map_or(0, |(len, _)| *len)
    }

    fn put(&mut self, first: u32, len: u32) {
        self.by_place.insert(first, len);
        self.by_len.insert((len, first));
    }

    fn cut(&mut self, first: u32, len: u32) {
        self.by_place.remove(&first);
        self.by_len.remove(&(len, first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_free_ones_grow_together() {
        let mut random = 1u64;
        let mut next = |end: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((random >> 33) as u32) % end
        };
        let mut allocator = BlockAllocator::new(1000);
        let mut taken: Vec<(u32, u32)> = Vec::new();
        for _ in 0..20_000 {
            if next(2) == 0 {
                let len = 1 + next(60);
                let free = 1000 - taken.iter().map(|(_, len)| len).sum::<u32>();
                match allocator.take(len) {
                    Some(first) => {
                        let apart =
                            |&(other, l): &(u32, u32)| other + l <= first || first + len <= other;
                        assert!(first + len <= 1000 && taken.iter().all(apart));
                        taken.push((first, len));
                    }
                    None => assert!(allocator.largest() < len, "{free} are free"),
                }
            } else if !taken.is_empty() {
                let (first, len) = taken.swap_remove(next(taken.len() as u32) as usize);
                allocator.give(first, len);
            }
        }
        taken.into_iter().for_each(|(first, len)| allocator.give(first, len));
        assert_eq!((allocator.largest(), allocator.by_place.len()), (1000, 1));
    }

    #[test]
    fn a_block_fits_where_one_like_it_was() {
        let mut allocator = BlockAllocator::new(1024);
        let all: Vec<u32> = std::iter::from_fn(|| allocator.take(257)).collect();
        assert_eq!(all, [0, 257, 514]);
        allocator.give(257, 257);
        assert_eq!(allocator.take(257), Some(257));
    }
}
