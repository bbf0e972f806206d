//! The table of objects: values that exist or will, the tasks that make them, who holds them, who
//! waits for them.
//!
//! What others read of an object or a task they read by reference; every change is a function
//! here, so that counts, ranks and phases agree.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::effects::Effects;
use super::features::{Features, Known, Lookup};
use super::quantities::ClassId;
use super::ranks::{Key, Lane, OrderKey, Rank};
use super::store::{BlockId, Store};
use super::tasks::{Caller, Index, NewTask, Noted, Phase, Task};
use crate::protocol::error::{Cause, Error, TaskError};
use crate::protocol::handle::Name;
use crate::protocol::node::NodeDesc;

/// Waiting time before a task is tried again after an error, doubled with each attempt.
const BACKOFF: Duration = Duration::from_millis(1);
const BACKOFF_MOST: Duration = Duration::from_millis(500);

/// Tasks that are over and whose memory is kept, at most.
const SPARES: usize = 256;

/// What an object is.
#[derive(Clone)]
pub(crate) enum Value {
    /// Nothing yet: its task goes on.
    Pending,
    /// Small, and kept here.
    Inline(SmallVec<[u8; 32]>),
    /// In the values. The object has a use of the block.
    Placed { block: BlockId, address: u64, len: u64 },
    /// Why there is none.
    Failed(Arc<TaskError>),
}

impl Value {
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending)
    }
}

/// Who is to be told when an object is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// A process that waits, by the number of its request.
    Process(u16, u64),
    /// A wait set, and which of its members this is.
    Set(u32, u64),
}

pub(crate) struct Object {
    generation: u32,
    /// Handles of the driver, tasks that need it, values that name it, processes that keep it.
    pub(crate) holds: u32,
    /// The number of its task, for people; 0 for a block.
    pub(crate) number: u64,
    pub(crate) value: Value,
    /// Its task's full name, and where that stands in its family.
    pub(crate) node: Option<&'static str>,
    pub(crate) rank: Rank,
    /// Incomplete tasks that take its value.
    pub(crate) users: u32,
    /// Objects that the value names.
    pub(crate) children: Vec<Index>,
    waiters: SmallVec<[Waiter; 1]>,
    /// Tasks that need it, by name: those that failed meanwhile may be gone.
    pub(crate) dependents: SmallVec<[u64; 2]>,
    /// Gone when the value is there.
    task: Option<Box<Task>>,
    /// The block of a value that was freed by hand: whoever reads it may still do so.
    lost: Option<BlockId>,
    /// Whether the value was a block of elements, made by hand.
    pub(crate) shared: bool,
}

impl Object {
    /// Whether nobody but the task itself is left who holds it, and its caller is gone.
    #[inline]
    fn is_unwanted(&self) -> bool {
        self.holds == 1 && self.task.as_ref().is_some_and(|task| task.caller == Caller::Gone)
    }
}

/// Incomplete tasks that may ask for much memory, in their order.
pub(crate) type TaskOrder = BTreeMap<OrderKey, Index>;

/// How a task was entered.
pub(crate) struct Entered {
    pub(crate) index: Index,
    /// Nothing that it takes is missing.
    pub(crate) is_ready: bool,
    /// An argument has no value, and never will.
    pub(crate) has_failed: bool,
}

#[derive(Default)]
pub(crate) struct Objects {
    slots: Vec<Object>,
    free: Vec<Index>,
    /// In use.
    live: usize,
    /// By name: incomplete tasks that only they themselves hold, and whose caller is gone.
    unwanted: Vec<u64>,
    /// Tasks so far, with values that were put; and how many of the numbers are those of such.
    number: u64,
    puts: u64,
    /// Incomplete tasks; those of them that stand at no process.
    incomplete: usize,
    unposted: usize,
    /// Tasks that may be tried again after an error.
    eager: usize,
    /// Tasks that pause before their next attempt, by name, and until when.
    backoff: Vec<(Instant, u64)>,
    /// Who asks for memory in which order, while there is little.
    order: Option<TaskOrder>,
    /// Memory of tasks that are over.
    #[allow(clippy::vec_box, reason = "a task is moved from here to its object as a pointer")]
    spares: Vec<Box<Task>>,
}

// ---- what is there --------------------------------------------------------------------------

