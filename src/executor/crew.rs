//! Bringing an executor's workers up, and down again: processes behind a nursery, or threads.

use std::sync::Arc;
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
use crate::worker::starts::{Starts, end_overdue};
use crate::worker::steps::Step;
use crate::worker::{Publisher, make};

/// How often the builder looks at what nobody reports.
const LOOK: Duration = Duration::from_millis(5);

/// Forks the nursery and through it all workers; waits until they are ready.
pub(super) fn fork_all(
    brood: &Workers,
    longest: Duration,
    stack: usize,
) -> Result<Processes, BuildError> {
    let nursery = brood.lent.while_lending(|| Nursery::start(Arc::new(brood.clone()), stack));
    let nursery = nursery.map_err(BuildError::system("forking the nursery"))?;
    let _ = brood.arena.not_for_children();
    let workers = brood.arena.shape().total_workers();
    let mut processes = Processes { nursery, reins: (0..workers).map(|_| None).collect() };
    match bring_up(&brood.arena, &mut processes, longest) {
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

/// Forks all, and again those whose start failed, until all serve or one has failed too often.
fn bring_up(arena: &Arena, processes: &mut Processes, longest: Duration) -> Result<(), BuildError> {
    let workers = processes.reins.len() as u16;
    let mut starts = vec![Starts::default(); usize::from(workers)];
    for worker in 0..workers {
        fork(processes, worker)?;
    }
    loop {
        let door = &arena.control().host_door;
        let seen = door.load(Acquire);
        let (now, mut all) = (Instant::now(), true);
        for worker in 0..workers {
            let starts = &mut starts[usize::from(worker)];
            let entry = arena.entry(worker);
            let status = entry.status.load(Acquire);
            if status == Status::Live as u32 {
                continue;
            }
            all = false;
            let failed = |why| BuildError::Worker { worker: WorkerId(worker), why };
            if status == Status::Refused as u32 {
                return Err(failed(entry.said()));
            }
            if starts.take_due(now) {
                fork(processes, worker)?;
            } else if let Some(how) = processes.ending(worker) {
                let reins = processes.reins[usize::from(worker)].take();
                // It may have said why before it went.
                if entry.status.load(Acquire) == Status::Refused as u32 {
                    return Err(failed(entry.said()));
                }
                let hung = reins
                    .as_ref()
                    .is_some_and(|reins| reins.overdue.is_some() && reins.step() == Step::Factory);
                let how = reins.as_ref().map_or(how.clone(), |reins| reins.account(how));
                starts.failed(now, &how);
                // A factory has had its time; other steps, and deaths, are tried again.
                if hung || starts.failed_often() {
                    return Err(failed(how));
                }
            } else if let Some(reins) = &mut processes.reins[usize::from(worker)] {
                end_overdue(reins, longest, now);
            }
        }
        if all {
            return Ok(());
        }
        futex::wait(door, seen, Some(LOOK));
    }
}

fn fork(processes: &mut Processes, worker: u16) -> Result<(), BuildError> {
    let reins = processes.nursery.spawn(worker);
    let reins = reins.map_err(BuildError::system("forking a worker"))?;
    reins.begin();
    processes.reins[usize::from(worker)] = Some(reins);
    Ok(())
}

pub(super) fn start_all(
    brood: &Workers,
    longest: Duration,
    stack: usize,
) -> Result<Vec<JoinHandle<()>>, BuildError> {
    let arena = &brood.arena;
    let mut threads = Vec::new();
    for worker in 0..arena.shape().total_workers() as u16 {
        let brood = brood.clone();
        let started = std::thread::Builder::new()
            .name(format!("mailring-w{worker}"))
            .stack_size(stack)
            .spawn(move || live_in_thread(&brood, worker));
        match started {
            Ok(thread) => threads.push(thread),
            Err(source) => {
                end_threads(arena, threads);
                return Err(BuildError::System { what: "starting a worker thread", source });
            }
        }
    }
    match await_live(&brood.arena, longest) {
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

/// Waits until every worker, in its thread, says that it is ready.
fn await_live(arena: &Arena, longest: Duration) -> Result<(), BuildError> {
    let until = Instant::now() + longest;
    let workers = arena.shape().total_workers() as u16;
    loop {
        let door = &arena.control().host_door;
        let seen = door.load(Acquire);
        let mut waiting = None;
        for worker in 0..workers {
            let entry = arena.entry(worker);
            match entry.status.load(Acquire) {
                status if status == Status::Live as u32 => {}
                status if status == Status::Refused as u32 => {
                    let why = entry.said();
                    return Err(BuildError::Worker { worker: WorkerId(worker), why });
                }
                _ => waiting = Some(worker),
            }
        }
        let Some(worker) = waiting else { return Ok(()) };
        if Instant::now() > until {
            let why = format!("its factory was not through after {longest:?}");
            return Err(BuildError::Worker { worker: WorkerId(worker), why });
        }
        futex::wait(door, seen, Some(LOOK));
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
                processes.kill_where(|worker| shared.arena.entry(worker).inside() != 0);
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
