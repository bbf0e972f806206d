//! Byte ranges with their last writer and the readers since: segments that never overlap.
//!
//! ```text
//! address ──▶   [ seg a )[ seg b )      [ seg c )
//!               writer 7  writer 9       never written
//!               readers   readers 10,11  readers 12
//! ```
//!
//! The usual request names exactly a segment that is there; its first address finds it without any
//! search. Everything else goes through the order of the segments ([`Blocks`]), and splits those
//! that the request begins or ends in. A task that reads many is entered for whole blocks of them.
//! Segments between which no difference is left are joined: a task that has left the window makes
//! none.
//!
//! None of this costs more the longer a program runs or the more it names: what it costs is in
//! [`RangeMap::steps`], and tests look at that.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::access::{Dependencies, Producer};
use super::blocks::{Awaited, Blocks, Entry, Place};
use super::keys::Spread;
use super::segment::{Common, Segment};
use crate::abi::TensorArgType;

/// Dead segments are swept when there are more than this, and twice those of the last sweep. All that
/// is known of so many stays in a cache beside the processor: to enter a segment anew there takes less
/// time than to find a dead one in memory.
const SWEEP_FROM: usize = 1 << 14;
/// A task that reads so many segments is entered for blocks of them.
const MANY: usize = 16;
/// Places of the table of exact ranges, at least.
const PLACES: usize = 1 << 12;
/// Of these, so many for each segment, so that hardly ever three of them share two places: that would
/// cost a search each time.
const PLACES_OF_ONE: usize = 8;

pub(crate) struct RangeMap {
    segments: Vec<Segment>,
    free: Vec<u32>,
    blocks: Blocks,
    /// By a few bits of the first address, two places each, the first one and that beside: a segment that
    /// may be the one. Checked at the segment, so nothing is ever taken out. A power of two.
    exact: Box<[Cell<u32>]>,
    /// Over as many.
    spread: Spread,
    /// Of segments that have some: readers in common with others.
    common: HashMap<u32, Arc<Common>>,
    sweep_at: usize,
    /// Writers before this task are finished, and need not be found.
    keep: u64,
    steps: Cell<u64>,
}

/// What a map knows of a range.
pub(crate) enum Found {
    /// A segment that is exactly this.
    Exactly(u32),
    /// Nothing of any of its bytes, which have their place here until something else is added.
    Nothing(Place),
    /// Other segments have some of its bytes.
    Otherwise,
}

impl Default for RangeMap {
    fn default() -> Self {
        Self {
            segments: Vec::new(),
            free: Vec::new(),
            blocks: Blocks::default(),
            exact: places(PLACES),
            spread: Spread::over(PLACES),
            common: HashMap::new(),
            sweep_at: SWEEP_FROM,
            keep: 0,
            steps: Cell::new(0),
        }
    }
}

fn places(count: usize) -> Box<[Cell<u32>]> {
    vec![Cell::new(u32::MAX); count].into_boxed_slice()
}

impl RangeMap {
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Segments, blocks and lists that were looked at or changed so far, but for those that were found
    /// as exactly what was named.
    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    fn count(&self, steps: usize) {
        self.steps.set(self.steps.get() + steps as u64);
    }

    /// Whether this task had left the window when the last one was entered, and may be left out.
    #[inline]
    pub(super) fn is_finished(&self, task: u64) -> bool {
        task < self.keep
    }

    /// Tasks before this one need not be found as writers, and are not kept by a sweep.
    #[inline]
    pub(super) fn keep(&mut self, from: u64) {
        self.keep = from;
    }

    // ---- the usual case -------------------------------------------------------------------------

    /// The segment that is exactly this range, if it is where one looks first.
    #[inline(always)]
    pub(crate) fn exact_at_once(&self, range: &Range<u64>) -> Option<(u32, &Segment)> {
        let index = self.exact[self.place(range.start)].get();
        let segment = self.segments.get(index as usize)?;
        if segment.is_exactly(range.start, range.end) { Some((index, segment)) } else { None }
    }

    /// The segment that is exactly this range.
    #[inline]
    pub(crate) fn exact(&self, range: &Range<u64>) -> Option<u32> {
        if let Some((index, _)) = self.exact_at_once(range) {
            return Some(index);
        }
        let place = self.place(range.start);
        let second = self.exact[place ^ 1].get();
        if self.is_exactly(second, range) {
            return Some(second);
        }
        self.search_exact(place, range)
    }

