//! Settling: an object becomes complete, and with a failure all that needs it.

use std::sync::Arc;

use super::recording;
use super::storing::store_result;
use crate::driver::parts::objects::Value;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::Index;
use crate::protocol::error::{Cause, Error, TaskError};

/// The error of a task that ends for this reason.
pub(crate) fn error_of(
    state: &State,
    index: Index,
    worker: Option<String>,
    cause: Cause,
) -> TaskError {
    let task = state.objects.task(index);
    let attempt = task.map_or(0, |task| u32::from(task.attempt));
    let number = state.objects.at(index).number;
    let panicked = match &cause {
        Cause::Panicked { .. } => true,
        Cause::Setup(hook) => matches!(**hook, Cause::Panicked { .. }),
        _ => false,
    };
    let witness = state.witness.filter(|_| worker.is_some());
    let of_panic = witness.filter(|_| panicked);
    let receiver = witness.zip(state.receiver.as_ref());
    TaskError {
        task: number,
        name: state.objects.name_of(index),
        attempt: if worker.is_some() { attempt + 1 } else { 0 },
        worker,
        cause,
        below: None,
        backtrace: of_panic.and_then(|place| state.processes.at(place).backtrace.clone()),
        output: receiver
            .map_or_else(Vec::new, |(place, receiver)| receiver.last_lines(place, number)),
    }
}

/// A task ends without a value.
pub(crate) fn fail(state: &mut State, index: Index, worker: Option<String>, cause: Cause) {
    let error = error_of(state, index, worker, cause);
    tracing::debug!(task = error.task, %error, "task failed");
    settle(state, index, Value::Failed(Arc::new(error)), Vec::new());
}

/// A task does not run, because of another.
pub(crate) fn fail_with_root(state: &mut State, index: Index, root: &TaskError) {
    let error = state.objects.below(index, root);
    settle(state, index, Value::Failed(error), Vec::new());
}

/// An object becomes complete; its value names these. What becomes possible by that is noted.
pub(crate) fn settle(state: &mut State, index: Index, value: Value, children: Vec<Index>) {
    if let Value::Failed(error) = &value {
        recording::failed(state, index, error);
    }
    if state.configured && state.objects.task(index).is_some_and(|it| it.features.is_some()) {
        store_result(state, index, &value, !children.is_empty());
    }
    let State { objects, store, effects, .. } = state;
    objects.complete(index, value, children, store, effects);
    while let Some((dependent, root)) = state.effects.failing.pop() {
        if let Some((dependent, _)) = state.objects.find_task(dependent) {
            let error = state.objects.below(dependent, &root);
            recording::failed(state, dependent, &error);
            let State { objects, store, effects, .. } = state;
            objects.complete(dependent, Value::Failed(error), Vec::new(), store, effects);
        }
    }
    let State { effects, wait_sets, .. } = state;
    if !effects.members.is_empty() {
        for (set, member) in effects.members.drain(..) {
            wait_sets.add_ready(set, member);
        }
    }
}

/// A value that does not count.
pub(crate) fn drop_value(state: &mut State, value: Value) {
    if let Value::Placed { block, .. } = value {
        state.store.release(block);
    }
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        match error {
            Error::Memory { .. } => Self::OutOfMemory(error.to_string()),
            Error::Deadlock(why) => Self::Deadlock(why),
            other => Self::Codec(other.to_string()),
        }
    }
}
