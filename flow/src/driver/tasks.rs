//! Tasks from the call to the value: entering, waiting for others, completing, trying again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::State;
use super::objects::{Index, Value, Waiter};
use super::order::Lane;
use super::scheduler::ClassId;
use crate::protocol::args::{Arg, Args};
use crate::protocol::error::{Cause, Error, TaskError};
use crate::protocol::node::{NodeDesc, number_of};
use crate::protocol::options::Overrides;
use crate::protocol::wire;

/// Waiting time before a task is tried again after an error, doubled with each attempt.
const BACKOFF: Duration = Duration::from_millis(1);
const BACKOFF_MOST: Duration = Duration::from_millis(500);

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// For others.
    Waiting,
    /// In the queue of its class.
    Queued,
    /// In the queue of its caller at an actor.
    AtActor,
    /// In a cell of a process.
    Posted { place: u16, seq: u64 },
    /// For its next attempt.
    Backoff,
}

/// For whom a task runs, besides those who hold its object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// The driver, which has called it or has held a ref to it: it runs in any case.
    Driver,
    /// The attempt of a body that has called it.
    Body,
    /// That attempt is over: it runs for as long as somebody holds it.
    Gone,
}

/// A task that is not complete.
pub(super) struct Task {
    pub(super) node: &'static NodeDesc,
    pub(super) args: Args,
    pub(super) overrides: Option<Box<Overrides>>,
    pub(super) class: ClassId,
    pub(super) phase: Phase,
    /// Arguments that are not there yet.
    pub(super) remaining: u32,
    /// Objects that it holds until it is complete: those that it takes values from, then those
    /// that its arguments name.
    pub(super) held: SmallVec<[Index; 4]>,
    /// Attempts before the present one.
    pub(super) attempt: u16,
    pub(super) retries_left: i32,
    pub(super) cancelled: bool,
    /// A body waits for it, or for one that needs it.
    pub(super) awaited: bool,
    /// The queue of its class in which it stands.
    pub(super) lane: Lane,
    pub(super) caller: Caller,
    /// The task whose body called it, by name.
    pub(super) parent: Option<u64>,
    /// Tasks that the body of the present attempt called, oldest first; the names of those that
    /// may be over by now.
    pub(super) kids: Vec<u64>,
    /// The actor whose method it is, and who called.
    pub(super) actor: Option<(u32, u64)>,
    /// The actor that it makes.
    pub(super) makes: Option<u32>,
}

impl Task {
    /// The objects that it takes values from.
    pub(super) fn needed(&self) -> &[Index] {
        let refs = self.args.list.iter().filter(|arg| matches!(arg, Arg::Ref(_))).count();
        &self.held[..refs]
    }

    /// Its hooks as they stand in a task descriptor, if it has any.
    pub(super) fn encoded_hooks(&self) -> Option<Vec<u8>> {
        let hooks = &self.overrides.as_ref()?.hooks;
        (hooks.setup.is_some() || hooks.cleanup.is_some()).then(|| wire::encode(hooks).ok())?
    }

    /// How long its body may run.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let given = self.overrides.as_ref().and_then(|over| over.deadline);
        let of_node = self.node.deadline_ns;
        given.or_else(|| (of_node > 0).then(|| Duration::from_nanos(of_node)))
    }

    /// Whether the start of its body has to be known.
    #[inline]
    pub(super) fn timed(&self) -> bool {
        self.node.deadline_ns > 0
            || self.overrides.as_ref().is_some_and(|over| over.deadline.is_some())
    }
}

/// A call, checked.
pub(super) struct NewTask {
    pub(super) node: &'static NodeDesc,
    pub(super) args: Args,
    pub(super) overrides: Option<Box<Overrides>>,
    pub(super) parent: Option<Index>,
    pub(super) actor: Option<(u32, u64)>,
    pub(super) makes: Option<u32>,
}

