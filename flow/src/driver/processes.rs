//! Processes and what the host knows of each: its posted tasks, what it holds, why it ends.

use std::collections::HashMap;

use mailring_process::fork_server::ChildHandle;

use super::State;
use super::objects::Index;
use super::scheduler::{ClassId, Part, Spot};
use super::store::BlockId;
use crate::protocol::memory::CELLS;

/// A task in a cell, as the host knows it.
#[derive(Clone, Copy, Default)]
pub(super) struct PostedTask {
    /// `None`: taken back, or over.
    pub(super) object: Option<Index>,
    /// The oldest task that was not over when this one was posted: it may look back so far.
    pub(super) floor: u64,
    /// Where its arguments are, if not in the cell.
    pub(super) envelope: Option<BlockId>,
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
    ProtocolViolation,
    Idle,
    /// It ended by itself.
    Gone,
}

#[derive(Default)]
pub(super) struct Process {
    /// Somebody has this number.
    pub(super) used: bool,
    /// Which of all that have had this number.
    pub(super) birth: u64,
    pub(super) worker: usize,
    pub(super) lease: Option<Lease>,
    posted_tasks: Vec<PostedTask>,
    /// The next task, and the oldest that is not over.
    pub(super) next: u64,
    pub(super) done: u64,
    pub(super) actor: Option<u32>,
    pub(super) child: Option<ChildHandle>,
    /// Objects that its handles name, beyond what its task holds.
    pub(super) kept: HashMap<Index, u32>,
    /// Named by the completion that comes next.
    pub(super) children: Vec<Index>,
    /// For small results; and for those of the present task that are large.
    pub(super) bump_area: Option<BlockId>,
    pub(super) open: Vec<BlockId>,
    /// Bytes that its present body was given.
    pub(super) given: u64,
    /// Waits of its body: number of the ask, and what it waits for.
    pub(super) waits: Vec<super::waits::Wait>,
    pub(super) doom: Option<Doom>,
    /// A thread that was abandoned, and has not ended.
    pub(super) abandoned: bool,
    /// Cancels of its bodies that are not through.
    pub(super) cancels: u32,
    /// Nothing is to stand behind its body for a moment.
    pub(super) alone: bool,
    /// Subprocesses that tasks have left on purpose.
    pub(super) spared: Vec<(i32, u64)>,
    /// The oldest posted task, if its body has not begun, and since when that was seen.
    pub(super) unbegun: Option<(u64, std::time::Instant)>,
    /// The task with a deadline whose body runs, and since when.
    pub(super) begun: Option<(u64, std::time::Instant)>,
    /// Where its body was when it panicked; its completion comes next.
    pub(super) backtrace: Option<String>,
    /// Idle since.
    pub(super) idle_since: Option<std::time::Instant>,
}

impl Process {
    pub(super) fn new(worker: usize, birth: u64) -> Self {
        Self {
            used: true,
            birth,
            worker,
            posted_tasks: vec![PostedTask::default(); CELLS as usize],
            next: 1,
            done: 1,
            ..Self::default()
        }
    }

    #[inline]
    pub(super) fn outstanding(&self) -> u64 {
        self.next - self.done
    }

    /// Tasks that can be posted now.
    #[inline]
    pub(super) fn room(&self) -> u64 {
        let floor =
            if self.done < self.next { self.posted_task(self.done).floor } else { self.next };
        (floor + CELLS).saturating_sub(self.next)
    }

    #[inline]
    pub(super) fn posted_task(&self, seq: u64) -> &PostedTask {
        &self.posted_tasks[(seq % CELLS) as usize]
    }

    #[inline]
    pub(super) fn posted_task_mut(&mut self, seq: u64) -> &mut PostedTask {
        &mut self.posted_tasks[(seq % CELLS) as usize]
    }

    /// Whether tasks of this class may stand behind those that are there.
    #[inline]
    pub(super) fn serves(&self, class: ClassId) -> bool {
        self.lease.is_some_and(|lease| lease.class == class && !lease.lent)
            && self.actor.is_none()
            && self.doom.is_none()
            && !self.alone
            && self.cancels == 0
            && self.waits.is_empty()
    }

    /// The task that was posted last, if it is not over.
    pub(super) fn last_posted(&self) -> Option<Index> {
        if self.outstanding() == 0 { None } else { self.posted_task(self.next - 1).object }
    }

    /// The tasks that are not over, oldest first.
    pub(super) fn open_tasks(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        (self.done..self.next).filter(|&seq| self.posted_task(seq).object.is_some())
    }

    /// The oldest posted task that is not over, and its object.
    pub(super) fn oldest(&self) -> Option<(u64, Index)> {
        let seq = self.open_tasks().next()?;
        Some((seq, self.posted_task(seq).object?))
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
        if idle.is_some() || self.workers[worker].is_paused() {
            return idle;
        }
        let new = self.new_process(worker);
        if new.is_none() {
            self.send_one_away(); // its number is for the next who asks
        }
        new
    }

    /// A number for a process that the driver thread will fork. Tasks may be posted to it at once.
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
        self.births += 1;
        *self.proc_mut(place) = Process::new(worker, self.births);
        self.workers[worker].processes += 1;
        self.spawns.push_back(place);
        self.wakeup = true;
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
}
