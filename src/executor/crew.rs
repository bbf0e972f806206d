//! Bringing an executor's workers up, and down again: processes behind a nursery, or threads.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::shared::{Shared, serve_on};
use crate::error::BuildError;
use crate::ids::{WorkerId, WorkerKind};
use crate::segment::{Arena, Status};
use crate::sys::{futex, machine};
use crate::worker::life::Workers;
use crate::worker::nursery::Nursery;
use crate::worker::participant::{Participant, Place};
use crate::worker::processes::Processes;
use crate::worker::{Publisher, make};

/// Longest start of a worker.
const START: Duration = Duration::from_secs(30);

/// Forks the nursery and through it all workers; waits until they are ready.
pub(super) fn fork_all(brood: &Workers) -> Result<Processes, BuildError> {
    let others = machine::threads().saturating_sub(1);
    if others > 0 {
        tracing::warn!(
            others,
            "building beside other threads: a lock that one of them holds now stays locked in the workers"
        );
    }
    let nursery = brood.lent.while_lending(|| Nursery::start(brood));
    let nursery = nursery.map_err(BuildError::system("forking the nursery"))?;
    let _ = brood.arena.not_for_children();
    let workers = brood.arena.shape().total_workers() as u16;
    let mut reins = Vec::with_capacity(usize::from(workers));
    for worker in 0..workers {
        match nursery.spawn(worker) {
            Ok(held) => reins.push(Some(held)),
            Err(source) => {
                nursery.shutdown();
                return Err(BuildError::System { what: "forking a worker", source });
            }
        }
    }
    let processes = Processes { nursery, reins };
    match await_live(&brood.arena, |worker| processes.ending(worker)) {
        Ok(()) => {
            tracing::info!(workers, "workers started");
            Ok(processes)
        }
        Err(error) => {
            processes.nursery.shutdown();
            Err(error)
        }
    }
}

pub(super) fn start_all(brood: &Workers) -> Result<Vec<JoinHandle<()>>, BuildError> {
    let arena = &brood.arena;
    let mut threads = Vec::new();
    for worker in 0..arena.shape().total_workers() as u16 {
        let brood = brood.clone();
        let started = std::thread::Builder::new()
            .name(format!("mailring-w{worker}"))
            .spawn(move || live_in_thread(&brood, worker));
        match started {
            Ok(thread) => threads.push(thread),
            Err(source) => {
                end_threads(arena, threads);
                return Err(BuildError::System { what: "starting a worker thread", source });
            }
        }
    }
    match await_live(&brood.arena, |_| None) {
        Ok(()) => Ok(threads),
        Err(error) => {
            end_threads(&brood.arena, threads);
            Err(error)
        }
    }
}

/// A worker's life in a thread.
fn live_in_thread(brood: &Workers, worker: u16) {
    let arena = &brood.arena;
    serve_on(arena);
    brood.lent.enter(arena);
    if let Some(cpus) = &brood.pin
        && !cpus.is_empty()
    {
        machine::pin(cpus[(usize::from(worker) + 1) % cpus.len()]);
    }
    let entry = arena.entry(worker);
    let kind = arena.shape().kind_of(usize::from(worker));
    match make(&brood.factories[kind.index()], WorkerId(worker)) {
        Ok(mut served) => {
            entry.status.store(Status::Live as u32, SeqCst);
            arena.ring_host();
            Participant::new(arena, worker, brood.wait, &brood.poke, Place::Thread)
                .serve(served.as_mut());
        }
        Err(why) => {
            entry.say(&why);
            entry.status.store(Status::Refused as u32, SeqCst);
            arena.ring_host();
        }
    }
}

/// Waits until every worker says that it is ready. `ending` tells how one has died.
fn await_live(arena: &Arena, ending: impl Fn(u16) -> Option<String>) -> Result<(), BuildError> {
    let until = Instant::now() + START;
    let workers = arena.shape().total_workers() as u16;
    loop {
        let door = &arena.control().host_door;
        let seen = door.load(Acquire);
        let mut waiting = None;
        for worker in 0..workers {
            let entry = arena.entry(worker);
            let status = entry.status.load(Acquire);
            if status == Status::Live as u32 {
                continue;
            }
            let why =
                if status == Status::Refused as u32 { Some(entry.said()) } else { ending(worker) };
            if let Some(why) = why {
                return Err(BuildError::Worker { worker: WorkerId(worker), why });
            }
            waiting = Some(worker);
        }
        let Some(worker) = waiting else { return Ok(()) };
        if Instant::now() > until {
            let why = format!("not ready after {START:?}");
            return Err(BuildError::Worker { worker: WorkerId(worker), why });
        }
        futex::wait(door, seen, Some(Duration::from_millis(20)));
    }
}

/// Everybody who works for an executor.
pub(super) struct Crew {
    pub(super) supervisor: JoinHandle<Option<Processes>>,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Ends all: workers are asked first; processes that stay longer than `grace` are killed, and
    /// at once those inside a body, if bodies `had_their_grace`.
    pub(super) fn end(self, shared: &Shared, grace: Duration, had_their_grace: bool) {
        shared.health.stop(&shared.poke);
        let processes = self.supervisor.join().ok().flatten();
        shut(&shared.arena);
        if let Some(processes) = processes {
            if had_their_grace {
                processes.kill_where(|worker| shared.arena.entry(worker).inside.load(Relaxed) != 0);
            }
            processes.end(grace);
        }
        for thread in self.threads {
            let _ = thread.join();
        }
    }

    /// In a process that only has a copy: nothing here is ours.
    pub(super) fn abandon(self) {
        std::mem::forget(self);
    }
}

fn end_threads(arena: &Arena, threads: Vec<JoinHandle<()>>) {
    shut(arena);
    for thread in threads {
        let _ = thread.join();
    }
}

/// Tells all workers to leave when they find nothing to do.
fn shut(arena: &Arena) {
    arena.control().shutdown.store(1, SeqCst);
    let publisher = Publisher::supervisor(arena);
    for kind in WorkerKind::ALL {
        publisher.wake_all(kind);
    }
    for worker in 0..arena.shape().total_workers() as u16 {
        let door = &arena.entry(worker).door;
        if door.load(Relaxed) != crate::mailbox::door::AWAKE {
            futex::wake(door, 1);
        }
    }
}
