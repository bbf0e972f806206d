//! The driver's side of a flow: one table of everything, under one lock, in private memory.
//!
//! Workers are given one task at a time and never see the table, so none of them can spoil it, and
//! the death of one loses nothing. Whoever waits in the driver does the work: a thread in `get`
//! reads completions, completes tasks and posts what follows, without any hop through another
//! thread. When none waits, the driver thread does it.

mod actors;
mod admission;
mod backend;
mod block_allocator;
mod build;
mod bundles;
mod cancels;
mod claims;
mod completions;
mod deadlock_graph;
mod deadlocks;
mod deaths;
mod host;
mod objects;
mod order;
mod posting;
mod processes;
mod requests;
mod scheduler;
mod signals;
mod starts;
mod store;
mod tasks;
mod thread;
mod views;
mod wait_sets;
mod waits;

pub(crate) use build::{Settings, launch};
pub(crate) use host::{Host, current};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::cell;
use crate::protocol::memory::Memory;
use crate::protocol::output::OutputReceiver;
use crate::protocol::pending::Pending;
use actors::Actor;
use admission::MemoryWait;
use bundles::Group;
use cancels::{CancelRequest, Told};
use claims::Claims;
use objects::{Index, Objects, Value};
use order::TaskOrder;
use processes::Process;
use scheduler::{ClassId, Classes, Logical};
use store::Store;
use tasks::Phase;
use wait_sets::WaitSets;

/// What is known of a node.
#[derive(Clone, Copy, Default)]
struct NodeStat {
    /// The class of calls without options.
    class: Option<ClassId>,
    /// How long its body takes, as a moving mean.
    mean_ns: Option<f32>,
    /// Bytes of memory that its body asks for, roughly.
    result: Option<u64>,
    /// Its bodies have waited for others.
    waits: bool,
}

/// Everything.
pub(super) struct State {
    memory: Arc<Memory>,
    store: Store,
    objects: Objects,
    classes: Classes,
    nodes: Vec<NodeStat>,
    workers: Vec<Logical>,
    procs: Vec<Process>,
    free_places: Vec<u16>,
    births: u64,
    /// Processes with posted tasks.
    busy: Vec<u16>,
    groups: Vec<Group>,
    /// What is kept for whom.
    claims: Claims,
    actors: Vec<Actor>,
    wait_sets: WaitSets,
    /// Tasks so far.
    number: u64,
    /// How many numbers are those of values that were put.
    puts: u64,
    /// Incomplete tasks; those of them that stand at no process; bodies that wait.
    incomplete: usize,
    unposted: usize,
    blocked: usize,
    /// Threads of the driver that sleep until something changes.
    parked: usize,
    /// For the driver thread.
    spawns: VecDeque<u16>,
    /// Processes that were forked and do not serve yet, as far as has been seen.
    starting: Vec<u16>,
    cancels: Vec<CancelRequest>,
    /// Bodies that nobody wants any more, and that have been told.
    outlived: Vec<Told>,
    /// Some are being told just now.
    ending_unwanted: bool,
    backoff: Vec<(Instant, u64)>,
    unsent: VecDeque<(u16, Vec<u8>, Instant)>,
    memory_waits: VecDeque<MemoryWait>,
    memory_short: bool,
    short_since: Option<Instant>,
    watch: deadlocks::Watch,
    /// Who asks for memory in which order, while there is little.
    task_order: Option<TaskOrder>,
    /// Since when nobody is at work who could free memory that others wait for.
    starved_since: Option<Instant>,
    /// When one was last refused for that.
    refused_at: Option<Instant>,
    /// What the driver held then, if that was counted.
    driver_bytes: Option<u64>,
    too_large: Option<crate::protocol::error::Error>,
    /// Tasks that may be tried again after an error.
    eager: usize,
    freed_seen: u64,
    freed_at: Instant,
    patience: Duration,
    any_timed: bool,
    /// The driver thread has something to do.
    wakeup: bool,
    /// Something that a thread of the driver may sleep for has happened.
    changed: bool,
    /// Scratch of completing.
    ready: Vec<Index>,
    failing: Vec<(Index, Arc<crate::protocol::error::TaskError>)>,
    told: Vec<(u16, u64)>,
    actors_to_serve: Vec<u32>,
    made: Vec<u32>,
    reschedule: bool,
    /// Who hears what workers print.
    receiver: Option<Arc<OutputReceiver>>,
    /// The process whose completion, or end, is being read: what it has said stands in errors.
    witness: Option<u16>,
    /// Why there is nothing more to do.
    closed: Option<String>,
}

