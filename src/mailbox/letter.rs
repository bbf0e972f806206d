//! How a task lies in shared memory for whoever runs it: 192 bytes a slot, and a ring of payload
//! for what does not fit. The submitter alone writes here; in worker processes it is mapped
//! read-only, so a worker that scribbles dies instead of fooling anybody.
//!
//! ```text
//! letter: | seq | callable | config | kind flags target | payload | members retries | deadline |
//!         | group | argument blob, when it is one and at most 144 bytes                        |
//!
//! payload (when the letter is not enough), in 8-byte words from `payload`:
//!         | place of blob 0 | ... | place of blob N-1 | place of the save table or 0 | blobs ... |
//! save table: | address of the seal | ranges | (address, length, address of the copy) ... |
//! ```

use crate::abi::{CallConfig, ContinuousTensor, TaskArgs, TaskArgsView};
use crate::ids::{Callable, WorkerKind};
use crate::limits::INLINE_ARGS;

/// Any worker of the kind may take the task.
pub const ANYWHERE: u16 = u16::MAX;

/// Runs no function: it only joins more producers than one fan-in word can name.
pub const JOIN: u8 = 1;
/// Goes before tasks without this flag.
pub const URGENT: u8 = 2;
/// The blob is in the payload ring.
pub const SPILLED: u8 = 4;
/// Ranges are saved before the first attempt and restored before the others.
pub const SNAPSHOT: u8 = 8;
/// One node, several members.
pub const GROUP: u8 = 16;

/// What a task is, apart from its arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The task's number.
    pub seq: u64,
    /// What to run.
    pub callable: u64,
    /// Passed on to the worker.
    pub config: CallConfig,
    /// The pool, as [`WorkerKind`].
    pub kind: u8,
    /// [`JOIN`], [`URGENT`], [`SPILLED`], [`SNAPSHOT`], [`GROUP`].
    pub flags: u8,
    /// The one worker that may take it, or [`ANYWHERE`].
    pub target: u16,
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
    /// Whether `flag` is set.
    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The pool.
    #[inline]
    pub fn pool(&self) -> WorkerKind {
        WorkerKind::from_index(self.kind)
    }

    /// What to run.
    pub fn callable(&self) -> Callable {
        Callable(self.callable)
    }
}

/// A slot's letter.
#[repr(C, align(64))]
pub struct Letter {
    head: Head,
    inline: [u64; INLINE_ARGS / 8],
}

const _: () = assert!(size_of::<Letter>() == 192 && size_of::<Head>() == 48);

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

/// All letters of a window, and the payload ring.
#[derive(Clone, Copy)]
pub struct Letters {
    letters: *mut Letter,
    mask: u32,
    payload: *mut u64,
    payload_words: u32,
}

// SAFETY: the memory is shared between processes anyway; who may write when is the protocol's
// matter (the submitter before it publishes the slot, nobody until the slot has retired).
unsafe impl Send for Letters {}
// SAFETY: as above.
unsafe impl Sync for Letters {}

impl Letters {
    /// Letters at `letters` (a power of two of them), payload of `payload_words` at `payload`.
    ///
    /// # Safety
    /// Both areas are mapped for as long as the value or a copy of it is used, aligned, and
    /// written by nobody but through [`write`](Self::write).
    pub unsafe fn new(
        letters: *mut Letter,
        window: u32,
        payload: *mut u64,
        payload_words: u32,
    ) -> Self {
        Self { letters, mask: window - 1, payload, payload_words }
    }

    /// The head of slot `slot`, copied.
    ///
    /// It is stable while the caller holds the slot, or a producer of it that has not retired.
    #[inline]
    pub fn head(&self, slot: u32) -> Head {
        // SAFETY: the index is cut to the window; `Head` has no illegal bit pattern, so even a
        // letter that is being rewritten (a stale hint) only gives a head that will not be used.
        unsafe {
            (&raw const (*self.letters.add((slot & self.mask) as usize)).head).read_volatile()
        }
    }

    /// The address of a letter, to prefetch it.
    #[inline]
    pub fn peek(&self, slot: u32) -> &u64 {
        // SAFETY: in bounds; only ever used for its address.
        unsafe { &*self.letters.add((slot & self.mask) as usize).cast::<u64>() }
    }

