//! Processes that end: what happens to their tasks, and to what they held.

use std::time::{Duration, Instant};

use super::acting::actor_lost;
use super::answering::{drop_waits, end_waits};
use super::cancelling::end_kids;
use super::completions::poll_process;
use super::follow_up::follow_up;
use super::placing::schedule;
use super::recalling::{doom, end_posted, recall_all, run_again};
use super::recording;
use super::requests::abandoned;
use super::settling::fail;
use crate::driver::parts::processes::Doom;
use crate::driver::parts::state::State;
use crate::protocol::cell;
use crate::protocol::error::Cause;

/// How long a posted task may stand first at a process without being begun.
const UNATTENDED: Duration = Duration::from_secs(5);

/// The process is gone, with everything below it. Its posted tasks are looked at, and given to
/// others or failed; its holds are let go; another takes its place if need be.
pub(crate) fn process_ended(state: &mut State, place: u16, how: &str) {
    // What it had finished counts.
    poll_process(state, place);
    if state.processes.at(place).abandoned {
        return vacate(state, place); // the rest has been done
    }
    let process = state.processes.at(place);
    let child = process.child.as_ref();
    let how = &child.map_or(how.to_owned(), |child| child.account(how.to_owned()));
    let (worker, why, actor) = (process.worker, process.doom, process.actor);
    state.processes.set_doom(place, Doom::Gone); // nothing is posted to it
    state.processes.count_end(why.is_some());
    if why.is_none() {
        tracing::warn!(worker = state.worker_name(place), how, "a worker process died");
    }
    if why != Some(Doom::Idle) && state.closed.is_none() {
        recording::died(state, place, how);
    }
    let has_served = state.processes.has_served(place);
    let posted = state.processes.begun_tasks(place);
    drop_waits(state, place);
    leave_worker(state, place);
    // Before its posted tasks go elsewhere: a worker that pauses makes no process for them.
    if has_served {
        state.processes.came_up(worker);
    } else if matches!(why, None | Some(Doom::ProtocolViolation)) {
        state.processes.start_failed(worker, how);
    }
    // Last posted task first, so that those that go back to the front of a queue are in order.
    for (seq, begun) in posted.into_iter().rev() {
        state.witness = begun.then_some(place);
        lose_posted(state, place, seq, begun, how, why);
        state.witness = None;
        follow_up(state);
    }
    let_go(state, place);
    state.processes.vacate(place);
    after_loss(state, place, worker, actor, how);
}

/// Nothing is given to a process any more, and it has nothing of its worker.
fn leave_worker(state: &mut State, place: u16) {
    if let Some(lease) = state.processes.take_lease(place) {
        state.scheduler.end_lease(lease);
    }
    state.processes.leave_worker(place);
}

/// Others take its place.
fn after_loss(state: &mut State, place: u16, worker: usize, actor: Option<u32>, how: &str) {
    if let Some(actor) = actor {
        actor_lost(state, actor, place, how);
    }
    state.effects.changed = true;
    follow_up(state);
    schedule(state);
    if state.closed.is_none() && state.scheduler.nobody_waits() {
        state.processes.replace(worker, &mut state.effects);
    }
    follow_up(state);
}

/// A posted task is lost with its process: it runs again, or fails.
fn lose_posted(state: &mut State, place: u16, seq: u64, begun: bool, how: &str, why: Option<Doom>) {
    let Some(index) = end_posted(state, place, seq) else { return };
    if begun {
        recording::lost(state, place, seq, index);
    }
    let worker = Some(state.worker_name(place));
    let Some(task) = state.objects.task(index) else { return };
    if task.cancelled {
        fail(state, index, worker, Cause::Cancelled);
    } else if !begun {
        run_again(state, index, false);
    } else if task.actor.is_some() && why != Some(Doom::Deadline) {
        let how = if why == Some(Doom::Actor) { "it was killed" } else { how };
        fail(state, index, worker, Cause::ActorDied(how.to_owned()));
    } else if why == Some(Doom::Deadline) {
        let limit = task.deadline();
        fail(state, index, worker, Cause::Deadline(limit.unwrap_or_default()));
    } else if why == Some(Doom::Actor) {
        fail(state, index, worker, Cause::ActorDied("it was killed".to_owned()));
    } else if task.retries_left != 0 {
        tracing::info!(task = state.objects.at(index).number, "task is tried again");
        recording::retried(state, index, &Cause::WorkerCrashed(how.to_owned()));
        run_again(state, index, true);
    } else {
        fail(state, index, worker, Cause::WorkerCrashed(how.to_owned()));
    }
}

/// What a process held is let go.
fn let_go(state: &mut State, place: u16) {
    state.responses.forget(place);
    for index in state.processes.let_go(place, &mut state.store) {
        state.objects.unhold(index, &mut state.store);
    }
    follow_up(state);
}

// ---- threads --------------------------------------------------------------------------------

