//! The memory that a flow and its worker processes share, and the only place that turns numbers
//! into pointers to it.
//!
//! ```text
//! control (memfd)   head of the host | one area a process:
//!                   entry | 64 cells of 512 B | their times, 32 B each |
//!                   asks ring (worker to host) | answers ring
//! values (memfd)    arguments, results and shared blocks; who has what is the host's secret
//! spill (a file without a name, when the user asked for it)   the same for what does not fit
//! ```
//!
//! All three are mapped before the fork, at the same addresses everywhere. Workers have the values
//! mapped for reading only; a worker opens what the host lent it for writing, and closes it again
//! when a large value is complete.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use bytemuck::{Pod, Zeroable};
use mailring_process::descriptors::{Descriptor, above_standard};
use mailring_process::limits::{check_file_length, hint};
use mailring_process::map::{Mapping, PAGE};
use mailring_process::{map, membarrier};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;

use super::cell::CellState;
use super::error::Error;
use super::notifier::Notifier;
use super::stream::Stream;
use super::sync::{prefetch_read, prefetch_write};

/// Tasks that stand at a worker at the same time.
pub(crate) const CELLS: u64 = 64;
/// Bytes of arguments in a cell.
pub(crate) const CELL_ARGS: usize = 256;
/// Bytes of a completion in the cell's first line, and behind the arguments.
pub(crate) const SHORT_COMPLETION: usize = 16;
pub(crate) const LONG_COMPLETION: usize = 192;
/// Bytes of each of the two rings of a process.
const STREAM: usize = 64 << 10;

/// What the host writes into a cell before it posts.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Head {
    /// The number of the task.
    pub(crate) task: u64,
    /// Which node.
    pub(crate) node: u32,
    /// Bytes in use of the arguments' area.
    pub(crate) args_len: u32,
    /// Attempts before this one.
    pub(crate) attempt: u16,
    /// See [`flags`].
    pub(crate) flags: u16,
    pub(crate) argc: u32,
}

/// How arguments stand in a task descriptor: a word each, then what it says.
pub(crate) mod arg_word {
    /// Address and length follow.
    pub(crate) const PLACED: u32 = 1 << 30;
    /// The number of an earlier posted task follows.
    pub(crate) const CELL: u32 = 2 << 30;
    /// The kind's bits; without one, so many bytes follow.
    pub(crate) const KIND: u32 = 3 << 30;
}

/// What a task asks for besides a plain call.
pub(crate) mod flags {
    /// The arguments' area holds a place (address, length) where the arguments are.
    pub(crate) const ENVELOPE: u16 = 1;
    /// The last argument are the hooks.
    pub(crate) const HOOKS: u16 = 2;
    /// The start of the body is to be noted: there is a deadline.
    pub(crate) const TIMED: u16 = 4;
    /// The flow is profiled: the worker writes [`Stamps`](super::Stamps).
    pub(crate) const PROFILED: u16 = 8;
}

/// What the worker writes before it is done.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Completion {
    /// One of [`completion`].
    pub(crate) kind: u32,
    /// Bytes of it.
    pub(crate) len: u32,
    /// How long the body took, in nanoseconds, at most what fits.
    pub(crate) duration_ns: u32,
    /// How many bytes of asks were written before it (the lower part): those are heard first.
    pub(crate) requests: u32,
    /// The completion if it fits; or else its place (address, length) where it is in the values.
    pub(crate) short: [u64; 2],
}

/// Kinds of completions. A completion that failed holds an encoded `Cause`.
pub(crate) mod completion {
    /// The value stands in the cell.
    pub(crate) const VALUE: u32 = 1;
    /// The value stands in the values.
    pub(crate) const PLACED: u32 = 2;
    pub(crate) const FAILED: u32 = 3;
    pub(crate) const FAILED_PLACED: u32 = 4;
    /// An argument came from an earlier task of the same worker, which has no value.
    pub(crate) const UPSTREAM: u32 = 5;
    /// Cancelled before the body began.
    pub(crate) const UNRUN: u32 = 6;
}