impl Objects {
    /// The name by which handles know it.
    #[inline]
    pub(crate) fn id(&self, index: Index) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    /// The same, and its number for people.
    #[inline]
    pub(crate) fn name(&self, index: Index) -> Name {
        Name { id: self.id(index), number: self.slots[index as usize].number }
    }

    /// The object that handles know by this name, if it still is there.
    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<Index> {
        let index = id as u32;
        let object = self.slots.get(index as usize)?;
        (u64::from(object.generation) == id >> 32 && object.holds > 0).then_some(index)
    }

    /// The same.
    ///
    /// # Errors
    /// It is not there.
    #[inline]
    pub(crate) fn named(&self, id: u64) -> Result<Index, Error> {
        self.find(id).ok_or_else(|| stale(id))
    }

    /// The incomplete task that handles know by this name.
    #[inline]
    pub(crate) fn find_task(&self, id: u64) -> Option<(Index, &Task)> {
        let index = self.find(id)?;
        Some((index, self.task(index)?))
    }

    #[inline]
    pub(crate) fn at(&self, index: Index) -> &Object {
        &self.slots[index as usize]
    }

    #[inline]
    fn at_mut(&mut self, index: Index) -> &mut Object {
        &mut self.slots[index as usize]
    }

    #[inline]
    pub(crate) fn is_pending(&self, index: Index) -> bool {
        self.at(index).value.is_pending()
    }

    #[inline]
    pub(crate) fn task(&self, index: Index) -> Option<&Task> {
        self.slots[index as usize].task.as_deref()
    }

    #[inline]
    fn task_mut(&mut self, index: Index) -> Option<&mut Task> {
        self.slots[index as usize].task.as_deref_mut()
    }

    /// Every object in use.
    pub(crate) fn indices(&self) -> impl Iterator<Item = Index> + '_ {
        (0..self.slots.len() as Index).filter(|&index| self.slots[index as usize].holds > 0)
    }

    /// Every incomplete task.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (Index, &Task)> + '_ {
        self.indices().filter_map(|index| Some((index, self.task(index)?)))
    }

    /// Objects in use.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// The number of the last task, or value that was put.
    pub(crate) fn last_number(&self) -> u64 {
        self.number
    }

    /// How many tasks there have been.
    pub(crate) fn tasks_so_far(&self) -> u64 {
        self.number - self.puts
    }

    /// Incomplete tasks.
    #[inline]
    pub(crate) fn incomplete(&self) -> usize {
        self.incomplete
    }

    /// Those of them that stand at no process.
    #[inline]
    pub(crate) fn unposted(&self) -> usize {
        self.unposted
    }

    /// Whether some tasks may be tried again after an error.
    #[inline]
    pub(crate) fn are_any_eager(&self) -> bool {
        self.eager > 0
    }

    /// Bytes that its value has in memory.
    pub(crate) fn in_memory(&self, index: Index) -> u64 {
        match self.at(index).value {
            Value::Placed { len, .. } => len,
            _ => 0,
        }
    }

    /// The name of a task, for people.
    pub(crate) fn name_of(&self, index: Index) -> String {
        self.task(index).map_or("a value", Task::name).to_owned()
    }

    /// Why an argument of the task has no value, if one has failed.
    #[inline]
    pub(crate) fn failed_argument(&self, index: Index) -> Option<Arc<TaskError>> {
        let task = self.task(index)?;
        if task.refs == 0 { None } else { self.failed_among(task) }
    }

    fn failed_among(&self, task: &Task) -> Option<Arc<TaskError>> {
        task.needed().iter().find_map(|&dep| match &self.at(dep).value {
            Value::Failed(error) => Some(Arc::clone(error)),
            _ => None,
        })
    }

    /// The error of one that fails with another.
    pub(crate) fn below(&self, index: Index, root: &TaskError) -> Arc<TaskError> {
        let below = Some((self.at(index).number, self.name_of(index)));
        Arc::new(TaskError { below, ..root.clone() })
    }
}

// ---- values of the driver's own -------------------------------------------------------------

impl Objects {
    /// A complete object that is a block of elements, with one hold.
    pub(crate) fn add_block(&mut self, block: BlockId, address: u64, len: u64) -> Index {
        let index = self.add_value(Value::Placed { block, address, len });
        self.at_mut(index).shared = true;
        index
    }

