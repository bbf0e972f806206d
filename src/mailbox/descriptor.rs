//! The task descriptor: how a task lies in shared memory for whoever runs it: 256 bytes a slot, and
//! a ring of payload for what does not fit. The submitter alone writes here; in worker processes it
//! is mapped read-only, so a worker that writes there dies instead of deceiving others.
//!
//! ```text
//! task descriptor, in 8-byte words:
//!   0 seq | 1 callable | 2 config | 3 config, flags, kind, target | 4.. argument blob
//! or, for what is rare (a group, a deadline, retries, a snapshot, more than 224 bytes of blob):
//!   ...                                                           | 4 place in the payload ring
//!
//! payload, in 8-byte words from that place:
//!   members, retries, deadline | group words | place of blob 0 ... N-1 | place of the saves or 0
//!   | blobs ... | saves: address of the seal, ranges, (address, length, address of the copy) ...
//! ```
//!
//! A task with two tensors and a scalar takes two cache lines, one with five tensors and two scalars
//! all four.
//!
//! A task descriptor may be read while it is being rewritten: by whoever follows a stale entry of a
//! queue, and finds out afterwards that it was another lap's. So the words that such a reader looks
//! at (the first five of a task descriptor, the addresses of its tensors, and all of the payload, since
//! a stale place may be any) are written and read one by one, as relaxed atomics; what they say counts
//! only once the slot is held, or if its task is not through afterwards.

use std::ops::Range;

use super::sync::{AtomicU64, Relaxed};
use crate::abi::{CallConfig, ContinuousTensor, TaskArgs, TaskArgsView};
use crate::ids::{Callable, WorkerKind};
use crate::limits::INLINE_ARGS;

/// Any worker of the kind may take the task.
pub const ANYWHERE: u16 = u16::MAX;

/// Runs no function: it only collects more producers than one fan-in word can name.
pub const FAN_IN: u8 = 1;
/// Goes before tasks without this flag.
pub const URGENT: u8 = 2;
/// The rest of the task descriptor is in the payload ring.
pub const SPILLED: u8 = 4;
/// Ranges are saved before the first attempt and restored before the others.
pub const SNAPSHOT: u8 = 8;
/// One node, several members.
pub const GROUP: u8 = 16;
/// Some tensor lies in memory that came after the fork.
pub const IMPORTED: u8 = 32;

/// Who may take a task: enough to leave a task alone that is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The pool, as [`WorkerKind`].
    pub kind: u8,
    /// [`FAN_IN`], [`URGENT`], [`SPILLED`], [`SNAPSHOT`], [`GROUP`], [`IMPORTED`].
    pub flags: u8,
    /// The one worker that may take it, or [`ANYWHERE`].
    pub target: u16,
}

impl Route {
    /// Whether `flag` is set.
    #[inline(always)]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The pool.
    #[inline(always)]
    pub fn pool(self) -> WorkerKind {
        WorkerKind::from_index(self.kind)
    }

    /// As it is written.
    #[inline(always)]
    pub fn packed(self) -> PackedRoute {
        let Self { kind, flags, target } = self;
        PackedRoute(u32::from(flags) | u32::from(kind) << 8 | u32::from(target) << 16)
    }
}

/// A [`Route`] as it lies in a task descriptor: one comparison tells whether it is as most are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedRoute(u32);

impl PackedRoute {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        Self((word >> 16) as u32)
    }

    #[inline(always)]
    fn word(self) -> u64 {
        u64::from(self.0) << 16
    }

    /// What no task has.
    pub const NONE: Self = Self(u32::MAX);

    /// The same without what only says who takes the task, and when.
    #[inline(always)]
    #[must_use]
    pub fn as_run(self) -> Self {
        Self(self.0 & 0xffff & !u32::from(URGENT))
    }

    /// What it says.
    #[inline(always)]
    pub fn unpack(self) -> Route {
        Route { flags: self.0 as u8, kind: (self.0 >> 8) as u8, target: (self.0 >> 16) as u16 }
    }
}

