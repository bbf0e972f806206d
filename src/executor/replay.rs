//! Submitting a recorded graph again: everything is looked at first, then each task costs its words
//! and its edges.
//!
//! ```text
//! memory     each binding: where, held until the last task, guarded?
//! each task  whom it waits for: by number, and what is known from outside of its entries
//!            words copied, addresses added; reserved and published like every other task
//! exits      kept for the map, which is told when somebody asks it
//! ```
//!
//! What has more to it than a slot and a blob goes the way of every submit, but for the plan and the
//! look-up. Most tasks have not, and are submitted in one loop for as long as there is room.

use std::sync::Arc;

use super::bindings::Bindings;
use super::handle::{Named, TaskHandle};
use super::in_flight::{InFlight, Patience};
use super::orchestrator::Orchestrator;
use super::plan::{Plan, Planner};
use super::recording::{ABSOLUTE, Back, Ends, Numbers, Recorded, Recording, Step, Task, Untold};
use super::request::{self, Request};
use crate::abi::{ContinuousTensor, TaskArgs};
use crate::error::{Error, InvalidReplay};
use crate::graph::{Dependencies, Hazards, Producer};
use crate::limits::{MAX_FAN_IN, MAX_SCOPE_DEPTH};
use crate::mailbox::descriptor::{IMPORTED, Route};
use crate::ring::dist_ring::Needs;
use crate::ring::heap::Maker;
use crate::ring::slot::NO_FAILED_ROOT;

/// The tasks of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    recording: Recording,
    numbers: Numbers,
    /// What tasks have allocated.
    named: Vec<(u32, Named)>,
}

impl Replayed {
    /// Tasks.
    pub fn len(&self) -> usize {
        self.recording.len()
    }

    /// Whether it has no tasks.
    pub fn is_empty(&self) -> bool {
        self.recording.is_empty()
    }

    /// The handle of task `index` of the recording ([`Recording::index`] has it for the handle of the
    /// recorded run): to wait for it, to cancel it, to come after it, to name what it has allocated.
    ///
    /// # Errors
    /// There is no such task.
    pub fn handle(&self, index: usize) -> Result<TaskHandle, Error> {
        let tasks = self.len();
        if index >= tasks {
            return Err(InvalidReplay::NoTask { task: index, tasks }.into());
        }
        let number = index as u32;
        let named = self.named.binary_search_by_key(&number, |(task, _)| *task).ok();
        Ok(TaskHandle {
            seq: self.numbers.of(number),
            executor: self.recording.0.executor,
            tensors: named.map(|at| self.named[at].1.clone()),
        })
    }
}

impl Orchestrator {
    /// Submits the tasks of a recording again, with the memory and the scalars of `bindings`: as if the
    /// closure that was recorded ran here, in the innermost scope, but without finding out again whom
    /// each task waits for. Mixes with other submits as these do with each other: what came before and
    /// what comes after is ordered by the bytes that it names.
    ///
    /// Waits while the rings are full, as [`submit`](Self::submit) does; a recording may be larger than
    /// the window. What it allocates outside of scopes of its own is held by the scope it is
    /// replayed in.
    ///
    /// ```rust,standalone_crate
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use mailring::prelude::*;
    /// let mut builder = Executor::builder().workers(2);
    /// let add = builder.task("add", |mut x: InOut<u64>, n: u64| x.iter_mut().for_each(|x| *x += n))?;
    /// let exec = builder.build()?;
    /// let x = exec.buffer(10)?;
    /// let (_, two_steps) = exec.record(|s| {
    ///     s.spawn(add, (&x, 1))?;
    ///     s.spawn(add, (&x, 1))
    /// })?;
    /// let bindings = two_steps.bindings();
    /// exec.run(|s| {
    ///     for _ in 0..50 {
    ///         s.replay(&two_steps, &bindings)?;
    ///     }
    ///     s.spawn(add, (&x, 1000)) // after all of them: it writes what they write
    /// })?;
    /// assert_eq!(x.get(9)?, 1102);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Replay`]: recording or bindings are of another executor; memory is not there, or two
    /// bindings share bytes that a task writes; the run is being recorded.
    /// [`Error::BufferGuarded`]: the host holds a guard, `tensor` is the number of the binding. A function
    /// was unregistered, a worker has gone ([`Error::UnknownFunction`], [`Error::Options`],
    /// [`Error::GroupTooLarge`]). In all these cases nothing was submitted. As for
    /// [`submit`](Self::submit), where there will never be room: then what comes before in the recording was
    /// submitted and goes on.
    pub fn replay(
        &mut self,
        recording: &Recording,
        bindings: &Bindings,
    ) -> Result<Replayed, Error> {
        let mut replay = Replay::begin(self, recording, bindings)?;
        let outcome = replay.submit_all(self);
        replay.end(self, recording, outcome.is_ok());
        outcome?;
        Ok(Replayed { recording: recording.clone(), numbers: replay.numbers, named: replay.named })
    }
}