/// A call at a worker: eight cache lines.
#[repr(C, align(64))]
pub(crate) struct Cell {
    pub(crate) state: CellState,
    head: Head,
    completion: Completion,
    args: [u64; CELL_ARGS / 8],
    long: [u64; LONG_COMPLETION / 8],
}

const _: () = assert!(size_of::<Cell>() == 512);

/// When the task in a cell went how far, on the clock of [`monotonic_ns`](mailring_process::clock).
/// The worker of a task that is profiled writes them; the host reads them also while the body runs,
/// and when the worker is dead.
#[derive(Default)]
#[repr(C, align(32))]
pub(crate) struct Stamps {
    /// Of which task the others are.
    seq: AtomicU64,
    began: AtomicU64,
    /// The setup hook is through; 0: not yet.
    body: AtomicU64,
    ended: AtomicU64,
}

/// What stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) began: u64,
    pub(crate) body: u64,
    pub(crate) ended: u64,
}

impl Stamps {
    /// The worker takes the task up.
    #[inline]
    pub(crate) fn begin(&self, seq: u64, now: u64) {
        self.began.store(now, Relaxed);
        self.body.store(0, Relaxed);
        self.ended.store(0, Relaxed);
        self.seq.store(seq, Release);
    }

    /// The function begins.
    #[inline]
    pub(crate) fn set_body(&self, now: u64) {
        self.body.store(now, Relaxed);
    }

    /// It has ended.
    #[inline]
    pub(crate) fn end(&self, now: u64) {
        self.ended.store(now, Relaxed);
    }

    /// Those of this task, if it was taken up and is profiled.
    #[inline]
    pub(crate) fn read(&self, seq: u64) -> Option<Times> {
        (self.seq.load(Acquire) == seq).then(|| Times {
            began: self.began.load(Relaxed),
            body: self.body.load(Relaxed),
            ended: self.ended.load(Relaxed),
        })
    }
}

/// What is known of a process, and what it is told. Lines by writer.
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// The worker sleeps here.
    pub(crate) parker: AtomicU32,
    /// 1: it has begun to serve.
    pub(crate) live: AtomicU32,
    _a: [u64; 7],
    /// Worker: bytes of asks written, of answers read.
    pub(crate) requests_written: AtomicU64,
    pub(crate) responses_read: AtomicU64,
    _b: [u64; 6],
    /// Worker: the task whose body it is in, plus 1. It writes this with each task, and a host that
    /// looks for requests all the time would take the line away from it.
    pub(crate) inside: AtomicU64,
    _e: [u64; 7],
    /// Host: bytes of requests read, of responses written; the task that was cancelled, plus 1.
    pub(crate) requests_read: AtomicU64,
    pub(crate) responses_written: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    /// Host: 1 when the worker is to end as soon as it has nothing to do.
    pub(crate) leave: AtomicU32,
    _c: u32,
    _d: [u64; 4],
}

#[repr(C, align(128))]
struct Front {
    want: AtomicU32,
    _a: [u32; 31],
    /// Threads of the host sleep here; counted up with each ring.
    notifier: AtomicU32,
    _b: [u32; 31],
}

/// All of it.
pub(crate) struct Memory {
    control: Mapping,
    values: Mapping,
    spill: Option<Spill>,
    places: usize,
    /// Bytes at the end of the values for what is small.
    set_aside: usize,
    /// Whether sleepers fence for those who work (see [`Notifier`]).
    pub(crate) asymmetric: bool,
    /// Whether the workers are threads of this process, which have no mapping of their own.
    pub(crate) in_process: bool,
}

/// The file for values that do not fit.
pub(crate) struct Spill {
    file: Descriptor,
    map: MmapRaw,
}

/// A sixteenth of the memory for values, but not less nor more than this, comes on top of it.
const SET_ASIDE: (usize, usize) = (256 << 10, 64 << 20);

/// What a process has in front of its rings.
const CELLS_AT: usize = size_of::<Entry>();
const STAMPS_AT: usize = CELLS_AT + CELLS as usize * size_of::<Cell>();
const STREAMS_AT: usize = STAMPS_AT + CELLS as usize * size_of::<Stamps>();
const STRIDE: usize = (STREAMS_AT + 2 * STREAM).next_multiple_of(PAGE);