    /// A complete object with a short value, and one hold.
    pub(crate) fn add_inline(&mut self, bytes: &[u8]) -> Index {
        self.add_value(Value::Inline(SmallVec::from_slice(bytes)))
    }

    /// It is a value that was put, and names these. One that people see, as for a task; it is not
    /// a task.
    pub(crate) fn set_put(&mut self, index: Index, children: Vec<Index>) {
        children.iter().for_each(|&child| self.hold(child));
        self.number += 1;
        self.puts += 1;
        let number = self.number;
        let object = self.at_mut(index);
        (object.children, object.number, object.shared) = (children, number, false);
    }

    /// Whoever asks for the value from now on is told that it is lost.
    pub(crate) fn lose(&mut self, index: Index, why: &str) {
        let object = self.at_mut(index);
        if object.value.is_pending() || matches!(object.value, Value::Failed(_)) {
            return;
        }
        let error = TaskError {
            task: object.number,
            name: "a value".to_owned(),
            worker: None,
            attempt: 0,
            cause: Cause::ObjectLost(why.to_owned()),
            below: None,
            backtrace: None,
            output: Vec::new(),
        };
        let value = std::mem::replace(&mut object.value, Value::Failed(Arc::new(error)));
        if let Value::Placed { block, .. } = value {
            object.lost = Some(block); // until nobody is left who may read it
        }
    }
}

// ---- holds ----------------------------------------------------------------------------------

impl Objects {
    /// A complete object with one hold.
    fn add_value(&mut self, value: Value) -> Index {
        let index = self.add(0, 1);
        let object = self.at_mut(index);
        (object.value, object.node, object.rank) = (value, None, Rank::default());
        index
    }

    /// A new object that is not complete. Which node makes it, and its rank, are the caller's to say.
    #[inline]
    fn add(&mut self, number: u64, holds: u32) -> Index {
        self.live += 1;
        let Some(index) = self.free.pop() else { return self.add_slot(number, holds) };
        let object = &mut self.slots[index as usize];
        debug_assert!(object.value.is_pending());
        (object.number, object.holds, object.users) = (number, holds, 0);
        object.shared = false;
        index
    }

    #[cold]
    fn add_slot(&mut self, number: u64, holds: u32) -> Index {
        self.slots.push(Object {
            generation: 1,
            holds,
            number,
            value: Value::Pending,
            node: None,
            rank: Rank::default(),
            users: 0,
            children: Vec::new(),
            waiters: SmallVec::new(),
            dependents: SmallVec::new(),
            task: None,
            lost: None,
            shared: false,
        });
        self.slots.len() as Index - 1
    }

    pub(crate) fn hold(&mut self, index: Index) {
        self.slots[index as usize].holds += 1;
    }

    /// A hold of the driver's. False when there is no such object.
    pub(crate) fn retain(&mut self, id: u64) -> bool {
        let Some(index) = self.find(id) else { return false };
        self.hold(index);
        if let Some(task) = self.task_mut(index) {
            task.caller = Caller::Driver;
        }
        true
    }

    /// Lets one hold go; the last one frees the value and lets go of what that names. A task that
    /// goes on holds its own object.
    #[inline]
    pub(crate) fn unhold(&mut self, index: Index, store: &mut Store) {
        if self.lower(index) {
            self.free_one(index, store);
            if !self.at(index).children.is_empty() {
                self.free_children(index, store);
            }
        }
    }

    /// One hold fewer. Whether that was the last.
    #[inline]
    fn lower(&mut self, index: Index) -> bool {
        let object = &mut self.slots[index as usize];
        debug_assert!(object.holds > 0);
        object.holds = object.holds.saturating_sub(1);
        if object.is_unwanted() {
            self.note_unwanted(index);
            return false;
        }
        object.holds == 0
    }

    /// What the value of an object named that was freed just now. It may be much, and deep: no
    /// recursion.
    #[cold]
    fn free_children(&mut self, index: Index, store: &mut Store) {
        let mut open = std::mem::take(&mut self.at_mut(index).children);
        while let Some(child) = open.pop() {
            if self.lower(child) {
                self.free_one(child, store);
                open.append(&mut self.at_mut(child).children);
            }
        }
    }

