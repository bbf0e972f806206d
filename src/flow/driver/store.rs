//! Who has which bytes of the values. All of it is the host's own: workers are told places, and
//! what they say of places is checked here.

use std::sync::Arc;

use offset_allocator::{Allocation, Allocator};

use crate::flow::error::Error;
use crate::flow::memory::Memory;
use crate::sys::map::PAGE;

/// Blocks that give their pages back when they are freed.
const LARGE: u64 = 1 << 20;
/// Pieces that the memory can be cut into.
const PIECES: u32 = 256 << 10;

/// A block of whole pages, by its place in a table.
pub(super) type BlockId = u32;

struct Block {
    address: u64,
    len: u64,
    allocation: Allocation,
    /// In the file, not in memory.
    spilled: bool,
    uses: u32,
}

/// Why there is no block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Later, perhaps.
    Now,
    /// Never, with the reason.
    Ever(String),
}

pub(super) struct Store {
    memory: Arc<Memory>,
    main: Allocator,
    spill: Option<Allocator>,
    blocks: Vec<Option<Block>>,
    free: Vec<BlockId>,
    capacity: u64,
    used: u64,
    spilled: u64,
    /// Counted up whenever a block is freed.
    pub(super) freed: u64,
}

impl Store {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        let [main, spill] = memory.ranges().map(|range| range.end - range.start);
        let allocator = |bytes: u64| {
            let pages = u32::try_from(bytes / PAGE as u64).unwrap_or(u32::MAX);
            Allocator::with_max_allocs(pages, PIECES.min(pages.saturating_add(16)))
        };
        Self {
            main: allocator(main),
            spill: (spill > 0).then(|| allocator(spill)),
            memory,
            blocks: Vec::new(),
            free: Vec::new(),
            capacity: main,
            used: 0,
            spilled: 0,
            freed: 0,
        }
    }

    /// A block of at least `bytes`, in use once.
    pub(super) fn take(&mut self, bytes: u64) -> Result<BlockId, NoRoom> {
        let pages = bytes.div_ceil(PAGE as u64).max(1);
        let short = u32::try_from(pages).map_err(|_| self.never(bytes))?;
        let len = pages * PAGE as u64;
        if let Some(allocation) = self.main.allocate(short) {
            return Ok(self.enter(allocation, len, false));
        }
        let Some(spill) = &mut self.spill else {
            return Err(if len > self.capacity { self.never(bytes) } else { NoRoom::Now });
        };
        let Some(allocation) = spill.allocate(short) else {
            let most = self.memory.ranges()[1].end - self.memory.ranges()[1].start;
            return Err(if len > self.capacity.max(most) {
                self.never(bytes)
            } else {
                NoRoom::Now
            });
        };
        let base = self.memory.ranges()[1].start;
        let address = base + u64::from(allocation.offset) * PAGE as u64;
        if let Err(error) = self.memory.reserve_spill(address, len) {
            spill.free(allocation);
            return Err(NoRoom::Ever(format!("the spill file cannot grow: {error}")));
        }
        Ok(self.enter(allocation, len, true))
    }

    fn never(&self, bytes: u64) -> NoRoom {
        NoRoom::Ever(format!(
            "{bytes} bytes are more than the flow has ({} of memory{}); build it with more memory(..), or with spill(..)",
            self.capacity,
            if self.spill.is_some() { ", and the spill" } else { "" }
        ))
    }

    fn enter(&mut self, allocation: Allocation, len: u64, spilled: bool) -> BlockId {
        let base = self.memory.ranges()[usize::from(spilled)].start;
        let address = base + u64::from(allocation.offset) * PAGE as u64;
        *(if spilled { &mut self.spilled } else { &mut self.used }) += len;
        let block = Some(Block { address, len, allocation, spilled, uses: 1 });
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
    pub(super) fn can_spill(&self) -> bool {
        self.spill.is_some()
    }

    /// Where a block is: address and length.
    pub(super) fn place(&self, id: BlockId) -> (u64, u64) {
        let block = self.blocks.get(id as usize).and_then(Option::as_ref);
        block.map_or((0, 0), |block| (block.address, block.len))
    }

    /// Whether these bytes lie in the block.
    pub(super) fn contains(&self, id: BlockId, address: u64, len: u64) -> bool {
        let (first, size) = self.place(id);
        address >= first && address.checked_add(len).is_some_and(|end| end <= first + size)
    }

    /// One more who uses it.
    pub(super) fn share(&mut self, id: BlockId) {
        if let Some(Some(block)) = self.blocks.get_mut(id as usize) {
            block.uses += 1;
        }
    }

    /// One fewer. The last one frees it.
    pub(super) fn release(&mut self, id: BlockId) {
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
        if block.spilled {
            self.spilled -= block.len;
            self.spill.iter_mut().for_each(|spill| spill.free(block.allocation));
        } else {
            self.used -= block.len;
            self.main.free(block.allocation);
        }
        self.free.push(id);
        self.freed += 1;
    }

    /// Bytes of memory, how many are taken, and bytes in the file.
    pub(super) fn figures(&self) -> (u64, u64, u64) {
        (self.capacity, self.used, self.spilled)
    }

    /// The error of one who cannot be given `bytes`.
    pub(super) fn refusal(&self, bytes: u64, why: &NoRoom) -> Error {
        let why = match why {
            NoRoom::Ever(why) => why.clone(),
            NoRoom::Now => format!(
                "{} of {} bytes are held by values, the largest free piece has {}, and nobody is about to free any; drop refs, raise memory(..), or give a directory to spill(..)",
                self.used,
                self.capacity,
                u64::from(self.main.storage_report().largest_free_region) * PAGE as u64
            ),
        };
        Error::Memory { bytes, why }
    }
}