/// A replay on its way.
struct Replay<'r> {
    recorded: &'r Recorded,
    bindings: &'r Bindings,
    /// Addresses of the bases, as far as they are known.
    bases: Vec<u64>,
    /// Whether somebody from outside may be at work on the base.
    busy: Vec<bool>,
    any_busy: bool,
    /// Some memory came after the fork.
    imports: bool,
    numbers: Numbers,
    /// Tasks that were submitted.
    done: usize,
    /// Scopes that were open before.
    depth: usize,
    named: Vec<(u32, Named)>,
    /// Blobs of all tasks.
    words: &'r [u64],
    deps: Dependencies,
    live: Vec<Producer>,
}

impl<'r> Replay<'r> {
    /// Checks everything, and holds the memory.
    fn begin(
        orchestrator: &mut Orchestrator,
        recording: &'r Recording,
        bindings: &'r Bindings,
    ) -> Result<Self, Error> {
        let recorded = &*recording.0;
        let shared = Arc::clone(orchestrator.shared());
        shared.check_place()?;
        shared.tasks.check_health()?;
        if recorded.executor != shared.id {
            return Err(InvalidReplay::OtherExecutor.into());
        }
        if !bindings.are_of(recording) {
            return Err(InvalidReplay::OtherBindings.into());
        }
        if orchestrator.is_recording() {
            return Err(InvalidReplay::WhileRecording.into());
        }
        bindings.check_overlaps()?;
        let (in_flight, planner) = orchestrator.parts();
        let depth = in_flight.scopes().depth();
        if depth + recorded.depth > MAX_SCOPE_DEPTH {
            return Err(Error::ScopeDepth);
        }
        for &index in &recorded.checked {
            request_of(in_flight, recorded, index as usize)?;
        }
        in_flight.reclaim()?;
        let mut replay = Self {
            recorded,
            bindings,
            bases: vec![0; recorded.bases],
            busy: vec![false; recorded.bases],
            any_busy: false,
            imports: false,
            numbers: Numbers { first: in_flight.window().next(), nodes: Vec::new() },
            done: 0,
            depth,
            named: Vec::new(),
            words: bindings.words(),
            deps: Dependencies::default(),
            live: Vec::new(),
        };
        let held = replay.hold_all(in_flight, planner);
        if held.is_err() {
            replay.hold_until(in_flight, planner, in_flight.window().next());
        }
        held.map(|()| replay)
    }

    /// Holds all memory until the last task is through. (A buffer that came after the fork may be dropped
    /// meanwhile: either that is seen here, or the use is seen there.)
    fn hold_all(&mut self, in_flight: &mut InFlight, planner: &mut Planner) -> Result<(), Error> {
        let next = in_flight.window().next() + self.recorded.tasks.len() as u64;
        // A failed task counts although it has left the window; and an address without bytes is in use
        // without a note.
        let all = in_flight.runs().has_failed() || in_flight.hazards() == Hazards::Compatible;
        self.busy[ABSOLUTE as usize] = all;
        loop {
            planner.begin_holding(in_flight);
            for (number, binding) in self.recorded.bindings.iter().enumerate() {
                let (bytes, at) = (self.bindings.used(number), self.bindings.at(number));
                let hold = planner.hold(in_flight, &bytes, next, binding.writes);
                let Some(hold) = hold else {
                    let (address, bytes) = (bytes.start, bytes.end - bytes.start);
                    let unknown = InvalidReplay::Unknown { binding: number, address, bytes };
                    let dropped = at.recorded && binding.buffer.is_some();
                    let why = if dropped { InvalidReplay::Dropped(number) } else { unknown };
                    return Err(why.into());
                };
                if at.recorded && hold.buffer != binding.buffer {
                    return Err(InvalidReplay::Dropped(number).into());
                }
                let base = binding.base as usize;
                self.bases[base] = at.address;
                self.busy[base] = all || hold.before > in_flight.window().tail();
            }
            if !planner.is_outdated(in_flight) {
                break;
            }
        }
        self.any_busy = self.busy.contains(&true);
        self.imports = planner.names_imports();
        if in_flight.shared().accesses.are_some() {
            for (number, binding) in self.recorded.bindings.iter().enumerate() {
                if planner.is_guarded(in_flight, &self.bindings.used(number), binding.writes) {
                    return Err(Error::BufferGuarded { tensor: Some(number) });
                }
            }
        }
        Ok(())
    }

