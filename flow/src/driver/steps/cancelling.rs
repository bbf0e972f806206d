//! Cancelling: tasks that have not begun end, and bodies that run are told.

use std::cmp::Reverse;

use mailring_process::process_tree::Member;

use super::answering::end_waits;
use super::recalling::{recall_all, withdraw};
use super::settling::{error_of, fail};
use crate::driver::parts::cancels::{Told, with_kids};
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, Phase};
use crate::protocol::error::Cause;

/// Cancels these and what their bodies have called. What has not begun goes first, and of that
/// the newest, so that nothing begins only because another has ended.
pub(crate) fn cancel_tasks(state: &mut State, targets: &[Index]) -> Vec<Told> {
    let mut all = with_kids(targets, &state.objects, &state.processes);
    all.sort_by_cached_key(|&index| {
        let posted = state.objects.task(index).is_some_and(|task| task.is_posted());
        (posted, Reverse(state.objects.at(index).number))
    });
    for &index in &all {
        state.objects.set_cancelled(index); // nothing of it is tried again
    }
    // By name: one may take others with it.
    let all: Vec<u64> = all.into_iter().map(|index| state.objects.id(index)).collect();
    let mut told = Vec::new();
    for id in all {
        if let Some((index, _)) = state.objects.find_task(id) {
            told.extend(cancel_one(state, index));
        }
    }
    told
}

fn cancel_one(state: &mut State, index: Index) -> Option<Told> {
    let task = state.objects.task(index)?;
    let actor = task.actor.is_some();
    if let Phase::Posted { place, seq } = task.phase
        && !withdraw(state, place, seq)
    {
        state.processes.tell_to_stop(place, seq);
        let worker = Some(state.worker_name(place));
        let error = error_of(state, index, worker, Cause::Cancelled);
        end_waits(state, place, &error.into());
        // Until the cancel is through, nobody else's task comes to this process: what it
        // starts would be ended as well.
        if !actor {
            state.processes.add_cancel(place);
        }
        let process = state.processes.at(place);
        let spared = process.spared.iter().map(|&(pid, start)| Member { pid, start }).collect();
        let birth = process.birth;
        if !actor {
            recall_all(state, place); // what stands behind it is for others
        }
        let task = state.objects.at(index).number;
        return Some(Told { index, task, place, birth, seq, actor, spared });
    }
    fail(state, index, None, Cause::Cancelled);
    None
}

/// Cancels what nobody wants any more. Bodies that run are told; the driver thread sees to
/// their end.
#[cold]
pub(crate) fn end_unwanted(state: &mut State) {
    let unwanted = state.objects.take_unwanted();
    let told = cancel_tasks(state, &unwanted);
    state.effects.wakeup |= !told.is_empty();
    state.cancels.add_outlived(told);
}

/// Cancels what the body of a task has called and nobody else holds, and so on.
pub(crate) fn end_kids(state: &mut State, index: Index) {
    let mut kids = with_kids(&[index], &state.objects, &state.processes);
    kids.retain(|&kid| kid != index);
    let told = cancel_tasks(state, &kids);
    state.cancels.add_outlived(told);
}
