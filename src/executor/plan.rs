//! The bytes of a submit: checked, noted as used, and added up. Nothing else is changed here.

use std::ops::Range;

use smallvec::SmallVec;

use super::buffer_allocator::HeldBuffers;
use super::in_flight::InFlight;
use super::recording::Home;
use super::request::Request;
use super::slices;
use crate::abi::{AbiError, ContinuousTensor, TaskArgs, TensorArgType};
use crate::error::{Error, Misuse};
use crate::graph::{Access, Hazards, shared_and_written, written_twice};
use crate::limits::MAX_ARGS_BYTES;
use crate::mailbox::descriptor::SavedRange;
use crate::ring::heap::align_up;

/// What has been worked out about the bytes of a submit.
#[derive(Default)]
pub(super) struct Plan {
    /// Bytes of the outputs to allocate, each rounded up to whole slab units.
    pub(super) slab: u64,
    /// The same one by one, as they were asked for.
    pub(super) outputs: SmallVec<[u64; 4]>,
    /// Whether any address, be it of no bytes, is left to the submit.
    pub(super) null_outputs: bool,
    /// Bytes of the copies of a snapshot, and of its seal.
    pub(super) copies: u64,
    /// Ranges of a snapshot, with the offset of the copy among them.
    pub(super) saved: Vec<SavedRange>,
    /// Bytes of all blobs.
    pub(super) blobs: usize,
}

impl Plan {
    /// Of a task that was planned before, and has the same arguments but for their addresses.
    pub(super) fn again(members: &[TaskArgs], snapshot: bool) -> Result<Self, Error> {
        let mut plan = Self::default();
        for args in members {
            plan.blobs += args.blob_len();
            for (index, (tensor, &tag)) in args.tensors().iter().zip(args.tags()).enumerate() {
                let bytes = tensor.nbytes()?;
                if tensor.data() == 0 {
                    plan_null(&mut plan, index, tag, bytes)?;
                } else if bytes > 0 && snapshot && tag.writes() {
                    plan.saved.push(SavedRange { address: tensor.data(), len: bytes, copy: 0 });
                }
            }
        }
        plan.place_copies()?;
        Ok(plan)
    }

    /// Gives the copies of a snapshot their places among each other.
    fn place_copies(&mut self) -> Result<(), Error> {
        if self.saved.is_empty() {
            return Ok(());
        }
        let overflow = || Error::from(AbiError::SizeOverflow(Vec::new()));
        let mut at = 64u64; // the seal
        for range in &mut self.saved {
            range.copy = at;
            at = at.checked_add(range.len.next_multiple_of(64)).ok_or_else(overflow)?;
        }
        self.copies = align_up(at).ok_or_else(overflow)?;
        Ok(())
    }
}

/// Bytes that are held.
pub(super) struct Hold {
    /// Which buffer they lie in, if it is one.
    pub(super) buffer: Option<u64>,
    /// No task from this one on has named it before.
    pub(super) before: u64,
}

/// Plans one submit after the other: its lists are kept to spare the allocator.
#[derive(Default)]
pub(super) struct Planner {
    buffers: HeldBuffers,
    accesses: Vec<Access>,
    /// In a level: what the task of the level above names.
    lent: Vec<Range<u64>>,
}

impl Planner {
    /// Sees which buffers there are. Nothing is lent to the run yet.
    pub(super) fn begin_run(&mut self, in_flight: &mut InFlight) {
        in_flight.refresh(&mut self.buffers);
        self.lent.clear();
    }

    /// Lets the open run name what a task of the level above names.
    pub(super) fn lend(&mut self, tensors: &[ContinuousTensor]) {
        let bytes = |tensor: &ContinuousTensor| {
            let bytes = tensor.quick_nbytes().unwrap_or(0);
            tensor.data()..tensor.data().saturating_add(bytes)
        };
        self.lent.extend(tensors.iter().map(bytes));
    }

    /// What is known of buffers.
    #[inline(always)]
    pub(super) fn buffers(&mut self) -> &mut HeldBuffers {
        &mut self.buffers
    }