    /// The memory is named by no task from `next` on.
    fn hold_until(&self, in_flight: &mut InFlight, planner: &mut Planner, next: u64) {
        for (number, binding) in self.recorded.bindings.iter().enumerate() {
            planner.hold(in_flight, &self.bindings.used(number), next, binding.writes);
        }
    }

    fn submit_all(&mut self, orchestrator: &mut Orchestrator) -> Result<(), Error> {
        let recorded = self.recorded;
        let mut steps = &recorded.steps[..];
        loop {
            while let Some(((before, what), rest)) = steps.split_first()
                && *before as usize == self.done
            {
                self.step(orchestrator, *what)?;
                steps = rest;
            }
            let step = steps.first().map_or(recorded.tasks.len(), |(before, _)| *before as usize);
            self.submit_quick(orchestrator, step);
            if self.done < step {
                self.submit(orchestrator, self.done, &recorded.tasks[self.done])?;
                self.done += 1;
            } else if steps.is_empty() {
                return Ok(());
            }
        }
    }

    /// Submits tasks before `until` for as long as each needs nothing but a slot and its edges, there is
    /// room, and nothing is known from outside that could matter.
    fn submit_quick(&mut self, orchestrator: &mut Orchestrator, until: usize) {
        let recorded = self.recorded;
        if self.done >= until || !self.numbers.nodes.is_empty() {
            return;
        }
        let (in_flight, _) = orchestrator.parts();
        // A failure that is known may have to reach them.
        let Some(window) = in_flight.unfailed() else { return };
        let (first, tail, descriptors) = (self.numbers.first, window.tail(), window.descriptors());
        let flags = if self.imports { IMPORTED } else { 0 };
        let none = Producer { task: 0, data: false };
        let mut live = [none; MAX_FAN_IN];
        let mut before = recorded.ends_before(self.done);
        let blobs = self.words;
        let mut words = &blobs[before.words as usize..];
        let mut places = &recorded.addresses[before.addresses as usize..];
        let mut producers = &recorded.producers[before.producers as usize..];
        for task in &recorded.tasks[self.done..until] {
            let ends = task.ends;
            if !task.quick || (ends.entries != before.entries && self.is_busy(before, ends)) {
                return;
            }
            let (own, other_producers) =
                producers.split_at((ends.producers - before.producers) as usize);
            let mut edges = 0;
            for back in own {
                let task = first + u64::from(back.task);
                if task >= tail {
                    live[edges] = Producer { task, data: back.data };
                    edges += 1;
                }
            }
            let needs = Needs { edges: edges as u64, ..Needs::default() };
            let Some(reserved) = window.reserve(needs) else { return };
            let (blob, other_words) = words.split_at((ends.words - before.words) as usize);
            let (own_places, other_places) =
                places.split_at((ends.addresses - before.addresses) as usize);
            let head = (task.packed, reserved.seq, flags);
            // SAFETY: this is the submitter, and the slot was reserved just now. The blob was recorded
            // from a task descriptor that it fitted, and the places are those of its tensors.
            unsafe {
                descriptors.write_relocated(reserved.slot, head, blob, own_places, &self.bases);
            }
            let route = Route { flags: task.route.flags | flags, ..task.route };
            window.publish(&reserved, route, &live[..edges], NO_FAILED_ROOT);
            (words, places, producers) = (other_words, other_places, other_producers);
            before = ends;
            self.done += 1;
        }
    }

    /// Whether somebody from outside may be at work on what a task names.
    #[inline]
    fn is_busy(&self, before: Ends, ends: Ends) -> bool {
        let entries = &self.recorded.entries[before.entries as usize..ends.entries as usize];
        self.any_busy && entries.iter().any(|entry| self.busy[entry.base as usize])
    }

