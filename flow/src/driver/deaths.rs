//! Processes that come and go: what happens to their tasks, and to what they held.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::State;
use super::processes::{Doom, Process};
use super::tasks::Phase;
use crate::protocol::cell;
use crate::protocol::error::{Cause, Error};

/// How long a posted task may stand first at a process without being begun.
const UNATTENDED: Duration = Duration::from_secs(5);
/// How long a process that is not needed stays.
pub(super) const IDLE: Duration = Duration::from_secs(2);

impl State {
    /// The process is gone, with everything below it. Its posted tasks are looked at, and given to
    /// others or failed; its holds are let go; another takes its place if need be.
    pub(super) fn process_ended(&mut self, place: u16, how: &str) {
        // What it had finished counts.
        self.poll_process(place);
        if self.procs[usize::from(place)].abandoned {
            return self.vacate(place); // the rest has been done
        }
        let child = self.procs[usize::from(place)].child.as_ref();
        let how = &child.map_or(how.to_owned(), |child| child.account(how.to_owned()));
        let process = &self.procs[usize::from(place)];
        let (worker, doom, actor) = (process.worker, process.doom, process.actor);
        let has_served = process.done > 1;
        self.proc_mut(place).doom.get_or_insert(Doom::Gone); // nothing is posted to it
        let name = self.worker_name(place);
        let live = self.memory.entry(place).live.load(std::sync::atomic::Ordering::Acquire) != 0;
        let served = live || has_served;
        if doom.is_none() {
            tracing::warn!(worker = name, how, "a worker process died");
        }
        let posted_tasks = self.posted_tasks_of(place);
        self.drop_waits(place);
        self.leave_worker(place);
        // Before its posted tasks go elsewhere: a worker that pauses makes no process for them.
        let starts = &mut self.workers[worker].starts;
        if served {
            starts.came_up();
        } else if matches!(doom, None | Some(Doom::ProtocolViolation)) {
            starts.failed(Instant::now(), how);
        }
        // Last posted task first, so that those that go back to the front of a queue are in order.
        for (seq, begun) in posted_tasks.into_iter().rev() {
            self.witness = begun.then_some(place);
            self.lose_posted(place, seq, begun, how, doom);
        }
        self.witness = None;
        self.let_go(place);
        self.end_unwanted();
        *self.proc_mut(place) = Process::default();
        self.free_places.push(place);
        self.after_loss(place, worker, actor, how);
    }

    /// Nothing is given to a process any more, and it has nothing of its worker.
    fn leave_worker(&mut self, place: u16) {
        self.end_lease(place);
        self.busy.retain(|&busy| busy != place);
        for list in &mut self.workers {
            list.idle.retain(|&idle| idle != place);
        }
        self.workers[self.procs[usize::from(place)].worker].processes -= 1;
    }

    /// Others take its place.
    fn after_loss(&mut self, place: u16, worker: usize, actor: Option<u32>, how: &str) {
        if let Some(actor) = actor {
            self.actor_lost(actor, place, how);
        }
        self.changed = true;
        self.schedule();
        if self.workers[worker].processes < self.workers[worker].base
            && self.workers[worker].starts.next().is_none()
            && self.closed.is_none()
            && self.nobody_waits()
            && let Some(place) = self.new_process(worker)
        {
            self.workers[worker].idle.push(place);
        }
    }

    /// Threads that would have been killed if they were processes are abandoned.
    pub(super) fn abandon_doomed(&mut self) {
        if !self.memory.in_process {
            return;
        }
        for place in 0..self.procs.len() as u16 {
            let process = &self.procs[usize::from(place)];
            let doomed = !matches!(process.doom, None | Some(Doom::Idle | Doom::Gone));
            if process.used && doomed && !process.abandoned && process.child.is_some() {
                self.abandon(place);
            }
        }
    }

    /// Abandons a thread: its posted tasks are over as if it had died, and its worker has another.
    /// It goes on until its body returns. What that may still look at (its arguments, the refs that
    /// it has) stays, and so does its number, until the thread has ended.
    fn abandon(&mut self, place: u16) {
        self.poll_process(place); // what it had finished counts
        let process = &self.procs[usize::from(place)];
        let (worker, doom) = (process.worker, process.doom);
        let name = self.worker_name(place);
        tracing::warn!(
            worker = name,
            "a worker thread is abandoned; it ends when its body returns"
        );
        let how = "its thread was abandoned";
        let entry = self.memory.entry(place);
        entry.leave.store(1, SeqCst);
        // A posted task that was taken is about to be begun, and nobody can stop that.
        let posted_tasks: Vec<u64> = self.procs[usize::from(place)].open_tasks().collect();
        if let Some(&first) = posted_tasks.first() {
            entry.cancelled.store(first + 1, SeqCst);
        }
        for &seq in &posted_tasks {
            let Some(index) = self.procs[usize::from(place)].posted_task(seq).object else {
                continue;
            };
            let kids = self.kids_to_end(index);
            let told = self.cancel_tasks(&kids);
            self.outlived.extend(told);
            let Some(task) = self.objects.task(index) else { continue };
            for dep in task.held.clone() {
                self.objects.hold(dep);
                *self.proc_mut(place).kept.entry(dep).or_default() += 1;
            }
            let process = self.proc_mut(place);
            let envelope = process.posted_task_mut(seq).envelope.take();
            process.open.extend(envelope);
        }
        let actor = self.proc_mut(place).actor.take();
        self.proc_mut(place).abandoned = true;
        self.leave_worker(place);
        self.end_waits(place, &abandoned());
        for seq in posted_tasks.into_iter().rev() {
            self.lose_posted(place, seq, true, how, doom);
        }
        self.end_unwanted();
        self.wakeup = true;
        self.unpark_worker(place);
        self.after_loss(place, worker, actor, how);
    }

