//! Recording: while a flow is profiled, the other steps say here what they do. `docs/profile-log.md`
//! has what becomes of it. Without a profile each of these is one look at an option.

use mailring_process::clock::monotonic_ns;
use smallvec::SmallVec;

use crate::driver::parts::objects::Value;
use crate::driver::parts::recorder::{Ending, For, Reason, Recorder};
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Caller, Index, Noted, Phase};
use crate::profile::records::{
    Batch, DRIVER, Extra, Failure, Inputs, Kind, Names, Record, What, WorkerName,
};
use crate::protocol::cell;
use crate::protocol::error::{Cause, TaskError};
use crate::protocol::memory::{Completion, Times, completion, flags};
use crate::protocol::note::{LocalCall, Note};
use crate::protocol::resources::ONE;

/// Inputs among which equal ones are looked for.
const FEW: usize = 16;

// ---- the beginning and the end ------------------------------------------------------------------

/// From now on it is recorded what happens.
pub(crate) fn begin(state: &mut State, recorder: Recorder) {
    state.recorder = Some(Box::new(recorder));
    state.marks = flags::PROFILED;
}

/// What goes on already, for one who hears what is recorded from now on.
pub(crate) fn snapshot(state: &mut State, batch: &mut Batch) {
    let tasks = state.objects.tasks().map(|(index, _)| (state.objects.at(index).number, index));
    let mut open: Vec<(u64, Index)> = tasks.collect();
    open.sort_unstable();
    let now = monotonic_ns();
    for (call, index) in open {
        let is_ready = state.objects.task(index).is_some_and(|task| task.remaining == 0);
        batch.records.extend(submission(state, index, is_ready));
        let Some(task) = state.objects.task(index) else { continue };
        let (phase, attempt, noted) = (task.phase, u32::from(task.attempt) + 1, task.noted);
        let mut add = |at, what| batch.records.push(Record { at, call, what });
        if let Noted::Waiting(reason) = noted {
            add(now, What::Waiting(reason));
        }
        if let Phase::Posted { place, seq } = phase {
            let process = state.processes.at(place);
            let (birth, worker) = (process.birth, process.worker as u16);
            let pid = pid_of(state, place);
            let begun = state.recorder.as_ref().is_some_and(|r| r.has_begun(place, birth, seq));
            if begun {
                add(now, What::Began { attempt, worker, pid });
            }
        }
    }
    batch.workers = worker_names(state);
    if let Some(recorder) = &mut state.recorder {
        recorder.texts(batch);
        recorder.since = monotonic_ns();
    }
}

/// Nothing more is recorded.
pub(crate) fn end(state: &mut State) {
    state.recorder = None;
    state.marks = 0;
}

/// Takes what was recorded. Whether there is, or may soon be, more to be seen.
pub(crate) fn take(state: &mut State, batch: &mut Batch) -> bool {
    let awaited = look_at_bodies(state);
    let Some(recorder) = &mut state.recorder else { return true };
    recorder.take(batch);
    let workers = state.scheduler.workers().len();
    if std::mem::replace(&mut recorder.workers, workers) != workers {
        batch.workers = worker_names(state);
    }
    let Some(recorder) = &mut state.recorder else { return true };
    let any = awaited || !batch.records.is_empty();
    if !any {
        recorder.set_asleep();
    }
    any
}

fn worker_name(state: &State, at: usize) -> WorkerName {
    let worker = &state.scheduler.workers()[at];
    let labels = (0..).zip(&worker.total.labels).filter(|(_, amount)| **amount != 0);
    let labels = labels.map(|(label, amount)| (state.scheduler.label(label), *amount));
    WorkerName {
        name: worker.name.clone(),
        group: worker.group.clone(),
        resources: quantities(worker.total.cpus, labels),
    }
}

/// The workers that there are, for the header.
pub(crate) fn worker_names(state: &State) -> Vec<WorkerName> {
    (0..state.scheduler.workers().len()).map(|at| worker_name(state, at)).collect()
}

