//! The records of the arena that are not part of a protocol room: superblock, control words, the
//! worker table, error texts.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use mailring_process::parker::ASLEEP;

use crate::limits::{ERROR_TEXT, MAX_WORKERS};

#[repr(C)]
pub(super) struct Superblock {
    pub(super) magic: u64,
    pub(super) version: u64,
    pub(super) window: u64,
    pub(super) workers: u64,
    pub(super) total: u64,
}

/// Words that belong to nobody in particular.
#[repr(C)]
pub(crate) struct Control {
    /// Counts the events that a sleeping host may wait for.
    pub(crate) host_parker: CachePadded<AtomicU32>,
    /// 1: workers leave when they find nothing to do.
    pub(crate) shutdown: CachePadded<AtomicU32>,
    /// 1: the host waits for tasks. Advice only.
    pub(crate) host_waits: CachePadded<AtomicU32>,
    /// When the supervisor looks at deadlines anyway, in nanoseconds of the monotonic clock.
    pub(crate) next_look: CachePadded<AtomicU64>,
    /// 1: a group has come to grief; the supervisor takes it back to 0.
    pub(crate) trouble: AtomicU32,
}

#[repr(C)]
pub(super) struct Pool {
    /// The group that forms: `slot | generation << 32`, plus bit 63 so that it is never 0; or 0.
    pub(super) assembling: CachePadded<AtomicU64>,
    pub(super) parked: CachePadded<[AtomicU64; MAX_WORKERS / 64]>,
}

/// Where a worker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Status {
    /// Forked, not yet ready.
    Starting = 0,
    /// At work.
    Live = 1,
    /// Dead, and no replacement will come.
    Gone = 2,
    /// Its factory failed; the text is in its error record.
    Refused = 3,
}

/// One worker's own lines.
#[repr(C, align(128))]
pub(crate) struct WorkerEntry {
    pub(crate) status: AtomicU32,
    pub(crate) parker: AtomicU32,
    /// Its process, 0 for a thread.
    pub(crate) pid: AtomicU32,
    /// [`BODY`], [`PREPARING`], or 0 outside of both; with [`WAITS`] or without.
    inside: AtomicU32,
    /// The lease whose body was begun last: `slot | generation << 20 | attempt << 40 | 1 << 63`.
    pub(crate) started: AtomicU64,
    /// When the present body must be through, in nanoseconds of the monotonic clock; 0: never.
    pub(crate) deadline: AtomicU64,
    /// Bodies run.
    pub(crate) ran: AtomicU64,
    /// Times it went to sleep.
    pub(crate) slept: AtomicU64,
    /// Times it looked for work, found none, and said so.
    pub(crate) looked: AtomicU64,
    /// Completions that came from a superseded attempt.
    pub(crate) superseded: AtomicU64,
    /// What the worker had to say when it could not start: text, ended by a zero.
    said: [AtomicU64; 32],
}

/// Inside the body of a task.
pub(crate) const BODY: u32 = 1;
/// With a task whose body has not begun: its memory is mapped or copied, which may take long.
pub(crate) const PREPARING: u32 = 2;
/// Wherever it is, it has had nothing to do there for a while.
const WAITS: u32 = 1 << 31;

impl WorkerEntry {
    /// [`BODY`], [`PREPARING`], or what else it says.
    pub(crate) fn inside(&self) -> u32 {
        self.inside.load(Ordering::Acquire) & !WAITS
    }

    /// Whether it sleeps, or has had nothing to do for a while. Advice only.
    pub(crate) fn waits(&self) -> bool {
        self.inside.load(Ordering::Relaxed) & WAITS != 0 || self.sleeps()
    }

    /// Whether it sleeps. Advice only.
    pub(crate) fn sleeps(&self) -> bool {
        self.parker.load(Ordering::Relaxed) == ASLEEP
    }

    /// It has had nothing to do for a while, until it enters something.
    #[cold]
    pub(crate) fn wait(&self) {
        self.inside.store(self.inside() | WAITS, Ordering::Relaxed);
    }

    /// What it is inside of from now on; 0 for nothing.
    #[inline]
    pub(crate) fn enter(&self, what: u32) {
        self.inside.store(what, Ordering::Relaxed);
    }

    /// A worker that has nothing to do says again what may have been overwritten since it was last
    /// said, and that it has looked.
    pub(crate) fn idles(&self) {
        self.status.store(Status::Live as u32, Ordering::Relaxed);
        self.enter(0);
        self.deadline.store(0, Ordering::Relaxed);
        let looked = self.looked.load(Ordering::Relaxed).wrapping_add(1);
        self.looked.store(looked, Ordering::Release);
    }

    pub(crate) fn say(&self, text: &str) {
        let mut bytes = text.bytes();
        for word in &self.said {
            let chunk: [u8; 8] = std::array::from_fn(|_| bytes.next().unwrap_or(0));
            word.store(u64::from_ne_bytes(chunk), Ordering::Relaxed);
        }
    }

