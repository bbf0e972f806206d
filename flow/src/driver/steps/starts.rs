//! Processes that are forked, and do not come up: by a machine that has no more, or by somebody who
//! kills them. Nobody is retired for that; a worker pauses, and what only it could run fails when
//! that lasts.

use std::time::Instant;

use mailring_process::fork_server::ChildHandle;

use super::deaths::process_ended;
use super::follow_up::follow_up;
use super::placing::schedule;
use super::settling::fail;
use crate::driver::parts::processes::Looked;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, Phase};
use crate::protocol::error::Cause;

/// It was forked, and begins.
pub(crate) fn spawned(state: &mut State, place: u16, child: ChildHandle) {
    state.processes.spawned(place, child);
    state.effects.wakeup = true; // it is to be watched from now on
}

/// It could not be forked. What stands at it goes to others; an actor's keeps its place.
pub(crate) fn not_spawned(state: &mut State, place: u16, error: &std::io::Error) {
    tracing::warn!(%error, "a worker process could not be forked yet");
    let how = format!("it could not be forked: {error}");
    let process = state.processes.at(place);
    if process.actor.is_some() && process.doom.is_none() {
        state.processes.spawn_later(place, &how);
    } else {
        process_ended(state, place, &how);
    }
}

/// Processes that do not come up are ended, pauses end, and who waits too long is told. When to
/// look again.
pub(crate) fn look_at_starts(state: &mut State, now: Instant) -> Option<Instant> {
    let Looked { due, next } = state.processes.look_at_starts(now);
    if due {
        if state.closed.is_none() && state.scheduler.nobody_waits() {
            state.processes.fill_up(&mut state.effects);
        }
        schedule(state);
        state.effects.wakeup = true; // for those that keep their place
    }
    let hopeless = fail_hopeless(state, now);
    follow_up(state);
    [next, hopeless].into_iter().flatten().min()
}

/// Fails what only workers could run that have not had a process for long. When to look again.
fn fail_hopeless(state: &mut State, now: Instant) -> Option<Instant> {
    let (hopeless, next) = state.processes.hopeless(now);
    let Some(hopeless) = hopeless else { return next };
    let all: Vec<Index> = state.objects.tasks().map(|(index, _)| index).collect();
    for index in all {
        let Some(task) = state.objects.task(index) else { continue };
        let patient = task.overrides.as_ref().is_some_and(|over| over.wait_infeasible);
        if task.phase != Phase::Queued || patient {
            continue;
        }
        let may = state.scheduler.may_run(task.class);
        let why: Option<Vec<(usize, &String)>> =
            may.iter().map(|&worker| Some((worker, hopeless[worker].as_ref()?))).collect();
        if let Some((worker, why)) = why.and_then(|all| all.last().copied()) {
            let why = format!("{}: {why}", state.scheduler.workers()[worker].name);
            fail(state, index, None, Cause::WorkerCrashed(why));
        }
    }
    next
}

/// Fails what no worker can run any more.
pub(crate) fn fail_stranded(state: &mut State) {
    let stranded = state.objects.tasks().filter(|(_, task)| {
        let patient = task.overrides.as_ref().is_some_and(|over| over.wait_infeasible);
        task.phase == Phase::Queued && !patient
    });
    let stranded: Vec<Index> = stranded.map(|(index, _)| index).collect();
    for index in stranded {
        let Some(class) = state.objects.task(index).map(|task| task.class) else { continue };
        if let Some(why) = state.scheduler.infeasible(class) {
            fail(state, index, None, Cause::Infeasible(why));
        }
    }
    follow_up(state);
}
