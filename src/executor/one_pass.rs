//! The usual submit, in one pass over the tensors: a single task without options, whose tensors are
//! parts of buffers and slabs, each of which the map knows as exactly this range or not at all, and
//! outputs to be allocated for which there is room.
//!
//! It looks first and changes nothing; then it notes, enters and publishes. The questions are those of
//! the general submit (`request`, `plan`, `in_flight`), asked by the same functions; whatever is not
//! usual, be it wrong or merely rare, is left to that.

use std::ops::Range;

use super::buffer_allocator::{HeldBuffers, Record};
use super::handle::Named;
use super::in_flight::InFlight;
use super::request::KnownFunctions;
use crate::abi::{BLOB_HEADER, CallConfig, ContinuousTensor, TaskArgs, TensorArgType};
use crate::graph::{Found, Place, Producer, RangeMap, Segment};
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
pub(super) struct Plain<'s> {
    pub(super) callable: Callable,
    pub(super) config: CallConfig,
    pub(super) kind: WorkerKind,
    /// By the typed front: the parameter of each tensor.
    pub(super) slices: Option<&'s [u8]>,
}

impl Plain<'_> {
    #[inline(always)]
    pub(super) fn new(callable: Callable, config: CallConfig, kind: WorkerKind) -> Self {
        Self { callable, config, kind, slices: None }
    }
}

/// The map is not asked for tensors without an order.
const UNORDERED: u32 = u32::MAX;

/// Scratch of one submit after the other.
#[derive(Default)]
pub(super) struct OnePass {
    /// The range of each tensor in the map, or [`UNORDERED`].
    ranges: [u32; TENSORS],
    producers: Producers,
    /// There is something of what follows.
    has_more: bool,
    /// What the map does not know.
    new: Vec<New>,
    /// Slabs that are named: the ring, and the number there.
    slabs: Vec<(usize, usize)>,
    /// Bytes of each output to allocate.
    outputs: Vec<u64>,
    /// What was allocated for the last submit, if anything was.
    named: Option<Named>,
    known: KnownFunctions,
    /// For tests: no submit is usual; how many were.
    #[cfg(test)]
    pub(super) off: bool,
    #[cfg(test)]
    pub(super) taken: usize,
}

impl OnePass {
    /// What was allocated for the last submit, to be taken.
    #[inline(always)]
    pub(super) fn named(&mut self) -> &mut Option<Named> {
        &mut self.named
    }

    /// The number of the task. `None`: it is not usual, and nothing was changed.
    #[inline(always)]
    pub(super) fn submit(
        &mut self,
        in_flight: &mut InFlight,
        buffers: &mut HeldBuffers,
        plain: &Plain<'_>,
        args: &mut TaskArgs,
    ) -> Option<u64> {
        #[cfg(test)]
        if self.off {
            return None;
        }
        let typed = plain.slices.is_some();
        if !self.known.is_submittable(in_flight, plain.kind, plain.callable, typed) {
            return None;
        }
        if !self.look(in_flight, buffers, args, typed) {
            return None;
        }
        let (kind, callable) = (plain.kind as u8, plain.callable.0);
        let edges = self.producers.count as u64;
        let mut at = 0;
        let reserved = 'usual: {
            if in_flight.shared().accesses.are_some() {
                break 'usual None;
            }
            if self.has_more {
                let Some(taken) = self.take_outputs(in_flight, plain, edges) else {
                    break 'usual None;
                };
                at = taken;
            }
            in_flight.reserve(Needs { edges, ..Needs::default() })
        };
        let Some(reserved) = reserved else {
            take_back(in_flight, buffers, args.tensors());
            return None;
        };
        let exactly = in_flight.exactly()?;
        let (task, tail) = (reserved.seq, exactly.window.tail());

