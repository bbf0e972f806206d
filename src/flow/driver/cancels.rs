//! Cancelling tasks, and ending what they have started.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::State;
use super::host::Host;
use super::objects::Index;
use super::processes::Doom;
use super::tasks::Phase;
use crate::flow::cancel::{Cancel, CancelReport, EndedProcess, Found};
use crate::flow::error::{Cause, Error};
use crate::sys::family::{self, Member};
use crate::sys::process;

/// How long a forced cancel waits for the end of a worker that was killed.
const ENDING: Duration = Duration::from_secs(10);

/// How long a cancel ends what a body starts again and again, after the grace.
const LIMIT: Duration = Duration::from_secs(3);

/// Pause between interrupts of a body that was told.
const AGAIN: Duration = Duration::from_millis(2);

/// A body that has been told, and where it runs.
struct Told {
    index: Index,
    place: u16,
    birth: u64,
    seq: u64,
    /// A call of an actor: the actor, and what it has started, live on.
    actor: bool,
    spared: Vec<Member>,
}

impl State {
    /// Cancels what can be at once. The bodies that run have been told.
    fn begin_cancel(
        &mut self,
        id: u64,
        cancel: Cancel,
    ) -> Result<(CancelReport, Vec<Told>), Error> {
        self.pump();
        let index = self.find(id)?;
        let number = self.objects.at(index).number;
        let mut report = CancelReport {
            task: number,
            found: Found::Finished,
            ended: Vec::new(),
            worker_ended: false,
        };
        let Some(task) = self.objects.task(index) else { return Ok((report, Vec::new())) };
        if cancel.force && task.actor.is_some() {
            return Err(Error::Invalid(
                "a call of an actor cannot be cancelled by force, since that would end the actor; kill the actor, or cancel without force".to_owned(),
            ));
        }
        let mut told = Vec::new();
        let mut open = vec![index];
        // A task, then those that its body called, and so on.
        while let Some(index) = open.pop() {
            let Some(task) = self.objects.task_mut(index) else { continue };
            task.cancelled = true;
            let kids = task.kids.clone();
            let running = self.cancel_one(index);
            if open.is_empty() && told.is_empty() && report.found == Found::Finished {
                report.found = if running.is_some() { Found::Running } else { Found::Queued };
            }
            told.extend(running);
            open.extend(kids.into_iter().filter_map(|kid| self.objects.find(kid)));
        }
        self.pump();
        self.changed = true;
        Ok((report, told))
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
            return Some(Told { index, place, birth, seq, actor, spared });
        }
        self.fail(index, None, Cause::Cancelled);
        None
    }

    /// Whether a body that was told still runs.
    fn still_runs(&self, told: &Told) -> bool {
        let phase = self.objects.task(told.index).map(|task| task.phase);
        phase == Some(Phase::Posted { place: told.place, seq: told.seq })
    }

    /// A cancel is through: others may have the process.
    fn cancel_is_through(&mut self, told: &Told) {
        let process = self.proc_mut(told.place);
        if process.birth == told.birth && process.cancels > 0 {
            process.cancels -= 1;
            if process.cancels == 0 && process.outstanding() == 0 {
                self.after_letter(told.place);
            }
        }
    }
}

impl Host {
    /// Cancels a task and all that its body called.
    pub(in crate::flow) fn cancel(&self, id: u64, cancel: Cancel) -> Result<CancelReport, Error> {
        self.check()?;
        let (mut report, told) = self.with(|state| state.begin_cancel(id, cancel))?;
        let ends = match &told[..] {
            [] => Vec::new(),
            [one] => vec![self.end_body(one, cancel)],
            // Each has the grace, at the same time.
            many => std::thread::scope(|scope| {
                let all = many.iter().map(|one| scope.spawn(|| self.end_body(one, cancel)));
                let all: Vec<_> = all.collect();
                all.into_iter().filter_map(|one| one.join().ok()).collect()
            }),
        };
        for (ended, worker_ended) in ends {
            report.ended.extend(ended);
            report.worker_ended |= worker_ended;
        }
        Ok(report)
    }

    /// Ends what a body has started, and with force its worker: what was ended, and whether the
    /// worker was.
    fn end_body(&self, told: &Told, cancel: Cancel) -> (Vec<EndedProcess>, bool) {
        let pid = self.pid_of(told);
        // A worker whose body returns at once ends these itself.
        let mut before: Vec<(Member, String)> = Vec::new();
        if pid > 0 && !told.actor {
            let all = family::descendants(pid).into_iter();
            before.extend(all.filter(|m| !told.spared.contains(m)).map(|m| (m, m.name())));
        }
        // A body may be between its look at the flag and the call that blocks it.
        for _ in 0..3 {
            process::interrupt(pid);
            let over = |state: &mut State| (!state.still_runs(told)).then_some(());
            let soon = std::time::Instant::now() + AGAIN;
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
        let alive = if before.is_empty() { Vec::new() } else { family::descendants(pid) };
        before.retain(|(m, _)| !alive.contains(m) && ended.iter().all(|one| one.pid != m.pid));
        let gone = before.into_iter();
        ended.extend(gone.map(|(m, name)| EndedProcess { pid: m.pid, name, killed: false }));
        let forced = cancel.force
            && self.with(|state| {
                state.pump();
                let still = state.still_runs(told);
                if still {
                    state.doom(told.place, Doom::Cancel);
                }
                still
            });
        if forced {
            // The nursery ends these with their worker.
            let left =
                family::descendants(pid).into_iter().filter(|one| !told.spared.contains(one));
            let known: Vec<i32> = ended.iter().map(|one| one.pid).collect();
            let left = left.filter(|one| !known.contains(&one.pid));
            ended.extend(left.map(|one| EndedProcess {
                pid: one.pid,
                name: one.name(),
                killed: true,
            }));
            let until = std::time::Instant::now() + ENDING;
            let _ = self.until(Some(until), |state| (!state.still_runs(told)).then_some(()));
        }
        self.with(|state| state.cancel_is_through(told));
        (ended, forced)
    }

    /// The process of a body, once the nursery has told its number; 0 when the body is over.
    fn pid_of(&self, told: &Told) -> i32 {
        let until = std::time::Instant::now() + ENDING;
        let known = self.until(Some(until), |state| {
            let reins = state.procs[usize::from(told.place)].reins.as_ref();
            if state.still_runs(told) { reins.map(|reins| reins.pid) } else { Some(0) }
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
        let give_up = || self.stopping.load(SeqCst);
        let ended = family::end_descendants(pid, spared, grace, limit, &give_up);
        let ended = ended.into_iter();
        ended.map(|e| EndedProcess { pid: e.pid, name: e.name, killed: e.killed }).collect()
    }
}
