//! Completions: reading what the workers have written, and what follows.

use std::sync::atomic::Ordering::Acquire;

use smallvec::SmallVec;

use super::State;
use super::objects::{Index, Value};
use super::processes::{Doom, Lease};
use super::scheduler::ClassId;
use super::store::BlockId;
use crate::protocol::cell;
use crate::protocol::error::Cause;
use crate::protocol::memory::{Completion, LONG_COMPLETION, SHORT_COMPLETION, completion};
use crate::protocol::node::number_of;
use crate::protocol::wire;

impl State {
    /// Reads what the busy processes have to say. Whether there was anything.
    pub(super) fn poll_completions(&mut self) -> bool {
        if self.closed.is_some() {
            return false; // what bodies return when they are told to end does not count
        }
        let mut any = false;
        let mut at = 0;
        while let Some(&place) = self.busy.get(at) {
            any |= self.poll_process(place);
            // It may have left the list, and another may be in its place.
            at += usize::from(self.busy.get(at) == Some(&place));
        }
        self.end_unwanted();
        self.relieve();
        any
    }

    /// The same for one process.
    pub(super) fn poll_process(&mut self, place: u16) -> bool {
        let mut any = false;
        loop {
            let process = &self.procs[usize::from(place)];
            if !process.used {
                return any;
            }
            let seq = process.done;
            let there = seq < process.next;
            // Before the look at the cell: what is asked later may be of another posted task.
            let asked = self.memory.entry(place).requests_written.load(Acquire) as u32;
            let state = there.then(|| self.memory.cell(place, seq).state().look(seq)).flatten();
            match state {
                Some(cell::Phase::Done) => self.complete(place, seq),
                Some(cell::Phase::Recalled) if process.posted_task(seq).object.is_none() => {}
                None | Some(cell::Phase::Recalled)
                    if there && self.procs[usize::from(place)].doom.is_none() =>
                {
                    self.protocol_violation(place, "an invalid cell word");
                    return true;
                }
                _ => {
                    if self.memory.has_requests(place) {
                        any |= self.poll_requests(place, Some(asked));
                    }
                    return any;
                }
            }
            any = true;
            let process = self.proc_mut(place);
            if process.done == seq {
                process.done += 1;
            }
            self.after_posted(place);
        }
    }

    /// Whether tasks stand behind others at some process.
    pub(super) fn has_standing(&self) -> bool {
        self.busy.iter().any(|&place| self.procs[usize::from(place)].outstanding() > 1)
    }

    /// A process has come to the end of a task.
    pub(super) fn after_posted(&mut self, place: u16) {
        let process = &self.procs[usize::from(place)];
        if process.outstanding() > 0 {
            match process.actor {
                Some(actor) => self.serve_actor(actor),
                None => self.post_followers(place),
            }
            return;
        }
        self.busy.retain(|&busy| busy != place);
        let process = &self.procs[usize::from(place)];
        if !process.used || process.doom.is_some() {
            return;
        }
        if let Some(actor) = process.actor {
            return self.serve_actor(actor);
        }
        self.end_lease(place);
        if self.procs[usize::from(place)].cancels > 0 {
            return self.schedule(); // it is nobody's until they are
        }
        let worker = self.procs[usize::from(place)].worker;
        self.workers[worker].idle.push(place);
        if self.workers[worker].idle.len() > self.workers[worker].base {
            self.proc_mut(place).idle_since = Some(std::time::Instant::now());
            self.wakeup = true;
        }
        self.schedule();
        self.steal();
    }

    /// When nothing is queued and a worker is idle: takes a task that stands behind another.
    fn steal(&mut self) {
        if self.busy.len() < 2
            && self.busy.first().is_none_or(|&p| self.procs[usize::from(p)].outstanding() < 2)
        {
            return;
        }
        let loaded = self.busy.iter().copied().filter(|&place| {
            let process = &self.procs[usize::from(place)];
            process.actor.is_none() && process.outstanding() > 1
        });
        let most = loaded.max_by_key(|&place| self.procs[usize::from(place)].outstanding());
        if let Some(place) = most
            && let Some(Lease { class, .. }) = self.procs[usize::from(place)].lease
            && self.has_free(class)
        {
            self.recall_last(place);
        }
    }

    fn has_free(&self, class: ClassId) -> bool {
        let demand = &self.classes.at(class).demand;
        self.workers.iter().any(|w| !w.idle.is_empty() && w.free.covers(demand))
    }

    /// Reads a completion and completes its task.
    fn complete(&mut self, place: u16, seq: u64) {
        let completion = self.memory.cell(place, seq).completion();
        // What was asked before the completion is heard before it, and what came later after it:
        // the worker may be in another body by now.
        if self.memory.has_requests(place) {
            self.poll_requests(place, Some(completion.requests));
        }
        let value = self.read_completion(place, seq, &completion);
        let open = std::mem::take(&mut self.proc_mut(place).open);
        for block in open {
            self.store.release(block);
        }
        let given = std::mem::take(&mut self.proc_mut(place).given);
        let mut children = std::mem::take(&mut self.proc_mut(place).children);
        if let Some(index) = self.end_posted(place, seq) {
            self.note_duration(index, completion.duration_ns);
            if matches!(value, Ok(Outcome::Value(_))) {
                self.note_result(index, given);
            }
            // What stood behind its producer may have run with a value that does not count.
            let upstream = self.failed_argument(index);
            match value {
                Ok(Outcome::Value(value)) if upstream.is_some() => {
                    self.drop_value(value);
                    if let Some(error) = upstream {
                        self.fail_with_root(index, &error);
                    }
                }
                Ok(Outcome::Value(value)) => {
                    if self.objects.task(index).is_some_and(|task| task.cancelled) {
                        self.drop_value(value);
                        self.failed(place, index, Cause::Cancelled);
                    } else {
                        self.objects.at_mut(index).children = std::mem::take(&mut children);
                        self.settle(index, value);
                    }
                }
                Ok(Outcome::Failed(cause)) => self.failed(place, index, cause),
                Ok(Outcome::Upstream) => self.again(index, false),
                Err(ProtocolViolation) => {
                    self.protocol_violation(place, "an invalid completion");
                    self.failed(place, index, Cause::WorkerCrashed(VIOLATION.to_owned()));
                }
            }
        } else if let Ok(Outcome::Value(value)) = value {
            self.drop_value(value);
        }
        for child in children {
            self.objects.unhold(child, &mut self.store);
        }
    }