    #[inline]
    fn place(&self, start: u64) -> usize {
        self.spread.place(start)
    }

    #[inline]
    fn is_exactly(&self, index: u32, range: &Range<u64>) -> bool {
        let segment = self.segments.get(index as usize);
        segment.is_some_and(|segment| segment.is_exactly(range.start, range.end))
    }

    #[cold]
    fn search_exact(&self, place: usize, range: &Range<u64>) -> Option<u32> {
        self.count(1);
        let found = self.blocks.at(self.blocks.place_of(range.start))?.index;
        if !self.is_exactly(found, range) {
            return None;
        }
        self.remember(place, found);
        Some(found)
    }

    /// What was there before moves to the place beside, unless something else is at home there.
    #[inline]
    fn remember(&self, place: usize, index: u32) {
        let beside = self.segments.get(self.exact[place ^ 1].get() as usize);
        if beside.is_none_or(|segment| self.place(segment.start()) == place) {
            self.exact[place ^ 1].set(self.exact[place].get());
        }
        self.exact[place].set(index);
    }

    /// What is known of the range.
    #[inline(always)]
    pub(crate) fn find(&self, range: &Range<u64>) -> Found {
        let way = self.place(range.start);
        for index in [self.exact[way].get(), self.exact[way ^ 1].get()] {
            if self.is_exactly(index, range) {
                return Found::Exactly(index);
            }
        }
        self.count(1);
        let place = self.blocks.place_of(range.start);
        match self.blocks.at(place) {
            Some(Entry { index, .. }) if self.is_exactly(index, range) => {
                self.remember(way, index);
                Found::Exactly(index)
            }
            _ if self.clear_at(place, range) => Found::Nothing(place),
            _ => Found::Otherwise,
        }
    }

    /// `task` is the first that names the range, of which nothing is known. Sweeps now and then.
    /// `place` is what [`find`](Self::find) has told, unless something was added since.
    #[inline(always)]
    pub(crate) fn add_new(
        &mut self,
        range: Range<u64>,
        writes: bool,
        task: u64,
        place: Option<Place>,
    ) {
        let place = match (self.sweep_if_due(), place) {
            (false, Some(place)) => place,
            _ => self.blocks.place_of(range.start),
        };
        match writes {
            true => _ = self.add(place, Segment::written(range.start, range.end, task)),
            false => self.add_unwritten(place, range, task),
        }
    }

    /// The segment of this index.
    #[inline(always)]
    pub(crate) fn segment(&self, index: u32) -> &Segment {
        &self.segments[index as usize]
    }

    /// Whether anybody who is not before `from` may have [read](Self::readers) the segment since it was
    /// written.
    #[inline(always)]
    pub(crate) fn may_be_read(&self, segment: &Segment, from: u64) -> bool {
        segment.has_readers_from(from) || segment.has_common() || self.blocks.are_watched()
    }

    /// Tells `wait` for whom a task waits that does this with the segment, and whether it fails with
    /// them.
    #[inline]
    pub(super) fn awaited(&self, index: u32, tag: TensorArgType, mut wait: impl FnMut(u64, bool)) {
        let segment = self.segment(index);
        if let Some(writer) = segment.writer_from(self.keep) {
            wait(writer, tag.reads());
        }
        if tag.writes() && self.may_be_read(segment, self.keep) {
            self.readers(index, |reader| wait(reader, false));
        }
    }

    /// All who have read the segment since it was written, and perhaps some more that have left the
    /// window.
    #[inline]
    pub(crate) fn readers(&self, index: u32, mut see: impl FnMut(u64)) {
        let segment = &self.segments[index as usize];
        segment.each_reader(&mut see);
        if segment.has_common() || self.blocks.are_watched() {
            self.readers_in_common(index, &mut see);
        }
    }

    /// Readers that a segment has in common with others.
    #[cold]
    fn readers_in_common(&self, index: u32, see: &mut dyn FnMut(u64)) {
        let segment = &self.segments[index as usize];
        self.blocks.readers_of(segment, segment.since()).for_each(&mut *see);
        if segment.has_common() {
            self.shared_readers(index, segment, see);
        }
    }

    #[cold]
    fn shared_readers(&self, index: u32, segment: &Segment, see: &mut dyn FnMut(u64)) {
        let Some(common) = self.common.get(&index) else { return };
        for list in common.lists() {
            self.count(1);
            let since = list.partition_point(|&reader| reader < segment.since());
            list[since..].iter().for_each(|&reader| see(reader));
        }
    }