impl Memory {
    /// Maps it all. Nothing is touched but the front.
    pub(crate) fn new(
        name: &str,
        places: usize,
        values: usize,
        spill: Option<Spill>,
    ) -> io::Result<Self> {
        let control = Mapping::new(name, PAGE + places * STRIDE)?;
        let set_aside = (values / 16).clamp(SET_ASIDE.0, SET_ASIDE.1).next_multiple_of(PAGE);
        let values = values.saturating_add(set_aside + PAGE - 1) / PAGE * PAGE;
        let values = Mapping::new(&format!("{name}-values"), values)?;
        let asymmetric = membarrier::register();
        Ok(Self { control, values, spill, places, set_aside, asymmetric, in_process: false })
    }

    fn front(&self) -> &Front {
        // SAFETY: the first page is the front's; it is made of atomics.
        unsafe { self.control.base().cast().as_ref() }
    }

    /// Whether the host wants to be told.
    #[inline]
    pub(crate) fn notifier(&self) -> Notifier<'_> {
        Notifier::new(&self.front().want, self.asymmetric)
    }

    /// Where threads of the host sleep.
    pub(crate) fn notifier_word(&self) -> &AtomicU32 {
        &self.front().notifier
    }

    /// What one who goes to sleep does before its last look.
    pub(crate) fn fence_others(&self) {
        if self.asymmetric {
            membarrier::everywhere();
        }
    }

    /// In a new process: joins the fences. False when that fails and was counted on.
    pub(crate) fn join_fences(&self) -> bool {
        !self.asymmetric || membarrier::register()
    }

    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// Bytes at the end of the values that are for small results, long descriptors, and errors.
    pub(crate) fn set_aside(&self) -> u64 {
        self.set_aside as u64
    }

    fn area(&self, place: u16) -> NonNull<u8> {
        assert!(usize::from(place) < self.places, "process {place} of {}", self.places);
        // SAFETY: inside the mapping by the check and the mapping's size.
        unsafe { self.control.base().add(PAGE + usize::from(place) * STRIDE) }
    }

    #[inline]
    pub(crate) fn entry(&self, place: u16) -> &Entry {
        // SAFETY: each area begins with its entry, page-aligned, made of atomics (the rest is
        // never read).
        unsafe { self.area(place).cast().as_ref() }
    }

    #[inline]
    pub(crate) fn cell(&self, place: u16, seq: u64) -> CellRef {
        let index = (seq % CELLS) as usize;
        let offset = CELLS_AT + index * size_of::<Cell>();
        // SAFETY: inside the area: there are `CELLS` cells behind the entry, all 64-byte aligned.
        CellRef(unsafe { self.area(place).add(offset).cast() })
    }

    /// The times of the task in that cell.
    #[inline]
    pub(crate) fn stamps(&self, place: u16, seq: u64) -> &Stamps {
        let index = (seq % CELLS) as usize;
        // SAFETY: inside the area, aligned, and made of atomics.
        unsafe { self.area(place).add(STAMPS_AT + index * size_of::<Stamps>()).cast().as_ref() }
    }

    /// Messages from the worker to the host.
    pub(crate) fn requests(&self, place: u16) -> Stream<'_> {
        let entry = self.entry(place);
        Stream::new(&entry.requests_written, &entry.requests_read, self.stream(place, 0), STREAM)
    }

    /// Whether the worker has said something.
    #[inline]
    pub(crate) fn has_requests(&self, place: u16) -> bool {
        let entry = self.entry(place);
        entry.requests_written.load(Acquire) != entry.requests_read.load(Relaxed)
    }

    /// Messages from the host to the worker.
    pub(crate) fn responses(&self, place: u16) -> Stream<'_> {
        let entry = self.entry(place);
        Stream::new(&entry.responses_written, &entry.responses_read, self.stream(place, 1), STREAM)
    }

    fn stream(&self, place: u16, which: usize) -> NonNull<u8> {
        let offset = STREAMS_AT + which * STREAM;
        // SAFETY: the two rings stand behind the cells and their times.
        unsafe { self.area(place).add(offset) }
    }

    /// A process's area as if it had never been used. The process is gone.
    pub(crate) fn reset(&self, place: u16) {
        // SAFETY: the entry, the cells and their times are in the area, and nobody else uses it.
        unsafe { self.area(place).write_bytes(0, STREAMS_AT) };
    }

    // ---- values -----------------------------------------------------------------------------

    /// The addresses of the values, then those of the spill.
    pub(crate) fn ranges(&self) -> [Range<u64>; 2] {
        let values = self.values.base().as_ptr() as u64;
        let spill = self.spill.as_ref().map_or(0..0, |spill| {
            let base = spill.map.as_mut_ptr() as u64;
            base..base + spill.map.len() as u64
        });
        [values..values + self.values.len() as u64, spill]
    }

    /// Whether these bytes are values.
    pub(crate) fn holds(&self, address: u64, len: u64) -> bool {
        let Some(end) = address.checked_add(len) else { return false };
        self.ranges().iter().any(|range| range.start <= address && end <= range.end)
    }

    /// Bytes of values. `None` for what is none.
    ///
    /// # Safety
    /// Nobody writes them while the slice lives: they belong to a complete value, or to the
    /// arguments of a task that has been posted.
    pub(crate) unsafe fn bytes<'a>(&self, address: u64, len: u64) -> Option<&'a [u8]> {
        if !self.holds(address, len) {
            return None;
        }
        let first = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: mapped as long as any flow's handle lives, by the check and the caller's word.
        Some(unsafe { std::slice::from_raw_parts(first, len as usize) })
    }

    /// A copy of bytes that another process may be writing.
    pub(crate) fn copy(&self, address: u64, len: u64) -> Option<Vec<u8>> {
        if !self.holds(address, len) {
            return None;
        }
        let mut copy = Vec::with_capacity(len as usize);
        let first: *const u8 = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: mapped, by the check. Whatever is there is copied once, and then used.
        unsafe {
            std::ptr::copy_nonoverlapping(first, copy.as_mut_ptr(), len as usize);
            copy.set_len(len as usize);
        }
        Some(copy)
    }

    /// Room for a value.
    ///
    /// # Safety
    /// The bytes have been lent to the caller, who is the only one to use them.
    pub(crate) unsafe fn room<'a>(&self, address: u64, len: u64) -> Option<&'a mut [u8]> {
        if !self.holds(address, len) {
            return None;
        }
        let first = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: mapped, by the check; the caller's alone.
        Some(unsafe { std::slice::from_raw_parts_mut(first, len as usize) })
    }

    /// In a worker: values can be read only, until they are opened; and what it starts has none
    /// of this memory.
    pub(crate) fn confine(&self) -> io::Result<()> {
        self.control.not_for_children()?;
        self.values.not_for_children()?;
        for range in self.ranges() {
            if !range.is_empty() {
                map::protect(&range, false)?;
                map::keep_from_children(&range)?;
            }
        }
        Ok(())
    }

    /// In a worker: whole pages that the host lent are opened for writing, or closed.
    pub(crate) fn open(&self, address: u64, len: u64, writing: bool) -> io::Result<()> {
        if !self.holds(address, len) {
            return Err(io::Error::other("outside of the values"));
        }
        if self.in_process {
            return Ok(()); // the mapping is the driver's
        }
        map::protect(&(address..(address + len).next_multiple_of(PAGE as u64)), writing)
    }

    /// In the host, when the fork server has it: what the host forks later does not.
    pub(crate) fn not_for_children(&self) {
        let _ = self.control.not_for_children();
        for range in self.ranges() {
            let _ = map::keep_from_children(&range);
        }
    }

    /// Gives the pages of a block back.
    pub(crate) fn forget(&self, address: u64, len: u64) {
        let [values, spill] = self.ranges();
        if values.contains(&address) {
            self.values.forget((address - values.start) as usize, len as usize);
        } else if let (true, Some(file)) = (spill.contains(&address), &self.spill) {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            let at = (address - spill.start) as libc::off_t;
            // SAFETY: passes no pointers. A failure only means that the file stays large.
            unsafe { libc::fallocate(file.file.as_fd().as_raw_fd(), mode, at, len as libc::off_t) };
        }
    }

    /// Makes sure that the disk has room for a block of the spill.
    pub(crate) fn reserve_spill(&self, address: u64, len: u64) -> io::Result<()> {
        let Some(spill) = &self.spill else { return Err(io::Error::other("there is no spill")) };
        let at = address - self.ranges()[1].start;
        let flags = nix::fcntl::FallocateFlags::empty();
        let (at, len) = (at as libc::off_t, len as libc::off_t);
        nix::fcntl::fallocate(spill.file.as_fd(), flags, at, len).map_err(Into::into)
    }
}

