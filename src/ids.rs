//! Newtype identities: what a number means is in its type.

use std::fmt;

/// A worker of an executor, counted from 0: first those of kind NEXT_LEVEL, then those of kind SUB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkerId(pub u16);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.0)
    }
}

/// What a task runs: a number that each kind of worker interprets. For workers that call
/// registered functions it is the number that
/// [`Builder::register`](crate::Builder::register) returned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Callable(pub u64);

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
