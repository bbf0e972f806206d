//! Submitting: a call that was checked enters the table, and is placed if it has all it needs.

use smallvec::SmallVec;

use super::finding::start;
use super::placing::post_behind_its_producer;
use super::recording;
use super::serving::{queue_at_actor, serve_actor};
use super::settling::fail_with_root;
use crate::config::call::FILE;
use crate::driver::parts::objects::Entered;
use crate::driver::parts::quantities::ClassId;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, NewTask};
use crate::protocol::error::Error;

/// Enters a task. Its object has one hold for the caller and one for the task itself.
///
/// # Errors
/// An option is invalid, no worker could ever run it, or an argument names nothing.
pub(crate) fn submit(state: &mut State, new: NewTask<'_>) -> Result<Index, Error> {
    let (class, max_retries) = class_of(state, &new)?;
    let mut held: SmallVec<[Index; 4]> = SmallVec::new();
    for id in new.args.ids() {
        held.push(state.objects.named(id)?);
    }
    // From here on nothing fails.
    let actor = new.actor;
    let provider = new.features.as_ref().and_then(|features| features.provider);
    let entered = state.objects.enter(new, held, class, max_retries);
    let Entered { index, is_ready, failed } = entered;
    if state.objects.order().is_some()
        && let Some(task) = state.objects.task(index)
        && !state.weights().is_light(task)
    {
        state.objects.enter_order(index);
    }
    if let Some((number, caller)) = actor {
        queue_at_actor(state, number, caller, index);
    }
    recording::submitted(state, index, is_ready && failed.is_none());
    if let Some(provider) = provider {
        state.results.bypassed += 1;
        recording::bypassed(state, index, !std::ptr::eq(provider, &raw const FILE));
    }
    match (failed, actor) {
        (Some(error), _) => fail_with_root(state, index, &error),
        (None, Some((number, _))) => {
            serve_actor(state, number);
            recording::at_actor(state, index);
        }
        (None, None) if is_ready => start(state, index),
        (None, None) => post_behind_its_producer(state, index),
    }
    Ok(index)
}

/// The class of a call, and its further attempts.
#[inline]
fn class_of(state: &mut State, new: &NewTask<'_>) -> Result<(ClassId, i32), Error> {
    let plain = new.overrides.is_none();
    if plain && let Some(class) = state.nodes.class(new.node) {
        return Ok((class, new.node.max_retries));
    }
    let (scheduler, used) = state.scheduler_and_used();
    let found =
        scheduler.class_of(new.node, new.overrides.as_deref(), new.actor.is_some(), used)?;
    if plain {
        state.nodes.set_class(new.node, found.0);
    }
    Ok(found)
}
