//! A range of bytes with its last writer and the readers since.

use std::sync::Arc;

use smallvec::SmallVec;

/// More readers than this are shared, not copied, where a segment is split.
const FEW: usize = 8;

/// Readers that several segments have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Common {
    readers: Vec<u64>,
    /// Those that they had in common before.
    before: Option<Arc<Common>>,
}

impl Common {
    /// These readers, and those before that may still run; `None` when there are none. The lists get
    /// longer by halves at least from one to the next, so they are few.
    pub(super) fn new(
        mut readers: Vec<u64>,
        before: Option<Arc<Self>>,
        tail: u64,
    ) -> Option<Arc<Self>> {
        let mut before = before.filter(|before| before.is_live(tail));
        if readers.is_empty() {
            return before;
        }
        while let Some(list) = before.take_if(|list| list.readers.len() <= 2 * readers.len()) {
            readers.extend(list.readers.iter().filter(|&&reader| reader >= tail));
            before.clone_from(&list.before);
        }
        readers.sort_unstable();
        readers.dedup();
        Some(Arc::new(Self { readers, before }))
    }

    /// Whether one of them may still run.
    pub(super) fn is_live(&self, tail: u64) -> bool {
        self.lists().flatten().any(|&reader| reader >= tail)
    }

    /// All of them, list by list, each in order.
    pub(super) fn lists(&self) -> impl Iterator<Item = &[u64]> {
        let all = std::iter::successors(Some(self), |common| common.before.as_deref());
        all.map(|common| &common.readers[..])
    }
}

/// A cache line: the usual access needs nothing else of the map, but for the place where the
/// segment was found.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Segment {
    start: u64,
    end: u64,
    /// Of readers that it has in common with others, those before this task have nothing to do with
    /// it. The task before it is the writer, if there is one.
    since: u64,
    block: u32,
    written: bool,
    has_common: bool,
    /// The last one of its own readers, plus one; 0: there is none.
    last_reader: u64,
    /// Those before it, in order; some of them may have left the window.
    readers: SmallVec<[u64; 2]>,
}

const _: () = assert!(size_of::<Segment>() == 64);

impl Segment {
    /// Bytes that `task` has written.
    #[inline]
    pub(super) fn written(start: u64, end: u64, task: u64) -> Self {
        Self { start, end, since: task + 1, written: true, ..Self::default() }
    }

    /// Bytes that nobody has written, as far as one knows.
    pub(super) fn unwritten(start: u64, end: u64, since: u64) -> Self {
        Self { start, end, since, ..Self::default() }
    }

    #[inline]
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    #[inline]
    pub(super) fn is_exactly(&self, start: u64, end: u64) -> bool {
        self.start == start && self.end == end
    }

    /// The block that holds it.
    #[inline]
    pub(super) fn block(&self) -> u32 {
        self.block
    }

    #[inline]
    pub(super) fn set_block(&mut self, block: u32) {
        self.block = block;
    }

    #[inline]
    pub(super) fn writer(&self) -> Option<u64> {
        self.written.then(|| self.since - 1)
    }

    /// The writer, unless it is before this task.
    #[inline(always)]
    pub(crate) fn writer_from(&self, task: u64) -> Option<u64> {
        if self.since > task { self.writer() } else { None }
    }

    /// The task behind the writer; 0 when there is none.
    #[inline]
    pub(super) fn behind_writer(&self) -> u64 {
        if self.written { self.since } else { 0 }
    }

    /// Of readers in common, those before this task do not count.
    #[inline]
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Readers of its own.
    #[inline]
    pub(super) fn readers(&self) -> impl Iterator<Item = u64> {
        let last = self.last_reader.checked_sub(1);
        self.readers.iter().copied().chain(last)
    }

    /// Tells `see` each of them.
    #[inline(always)]
    pub(super) fn each_reader(&self, mut see: impl FnMut(u64)) {
        for &reader in &self.readers {
            see(reader);
        }
        if self.last_reader != 0 {
            see(self.last_reader - 1);
        }
    }

    /// Whether one of them is not before this task.
    #[inline(always)]
    pub(super) fn has_readers_from(&self, task: u64) -> bool {
        self.last_reader > task
    }

    /// Whether there are readers in common with other segments, apart from those of its block.
    #[inline]
    pub(super) fn has_common(&self) -> bool {
        self.has_common
    }

    pub(super) fn set_has_common(&mut self, has: bool) {
        self.has_common = has;
    }

    /// `task` writes it: readers of its own are superseded, and so is what it has in common.
    #[inline(always)]
    pub(super) fn write(&mut self, task: u64) {
        self.since = task + 1;
        self.written = true;
        if self.last_reader != 0 {
            self.last_reader = 0;
            self.readers.clear();
        }
    }

    #[inline(always)]
    pub(super) fn add_reader(&mut self, task: u64, tail: u64) {
        if self.last_reader <= tail {
            // The usual case: those before have left the window, and nobody waits for them.
            self.last_reader = task + 1;
        } else if self.last_reader != task + 1 {
            self.add_one_more(task, tail);
        }
    }

    #[inline(never)]
    fn add_one_more(&mut self, task: u64, tail: u64) {
        if self.readers.len() == self.readers.capacity() {
            self.readers.retain(|reader| *reader >= tail);
        }
        self.readers.push(self.last_reader - 1);
        self.last_reader = task + 1;
    }

    /// Takes its own readers when they are too many to be copied, to be had in common instead.
    pub(super) fn take_many_readers(&mut self, tail: u64) -> Option<Vec<u64>> {
        if self.readers.len() < FEW {
            return None;
        }
        let live = self.readers().filter(|&reader| reader >= tail).collect();
        (self.last_reader, self.readers) = (0, SmallVec::new());
        Some(live)
    }

    /// What lies from `at` on, like the rest of it, which remains to be cut off.
    pub(super) fn upper_part(&self, at: u64) -> Self {
        Self { start: at, readers: self.readers.clone(), ..*self }
    }

    pub(super) fn set_end(&mut self, end: u64) {
        self.end = end;
    }

    /// Whether a task that has to do with it is not before `keep`.
    pub(super) fn is_live(&self, keep: u64) -> bool {
        self.behind_writer() > keep || self.has_readers_from(keep)
    }

    /// Forgets a writer before `keep` and readers before `tail`.
    pub(super) fn forget_finished(&mut self, keep: u64, tail: u64) {
        if self.since <= keep {
            self.since = 0;
            self.written = false;
        }
        self.readers.retain(|reader| *reader >= tail);
        if !self.has_readers_from(tail) {
            self.last_reader = 0;
        }
    }

    /// Whether [that](Self::forget_finished) would leave nothing but its place.
    #[inline]
    pub(super) fn is_finished(&self, keep: u64, tail: u64) -> bool {
        self.since <= keep && !self.has_readers_from(tail) && !self.has_common
    }

    /// It is no segment any more.
    #[inline]
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0); // nobody asks for no bytes
        if !self.readers.is_empty() || self.readers.spilled() {
            self.readers = SmallVec::new();
        }
    }

    /// Whether nothing but their places tells them apart, readers in common aside.
    pub(super) fn continues(&self, before: &Self) -> bool {
        before.end == self.start
            && before.since == self.since
            && before.written == self.written
            && before.last_reader == self.last_reader
            && before.readers == self.readers
    }
}
