//! Bodies that wait for values or for memory, and waits that could never end.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::State;
use super::objects::{Index, Value, Waiter};
use super::store::{BlockId, NoRoom};
use super::tasks::Phase;
use crate::flow::error::{Cause, Error};
use crate::flow::value::OWN_PAGES;
use crate::flow::wire::{Answer, WireValue};

/// Bytes of a pocket, at most: where a worker puts small results without asking.
const POCKET: u64 = 256 << 10;

/// A body that waits for values.
pub(super) struct Wait {
    ask: u64,
    ids: Vec<Index>,
    /// How many must be complete.
    need: usize,
    /// All of them, and their values are wanted.
    values: bool,
    pub(super) until: Option<Instant>,
}

impl Wait {
    /// Whether it cannot end before each of its refs is complete.
    fn needs_all(&self) -> bool {
        self.values || self.need == self.ids.len()
    }
}

/// One who waits for memory.
pub(super) struct MemoryWait {
    pub(super) place: u16,
    ask: u64,
    bytes: u64,
    shared: bool,
    since: Instant,
}

impl State {
    pub(super) fn begin_wait(
        &mut self,
        place: u16,
        ask: u64,
        ids: &[u64],
        need: usize,
        values: bool,
        timeout: Option<Duration>,
    ) {
        let found: Result<Vec<Index>, Error> = ids.iter().map(|&id| self.find(id)).collect();
        let ids = match found {
            Ok(ids) => ids,
            Err(error) => return self.answer(place, ask, Err(error)),
        };
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let wait = Wait { ask, ids, need, values, until };
        if let Some(answer) = self.outcome(&wait) {
            return self.answer(place, ask, Ok(answer));
        }
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return self.answer(place, ask, Ok(self.timed_out(&wait)));
        }
        if let Some(error) = self.told_to_stop(place) {
            return self.answer(place, ask, Err(error));
        }
        for &index in &wait.ids {
            if self.objects.at(index).value.is_pending() {
                self.objects.at_mut(index).waiters.push(Waiter::Process(place, ask));
            }
        }
        // The keeper minds the time, and whether anything moves at all.
        self.poke |= until.is_some() || self.blocked == 0;
        self.proc_mut(place).waits.push(wait);
        self.blocked += 1;
        // The cpus are for others meanwhile, and so is what stands behind the waiting body.
        self.lend(place, true);
        if self.procs[usize::from(place)].actor.is_none() {
            self.recall_all(place);
        }
        if let Some(chain) = self.cycle(place, ask) {
            let waits = &self.procs[usize::from(place)].waits;
            if let Some(at) = waits.iter().position(|wait| wait.ask == ask) {
                self.end_wait(place, at, Err(Error::Deadlock(chain)));
            }
        }
        self.schedule();
    }

    /// A body that has been told to stop does not wait any more, as it does not sleep any more. Its
    /// cleanup may. (Whoever asks is still where it was when it asked.)
    fn told_to_stop(&self, place: u16) -> Option<Error> {
        let entry = self.memory.entry(place);
        let inside = entry.inside.load(Relaxed);
        let told = inside != 0 && entry.cancelled.load(Relaxed) == inside;
        let index = self.body_of(place).filter(|_| told)?;
        Some(self.error_of(index, Some(self.worker_name(place)), Cause::Cancelled).into())
    }

    /// A wait's answer, if it is over.
    fn outcome(&self, wait: &Wait) -> Option<Answer> {
        let pending = |index: &Index| self.objects.at(*index).value.is_pending();
        if !wait.values {
            let ready = wait.ids.iter().filter(|index| !pending(index)).count();
            return (ready >= wait.need).then(|| self.settled(wait));
        }
        // A failure ends it, whatever else is not there yet.
        let failed = wait.ids.iter().find_map(|&index| match &self.objects.at(index).value {
            Value::Failed(error) => Some(WireValue::Failed((**error).clone())),
            _ => None,
        });
        if let Some(failed) = failed {
            return Some(Answer::Values(vec![failed]));
        }
        let value = |&index: &Index| match &self.objects.at(index).value {
            Value::Inline(bytes) => Some(WireValue::Inline(bytes.to_vec())),
            &Value::Placed { address, len, .. } => Some(WireValue::Placed { address, len }),
            Value::Pending | Value::Failed(_) => None,
        };
        wait.ids.iter().map(value).collect::<Option<Vec<_>>>().map(Answer::Values)
    }

    fn settled(&self, wait: &Wait) -> Answer {
        let there = |&index: &Index| !self.objects.at(index).value.is_pending();
        Answer::Settled(wait.ids.iter().map(there).collect())
    }

    fn timed_out(&self, wait: &Wait) -> Answer {
        if wait.values { Answer::TimedOut } else { self.settled(wait) }
    }

    /// Something that a process waits for is complete.
    pub(super) fn look_at_wait(&mut self, place: u16, ask: u64) {
        let waits = &self.procs[usize::from(place)].waits;
        let Some(at) = waits.iter().position(|wait| wait.ask == ask) else { return };
        if let Some(answer) = self.outcome(&waits[at]) {
            self.end_wait(place, at, Ok(answer));
        }
    }

    fn end_wait(&mut self, place: u16, at: usize, answer: Result<Answer, Error>) {
        let wait = self.proc_mut(place).waits.swap_remove(at);
        self.blocked -= 1;
        self.leave_waiters(place, &wait);
        if self.procs[usize::from(place)].waits.is_empty() && !self.is_weightless(place) {
            self.lend(place, false);
        }
        self.answer(place, wait.ask, answer);
    }

    /// Ends all waits of a body with this error.
    pub(super) fn end_waits(&mut self, place: u16, error: &Error) {
        while !self.procs[usize::from(place)].waits.is_empty() {
            self.end_wait(place, 0, Err(error.clone()));
        }
    }

    fn leave_waiters(&mut self, place: u16, wait: &Wait) {
        for &index in &wait.ids {
            let waiters = &mut self.objects.at_mut(index).waiters;
            waiters.retain(|waiter| *waiter != Waiter::Process(place, wait.ask));
        }
    }

    /// Ends waits whose time is over; when the next one's is.
    pub(super) fn end_late_waits(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        // Also of threads that a body has left.
        let waiting = (0u16..).zip(&self.procs).filter(|(_, process)| !process.waits.is_empty());
        let waiting: Vec<u16> = waiting.map(|(place, _)| place).collect();
        for place in waiting {
            let mut which = 0;
            while let Some(wait) = self.procs[usize::from(place)].waits.get(which) {
                match wait.until {
                    Some(until) if until <= now => {
                        let answer = self.timed_out(wait);
                        self.end_wait(place, which, Ok(answer));
                        continue;
                    }
                    Some(until) => next = Some(next.map_or(until, |known| known.min(until))),
                    None => {}
                }
                which += 1;
            }
        }
        next
    }

    /// The waits of a process that is gone.
    pub(super) fn drop_waits(&mut self, place: u16) {
        let waits = std::mem::take(&mut self.proc_mut(place).waits);
        self.blocked -= waits.len();
        waits.iter().for_each(|wait| self.leave_waiters(place, wait));
        self.memory_waits.retain(|wait| wait.place != place);
    }

    // ---- waits that could never end ---------------------------------------------------------

    /// Whether a wait of `place` could only end after itself: who waits for whom, in words.
    fn cycle(&self, place: u16, ask: u64) -> Option<String> {
        let own = self.body_of(place)?;
        let wait = self.procs[usize::from(place)].waits.iter().find(|wait| wait.ask == ask)?;
        if wait.until.is_some() || !wait.needs_all() {
            return None;
        }
        // By object, who needs it.
        let mut from: HashMap<Index, Index> = HashMap::new();
        let mut open: Vec<(Index, Index)> = wait.ids.iter().map(|&id| (id, own)).collect();
        while let Some((index, needed_by)) = open.pop() {
            if from.contains_key(&index) {
                continue;
            }
            from.insert(index, needed_by);
            if index == own {
                let mut path = vec![own];
                let mut at = needed_by;
                while at != own && path.len() < 50 {
                    path.push(at);
                    at = from[&at];
                }
                path.push(own);
                path.reverse();
                return Some(self.chain_text(&path));
            }
            open.extend(self.waits_for(index).into_iter().map(|next| (next, index)));
        }
        None
    }

    /// What an incomplete task cannot do without.
    fn waits_for(&self, index: Index) -> Vec<Index> {
        let Some(task) = self.objects.task(index) else { return Vec::new() };
        let mut needs: Vec<Index> =
            if task.remaining > 0 { task.needed().to_vec() } else { Vec::new() };
        match task.phase {
            Phase::Posted { place, seq } => {
                let process = &self.procs[usize::from(place)];
                match process.oldest() {
                    Some((oldest, _)) if oldest == seq => {
                        let all = process.waits.iter().filter(|wait| wait.needs_all());
                        needs.extend(all.flat_map(|wait| wait.ids.iter().copied()));
                    }
                    Some((_, before)) => needs.push(before),
                    None => {}
                }
            }
            Phase::AtActor => {
                needs.extend(task.actor.and_then(|(actor, _)| self.actor_runs(actor)))
            }
            _ => {}
        }
        needs.retain(|&need| self.objects.at(need).value.is_pending());
        needs
    }

    fn chain_text(&self, path: &[Index]) -> String {
        let one = |&index: &Index| {
            format!("`{}` (task {})", self.name_of(index), self.objects.at(index).number)
        };
        path.iter().map(one).collect::<Vec<_>>().join(" waits for ")
    }

    /// Whether every body waits without a time-out, and nothing is about to happen.
    pub(super) fn is_still(&self) -> bool {
        let waiting = |place: &u16| {
            let process = &self.procs[usize::from(*place)];
            process.doom.is_none()
                && !process.waits.is_empty()
                && process.waits.iter().all(|wait| wait.until.is_none())
        };
        let starting = |(place, process): (u16, &super::processes::Process)| {
            process.used && self.memory.entry(place).live.load(Relaxed) == 0
        };
        self.spawns.is_empty()
            && self.workers.iter().all(|worker| worker.starts.next().is_none())
            && self.backoff.is_empty()
            && self.memory_waits.is_empty()
            && self.blocked > 0
            && self.busy.iter().all(waiting)
            && !(0u16..).zip(&self.procs).any(starting)
    }

    /// When all has been still for a while: the newest body's wait ends with an error that says
    /// why.
    pub(super) fn resolve_deadlock(&mut self) {
        let number = |&place: &u16| self.body_of(place).map_or(0, |i| self.objects.at(i).number);
        let mut newest_first = self.busy.clone();
        newest_first.sort_by_key(|place| std::cmp::Reverse(number(place)));
        let stuck = newest_first.into_iter().find_map(|place| {
            let wait = self.procs[usize::from(place)].waits.first()?;
            let index = wait.ids.iter().find(|i| self.objects.at(**i).value.is_pending())?;
            self.is_held_by_bodies(*index).then_some((place, *index))
        });
        let Some((place, index)) = stuck else { return };
        let why = format!(
            "`{}` (task {}): {}; and every body that runs waits for another",
            self.name_of(index),
            self.objects.at(index).number,
            self.pending(index)
        );
        self.end_wait(place, 0, Err(Error::Deadlock(why)));
    }

    /// Whether what an incomplete object waits for is held by bodies that wait themselves. What
    /// an idle actor, a placement group or the driver holds may still come.
    fn is_held_by_bodies(&self, index: Index) -> bool {
        let mut index = index;
        // What it needs, as far as that goes.
        for _ in 0..10_000 {
            let Some(task) = self.objects.task(index) else { return false };
            let pending = |dep: &&Index| self.objects.at(**dep).value.is_pending();
            match task.needed().iter().find(pending) {
                Some(&dep) if task.remaining > 0 => index = dep,
                _ => break,
            }
        }
        let Some(task) = self.objects.task(index) else { return false };
        match task.phase {
            Phase::Posted { .. } => true,
            Phase::AtActor => task.actor.is_some_and(|(actor, _)| self.actor_runs(actor).is_some()),
            Phase::Backoff => false,
            Phase::Waiting | Phase::Queued => {
                let demand = &self.classes.at(task.class).demand;
                let full = self.free_places.is_empty()
                    && self.procs.len() == self.memory.places()
                    && self.workers.iter().all(|worker| worker.idle.is_empty());
                let held = self.workers.iter().enumerate().any(|(at, worker)| {
                    let mut free = worker.free.clone();
                    for &place in &self.busy {
                        let process = &self.procs[usize::from(place)];
                        if let Some(lease) = process.lease.filter(|_| process.worker == at) {
                            let mut held = self.classes.at(lease.class).demand.clone();
                            held.cpus = if lease.lent { 0 } else { held.cpus };
                            free.add(&held, 1);
                        }
                    }
                    free.covers(demand)
                });
                self.infeasible(task.class).is_none() && (full || held)
            }
        }
    }

    // ---- memory -----------------------------------------------------------------------------

    pub(super) fn give_memory(&mut self, place: u16, ask: u64, bytes: u64, shared: bool) {
        let turn = self.memory_waits.is_empty() || self.older_bodies(place) == 0;
        if !turn || !self.try_memory(place, ask, bytes, shared, false) {
            let since = Instant::now();
            self.memory_waits.push_back(MemoryWait { place, ask, bytes, shared, since });
            self.poke = true;
        }
    }

    /// True when the ask was answered.
    fn try_memory(&mut self, place: u16, ask: u64, bytes: u64, shared: bool, late: bool) -> bool {
        let pocket = !shared && bytes < OWN_PAGES;
        let (capacity, used, _) = self.store.figures();
        // As much again is left for each older body, so that those can end even if younger ones'
        // values are to be taken after theirs; but not for ever.
        let older = self.older_bodies(place);
        if !late
            && older > 0
            && bytes > capacity / 64
            && bytes <= capacity
            && !self.store.can_spill()
            && (capacity - used.min(capacity)) / (older + 1) < bytes
        {
            return false;
        }
        // Many workers have pockets, and they are not to fill a small memory.
        let want = if pocket { (capacity / 256).clamp(bytes, POCKET.max(bytes)) } else { bytes };
        let block = match self.store.take(want).or_else(|_| self.store.take(bytes)) {
            Ok(block) => block,
            Err(NoRoom::Now) => return false,
            Err(why @ NoRoom::Ever(_)) => {
                let error = self.store.refusal(bytes, &why);
                self.answer(place, ask, Err(error));
                return true;
            }
        };
        let (address, len) = self.store.place(block);
        let answer = if shared {
            let index = self.add_block(block, address, bytes);
            *self.proc_mut(place).kept.entry(index).or_default() += 1;
            Answer::Block { id: self.objects.id(index), address }
        } else {
            if !pocket {
                self.proc_mut(place).open.push(block);
            } else if let Some(old) = self.proc_mut(place).pocket.replace(block) {
                self.store.release(old);
            }
            Answer::Room { address, len }
        };
        self.answer(place, ask, Ok(answer));
        true
    }

    /// Bodies of older tasks that are at work.
    fn older_bodies(&self, place: u16) -> u64 {
        let number = |place: u16| self.body_of(place).map(|index| self.objects.at(index).number);
        let own = number(place);
        let at_work = |place: &&u16| self.procs[usize::from(**place)].waits.is_empty();
        self.busy.iter().filter(at_work).filter(|&&other| number(other) < own).count() as u64
    }

    /// A complete object that is a block of elements, with one hold.
    pub(super) fn add_block(&mut self, block: BlockId, address: u64, len: u64) -> Index {
        let index = self.objects.add(0, Value::Placed { block, address, len });
        self.objects.at_mut(index).shared = true;
        index
    }

    /// Those who wait for memory are served in turn. After a long time without any being freed
    /// the first is refused, since it may hold what it waits for.
    pub(super) fn serve_memory(&mut self, now: Instant) {
        if self.store.freed != self.freed_seen {
            self.freed_seen = self.store.freed;
            self.freed_at = now;
            if std::mem::take(&mut self.memory_short) {
                self.schedule();
            }
        }
        let mut waits = std::mem::take(&mut self.memory_waits);
        waits.make_contiguous().sort_by_key(|wait| {
            self.body_of(wait.place).map_or(0, |index| self.objects.at(index).number)
        });
        self.memory_waits = waits;
        while let Some(&MemoryWait { place, ask, bytes, shared, since }) = self.memory_waits.front()
        {
            let late = now.duration_since(since) > self.patience;
            if self.try_memory(place, ask, bytes, shared, late) {
                self.memory_waits.pop_front();
            } else if now.duration_since(since.max(self.freed_at)) > self.patience {
                let error = self.store.refusal(bytes, &NoRoom::Now);
                self.memory_waits.pop_front();
                self.answer(place, ask, Err(error));
            } else {
                break;
            }
        }
        if !self.memory_short {
            self.short_since = None;
            return;
        }
        let since = *self.short_since.get_or_insert(now);
        if now.duration_since(since.max(self.freed_at)) > self.patience {
            self.short_since = None;
            self.memory_short = false;
            self.fail_what_has_no_room();
        }
    }
}
