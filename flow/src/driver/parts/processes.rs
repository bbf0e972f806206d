//! Processes, and what the driver knows of each: its posted tasks, what it holds, what its body
//! waits for, why it ends; and for each logical worker, which of them it has and how their starts go.
//!
//! What others read of a process they read by reference; every change is a function here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::time::{Duration, Instant};

use mailring_process::backoff::{START, Starts, end_overdue, overdue_at};
use mailring_process::fork_server::{ChildHandle, StartStep};

use super::effects::Effects;
use super::quantities::{ClassId, Spot};
use super::store::{BlockId, Store};
use super::tasks::Index;
use super::unpark::unpark;
use super::waits::Wait;
use crate::profile::records::Extra;
use crate::protocol::cell;
use crate::protocol::memory::{CELLS, Memory};

/// A task in a cell, as the driver knows it.
#[derive(Clone, Copy, Default)]
pub(crate) struct PostedTask {
    /// `None`: taken back, or over.
    pub(crate) object: Option<Index>,
    /// The oldest task that was not over when this one was posted: it may look back so far.
    pub(crate) floor: u64,
    /// Where its arguments are, if not in the cell.
    pub(crate) envelope: Option<BlockId>,
}

/// What a process holds of a worker while it runs tasks.
#[derive(Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) class: ClassId,
    pub(crate) spot: Spot,
    /// Its cpus are with others while its body waits.
    pub(crate) lent: bool,
}

/// Why a process is about to be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doom {
    Deadline,
    Cancel,
    Actor,
    ProtocolViolation,
    Idle,
    /// It ended by itself.
    Gone,
}

/// What stands in the oldest cell of a process that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Oldest {
    /// Nothing that is over.
    Open,
    Done(u64),
    /// It was taken back, and its worker has passed over it.
    PassedOver(u64),
    /// A word that no worker writes.
    Invalid,
}

#[derive(Default)]
pub(crate) struct Process {
    /// Somebody has this place.
    pub(crate) used: bool,
    /// Which of all that have had this place.
    pub(crate) birth: u64,
    pub(crate) worker: usize,
    pub(crate) lease: Option<Lease>,
    posted_tasks: Vec<PostedTask>,
    /// The next task, and the oldest that is not over.
    next: u64,
    done: u64,
    pub(crate) actor: Option<u32>,
    pub(crate) child: Option<ChildHandle>,
    /// Objects that its handles name, beyond what its task holds.
    pub(crate) kept: HashMap<Index, u32>,
    /// Named by the completion that comes next.
    pub(crate) children: Vec<Index>,
    /// For small results; and for those of the present task that are large.
    bump_area: Option<BlockId>,
    open: Vec<BlockId>,
    /// Bytes that its present body was given.
    pub(crate) given: u64,
    /// What its body waits for.
    pub(crate) waits: Vec<Wait>,
    /// How often it waits for memory.
    memory_waits: u32,
    pub(crate) doom: Option<Doom>,
    /// A thread that was abandoned, and has not ended.
    pub(crate) abandoned: bool,
    /// Cancels of its bodies that are not through.
    pub(crate) cancels: u32,
    /// Nothing is to stand behind its body for a moment.
    alone: bool,
    /// Subprocesses that tasks have left on purpose.
    pub(crate) spared: Vec<(i32, u64)>,
    /// The oldest posted task, if its body has not begun, and since when that was seen.
    unbegun: Option<(u64, Instant)>,
    /// The task with a deadline whose body runs, and since when.
    begun: Option<(u64, Instant)>,
    /// Where its body was when it panicked; its completion comes next.
    pub(crate) backtrace: Option<String>,
    /// What its body has said of itself for the profile, in objects of JSON.
    extra: Extra,
    /// Idle since.
    pub(crate) idle_since: Option<Instant>,
}

