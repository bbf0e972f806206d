//! Who has which bytes of the values. All of it is the host's own: workers are told places, and
//! what they say of places is checked here.

use std::sync::Arc;

use mailring_process::map::PAGE;

use super::block_allocator::BlockAllocator;
use crate::protocol::memory::Memory;

/// Blocks that give their pages back when they are freed.
const LARGE: u64 = 1 << 20;
/// Smaller ones come from what is set aside for them, so that large ones find whole pieces.
const SMALL: u64 = 64 << 10;

/// Where a block is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Area {
    Main,
    /// Behind it: for small results, long descriptors, and errors.
    Small,
    /// In the file.
    Spill,
}

/// A block of whole pages, by its place in a table.
pub(crate) type BlockId = u32;

struct Block {
    address: u64,
    len: u64,
    /// Its first page in its area.
    first: u32,
    area: Area,
    uses: u32,
}

/// Why there is no block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Later, perhaps.
    Now,
    /// Never, with the reason.
    Ever(String),
}

pub(crate) struct Store {
    memory: Arc<Memory>,
    main: BlockAllocator,
    small: BlockAllocator,
    spill: Option<BlockAllocator>,
    blocks: Vec<Option<Block>>,
    free: Vec<BlockId>,
    capacity: u64,
    /// Bytes of the small area, and how many of them are taken.
    set_aside: u64,
    small_used: u64,
    used: u64,
    spilled: u64,
    /// Counted up whenever a block is freed.
    freed: u64,
}