    /// The bytes that the planned task names.
    #[inline]
    pub(super) fn accesses(&mut self) -> &mut Vec<Access> {
        &mut self.accesses
    }

    /// Whether any of them came after the fork.
    #[inline]
    pub(super) fn names_imports(&self) -> bool {
        self.buffers.imported
    }

    /// Checks every tensor, notes what it names, and adds up what is to be allocated. After an error
    /// nothing is noted.
    #[inline]
    pub(super) fn plan(
        &mut self,
        in_flight: &mut InFlight,
        request: &Request<'_>,
        members: &[TaskArgs],
    ) -> Result<Plan, Error> {
        let planned = match self.add_up(in_flight, request, members) {
            Ok(plan) if self.buffers.imported => self.plan_again(in_flight, request, members, plan),
            planned => planned,
        };
        if planned.is_err() {
            self.unmark(in_flight);
        }
        planned
    }

    /// A buffer that came after the fork may have been dropped, by another thread, before it was
    /// noted as used; what was mapped would be gone then. Either that is seen here, or the use is
    /// seen there.
    #[cold]
    fn plan_again(
        &mut self,
        in_flight: &mut InFlight,
        request: &Request<'_>,
        members: &[TaskArgs],
        mut plan: Plan,
    ) -> Result<Plan, Error> {
        while self.buffers.is_outdated(&in_flight.shared().buffers) {
            self.unmark(in_flight);
            plan = self.add_up(in_flight, request, members)?;
        }
        Ok(plan)
    }

