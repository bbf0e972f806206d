//! Placing: tasks that have all they need are posted to a process of a worker that has what they
//! hold, or wait in the queue of their class.

use super::posting::{Written, descriptor_bytes, end_unfit, post, write_descriptor};
use super::recording;
use super::settling::fail;
use crate::driver::parts::objects::Objects;
use crate::driver::parts::processes::Processes;
use crate::driver::parts::quantities::ClassId;
use crate::driver::parts::ranks::Lane;
use crate::driver::parts::readiness::Readiness;
use crate::driver::parts::scheduler::Scheduler;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, Phase, Task};
use crate::protocol::error::Error;
use crate::protocol::memory::CELL_ARGS;

/// Tasks of a class that stand at one process at the same time, if their bodies are short.
const DEPTH: u64 = 16;
/// The same for tasks that stand behind their producers: half of the cells stay free, so that what
/// stands there can be looked back upon.
const CHAIN: u64 = 32;
/// Tasks of a queue that may not start yet and are passed over.
const PASSED: usize = 32;

/// A task has all that it needs.
pub(crate) fn enqueue(state: &mut State, index: Index) {
    let Some(task) = state.objects.task(index) else { return };
    let class = task.class;
    recording::ready(state, index);
    // Nobody is before it: often there is a place at once.
    let alone = state.scheduler.nobody_waits();
    if alone
        && state.closed.is_none()
        && state.readiness().may_start(index)
        && place(state, class, index)
    {
        return;
    }
    // Behind others that need the same there is no place; unless those may not start yet.
    let first = queue(state, class, index);
    recording::queued(state, index, first);
    if !alone && (first || state.processes.blocked() > 0 || !state.admission.waits().is_empty()) {
        schedule(state);
    }
}

/// Puts a task into the queue that is for it. Whether none that is like it was there before.
fn queue(state: &mut State, class: ClassId, index: Index) -> bool {
    let Some(task) = state.objects.task(index) else { return false };
    let lane = state.weights().lane_of(task);
    state.objects.set_queued(index, lane);
    let key = state.objects.key_of(index, lane);
    state.scheduler.queue(class, lane, key, state.objects.id(index))
}

/// Posts whatever can be posted now.
#[inline]
pub(crate) fn schedule(state: &mut State) {
    if !state.scheduler.is_quiet() {
        schedule_all(state);
    }
}

fn schedule_all(state: &mut State) {
    reserve(state);
    if state.scheduler.nobody_waits() || state.closed.is_some() {
        return;
    }
    for (class, lane) in state.scheduler.queues_in_order(&state.objects) {
        place_from(state, class, lane);
    }
    state.scheduler.drop_empty();
}

/// Finds out for whom what becomes free is kept, and reserves placement groups.
#[inline]
fn reserve(state: &mut State) {
    let State { objects, nodes, processes, scheduler, admission, store, .. } = state;
    scheduler.give_claims(objects, processes, |scheduler, index| {
        Readiness { objects, nodes, processes, scheduler, admission, store }.may_start(index)
    });
    reserve_groups(state);
}

/// Reserves placement groups for which there is enough by now.
#[inline]
pub(crate) fn reserve_groups(state: &mut State) {
    let State { objects, processes, scheduler, effects, .. } = state;
    effects.changed |= scheduler.reserve_groups(objects, processes);
}

/// Places tasks of one queue in order, as long as there is a place for such. One that may not
/// start yet is passed over.
fn place_from(state: &mut State, class: ClassId, lane: Lane) {
    let mut at = 0;
    while let Some(id) = state.scheduler.entry(class, lane, at) {
        if let Some(index) = Scheduler::queued(id, lane, &state.objects) {
            if !state.readiness().may_start(index) {
                // What is known of its node by now may have made it another's.
                let task = state.objects.task(index);
                if task.is_some_and(|task| state.weights().lane_of(task) != lane) {
                    state.scheduler.remove(class, lane, at, id);
                    queue(state, class, index);
                    continue;
                }
                recording::still_waits(state, index);
                at += 1;
                if at < PASSED {
                    continue;
                }
                break;
            }
            if !place(state, class, index) {
                state.scheduler.note_front(class, lane, id);
                recording::still_waits(state, index);
                break;
            }
        }
        // One that could not be placed ever has ended, and more may have followed from it.
        state.scheduler.remove(class, lane, at, id);
    }
}

/// Posts a task, if there is a place for it. True when those behind it may be looked at: it is
/// posted, or has ended.
fn place(state: &mut State, class: ClassId, index: Index) -> bool {
    let makes = state.objects.task(index).and_then(|task| task.makes);
    let State { objects, processes, scheduler, effects, .. } = state;
    let Some(spot) = scheduler.choose(class, index, objects, processes) else {
        return makes.is_none() && place_behind(state, class, index);
    };
    let Some(place) = processes.take(spot.worker, effects) else { return false };
    match write_descriptor(state, place, index) {
        Written::Yes => {}
        other => {
            state.processes.put_back(place);
            return is_ended(state, index, other);
        }
    }
    let lease = state.scheduler.lease(class, spot);
    state.processes.set_lease(place, lease);
    state.scheduler.end_claim(index);
    post(state, place, index);
    if let Some(actor) = makes {
        // The constructor runs in this process, which is the actor's from now on.
        state.processes.set_actor(place, Some(actor));
        state.actors.set_place(actor, Some(place));
    } else {
        post_followers(state, place);
    }
    true
}

