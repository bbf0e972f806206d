//! Segments in the order of their addresses, in blocks of up to a few hundred.
//!
//! A task that reads all of a block is entered once for the block, and a block whose writers have
//! all left the window is not looked through. So a task that reads a whole of many parts costs a
//! step for each block, not for each part:
//!
//! ```text
//!   block 0: readers 90, 91     block 1: readers 90, 91, 95    block 2
//!   [ 7 )[ 8 )[ 92 )[ 9 )       [ 12 )[ 13 )[ 14 )             [ 15 )[ 16 )
//! ```
//!
//! A reader of the block is none of a segment that was written later: above, 90 and 91 are through
//! with the bytes of task 92 before it writes them, and whoever writes them next waits for 92 alone.
//!
//! Where one task after the other reads the same blocks, and nothing about them changes meanwhile, they
//! are noted once for all of these blocks, the *whole*, and entered for each when something changes.
//!
//! Where the writers of many parts are in flight, one task that runs nothing is made to wait for all
//! of them, the *gate* of these blocks: each reader of all these bytes waits for it, and for those who
//! have written since. The same is done for the readers of a block, for those who write parts of it.

use std::cell::Cell;
use std::ops::Range;

use super::segment::Segment;

/// Segments of a block, at most.
const MOST: usize = 256;

/// A segment and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) index: u32,
}

/// A place before an entry, or behind all of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the block in order.
    pub(super) block: usize,
    /// The number of the entry in it.
    pub(super) entry: usize,
}

#[derive(Debug, Default)]
pub(super) struct Block {
    entries: Vec<Entry>,
    /// Bytes of all its segments.
    bytes: u64,
    /// Tasks that read all of it, in order.
    readers: Vec<u64>,
    /// Whether it has had readers, and `newest` is kept up.
    watched: bool,
    /// The task behind its last writer.
    newest: u64,
    /// What was finished when its segments were last joined.
    joined: u64,
    /// Its segments are about to be joined.
    due: bool,
    /// For who reads all of it. Only where `newest` is kept up.
    gate: Option<Gate>,
    /// It belongs to the whole.
    in_whole: bool,
}

/// Blocks that one task after the other reads.
#[derive(Debug)]
struct Whole {
    bytes: Range<u64>,
    numbers: Range<usize>,
    /// Those who are not yet entered for each of the blocks, in order; before `tail` they were through
    /// when the last one came.
    readers: Vec<u64>,
    tail: u64,
    /// The newest of all.
    newest: u64,
    /// Of all these bytes.
    gate: Option<u64>,
    /// Once this is finished, segments of a block should be joined.
    due_at: u64,
}

/// For whom a task waits that reads all of the [`Whole`].
pub(super) enum Awaited {
    Nobody,
    Gate(u64),
}

/// A task that waits for all who have written some bytes before it.
#[derive(Clone, Debug)]
struct Gate {
    task: u64,
    bytes: Range<u64>,
}

impl Block {
    #[inline]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those who read all of it, from this task on, but for those of the whole.
    #[inline]
    fn readers_since(&self, since: u64) -> &[u64] {
        readers_since(&self.readers, since)
    }

    /// When this is finished, its segments should be joined: all of its writers have left the window, or
    /// as many tasks as it has segments have since the last time.
    fn due_at(&self) -> u64 {
        let many = self.joined + self.entries.len().max(64) as u64;
        if self.joined < self.newest { self.newest.min(many) } else { many }
    }

    /// Whether all its writers are known to be before `keep`.
    #[inline]
    pub(super) fn is_finished(&self, keep: u64) -> bool {
        self.watched && self.newest <= keep
    }

    /// Those who read all of it and may still run, if they are more than `few`.
    pub(super) fn many_readers(&self, tail: u64, few: usize) -> Option<&[u64]> {
        Some(self.readers_since(tail)).filter(|readers| readers.len() > few)
    }

    /// Readers of it are readers of all its segments, or before who has written these.
    pub(super) fn is_older_than(&self, reader: u64, segments: &[Segment]) -> bool {
        let mut all = self.entries.iter().map(|entry| &segments[entry.index as usize]);
        all.all(|segment| segment.writer().is_some() || segment.since() <= reader)
    }

    /// Whether it is known who wrote last in it.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    fn unwatch(&mut self) {
        self.watched = false;
        self.gate = None;
    }

    /// Whether its segments are about to be joined.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    fn end(&self, segments: &[Segment]) -> u64 {
        self.entries.last().map_or(0, |last| segments[last.index as usize].end())
    }
}

