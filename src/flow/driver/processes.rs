//! Processes and their cells: posting letters, taking them back, reading replies.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use smallvec::SmallVec;

use super::State;
use super::objects::{Index, Value};
use super::place::{ClassId, Part, Spot};
use super::store::BlockId;
use super::tasks::{Phase, Task};
use crate::flow::args::{self, Arg};
use crate::flow::error::Cause;
use crate::flow::memory::{
    CELL_ARGS, CELLS, Head, LONG_REPLY, Reply, SHORT_REPLY, flags, reply,
};
use crate::flow::node::number_of;
use crate::mailbox::cell;
use crate::mailbox::door;
use crate::sys::futex;
use crate::sys::process::pidfd_kill;
use crate::worker::nursery::Reins;

/// A letter in a cell, as the host knows it.
#[derive(Clone, Copy, Default)]
struct Letter {
    /// `None`: taken back, or over.
    object: Option<Index>,
    /// The oldest letter that was not over when this one was posted: it may look back so far.
    floor: u64,
    /// Where its arguments are, if not in the cell.
    envelope: Option<BlockId>,
}

/// What a process holds of a worker while it runs tasks.
#[derive(Clone, Copy)]
pub(super) struct Lease {
    pub(super) class: ClassId,
    pub(super) spot: Spot,
    /// Its cpus are with others while its body waits.
    pub(super) lent: bool,
}

/// Why a process is about to be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doom {
    Deadline,
    Cancel,
    Actor,
    Mad,
    Idle,
}

#[derive(Default)]
pub(super) struct Process {
    /// Somebody has this number.
    pub(super) used: bool,
    pub(super) worker: usize,
    pub(super) lease: Option<Lease>,
    letters: Vec<Letter>,
    /// The next letter, and the oldest that is not over.
    next: u64,
    done: u64,
    pub(super) actor: Option<u32>,
    pub(super) reins: Option<Reins>,
    /// Objects that its handles name, beyond what its task holds.
    pub(super) kept: HashMap<Index, u32>,
    /// Named by the reply that comes next.
    pub(super) children: Vec<Index>,
    /// For small results; and for those of the present task that are large.
    pub(super) pocket: Option<BlockId>,
    pub(super) open: Vec<BlockId>,
    /// Waits of its body: number of the ask, and what it waits for.
    pub(super) waits: Vec<super::waits::Wait>,
    pub(super) doom: Option<Doom>,
    /// Subprocesses that tasks have left on purpose.
    pub(super) spared: Vec<(i32, u64)>,
    /// Idle since.
    pub(super) idle_since: Option<std::time::Instant>,
}

impl Process {
    pub(super) fn new(worker: usize) -> Self {
        Self {
            used: true,
            worker,
            letters: vec![Letter::default(); CELLS as usize],
            next: 1,
            done: 1,
            ..Self::default()
        }
    }

    #[inline]
    pub(super) fn outstanding(&self) -> u64 {
        self.next - self.done
    }

    /// Letters that can be posted now.
    #[inline]
    pub(super) fn room(&self) -> u64 {
        let floor = if self.done < self.next { self.letter(self.done).floor } else { self.next };
        (floor + CELLS).saturating_sub(self.next)
    }

    #[inline]
    fn letter(&self, seq: u64) -> &Letter {
        &self.letters[(seq % CELLS) as usize]
    }

    #[inline]
    fn letter_mut(&mut self, seq: u64) -> &mut Letter {
        &mut self.letters[(seq % CELLS) as usize]
    }

    /// Whether tasks of this class may stand behind those that are there.
    #[inline]
    pub(super) fn serves(&self, class: ClassId) -> bool {
        self.lease.is_some_and(|lease| lease.class == class && !lease.lent)
            && self.actor.is_none()
            && self.doom.is_none()
            && self.waits.is_empty()
    }

    /// The letter that was posted last, if it is not over.
    pub(super) fn last_posted(&self) -> Option<Index> {
        if self.outstanding() == 0 { None } else { self.letter(self.next - 1).object }
    }

    /// The letters that are not over, oldest first.
    pub(super) fn open_letters(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        (self.done..self.next).filter(|&seq| self.letter(seq).object.is_some())
    }

    /// The oldest letter that is not over, and its object.
    pub(super) fn oldest(&self) -> Option<(u64, Index)> {
        let seq = self.open_letters().next()?;
        Some((seq, self.letter(seq).object?))
    }
}

impl State {
    #[inline]
    pub(super) fn proc_mut(&mut self, place: u16) -> &mut Process {
        &mut self.procs[usize::from(place)]
    }