/// Threads that would have been killed if they were processes are abandoned.
pub(crate) fn abandon_doomed(state: &mut State) {
    if !state.memory.in_process {
        return;
    }
    let doomed = state.processes.all().filter(|(_, process)| {
        let doomed = !matches!(process.doom, None | Some(Doom::Idle | Doom::Gone));
        doomed && !process.abandoned && process.child.is_some()
    });
    let doomed: Vec<u16> = doomed.map(|(place, _)| place).collect();
    doomed.into_iter().for_each(|place| abandon(state, place));
}

/// Abandons a thread: its posted tasks are over as if it had died, and its worker has another.
/// It goes on until its body returns. What that may still look at (its arguments, the refs that
/// it has) stays, and so does its number, until the thread has ended.
fn abandon(state: &mut State, place: u16) {
    poll_process(state, place); // what it had finished counts
    let process = state.processes.at(place);
    let (worker, why, actor) = (process.worker, process.doom, process.actor);
    let name = state.worker_name(place);
    tracing::warn!(worker = name, "a worker thread is abandoned; it ends when its body returns");
    let how = "its thread was abandoned";
    // A posted task that was taken is about to be begun, and nobody can stop that.
    let posted: Vec<u64> = process.open_tasks().collect();
    state.processes.tell_to_leave(place, posted.first().copied());
    for &seq in &posted {
        let Some(index) = state.processes.at(place).posted_task(seq).object else { continue };
        end_kids(state, index);
        let Some(task) = state.objects.task(index) else { continue };
        for dep in task.held.clone() {
            state.objects.hold(dep);
            state.processes.keep(place, dep);
        }
        state.processes.keep_arguments(place, seq);
    }
    state.processes.set_actor(place, None);
    state.processes.set_abandoned(place);
    leave_worker(state, place);
    end_waits(state, place, &abandoned());
    for seq in posted.into_iter().rev() {
        lose_posted(state, place, seq, true, how, why);
        follow_up(state);
    }
    state.effects.wakeup = true;
    state.processes.unpark(place);
    after_loss(state, place, worker, actor, how);
}

/// Objects of which a thread that has ended left handles to others, in a static, say: they stay
/// for as long as the flow, since nobody tells when those are gone.
pub(crate) fn keep_for_good(state: &mut State, place: u16, named: &[u64]) {
    poll_process(state, place); // what it has said last
    for index in named.iter().filter_map(|&id| state.objects.find(id)) {
        state.processes.disown(place, index);
    }
}

/// A thread that was abandoned has ended.
fn vacate(state: &mut State, place: u16) {
    drop_waits(state, place);
    let_go(state, place);
    state.processes.vacate(place);
    state.effects.changed = true;
    schedule(state);
    follow_up(state);
}

// ---- those that are to end ------------------------------------------------------------------

/// Processes that are there and do not begin what stands at them: stopped from outside, or
/// misled by what somebody wrote over their memory. They are ended, and nothing is charged.
pub(crate) fn end_unattending(state: &mut State, now: Instant) -> Option<Instant> {
    let mut next = None;
    if state.memory.in_process {
        return next; // a debugger holds a thread for as long as it likes
    }
    for place in state.processes.busy().to_vec() {
        let Some(since) = state.processes.unbegun_since(place, now) else { continue };
        if now.duration_since(since) >= UNATTENDED {
            tracing::warn!(worker = state.worker_name(place), "a worker does not begin; ended");
            doom(state, place, Doom::ProtocolViolation);
            follow_up(state);
        } else {
            next = Some(now + UNATTENDED / 5);
        }
    }
    next
}

/// Bodies over their deadline: their processes are ended. When to look again.
pub(crate) fn end_late_bodies(state: &mut State, now: Instant) -> Option<Instant> {
    if !state.processes.is_any_timed() {
        return None;
    }
    let mut next: Option<Instant> = None;
    let mut any = false;
    for place in state.processes.busy().to_vec() {
        let process = state.processes.at(place);
        let timed = |seq| {
            let index = process.posted_task(seq).object?;
            state.objects.task(index).map(|task| task.timed())
        };
        any |= process.open_tasks().any(|seq| timed(seq) == Some(true));
        let Some((seq, index)) = process.oldest() else { continue };
        let Some(limit) = state.objects.task(index).and_then(|task| task.deadline()) else {
            continue;
        };
        // Its worker tells us when it begins, so this is the time, as good as it matters; what
        // a worker says of the time is not asked for.
        let Some(since) = state.processes.begun_since(place, seq, now) else { continue };
        let end = since.checked_add(limit).unwrap_or(now + Duration::from_secs(86_400));
        if end > now {
            next = Some(next.map_or(end, |known| known.min(end)));
            continue;
        }
        // Nothing stands behind it any more, so nobody else is hit if it ends just now.
        state.processes.set_alone(place, true);
        recall_all(state, place);
        follow_up(state);
        state.processes.set_alone(place, false);
        if state.processes.look(place, seq) == Some(cell::Phase::Started) {
            tracing::warn!(worker = state.worker_name(place), ?limit, "deadline passed");
            doom(state, place, Doom::Deadline);
            follow_up(state);
        }
    }
    state.processes.set_any_timed(any);
    next
}
