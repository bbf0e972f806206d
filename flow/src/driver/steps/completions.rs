//! Completions: reading what the workers have written, and what follows.

use std::sync::atomic::Ordering::Acquire;

use smallvec::SmallVec;

use super::follow_up::follow_up;
use super::giving::relieve;
use super::placing::{post_followers, schedule};
use super::recalling::{end_posted, protocol_violation, recall_last, run_again, run_again_later};
use super::recording;
use super::requests::poll_requests;
use super::serving::serve_actor;
use super::settling::{drop_value, fail, fail_with_root, settle};
use crate::driver::parts::objects::Value;
use crate::driver::parts::processes::Oldest;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::Index;
use crate::protocol::error::Cause;
use crate::protocol::memory::{Completion, LONG_COMPLETION, SHORT_COMPLETION, completion};
use crate::protocol::wire;

/// Reads what the busy processes have to say. Whether there was anything.
pub(crate) fn poll_completions(state: &mut State) -> bool {
    if state.closed.is_some() {
        return false; // what bodies return when they are told to end does not count
    }
    let mut any = false;
    let mut at = 0;
    while let Some(&place) = state.processes.busy().get(at) {
        any |= poll_process(state, place);
        // It may have left the list, and another may be in its place.
        at += usize::from(state.processes.busy().get(at) == Some(&place));
    }
    follow_up(state);
    relieve(state);
    any
}

/// The same for one process.
pub(crate) fn poll_process(state: &mut State, place: u16) -> bool {
    let mut any = false;
    loop {
        if !state.processes.at(place).used {
            return any;
        }
        // Before the look at the cell: what is asked later may be of another posted task.
        let asked = state.memory.entry(place).requests_written.load(Acquire) as u32;
        let seq = match state.processes.oldest(place) {
            Oldest::Done(seq) => {
                complete(state, place, seq);
                follow_up(state);
                seq
            }
            Oldest::PassedOver(seq) => seq,
            Oldest::Invalid => {
                protocol_violation(state, place, "an invalid cell word");
                follow_up(state);
                return true;
            }
            Oldest::Open => {
                if state.memory.has_requests(place) {
                    any |= poll_requests(state, place, Some(asked));
                }
                return any;
            }
        };
        any = true;
        state.processes.pass(place, seq);
        after_posted(state, place);
        follow_up(state);
    }
}

/// A process has come to the end of a task.
fn after_posted(state: &mut State, place: u16) {
    let process = state.processes.at(place);
    if process.outstanding() > 0 {
        match process.actor {
            Some(actor) => serve_actor(state, actor),
            None => post_followers(state, place),
        }
        return;
    }
    state.processes.leave_busy(place);
    is_free(state, place);
}

/// Nothing stands at a process any more: it is for others.
pub(crate) fn is_free(state: &mut State, place: u16) {
    let process = state.processes.at(place);
    if !process.used || process.doom.is_some() {
        return;
    }
    if let Some(actor) = process.actor {
        return serve_actor(state, actor);
    }
    let cancels = process.cancels;
    if let Some(lease) = state.processes.take_lease(place) {
        state.scheduler.end_lease(lease);
    }
    if cancels > 0 {
        return schedule(state); // it is nobody's until they are through
    }
    state.processes.put_idle(place, &mut state.effects);
    schedule(state);
    steal(state);
}

/// When nothing is queued and a worker is idle: takes a task that stands behind another.
fn steal(state: &mut State) {
    let processes = &state.processes;
    let busy = processes.busy();
    if busy.len() < 2 && busy.first().is_none_or(|&place| processes.at(place).outstanding() < 2) {
        return;
    }
    let loaded = processes
        .busy_ones()
        .filter(|(_, process)| process.actor.is_none() && process.outstanding() > 1);
    let most = loaded.max_by_key(|(_, process)| process.outstanding());
    if let Some((place, process)) = most
        && let Some(lease) = process.lease
        && state.scheduler.has_idle_for(lease.class, processes)
    {
        recall_last(state, place);
    }
}

/// Reads a completion and completes its task.
fn complete(state: &mut State, place: u16, seq: u64) {
    let completion = state.memory.cell(place, seq).completion();
    // What was asked before the completion is heard before it, and what came later after it:
    // the worker may be in another body by now.
    if state.memory.has_requests(place) {
        poll_requests(state, place, Some(completion.requests));
    }
    let outcome = read_completion(state, place, seq, &completion);
    let given = state.processes.end_body(place, &mut state.store);
    recording::ran(state, place, seq, &completion);
    let ended = end_posted(state, place, seq);
    let Ok(Outcome::Value(value)) = outcome else {
        return end_without_value(state, place, ended, outcome, completion.duration_ns);
    };
    let task = ended.and_then(|index| Some((index, state.objects.task(index)?)));
    let Some((index, task)) = task else {
        drop_value(state, value); // nobody's any more
        return drop_children(state, place);
    };
    let cancelled = task.cancelled;
    state.nodes.note_run(task.runs, completion.duration_ns, Some(given));
    // What stood behind its producer may have run with a value that does not count.
    if cancelled || state.objects.failed_argument(index).is_some() {
        return end_with_another(state, place, index, value);
    }
    recording::completed(state, index, &value);
    let children = state.processes.take_children(place);
    settle(state, index, value, children);
}

