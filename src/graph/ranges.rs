//! Byte ranges with their last writer and the readers since: segments that never overlap.
//!
//! ```text
//! address ──▶   [ seg a )[ seg b )      [ seg c )
//!               writer 7  writer 9       never written
//!               readers   readers 10,11  readers 12
//! ```
//!
//! The usual request names exactly a segment that is there; a hash of its first address finds it
//! without any search. Everything else goes through an ordered index and splits segments where
//! the request begins and ends. A read of many segments joins those between which no difference
//! is left: a task that has left the window makes none.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use smallvec::SmallVec;

use crate::abi::TensorArgType;

/// "No task": task numbers are stored plus one.
const NONE: u64 = 0;
/// Dead segments are swept when there are more than this, and twice those of the last sweep.
const SWEEP_FROM: usize = 1 << 16;
/// A read of this many segments looks whether some can be joined. Fewer cost less as they are than
/// to be split again by the next write of one of them.
const JOIN_FROM: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    start: u64,
    end: u64,
    writer: u64,
    readers: SmallVec<[u64; 3]>,
}

impl Segment {
    pub(super) fn writer(&self) -> Option<u64> {
        self.writer.checked_sub(1)
    }

    /// Tells `wait` for whom a task waits that does this with the bytes, and whether it fails with
    /// them.
    #[inline(always)]
    pub(crate) fn awaited(&self, tag: TensorArgType, mut wait: impl FnMut(u64, bool)) {
        if let Some(writer) = self.writer() {
            wait(writer, tag.reads());
        }
        if tag.writes() {
            self.readers.iter().for_each(|&reader| wait(reader, false));
        }
    }

    /// `task` writes the bytes: what was known of them is superseded.
    #[inline]
    pub(crate) fn write(&mut self, task: u64) {
        self.writer = task + 1;
        if !self.readers.is_empty() {
            self.readers.clear();
        }
    }

    /// `task` reads the bytes.
    #[inline]
    pub(crate) fn read(&mut self, task: u64, tail: u64) {
        if self.readers.last() == Some(&task) {
            return;
        }
        if self.readers.len() == self.readers.capacity() {
            self.readers.retain(|reader| *reader >= tail);
        }
        self.readers.push(task);
    }

    fn is_live(&self, tail: u64) -> bool {
        self.writer > tail || self.readers.iter().any(|&reader| reader >= tail)
    }

    /// Forgets a writer before `keep` and readers before `tail`.
    fn forget_finished(&mut self, keep: u64, tail: u64) {
        if self.writer <= keep {
            self.writer = NONE;
        }
        self.readers.retain(|reader| *reader >= tail);
    }

    fn continues(&self, before: &Self) -> bool {
        before.end == self.start && before.writer == self.writer && before.readers == self.readers
    }
}

/// Spreads addresses, whose low bits are mostly zero, over a hash table.
#[derive(Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        let product = u128::from(value ^ self.0) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

pub(super) type ByAddress<V> = HashMap<u64, V, BuildHasherDefault<AddressHasher>>;

/// Places of the cache in front of the hash table.
const RECENT: usize = 1 << 12;

pub(crate) struct RangeMap {
    segments: Vec<Segment>,
    /// By a few bits of the first address: a segment that may be the one. Checked at the segment.
    recent: Box<[Cell<u32>; RECENT]>,
    free: Vec<u32>,
    /// By first address; may name segments that are gone, and is checked at the segment.
    exact: ByAddress<u32>,
    order: BTreeMap<u64, u32>,
    sweep_at: usize,
    keep: u64,
}

impl Default for RangeMap {
    fn default() -> Self {
        Self {
            segments: Vec::new(),
            recent: Box::new(std::array::from_fn(|_| Cell::new(0))),
            free: Vec::new(),
            exact: ByAddress::default(),
            order: BTreeMap::new(),
            sweep_at: 0,
            keep: 0,
        }
    }
}

impl RangeMap {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// A sweep keeps what this task or a later one has written or read.
    #[inline]
    pub(super) fn keep(&mut self, from: u64) {
        self.keep = from;
    }

    /// The segment that is exactly this range.
    #[inline]
    pub(crate) fn exact(&self, range: &Range<u64>) -> Option<u32> {
        let spread = range.start.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let recent = &self.recent[(spread >> (64 - RECENT.trailing_zeros())) as usize];
        if self.is_exactly(recent.get(), range) {
            return Some(recent.get());
        }
        let index = *self.exact.get(&range.start)?;
        recent.set(index);
        self.is_exactly(index, range).then_some(index)
    }

    #[inline]
    fn is_exactly(&self, index: u32, range: &Range<u64>) -> bool {
        let segment = self.segments.get(index as usize);
        segment.is_some_and(|s| s.start == range.start && s.end == range.end)
    }

    /// The same, with a guess.
    #[inline]
    fn exact_near(&self, guess: u32, range: &Range<u64>) -> Option<u32> {
        if self.is_exactly(guess, range) { Some(guess) } else { self.exact(range) }
    }

    /// Whether this task had left the window when the last one was entered, and may be left out.
    pub(super) fn is_finished(&self, task: u64) -> bool {
        task < self.keep
    }

    #[inline]
    pub(crate) fn segment(&self, index: u32) -> &Segment {
        &self.segments[index as usize]
    }

    #[inline]
    pub(crate) fn segment_mut(&mut self, index: u32) -> &mut Segment {
        &mut self.segments[index as usize]
    }