    /// Checks every tensor, notes what it names, and adds up what is to be allocated.
    #[inline]
    fn add_up(
        &mut self,
        in_flight: &mut InFlight,
        request: &Request<'_>,
        members: &[TaskArgs],
    ) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        self.accesses.clear();
        in_flight.refresh(&mut self.buffers);
        self.buffers.imported = false;
        let task = in_flight.window().next();
        let strict = in_flight.hazards() == Hazards::Strict;
        // Without types, a function may write to what it was to read.
        let typed = in_flight.shared().is_typed();
        if typed && request.slices.is_none() {
            refuse_no_dep(members)?;
        }
        let mut index = 0;
        for args in members {
            args.check_order()?;
            plan.blobs += args.blob_len();
            let own = self.accesses.len();
            for (tensor, &tag) in args.tensors().iter().zip(args.tags()) {
                let bytes = match tensor.quick_nbytes() {
                    Some(bytes) => bytes,
                    None => tensor.nbytes()?,
                };
                if tensor.data() == 0 {
                    plan_null(&mut plan, index, tag, bytes)?;
                } else if bytes > 0 {
                    let range = tensor.data()..tensor.data() + bytes;
                    let writes = !typed || tag != TensorArgType::Input;
                    if !self.is_known(in_flight, &range, task, writes) {
                        let address = range.start;
                        return Err(Error::UnknownAddress { index, address, bytes });
                    }
                    if request.options.snapshot && tag.writes() {
                        // The copies are placed below.
                        plan.saved.push(SavedRange { address: range.start, len: bytes, copy: 0 });
                    }
                    self.accesses.push(Access::new(range, tag));
                } else if !strict {
                    // The compatible rules look at the address, whatever the size.
                    self.accesses.push(Access::new(tensor.data()..tensor.data(), tag));
                }
                index += 1;
            }
            if strict && self.accesses.len() > own + 1 {
                let own = &self.accesses[own..];
                if let Some(parameters) = request.slices {
                    if shared_and_written(own) {
                        return Err(slices::overlapping(
                            &in_flight.shared().names,
                            request,
                            members,
                            parameters,
                        ));
                    }
                } else if let Some(twice) = written_twice(own) {
                    return Err(overlapping(index, args, &twice));
                }
            }
        }
        if let Some(parameters) = request.slices.filter(|_| request.group)
            && slices::among_members(members).is_some()
        {
            return Err(slices::overlapping(
                &in_flight.shared().names,
                request,
                members,
                parameters,
            ));
        }
        self.check_guards(in_flight)?;
        if plan.blobs > MAX_ARGS_BYTES {
            return Err(Error::ArgsTooLarge(plan.blobs));
        }
        plan.place_copies()?;
        Ok(plan)
    }

    /// Where bytes lie that a task names: all of the buffer, slab or lent memory.
    pub(super) fn home_of(&self, in_flight: &mut InFlight, bytes: &Range<u64>) -> Option<Home> {
        if let Some((bytes, id)) = self.buffers.home_of(bytes) {
            return Some(Home { bytes, buffer: Some(id) });
        }
        if let Some(bytes) = in_flight.home_of(bytes) {
            return Some(Home { bytes, buffer: None });
        }
        self.is_lent(in_flight, bytes).then(|| {
            // What was lent may overlap.
            let mut all = bytes.clone();
            while let Some(more) = self.lent.iter().find(|lent| {
                let meets = lent.start < all.end && all.start < lent.end;
                meets && (lent.start < all.start || all.end < lent.end)
            }) {
                all = all.start.min(more.start)..all.end.max(more.end);
            }
            Home { bytes: all, buffer: None }
        })
    }

    /// Sees which buffers there are, before bytes are [held](Self::hold).
    pub(super) fn begin_holding(&mut self, in_flight: &mut InFlight) {
        in_flight.refresh(&mut self.buffers);
        self.buffers.imported = false;
        self.accesses.clear();
    }

    /// Holds bytes that tasks before `next` name.
    pub(super) fn hold(
        &mut self,
        in_flight: &mut InFlight,
        bytes: &Range<u64>,
        next: u64,
        writes: bool,
    ) -> Option<Hold> {
        let writes = writes || !in_flight.shared().is_typed();
        if let Some((id, before)) = self.buffers.hold(bytes, next, writes) {
            return Some(Hold { buffer: Some(id), before });
        }
        let known = in_flight.hold_slab(bytes, next) || self.is_lent(in_flight, bytes);
        known.then_some(Hold { buffer: None, before: u64::MAX })
    }

    /// Whether what was held has to be held again: see [`plan_again`](Self::plan_again).
    pub(super) fn is_outdated(&self, in_flight: &InFlight) -> bool {
        self.buffers.imported && self.buffers.is_outdated(&in_flight.shared().buffers)
    }

    /// Whether a guard of the host is in the way of tasks that name held bytes.
    pub(super) fn is_guarded(
        &self,
        in_flight: &InFlight,
        bytes: &Range<u64>,
        writes: bool,
    ) -> bool {
        let writes = writes || !in_flight.shared().is_typed();
        self.buffers.is_guarded(bytes, writes)
    }

    /// Whether the bytes lie in a buffer or a live slab; if so, it is held until `task` is through.
    /// Memory of a higher level is held by the task of that level that this is a part of.
    #[inline]
    fn is_known(
        &mut self,
        in_flight: &mut InFlight,
        bytes: &Range<u64>,
        task: u64,
        writes: bool,
    ) -> bool {
        self.buffers.note_use(bytes, task, writes)
            || in_flight.note_use(bytes, task)
            || self.is_lent(in_flight, bytes)
    }

    /// Whether they are bytes of a higher level that the task of that level names.
    #[cold]
    fn is_lent(&self, in_flight: &InFlight, bytes: &Range<u64>) -> bool {
        let within = |lent: &Range<u64>| lent.start <= bytes.start && bytes.end <= lent.end;
        self.lent.iter().any(within) && in_flight.shared().inherited.holds(bytes)
    }

    /// Looks for guards of the host, once it is noted which bytes are used.
    #[inline]
    fn check_guards(&self, in_flight: &InFlight) -> Result<(), Error> {
        let shared = in_flight.shared();
        if shared.accesses.are_some() { self.look_for_guards(shared.is_typed()) } else { Ok(()) }
    }

    #[cold]
    fn look_for_guards(&self, typed: bool) -> Result<(), Error> {
        let guarded = |access: &Access| {
            let writes = !typed || access.tag != TensorArgType::Input;
            !access.bytes.is_empty() && self.buffers.is_guarded(&access.bytes, writes)
        };
        match self.accesses.iter().position(guarded) {
            None => Ok(()),
            tensor => Err(Error::BufferGuarded { tensor }),
        }
    }

    /// A submit that fails has named its bytes as used by a task that will not be: by the one
    /// before it, then.
    #[cold]
    pub(super) fn unmark(&mut self, in_flight: &mut InFlight) {
        let task = in_flight.window().next();
        for access in &self.accesses {
            in_flight.unmark(&access.bytes, task);
            self.buffers.unmark(&access.bytes, task);
        }
    }

    /// Fan-in nodes, fewer than that, are about to take numbers: buffers are held for one behind them.
    #[cold]
    pub(super) fn hold_meanwhile(&mut self, in_flight: &InFlight, nodes: usize) {
        let behind = in_flight.window().next() + nodes as u64;
        for access in self.accesses.iter().filter(|access| !access.bytes.is_empty()) {
            self.buffers.note_use(&access.bytes, behind, access.tag != TensorArgType::Input);
        }
    }

    /// Fan-in nodes have taken numbers, so the task's own is larger than was thought when its bytes
    /// were noted as used.
    #[cold]
    pub(super) fn hold_for_later(&mut self, in_flight: &mut InFlight) {
        let task = in_flight.window().next();
        let accesses = std::mem::take(&mut self.accesses);
        for access in accesses.iter().filter(|access| !access.bytes.is_empty()) {
            let writes = access.tag != TensorArgType::Input;
            self.is_known(in_flight, &access.bytes, task, writes);
        }
        self.accesses = accesses;
    }
}

