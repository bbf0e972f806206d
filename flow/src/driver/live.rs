//! The state of a flow at one moment, as [`Builder::publish`](crate::Builder::publish) shows it to
//! other processes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use mailring_process::live::{
    Gauge, Kind, Publication, Publisher, Queue, Status, Totals, Waiting, WorkerStatus, WorkerWork,
};

use super::parts::processes::Process;
use super::parts::state::State;
use super::shared::Shared;
use super::steps::completions::poll_completions;
use super::steps::pending::pending;
use crate::protocol::cell;
use crate::protocol::error::Error;
use crate::protocol::pending::Pending;

/// Tasks that are looked at for why they wait: the lock is held meanwhile.
const LOOKED_AT: usize = 200;

/// Starts to publish a flow.
pub(super) fn publish(
    publication: &Publication,
    in_process: bool,
    shared: &Arc<Shared>,
) -> Result<Publisher, Error> {
    let places = shared.memory.places();
    let mut sampler = Sampler { in_process, shared: Arc::clone(shared), bodies: HashMap::new() };
    let started = Publisher::start(publication, places, move || sampler.status());
    started.map_err(|error| Error::Invalid(format!("publishing the counters: {error}")))
}

/// What is kept from one look to the next.
struct Sampler {
    in_process: bool,
    shared: Arc<Shared>,
    /// By process: the body that it was inside of, and since when.
    bodies: HashMap<u16, (u64, Instant)>,
}

impl Sampler {
    fn status(&mut self) -> Status {
        let Self { in_process, shared, bodies } = self;
        shared.with(|state| {
            if state.closed.is_none() {
                poll_completions(state);
            }
            let (submitted, incomplete) =
                (state.objects.tasks_so_far(), state.objects.incomplete() as u64);
            let (deaths, killed) = state.processes.ends();
            Status {
                kind: Kind::Flow,
                mode: if *in_process { "thread".to_owned() } else { "process".to_owned() },
                failure: state.closed.clone(),
                totals: Totals {
                    submitted,
                    completed: submitted.saturating_sub(incomplete),
                    deaths,
                    killed,
                    ..Totals::default()
                },
                gauges: gauges(state),
                queues: vec![Queue {
                    name: "not at a worker".to_owned(),
                    depth: state.objects.unposted() as u64,
                }],
                waiting: waiting(state, incomplete),
                workers: workers(state, bodies),
                ..Status::default()
            }
        })
    }
}

fn gauges(state: &State) -> Vec<Gauge> {
    let (memory, used, spilled) = state.store.figures();
    let (taken, places) = state.processes.taken();
    let gauge = |name: &str, used: u64, limit: u64, unit: &str| Gauge {
        name: name.to_owned(),
        used: used as f64,
        limit: limit as f64,
        unit: unit.to_owned(),
    };
    let mut all = vec![
        gauge("memory for values", used, memory, "bytes"),
        gauge("processes", taken as u64, places as u64, "processes"),
    ];
    if spilled > 0 {
        all.push(gauge("spilled to the file", spilled, 0, "bytes"));
    }
    all
}

fn workers(state: &State, bodies: &mut HashMap<u16, (u64, Instant)>) -> Vec<WorkerStatus> {
    let now = Instant::now();
    let resources: Vec<String> = state
        .scheduler
        .workers()
        .iter()
        .map(|worker| {
            let describe = |supply| state.scheduler.describe_supply(supply);
            format!("{} free of {}", describe(&worker.free), describe(&worker.total))
        })
        .collect();
    let mut all = Vec::new();
    for (place, process) in state.processes.all() {
        let body = process.oldest().filter(|&(seq, _)| {
            matches!(
                state.processes.look(place, seq),
                Some(cell::Phase::Started | cell::Phase::Done)
            )
        });
        let task = body.map(|(_, index)| (state.objects.at(index).number, index));
        match task {
            Some((number, _)) => {
                let known = bodies.entry(place).or_insert((number, now));
                if known.0 != number {
                    *known = (number, now);
                }
            }
            None => {
                bodies.remove(&place);
            }
        }
        let since = bodies.get(&place).map_or(now, |&(_, since)| since);
        all.push(WorkerStatus {
            name: state.worker_name(place),
            pid: process.child.as_ref().map_or(0, |child| child.pid.max(0) as u32),
            state: word_for(process, task.is_some()).to_owned(),
            work: task.map(|(number, index)| WorkerWork {
                function: state.objects.name_of(index),
                task: number,
                seconds: (now - since).as_secs_f64(),
            }),
            ran: process.done() - 1,
            resources: resources[process.worker].clone(),
        });
    }
    bodies.retain(|&place, _| state.processes.at(place).used);
    all.sort_by(|a, b| a.name.cmp(&b.name).then(a.pid.cmp(&b.pid)));
    all
}

fn word_for(process: &Process, inside: bool) -> &'static str {
    match (process.doom.is_some(), process.child.is_some()) {
        (true, _) => "ending",
        (_, false) => "starting",
        _ if process.waits_for_memory() => "waits for memory",
        _ if process.is_waiting() => "waits for values",
        _ if inside => "running",
        _ if process.actor.is_some() => "actor, idle",
        _ => "idle",
    }
}

/// Why the oldest of the tasks that are not done are not.
fn waiting(state: &State, incomplete: u64) -> Vec<Waiting> {
    let mut all: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut looked_at = 0;
    for (index, task) in state.objects.tasks().take(LOOKED_AT) {
        looked_at += 1;
        let reason = match pending(state, index) {
            Pending::Complete | Pending::Running { .. } => continue,
            Pending::Upstream { name, .. } => format!("waits for `{name}`"),
            Pending::Resources { needs, .. } => format!("needs {needs}"),
            Pending::Retry { .. } => "is tried again".to_owned(),
            other => other.to_string(),
        };
        *all.entry((task.name().to_owned(), reason)).or_default() += 1;
    }
    let all =
        all.into_iter().map(|((function, reason), count)| Waiting { function, reason, count });
    let mut all: Vec<Waiting> = all.collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.count));
    if incomplete > looked_at {
        all.push(Waiting {
            function: "others".to_owned(),
            reason: "not looked at".to_owned(),
            count: incomplete - looked_at,
        });
    }
    all
}