impl State {
    fn new(memory: Arc<Memory>, patience: Duration) -> Self {
        Self {
            store: Store::new(Arc::clone(&memory)),
            memory,
            objects: Objects::default(),
            classes: Classes::default(),
            nodes: vec![NodeStat::default(); crate::protocol::node::NODES.len()],
            workers: Vec::new(),
            procs: Vec::new(),
            free_places: Vec::new(),
            births: 0,
            busy: Vec::new(),
            groups: Vec::new(),
            claims: Claims::default(),
            actors: Vec::new(),
            wait_sets: WaitSets::default(),
            number: 0,
            puts: 0,
            incomplete: 0,
            unposted: 0,
            blocked: 0,
            parked: 0,
            spawns: VecDeque::new(),
            starting: Vec::new(),
            cancels: Vec::new(),
            outlived: Vec::new(),
            ending_unwanted: false,
            backoff: Vec::new(),
            unsent: VecDeque::new(),
            memory_waits: VecDeque::new(),
            memory_short: false,
            short_since: None,
            watch: deadlocks::Watch::default(),
            task_order: None,
            starved_since: None,
            refused_at: None,
            driver_bytes: None,
            too_large: None,
            eager: 0,
            freed_seen: 0,
            freed_at: Instant::now(),
            patience,
            any_timed: false,
            wakeup: false,
            changed: false,
            ready: Vec::new(),
            failing: Vec::new(),
            told: Vec::new(),
            actors_to_serve: Vec::new(),
            made: Vec::new(),
            reschedule: false,
            receiver: None,
            witness: None,
            closed: None,
        }
    }

    /// Why an object is not complete.
    fn pending(&self, index: Index) -> Pending {
        let Some(task) = self.objects.task(index) else { return Pending::Complete };
        match task.phase {
            Phase::Posted { place, seq } => {
                let worker = self.worker_name(place);
                match self.memory.cell(place, seq).state().look(seq) {
                    Some(cell::Phase::Started | cell::Phase::Done) => Pending::Running { worker },
                    _ => Pending::AtWorker { worker },
                }
            }
            Phase::Backoff => Pending::Retry { attempts: u32::from(task.attempt) },
            _ if task.remaining > 0 => {
                let upstream = task.needed().iter().copied();
                let mut upstream = upstream.filter(|&dep| self.objects.at(dep).value.is_pending());
                match upstream.next() {
                    Some(dep) => Pending::Upstream {
                        task: self.objects.at(dep).number,
                        name: self.name_of(dep),
                    },
                    None => Pending::AtWorker { worker: "its worker".to_owned() },
                }
            }
            Phase::AtActor => {
                let why = task.actor.map_or_else(String::new, |(actor, _)| self.actor_state(actor));
                Pending::Actor { why }
            }
            Phase::Waiting | Phase::Queued => {
                if let Some(why) = self.infeasible(task.class) {
                    return Pending::Infeasible { why };
                }
                let demand = &self.classes.at(task.class).demand;
                let free = self.workers.iter().any(|worker| worker.free.covers(demand));
                let full = self.free_places.is_empty() && self.procs.len() == self.memory.places();
                match (free, full, self.memory_short) {
                    (true, _, true) => Pending::Memory,
                    (true, true, _) => Pending::NoProcess { limit: self.memory.places() },
                    _ => Pending::Resources {
                        needs: self.classes.describe(demand),
                        free: self.free_text(),
                    },
                }
            }
        }
    }

    /// Whoever asks for the value from now on is told that it is lost.
    fn lose(&mut self, index: Index, why: &str) {
        let object = self.objects.at(index);
        if object.value.is_pending() || matches!(object.value, Value::Failed(_)) {
            return;
        }
        let error = crate::protocol::error::TaskError {
            task: object.number,
            name: "a value".to_owned(),
            worker: None,
            attempt: 0,
            cause: crate::protocol::error::Cause::ObjectLost(why.to_owned()),
            below: None,
            backtrace: None,
            output: Vec::new(),
        };
        let object = self.objects.at_mut(index);
        let value = std::mem::replace(&mut object.value, Value::Failed(Arc::new(error)));
        if let Value::Placed { block, .. } = value {
            object.lost = Some(block); // until nobody is left who may read it
        }
    }
}
