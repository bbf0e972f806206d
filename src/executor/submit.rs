//! Submitting: check, find producers, make room, write, publish, wire.
//!
//! Everything that can fail comes before the slot is reserved. From there on nothing does, so a
//! submit that returns an error has left no trace.

use std::time::Duration;

use super::handle::TaskHandle;
use super::options::{Priority, TaskOptions};
use super::orchestrator::Orchestrator;
use super::rings::Patience;
use crate::abi::{AbiError, CallConfig, ContinuousTensor, DataType, TaskArgs, TensorArgType};
use crate::error::Error;
use crate::graph::{Access, Producer};
use crate::ids::{Callable, WorkerKind};
use crate::limits::{INLINE_ARGS, MAX_ARGS_BYTES, MAX_ATTEMPTS, MAX_FAN_IN};
use crate::mailbox::group;
use crate::mailbox::letter::{
    ANYWHERE, GROUP, Head, JOIN, Letters, Route, SNAPSHOT, SPILLED, SavedRange, URGENT,
};
use crate::ring::dist_ring::{Needs, Reservation};
use crate::ring::heap::align_up;
use crate::ring::slot::{GUARD, NO_CAUSE, Push};
use crate::ring::table::EdgeKind;
use crate::ring::word::SUBMITTER;
use crate::segment::Status;
use crate::sync::prefetch_write;

/// Why `try_submit` did not: the error, and the arguments back.
#[derive(Debug)]
pub struct Refused {
    /// What is in the way; [`Error::WouldBlock`] when it will go away by itself.
    pub error: Error,
    /// The arguments as they were.
    pub args: TaskArgs,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// What a submit asks for, checked.
struct Request<'r> {
    callable: Callable,
    config: CallConfig,
    options: &'r TaskOptions,
    group: bool,
    deadline_us: u32,
}

/// What has been worked out about the bytes of a submit.
#[derive(Default)]
struct Plan {
    /// Bytes of the slab: outputs to allocate, then copies for a snapshot.
    slab: u64,
    /// Whether any output is to be allocated.
    allocates: bool,
    /// Ranges of a snapshot, with the offset of the copy in the slab.
    saved: Vec<SavedRange>,
    /// Bytes of all blobs.
    blobs: usize,
}

impl Orchestrator {
    /// Submits a task to the NEXT_LEVEL workers. Waits while the rings are full.
    ///
    /// OUTPUT tensors with a null address are allocated from the heap ring of the innermost scope;
    /// the handle names them.
    ///
    /// # Errors
    /// Bad arguments, a request that can never fit, a wait that could never end. Nothing is
    /// changed then.
    #[inline]
    pub fn submit(
        &mut self,
        callable: impl Into<Callable>,
        args: TaskArgs,
        config: CallConfig,
    ) -> Result<TaskHandle, Error> {
        self.submit_with(callable, args, config, &TaskOptions::default())
    }