    /// Every segment that shares a byte with `range`, in order.
    pub(super) fn overlapping<'a>(
        &'a self,
        range: &'a Range<u64>,
    ) -> impl Iterator<Item = &'a Segment> {
        let before = self.order.range(..range.start).next_back();
        let before = before.map(|(_, &i)| self.segment(i)).filter(|s| s.end > range.start);
        let inside = self.order.range(range.clone()).map(|(_, &i)| self.segment(i));
        before.into_iter().chain(inside)
    }

    /// `task` reads the range.
    #[inline]
    pub(super) fn read(&mut self, range: &Range<u64>, guess: u32, task: u64, tail: u64) {
        if let Some(index) = self.exact_near(guess, range) {
            self.segments[index as usize].read(task, tail);
            return;
        }
        self.cut(range);
        if self.has_many(range) {
            self.join(range, tail);
        }
        let inside: SmallVec<[u32; 8]> =
            self.order.range(range.clone()).map(|(_, &index)| index).collect();
        let mut at = range.start;
        for index in inside {
            let segment = &mut self.segments[index as usize];
            segment.read(task, tail);
            let (start, end) = (segment.start, segment.end);
            if at < start {
                self.add(at..start, NONE, task);
            }
            at = end;
        }
        if at < range.end {
            self.add(at..range.end, NONE, task);
        }
        if self.has_many(range) {
            self.join(range, tail); // what nobody knew of between them has a reader now
        }
    }

    fn has_many(&self, range: &Range<u64>) -> bool {
        self.order.range(range.clone()).nth(JOIN_FROM - 1).is_some()
    }

    /// Joins neighbours inside the range that differ in nothing that still matters.
    #[cold]
    fn join(&mut self, range: &Range<u64>, tail: u64) {
        let inside: Vec<u32> = self.order.range(range.clone()).map(|(_, &index)| index).collect();
        let mut last: Option<u32> = None;
        let mut joined: Vec<u64> = Vec::new();
        for index in inside {
            let keep = self.keep;
            self.segments[index as usize].forget_finished(keep, tail);
            let segment = &self.segments[index as usize];
            match last {
                Some(before) if segment.continues(self.segment(before)) => {
                    self.segments[before as usize].end = segment.end;
                    let gone = std::mem::take(&mut self.segments[index as usize]);
                    self.free.push(index);
                    joined.push(gone.start);
                }
                _ => last = Some(index),
            }
        }
        // Entries of the hash table are checked at the segment, so they may stay for now.
        if joined.len() < self.order.len() / 8 {
            joined.iter().for_each(|start| _ = self.order.remove(start));
        } else {
            let segments = &self.segments;
            self.order.retain(|_, index| segments[*index as usize].end != 0);
        }
        if self.exact.len() > 2 * self.order.len() + SWEEP_FROM {
            self.exact = self.order.iter().map(|(&start, &index)| (start, index)).collect();
        }
    }

    /// `task` writes the range: what was known of it is superseded.
    #[inline]
    pub(super) fn write(&mut self, range: &Range<u64>, guess: u32, task: u64) {
        if let Some(index) = self.exact_near(guess, range) {
            self.segments[index as usize].write(task);
            return;
        }
        self.cut(range);
        let inside: SmallVec<[u64; 8]> = self.order.range(range.clone()).map(|(&s, _)| s).collect();
        for start in inside {
            self.remove(start);
        }
        let index = self.insert(Segment {
            start: range.start,
            end: range.end,
            writer: task + 1,
            readers: SmallVec::new(),
        });
        debug_assert!(self.exact(range) == Some(index));
    }

    /// Forgets the range.
    pub(super) fn erase(&mut self, range: &Range<u64>) {
        self.cut(range);
        let inside: Vec<u64> = self.order.range(range.clone()).map(|(&s, _)| s).collect();
        for start in inside {
            self.remove(start);
        }
    }

    fn add(&mut self, range: Range<u64>, writer: u64, reader: u64) {
        let readers = SmallVec::from_slice(&[reader]);
        self.insert(Segment { start: range.start, end: range.end, writer, readers });
    }

    fn insert(&mut self, segment: Segment) -> u32 {
        let start = segment.start;
        let index = match self.free.pop() {
            Some(index) => {
                self.segments[index as usize] = segment;
                index
            }
            None => {
                self.segments.push(segment);
                self.segments.len() as u32 - 1
            }
        };
        self.exact.insert(start, index);
        self.order.insert(start, index);
        index
    }

    fn remove(&mut self, start: u64) {
        if let Some(index) = self.order.remove(&start) {
            self.exact.remove(&start);
            self.segments[index as usize] = Segment::default();
            self.free.push(index);
        }
    }

    /// Splits segments so that none crosses either end of the range; sweeps now and then.
    fn cut(&mut self, range: &Range<u64>) {
        if self.order.len() > self.sweep_at.max(SWEEP_FROM) {
            self.sweep(self.keep);
        }
        for at in [range.start, range.end] {
            let before = self.order.range(..at).next_back().map(|(_, &index)| index);
            let Some(index) = before.filter(|&i| self.segment(i).end > at) else { continue };
            let mut upper = self.segments[index as usize].clone();
            self.segments[index as usize].end = at;
            upper.start = at;
            self.insert(upper);
        }
    }

    /// Drops segments of which every task has left the window. Correctness does not need it: a
    /// finished producer is found finished; it only keeps the map as small as what is alive.
    fn sweep(&mut self, tail: u64) {
        let dead: Vec<u64> = self
            .order
            .iter()
            .filter(|&(_, &index)| !self.segment(index).is_live(tail))
            .map(|(&start, _)| start)
            .collect();
        for start in dead {
            self.remove(start);
        }
        self.sweep_at = self.order.len() * 2;
    }
}