impl Process {
    fn new(worker: usize, birth: u64) -> Self {
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

    /// The number of the next task.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest that is not over.
    #[inline]
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    #[inline]
    pub(crate) fn outstanding(&self) -> u64 {
        self.next - self.done
    }

    /// Tasks that can be posted now.
    #[inline]
    pub(crate) fn room(&self) -> u64 {
        let floor =
            if self.done < self.next { self.posted_task(self.done).floor } else { self.next };
        (floor + CELLS).saturating_sub(self.next)
    }

    #[inline]
    pub(crate) fn posted_task(&self, seq: u64) -> &PostedTask {
        &self.posted_tasks[(seq % CELLS) as usize]
    }

    #[inline]
    fn posted_task_mut(&mut self, seq: u64) -> &mut PostedTask {
        &mut self.posted_tasks[(seq % CELLS) as usize]
    }

    /// Whether tasks of this class may stand behind those that are there.
    #[inline]
    pub(crate) fn serves(&self, class: ClassId) -> bool {
        self.lease.is_some_and(|lease| lease.class == class && !lease.lent)
            && self.actor.is_none()
            && self.doom.is_none()
            && !self.alone
            && self.cancels == 0
            && self.waits.is_empty()
    }

    /// The task that was posted last, if it is not over.
    pub(crate) fn last_posted(&self) -> Option<Index> {
        if self.outstanding() == 0 { None } else { self.posted_task(self.next - 1).object }
    }

    /// The tasks that are not over, oldest first.
    pub(crate) fn open_tasks(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        (self.done..self.next).filter(|&seq| self.posted_task(seq).object.is_some())
    }

    /// The oldest posted task that is not over, and its object.
    pub(crate) fn oldest(&self) -> Option<(u64, Index)> {
        let seq = self.open_tasks().next()?;
        Some((seq, self.posted_task(seq).object?))
    }

    /// The task whose body it runs.
    pub(crate) fn body(&self) -> Option<Index> {
        self.oldest().map(|(_, index)| index)
    }

    /// Whether its body waits for memory.
    #[inline]
    pub(crate) fn waits_for_memory(&self) -> bool {
        self.memory_waits > 0
    }

    /// Whether its body waits, for values or for memory.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waits.is_empty() || self.waits_for_memory()
    }

    /// Whether it has a body that goes on by itself.
    pub(crate) fn is_at_work(&self) -> bool {
        self.outstanding() > 0 && !self.is_waiting()
    }

    /// Whether a wait of its body has an end.
    pub(crate) fn has_timed_wait(&self) -> bool {
        self.waits.iter().any(|wait| wait.until.is_some())
    }
}

/// The processes of one logical worker.
struct Pool {
    idle: Vec<u16>,
    processes: usize,
    /// Kept although they have nothing to do.
    base: usize,
    /// How the starts of its processes go.
    starts: Starts,
}

impl Pool {
    /// No process is there for another task, and none is tried for a moment since starts fail.
    fn is_paused(&self) -> bool {
        self.idle.is_empty() && self.starts.next().is_some()
    }
}

pub(crate) struct Processes {
    memory: Arc<Memory>,
    /// By place.
    list: Vec<Process>,
    free_places: Vec<u16>,
    births: u64,
    /// Those that died, and those that were ended.
    ends: (u64, u64),
    /// Those with posted tasks.
    busy: Vec<u16>,
    /// Waits of bodies.
    blocked: usize,
    /// A body with a deadline may run.
    any_timed: bool,
    /// For the driver thread to fork.
    spawns: VecDeque<u16>,
    /// Those that were forked and do not serve yet, as far as has been seen.
    starting: Vec<u16>,
    /// By worker.
    pools: Vec<Pool>,
}

// ---- what is there --------------------------------------------------------------------------

impl Processes {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            list: Vec::new(),
            free_places: Vec::new(),
            births: 0,
            ends: (0, 0),
            busy: Vec::new(),
            blocked: 0,
            any_timed: false,
            spawns: VecDeque::new(),
            starting: Vec::new(),
            pools: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn at(&self, place: u16) -> &Process {
        &self.list[usize::from(place)]
    }

    #[inline]
    fn at_mut(&mut self, place: u16) -> &mut Process {
        &mut self.list[usize::from(place)]
    }

    /// All that are there, with their places.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u16, &Process)> + '_ {
        (0u16..).zip(&self.list).filter(|(_, process)| process.used)
    }

    /// Their places.
    pub(crate) fn places(&self) -> Vec<u16> {
        self.all().map(|(place, _)| place).collect()
    }

    /// The children that are there, with their places.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u16, &ChildHandle)> + '_ {
        self.all().filter_map(|(place, process)| Some((place, process.child.as_ref()?)))
    }

    /// Places with posted tasks.
    #[inline]
    pub(crate) fn busy(&self) -> &[u16] {
        &self.busy
    }

    /// The processes with posted tasks.
    #[inline]
    pub(crate) fn busy_ones(&self) -> impl Iterator<Item = (u16, &Process)> + '_ {
        self.busy.iter().map(|&place| (place, self.at(place)))
    }

    /// Places that are taken, and how many there can be.
    #[inline]
    pub(crate) fn taken(&self) -> (usize, usize) {
        (self.list.len() - self.free_places.len(), self.memory.places())
    }

    /// Processes with nothing to do.
    pub(crate) fn idle(&self) -> usize {
        self.pools.iter().map(|pool| pool.idle.len()).sum()
    }

    /// Waits of bodies.
    #[inline]
    pub(crate) fn blocked(&self) -> usize {
        self.blocked
    }

    /// The task whose body a process runs.
    #[inline]
    pub(crate) fn body_of(&self, place: u16) -> Option<Index> {
        self.at(place).body()
    }

    /// Whether tasks stand behind others at some process.
    pub(crate) fn has_standing(&self) -> bool {
        self.busy_ones().any(|(_, process)| process.outstanding() > 1)
    }

    /// Whether any process is to be forked, or about to begin.
    pub(crate) fn is_any_starting(&self) -> bool {
        !self.spawns.is_empty()
            || self.pools.iter().any(|pool| pool.starts.next().is_some())
            || self.all().any(|(place, _)| self.memory.entry(place).live.load(Relaxed) == 0)
    }

    /// How far the worker is with a posted task; `None` if it has written an invalid word.
    #[inline]
    pub(crate) fn look(&self, place: u16, seq: u64) -> Option<cell::Phase> {
        self.memory.cell(place, seq).state().look(seq)
    }
}

