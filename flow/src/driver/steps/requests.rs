//! Requests of workers while their bodies run.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::acting::{kill_actor, spawn_actor};
use super::answering::{lend, respond, told_to_stop};
use super::follow_up::follow_up;
use super::giving::{give_memory, give_urgent};
use super::pending::pending;
use super::placing::{await_all, schedule};
use super::recalling::{protocol_violation, recall_all};
use super::recording::said;
use super::submitting::submit;
use crate::cache::store::Cache;
use crate::config::snapshot::BypassPlan;
use crate::driver::parts::cancels::CancelRequest;
use crate::driver::parts::features::{Gate, look_at};
use crate::driver::parts::objects::Waiter;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, NewTask};
use crate::driver::parts::waits::Wait;
use crate::protocol::args::Args;
use crate::protocol::error::Error;
use crate::protocol::node::by_number;
use crate::protocol::options::Overrides;
use crate::protocol::wire::{self, About, Numbered, Request, Response};

/// Handles all requests of a process, or those up to a position of its ring, and what follows.
pub(crate) fn poll_requests(state: &mut State, place: u16, up_to: Option<u32>) -> bool {
    let mut any = false;
    while state.memory.has_requests(place) {
        let handled = state.memory.entry(place).requests_read.load(Relaxed) as u32;
        if up_to == Some(handled) {
            return any;
        }
        any = true;
        let what = match state.memory.requests(place).pop() {
            Ok(Some(message)) => match wire::decode::<Numbered<Request>>(&message) {
                Ok(Numbered { number, what }) => {
                    handle_request(state, place, number, what);
                    follow_up(state);
                    continue;
                }
                Err(_) => "a message that does not decode",
            },
            _ => "an invalid message",
        };
        protocol_violation(state, place, what);
        follow_up(state);
        return any;
    }
    any
}

fn handle_request(state: &mut State, place: u16, number: u64, request: Request) {
    if number != 0 && state.processes.at(place).abandoned {
        return respond(state, place, number, Err(abandoned()));
    }
    let response = match request {
        Request::Submit { node, args, overrides, actor, verdict } => {
            submit_for(state, place, node, args, overrides, actor, verdict)
        }
        Request::Spawn { node, args, overrides, max_restarts } => {
            let node = by_number(node).ok_or_else(unknown_node);
            let made =
                node.and_then(|node| spawn_actor(state, node, args, overrides, max_restarts));
            made.map(Response::Actor)
        }
        Request::Kill { actor } => {
            if let Ok(actor) = state.actors.find(actor) {
                kill_actor(state, actor);
            }
            Ok(Response::Done)
        }
        Request::Wait { ids, need, timeout } => {
            return begin_wait(state, place, number, &ids, need, false, timeout);
        }
        Request::Values { ids, timeout } => {
            return begin_wait(state, place, number, &ids, ids.len(), true, timeout);
        }
        Request::Room { bytes, urgent: true } => {
            return give_urgent(state, place, number, bytes);
        }
        Request::Room { bytes, urgent: false } => {
            return give_memory(state, place, number, bytes, false);
        }
        Request::Block { bytes } => return give_memory(state, place, number, bytes, true),
        Request::Cancel { target, cancel } => {
            let birth = state.processes.at(place).birth;
            state.cancels.ask(CancelRequest { place, birth, number, target, cancel });
            state.effects.wakeup = true;
            return;
        }
        Request::Pending { id } => {
            state.objects.named(id).map(|index| Response::Pending(pending(state, index)))
        }
        Request::Keep { ids } => {
            for id in ids {
                if let Some(index) = state.objects.find(id) {
                    state.objects.hold(index);
                    state.processes.keep(place, index);
                }
            }
            return;
        }
        Request::Release { id } => {
            if let Some(index) = state.objects.find(id)
                && state.processes.forget(place, index)
            {
                state.objects.unhold(index, &mut state.store);
            }
            return;
        }
        Request::Children { ids } => {
            // Held from now on: the worker's own handles may be gone before its completion.
            for id in ids {
                if let Some(index) = state.objects.find(id) {
                    state.objects.hold(index);
                    state.processes.add_child(place, index);
                }
            }
            return;
        }
        Request::About { task } => about(state, place, task).map(Response::About),
        Request::Backtrace { text } => return state.processes.set_backtrace(place, text),
        Request::Note(note) => return said(state, Some(place), note),
        Request::Spare { members } => return state.processes.set_spared(place, members),
    };
    respond(state, place, number, response);
}