/// A tensor with a null address: to be allocated if it is an output, empty otherwise.
fn plan_null(plan: &mut Plan, index: usize, tag: TensorArgType, bytes: u64) -> Result<(), Error> {
    plan.null_outputs |= tag == TensorArgType::Output;
    match tag {
        TensorArgType::Output if bytes > 0 => {
            let total = align_up(bytes).and_then(|b| plan.slab.checked_add(b));
            plan.slab = total.ok_or_else(|| AbiError::SizeOverflow(Vec::new()))?;
            plan.outputs.push(bytes);
            Ok(())
        }
        TensorArgType::NoDep | TensorArgType::Output => Ok(()),
        _ if bytes == 0 => Ok(()),
        _ => Err(Error::NullTensor(index)),
    }
}

/// Bytes that a task names without an order may be those of a typed task, which has a slice of them.
#[cold]
fn refuse_no_dep(members: &[TaskArgs]) -> Result<(), Error> {
    let unordered = |args: &TaskArgs| {
        let mut all = args.tensors().iter().zip(args.tags());
        all.any(|(tensor, &tag)| tag == TensorArgType::NoDep && tensor.data() != 0)
    };
    match members.iter().any(unordered) {
        true => Err(Misuse::UnorderedBesideTyped.into()),
        false => Ok(()),
    }
}

/// Which arguments of this member write the same bytes. `behind` is the number of the argument
/// that follows its last one.
#[cold]
fn overlapping(behind: usize, args: &TaskArgs, twice: &Range<u64>) -> Error {
    let first = behind - args.tensors().len();
    let writes = |(tensor, tag): (&ContinuousTensor, &TensorArgType)| {
        let end = tensor.data() + tensor.nbytes().unwrap_or(0);
        tag.writes() && (tensor.data()..end).contains(&twice.start)
    };
    let pairs = args.tensors().iter().zip(args.tags());
    let mut both = pairs.enumerate().filter(|&(_, pair)| writes(pair)).map(|(i, _)| first + i);
    Error::OverlappingWrites {
        first: both.next().unwrap_or(first),
        second: both.next().unwrap_or(first),
        address: twice.start,
        bytes: twice.end - twice.start,
    }
}