// ---- places ---------------------------------------------------------------------------------

impl Processes {
    /// One more logical worker, which keeps so many processes.
    pub(crate) fn add_worker(&mut self, base: usize) {
        let starts = Starts::default();
        self.pools.push(Pool { idle: Vec::new(), processes: 0, base, starts });
    }

    /// No process of the worker is there for another task, and none is tried for a moment.
    #[inline]
    pub(crate) fn is_paused(&self, worker: usize) -> bool {
        self.pools[worker].is_paused()
    }

    #[inline]
    pub(crate) fn has_idle(&self, worker: usize) -> bool {
        !self.pools[worker].idle.is_empty()
    }

    /// An idle process of a worker, or a new one, to which tasks may be posted at once.
    #[inline]
    pub(crate) fn take(&mut self, worker: usize, effects: &mut Effects) -> Option<u16> {
        let idle = self.pools[worker].idle.pop();
        if idle.is_some() || self.pools[worker].is_paused() {
            return idle;
        }
        let new = self.add(worker, effects);
        if new.is_none() {
            self.send_one_away(); // its place is for the next who asks
        }
        new
    }

    /// A place for a process that the driver thread will fork.
    fn add(&mut self, worker: usize, effects: &mut Effects) -> Option<u16> {
        let place = match self.free_places.pop() {
            Some(place) => place,
            None if self.list.len() < self.memory.places() => {
                self.list.push(Process::default());
                (self.list.len() - 1) as u16
            }
            None => return None,
        };
        self.memory.reset(place);
        self.births += 1;
        *self.at_mut(place) = Process::new(worker, self.births);
        self.pools[worker].processes += 1;
        self.spawns.push_back(place);
        effects.wakeup = true;
        Some(place)
    }

    /// It has nothing to do. If it is more than its worker keeps, it leaves after a while.
    #[inline]
    pub(crate) fn put_idle(&mut self, place: u16, effects: &mut Effects) {
        let pool = &mut self.pools[self.list[usize::from(place)].worker];
        pool.idle.push(place);
        if pool.idle.len() > pool.base {
            self.at_mut(place).idle_since = Some(Instant::now());
            effects.wakeup = true;
        }
    }

    /// It was taken, and nothing was posted.
    pub(crate) fn put_back(&mut self, place: u16) {
        self.pools[self.list[usize::from(place)].worker].idle.push(place);
    }

    /// Workers have the processes that they keep: one for each first, and the rest as long as some
    /// places are left for bodies that wait.
    pub(crate) fn fill_up_evenly(&mut self, effects: &mut Effects) {
        let most = self.pools.iter().map(|pool| pool.base).max().unwrap_or(0);
        for round in 1..=most {
            for worker in 0..self.pools.len() {
                if self.pools[worker].processes >= round.min(self.pools[worker].base) {
                    continue;
                }
                let (taken, places) = self.taken();
                if round > 1 && taken * 2 >= places {
                    break;
                }
                if let Some(place) = self.add(worker, effects) {
                    self.pools[worker].idle.push(place);
                }
            }
        }
    }

    /// Workers have the processes that they keep, as far as may be now.
    pub(crate) fn fill_up(&mut self, effects: &mut Effects) {
        for worker in 0..self.pools.len() {
            while self.replace(worker, effects) {}
        }
    }

    /// One more for a worker that has fewer than it keeps. Whether there is one.
    pub(crate) fn replace(&mut self, worker: usize, effects: &mut Effects) -> bool {
        let pool = &self.pools[worker];
        if pool.processes >= pool.base || pool.starts.next().is_some() {
            return false;
        }
        let new = self.add(worker, effects);
        self.pools[worker].idle.extend(new);
        new.is_some()
    }

