//! Submitting: check, find producers, make room, write, publish, wire.
//!
//! Everything that can fail comes before the slot is reserved. From there on nothing does, so a
//! submit that returns an error has left no trace.

use std::sync::Arc;

use super::handle::{Named, TaskHandle};
use super::options::{Priority, TaskOptions};
use super::orchestrator::Orchestrator;
use super::plan::{Plan, Request};
use super::rings::Patience;
use crate::abi::{AbiError, CallConfig, ContinuousTensor, DataType, TaskArgs, TensorArgType};
use crate::error::Error;
use crate::graph::{Access, Hazards, Producer};
use crate::ids::Callable;
use crate::limits::{INLINE_ARGS, MAX_FAN_IN};
use crate::mailbox::descriptor::{
    ANYWHERE, GROUP, Head, IMPORTED, Route, SNAPSHOT, SPILLED, TaskDescriptors, URGENT,
};
use crate::mailbox::group;
use crate::ring::dist_ring::{Needs, Reservation};
use crate::ring::heap::{Maker, align_up};

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
        let request = self.check(callable.into(), config, options, None, None)?;
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
        let submitted =
            self.check(callable.into(), config, &options, None, None).and_then(|request| {
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
        let request = self.check(callable.into(), config, options, Some(args.len()), None)?;
        self.submit_checked(&request, &mut args, Patience::Wait)
    }

    /// Submits what the typed front has made of its arguments: a task, or a group. `parameters` has
    /// the parameter (from 1) of each tensor. Bytes that one of the arguments writes are those of no
    /// other one, of no other member either, unless they are NO_DEP: else it is refused.
    #[inline]
    pub(crate) fn submit_typed(
        &mut self,
        callable: Callable,
        args: &mut [TaskArgs],
        options: &TaskOptions,
        group: bool,
        parameters: &[u8],
    ) -> Result<TaskHandle, Error> {
        if self.map.hazards() != Hazards::Strict {
            return Err(Error::Misuse(
                "typed tasks get slices, which compatible hazards do not keep from others: build \
                 the executor with strict hazards, or register the function with `register`",
            ));
        }
        let members = group.then_some(args.len());
        let config = CallConfig::default();
        let request = self.check(callable, config, options, members, Some(parameters))?;
        self.submit_checked(&request, args, Patience::Wait)
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
            self.make_heap_room(aligned, Patience::Wait)?;
            tensor.set_data(self.take_slabs(&[bytes], false, Maker::Alloc)?);
        }
        Ok(tensor)
    }

    // ---- the submit itself ----------------------------------------------------------------------

    #[inline]
    fn submit_checked(
        &mut self,
        request: &Request<'_>,
        args: &mut [TaskArgs],
        patience: Patience,
    ) -> Result<TaskHandle, Error> {
        let planned = match self.plan(request, args) {
            Ok(plan) if self.buffers.imported => self.plan_again(request, args, plan),
            planned => planned,
        };
        let mut plan = match planned {
            Ok(plan) => plan,
            Err(error) => {
                self.unmark();
                return Err(error);
            }
        };
        let spilled = request.group
            || plan.blobs > INLINE_ARGS
            || request.deadline_us != 0
            || request.options.retries != 0
            || request.options.snapshot;
        let own = Needs {
            edges: 0,
            payload: if spilled {
                TaskDescriptors::spill_words(args, plan.saved.len()) as u64 * 8
            } else {
                0
            },
            group: if request.group { group::words(args.len()) as u64 } else { 0 },
        };
        let mut deps = std::mem::take(&mut self.deps);
        deps.clear();
        if !self.accesses.is_empty() {
            self.map.lookup(&mut self.accesses, &mut deps);
        }
        for after in &request.options.after {
            deps.add(after.task, after.fails);
        }
        let producers = deps.settle();
        let room = self.make_all_room(patience, own, producers, &plan);
        if let Err(error) = room {
            self.deps = deps;
            self.unmark();
            return Err(error);
        }
        // From here on nothing fails.
        let mut live = std::mem::take(&mut self.live);
        let failed_root = self.find_live(producers, &mut live);
        let expected = self.ring.next();
        if live.len() > MAX_FAN_IN {
            self.hold_meanwhile(live.len());
            self.add_fan_in_nodes(request.options.kind, &mut live);
        }
        let tensors = self.allocate(request, &mut plan, args)?;
        if self.ring.next() != expected {
            self.hold_for_later();
        }
        if request.slices.is_none() && self.shared.is_typed() {
            mark_read_only(args);
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
                self.descriptors.write_spilled(
                    reserved.slot,
                    &head,
                    args,
                    &plan.saved,
                    plan.copies,
                );
            } else {
                self.descriptors.write_inline(reserved.slot, &head, &args[0]);
            }
        }
        if let Some(area) = self.arena.group(&head).filter(|_| request.group) {
            area.reset();
        }
        let tail = self.ring.tail();
        self.map.record(&self.accesses, reserved.seq, tail);
        if let Some(name) = &request.options.name {
            self.run.set_name(reserved.seq, name.clone());
            self.named = true;
        }
        self.publish(&reserved, &head, &live, failed_root);
        self.deps = deps;
        self.live = live;
        Ok(TaskHandle { seq: reserved.seq, executor: self.shared.id, tensors })
    }

    /// Room in the heap ring, the window and its rings, all before anything is taken.
    #[inline]
    fn make_all_room(
        &mut self,
        patience: Patience,
        own: Needs,
        producers: &[Producer],
        plan: &Plan,
    ) -> Result<(), Error> {
        if producers.len() > MAX_FAN_IN {
            self.reclaim()?; // most of them may be through, and need no edge then
        }
        if plan.slab > 0 {
            self.make_heap_room(plan.slab, patience)?;
        }
        if plan.copies > 0 {
            self.make_copy_room(plan.copies, patience)?;
        }
        self.make_room(patience, |tail| {
            let live = producers.iter().filter(|p| p.task >= tail).count();
            let fan_in_nodes =
                if live > MAX_FAN_IN { (live - MAX_FAN_IN).div_ceil(23) + 1 } else { 0 };
            let edges = (live + fan_in_nodes) as u64;
            (1 + fan_in_nodes as u64, Needs { edges, ..own })
        })
    }

    /// Gives outputs their addresses and a snapshot its place. What the handle names, if anything.
    #[inline]
    fn allocate(
        &mut self,
        request: &Request<'_>,
        plan: &mut Plan,
        args: &mut [TaskArgs],
    ) -> Result<Option<Named>, Error> {
        if plan.copies > 0 {
            let base = self.take_copies(plan.copies)?;
            for range in &mut plan.saved {
                range.copy += base;
            }
            plan.copies = base; // from here on: the address of the seal
            self.arena.write_word(base, 0);
        }
        if !plan.null_outputs {
            return Ok(None);
        }
        let mut at = 0;
        if plan.slab > 0 {
            let maker = match &request.options.name {
                Some(name) => Maker::Named(Arc::clone(name)),
                None => Maker::Task(request.options.kind as u8, request.callable.0),
            };
            at = self.take_slabs(&plan.outputs, true, maker)?;
        }
        let mut named = Vec::new();
        for args in args {
            for (tensor, tag) in args.tensors_mut() {
                let allocated = tag == TensorArgType::Output && tensor.data() == 0;
                let bytes = if allocated { tensor.nbytes()? } else { 0 };
                if bytes > 0 {
                    tensor.set_data(at);
                    self.accesses.push(Access::new(at..at + bytes, tag));
                    at += bytes.next_multiple_of(crate::limits::HEAP_ALIGN as u64);
                }
                named.push((*tensor, allocated));
            }
        }
        Ok(Some(named.into()))
    }

    /// Fan-in nodes, fewer than that, are about to take numbers: buffers are held for one behind them.
    #[cold]
    fn hold_meanwhile(&mut self, nodes: usize) {
        let behind = self.ring.next() + nodes as u64;
        for access in self.accesses.iter().filter(|access| !access.bytes.is_empty()) {
            self.buffers.note_use(&access.bytes, behind, access.tag != TensorArgType::Input);
        }
    }

    /// Fan-in nodes have taken numbers, so the task's own is larger than was thought when its bytes
    /// were noted as used.
    #[cold]
    fn hold_for_later(&mut self) {
        let task = self.ring.next();
        let accesses = std::mem::take(&mut self.accesses);
        for access in accesses.iter().filter(|access| !access.bytes.is_empty()) {
            self.is_known(&access.bytes, task, access.tag != TensorArgType::Input);
        }
        self.accesses = accesses;
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
                    | flag(request.group, GROUP)
                    | flag(self.buffers.imported, IMPORTED),
                target: options.worker.map_or(ANYWHERE, |worker| worker.0),
            },
            payload: (reserved.payload / 8) as u32,
            members: members as u16,
            retries: options.retries as u16,
            deadline_us: request.deadline_us,
            group: reserved.group as u32,
        }
    }
}

/// Beside typed tasks, functions without types write where their task said so.
#[cold]
fn mark_read_only(members: &mut [TaskArgs]) {
    for args in members {
        args.tensors_mut().for_each(|(tensor, tag)| tensor.mark_read_only(!tag.writes()));
    }
}