    /// Objects of which a thread that has ended left handles to others, in a static, say: they stay
    /// for as long as the flow, since nobody tells when those are gone.
    pub(super) fn keep_for_good(&mut self, place: u16, named: &[u64]) {
        self.poll_process(place); // what it has said last
        for &id in named {
            if let Some(index) = self.objects.find(id) {
                self.proc_mut(place).kept.remove(&index);
            }
        }
    }

    /// A thread that was abandoned has ended.
    fn vacate(&mut self, place: u16) {
        self.drop_waits(place);
        self.let_go(place);
        self.end_unwanted();
        *self.proc_mut(place) = Process::default();
        self.free_places.push(place);
        self.changed = true;
        self.schedule();
    }

    /// The tasks that are not over, and whether their bodies have begun.
    fn posted_tasks_of(&self, place: u16) -> Vec<(u64, bool)> {
        let process = &self.procs[usize::from(place)];
        let begun = |seq| {
            let state = self.memory.cell(place, seq).state().look(seq);
            // An invalid word: it may have begun.
            !matches!(state, Some(cell::Phase::Posted | cell::Phase::Taken | cell::Phase::Recalled))
        };
        process.open_tasks().map(|seq| (seq, begun(seq))).collect()
    }

    fn lose_posted(&mut self, place: u16, seq: u64, begun: bool, how: &str, doom: Option<Doom>) {
        let Some(index) = self.end_posted(place, seq) else { return };
        let worker = Some(self.worker_name(place));
        let Some(task) = self.objects.task(index) else { return };
        if task.cancelled {
            self.fail(index, worker, Cause::Cancelled);
        } else if !begun {
            self.again(index, false);
        } else if task.actor.is_some() && doom != Some(Doom::Deadline) {
            let why = if doom == Some(Doom::Actor) { "it was killed" } else { how };
            self.fail(index, worker, Cause::ActorDied(why.to_owned()));
        } else if doom == Some(Doom::Deadline) {
            let limit = task.deadline();
            self.fail(index, worker, Cause::Deadline(limit.unwrap_or_default()));
        } else if doom == Some(Doom::Actor) {
            self.fail(index, worker, Cause::ActorDied("it was killed".to_owned()));
        } else if task.retries_left != 0 {
            tracing::info!(task = self.objects.at(index).number, "task is tried again");
            self.again(index, true);
        } else {
            self.fail(index, worker, Cause::WorkerCrashed(how.to_owned()));
        }
    }

    /// What a process held.
    fn let_go(&mut self, place: u16) {
        self.unsent.retain(|(to, ..)| *to != place);
        let process = self.proc_mut(place);
        let kept = std::mem::take(&mut process.kept);
        let blocks: Vec<_> =
            process.bump_area.take().into_iter().chain(process.open.drain(..)).collect();
        let children = std::mem::take(&mut self.proc_mut(place).children);
        let kept = kept.into_iter().flat_map(|(index, count)| (0..count).map(move |_| index));
        for index in kept.chain(children) {
            self.objects.unhold(index, &mut self.store);
        }
        for block in blocks {
            self.store.release(block);
        }
    }

    /// Fails what no worker can run any more.
    pub(super) fn fail_stranded(&mut self) {
        let stranded: Vec<_> = self
            .objects
            .indices()
            .filter(|&index| {
                self.objects.task(index).is_some_and(|task| {
                    task.phase == Phase::Queued
                        && !task.overrides.as_ref().is_some_and(|over| over.wait_infeasible)
                })
            })
            .collect();
        for index in stranded {
            let Some(class) = self.objects.task(index).map(|task| task.class) else { continue };
            if let Some(why) = self.infeasible(class) {
                self.fail(index, None, Cause::Infeasible(why));
            }
        }
    }