    /// `task` reads this segment, if there is one of this index.
    #[inline(always)]
    pub(crate) fn read_at(&mut self, index: u32, task: u64, tail: u64) {
        if let Some(segment) = self.segments.get_mut(index as usize) {
            segment.add_reader(task, tail);
        }
    }

    /// `task` writes this segment, if there is one of this index.
    #[inline(always)]
    pub(crate) fn write_at(&mut self, index: u32, task: u64) {
        let Some(segment) = self.segments.get_mut(index as usize) else { return };
        segment.write(task);
        if segment.has_common() || self.blocks.are_watched() {
            self.supersede(index, task);
        }
    }

    /// Nobody waits for readers that the segment had in common with others any more.
    #[cold]
    fn supersede(&mut self, index: u32, task: u64) {
        let segment = &mut self.segments[index as usize];
        if segment.has_common() {
            segment.set_has_common(false);
            self.common.remove(&index);
        }
        if self.blocks.are_watched() {
            self.blocks.note_write(self.segments[index as usize].block(), task + 1);
        }
    }

    // ---- any range ------------------------------------------------------------------------------

    /// The first segment that shares a byte with the range, or the place where it would be.
    fn first_in(&self, range: &Range<u64>) -> Place {
        let place = self.blocks.place_of(range.start);
        let before = self.blocks.before(place);
        before.filter(|&before| self.end_of(before) > range.start).unwrap_or(place)
    }

    fn end_of(&self, place: Place) -> u64 {
        self.blocks.at(place).map_or(0, |entry| self.segments[entry.index as usize].end())
    }

    /// Every segment that shares a byte with the range, in order.
    pub(super) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = &Segment> {
        let entries = self.blocks.entries(self.first_in(range), range.end);
        entries.map(|entry| &self.segments[entry.index as usize])
    }

    /// As [`awaited`](Self::awaited), for any range.
    pub(super) fn awaited_of_all(
        &self,
        range: &Range<u64>,
        tag: TensorArgType,
        mut wait: impl FnMut(u64, bool),
    ) {
        let (reads, writes) = (tag.reads(), tag.writes());
        if !writes && let Some(awaited) = self.blocks.awaited_of_whole(range, self.keep) {
            self.count(1);
            if let Awaited::Gate(task) = awaited {
                wait(task, reads);
            }
            return;
        }
        let Place { block: mut number, entry: mut first } = self.first_in(range);
        while let Some(block) = self.blocks.get(number) {
            self.count(1);
            if !writes
                && first == 0
                && let Some((gate, behind)) = self.blocks.gate(number, range, &self.segments)
            {
                self.count(behind - number);
                wait(gate, reads);
                number = behind;
                continue;
            }
            let rest = &block.entries()[first..];
            let inside = rest.partition_point(|entry| entry.start < range.end);
            if writes || !block.is_finished(self.keep) {
                self.count(inside);
                let mut since = u64::MAX;
                for entry in &rest[..inside] {
                    let segment = &self.segments[entry.index as usize];
                    if let Some(writer) = segment.writer() {
                        wait(writer, reads);
                    }
                    if writes {
                        segment.each_reader(|reader| wait(reader, false));
                        if segment.has_common() {
                            self.shared_readers(entry.index, segment, &mut |r| wait(r, false));
                        }
                        since = since.min(segment.since());
                    }
                }
                if writes {
                    let readers = self.blocks.readers_since(block, since);
                    readers.for_each(|reader| wait(reader, false));
                }
            }
            if inside < rest.len() {
                break;
            }
            (number, first) = (number + 1, 0);
        }
    }