    /// Sends idle processes away that are more than a worker keeps, after so long. When to look
    /// again.
    pub(crate) fn send_idle_away(&mut self, now: Instant, after: Duration) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for worker in 0..self.pools.len() {
            let pool = &self.pools[worker];
            let mut spare = pool.idle.len().saturating_sub(pool.base);
            for place in pool.idle.clone() {
                let process = self.at(place);
                // What its tasks have left running lives as long as it does.
                let Some(since) = process.idle_since.filter(|_| process.spared.is_empty()) else {
                    continue;
                };
                if spare == 0 {
                    break;
                }
                spare -= 1;
                if now.duration_since(since) < after {
                    next = Some(next.map_or(since + after, |known| known.min(since + after)));
                    continue;
                }
                self.pools[worker].idle.retain(|&other| other != place);
                self.send_away(place);
            }
        }
        next
    }

    /// All places are taken: an idle process of some worker leaves, if there is one.
    fn send_one_away(&mut self) {
        if self.list.iter().any(|process| process.doom == Some(Doom::Idle)) {
            return; // one is on its way
        }
        let idle = self.pools.iter_mut().find_map(|pool| pool.idle.pop());
        if let Some(place) = idle {
            self.send_away(place);
        }
    }

    fn send_away(&mut self, place: u16) {
        self.at_mut(place).doom = Some(Doom::Idle);
        self.memory.entry(place).leave.store(1, SeqCst);
        unpark(&self.memory, place);
    }

    /// Nothing is given to a process any more, and it is none of its worker's.
    pub(crate) fn leave_worker(&mut self, place: u16) {
        self.busy.retain(|&busy| busy != place);
        for pool in &mut self.pools {
            pool.idle.retain(|&idle| idle != place);
        }
        self.pools[self.list[usize::from(place)].worker].processes -= 1;
    }

    /// One has ended: by itself, or since that was wanted.
    pub(crate) fn count_end(&mut self, wanted: bool) {
        if wanted { self.ends.1 += 1 } else { self.ends.0 += 1 }
    }

    /// Processes that died, and those that were ended, so far.
    pub(crate) fn ends(&self) -> (u64, u64) {
        self.ends
    }

    /// It is gone, and holds nothing any more.
    pub(crate) fn vacate(&mut self, place: u16) {
        self.blocked -= self.at(place).waits.len();
        *self.at_mut(place) = Process::default();
        self.free_places.push(place);
    }
}

// ---- starts ---------------------------------------------------------------------------------

/// What a look at the starts of processes has found.
pub(crate) struct Looked {
    /// A pause is over: more may be placed.
    pub(crate) due: bool,
    pub(crate) next: Option<Instant>,
}

impl Processes {
    /// The next process to be forked, if its worker does not pause.
    pub(crate) fn next_spawn(&mut self) -> Option<u16> {
        let pauses = |place: u16| self.pools[self.at(place).worker].starts.next().is_some();
        let at = self.spawns.iter().position(|&place| !pauses(place))?;
        self.spawns.remove(at)
    }

    /// It was forked, and begins. It is to be watched from now on.
    pub(crate) fn spawned(&mut self, place: u16, child: ChildHandle) {
        child.begin();
        if self.at(place).doom.is_some() {
            child.kill();
        }
        self.at_mut(place).child = Some(child);
        self.starting.retain(|&other| other != place);
        self.starting.push(place);
    }

    /// It could not be forked: later, at the same place.
    pub(crate) fn spawn_later(&mut self, place: u16, why: &str) {
        self.spawns.push_back(place);
        self.pools[self.list[usize::from(place)].worker].starts.failed(Instant::now(), why);
    }

    /// One has served, so starts go well.
    pub(crate) fn came_up(&mut self, worker: usize) {
        self.pools[worker].starts.came_up();
    }

    /// One has ended before it served.
    pub(crate) fn start_failed(&mut self, worker: usize, how: &str) {
        self.pools[worker].starts.failed(Instant::now(), how);
    }

    /// Processes that do not come up are ended, and pauses end.
    pub(crate) fn look_at_starts(&mut self, now: Instant) -> Looked {
        let mut next: Vec<Option<Instant>> = Vec::new();
        let mut due = false;
        for place in std::mem::take(&mut self.starting) {
            let process = &mut self.list[usize::from(place)];
            let starts = &mut self.pools[process.worker].starts;
            let Some(child) = process.child.as_mut() else { continue };
            if child.step() >= StartStep::Live {
                due |= starts.next().is_some();
                starts.came_up();
                continue;
            }
            end_overdue(child, START, now);
            // Once it was killed, its death is seen by itself.
            next.push(overdue_at(child, START).filter(|_| child.overdue.is_none()));
            self.starting.push(place);
        }
        for pool in &mut self.pools {
            due |= pool.starts.take_due(now);
            next.push(pool.starts.next());
        }
        Looked { due, next: next.into_iter().flatten().min() }
    }