    /// Nobody holds it. What its value names is for the caller.
    fn free_one(&mut self, index: Index, store: &mut Store) {
        let object = &mut self.slots[index as usize];
        if let Value::Placed { block, .. } = object.value {
            store.release(block);
        }
        if let Some(block) = object.lost.take() {
            store.release(block);
        }
        object.value = Value::Pending;
        object.task = None;
        object.waiters.clear();
        object.dependents.clear();
        object.generation = object.generation.wrapping_add(1).max(1);
        self.free.push(index);
        self.live -= 1;
    }

    #[cold]
    fn note_unwanted(&mut self, index: Index) {
        self.unwanted.push(self.id(index));
    }

    /// Whether there may be tasks that nobody wants any more.
    #[inline]
    pub(crate) fn has_unwanted(&self) -> bool {
        !self.unwanted.is_empty()
    }

    /// The tasks that nobody wants any more.
    pub(crate) fn take_unwanted(&mut self) -> Vec<Index> {
        let unwanted = std::mem::take(&mut self.unwanted);
        let still = unwanted.into_iter().filter_map(|id| self.find(id));
        still
            .filter(|&index| {
                self.at(index).is_unwanted() && self.task(index).is_some_and(|task| !task.cancelled)
            })
            .collect()
    }
}

// ---- who waits ------------------------------------------------------------------------------

impl Objects {
    /// Tells this one when the object is complete.
    pub(crate) fn add_waiter(&mut self, index: Index, waiter: Waiter) {
        self.at_mut(index).waiters.push(waiter);
    }

    pub(crate) fn remove_waiter(&mut self, index: Index, waiter: Waiter) {
        let waiters = &mut self.at_mut(index).waiters;
        if !waiters.is_empty() {
            waiters.retain(|known| *known != waiter);
        }
    }
}

// ---- the life of a task ---------------------------------------------------------------------

impl Objects {
    /// Enters a task of which the objects that it names are known, and its class and further
    /// attempts. Its object has one hold for the caller and one for the task itself.
    #[inline]
    pub(crate) fn enter(
        &mut self,
        new: &mut NewTask<'_>,
        held: SmallVec<[Index; 4]>,
        class: ClassId,
        max_retries: i32,
    ) -> Entered {
        let NewTask { node, parent, .. } = *new;
        self.number += 1;
        let index = self.add(self.number, 2); // the caller's and the task's own
        self.unposted += 1;
        self.incomplete += 1;
        let id = self.id(index);
        // Those that it takes values from come first.
        let needs = held.len() - new.args.nested.len();
        let mut remaining = 0;
        let mut has_failed = false;
        let mut rank = self.rank_below(parent);
        let mut youngest = 0;
        for &dep in &held[..needs] {
            let dep = self.at_mut(dep);
            dep.holds += 1;
            dep.users += 1;
            // Whether it counts for the rank. A value that is kept in the table takes no room.
            let counts = match &dep.value {
                Value::Pending => {
                    remaining += 1;
                    dep.dependents.push(id);
                    true
                }
                Value::Failed(_) => {
                    has_failed = true;
                    false
                }
                Value::Inline(_) => !dep.children.is_empty(),
                Value::Placed { .. } => true,
            };
            // A block, or a value of the driver's own, is nobody's family.
            if counts && dep.number > 0 {
                rank.level = rank.level.max(dep.rank.level.saturating_add(1));
                rank.age = rank.age.min(dep.rank.age);
                youngest = youngest.max(dep.rank.age);
            }
        }
        if youngest > rank.age {
            self.join_family(&held[..needs], rank.age);
        }
        held[needs..].iter().for_each(|&dep| self.hold(dep));
        let mut task = self.spares.pop().unwrap_or_else(|| new_task(node));
        std::mem::swap(&mut task.args, new.args);
        (task.node, task.runs) = (node, node);
        task.class = class;
        (task.refs, task.remaining) = (needs as u32, remaining);
        task.held = held;
        task.retries_left = max_retries;
        if !new.is_plain() {
            self.enter_options(&mut task, new);
        }
        let object = self.at_mut(index);
        (object.rank, object.node) = (rank, Some(node.name));
        object.task = Some(task);
        if let Some(parent) = parent {
            self.add_kid(parent, id);
        }
        Entered { index, is_ready: remaining == 0, has_failed }
    }