    /// Where many tasks write what somebody is about to read, part by part, or read all of what somebody
    /// is about to write a part of: `join` is handed these tasks when they are more than `few`, and may
    /// make one task that waits for all of them. Those who come later find that one.
    pub(super) fn join_many(
        &mut self,
        range: &Range<u64>,
        tag: TensorArgType,
        tail: u64,
        few: usize,
        join: &mut dyn FnMut(&[Producer]) -> Option<u64>,
    ) {
        if tag.writes() {
            self.blocks.dissolve();
            let mut number = self.first_in(range).block;
            while let Some(block) = self.blocks.get(number)
                && block.entries()[0].start < range.end
            {
                if let Some(readers) = block.many_readers(tail, few)
                    && block.is_older_than(readers[0], &self.segments)
                {
                    let readers = readers.iter().map(|&task| Producer { task, data: false });
                    let readers: Vec<Producer> = readers.collect();
                    if let Some(task) = join(&readers) {
                        self.blocks.replace_readers(number, task);
                    }
                }
                number += 1;
            }
            return;
        }
        let mut writers = Dependencies::default();
        self.awaited_of_all(range, tag, |task, data| {
            if task >= tail {
                writers.add(task, data);
            }
        });
        let writers = writers.settle();
        if writers.len() > few
            && let Some(task) = join(writers)
        {
            self.cut(range, tail);
            let first = self.blocks.split_at(range.start, &mut self.segments);
            let behind = self.blocks.split_at(range.end, &mut self.segments);
            self.blocks.set_gate(first..behind, task, &self.segments);
        }
    }

    /// `task` reads the range. `guess`: the segment that is exactly this, perhaps.
    #[inline]
    pub(super) fn read(&mut self, range: &Range<u64>, guess: u32, task: u64, tail: u64) {
        match self.exact_near(guess, range) {
            Some(index) => self.read_at(index, task, tail),
            None => self.read_any(range, task, tail),
        }
    }

    #[inline]
    fn exact_near(&self, guess: u32, range: &Range<u64>) -> Option<u32> {
        if self.is_exactly(guess, range) { Some(guess) } else { self.exact(range) }
    }

    fn read_any(&mut self, range: &Range<u64>, task: u64, tail: u64) {
        if self.blocks.read_whole(range, task, (self.keep, tail)) {
            self.count(1);
            return;
        }
        let place = match self.clear(range) {
            Some(place) => {
                self.add_unwritten(place, range.clone(), task);
                return;
            }
            None => {
                self.cut(range, tail);
                self.blocks.place_of(range.start)
            }
        };
        // Many in the same block are the usual case of many.
        let last = Place { entry: place.entry + MANY - 1, ..place };
        if self.blocks.at(last).is_some_and(|last| last.start < range.end) {
            return self.read_many(range, task, tail);
        }
        let inside: SmallVec<[u32; MANY]> = {
            let entries = self.blocks.entries(place, range.end);
            entries.take(MANY).map(|entry| entry.index).collect()
        };
        self.count(inside.len());
        if inside.len() == MANY {
            return self.read_many(range, task, tail);
        }
        let mut at = range.start;
        for index in inside {
            let segment = &mut self.segments[index as usize];
            segment.add_reader(task, tail);
            let (start, end) = (segment.start(), segment.end());
            if at < start {
                self.add_unwritten(self.blocks.place_of(at), at..start, task);
            }
            at = end;
        }
        if at < range.end {
            self.add_unwritten(self.blocks.place_of(at), at..range.end, task);
        }
    }

    /// `task` reads many segments: it is entered for the blocks that they make up.
    fn read_many(&mut self, range: &Range<u64>, task: u64, tail: u64) {
        let first = self.blocks.split_at(range.start, &mut self.segments);
        let behind = self.blocks.split_at(range.end, &mut self.segments);
        for gap in self.blocks.gaps(first..behind, range, &self.segments) {
            let since = self.since(task);
            if gap.start == range.start {
                let index = self.put(Segment::unwritten(gap.start, gap.end, since));
                let entry = Entry { start: gap.start, index };
                let place = Place { block: first, entry: 0 };
                self.blocks.insert_in(place, entry, &mut self.segments);
            } else {
                let place = self.blocks.place_of(gap.start);
                self.add(place, Segment::unwritten(gap.start, gap.end, since));
            }
        }
        let behind = self.blocks.place_of(range.end).block;
        self.count(behind - first);
        let mut due = false;
        for number in first..behind {
            if self.blocks.get(number).is_some_and(|block| !block.is_watched()) {
                self.unite(number, tail);
            }
            due |= self.blocks.read(number, task, (self.keep, tail), &self.segments);
        }
        match due {
            true => self.join(first..behind, tail),
            false => self.blocks.note_read(first..behind, range, &self.segments),
        }
    }

    /// Makes one of the segments of a block of which nothing is left but their places.
    fn unite(&mut self, number: usize, tail: u64) {
        let (keep, free) = (self.keep, &mut self.free);
        self.blocks.unite_finished(number, keep, tail, &mut self.segments, |segments, index| {
            segments[index as usize].clear();
            free.push(index);
        });
    }