    #[cold]
    fn step(&mut self, orchestrator: &mut Orchestrator, step: Step) -> Result<(), Error> {
        let (in_flight, _) = orchestrator.parts();
        match step {
            Step::Begin => in_flight.begin_scope(),
            Step::End => in_flight.end_scope(),
            Step::Alloc { bytes, base } => {
                in_flight.make_heap_room(bytes, Patience::Wait)?;
                self.bases[base as usize] = in_flight.take_slabs(&[bytes], false, Maker::Alloc)?;
                Ok(())
            }
        }
    }

    #[inline]
    fn submit(
        &mut self,
        orchestrator: &mut Orchestrator,
        index: usize,
        task: &Task,
    ) -> Result<(), Error> {
        let before = self.recorded.ends_before(index);
        let (in_flight, _) = orchestrator.parts();
        if task.inner {
            self.hold_slabs(in_flight, task, before, in_flight.window().next())?;
        }
        self.find_producers(in_flight, task, before);
        let many = self.deps.settle().len() > MAX_FAN_IN;
        if !task.plain || many {
            return self.submit_rare(orchestrator, index, task, before);
        }
        let producers = self.deps.settle();
        in_flight.make_room(Patience::Wait, |tail| {
            let edges = producers.iter().filter(|p| p.task >= tail).count() as u64;
            (1, Needs { edges, ..Needs::default() })
        })?;
        let failed_root = in_flight.find_live(producers, &mut self.live);
        let needs = Needs { edges: self.live.len() as u64, ..Needs::default() };
        let Some(reserved) = in_flight.reserve(needs) else {
            return Err(Error::Failed("the ring had room and then had none".to_owned()));
        };
        let flags = if self.imports { IMPORTED } else { 0 };
        let words = &self.words[before.words as usize..task.ends.words as usize];
        let places = before.addresses as usize..task.ends.addresses as usize;
        let places = &self.recorded.addresses[places];
        let head = (task.packed, reserved.seq, flags);
        let descriptors = in_flight.window().descriptors();
        // SAFETY: as in `submit_quick`.
        unsafe { descriptors.write_relocated(reserved.slot, head, words, places, &self.bases) };
        let route = Route { flags: task.route.flags | flags, ..task.route };
        in_flight.publish(&reserved, route, &[], None, &self.live, failed_root);
        Ok(())
    }

    /// Whom the task waits for: among the others, and outside.
    #[inline]
    fn find_producers(&mut self, in_flight: &mut InFlight, task: &Task, before: Ends) {
        self.deps.clear();
        for entry in &self.recorded.entries[before.entries as usize..task.ends.entries as usize] {
            if self.busy[entry.base as usize] {
                let mut access = entry.at(&self.bases);
                in_flight.look_up(std::slice::from_mut(&mut access), &mut self.deps);
            }
        }
        let own = before.producers as usize..task.ends.producers as usize;
        for &Back { task, data } in &self.recorded.producers[own] {
            self.deps.add(self.numbers.of(task), data);
        }
    }

    /// Slabs of the graph that a task names are held until it is through.
    #[cold]
    fn hold_slabs(
        &self,
        in_flight: &mut InFlight,
        task: &Task,
        before: Ends,
        number: u64,
    ) -> Result<(), Error> {
        let own = before.accesses as usize..task.ends.accesses as usize;
        for (index, touch) in self.recorded.accesses[own].iter().enumerate() {
            let own = touch.base == task.slab || touch.base == ABSOLUTE || touch.len == 0;
            if own || self.recorded.binding_of(touch.base).is_some() {
                continue;
            }
            let bytes = touch.at(&self.bases).bytes;
            if !in_flight.note_use(&bytes, number) {
                let (address, bytes) = (bytes.start, bytes.end - bytes.start);
                return Err(Error::UnknownAddress { index, address, bytes });
            }
        }
        Ok(())
    }

