//! The supervisor: the one thread of the host that looks after workers. It sleeps until a worker
//! dies, a deadline passes, or a group comes to grief.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::time::{Duration, Instant};

use mailring_process::backoff::{Starts, end_overdue, overdue_at};
use mailring_process::clock::monotonic_ns;
use mailring_process::descriptors::Descriptor;
use mailring_process::fork_server::StartStep;
use mailring_process::process;
use mailring_process::wakeup::Wakeup;
use mailring_process::wakeup::is_readable;
use nix::unistd::Pid;

use super::health::Health;
use super::imports::Imports;
use super::look::{Looks, Standing};
use super::processes::Processes;
use super::recover::{Condemned, Recovery, Report, Troubled};
use crate::ids::WorkerKind;
use crate::mailbox::alarm::{Alarm, NEVER};
use crate::mailbox::descriptor::GROUP;
use crate::ring::Phase;
use crate::segment::{Arena, BODY, Status};

/// How often tasks that nobody can run are looked for, while some worker is gone or does not come
/// up.
const STRANDED: Duration = Duration::from_millis(20);
/// How long a worker may be stopped by a signal outside of a body, while somebody waits.
const STOPPED: Duration = Duration::from_millis(500);
/// Longest wait for workers that were killed or go with their fork server.
const GOING: Duration = Duration::from_secs(1);

/// What the supervisor needs; it lives on its own thread.
pub(crate) struct Supervisor {
    pub(crate) arena: Arc<Arena>,
    pub(crate) health: Arc<Health>,
    pub(crate) wakeup: Arc<Wakeup>,
    pub(crate) grace: Duration,
    /// Longest run of a factory.
    pub(crate) start_timeout: Duration,
    /// PROCESS mode: who forks, and one descriptor a worker.
    pub(crate) processes: Option<Processes>,
    /// By kind: what each worker has at its side, for messages.
    pub(crate) beside: [Vec<String>; 2],
    pub(crate) imports: Arc<Imports>,
}

impl Supervisor {
    /// Runs until told to stop. Gives the processes back.
    pub(crate) fn run(self) -> Option<Processes> {
        let Self { arena, health, wakeup, grace, start_timeout, processes, beside, imports } = self;
        let workers = arena.shape().total_workers();
        let mut watch = Watch {
            recovery: Recovery::new(&arena),
            looks: Looks::new(&arena),
            arena: &arena,
            health: &health,
            grace,
            processes,
            beside,
            imports: &imports,
            start_timeout,
            starts: vec![Starts::default(); workers],
            lost: false,
            troubled: HashMap::new(),
            reported: vec![0; workers],
            stopped: vec![None; workers],
            killed: vec![Cell::new(false); workers],
        };
        let looked = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let seen = wakeup.seen();
                if health.stopping.load(SeqCst) {
                    break;
                }
                let wake = watch.next_wake();
                wakeup.sleep(seen, watch.watched(), wake);
                watch.look_at_deaths();
                watch.look_at_lines();
                watch.look_at_deadlines();
                watch.look_at_stopped();
                watch.look_at_groups();
                watch.look_at_starts();
            }
        }));
        if looked.is_err() {
            health.fail("its supervisor panicked".to_owned(), &arena);
        }
        watch.processes
    }
}

struct Watch<'a> {
    arena: &'a Arena,
    health: &'a Health,
    recovery: Recovery<'a>,
    looks: Looks<'a>,
    grace: Duration,
    processes: Option<Processes>,
    beside: [Vec<String>; 2],
    imports: &'a Imports,
    start_timeout: Duration,
    /// By worker.
    starts: Vec<Starts>,
    /// The fork server does not answer: as good as dead.
    lost: bool,
    /// By task: when a group was first seen in trouble.
    troubled: HashMap<u64, Instant>,
    /// THREAD mode: the lease whose missed deadline was reported, by worker.
    reported: Vec<u64>,
    /// Since when a worker is known to stand still where it keeps others waiting.
    stopped: Vec<Option<Instant>>,
    /// Workers that were killed by us.
    killed: Vec<Cell<bool>>,
}

