//! What follows from a step: its effects are acted upon until none is left.

use super::acting::maker_settled;
use super::answering::look_at_wait;
use super::cancelling::end_unwanted;
use super::finding;
use super::placing::schedule;
use super::recording;
use super::serving::serve_actor;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::Phase;

/// Acts upon what steps have noted, and what follows from that.
#[inline]
pub(crate) fn follow_up(state: &mut State) {
    if state.effects.are_any() || state.objects.has_unwanted() {
        follow_up_all(state);
    }
}

fn follow_up_all(state: &mut State) {
    loop {
        let effects = &mut state.effects;
        if let Some(id) = effects.ready.pop() {
            start(state, id);
        } else if let Some((place, request)) = effects.answers.pop() {
            look_at_wait(state, place, request);
        } else if let Some(actor) = effects.made.pop() {
            maker_settled(state, actor);
        } else if let Some(actor) = effects.actors.pop() {
            serve_actor(state, actor);
        } else if state.objects.has_unwanted() {
            end_unwanted(state);
        } else if std::mem::take(&mut effects.reschedule) {
            schedule(state);
        } else {
            return;
        }
    }
}

/// A task has all it needs, if nothing else became of it meanwhile.
fn start(state: &mut State, id: u64) {
    let Some((index, task)) = state.objects.find_task(id) else { return };
    match (task.actor, task.phase) {
        (Some((actor, _)), _) => {
            recording::ready(state, index);
            serve_actor(state, actor);
            recording::at_actor(state, index);
        }
        (None, Phase::Waiting | Phase::Backoff) => finding::start(state, index),
        _ => {}
    }
}