    /// What a call has that most do not.
    #[inline(never)]
    fn enter_options(&mut self, task: &mut Task, new: &mut NewTask<'_>) {
        task.overrides = new.overrides.take();
        task.features = new.features.take();
        if let Some(provider) = task.features.as_ref().and_then(|features| features.provider) {
            task.runs = provider;
        }
        if let Some(parent) = new.parent {
            (task.parent, task.caller) = (Some(self.id(parent)), Caller::Body);
        }
        (task.actor, task.makes) = (new.actor, new.makes);
        self.eager += usize::from(task.is_eager());
    }

    /// Keeps the memory of a task that is over for the next one.
    #[inline]
    fn keep_spare(&mut self, mut task: Box<Task>) {
        if self.spares.len() < SPARES && task.clear() {
            self.spares.push(task);
        }
    }

    /// An attempt has called one more.
    fn add_kid(&mut self, parent: Index, kid: u64) {
        let Some(task) = self.task_mut(parent) else { return };
        if task.kids.len() < task.kids.capacity() || task.kids.len() < 64 {
            return task.kids.push(kid);
        }
        // A body may call nodes for days: only those that are not over matter.
        let mut kids = std::mem::take(&mut task.kids);
        kids.retain(|&kid| self.find_task(kid).is_some());
        kids.reserve(kids.len() + 1);
        kids.push(kid);
        if let Some(task) = self.task_mut(parent) {
            task.kids = kids;
        }
    }

    /// The profile was told this of it.
    pub(crate) fn set_noted(&mut self, index: Index, noted: Noted) {
        if let Some(task) = self.task_mut(index) {
            task.noted = noted;
        }
    }

    /// It stands in this queue of its class.
    pub(crate) fn set_queued(&mut self, index: Index, lane: Lane) {
        if let Some(task) = self.task_mut(index) {
            (task.phase, task.lane) = (Phase::Queued, lane);
        }
    }

    /// It stands in a queue at its actor.
    pub(crate) fn set_at_actor(&mut self, index: Index) {
        if let Some(task) = self.task_mut(index) {
            task.phase = Phase::AtActor;
        }
    }

    /// It stands in a cell of a process. Whether its body has a deadline.
    #[inline]
    pub(crate) fn set_posted(&mut self, index: Index, place: u16, seq: u64) -> bool {
        self.unposted -= 1;
        let Some(task) = self.task_mut(index) else { return false };
        task.phase = Phase::Posted { place, seq };
        task.timed()
    }

    /// It stands there no longer; it will be posted again, or is about to be complete.
    #[inline]
    pub(crate) fn set_unposted(&mut self, index: Index) {
        if let Some(task) = self.task_mut(index) {
            task.phase = Phase::Waiting;
            self.unposted += 1;
        }
    }

    /// Its result is looked for.
    pub(crate) fn set_finding(&mut self, index: Index) {
        if let Some(task) = self.task_mut(index) {
            task.phase = Phase::Finding;
        }
    }

    /// Its result was looked for and is not there; or nobody could say, or it is not to be kept.
    pub(crate) fn set_found(&mut self, index: Index, known: Option<Known>) {
        let Some(task) = self.task_mut(index) else { return };
        task.phase = Phase::Waiting;
        if let Some(store) = task.features.as_mut().and_then(|features| features.store.as_mut()) {
            store.lookup = known.map_or(Lookup::Never, Lookup::Missed);
        }
    }

    /// What a configuration made of it matters no longer.
    pub(crate) fn take_features(&mut self, index: Index) -> Option<Features> {
        self.task_mut(index)?.features.take().map(|features| *features)
    }

    /// Nothing of it is tried again.
    pub(crate) fn set_cancelled(&mut self, index: Index) {
        if let Some(task) = self.task_mut(index) {
            task.cancelled = true;
        }
    }

    /// A body waits for it. False if that was known.
    pub(crate) fn set_awaited(&mut self, index: Index) -> bool {
        self.task_mut(index).is_some_and(|task| !std::mem::replace(&mut task.awaited, true))
    }

    /// An attempt is over, and there is to be another. It counts when `charged`.
    pub(crate) fn end_attempt(&mut self, index: Index, charged: bool) {
        let Some(task) = self.task_mut(index) else { return };
        if charged {
            task.charge();
        }
        task.phase = Phase::Waiting;
        let kids = std::mem::take(&mut task.kids);
        self.abandon_calls(kids);
    }

