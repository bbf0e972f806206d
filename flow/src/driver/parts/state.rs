//! All that the driver knows, as the parts that keep it. Each part has one file, which alone
//! changes it; the steps of a call (`submitting`, `placing`, `posting`, ...) are functions that
//! take what a part has found to the part that it matters to.

use std::sync::Arc;
use std::time::Duration;

use super::actors::Actors;
use super::admission::Admission;
use super::cancels::Cancels;
use super::effects::Effects;
use super::nodes::Nodes;
use super::objects::Objects;
use super::processes::Processes;
use super::readiness::Readiness;
use super::recorder::Recorder;
use super::responses::Responses;
use super::results::Results;
use super::scheduler::{Scheduler, Used};
use super::store::Store;
use super::wait_sets::WaitSets;
use super::waits::Watch;
use super::weights::Weights;
use crate::config::snapshot::Snapshot;
use crate::protocol::memory::Memory;
use crate::protocol::output::OutputReceiver;

pub(crate) struct State {
    pub(crate) memory: Arc<Memory>,
    /// What exists, who holds it, who waits for it.
    pub(crate) objects: Objects,
    /// What is known of nodes.
    pub(crate) nodes: Nodes,
    /// Blocks of memory.
    pub(crate) store: Store,
    /// Who waits for memory.
    pub(crate) admission: Admission,
    /// Which task may start where.
    pub(crate) scheduler: Scheduler,
    /// Processes, their cells, and what their bodies wait for.
    pub(crate) processes: Processes,
    pub(crate) responses: Responses,
    pub(crate) actors: Actors,
    pub(crate) wait_sets: WaitSets,
    pub(crate) cancels: Cancels,
    /// What the cache is to do, and has done.
    pub(crate) results: Results,
    /// The configuration that is in force for calls of the driver.
    pub(crate) config: Option<Arc<Snapshot>>,
    /// Some configuration is, or was: tasks may have features.
    pub(crate) configured: bool,
    /// When waits are looked at for deadlocks.
    pub(crate) watch: Watch,
    /// What steps have found out for others.
    pub(crate) effects: Effects,
    /// Calls since completions were last read.
    pub(crate) unread: u32,
    /// Threads of the driver that sleep until something changes.
    pub(crate) parked: usize,
    /// Who hears what workers print.
    pub(crate) receiver: Option<Arc<OutputReceiver>>,
    /// The process whose completion, or end, is being read: what it has said stands in errors.
    pub(crate) witness: Option<u16>,
    /// Where what happens is noted, while the flow is profiled.
    pub(crate) recorder: Option<Box<Recorder>>,
    /// What the descriptor of a task says besides the rest: that it is profiled.
    pub(crate) marks: u16,
    /// Why there is nothing more to do.
    pub(crate) closed: Option<String>,
}

impl State {
    pub(crate) fn new(memory: Arc<Memory>, patience: Duration) -> Self {
        Self {
            objects: Objects::default(),
            nodes: Nodes::new(),
            store: Store::new(Arc::clone(&memory)),
            admission: Admission::new(patience),
            scheduler: Scheduler::default(),
            processes: Processes::new(Arc::clone(&memory)),
            responses: Responses::new(Arc::clone(&memory)),
            memory,
            actors: Actors::default(),
            wait_sets: WaitSets::default(),
            cancels: Cancels::default(),
            results: Results::default(),
            config: None,
            configured: false,
            watch: Watch::default(),
            effects: Effects::default(),
            unread: 0,
            parked: 0,
            receiver: None,
            witness: None,
            recorder: None,
            marks: 0,
            closed: None,
        }
    }

    /// To ask who may start, and who may have memory.
    #[inline]
    pub(crate) fn readiness(&self) -> Readiness<'_> {
        Readiness {
            objects: &self.objects,
            nodes: &self.nodes,
            processes: &self.processes,
            scheduler: &self.scheduler,
            admission: &self.admission,
            store: &self.store,
        }
    }

    /// To ask what tasks need of the memory.
    #[inline]
    pub(crate) fn weights(&self) -> Weights<'_> {
        self.readiness().weights()
    }

    /// The scheduler, and who uses its classes.
    pub(crate) fn scheduler_and_used(&mut self) -> (&mut Scheduler, Used<'_>) {
        let Self { objects, processes, nodes, scheduler, .. } = self;
        (scheduler, Used { objects, processes, nodes })
    }

    /// The name of a process's worker, for people.
    pub(crate) fn worker_name(&self, place: u16) -> String {
        self.scheduler.workers()[self.processes.at(place).worker].name.clone()
    }
}