/// As an object of JSON.
fn quantities<'a>(cpus: i64, labels: impl Iterator<Item = (&'a str, i64)>) -> String {
    let amount = |units: i64| units as f64 / ONE as f64;
    let mut all = serde_json::Map::new();
    if cpus != 0 {
        all.insert("cpus".to_owned(), amount(cpus).into());
    }
    all.extend(labels.map(|(label, units)| (label.to_owned(), amount(units).into())));
    serde_json::Value::Object(all).to_string()
}

/// Bodies that run, and were not seen to have begun. Whether some are about to begin.
fn look_at_bodies(state: &mut State) -> bool {
    let mut awaited = false;
    for place in state.processes.busy().to_vec() {
        let process = state.processes.at(place);
        let Some((seq, index)) = process.oldest() else { continue };
        let birth = process.birth;
        let noted = |recorder: &Recorder| recorder.has_begun(place, birth, seq);
        if state.recorder.as_ref().is_none_or(|recorder| noted(recorder)) {
            continue;
        }
        awaited = true;
        if state.processes.look(place, seq) == Some(cell::Phase::Started)
            && let Some(times) = times_of(state, place, seq)
        {
            begun(state, place, seq, index, times);
        }
    }
    awaited
}

// ---- before a task begins -----------------------------------------------------------------------

/// A call has entered the table.
#[inline]
pub(crate) fn submitted(state: &mut State, index: Index, is_ready: bool) {
    if state.recorder.is_some() {
        enter(state, index, is_ready);
    }
}

#[cold]
fn enter(state: &mut State, index: Index, is_ready: bool) {
    let record = submission(state, index, is_ready);
    if let Some((recorder, Record { at, call, what })) = state.recorder.as_mut().zip(record) {
        recorder.note(at, call, what);
    }
}

/// The record of a call.
fn submission(state: &mut State, index: Index, is_ready: bool) -> Option<Record> {
    let State { objects, scheduler, processes, recorder, .. } = state;
    let (recorder, task) = recorder.as_mut().zip(objects.task(index))?;
    let parent = task.parent.and_then(|parent| objects.find_task(parent));
    let (caller, caller_worker) = match parent {
        Some((parent, task)) => {
            let worker = match task.phase {
                Phase::Posted { place, .. } => processes.at(place).worker as u16,
                _ => DRIVER,
            };
            (objects.at(parent).number, worker)
        }
        None => (0, DRIVER),
    };
    let demand = &scheduler.class(task.class).demand;
    let resources = recorder.resources(task.class, demand, || {
        let labels = demand.labels.iter();
        quantities(demand.cpus, labels.map(|&(label, units)| (scheduler.label(label), units)))
    });
    // Values that were put are no calls.
    let calls = task.held.iter().map(|&dep| objects.at(dep)).filter(|dep| dep.node.is_some());
    let mut inputs = Inputs::new();
    for call in calls {
        let seen = inputs.len().saturating_sub(FEW);
        if !inputs[seen..].contains(&call.number) {
            inputs.push(call.number);
        }
    }
    let names = task.overrides.as_ref().and_then(|over| {
        let names = Names { display: over.display_name.clone(), tag: over.tag.clone() };
        (names.display.is_some() || names.tag.is_some()).then(|| Box::new(names))
    });
    let kind = match (task.makes, task.actor) {
        (Some(_), _) => Kind::Actor,
        (None, Some(_)) => Kind::Method,
        (None, None) => Kind::Task,
    };
    let node = task.node;
    let what =
        What::Submitted { node, resources, caller, caller_worker, kind, is_ready, inputs, names };
    if is_ready && task.noted == Noted::Nothing {
        objects.set_noted(index, Noted::Ready);
    }
    Some(Record { at: monotonic_ns(), call: objects.at(index).number, what })
}

/// A provider runs in its place.
#[inline]
pub(crate) fn bypassed(state: &mut State, index: Index, registered: bool) {
    if let Some(recorder) = &mut state.recorder {
        let call = state.objects.at(index).number;
        recorder.note(monotonic_ns(), call, What::Bypassed { registered });
    }
}

/// Its value comes from the cache.
#[inline]
pub(crate) fn served(state: &mut State, index: Index) {
    if let Some(recorder) = &mut state.recorder {
        recorder.note(monotonic_ns(), state.objects.at(index).number, What::Served);
    }
}

