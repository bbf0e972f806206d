//! The allocator of buffers: what is free, what is held, what waits for its last task.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailring_process::map::PAGE;

use crate::error::Error;
use crate::graph::Spread;
use crate::limits::MAX_IMPORTS;
use crate::segment::Arena;
use crate::worker::health::Health;
use crate::worker::imports::Imports;

/// Buffers begin at multiples of this.
const ALIGN: u64 = 64;

/// The pages of freed buffers of at least this size go back to the machine.
const GIVE_BACK: u64 = 1 << 20;

/// [`Record::guards`] of a buffer that one guard writes to; less is the number of those that read.
pub(super) const WRITES: u32 = u32::MAX;

/// A range of bytes that somebody holds.
#[derive(Debug)]
pub(super) struct Record {
    bytes: Range<u64>,
    /// Where what was asked for ends; the rest is rounding, which nobody names.
    end: u64,
    /// Grows with every buffer that is made.
    id: u64,
    /// The last task that names it, plus one.
    last_use: AtomicU64,
    /// The last one that may write to it, plus one.
    last_write: AtomicU64,
    /// Guards of it that live: how many read, or [`WRITES`].
    guards: Mutex<u32>,
    /// Its place among the imports, if it is one.
    import: Option<u32>,
}

impl Record {
    /// The last task that names it, plus one.
    pub(super) fn last_use(&self) -> u64 {
        self.last_use.load(SeqCst)
    }

    /// The last one that may write to it, plus one.
    pub(super) fn last_write(&self) -> u64 {
        self.last_write.load(SeqCst)
    }

    /// Guards of it that live: how many read, or [`WRITES`]. Who has the lock is an access as well.
    pub(super) fn guards(&self) -> MutexGuard<'_, u32> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes, rounding included.
    #[inline]
    pub(super) fn bytes(&self) -> &Range<u64> {
        &self.bytes
    }

    /// `task` is the next one that names it, and perhaps writes to it.
    #[inline(always)]
    pub(super) fn note_use(&self, task: u64, writes: bool) {
        self.last_use.store(task + 1, Relaxed); // numbers only grow
        if writes {
            self.last_write.store(task + 1, Relaxed);
        }
    }

    /// Whether it came after the fork.
    #[inline(always)]
    pub(super) fn is_import(&self) -> bool {
        self.import.is_some()
    }

    fn pool(&self) -> Pool {
        if self.is_import() { Pool::Window } else { Pool::Arena }
    }

    /// As [`last_use`](Self::last_use), for one who frees the bytes.
    fn held_to(&self) -> u64 {
        self.last_use.load(Acquire)
    }
}

/// Which part of the address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pool {
    /// The arena's part for buffers.
    Arena,
    /// The window for memory that came later.
    Window,
}

/// Free addresses, in first-fit order.
struct Free {
    capacity: u64,
    align: u64,
    /// By first address; neighbours are merged.
    ranges: BTreeMap<u64, u64>,
    /// Everything beyond was never used.
    touched: u64,
}

impl Free {
    fn new(bytes: Range<u64>, align: u64) -> Self {
        let capacity = bytes.end - bytes.start;
        let ranges =
            if capacity > 0 { BTreeMap::from([(bytes.start, bytes.end)]) } else { BTreeMap::new() };
        Self { capacity, align, ranges, touched: bytes.start }
    }

    /// The range, and the part of it that was used before.
    fn take(&mut self, bytes: u64) -> Option<(Range<u64>, Range<u64>)> {
        let need = bytes.max(1).checked_next_multiple_of(self.align)?;
        let (&start, &end) = self.ranges.iter().find(|&(&s, &e)| e - s >= need)?;
        self.ranges.remove(&start);
        if start + need < end {
            self.ranges.insert(start + need, end);
        }
        let used_before = start..(start + need).min(self.touched).max(start);
        self.touched = self.touched.max(start + need);
        Some((start..start + need, used_before))
    }

    fn give_back(&mut self, bytes: &Range<u64>) {
        let Range { mut start, mut end } = *bytes;
        if let Some((&before, &its_end)) = self.ranges.range(..start).next_back()
            && its_end == start
        {
            self.ranges.remove(&before);
            start = before;
        }
        if let Some(its_end) = self.ranges.remove(&end) {
            end = its_end;
        }
        self.ranges.insert(start, end);
    }

    fn used(&self) -> u64 {
        self.capacity - self.ranges.iter().map(|(s, e)| e - s).sum::<u64>()
    }
}

/// Hands out the memory of buffers, and the addresses for memory that comes later.
pub(super) struct BufferAllocator {
    space: Mutex<Space>,
    /// Changes with every buffer that comes or goes.
    version: AtomicU64,
    arena: Arc<Arena>,
    health: Arc<Health>,
    imports: Arc<Imports>,
}