/// What a task is, apart from its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The task's number.
    pub seq: u64,
    /// What to run.
    pub callable: u64,
    /// Passed on to the worker.
    pub config: CallConfig,
    /// Who may take it.
    pub route: Route,
    /// First word in the payload ring, if spilled.
    pub payload: u32,
    /// Members of the group; 1 for a single task.
    pub members: u16,
    /// Further attempts after one that started and did not end by itself.
    pub retries: u16,
    /// Microseconds a body may take; 0: as long as it likes.
    pub deadline_us: u32,
    /// First word in the group ring.
    pub group: u32,
}

impl Head {
    /// Of a single task about which nothing more is said.
    #[inline(always)]
    pub fn single(seq: u64, callable: u64, config: CallConfig, route: Route) -> Self {
        Self {
            seq,
            callable,
            config,
            route,
            payload: 0,
            members: 1,
            retries: 0,
            deadline_us: 0,
            group: 0,
        }
    }

    /// Whether `flag` is set.
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.route.has(flag)
    }

    /// The same without number and places in rings, and without what depends on these and on memory.
    pub fn unplaced(&self) -> Self {
        let flags = self.route.flags & !(SPILLED | SNAPSHOT | IMPORTED);
        let route = Route { flags, ..self.route };
        Self { seq: 0, payload: 0, group: 0, route, ..*self }
    }

    /// As it is written.
    pub fn packed(&self) -> PackedHead {
        PackedHead(self.words())
    }

    /// The pool.
    pub fn pool(&self) -> WorkerKind {
        self.route.pool()
    }

    /// What to run.
    pub fn callable(&self) -> Callable {
        Callable(self.callable)
    }

    /// The words in front of every task descriptor.
    #[inline(always)]
    fn words(&self) -> [u64; HEAD_WORDS] {
        let CallConfig {
            block_dim, aicpu_thread_num, enable_profiling, enable_dump_tensor, ..
        } = self.config;
        [
            self.seq,
            self.callable,
            u64::from(block_dim as u32) | u64::from(aicpu_thread_num as u32) << 32,
            u64::from(enable_profiling)
                | u64::from(enable_dump_tensor) << 8
                | self.route.packed().word(),
        ]
    }
}

/// What a body needs of a task whose descriptor holds all of it.
pub struct InlineCall<'a> {
    /// The task's number.
    pub seq: u64,
    /// What to run.
    pub callable: u64,
    /// Passed on to the worker.
    pub config: CallConfig,
    /// In place.
    pub args: TaskArgsView<'a>,
}

/// The configuration in words 2 and 3 of a task descriptor.
#[inline(always)]
fn unpack_config(launch: u64, last: u64) -> CallConfig {
    let mut config = CallConfig::default();
    config.block_dim = launch as i32;
    config.aicpu_thread_num = (launch >> 32) as i32;
    config.enable_profiling = last as u8;
    config.enable_dump_tensor = (last >> 8) as u8;
    config
}

const HEAD_WORDS: usize = 4;
const TENSOR_WORDS: usize = size_of::<ContinuousTensor>() / 8;
/// Words of a spilled task descriptor in front of the places of its blobs.
const SPILL_HEAD: usize = 2;

/// A slot's task descriptor.
#[repr(C, align(128))]
pub struct TaskDescriptor {
    words: [u64; HEAD_WORDS + INLINE_ARGS / 8],
}

const _: () = assert!(size_of::<TaskDescriptor>() == 256);

/// A range that a snapshot covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedRange {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub len: u64,
    /// Where the copy lies.
    pub copy: u64,
}

/// The words in front of a task descriptor, but for its number.
#[derive(Clone, Copy, Debug)]
pub struct PackedHead([u64; HEAD_WORDS]);

impl PackedHead {
    /// Of the task with this number, with these flags as well.
    #[inline(always)]
    fn of(self, seq: u64, flags: u8) -> [u64; HEAD_WORDS] {
        let [_, callable, launch, last] = self.0;
        [seq, callable, launch, last | u64::from(flags) << 16]
    }
}

/// A word of a blob that is an address, and what it is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Which word of the blob.
    pub word: u32,
    /// Which base.
    pub base: u32,
}

