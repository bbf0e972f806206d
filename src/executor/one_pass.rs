//! The usual submit, in one pass over the tensors: a single task without options, whose tensors are
//! parts of buffers, each of which the map knows as exactly this range.
//!
//! It looks first and changes nothing; then it notes, enters and publishes. The questions are those of
//! the general submit (`request`, `plan`, `in_flight`), asked by the same functions; whatever is not
//! usual, be it wrong or merely rare, is left to that.

use super::buffer_allocator::HeldBuffers;
use super::in_flight::{Exactly, InFlight};
use super::request::is_submittable;
use crate::abi::{BLOB_HEADER, CallConfig, ContinuousTensor, TaskArgs, TensorArgType};
use crate::graph::Producer;
use crate::ids::{Callable, WorkerKind};
use crate::limits::INLINE_ARGS;
use crate::mailbox::descriptor::{ANYWHERE, Head, Route};
use crate::ring::dist_ring::Needs;
use crate::ring::slot::NO_FAILED_ROOT;

/// Tensors of a task that goes this way, at most: as many as fit into its descriptor.
const TENSORS: usize = (INLINE_ARGS - BLOB_HEADER) / size_of::<ContinuousTensor>();
/// Its producers. They are compared each with each.
const PRODUCERS: usize = 16;

/// What is submitted, but for its arguments.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) callable: Callable,
    pub(super) config: CallConfig,
    pub(super) kind: WorkerKind,
    /// By the typed front.
    pub(super) typed: bool,
}

/// Where a tensor was found.
#[derive(Clone, Copy, Default)]
struct Found {
    /// The number of its buffer.
    buffer: u32,
    /// Its range in the map, or [`UNORDERED`].
    range: u32,
}

/// The map is not asked for tensors without an order.
const UNORDERED: u32 = u32::MAX;

/// Scratch of one submit after the other.
#[derive(Default)]
pub(super) struct OnePass {
    found: [Found; TENSORS],
    producers: Vec<Producer>,
    /// For tests: no submit is usual; how many were.
    #[cfg(test)]
    pub(super) off: bool,
    #[cfg(test)]
    pub(super) taken: usize,
}

impl OnePass {
    /// The number of the task. `None`: it is not usual, and nothing was changed.
    #[inline(always)]
    pub(super) fn submit(
        &mut self,
        in_flight: &mut InFlight,
        buffers: &mut HeldBuffers,
        plain: Plain,
        args: &mut TaskArgs,
    ) -> Option<u64> {
        #[cfg(test)]
        if self.off {
            return None;
        }
        let Plain { callable, config, kind, typed } = plain;
        if !is_submittable(in_flight, kind, callable, typed) {
            return None;
        }
        let Exactly { shared, window, ranges, first } = in_flight.exactly()?;
        if !buffers.is_current(&shared.buffers) {
            return None;
        }
        let beside_typed = shared.is_typed();
        let (task, tail) = (window.next(), window.tail());

        // Look.
        let (tensors, tags) = args.in_order()?;
        let count = tensors.len();
        if count > TENSORS || count != tags.len() || args.blob_len() > INLINE_ARGS {
            return None;
        }
        self.producers.clear();
        for index in 0..count {
            let (tensor, tag) = (&tensors[index], tags[index]);
            let (start, bytes) = (tensor.data(), tensor.quick_nbytes()?);
            if start == 0 || bytes == 0 {
                return None;
            }
            let bytes = start..start + bytes;
            let buffer = buffers.find(&bytes)?;
            if buffers.record(buffer)?.is_import() {
                return None;
            }
            let mut range = UNORDERED;
            if tag != TensorArgType::NoDep {
                range = ranges.exact(&bytes)?;
                if self.found[..index].iter().any(|other| other.range == range) {
                    return None; // named twice, which may be wrong
                }
                let mut many = false;
                ranges.awaited(range, tag, |task, data| {
                    if task >= tail {
                        many |= !wait_for(&mut self.producers, task, data && task >= first);
                    }
                });
                if many {
                    return None;
                }
            } else if beside_typed && !typed {
                return None;
            }
            self.found[index] = Found { buffer, range };
        }

        // Note what is used; then nobody may have it already.
        for (found, &tag) in self.found[..count].iter().zip(tags) {
            let writes = !beside_typed || tag != TensorArgType::Input;
            if let Some(record) = buffers.record(found.buffer) {
                record.note_use(task, writes);
            }
        }
        let needs = Needs { edges: self.producers.len() as u64, ..Needs::default() };
        let reserved = if shared.accesses.are_some() { None } else { window.reserve(needs) };
        let Some(reserved) = reserved else {
            take_back(buffers, args, task);
            return None;
        };

        // From here on nothing fails.
        #[cfg(test)]
        {
            self.taken += 1;
        }
        for (found, &tag) in self.found[..count].iter().zip(tags) {
            if found.range != UNORDERED {
                match tag.writes() {
                    true => ranges.write_at(found.range, task),
                    false => ranges.read_at(found.range, task, tail),
                }
            }
        }
        if beside_typed && !typed {
            args.mark_read_only();
        }
        let route = Route { kind: kind as u8, flags: 0, target: ANYWHERE };
        let head = Head::single(task, callable.0, config, route);
        // SAFETY: this is the submitter, and the slot was reserved just now.
        unsafe { window.descriptors().write_inline(reserved.slot, &head, args) };
        if args.tensors().len() > 2 {
            window.fetch_more(reserved.slot); // who submits such a task submits more of them
        }
        window.publish(&reserved, route, &self.producers, NO_FAILED_ROOT);
        Some(task)
    }
}

/// Adds a producer, or what is said of one that is known. False: there are too many.
#[inline(always)]
fn wait_for(producers: &mut Vec<Producer>, task: u64, data: bool) -> bool {
    if let Some(known) = producers.iter_mut().find(|known| known.task == task) {
        known.data |= data;
        return true;
    }
    if producers.len() == PRODUCERS {
        return false;
    }
    producers.push(Producer { task, data });
    true
}

/// There is no room, or somebody of the host has bytes of a buffer.
#[cold]
fn take_back(buffers: &mut HeldBuffers, args: &TaskArgs, task: u64) {
    for tensor in args.tensors() {
        let bytes = tensor.quick_nbytes().unwrap_or(0);
        buffers.unmark(&(tensor.data()..tensor.data() + bytes), task);
    }
}
