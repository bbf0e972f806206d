//! Cancelling tasks, ending what they have started, and giving up what nobody wants any more.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring_process::process;
use mailring_process::process_tree::{self, Member};

use super::State;
use super::host::Host;
use super::objects::Index;
use super::processes::Doom;
use super::tasks::{Caller, Phase, Task};
use crate::protocol::cancel::{Cancel, CancelReport, EndedProcess, Found, Target};
use crate::protocol::error::{Cause, Error};
use crate::protocol::wire::Response;

/// How long a forced cancel waits for the end of a worker that was killed.
const ENDING: Duration = Duration::from_secs(10);

/// How long a cancel ends what a body starts again and again, after the grace.
const LIMIT: Duration = Duration::from_secs(3);

/// Pause between interrupts of a body that was told.
const AGAIN: Duration = Duration::from_millis(2);

/// A cancel that a body has asked for.
pub(super) struct CancelRequest {
    pub(super) place: u16,
    /// Which process of that number.
    pub(super) birth: u64,
    /// The number of the ask.
    pub(super) number: u64,
    pub(super) target: Target,
    pub(super) cancel: Cancel,
}

/// A body that has been told, and where it runs.
pub(super) struct Told {
    index: Index,
    /// The number of its task.
    task: u64,
    place: u16,
    birth: u64,
    seq: u64,
    /// A call of an actor: the actor, and what it has started, live on.
    actor: bool,
    spared: Vec<Member>,
}

/// What was found of the tasks that were meant, and the bodies that have been told.
type Begun = (Vec<CancelReport>, Vec<Told>);

impl State {
    /// The tasks that are meant; `None` stands for one that is complete.
    fn targets(&self, target: &Target) -> Result<Vec<(u64, Option<Index>)>, Error> {
        let of = |index: Index| {
            let open = self.objects.task(index).is_some();
            (self.objects.at(index).number, open.then_some(index))
        };
        let by_number = |number: u64| {
            let known = |&index: &Index| {
                self.objects.at(index).number == number && self.objects.task(index).is_some()
            };
            self.objects.indices().find(known)
        };
        match target {
            Target::Refs(ids) => ids.iter().map(|&id| self.find(id).map(of)).collect(),
            &Target::Number(number) if (1..=self.number).contains(&number) => {
                Ok(vec![(number, by_number(number))])
            }
            Target::Number(number) => Err(Error::Invalid(format!(
                "no task of this flow has the number {number}: they go from 1 to {} now; tasks() lists those that are not complete",
                self.number
            ))),
            Target::All => {
                let open = self.objects.indices().filter(|&index| {
                    self.objects.task(index).is_some_and(|task| task.makes.is_none())
                });
                let mut all: Vec<_> = open.map(of).collect();
                all.sort_unstable_by_key(|(number, _)| *number);
                Ok(all)
            }
        }
    }

    /// Cancels what can be at once. The bodies that run have been told.
    fn begin_cancel(&mut self, target: &Target, cancel: Cancel) -> Result<Begun, Error> {
        self.poll_completions();
        let targets = self.targets(target)?;
        let is_call = |index: Index| self.objects.task(index).is_some_and(|t| t.actor.is_some());
        if cancel.force
            && *target != Target::All
            && let Some((number, _)) = targets.iter().find(|(_, index)| index.is_some_and(is_call))
        {
            return Err(Error::Invalid(format!(
                "task {number} is a call of an actor, which cannot be cancelled by force, since that would end the actor; kill the actor, or cancel without force"
            )));
        }
        let open: Vec<Index> = targets.iter().filter_map(|(_, index)| *index).collect();
        let told = self.cancel_tasks(&open);
        let running: HashSet<u64> = told.iter().map(|told| told.task).collect();
        let reports = targets.into_iter().map(|(task, index)| CancelReport {
            task,
            found: match index {
                None => Found::Finished,
                Some(_) if running.contains(&task) => Found::Running,
                Some(_) => Found::Queued,
            },
            ended: Vec::new(),
            worker_ended: false,
        });
        let reports = reports.collect();
        self.poll_completions();
        self.changed = true;
        Ok((reports, told))
    }

    /// Cancels these and what their bodies have called. What has not begun goes first, and of that
    /// the newest, so that nothing begins only because another has ended.
    pub(super) fn cancel_tasks(&mut self, targets: &[Index]) -> Vec<Told> {
        let mut all = self.with_kids(targets);
        let order = |&index: &Index| {
            let phase = self.objects.task(index).map(|task| task.phase);
            let posted = matches!(phase, Some(Phase::Posted { .. }));
            (posted, Reverse(self.objects.at(index).number))
        };
        all.sort_by_cached_key(order);
        for &index in &all {
            if let Some(task) = self.objects.task_mut(index) {
                task.cancelled = true; // nothing of it is tried again
            }
        }
        // By name: one may take others with it.
        let all: Vec<u64> = all.into_iter().map(|index| self.objects.id(index)).collect();
        let mut told = Vec::new();
        for id in all {
            let Some(index) = self.objects.find(id) else { continue };
            if self.objects.task(index).is_some() {
                told.extend(self.cancel_one(index));
            }
        }
        told
    }

