//! Numbers of tasks, workers and functions, each a type of its own.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// A worker of an executor, counted from 0: first those of kind NEXT_LEVEL, then those of kind SUB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkerId(pub u16);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.0)
    }
}

/// What a task runs: a number that each kind of worker interprets.
///
/// For workers that call registered functions, and for levels, it is the number that
/// [`Builder::register`](crate::Builder::register) (or
/// [`Level::register`](crate::Level::register)) returned. It names that one function: no other
/// registration has the same number, so an executor that does not have the function refuses it,
/// and 0 names none. An executor built from a clone of a builder has the functions that were
/// registered before the clone was made.
///
/// Workers with a factory of their own are handed the number as it was submitted, and programs of a
/// chip are counted from 0 in each [`ChipRuntime`](crate::chip::ChipRuntime): there the numbers of
/// two executors may be the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Callable(pub u64);

/// Bits of a registered number: the place in the table, plus one.
const PLACE: u64 = 0x7FFF_FFFF;
/// Set in the number of a function that the typed front alone may submit.
const TYPED: u64 = 1 << 31;

/// Registrations of this process and of those it was forked from.
static REGISTRATIONS: AtomicU32 = AtomicU32::new(0);

/// Tells registrations apart: 31 bits, never 0. Exact within a process; those of other processes
/// (which an executor may inherit or be told of) begin elsewhere.
pub(crate) fn registration() -> u32 {
    let process = std::process::id().wrapping_mul(0x9E37_79B9);
    let count = REGISTRATIONS.fetch_add(1, Relaxed).wrapping_mul(2) | 1;
    (process.wrapping_mul(2).wrapping_add(count)) & 0x7FFF_FFFF
}

impl Callable {
    /// The number of a function that was registered just now: which registration, and its place in
    /// the table, so that a look-up takes one comparison.
    pub(crate) fn registered(index: usize) -> Self {
        Self(u64::from(registration()) << 32 | (index as u64 + 1) & PLACE)
    }

    /// The same for a function whose parameters have types.
    pub(crate) fn typed(index: usize) -> Self {
        Self(Self::registered(index).0 | TYPED)
    }

    /// Whether a number that is known to be registered is that of a typed function.
    #[inline]
    pub(crate) fn is_typed(self) -> bool {
        self.0 & TYPED != 0
    }

    /// The place in the table that such a number names. The entry there has to have that number.
    #[inline]
    pub(crate) fn place(self) -> usize {
        (self.0 & PLACE).wrapping_sub(1) as usize
    }
}

impl From<u64> for Callable {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

/// The number of a task in the order of submission, over all runs of its executor. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0)
    }
}

/// The kind of a worker; the workers of one kind are a pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum WorkerKind {
    /// Workers that drive a chip, or another executor: the target of `submit`.
    #[default]
    NextLevel = 0,
    /// Workers that run host functions beside them: the target of `submit_sub`.
    Sub = 1,
}

impl WorkerKind {
    /// Both kinds, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::NextLevel, Self::Sub];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn from_index(index: u8) -> Self {
        if index == 0 { Self::NextLevel } else { Self::Sub }
    }
}

impl fmt::Display for WorkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NextLevel => "NEXT_LEVEL",
            Self::Sub => "SUB",
        })
    }
}

/// Somebody's name in a text of ours: control characters are written out, so that a name can
/// neither break a line nor speak to a terminal.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            let end = part.char_indices().next_back().filter(|(_, last)| last.is_control());
            match end {
                Some((at, last)) => write!(f, "{}{}", &part[..at], last.escape_default())?,
                None => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn names_are_shown_in_one_line() {
        let shown = |name: &str| Shown(name).to_string();
        assert_eq!(shown("plain é `q`"), "plain é `q`");
        assert_eq!(shown("\n"), "\\n");
        assert_eq!(shown("a\tb\u{1b}[0m\u{85}"), "a\\tb\\u{1b}[0m\\u{85}");
        assert_eq!(shown(""), "");
    }
}
