//! The profile of an executor: when tasks were submitted, noted by the submitter, and when their
//! bodies began and ended, written down by workers, as lines of a log (`docs/profile-log.md`).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};

use mailring_process::clock::monotonic_ns;
use mailring_process::collector::{Collector, LogFile, Next};
use mailring_process::json_lines::{Line, quote};
use mailring_process::profile_run::{ProfileRun, Totals};
use smallvec::SmallVec;

use super::shared::Shared;
use crate::ids::WorkerId;
use crate::mailbox::descriptor::{FAN_IN, GROUP, Head};
use crate::worker::times::{Ran, Runs, Times};

/// Submits that are kept at most.
const MOST: usize = 1 << 20;

/// What the submitter notes of a task.
struct Submitted {
    at: u64,
    seq: u64,
    callable: u64,
    kind: u8,
    /// Members of a group; 0 for a single task.
    members: u16,
    fan_in: bool,
    producers: SmallVec<[u64; 4]>,
}

/// What was submitted since the log was written.
#[derive(Default)]
pub(super) struct Submits(Mutex<(Vec<Submitted>, u64)>);

impl Submits {
    /// Notes a task, before a worker can have it.
    #[cold]
    pub(super) fn note(&self, head: &Head, producers: impl Iterator<Item = u64>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.0.len() >= MOST {
            noted.1 += 1;
            return;
        }
        noted.0.push(Submitted {
            at: monotonic_ns(),
            seq: head.seq,
            callable: head.callable,
            kind: head.route.kind,
            members: if head.has(GROUP) { head.members } else { 0 },
            fan_in: head.has(FAN_IN),
            producers: producers.collect(),
        });
    }

    fn take(&self) -> (Vec<Submitted>, u64) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is kept of a task until all of its bodies have ended.
struct Known {
    func: Arc<str>,
    inputs: String,
    left: u16,
}

struct Log {
    shared: Arc<Shared>,
    times: Arc<Times>,
    submits: Arc<Submits>,
    run: ProfileRun,
    tasks: HashMap<u64, Known>,
    /// What fan-in nodes stand for, which run nothing.
    fan_ins: HashMap<u64, SmallVec<[u64; 4]>>,
    names: HashMap<(u8, u64), Arc<str>>,
    read: Vec<u64>,
    /// By worker, the body that was said to have begun, and its process.
    inside: Vec<Option<Runs>>,
    pids: Vec<u32>,
    totals: Totals,
}

/// Starts the thread that writes the log.
pub(super) fn start(
    mut file: LogFile,
    mode: &'static str,
    shared: &Arc<Shared>,
    times: Arc<Times>,
    submits: Arc<Submits>,
) -> std::io::Result<Collector> {
    let mut log = Log::new(Arc::clone(shared), times, submits);
    let mut text = String::new();
    log.header(&mut text, mode);
    Collector::start("mailring-profile", move |last| {
        log.write(&mut text);
        if last {
            log.run.end(&mut text, &log.totals);
        }
        file.append(&text);
        text.clear();
        Next::Soon
    })
}

impl Log {
    fn new(shared: Arc<Shared>, times: Arc<Times>, submits: Arc<Submits>) -> Self {
        let workers = shared.arena.shape().total_workers();
        Self {
            shared,
            times,
            submits,
            run: ProfileRun::new(),
            tasks: HashMap::new(),
            fan_ins: HashMap::new(),
            names: HashMap::new(),
            read: vec![0; workers],
            inside: vec![None; workers],
            pids: vec![0; workers],
            totals: Totals::default(),
        }
    }

    fn worker(&self, index: u16) -> (String, String) {
        let kind = self.shared.arena.shape().kind_of(usize::from(index));
        (WorkerId(index).to_string(), format!("{kind:?}"))
    }

    fn header(&self, out: &mut String, mode: &str) {
        let mut workers = String::new();
        for index in 0..self.read.len() as u16 {
            let (name, group) = self.worker(index);
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(
                workers,
                "{comma}{{\"worker_id\":\"{name}\",\"node_id\":\"{group}\",\"resources\":{{}}}}"
            );
        }
        self.run.header(out, mode, format_args!("[{workers}]"));
    }

    fn write(&mut self, out: &mut String) {
        // Those that run or ran were noted before, so they are looked at first.
        let workers = self.read.len() as u16;
        let (mut ran, mut lost) = (Vec::new(), 0);
        for worker in 0..workers {
            let mut of_worker = Vec::new();
            lost += self.times.read(worker, &mut self.read[usize::from(worker)], &mut of_worker);
            ran.push((of_worker, self.times.runs(worker)));
        }
        let (submitted, more) = self.submits.take();
        submitted.into_iter().for_each(|one| self.submitted(out, one));
        for (worker, (ran, runs)) in (0..).zip(ran) {
            self.worker_did(out, worker, &ran, runs);
        }
        if lost + more > 0 {
            let now = self.run.micros(monotonic_ns());
            Line::new(out, "lost", now).raw("events", lost + more);
        }
    }