/// A task has all its inputs.
#[inline]
pub(crate) fn ready(state: &mut State, index: Index) {
    if state.recorder.is_some() {
        ready_at(state, index, None);
    }
}

#[cold]
fn ready_at(state: &mut State, index: Index, at: Option<u64>) {
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    if task.noted == Noted::Nothing {
        let at = at.map_or_else(monotonic_ns, |at| at.max(recorder.since));
        recorder.note(at, objects.at(index).number, What::Ready);
        objects.set_noted(index, Noted::Ready);
    }
}

/// It stands in the queue of its class. Why, is looked at when it is the first there.
#[inline]
pub(crate) fn queued(state: &mut State, index: Index, first: bool) {
    if state.recorder.is_some() {
        wait_in_queue(state, index, first);
    }
}

#[cold]
fn wait_in_queue(state: &mut State, index: Index, first: bool) {
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    match recorder.reason_of(task.class).filter(|_| !first) {
        Some(reason) => note_reason(state, index, reason),
        None => waits(state, index, None),
    }
}

/// It is the first in its queue, and still could not be placed.
#[inline]
pub(crate) fn still_waits(state: &mut State, index: Index) {
    if state.recorder.is_some() {
        waits(state, index, None);
    }
}

/// It stands at a process behind others.
#[inline]
pub(crate) fn stands_behind(state: &mut State, index: Index) {
    if state.recorder.is_some() {
        waits(state, index, Some(For::Worker));
    }
}

/// A call of an actor, if it is not at the actor's process at once.
#[inline]
pub(crate) fn at_actor(state: &mut State, index: Index) {
    if state.recorder.is_some()
        && let Some(task) = state.objects.task(index)
        && task.phase == Phase::AtActor
        && task.remaining == 0
    {
        waits(state, index, Some(For::Order));
    }
}

#[cold]
fn waits(state: &mut State, index: Index, known: Option<For>) {
    let Some(task) = state.objects.task(index) else { return };
    let class = task.class;
    let reason = match known {
        Some(waits_for) => Reason { waits_for, what: SmallVec::new() },
        None => reason_of(state, index),
    };
    let State { scheduler, recorder: Some(recorder), .. } = state else { return };
    let number = recorder.reason(class, reason, |reason| {
        let waits_for = match reason.waits_for {
            For::Resources => "resources",
            For::Memory => "memory",
            For::Worker => "worker",
            For::Order => "order",
        };
        let name = |label: &Option<u16>| label.map_or("cpus", |label| scheduler.label(label));
        let what: Vec<&str> = reason.what.iter().map(name).collect();
        format!("\"{waits_for}\",\"what\":{}", serde_json::Value::from(what))
    });
    note_reason(state, index, number);
}

fn note_reason(state: &mut State, index: Index, reason: u32) {
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    if task.noted != Noted::Waiting(reason) {
        recorder.note(monotonic_ns(), objects.at(index).number, What::Waiting(reason));
        objects.set_noted(index, Noted::Waiting(reason));
    }
}

fn reason_of(state: &State, index: Index) -> Reason {
    let Some(task) = state.objects.task(index) else {
        return Reason { waits_for: For::Worker, what: SmallVec::new() };
    };
    let what = state.scheduler.missing(task.class);
    let memory = !state.admission.waits().is_empty() && !state.readiness().may_start(index);
    let waits_for = match () {
        () if !what.is_empty() => For::Resources,
        () if memory || state.admission.is_short() => For::Memory,
        () => For::Worker,
    };
    Reason { waits_for, what }
}

// ---- attempts -----------------------------------------------------------------------------------

/// What a worker has written of the times, if that may be.
fn times_of(state: &State, place: u16, seq: u64) -> Option<Times> {
    let times = state.memory.stamps(place, seq).read(seq)?;
    let now = monotonic_ns();
    let ended = if times.ended == 0 { now } else { times.ended };
    let body = if times.body == 0 { times.began } else { times.body };
    (0 < times.began && times.began <= body && body <= ended && ended <= now).then_some(times)
}

