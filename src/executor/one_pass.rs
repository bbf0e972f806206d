//! The usual submit, in one pass over the tensors: a single task without options, whose tensors are
//! parts of buffers and slabs, each of which the map knows as exactly this range, and outputs to be
//! allocated for which there is room.
//!
//! It looks first and changes nothing; then it notes, enters and publishes. The questions are those of
//! the general submit (`request`, `plan`, `in_flight`), asked by the same functions; whatever is not
//! usual, be it wrong or merely rare, is left to that.

use super::buffer_allocator::HeldBuffers;
use super::handle::Named;
use super::in_flight::InFlight;
use super::request::is_submittable;
use crate::abi::{BLOB_HEADER, CallConfig, ContinuousTensor, TaskArgs, TensorArgType};
use crate::graph::{Producer, RangeMap};
use crate::ids::{Callable, WorkerKind};
use crate::limits::{HEAP_ALIGN, INLINE_ARGS};
use crate::mailbox::descriptor::{ANYWHERE, Head, Route};
use crate::ring::dist_ring::Needs;
use crate::ring::heap::Maker;
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

impl Plain {
    #[inline(always)]
    pub(super) fn new(callable: Callable, config: CallConfig, kind: WorkerKind) -> Self {
        Self { callable, config, kind, typed: false }
    }
}

/// Where a tensor was found.
#[derive(Clone, Copy, Default)]
struct Found {
    holder: Holder,
    /// Its range in the map, or [`UNORDERED`].
    range: u32,
}

/// What has the bytes of a tensor.
#[derive(Clone, Copy, Default)]
enum Holder {
    /// The submit is to allocate them.
    #[default]
    Nobody,
    /// The buffer of this number.
    Buffer(u32),
    /// The slab of this number, in this ring.
    Slab(u32, u32),
}

/// The map is not asked for tensors without an order.
const UNORDERED: u32 = u32::MAX;

/// Scratch of one submit after the other.
#[derive(Default)]
pub(super) struct OnePass {
    found: [Found; TENSORS],
    producers: Vec<Producer>,
    /// Bytes of each output to allocate.
    outputs: Vec<u64>,
    /// For tests: no submit is usual; how many were.
    #[cfg(test)]
    pub(super) off: bool,
    #[cfg(test)]
    pub(super) taken: usize,
}

