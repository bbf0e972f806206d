//! Calls of actors: posted to the actor's process in the order of each caller, or failed with it.

use super::posting::{Written, end_unfit, post, write_descriptor};
use super::settling::fail;
use crate::driver::parts::actors::Life;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::Index;
use crate::protocol::error::Cause;

/// Calls that stand at an actor's process at the same time.
const DEPTH: u64 = 16;

/// A new call enters the queue of its caller.
pub(crate) fn queue_at_actor(state: &mut State, number: u32, caller: u64, index: Index) {
    state.objects.set_at_actor(index);
    state.actors.queue(number, caller, state.objects.id(index), false);
}

/// Posts what can be.
pub(crate) fn serve_actor(state: &mut State, number: u32) {
    let actor = state.actors.at(number);
    if let Life::Dead(why) = &actor.life {
        let why = why.clone();
        return actor_dies(state, number, &why);
    }
    let (Life::Alive, Some(place)) = (&actor.life, actor.place) else { return };
    loop {
        let process = state.processes.at(place);
        if process.doom.is_some() || process.outstanding() >= DEPTH || process.room() == 0 {
            return;
        }
        let Some((queue, index)) = state.actors.next_call(number, &state.objects) else { return };
        match write_descriptor(state, place, index) {
            Written::Yes => {}
            Written::NoRoom => return,
            Written::Unfit(why) => {
                end_unfit(state, index, why);
                continue;
            }
        }
        state.actors.posted(number, queue);
        post(state, place, index);
    }
}

/// An actor is no more, and its calls fail with it.
pub(crate) fn actor_dies(state: &mut State, number: u32, why: &str) {
    let remains = state.actors.set_dead(number, why);
    for held in remains.held {
        state.objects.unhold(held, &mut state.store);
    }
    for id in remains.calls {
        if let Some(index) = state.objects.find(id) {
            fail(state, index, None, Cause::ActorDied(why.to_owned()));
        }
    }
}