impl Watch<'_> {
    /// Workers that ask for memory.
    fn look_at_lines(&mut self) {
        let Some(processes) = &mut self.processes else { return };
        for child in processes.children.iter_mut().flatten() {
            if child.line.as_ref().is_some_and(is_readable)
                && !child.line.as_ref().is_some_and(|line| self.imports.answer(line))
            {
                child.line = None;
            }
        }
    }

    fn workers(&self) -> u16 {
        self.arena.shape().total_workers() as u16
    }

    /// The earliest time at which there is something to do.
    fn next_wake(&self) -> Option<Instant> {
        let now = Instant::now();
        // Nobody can be killed in THREAD mode, so there the members report by themselves.
        let kills = self.processes.is_some().then_some(&self.troubled);
        let groups = kills.into_iter().flatten().map(|(_, &since)| since + self.grace);
        let starts = self.starts.iter().filter_map(Starts::next);
        let starts = starts.chain(self.starting().filter_map(|(_, at)| at));
        // Tasks become ready that only a worker that was retired could run.
        let stranded = self.anybody_gone().then(|| now + STRANDED);
        let stopped = self.stopped.iter().flatten().map(|&since| since + STOPPED);
        let other = groups
            .chain(starts)
            .chain(stopped)
            .chain(stranded)
            .min()
            .map(|at| at.max(now + Duration::from_millis(1)));
        let now_ns = monotonic_ns();
        // By its end, not by its worker: the next body may have begun since it was reported.
        let pending = |w| {
            let at = self.arena.entry(w).deadline.load(SeqCst);
            (at != 0 && at != self.reported[usize::from(w)]).then_some(at)
        };
        let earliest = || (0..self.workers()).filter_map(pending).min().unwrap_or(NEVER);
        let at = Alarm::new(&self.arena.control().next_look).set(earliest);
        let left = at.saturating_sub(now_ns).saturating_add(50_000);
        let deadline = (at != NEVER).then(|| now.checked_add(Duration::from_nanos(left))).flatten();
        match (other, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What tells of deaths, and workers that ask for memory.
    fn watched(&self) -> impl Iterator<Item = &Descriptor> {
        let children = self.processes.iter().flat_map(|all| all.children.iter().flatten());
        let both = children.flat_map(|child| [Some(&child.death), child.line.as_ref()]);
        self.processes.iter().map(|all| all.fork_server.death()).chain(both.flatten())
    }

    // ---- deaths ---------------------------------------------------------------------------------

    fn look_at_deaths(&mut self) {
        let Some(processes) = &self.processes else { return };
        processes.fork_server.attend();
        if self.lost || is_readable(processes.fork_server.death()) {
            // All workers go with it. Who hears of it must not meet one that still writes.
            processes.await_all(GOING);
            self.processes.take().into_iter().for_each(Processes::reap_all);
            if self.health.failure().is_none() {
                self.health.fail("its fork server process died".to_owned(), self.arena);
            }
            return;
        }
        let dead: Vec<u16> = processes
            .children
            .iter()
            .enumerate()
            .filter(|(_, child)| child.as_ref().is_some_and(|child| is_readable(&child.death)))
            .map(|(worker, _)| worker as u16)
            .collect();
        for worker in dead {
            self.reap_worker(worker);
        }
    }

    /// The fence is passed: the worker's process is gone. Recover, then replace.
    fn reap_worker(&mut self, worker: u16) {
        let Some(processes) = &mut self.processes else { return };
        let _span = tracing::info_span!("recovery", worker).entered();
        let Some((how, detail)) = processes.reap(worker) else {
            self.lost = true;
            return;
        };
        self.health.last_death_ns.store(monotonic_ns(), Relaxed);
        self.health.deaths.fetch_add(1, Relaxed);
        let child = processes.children[usize::from(worker)].take();
        let killed = self.killed[usize::from(worker)].take();
        let robbed =
            !killed && child.as_ref().is_some_and(|child| child.step() == StartStep::Dispossessed);
        let how = child.map_or(how.clone(), |child| child.account(how));
        let how = with_beside(self.arena, &self.beside, worker, how);
        let status = self.arena.entry(worker).status.load(Acquire);
        tracing::warn!(worker, how, "worker died");
        if self.health.failure().is_some() {
            // What had failed is not put right: one who still waits would take it for an end.
            return;
        }
        if robbed {
            return self.fail(format!(
                "the task that worker {worker} ran was taken from it, and nobody had decided that; \
                 a worker wrote where it must not"
            ));
        }
        match self.recovery.pass(worker, &how, detail) {
            Ok(report) => log(worker, &report),
            Err((slot, word)) => {
                return self.fail(format!(
                    "slot {slot} holds {word:?}, which is not a state; a worker wrote where it must not"
                ));
            }
        }
        self.open_doors();
        self.recovery.forget_before(self.health.tail.load(Acquire));
        if status == Status::Refused as u32 {
            let said = self.arena.entry(worker).said();
            self.retire(worker, if said.is_empty() { &how } else { &said });
        } else if status == Status::Live as u32 {
            self.starts[usize::from(worker)].came_up();
            self.respawn(worker);
        } else {
            self.starts[usize::from(worker)].failed(Instant::now(), &how);
        }
        // A condemned group may have lost the last member that was inside.
        self.arena.control().trouble.store(1, SeqCst);
    }

    fn respawn(&mut self, worker: u16) {
        let Some(processes) = &mut self.processes else { return };
        let entry = self.arena.entry(worker);
        entry.status.store(Status::Starting as u32, SeqCst);
        match processes.fork_server.spawn(worker) {
            Ok(child) => {
                self.health.respawns.fetch_add(1, Relaxed);
                child.begin();
                processes.children[usize::from(worker)] = Some(child);
                tracing::info!(worker, "worker replaced");
            }
            Err(error) => {
                tracing::warn!(worker, %error, "no replacement yet");
                let why = format!("it could not be forked: {error}");
                self.starts[usize::from(worker)].failed(Instant::now(), &why);
            }
        }
    }

    /// Workers that start, and when each has taken too long.
    fn starting(&self) -> impl Iterator<Item = (u16, Option<Instant>)> + '_ {
        let children = self.processes.iter().flat_map(|processes| &processes.children);
        let starting =
            (0..).zip(children).filter_map(|(worker, child)| Some((worker, child.as_ref()?)));
        starting
            .filter(|(worker, _)| {
                self.arena.entry(*worker).status.load(Relaxed) == Status::Starting as u32
            })
            .map(|(worker, child)| (worker, overdue_at(child, self.start_timeout)))
    }

    fn look_at_starts(&mut self) {
        let now = Instant::now();
        for worker in 0..self.workers() {
            let starts = &mut self.starts[usize::from(worker)];
            if starts.take_due(now) {
                self.respawn(worker);
            } else if self.arena.entry(worker).status.load(Relaxed) == Status::Live as u32 {
                starts.came_up();
            } else if let Some(processes) = &mut self.processes
                && let Some(child) = &mut processes.children[usize::from(worker)]
            {
                end_overdue(child, self.start_timeout, now);
            }
        }
        let fresh = self.starts.iter_mut().filter_map(|s| s.take_fresh().then_some(())).count() > 0;
        if fresh || self.anybody_gone() {
            self.fail_stranded(fresh);
        }
    }

    /// Why nobody is to wait for this worker, if so: it was retired, or (asked when a start has
    /// just failed) has not come up for long.
    fn lost(&self, worker: u16, fresh: bool) -> Option<String> {
        let status = self.arena.entry(worker).status.load(Relaxed);
        if status == Status::Gone as u32 {
            return Some("it was retired".to_owned());
        }
        let starts = &self.starts[usize::from(worker)];
        starts.hopeless(Instant::now()).filter(|_| fresh && status != Status::Live as u32)
    }

    fn anybody_gone(&self) -> bool {
        (0..self.workers()).any(|worker| self.lost(worker, false).is_some())
    }

    /// No replacement will come: what only this worker could run fails.
    fn retire(&mut self, worker: u16, why: &str) {
        self.starts[usize::from(worker)].came_up(); // no more of them
        self.arena.entry(worker).status.store(Status::Gone as u32, SeqCst);
        let kind = self.arena.shape().kind_of(usize::from(worker));
        self.health.live[kind.index()].fetch_sub(1, SeqCst);
        tracing::error!(worker, why, "worker retired");
        self.fail_stranded(false);
    }

    fn fail_stranded(&mut self, fresh: bool) {
        for kind in WorkerKind::ALL {
            if self.arena.shape().workers[kind.index()] == 0 {
                continue;
            }
            let of_kind = |worker: &u16| self.arena.shape().kind_of(usize::from(*worker)) == kind;
            let lost: Vec<_> = (0..self.workers())
                .filter(of_kind)
                .map(|worker| self.lost(worker, fresh))
                .collect();
            let live = lost.iter().filter(|lost| lost.is_none()).count();
            if self.health.live[kind.index()].load(SeqCst) == 0 {
                let why = format!("every {kind} worker was retired");
                if self.health.failure().is_none() {
                    self.health.fail(why.clone(), self.arena);
                }
                self.recovery.fail_unreachable(&why, |head| head.pool() == kind);
            } else if live == 0 {
                let last = lost.into_iter().flatten().next_back().unwrap_or_default();
                let why = format!("no {kind} worker is there: {last}");
                self.recovery.fail_unreachable(&why, |head| head.pool() == kind);
            }
            let why =
                format!("only {live} {kind} workers are left, fewer than the group has members");
            self.recovery.fail_unreachable(&why, |head| {
                head.pool() == kind && head.has(GROUP) && usize::from(head.members) > live
            });
        }
        for worker in 0..self.workers() {
            if let Some(lost) = self.lost(worker, fresh) {
                let why = format!("worker {worker}, which alone may run it, is not there: {lost}");
                self.recovery.fail_unreachable(&why, |head| head.route.target == worker);
            }
        }
    }

    fn kill(&self, worker: u16) {
        if let Some(processes) = &self.processes
            && let Some(Some(child)) = processes.children.get(usize::from(worker))
        {
            self.health.kills.fetch_add(1, Relaxed);
            self.killed[usize::from(worker)].set(true);
            child.kill();
        }
    }

    fn kill_everyone(&self) {
        (0..self.workers()).for_each(|worker| self.kill(worker));
    }

    // ---- deadlines ------------------------------------------------------------------------------

    fn look_at_deadlines(&mut self) {
        let now = monotonic_ns();
        for worker in 0..self.workers() {
            let entry = self.arena.entry(worker);
            // The lease first: a worker clears its deadline before it begins another body, so an
            // expired deadline seen after it is this lease's own.
            let started = entry.started.load(Acquire);
            let at = entry.deadline.load(SeqCst);
            if at == 0 || at > now {
                self.reported[usize::from(worker)] = 0;
                continue;
            }
            if self.reported[usize::from(worker)] == at {
                continue;
            }
            let beside = |worker, text| with_beside(self.arena, &self.beside, worker, text);
            let Some(Condemned { slot, word, group }) =
                self.recovery.condemn_started(worker, started, beside)
            else {
                continue; // through in the meantime
            };
            debug_assert!(word.is(Phase::Condemned));
            tracing::warn!(
                worker,
                slot,
                attempt = self.arena.table().slot(slot).attempt(word) + 1,
                "deadline passed"
            );
            if group {
                self.arena.control().trouble.store(1, SeqCst);
            } else if self.processes.is_some() {
                self.kill(worker);
            } else {
                // A thread cannot be ended: slot and slabs stay pinned until it returns, and it
                // completes the task itself.
                self.reported[usize::from(worker)] = at;
                self.recovery.forget_before(self.health.tail.load(Acquire));
            }
        }
    }

    // ---- stopped workers --------------------------------------------------------------------------

    /// Workers that a signal has stopped between bodies: with a lease that they have not begun, a
    /// list that they have not walked, asleep over a task that only they may run. Others wait for
    /// them, no deadline runs and no death comes, so they are ended and replaced. No body is cut,
    /// and nothing is charged. Inside a body a deadline does that; without one, a cancel.
    fn look_at_stopped(&mut self) {
        let known = self.stopped.iter().any(Option::is_some);
        let worried = self.health.take_worry();
        if !worried && !known {
            return;
        }
        if worried {
            self.look_again();
        }
        let now = Instant::now();
        for worker in 0..self.workers() {
            let index = usize::from(worker);
            if !self.is_stopped(worker) || !self.keeps_waiting(worker) {
                self.stopped[index] = None;
                continue;
            }
            if now < *self.stopped[index].get_or_insert(now) + STOPPED {
                continue;
            }
            self.stopped[index] = None;
            match self.recovery.condemn_cancelled(worker) {
                Some(Condemned { group: true, .. }) => {
                    self.arena.control().trouble.store(1, SeqCst); // killed after the grace
                    continue;
                }
                Some(_) => {}
                None if self.arena.entry(worker).inside() == BODY => continue,
                None => {}
            }
            tracing::warn!(worker, "a worker was stopped while others waited for it; ended");
            self.kill(worker);
        }
    }

    /// Somebody waits for long. What a worker has written where it must not may have hidden a task
    /// from all others: that is looked for, and if a task stays where nobody is at work on it, the
    /// executor fails rather than wait for ever.
    fn look_again(&mut self) {
        self.open_doors();
        self.arena.control().trouble.store(1, SeqCst); // a group in trouble may be forgotten
        let standing: Vec<_> = (0..self.workers()).map(|worker| self.standing(worker)).collect();
        let tail = self.health.tail.load(Acquire);
        let standing = |worker| standing[usize::from(worker)];
        if let Err(why) = self.looks.look_again(&mut self.recovery, tail, standing) {
            self.fail(why);
        }
    }

    /// Workers are to leave when we say so, and we have not.
    fn open_doors(&self) {
        if !self.health.stopping.load(SeqCst) {
            self.arena.control().shutdown.store(0, SeqCst);
        }
    }

    /// What we know of a worker without asking it.
    fn standing(&self, worker: u16) -> Standing {
        let Some(processes) = &self.processes else { return Standing::There };
        match &processes.children[usize::from(worker)] {
            Some(child) if child.step() < StartStep::Live => Standing::Coming,
            Some(_) => Standing::There,
            None if self.starts[usize::from(worker)].next().is_some() => Standing::Coming,
            None => Standing::Gone,
        }
    }

    /// The words are not what they can be: nobody works on them any more, and nobody waits.
    fn fail(&self, why: String) {
        self.kill_everyone();
        if let Some(processes) = &self.processes {
            processes.await_all(GOING);
        }
        self.health.fail(why, self.arena);
    }

    fn is_stopped(&self, worker: u16) -> bool {
        let child =
            self.processes.as_ref().and_then(|all| all.children[usize::from(worker)].as_ref());
        child.is_some_and(|child| process::is_stopped(Pid::from_raw(child.pid)))
    }

    /// Whether a stopped worker is outside of a body, or inside one that was cancelled.
    fn keeps_waiting(&self, worker: u16) -> bool {
        let entry = self.arena.entry(worker);
        entry.inside() != BODY || self.recovery.is_cancelled(worker)
    }

    // ---- groups ---------------------------------------------------------------------------------

    /// A group that failed: its members were told; those that stay longer than the grace are
    /// killed; when all are out, the attempt is concluded.
    fn look_at_groups(&mut self) {
        if self.arena.control().trouble.swap(0, SeqCst) == 0 && self.troubled.is_empty() {
            return;
        }
        let groups = self.recovery.troubled_groups();
        self.troubled.retain(|seq, _| groups.iter().any(|g| g.seq == *seq));
        let now = Instant::now();
        for group in groups {
            let since = *self.troubled.entry(group.seq).or_insert(now);
            if group.inside.is_empty() {
                self.conclude(&group);
            } else if now >= since + self.grace && self.processes.is_some() {
                self.evict(&group);
            }
        }
    }

    fn conclude(&mut self, group: &Troubled) {
        if group.word.is(Phase::Condemned) {
            let mut report = Report::default();
            self.recovery.conclude_group(group, &mut report);
            self.troubled.remove(&group.seq);
        }
    }

    fn evict(&mut self, group: &Troubled) {
        if group.word.is(Phase::Running) && !self.recovery.condemn_failed_group(group) {
            return; // through in the meantime
        }
        for &(index, worker) in &group.inside {
            // One that gets out now is a worker like any other again.
            if self.recovery.evict_member(group, index, worker) {
                tracing::warn!(worker, task = group.seq, "member killed after the grace");
                self.kill(worker);
            }
        }
        // Their deaths are seen by themselves; once more only if one of them does not die.
        self.troubled.insert(group.seq, Instant::now());
    }
}

/// How a worker ended, and what it had at its side.
fn with_beside(arena: &Arena, beside: &[Vec<String>; 2], worker: u16, how: String) -> String {
    let shape = arena.shape();
    let index = usize::from(worker);
    let kind = shape.kind_of(index).index();
    let within = index - if kind == 0 { 0 } else { shape.workers[0] };
    match beside[kind].get(within) {
        Some(beside) => format!("{how}; it had {beside}"),
        None => how,
    }
}

fn log(worker: u16, report: &Report) {
    let Report { requeued, retried, failed, adopted } = *report;
    tracing::info!(worker, requeued, retried, failed, adopted, "recovered");
}
