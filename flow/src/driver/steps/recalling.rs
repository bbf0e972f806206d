//! Recalling: posted tasks are taken back, and run again; processes are ended.

use super::settling::fail_with_root;
use crate::driver::parts::processes::Doom;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::Index;

/// A posted task is over: its object, if it had one.
#[inline]
pub(crate) fn end_posted(state: &mut State, place: u16, seq: u64) -> Option<Index> {
    let (object, envelope) = state.processes.end_posted(place, seq);
    if let Some(block) = envelope {
        state.store.release(block);
    }
    if let Some(index) = object {
        state.objects.set_unposted(index);
    }
    object
}

/// A task is at no worker any more and is to be run again. Its attempt counts when `charged`.
pub(crate) fn run_again(state: &mut State, index: Index, charged: bool) {
    let Some(task) = state.objects.task(index) else { return };
    let (is_ready, actor, makes) = (task.remaining == 0, task.actor, task.makes);
    state.objects.end_attempt(index, charged);
    if let Some(actor) = makes.filter(|_| charged) {
        state.actors.is_made_again(actor);
    }
    if let Some((actor, caller)) = actor {
        state.objects.set_at_actor(index);
        state.actors.queue(actor, caller, state.objects.id(index), true);
        state.effects.actors.push(actor);
    } else if is_ready {
        match state.objects.failed_argument(index) {
            Some(error) => fail_with_root(state, index, &error),
            None => state.effects.ready.push(state.objects.id(index)),
        }
    }
}

/// The same after a pause, as one does after an error.
pub(crate) fn run_again_later(state: &mut State, index: Index) {
    state.objects.end_attempt_in_error(index);
    state.effects.wakeup = true;
}

/// Takes back all posted tasks of a process that its worker has not begun, newest first.
pub(crate) fn recall_all(state: &mut State, place: u16) {
    let before = state.effects.ready.len();
    while recall_last(state, place) {}
    // What was noted last is looked at first.
    state.effects.ready[before..].reverse();
}

/// Takes the newest posted task of a process back, if its worker has not taken it.
pub(crate) fn recall_last(state: &mut State, place: u16) -> bool {
    let Some(seq) = state.processes.recall_last(place) else { return false };
    if let Some(index) = end_posted(state, place, seq) {
        run_again(state, index, false);
    }
    true
}

/// Takes one task back for good. True when it will not run.
pub(crate) fn withdraw(state: &mut State, place: u16, seq: u64) -> bool {
    let withdrawn = state.processes.recall(place, seq);
    if withdrawn {
        end_posted(state, place, seq);
    }
    withdrawn
}

/// Ends a process. What stands at it was taken back before, so nobody else is hit.
pub(crate) fn doom(state: &mut State, place: u16, why: Doom) {
    state.processes.set_doom(place, why); // nothing is posted to it from here on
    recall_all(state, place);
    state.processes.kill(place);
    state.effects.wakeup = true;
}

/// A process violated the protocol: it is ended, and what it did counts as its death.
pub(crate) fn protocol_violation(state: &mut State, place: u16, what: &str) {
    tracing::error!(place, what, "a worker violated the protocol; it is ended");
    doom(state, place, Doom::ProtocolViolation);
}