    /// Joins neighbours in blocks that are due, as far as they differ in nothing that still matters.
    #[cold]
    fn join(&mut self, numbers: Range<usize>, tail: u64) {
        for number in numbers.clone() {
            let Some(block) = self.blocks.get(number).filter(|block| block.is_due()) else {
                continue;
            };
            self.steps.set(self.steps.get() + block.entries().len() as u64);
            self.unite(number, tail);
            let Some(block) = self.blocks.get(number) else { continue };
            for entry in block.entries() {
                let segment = &mut self.segments[entry.index as usize];
                segment.forget_finished(self.keep, tail);
                if segment.has_common()
                    && !self.common.get(&entry.index).is_some_and(|common| common.is_live(tail))
                {
                    segment.set_has_common(false);
                    self.common.remove(&entry.index);
                }
            }
            let (segments, free, common) = (&mut self.segments, &mut self.free, &mut self.common);
            let join = |earlier, later| join_two(segments, free, common, earlier, later);
            let Some((readers, few)) = self.blocks.join(number, self.keep, tail, join) else {
                continue;
            };
            let Some(all) = Common::new(readers, None, tail) else { continue };
            for entry in few {
                let segment = &mut segments[entry.index as usize];
                let has = match common.remove(&entry.index) {
                    Some(before) => {
                        let readers = all.lists().flatten().copied().collect();
                        Common::new(readers, Some(before), tail)
                    }
                    None => Some(Arc::clone(&all)),
                };
                segment.set_has_common(has.is_some());
                has.and_then(|has| common.insert(entry.index, has));
            }
        }
        let (free, common) = (&mut self.free, &mut self.common);
        self.blocks.merge(numbers, &mut self.segments, |segments, earlier, later| {
            join_two(segments, free, common, earlier, later)
        });
    }

    /// `task` writes the range: what was known of it is superseded.
    #[inline]
    pub(crate) fn write(&mut self, range: &Range<u64>, guess: u32, task: u64) {
        if self.is_exactly(guess, range) {
            return self.write_at(guess, task);
        }
        match self.find(range) {
            Found::Exactly(index) => self.write_at(index, task),
            Found::Nothing(place) => self.add_new(range.clone(), true, task, Some(place)),
            Found::Otherwise => self.write_over(range, task),
        }
    }

    #[cold]
    fn write_over(&mut self, range: &Range<u64>, task: u64) {
        self.sweep_if_due();
        let place = self.remove(range);
        self.add(place, Segment::written(range.start, range.end, task));
    }

    /// Forgets the range.
    pub(super) fn erase(&mut self, range: &Range<u64>) {
        if self.clear(range).is_none() {
            self.remove(range);
        }
    }

    // ---- parts of that --------------------------------------------------------------------------

    /// Where a segment for the range has its place if nothing is known of any of its bytes. Sweeps
    /// now and then.
    fn clear(&mut self, range: &Range<u64>) -> Option<Place> {
        self.sweep_if_due();
        self.count(1);
        let place = self.blocks.place_of(range.start);
        self.clear_at(place, range).then_some(place)
    }

    /// Whether nothing is known of any byte of a range that has its place there.
    #[inline(always)]
    fn clear_at(&self, place: Place, range: &Range<u64>) -> bool {
        let after = self.blocks.at(place).is_none_or(|entry| entry.start >= range.end);
        let before = || self.blocks.before(place).is_none_or(|at| self.end_of(at) <= range.start);
        after && before()
    }

    /// Removes all segments of the range; the result is its place.
    fn remove(&mut self, range: &Range<u64>) -> Place {
        self.cut(range, self.keep);
        let place = self.blocks.place_of(range.start);
        let before = self.blocks.len();
        let (free, common) = (&mut self.free, &mut self.common);
        self.blocks.remove(place, range.end, &mut self.segments, |segments, index| {
            release(segments, free, common, index);
        });
        self.count(before - self.blocks.len());
        self.blocks.place_of(range.start)
    }