/// All task descriptors of a window, and the payload ring.
#[derive(Clone, Copy)]
pub struct TaskDescriptors {
    descriptors: *mut TaskDescriptor,
    mask: u32,
    payload: *mut u64,
    payload_words: u32,
    /// Tensors of tasks without types bear whether they are only read.
    marks: bool,
}

// SAFETY: the memory is shared between processes anyway; who may write when is the protocol's
// matter (the submitter before it publishes the slot, nobody until the slot has retired).
unsafe impl Send for TaskDescriptors {}
// SAFETY: as above.
unsafe impl Sync for TaskDescriptors {}

impl TaskDescriptors {
    /// Task descriptors at `descriptors` (a power of two of them), payload of `payload_words` at
    /// `payload`. With `marks`, tensors of tasks without types bear whether they are only read.
    ///
    /// # Safety
    /// Both areas are mapped for as long as the value or a copy of it is used, aligned, and
    /// written by nobody but through this type.
    pub unsafe fn new(
        descriptors: *mut TaskDescriptor,
        window: u32,
        payload: *mut u64,
        payload_words: u32,
        marks: bool,
    ) -> Self {
        Self { descriptors, mask: window - 1, payload, payload_words, marks }
    }

    #[inline(always)]
    fn descriptor(&self, slot: u32) -> *mut u64 {
        // In bounds: the index is cut to the window.
        self.descriptors.wrapping_add((slot & self.mask) as usize).cast()
    }

    /// Who may take the task of slot `slot`. May be another lap's unless the caller holds the slot.
    #[inline(always)]
    pub fn route(&self, slot: u32) -> Route {
        self.packed_route(slot).unpack()
    }

    /// The same as it is written.
    #[inline(always)]
    pub fn packed_route(&self, slot: u32) -> PackedRoute {
        // SAFETY: in bounds; every bit pattern is a route, and one of another lap is looked at
        // again after the lease.
        PackedRoute::from_word(unsafe { get(self.descriptor(slot).add(3)) })
    }

    /// The head of slot `slot`, copied.
    ///
    /// It is stable while the caller holds the slot, or a producer of it that has not retired.
    #[inline]
    pub fn head(&self, slot: u32) -> Head {
        let descriptor = self.descriptor(slot);
        // SAFETY: in bounds; a task descriptor that is being rewritten (a stale queue entry) gives
        // a head that will not be used, so the place it names is checked before it is followed.
        let word = |index: usize| unsafe { get(descriptor.add(index)) };
        let last = word(3);
        let config = unpack_config(word(2), last);
        let mut head =
            Head::single(word(0), word(1), config, PackedRoute::from_word(last).unpack());
        if head.has(SPILLED) {
            let place = word(HEAD_WORDS);
            if place < u64::from(self.payload_words) - SPILL_HEAD as u64 {
                // SAFETY: in bounds by the check.
                let rest = unsafe { get(self.payload.add(place as usize)) };
                // SAFETY: as above.
                let group = unsafe { get(self.payload.add(place as usize + 1)) };
                head.payload = place as u32;
                head.members = rest as u16;
                head.retries = (rest >> 16) as u16;
                head.deadline_us = (rest >> 32) as u32;
                head.group = group as u32;
            }
        }
        head
    }

    /// The lines of a task descriptor with a short blob, to prefetch them.
    #[inline]
    pub fn lines(&self, slot: u32) -> [*const u64; 2] {
        let descriptor: *const u64 = self.descriptor(slot);
        [descriptor, descriptor.wrapping_add(8)]
    }

    /// The other lines, for a task with a longer blob.
    #[inline]
    pub fn more_lines(&self, slot: u32) -> [*const u64; 2] {
        let descriptor: *const u64 = self.descriptor(slot);
        [descriptor.wrapping_add(16), descriptor.wrapping_add(24)]
    }

    /// Whether a task needs nothing of the payload ring.
    #[inline]
    pub fn fits_inline(head: &Head, blobs: usize) -> bool {
        blobs <= INLINE_ARGS
            && head.retries == 0
            && head.deadline_us == 0
            && !head.has(GROUP | SNAPSHOT)
    }

