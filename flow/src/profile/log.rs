//! The log: records as lines of JSON. `docs/profile-log.md` says what each line has.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use mailring_process::clock::monotonic_ns;
use mailring_process::json_lines::Line;
use mailring_process::profile_run::{ProfileRun, Totals};
use serde_json::{Map, Value};

use super::records::{Batch, DRIVER, Extra, Inputs, Kind, Names, Record, What, WorkerName};
use crate::protocol::node::by_number;
use crate::protocol::note::{CallName, LocalCall};

const DRIVER_NAME: &str = "driver";
const IP: &str = "127.0.0.1";

/// What is kept of a call until it is over.
struct Known {
    func: &'static str,
    resources: u32,
    caller_worker: u16,
    inputs: Inputs,
    names: Option<Box<Names>>,
    /// Where its last attempt began.
    worker: u16,
    pid: i32,
}

/// One run of a flow, as it is written.
pub(crate) struct Log {
    run: ProfileRun,
    calls: HashMap<u64, Known>,
    workers: Vec<WorkerName>,
    resources: Vec<String>,
    reasons: Vec<String>,
    totals: Totals,
}

/// A name of a call.
struct Call<'a>(&'a str, CallName);

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(run, call) = self;
        match call {
            CallName::Task(number) => write!(f, "{run}_{number:06}"),
            CallName::Local(process, number) => write!(f, "{run}_l{process}-{number:06}"),
        }
    }
}

impl Log {
    /// Begins a run.
    pub(crate) fn new() -> Self {
        Self {
            run: ProfileRun::new(),
            calls: HashMap::new(),
            workers: Vec::new(),
            resources: Vec::new(),
            reasons: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// The first line.
    pub(crate) fn header(&self, out: &mut String, workers: &[WorkerName], in_process: bool) {
        let mut list = String::from("[");
        for (at, worker) in workers.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let [name, group] = [&worker.name, &worker.group].map(|text| Value::from(&**text));
            let _ = write!(
                list,
                "{comma}{{\"worker_id\":{name},\"node_id\":{group},\"resources\":{}}}",
                worker.resources
            );
        }
        list.push(']');
        self.run.header(out, if in_process { "thread" } else { "process" }, list);
    }

    /// The last line.
    pub(crate) fn end(&self, out: &mut String) {
        self.run.end(out, &self.totals);
    }

    /// Writes what was noted.
    pub(crate) fn write(&mut self, out: &mut String, batch: &mut Batch) {
        if !batch.workers.is_empty() {
            self.workers.clone_from(&batch.workers);
        }
        self.resources.extend_from_slice(&batch.resources);
        self.reasons.extend_from_slice(&batch.reasons);
        for record in batch.records.drain(..) {
            self.record(out, record);
        }
        if batch.lost > 0 {
            let now = self.run.micros(monotonic_ns());
            Line::new(out, "lost", now).raw("events", batch.lost);
        }
    }

    fn call(&self, number: u64) -> Call<'_> {
        Call(self.run.id(), CallName::Task(number))
    }

    fn worker(&self, number: u16) -> (&str, &str) {
        match self.workers.get(usize::from(number)) {
            Some(worker) if number != DRIVER => (&worker.name, &worker.group),
            _ => (DRIVER_NAME, DRIVER_NAME),
        }
    }