    /// Submits a task to the SUB workers.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_sub(
        &mut self,
        callable: impl Into<Callable>,
        args: TaskArgs,
    ) -> Result<TaskHandle, Error> {
        self.submit_with(callable, args, CallConfig::default(), &TaskOptions::sub())
    }

    /// Submits a task with options; they also say to which kind of worker.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); options that contradict each other.
    #[inline]
    pub fn submit_with(
        &mut self,
        callable: impl Into<Callable>,
        mut args: TaskArgs,
        config: CallConfig,
        options: &TaskOptions,
    ) -> Result<TaskHandle, Error> {
        let request = self.check(callable.into(), config, options, None)?;
        self.submit_checked(&request, std::slice::from_mut(&mut args), Patience::Wait)
    }

    /// Submits a task if that is possible without waiting.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::WouldBlock`]; the arguments come back.
    pub fn try_submit(
        &mut self,
        callable: impl Into<Callable>,
        mut args: TaskArgs,
        config: CallConfig,
    ) -> Result<TaskHandle, Box<Refused>> {
        let options = TaskOptions::default();
        let submitted = self.check(callable.into(), config, &options, None).and_then(|request| {
            self.submit_checked(&request, std::slice::from_mut(&mut args), Patience::Refuse)
        });
        submitted.map_err(|error| Box::new(Refused { error, args }))
    }

    /// Submits one node with a member for each of `args`, each run by another worker of the
    /// NEXT_LEVEL pool at the same time.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); no members, or more than the pool has workers.
    pub fn submit_group(
        &mut self,
        callable: impl Into<Callable>,
        args: Vec<TaskArgs>,
        config: CallConfig,
    ) -> Result<TaskHandle, Error> {
        self.submit_group_with(callable, args, config, &TaskOptions::default())
    }

    /// The same on SUB workers.
    ///
    /// # Errors
    /// As [`submit_group`](Self::submit_group).
    pub fn submit_sub_group(
        &mut self,
        callable: impl Into<Callable>,
        args: Vec<TaskArgs>,
    ) -> Result<TaskHandle, Error> {
        self.submit_group_with(callable, args, CallConfig::default(), &TaskOptions::sub())
    }

    /// The same with options. A group goes to whichever workers are idle, so it cannot be
    /// directed to one; deadline and retries count for the group as a whole.
    ///
    /// # Errors
    /// As [`submit_group`](Self::submit_group); options that a group cannot have.
    pub fn submit_group_with(
        &mut self,
        callable: impl Into<Callable>,
        mut args: Vec<TaskArgs>,
        config: CallConfig,
        options: &TaskOptions,
    ) -> Result<TaskHandle, Error> {
        let request = self.check(callable.into(), config, options, Some(args.len()))?;
        self.submit_checked(&request, &mut args, Patience::Wait)
    }

    /// Memory in the heap ring of the innermost scope, not yet written by anybody. It lives until
    /// the scope has closed and every task that names it is through.
    ///
    /// # Errors
    /// More than five dimensions, overflow, a heap ring that is full for good.
    pub fn alloc(&mut self, shape: &[u32], dtype: DataType) -> Result<ContinuousTensor, Error> {
        self.shared.check_place()?;
        let mut tensor = ContinuousTensor::new(0, shape, dtype)?;
        let bytes = tensor.nbytes()?;
        if bytes > 0 {
            let aligned = align_up(bytes).ok_or_else(|| AbiError::SizeOverflow(shape.to_vec()))?;
            let address = self.take_slab(aligned, false, Patience::Wait)?;
            tensor.set_data(address);
        }
        Ok(tensor)
    }

    // ---- checks ---------------------------------------------------------------------------------

    #[inline]
    fn check<'r>(
        &self,
        callable: Callable,
        config: CallConfig,
        options: &'r TaskOptions,
        members: Option<usize>,
    ) -> Result<Request<'r>, Error> {
        if !self.shared.is_fit() {
            self.shared.check_place()?;
            self.shared.check_health()?;
        }
        let kind = options.kind;
        let shape = self.arena.shape();
        let pool = shape.workers[kind.index()];
        if pool == 0 {
            return Err(Error::NoWorkers(kind));
        }
        if self.shared.calls_functions[kind.index()]
            && callable.0 >= self.shared.functions.len() as u64
        {
            return Err(Error::UnknownFunction(callable.0));
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
            if status.load(std::sync::atomic::Ordering::SeqCst) == Status::Gone as u32 {
                return Err(Error::Options("that worker was given up; direct the task elsewhere"));
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
        let deadline_us = match options.deadline {
            None => 0,
            Some(deadline) => micros(deadline)?,
        };
        Ok(Request { callable, config, options, group: members.is_some(), deadline_us })
    }

    fn check_group(&self, members: usize, options: &TaskOptions) -> Result<(), Error> {
        if members == 0 {
            return Err(Error::EmptyGroup);
        }
        let kind = options.kind;
        let live = self.shared.health.live[kind.index()].load(std::sync::atomic::Ordering::SeqCst);
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

    /// Checks every tensor, notes what it names, and adds up what is to be allocated.
    #[inline]
    fn plan(&mut self, request: &Request<'_>, args: &[TaskArgs]) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        self.accesses.clear();
        self.buffers.refresh(&self.shared);
        let task = self.ring.next();
        let mut index = 0;
        for args in args {
            args.check_order()?;
            plan.blobs += args.blob_len();
            for (tensor, &tag) in args.tensors().iter().zip(args.tags()) {
                let bytes = match tensor.quick_nbytes() {
                    Some(bytes) => bytes,
                    None => tensor.nbytes()?,
                };
                if tensor.data() == 0 {
                    self.plan_null(&mut plan, index, tag, bytes)?;
                } else if bytes > 0 {
                    let range = tensor.data()..tensor.data() + bytes;
                    if !self.is_known(&range, task) {
                        let address = range.start;
                        return Err(Error::UnknownAddress { index, address, bytes });
                    }
                    if request.options.snapshot && tag.writes() {
                        let copy = plan.slab; // relative to the slab; outputs are placed first
                        plan.saved.push(SavedRange { address: range.start, len: bytes, copy });
                    }
                    self.accesses.push(Access::new(range, tag));
                }
                index += 1;
            }
        }
        if plan.blobs > MAX_ARGS_BYTES {
            return Err(Error::ArgsTooLarge(plan.blobs));
        }
        if request.options.snapshot {
            let overflow = || Error::from(AbiError::SizeOverflow(Vec::new()));
            let mut at = plan.slab.checked_add(64).ok_or_else(overflow)?; // the seal
            for range in &mut plan.saved {
                range.copy = at;
                at = at.checked_add(range.len.next_multiple_of(64)).ok_or_else(overflow)?;
            }
            plan.slab = align_up(at).ok_or_else(overflow)?;
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
        match tag {
            TensorArgType::Output if bytes > 0 => {
                let total = align_up(bytes).and_then(|b| plan.slab.checked_add(b));
                plan.slab = total.ok_or_else(|| AbiError::SizeOverflow(Vec::new()))?;
                plan.allocates = true;
                Ok(())
            }
            TensorArgType::NoDep | TensorArgType::Output => Ok(()),
            _ if bytes == 0 => Ok(()),
            _ => Err(Error::NullTensor(index)),
        }
    }

    /// Whether the bytes lie in a buffer or a live slab; if so, it is held until `task` is through.
    #[inline]
    fn is_known(&mut self, bytes: &std::ops::Range<u64>, task: u64) -> bool {
        if self.buffers.note_use(bytes, task) {
            return true;
        }
        let len = bytes.end - bytes.start;
        let heap = self
            .heaps
            .iter()
            .position(|&(base, size)| base <= bytes.start && bytes.end <= base + size);
        let Some(heap) = heap else { return false };
        let offset = bytes.start - self.heaps[heap].0;
        match self.ring.heaps[heap].slab_of(offset, len) {
            Some(slab) => {
                slab.last_use = Some(slab.last_use.map_or(task, |last| last.max(task)));
                true
            }
            None => false,
        }
    }

    // ---- the submit itself ----------------------------------------------------------------------

    #[inline]
    fn submit_checked(
        &mut self,
        request: &Request<'_>,
        args: &mut [TaskArgs],
        patience: Patience,
    ) -> Result<TaskHandle, Error> {
        let mut plan = self.plan(request, args)?;
        let spilled = request.group
            || plan.blobs > INLINE_ARGS
            || request.deadline_us != 0
            || request.options.retries != 0
            || request.options.snapshot;
        let own = Needs {
            edges: 0,
            payload: if spilled {
                Letters::spill_words(args, plan.saved.len()) as u64 * 8
            } else {
                0
            },
            group: if request.group { group::words(args.len()) as u64 } else { 0 },
        };
        let mut deps = std::mem::take(&mut self.deps);
        deps.clear();
        self.map.lookup(&mut self.accesses, &mut deps);
        let producers = deps.settle();
        let room = self.make_all_room(patience, own, producers, plan.slab);
        if let Err(error) = room {
            self.deps = deps;
            return Err(error);
        }
        // From here on nothing fails.
        let mut live = std::mem::take(&mut self.live);
        let cause = self.find_live(producers, &mut live);
        let expected = self.ring.next();
        if live.len() > MAX_FAN_IN {
            self.fold(request.options.kind, &mut live);
        }
        let allocated = self.allocate(&mut plan, args, patience)?;
        if self.ring.next() != expected {
            self.hold_for_later();
        }
        let needs = Needs { edges: live.len() as u64, ..own };
        let Some(reserved) = self.ring.reserve(needs) else {
            self.deps = deps;
            return Err(Error::Failed("the ring had room and then had none".to_owned()));
        };
        let head = self.head(request, &reserved, args.len(), spilled, !plan.saved.is_empty());
        // SAFETY: this is the submitter, and slot and payload were reserved just now.
        unsafe {
            if spilled {
                self.letters.write_spilled(reserved.slot, &head, args, &plan.saved, plan.slab);
            } else {
                self.letters.write_inline(reserved.slot, &head, &args[0]);
            }
        }
        if request.group {
            self.arena.group(&head).reset();
        }
        let keep_from = self.keep_from();
        self.map.record(&self.accesses, reserved.seq, keep_from);
        if let Some(name) = &request.options.name {
            self.run.set_name(reserved.seq, name.clone());
            self.named = true;
        }
        self.publish(&reserved, &head, &live, cause);
        self.deps = deps;
        self.live = live;
        let tensors = allocated.then(|| {
            let pairs = args.iter().flat_map(|a| a.tensors().iter().zip(a.tags()));
            pairs.map(|(t, &tag)| (*t, tag == TensorArgType::Output)).collect()
        });
        Ok(TaskHandle { seq: reserved.seq, tensors })
    }

    /// Room in the heap ring, the window and its rings, all before anything is taken.
    #[inline]
    fn make_all_room(
        &mut self,
        patience: Patience,
        own: Needs,
        producers: &[Producer],
        slab: u64,
    ) -> Result<(), Error> {
        if slab > 0 {
            self.make_heap_room(slab, patience)?;
        }
        self.make_room(patience, |tail| {
            let live = producers.iter().filter(|p| p.task >= tail).count();
            let joins = if live > MAX_FAN_IN { (live - MAX_FAN_IN).div_ceil(23) + 1 } else { 0 };
            let edges = (live + joins) as u64;
            (1 + joins as u64, Needs { edges, ..own })
        })
    }

    /// Gives outputs their addresses and a snapshot its place.
    #[inline]
    fn allocate(
        &mut self,
        plan: &mut Plan,
        args: &mut [TaskArgs],
        patience: Patience,
    ) -> Result<bool, Error> {
        if plan.slab == 0 {
            return Ok(false);
        }
        let base = self.take_slab(plan.slab, true, patience)?;
        let mut at = base;
        for args in args {
            for (tensor, tag) in args.tensors_mut() {
                let bytes = tensor.nbytes()?;
                if tag == TensorArgType::Output && tensor.data() == 0 && bytes > 0 {
                    tensor.set_data(at);
                    self.accesses.push(Access::new(at..at + bytes, tag));
                    at += bytes.next_multiple_of(crate::limits::HEAP_ALIGN as u64);
                }
            }
        }
        if !plan.saved.is_empty() {
            for range in &mut plan.saved {
                range.copy += base;
            }
            plan.slab = at; // from here on: the address of the seal
            self.arena.write_word(at, 0);
        }
        Ok(plan.allocates)
    }

    /// Joins have taken numbers, so the task's own is larger than was thought when its bytes were
    /// noted as used.
    #[cold]
    fn hold_for_later(&mut self) {
        let task = self.ring.next();
        let accesses = std::mem::take(&mut self.accesses);
        for access in &accesses {
            self.is_known(&access.bytes, task);
        }
        self.accesses = accesses;
    }

    /// Producers that may still run, and the failure that is known to reach the task.
    #[inline]
    fn find_live(&self, producers: &[Producer], live: &mut Vec<Producer>) -> u64 {
        live.clear();
        let mut cause = NO_CAUSE;
        for &producer in producers {
            // A failure does not reach tasks of a later run.
            let data = producer.data && producer.task >= self.run.first;
            if producer.task >= self.ring.tail() {
                live.push(Producer { data, ..producer });
            } else if data && let Some(&root) = self.failed.get(&producer.task) {
                cause = cause.min(root);
            }
        }
        cause
    }

    /// More producers than a fan-in word can name are joined, as often as it takes, by tasks that
    /// run nothing.
    #[cold]
    fn fold(&mut self, kind: WorkerKind, live: &mut Vec<Producer>) {
        let (mut data, mut order): (Vec<_>, Vec<_>) = live.drain(..).partition(|p| p.data);
        while data.len() + order.len() > MAX_FAN_IN {
            let longer = if data.len() >= order.len() { &mut data } else { &mut order };
            let from = longer.len().saturating_sub(MAX_FAN_IN);
            let joined: Vec<Producer> = longer.drain(from..).collect();
            let is_data = joined[0].data;
            if let Some(task) = self.submit_join(kind, &joined) {
                longer.insert(0, Producer { task, data: is_data });
            }
        }
        live.append(&mut data);
        live.append(&mut order);
    }

    fn submit_join(&mut self, kind: WorkerKind, producers: &[Producer]) -> Option<u64> {
        let needs = Needs { edges: producers.len() as u64, ..Needs::default() };
        let reserved = self.ring.reserve(needs)?;
        let head = Head {
            seq: reserved.seq,
            callable: 0,
            config: CallConfig::default(),
            route: Route { kind: kind as u8, flags: JOIN, target: ANYWHERE },
            payload: 0,
            members: 1,
            retries: 0,
            deadline_us: 0,
            group: 0,
        };
        // SAFETY: this is the submitter, and the slot was reserved just now.
        unsafe { self.letters.write_inline(reserved.slot, &head, &TaskArgs::new()) };
        self.publish(&reserved, &head, producers, NO_CAUSE);
        Some(reserved.seq)
    }

    #[inline(always)]
    fn head(
        &self,
        request: &Request<'_>,
        reserved: &Reservation,
        members: usize,
        spilled: bool,
        saved: bool,
    ) -> Head {
        let options = request.options;
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        Head {
            seq: reserved.seq,
            callable: request.callable.0,
            config: request.config,
            route: Route {
                kind: options.kind as u8,
                flags: flag(options.priority == Priority::Urgent, URGENT)
                    | flag(spilled, SPILLED)
                    | flag(saved, SNAPSHOT)
                    | flag(request.group, GROUP),
                target: options.worker.map_or(ANYWHERE, |worker| worker.0),
            },
            payload: (reserved.payload / 8) as u32,
            members: members as u16,
            retries: options.retries as u16,
            deadline_us: request.deadline_us,
            group: reserved.group as u32,
        }
    }

    /// Makes the task visible, enters it into the lists of its producers, and lets it go.
    #[inline]
    fn publish(&mut self, at: &Reservation, head: &Head, producers: &[Producer], cause: u64) {
        let &Reservation { slot, generation, edges, .. } = at;
        let cell = self.table.slot(slot);
        prefetch_write(self.table.slot(slot + 6));
        self.letters.lines(slot + 6).into_iter().for_each(prefetch_write);
        if producers.is_empty() {
            cell.publish_ready(SUBMITTER, generation, cause);
            self.publisher.suggest(slot, head.route);
            return;
        }
        cell.publish_pending(SUBMITTER, generation, producers.len() as u32, cause);
        let mut finished = GUARD;
        for (bit, producer) in producers.iter().enumerate() {
            let (from, lap) = self.ring.place(producer.task);
            let index = (edges + bit as u64) as u32 & (self.edge_mask());
            let edge = self.table.edge(index);
            edge.set(slot, bit as u32, producer.kind(), generation);
            match self.table.slot(from).push_edge(lap, index, |next| edge.set_next(next)) {
                Push::Pushed => {}
                Push::Finished { failed } => {
                    finished |= 1 << bit;
                    if failed && producer.kind() == EdgeKind::Data {
                        cell.poison(self.arena.cause_of(from, producer.task));
                    }
                }
            }
        }
        if cell.clear(finished, generation) && cell.make_ready(SUBMITTER, generation) {
            self.publisher.suggest(slot, head.route);
        }
    }

    fn edge_mask(&self) -> u32 {
        self.arena.shape().ring.edges() as u32 - 1
    }

    /// The oldest task whose entry in the tensor map still matters: the oldest that may run, or
    /// the first of the run that failed, since its readers are to fail with it.
    #[inline]
    fn keep_from(&self) -> u64 {
        if self.failed.is_empty() { self.ring.tail() } else { self.run.first }
    }
}

fn micros(deadline: Duration) -> Result<u32, Error> {
    u32::try_from(deadline.as_micros()).ok().filter(|&us| us > 0).ok_or(Error::Options(
        "a deadline lies between one microsecond and 2^32 microseconds (71 minutes)",
    ))
}