    /// Splits segments so that none crosses either end of the range.
    fn cut(&mut self, range: &Range<u64>, tail: u64) {
        for at in [range.start, range.end] {
            let Some(place) = self.blocks.before(self.blocks.place_of(at)) else { continue };
            let Some(Entry { index, .. }) = self.blocks.at(place) else { continue };
            let lower = &mut self.segments[index as usize];
            if lower.end() <= at {
                continue;
            }
            if let Some(many) = lower.take_many_readers(tail) {
                let all = Common::new(many, self.common.remove(&index), tail);
                lower.set_has_common(all.is_some());
                all.and_then(|all| self.common.insert(index, all));
            }
            let upper = self.segments[index as usize].upper_part(at);
            let has_common = upper.has_common();
            let part = self.put(upper);
            if has_common && let Some(all) = self.common.get(&index) {
                let all = Arc::clone(all);
                self.common.insert(part, all);
            }
            let entry = Entry { start: at, index: part };
            self.blocks.insert_part(place, entry, &mut self.segments);
            self.segments[index as usize].set_end(at);
        }
    }

    fn add_unwritten(&mut self, place: Place, range: Range<u64>, reader: u64) {
        let since = self.since(reader);
        let index = self.add(place, Segment::unwritten(range.start, range.end, since));
        self.segments[index as usize].add_reader(reader, 0);
    }

    /// From where on readers of a block may have to do with a segment that is new in it.
    fn since(&self, task: u64) -> u64 {
        if self.blocks.are_watched() { task } else { 0 }
    }

    #[inline(always)]
    fn add(&mut self, place: Place, segment: Segment) -> u32 {
        let start = segment.start();
        let index = self.put(segment);
        self.blocks.insert(place, Entry { start, index }, &mut self.segments);
        index
    }

    /// Gives a segment its index.
    #[inline(always)]
    fn put(&mut self, segment: Segment) -> u32 {
        let start = segment.start();
        let index = match self.free.pop() {
            Some(index) => {
                self.segments[index as usize] = segment;
                index
            }
            None => {
                self.segments.push(segment);
                if self.segments.len() * PLACES_OF_ONE > self.exact.len() {
                    self.find_more();
                }
                self.segments.len() as u32 - 1
            }
        };
        // What this place said before is mostly of long ago. If not, it is searched for once.
        self.exact[self.place(start)].set(index);
        index
    }

    /// Makes the table of exact ranges larger.
    #[cold]
    fn find_more(&mut self) {
        self.exact = places(self.exact.len() * 2);
        self.spread = Spread::over(self.exact.len());
        for (index, segment) in self.segments.iter().enumerate() {
            self.remember(self.place(segment.start()), index as u32);
        }
    }

    /// Whether it was.
    #[inline]
    fn sweep_if_due(&mut self) -> bool {
        let due = self.blocks.len() > self.sweep_at;
        if due {
            self.sweep();
        }
        due
    }

    /// Drops segments of which every task has left the window. Correctness does not need it: a
    /// finished producer is found finished; it only keeps the map as small as what is alive.
    #[cold]
    fn sweep(&mut self) {
        let (keep, free, common) = (self.keep, &mut self.free, &mut self.common);
        self.steps.set(self.steps.get() + self.blocks.len() as u64);
        self.blocks.sweep(keep, &mut self.segments, |segments, index| {
            let segment = &segments[index as usize];
            let live = segment.is_live(keep)
                || (segment.has_common()
                    && common.get(&index).is_some_and(|common| common.is_live(keep)));
            if live {
                return None;
            }
            let bytes = segment.len();
            release(segments, free, common, index);
            Some(bytes)
        });
        self.sweep_at = SWEEP_FROM.max(self.blocks.len() * 2);
    }
}

/// Enters the later one of two neighbours into the earlier one, if they differ in nothing.
fn join_two(
    segments: &mut [Segment],
    free: &mut Vec<u32>,
    common: &mut HashMap<u32, Arc<Common>>,
    earlier: u32,
    later: u32,
) -> bool {
    let (one, other) = (&segments[earlier as usize], &segments[later as usize]);
    let same = |one, other| match (common.get(&one), common.get(&other)) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    };
    if !other.continues(one) || !same(earlier, later) {
        return false;
    }
    let end = other.end();
    segments[earlier as usize].set_end(end);
    release(segments, free, common, later);
    true
}

#[inline(always)]
fn release(
    segments: &mut [Segment],
    free: &mut Vec<u32>,
    common: &mut HashMap<u32, Arc<Common>>,
    index: u32,
) {
    if segments[index as usize].has_common() {
        common.remove(&index);
    }
    segments[index as usize].clear();
    free.push(index);
}