    /// The calls that it takes values of, as a list.
    fn inputs(&self, inputs: &Inputs) -> String {
        let mut list = String::from("[");
        for (at, &input) in inputs.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(list, "{comma}\"{}\"", self.call(input));
        }
        list.push(']');
        list
    }

    fn record(&mut self, out: &mut String, Record { at, call, what }: Record) {
        let ts = self.run.micros(at);
        match what {
            What::Submitted {
                node,
                resources,
                caller,
                caller_worker,
                kind,
                is_ready,
                inputs,
                names,
            } => {
                self.totals.submitted += 1;
                let caller = match caller {
                    0 => "null".to_owned(),
                    caller => format!("\"{}\"", self.call(caller)),
                };
                let known = Known {
                    func: node.name,
                    resources,
                    caller_worker,
                    inputs,
                    names,
                    worker: DRIVER,
                    pid: 0,
                };
                let mut line = Line::new(out, "submitted", ts);
                line.plain("call_id", self.call(call))
                    .text("func", known.func)
                    .raw("caller", caller)
                    .text("caller_worker_id", self.worker(caller_worker).0)
                    .raw("resources", self.resource(resources))
                    .raw("obj_ref_deps", self.inputs(&known.inputs));
                if let Some(names) = &known.names {
                    line.optional("display_name", names.display.as_deref());
                    line.optional("tag", names.tag.as_deref());
                }
                let kind = match kind {
                    Kind::Task => "task",
                    Kind::Actor => "actor",
                    Kind::Method => "method",
                };
                line.raw("is_remote", true).plain("kind", kind);
                drop(line);
                self.calls.insert(call, known);
                if is_ready {
                    Line::new(out, "ready", ts).plain("call_id", self.call(call));
                }
            }
            What::Ready => {
                Line::new(out, "ready", ts).plain("call_id", self.call(call));
            }
            What::Waiting(reason) => {
                let reason = self.reasons.get(reason as usize);
                let reason = reason.map_or("\"worker\",\"what\":[]", String::as_str);
                Line::new(out, "waiting", ts).plain("call_id", self.call(call)).raw("for", reason);
            }
            What::Began { attempt, worker, pid } => {
                if let Some(known) = self.calls.get_mut(&call) {
                    (known.worker, known.pid) = (worker, pid);
                }
                let mut line = self.line(out, "dispatch", ts, call);
                if let Some(known) = self.calls.get(&call) {
                    line.text("caller_worker_id", self.worker(known.caller_worker).0)
                        .raw("resources", self.resource(known.resources))
                        .raw("obj_ref_deps", self.inputs(&known.inputs));
                }
                self.place(&mut line, worker, pid);
                line.raw("is_remote", true).raw("attempt", attempt);
            }
            What::Body { attempt } => {
                Line::new(out, "setup_done", ts)
                    .plain("call_id", self.call(call))
                    .raw("attempt", attempt);
            }
            What::Bypassed { registered } => {
                self.totals.bypassed += 1;
                let provider = if registered { "registered" } else { "file" };
                self.line(out, "bypassed", ts, call).plain("provider", provider);
            }
            What::Served => {
                self.totals.served += 1;
                let mut line = self.line(out, "served", ts, call);
                line.plain("from", "cache");
                let names = self.calls.get(&call).and_then(|known| known.names.as_ref());
                line.optional("tag", names.and_then(|names| names.tag.as_deref()));
                drop(line);
                self.calls.remove(&call);
            }
            What::Completed { attempt, body_ns, bytes_in, bytes_out, extra } => {
                self.totals.completed += 1;
                let mut line = self.line(out, "complete", ts, call);
                line.seconds("exec_time_s", body_ns / 1000);
                if let Some(known) = self.calls.get(&call) {
                    self.place(&mut line, known.worker, known.pid);
                }
                line.raw("is_remote", true)
                    .raw("attempt", attempt)
                    .raw("bytes_in", bytes_in)
                    .raw("bytes_out", bytes_out);
                add_extra(&mut line, extra);
                drop(line);
                self.calls.remove(&call);
            }
            What::Failed(failure, extra) => {
                let mut line = self.line(out, "failed", ts, call);
                line.raw("attempt", failure.attempt)
                    .plain("kind", failure.kind)
                    .text("message", &failure.message)
                    .raw("final", failure.is_final);
                if let Some(known) = self.calls.get(&call)
                    && failure.attempt > 0
                    && known.pid != 0
                {
                    self.place(&mut line, known.worker, known.pid);
                }
                if failure.kind == "worker_died"
                    && let Some((key, number)) = ending(&failure.message)
                {
                    line.raw(key, number);
                }
                add_extra(&mut line, extra);
                drop(line);
                if failure.is_final {
                    self.totals.failed += 1;
                    self.calls.remove(&call);
                }
            }
            What::Retried { attempt, reason } => {
                self.totals.retried += 1;
                Line::new(out, "retried", ts)
                    .plain("call_id", self.call(call))
                    .raw("attempt", attempt)
                    .plain("reason", reason);
            }
            What::Cancelled { attempt, by, message } => {
                self.totals.cancelled += 1;
                let mut line = self.line(out, "cancelled", ts, call);
                line.raw("attempt", attempt)
                    .plain("by", by)
                    .optional("message", message.as_deref());
                drop(line);
                self.calls.remove(&call);
            }
            What::Local(local, worker) => self.local(out, *local, worker),
            What::Event { call, worker, kind, object } => {
                let mut line = Line::new(out, &kind, ts);
                line.text("worker_id", self.worker(worker).0);
                if let Some(call) = call {
                    line.plain("call_id", Call(self.run.id(), call));
                }
                for (key, value) in object_of(&object) {
                    // Ours come first, and stay.
                    if !matches!(&*key, "type" | "ts" | "worker_id" | "call_id") {
                        line.raw(&key, value);
                    }
                }
            }
            What::Died { worker, pid, how } => {
                let mut line = Line::new(out, "worker_died", ts);
                let (name, group) = self.worker(worker);
                line.text("worker_id", name).text("node_id", group).raw("pid", pid);
                line.text("how", &how);
                if let Some((key, number)) = ending(&how) {
                    line.raw(key, number);
                }
            }
        }
    }

    fn local(&self, out: &mut String, local: LocalCall, worker: u16) {
        let call = CallName::Local(local.process, local.number);
        let func = by_number(local.node).map_or("?", |node| node.name);
        let caller = match local.caller {
            None => "null".to_owned(),
            Some(caller) => format!("\"{}\"", Call(self.run.id(), caller)),
        };
        for (kind, at) in [("local_start", local.began), ("local_end", local.ended)] {
            let mut line = Line::new(out, kind, self.run.micros(at));
            line.plain("call_id", Call(self.run.id(), call))
                .text("func", func)
                .raw("caller", &caller);
            self.place(&mut line, worker, local.process as i32);
            if kind == "local_start" {
                line.raw("obj_ref_deps", "[]");
                continue;
            }
            line.seconds("exec_time_s", local.ended.saturating_sub(local.began) / 1000);
            if local.panicked {
                line.raw("panicked", true);
            }
            if !local.object.is_empty() {
                add_extra(&mut line, Some(Box::new(vec![local.object.clone()])));
            }
        }
    }

    fn resource(&self, number: u32) -> &str {
        self.resources.get(number as usize).map_or("{}", String::as_str)
    }

    /// A line about a call, with its function and name.
    fn line<'o>(&self, out: &'o mut String, kind: &str, ts: u64, call: u64) -> Line<'o> {
        let mut line = Line::new(out, kind, ts);
        line.plain("call_id", self.call(call));
        let known = self.calls.get(&call);
        line.text("func", known.map_or("?", |known| known.func));
        if let Some(names) = known.and_then(|known| known.names.as_ref()) {
            line.optional("display_name", names.display.as_deref());
        }
        line
    }

    fn place(&self, line: &mut Line<'_>, worker: u16, pid: i32) {
        let (name, group) = self.worker(worker);
        line.plain("worker_ip", IP).text("worker_id", name).text("node_id", group).raw("pid", pid);
    }
}

/// What a body has said, from a process that may have written anything: read, and written again.
fn add_extra(line: &mut Line<'_>, extra: Extra) {
    let Some(pieces) = extra else { return };
    let mut all = Map::new();
    for piece in *pieces {
        all.extend(object_of(&piece));
    }
    if !all.is_empty() {
        line.raw("extra", Value::Object(all));
    }
}

fn object_of(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The signal, or the exit code, in the account of a process's end.
fn ending(how: &str) -> Option<(&'static str, u32)> {
    [("signal", "(signal "), ("status", "code ")].into_iter().find_map(|(key, mark)| {
        let behind = how.split(mark).nth(1)?;
        let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((key, digits.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_processes() {
        let killed = "its process was killed by an unknown signal (signal 33)";
        assert_eq!(ending(killed), Some(("signal", 33)));
        assert_eq!(ending("its process exited with code 3"), Some(("status", 3)));
        assert_eq!(ending("its thread was abandoned"), None);
    }
}