/// Both parts, and everything that is held of them.
struct Space {
    free: [Free; 2],
    /// Buffers made so far.
    made: u64,
    /// Made since the submitter last looked, and still there; by number.
    fresh: BTreeMap<u64, Arc<Record>>,
    /// Dropped since then, of those that it knows.
    gone: Vec<Arc<Record>>,
    /// By pool.
    leaving: [BinaryHeap<Leaving>; 2],
}

/// A buffer that was dropped; the one whose tasks leave first is the greatest.
struct Leaving {
    /// What `last_use` was when one looked. It hardly changes any more, and is looked at again.
    held_to: u64,
    record: Arc<Record>,
}

impl Leaving {
    fn new(record: Arc<Record>) -> Self {
        Self { held_to: record.held_to(), record }
    }
}

impl Ord for Leaving {
    fn cmp(&self, other: &Self) -> Ordering {
        other.held_to.cmp(&self.held_to)
    }
}

impl PartialOrd for Leaving {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Leaving {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Leaving {}

impl BufferAllocator {
    pub(super) fn new(arena: Arc<Arena>, health: Arc<Health>, imports: Arc<Imports>) -> Self {
        let (base, bytes) = arena.buffers();
        let free =
            [Free::new(base..base + bytes, ALIGN), Free::new(arena.window().bytes(), PAGE as u64)];
        let space = Space {
            free,
            made: 0,
            fresh: BTreeMap::new(),
            gone: Vec::new(),
            leaving: Default::default(),
        };
        Self { space: Mutex::new(space), version: AtomicU64::new(0), arena, health, imports }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part of the arena; also the part of it that was used before.
    pub(super) fn take(&self, bytes: Option<u64>) -> Result<(Arc<Record>, Range<u64>), Error> {
        let mut space = self.space();
        let Some(taken) = bytes.and_then(|bytes| self.collect_and_take(&mut space, bytes)) else {
            let (used, capacity) = space.usage(Pool::Arena);
            return Err(Error::BufferSpace { asked: bytes.unwrap_or(u64::MAX), used, capacity });
        };
        self.version.fetch_add(1, Release);
        Ok(taken)
    }

    fn collect_and_take(&self, space: &mut Space, bytes: u64) -> Option<(Arc<Record>, Range<u64>)> {
        self.collect(space, Pool::Arena);
        space.take(Pool::Arena, bytes, None).or_else(|| {
            self.collect_all(space, Pool::Arena);
            space.take(Pool::Arena, bytes, None)
        })
    }

    /// As [`collect`](Self::collect), also what a submit that failed beside the drop has taken its
    /// use back from.
    fn collect_all(&self, space: &mut Space, pool: Pool) {
        let all = std::mem::take(&mut space.leaving[pool as usize]).into_iter();
        space.leaving[pool as usize] = all.map(|leaving| Leaving::new(leaving.record)).collect();
        self.collect(space, pool);
    }

    /// Bytes of the arena's part in use, and bytes there are.
    pub(super) fn used_of_arena(&self) -> (u64, u64) {
        self.space().usage(Pool::Arena)
    }

    /// Takes addresses for memory that came after the fork, and maps it there.
    pub(super) fn import(&self, memory: OwnedFd, bytes: u64) -> Result<Arc<Record>, Error> {
        let mut space = self.space();
        self.collect_all(&mut space, Pool::Window); // there are few
        let index = self.imports.vacant().ok_or(Error::Imports(MAX_IMPORTS))?;
        let Some((record, _)) = space.take(Pool::Window, bytes, Some(index)) else {
            let (used, capacity) = space.usage(Pool::Window);
            return Err(Error::ImportSpace { asked: bytes, used, capacity });
        };
        let held = self.imports.hold(&self.arena, index, &record.bytes, memory);
        if let Err(source) = held {
            space.leave(&record);
            return Err(Error::Import { what: "mapping it", source });
        }
        self.version.fetch_add(1, Release);
        Ok(record)
    }

    /// A buffer was dropped: its bytes are free once its last task has left the window of slots.
    pub(super) fn leave(&self, record: &Arc<Record>) {
        let mut space = self.space();
        space.leave(record);
        self.version.fetch_add(1, SeqCst);
        if record.import.is_some() {
            self.collect_all(&mut space, Pool::Window); // it may be large
        }
    }

    /// Frees what was dropped and is named by no task any more.
    fn collect(&self, space: &mut Space, pool: Pool) {
        let leaving = &mut space.leaving[pool as usize];
        if leaving.is_empty() {
            return;
        }
        let tail = self.health.tail.load(Acquire);
        fence(SeqCst); // see `HeldBuffers::is_outdated`
        while let Some(mut first) = leaving.peek_mut() {
            if first.held_to > tail {
                break;
            }
            first.held_to = first.record.held_to();
            if first.held_to > tail {
                continue; // and it takes its new place
            }
            let record = PeekMut::pop(first).record;
            let Range { start, end } = record.bytes;
            match record.import {
                Some(index) => self.imports.forget(&self.arena, index, &record.bytes),
                None if end - start >= GIVE_BACK => {
                    self.arena.forget(start, (end - start) as usize);
                }
                None => {}
            }
            space.free[pool as usize].give_back(&record.bytes);
        }
    }
}

impl Space {
    /// Takes a range; also the part of it that was used before.
    fn take(
        &mut self,
        pool: Pool,
        bytes: u64,
        import: Option<u32>,
    ) -> Option<(Arc<Record>, Range<u64>)> {
        let len = bytes;
        let (bytes, used_before) = self.free[pool as usize].take(len)?;
        let end = bytes.start + len;
        let record = Arc::new(Record {
            bytes,
            end,
            id: self.made,
            last_use: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
            guards: Mutex::new(0),
            import,
        });
        self.fresh.insert(self.made, Arc::clone(&record));
        self.made += 1;
        Some((record, used_before))
    }