/// Behind tasks of the same class, where those do not take long.
fn place_behind(state: &mut State, class: ClassId, index: Index) -> bool {
    let State { objects, processes, scheduler, nodes, .. } = state;
    let Some(task) = objects.task(index) else { return false };
    if !nodes.is_short(task.runs) || task.timed() {
        return false;
    }
    let able = processes.busy_ones().filter(|(_, process)| {
        process.serves(class)
            && process.outstanding() < DEPTH
            && process.room() > 0
            && !scheduler.keeps_from(process, index, objects)
    });
    let least = able.min_by_key(|(_, process)| process.outstanding());
    let Some(place) = least.map(|(place, _)| place) else { return false };
    match write_descriptor(state, place, index) {
        Written::Yes => {}
        other => return is_ended(state, index, other),
    }
    post(state, place, index);
    recording::stands_behind(state, index);
    post_followers(state, place);
    true
}

/// A task's descriptor could not be written: ends one that never will be. Whether it has ended.
fn is_ended(state: &mut State, index: Index, written: Written) -> bool {
    match written {
        Written::Unfit(why) => {
            end_unfit(state, index, why);
            true
        }
        Written::Yes | Written::NoRoom => false,
    }
}

/// A task that waits only for tasks at one process goes behind them, if all are short: the
/// worker then goes from one to the next without asking anybody.
pub(crate) fn post_behind_its_producer(state: &mut State, index: Index) {
    let State { objects, processes, scheduler, nodes, .. } = state;
    let Some(task) = objects.task(index) else { return };
    if task.timed()
        || task.makes.is_some()
        || task.actor.is_some()
        || !nodes.is_short(task.runs)
        || task.is_to_be_found()
    {
        return;
    }
    let Some(place) = place_of_producers(task, objects) else { return };
    let process = processes.at(place);
    if !process.serves(task.class)
        || process.room() < 2
        || process.outstanding() >= CHAIN
        || scheduler.keeps_from(process, index, objects)
    {
        return;
    }
    if matches!(write_descriptor(state, place, index), Written::Yes) {
        post(state, place, index);
    }
}

/// The process at which all stand that a task waits for.
#[inline(always)]
fn place_of_producers(task: &Task, objects: &Objects) -> Option<u16> {
    let mut at = None;
    for &dep in &task.held {
        if !objects.is_pending(dep) {
            continue;
        }
        let Phase::Posted { place, .. } = objects.task(dep)?.phase else { return None };
        if at.is_some_and(|known| known != place) {
            return None;
        }
        at = Some(place);
    }
    at
}

/// The chain behind the last task that was posted to a process.
pub(crate) fn post_followers(state: &mut State, place: u16) {
    if state.objects.unposted() == 0 {
        return;
    }
    while let Some(next) = follower(&state.processes, place, &state.objects) {
        post_behind_its_producer(state, next);
        if state.objects.task(next).is_some_and(|task| task.phase == Phase::Waiting) {
            return;
        }
    }
}

/// The first task that waits for the last one at a process.
#[inline]
fn follower(processes: &Processes, place: u16, objects: &Objects) -> Option<Index> {
    let last = processes.at(place).last_posted()?;
    let &next = objects.at(last).dependents.first()?;
    let (next, task) = objects.find_task(next)?;
    (task.phase == Phase::Waiting).then_some(next)
}

/// A body waits for these: they, and what they need, go first from now on.
pub(crate) fn await_all(state: &mut State, ids: &[Index], depth: u32) {
    let mut open = ids.to_vec();
    while let Some(index) = open.pop() {
        if !state.objects.set_awaited(index) {
            continue;
        }
        let Some(task) = state.objects.task(index) else { continue };
        if task.remaining > 0 {
            open.extend_from_slice(task.needed());
        }
        let (phase, class, actor) = (task.phase, task.class, task.actor);
        state.objects.raise_depth(index, depth);
        match phase {
            Phase::Queued => drop(queue(state, class, index)),
            Phase::AtActor => {
                // What the call cannot do without: the one that the actor runs, and those queued.
                let Some((actor, _)) = actor else { continue };
                open.extend(actor_runs(state, actor));
                open.extend(state.actors.in_queues(actor, &state.objects));
            }
            _ => {}
        }
    }
}

/// The call that an actor runs, or the one that makes it.
pub(crate) fn actor_runs(state: &State, number: u32) -> Option<Index> {
    let actor = state.actors.at(number);
    actor.making.or_else(|| state.processes.body_of(actor.place?))
}

/// Tasks first in their queues whose arguments have found no room for long: they fail with this.
pub(crate) fn fail_what_has_no_room(state: &mut State, error: impl Fn(&State, u64) -> Error) {
    for index in state.scheduler.first_of_each(&state.objects) {
        let Some(task) = state.objects.task(index) else { continue };
        let bytes = descriptor_bytes(&state.objects, task, None);
        if let Some(bytes) = bytes.filter(|bytes| *bytes > CELL_ARGS) {
            let error = error(state, bytes as u64);
            fail(state, index, None, error.into());
        }
    }
    schedule(state);
}
