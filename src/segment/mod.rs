//! The arena: one mapping that holds everything a participant needs, and where each part lies.
//!
//! ```text
//! trusted: written by the submitter alone, read-only in worker processes
//!   superblock | task descriptors (256 B a slot) | edges (16 B each) | payload ring
//!   | dynamic functions | imports
//! shared: written by all
//!   control | pools | worker table | slots (64 B each) | ready queues | bitmaps | error texts
//!   | group words | heap ring 0..3 | copies of snapshots | buffers
//! ```
//!
//! This is the room that turns offsets into references. All offsets come from the geometry that
//! the host chose before the fork, never from shared memory; indices are cut to their range.

mod layout;
mod records;

use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

use mailring_process::machine::allowed_cpus;
use mailring_process::map::{Mapping, OwnMark, Window};
use mailring_process::wait::{Patience, WaitStrategy};

use crate::ids::WorkerKind;
use crate::limits::{MAX_DYNAMIC_FUNCTIONS, MAX_IMPORTS, PAYLOAD_BYTES};
use crate::mailbox::batches::Batches;
use crate::mailbox::bitmap::Bitmap;
use crate::mailbox::descriptor::{Head, TaskDescriptor, TaskDescriptors};
use crate::mailbox::group::{self, GroupArea};
use crate::mailbox::parked::Parked;
use crate::mailbox::ready_queue::ReadyQueue;
use crate::ring::{Edge, Slot, Table, dist_ring};
use layout::{Offsets, SUMMARY_WORDS, lay_out};
use records::{ErrorPlace, ImportPlace, Pool, Superblock};

pub(crate) use layout::Shape;
pub(crate) use records::{
    BODY, Code, Control, Detail, DynamicRecord, ErrorRecord, ImportRecord, MAX_DYNAMIC_PATH,
    MAX_DYNAMIC_SYMBOL, Origin, PREPARING, Status, WorkerEntry,
};

/// `b"mailring"`, little endian.
const MAGIC: u64 = u64::from_le_bytes(*b"mailring");
const VERSION: u64 = 1;

/// The mapping with its geometry. Everything is reached through here.
pub(crate) struct Arena {
    /// What was mapped here is unmapped here alone: a child does not have it, and may have
    /// something of its own at the same addresses.
    own: OwnMark,
    map: ManuallyDrop<Mapping>,
    /// For what is mapped later.
    window: ManuallyDrop<Window>,
    shape: Shape,
    at: Offsets,
    /// Whether sleepers fence for the wakers (see [`Parked`]); decided before the fork.
    asymmetric: bool,
    /// No fewer workers than processors, so that the submitter has none for itself.
    crowded: bool,
}

impl Arena {
    /// Maps and initialises an arena. `name` is what `/proc/*/maps` shows.
    pub(crate) fn new(name: &str, shape: Shape) -> io::Result<Self> {
        let at = lay_out(&shape);
        let map = ManuallyDrop::new(Mapping::new(name, at.total)?);
        let window = ManuallyDrop::new(Window::new(shape.import_bytes));
        let own = OwnMark::new();
        let asymmetric = mailring_process::membarrier::register();
        let crowded = shape.total_workers() >= allowed_cpus().len();
        let arena = Self { own, map, window, shape, at, asymmetric, crowded };
        arena.map.populate(0, at.edges + shape.ring.edges() * size_of::<Edge>());
        arena.map.populate(at.control, at.ready_queues - at.control);
        for slot in 0..shape.ring.window as u32 {
            arena.table().slot(slot).init();
        }
        let superblock = Superblock {
            magic: MAGIC,
            version: VERSION,
            window: shape.ring.window as u64,
            workers: shape.total_workers() as u64,
            total: at.total as u64,
        };
        // SAFETY: offset 0 is page-aligned and belongs to the superblock alone.
        unsafe { arena.map.base().cast::<Superblock>().write(superblock) };
        Ok(arena)
    }

    /// Whether this is the process that mapped it, and no child (be it a worker).
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_own()
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// In a worker process: what only the submitter writes becomes read-only, and the arena does
    /// not reach processes that a task starts.
    pub(crate) fn confine(&self) -> io::Result<()> {
        self.map.protect_front(self.at.trusted)?;
        self.map.not_for_children()
    }

    /// In the host, once the fork server has the arena: later forks of the host do not get it.
    pub(crate) fn not_for_children(&self) -> io::Result<()> {
        self.map.not_for_children()
    }