    /// Writes the task descriptor of a single task with its arguments inside.
    ///
    /// # Safety
    /// The caller is the submitter and has reserved the slot.
    #[inline(always)]
    pub unsafe fn write_inline(&self, slot: u32, head: &Head, args: &TaskArgs) {
        debug_assert!(Self::fits_inline(head, args.blob_len()));
        let descriptor = self.descriptor(slot);
        // SAFETY: in bounds, reserved; the blob fits by the check above.
        unsafe {
            for (index, word) in head.words().into_iter().enumerate() {
                put(descriptor.add(index), word);
            }
            let blob = descriptor.add(HEAD_WORDS);
            if self.marks && !head.callable().is_typed() {
                put_blob::<true>(blob, args);
            } else {
                put_blob::<false>(blob, args);
            }
        }
    }

    /// Writes the task descriptor of a single task from a packed head, its number and more flags, and
    /// the words of its blob: to those in `places` the address of their base is added.
    ///
    /// # Safety
    /// The caller is the submitter and has reserved the slot. The blob fits, and all places lie in it.
    #[inline]
    pub unsafe fn write_relocated(
        &self,
        slot: u32,
        head: (PackedHead, u64, u8),
        blob: &[u64],
        places: &[Relocation],
        bases: &[u64],
    ) {
        debug_assert!(blob.len() * 8 <= INLINE_ARGS);
        let descriptor = self.descriptor(slot);
        let (head, seq, flags) = head;
        // SAFETY: in bounds, reserved; the caller says that blob and places fit.
        unsafe {
            for (index, word) in head.of(seq, flags).into_iter().enumerate() {
                put(descriptor.add(index), word);
            }
            let out = descriptor.add(HEAD_WORDS);
            for (index, &word) in blob.iter().enumerate() {
                put(out.add(index), word);
            }
            for place in places {
                let at = place.word as usize;
                put(out.add(at), blob[at].wrapping_add(bases[place.base as usize]));
            }
        }
    }

    /// Payload words that `args` (one a member) and `saved` ranges take.
    pub fn spill_words(args: &[TaskArgs], saved: usize) -> usize {
        let blobs: usize = args.iter().map(|a| a.blob_len() / 8).sum();
        let table = if saved == 0 { 0 } else { 2 + 3 * saved };
        SPILL_HEAD + args.len() + 1 + blobs + table
    }

    /// Writes a task descriptor whose arguments lie in the payload ring from word `head.payload`.
    ///
    /// # Safety
    /// The caller is the submitter and has reserved the slot and
    /// [`spill_words`](Self::spill_words) of payload.
    pub unsafe fn write_spilled(
        &self,
        slot: u32,
        head: &Head,
        args: &[TaskArgs],
        saved: &[SavedRange],
        seal: u64,
    ) {
        let words = Self::spill_words(args, saved.len());
        let from = head.payload as usize;
        assert!(from + words <= self.payload_words as usize);
        let marks = self.marks && !head.callable().is_typed();
        let places = from + SPILL_HEAD;
        // SAFETY: in bounds by the assertion, reserved by the caller.
        unsafe {
            let descriptor = self.descriptor(slot);
            for (index, word) in head.words().into_iter().enumerate() {
                put(descriptor.add(index), word);
            }
            put(descriptor.add(HEAD_WORDS), from as u64);
            let rest = u64::from(head.members)
                | u64::from(head.retries) << 16
                | u64::from(head.deadline_us) << 32;
            put(self.payload.add(from), rest);
            put(self.payload.add(from + 1), u64::from(head.group));
            let mut at = places + args.len() + 1;
            for (member, args) in args.iter().enumerate() {
                put(self.payload.add(places + member), at as u64);
                put_blob_by_words(self.payload.add(at), args, marks);
                at += args.blob_len() / 8;
            }
            let table = if saved.is_empty() { 0 } else { at };
            put(self.payload.add(places + args.len()), table as u64);
            if table != 0 {
                put(self.payload.add(table), seal);
                put(self.payload.add(table + 1), saved.len() as u64);
                for (index, range) in saved.iter().enumerate() {
                    let entry = self.payload.add(table + 2 + 3 * index);
                    put(entry, range.address);
                    put(entry.add(1), range.len);
                    put(entry.add(2), range.copy);
                }
            }
        }
    }