    fn drop_value(&mut self, value: Value) {
        if let Value::Placed { block, .. } = value {
            self.store.release(block);
        }
    }

    fn failed(&mut self, place: u16, index: Index, cause: Cause) {
        let worker = Some(self.worker_name(place));
        let Some(task) = self.objects.task(index) else { return };
        let (makes, cancelled) = (task.makes, task.cancelled);
        if !cancelled && self.retries(index, &cause) {
            if let Some(actor) = makes {
                self.actors[actor as usize].place = None;
                self.proc_mut(place).actor = None;
            }
            return self.again_later(index);
        }
        self.witness = Some(place);
        self.fail(index, worker, if cancelled { Cause::Cancelled } else { cause });
        self.witness = None;
    }

    fn read_completion(
        &mut self,
        place: u16,
        seq: u64,
        completion: &Completion,
    ) -> Result<Outcome, ProtocolViolation> {
        let cell = self.memory.cell(place, seq);
        let inline = |len: u32| -> Result<SmallVec<[u8; 32]>, ProtocolViolation> {
            let len = len as usize;
            if len <= SHORT_COMPLETION {
                let bytes: &[u8] = bytemuck::cast_slice(&completion.short);
                return Ok(SmallVec::from_slice(&bytes[..len]));
            }
            if len > LONG_COMPLETION {
                return Err(ProtocolViolation);
            }
            let mut bytes: SmallVec<[u8; 32]> = SmallVec::from_elem(0, len);
            // SAFETY: inside the cell's area; a copy of whatever bytes are there.
            unsafe { cell.long().copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
            Ok(bytes)
        };
        let [address, len] = completion.short;
        match completion.kind {
            completion::VALUE => Ok(Outcome::Value(Value::Inline(inline(completion.len)?))),
            completion::PLACED => {
                let block = self.claim(place, address, len).ok_or(ProtocolViolation)?;
                Ok(Outcome::Value(Value::Placed { block, address, len }))
            }
            completion::FAILED => decode_cause(&inline(completion.len)?),
            completion::FAILED_PLACED => {
                let block = self.claim(place, address, len).ok_or(ProtocolViolation)?;
                let bytes = self.memory.copy(address, len);
                self.store.release(block);
                decode_cause(&bytes.ok_or(ProtocolViolation)?)
            }
            completion::UPSTREAM => Ok(Outcome::Upstream),
            completion::UNRUN => Ok(Outcome::Failed(Cause::Cancelled)),
            _ => Err(ProtocolViolation),
        }
    }

    /// The block in which a worker says it has put a value, with a use for that value.
    fn claim(&mut self, place: u16, address: u64, len: u64) -> Option<BlockId> {
        let process = &mut self.procs[usize::from(place)];
        let own = process.open.iter().position(|&block| self.store.contains(block, address, len));
        if let Some(at) = own {
            return Some(process.open.swap_remove(at));
        }
        let bump_area =
            process.bump_area.filter(|&block| self.store.contains(block, address, len))?;
        self.store.share(bump_area);
        Some(bump_area)
    }

    pub(super) fn worker_name(&self, place: u16) -> String {
        self.workers[self.procs[usize::from(place)].worker].name.clone()
    }

    fn note_duration(&mut self, index: Index, duration_ns: u32) {
        let Some(task) = self.objects.task(index) else { return };
        let stat = &mut self.nodes[number_of(task.node) as usize];
        let now = duration_ns as f32;
        stat.mean_ns = Some(stat.mean_ns.map_or(now, |mean| mean + (now - mean) / 8.0));
    }

    /// A process violated the protocol: it is ended, and what it did counts as its death.
    pub(super) fn protocol_violation(&mut self, place: u16, what: &str) {
        tracing::error!(place, what, "a worker violated the protocol; it is ended");
        self.doom(place, Doom::ProtocolViolation);
    }

    /// Ends a process. What stands at it has been taken back before, so nobody else is hit.
    pub(super) fn doom(&mut self, place: u16, why: Doom) {
        let process = self.proc_mut(place);
        process.doom.get_or_insert(why); // nothing is posted to it from here on
        self.recall_all(place);
        if let Some(child) = &self.procs[usize::from(place)].child {
            child.kill();
        }
        self.wakeup = true;
    }
}

enum Outcome {
    Value(Value),
    Failed(Cause),
    Upstream,
}

/// A process violated the protocol.
struct ProtocolViolation;

const VIOLATION: &str = "it wrote an invalid completion, and was ended";

fn decode_cause(bytes: &[u8]) -> Result<Outcome, ProtocolViolation> {
    wire::decode(bytes).map(Outcome::Failed).map_err(|_| ProtocolViolation)
}