    /// An idle process of a worker, or a new one.
    pub(super) fn process_on(&mut self, worker: usize) -> Option<u16> {
        let idle = self.workers[worker].idle.pop();
        idle.or_else(|| self.new_process(worker))
    }

    /// A number for a process that the keeper will fork. Letters may be posted to it at once.
    pub(super) fn new_process(&mut self, worker: usize) -> Option<u16> {
        let place = match self.free_places.pop() {
            Some(place) => place,
            None if self.procs.len() < self.memory.places() => {
                self.procs.push(Process::default());
                (self.procs.len() - 1) as u16
            }
            None => return None,
        };
        self.memory.reset(place);
        *self.proc_mut(place) = Process::new(worker);
        self.workers[worker].processes += 1;
        self.spawns.push_back(place);
        self.poke = true;
        Some(place)
    }

    pub(super) fn lease(&mut self, place: u16, class: ClassId, spot: Spot) {
        self.charge(spot, class, Part::All, 1);
        self.proc_mut(place).lease = Some(Lease { class, spot, lent: false });
    }

    /// Gives back what a process holds.
    pub(super) fn end_lease(&mut self, place: u16) {
        let Some(lease) = self.proc_mut(place).lease.take() else { return };
        let part = if lease.lent { Part::Labels } else { Part::All };
        self.charge(lease.spot, lease.class, part, -1);
    }

    /// Lends the cpus of a body that waits, or takes them back. Taking them back does not wait:
    /// for a moment there may be more at work than there are cpus, which cannot deadlock.
    pub(super) fn lend(&mut self, place: u16, lent: bool) {
        let Some(lease) = &mut self.procs[usize::from(place)].lease else { return };
        if lease.lent == lent {
            return;
        }
        lease.lent = lent;
        let (class, spot) = (lease.class, lease.spot);
        self.charge(spot, class, Part::Cpus, if lent { -1 } else { 1 });
    }

    // ---- posting ----------------------------------------------------------------------------

    /// Writes a task into the next cell of a process, which has room. False when there is no
    /// memory for its arguments.
    pub(super) fn write_letter(&mut self, place: u16, index: Index) -> bool {
        let process = &self.procs[usize::from(place)];
        let Some(task) = self.objects.task(index) else { return false };
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
        let Some((need, looks_back)) = self.letter_bytes(task, hooks.as_deref()) else {
            return false;
        };
        let mut envelope = None;
        // SAFETY: the cell is the host's until it is posted, and the area has this size.
        let mut room = unsafe { std::slice::from_raw_parts_mut(cell.args(), CELL_ARGS) };
        if need > CELL_ARGS {
            let Ok(block) = self.store.take(need as u64) else {
                self.memory_short = true;
                return false;
            };
            let (address, _) = self.store.place(block);
            room[..8].copy_from_slice(&address.to_ne_bytes());
            room[8..16].copy_from_slice(&(need as u64).to_ne_bytes());
            head.flags |= flags::ENVELOPE;
            head.args_len = 16;
            envelope = Some(block);
            // SAFETY: a block that was taken just now, for this.
            let Some(lent) = (unsafe { self.memory.room(address, need as u64) }) else {
                return false;
            };
            room = lent;
        } else {
            head.args_len = need as u32;
        }
        self.write_args(task, hooks.as_deref(), Pen(room));
        cell.write_head(head);
        let floor = if looks_back { process.done } else { seq };
        *self.proc_mut(place).letter_mut(seq) = Letter { object: Some(index), floor, envelope };
        true
    }

    /// Bytes of a task's arguments in a letter, and whether one is the value of an earlier letter.
    /// `None`: one of them has failed, or is nowhere.
    #[inline]
    fn letter_bytes(&self, task: &Task, hooks: Option<&[u8]>) -> Option<(usize, bool)> {
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
                            pen.put(&wire::PLACED.to_ne_bytes());
                            pen.put(&address.to_ne_bytes());
                            pen.put(&len.to_ne_bytes());
                        }
                        _ => {
                            let earlier = match self.objects.task(dep).map(|task| task.phase) {
                                Some(Phase::Posted { seq, .. }) => seq,
                                _ => 0, // no letter has this number, so the worker says so
                            };
                            pen.put(&wire::CELL.to_ne_bytes());
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
        self.ring_worker(place);
    }

    /// Wakes a worker that sleeps.
    pub(super) fn ring_worker(&self, place: u16) {
        let entry = self.memory.entry(place);
        if self.memory.asymmetric {
            std::sync::atomic::compiler_fence(SeqCst);
        } else {
            std::sync::atomic::fence(SeqCst);
        }
        if entry.door.load(Relaxed) == door::ASLEEP && door::knock(&entry.door) {
            futex::wake(&entry.door, i32::MAX);
        }
    }