    /// The same, with a pause before the next, as after an error.
    pub(crate) fn end_attempt_in_error(&mut self, index: Index) {
        self.end_attempt(index, true);
        let Some(task) = self.task_mut(index) else { return };
        task.phase = Phase::Backoff;
        let pause = BACKOFF * 2u32.saturating_pow(u32::from(task.attempt.min(16)) - 1);
        let at = Instant::now() + pause.min(BACKOFF_MOST);
        self.backoff.push((at, self.id(index)));
    }

    /// The attempt that has called these is over. They go on for as long as somebody holds them;
    /// but calls of actors are messages, which are heard in any case.
    fn abandon_calls(&mut self, kids: Vec<u64>) {
        for kid in kids {
            let Some(index) = self.find(kid) else { continue };
            let Some(task) = self.task_mut(index) else { continue };
            if task.caller == Caller::Body && task.actor.is_none() {
                task.caller = Caller::Gone;
                if self.at(index).is_unwanted() {
                    self.note_unwanted(index);
                }
            }
        }
    }

    /// Tasks whose pause is over, by name.
    pub(crate) fn end_backoff(&mut self, now: Instant) -> Vec<u64> {
        let due = self.backoff.extract_if(.., |(at, _)| *at <= now);
        let due: Vec<u64> = due.map(|(_, id)| id).collect();
        let waits = |id: &u64| self.find_task(*id).is_some_and(|(_, t)| t.phase == Phase::Backoff);
        due.into_iter().filter(waits).collect()
    }

    /// When the next pause is over.
    pub(crate) fn next_backoff(&self) -> Option<Instant> {
        self.backoff.iter().map(|(at, _)| *at).min()
    }

    /// It becomes complete with this value. What becomes possible by that, and who fails with it,
    /// is noted.
    pub(crate) fn complete(
        &mut self,
        index: Index,
        value: Value,
        children: Vec<Index>,
        store: &mut Store,
        effects: &mut Effects,
    ) {
        let object = self.at_mut(index);
        if !object.value.is_pending() {
            // A value that nobody waits for any more.
            if let Value::Placed { block, .. } = value {
                store.release(block);
            }
            children.into_iter().for_each(|child| self.unhold(child, store));
            return;
        }
        object.value = value;
        object.children = children;
        let task = object.task.take();
        self.incomplete -= 1;
        effects.changed = true;
        self.leave_order(index);
        let object = self.at_mut(index);
        if !object.waiters.is_empty() {
            for waiter in std::mem::take(&mut object.waiters) {
                match waiter {
                    Waiter::Process(place, request) => effects.answers.push((place, request)),
                    Waiter::Set(set, member) => effects.members.push((set, member)),
                }
            }
        }
        if !self.at(index).dependents.is_empty() {
            let failed = match &self.at(index).value {
                Value::Failed(error) => Some(Arc::clone(error)),
                _ => None,
            };
            let mut nth = 0;
            while let Some(&dependent) = self.at(index).dependents.get(nth) {
                nth += 1;
                let Some(at) = self.find(dependent) else { continue };
                let Some(task) = self.task_mut(at) else { continue };
                task.remaining -= 1;
                // One at a worker already sees by itself whether it has its argument.
                if task.is_posted() {
                    continue;
                }
                match &failed {
                    Some(error) => effects.failing.push((dependent, Arc::clone(error))),
                    None if task.remaining == 0 => effects.ready.push(dependent),
                    None => {}
                }
            }
            self.at_mut(index).dependents.clear();
        }
        if let Some(mut task) = task {
            if !task.kids.is_empty() {
                self.abandon_calls(std::mem::take(&mut task.kids));
            }
            if !task.is_posted() {
                self.unposted -= 1;
            }
            self.eager -= usize::from(task.is_eager());
            if let Some(actor) = task.makes {
                effects.made.push(actor);
            }
            match task.phase {
                // It has had its turn, and its queue passes over it.
                Phase::AtActor => effects.actors.extend(task.actor.map(|(number, _)| number)),
                // It was the reason, perhaps, why others were not looked at.
                Phase::Queued => effects.reschedule = true,
                _ => {}
            }
            for &input in task.needed() {
                let object = self.at_mut(input);
                object.users = object.users.saturating_sub(1);
            }
            for &held in &task.held {
                self.unhold(held, store);
            }
            self.keep_spare(task);
        }
        self.unhold(index, store); // the task's own
    }
}