    /// By worker, why it has had no process for long; `None` as long as no such reason is new. And
    /// when to look again.
    pub(crate) fn hopeless(
        &mut self,
        now: Instant,
    ) -> (Option<Vec<Option<String>>>, Option<Instant>) {
        let mut next: Option<Instant> = None;
        let mut fresh = false;
        for pool in &mut self.pools {
            fresh |= pool.starts.take_fresh();
        }
        let mut hopeless: Vec<Option<String>> = Vec::new();
        for (worker, pool) in self.pools.iter().enumerate() {
            if let Some(at) = pool.starts.hopeless_at() {
                next = Some(next.map_or(at.max(now), |known| known.min(at.max(now))));
            }
            let serves = |process: &Process| {
                let child = process.child.as_ref();
                process.worker == worker
                    && child.is_some_and(|child| child.step() == StartStep::Live)
            };
            let why = pool.starts.hopeless(now).filter(|_| !self.list.iter().any(serves));
            hopeless.push(why.map(|why| why.to_string()));
        }
        let found = fresh && hopeless.iter().any(Option::is_some);
        (found.then_some(hopeless), next.filter(|&at| at > now))
    }
}

// ---- cells ----------------------------------------------------------------------------------

impl Processes {
    /// The descriptor of a task was written into the next cell.
    #[inline]
    pub(crate) fn set_next(&mut self, place: u16, posted: PostedTask) {
        let process = self.at_mut(place);
        let seq = process.next;
        *process.posted_task_mut(seq) = posted;
    }

    /// Counts what was written into the next cell as posted: its number. It is for
    /// [`publish`](Self::publish) to tell the worker.
    #[inline]
    pub(crate) fn post(&mut self, place: u16) -> u64 {
        let process = &mut self.list[usize::from(place)];
        let seq = process.next;
        process.next += 1;
        if process.outstanding() == 1 {
            process.idle_since = None;
            self.busy.push(place);
        }
        seq
    }

    /// The worker may take it from now on.
    #[inline]
    pub(crate) fn publish(&mut self, place: u16, seq: u64, timed: bool) {
        self.any_timed |= timed;
        self.memory.cell(place, seq).state().post(seq);
        unpark(&self.memory, place);
    }

    /// Takes a posted task back, if its worker has not taken it. (Who calls this says so with
    /// [`end_posted`](Self::end_posted).)
    pub(crate) fn recall(&self, place: u16, seq: u64) -> bool {
        self.memory.cell(place, seq).state().recall(seq)
    }

    /// The same with the newest one: its number.
    pub(crate) fn recall_last(&self, place: u16) -> Option<u64> {
        let seq = self.at(place).open_tasks().next_back()?;
        self.recall(place, seq).then_some(seq)
    }

    /// Takes all back that can be, for good: the flow ends.
    pub(crate) fn recall_quietly(&self, place: u16) {
        let open: Vec<u64> = self.at(place).open_tasks().collect();
        for seq in open.into_iter().rev() {
            let _ = self.recall(place, seq);
        }
    }

    /// A posted task is over: its object, if it had one, and where its arguments were.
    #[inline]
    pub(crate) fn end_posted(&mut self, place: u16, seq: u64) -> (Option<Index>, Option<BlockId>) {
        let posted = self.at_mut(place).posted_task_mut(seq);
        (posted.object.take(), posted.envelope.take())
    }

    /// What stands in the oldest cell that is not over.
    #[inline]
    pub(crate) fn oldest(&self, place: u16) -> Oldest {
        let process = self.at(place);
        let seq = process.done;
        if seq == process.next {
            return Oldest::Open;
        }
        match self.look(place, seq) {
            Some(cell::Phase::Done) => Oldest::Done(seq),
            Some(cell::Phase::Recalled) if process.posted_task(seq).object.is_none() => {
                Oldest::PassedOver(seq)
            }
            None | Some(cell::Phase::Recalled) if process.doom.is_none() => Oldest::Invalid,
            _ => Oldest::Open,
        }
    }

    /// The oldest is over, whether it ran or not.
    #[inline]
    pub(crate) fn pass(&mut self, place: u16, seq: u64) {
        let process = self.at_mut(place);
        if process.done == seq {
            process.done += 1;
        }
    }

    /// Nothing stands there any more.
    #[inline]
    pub(crate) fn leave_busy(&mut self, place: u16) {
        match self.busy.iter().position(|&busy| busy == place) {
            Some(last) if last + 1 == self.busy.len() => self.busy.truncate(last),
            Some(at) => {
                self.busy.remove(at);
            }
            None => {}
        }
    }