    fn leave(&mut self, record: &Arc<Record>) {
        if self.fresh.remove(&record.id).is_none() {
            self.gone.push(Arc::clone(record));
        }
        self.leaving[record.pool() as usize].push(Leaving::new(Arc::clone(record)));
    }

    /// Bytes in use, and bytes there are.
    fn usage(&self, pool: Pool) -> (u64, u64) {
        let free = &self.free[pool as usize];
        (free.used(), free.capacity)
    }
}

/// A buffer as the submitter knows it.
struct Held {
    start: u64,
    /// Where what was asked for ends.
    end: u64,
    /// The same for those that one looks for first: 0 if it came after the fork.
    quick_end: u64,
    /// `None`: a vacant place, which holds nothing.
    record: Option<Arc<Record>>,
}

impl Held {
    #[inline]
    fn holds(&self, bytes: &Range<u64>) -> bool {
        self.start <= bytes.start && bytes.end <= self.end
    }

    #[inline(always)]
    fn holds_quickly(&self, bytes: &Range<u64>) -> bool {
        self.start <= bytes.start && bytes.end <= self.quick_end
    }
}

/// Ways of the memory of recent look-ups, at least.
const RECENT: usize = 64;

/// The submitter's own copy of what is held, so that a submit takes no lock. It is kept up by what
/// has changed, so a new buffer costs the same among few others and among many.
#[derive(Default)]
pub(super) struct HeldBuffers {
    version: u64,
    held: Vec<Held>,
    vacant: Vec<u32>,
    /// By first address.
    order: BTreeMap<u64, u32>,
    /// All of them lie in here. Slabs do not, so that these are not looked for among many.
    around: Range<u64>,
    /// The buffer that was found last; many tasks name parts of one.
    last: Cell<u32>,
    /// By a few bits of the first address that was asked for: where it was found. A power of two of
    /// them, a few for each buffer.
    recent: Vec<Cell<u32>>,
    /// Something that was noted since this was last reset is an import.
    pub(super) imported: bool,
}

impl HeldBuffers {
    #[inline]
    pub(super) fn refresh(&mut self, allocator: &BufferAllocator, forget: impl FnMut(&Range<u64>)) {
        if !self.is_current(allocator) {
            self.catch_up(allocator, forget);
        }
    }

    #[cold]
    fn catch_up(&mut self, allocator: &BufferAllocator, mut forget: impl FnMut(&Range<u64>)) {
        let mut space = allocator.space();
        self.version = allocator.version.load(Relaxed);
        // First what has gone: something new may lie in its place.
        for record in space.gone.drain(..) {
            if let Some(index) = self.order.remove(&record.bytes.start) {
                self.held[index as usize] = Held { start: 0, end: 0, quick_end: 0, record: None };
                self.vacant.push(index);
            }
        }
        for record in std::mem::take(&mut space.fresh).into_values() {
            // It may lie where others were: what was known of those bytes is not its own.
            forget(&record.bytes);
            self.add(record);
        }
        let first = self.order.first_key_value().map_or(0, |(&start, _)| start);
        let last = self.order.last_key_value();
        self.around = first..last.map_or(0, |(_, &index)| self.held[index as usize].end);
    }

    fn add(&mut self, record: Arc<Record>) {
        let start = record.bytes.start;
        let end = record.end;
        let quick_end = if record.is_import() { 0 } else { end };
        let new = Held { start, end, quick_end, record: Some(record) };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.held[index as usize] = new;
                index
            }
            None => {
                self.held.push(new);
                self.held.len() as u32 - 1
            }
        };
        self.order.insert(start, index);
        if self.held.len() * 2 > self.recent.len() {
            self.recent = vec![Cell::new(0); (self.held.len() * 4).next_power_of_two().max(RECENT)];
        }
    }