    /// Takes back all letters of a process that its worker has not begun, newest first.
    pub(super) fn recall_all(&mut self, place: u16) {
        while self.recall_last(place) {}
    }

    /// The same for good, at the end of the flow.
    pub(super) fn recall_quietly(&mut self, place: u16) {
        let open: Vec<u64> = self.procs[usize::from(place)].open_letters().collect();
        for seq in open.into_iter().rev() {
            let _ = self.memory.cell(place, seq).state().recall(seq);
        }
    }

    /// Takes the newest letter of a process back, if its worker has not taken it.
    pub(super) fn recall_last(&mut self, place: u16) -> bool {
        let process = &self.procs[usize::from(place)];
        let newest = process.open_letters().next_back();
        let Some(seq) = newest else { return false };
        self.recall(place, seq)
    }

    /// Takes one letter back. Its task is to be run again, somewhere.
    fn recall(&mut self, place: u16, seq: u64) -> bool {
        if !self.memory.cell(place, seq).state().recall(seq) {
            return false;
        }
        if let Some(index) = self.end_letter(place, seq) {
            self.again(index, false);
        }
        true
    }

    /// Takes the letter of one task back for good. True when it will not run.
    pub(super) fn withdraw(&mut self, place: u16, seq: u64) -> bool {
        let withdrawn = self.memory.cell(place, seq).state().recall(seq);
        if withdrawn {
            self.end_letter(place, seq);
        }
        withdrawn
    }

    /// A letter is over: its object, if it had one.
    pub(super) fn end_letter(&mut self, place: u16, seq: u64) -> Option<Index> {
        let letter = self.proc_mut(place).letter_mut(seq);
        let object = letter.object.take();
        let envelope = letter.envelope.take();
        if let Some(block) = envelope {
            self.store.release(block);
        }
        if let Some(task) = object.and_then(|index| self.objects.task_mut(index)) {
            task.phase = Phase::Waiting;
            self.unposted += 1; // until it is posted again, or complete
        }
        object
    }

    // ---- replies ----------------------------------------------------------------------------

    /// Reads what the busy processes have to say. Whether there was anything.
    pub(super) fn pump(&mut self) -> bool {
        let mut any = false;
        let mut at = 0;
        while let Some(&place) = self.busy.get(at) {
            any |= self.pump_one(place);
            // It may have left the list, and another may be in its place.
            at += usize::from(self.busy.get(at) == Some(&place));
        }
        any
    }

    /// The same for one process.
    pub(super) fn pump_one(&mut self, place: u16) -> bool {
        let mut any = false;
        loop {
            let process = &self.procs[usize::from(place)];
            if !process.used {
                return any;
            }
            let seq = process.done;
            let there = seq < process.next;
            let state = there.then(|| self.memory.cell(place, seq).state().look(seq)).flatten();
            // What was asked before the reply is heard before it.
            if self.memory.has_asks(place) {
                any |= self.hear(place);
            }
            match state {
                Some(cell::Phase::Done) => self.complete(place, seq),
                Some(cell::Phase::Recalled) => {}
                _ => return any,
            }
            any = true;
            let process = self.proc_mut(place);
            if process.done == seq {
                process.done += 1;
            }
            self.after_letter(place);
        }
    }

    /// A process has come to the end of a letter.
    fn after_letter(&mut self, place: u16) {
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
        let worker = self.procs[usize::from(place)].worker;
        self.workers[worker].idle.push(place);
        if self.workers[worker].idle.len() > self.workers[worker].base {
            self.proc_mut(place).idle_since = Some(std::time::Instant::now());
            self.poke = true;
        }
        self.schedule();
        self.steal();
    }