    /// The arguments of member `member`, in place.
    ///
    /// # Safety
    /// The caller holds a lease on the slot for `'a`, and `head` is its task descriptor's.
    #[inline]
    pub unsafe fn args<'a>(&self, slot: u32, head: &Head, member: u16) -> TaskArgsView<'a> {
        // SAFETY: the submitter wrote counts and places before it published the slot, and only
        // it can write here; the lease keeps it from reusing the space.
        unsafe {
            view_blob(if head.has(SPILLED) {
                let place = head.payload as usize + SPILL_HEAD + usize::from(member);
                self.payload.add(self.payload.add(place).read() as usize)
            } else {
                self.descriptor(slot).add(HEAD_WORDS)
            })
        }
    }

    /// What a body needs of a task whose descriptor holds all of it.
    ///
    /// # Safety
    /// As [`args`](Self::args), and the task is not [`SPILLED`].
    #[inline(always)]
    pub unsafe fn inline_call<'a>(&self, slot: u32) -> InlineCall<'a> {
        let descriptor = self.descriptor(slot);
        // SAFETY: as in `args`.
        unsafe {
            let word = |index: usize| get(descriptor.add(index));
            InlineCall {
                seq: word(0),
                callable: word(1),
                config: unpack_config(word(2), word(3)),
                args: view_blob(descriptor.add(HEAD_WORDS)),
            }
        }
    }

    /// Whether the task of slot `slot` names bytes of a range, which no tensor lies in by half. What is
    /// said of a slot counts if its task is not through afterwards. Any thread may ask.
    pub fn names(&self, slot: u32, range: &Range<u64>) -> bool {
        let head = self.head(slot);
        if head.has(FAN_IN) {
            return false;
        }
        // SAFETY: in bounds; words that may be rewritten meanwhile are written by `put`.
        let inline = |at: usize| unsafe { get(self.descriptor(slot).add(at)) };
        let payload = |at: usize| {
            let inside = at < self.payload_words as usize;
            // SAFETY: in bounds by the check; all of the payload is written by `put`.
            if inside { unsafe { get(self.payload.add(at)) } } else { 0 }
        };
        let names = |word: &dyn Fn(usize) -> u64, blob: usize, most: usize| {
            let tensors = (word(blob) as u32 as usize).min(most);
            (0..tensors).any(|tensor| range.contains(&word(blob + 1 + tensor * TENSOR_WORDS)))
        };
        if !head.has(SPILLED) {
            return names(&inline, HEAD_WORDS, (INLINE_ARGS / 8 - 1) / TENSOR_WORDS);
        }
        let place = head.payload as usize + SPILL_HEAD;
        let most = self.payload_words as usize / TENSOR_WORDS;
        let mut blobs = (0..usize::from(head.members)).map(|member| payload(place + member));
        blobs.any(|blob| names(&payload, blob as usize, most))
    }

    /// The seal's address and the ranges of a task with a snapshot.
    ///
    /// # Safety
    /// As [`args`](Self::args).
    pub unsafe fn saved(&self, head: &Head) -> Option<(u64, Vec<SavedRange>)> {
        if !head.has(SNAPSHOT) {
            return None;
        }
        // SAFETY: as in `args`.
        unsafe {
            let place = head.payload as usize + SPILL_HEAD + usize::from(head.members);
            let table = self.payload.add(self.payload.add(place).read() as usize);
            let ranges = (0..table.add(1).read() as usize)
                .map(|index| {
                    let entry = table.add(2 + 3 * index);
                    SavedRange {
                        address: entry.read(),
                        len: entry.add(1).read(),
                        copy: entry.add(2).read(),
                    }
                })
                .collect();
            Some((table.read(), ranges))
        }
    }
}

