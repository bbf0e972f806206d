//! Cancels, seen to their end: what was told to stop has a grace, and is ended after that. Each is on
//! a thread that may wait: the caller's, or one for the purpose.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailring_process::process;
use mailring_process::process_tree::{self, Member};

use super::parts::cancels::{CancelRequest, Told};
use super::parts::processes::Doom;
use super::parts::state::State;
use super::parts::tasks::Index;
use super::shared::Shared;
use super::steps::answering::respond;
use super::steps::cancelling::cancel_tasks;
use super::steps::completions::{is_free, poll_completions};
use super::steps::follow_up::follow_up;
use super::steps::recalling::doom;
use crate::protocol::cancel::{Cancel, CancelReport, EndedProcess, Found, Target};
use crate::protocol::error::Error;
use crate::protocol::wire::Response;

/// How long a forced cancel waits for the end of a worker that was killed.
const ENDING: Duration = Duration::from_secs(10);

/// How long a cancel ends what a body starts again and again, after the grace.
const LIMIT: Duration = Duration::from_secs(3);

/// Pause between interrupts of a body that was told.
const AGAIN: Duration = Duration::from_millis(2);

/// What was found of the tasks that were meant, and the bodies that have been told.
type Begun = (Vec<CancelReport>, Vec<Told>);

/// The tasks that are meant; `None` stands for one that is complete.
fn targets(state: &State, target: &Target) -> Result<Vec<(u64, Option<Index>)>, Error> {
    let of = |index: Index| {
        let open = state.objects.task(index).is_some();
        (state.objects.at(index).number, open.then_some(index))
    };
    let by_number = |number: u64| {
        let known = |&index: &Index| {
            state.objects.at(index).number == number && state.objects.task(index).is_some()
        };
        state.objects.indices().find(known)
    };
    match target {
        Target::Refs(ids) => ids.iter().map(|&id| state.objects.named(id).map(of)).collect(),
        &Target::Number(number) if (1..=state.objects.last_number()).contains(&number) => {
            Ok(vec![(number, by_number(number))])
        }
        Target::Number(number) => Err(Error::Invalid(format!(
            "no task of this flow has the number {number}: they go from 1 to {} now; tasks() lists those that are not complete",
            state.objects.last_number()
        ))),
        Target::All => {
            let open = state.objects.indices().filter(|&index| {
                state.objects.task(index).is_some_and(|task| task.makes.is_none())
            });
            let mut all: Vec<_> = open.map(of).collect();
            all.sort_unstable_by_key(|(number, _)| *number);
            Ok(all)
        }
    }
}

/// Cancels what can be at once. The bodies that run have been told.
fn begin_cancel(state: &mut State, target: &Target, cancel: Cancel) -> Result<Begun, Error> {
    poll_completions(state);
    let targets = targets(state, target)?;
    let is_call = |index: Index| state.objects.task(index).is_some_and(|t| t.actor.is_some());
    if cancel.force
        && *target != Target::All
        && let Some((number, _)) = targets.iter().find(|(_, index)| index.is_some_and(is_call))
    {
        return Err(Error::Invalid(format!(
            "task {number} is a call of an actor, which cannot be cancelled by force, since that would end the actor; kill the actor, or cancel without force"
        )));
    }
    let open: Vec<Index> = targets.iter().filter_map(|(_, index)| *index).collect();
    let told = cancel_tasks(state, &open);
    let running: HashSet<u64> = told.iter().map(|told| told.task).collect();
    let reports = targets.into_iter().map(|(task, index)| CancelReport {
        task,
        found: match index {
            None => Found::Finished,
            Some(_) if running.contains(&task) => Found::Running,
            Some(_) => Found::Queued,
        },
        ended: Vec::new(),
        worker_ended: false,
    });
    let reports = reports.collect();
    poll_completions(state);
    state.effects.changed = true;
    Ok((reports, told))
}

/// Ends a body with its worker, if it still runs.
fn end_at_once(state: &mut State, told: &Told) {
    if told.still_runs(&state.objects) && !told.actor {
        doom(state, told.place, Doom::Cancel);
        follow_up(state);
    }
    cancel_is_through(state, told);
}

/// A cancel is through: others may have the process.
fn cancel_is_through(state: &mut State, told: &Told) {
    if state.processes.end_cancel(told.place, told.birth) {
        is_free(state, told.place);
    }
}

/// Cancels a task and all that its body called.
pub(super) fn cancel(
    shared: &Shared,
    target: &Target,
    cancel: Cancel,
) -> Result<Vec<CancelReport>, Error> {
    shared.check()?;
    let (mut reports, told) = shared.with(|state| begin_cancel(state, target, cancel))?;
    if told.is_empty() {
        return Ok(reports);
    }
    let at: HashMap<u64, usize> =
        reports.iter().enumerate().rev().map(|(at, report)| (report.task, at)).collect();
    for (task, ended, worker_ended) in end_bodies(shared, &told, cancel, Duration::ZERO) {
        // What was called by a task that was meant is told of with the first of those.
        let at = at.get(&task).copied().unwrap_or(0);
        if let Some(report) = reports.get_mut(at) {
            report.ended.extend(ended);
            report.worker_ended |= worker_ended;
        }
    }
    Ok(reports)
}

