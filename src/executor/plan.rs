//! What a submit asks for: checked, and added up. Nothing is changed here but what is noted as used.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::callable_names::Known;
use super::options::{After, TaskOptions};
use super::orchestrator::Orchestrator;
use super::slices::among_members;
use crate::abi::{AbiError, CallConfig, ContinuousTensor, TaskArgs, TensorArgType};
use crate::error::Error;
use crate::graph::{Access, Hazards, shared_and_written, written_twice};
use crate::ids::Callable;
use crate::limits::{MAX_ARGS_BYTES, MAX_ATTEMPTS};
use crate::mailbox::descriptor::SavedRange;
use crate::ring::heap::{Slab, align_up};
use crate::segment::Status;

/// What a submit asks for, checked.
pub(super) struct Request<'r> {
    pub(super) callable: Callable,
    pub(super) config: CallConfig,
    pub(super) options: &'r TaskOptions,
    pub(super) group: bool,
    /// For arguments of the typed front, which become slices: the parameter of each tensor.
    pub(super) slices: Option<&'r [u8]>,
    pub(super) deadline_us: u32,
}

/// What has been worked out about the bytes of a submit.
#[derive(Default)]
pub(super) struct Plan {
    /// Bytes of the outputs to allocate, each rounded up to whole slab units.
    pub(super) slab: u64,
    /// The same one by one, as they were asked for.
    pub(super) outputs: Vec<u64>,
    /// Whether any address, be it of no bytes, is left to the submit.
    pub(super) null_outputs: bool,
    /// Bytes of the copies of a snapshot, and of its seal.
    pub(super) copies: u64,
    /// Ranges of a snapshot, with the offset of the copy among them.
    pub(super) saved: Vec<SavedRange>,
    /// Bytes of all blobs.
    pub(super) blobs: usize,
}

