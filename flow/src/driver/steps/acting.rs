//! The life of an actor: it is made by a task, has a process, and is made again when that is gone.

use super::answering::lend;
use super::placing::{actor_runs, schedule};
use super::recalling::doom;
use super::serving::{actor_dies, serve_actor};
use super::settling::fail;
use super::submitting::submit;
use crate::driver::parts::actors::{Actors, Life};
use crate::driver::parts::features::Features;
use crate::driver::parts::objects::Value;
use crate::driver::parts::processes::Doom;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, NewTask};
use crate::protocol::args::Args;
use crate::protocol::error::{Cause, Error};
use crate::protocol::node::NodeDesc;
use crate::protocol::options::Overrides;

const KILLED: &str = "it was killed";

/// A new actor: its name for handles. It is made as soon as there is a worker for it.
///
/// # Errors
/// As for a call of its constructor.
pub(crate) fn spawn_actor(
    state: &mut State,
    node: &'static NodeDesc,
    args: Args,
    overrides: Box<Overrides>,
    max_restarts: Option<i32>,
) -> Result<u64, Error> {
    args.check()?;
    let held: Result<Vec<Index>, Error> = args.ids().map(|id| state.objects.named(id)).collect();
    let held = held?;
    let number = state.actors.add(node, args, overrides, max_restarts);
    if let Err(error) = make_actor(state, number) {
        state.actors.remove_last();
        return Err(error);
    }
    held.iter().for_each(|&index| state.objects.hold(index));
    state.actors.set_held(number, held);
    Ok(Actors::id(number))
}

fn make_actor(state: &mut State, number: u32) -> Result<(), Error> {
    let actor = state.actors.at(number);
    let (node, args) = (actor.node, &mut actor.args.clone());
    let mut overrides = actor.overrides.clone();
    overrides.max_retries = Some(actor.restarts_left); // each of them is counted below
    let overrides = Some(overrides);
    let features = state.config.clone().map(Features::of);
    let (parent, actor, makes) = (None, None, Some(number));
    let mut new = NewTask { node, args, overrides, parent, actor, makes, features };
    let index = submit(state, &mut new)?;
    state.actors.set_making(number, Some(index));
    check_maker(state, number);
    Ok(())
}

/// The task that was to make an actor may be complete without having run: an argument failed.
fn check_maker(state: &mut State, number: u32) {
    let Some(index) = state.actors.at(number).making else { return };
    let Value::Failed(error) = &state.objects.at(index).value else { return };
    let why = error.to_string();
    state.actors.set_making(number, None);
    state.objects.unhold(index, &mut state.store);
    actor_dies(state, number, &why);
}

/// The task that makes an actor is complete.
pub(crate) fn maker_settled(state: &mut State, number: u32) {
    let actor = state.actors.at(number);
    let Some(index) = actor.making else { return };
    let (place, places_only) = (actor.place, actor.places_only);
    if matches!(state.objects.at(index).value, Value::Failed(_)) {
        if let Some(place) = place {
            // Nothing is kept there: an ordinary process again.
            state.actors.set_place(number, None);
            state.processes.set_actor(place, None);
        }
        return check_maker(state, number);
    }
    state.actors.set_making(number, None);
    let alive = state.actors.set_alive(number);
    state.objects.unhold(index, &mut state.store);
    let Some(place) = place else { return };
    if !alive {
        return doom(state, place, Doom::Actor); // killed meanwhile
    }
    if places_only {
        lend(state, place, true);
    }
    schedule(state);
    serve_actor(state, number);
}

/// Ends an actor: what runs and what is queued fails, and so does whatever comes.
pub(crate) fn kill_actor(state: &mut State, number: u32) {
    let actor = state.actors.at(number);
    if matches!(actor.life, Life::Dead(_)) {
        return;
    }
    let (making, place) = (actor.making, actor.place);
    actor_dies(state, number, KILLED);
    if let Some(place) = place {
        doom(state, place, Doom::Actor);
    }
    // What makes it may stand anywhere but at a process now.
    if let Some(index) = making
        && let Some(task) = state.objects.task(index)
        && !task.is_posted()
    {
        fail(state, index, None, Cause::ActorDied(KILLED.to_owned()));
    }
}

/// The process of an actor is gone, and what stood there was dealt with.
pub(crate) fn actor_lost(state: &mut State, number: u32, place: u16, how: &str) {
    let actor = state.actors.at(number);
    if actor.place != Some(place) {
        return; // it has another one already
    }
    let (is_being_made, restarts_left) = (actor.making.is_some(), actor.restarts_left);
    state.actors.set_place(number, None);
    if let Some(why) = state.actors.why_dead(number) {
        let why = why.to_owned();
        return actor_dies(state, number, &why); // what came back from its process
    }
    if is_being_made {
        return; // its constructor is tried again like any task
    }
    if restarts_left == 0 {
        return actor_dies(state, number, &format!("its process is gone: {how}"));
    }
    state.actors.set_lost(number);
    if let Err(error) = make_actor(state, number) {
        actor_dies(state, number, &error.to_string());
    }
}

/// What an actor is doing, for messages.
pub(crate) fn actor_state(state: &State, number: u32) -> String {
    match (&state.actors.at(number).life, actor_runs(state, number)) {
        (Life::Making, _) => "the actor is being made".to_owned(),
        (Life::Alive, Some(index)) => {
            format!("the actor runs `{}`", state.objects.name_of(index))
        }
        (Life::Alive, None) => "the actor is free".to_owned(),
        (Life::Dead(why), _) => format!("the actor is gone: {why}"),
    }
}