/// Cancels that bodies have asked for, and bodies that nobody wants any more: each may take
/// its grace.
pub(super) fn start_cancels(shared: &Arc<Shared>, grace: Duration) {
    let (asked, outlived) = shared.with(|state| state.cancels.take());
    for CancelRequest { place, birth, number, target, cancel: how } in asked {
        let own = Arc::clone(shared);
        let run = move || {
            let reports = cancel(&own, &target, how).map(Response::Reports);
            own.with(|state| {
                // Another process may have its place by now.
                if state.processes.at(place).birth == birth {
                    respond(state, place, number, reports);
                }
            });
        };
        if let Err(error) = thread(run) {
            let refused = Error::system("starting a thread for a cancel")(error);
            shared.with(|state| respond(state, place, number, Err(refused)));
        }
    }
    if !outlived.is_empty() {
        let (own, outlived) = (Arc::clone(shared), Arc::new(outlived));
        let all = Arc::clone(&outlived);
        let run = move || drop(end_bodies(&own, &all, Cancel::forced(), grace));
        if thread(run).is_err() {
            // No time for a grace.
            shared.with(|state| outlived.iter().for_each(|told| end_at_once(state, told)));
        }
    }
}

/// Ends bodies that have been told, all at the same time: the task, what was ended of what it
/// had started, and whether its worker was.
fn end_bodies(
    shared: &Shared,
    told: &[Told],
    cancel: Cancel,
    notice: Duration,
) -> Vec<(u64, Vec<EndedProcess>, bool)> {
    let end = |one: &Told| {
        let (ended, worker_ended) = end_body(shared, one, cancel, notice);
        (one.task, ended, worker_ended)
    };
    let [first, others @ ..] = told else { return Vec::new() };
    std::thread::scope(|scope| {
        let start = |one| {
            let named = std::thread::Builder::new().name("mailring-cancel".to_owned());
            named.spawn_scoped(scope, move || end(one)).map_err(|_| one)
        };
        let started: Vec<_> = others.iter().map(start).collect();
        let mut all = vec![end(first)];
        for one in started {
            match one {
                Ok(thread) => all.extend(thread.join()),
                Err(one) => all.push(end(one)), // no more threads: one after the other
            }
        }
        all
    })
}

/// Ends what a body has started, and with force its worker, if it has not ended with `notice`:
/// what was ended, and whether the worker was.
fn end_body(
    shared: &Shared,
    told: &Told,
    cancel: Cancel,
    notice: Duration,
) -> (Vec<EndedProcess>, bool) {
    let noticed = Instant::now() + notice;
    let pid = pid_of(shared, told);
    // A worker whose body returns at once ends these itshared.
    let mut before: Vec<(Member, String)> = Vec::new();
    if pid > 0 && !told.actor {
        let all = process_tree::descendants(pid).into_iter();
        before.extend(all.filter(|m| !told.spared.contains(m)).map(|m| (m, m.name())));
    }
    // A body may be between its look at the flag and the call that blocks it.
    for _ in 0..3 {
        process::interrupt(pid);
        let over = |state: &mut State| (!told.still_runs(&state.objects)).then_some(());
        let soon = Instant::now() + AGAIN;
        if pid == 0 || shared.until(Some(soon), over).is_ok_and(|over| over.is_some()) {
            break;
        }
    }
    if told.actor {
        return (Vec::new(), false);
    }
    // A worker that is ended anyway is not waited for: it may start new ones all the time.
    let limit = if cancel.force { Duration::ZERO } else { LIMIT };
    let mut ended = end_family(shared, pid, &told.spared, cancel.grace, limit);
    let alive = if before.is_empty() { Vec::new() } else { process_tree::descendants(pid) };
    before.retain(|(m, _)| !alive.contains(m) && ended.iter().all(|one| one.pid != m.pid));
    let gone = before.into_iter();
    ended.extend(gone.map(|(m, name)| EndedProcess { pid: m.pid, name, killed: false }));
    if !notice.is_zero() {
        let _ =
            shared.until(Some(noticed), |state| (!told.still_runs(&state.objects)).then_some(()));
    }
    let forced = cancel.force
        && shared.with(|state| {
            poll_completions(state);
            let still = told.still_runs(&state.objects);
            if still {
                doom(state, told.place, Doom::Cancel);
            }
            still
        });
    if forced {
        // The fork server ends these with their worker.
        let left =
            process_tree::descendants(pid).into_iter().filter(|one| !told.spared.contains(one));
        let known: Vec<i32> = ended.iter().map(|one| one.pid).collect();
        let left = left.filter(|one| !known.contains(&one.pid));
        ended.extend(left.map(|one| EndedProcess { pid: one.pid, name: one.name(), killed: true }));
        // Its body may have ended just before the kill: what counts is that all are gone.
        let until = Instant::now() + ENDING;
        let _ = shared.until(Some(until), |state| told.is_ended(&state.processes).then_some(()));
    }
    shared.with(|state| cancel_is_through(state, told));
    (ended, forced)
}

/// The process of a body, once the fork server has told its number; 0 when the body is over.
fn pid_of(shared: &Shared, told: &Told) -> i32 {
    let until = Instant::now() + ENDING;
    let known = shared.until(Some(until), |state| {
        let child = state.processes.at(told.place).child.as_ref();
        if told.still_runs(&state.objects) { child.map(|child| child.pid) } else { Some(0) }
    });
    known.ok().flatten().unwrap_or(0)
}

/// Ends what the tasks of a worker have started.
fn end_family(
    shared: &Shared,
    pid: i32,
    spared: &[Member],
    grace: Duration,
    limit: Duration,
) -> Vec<EndedProcess> {
    if pid <= 0 {
        return Vec::new();
    }
    let stop = || shared.is_stopping();
    let ended = process_tree::end_descendants(pid, spared, grace, limit, &stop);
    let ended = ended.into_iter();
    ended.map(|e| EndedProcess { pid: e.pid, name: e.name, killed: e.killed }).collect()
}

fn thread(run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("mailring-cancel".to_owned()).spawn(run).map(drop)
}
