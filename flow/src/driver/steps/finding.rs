//! Finding: the result of a call may be there from an earlier one.
//!
//! ```text
//! start ──▶ find (arguments to the thread of the cache) ──▶ serve_from_memory ──▶ settled
//!                                                      └──▶ serve             ──▶ settled
//!                                                      └──▶ run                ──▶ enqueued
//! ```

use super::placing::enqueue;
use super::recording;
use super::settling::settle;
use crate::cache::file::CallKey;
use crate::driver::parts::features::{Known, Lookup, Piece};
use crate::driver::parts::objects::Value;
use crate::driver::parts::results::{FindJob, Job};
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, Phase, Task};
use crate::protocol::args::Arg;

/// A task has all that it needs: it is placed, or its result is looked for first.
#[inline]
pub(crate) fn start(state: &mut State, index: Index) {
    if state.configured && state.objects.task(index).is_some_and(Task::is_to_be_found) {
        find(state, index);
    } else {
        enqueue(state, index);
    }
}

#[cold]
fn find(state: &mut State, index: Index) {
    let job = state.results.is_open().then(|| job(state, index)).flatten();
    let Some(job) = job else {
        state.objects.set_found(index, None);
        return enqueue(state, index);
    };
    for piece in &job.args {
        if let Piece::Placed { object, .. } = piece
            && let Some(held) = state.objects.find(*object)
        {
            state.objects.hold(held);
        }
    }
    state.objects.set_finding(index);
    state.results.send(Job::Find(job));
}

/// What the thread of the cache has to know. `None`: an argument is not the same in each run.
fn job(state: &State, index: Index) -> Option<FindJob> {
    let task = state.objects.task(index)?;
    let features = task.features.as_deref()?;
    let store = features.store.as_ref()?;
    let Lookup::Due { version, inputs } = &store.lookup else { return None };
    let mut values = task.args.values();
    let mut needed = task.needed().iter();
    let mut args = Vec::with_capacity(task.args.list.len());
    for arg in &task.args.list {
        let value = values.next()?;
        args.push(match arg {
            Arg::Value(_) => Piece::Here(value?.into()),
            Arg::Ref(_) => {
                let &dep = needed.next()?;
                let object = state.objects.at(dep);
                if !object.children.is_empty() {
                    return None;
                }
                match &object.value {
                    Value::Inline(bytes) => Piece::Here(bytes[..].into()),
                    &Value::Placed { address, len, .. } => {
                        Piece::Placed { object: state.objects.id(dep), address, len }
                    }
                    Value::Pending | Value::Failed(_) => return None,
                }
            }
        });
    }
    Some(FindJob {
        cache: features.config.cache.clone()?,
        object: state.objects.id(index),
        function: task.node.name,
        version: version.clone(),
        tag: store.tag.clone(),
        args,
        inputs: inputs.clone(),
    })
}

/// The task, if nothing else became of it, and of the flow, meanwhile.
fn finding(state: &State, id: u64) -> Option<Index> {
    let (index, task) = state.objects.find_task(id)?;
    let goes_on = state.results.is_open() && state.closed.is_none();
    (task.phase == Phase::Finding && goes_on).then_some(index)
}

/// The result is the value of an object that is there still. False: it is not.
pub(crate) fn serve_from_memory(state: &mut State, id: u64, call: &CallKey) -> bool {
    let Some(index) = finding(state, id) else { return true };
    let other = state.results.in_memory(call).and_then(|other| state.objects.find(other));
    let value = match other.map(|other| state.objects.at(other)) {
        Some(other) if other.children.is_empty() => other.value.clone(),
        _ => return false,
    };
    match &value {
        Value::Inline(_) => {}
        Value::Placed { block, .. } => state.store.share(*block),
        Value::Pending | Value::Failed(_) => return false,
    }
    complete(state, index, value, call);
    true
}

/// The result is this value. It is dropped if the task has ended meanwhile.
pub(crate) fn serve(state: &mut State, id: u64, value: Value, call: &CallKey) {
    match finding(state, id) {
        Some(index) => complete(state, index, value, call),
        None => {
            if let Value::Placed { block, .. } = value {
                state.store.release(block);
            }
        }
    }
}

fn complete(state: &mut State, index: Index, value: Value, call: &CallKey) {
    let id = state.objects.id(index);
    state.results.served += 1;
    recording::served(state, index);
    drop(state.objects.take_features(index)); // it is stored already
    settle(state, index, value, Vec::new());
    let State { results, objects, .. } = state;
    results.note(call.clone(), id, |object| objects.find(object).is_some());
}

/// There is no result: the task runs, and what is known of its call is kept for its own.
pub(crate) fn run(state: &mut State, id: u64, known: Option<Known>) {
    if let Some(index) = finding(state, id) {
        state.objects.set_found(index, known);
        enqueue(state, index);
    }
}