impl Spill {
    /// A file that has no name, so that nothing of it can be left behind.
    pub(crate) fn new(directory: &Path, len: usize) -> Result<Self, Error> {
        Self::open(directory, len).map_err(|error| {
            let way_out = match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::ENOENT | Errno::ENOTDIR => "name a directory that exists",
                Errno::EACCES | Errno::EPERM | Errno::EROFS => "name one that you may write to",
                Errno::EOPNOTSUPP | Errno::EISDIR => {
                    "its file system has no files without a name (O_TMPFILE): name one on ext4, xfs, btrfs or tmpfs"
                }
                _ => "name another directory, or build the flow without one",
            };
            Error::System {
                what: format!("making a spill file of {len} bytes in {}", directory.display()),
                why: format!("{error}{}; {way_out}", hint(&error)),
            }
        })
    }

    fn open(directory: &Path, len: usize) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .mode(0o600)
            .open(directory)?;
        let file = File::from(above_standard(file.into())?);
        check_file_length(len as u64)?;
        file.set_len(len as u64)?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        Ok(Self { file: std::os::fd::OwnedFd::from(file).into(), map })
    }
}

/// A cell in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct CellRef(NonNull<Cell>);

impl CellRef {
    #[inline]
    pub(crate) fn state(&self) -> &CellState {
        // SAFETY: a cell of the mapping; the state is atomic. It lives as long as the memory,
        // which outlives every `CellRef` (they are made for one step).
        unsafe { &(*self.0.as_ptr()).state }
    }

