//! Where each part of the arena lies: sizes in, offsets out.

use mailring_process::map::PAGE;

use super::records::{
    Control, DynamicRecord, ErrorPlace, ImportPlace, Pool, Superblock, WorkerEntry,
};
use crate::ids::WorkerKind;
use crate::limits::{HEAP_ALIGN, HEAP_RINGS, MAX_DYNAMIC_FUNCTIONS, MAX_IMPORTS, PAYLOAD_BYTES};
use crate::mailbox::batches::BATCH;
use crate::mailbox::descriptor::TaskDescriptor;
use crate::ring::{Edge, Slot, dist_ring};

/// Words in front of the leaves of a ready set: the first is its summary, alone in its line.
pub(super) const SUMMARY_WORDS: usize = 8;

/// What the host chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) ring: dist_ring::Geometry,
    /// Workers of each kind.
    pub(crate) workers: [usize; 2],
    pub(crate) buffer_bytes: usize,
    /// Addresses for memory that comes after the fork.
    pub(crate) import_bytes: usize,
    /// Some of its tasks get slices.
    pub(crate) typed: bool,
}

impl Shape {
    pub(crate) fn total_workers(&self) -> usize {
        self.workers[0] + self.workers[1]
    }

    /// The kind of worker `index`.
    pub(crate) fn kind_of(&self, index: usize) -> WorkerKind {
        if index < self.workers[0] { WorkerKind::NextLevel } else { WorkerKind::Sub }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offsets {
    pub(super) descriptors: usize,
    pub(super) edges: usize,
    pub(super) payload: usize,
    pub(super) dynamic: usize,
    pub(super) imports: usize,
    pub(super) trusted: usize,
    pub(super) control: usize,
    pub(super) pools: usize,
    pub(super) entries: usize,
    pub(super) slots: usize,
    pub(super) ready_queues: usize,
    pub(super) queue_stride: usize,
    pub(super) submitted: usize,
    pub(super) submitted_stride: usize,
    pub(super) submitted_batches: usize,
    pub(super) bitmaps: usize,
    pub(super) bitmap_words: usize,
    pub(super) errors: usize,
    pub(super) groups: usize,
    pub(super) hot: usize,
    pub(super) heaps: usize,
    pub(super) heap_stride: usize,
    pub(super) copies: usize,
    pub(super) buffers: usize,
    pub(super) total: usize,
}

pub(super) fn lay_out(shape: &Shape) -> Offsets {
    let window = shape.ring.window;
    let workers = shape.total_workers();
    let mut at = Offsets::default();
    let mut end = 0usize;
    let mut place = |bytes: usize, align: usize| {
        let offset = end.next_multiple_of(align);
        end = offset + bytes;
        offset
    };
    place(size_of::<Superblock>(), PAGE);
    at.descriptors = place(window * size_of::<TaskDescriptor>(), PAGE);
    at.edges = place(shape.ring.edges() * size_of::<Edge>(), PAGE);
    at.payload = place(PAYLOAD_BYTES, PAGE);
    at.dynamic = place(MAX_DYNAMIC_FUNCTIONS * size_of::<DynamicRecord>(), PAGE);
    at.imports = place(MAX_IMPORTS * size_of::<ImportPlace>(), PAGE);
    at.trusted = place(0, PAGE);
    at.control = place(size_of::<Control>(), PAGE);
    at.pools = place(2 * size_of::<Pool>(), 128);
    at.entries = place(workers * size_of::<WorkerEntry>(), 128);
    at.slots = place(window * size_of::<Slot>(), 128);
    at.queue_stride = (256 + window * 8).next_multiple_of(128);
    at.ready_queues = place(workers * 2 * at.queue_stride, 128);
    // The head of the submitter's may stay behind by as many entries as are claimed.
    at.submitted_batches = 2 * window / BATCH as usize;
    at.submitted_stride = (256 + 2 * window * 8 + at.submitted_batches * 8).next_multiple_of(128);
    at.submitted = place(2 * at.submitted_stride, 128);
    at.bitmap_words = SUMMARY_WORDS + window.div_ceil(64).next_multiple_of(8);
    at.bitmaps = place((4 + workers) * at.bitmap_words * 8, 128);
    at.errors = place(window * size_of::<ErrorPlace>(), 128);
    at.groups = place(shape.ring.group_words * 8, 128);
    at.hot = place(0, PAGE);
    at.heap_stride = shape.ring.heap_bytes.next_multiple_of(PAGE);
    at.heaps = place(HEAP_RINGS * at.heap_stride, PAGE.max(HEAP_ALIGN));
    at.copies = place(at.heap_stride, PAGE);
    at.buffers = place(shape.buffer_bytes, PAGE);
    at.total = place(0, PAGE);
    at
}
