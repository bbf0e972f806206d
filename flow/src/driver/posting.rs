//! Posting: writing the descriptor of a task into a cell, posting it, taking it back.

use std::sync::atomic::Ordering::SeqCst;

use mailring_process::wait::unpark;

use super::State;
use super::objects::{Index, Value};
use super::processes::PostedTask;
use super::store::NoRoom;
use super::tasks::{Phase, Task};
use crate::protocol::args::Arg;
use crate::protocol::error::Cause;
use crate::protocol::memory::{CELL_ARGS, Head, arg_word, flags};
use crate::protocol::node::number_of;

/// Whether a descriptor was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Written {
    Yes,
    /// There is no memory for its arguments now.
    NoRoom,
    /// There never will be, or an argument has failed.
    Unfit,
}

impl State {
    /// Writes a task into the next cell of a process, which has room.
    pub(super) fn write_descriptor(&mut self, place: u16, index: Index) -> Written {
        let process = &self.procs[usize::from(place)];
        let Some(task) = self.objects.task(index) else { return Written::Unfit };
        let seq = process.next;
        let cell = self.memory.cell(place, seq);
        let mut head = Head {
            task: self.objects.at(index).number,
            node: number_of(task.node),
            args_len: 0,
            attempt: task.attempt,
            flags: if task.timed() { flags::TIMED } else { 0 },
            argc: task.args.list.len() as u32,
        };
        let hooks = match task.encoded_hooks() {
            None => None,
            Some(encoded) => {
                head.flags |= flags::HOOKS;
                head.argc += 1;
                Some(encoded)
            }
        };
        let Some((need, looks_back)) = self.descriptor_bytes(task, hooks.as_deref()) else {
            return Written::Unfit;
        };
        let mut envelope = None;
        // SAFETY: the cell is the host's until it is posted, and the area has this size.
        let mut room = unsafe { std::slice::from_raw_parts_mut(cell.args(), CELL_ARGS) };
        if need > CELL_ARGS {
            let block = match self.store.take_small(need as u64, need as u64) {
                Ok(block) => block,
                Err(NoRoom::Now) => {
                    self.memory_short = true;
                    self.wakeup = true; // the driver thread looks again, and for how long
                    return Written::NoRoom;
                }
                Err(why @ NoRoom::Ever(_)) => {
                    self.too_large = Some(self.no_memory(need as u64, &why));
                    return Written::Unfit;
                }
            };
            let (address, _) = self.store.place(block);
            room[..8].copy_from_slice(&address.to_ne_bytes());
            room[8..16].copy_from_slice(&(need as u64).to_ne_bytes());
            head.flags |= flags::ENVELOPE;
            head.args_len = 16;
            envelope = Some(block);
            // SAFETY: a block that was taken just now, for this.
            let Some(lent) = (unsafe { self.memory.room(address, need as u64) }) else {
                return Written::Unfit;
            };
            room = lent;
        } else {
            head.args_len = need as u32;
        }
        self.write_args(task, hooks.as_deref(), Pen(room));
        cell.write_head(head);
        let floor = if looks_back { process.done } else { seq };
        *self.proc_mut(place).posted_task_mut(seq) =
            PostedTask { object: Some(index), floor, envelope };
        Written::Yes
    }

    /// A task that can never be posted ends: an argument has failed, or there are
    /// more of them than memory.
    pub(super) fn end_unfit(&mut self, index: Index) {
        if let Some(error) = self.too_large.take() {
            self.fail(index, None, error.into());
        } else if let Some(error) = self.failed_argument(index) {
            self.fail_with_root(index, &error);
        } else {
            self.fail(index, None, Cause::Codec("its arguments cannot be written".to_owned()));
        }
    }

    /// Bytes of a task's arguments in its descriptor, and whether one is the value of an earlier
    /// task. `None`: one of them has failed, or is nowhere.
    #[inline]
    pub(super) fn descriptor_bytes(
        &self,
        task: &Task,
        hooks: Option<&[u8]>,
    ) -> Option<(usize, bool)> {
        let mut bytes = 4 * task.args.list.len() + task.args.bytes.len();
        let mut looks_back = false;
        for &dep in task.needed() {
            bytes += match &self.objects.at(dep).value {
                Value::Inline(value) => value.len(),
                Value::Placed { .. } => 16,
                Value::Pending => {
                    looks_back = true;
                    8
                }
                Value::Failed(_) => return None,
            };
        }
        Some((bytes + hooks.map_or(0, |hooks| 4 + hooks.len()), looks_back))
    }

