//! Which earlier tasks a task must wait for, by the bytes that their tensors name.
//!
//! *Strict* (the default) looks at byte ranges: a write waits for earlier readers and writers of
//! any byte it touches, a read for earlier writers, whatever the base address. *Compatible* keeps
//! the tag table of simpler (`docs/compatibility.md`): base addresses only, OUTPUT and
//! OUTPUT_EXISTING wait for nobody, and no write waits for readers.

use std::ops::Range;

use super::access::{Access, Dependencies, Producer};
use super::keys::KeyMap;
use super::ranges::RangeMap;
use crate::abi::TensorArgType;

/// How dependencies are inferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hazards {
    /// Read after write, write after write and write after read, on any shared byte.
    ///
    /// A task that would write the same byte through two of its arguments is refused. A byte that it
    /// reads through one and writes through another is how it works in place, and is not; nor are
    /// members of a group that name the same bytes, since they run at the same time and order their
    /// accesses themselves (barriers, atomics).
    #[default]
    Strict,
    /// The tag table of simpler, on base addresses: tensors with different base addresses are
    /// independent, whatever bytes they share; tensors without bytes count like
    /// others. Nothing is refused, OUTPUT and OUTPUT_EXISTING wait for nobody, and no write waits
    /// for readers: the caller orders what INPUT and INOUT do not.
    Compatible,
}

/// Last writers and readers of every byte (or address) that a live task names.
pub struct TensorMap {
    known: Known,
    keep_from: u64,
}

#[expect(clippy::large_enum_variant, reason = "there is one, and the large one is the usual one")]
enum Known {
    Strict(RangeMap),
    Compatible(KeyMap),
}

impl TensorMap {
    /// An empty map.
    pub fn new(hazards: Hazards) -> Self {
        Self {
            known: match hazards {
                Hazards::Strict => Known::Strict(RangeMap::default()),
                Hazards::Compatible => Known::Compatible(KeyMap::default()),
            },
            keep_from: u64::MAX,
        }
    }

    /// How dependencies are inferred.
    #[inline]
    pub fn hazards(&self) -> Hazards {
        match self.known {
            Known::Strict(_) => Hazards::Strict,
            Known::Compatible(_) => Hazards::Compatible,
        }
    }

    /// Entries of this task and later ones are kept even when it has left the window: it failed,
    /// and those that read what it wrote are to fail with it. `u64::MAX`: no such task.
    pub fn keep_from(&mut self, task: u64) {
        self.keep_from = task;
    }

    /// Tasks before `tail` have left the window, and need not be found.
    #[inline]
    pub fn leave(&mut self, tail: u64) {
        let keep = self.keep_from.min(tail);
        match &mut self.known {
            Known::Strict(map) => map.keep(keep),
            Known::Compatible(map) => map.keep(keep),
        }
    }

    /// Adds to `out` whom a task with these accesses must wait for; tasks that are known to have left
    /// the window may be left out. Changes nothing, so a submit that finds no
    /// room afterwards has left no trace.
    #[inline]
    pub fn lookup(&self, accesses: &mut [Access], out: &mut Dependencies) {
        match &self.known {
            Known::Strict(map) => {
                for access in accesses.iter_mut().filter(|a| a.counts()) {
                    let wait = |task: u64, data: bool| {
                        if !map.is_finished(task) {
                            out.add(task, data);
                        }
                    };
                    match map.exact(&access.bytes) {
                        Some(index) => {
                            map.awaited(index, access.tag, wait);
                            access.seen = index;
                        }
                        None => map.awaited_of_all(&access.bytes, access.tag, wait),
                    }
                }
            }
            Known::Compatible(map) => map.lookup(accesses, out),
        }
    }

    /// Where more than `few` tasks that are not before `tail` write what these accesses read part by part,
    /// or read all of what they write a part of: `join` is handed these tasks, and may make one task that
    /// waits for all of them, with a number behind theirs. Whoever comes later waits for that one.
    pub fn join_many(
        &mut self,
        accesses: &[Access],
        tail: u64,
        few: usize,
        join: &mut dyn FnMut(&[Producer]) -> Option<u64>,
    ) {
        if let Known::Strict(map) = &mut self.known {
            for access in accesses.iter().filter(|access| access.counts()) {
                map.join_many(&access.bytes, access.tag, tail, few, join);
            }
        }
    }

    /// The ranges themselves, for one who knows exactly which of them a task names.
    #[inline(always)]
    pub(crate) fn ranges(&self) -> Option<&RangeMap> {
        match &self.known {
            Known::Strict(map) => Some(map),
            Known::Compatible(_) => None,
        }
    }

    /// The same to enter it.
    #[inline(always)]
    pub(crate) fn ranges_mut(&mut self) -> Option<&mut RangeMap> {
        match &mut self.known {
            Known::Strict(map) => Some(map),
            Known::Compatible(_) => None,
        }
    }

    /// Enters a task. `tail` is the oldest task that may still run.
    #[inline]
    pub fn record(&mut self, accesses: &[Access], task: u64, tail: u64) {
        self.leave(tail);
        match &mut self.known {
            Known::Strict(map) => {
                // Reads first: a range that the task reads and writes ends up written.
                let all = || accesses.iter().filter(|a| a.counts());
                for access in all().filter(|a| a.tag == TensorArgType::Input) {
                    map.read(&access.bytes, access.seen, task, tail);
                }
                for access in all().filter(|a| a.tag.writes()) {
                    map.write(&access.bytes, access.seen, task);
                }
            }
            Known::Compatible(map) => {
                for access in accesses.iter().filter(|a| a.tag.writes()) {
                    map.write(access.bytes.start, task);
                }
            }
        }
    }

    /// The last writer of the byte at `address`.
    pub fn writer(&self, address: u64) -> Option<u64> {
        match &self.known {
            Known::Strict(map) => {
                let byte = address..address + 1;
                map.overlapping(&byte).next().and_then(|segment| segment.writer())
            }
            Known::Compatible(map) => map.writer(address),
        }
    }

    /// Forgets a range whose memory is given to somebody else.
    pub fn erase(&mut self, bytes: &Range<u64>) {
        match &mut self.known {
            Known::Strict(map) => map.erase(bytes),
            Known::Compatible(map) => map.erase(bytes),
        }
    }

    /// Ranges (or addresses) known.
    pub fn len(&self) -> usize {
        match &self.known {
            Known::Strict(map) => map.len(),
            Known::Compatible(map) => map.len(),
        }
    }

    /// Steps that were taken so far beside those of exactly known ranges: what tests hold against the
    /// number of tasks.
    #[doc(hidden)]
    pub fn steps(&self) -> u64 {
        match &self.known {
            Known::Strict(map) => map.steps(),
            Known::Compatible(_) => 0,
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