impl Orchestrator {
    #[inline]
    pub(super) fn check<'r>(
        &self,
        callable: Callable,
        config: CallConfig,
        options: &'r TaskOptions,
        members: Option<usize>,
        slices: Option<&'r [u8]>,
    ) -> Result<Request<'r>, Error> {
        if !self.shared.is_fit() {
            self.shared.check_place()?;
            self.shared.tasks.check_health()?;
        }
        let kind = options.kind;
        let shape = self.arena.shape();
        let pool = shape.workers[kind.index()];
        if pool == 0 {
            return Err(Error::NoWorkers(kind));
        }
        let typed = slices.is_some();
        match self.shared.names.look_up(kind, callable) {
            Known::Yes if callable.is_typed() == typed => {}
            Known::Yes => {
                return Err(Error::Misuse(
                    "a function that `Builder::task` registered takes its arguments through \
                     `spawn`, which checks them against its parameters",
                ));
            }
            Known::Dynamic | Known::Unlisted if !typed => {}
            _ => return Err(Error::UnknownFunction(callable.0)),
        }
        if let Some(members) = members {
            self.check_group(members, options)?;
        }
        if let Some(worker) = options.worker {
            let index = usize::from(worker.0);
            if index >= shape.total_workers() || shape.kind_of(index) != kind {
                return Err(Error::WrongWorker { worker, kind });
            }
            let status = &self.arena.entry(worker.0).status;
            if status.load(SeqCst) == Status::Gone as u32 {
                return Err(Error::Options("that worker was retired; direct the task elsewhere"));
            }
        }
        if options.retries >= MAX_ATTEMPTS {
            return Err(Error::Retries(options.retries));
        }
        if options.retries > 0 && !options.idempotent && !options.snapshot {
            return Err(Error::Options(
                "retries need `idempotent` or `snapshot`: a body that was cut short may have \
                 written half of its outputs",
            ));
        }
        if !options.after.is_empty() {
            self.check_after(options)?;
        }
        let deadline_us = match options.deadline {
            None => 0,
            Some(deadline) => micros(deadline)?,
        };
        Ok(Request { callable, config, options, group: members.is_some(), slices, deadline_us })
    }

    #[cold]
    fn check_after(&self, options: &TaskOptions) -> Result<(), Error> {
        let known = |after: &After| {
            after.executor == self.shared.id
                && (self.run.first..self.ring.next()).contains(&after.task)
        };
        if options.after.iter().all(known) {
            return Ok(());
        }
        Err(Error::Handle(
            "`after` takes tasks of the run that is open, and this one is of another run or \
             executor; wait for that run first, or submit both in one run",
        ))
    }

    fn check_group(&self, members: usize, options: &TaskOptions) -> Result<(), Error> {
        if members == 0 {
            return Err(Error::EmptyGroup);
        }
        let kind = options.kind;
        let live = self.shared.health.live[kind.index()].load(SeqCst);
        if members > live as usize {
            return Err(Error::GroupTooLarge { members, pool: live as usize, kind });
        }
        if options.worker.is_some() {
            return Err(Error::Options("a group takes whichever workers are idle: leave out `on`"));
        }
        if options.snapshot {
            return Err(Error::Options(
                "members of a group start at different times, so a snapshot of one could hold \
                 what another has written already: retry groups with `idempotent`",
            ));
        }
        Ok(())
    }

    /// A buffer that came after the fork may have been dropped, by another thread, before it was
    /// noted as used; what was mapped would be gone then. Either that is seen here, or the use is
    /// seen there.
    #[cold]
    pub(super) fn plan_again(
        &mut self,
        request: &Request<'_>,
        args: &[TaskArgs],
        mut plan: Plan,
    ) -> Result<Plan, Error> {
        while self.buffers.is_outdated(&self.shared.buffers) {
            self.unmark();
            plan = self.plan(request, args)?;
        }
        Ok(plan)
    }

    /// Checks every tensor, notes what it names, and adds up what is to be allocated.
    #[inline]
    pub(super) fn plan(
        &mut self,
        request: &Request<'_>,
        members: &[TaskArgs],
    ) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        self.accesses.clear();
        self.buffers.refresh(&self.shared.buffers, &mut self.map);
        self.buffers.imported = false;
        let task = self.ring.next();
        let strict = self.map.hazards() == Hazards::Strict;
        // Without types, a function may write to what it was to read.
        let typed = self.shared.is_typed();
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
                    self.plan_null(&mut plan, index, tag, bytes)?;
                } else if bytes > 0 {
                    let range = tensor.data()..tensor.data() + bytes;
                    if !self.is_known(&range, task, !typed || tag != TensorArgType::Input) {
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
                        return Err(self.overlapping_slices(request, members, parameters));
                    }
                } else if let Some(twice) = written_twice(own) {
                    return Err(overlapping(index, args, &twice));
                }
            }
        }
        if let Some(parameters) = request.slices.filter(|_| request.group)
            && among_members(members).is_some()
        {
            return Err(self.overlapping_slices(request, members, parameters));
        }
        self.check_guards()?;
        if plan.blobs > MAX_ARGS_BYTES {
            return Err(Error::ArgsTooLarge(plan.blobs));
        }
        if !plan.saved.is_empty() {
            let overflow = || Error::from(AbiError::SizeOverflow(Vec::new()));
            let mut at = 64u64; // the seal
            for range in &mut plan.saved {
                range.copy = at;
                at = at.checked_add(range.len.next_multiple_of(64)).ok_or_else(overflow)?;
            }
            plan.copies = align_up(at).ok_or_else(overflow)?;
        }
        Ok(plan)
    }

    /// A tensor with a null address: to be allocated if it is an output, empty otherwise.
    fn plan_null(
        &self,
        plan: &mut Plan,
        index: usize,
        tag: TensorArgType,
        bytes: u64,
    ) -> Result<(), Error> {
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

    /// Whether the bytes lie in a buffer or a live slab; if so, it is held until `task` is through.
    /// Memory of a higher level is held by the task of that level that this is a part of.
    #[inline]
    pub(super) fn is_known(
        &mut self,
        bytes: &std::ops::Range<u64>,
        task: u64,
        writes: bool,
    ) -> bool {
        if self.buffers.note_use(bytes, task, writes) {
            return true;
        }
        match self.slab_of(bytes) {
            Some(slab) => {
                slab.last_use = Some(slab.last_use.map_or(task, |last| last.max(task)));
                true
            }
            None => self.lent(bytes),
        }
    }

    /// Whether they are bytes of a higher level that the task of that level names.
    #[cold]
    fn lent(&self, bytes: &std::ops::Range<u64>) -> bool {
        let within =
            |lent: &std::ops::Range<u64>| lent.start <= bytes.start && bytes.end <= lent.end;
        self.lent.iter().any(within) && self.shared.inherited.holds(bytes)
    }

    /// Looks for guards of the host, once it is noted which bytes are used.
    #[inline]
    fn check_guards(&self) -> Result<(), Error> {
        if self.shared.accesses.are_some() { self.look_for_guards() } else { Ok(()) }
    }

    #[cold]
    fn look_for_guards(&self) -> Result<(), Error> {
        let typed = self.shared.is_typed();
        let guarded = |access: &Access| {
            let writes = !typed || access.tag != TensorArgType::Input;
            !access.bytes.is_empty() && self.buffers.is_guarded(&access.bytes, writes)
        };
        match self.accesses.iter().position(guarded) {
            None => Ok(()),
            tensor => Err(Error::BufferGuarded { tensor }),
        }
    }

    fn slab_of(&mut self, bytes: &std::ops::Range<u64>) -> Option<&mut Slab> {
        let inside = |&(base, size): &(u64, u64)| base <= bytes.start && bytes.end <= base + size;
        let heap = self.heaps.iter().position(inside)?;
        let offset = bytes.start - self.heaps[heap].0;
        self.ring.heaps[heap].slab_of(offset, bytes.end - bytes.start)
    }

    /// A submit that fails has named its bytes as used by a task that will not be: by the one
    /// before it, then, which is the most that can be true.
    #[cold]
    pub(super) fn unmark(&mut self) {
        let task = self.ring.next();
        let accesses = std::mem::take(&mut self.accesses);
        for access in &accesses {
            if let Some(slab) = self.slab_of(&access.bytes)
                && slab.last_use == Some(task)
            {
                slab.last_use = task.checked_sub(1);
            }
            self.buffers.unmark(&access.bytes, task);
        }
        self.accesses = accesses;
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
        true => Err(Error::Misuse(
            "NO_DEP in an executor with typed tasks, which hold slices of what they name: use \
             another tag, or a typed task with the unsafe `View::unordered`",
        )),
        false => Ok(()),
    }
}

/// Which arguments of this member write the same bytes. `behind` is the number of the argument
/// that follows its last one.
#[cold]
fn overlapping(behind: usize, args: &TaskArgs, twice: &std::ops::Range<u64>) -> Error {
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

fn micros(deadline: Duration) -> Result<u32, Error> {
    u32::try_from(deadline.as_micros()).ok().filter(|&us| us > 0).ok_or(Error::Options(
        "a deadline lies between one microsecond and 2^32 microseconds (71 minutes)",
    ))
}