    /// A word for each argument, and what it says.
    #[inline]
    fn write_args(&self, task: &Task, hooks: Option<&[u8]>, mut pen: Pen<'_>) {
        let mut rest = &task.args.bytes[..];
        let mut refs = task.held.iter();
        for arg in &task.args.list {
            match arg {
                Arg::Value(len) => {
                    let (value, behind) = rest.split_at(*len as usize);
                    rest = behind;
                    pen.inline(value);
                }
                Arg::Ref(_) => {
                    let Some(&dep) = refs.next() else { return };
                    match &self.objects.at(dep).value {
                        Value::Inline(value) => pen.inline(value),
                        Value::Placed { address, len, .. } => {
                            pen.put(&arg_word::PLACED.to_ne_bytes());
                            pen.put(&address.to_ne_bytes());
                            pen.put(&len.to_ne_bytes());
                        }
                        _ => {
                            let earlier = match self.objects.task(dep).map(|task| task.phase) {
                                Some(Phase::Posted { seq, .. }) => seq,
                                _ => 0, // no posted task has this number, so the worker says so
                            };
                            pen.put(&arg_word::CELL.to_ne_bytes());
                            pen.put(&earlier.to_ne_bytes());
                        }
                    }
                }
            }
        }
        if let Some(hooks) = hooks {
            pen.inline(hooks);
        }
    }

    /// Posts what was written.
    pub(super) fn post(&mut self, place: u16, index: Index) {
        let process = &mut self.procs[usize::from(place)];
        let seq = process.next;
        process.next += 1;
        if process.outstanding() == 1 {
            process.idle_since = None;
            self.busy.push(place);
        }
        if let Some(task) = self.objects.task_mut(index) {
            task.phase = Phase::Posted { place, seq };
            self.any_timed |= task.timed();
        }
        self.unposted -= 1;
        self.memory.cell(place, seq).state().post(seq);
        self.unpark_worker(place);
    }

    /// Wakes a worker that sleeps.
    pub(super) fn unpark_worker(&self, place: u16) {
        let entry = self.memory.entry(place);
        if self.memory.asymmetric {
            std::sync::atomic::compiler_fence(SeqCst);
        } else {
            std::sync::atomic::fence(SeqCst);
        }
        unpark(&entry.parker);
    }

    /// Takes back all posted tasks of a process that its worker has not begun, newest first.
    pub(super) fn recall_all(&mut self, place: u16) {
        while self.recall_last(place) {}
    }

    /// The same for good, at the end of the flow.
    pub(super) fn recall_quietly(&mut self, place: u16) {
        let open: Vec<u64> = self.procs[usize::from(place)].open_tasks().collect();
        for seq in open.into_iter().rev() {
            let _ = self.memory.cell(place, seq).state().recall(seq);
        }
    }

    /// Takes the newest posted task of a process back, if its worker has not taken it.
    pub(super) fn recall_last(&mut self, place: u16) -> bool {
        let process = &self.procs[usize::from(place)];
        let newest = process.open_tasks().next_back();
        let Some(seq) = newest else { return false };
        self.recall(place, seq)
    }

    /// Takes one posted task back. It is to be run again, somewhere.
    fn recall(&mut self, place: u16, seq: u64) -> bool {
        if !self.memory.cell(place, seq).state().recall(seq) {
            return false;
        }
        if let Some(index) = self.end_posted(place, seq) {
            self.again(index, false);
        }
        true
    }

    /// Takes one task back for good. True when it will not run.
    pub(super) fn withdraw(&mut self, place: u16, seq: u64) -> bool {
        let withdrawn = self.memory.cell(place, seq).state().recall(seq);
        if withdrawn {
            self.end_posted(place, seq);
        }
        withdrawn
    }

    /// A posted task is over: its object, if it had one.
    pub(super) fn end_posted(&mut self, place: u16, seq: u64) -> Option<Index> {
        let posted_task = self.proc_mut(place).posted_task_mut(seq);
        let object = posted_task.object.take();
        let envelope = posted_task.envelope.take();
        if let Some(block) = envelope {
            self.store.release(block);
        }
        if let Some(task) = object.and_then(|index| self.objects.task_mut(index)) {
            task.phase = Phase::Waiting;
            self.unposted += 1; // until it is posted again, or complete
        }
        object
    }
}

/// Writes one part behind the other; the room was measured before.
struct Pen<'a>(&'a mut [u8]);

impl Pen<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (here, behind) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.0 = behind;
    }

    #[inline]
    fn inline(&mut self, value: &[u8]) {
        self.put(&(value.len() as u32).to_ne_bytes());
        self.put(value);
    }
}