    /// These, and of the calls of their bodies those that nobody else holds, and so on.
    fn with_kids(&self, targets: &[Index]) -> Vec<Index> {
        let alone = |task: &Task| task.kids.is_empty();
        if let &[one] = targets
            && self.objects.task(one).is_none_or(alone)
        {
            return vec![one]; // as most are
        }
        let mut all: Vec<Index> = Vec::new();
        let mut known: HashSet<Index> = HashSet::new();
        // How often the tasks in it, and their bodies, hold each object.
        let mut held: HashMap<Index, u32> = HashMap::new();
        // The newest first: it may hold an older one, and not the other way round.
        let mut kids: BinaryHeap<(u64, Index)> = BinaryHeap::new();
        let mut next: Vec<Index> = targets.to_vec();
        loop {
            while let Some(index) = next.pop() {
                let Some(task) = self.objects.task(index) else { continue };
                if !known.insert(index) {
                    continue;
                }
                all.push(index);
                let open = task.kids.iter().filter_map(|&kid| self.objects.find(kid));
                kids.extend(open.map(|kid| (self.objects.at(kid).number, kid)));
                task.held.iter().for_each(|&dep| *held.entry(dep).or_default() += 1);
                if let Phase::Posted { place, .. } = task.phase
                    && self.body_of(place) == Some(index)
                {
                    let kept = &self.procs[usize::from(place)].kept;
                    kept.iter().for_each(|(&dep, &count)| *held.entry(dep).or_default() += count);
                }
            }
            let Some((_, kid)) = kids.pop() else { return all };
            let by_others = self.objects.at(kid).holds.saturating_sub(1);
            if by_others <= held.get(&kid).copied().unwrap_or(0) {
                next.push(kid);
            }
        }
    }

    // ---- what nobody wants ------------------------------------------------------------------

    /// An attempt has called one more.
    pub(super) fn add_kid(&mut self, parent: Index, kid: u64) {
        let Some(task) = self.objects.task_mut(parent) else { return };
        if task.kids.len() < task.kids.capacity() || task.kids.len() < 64 {
            return task.kids.push(kid);
        }
        // A body may call nodes for days: only those that are not over matter.
        let mut kids = std::mem::take(&mut task.kids);
        kids.retain(|&kid| {
            self.objects.find(kid).is_some_and(|index| self.objects.task(index).is_some())
        });
        kids.reserve(kids.len() + 1);
        kids.push(kid);
        if let Some(task) = self.objects.task_mut(parent) {
            task.kids = kids;
        }
    }

    /// The attempt that has called these is over. They go on for as long as somebody holds them;
    /// but calls of actors are messages, which are heard in any case.
    pub(super) fn abandon_calls(&mut self, kids: Vec<u64>) {
        for kid in kids {
            let Some(index) = self.objects.find(kid) else { continue };
            let Some(task) = self.objects.task_mut(index) else { continue };
            if task.caller == Caller::Body && task.actor.is_none() {
                task.caller = Caller::Gone;
                self.objects.note_unwanted(index);
            }
        }
    }

    /// Cancels what nobody wants any more. Bodies that run are told; the driver thread sees to
    /// their end.
    #[inline]
    pub(super) fn end_unwanted(&mut self) {
        if !self.objects.unwanted.is_empty() && !self.ending_unwanted {
            self.end_all_unwanted();
        }
    }

    #[cold]
    fn end_all_unwanted(&mut self) {
        // Cancels make others unwanted: those come here, and not deeper.
        self.ending_unwanted = true;
        while !self.objects.unwanted.is_empty() {
            let unwanted = std::mem::take(&mut self.objects.unwanted);
            let still = unwanted.into_iter().filter_map(|id| self.objects.find(id));
            let still: Vec<Index> = still
                .filter(|&index| {
                    self.objects.is_unwanted(index)
                        && self.objects.task(index).is_some_and(|task| !task.cancelled)
                })
                .collect();
            let told = self.cancel_tasks(&still);
            self.wakeup |= !told.is_empty();
            self.outlived.extend(told);
        }
        self.ending_unwanted = false;
    }

    /// What the body of a task has called and nobody else holds, and so on.
    pub(super) fn kids_to_end(&self, index: Index) -> Vec<Index> {
        let mut all = self.with_kids(&[index]);
        all.retain(|&kid| kid != index);
        all
    }