// ---- ranks, and the order that they make ----------------------------------------------------

impl Objects {
    pub(crate) fn order_key(&self, index: Index) -> OrderKey {
        let object = self.at(index);
        let Rank { age, depth, level } = object.rank;
        (age, Reverse(depth), Reverse(level), object.number)
    }

    /// Where it stands in a queue of its class.
    pub(crate) fn key_of(&self, index: Index, lane: Lane) -> Key {
        let object = self.at(index);
        match lane {
            Lane::Awaited => {
                (Reverse(object.rank.depth), Reverse(object.rank.level), object.number)
            }
            Lane::Light | Lane::Heavy => (Reverse(0), Reverse(0), object.number),
        }
    }

    /// The rank of a new task as its caller makes it; what it takes may raise it.
    #[inline]
    fn rank_below(&self, parent: Option<Index>) -> Rank {
        match parent {
            None => Rank { age: self.number, depth: 0, level: 0 },
            Some(parent) => {
                let above = self.at(parent).rank;
                Rank { age: above.age, depth: above.depth.saturating_add(1), level: 0 }
            }
        }
    }

    /// Producers that a task waits for join its family, which is older.
    #[cold]
    fn join_family(&mut self, inputs: &[Index], age: u64) {
        for &input in inputs {
            let object = self.at(input);
            if object.rank.age > age && object.task.is_some() {
                self.change_rank(input, |rank| rank.age = age);
            }
        }
    }

    /// So many bodies are above it, at least.
    pub(crate) fn raise_depth(&mut self, index: Index, depth: u32) {
        self.change_rank(index, |rank| rank.depth = rank.depth.max(depth));
    }

    fn change_rank(&mut self, index: Index, change: impl FnOnce(&mut Rank)) {
        let old = self.order_key(index);
        change(&mut self.at_mut(index).rank);
        let new = self.order_key(index);
        if let Some(order) = &mut self.order
            && order.remove(&old).is_some()
        {
            order.insert(new, index);
        }
    }

    /// Tasks that may ask for much memory, in order; kept only while memory is scarce.
    #[inline]
    pub(crate) fn order(&self) -> Option<&TaskOrder> {
        self.order.as_ref()
    }

    /// These are the tasks that may ask for much; or none is kept any more.
    pub(crate) fn set_order(&mut self, tasks: Option<Vec<Index>>) {
        let keyed = |tasks: Vec<Index>| {
            tasks.into_iter().map(|index| (self.order_key(index), index)).collect()
        };
        self.order = tasks.map(keyed);
    }

    /// One more may ask for much.
    pub(crate) fn enter_order(&mut self, index: Index) {
        let order_key = self.order_key(index);
        if let Some(order) = &mut self.order {
            order.insert(order_key, index);
        }
    }

    fn leave_order(&mut self, index: Index) {
        if self.order.is_some() {
            let order_key = self.order_key(index);
            if let Some(order) = &mut self.order {
                order.remove(&order_key);
            }
        }
    }
}

#[cold]
fn new_task(node: &'static NodeDesc) -> Box<Task> {
    Box::new(Task::new(node))
}