        // From here on nothing fails.
        #[cfg(test)]
        {
            self.taken += 1;
        }
        for (index, tag) in args.tags().iter().enumerate() {
            let Some(&range) = self.ranges.get(index) else { break };
            match tag.writes() {
                true => exactly.ranges.write_at(range, task),
                false => exactly.ranges.read_at(range, task, tail),
            }
        }
        // Not before: the map may sweep, and what was found is alive only now.
        if self.has_more {
            self.enter_more(exactly.ranges, at, args, task);
        }
        let route = Route { kind, flags: 0, target: ANYWHERE };
        let head = Head::single(task, callable, plain.config, route);
        // SAFETY: this is the submitter, and the slot was reserved just now.
        unsafe { exactly.window.descriptors().write_inline(reserved.slot, &head, args) };
        if args.tensors().len() > 2 {
            exactly.window.fetch_more(reserved.slot); // who submits such a task submits more of them
        }
        if edges == 0 {
            exactly.window.publish(&reserved, route, &[], NO_FAILED_ROOT);
        } else {
            exactly.window.publish_waiting(reserved, route, self.producers.all(), NO_FAILED_ROOT);
        }
        Some(task)
    }

    /// Finds the bytes of all tensors, notes that they are used, and finds for whom the task has to
    /// wait. False: it is not usual, and nothing is noted.
    ///
    /// A function of its own: this and the rest together would need more registers than there are.
    #[inline(never)]
    fn look(
        &mut self,
        in_flight: &mut InFlight,
        buffers: &mut HeldBuffers,
        args: &TaskArgs,
        typed: bool,
    ) -> bool {
        if !in_flight.has_told() || !buffers.is_current(&in_flight.shared().buffers) {
            return false;
        }
        let Some((tensors, tags)) = args.in_order() else { return false };
        let beside_typed = in_flight.shared().is_typed();
        if args.names_unordered() && beside_typed && !typed {
            return false;
        }
        let count = tensors.len();
        if count > TENSORS || count != tags.len() || args.blob_len() > INLINE_ARGS {
            return false;
        }
        self.producers.clear();
        if self.has_more {
            self.forget_more();
        }
        let Some(ranges) = in_flight.ranges() else { return false };
        let at =
            Looking { in_flight, ranges, buffers, tail: in_flight.window().tail(), beside_typed };
        for index in 0..count {
            if !self.look_at(at, &tensors[index], tags[index], index) {
                take_back(in_flight, buffers, &tensors[..index + 1]);
                return false;
            }
        }
        if self.has_more {
            let task = in_flight.window().next();
            self.slabs.iter().for_each(|&slab| in_flight.note_slab(slab, task));
        }
        true
    }

    #[inline(always)]
    fn look_at(
        &mut self,
        at: Looking<'_>,
        tensor: &ContinuousTensor,
        tag: TensorArgType,
        index: usize,
    ) -> bool {
        let (start, Some(len)) = (tensor.data(), tensor.quick_nbytes()) else { return false };
        let bytes = start..start + len;
        if tag != TensorArgType::NoDep
            && let Some(record) = at.buffers.find_quickly(&bytes)
            && let Some((range, segment)) = at.ranges.exact_at_once(&bytes)
            && !self.ranges[..index].contains(&range)
        {
            self.ranges[index] = range;
            at.note_use(record, tag);
            return self.order(at, range, segment, tag);
        }
        self.look_further(at, bytes, tag, index)
    }

    /// The same for what is not where one looks first.
    #[inline(never)]
    fn look_further(
        &mut self,
        at: Looking<'_>,
        bytes: Range<u64>,
        tag: TensorArgType,
        index: usize,
    ) -> bool {
        self.ranges[index] = UNORDERED;
        if bytes.start == 0 || bytes.is_empty() {
            let is_to_allocate = !bytes.is_empty() && tag == TensorArgType::Output;
            if is_to_allocate {
                self.has_more = true;
                self.outputs.push(bytes.end);
            }
            return is_to_allocate;
        }
        let record = at.buffers.find(&bytes);
        match record {
            Some(record) if record.is_import() => return false,
            Some(_) => {}
            None => match at.in_flight.find_slab(&bytes) {
                Some(slab) => {
                    self.has_more = true;
                    self.slabs.push(slab);
                }
                None => return false,
            },
        }
        if tag != TensorArgType::NoDep {
            match at.ranges.find(&bytes) {
                // Named twice, which may be wrong.
                Found::Exactly(range) if self.ranges[..index].contains(&range) => return false,
                Found::Exactly(range) => {
                    self.ranges[index] = range;
                    if !self.order(at, range, at.ranges.segment(range), tag) {
                        return false;
                    }
                }
                Found::Nothing(place) => {
                    let shared =
                        |new: &New| new.bytes.start < bytes.end && bytes.start < new.bytes.end;
                    if self.new.iter().any(shared) {
                        return false;
                    }
                    self.has_more = true;
                    self.new.push(New { bytes, writes: tag.writes(), place });
                }
                Found::Otherwise => return false,
            }
        }
        if let Some(record) = record {
            at.note_use(record, tag);
        }
        true
    }

    /// Adds those for whom the task has to wait at a range. False: there are too many.
    #[inline(always)]
    fn order(
        &mut self,
        at: Looking<'_>,
        range: u32,
        segment: &Segment,
        tag: TensorArgType,
    ) -> bool {
        let tail = at.tail;
        if let Some(writer) = segment.writer_from(tail) {
            let data = tag.reads() && writer >= at.in_flight.runs().open().first;
            if !self.producers.add(writer, data) {
                return false;
            }
        }
        !(tag.writes() && at.ranges.may_be_read(segment, tail)) || self.wait_for_readers(at, range)
    }

    #[inline(never)]
    fn wait_for_readers(&mut self, at: Looking<'_>, range: u32) -> bool {
        let tail = at.tail;
        let mut fit = true;
        at.ranges.readers(range, |reader| {
            fit = fit && (reader < tail || self.producers.add(reader, false));
        });
        fit
    }

    /// Takes memory for outputs, if there are some, when there is a slot as well: its address.
    #[inline(never)]
    fn take_outputs(&self, in_flight: &mut InFlight, plain: &Plain<'_>, edges: u64) -> Option<u64> {
        if self.outputs.is_empty() {
            return Some(0);
        }
        if !in_flight.window().has_room(1, Needs { edges, ..Needs::default() }) {
            return None;
        }
        let maker = Maker::Task(plain.kind as u8, plain.callable.0);
        in_flight.exactly()?.take_slabs(&self.outputs, maker)
    }

    #[inline(never)]
    fn forget_more(&mut self) {
        self.has_more = false;
        self.new.clear();
        self.slabs.clear();
        self.outputs.clear();
    }

    /// Enters what the map did not know, and outputs that get addresses from this one on.
    #[inline(never)]
    fn enter_more(&mut self, ranges: &mut RangeMap, at: u64, args: &mut TaskArgs, task: u64) {
        for (at, new) in self.new.iter().enumerate() {
            let place = (at == 0).then_some(new.place); // the first one moves those behind it
            ranges.add_new(new.bytes.clone(), new.writes, task, place);
        }
        if !self.outputs.is_empty() {
            self.allocate(ranges, at, args, task);
        }
    }

    /// Gives outputs their addresses, from this one on, and enters `task` as their writer.
    fn allocate(&mut self, ranges: &mut RangeMap, mut at: u64, args: &mut TaskArgs, task: u64) {
        self.named = None;
        let mut sizes = self.outputs.iter();
        for (argument, (tensor, _)) in args.tensors_mut().enumerate() {
            if tensor.data() == 0
                && let Some(&bytes) = sizes.next()
            {
                tensor.set_data(at);
                ranges.write(&(at..at + bytes), u32::MAX, task);
                at += bytes.next_multiple_of(HEAP_ALIGN as u64);
                Named::add(&mut self.named, argument, *tensor);
            }
        }
    }
}