    fn cancel_one(&mut self, index: Index) -> Option<Told> {
        let task = self.objects.task(index)?;
        if let Phase::Posted { place, seq } = task.phase
            && !self.withdraw(place, seq)
        {
            let entry = self.memory.entry(place);
            entry.cancelled.store(seq + 1, SeqCst);
            let worker = Some(self.worker_name(place));
            let error = self.error_of(index, worker, Cause::Cancelled);
            self.end_waits(place, &error.into());
            // Until the cancel is through, nobody else's task comes to this process: what it
            // starts would be ended as well.
            let actor = self.objects.task(index).is_some_and(|task| task.actor.is_some());
            let process = self.proc_mut(place);
            process.cancels += u32::from(!actor);
            let spared = process.spared.iter().map(|&(pid, start)| Member { pid, start }).collect();
            let birth = process.birth;
            if !actor {
                self.recall_all(place); // what stands behind it is for others
            }
            let task = self.objects.at(index).number;
            return Some(Told { index, task, place, birth, seq, actor, spared });
        }
        self.fail(index, None, Cause::Cancelled);
        None
    }

    /// Whether a body that was told still runs.
    fn still_runs(&self, told: &Told) -> bool {
        let phase = self.objects.task(told.index).map(|task| task.phase);
        phase == Some(Phase::Posted { place: told.place, seq: told.seq })
    }

    /// Whether the process in which a body was told is gone (or the thread abandoned), with
    /// everything below it.
    fn is_ended(&self, told: &Told) -> bool {
        let process = &self.procs[usize::from(told.place)];
        process.birth != told.birth || process.abandoned
    }

    /// Ends a body with its worker, if it still runs.
    fn end_at_once(&mut self, told: &Told) {
        if self.still_runs(told) && !told.actor {
            self.doom(told.place, Doom::Cancel);
        }
        self.cancel_is_through(told);
    }

    /// A cancel is through: others may have the process.
    fn cancel_is_through(&mut self, told: &Told) {
        let process = self.proc_mut(told.place);
        if process.birth == told.birth && process.cancels > 0 {
            process.cancels -= 1;
            if process.cancels == 0 && process.outstanding() == 0 {
                self.after_posted(told.place);
            }
        }
    }
}

impl Host {
    /// Cancels a task and all that its body called.
    pub(super) fn cancel_targets(
        &self,
        target: &Target,
        cancel: Cancel,
    ) -> Result<Vec<CancelReport>, Error> {
        self.check()?;
        let (mut reports, told) = self.with(|state| state.begin_cancel(target, cancel))?;
        if told.is_empty() {
            return Ok(reports);
        }
        let at: HashMap<u64, usize> =
            reports.iter().enumerate().rev().map(|(at, report)| (report.task, at)).collect();
        for (task, ended, worker_ended) in self.end_bodies(&told, cancel, Duration::ZERO) {
            // What was called by a task that was meant is told of with the first of those.
            let at = at.get(&task).copied().unwrap_or(0);
            if let Some(report) = reports.get_mut(at) {
                report.ended.extend(ended);
                report.worker_ended |= worker_ended;
            }
        }
        Ok(reports)
    }

    /// Cancels that bodies have asked for, and bodies that nobody wants any more: each may take
    /// its grace.
    pub(super) fn start_cancels(self: &Arc<Self>, grace: Duration) {
        let (asked, outlived) = self.with(|state| {
            (std::mem::take(&mut state.cancels), std::mem::take(&mut state.outlived))
        });
        for CancelRequest { place, birth, number, target, cancel } in asked {
            let host = Arc::clone(self);
            let run = move || {
                let reports = host.cancel_targets(&target, cancel).map(Response::Reports);
                host.with(|state| {
                    // Another process may have its number by now.
                    if state.procs[usize::from(place)].birth == birth {
                        state.respond(place, number, reports);
                    }
                });
            };
            if let Err(error) = thread(run) {
                let refused = Error::system("starting a thread for a cancel")(error);
                self.with(|state| state.respond(place, number, Err(refused)));
            }
        }
        if !outlived.is_empty() {
            let (host, outlived) = (Arc::clone(self), Arc::new(outlived));
            let all = Arc::clone(&outlived);
            let run = move || drop(host.end_bodies(&all, Cancel::forced(), grace));
            if thread(run).is_err() {
                // No time for a grace.
                self.with(|state| outlived.iter().for_each(|told| state.end_at_once(told)));
            }
        }
    }

