//! The events of one run become its model. Lines stand in the order in which they were learned of,
//! so nothing here depends on it, but for logs without numbers of attempts.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::model::{
    About, Attempt, Call, Death, FIXED, Outcome, Phase, Reason, Remark, Run, Span, Worker,
};
use super::reader::Event;

/// Fields that have a place of their own in the model; what else a call's lines say is shown as
/// it is.
const KNOWN: &[&str] = &[
    "call_id",
    "func",
    "caller",
    "caller_worker_id",
    "resources",
    "obj_ref_deps",
    "display_name",
    "tag",
    "is_remote",
    "kind",
    "for",
    "what",
    "worker_ip",
    "worker_id",
    "node_id",
    "attempt",
    "pid",
    "exec_time_s",
    "extra",
    "bytes_in",
    "bytes_out",
    "message",
    "final",
    "signal",
    "status",
    "reason",
    "by",
    "provider",
    "from",
];

/// Of a call none of whose lines names it.
const NO_FUNCTION: usize = usize::MAX;

/// A call of which not all is known yet. Times are since the epoch.
struct Draft {
    call: Call,
    caller: Option<String>,
    caller_worker: Option<usize>,
    deps: Vec<String>,
    /// Since when it waits, and for which reason.
    waits: Vec<(i64, usize)>,
    /// Attempts whose end is known.
    ended: Vec<bool>,
    end: Option<i64>,
}

#[derive(Default)]
pub(super) struct Builder {
    about: About,
    drafts: Vec<Draft>,
    by_id: HashMap<String, usize>,
    functions: Vec<String>,
    by_function: HashMap<String, usize>,
    workers: Vec<Worker>,
    by_worker: HashMap<String, usize>,
    reasons: Vec<Reason>,
    deaths: Vec<Death>,
    remarks: Vec<Remark>,
    notes: Vec<String>,
    /// First and last moment.
    bounds: Option<(i64, i64)>,
}

fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn number(fields: &Map<String, Value>, key: &str) -> Option<u64> {
    fields.get(key).and_then(Value::as_u64)
}

