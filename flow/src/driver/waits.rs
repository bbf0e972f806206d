//! Bodies that wait for values.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::State;
use super::objects::{Index, Value, Waiter};
use crate::protocol::error::{Cause, Error};
use crate::protocol::node::number_of;
use crate::protocol::wire::{Response, WireValue};

/// A body that waits for values.
pub(super) struct Wait {
    request: u64,
    pub(super) ids: Vec<Index>,
    /// How many must be complete.
    pub(super) need: usize,
    /// All of them, and their values are wanted.
    values: bool,
    pub(super) until: Option<Instant>,
}

impl Wait {
    /// Whether it cannot end before each of its refs is complete.
    pub(super) fn needs_all(&self) -> bool {
        self.values || self.need == self.ids.len()
    }
}

impl State {
    pub(super) fn begin_wait(
        &mut self,
        place: u16,
        request: u64,
        ids: &[u64],
        need: usize,
        values: bool,
        timeout: Option<Duration>,
    ) {
        let found: Result<Vec<Index>, Error> = ids.iter().map(|&id| self.find(id)).collect();
        let ids = match found {
            Ok(ids) => ids,
            Err(error) => return self.respond(place, request, Err(error)),
        };
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let wait = Wait { request, ids, need, values, until };
        if let Some(response) = self.outcome(&wait) {
            return self.respond(place, request, Ok(response));
        }
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return self.respond(place, request, Ok(self.timed_out(&wait)));
        }
        if let Some(error) = self.told_to_stop(place) {
            return self.respond(place, request, Err(error));
        }
        for &index in &wait.ids {
            if self.objects.at(index).value.is_pending() {
                self.objects.at_mut(index).waiters.push(Waiter::Process(place, request));
            }
        }
        self.wakeup |= until.is_some(); // the driver thread minds the time
        let pending = |index: &Index| self.objects.at(*index).value.is_pending();
        let awaited: Vec<Index> = wait.ids.iter().copied().filter(pending).collect();
        self.proc_mut(place).waits.push(wait);
        self.blocked += 1;
        if let Some(body) = self.body_of(place) {
            if let Some(task) = self.objects.task(body) {
                self.nodes[number_of(task.node) as usize].waits = true;
            }
            self.await_all(&awaited, self.objects.at(body).rank.depth.saturating_add(1));
        }
        // The cpus are for others meanwhile, and so is what stands behind the waiting body.
        self.lend(place, true);
        if self.procs[usize::from(place)].actor.is_none() {
            self.recall_all(place);
        }
        self.watch_waits(Instant::now());
        self.schedule();
    }

    /// A body that has been told to stop does not wait any more, as it does not sleep any more. Its
    /// cleanup may. (Whoever asks is still where it was when it asked.)
    pub(super) fn told_to_stop(&self, place: u16) -> Option<Error> {
        let entry = self.memory.entry(place);
        let inside = entry.inside.load(Relaxed);
        let told = inside != 0 && entry.cancelled.load(Relaxed) == inside;
        let index = self.body_of(place).filter(|_| told)?;
        Some(self.error_of(index, Some(self.worker_name(place)), Cause::Cancelled).into())
    }

    /// A wait's answer, if it is over.
    fn outcome(&self, wait: &Wait) -> Option<Response> {
        let pending = |index: &Index| self.objects.at(*index).value.is_pending();
        if !wait.values {
            let ready = wait.ids.iter().filter(|index| !pending(index)).count();
            return (ready >= wait.need).then(|| self.settled(wait));
        }
        // A failure ends it, whatever else is not there yet.
        let failed = wait.ids.iter().find_map(|&index| match &self.objects.at(index).value {
            Value::Failed(error) => Some(WireValue::Failed(Box::new((**error).clone()))),
            _ => None,
        });
        if let Some(failed) = failed {
            return Some(Response::Values(vec![failed]));
        }
        let value = |&index: &Index| match &self.objects.at(index).value {
            Value::Inline(bytes) => Some(WireValue::Inline(bytes.to_vec())),
            &Value::Placed { address, len, .. } => Some(WireValue::Placed { address, len }),
            Value::Pending | Value::Failed(_) => None,
        };
        wait.ids.iter().map(value).collect::<Option<Vec<_>>>().map(Response::Values)
    }

    fn settled(&self, wait: &Wait) -> Response {
        let there = |&index: &Index| !self.objects.at(index).value.is_pending();
        Response::Settled(wait.ids.iter().map(there).collect())
    }

    fn timed_out(&self, wait: &Wait) -> Response {
        if wait.values { Response::TimedOut } else { self.settled(wait) }
    }

    /// Something that a process waits for is complete.
    pub(super) fn look_at_wait(&mut self, place: u16, request: u64) {
        let waits = &self.procs[usize::from(place)].waits;
        let Some(at) = waits.iter().position(|wait| wait.request == request) else { return };
        if let Some(response) = self.outcome(&waits[at]) {
            self.end_wait(place, at, Ok(response));
        }
    }

    pub(super) fn end_wait(&mut self, place: u16, at: usize, response: Result<Response, Error>) {
        let wait = self.proc_mut(place).waits.swap_remove(at);
        self.blocked -= 1;
        self.leave_waiters(place, &wait);
        let memory = self.memory_waits.iter().any(|wait| wait.place == place);
        if !memory && self.procs[usize::from(place)].waits.is_empty() && !self.is_weightless(place)
        {
            self.lend(place, false);
        }
        self.respond(place, wait.request, response);
    }

    /// Ends all waits of a body with this error, those for memory as well.
    pub(super) fn end_waits(&mut self, place: u16, error: &Error) {
        self.refuse_memory(place, error);
        while !self.procs[usize::from(place)].waits.is_empty() {
            self.end_wait(place, 0, Err(error.clone()));
        }
    }

    fn leave_waiters(&mut self, place: u16, wait: &Wait) {
        for &index in &wait.ids {
            let waiters = &mut self.objects.at_mut(index).waiters;
            waiters.retain(|waiter| *waiter != Waiter::Process(place, wait.request));
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
                        let response = self.timed_out(wait);
                        self.end_wait(place, which, Ok(response));
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
}