    /// Whether a [`refresh`](Self::refresh) would change nothing.
    #[inline(always)]
    pub(super) fn is_current(&self, allocator: &BufferAllocator) -> bool {
        allocator.version.load(Acquire) == self.version
    }

    /// Whether a buffer came or went since the last look.
    #[cold]
    pub(super) fn is_outdated(&self, allocator: &BufferAllocator) -> bool {
        fence(SeqCst);
        allocator.version.load(SeqCst) != self.version
    }

    /// The buffer that holds the range: its bytes, and what tells it from others.
    pub(super) fn home_of(&self, bytes: &Range<u64>) -> Option<(Range<u64>, u64)> {
        let record = self.holder(bytes)?;
        Some((record.bytes.start..record.end, record.id))
    }

    /// Holds the buffer that holds the range until the task before `next` is through, whatever was
    /// noted before. What tells it from others, and the last task that named it, plus one.
    pub(super) fn hold(
        &mut self,
        bytes: &Range<u64>,
        next: u64,
        writes: bool,
    ) -> Option<(u64, u64)> {
        let record = self.holder(bytes)?;
        let (id, before) = (record.id, record.last_use.load(Relaxed));
        record.last_use.store(next, Relaxed);
        if writes {
            record.last_write.store(next, Relaxed);
        }
        let import = record.import.is_some();
        self.imported |= import;
        Some((id, before))
    }

    /// Takes `note_use` back for a task that was not submitted after all.
    pub(super) fn unmark(&mut self, bytes: &Range<u64>, task: u64) {
        let Some(record) = self.holder(bytes) else { return };
        for last in [&record.last_use, &record.last_write] {
            if last.load(Relaxed) == task + 1 {
                last.store(task, Relaxed);
            }
        }
    }

    /// Whether a guard of the buffer that holds the range is in the way of a task that names it.
    #[cold]
    pub(super) fn is_guarded(&self, bytes: &Range<u64>, writes: bool) -> bool {
        let Some(record) = self.holder(bytes) else { return false };
        match *record.guards() {
            0 => false,
            WRITES => true,
            _ => writes,
        }
    }

    /// The buffer that holds all of the range; `task` is the next one that names it, and perhaps
    /// writes to it.
    #[inline]
    pub(super) fn note_use(&mut self, bytes: &Range<u64>, task: u64, writes: bool) -> bool {
        let Some(record) = self.find(bytes) else { return false };
        record.note_use(task, writes);
        let import = record.is_import();
        self.imported |= import;
        true
    }

    /// The buffer that holds all of the range. It is kept as the last one that was found.
    #[inline(always)]
    pub(super) fn find(&self, bytes: &Range<u64>) -> Option<&Record> {
        if self.is_in(self.last.get(), bytes) {
            return self.held[self.last.get() as usize].record.as_deref();
        }
        self.find_another(bytes)
    }

    /// The same, if it is where one looks first and did not come after the fork.
    #[inline(always)]
    pub(super) fn find_quickly(&self, bytes: &Range<u64>) -> Option<&Record> {
        let mut held = self.held.get(self.last.get() as usize)?;
        if !held.holds_quickly(bytes) {
            let recent = self.recent.get(self.way(bytes.start))?.get();
            held = self.held.get(recent as usize).filter(|held| held.holds_quickly(bytes))?;
            self.last.set(recent);
        }
        held.record.as_deref()
    }

    #[inline(always)]
    fn way(&self, start: u64) -> usize {
        Spread::over(self.recent.len()).place(start)
    }

    /// The buffer of this number.
    #[cfg(test)]
    pub(super) fn record(&self, number: u32) -> Option<&Record> {
        self.held.get(number as usize)?.record.as_deref()
    }

    #[inline]
    fn is_in(&self, index: u32, bytes: &Range<u64>) -> bool {
        self.held.get(index as usize).is_some_and(|held| held.holds(bytes))
    }

    #[inline(never)]
    fn find_another(&self, bytes: &Range<u64>) -> Option<&Record> {
        if !self.around.contains(&bytes.start) {
            return None;
        }
        let recent = self.recent.get(self.way(bytes.start))?;
        if !self.is_in(recent.get(), bytes) {
            recent.set(self.index_of(bytes)?);
        }
        self.last.set(recent.get());
        self.held[recent.get() as usize].record.as_deref()
    }

    fn index_of(&self, bytes: &Range<u64>) -> Option<u32> {
        let (_, &index) = self.order.range(..=bytes.start).next_back()?;
        self.is_in(index, bytes).then_some(index)
    }

    fn holder(&self, bytes: &Range<u64>) -> Option<&Record> {
        self.held[self.index_of(bytes)? as usize].record.as_deref()
    }
}