    /// Host: it will write here before long.
    #[inline]
    pub(crate) fn expect_write(&self) {
        prefetch_write(self.0.as_ptr());
        prefetch_write(self.args());
    }

    /// Worker: it will read the arguments before long.
    #[inline]
    pub(crate) fn expect_read(&self) {
        prefetch_read(self.args());
    }

    /// Host, before it posts.
    #[inline]
    pub(crate) fn write_head(&self, head: Head) {
        // SAFETY: the cell is the host's: not posted, or recalled, or its completion was read.
        unsafe { (&raw mut (*self.0.as_ptr()).head).write(head) };
    }

    /// Worker, after it took.
    #[inline]
    pub(crate) fn head(&self) -> Head {
        // SAFETY: written before the post. Bits of any kind are a value.
        unsafe { (&raw const (*self.0.as_ptr()).head).read() }
    }

    /// Worker, before it is done.
    #[inline]
    pub(crate) fn write_completion(&self, completion: Completion) {
        // SAFETY: the worker holds the task descriptor.
        unsafe { (&raw mut (*self.0.as_ptr()).completion).write(completion) };
    }

    /// Host, after `Done`: a copy. Also the worker's own, for a later task.
    #[inline]
    pub(crate) fn completion(&self) -> Completion {
        // SAFETY: a copy of plain words, whatever they are.
        unsafe { (&raw const (*self.0.as_ptr()).completion).read_volatile() }
    }

    /// Where the arguments go (host) and are (worker).
    #[inline]
    pub(crate) fn args(&self) -> *mut u8 {
        // SAFETY: an address inside the cell.
        unsafe { (&raw mut (*self.0.as_ptr()).args).cast() }
    }

    /// Where a short completion stands.
    pub(crate) fn short(&self) -> *mut u8 {
        // SAFETY: an address inside the cell.
        unsafe { (&raw mut (*self.0.as_ptr()).completion.short).cast() }
    }

    /// Where a longer completion stands.
    #[inline]
    pub(crate) fn long(&self) -> *mut u8 {
        // SAFETY: an address inside the cell.
        unsafe { (&raw mut (*self.0.as_ptr()).long).cast() }
    }
}
