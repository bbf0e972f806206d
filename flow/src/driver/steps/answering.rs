//! Answering: responses to workers, and the ends of waits of their bodies.

use std::time::Instant;

use super::recalling::protocol_violation;
use super::settling::error_of;
use crate::driver::parts::objects::Waiter;
use crate::driver::parts::responses::Sent;
use crate::driver::parts::state::State;
use crate::driver::parts::waits::Wait;
use crate::protocol::error::{Cause, Error};
use crate::protocol::wire::Response;

pub(crate) fn respond(
    state: &mut State,
    place: u16,
    number: u64,
    response: Result<Response, Error>,
) {
    match state.responses.send(place, number, response) {
        Sent::Yes => {}
        Sent::Later => state.effects.wakeup = true,
        Sent::TooLong => protocol_violation(state, place, "more than can be answered"),
    }
}

/// Sends what had no room. Who does not read for long is ended.
pub(crate) fn send_rest(state: &mut State, now: Instant) {
    for place in state.responses.send_rest(now) {
        protocol_violation(state, place, "nothing, and reads no answers");
    }
}

/// Lends the cpus of a body that waits, or takes them back.
pub(crate) fn lend(state: &mut State, place: u16, lent: bool) {
    if let Some(lease) = state.processes.set_lent(place, lent) {
        state.scheduler.lent(lease);
    }
}

/// A wait of a body is over: unless there is another, it has its cpus again.
fn take_cpus_back(state: &mut State, place: u16) {
    let process = state.processes.at(place);
    if process.is_waiting() {
        return;
    }
    // Those of an actor may stay with others while none of its bodies runs or waits.
    let weightless = process.actor.is_some_and(|actor| state.actors.at(actor).places_only);
    if !weightless {
        lend(state, place, false);
    }
}

/// A body that has been told to stop does not wait any more, as it does not sleep any more. Its
/// cleanup may. (Whoever asks is still where it was when it asked.)
pub(crate) fn told_to_stop(state: &State, place: u16) -> Option<Error> {
    let told = state.processes.is_told_to_stop(place);
    let index = state.processes.body_of(place).filter(|_| told)?;
    Some(error_of(state, index, Some(state.worker_name(place)), Cause::Cancelled).into())
}

/// Something that a process waits for is complete.
pub(crate) fn look_at_wait(state: &mut State, place: u16, request: u64) {
    let waits = &state.processes.at(place).waits;
    let Some(at) = waits.iter().position(|wait| wait.request == request) else { return };
    if let Some(response) = waits[at].outcome(&state.objects) {
        end_wait(state, place, at, Ok(response));
    }
}

pub(crate) fn end_wait(
    state: &mut State,
    place: u16,
    at: usize,
    response: Result<Response, Error>,
) {
    let wait = state.processes.remove_wait(place, at);
    leave_waiters(state, place, &wait);
    take_cpus_back(state, place);
    respond(state, place, wait.request, response);
}

/// Who waits at this position for memory does so no longer.
pub(crate) fn end_memory_wait(state: &mut State, at: usize) {
    if let Some(wait) = state.admission.remove(at, &mut state.processes) {
        take_cpus_back(state, wait.place);
    }
}

/// Ends all waits of a body with this error, those for memory as well.
pub(crate) fn end_waits(state: &mut State, place: u16, error: &Error) {
    while let Some(at) = state.admission.find(place) {
        let request = state.admission.waits()[at].request;
        end_memory_wait(state, at);
        respond(state, place, request, Err(error.clone()));
    }
    while !state.processes.at(place).waits.is_empty() {
        end_wait(state, place, 0, Err(error.clone()));
    }
}

fn leave_waiters(state: &mut State, place: u16, wait: &Wait) {
    for &index in &wait.ids {
        state.objects.remove_waiter(index, Waiter::Process(place, wait.request));
    }
}

/// Ends waits whose time is over; when the next one's is.
pub(crate) fn end_late_waits(state: &mut State, now: Instant) -> Option<Instant> {
    let mut next: Option<Instant> = None;
    // Also of threads that a body has left.
    let waiting = state.processes.all().filter(|(_, process)| !process.waits.is_empty());
    let waiting: Vec<u16> = waiting.map(|(place, _)| place).collect();
    for place in waiting {
        let mut which = 0;
        while let Some(wait) = state.processes.at(place).waits.get(which) {
            match wait.until {
                Some(until) if until <= now => {
                    let response = wait.timed_out(&state.objects);
                    end_wait(state, place, which, Ok(response));
                    continue;
                }
                Some(until) => next = Some(next.map_or(until, |known| known.min(until))),
                None => {}
            }
            which += 1;
        }
    }
    next
}

/// The waits of a process that is gone.
pub(crate) fn drop_waits(state: &mut State, place: u16) {
    for wait in state.processes.take_waits(place) {
        leave_waiters(state, place, &wait);
    }
    while let Some(at) = state.admission.find(place) {
        state.admission.remove(at, &mut state.processes);
    }
}