    /// Writes the letter of a single task with its arguments inside.
    ///
    /// # Safety
    /// The caller is the submitter and has reserved the slot.
    #[inline]
    pub unsafe fn write_inline(&self, slot: u32, head: Head, args: &TaskArgs) {
        debug_assert!(args.blob_len() <= INLINE_ARGS);
        // SAFETY: in bounds, reserved; the blob fits by the check above.
        unsafe {
            let letter = self.letters.add((slot & self.mask) as usize);
            (&raw mut (*letter).head).write(head);
            put_blob((&raw mut (*letter).inline).cast(), args);
        }
    }

    /// Payload words that `args` (one a member) and `saved` ranges take.
    pub fn spill_words(args: &[TaskArgs], saved: usize) -> usize {
        let blobs: usize = args.iter().map(|a| a.blob_len() / 8).sum();
        let table = if saved == 0 { 0 } else { 2 + 3 * saved };
        args.len() + 1 + blobs + table
    }

    /// Writes a letter whose arguments lie in the payload ring from word `head.payload`.
    ///
    /// # Safety
    /// The caller is the submitter and has reserved the slot and
    /// [`spill_words`](Self::spill_words) of payload.
    pub unsafe fn write_spilled(
        &self,
        slot: u32,
        head: Head,
        args: &[TaskArgs],
        saved: &[SavedRange],
        seal: u64,
    ) {
        let words = Self::spill_words(args, saved.len());
        assert!(head.payload as usize + words <= self.payload_words as usize);
        // SAFETY: in bounds by the assertion, reserved by the caller.
        unsafe {
            let letter = self.letters.add((slot & self.mask) as usize);
            (&raw mut (*letter).head).write(head);
            let mut at = head.payload as usize + args.len() + 1;
            for (member, args) in args.iter().enumerate() {
                self.payload.add(head.payload as usize + member).write(at as u64);
                put_blob(self.payload.add(at), args);
                at += args.blob_len() / 8;
            }
            let table = if saved.is_empty() { 0 } else { at };
            self.payload.add(head.payload as usize + args.len()).write(table as u64);
            if table != 0 {
                self.payload.add(table).write(seal);
                self.payload.add(table + 1).write(saved.len() as u64);
                for (index, range) in saved.iter().enumerate() {
                    let entry = self.payload.add(table + 2 + 3 * index);
                    entry.write(range.address);
                    entry.add(1).write(range.len);
                    entry.add(2).write(range.copy);
                }
            }
        }
    }

    /// The arguments of member `member`, in place.
    ///
    /// # Safety
    /// The caller holds a lease on the slot for `'a`, and `head` is its letter's.
    #[inline]
    pub unsafe fn args<'a>(&self, slot: u32, head: &Head, member: u16) -> TaskArgsView<'a> {
        // SAFETY: the submitter wrote counts and places before it published the slot, and only
        // it can write here; the lease keeps it from reusing the space.
        unsafe {
            let blob: *const u64 = if head.has(SPILLED) {
                let place = self.payload.add(head.payload as usize + usize::from(member)).read();
                self.payload.add(place as usize)
            } else {
                (&raw const (*self.letters.add((slot & self.mask) as usize)).inline).cast()
            };
            let counts = blob.cast::<u32>();
            let (tensors, scalars) = (counts.read() as usize, counts.add(1).read() as usize);
            let tensor = blob.add(1).cast::<ContinuousTensor>();
            TaskArgsView::from_slices(
                std::slice::from_raw_parts(tensor, tensors),
                std::slice::from_raw_parts(tensor.add(tensors).cast(), scalars),
            )
        }
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
            let place = head.payload as usize + usize::from(head.members);
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

/// Writes a blob word by word. Tensors are five words each, so all parts are whole words.
///
/// # Safety
/// `out` has room for it.
#[inline]
unsafe fn put_blob(out: *mut u64, args: &TaskArgs) {
    let (tensors, scalars) = (args.tensors(), args.scalars());
    // SAFETY: the caller's promise; `ContinuousTensor` is 40 bytes, aligned to 8.
    unsafe {
        out.write(tensors.len() as u64 | (scalars.len() as u64) << 32);
        let tensor = out.add(1).cast::<ContinuousTensor>();
        tensor.copy_from_nonoverlapping(tensors.as_ptr(), tensors.len());
        let scalar = tensor.add(tensors.len()).cast::<u64>();
        scalar.copy_from_nonoverlapping(scalars.as_ptr(), scalars.len());
    }
}