    /// The posted tasks that are not over, and whether their bodies have begun.
    pub(crate) fn begun_tasks(&self, place: u16) -> Vec<(u64, bool)> {
        let begun = |seq| {
            // An invalid word: it may have begun.
            !matches!(
                self.look(place, seq),
                Some(cell::Phase::Posted | cell::Phase::Taken | cell::Phase::Recalled)
            )
        };
        self.at(place).open_tasks().map(|seq| (seq, begun(seq))).collect()
    }

    /// Whether the worker has ever served.
    pub(crate) fn has_served(&self, place: u16) -> bool {
        self.at(place).done > 1 || self.memory.entry(place).live.load(Acquire) != 0
    }
}

// ---- what a process holds -------------------------------------------------------------------

impl Processes {
    #[inline]
    pub(crate) fn set_lease(&mut self, place: u16, lease: Lease) {
        self.at_mut(place).lease = Some(lease);
    }

    #[inline]
    pub(crate) fn take_lease(&mut self, place: u16) -> Option<Lease> {
        self.at_mut(place).lease.take()
    }

    /// The lease, if that is a change.
    pub(crate) fn set_lent(&mut self, place: u16, lent: bool) -> Option<Lease> {
        let lease = self.at_mut(place).lease.as_mut().filter(|lease| lease.lent != lent)?;
        lease.lent = lent;
        Some(*lease)
    }

    /// Its body has said this of itself. (As much as the profile keeps.)
    pub(crate) fn add_extra(&mut self, place: u16, object: &str) {
        const PIECES: usize = 64;
        let extra = self.at_mut(place).extra.get_or_insert_default();
        if extra.len() < PIECES {
            extra.push(object.to_owned());
        }
    }

    /// All that it has said.
    #[inline]
    pub(crate) fn take_extra(&mut self, place: u16) -> Extra {
        self.at_mut(place).extra.take()
    }

    pub(crate) fn set_actor(&mut self, place: u16, actor: Option<u32>) {
        self.at_mut(place).actor = actor;
    }

    /// It has one handle more of an object, which is held for that.
    pub(crate) fn keep(&mut self, place: u16, index: Index) {
        *self.at_mut(place).kept.entry(index).or_default() += 1;
    }

    /// It has one fewer. False if it had none.
    pub(crate) fn forget(&mut self, place: u16, index: Index) -> bool {
        let kept = &mut self.at_mut(place).kept;
        let Some(count) = kept.get_mut(&index) else { return false };
        *count -= 1;
        if *count == 0 {
            kept.remove(&index);
        }
        true
    }

    /// Its handles of an object are for others, who never tell.
    pub(crate) fn disown(&mut self, place: u16, index: Index) {
        self.at_mut(place).kept.remove(&index);
    }

    /// Its next completion names an object, which is held for that.
    pub(crate) fn add_child(&mut self, place: u16, index: Index) {
        self.at_mut(place).children.push(index);
    }

    pub(crate) fn take_children(&mut self, place: u16) -> Vec<Index> {
        std::mem::take(&mut self.at_mut(place).children)
    }

    /// Its body has been given a block.
    pub(crate) fn give(&mut self, place: u16, block: BlockId) {
        self.at_mut(place).open.push(block);
    }

    /// So many bytes were given to its body.
    pub(crate) fn note_given(&mut self, place: u16, bytes: u64) {
        self.at_mut(place).given += bytes;
    }

    /// It puts small results there from now on.
    pub(crate) fn give_bump_area(&mut self, place: u16, block: BlockId, store: &mut Store) {
        if let Some(old) = self.at_mut(place).bump_area.replace(block) {
            store.release(old); // its values have uses of their own
        }
    }

    /// The block in which a worker says it has put a value, with a use for that value.
    pub(crate) fn claim(
        &mut self,
        place: u16,
        address: u64,
        len: u64,
        store: &mut Store,
    ) -> Option<BlockId> {
        let process = &mut self.list[usize::from(place)];
        let own = process.open.iter().position(|&block| store.contains(block, address, len));
        if let Some(at) = own {
            return Some(process.open.swap_remove(at));
        }
        let area = process.bump_area.filter(|&block| store.contains(block, address, len))?;
        store.share(area);
        Some(area)
    }

    /// Its body is over: what it was given and has not used is free. How many bytes it was given.
    #[inline]
    pub(crate) fn end_body(&mut self, place: u16, store: &mut Store) -> u64 {
        let process = self.at_mut(place);
        if !process.open.is_empty() {
            process.open.drain(..).for_each(|block| store.release(block));
        }
        std::mem::take(&mut process.given)
    }

