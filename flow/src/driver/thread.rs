//! The driver thread: the one thread of a flow. It forks and reaps processes, keeps time, and reads
//! completions when no other thread of the driver does.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailring_process::wait::RECHECK;
use mailring_process::wakeup::wait;
use mailring_process::{process, process_tree};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::backend::Backend;
use super::cancel_threads::start_cancels;
use super::parts::state::State;
use super::shared::Shared;
use super::signals;
use super::steps::answering::{end_late_waits, end_waits, send_rest};
use super::steps::completions::{poll_completions, poll_process};
use super::steps::deadlocks::end_stuck_waits;
use super::steps::deaths::{
    abandon_doomed, end_late_bodies, end_unattending, keep_for_good, process_ended,
};
use super::steps::follow_up::follow_up;
use super::steps::giving::serve_memory;
use super::steps::requests::poll_requests;
use super::steps::starts::{look_at_starts, not_spawned, spawned};
use crate::protocol::error::Error;

/// No grace is longer.
const DAY: Duration = Duration::from_secs(86_400);
/// How often one looks at things that nobody reports.
const TICK: Duration = Duration::from_millis(50);
/// How long a process that is not needed stays.
const IDLE: Duration = Duration::from_secs(2);

pub(super) struct DriverThread {
    shared: Arc<Shared>,
    backend: Backend,
    /// It does not answer: as good as dead.
    lost: bool,
    grace: Duration,
}

impl DriverThread {
    pub(super) fn new(shared: Arc<Shared>, backend: Backend, grace: Duration) -> Self {
        Self { shared, backend, lost: false, grace }
    }

    /// Runs until the flow ends; then ends everything.
    pub(super) fn run(mut self) {
        let mut next = None;
        loop {
            let dead = self.sleep(next);
            if self.shared.is_stopping() {
                break;
            }
            if let Some(signal) = signals::pending() {
                self.shared.close("the driver was told to end");
                self.end_all();
                self.backend.shutdown();
                self.shared.end_output();
                signals::obey(&self.shared.driver_thread, signal);
                return;
            }
            if self.fork_server_is_dead() {
                self.shared.close("its fork server process died");
                signals::uninstall(&self.shared.driver_thread);
                let workers = self.groups();
                if let Backend::Processes(fork_server) = self.backend {
                    fork_server.reap_all(&workers);
                }
                return;
            }
            for place in dead {
                self.process_ended(place);
            }
            self.shared.with(abandon_doomed);
            self.fork();
            start_cancels(&self.shared, self.grace);
            next = self.look();
        }
        self.end_all();
        self.backend.shutdown();
        match signals::pending() {
            Some(signal) => {
                self.shared.end_output();
                signals::obey(&self.shared.driver_thread, signal);
            }
            None => drop(signals::uninstall(&self.shared.driver_thread)),
        }
    }

    fn fork_server_is_dead(&self) -> bool {
        self.backend.attend();
        self.lost || self.backend.death().is_some_and(readable)
    }