impl State {
    /// Enters a task. Its object has one hold for the caller and one for the task itself.
    pub(super) fn submit(&mut self, new: NewTask) -> Result<Index, Error> {
        let NewTask { node, args, overrides, parent, actor, makes } = new;
        let (class, max_retries) = self.class_of(node, overrides.as_deref(), actor.is_some())?;
        let mut held: SmallVec<[Index; 4]> = SmallVec::new();
        let mut needs = 0;
        for id in args.ids() {
            held.push(self.find(id)?);
        }
        // From here on nothing fails.
        self.number += 1;
        let index = self.objects.add(self.number, Value::Pending);
        self.objects.hold(index); // the task's own
        self.unposted += 1;
        self.incomplete += 1;
        self.eager += usize::from(overrides.as_ref().is_some_and(|over| !over.retry_on.is_empty()));
        let id = self.objects.id(index);
        let mut remaining = 0;
        let mut failed = None;
        for arg in &args.list {
            if matches!(arg, Arg::Value(_)) {
                continue;
            }
            let dep = self.objects.at_mut(held[needs]);
            needs += 1;
            match &dep.value {
                Value::Pending => {
                    remaining += 1;
                    dep.dependents.push(id);
                }
                Value::Failed(error) if failed.is_none() => failed = Some(Arc::clone(error)),
                _ => {}
            }
        }
        held.iter().for_each(|&dep| self.objects.hold(dep));
        held[..needs].iter().for_each(|&dep| self.objects.at_mut(dep).users += 1);
        let rank = self.rank(self.number, parent, &held[..needs]);
        let object = self.objects.at_mut(index);
        (object.rank, object.node) = (rank, Some(node.name));
        let task = Task {
            node,
            args,
            overrides,
            class,
            phase: Phase::Waiting,
            remaining,
            held,
            attempt: 0,
            retries_left: max_retries,
            cancelled: false,
            caller: if parent.is_some() { Caller::Body } else { Caller::Driver },
            awaited: false,
            lane: Lane::default(),
            parent: parent.map(|parent| self.objects.id(parent)),
            kids: Vec::new(),
            actor,
            makes,
        };
        self.objects.set_task(index, Box::new(task));
        self.enter_order(index);
        if let Some(parent) = parent {
            self.add_kid(parent, id);
        }
        if let Some((number, caller)) = actor {
            self.queue_at_actor(number, caller, index, false);
        }
        match (failed, actor) {
            (Some(error), _) => self.fail_with_root(index, &error),
            (None, Some((number, _))) => self.serve_actor(number),
            (None, None) if remaining == 0 => self.enqueue(index),
            (None, None) => self.post_behind_its_producer(index),
        }
        Ok(index)
    }

    #[inline]
    pub(super) fn find(&self, id: u64) -> Result<Index, Error> {
        self.objects.find(id).ok_or_else(|| {
            Error::Invalid(format!(
                "ref {}.{} names nothing in this flow: it is stale, or of another flow",
                id as u32,
                id >> 32
            ))
        })
    }

    /// All arguments are there.
    pub(super) fn enqueue(&mut self, index: Index) {
        let Some(task) = self.objects.task_mut(index) else { return };
        if let Some((actor, _)) = task.actor {
            return self.serve_actor(actor);
        }
        let class = task.class;
        // Nobody is before it: often there is a place at once.
        let alone = self.nobody_waits();
        if alone && self.closed.is_none() && self.may_start(index) && self.place(class, index) {
            return;
        }
        if let Some(task) = self.objects.task_mut(index) {
            task.phase = Phase::Queued;
        }
        // Behind others that need the same there is no place; unless those may not start yet.
        let first = self.queue(class, index);
        if !alone && (first || self.blocked > 0 || !self.memory_waits.is_empty()) {
            self.schedule();
        }
    }

    /// The name of a task, for people.
    pub(super) fn name_of(&self, index: Index) -> String {
        let Some(task) = self.objects.task(index) else { return "a value".to_owned() };
        let given = task.overrides.as_ref().and_then(|over| over.display_name.as_deref());
        given.unwrap_or_else(|| short_name(task.node.name)).to_owned()
    }

