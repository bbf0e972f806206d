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

/// A body that has been told, and where it runs.
struct Told {
    index: Index,
    place: u16,
    seq: u64,
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
            let process = &self.procs[usize::from(place)];
            let spared = process.spared.iter().map(|&(pid, start)| Member { pid, start }).collect();
            return Some(Told { index, place, seq, spared });
        }
        self.fail(index, None, Cause::Cancelled);
        None
    }

    /// Ends the worker of a body that still runs. True when that was so.
    fn end_worker(&mut self, told: &Told) -> bool {
        self.pump();
        let phase = self.objects.task(told.index).map(|task| task.phase);
        let still = phase == Some(Phase::Posted { place: told.place, seq: told.seq });
        if still {
            self.doom(told.place, Doom::Cancel);
        }
        still
    }
}

impl Host {
    /// Cancels a task and all that its body called.
    pub(in crate::flow) fn cancel(&self, id: u64, cancel: Cancel) -> Result<CancelReport, Error> {
        self.check()?;
        let (mut report, told) = self.with(|state| state.begin_cancel(id, cancel))?;
        for told in told {
            let pid = self.pid_of(&told)?;
            process::interrupt(pid);
            report.ended.extend(self.end_family(pid, &told.spared, cancel.grace));
            if cancel.force && self.with(|state| state.end_worker(&told)) {
                report.worker_ended = true;
                let until = std::time::Instant::now() + ENDING;
                let gone = |state: &mut State| {
                    let phase = state.objects.task(told.index).map(|task| task.phase);
                    (phase != Some(Phase::Posted { place: told.place, seq: told.seq }))
                        .then_some(())
                };
                self.until(Some(until), gone)?;
            }
        }
        Ok(report)
    }

    /// The process of a body, once the nursery has told its number; 0 when the body is over.
    fn pid_of(&self, told: &Told) -> Result<i32, Error> {
        let until = std::time::Instant::now() + ENDING;
        let known = self.until(Some(until), |state| {
            let phase = state.objects.task(told.index).map(|task| task.phase);
            if phase != Some(Phase::Posted { place: told.place, seq: told.seq }) {
                return Some(0);
            }
            state.procs[usize::from(told.place)].reins.as_ref().map(|reins| reins.pid)
        })?;
        Ok(known.unwrap_or(0))
    }

    /// Ends what the tasks of a worker have started.
    pub(super) fn end_family(
        &self,
        pid: i32,
        spared: &[Member],
        grace: Duration,
    ) -> Vec<EndedProcess> {
        if pid <= 0 {
            return Vec::new();
        }
        let give_up = || self.stopping.load(SeqCst);
        let ended = family::end_descendants(pid, spared, grace, &give_up);
        let ended = ended.into_iter();
        ended.map(|e| EndedProcess { pid: e.pid, name: e.name, killed: e.killed }).collect()
    }
}