    /// When nothing is queued and a worker is idle: takes a letter that stands behind another.
    fn steal(&mut self) {
        if self.busy.len() < 2 && self.busy.first().is_none_or(|&p| self.procs[usize::from(p)].outstanding() < 2) {
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
        self.workers.iter().any(|w| w.broken.is_none() && !w.idle.is_empty() && w.free.covers(demand))
    }

    /// Reads a reply and completes its task.
    fn complete(&mut self, place: u16, seq: u64) {
        let reply = self.memory.cell(place, seq).reply();
        let value = self.read_reply(place, seq, &reply);
        let open = std::mem::take(&mut self.proc_mut(place).open);
        for block in open {
            self.store.release(block);
        }
        let mut children = std::mem::take(&mut self.proc_mut(place).children);
        if let Some(index) = self.end_letter(place, seq) {
            self.note_duration(index, reply.duration_ns);
            match value {
                Ok(Outcome::Value(value)) => {
                    if self.objects.task(index).is_some_and(|task| task.cancelled) {
                        self.drop_value(value);
                        self.failed(place, index, Cause::Cancelled);
                    } else {
                        self.objects.at_mut(index).children = std::mem::take(&mut children);
                        let makes = self.objects.task(index).and_then(|task| task.makes);
                        self.settle(index, value);
                        if let Some(actor) = makes {
                            self.maker_settled(actor);
                        }
                    }
                }
                Ok(Outcome::Failed(cause)) => self.failed(place, index, cause),
                Ok(Outcome::Upstream) => self.again(index, false),
                Err(Mad) => {
                    self.go_mad(place, "a reply that cannot be");
                    self.failed(place, index, Cause::WorkerCrashed(MAD.to_owned()));
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
        self.fail(index, worker, if cancelled { Cause::Cancelled } else { cause });
        if let Some(actor) = makes {
            self.maker_settled(actor);
        }
    }

    fn read_reply(&mut self, place: u16, seq: u64, reply: &Reply) -> Result<Outcome, Mad> {
        let cell = self.memory.cell(place, seq);
        let inline = |len: u32| -> Result<SmallVec<[u8; 32]>, Mad> {
            let len = len as usize;
            if len <= SHORT_REPLY {
                let bytes: &[u8] = bytemuck::cast_slice(&reply.short);
                return Ok(SmallVec::from_slice(&bytes[..len]));
            }
            if len > LONG_REPLY {
                return Err(Mad);
            }
            let mut bytes: SmallVec<[u8; 32]> = SmallVec::from_elem(0, len);
            // SAFETY: inside the cell's area; a copy of whatever bytes are there.
            unsafe { cell.long().copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
            Ok(bytes)
        };
        let [address, len] = reply.short;
        match reply.kind {
            reply::VALUE => Ok(Outcome::Value(Value::Inline(inline(reply.len)?))),
            reply::PLACED => {
                let block = self.claim(place, address, len).ok_or(Mad)?;
                Ok(Outcome::Value(Value::Placed { block, address, len }))
            }
            reply::FAILED => decode_cause(&inline(reply.len)?),
            reply::FAILED_PLACED => {
                let block = self.claim(place, address, len).ok_or(Mad)?;
                let bytes = self.memory.copy(address, len);
                self.store.release(block);
                decode_cause(&bytes.ok_or(Mad)?)
            }
            reply::UPSTREAM => Ok(Outcome::Upstream),
            reply::UNRUN => Ok(Outcome::Failed(Cause::Cancelled)),
            _ => Err(Mad),
        }
    }

    /// The block in which a worker says it has put a value, with a use for that value.
    fn claim(&mut self, place: u16, address: u64, len: u64) -> Option<BlockId> {
        let process = &mut self.procs[usize::from(place)];
        let own = process.open.iter().position(|&block| self.store.contains(block, address, len));
        if let Some(at) = own {
            return Some(process.open.swap_remove(at));
        }
        let pocket = process.pocket.filter(|&block| self.store.contains(block, address, len))?;
        self.store.share(pocket);
        Some(pocket)
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

    /// A process wrote what cannot be: it is ended, and what it did counts as its death.
    pub(super) fn go_mad(&mut self, place: u16, what: &str) {
        tracing::error!(place, what, "a worker wrote what cannot be; it is ended");
        self.doom(place, Doom::Mad);
    }

    /// Ends a process. What stands at it has been taken back before, so nobody else is hit.
    pub(super) fn doom(&mut self, place: u16, why: Doom) {
        self.recall_all(place);
        let process = self.proc_mut(place);
        process.doom.get_or_insert(why);
        if let Some(reins) = &process.reins {
            pidfd_kill(&reins.death, libc::SIGKILL);
        }
        self.poke = true;
    }
}

enum Outcome {
    Value(Value),
    Failed(Cause),
    Upstream,
}

/// A process wrote what cannot be.
struct Mad;

const MAD: &str = "it wrote a reply that cannot be, and was ended";

fn decode_cause(bytes: &[u8]) -> Result<Outcome, Mad> {
    args::decode(bytes).map(Outcome::Failed).map_err(|_| Mad)
}

/// How arguments stand in a letter: a word each, then what it says.
pub(in crate::flow) mod wire {
    /// Address and length follow.
    pub(in crate::flow) const PLACED: u32 = 1 << 30;
    /// The number of an earlier letter follows.
    pub(in crate::flow) const CELL: u32 = 2 << 30;
    /// The kind's bits; without one, so many bytes follow.
    pub(in crate::flow) const KIND: u32 = 3 << 30;
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