/// What the body of a task that this process runs is told of it.
fn about(state: &State, place: u16, number: u64) -> Result<About, Error> {
    let process = state.processes.at(place);
    let mut posted = process.open_tasks().filter_map(|seq| process.posted_task(seq).object);
    let index = posted.find(|&index| state.objects.at(index).number == number);
    let index = index.ok_or_else(|| Error::Invalid(format!("task {number} is over")))?;
    let worker = &state.scheduler.workers()[process.worker];
    let task = state.objects.task(index);
    let (cpus, labels) = match process.lease {
        Some(lease) => state.scheduler.held(lease.class),
        None => (0, Vec::new()),
    };
    Ok(About {
        name: state.objects.name_of(index),
        tag: task.and_then(|task| task.overrides.as_ref()?.tag.clone()),
        group: worker.group.clone(),
        index: worker.name.rsplit('/').next().and_then(|at| at.parse().ok()).unwrap_or(0),
        cpus,
        labels,
    })
}

fn submit_for(
    state: &mut State,
    place: u16,
    node: u32,
    mut args: Args,
    mut overrides: Option<Box<Overrides>>,
    actor: Option<u64>,
    verdict: Option<bool>,
) -> Result<Response, Error> {
    let node = by_number(node).ok_or_else(unknown_node)?;
    args.check()?;
    let actor = actor.map(|id| state.actors.find(id)).transpose()?;
    let parent = state.processes.body_of(place);
    let actor = actor.map(|actor| (actor, 1 << 32 | u64::from(place)));
    let args = &mut args;
    // As for the call that this body is: a configuration that came later is for later calls.
    let above = parent.and_then(|parent| state.objects.task(parent)?.features.as_ref());
    let features = match above.map(|above| Arc::clone(&above.config)) {
        None => None,
        Some(config) => match look_at(&config, node, args, &mut overrides, verdict)? {
            Gate::Enter(features) => Some(features),
            Gate::Ask(bypass) => return Ok(condition_of(bypass, config.cache.as_ref())),
        },
    };
    let mut new = NewTask { node, args, overrides, parent, actor, makes: None, features };
    let index = submit(state, &mut new)?;
    // The caller's hold is the process's own.
    state.processes.keep(place, index);
    Ok(Response::Task(state.objects.name(index)))
}

/// The caller is to ask this condition, and to call again.
#[cold]
fn condition_of(bypass: &BypassPlan, cache: Option<&Cache>) -> Response {
    let address = bypass.condition.map_or(0, |condition| condition as usize as u64);
    Response::Condition { address, data: bypass.data.clone(), cache: cache.map(Cache::place) }
}

fn begin_wait(
    state: &mut State,
    place: u16,
    request: u64,
    ids: &[u64],
    need: usize,
    values: bool,
    timeout: Option<Duration>,
) {
    let found: Result<Vec<Index>, Error> = ids.iter().map(|&id| state.objects.named(id)).collect();
    let ids = match found {
        Ok(ids) => ids,
        Err(error) => return respond(state, place, request, Err(error)),
    };
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let wait = Wait { request, ids, need, values, until };
    if let Some(response) = wait.outcome(&state.objects) {
        return respond(state, place, request, Ok(response));
    }
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        let response = wait.timed_out(&state.objects);
        return respond(state, place, request, Ok(response));
    }
    if let Some(error) = told_to_stop(state, place) {
        return respond(state, place, request, Err(error));
    }
    let pending = |index: &Index| state.objects.is_pending(*index);
    let awaited: Vec<Index> = wait.ids.iter().copied().filter(pending).collect();
    for &index in &awaited {
        state.objects.add_waiter(index, Waiter::Process(place, request));
    }
    state.effects.wakeup |= until.is_some(); // the driver thread minds the time
    state.processes.add_wait(place, wait);
    if let Some(body) = state.processes.body_of(place) {
        if let Some(task) = state.objects.task(body) {
            state.nodes.note_wait(task.runs);
        }
        let depth = state.objects.at(body).rank.depth.saturating_add(1);
        await_all(state, &awaited, depth);
    }
    // The cpus are for others meanwhile, and so is what stands behind the waiting body.
    lend(state, place, true);
    if state.processes.at(place).actor.is_none() {
        recall_all(state, place);
        follow_up(state);
    }
    state.effects.wakeup |= state.watch.begin(Instant::now());
    schedule(state);
}

fn unknown_node() -> Error {
    Error::NotANode("a number that no node has".to_owned())
}

/// What a body is told whose thread was abandoned.
pub(crate) fn abandoned() -> Error {
    Error::Closed(
        "for this body: its task is over (a deadline, a cancel, the end of its actor); return"
            .to_owned(),
    )
}
