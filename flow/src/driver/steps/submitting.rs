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
use crate::protocol::args::Arg;
use crate::protocol::error::Error;
use crate::protocol::node::NodeDesc;

/// Enters a task. Its object has one hold for the caller and one for the task itself.
///
/// # Errors
/// An option is invalid, no worker could ever run it, or an argument names nothing.
pub(crate) fn submit(state: &mut State, new: &mut NewTask<'_>) -> Result<Index, Error> {
    let (class, max_retries) = class_of(state, new)?;
    let mut held: SmallVec<[Index; 4]> = SmallVec::new();
    for arg in &new.args.list {
        if let Arg::Ref(id) = arg {
            held.push(state.objects.named(*id)?);
        }
    }
    for id in &new.args.nested {
        held.push(state.objects.named(*id)?);
    }
    // From here on nothing fails.
    let actor = new.actor;
    let provider = new.features.as_ref().and_then(|features| features.provider);
    let entered = state.objects.enter(new, held, class, max_retries);
    let Entered { index, is_ready, has_failed } = entered;
    if state.objects.order().is_some() {
        enter_order(state, index);
    }
    if let Some((number, caller)) = actor {
        queue_at_actor(state, number, caller, index);
    }
    recording::submitted(state, index, is_ready && !has_failed);
    if let Some(provider) = provider {
        count_bypass(state, index, provider);
    }
    if has_failed {
        fail_with_argument(state, index);
    } else if let Some((number, _)) = actor {
        serve_actor(state, number);
        recording::at_actor(state, index);
    } else if is_ready {
        start(state, index);
    } else {
        post_behind_its_producer(state, index);
    }
    Ok(index)
}

// What most calls do not need is out of the way of those.

/// Memory is scarce: who may ask for much is in the order.
#[cold]
fn enter_order(state: &mut State, index: Index) {
    if let Some(task) = state.objects.task(index)
        && !state.weights().is_light(task)
    {
        state.objects.enter_order(index);
    }
}

#[cold]
fn count_bypass(state: &mut State, index: Index, provider: &'static NodeDesc) {
    state.results.bypassed += 1;
    recording::bypassed(state, index, !std::ptr::eq(provider, &raw const FILE));
}

#[cold]
fn fail_with_argument(state: &mut State, index: Index) {
    if let Some(error) = state.objects.failed_argument(index) {
        fail_with_root(state, index, &error);
    }
}

/// The class of a call, and its further attempts.
#[inline]
fn class_of(state: &mut State, new: &NewTask<'_>) -> Result<(ClassId, i32), Error> {
    if new.overrides.is_none()
        && let Some(class) = state.nodes.class(new.node)
    {
        return Ok((class, new.node.max_retries));
    }
    find_class(state, new)
}

#[cold]
fn find_class(state: &mut State, new: &NewTask<'_>) -> Result<(ClassId, i32), Error> {
    let (scheduler, used) = state.scheduler_and_used();
    let found =
        scheduler.class_of(new.node, new.overrides.as_deref(), new.actor.is_some(), used)?;
    if new.overrides.is_none() {
        state.nodes.set_class(new.node, found.0);
    }
    Ok(found)
}