#[cold]
fn stale(id: u64) -> Error {
    Error::Invalid(format!(
        "ref {}.{} names nothing in this flow: it is stale, or of another flow",
        id as u32,
        id >> 32
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::args::{Arg, Args, Parts};
    use crate::protocol::memory::Memory;
    use crate::protocol::node::NODES;

    /// The table, what it frees, and what it notes.
    struct Table {
        objects: Objects,
        store: Store,
        effects: Effects,
    }

    impl Table {
        fn new() -> Self {
            let memory = Memory::new("objects", 1, 1 << 20, None).unwrap();
            let store = Store::new(Arc::new(memory));
            Self { objects: Objects::default(), store, effects: Effects::default() }
        }

        fn call(&mut self, needs: &[Index], parent: Option<Index>) -> Index {
            let list = needs.iter().map(|&need| Arg::Ref(self.objects.id(need))).collect();
            let args = &mut Args::from(Parts { list, ..Parts::default() });
            let (node, overrides) = (&NODES[0], None);
            let (actor, makes, features) = (None, None, None);
            let mut new = NewTask { node, args, overrides, parent, actor, makes, features };
            self.objects.enter(&mut new, needs.iter().copied().collect(), 0, 0).index
        }

        fn complete(&mut self, index: Index, value: Value) {
            let Self { objects, store, effects } = self;
            objects.complete(index, value, Vec::new(), store, effects);
        }

        fn unhold(&mut self, index: Index) {
            self.objects.unhold(index, &mut self.store);
        }

        /// The tasks that have become ready.
        fn ready(&mut self) -> Vec<Index> {
            let ready = std::mem::take(&mut self.effects.ready);
            ready.into_iter().filter_map(|id| self.objects.find(id)).collect()
        }
    }

    fn value() -> Value {
        Value::Inline(SmallVec::from_slice(&[1]))
    }

    #[test]
    fn a_task_is_ready_when_its_last_argument_is_there() {
        let mut table = Table::new();
        let (one, other) = (table.call(&[], None), table.call(&[], None));
        let both = table.call(&[one, other, one], None);
        table.complete(one, value());
        assert!(table.ready().is_empty());
        table.complete(other, value());
        assert_eq!(table.ready(), [both]);
        assert_eq!((table.objects.incomplete(), table.objects.unposted()), (1, 1));
        assert!(!table.objects.set_posted(both, 0, 1));
        assert_eq!(table.objects.unposted(), 0);
        table.objects.set_unposted(both);
        table.complete(both, value());
        assert_eq!((table.objects.incomplete(), table.objects.unposted()), (0, 0));
    }

    #[test]
    fn a_failure_is_noted_for_those_that_need_it() {
        let mut table = Table::new();
        let source = table.call(&[], None);
        let (waits, posted) = (table.call(&[source], None), table.call(&[source], None));
        table.objects.set_posted(posted, 0, 1);
        let lost = table.objects.add_inline(&[]);
        table.objects.lose(lost, "gone");
        let Value::Failed(error) = table.objects.at(lost).value.clone() else { panic!() };
        table.complete(source, Value::Failed(error));
        // One at a worker sees it there.
        let failing: Vec<u64> = table.effects.failing.drain(..).map(|(id, _)| id).collect();
        assert_eq!(failing, [table.objects.id(waits)]);
        assert!(table.objects.failed_argument(posted).is_some());
    }

    #[test]
    fn what_nobody_holds_is_freed_and_its_name_is_stale() {
        let mut table = Table::new();
        let inner = table.objects.add_inline(&[1]);
        let outer = table.objects.add_inline(&[2]);
        table.objects.set_put(outer, vec![inner]);
        table.unhold(inner);
        assert_eq!(table.objects.live(), 2, "the outer one names it");
        let id = table.objects.id(inner);
        table.unhold(outer);
        assert_eq!(table.objects.live(), 0);
        let again = table.objects.add_inline(&[3]);
        assert!(again == inner || again == outer, "a place is used again");
        assert!(table.objects.named(id).is_err());
    }

    #[test]
    fn calls_of_an_attempt_that_is_over_are_wanted_by_their_holders_alone() {
        let mut table = Table::new();
        let body = table.call(&[], None);
        let (held, dropped) = (table.call(&[], Some(body)), table.call(&[], Some(body)));
        table.unhold(dropped);
        assert!(!table.objects.has_unwanted(), "the attempt goes on");
        table.objects.end_attempt(body, true);
        assert_eq!(table.objects.take_unwanted(), [dropped]);
        table.unhold(held);
        assert_eq!(table.objects.take_unwanted(), [held]);
    }

    #[test]
    fn producers_join_the_family_of_what_takes_their_values() {
        let mut table = Table::new();
        let old = table.call(&[], None);
        let young = table.call(&[], None);
        table.objects.set_order(Some(vec![old, young]));
        let user = table.call(&[young, old], None);
        let rank = |index: Index| table.objects.at(index).rank;
        assert_eq!((rank(young).age, rank(user).age), (1, 1));
        assert_eq!((rank(young).level, rank(user).level), (0, 1));
        table.objects.enter_order(user);
        let order: Vec<Index> = table.objects.order().unwrap().values().copied().collect();
        assert_eq!(order, [user, old, young], "what uses values goes first");
        table.complete(old, value());
        let order: Vec<Index> = table.objects.order().unwrap().values().copied().collect();
        assert_eq!(order, [user, young]);
    }
}