impl Store {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        let [values, spill] = memory.ranges().map(|range| range.end - range.start);
        let set_aside = memory.set_aside();
        let main = values - set_aside;
        let allocator = |bytes: u64| {
            BlockAllocator::new(u32::try_from(bytes / PAGE as u64).unwrap_or(u32::MAX))
        };
        Self {
            main: allocator(main),
            small: allocator(set_aside),
            spill: (spill > 0).then(|| allocator(spill)),
            memory,
            blocks: Vec::new(),
            free: Vec::new(),
            capacity: main,
            set_aside,
            small_used: 0,
            used: 0,
            spilled: 0,
            freed: 0,
        }
    }

    /// A block of at least `bytes`, in use once. Not of the memory unless `main` is set: then of
    /// the file, if there is one.
    pub(crate) fn take(&mut self, bytes: u64, main: bool) -> Result<BlockId, NoRoom> {
        let (pages, len) = self.pages(bytes)?;
        if main && let Some(first) = self.main.take(pages) {
            return Ok(self.enter(first, len, Area::Main));
        }
        self.take_spill(pages, len)
    }

    /// A small block: `want` bytes of what is set aside for them, or else `bytes`, of anything. A
    /// part is left for errors.
    pub(crate) fn take_small(&mut self, want: u64, bytes: u64) -> Result<BlockId, NoRoom> {
        for size in [want, bytes] {
            let (pages, len) = self.pages(size)?;
            let share = if size == bytes { self.set_aside / 4 * 3 } else { self.set_aside / 2 };
            if len <= SMALL.max(want)
                && self.small_used + len <= share
                && let Some(first) = self.small.take(pages)
            {
                return Ok(self.enter(first, len, Area::Small));
            }
        }
        self.take(bytes, true)
    }

    /// A block for an error: of whatever there is.
    pub(crate) fn take_urgent(&mut self, bytes: u64) -> Result<BlockId, NoRoom> {
        let (pages, len) = self.pages(bytes)?;
        if let Some(first) = self.small.take(pages) {
            return Ok(self.enter(first, len, Area::Small));
        }
        self.take(bytes, true)
    }

    fn pages(&self, bytes: u64) -> Result<(u32, u64), NoRoom> {
        let pages = bytes.div_ceil(PAGE as u64).max(1);
        let short = u32::try_from(pages).map_err(|_| self.never(bytes))?;
        Ok((short, pages * PAGE as u64))
    }

    fn take_spill(&mut self, pages: u32, len: u64) -> Result<BlockId, NoRoom> {
        let range = &self.memory.ranges()[1];
        let (base, most) = (range.start, range.end - range.start);
        let Some(spill) = &mut self.spill else {
            return Err(if len > self.capacity { self.never(len) } else { NoRoom::Now });
        };
        let Some(first) = spill.take(pages) else {
            return Err(if len > self.capacity.max(most) { self.never(len) } else { NoRoom::Now });
        };
        let address = base + u64::from(first) * PAGE as u64;
        let Err(error) = self.memory.reserve_spill(address, len) else {
            return Ok(self.enter(first, len, Area::Spill));
        };
        spill.give(first, pages);
        self.memory.forget(address, len); // what there was room for
        // A full disk is like a flow without one: whoever fits the memory waits for that.
        if len <= self.capacity {
            return Err(NoRoom::Now);
        }
        Err(NoRoom::Ever(format!(
            "{len} bytes are more than the memory has ({}), and the spill file cannot grow: {error}",
            self.capacity
        )))
    }

    fn never(&self, bytes: u64) -> NoRoom {
        NoRoom::Ever(format!(
            "{bytes} bytes are more than the flow has ({} of memory{}); build it with more memory(..), or with spill(..)",
            self.capacity,
            if self.spill.is_some() { ", and the spill" } else { "" }
        ))
    }

    fn enter(&mut self, first: u32, len: u64, area: Area) -> BlockId {
        let [values, spill] = self.memory.ranges();
        let (base, used) = match area {
            Area::Main => (values.start, &mut self.used),
            Area::Small => (values.end - self.set_aside, &mut self.small_used),
            Area::Spill => (spill.start, &mut self.spilled),
        };
        *used += len;
        let address = base + u64::from(first) * PAGE as u64;
        let block = Some(Block { address, len, first, area, uses: 1 });
        match self.free.pop() {
            Some(id) => {
                self.blocks[id as usize] = block;
                id
            }
            None => {
                self.blocks.push(block);
                self.blocks.len() as BlockId - 1
            }
        }
    }

    /// Whether there is a file for what does not fit.
    pub(crate) fn can_spill(&self) -> bool {
        self.spill.is_some()
    }

    /// Where a block is: address and length.
    pub(crate) fn place(&self, id: BlockId) -> (u64, u64) {
        let block = self.blocks.get(id as usize).and_then(Option::as_ref);
        block.map_or((0, 0), |block| (block.address, block.len))
    }

    /// Whether these bytes lie in the block.
    pub(crate) fn contains(&self, id: BlockId, address: u64, len: u64) -> bool {
        let (first, size) = self.place(id);
        address >= first && address.checked_add(len).is_some_and(|end| end <= first + size)
    }

    /// One more who uses it.
    pub(crate) fn share(&mut self, id: BlockId) {
        if let Some(Some(block)) = self.blocks.get_mut(id as usize) {
            block.uses += 1;
        }
    }

    /// One fewer. The last one frees it.
    pub(crate) fn release(&mut self, id: BlockId) {
        let Some(place @ Some(_)) = self.blocks.get_mut(id as usize) else { return };
        let Some(block) = place else { return };
        block.uses -= 1;
        if block.uses > 0 {
            return;
        }
        if block.len >= LARGE {
            self.memory.forget(block.address, block.len);
        }
        let Some(block) = place.take() else { return };
        let pages = (block.len / PAGE as u64) as u32;
        match block.area {
            Area::Main => {
                self.used -= block.len;
                self.main.give(block.first, pages);
            }
            Area::Small => {
                self.small_used -= block.len;
                self.small.give(block.first, pages);
            }
            Area::Spill => {
                self.spilled -= block.len;
                self.spill.iter_mut().for_each(|spill| spill.give(block.first, pages));
            }
        }
        self.free.push(id);
        self.freed += 1;
    }

    /// How often a block was freed.
    #[inline]
    pub(crate) fn freed(&self) -> u64 {
        self.freed
    }

    /// Bytes of memory, how many are taken, and bytes in the file.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        (self.capacity, self.used + self.small_used, self.spilled)
    }

    /// Bytes of memory for values that are not small, and how many of them are taken.
    pub(crate) fn main_figures(&self) -> (u64, u64) {
        (self.capacity, self.used)
    }

    pub(crate) fn largest_free(&self) -> u64 {
        u64::from(self.main.largest()) * PAGE as u64
    }
}
