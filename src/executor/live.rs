//! The state of an executor at one moment, as [`Builder::publish`](super::Builder::publish) shows it
//! to other processes.
//!
//! All of it is read from words that are there anyway, so nothing is paid for it where tasks run. What
//! workers have written is a figure to be shown, never an index that is not checked.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Instant;

use mailring_process::live::{
    Gauge, Kind, PageError, Publication, Publisher, Queue, Status, Totals, Waiting, WorkerStatus,
    WorkerWork,
};

use super::shared::Shared;
use crate::ids::{WorkerId, WorkerKind};
use crate::limits::HEAP_RINGS;
use crate::ring::Phase;
use crate::segment::{BODY, PREPARING, Status as Standing};
use crate::worker::participant::started_word;

/// Starts to publish an executor. `heaps` are the bytes held of each heap ring.
pub(super) fn publish(
    publication: &Publication,
    mode: &'static str,
    shared: &Arc<Shared>,
    heaps: [Arc<AtomicU64>; HEAP_RINGS],
) -> Result<Publisher, PageError> {
    let workers = shared.arena.shape().total_workers();
    let mut sampler =
        Sampler { mode, shared: Arc::clone(shared), heaps, bodies: vec![None; workers] };
    Publisher::start(publication, workers, move || sampler.status())
}

/// What is kept from one look to the next.
struct Sampler {
    /// `process` or `thread`.
    mode: &'static str,
    shared: Arc<Shared>,
    heaps: [Arc<AtomicU64>; HEAP_RINGS],
    /// By worker: the body that it was inside of, and since when.
    bodies: Vec<Option<(u64, Instant)>>,
}

impl Sampler {
    fn status(&mut self) -> Status {
        let workers = self.workers();
        let shared = &*self.shared;
        let (arena, health) = (&shared.arena, &shared.health);
        let submitted = shared.submitted.load(Relaxed);
        // Tasks leave the window only when the submitter asks for room or waits; those that workers
        // have run may still be in it.
        let tail = health.tail.load(Acquire).min(submitted);
        let ran = workers.iter().fold(0u64, |sum, worker| sum.wrapping_add(worker.ran));
        Status {
            kind: Kind::Executor,
            mode: self.mode.to_owned(),
            failure: health.failure().map(str::to_owned),
            totals: Totals {
                submitted,
                completed: ran,
                deaths: health.deaths.load(Relaxed),
                replaced: health.respawns.load(Relaxed),
                killed: health.kills.load(Relaxed),
            },
            gauges: self.gauges(submitted - tail),
            queues: WorkerKind::ALL
                .into_iter()
                .filter(|kind| arena.shape().workers[kind.index()] > 0)
                .flat_map(|kind| self.queues(kind))
                .collect(),
            waiting: self.waiting(),
            workers,
            ..Status::default()
        }
    }

    fn workers(&mut self) -> Vec<WorkerStatus> {
        let arena = &self.shared.arena;
        let (now, shape) = (Instant::now(), arena.shape());
        let mut all = Vec::with_capacity(self.bodies.len());
        for (index, known) in (0..).zip(&mut self.bodies) {
            let entry = arena.entry(index);
            let kind = shape.kind_of(usize::from(index));
            let (standing, inside) = (entry.status.load(Acquire), entry.inside());
            let state = match standing {
                s if s == Standing::Starting as u32 => "starting",
                s if s == Standing::Gone as u32 || s == Standing::Refused as u32 => "gone",
                _ if inside == BODY => "running",
                _ if inside == PREPARING => "preparing",
                _ if entry.waits() => "waiting",
                _ => "looking",
            };
            let started = entry.started.load(Acquire);
            let work = (state == "running").then(|| running(&self.shared, started)).flatten();
            *known = known.filter(|(body, _)| *body == started && work.is_some());
            if work.is_some() && known.is_none() {
                *known = Some((started, now));
            }
            let since = known.map_or(now, |(_, since)| since);
            all.push(WorkerStatus {
                name: WorkerId(index).to_string(),
                pid: entry.pid.load(SeqCst),
                state: state.to_owned(),
                work: work.map(|(task, function)| WorkerWork {
                    function,
                    task,
                    seconds: (now - since).as_secs_f64(),
                }),
                ran: entry.ran.load(Relaxed),
                resources: format!("{kind:?}"),
            });
        }
        all
    }

    fn gauges(&self, in_window: u64) -> Vec<Gauge> {
        let gauge = |name: String, used: u64, limit: u64, unit: &str| Gauge {
            name,
            used: used as f64,
            limit: limit as f64,
            unit: unit.to_owned(),
        };
        let arena = &self.shared.arena;
        let mut all = vec![gauge(
            "task slots".to_owned(),
            in_window,
            arena.shape().ring.window as u64,
            "tasks",
        )];
        for (ring, used) in self.heaps.iter().enumerate() {
            let (used, limit) = (used.load(Relaxed), arena.heap(ring).1);
            all.push(gauge(format!("heap ring {ring}"), used, limit, "bytes"));
        }
        let (used, limit) = self.shared.buffers.used_of_arena();
        all.push(gauge("buffers".to_owned(), used, limit, "bytes"));
        all
    }

    fn queues(&self, kind: WorkerKind) -> [Queue; 3] {
        let arena = &self.shared.arena;
        let workers = arena.shape().total_workers();
        // The one behind the workers is the submitter.
        let queued = (0..=workers).map(|producer| arena.ready_queue(producer, kind).depth()).sum();
        let own = (0..workers as u16).filter(|&w| arena.shape().kind_of(usize::from(w)) == kind);
        let directed = own.map(|worker| arena.pinned(worker).count()).sum();
        let name = |what: &str| format!("{kind:?}: {what}");
        [
            Queue { name: name("ready"), depth: queued },
            Queue { name: name("ready, for one worker"), depth: directed },
            Queue { name: name("ready groups"), depth: arena.ready_groups(kind).count() },
        ]
    }

    fn waiting(&self) -> Vec<Waiting> {
        let one =
            |reason: String| Waiting { function: "the submitter".to_owned(), reason, count: 1 };
        let stalled = self.shared.stalled_on().map(|what| one(format!("{what} is full")));
        let waits = self.shared.arena.control().host_waits.load(Relaxed) != 0;
        let waits = waits.then(|| one("waits for tasks".to_owned()));
        stalled.or(waits).into_iter().collect()
    }
}

/// The task of the body that this word of a worker tells of, and its function; `None` when it is
/// through by now, or the word is none.
fn running(shared: &Shared, started: u64) -> Option<(u64, String)> {
    let slot = started as u32 & 0xf_ffff;
    if started >> 63 != 1 || slot >= shared.arena.table().window() {
        return None;
    }
    let head = shared.arena.descriptors().head(slot);
    fence(Acquire);
    let word = shared.arena.table().slot(slot).load();
    let still = word.is(Phase::Running) && started_word(slot, word) == started;
    still.then(|| (head.seq, shared.names.name(head.route.kind, head.callable)))
}