fn pid_of(state: &State, place: u16) -> i32 {
    let child = state.processes.at(place).child.as_ref();
    let own = || std::process::id() as i32;
    child.map(|child| child.pid).filter(|&pid| pid > 0).unwrap_or_else(own)
}

/// The attempt that stands there has begun.
fn begun(state: &mut State, place: u16, seq: u64, index: Index, times: Times) {
    let process = state.processes.at(place);
    let (birth, worker) = (process.birth, process.worker as u16);
    let pid = pid_of(state, place);
    ready_at(state, index, Some(times.began));
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    if recorder.set_begun(place, birth, seq) {
        let attempt = u32::from(task.attempt) + 1;
        let what = What::Began { attempt, worker, pid };
        recorder.note(times.began.max(recorder.since), objects.at(index).number, what);
    }
}

/// The attempt that stands there is through; what became of it is said next.
#[inline]
pub(crate) fn ran(state: &mut State, place: u16, seq: u64, completion: &Completion) {
    if state.recorder.is_some() {
        note_run(state, place, seq, completion);
    }
}

#[cold]
fn note_run(state: &mut State, place: u16, seq: u64, done: &Completion) {
    let extra = state.processes.take_extra(place);
    if matches!(done.kind, completion::UPSTREAM | completion::UNRUN) {
        return;
    }
    let Some(index) = state.processes.at(place).posted_task(seq).object else { return };
    let times = times_of(state, place, seq).filter(|times| times.ended > 0);
    let times = times.unwrap_or_else(|| {
        // It was posted before the run began, or its worker has written nonsense.
        let now = monotonic_ns();
        let began = now.saturating_sub(u64::from(done.duration_ns)).max(1);
        Times { began, body: 0, ended: now }
    });
    begun(state, place, seq, index, times);
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    let call = objects.at(index).number;
    if times.body > 0 {
        let attempt = u32::from(task.attempt) + 1;
        recorder.note(times.body, call, What::Body { attempt });
    }
    let body = times.body.max(times.began);
    recorder.ending = Ending { call, at: times.ended, body_ns: times.ended - body, extra };
}

/// It has a value.
#[inline]
pub(crate) fn completed(state: &mut State, index: Index, value: &Value) {
    if state.recorder.is_some() {
        note_value(state, index, value);
    }
}

#[cold]
fn note_value(state: &mut State, index: Index, value: &Value) {
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    let len = |value: &Value| match value {
        Value::Inline(bytes) => bytes.len() as u64,
        Value::Placed { len, .. } => *len,
        Value::Pending | Value::Failed(_) => 0,
    };
    let inputs = task.needed().iter().map(|&dep| len(&objects.at(dep).value));
    let bytes_in = task.args.bytes.len() as u64 + inputs.sum::<u64>();
    let Ending { call, at, body_ns, extra } = std::mem::take(&mut recorder.ending);
    let attempt = u32::from(task.attempt) + 1;
    let what = What::Completed { attempt, body_ns, bytes_in, bytes_out: len(value), extra };
    debug_assert_eq!(call, objects.at(index).number);
    recorder.note(at, call, what);
}

/// The attempt that stood there is lost with its process.
#[inline]
pub(crate) fn lost(state: &mut State, place: u16, seq: u64, index: Index) {
    if state.recorder.is_some() {
        note_loss(state, place, seq, index);
    }
}

#[cold]
fn note_loss(state: &mut State, place: u16, seq: u64, index: Index) {
    drop(state.processes.take_extra(place));
    let now = monotonic_ns();
    let times = times_of(state, place, seq);
    begun(state, place, seq, index, times.unwrap_or(Times { began: now, body: 0, ended: 0 }));
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    let call = objects.at(index).number;
    if let Some(times) = times.filter(|times| times.body > 0) {
        let attempt = u32::from(task.attempt) + 1;
        recorder.note(times.body, call, What::Body { attempt });
    }
    recorder.ending = Ending { call, at: now, body_ns: 0, extra: None };
}

/// Its attempt has failed with this, and there will be another one.
#[inline]
pub(crate) fn retried(state: &mut State, index: Index, cause: &Cause) {
    if state.recorder.is_some() {
        note_retry(state, index, cause);
    }
}