#[derive(Default)]
pub(super) struct Blocks {
    /// In order: where each block begins, and its index.
    firsts: Vec<u64>,
    order: Vec<u32>,
    blocks: Vec<Block>,
    vacant: Vec<u32>,
    len: usize,
    watched: usize,
    /// The block that was found last.
    last: Cell<usize>,
    /// What was read last by blocks.
    read: Range<u64>,
    whole: Option<Whole>,
}

fn readers_since(readers: &[u64], since: u64) -> &[u64] {
    let before = readers.partition_point(|&reader| reader < since);
    &readers[before..]
}

impl Blocks {
    /// Segments in all.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a block has, or had, readers of its own.
    #[inline]
    pub(super) fn are_watched(&self) -> bool {
        self.watched != 0
    }

    /// The block with this number in order.
    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&Block> {
        self.order.get(number).map(|&index| &self.blocks[index as usize])
    }

    /// The task that waits for all writers of the range from this block on, up to the block that is
    /// told as well, and for nobody else.
    #[inline]
    pub(super) fn gate(
        &self,
        number: usize,
        range: &Range<u64>,
        segments: &[Segment],
    ) -> Option<(u64, usize)> {
        let Gate { task, bytes } = self.get(number)?.gate.as_ref()?;
        if self.firsts[number] != bytes.start || bytes.end > range.end {
            return None;
        }
        let mut behind = number;
        while let Some(block) = self.get(behind)
            && block.gate.as_ref().is_some_and(|gate| gate.task == *task)
        {
            // Whoever has written since has superseded others, whose failure is nobody's any more.
            if block.newest > *task {
                return None;
            }
            behind += 1;
        }
        let end = self.get(behind - 1)?.end(segments);
        (end == bytes.end).then_some((*task, behind))
    }

    /// Those who read all of the block of a segment, from this task on.
    #[inline]
    pub(super) fn readers_of(&self, segment: &Segment, since: u64) -> impl Iterator<Item = u64> {
        self.readers_since(&self.blocks[segment.block() as usize], since)
    }