    /// The arguments of a posted task are the process's own, for as long as it is there.
    pub(crate) fn keep_arguments(&mut self, place: u16, seq: u64) {
        let process = self.at_mut(place);
        let envelope = process.posted_task_mut(seq).envelope.take();
        process.open.extend(envelope);
    }

    /// All that it held: objects, as often as it did; blocks are free.
    pub(crate) fn let_go(&mut self, place: u16, store: &mut Store) -> Vec<Index> {
        let process = self.at_mut(place);
        let kept = std::mem::take(&mut process.kept);
        let blocks = process.bump_area.take().into_iter().chain(process.open.drain(..));
        blocks.for_each(|block| store.release(block));
        let children = std::mem::take(&mut process.children);
        let kept = kept.into_iter().flat_map(|(index, count)| (0..count).map(move |_| index));
        kept.chain(children).collect()
    }

    pub(crate) fn set_spared(&mut self, place: u16, spared: Vec<(i32, u64)>) {
        self.at_mut(place).spared = spared;
    }

    pub(crate) fn set_backtrace(&mut self, place: u16, text: String) {
        self.at_mut(place).backtrace = Some(text);
    }
}

// ---- waits ----------------------------------------------------------------------------------

impl Processes {
    pub(crate) fn add_wait(&mut self, place: u16, wait: Wait) {
        self.at_mut(place).waits.push(wait);
        self.blocked += 1;
    }

    pub(crate) fn remove_wait(&mut self, place: u16, at: usize) -> Wait {
        self.blocked -= 1;
        self.at_mut(place).waits.swap_remove(at)
    }

    pub(crate) fn take_waits(&mut self, place: u16) -> Vec<Wait> {
        let waits = std::mem::take(&mut self.at_mut(place).waits);
        self.blocked -= waits.len();
        waits
    }

    /// Its body waits for memory once more.
    pub(crate) fn add_memory_wait(&mut self, place: u16) {
        self.at_mut(place).memory_waits += 1;
    }

    /// Or once less.
    pub(crate) fn remove_memory_wait(&mut self, place: u16) {
        let waits = &mut self.at_mut(place).memory_waits;
        *waits = waits.saturating_sub(1);
    }
}

// ---- ends -----------------------------------------------------------------------------------

impl Processes {
    /// It is about to be ended, for the first of such reasons: nothing is posted to it any more.
    pub(crate) fn set_doom(&mut self, place: u16, why: Doom) {
        self.at_mut(place).doom.get_or_insert(why);
    }

    /// Ends it.
    pub(crate) fn kill(&self, place: u16) {
        if let Some(child) = &self.at(place).child {
            child.kill();
        }
    }

    /// Its worker ends as soon as its body has, and the body of this task is told to.
    pub(crate) fn tell_to_leave(&self, place: u16, body: Option<u64>) {
        let entry = self.memory.entry(place);
        entry.leave.store(1, SeqCst);
        if let Some(seq) = body {
            entry.cancelled.store(seq + 1, SeqCst);
        }
    }

    /// The body of this task is told to stop.
    pub(crate) fn tell_to_stop(&self, place: u16, seq: u64) {
        self.memory.entry(place).cancelled.store(seq + 1, SeqCst);
    }

    /// Whether the body that asks has been told to stop.
    pub(crate) fn is_told_to_stop(&self, place: u16) -> bool {
        let entry = self.memory.entry(place);
        let inside = entry.inside.load(Relaxed);
        inside != 0 && entry.cancelled.load(Relaxed) == inside
    }

    pub(crate) fn unpark(&self, place: u16) {
        unpark(&self.memory, place);
    }

    pub(crate) fn set_abandoned(&mut self, place: u16) {
        self.at_mut(place).abandoned = true;
    }

    /// A cancel of its body begins: nobody else's task comes to it until that is through.
    pub(crate) fn add_cancel(&mut self, place: u16) {
        self.at_mut(place).cancels += 1;
    }

    /// A cancel is through. Whether the process is for others now.
    pub(crate) fn end_cancel(&mut self, place: u16, birth: u64) -> bool {
        let process = self.at_mut(place);
        if process.birth != birth || process.cancels == 0 {
            return false;
        }
        process.cancels -= 1;
        process.cancels == 0 && process.outstanding() == 0
    }

    /// Whether nothing may stand behind its body.
    pub(crate) fn set_alone(&mut self, place: u16, alone: bool) {
        self.at_mut(place).alone = alone;
    }