    /// Sleeps until there is something; the processes that have ended.
    fn sleep(&self, next: Option<Instant>) -> Vec<u16> {
        let watched: Vec<(u16, RawFd)> = {
            let state = self.shared.lock();
            let children = state.processes.children();
            children.map(|(place, child)| (place, child.death.as_fd().as_raw_fd())).collect()
        };
        let mut fds = vec![PollFd::new(self.shared.driver_thread.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.backend.death().map(|death| PollFd::new(death, PollFlags::POLLIN)));
        let own = fds.len();
        // SAFETY: only this thread closes them, in `process_ended`.
        let borrowed = watched.iter().map(|(_, fd)| unsafe { BorrowedFd::borrow_raw(*fd) });
        fds.extend(borrowed.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // Never for long: the program may close our descriptors, and then nothing would end it.
        let left = next.map_or(RECHECK, |at| at.saturating_duration_since(Instant::now()));
        if !wait(&mut fds, left.min(RECHECK)) {
            return Vec::new();
        }
        let ended = watched.iter().zip(&fds[own..]).filter(|(_, fd)| fd.any() == Some(true));
        ended.map(|((place, _), _)| *place).collect()
    }

    /// The fence is passed: the process is gone. The fork server ends what it has left.
    fn process_ended(&mut self, place: u16) {
        match self.backend.reap(place) {
            Ok(ended) => self.shared.with(|state| {
                keep_for_good(state, place, &ended.named);
                process_ended(state, place, &ended.how);
            }),
            Err(error) => {
                tracing::error!(%error, "the fork server does not answer");
                self.lost = true;
            }
        }
    }

    /// Forks what was asked for. A worker whose process cannot be forked pauses.
    fn fork(&mut self) {
        while let Some(place) = self.shared.with(|state| state.processes.next_spawn()) {
            let name = self.shared.lock().worker_name(place);
            match self.backend.spawn(place, &name) {
                Ok(child) => self.shared.with(|state| spawned(state, place, child)),
                Err(error) => self.shared.with(|state| not_spawned(state, place, &error)),
            }
        }
    }

    /// Everything that is due; when the next thing is.
    fn look(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Vec<Option<Instant>> = Vec::new();
        self.shared.with(|state| {
            poll_all(state);
            poll_completions(state); // ends what nobody wants any more, too
            send_rest(state, now);
            state.effects.ready.extend(state.objects.end_backoff(now));
            follow_up(state);
            serve_memory(state, now);
            follow_up(state);
            next.push(state.objects.next_backoff());
            next.push(look_at_starts(state, now));
            next.push(end_late_waits(state, now));
            next.push(end_unattending(state, now));
            next.push(state.processes.send_idle_away(now, IDLE));
            next.push(end_late_bodies(state, now));
            let waits = state.objects.unposted() > 0 || state.processes.blocked() > 0;
            if (waits && state.processes.has_standing())
                || state.responses.has_rest()
                || state.admission.is_scarce()
            {
                next.push(Some(now + TICK));
            }
            next.push(end_stuck_waits(state, now));
        });
        next.into_iter().flatten().min()
    }

    /// The process groups of the workers.
    fn groups(&self) -> Vec<i32> {
        let state = self.shared.lock();
        state.processes.children().map(|(_, child)| child.pid).collect()
    }

    /// The flow ends: bodies are told, what they have started has a grace, and then all go.
    fn end_all(&self) {
        let workers: Vec<i32> = self.shared.with(|state| {
            poll_completions(state);
            state.closed.get_or_insert_with(|| "it was dropped".to_owned());
            state.effects.changed = true;
            tell_all_to_end(state);
            state.processes.children().map(|(_, child)| child.pid).collect()
        });
        let until = Instant::now() + self.grace.min(DAY);
        // One look at all: mostly there is nobody but the workers, of whom there may be thousands.
        let known: HashSet<i32> = workers.iter().copied().collect();
        // Threads share their children with the program.
        let all = match &self.backend {
            Backend::Processes(fork_server) => process_tree::descendants(fork_server.pid()),
            Backend::Threads(_) => Vec::new(),
        };
        let workers = if all.iter().all(|one| known.contains(&one.pid)) { vec![] } else { workers };
        std::thread::scope(|scope| {
            for worker in workers {
                if process_tree::descendants(worker).is_empty() {
                    continue;
                }
                // A second signal ends the driver in its handler, and then there is no grace.
                let left = until.saturating_duration_since(Instant::now());
                // What is left after the grace the fork server ends, with its worker.
                scope.spawn(move || {
                    process_tree::end_descendants(worker, &[], left, Duration::ZERO, &|| false);
                });
            }
        });
        // Workers leave by themselves when their bodies have ended.
        loop {
            self.shared.with(refuse_all);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.is_any_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1).min(left));
        }
    }

    fn is_any_alive(&self) -> bool {
        let state = self.shared.lock();
        state.processes.children().any(|(_, child)| !readable(child.death.as_fd()))
    }
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) > 0
}

/// Idle processes may have something to say as well: a ref that they kept is gone.
fn poll_all(state: &mut State) {
    for place in state.processes.places() {
        poll_process(state, place);
    }
}

/// Whatever bodies ask for is refused: the flow ends.
fn refuse_all(state: &mut State) {
    for place in state.processes.places() {
        poll_requests(state, place, None);
        let why = state.closed.clone().unwrap_or_default();
        end_waits(state, place, &Error::Closed(why));
    }
}

/// Every process ends as soon as its body has, and bodies are told.
fn tell_all_to_end(state: &mut State) {
    for place in state.processes.places() {
        let process = state.processes.at(place);
        let pid = process.child.as_ref().map_or(0, |child| child.pid);
        let oldest = process.oldest();
        state.processes.tell_to_leave(place, oldest.map(|(seq, _)| seq));
        if let Some((_, index)) = oldest {
            state.objects.set_cancelled(index); // what it returns now does not count
            process::interrupt(pid);
        }
        state.processes.recall_quietly(place);
        state.processes.unpark(place);
    }
}
