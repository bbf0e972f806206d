//! Start and end of an executor's workers: processes behind a fork server, or threads.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mailring_process::backoff::{Starts, end_overdue};
use mailring_process::fork_server::{ForkServer, StartStep};
use mailring_process::wakeup::Wakeup;
use mailring_process::{futex, machine};

use super::shared::serve_on;
use crate::error::BuildError;
use crate::ids::{WorkerId, WorkerKind};
use crate::segment::{Arena, Status};
use crate::worker::health::Health;
use crate::worker::life::Workers;
use crate::worker::participant::{Participant, Place};
use crate::worker::processes::Processes;
use crate::worker::{Publisher, make};

/// How often the builder looks at what nobody reports.
const LOOK: Duration = Duration::from_millis(5);

/// Forks the fork server and through it all workers; waits until they are ready.
pub(super) fn fork_all(
    handler: &Workers,
    longest: Duration,
    stack: usize,
) -> Result<Processes, BuildError> {
    let fork_server =
        handler.inherited.while_lending(|| ForkServer::start(Arc::new(handler.clone()), stack));
    let fork_server = fork_server.map_err(BuildError::system("forking the fork server"))?;
    let _ = handler.arena.not_for_children();
    let workers = handler.arena.shape().total_workers();
    let mut processes = Processes { fork_server, children: (0..workers).map(|_| None).collect() };
    match bring_up(&handler.arena, &mut processes, longest) {
        Ok(()) => {
            tracing::info!(workers, "workers started");
            Ok(processes)
        }
        Err(error) => {
            processes.fork_server.shutdown();
            Err(error)
        }
    }
}

/// Forks all, and again those whose start failed, until all serve or one has failed too often.
fn bring_up(arena: &Arena, processes: &mut Processes, longest: Duration) -> Result<(), BuildError> {
    let workers = processes.children.len() as u16;
    let mut starts = vec![Starts::default(); usize::from(workers)];
    for worker in 0..workers {
        fork(processes, worker)?;
    }
    loop {
        let parker = &arena.control().host_parker;
        let seen = parker.load(Acquire);
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
                let child = processes.children[usize::from(worker)].take();
                // It may have said why before it went.
                if entry.status.load(Acquire) == Status::Refused as u32 {
                    return Err(failed(entry.said()));
                }
                let hung = child.as_ref().is_some_and(|child| {
                    child.overdue.is_some() && child.step() == StartStep::Factory
                });
                let how = child.as_ref().map_or(how.clone(), |child| child.account(how));
                starts.failed(now, &how);
                // A factory has had its time; other steps, and deaths, are tried again.
                if hung || starts.failed_often() {
                    return Err(failed(how));
                }
            } else if let Some(child) = &mut processes.children[usize::from(worker)] {
                end_overdue(child, longest, now);
            }
        }
        if all {
            return Ok(());
        }
        futex::wait(parker, seen, Some(LOOK));
    }
}

fn fork(processes: &mut Processes, worker: u16) -> Result<(), BuildError> {
    let child = processes.fork_server.spawn(worker);
    let child = child.map_err(BuildError::system("forking a worker"))?;
    child.begin();
    processes.children[usize::from(worker)] = Some(child);
    Ok(())
}

pub(super) fn start_all(
    handler: &Workers,
    longest: Duration,
    stack: usize,
) -> Result<Vec<JoinHandle<()>>, BuildError> {
    let arena = &handler.arena;
    let mut threads = Vec::new();
    for worker in 0..arena.shape().total_workers() as u16 {
        let handler = handler.clone();
        let started = std::thread::Builder::new()
            .name(format!("mailring-w{worker}"))
            .stack_size(stack)
            .spawn(move || live_in_thread(&handler, worker));
        match started {
            Ok(thread) => threads.push(thread),
            Err(source) => {
                end_threads(arena, threads);
                return Err(BuildError::System { what: "starting a worker thread", source });
            }
        }
    }
    match await_live(&handler.arena, longest) {
        Ok(()) => Ok(threads),
        Err(error) => {
            end_threads(&handler.arena, threads);
            Err(error)
        }
    }
}

/// A worker's life in a thread.
fn live_in_thread(handler: &Workers, worker: u16) {
    let arena = &handler.arena;
    serve_on(arena);
    handler.inherited.enter(arena);
    if let Some(cpus) = &handler.pin
        && !cpus.is_empty()
    {
        machine::pin(cpus[(usize::from(worker) + 1) % cpus.len()]);
    }
    let entry = arena.entry(worker);
    let kind = arena.shape().kind_of(usize::from(worker));
    match make(&handler.factories[kind.index()], WorkerId(worker)) {
        Ok(mut served) => {
            entry.status.store(Status::Live as u32, SeqCst);
            arena.notify_host();
            Participant::new(arena, worker, handler.wait, &handler.wakeup, Place::Thread)
                .with_times(handler.times.as_deref())
                .serve(served.as_mut());
        }
        Err(why) => {
            entry.say(&why);
            entry.status.store(Status::Refused as u32, SeqCst);
            arena.notify_host();
        }
    }
}

/// Waits until every worker, in its thread, says that it is ready.
fn await_live(arena: &Arena, longest: Duration) -> Result<(), BuildError> {
    let until = Instant::now() + longest;
    let workers = arena.shape().total_workers() as u16;
    loop {
        let parker = &arena.control().host_parker;
        let seen = parker.load(Acquire);
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
        futex::wait(parker, seen, Some(LOOK));
    }
}

/// Everybody who works for an executor.
pub(super) struct Lifecycle {
    pub(super) supervisor: JoinHandle<Option<Processes>>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) health: Arc<Health>,
    pub(super) wakeup: Arc<Wakeup>,
}

impl Lifecycle {
    /// Ends all: workers are asked first; processes that stay longer than `grace` are killed, and
    /// at once those inside a body, if bodies `had_their_grace`.
    pub(super) fn end(self, arena: &Arena, grace: Duration, had_their_grace: bool) {
        self.health.stop(&self.wakeup);
        let processes = self.supervisor.join().ok().flatten();
        shut(arena);
        if let Some(processes) = processes {
            if had_their_grace {
                processes.kill_where(|worker| arena.entry(worker).inside() != 0);
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
        let parker = &arena.entry(worker).parker;
        if parker.load(Relaxed) != mailring_process::parker::AWAKE {
            futex::wake(parker, 1);
        }
    }
}