/// Bytes of which the map knows nothing.
struct New {
    bytes: Range<u64>,
    writes: bool,
    /// Their place in the map.
    place: Place,
}

/// Where one looks. Passed by value, so that it is in registers where it is usual.
#[derive(Clone, Copy)]
struct Looking<'a> {
    in_flight: &'a InFlight,
    ranges: &'a RangeMap,
    buffers: &'a HeldBuffers,
    /// The oldest task in the window.
    tail: u64,
    /// The executor has typed tasks.
    beside_typed: bool,
}

impl Looking<'_> {
    /// The next task names the buffer, and does this with it.
    #[inline(always)]
    fn note_use(&self, record: &Record, tag: TensorArgType) {
        let writes = tag != TensorArgType::Input || !self.beside_typed;
        record.note_use(self.in_flight.window().next(), writes);
    }
}

/// For whom a task has to wait, each once.
struct Producers {
    count: usize,
    all: [Producer; PRODUCERS],
}

impl Default for Producers {
    fn default() -> Self {
        Self { count: 0, all: [Producer { task: 0, data: false }; PRODUCERS] }
    }
}

impl Producers {
    #[inline(always)]
    fn clear(&mut self) {
        self.count = 0;
    }

    #[inline(always)]
    fn all(&self) -> &[Producer] {
        &self.all[..self.count]
    }

    /// Adds one, or what is said of one that is known. False: there are too many.
    #[inline]
    fn add(&mut self, task: u64, data: bool) -> bool {
        for known in &mut self.all[..self.count] {
            if known.task == task {
                known.data |= data;
                return true;
            }
        }
        let Some(vacant) = self.all.get_mut(self.count) else { return false };
        *vacant = Producer { task, data };
        self.count += 1;
        true
    }
}

/// Takes back that the next task uses these.
#[cold]
#[inline(never)]
fn take_back(in_flight: &mut InFlight, buffers: &mut HeldBuffers, tensors: &[ContinuousTensor]) {
    let task = in_flight.window().next();
    for tensor in tensors {
        let bytes = tensor.data()..tensor.data() + tensor.quick_nbytes().unwrap_or(0);
        in_flight.unmark(&bytes, task);
        buffers.unmark(&bytes, task);
    }
}