/// The value that names these does not count.
#[cold]
fn drop_children(state: &mut State, place: u16) {
    for child in state.processes.take_children(place) {
        state.objects.unhold(child, &mut state.store);
    }
}

/// The task was cancelled, or fails with one of its arguments: its value does not count.
#[cold]
fn end_with_another(state: &mut State, place: u16, index: Index, value: Value) {
    drop_value(state, value);
    match state.objects.failed_argument(index) {
        Some(error) => fail_with_root(state, index, &error),
        None => failed(state, place, index, Cause::Cancelled),
    }
    drop_children(state, place);
}

/// A task has ended without a value.
#[cold]
fn end_without_value(
    state: &mut State,
    place: u16,
    ended: Option<Index>,
    outcome: Result<Outcome, ProtocolViolation>,
    duration_ns: u32,
) {
    if let Some(index) = ended {
        if let Some(task) = state.objects.task(index) {
            state.nodes.note_run(task.runs, duration_ns, None);
        }
        match outcome {
            Ok(Outcome::Value(value)) => drop_value(state, value), // it has one
            Ok(Outcome::Failed(cause)) => failed(state, place, index, *cause),
            Ok(Outcome::Upstream) => run_again(state, index, false),
            Err(ProtocolViolation) => {
                protocol_violation(state, place, "an invalid completion");
                failed(state, place, index, Cause::WorkerCrashed(VIOLATION.to_owned()));
            }
        }
    }
    drop_children(state, place);
}

fn failed(state: &mut State, place: u16, index: Index, cause: Cause) {
    let worker = Some(state.worker_name(place));
    let Some(task) = state.objects.task(index) else { return };
    let (makes, cancelled) = (task.makes, task.cancelled);
    if !cancelled && task.retries(&cause) {
        if let Some(actor) = makes {
            state.actors.set_place(actor, None);
            state.processes.set_actor(place, None);
        }
        recording::retried(state, index, &cause);
        return run_again_later(state, index);
    }
    state.witness = Some(place);
    fail(state, index, worker, if cancelled { Cause::Cancelled } else { cause });
    state.witness = None;
}

enum Outcome {
    Value(Value),
    Failed(Box<Cause>),
    Upstream,
}

/// A process violated the protocol.
struct ProtocolViolation;

const VIOLATION: &str = "it wrote an invalid completion, and was ended";

/// The bytes of a completion that has them itself.
#[inline]
fn short_value(completion: &Completion) -> Option<SmallVec<[u8; 32]>> {
    let len = completion.len as usize;
    (len <= SHORT_COMPLETION).then(|| {
        let mut bytes = [0; 32];
        bytes[..SHORT_COMPLETION].copy_from_slice(bytemuck::cast_slice(&completion.short));
        SmallVec::from_buf_and_len(bytes, len)
    })
}

#[inline]
fn read_completion(
    state: &mut State,
    place: u16,
    seq: u64,
    completion: &Completion,
) -> Result<Outcome, ProtocolViolation> {
    if completion.kind == completion::VALUE
        && let Some(bytes) = short_value(completion)
    {
        return Ok(Outcome::Value(Value::Inline(bytes)));
    }
    read_longer(state, place, seq, completion)
}

#[inline(never)]
fn read_longer(
    state: &mut State,
    place: u16,
    seq: u64,
    completion: &Completion,
) -> Result<Outcome, ProtocolViolation> {
    let State { processes, store, memory, .. } = state;
    let cell = memory.cell(place, seq);
    let inline = |len: u32| -> Result<SmallVec<[u8; 32]>, ProtocolViolation> {
        if let Some(bytes) = short_value(completion) {
            return Ok(bytes);
        }
        let len = len as usize;
        if len > LONG_COMPLETION {
            return Err(ProtocolViolation);
        }
        let mut bytes: SmallVec<[u8; 32]> = SmallVec::from_elem(0, len);
        // SAFETY: inside the cell's area; a copy of whatever bytes are there.
        unsafe { cell.long().copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
        Ok(bytes)
    };
    let [address, len] = completion.short;
    match completion.kind {
        completion::VALUE => Ok(Outcome::Value(Value::Inline(inline(completion.len)?))),
        completion::PLACED => {
            let block = processes.claim(place, address, len, store).ok_or(ProtocolViolation)?;
            Ok(Outcome::Value(Value::Placed { block, address, len }))
        }
        completion::FAILED => decode_cause(&inline(completion.len)?),
        completion::FAILED_PLACED => {
            let block = processes.claim(place, address, len, store).ok_or(ProtocolViolation)?;
            let bytes = memory.copy(address, len);
            store.release(block);
            decode_cause(&bytes.ok_or(ProtocolViolation)?)
        }
        completion::UPSTREAM => Ok(Outcome::Upstream),
        completion::UNRUN => Ok(Outcome::Failed(Box::new(Cause::Cancelled))),
        _ => Err(ProtocolViolation),
    }
}

fn decode_cause(bytes: &[u8]) -> Result<Outcome, ProtocolViolation> {
    wire::decode(bytes).map(Outcome::Failed).map_err(|_| ProtocolViolation)
}
