//! The driver thread: the one thread of a flow. It forks and reaps processes, keeps time, and reads
//! completions when no other thread of the driver does.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring_process::wait::RECHECK;
use mailring_process::wakeup::wait;
use mailring_process::{process, process_tree};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::State;
use super::backend::Backend;
use super::host::Host;
use super::signals;

/// No grace is longer.
const DAY: Duration = Duration::from_secs(86_400);
/// How often one looks at things that nobody reports.
const TICK: Duration = Duration::from_millis(50);

pub(super) struct DriverThread {
    host: Arc<Host>,
    backend: Backend,
    /// It does not answer: as good as dead.
    lost: bool,
    grace: Duration,
}

impl DriverThread {
    pub(super) fn new(host: Arc<Host>, backend: Backend, grace: Duration) -> Self {
        Self { host, backend, lost: false, grace }
    }

    /// Runs until the flow ends; then ends everything.
    pub(super) fn run(mut self) {
        let mut next = None;
        loop {
            let dead = self.sleep(next);
            if self.host.stopping.load(SeqCst) {
                break;
            }
            if let Some(signal) = signals::pending() {
                self.close("the driver was told to end");
                self.end_all();
                self.backend.shutdown();
                self.host.end_output();
                signals::obey(&self.host.driver_thread, signal);
                return;
            }
            if self.fork_server_is_dead() {
                self.close("its fork server process died");
                signals::uninstall(&self.host.driver_thread);
                let workers = self.groups();
                if let Backend::Processes(fork_server) = self.backend {
                    fork_server.reap_all(&workers);
                }
                return;
            }
            for place in dead {
                self.process_ended(place);
            }
            self.host.with(State::abandon_doomed);
            self.fork();
            self.host.start_cancels(self.grace);
            next = self.look();
        }
        self.end_all();
        self.backend.shutdown();
        match signals::pending() {
            Some(signal) => {
                self.host.end_output();
                signals::obey(&self.host.driver_thread, signal);
            }
            None => drop(signals::uninstall(&self.host.driver_thread)),
        }
    }

    fn close(&self, why: &str) {
        self.host.with(|state| {
            state.closed.get_or_insert_with(|| why.to_owned());
            state.changed = true;
        });
    }

    fn fork_server_is_dead(&self) -> bool {
        self.backend.attend();
        self.lost || self.backend.death().is_some_and(readable)
    }

    /// Sleeps until there is something; the processes that have ended.
    fn sleep(&self, next: Option<Instant>) -> Vec<u16> {
        let watched: Vec<(u16, RawFd)> = {
            let state = self.host.lock();
            let used = (0u16..).zip(&state.procs);
            let children = used.filter_map(|(place, p)| Some((place, p.child.as_ref()?)));
            children.map(|(place, child)| (place, child.death.as_fd().as_raw_fd())).collect()
        };
        let mut fds = vec![PollFd::new(self.host.driver_thread.as_fd(), PollFlags::POLLIN)];
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
            Ok(ended) => self.host.with(|state| {
                state.keep_for_good(place, &ended.named);
                state.process_ended(place, &ended.how);
            }),
            Err(error) => {
                tracing::error!(%error, "the fork server does not answer");
                self.lost = true;
            }
        }
    }

    /// Forks what was asked for. A worker whose process cannot be forked pauses.
    fn fork(&mut self) {
        while let Some(place) = self.host.with(State::next_spawn) {
            let name = self.host.lock().worker_name(place);
            match self.backend.spawn(place, &name) {
                Ok(child) => self.host.with(|state| state.spawned(place, child)),
                Err(error) => self.host.with(|state| state.not_spawned(place, &error)),
            }
        }
    }

    /// Everything that is due; when the next thing is.
    fn look(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Vec<Option<Instant>> = Vec::new();
        self.host.with(|state| {
            state.poll_all_requests();
            state.poll_completions(); // ends what nobody wants any more, too
            state.send_rest(now);
            state.end_backoff(now);
            state.serve_memory(now);
            next.push(state.backoff.iter().map(|(at, _)| *at).min());
            next.push(state.look_at_starts(now));
            next.push(state.end_late_waits(now));
            next.push(state.end_unattending(now));
            next.push(state.send_idle_away(now));
            next.push(state.end_late_bodies(now));
            if (state.unposted > 0 || state.blocked > 0) && state.has_standing() {
                next.push(Some(now + TICK));
            }
            if !state.unsent.is_empty() || !state.memory_waits.is_empty() || state.memory_short {
                next.push(Some(now + TICK));
            }
            next.push(state.end_stuck_waits(now));
        });
        next.into_iter().flatten().min()
    }

    /// The process groups of the workers.
    fn groups(&self) -> Vec<i32> {
        let state = self.host.lock();
        let children = state.procs.iter().filter_map(|process| process.child.as_ref());
        children.map(|child| child.pid).collect()
    }

    /// The flow ends: bodies are told, what they have started has a grace, and then all go.
    fn end_all(&self) {
        let workers: Vec<i32> = self.host.with(|state| {
            state.poll_completions();
            state.closed.get_or_insert_with(|| "it was dropped".to_owned());
            state.changed = true;
            state.tell_all_to_end();
            state.procs.iter().filter_map(|process| Some(process.child.as_ref()?.pid)).collect()
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
            self.host.with(State::refuse_all);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.is_any_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1).min(left));
        }
    }

    fn is_any_alive(&self) -> bool {
        let state = self.host.lock();
        let mut children = state.procs.iter().filter_map(|process| process.child.as_ref());
        children.any(|child| !readable(child.death.as_fd()))
    }
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) > 0
}

impl State {
    /// Idle processes may have something to say as well: a ref that they kept is gone.
    fn poll_all_requests(&mut self) {
        for place in 0..self.procs.len() as u16 {
            if self.procs[usize::from(place)].used {
                self.poll_process(place);
            }
        }
    }

    /// Whatever bodies ask for is refused: the flow ends.
    fn refuse_all(&mut self) {
        for place in 0..self.procs.len() as u16 {
            if self.procs[usize::from(place)].used {
                self.poll_requests(place, None);
                let why = self.closed.clone().unwrap_or_default();
                self.end_waits(place, &crate::protocol::error::Error::Closed(why));
            }
        }
    }

    /// Every process ends as soon as its body has, and bodies are told.
    fn tell_all_to_end(&mut self) {
        for place in 0..self.procs.len() as u16 {
            let process = &self.procs[usize::from(place)];
            if !process.used {
                continue;
            }
            let entry = self.memory.entry(place);
            entry.leave.store(1, SeqCst);
            if let Some((seq, index)) = process.oldest() {
                let pid = process.child.as_ref().map_or(0, |child| child.pid);
                if let Some(task) = self.objects.task_mut(index) {
                    task.cancelled = true; // what it returns now does not count
                }
                entry.cancelled.store(seq + 1, SeqCst);
                process::interrupt(pid);
            }
            self.recall_quietly(place);
            self.unpark_worker(place);
        }
    }
}