    pub(super) fn error_of(&self, index: Index, worker: Option<String>, cause: Cause) -> TaskError {
        let task = self.objects.task(index);
        let attempt = task.map_or(0, |task| u32::from(task.attempt));
        let panicked = match &cause {
            Cause::Panicked { .. } => true,
            Cause::Setup(hook) => matches!(**hook, Cause::Panicked { .. }),
            _ => false,
        };
        let witness = self.witness.filter(|_| worker.is_some());
        let of_panic = witness.filter(|_| panicked);
        TaskError {
            task: self.objects.at(index).number,
            name: self.name_of(index),
            attempt: if worker.is_some() { attempt + 1 } else { 0 },
            worker,
            cause,
            below: None,
            backtrace: of_panic.and_then(|place| self.procs[usize::from(place)].backtrace.clone()),
            output: witness
                .zip(self.receiver.as_ref())
                .map_or_else(Vec::new, |(place, receiver)| {
                    receiver.last_lines(place, self.objects.at(index).number)
                }),
        }
    }

    /// A task ends without a value.
    pub(super) fn fail(&mut self, index: Index, worker: Option<String>, cause: Cause) {
        let error = self.error_of(index, worker, cause);
        tracing::debug!(task = error.task, %error, "task failed");
        self.settle(index, Value::Failed(Arc::new(error)));
    }

    /// A task does not run, because of another.
    pub(super) fn fail_with_root(&mut self, index: Index, root: &Arc<TaskError>) {
        let error = self.below(index, root);
        self.settle(index, Value::Failed(error));
    }

    fn below(&self, index: Index, root: &Arc<TaskError>) -> Arc<TaskError> {
        let below = Some((self.objects.at(index).number, self.name_of(index)));
        Arc::new(TaskError { below, ..(**root).clone() })
    }

    /// An object becomes complete, and everything that follows from it.
    pub(super) fn settle(&mut self, index: Index, value: Value) {
        self.finish(index, value);
        while let Some((dependent, root)) = self.failing.pop() {
            if self.objects.task(dependent).is_some() {
                let error = self.below(dependent, &root);
                self.finish(dependent, Value::Failed(error));
            }
        }
        self.after_settling();
    }

    /// One object; what becomes possible by it, and who fails with it, is noted.
    fn finish(&mut self, index: Index, value: Value) {
        let object = self.objects.at_mut(index);
        if !object.value.is_pending() {
            // A value that nobody waits for any more.
            if let Value::Placed { block, .. } = value {
                self.store.release(block);
            }
            return;
        }
        let failed = match &value {
            Value::Failed(error) => Some(Arc::clone(error)),
            _ => None,
        };
        object.value = value;
        let task = object.task.take();
        self.incomplete -= 1;
        self.changed = true;
        self.leave_order(index);
        let object = self.objects.at_mut(index);
        if !object.waiters.is_empty() {
            for waiter in std::mem::take(&mut object.waiters) {
                match waiter {
                    Waiter::Process(place, request) => self.told.push((place, request)),
                    Waiter::Set(set, member) => self.add_ready(set, member),
                }
            }
        }
        let object = self.objects.at_mut(index);
        if !object.dependents.is_empty() {
            for dependent in std::mem::take(&mut object.dependents) {
                let Some(dependent) = self.objects.find(dependent) else { continue };
                let Some(task) = self.objects.task_mut(dependent) else { continue };
                task.remaining -= 1;
                // One at a worker already sees by itself whether it has its argument.
                if matches!(task.phase, Phase::Posted { .. }) {
                    continue;
                }
                match &failed {
                    Some(error) => self.failing.push((dependent, Arc::clone(error))),
                    None if task.remaining == 0 => self.ready.push(dependent),
                    None => {}
                }
            }
        }
        if let Some(mut task) = task {
            self.abandon_calls(std::mem::take(&mut task.kids));
            if !matches!(task.phase, Phase::Posted { .. }) {
                self.unposted -= 1;
            }
            self.eager -=
                usize::from(task.overrides.as_ref().is_some_and(|over| !over.retry_on.is_empty()));
            self.made.extend(task.makes);
            match task.phase {
                Phase::AtActor => self.left_actor(&task),
                // It was the reason, perhaps, why others were not looked at.
                Phase::Queued => self.reschedule = true,
                _ => {}
            }
            for &input in task.needed() {
                let object = self.objects.at_mut(input);
                object.users = object.users.saturating_sub(1);
            }
            for &held in &task.held {
                self.objects.unhold(held, &mut self.store);
            }
        }
        self.objects.unhold(index, &mut self.store); // the task's own
    }

