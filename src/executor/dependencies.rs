//! Dependencies: which producers may still run, how fan-in nodes collect them when there are many,
//! and the steps that make a written task visible.

use mailring_process::sync::prefetch_write;

use super::orchestrator::Orchestrator;
use crate::abi::{CallConfig, TaskArgs};
use crate::graph::Producer;
use crate::ids::WorkerKind;
use crate::limits::MAX_FAN_IN;
use crate::mailbox::descriptor::{ANYWHERE, FAN_IN, Head, Route};
use crate::ring::dist_ring::{Needs, Reservation};
use crate::ring::slot::{GUARD, NO_FAILED_ROOT, Push};
use crate::ring::table::EdgeKind;
use crate::ring::word::SUBMITTER;

impl Orchestrator {
    /// Producers that may still run, and the failure that is known to reach the task.
    #[inline]
    pub(super) fn find_live(&self, producers: &[Producer], live: &mut Vec<Producer>) -> u64 {
        live.clear();
        let mut failed_root = NO_FAILED_ROOT;
        for &producer in producers {
            // A failure does not reach tasks of a later run.
            let data = producer.data && producer.task >= self.run.first;
            if producer.task >= self.ring.tail() {
                live.push(Producer { data, ..producer });
            } else if data && let Some(&root) = self.failed.get(&producer.task) {
                failed_root = failed_root.min(root);
            }
        }
        failed_root
    }

    /// More producers than a fan-in word can name are collected, as often as it takes, by tasks
    /// that run nothing.
    #[cold]
    pub(super) fn add_fan_in_nodes(&mut self, kind: WorkerKind, live: &mut Vec<Producer>) {
        let (mut data, mut order): (Vec<_>, Vec<_>) = live.drain(..).partition(|p| p.data);
        while data.len() + order.len() > MAX_FAN_IN {
            let longer = if data.len() >= order.len() { &mut data } else { &mut order };
            let from = longer.len().saturating_sub(MAX_FAN_IN);
            let joined: Vec<Producer> = longer.drain(from..).collect();
            let is_data = joined[0].data;
            if let Some(task) = self.submit_fan_in(kind, &joined) {
                longer.insert(0, Producer { task, data: is_data });
            }
        }
        live.append(&mut data);
        live.append(&mut order);
    }

    fn submit_fan_in(&mut self, kind: WorkerKind, producers: &[Producer]) -> Option<u64> {
        let needs = Needs { edges: producers.len() as u64, ..Needs::default() };
        let reserved = self.ring.reserve(needs)?;
        let head = Head {
            seq: reserved.seq,
            callable: 0,
            config: CallConfig::default(),
            route: Route { kind: kind as u8, flags: FAN_IN, target: ANYWHERE },
            payload: 0,
            members: 1,
            retries: 0,
            deadline_us: 0,
            group: 0,
        };
        // SAFETY: this is the submitter, and the slot was reserved just now.
        unsafe { self.descriptors.write_inline(reserved.slot, &head, &TaskArgs::new()) };
        self.publish(&reserved, &head, producers, NO_FAILED_ROOT);
        Some(reserved.seq)
    }

    /// Makes the task visible, enters it into the lists of its producers, and lets it go.
    #[inline]
    pub(super) fn publish(
        &mut self,
        at: &Reservation,
        head: &Head,
        producers: &[Producer],
        failed_root: u64,
    ) {
        let &Reservation { slot, generation, edges, .. } = at;
        let cell = self.table.slot(slot);
        prefetch_write(self.table.slot(slot + 6));
        self.descriptors.lines(slot + 6).into_iter().for_each(prefetch_write);
        if producers.is_empty() {
            cell.publish_ready(SUBMITTER, generation, failed_root);
            self.publisher.suggest(slot, head.route);
            return;
        }
        cell.publish_pending(SUBMITTER, generation, producers.len() as u32, failed_root);
        let mut finished = GUARD;
        for (bit, producer) in producers.iter().enumerate() {
            let (from, lap) = self.ring.place(producer.task);
            let index = (edges + bit as u64) as u32 & (self.edge_mask());
            let edge = self.table.edge(index);
            edge.set(slot, bit as u32, producer.kind(), generation);
            match self.table.slot(from).push_edge(lap, index, |next| edge.set_next(next)) {
                Push::Pushed => {}
                Push::Finished { failed } => {
                    finished |= 1 << bit;
                    if failed && producer.kind() == EdgeKind::Data {
                        cell.mark_failed_root(self.arena.failed_root_of(from, producer.task));
                    }
                }
            }
        }
        if cell.clear(finished, generation) && cell.make_ready(SUBMITTER, generation) {
            self.publisher.suggest(slot, head.route);
        }
    }

    fn edge_mask(&self) -> u32 {
        self.arena.shape().ring.edges() as u32 - 1
    }
}