    pub(crate) fn said(&self) -> String {
        let bytes = self.said.iter().flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes());
        let bytes: Vec<u8> = bytes.take_while(|&b| b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Why a task failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Code {
    Error = 1,
    Panic = 2,
    Deadline = 3,
    Died = 4,
    Cancelled = 5,
    Gone = 6,
}

impl Code {
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits {
            2 => Self::Panic,
            3 => Self::Deadline,
            4 => Self::Died,
            5 => Self::Cancelled,
            6 => Self::Gone,
            _ => Self::Error,
        }
    }

    /// The cause word of a root.
    pub(crate) fn failed_root(self, seq: u64) -> u64 {
        seq << 8 | self as u64
    }
}

/// A number that goes with an error, beside its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Detail {
    #[default]
    None,
    /// What a function of C returned.
    Returned(i32),
    /// The exit code of the worker's process.
    Exited(i32),
    /// The signal that ended it.
    Signalled(i32),
}

impl Detail {
    /// From a wait status.
    pub(crate) fn of_status(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Self::Signalled(libc::WTERMSIG(status))
        } else {
            Self::None
        }
    }

    fn words(self) -> (u8, i32) {
        match self {
            Self::None => (0, 0),
            Self::Returned(code) => (1, code),
            Self::Exited(code) => (2, code),
            Self::Signalled(number) => (3, number),
        }
    }
}

/// How one attempt failed, as text: a copy of an [`ErrorPlace`].
#[derive(Clone, Copy)]
pub(crate) struct ErrorRecord {
    /// The task, plus one: a record that was never written is not any task's.
    pub(crate) seq_plus_one: u64,
    pub(crate) attempt: u32,
    detail: i32,
    len: u16,
    pub(crate) worker: u16,
    /// The member of a group; `u16::MAX` for a single task.
    pub(crate) member: u16,
    pub(crate) code: u8,
    detail_kind: u8,
    text: [u8; ERROR_TEXT],
}

impl ErrorRecord {
    pub(crate) fn detail(&self) -> Detail {
        match self.detail_kind {
            1 => Detail::Returned(self.detail),
            2 => Detail::Exited(self.detail),
            3 => Detail::Signalled(self.detail),
            _ => Detail::None,
        }
    }

    pub(crate) fn text(&self) -> String {
        let bytes = &self.text[..(self.len as usize).min(ERROR_TEXT)];
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// An [`ErrorRecord`] in the arena. Written by whoever completes the slot, before it does. Members of
/// a group may write at the same time, and others read meanwhile: then it is a mix of what was written.
#[repr(transparent)]
pub(super) struct ErrorPlace([AtomicU64; ERROR_HEAD + ERROR_TEXT / 8]);

/// Words in front of the text: task | attempt, detail | length, worker, member, code, kind of detail.
const ERROR_HEAD: usize = 3;

const _: () = assert!(size_of::<ErrorPlace>() == 1024);

impl ErrorPlace {
    pub(super) fn write(&self, origin: Origin, text: &str) {
        let end = (0..=text.len().min(ERROR_TEXT)).rev().find(|&end| text.is_char_boundary(end));
        let text = &text.as_bytes()[..end.unwrap_or(0)];
        let (detail_kind, detail) = origin.detail.words();
        let head = [
            origin.seq + 1,
            u64::from(origin.attempt) | u64::from(detail as u32) << 32,
            text.len() as u64
                | u64::from(origin.worker) << 16
                | u64::from(origin.member) << 32
                | u64::from(origin.code as u8) << 48
                | u64::from(detail_kind) << 56,
        ];
        let text = text.chunks(8).map(|chunk| {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(bytes)
        });
        for (place, word) in self.0.iter().zip(head.into_iter().chain(text)) {
            place.store(word, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> ErrorRecord {
        let word = |at: usize| self.0[at].load(Ordering::Relaxed);
        let [task, attempt, rest] = std::array::from_fn(word);
        let mut record = ErrorRecord {
            seq_plus_one: task,
            attempt: attempt as u32,
            detail: (attempt >> 32) as i32,
            len: rest as u16,
            worker: (rest >> 16) as u16,
            member: (rest >> 32) as u16,
            code: (rest >> 48) as u8,
            detail_kind: (rest >> 56) as u8,
            text: [0; ERROR_TEXT],
        };
        for (at, chunk) in record.text.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&word(ERROR_HEAD + at).to_ne_bytes());
        }
        record
    }
}

/// Who speaks in an error record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) seq: u64,
    pub(crate) worker: u16,
    pub(crate) attempt: u32,
    pub(crate) code: Code,
    pub(crate) member: u16,
    pub(crate) detail: Detail,
}

/// Bytes of the path of a dynamic function's shared object, at most.
pub(crate) const MAX_DYNAMIC_PATH: usize = 1024;
/// Bytes of its symbol, at most.
pub(crate) const MAX_DYNAMIC_SYMBOL: usize = 256;

/// A function that was registered after the start. Written by the host alone, before the first
/// task that names it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DynamicRecord {
    /// How often its place was given; 0: never.
    pub(crate) generation: u32,
    path_len: u32,
    symbol_len: u32,
    pub(crate) digest: [u8; 32],
    path: [u8; MAX_DYNAMIC_PATH],
    symbol: [u8; MAX_DYNAMIC_SYMBOL],
}

impl DynamicRecord {
    /// Path and symbol are cut to what there is room for.
    pub(crate) fn new(generation: u32, digest: [u8; 32], path: &[u8], symbol: &[u8]) -> Self {
        let (path_len, symbol_len) =
            (path.len().min(MAX_DYNAMIC_PATH), symbol.len().min(MAX_DYNAMIC_SYMBOL));
        let mut record = Self {
            generation,
            path_len: path_len as u32,
            symbol_len: symbol_len as u32,
            digest,
            path: [0; MAX_DYNAMIC_PATH],
            symbol: [0; MAX_DYNAMIC_SYMBOL],
        };
        record.path[..path_len].copy_from_slice(&path[..path_len]);
        record.symbol[..symbol_len].copy_from_slice(&symbol[..symbol_len]);
        record
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.path[..(self.path_len as usize).min(MAX_DYNAMIC_PATH)]
    }

