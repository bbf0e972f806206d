//! Processes that are forked, and do not come up: by a machine that has no more, or by somebody who
//! kills them. Nobody is retired for that; a worker pauses, and what only it could run fails when
//! that lasts.

use std::time::Instant;

use mailring_process::backoff::{START, Starts, end_overdue, overdue_at};
use mailring_process::fork_server::ChildHandle;
use mailring_process::fork_server::StartStep;

use super::State;
use super::tasks::Phase;
use crate::protocol::error::Cause;

impl State {
    /// The next process to be forked, if its worker does not pause.
    pub(super) fn next_spawn(&mut self) -> Option<u16> {
        let pauses = |place: u16| self.starts_of(place).next().is_some();
        let at = self.spawns.iter().position(|&place| !pauses(place))?;
        self.spawns.remove(at)
    }

    fn starts_of(&self, place: u16) -> &Starts {
        &self.workers[self.procs[usize::from(place)].worker].starts
    }

    fn starts_of_mut(&mut self, place: u16) -> &mut Starts {
        &mut self.workers[self.procs[usize::from(place)].worker].starts
    }

    /// It was forked, and begins.
    pub(super) fn spawned(&mut self, place: u16, child: ChildHandle) {
        child.begin();
        if self.procs[usize::from(place)].doom.is_some() {
            child.kill();
        }
        self.proc_mut(place).child = Some(child);
        self.starting.retain(|&other| other != place);
        self.starting.push(place);
        self.wakeup = true; // it is to be watched from now on
    }

    /// It could not be forked. What stands at it goes to others; an actor's keeps its place.
    pub(super) fn not_spawned(&mut self, place: u16, error: &std::io::Error) {
        tracing::warn!(%error, "a worker process could not be forked yet");
        let how = format!("it could not be forked: {error}");
        let process = &self.procs[usize::from(place)];
        if process.actor.is_some() && process.doom.is_none() {
            self.spawns.push_back(place);
            self.starts_of_mut(place).failed(Instant::now(), &how);
        } else {
            self.process_ended(place, &how);
        }
    }

    /// Processes that do not come up are ended, pauses end, and who waits too long is told. When to
    /// look again.
    pub(super) fn look_at_starts(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Vec<Option<Instant>> = Vec::new();
        let mut due = false;
        for place in std::mem::take(&mut self.starting) {
            let process = &mut self.procs[usize::from(place)];
            let worker = process.worker;
            let Some(child) = process.child.as_mut() else { continue };
            if child.step() >= StartStep::Live {
                due |= self.workers[worker].starts.next().is_some();
                self.workers[worker].starts.came_up();
                continue;
            }
            end_overdue(child, START, now);
            // Once it was killed, its death is seen by itself.
            next.push(overdue_at(child, START).filter(|_| child.overdue.is_none()));
            self.starting.push(place);
        }
        for worker in &mut self.workers {
            due |= worker.starts.take_due(now);
            next.push(worker.starts.next());
        }
        if due {
            self.fill_up();
            self.schedule();
            self.wakeup = true; // for those that keep their place
        }
        next.push(self.fail_hopeless(now));
        next.into_iter().flatten().min()
    }

    /// Workers have the processes that they keep, as far as may be now.
    fn fill_up(&mut self) {
        if self.closed.is_some() || !self.nobody_waits() {
            return;
        }
        for worker in 0..self.workers.len() {
            while self.workers[worker].processes < self.workers[worker].base
                && self.workers[worker].starts.next().is_none()
                && let Some(place) = self.new_process(worker)
            {
                self.workers[worker].idle.push(place);
            }
        }
    }

    /// Fails what only workers could run that have not had a process for long. When to look again.
    fn fail_hopeless(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut fresh = false;
        let mut hopeless: Vec<Option<String>> = Vec::new();
        for worker in &mut self.workers {
            fresh |= worker.starts.take_fresh();
        }
        for (at, worker) in self.workers.iter().enumerate() {
            if let Some(at) = worker.starts.hopeless_at() {
                next = Some(next.map_or(at.max(now), |known| known.min(at.max(now))));
            }
            let serves = |process: &super::processes::Process| {
                let child = process.child.as_ref();
                process.worker == at && child.is_some_and(|child| child.step() == StartStep::Live)
            };
            let why = worker.starts.hopeless(now).filter(|_| !self.procs.iter().any(serves));
            hopeless.push(why.map(|why| format!("{}: {why}", worker.name)));
        }
        if !fresh || hopeless.iter().all(Option::is_none) {
            return next.filter(|&at| at > now);
        }
        let queued: Vec<_> = self.objects.indices().collect();
        for index in queued {
            let Some(task) = self.objects.task(index) else { continue };
            let patient = task.overrides.as_ref().is_some_and(|over| over.wait_infeasible);
            if task.phase != Phase::Queued || patient {
                continue;
            }
            let may = self.may_run(task.class);
            let all: Option<Vec<&String>> =
                may.iter().map(|&worker| hopeless[worker].as_ref()).collect();
            if let Some(why) = all.and_then(|all| all.last().map(|why| (*why).clone())) {
                self.fail(index, None, Cause::WorkerCrashed(why));
            }
        }
        next.filter(|&at| at > now)
    }
}