    /// Sends idle processes away that are more than a worker keeps. When to look again.
    pub(super) fn send_idle_away(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for worker in 0..self.workers.len() {
            let mut spare =
                self.workers[worker].idle.len().saturating_sub(self.workers[worker].base);
            let idle = self.workers[worker].idle.clone();
            for place in idle {
                let process = &self.procs[usize::from(place)];
                // What its tasks have left running lives as long as it does.
                let Some(since) = process.idle_since.filter(|_| process.spared.is_empty()) else {
                    continue;
                };
                if spare == 0 {
                    break;
                }
                spare -= 1;
                if now.duration_since(since) < IDLE {
                    next = Some(next.map_or(since + IDLE, |known| known.min(since + IDLE)));
                    continue;
                }
                self.workers[worker].idle.retain(|&other| other != place);
                self.send_away(place);
            }
        }
        next
    }

    /// All numbers are taken: an idle process of some worker leaves, if there is one.
    pub(super) fn send_one_away(&mut self) {
        if self.procs.iter().any(|process| process.doom == Some(Doom::Idle)) {
            return; // one is on its way
        }
        let idle = self.workers.iter_mut().find_map(|worker| worker.idle.pop());
        if let Some(place) = idle {
            self.send_away(place);
        }
    }

    fn send_away(&mut self, place: u16) {
        self.proc_mut(place).doom = Some(Doom::Idle);
        self.memory.entry(place).leave.store(1, SeqCst);
        self.unpark_worker(place);
    }

    /// Processes that are there and do not begin what stands at them: stopped from outside, or
    /// misled by what somebody wrote over their memory. They are ended, and nothing is charged.
    pub(super) fn end_unattending(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        if self.memory.in_process {
            return next; // a debugger holds a thread for as long as it likes
        }
        for place in self.busy.clone() {
            let process = &self.procs[usize::from(place)];
            let begun = |seq| {
                let state = self.memory.cell(place, seq).state().look(seq);
                !matches!(state, Some(cell::Phase::Posted | cell::Phase::Taken))
            };
            let oldest = process.oldest().map(|(seq, _)| seq).filter(|&seq| !begun(seq));
            let forked = process.child.is_some();
            let Some(seq) = oldest.filter(|_| forked && process.doom.is_none()) else {
                self.proc_mut(place).unbegun = None;
                continue;
            };
            let since = match process.unbegun {
                Some((known, since)) if known == seq => since,
                _ => now,
            };
            self.proc_mut(place).unbegun = Some((seq, since));
            if now.duration_since(since) >= UNATTENDED {
                tracing::warn!(worker = self.worker_name(place), "a worker does not begin; ended");
                self.doom(place, Doom::ProtocolViolation);
            } else {
                next = Some(now + UNATTENDED / 5);
            }
        }
        next
    }

    /// Bodies over their deadline: their processes are ended. When to look again.
    pub(super) fn end_late_bodies(&mut self, now: Instant) -> Option<Instant> {
        if !self.any_timed {
            return None;
        }
        let mut next: Option<Instant> = None;
        let mut any = false;
        for place in self.busy.clone() {
            let process = &self.procs[usize::from(place)];
            let timed = |seq| {
                let index = process.posted_task(seq).object?;
                self.objects.task(index).map(|task| task.timed())
            };
            any |= process.open_tasks().any(|seq| timed(seq) == Some(true));
            let Some((seq, index)) = process.oldest() else { continue };
            let Some(limit) = self.objects.task(index).and_then(|task| task.deadline()) else {
                continue;
            };
            // Its worker tells us when it begins, so this is the time, as good as it matters; what
            // a worker says of the time is not asked for.
            let started =
                || self.memory.cell(place, seq).state().look(seq) == Some(cell::Phase::Started);
            let begun = match self.procs[usize::from(place)].begun {
                Some((known, since)) if known == seq => Some(since),
                _ => started().then_some(now),
            };
            self.proc_mut(place).begun = begun.map(|since| (seq, since));
            let Some(since) = begun else { continue };
            let end = since.checked_add(limit).unwrap_or(now + Duration::from_secs(86_400));
            if end > now {
                next = Some(next.map_or(end, |known| known.min(end)));
                continue;
            }
            // Nothing stands behind it any more, so nobody else is hit if it ends just now.
            self.proc_mut(place).alone = true;
            self.recall_all(place);
            self.proc_mut(place).alone = false;
            if self.memory.cell(place, seq).state().look(seq) == Some(cell::Phase::Started) {
                tracing::warn!(worker = self.worker_name(place), ?limit, "deadline passed");
                self.doom(place, Doom::Deadline);
            }
        }
        self.any_timed = any;
        next
    }
}

/// What a body is told whose thread was abandoned.
pub(super) fn abandoned() -> Error {
    Error::Closed(
        "for this body: its task is over (a deadline, a cancel, the end of its actor); return"
            .to_owned(),
    )
}