#[cold]
fn note_retry(state: &mut State, index: Index, cause: &Cause) {
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    let call = objects.at(index).number;
    let attempt = u32::from(task.attempt) + 1;
    let kind = kind_of(cause);
    let (at, extra) = ending_of(recorder, call);
    let failure = Failure { attempt, kind, message: cause.to_string(), is_final: false };
    recorder.note(at, call, What::Failed(Box::new(failure), extra));
    recorder.note(monotonic_ns(), call, What::Retried { attempt: attempt + 1, reason: kind });
    objects.set_noted(index, Noted::Ready);
}

/// When the attempt at a call ended, and what was said of it.
fn ending_of(recorder: &mut Recorder, call: u64) -> (u64, Extra) {
    let ending = std::mem::take(&mut recorder.ending);
    if ending.call == call { (ending.at, ending.extra) } else { (monotonic_ns(), None) }
}

/// A task ends without a value.
#[inline]
pub(crate) fn failed(state: &mut State, index: Index, error: &TaskError) {
    if state.recorder.is_some() {
        note_failure(state, index, error);
    }
}

#[cold]
fn note_failure(state: &mut State, index: Index, error: &TaskError) {
    let State { objects, recorder, .. } = state;
    let Some((recorder, task)) = recorder.as_mut().zip(objects.task(index)) else { return };
    let call = objects.at(index).number;
    let (at, extra) = ending_of(recorder, call);
    let attempt = error.attempt;
    let message = || Some(error.to_string().into_boxed_str());
    let what = match &error.cause {
        _ if error.below.is_some() => {
            What::Cancelled { attempt: 0, by: "dependency", message: message() }
        }
        Cause::Cancelled if task.caller == Caller::Gone => {
            What::Cancelled { attempt, by: "caller", message: None }
        }
        Cause::Cancelled => What::Cancelled { attempt, by: "user", message: None },
        cause => {
            let message = cause.to_string();
            let failure = Failure { attempt, kind: kind_of(cause), message, is_final: true };
            What::Failed(Box::new(failure), extra)
        }
    };
    recorder.note(at, call, what);
}

fn kind_of(cause: &Cause) -> &'static str {
    match cause {
        Cause::App(_) => "error",
        Cause::Panicked { .. } => "panic",
        Cause::WorkerCrashed(_) => "worker_died",
        Cause::Cancelled => "cancelled",
        Cause::Deadline(_) => "deadline",
        Cause::OutOfMemory(_) => "out_of_memory",
        Cause::ObjectLost(_) => "object_lost",
        Cause::ActorDied(_) => "actor_died",
        Cause::Setup(_) => "setup",
        Cause::Codec(_) => "codec",
        Cause::Deadlock(_) => "deadlock",
        Cause::Infeasible(_) => "infeasible",
    }
}

// ---- workers ------------------------------------------------------------------------------------

/// A process has ended that was not sent away.
pub(crate) fn died(state: &mut State, place: u16, how: &str) {
    let (worker, pid) = (state.processes.at(place).worker as u16, pid_of(state, place));
    if let Some(recorder) = &mut state.recorder {
        recorder.note(monotonic_ns(), 0, What::Died { worker, pid, how: how.into() });
    }
}

/// Something that code has said: at a place, or in the driver.
pub(crate) fn said(state: &mut State, place: Option<u16>, note: Note) {
    let worker = place.map_or(DRIVER, |place| state.processes.at(place).worker as u16);
    if let (Note::Info { object }, Some(place)) = (&note, place) {
        return state.processes.add_extra(place, object);
    }
    let Some(recorder) = &mut state.recorder else { return };
    let now = monotonic_ns();
    match note {
        Note::Info { .. } => {}
        Note::Event { at, call, kind, object } => {
            let (kind, object) = (kind.into(), object.into());
            recorder.note(at.min(now), 0, What::Event { call, worker, kind, object });
        }
        Note::Local(local) => {
            let LocalCall { began, ended, .. } = *local;
            if began <= ended && ended <= now {
                recorder.note(ended, 0, What::Local(local, worker));
            }
        }
    }
}