/// A blob, in place.
///
/// # Safety
/// A whole blob lies at `blob` for `'a`, and nobody writes it meanwhile.
#[inline(always)]
unsafe fn view_blob<'a>(blob: *const u64) -> TaskArgsView<'a> {
    // SAFETY: the caller's promise; the submitter takes no more of either than `i32::MAX`.
    unsafe {
        let counts = blob.cast::<u32>();
        let (tensors, scalars) = (counts.read(), counts.add(1).read());
        TaskArgsView::from_blob(blob.add(1).cast(), tensors, scalars)
    }
}

/// Reads a word that may be rewritten meanwhile.
///
/// # Safety
/// It is mapped and aligned.
#[inline(always)]
unsafe fn get(word: *mut u64) -> u64 {
    // SAFETY: the caller's promise; whoever writes it meanwhile does so with `put`.
    unsafe { AtomicU64::from_ptr(word).load(Relaxed) }
}

/// Writes a word that may be read meanwhile.
///
/// # Safety
/// It is mapped and aligned, and the caller is the only one who writes it.
#[inline(always)]
unsafe fn put(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(word).store(value, Relaxed) };
}

/// Writes a blob into the payload, where a stale reader may look at any word of it.
///
/// # Safety
/// `out` has room for it.
unsafe fn put_blob_by_words(out: *mut u64, args: &TaskArgs, marks: bool) {
    let (tensors, scalars) = (args.tensors(), args.scalars());
    let counts = tensors.len() as u64 | (scalars.len() as u64) << 32;
    // SAFETY: the caller's promise; `ContinuousTensor` is 40 bytes, aligned to 8.
    unsafe {
        put(out, counts);
        let mut at = out.add(1);
        for (&tensor, tag) in tensors.iter().zip(args.tags()) {
            at = put_tensor(at, if marks { tensor.marked(!tag.writes()) } else { tensor });
        }
        for (index, &scalar) in scalars.iter().enumerate() {
            put(at.add(index), scalar);
        }
    }
}

/// Writes a tensor by words, which lie inside what the builder was written in, however that was. What
/// comes behind it.
///
/// # Safety
/// `out` has room for it.
#[inline(always)]
unsafe fn put_tensor(out: *mut u64, tensor: ContinuousTensor) -> *mut u64 {
    let words: [u64; TENSOR_WORDS] = bytemuck::cast(tensor);
    for (index, word) in words.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { put(out.add(index), word) };
    }
    out.wrapping_add(TENSOR_WORDS)
}

/// Writes a blob into a task descriptor. Tensors are five words each, so all parts are whole words.
/// Of these others look at the first (a spilled task descriptor has the place of its payload there),
/// and at the address of each tensor.
///
/// # Safety
/// `out` has room for it.
#[inline(always)]
unsafe fn put_blob<const MARKS: bool>(out: *mut u64, args: &TaskArgs) {
    let (tensors, scalars) = (args.tensors(), args.scalars());
    // SAFETY: the caller's promise; `ContinuousTensor` is 40 bytes, aligned to 8.
    unsafe {
        put(out, tensors.len() as u64 | (scalars.len() as u64) << 32);
        // Few and small: a loop of moves beats a call of `memcpy` for a length it cannot know.
        let mut at = out.add(1);
        let as_written = |index: usize, tensor: &ContinuousTensor| match args.tags().get(index) {
            Some(tag) if MARKS => tensor.marked(!tag.writes()),
            _ => *tensor,
        };
        let mut others = tensors;
        // Mostly there are two at most, which need no loop.
        if let [first, behind @ ..] = others {
            at = put_tensor(at, as_written(0, first));
            others = behind;
        }
        if let [second, behind @ ..] = others {
            at = put_tensor(at, as_written(1, second));
            others = behind;
        }
        for (index, tensor) in others.iter().enumerate() {
            at = put_tensor(at, as_written(2 + index, tensor));
        }
        // Where other tasks have an address.
        if let [scalar] = scalars {
            put(at, *scalar);
            return;
        }
        for scalar in scalars {
            put(at, *scalar);
            at = at.add(1);
        }
    }
}