    /// `count` values of `T` at `offset`.
    fn part<T>(&self, offset: usize, count: usize) -> &[T] {
        assert!(offset + count * size_of::<T>() <= self.at.total, "geometry");
        // SAFETY: inside the mapping by the check; every part begins at a multiple of its
        // alignment (`lay_out` rounds up to 128). `T` is made of atomics, so it may change under
        // the reference, and all bit patterns are values.
        unsafe { std::slice::from_raw_parts(self.map.base().add(offset).cast().as_ptr(), count) }
    }

    pub(crate) fn control(&self) -> &Control {
        &self.part(self.at.control, 1)[0]
    }

    #[inline]
    pub(crate) fn table(&self) -> Table<'_> {
        let ring = &self.shape.ring;
        Table::new(
            self.part::<Slot>(self.at.slots, ring.window),
            self.part::<Edge>(self.at.edges, ring.edges()),
        )
    }

    pub(crate) fn descriptors(&self) -> TaskDescriptors {
        let base = self.map.base();
        // SAFETY: both areas are in the mapping, aligned, written by the submitter alone; the
        // users of `TaskDescriptors` hold the arena.
        unsafe {
            TaskDescriptors::new(
                base.add(self.at.descriptors).cast::<TaskDescriptor>().as_ptr(),
                self.shape.ring.window as u32,
                base.add(self.at.payload).cast().as_ptr(),
                (PAYLOAD_BYTES / 8) as u32,
                self.shape.typed,
            )
        }
    }

    fn pool(&self, kind: WorkerKind) -> &Pool {
        &self.part::<Pool>(self.at.pools, 2)[kind.index()]
    }

    /// How workers and the host wait by this strategy.
    pub(crate) fn patience(&self, wait: WaitStrategy) -> Patience {
        wait.patience(self.crowded)
    }

    /// Workers of a kind.
    pub(crate) fn workers_of(&self, kind: WorkerKind) -> usize {
        let workers = 0..self.shape.total_workers();
        workers.filter(|&worker| self.shape.kind_of(worker) == kind).count()
    }

    /// How many of the host and the workers may want to run: all that do not sleep. Advice only.
    #[cold]
    pub(crate) fn awake(&self) -> u32 {
        let workers = 0..self.shape.total_workers() as u16;
        1 + workers.filter(|&worker| !self.entry(worker).sleeps()).count() as u32
    }

    /// In a new process: registers it for the fences of others. False when that fails and was
    /// counted on.
    pub(crate) fn join_fences(&self) -> bool {
        !self.asymmetric || mailring_process::membarrier::register()
    }

    /// What a sleeper does between announcing itself and its last look for work.
    pub(crate) fn fence_wakers(&self) {
        if self.asymmetric {
            mailring_process::membarrier::everywhere();
        }
    }

    pub(crate) fn assembling(&self, kind: WorkerKind) -> &AtomicU64 {
        &self.pool(kind).assembling
    }

    pub(crate) fn parked(&self, kind: WorkerKind) -> Parked<'_> {
        let words = self.shape.total_workers().div_ceil(64);
        Parked::asymmetric(&self.pool(kind).parked[..words], self.asymmetric)
    }

    #[inline]
    pub(crate) fn entry(&self, worker: u16) -> &WorkerEntry {
        let entries: &[WorkerEntry] = self.part(self.at.entries, self.shape.total_workers());
        &entries[usize::from(worker) % entries.len()]
    }

    /// The ready queue of a producer: worker `0..workers`, or the submitter as the one behind them.
    pub(crate) fn ready_queue(&self, producer: usize, kind: WorkerKind) -> ReadyQueue<'_> {
        let window = self.shape.ring.window;
        if producer == self.shape.total_workers() {
            return self.queue_at(self.submitted(kind), 2 * window);
        }
        let index = producer * 2 + kind.index();
        self.queue_at(self.at.ready_queues + index * self.at.queue_stride, window)
    }

    fn submitted(&self, kind: WorkerKind) -> usize {
        self.at.submitted + kind.index() * self.at.submitted_stride
    }

    fn queue_at(&self, offset: usize, entries: usize) -> ReadyQueue<'_> {
        ReadyQueue::new(
            &self.part::<AtomicU64>(offset, 1)[0],
            &self.part::<AtomicU64>(offset + 128, 1)[0],
            self.part(offset + 256, entries),
        )
    }

    /// Batches of the submitter's queue for workers of a kind. Their words are beside its head and behind
    /// its entries.
    pub(crate) fn batches(&self, kind: WorkerKind) -> Batches<'_> {
        let (offset, entries) = (self.submitted(kind), 2 * self.shape.ring.window);
        let through = self.part(offset + 256 + entries * 8, self.at.submitted_batches);
        let claimed = &self.part::<AtomicU64>(offset + 8, 1)[0];
        Batches::new(self.queue_at(offset, entries), claimed, through, self.workers_of(kind))
    }

    fn bitmap(&self, index: usize) -> Bitmap<'_> {
        let offset = self.at.bitmaps + index * self.at.bitmap_words * 8;
        let words = self.part::<AtomicU64>(offset, self.at.bitmap_words);
        let (summary, leaves) = words.split_at(SUMMARY_WORDS);
        Bitmap::new(&summary[0], &leaves[..self.shape.ring.window.div_ceil(64)])
    }

    /// Tasks of a kind that go first, or that were found again.
    pub(crate) fn urgent(&self, kind: WorkerKind) -> Bitmap<'_> {
        self.bitmap(kind.index())
    }

    /// Groups of a kind that are ready.
    pub(crate) fn ready_groups(&self, kind: WorkerKind) -> Bitmap<'_> {
        self.bitmap(2 + kind.index())
    }

    /// Tasks that only this worker may take.
    pub(crate) fn pinned(&self, worker: u16) -> Bitmap<'_> {
        self.bitmap(4 + usize::from(worker) % self.shape.total_workers())
    }

    /// The words of a group; `None` for a task descriptor that is not any group's (one that was
    /// being rewritten while it was read).
    pub(crate) fn group(&self, head: &Head) -> Option<GroupArea<'_>> {
        let words: &[AtomicU64] = self.part(self.at.groups, self.shape.ring.group_words);
        let from = head.group as usize;
        let to = from.checked_add(group::words(usize::from(head.members)))?;
        words.get(from..to).map(|words| GroupArea::tagged(words, head.seq as u32))
    }

    /// Records why the task of `slot` failed. The caller holds the slot.
    pub(crate) fn write_error(&self, slot: u32, origin: Origin, text: &str) {
        self.error(slot).write(origin, text);
    }

    /// A copy of what was recorded for `slot`.
    pub(crate) fn read_error(&self, slot: u32) -> ErrorRecord {
        self.error(slot).read()
    }

    fn error(&self, slot: u32) -> &ErrorPlace {
        let window = self.shape.ring.window;
        &self.part::<ErrorPlace>(self.at.errors, window)[slot as usize & (window - 1)]
    }

    /// The number of the file behind it, by which `/proc/PID/maps` tells who has it mapped.
    pub(crate) fn inode(&self) -> u64 {
        self.map.inode()
    }

    /// Where memory that comes after the fork is mapped.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    fn imports(&self) -> &[ImportPlace] {
        self.part(self.at.imports, MAX_IMPORTS)
    }

    /// What lies at a place for such memory.
    pub(crate) fn import(&self, index: u32) -> ImportRecord {
        self.imports().get(index as usize).map(ImportPlace::read).unwrap_or_default()
    }

    /// Writes down what lies there. Only the host does.
    pub(crate) fn write_import(&self, index: u32, record: ImportRecord) {
        if let Some(place) = self.imports().get(index as usize) {
            place.write(record);
        }
    }

    /// Writes down a dynamic function. Only the host does, and nobody reads the place before a task
    /// names it.
    pub(crate) fn write_dynamic(&self, index: u32, record: &DynamicRecord) {
        if let Some(place) = self.dynamic_at(index) {
            // SAFETY: inside the mapping, aligned; no task that names this place has been published
            // since its former function was unregistered.
            unsafe { place.write_volatile(*record) };
        }
    }

    /// A copy of what is known of the dynamic function at `index`.
    pub(crate) fn dynamic(&self, index: u32) -> Option<DynamicRecord> {
        // SAFETY: as above; every bit pattern is a record.
        self.dynamic_at(index).map(|place| unsafe { place.read_volatile() })
    }

    fn dynamic_at(&self, index: u32) -> Option<*mut DynamicRecord> {
        let index = index as usize;
        // SAFETY: inside the mapping.
        let base = unsafe { self.map.base().add(self.at.dynamic).cast::<DynamicRecord>() };
        // SAFETY: the index is below the number of places.
        (index < MAX_DYNAMIC_FUNCTIONS).then(|| unsafe { base.add(index).as_ptr() })
    }

    /// Address and bytes of heap ring `ring`.
    pub(crate) fn heap(&self, ring: usize) -> (u64, u64) {
        let base = self.map.base().as_ptr() as u64 + self.at.heaps as u64;
        (base + (ring * self.at.heap_stride) as u64, self.shape.ring.heap_bytes as u64)
    }

    /// The address of the copies of snapshots; there are as many bytes as in a heap ring.
    pub(crate) fn copies(&self) -> u64 {
        self.map.base().as_ptr() as u64 + self.at.copies as u64
    }

    /// The addresses of everything that tensors can lie in: heap rings and buffers, whole pages.
    pub(crate) fn tensor_bytes(&self) -> std::ops::Range<u64> {
        let base = self.map.base().as_ptr() as u64;
        base + self.at.heaps as u64..base + self.at.total as u64
    }

    /// The addresses of the arguments of tasks: task descriptors and payload.
    pub(crate) fn argument_bytes(&self) -> std::ops::Range<u64> {
        let base = self.map.base().as_ptr() as u64;
        base + self.at.descriptors as u64..base + self.at.dynamic as u64
    }

    /// Address and bytes of the part for buffers.
    pub(crate) fn buffers(&self) -> (u64, u64) {
        (self.map.base().as_ptr() as u64 + self.at.buffers as u64, self.shape.buffer_bytes as u64)
    }

    /// Gives the pages behind an address range of heap or buffers back to the machine.
    pub(crate) fn forget(&self, address: u64, len: usize) {
        let offset = (address - self.map.base().as_ptr() as u64) as usize;
        if offset >= self.at.hot {
            self.map.forget(offset, len);
        }
    }

    /// Tells a host that may sleep.
    pub(crate) fn notify_host(&self) {
        let parker = &self.control().host_parker;
        parker.fetch_add(1, Ordering::SeqCst);
        mailring_process::futex::wake(parker, i32::MAX);
    }

    /// The arena with an unbounded lifetime, so that views of it can be kept beside the `Arc`.
    ///
    /// # Safety
    /// Whoever keeps the result keeps a clone of the `Arc` for at least as long.
    pub(crate) unsafe fn pinned_in(self: &std::sync::Arc<Self>) -> &'static Self {
        // SAFETY: the caller's promise; an `Arc` does not move what it holds.
        unsafe { &*std::sync::Arc::as_ptr(self) }
    }

    /// Writes one word of heap or buffers, for the submitter.
    pub(crate) fn write_word(&self, address: u64, value: u64) {
        let offset = (address - self.map.base().as_ptr() as u64) as usize;
        assert!(offset >= self.at.hot && offset + 8 <= self.at.total && offset.is_multiple_of(8));
        self.part::<AtomicU64>(offset, 1)[0].store(value, Ordering::Relaxed);
    }

    /// Why the failed task in `slot` failed: the root that reached it, or itself.
    pub(crate) fn failed_root_of(&self, slot: u32, seq: u64) -> u64 {
        match self.table().slot(slot).failed_root() {
            crate::ring::slot::NO_FAILED_ROOT => {
                Code::from_bits(self.read_error(slot).code).failed_root(seq)
            }
            failed_root => failed_root,
        }
    }

    /// Whether task `seq` has completed and its list was walked; also true when its slot serves
    /// another lap by now. Any thread may ask.
    pub(crate) fn settled(&self, seq: u64) -> Settled {
        let (slot, generation) = dist_ring::place(seq, self.shape.ring.window.trailing_zeros());
        let word = self.table().slot(slot).load();
        if word.generation() != generation {
            return Settled::Gone;
        }
        match word.is_retired() {
            true if word.is_failed() => Settled::Failed,
            true => Settled::Ok,
            false => Settled::Open,
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.own.is_own() {
            // SAFETY: once, and neither is used afterwards.
            unsafe {
                ManuallyDrop::drop(&mut self.map);
                ManuallyDrop::drop(&mut self.window);
            }
        }
    }
}

/// What a slot says of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// Not yet through.
    Open,
    /// Completed.
    Ok,
    /// Completed as failed.
    Failed,
    /// It has left the window: completed, but how is known to the submitter only.
    Gone,
}