    /// Submits a task that has more to it than a slot and a blob.
    #[cold]
    fn submit_rare(
        &mut self,
        orchestrator: &mut Orchestrator,
        index: usize,
        task: &Task,
        before: Ends,
    ) -> Result<(), Error> {
        let mut args = self.arguments(task, before);
        let (in_flight, planner) = orchestrator.parts();
        let request = request_of(in_flight, self.recorded, index)?;
        let plan = Plan::again(&args, request.options.snapshot)?;
        // Nothing of it is noted or entered one by one.
        planner.accesses().clear();
        let expected = in_flight.window().next();
        let mut deps = std::mem::take(&mut self.deps);
        let producers = deps.settle();
        let many = producers.len() > MAX_FAN_IN;
        let last = expected + (self.recorded.tasks.len() - index) as u64;
        if many {
            // Fan-in nodes may take numbers: more than there will be, until it is known.
            let most = last + producers.len() as u64;
            self.hold_until(in_flight, planner, most);
        }
        let placed = orchestrator.place(&request, plan, &mut args, producers, Patience::Wait);
        self.deps = deps;
        let (in_flight, planner) = orchestrator.parts();
        let nodes = (in_flight.window().next() - expected).saturating_sub(1);
        if many {
            self.hold_until(in_flight, planner, last + nodes);
        }
        let handle = placed?;
        if nodes > 0 {
            let so_far = self.numbers.nodes_before(index as u32);
            self.numbers.nodes.push((index as u32, so_far + nodes));
            if task.inner {
                self.hold_slabs(in_flight, task, before, handle.seq)?;
            }
        }
        if let Some(named) = handle.tensors {
            let mut own = named.all().iter().filter(|(_, tensor)| tensor.data() != 0);
            if let Some((_, first)) = own.next() {
                self.bases[task.slab as usize] = first.data();
            }
            self.named.push((index as u32, named));
        }
        Ok(())
    }

    /// The arguments of a task, with their addresses.
    fn arguments(&self, task: &Task, before: Ends) -> Vec<TaskArgs> {
        const TENSOR_WORDS: usize = size_of::<ContinuousTensor>() / 8;
        let mut words = self.words[before.words as usize..task.ends.words as usize].to_vec();
        let places = before.addresses as usize..task.ends.addresses as usize;
        for place in &self.recorded.addresses[places] {
            let word = &mut words[place.word as usize];
            *word = word.wrapping_add(self.bases[place.base as usize]);
        }
        let mut tags = self.recorded.tags[before.tags as usize..task.ends.tags as usize].iter();
        let (mut rest, mut members) = (&words[..], Vec::new());
        while let Some((&counts, behind)) = rest.split_first() {
            let (tensors, scalars) = (counts as u32 as usize, (counts >> 32) as usize);
            let (tensors, behind) = behind.split_at(tensors * TENSOR_WORDS);
            let (scalars, behind) = behind.split_at(scalars);
            let mut args = TaskArgs::new();
            for (tensor, &tag) in tensors.chunks_exact(TENSOR_WORDS).zip(&mut tags) {
                let mut raw = [0; TENSOR_WORDS];
                raw.copy_from_slice(tensor);
                args.push_tensor(bytemuck::cast(raw), tag);
            }
            scalars.iter().for_each(|&scalar| _ = args.add_scalar(scalar));
            members.push(args);
            rest = behind;
        }
        members
    }

    /// Tells those who come after what the tasks have named.
    fn end(&mut self, orchestrator: &mut Orchestrator, recording: &Recording, whole: bool) {
        let (in_flight, planner) = orchestrator.parts();
        if !whole {
            // A part of the tasks was submitted: all that these have named.
            in_flight.end_scopes(self.depth);
            let mut from = 0;
            for (index, task) in self.recorded.tasks[..self.done].iter().enumerate() {
                for touch in &self.recorded.accesses[from..task.ends.accesses as usize] {
                    in_flight.enter(&touch.at(&self.bases), self.numbers.of(index as u32));
                }
                from = task.ends.accesses as usize;
            }
            self.hold_until(in_flight, planner, in_flight.window().next());
            return;
        }
        if !self.recorded.exits.is_empty() {
            let (recorded, numbers) = (Arc::clone(&recording.0), self.numbers.clone());
            in_flight.tell_later(Untold {
                recorded,
                numbers,
                bases: std::mem::take(&mut self.bases),
            });
        }
    }
}

fn request_of<'r>(
    in_flight: &InFlight,
    recorded: &'r Recorded,
    index: usize,
) -> Result<Request<'r>, Error> {
    let (task, head) = (&recorded.tasks[index], &recorded.heads[index]);
    let options = &recorded.options[task.options as usize];
    let members = task.group.then_some(usize::from(head.members));
    let slices: Option<&[u8]> = head.callable().is_typed().then_some(&[]);
    request::check(in_flight, head.callable(), head.config, options, members, slices)
}