    /// The oldest posted task, if its body has not begun: since when that has been so.
    pub(crate) fn unbegun_since(&mut self, place: u16, now: Instant) -> Option<Instant> {
        let begun =
            |seq| !matches!(self.look(place, seq), Some(cell::Phase::Posted | cell::Phase::Taken));
        let process = self.at(place);
        let oldest = process.oldest().map(|(seq, _)| seq).filter(|&seq| !begun(seq));
        let there = process.child.is_some() && process.doom.is_none();
        let known = process.unbegun;
        let unbegun = oldest.filter(|_| there).map(|seq| match known {
            Some((known, since)) if known == seq => (seq, since),
            _ => (seq, now),
        });
        self.at_mut(place).unbegun = unbegun;
        unbegun.map(|(_, since)| since)
    }

    /// Since when the body of this task has run, as far as has been seen.
    pub(crate) fn begun_since(&mut self, place: u16, seq: u64, now: Instant) -> Option<Instant> {
        let started = || self.look(place, seq) == Some(cell::Phase::Started);
        let begun = match self.at(place).begun {
            Some((known, since)) if known == seq => Some(since),
            _ => started().then_some(now),
        };
        self.at_mut(place).begun = begun.map(|since| (seq, since));
        begun
    }

    /// Whether a body with a deadline may run.
    #[inline]
    pub(crate) fn is_any_timed(&self) -> bool {
        self.any_timed
    }

    pub(crate) fn set_any_timed(&mut self, any: bool) {
        self.any_timed = any;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(places: usize) -> Processes {
        let memory = Memory::new("processes", places, 1 << 20, None).unwrap();
        Processes::new(Arc::new(memory))
    }

    fn post(processes: &mut Processes, place: u16, object: Index) -> u64 {
        let floor = processes.at(place).next();
        processes.set_next(place, PostedTask { object: Some(object), floor, envelope: None });
        let seq = processes.post(place);
        processes.publish(place, seq, false);
        seq
    }

    #[test]
    fn a_place_is_used_again_by_another_birth() {
        let (mut processes, effects) = (processes(1), &mut Effects::default());
        processes.add_worker(1);
        let place = processes.take(0, effects).unwrap();
        assert!(effects.wakeup && processes.next_spawn() == Some(place));
        let birth = processes.at(place).birth;
        assert_eq!((processes.take(0, effects), processes.taken()), (None, (1, 1)));
        processes.leave_worker(place);
        processes.vacate(place);
        assert_eq!(processes.take(0, effects), Some(place));
        assert_ne!(processes.at(place).birth, birth);
    }

    #[test]
    fn when_all_places_are_taken_an_idle_process_leaves() {
        let (mut processes, effects) = (processes(1), &mut Effects::default());
        processes.add_worker(1);
        processes.add_worker(1);
        let place = processes.take(0, effects).unwrap();
        processes.put_idle(place, effects);
        assert_eq!(processes.take(1, effects), None);
        assert_eq!(processes.at(place).doom, Some(Doom::Idle));
        assert_eq!(processes.idle(), 0);
    }

    #[test]
    fn posted_tasks_come_back_newest_first() {
        let (mut processes, effects) = (processes(1), &mut Effects::default());
        processes.add_worker(1);
        let place = processes.take(0, effects).unwrap();
        let (first, second) = (post(&mut processes, place, 7), post(&mut processes, place, 8));
        assert_eq!(processes.busy(), [place]);
        assert_eq!(processes.at(place).body(), Some(7));
        assert_eq!(processes.oldest(place), Oldest::Open);
        assert_eq!(processes.recall_last(place), Some(second));
        assert_eq!(processes.end_posted(place, second).0, Some(8));
        assert_eq!(processes.recall_last(place), Some(first));
        assert_eq!(processes.end_posted(place, first).0, Some(7));
        assert_eq!(processes.recall_last(place), None);
        // Their cells are free when the worker has passed over them.
        assert_eq!(processes.oldest(place), Oldest::PassedOver(first));
        processes.pass(place, first);
        processes.pass(place, second);
        assert_eq!(processes.at(place).outstanding(), 0);
    }

    #[test]
    fn what_a_process_held_is_let_go_as_often_as_it_did() {
        let (mut processes, effects) = (processes(1), &mut Effects::default());
        processes.add_worker(1);
        let place = processes.take(0, effects).unwrap();
        for index in [3, 3, 4] {
            processes.keep(place, index);
        }
        processes.add_child(place, 5);
        assert!(processes.forget(place, 4) && !processes.forget(place, 4));
        let mut store = Store::new(Arc::clone(&processes.memory));
        let block = store.take(100, true).unwrap();
        processes.give(place, block);
        let mut held = processes.let_go(place, &mut store);
        held.sort_unstable();
        assert_eq!((held, store.freed()), (vec![3, 3, 5], 1));
    }
}