    fn submitted(&mut self, out: &mut String, task: Submitted) {
        let mut inputs: SmallVec<[u64; 4]> = SmallVec::new();
        for producer in task.producers {
            match self.fan_ins.get(&producer) {
                Some(all) => inputs.extend_from_slice(all),
                None => inputs.push(producer),
            }
        }
        if task.fan_in {
            if self.fan_ins.len() > MOST {
                self.fan_ins.clear(); // far behind the window
            }
            self.fan_ins.insert(task.seq, inputs);
            return;
        }
        inputs.sort_unstable();
        inputs.dedup();
        let func = Arc::clone(
            self.names
                .entry((task.kind, task.callable))
                .or_insert_with(|| self.shared.names.name(task.kind, task.callable).into()),
        );
        let mut list = String::new();
        for (at, input) in inputs.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(list, "{comma}\"e{}_{input:06}\"", self.run.id());
        }
        let ts = self.run.micros(task.at);
        for member in 0..task.members.max(1) {
            self.totals.submitted += 1;
            let member = (task.members > 0).then_some(member);
            Line::new(out, "submitted", ts)
                .plain("call_id", self.call(task.seq, member))
                .text("func", &func)
                .raw("caller", "null")
                .text("caller_worker_id", "driver")
                .raw("resources", "{}")
                .raw("obj_ref_deps", format_args!("[{list}]"))
                .raw("is_remote", true)
                .plain("kind", "engine");
        }
        let left = task.members.max(1);
        self.tasks.insert(task.seq, Known { func, inputs: list, left });
    }

    fn call(&self, seq: u64, member: Option<u16>) -> String {
        let mut id = format!("e{}_{seq:06}", self.run.id());
        // The first member has the task's name, by which others have it as an input.
        if let Some(member) = member.filter(|&member| member > 0) {
            let _ = write!(id, "m{member}");
        }
        id
    }

    fn worker_did(&mut self, out: &mut String, worker: u16, ran: &[Ran], runs: Option<Runs>) {
        let (index, now) = (usize::from(worker), monotonic_ns());
        let pid = self.shared.arena.entry(worker).pid.load(SeqCst);
        let known = std::mem::replace(&mut self.pids[index], pid);
        for one in ran {
            let runs = Runs { seq: one.seq, member: one.member, began: one.began };
            if self.inside[index] != Some(runs) {
                self.dispatch(out, worker, pid, runs, one.attempt);
            }
            self.inside[index] = None;
            self.ended(out, worker, pid, one, now);
        }
        if known != 0 && pid != 0 && known != pid {
            let (name, group) = self.worker(worker);
            Line::new(out, "worker_died", self.run.micros(now))
                .text("worker_id", &name)
                .text("node_id", &group)
                .raw("pid", known)
                .raw("replaced_by", pid);
            self.inside[index] = None;
        }
        if let Some(runs) = runs
            && self.inside[index] != Some(runs)
            && ran.iter().all(|one| (one.seq, one.began) != (runs.seq, runs.began))
        {
            self.dispatch(out, worker, pid, runs, 1);
            self.inside[index] = Some(runs);
        }
    }

    fn place(&self, line: &mut Line<'_>, worker: u16, pid: u32) {
        let (name, group) = self.worker(worker);
        line.plain("worker_ip", "127.0.0.1").text("worker_id", &name).text("node_id", &group);
        line.raw("pid", if pid == 0 { std::process::id() } else { pid });
    }

    fn dispatch(&self, out: &mut String, worker: u16, pid: u32, runs: Runs, attempt: u16) {
        let Some(known) = self.tasks.get(&runs.seq) else { return };
        let mut line = Line::new(out, "dispatch", self.run.micros(runs.began));
        line.plain("call_id", self.call(runs.seq, Some(runs.member)))
            .text("func", &known.func)
            .text("caller_worker_id", "driver")
            .raw("resources", "{}")
            .raw("obj_ref_deps", format_args!("[{}]", known.inputs));
        self.place(&mut line, worker, pid);
        line.raw("is_remote", true).raw("attempt", attempt.max(1));
    }

    fn ended(&mut self, out: &mut String, worker: u16, pid: u32, ran: &Ran, now: u64) {
        let ended = ran.ended.min(now);
        let Some(known) = self.tasks.get_mut(&ran.seq) else { return };
        known.left -= u16::from(known.left > 0 && !ran.failed);
        let (func, is_over) = (Arc::clone(&known.func), known.left == 0);
        let kind = if ran.failed { "failed" } else { "complete" };
        let mut line = Line::new(out, kind, self.run.micros(ended));
        line.plain("call_id", self.call(ran.seq, Some(ran.member))).text("func", &func);
        self.place(&mut line, worker, pid);
        line.raw("is_remote", true).raw("attempt", ran.attempt.max(1));
        if ran.failed {
            let mut text = String::new();
            quote(&mut text, "its body failed; the run's error says how");
            line.plain("kind", "error").raw("message", text).raw("final", true);
            self.totals.failed += 1;
        } else {
            line.seconds("exec_time_s", ended.saturating_sub(ran.began) / 1000);
            self.totals.completed += 1;
        }
        drop(line);
        if is_over {
            self.tasks.remove(&ran.seq);
        }
    }
}