    /// What became possible; not done inside of the loop above, which must see it all first.
    fn after_settling(&mut self) {
        while let Some(index) = self.ready.pop() {
            self.enqueue(index);
        }
        while let Some((place, request)) = self.told.pop() {
            self.look_at_wait(place, request);
        }
        while let Some(actor) = self.made.pop() {
            self.maker_settled(actor);
        }
        while let Some(actor) = self.actors_to_serve.pop() {
            self.serve_actor(actor);
        }
        self.end_unwanted();
        if std::mem::take(&mut self.reschedule) {
            self.schedule();
        }
    }

    /// A task is at no worker any more and is to be run again. Its attempt counts when `charged`.
    pub(super) fn again(&mut self, index: Index, charged: bool) {
        let Some(task) = self.objects.task_mut(index) else { return };
        if charged {
            task.attempt = task.attempt.saturating_add(1);
            task.retries_left -= i32::from(task.retries_left > 0);
        }
        let (remaining, actor) = (task.remaining, task.actor);
        task.phase = Phase::Waiting;
        let kids = std::mem::take(&mut task.kids);
        if let Some(actor) = task.makes.filter(|_| charged) {
            self.is_made_again(actor);
        }
        self.abandon_calls(kids);
        if let Some((actor, caller)) = actor {
            self.queue_at_actor(actor, caller, index, true);
            self.actors_to_serve.push(actor);
        } else if remaining == 0 {
            let lost = self.failed_argument(index);
            match lost {
                Some(error) => self.fail_with_root(index, &error),
                None => self.enqueue(index),
            }
        }
    }

    /// Why an argument of the task has no value, if one has failed.
    pub(super) fn failed_argument(&self, index: Index) -> Option<Arc<TaskError>> {
        let task = self.objects.task(index)?;
        task.needed().iter().find_map(|&dep| match &self.objects.at(dep).value {
            Value::Failed(error) => Some(Arc::clone(error)),
            _ => None,
        })
    }

    /// The same after a pause, as one does after an error.
    pub(super) fn again_later(&mut self, index: Index) {
        let Some(task) = self.objects.task_mut(index) else { return };
        task.attempt = task.attempt.saturating_add(1);
        task.retries_left -= i32::from(task.retries_left > 0);
        task.phase = Phase::Backoff;
        let pause = BACKOFF * 2u32.saturating_pow(u32::from(task.attempt.min(16)) - 1);
        let at = Instant::now() + pause.min(BACKOFF_MOST);
        let kids = std::mem::take(&mut task.kids);
        self.abandon_calls(kids);
        self.backoff.push((at, self.objects.id(index)));
        self.wakeup = true;
    }

    /// Tasks whose pause is over.
    pub(super) fn end_backoff(&mut self, now: Instant) {
        let due: Vec<u64> =
            self.backoff.extract_if(.., |(at, _)| *at <= now).map(|(_, id)| id).collect();
        for id in due {
            let Some(index) = self.objects.find(id) else { continue };
            let waits = |task: &Task| task.phase == Phase::Backoff;
            if self.objects.task(index).is_some_and(waits) {
                self.enqueue(index);
            }
        }
    }

    /// Whether this failure is one that the caller wants to be tried again.
    pub(super) fn retries(&self, index: Index, cause: &Cause) -> bool {
        let Some(task) = self.objects.task(index) else { return false };
        let Some(over) = &task.overrides else { return false };
        let wanted = match cause {
            Cause::App(error) => {
                over.retry_on.iter().any(|name| name == "*" || *name == error.type_name)
            }
            Cause::Panicked { .. } => over.retry_on.iter().any(|name| name == "*"),
            _ => false,
        };
        wanted && task.retries_left != 0 && !task.cancelled
    }

    /// How long bodies of the node take, roughly; `None` before the first.
    pub(super) fn mean_ns(&self, node: &'static NodeDesc) -> Option<f32> {
        self.nodes.get(number_of(node) as usize).and_then(|stat| stat.mean_ns)
    }
}

/// The last part of a full name.
pub(super) fn short_name(name: &str) -> &str {
    let (front, last) = name.rsplit_once("::").unwrap_or(("", name));
    // A method keeps its type.
    match front.rsplit_once("::").map_or(front, |(_, kind)| kind) {
        kind if kind.starts_with(char::is_uppercase) => {
            &name[name.len() - last.len() - kind.len() - 2..]
        }
        _ => last,
    }
}