impl OnePass {
    /// The number of the task, and what was allocated. `None`: it is not usual, and nothing was changed.
    #[inline(always)]
    pub(super) fn submit(
        &mut self,
        in_flight: &mut InFlight,
        buffers: &mut HeldBuffers,
        plain: Plain,
        args: &mut TaskArgs,
    ) -> Option<(u64, Option<Named>)> {
        #[cfg(test)]
        if self.off {
            return None;
        }
        let Plain { callable, config, kind, typed } = plain;
        if !is_submittable(in_flight, kind, callable, typed) {
            return None;
        }
        let mut exactly = in_flight.exactly()?;
        if !buffers.is_current(&exactly.shared.buffers) {
            return None;
        }
        let (first, beside_typed) = (exactly.first, exactly.shared.is_typed());
        let (task, tail) = (exactly.window.next(), exactly.window.tail());

        // Look.
        let (tensors, tags) = args.in_order()?;
        let count = tensors.len();
        if count > TENSORS || count != tags.len() || args.blob_len() > INLINE_ARGS {
            return None;
        }
        self.producers.clear();
        self.outputs.clear();
        for index in 0..count {
            let (tensor, tag) = (&tensors[index], tags[index]);
            let (start, bytes) = (tensor.data(), tensor.quick_nbytes()?);
            if bytes == 0 {
                return None;
            }
            if start == 0 {
                if tag != TensorArgType::Output {
                    return None;
                }
                self.outputs.push(bytes);
                self.found[index] = Found { holder: Holder::Nobody, range: UNORDERED };
                continue;
            }
            let bytes = start..start + bytes;
            let holder = match buffers.find(&bytes) {
                Some(number) if buffers.record(number)?.is_import() => return None,
                Some(number) => Holder::Buffer(number),
                None => {
                    let (ring, number) = exactly.slab_of(&bytes)?;
                    Holder::Slab(ring as u32, number as u32)
                }
            };
            let ranges = &*exactly.ranges;
            let mut range = UNORDERED;
            if tag != TensorArgType::NoDep {
                range = ranges.exact(&bytes)?;
                if self.found[..index].iter().any(|other| other.range == range) {
                    return None; // named twice, which may be wrong
                }
                let mut many = false;
                ranges.awaited(range, tag, |task, data| {
                    if task >= tail && !many {
                        many = !wait_for(&mut self.producers, task, data && task >= first);
                    }
                });
                if many {
                    return None;
                }
            } else if beside_typed && !typed {
                return None;
            }
            self.found[index] = Found { holder, range };
        }

        // Note what is used; then nobody may have it already.
        for (found, &tag) in self.found[..count].iter().zip(tags) {
            match found.holder {
                Holder::Nobody => {}
                Holder::Buffer(number) => {
                    let writes = !beside_typed || tag != TensorArgType::Input;
                    if let Some(record) = buffers.record(number) {
                        record.note_use(task, writes);
                    }
                }
                Holder::Slab(ring, number) => {
                    if let Some(slab) = exactly.window.heap(ring as usize).slab(number as usize) {
                        slab.note_use(task);
                    }
                }
            }
        }
        let needs = Needs { edges: self.producers.len() as u64, ..Needs::default() };
        let (mut at, mut reserved) = (None, None);
        if !exactly.shared.accesses.are_some() {
            if !self.outputs.is_empty() && exactly.window.has_room(1, needs) {
                let maker = Maker::Task(kind as u8, callable.0);
                at = exactly.take_slabs(&self.outputs, maker);
            }
            if self.outputs.is_empty() || at.is_some() {
                reserved = exactly.window.reserve(needs);
            }
        }
        let Some(reserved) = reserved else {
            take_back(in_flight, buffers, args, task);
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
                    true => exactly.ranges.write_at(found.range, task),
                    false => exactly.ranges.read_at(found.range, task, tail),
                }
            }
        }
        // Not before: the map may sweep, and what was found is alive only now.
        let named = at.and_then(|at| self.allocate(exactly.ranges, at, args, task));
        if beside_typed && !typed {
            args.mark_read_only();
        }
        let route = Route { kind: kind as u8, flags: 0, target: ANYWHERE };
        let head = Head::single(task, callable.0, config, route);
        // SAFETY: this is the submitter, and the slot was reserved just now.
        unsafe { exactly.window.descriptors().write_inline(reserved.slot, &head, args) };
        if args.tensors().len() > 2 {
            exactly.window.fetch_more(reserved.slot); // who submits such a task submits more of them
        }
        exactly.window.publish(&reserved, route, &self.producers, NO_FAILED_ROOT);
        Some((task, named))
    }

    /// Gives outputs their addresses, from this one on, and enters `task` as their writer.
    #[inline(never)]
    fn allocate(
        &self,
        ranges: &mut RangeMap,
        mut at: u64,
        args: &mut TaskArgs,
        task: u64,
    ) -> Option<Named> {
        let mut named = None;
        let mut sizes = self.outputs.iter();
        for (argument, (tensor, _)) in args.tensors_mut().enumerate() {
            if tensor.data() == 0
                && let Some(&bytes) = sizes.next()
            {
                tensor.set_data(at);
                ranges.write(&(at..at + bytes), u32::MAX, task);
                at += bytes.next_multiple_of(HEAP_ALIGN as u64);
                Named::add(&mut named, argument, *tensor);
            }
        }
        named
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
fn take_back(in_flight: &mut InFlight, buffers: &mut HeldBuffers, args: &TaskArgs, task: u64) {
    for tensor in args.tensors() {
        let bytes = tensor.data()..tensor.data() + tensor.quick_nbytes().unwrap_or(0);
        in_flight.unmark(&bytes, task);
        buffers.unmark(&bytes, task);
    }
}