    /// Ends bodies that have been told, all at the same time: the task, what was ended of what it
    /// had started, and whether its worker was.
    fn end_bodies(
        &self,
        told: &[Told],
        cancel: Cancel,
        notice: Duration,
    ) -> Vec<(u64, Vec<EndedProcess>, bool)> {
        let end = |one: &Told| {
            let (ended, worker_ended) = self.end_body(one, cancel, notice);
            (one.task, ended, worker_ended)
        };
        let [first, others @ ..] = told else { return Vec::new() };
        std::thread::scope(|scope| {
            let start = |one| {
                let named = std::thread::Builder::new().name("mailring-cancel".to_owned());
                named.spawn_scoped(scope, move || end(one)).map_err(|_| one)
            };
            let started: Vec<_> = others.iter().map(start).collect();
            let mut all = vec![end(first)];
            for one in started {
                match one {
                    Ok(thread) => all.extend(thread.join()),
                    Err(one) => all.push(end(one)), // no more threads: one after the other
                }
            }
            all
        })
    }

    /// Ends what a body has started, and with force its worker, if it has not ended with `notice`:
    /// what was ended, and whether the worker was.
    fn end_body(&self, told: &Told, cancel: Cancel, notice: Duration) -> (Vec<EndedProcess>, bool) {
        let noticed = Instant::now() + notice;
        let pid = self.pid_of(told);
        // A worker whose body returns at once ends these itself.
        let mut before: Vec<(Member, String)> = Vec::new();
        if pid > 0 && !told.actor {
            let all = process_tree::descendants(pid).into_iter();
            before.extend(all.filter(|m| !told.spared.contains(m)).map(|m| (m, m.name())));
        }
        // A body may be between its look at the flag and the call that blocks it.
        for _ in 0..3 {
            process::interrupt(pid);
            let over = |state: &mut State| (!state.still_runs(told)).then_some(());
            let soon = Instant::now() + AGAIN;
            if pid == 0 || self.until(Some(soon), over).is_ok_and(|over| over.is_some()) {
                break;
            }
        }
        if told.actor {
            return (Vec::new(), false);
        }
        // A worker that is ended anyway is not waited for: it may start new ones all the time.
        let limit = if cancel.force { Duration::ZERO } else { LIMIT };
        let mut ended = self.end_family(pid, &told.spared, cancel.grace, limit);
        let alive = if before.is_empty() { Vec::new() } else { process_tree::descendants(pid) };
        before.retain(|(m, _)| !alive.contains(m) && ended.iter().all(|one| one.pid != m.pid));
        let gone = before.into_iter();
        ended.extend(gone.map(|(m, name)| EndedProcess { pid: m.pid, name, killed: false }));
        if !notice.is_zero() {
            let _ = self.until(Some(noticed), |state| (!state.still_runs(told)).then_some(()));
        }
        let forced = cancel.force
            && self.with(|state| {
                state.poll_completions();
                let still = state.still_runs(told);
                if still {
                    state.doom(told.place, Doom::Cancel);
                }
                still
            });
        if forced {
            // The fork server ends these with their worker.
            let left =
                process_tree::descendants(pid).into_iter().filter(|one| !told.spared.contains(one));
            let known: Vec<i32> = ended.iter().map(|one| one.pid).collect();
            let left = left.filter(|one| !known.contains(&one.pid));
            ended.extend(left.map(|one| EndedProcess {
                pid: one.pid,
                name: one.name(),
                killed: true,
            }));
            // Its body may have ended just before the kill: what counts is that all are gone.
            let until = Instant::now() + ENDING;
            let _ = self.until(Some(until), |state| state.is_ended(told).then_some(()));
        }
        self.with(|state| state.cancel_is_through(told));
        (ended, forced)
    }

    /// The process of a body, once the fork server has told its number; 0 when the body is over.
    fn pid_of(&self, told: &Told) -> i32 {
        let until = Instant::now() + ENDING;
        let known = self.until(Some(until), |state| {
            let child = state.procs[usize::from(told.place)].child.as_ref();
            if state.still_runs(told) { child.map(|child| child.pid) } else { Some(0) }
        });
        known.ok().flatten().unwrap_or(0)
    }

    /// Ends what the tasks of a worker have started.
    fn end_family(
        &self,
        pid: i32,
        spared: &[Member],
        grace: Duration,
        limit: Duration,
    ) -> Vec<EndedProcess> {
        if pid <= 0 {
            return Vec::new();
        }
        let abandon_calls = || self.stopping.load(SeqCst);
        let ended = process_tree::end_descendants(pid, spared, grace, limit, &abandon_calls);
        let ended = ended.into_iter();
        ended.map(|e| EndedProcess { pid: e.pid, name: e.name, killed: e.killed }).collect()
    }
}

fn thread(run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("mailring-cancel".to_owned()).spawn(run).map(drop)
}