    /// Those who read all of a block, from this task on.
    #[inline]
    pub(super) fn readers_since<'a>(
        &'a self,
        block: &'a Block,
        since: u64,
    ) -> impl Iterator<Item = u64> + 'a {
        let whole = self.whole.as_ref().filter(|_| block.in_whole);
        let whole = whole.map_or(&[][..], |whole| readers_since(&whole.readers, since));
        block.readers_since(since).iter().chain(whole).copied()
    }

    fn get_mut(&mut self, number: usize) -> &mut Block {
        &mut self.blocks[self.order[number] as usize]
    }

    /// A segment of the block is written by the task before this one.
    #[inline]
    pub(super) fn note_write(&mut self, block: u32, behind: u64) {
        let block = &mut self.blocks[block as usize];
        block.newest = behind;
        if block.in_whole
            && let Some(whole) = &mut self.whole
        {
            whole.newest = behind;
            whole.due_at = whole.due_at.min(behind);
        }
    }

    // ---- finding --------------------------------------------------------------------------------

    /// The number of the last block that begins at or before `at`.
    #[inline]
    fn number_of(&self, at: u64) -> usize {
        let begins = |number: usize| self.firsts.get(number).is_some_and(|&first| first <= at);
        let last = self.last.get();
        if begins(last) && !begins(last + 1) {
            return last;
        }
        let number = self.firsts.partition_point(|&first| first <= at).saturating_sub(1);
        self.last.set(number);
        number
    }

    /// The place of the first segment that begins at or behind `at`.
    #[inline]
    pub(super) fn place_of(&self, at: u64) -> Place {
        let block = self.number_of(at);
        let Some(found) = self.get(block) else { return Place { block: 0, entry: 0 } };
        let entries = &found.entries;
        // Memory is often first named in the order of its addresses.
        match entries.last() {
            Some(last) if last.start >= at => {
                Place { block, entry: entries.partition_point(|entry| entry.start < at) }
            }
            _ => Place { block: block + 1, entry: 0 },
        }
    }

    #[inline]
    pub(super) fn at(&self, place: Place) -> Option<Entry> {
        self.get(place.block)?.entries.get(place.entry).copied()
    }

    /// The place before another one.
    #[inline]
    pub(super) fn before(&self, place: Place) -> Option<Place> {
        if place.entry > 0 {
            return Some(Place { entry: place.entry - 1, ..place });
        }
        let block = place.block.checked_sub(1)?;
        Some(Place { block, entry: self.get(block)?.entries.len() - 1 })
    }

    /// Segments from a place on that begin before `end`.
    pub(super) fn entries(&self, from: Place, end: u64) -> impl Iterator<Item = Entry> {
        let skip = from.entry;
        let blocks = self.order.get(from.block..).unwrap_or_default().iter();
        let all = blocks.flat_map(|&index| self.blocks[index as usize].entries.iter().copied());
        all.skip(skip).take_while(move |entry| entry.start < end)
    }

    // ---- changing -------------------------------------------------------------------------------

    /// Adds a segment at its place.
    #[inline(always)]
    pub(super) fn insert(&mut self, place: Place, new: Entry, segments: &mut [Segment]) {
        // Between two blocks: behind the first one, where the next ones may follow.
        let place = match place {
            Place { block: 1.., entry: 0 } => {
                let block = place.block - 1;
                Place { block, entry: self.get(block).map_or(0, |before| before.entries.len()) }
            }
            place => place,
        };
        self.insert_in(place, new, segments);
    }

    /// Adds a segment to the block of the place, or between it and a neighbour.
    #[inline(always)]
    pub(super) fn insert_in(&mut self, mut place: Place, new: Entry, segments: &mut [Segment]) {
        match self.get(place.block).map(|block| block.entries.len()) {
            None => return self.insert_block(place.block, new, segments),
            // In order: blocks that are full stay so.
            Some(MOST) if place.entry == MOST => {
                return self.insert_block(place.block + 1, new, segments);
            }
            Some(MOST) if place.entry == 0 => return self.insert_block(place.block, new, segments),
            Some(MOST) => self.halve(&mut place, segments),
            Some(_) => {}
        }
        let bytes = segments[new.index as usize].len();
        self.put(place, new, bytes, segments);
    }

    /// Adds the upper part of a segment, which has not been cut off yet, behind it.
    pub(super) fn insert_part(&mut self, of: Place, new: Entry, segments: &mut [Segment]) {
        let mut place = of;
        if self.get(of.block).is_some_and(|block| block.entries.len() == MOST) {
            self.halve(&mut place, segments);
        }
        place.entry += 1;
        self.put(place, new, 0, segments);
    }

    #[inline(always)]
    fn put(&mut self, place: Place, new: Entry, bytes: u64, segments: &mut [Segment]) {
        let index = self.order[place.block];
        if self.blocks[index as usize].in_whole {
            self.dissolve();
        }
        let segment = &mut segments[new.index as usize];
        segment.set_block(index);
        let behind = segment.behind_writer();
        let block = &mut self.blocks[index as usize];
        block.entries.insert(place.entry, new);
        block.bytes += bytes;
        block.newest = block.newest.max(behind);
        if place.entry == 0 {
            self.firsts[place.block] = new.start;
        }
        self.len += 1;
    }

    /// Splits a full block; the place moves with what was there.
    fn halve(&mut self, place: &mut Place, segments: &mut [Segment]) {
        self.split(Place { entry: MOST / 2, ..*place }, segments);
        if place.entry >= MOST / 2 {
            *place = Place { block: place.block + 1, entry: place.entry - MOST / 2 };
        }
    }

    fn insert_block(&mut self, number: usize, first: Entry, segments: &mut [Segment]) {
        let segment = &mut segments[first.index as usize];
        // A block is mostly filled: memory is named in the order of its addresses.
        let mut entries = Vec::with_capacity(MOST);
        entries.push(first);
        let block = Block {
            entries,
            bytes: segment.len(),
            newest: segment.behind_writer(),
            ..Block::default()
        };
        segment.set_block(self.enter(number, block));
        self.len += 1;
    }

    /// Gives a block its place in order; the result is its index.
    fn enter(&mut self, number: usize, block: Block) -> u32 {
        self.dissolve();
        let first = block.entries[0].start;
        let index = match self.vacant.pop() {
            Some(index) => {
                self.blocks[index as usize] = block;
                index
            }
            None => {
                self.blocks.push(block);
                self.blocks.len() as u32 - 1
            }
        };
        self.firsts.insert(number, first);
        self.order.insert(number, index);
        index
    }

    /// What follows the place becomes a block of its own.
    fn split(&mut self, place: Place, segments: &mut [Segment]) {
        self.dissolve();
        let block = self.get_mut(place.block);
        let entries = block.entries.split_off(place.entry);
        let bytes = entries.iter().map(|entry| segments[entry.index as usize].len()).sum();
        block.bytes -= bytes;
        let (readers, newest, joined) = (block.readers.clone(), block.newest, block.joined);
        let (watched, gate) = (block.watched, block.gate.clone());
        self.watched += usize::from(watched);
        let upper = Block {
            entries,
            bytes,
            readers,
            watched,
            newest,
            joined,
            gate,
            due: false,
            in_whole: false,
        };
        let index = self.enter(place.block + 1, upper);
        for entry in &self.blocks[index as usize].entries {
            segments[entry.index as usize].set_block(index);
        }
    }

    /// Has a block begin with the first segment at or behind `at`; the result is its number.
    pub(super) fn split_at(&mut self, at: u64, segments: &mut [Segment]) -> usize {
        let place = self.place_of(at);
        if place.entry == 0 {
            return place.block;
        }
        self.split(place, segments);
        place.block + 1
    }

    /// Removes the segments from a place on that begin before `end`.
    pub(super) fn remove(
        &mut self,
        from: Place,
        end: u64,
        segments: &mut [Segment],
        mut release: impl FnMut(&mut [Segment], u32),
    ) {
        self.dissolve();
        let (mut number, mut first) = (from.block, from.entry);
        let mut empty = number..number;
        while let Some(&index) = self.order.get(number) {
            let block = &mut self.blocks[index as usize];
            let behind = block.entries.partition_point(|entry| entry.start < end);
            if behind <= first {
                break;
            }
            let rest = behind < block.entries.len();
            block.gate = None; // what is left may be of another life of the memory
            for entry in block.entries.drain(first..behind) {
                block.bytes -= segments[entry.index as usize].len();
                release(segments, entry.index);
                self.len -= 1;
            }
            match block.entries.first() {
                Some(entry) => self.firsts[number] = entry.start,
                None if empty.is_empty() => empty = number..number + 1,
                None => empty.end = number + 1,
            }
            if rest {
                break;
            }
            (number, first) = (number + 1, 0);
        }
        if !empty.is_empty() {
            self.drop_blocks(empty);
        }
    }

    fn drop_blocks(&mut self, numbers: Range<usize>) {
        self.firsts.drain(numbers.clone());
        for index in self.order.drain(numbers) {
            let gone = std::mem::take(&mut self.blocks[index as usize]);
            self.watched -= usize::from(gone.watched);
            self.vacant.push(index);
        }
    }

    // ---- blocks that are read as a whole ---------------------------------------------------------

    /// Keeps up what is known of the block from here on.
    fn watch(&mut self, number: usize, segments: &[Segment]) -> &mut Block {
        let block = &mut self.blocks[self.order[number] as usize];
        if !block.watched {
            let all = block.entries.iter().map(|entry| &segments[entry.index as usize]);
            block.newest = all.map(Segment::behind_writer).max().unwrap_or(0);
            block.watched = true;
            self.watched += 1;
        }
        block
    }

    /// `task` waits for all who have written something of these blocks, and for nobody else.
    pub(super) fn set_gate(&mut self, numbers: Range<usize>, task: u64, segments: &[Segment]) {
        self.dissolve();
        let last = numbers.end.checked_sub(1).and_then(|last| self.get(last));
        let end = last.map_or(0, |last| last.end(segments));
        let bytes = self.firsts.get(numbers.start).map_or(end, |&first| first)..end;
        for number in numbers {
            self.watch(number, segments).gate = Some(Gate { task, bytes: bytes.clone() });
        }
    }

    /// `task` waits for all who read the block.
    pub(super) fn replace_readers(&mut self, number: usize, task: u64) {
        self.get_mut(number).readers = vec![task];
    }

    /// `task` reads all of a block. Returns whether its segments should be joined: all of its writers
    /// have left the window, or as many tasks as it has segments have since the last time.
    pub(super) fn read(
        &mut self,
        number: usize,
        task: u64,
        (keep, tail): (u64, u64),
        segments: &[Segment],
    ) -> bool {
        self.dissolve();
        let block = self.watch(number, segments);
        if block.readers.len() == block.readers.capacity() {
            block.readers.retain(|&reader| reader >= tail);
        }
        if block.readers.last() != Some(&task) {
            block.readers.push(task);
        }
        block.due = block.due_at() <= keep;
        block.due
    }

    /// A task has read all of these blocks, none of which is due: if the one before it has as well,
    /// those who follow may be noted for the whole.
    pub(super) fn note_read(
        &mut self,
        numbers: Range<usize>,
        bytes: &Range<u64>,
        segments: &[Segment],
    ) {
        /// It is not worth it for fewer blocks.
        const FEW: usize = 3;
        if numbers.len() < FEW || self.read != *bytes {
            self.read = bytes.clone();
            return;
        }
        let gate = self.gate(numbers.start, bytes, segments);
        let gate = gate.filter(|(_, behind)| *behind == numbers.end).map(|(task, _)| task);
        let (mut newest, mut due_at) = (0, u64::MAX);
        for number in numbers.clone() {
            let block = self.get_mut(number);
            block.in_whole = true;
            (newest, due_at) = (newest.max(block.newest), due_at.min(block.due_at()));
        }
        let (bytes, readers) = (bytes.clone(), Vec::new());
        self.whole = Some(Whole { bytes, numbers, readers, tail: 0, newest, gate, due_at });
    }

    /// For whom a task waits that reads these bytes, if they are the whole and that is one or nobody.
    #[inline]
    pub(super) fn awaited_of_whole(&self, bytes: &Range<u64>, keep: u64) -> Option<Awaited> {
        let whole = self.whole.as_ref().filter(|whole| whole.bytes == *bytes)?;
        if whole.newest <= keep {
            return Some(Awaited::Nobody);
        }
        // Whoever has written since has superseded others, whose failure is nobody's any more.
        whole.gate.filter(|&gate| whole.newest <= gate).map(Awaited::Gate)
    }

    /// `task` reads these bytes: false if they are not the whole, or a block is due.
    #[inline]
    pub(super) fn read_whole(
        &mut self,
        bytes: &Range<u64>,
        task: u64,
        (keep, tail): (u64, u64),
    ) -> bool {
        let Some(whole) = &mut self.whole else { return false };
        if whole.bytes != *bytes || whole.due_at <= keep {
            return false;
        }
        if whole.readers.len() == whole.readers.capacity() {
            whole.readers.retain(|&reader| reader >= tail);
        }
        if whole.readers.last() != Some(&task) {
            whole.readers.push(task);
        }
        whole.tail = tail;
        true
    }

    /// Something changes about the blocks: those who have read the whole are entered for each of them.
    #[inline]
    pub(super) fn dissolve(&mut self) {
        if self.whole.is_some() {
            self.enter_readers();
        }
    }

    #[cold]
    fn enter_readers(&mut self) {
        let Some(whole) = self.whole.take() else { return };
        for number in whole.numbers {
            let block = self.get_mut(number);
            block.in_whole = false;
            if block.readers.capacity() - block.readers.len() < whole.readers.len() {
                block.readers.retain(|&reader| reader >= whole.tail);
            }
            block.readers.extend_from_slice(&whole.readers);
        }
    }

    /// Makes one of all segments of a block, where nothing of them is left but their places, side by
    /// side. `release` is handed those that are none any more.
    pub(super) fn unite_finished(
        &mut self,
        number: usize,
        keep: u64,
        tail: u64,
        segments: &mut [Segment],
        mut release: impl FnMut(&mut [Segment], u32),
    ) {
        let block = &mut self.blocks[self.order[number] as usize];
        let (start, end) = (block.entries[0].start, block.end(segments));
        let is_finished = |entry: &Entry| segments[entry.index as usize].is_finished(keep, tail);
        if block.bytes != end - start || !block.entries.iter().all(is_finished) {
            return;
        }
        self.dissolve();
        let block = &mut self.blocks[self.order[number] as usize];
        self.len -= block.entries.len() - 1;
        for later in block.entries.drain(1..) {
            release(segments, later.index);
        }
        segments[block.entries[0].index as usize].set_end(end);
    }

    /// Joins neighbours among the segments of a block that is due, where `join` has it so: it is
    /// handed the earlier and the later one, and has entered the later one into the earlier one when
    /// it returns true. When few are left, they are handed the readers of the block.
    pub(super) fn join(
        &mut self,
        number: usize,
        keep: u64,
        tail: u64,
        mut join: impl FnMut(u32, u32) -> bool,
    ) -> Option<(Vec<u64>, &[Entry])> {
        /// With so few segments, each has the readers of the block for itself.
        const FEW: usize = 4;
        let block = &mut self.blocks[self.order[number] as usize];
        block.joined = keep;
        block.readers.retain(|&reader| reader >= tail);
        let before = block.entries.len();
        block.entries.dedup_by(|later, earlier| join(earlier.index, later.index));
        self.len -= before - block.entries.len();
        if block.entries.len() > FEW {
            return None;
        }
        block.unwatch();
        self.watched -= 1;
        Some((std::mem::take(&mut block.readers), &block.entries))
    }

    /// Puts blocks of few segments together, among these and where nobody has read all of them; `join`
    /// as above. All of them were joined before, or are not due.
    pub(super) fn merge(
        &mut self,
        numbers: Range<usize>,
        segments: &mut [Segment],
        mut join: impl FnMut(&mut [Segment], u32, u32) -> bool,
    ) {
        let mut into: Option<usize> = None;
        for number in numbers.clone() {
            let own = std::mem::take(self.get_mut(number));
            let room = |into: &Block| {
                into.entries.len() + own.entries.len() <= MOST && !(into.watched || own.watched)
            };
            match into.filter(|&into| room(&self.blocks[self.order[into] as usize])) {
                Some(into) => {
                    let index = self.order[into];
                    let block = &mut self.blocks[index as usize];
                    block.bytes += own.bytes;
                    block.newest = block.newest.max(own.newest);
                    block.joined = block.joined.max(own.joined);
                    let mut entries = own.entries.into_iter();
                    if let (Some(first), Some(last)) = (entries.next(), block.entries.last()) {
                        if join(segments, last.index, first.index) {
                            self.len -= 1;
                        } else {
                            segments[first.index as usize].set_block(index);
                            block.entries.push(first);
                        }
                    }
                    for entry in entries {
                        segments[entry.index as usize].set_block(index);
                        block.entries.push(entry);
                    }
                }
                None => {
                    *self.get_mut(number) = own;
                    into = Some(number);
                }
            }
        }
        self.drop_empty(numbers);
    }

    fn drop_empty(&mut self, numbers: Range<usize>) {
        let mut kept = numbers.start;
        for number in numbers.clone() {
            let index = self.order[number];
            if self.blocks[index as usize].entries.is_empty() {
                self.vacant.push(index);
            } else {
                self.order[kept] = index;
                self.firsts[kept] = self.blocks[index as usize].entries[0].start;
                kept += 1;
            }
        }
        self.order.drain(kept..numbers.end);
        self.firsts.drain(kept..numbers.end);
    }

    /// Drops segments that are dead, unless a task that reads all of their block is not before
    /// `keep`, and puts together what is left. `release` is handed each of them, and tells the bytes of
    /// one that was dead and is no segment any more.
    pub(super) fn sweep(
        &mut self,
        keep: u64,
        segments: &mut [Segment],
        mut release: impl FnMut(&mut [Segment], u32) -> Option<u64>,
    ) {
        self.dissolve();
        for &index in &self.order {
            let block = &mut self.blocks[index as usize];
            block.readers.retain(|&reader| reader >= keep);
            if !block.readers.is_empty() {
                continue;
            }
            self.watched -= usize::from(block.watched);
            block.unwatch();
            let mut kept = 0;
            for at in 0..block.entries.len() {
                let entry = block.entries[at];
                match release(segments, entry.index) {
                    Some(bytes) => block.bytes -= bytes,
                    None => {
                        block.entries[kept] = entry;
                        kept += 1;
                    }
                }
            }
            self.len -= block.entries.len() - kept;
            block.entries.truncate(kept);
        }
        self.drop_empty(0..self.order.len());
        self.merge(0..self.order.len(), segments, |_, _, _| false);
    }

    /// The bytes between these blocks, or from `range.start` to the first and from the last to
    /// `range.end`, that are nobody's.
    pub(super) fn gaps(
        &self,
        numbers: Range<usize>,
        range: &Range<u64>,
        segments: &[Segment],
    ) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for &index in self.order.get(numbers).unwrap_or_default() {
            let block = &self.blocks[index as usize];
            let (first, end) = (block.entries[0].start, block.end(segments));
            if at < first {
                gaps.push(at..first);
            }
            if end - first != block.bytes {
                at = first;
                for entry in &block.entries {
                    if at < entry.start {
                        gaps.push(at..entry.start);
                    }
                    at = segments[entry.index as usize].end();
                }
            }
            at = end;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }
}