    pub(crate) fn symbol(&self) -> &[u8] {
        &self.symbol[..(self.symbol_len as usize).min(MAX_DYNAMIC_SYMBOL)]
    }
}

/// Which addresses belong to a place for memory that came after the fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ImportRecord {
    /// How often the place was given; 0: it is free.
    pub(crate) generation: u32,
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl ImportRecord {
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.first..self.end
    }

    pub(crate) fn holds(&self, address: u64) -> bool {
        self.generation != 0 && self.bytes().contains(&address)
    }
}

/// An [`ImportRecord`] in the arena. Only the host writes it, and it is free in between; who reads
/// it meanwhile finds it free.
#[repr(C)]
pub(super) struct ImportPlace {
    generation: AtomicU32,
    first: AtomicU64,
    end: AtomicU64,
}

impl ImportPlace {
    pub(super) fn write(&self, record: ImportRecord) {
        self.generation.store(0, Ordering::SeqCst);
        self.first.store(record.first, Ordering::SeqCst);
        self.end.store(record.end, Ordering::SeqCst);
        self.generation.store(record.generation, Ordering::SeqCst);
    }

    pub(super) fn read(&self) -> ImportRecord {
        let generation = self.generation.load(Ordering::SeqCst);
        let (first, end) = (self.first.load(Ordering::SeqCst), self.end.load(Ordering::SeqCst));
        if self.generation.load(Ordering::SeqCst) != generation {
            return ImportRecord::default();
        }
        ImportRecord { generation, first, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_waits_in_a_body_is_in_the_body() {
        // SAFETY: made of atomics, for which zeros are a value.
        let entry: WorkerEntry = unsafe { std::mem::zeroed() };
        assert!(!entry.waits());
        for inside in [0, BODY, PREPARING] {
            entry.enter(inside);
            entry.wait();
            assert_eq!((entry.inside(), entry.waits()), (inside, true));
            entry.enter(inside);
            assert_eq!((entry.inside(), entry.waits()), (inside, false));
        }
        entry.parker.store(ASLEEP, Ordering::Relaxed);
        assert!(entry.waits());
    }

    const DETAILS: [Detail; 4] =
        [Detail::None, Detail::Returned(-7), Detail::Exited(255), Detail::Signalled(11)];

    fn origin(detail: Detail) -> Origin {
        Origin { seq: 1 << 40, worker: 255, attempt: 63, code: Code::Died, member: 254, detail }
    }

    #[test]
    fn an_error_is_read_as_it_was_written() {
        let place = ErrorPlace([const { AtomicU64::new(u64::MAX) }; ERROR_HEAD + ERROR_TEXT / 8]);
        let long = "é".repeat(ERROR_TEXT);
        let cut = &long[..ERROR_TEXT];
        let odd = format!("x{long}");
        for (text, read) in
            [("", ""), ("a panic", "a panic"), (&long, cut), (&odd, &odd[..ERROR_TEXT - 1])]
        {
            for detail in DETAILS {
                place.write(origin(detail), text);
                let record = place.read();
                assert_eq!((record.seq_plus_one, record.attempt), ((1 << 40) + 1, 63));
                assert_eq!((record.worker, record.member), (255, 254));
                assert_eq!((record.code, record.detail()), (Code::Died as u8, detail));
                assert_eq!(record.text(), read);
            }
        }
    }

    /// Then it is a mix of what was written, and nothing worse.
    #[test]
    fn an_error_may_be_read_while_it_is_written() {
        let place = ErrorPlace([const { AtomicU64::new(0) }; ERROR_HEAD + ERROR_TEXT / 8]);
        std::thread::scope(|scope| {
            for text in ["first", "second, and longer"] {
                let place = &place;
                scope.spawn(move || (0..20).for_each(|_| place.write(origin(Detail::None), text)));
            }
            for _ in 0..20 {
                let record = place.read();
                assert!(record.seq_plus_one == 0 || record.seq_plus_one == (1 << 40) + 1);
                assert!(record.text().len() <= "second, and longer".len());
            }
        });
    }
}