/// `{"cpus": 1.0, "board": 2}` as `cpus 1, board 2`.
fn amounts(value: Option<&Value>) -> String {
    let Some(Value::Object(amounts)) = value else { return String::new() };
    let words = amounts.iter().map(|(name, amount)| match amount.as_f64() {
        Some(amount) => format!("{name} {amount}"),
        None => format!("{name} {amount}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A string as it is, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Builder {
    pub(super) fn take(&mut self, event: Event) {
        let (first, last) = self.bounds.unwrap_or((event.ts, event.ts));
        self.bounds = Some((first.min(event.ts), last.max(event.ts)));
        if self.reasons.is_empty() {
            self.reasons.extend(FIXED.map(|(phase, key, label)| Reason {
                phase,
                key: key.to_owned(),
                label: label.to_owned(),
            }));
        }
        match event.kind.as_str() {
            "run" => return self.header(&event.fields),
            "run_end" => {
                self.about.ended = true;
                return;
            }
            "worker_died" => return self.died(&event),
            "lost" => {
                let lost = event.fields.get("events").map_or("some".to_owned(), plain);
                return self.notes.push(format!(
                    "{lost} events came faster than the disk takes them, and are missing"
                ));
            }
            _ => {}
        }
        let known = matches!(
            event.kind.as_str(),
            "submitted"
                | "ready"
                | "waiting"
                | "dispatch"
                | "setup_done"
                | "complete"
                | "failed"
                | "retried"
                | "cancelled"
                | "bypassed"
                | "served"
                | "local_start"
                | "local_end"
        );
        match event.text("call_id").map(str::to_owned) {
            Some(id) if known => self.call_event(&id, &event),
            _ => {
                let worker = text(&event.fields, "worker_id").map(|id| self.worker(&id));
                let mut fields = event.fields;
                fields.remove("worker_id");
                self.remarks.push(Remark { at: event.ts, kind: event.kind, worker, fields });
            }
        }
    }

    fn header(&mut self, fields: &Map<String, Value>) {
        self.about.header = true;
        self.about.id = text(fields, "run");
        self.about.program = text(fields, "program");
        self.about.host = text(fields, "host");
        self.about.mode = text(fields, "mode");
        self.about.mailring = text(fields, "mailring");
        self.about.pid = number(fields, "pid");
        for worker in fields.get("workers").and_then(Value::as_array).into_iter().flatten() {
            let Value::Object(worker) = worker else { continue };
            let Some(id) = text(worker, "worker_id") else { continue };
            let place = self.worker(&id);
            self.workers[place].node = text(worker, "node_id");
            self.workers[place].resources = amounts(worker.get("resources"));
        }
    }

    fn died(&mut self, event: &Event) {
        let worker = event.text("worker_id").map(|id| self.worker(id));
        let fields = &event.fields;
        let how = match (text(fields, "how"), fields.get("signal"), fields.get("status")) {
            (Some(how), ..) => how,
            (None, Some(signal), _) if !signal.is_null() => format!("signal {}", plain(signal)),
            (None, _, Some(status)) if !status.is_null() => format!("exit code {}", plain(status)),
            _ => "it ended".to_owned(),
        };
        let pid = number(fields, "pid");
        let replaced_by = fields.get("replaced_by").filter(|by| !by.is_null()).map(plain);
        self.deaths.push(Death { at: event.ts, worker, pid, how, replaced_by });
    }

    fn worker(&mut self, id: &str) -> usize {
        if let Some(&place) = self.by_worker.get(id) {
            return place;
        }
        let place = self.workers.len();
        self.by_worker.insert(id.to_owned(), place);
        let is_program = id == "driver";
        self.workers.push(Worker { id: id.to_owned(), is_program, ..Worker::default() });
        place
    }

    fn function(&mut self, name: &str) -> usize {
        if let Some(&place) = self.by_function.get(name) {
            return place;
        }
        let place = self.functions.len();
        self.by_function.insert(name.to_owned(), place);
        self.functions.push(name.to_owned());
        place
    }

    /// The reason of a wait for `what`.
    fn resource(&mut self, what: Option<&Value>) -> usize {
        let mut names: Vec<_> = match what {
            Some(Value::Array(names)) => names.iter().map(plain).collect(),
            Some(Value::Null) | None => Vec::new(),
            Some(other) => vec![plain(other)],
        };
        names.sort();
        let key = format!("resources:{}", names.join(","));
        let known = self.reasons.iter().position(|reason| reason.key == key);
        known.unwrap_or_else(|| {
            let label = if names.is_empty() { "resources".to_owned() } else { names.join(", ") };
            let label = format!("waiting for {label}");
            self.reasons.push(Reason { phase: Phase::Resources, key, label });
            self.reasons.len() - 1
        })
    }

    fn draft(&mut self, id: &str) -> usize {
        if let Some(&place) = self.by_id.get(id) {
            return place;
        }
        let place = self.drafts.len();
        self.by_id.insert(id.to_owned(), place);
        let call = Call {
            id: id.to_owned(),
            func: NO_FUNCTION,
            display_name: None,
            tag: None,
            kind: None,
            is_remote: true,
            caller: None,
            deps: Vec::new(),
            unknown_deps: 0,
            resources: String::new(),
            submitted: None,
            ready: None,
            attempts: Vec::new(),
            spans: Vec::new(),
            outcome: Outcome::Unfinished,
            end: 0,
            remark: None,
            bypassed: None,
            exec_s: None,
            extra: Map::new(),
        };
        self.drafts.push(Draft {
            call,
            caller: None,
            caller_worker: None,
            deps: Vec::new(),
            waits: Vec::new(),
            ended: Vec::new(),
            end: None,
        });
        place
    }

    fn call_event(&mut self, id: &str, event: &Event) {
        let fields = &event.fields;
        let ts = event.ts;
        let func = event.text("func").map(|name| self.function(name));
        let worker = event.text("worker_id").map(|id| self.worker(id));
        let caller_worker = event.text("caller_worker_id").map(|id| self.worker(id));
        if let (Some(worker), Some(node)) = (worker, text(fields, "node_id")) {
            self.workers[worker].node.get_or_insert(node);
        }
        if let (Some(worker), Some(pid)) = (worker, number(fields, "pid")) {
            let pids = &mut self.workers[worker].pids;
            if !pids.contains(&pid) {
                pids.push(pid);
            }
        }
        let wait = (event.kind == "waiting").then(|| match event.text("for") {
            Some("memory") => Phase::Memory as usize,
            Some("worker") => Phase::Worker as usize,
            Some("order") => Phase::Order as usize,
            _ => self.resource(fields.get("what")),
        });
        let place = self.draft(id);
        let draft = &mut self.drafts[place];
        if let Some(func) = func {
            draft.call.func = func;
        }
        let call = &mut draft.call;
        call.display_name = text(fields, "display_name").or(call.display_name.take());
        call.tag = text(fields, "tag").or(call.tag.take());
        if let Some(caller) = text(fields, "caller") {
            draft.caller = Some(caller);
        }
        draft.caller_worker = caller_worker.or(draft.caller_worker);
        for dep in fields.get("obj_ref_deps").and_then(Value::as_array).into_iter().flatten() {
            let dep = plain(dep);
            if !draft.deps.contains(&dep) {
                draft.deps.push(dep);
            }
        }
        let resources = amounts(fields.get("resources"));
        if !resources.is_empty() {
            call.resources = resources;
        }
        for (key, value) in fields {
            if !KNOWN.contains(&key.as_str()) {
                call.extra.insert(key.clone(), value.clone());
            }
        }
        match fields.get("extra") {
            Some(Value::Object(extra)) => {
                call.extra.extend(extra.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            Some(Value::Null) | None => {}
            Some(other) => drop(call.extra.insert("extra".to_owned(), other.clone())),
        }
        let which = number(fields, "attempt");
        let exec_us = fields.get("exec_time_s").and_then(Value::as_f64);
        let exec_us = exec_us.filter(|exec| (0.0..1e9).contains(exec)).map(|exec| exec * 1e6);
        match event.kind.as_str() {
            "submitted" => {
                call.submitted = Some(ts);
                call.kind = text(fields, "kind");
            }
            "ready" => call.ready = Some(ts),
            "waiting" => draft.waits.extend(wait.map(|reason| (ts, reason))),
            "dispatch" | "local_start" => {
                call.is_remote = event.kind == "dispatch";
                let attempt = draft.attempt(which, ts, true);
                attempt.start = ts;
                attempt.worker = worker.or(attempt.worker);
                attempt.pid = number(fields, "pid").or(attempt.pid);
            }
            "setup_done" => draft.attempt(which, ts, false).setup_done = Some(ts),
            "complete" | "local_end" => {
                call.is_remote = event.kind == "complete";
                let panicked = fields.get("panicked").and_then(Value::as_bool) == Some(true);
                let outcome = if panicked { Outcome::Failed } else { Outcome::Done };
                if !panicked {
                    call.exec_s = exec_us.map(|exec| exec / 1e6);
                }
                call.outcome = outcome;
                draft.end = Some(ts);
                let started = ts - exec_us.unwrap_or(0.0) as i64;
                draft.close(which, started, ts, outcome, worker, fields);
            }
            "failed" => {
                let kind = text(fields, "kind").unwrap_or_else(|| "failed".to_owned());
                let message = text(fields, "message").unwrap_or_default();
                let error = if message.is_empty() { kind } else { format!("{kind}: {message}") };
                if fields.get("final").and_then(Value::as_bool) != Some(false) {
                    call.outcome = Outcome::Failed;
                    draft.end = Some(ts);
                }
                call.remark = Some(error.clone());
                if which != Some(0) {
                    let attempt = draft.close(which, ts, ts, Outcome::Failed, worker, fields);
                    attempt.error = Some(error);
                }
            }
            "cancelled" => {
                call.outcome = Outcome::Cancelled;
                let by = text(fields, "by").unwrap_or_default();
                let message = text(fields, "message").map_or(String::new(), |m| format!(": {m}"));
                call.remark = Some(format!("cancelled by {by}{message}"));
                draft.end = Some(ts);
                if draft.ended.last() == Some(&false) {
                    draft.close(None, ts, ts, Outcome::Cancelled, worker, fields);
                }
            }
            "served" => {
                call.outcome = Outcome::Served;
                let from = text(fields, "from").unwrap_or_else(|| "cache".to_owned());
                call.remark = Some(format!("served from the {from}"));
                draft.end = Some(ts);
            }
            "bypassed" => call.bypassed = text(fields, "provider").or(Some(String::new())),
            // `retried`: the attempts say it.
            _ => {}
        }
    }

    /// All lines were read.
    pub(super) fn finish(mut self) -> Run {
        let (epoch, last) = self.bounds.unwrap_or_default();
        if self.drafts.iter().any(|draft| draft.call.func == NO_FUNCTION) {
            let unknown = self.function("(unknown)");
            for draft in self.drafts.iter_mut().filter(|draft| draft.call.func == NO_FUNCTION) {
                draft.call.func = unknown;
            }
        }
        // A call that began before the first line, as far as its own figures say.
        let starts = self.drafts.iter().flat_map(|draft| &draft.call.attempts).map(|a| a.start);
        let epoch = starts.min().map_or(epoch, |first| first.min(epoch));
        let length = last - epoch;
        for death in &mut self.deaths {
            death.at -= epoch;
        }
        for remark in &mut self.remarks {
            remark.at -= epoch;
        }
        self.deaths.sort_by_key(|death| death.at);
        self.remarks.sort_by_key(|remark| remark.at);
        let inferred: Vec<_> = self.drafts.iter().map(|draft| draft.caller_worker).collect();
        for draft in &mut self.drafts {
            draft.settle(epoch, length, &self.deaths);
        }
        let callers = callers_by_time(&self.drafts, &inferred);
        let mut order: Vec<usize> = (0..self.drafts.len()).collect();
        order.sort_by_key(|&at| (self.drafts[at].call.begin(), at));
        let mut places = vec![0; order.len()];
        for (place, &at) in order.iter().enumerate() {
            places[at] = place;
        }
        let ends: Vec<_> = self.drafts.iter().map(|draft| draft.call.end).collect();
        let by_id = self.by_id;
        let mut calls: Vec<_> = self
            .drafts
            .into_iter()
            .enumerate()
            .map(|(at, draft)| {
                let Draft { mut call, caller, deps, waits, .. } = draft;
                let caller = caller.and_then(|id| by_id.get(&id).copied()).or(callers[at]);
                call.caller = caller.filter(|&caller| caller != at).map(|caller| places[caller]);
                let known: Vec<_> = deps.iter().filter_map(|id| by_id.get(id).copied()).collect();
                call.unknown_deps = deps.len() - known.len();
                let last_input = known.iter().map(|&dep| ends[dep]).max();
                call.spans = spans(&call, last_input, &waits);
                call.deps =
                    known.into_iter().filter(|&dep| dep != at).map(|dep| places[dep]).collect();
                (places[at], call)
            })
            .collect();
        calls.sort_by_key(|&(place, _)| place);
        if self.about.header && !self.about.ended {
            self.notes.push("the run has no end: the program still runs, or was killed".to_owned());
        }
        Run {
            about: self.about,
            epoch,
            length,
            functions: self.functions,
            workers: self.workers,
            reasons: self.reasons,
            calls: calls.into_iter().map(|(_, call)| call).collect(),
            deaths: self.deaths,
            remarks: self.remarks,
            notes: self.notes,
        }
    }
}

impl Draft {
    /// The attempt that a line tells of. Logs without numbers mean the one that is open, and with
    /// `begins` a new one.
    fn attempt(&mut self, which: Option<u64>, ts: i64, begins: bool) -> &mut Attempt {
        let attempts = &mut self.call.attempts;
        let place = match which {
            Some(number) => attempts.iter().position(|attempt| attempt.number == number),
            None if begins => None,
            None => attempts.len().checked_sub(1),
        };
        let place = place.unwrap_or_else(|| {
            let number = which.unwrap_or(attempts.len() as u64 + 1);
            attempts.push(Attempt {
                number,
                worker: None,
                pid: None,
                start: ts,
                setup_done: None,
                end: ts,
                outcome: Outcome::Unfinished,
                error: None,
                bytes_in: None,
                bytes_out: None,
            });
            self.ended.push(false);
            attempts.len() - 1
        });
        &mut attempts[place]
    }

    fn close(
        &mut self,
        which: Option<u64>,
        started: i64,
        ts: i64,
        outcome: Outcome,
        worker: Option<usize>,
        fields: &Map<String, Value>,
    ) -> &mut Attempt {
        let number_of = self.attempt(which, started, false).number;
        let place = self.call.attempts.iter().position(|a| a.number == number_of).unwrap_or(0);
        self.ended[place] = true;
        let attempt = &mut self.call.attempts[place];
        attempt.end = ts;
        attempt.outcome = outcome;
        attempt.worker = worker.or(attempt.worker);
        attempt.pid = number(fields, "pid").or(attempt.pid);
        attempt.bytes_in = number(fields, "bytes_in").or(attempt.bytes_in);
        attempt.bytes_out = number(fields, "bytes_out").or(attempt.bytes_out);
        attempt
    }

    /// Times since the beginning of the run, attempts in order, each with an end.
    fn settle(&mut self, epoch: i64, length: i64, deaths: &[Death]) {
        let call = &mut self.call;
        call.submitted = call.submitted.map(|at| at - epoch);
        call.ready = call.ready.map(|at| at - epoch);
        for (at, _) in &mut self.waits {
            *at -= epoch;
        }
        self.waits.sort_by_key(|&(at, _)| at);
        let end = self.end.map(|at| at - epoch);
        let mut attempts: Vec<_> = call.attempts.drain(..).zip(self.ended.drain(..)).collect();
        attempts.sort_by_key(|(attempt, _)| (attempt.start, attempt.number));
        let starts: Vec<_> = attempts.iter().map(|(attempt, _)| attempt.start - epoch).collect();
        for (at, (attempt, ended)) in attempts.iter_mut().enumerate() {
            attempt.start -= epoch;
            attempt.setup_done = attempt.setup_done.map(|at| at - epoch);
            attempt.end -= epoch;
            if !*ended {
                let limit = starts.get(at + 1).copied().or(end).unwrap_or(length);
                let death = deaths.iter().find(|death| {
                    let same =
                        death.pid.is_none() || attempt.pid.is_none() || death.pid == attempt.pid;
                    death.worker == attempt.worker
                        && same
                        && death.at >= attempt.start
                        && death.at <= limit
                });
                attempt.end = death.map_or(limit, |death| death.at);
                if let Some(death) = death {
                    attempt.outcome = Outcome::Failed;
                    attempt.error = Some(format!("worker_died: {}", death.how));
                } else if at + 1 < starts.len() {
                    attempt.outcome = Outcome::Failed;
                    attempt.error = Some("no end was recorded".to_owned());
                }
            }
            // One after the other, even if a line was written twice.
            let next = starts.get(at + 1).copied().unwrap_or(i64::MAX);
            attempt.end = attempt.end.clamp(attempt.start, next);
            attempt.setup_done = attempt.setup_done.map(|at| at.clamp(attempt.start, attempt.end));
        }
        call.attempts = attempts.into_iter().map(|(attempt, _)| attempt).collect();
        let last = call.attempts.last().map(|attempt| attempt.end);
        call.end =
            end.or(last).unwrap_or(length).max(last.unwrap_or(0)).max(call.submitted.unwrap_or(0));
    }
}

/// Logs of the reference do not name callers: it was the call that ran on the caller's worker then.
fn callers_by_time(drafts: &[Draft], caller_workers: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut running: HashMap<usize, Vec<(i64, i64, usize)>> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        for attempt in &draft.call.attempts {
            let Some(worker) = attempt.worker else { continue };
            running.entry(worker).or_default().push((attempt.start, attempt.end, at));
        }
    }
    running.values_mut().for_each(|attempts| attempts.sort_unstable());
    drafts
        .iter()
        .enumerate()
        .map(|(at, draft)| {
            let inferred = draft.call.submitted.is_none() && draft.call.is_remote;
            let (worker, start) = (caller_workers[at].filter(|_| inferred)?, draft.call.start()?);
            let attempts = running.get(&worker)?;
            let behind = attempts.partition_point(|&(from, ..)| from <= start);
            // Bodies nest, so the one that began last and has not ended is the caller.
            let mut before = attempts[..behind].iter().rev().take(64);
            before.find(|&&(_, to, other)| other != at && to >= start).map(|&(.., other)| other)
        })
        .collect()
}

/// What each moment of a call was spent on, up to its end.
fn spans(call: &Call, last_input: Option<i64>, waits: &[(i64, usize)]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut push = |reason: usize, from: i64, to: i64| {
        if to > from {
            spans.push(Span { reason, from, to });
        }
    };
    // From `from` to `to` it waited for what was said last, and for `first` before that.
    let waiting = |first: usize, mut from: i64, to: i64, push: &mut dyn FnMut(usize, i64, i64)| {
        let mut reason = first;
        for &(at, next) in waits {
            if at > to {
                break;
            }
            if at > from {
                push(reason, from, at);
                from = at;
            }
            reason = if at >= from { next } else { reason };
        }
        push(reason, from, to);
    };
    let first_start = call.start().unwrap_or(call.end);
    if let Some(submitted) = call.submitted {
        let ready = call.ready.or(last_input).unwrap_or(if call.start().is_some() {
            submitted
        } else {
            first_start
        });
        let ready = ready.clamp(submitted, first_start.max(submitted));
        push(Phase::Inputs as usize, submitted, ready);
        waiting(Phase::Overhead as usize, ready, first_start, &mut push);
    }
    for (at, attempt) in call.attempts.iter().enumerate() {
        if matches!(attempt.outcome, Outcome::Done | Outcome::Unfinished) {
            let begun = attempt.setup_done.unwrap_or(attempt.start);
            push(Phase::SetUp as usize, attempt.start, begun);
            push(Phase::Running as usize, begun, attempt.end);
        } else {
            push(Phase::Lost as usize, attempt.start, attempt.end);
        }
        if let Some(next) = call.attempts.get(at + 1) {
            waiting(Phase::Retry as usize, attempt.end, next.start, &mut push);
        }
    }
    spans
}
