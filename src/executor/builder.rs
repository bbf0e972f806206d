//! Building an executor: check, map, fork (or start threads), wait until all are ready.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chips::check_devices;
use super::shared::{Shared, serve_on};
use super::turn::Turn;
use super::{Executor, Orchestrator};
use crate::abi::reach::Reach;
use crate::abi::{CallConfig, TaskArgsView};
use crate::error::BuildError;
use crate::graph::Hazards;
use crate::ids::{Callable, WorkerId, WorkerKind};
use crate::limits::{
    DEFAULT_BUFFER_BYTES, DEFAULT_HEAP_BYTES, DEFAULT_IMPORT_BYTES, DEFAULT_WINDOW, MAX_WINDOW,
    MAX_WORKERS, MIN_WINDOW,
};
use crate::mailbox::group;
use crate::ring::{Geometry, RingError};
use crate::segment::{Arena, Shape, Status};
use crate::sys::{futex, machine};
use crate::worker::lent::Lent;
use crate::worker::library::Registered;
use crate::worker::nursery::{Brood, Nursery};
use crate::worker::participant::{Participant, Place, Poke, WaitStrategy};
use crate::worker::supervisor::{Health, Processes, Supervisor};
use crate::worker::{BoxError, Factory, Functions, Publisher, TaskContext, Worker, make};

/// Where workers live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Each in a forked process: one may die at any instruction, and the rest goes on.
    #[default]
    Process,
    /// Each in a thread of this process: no isolation, and a body that hangs cannot be ended.
    Thread,
}

/// Longest start of a worker.
const START: Duration = Duration::from_secs(30);

/// The options of an executor.
///
/// A child process is forked in [`build`](Self::build), and the workers from it; functions and
/// whatever they captured are there by virtue of the fork. Build early: beside threads of the
/// host that hold locks (other than the allocator's), functions that take the same locks would
/// wait for ever.
#[derive(Clone)]
pub struct Builder {
    name: String,
    mode: Mode,
    workers: [usize; 2],
    window: usize,
    heap_bytes: usize,
    buffer_bytes: usize,
    import_bytes: usize,
    hazards: Hazards,
    wait: WaitStrategy,
    back_pressure: Option<Duration>,
    grace: Duration,
    pin: bool,
    functions: Functions,
    services: [Option<Service>; 2],
}

/// Workers that do not call registered functions: who makes them, and what messages say of them.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) factory: Factory,
    /// What callables 0, 1, ... are called, if those are all there are.
    pub(crate) callables: Option<Vec<String>>,
    /// What each worker has at its side (`device 3`), if anything.
    pub(crate) beside: Vec<String>,
    /// The device of each worker, if each drives one.
    pub(crate) devices: Option<Vec<i32>>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            name: "mailring".to_owned(),
            mode: Mode::default(),
            workers: [0, 0],
            window: DEFAULT_WINDOW,
            heap_bytes: DEFAULT_HEAP_BYTES,
            buffer_bytes: DEFAULT_BUFFER_BYTES,
            import_bytes: DEFAULT_IMPORT_BYTES,
            hazards: Hazards::default(),
            wait: WaitStrategy::default(),
            back_pressure: None,
            grace: Duration::from_secs(1),
            pin: false,
            functions: Functions::default(),
            services: [None, None],
        }
    }

    /// What the arena is called in `/proc/*/maps`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Processes (the default) or threads.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// NEXT_LEVEL workers: where `submit` goes.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers[WorkerKind::NextLevel.index()] = count;
        self
    }

    /// SUB workers: where `submit_sub` goes.
    #[must_use]
    pub fn sub_workers(mut self, count: usize) -> Self {
        self.workers[WorkerKind::Sub.index()] = count;
        self
    }

    /// Task slots in flight: a power of two from 16 to 65,536 (default 4,096).
    #[must_use]
    pub fn slot_window(mut self, slots: usize) -> Self {
        self.window = slots;
        self
    }

    /// Bytes of each of the four heap rings (default 1 GiB; virtual, nothing is touched before
    /// use).
    #[must_use]
    pub fn heap_bytes(mut self, bytes: usize) -> Self {
        self.heap_bytes = bytes;
        self
    }

    /// Bytes for all [`Buffer`](crate::Buffer)s together (default 1 GiB, virtual as well).
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Addresses set aside for buffers over memory that comes after the fork (default 16 GiB; they
    /// cost nothing). Fewer, or none, where the system does not give them.
    #[must_use]
    pub fn import_bytes(mut self, bytes: usize) -> Self {
        self.import_bytes = bytes;
        self
    }

    /// How dependencies are inferred.
    #[must_use]
    pub fn hazards(mut self, hazards: Hazards) -> Self {
        self.hazards = hazards;
        self
    }

    /// How workers and the host wait.
    #[must_use]
    pub fn wait_strategy(mut self, wait: WaitStrategy) -> Self {
        self.wait = wait;
        self
    }

    /// How long a submit may wait for room without any progress. Without it, as long as it takes;
    /// a wait that could never end is recognised at once in either case.
    #[must_use]
    pub fn back_pressure_timeout(mut self, timeout: Duration) -> Self {
        self.back_pressure = Some(timeout);
        self
    }

    /// How long members of a failed group, and running tasks of a dropped executor, may go on
    /// (default 1 s).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace.min(Duration::from_secs(24 * 3600));
        self
    }

    /// Keeps each worker on a processor of its own, as far as there are enough.
    #[must_use]
    pub fn pin_cpus(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Registers a function under a name that no other has; the result is what to submit.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register<F, E>(&mut self, name: &str, function: F) -> Result<Callable, BuildError>
    where
        F: Fn(TaskArgsView<'_>, &CallConfig, &TaskContext<'_>) -> Result<(), E>
            + Send
            + Sync
            + 'static,
        E: Into<BoxError>,
    {
        let added = self.functions.add(name, function);
        added.map(Callable).ok_or_else(|| BuildError::DuplicateFunction(name.to_owned()))
    }

    /// Workers of a kind of one's own, instead of those that call registered functions. The
    /// factory runs in the worker's process (or thread), each time one starts.
    #[must_use]
    pub fn worker_factory(
        self,
        kind: WorkerKind,
        factory: impl Fn(WorkerId) -> Result<Box<dyn Worker>, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let factory = Arc::new(factory);
        self.serve(kind, Service { factory, callables: None, beside: Vec::new(), devices: None })
    }

    /// The same, with what messages can say of such workers.
    #[must_use]
    pub(crate) fn serve(mut self, kind: WorkerKind, service: Service) -> Self {
        self.services[kind.index()] = Some(service);
        self
    }

    /// Maps the arena, starts the workers, and waits until all are ready.
    ///
    /// # Errors
    /// A bound is passed, a system call fails, or a worker does not come up; nothing is left then.
    pub fn build(self) -> Result<Executor, BuildError> {
        self.check()?;
        let shape = Shape {
            ring: Geometry {
                window: self.window,
                heap_bytes: self.heap_bytes / crate::limits::HEAP_ALIGN * crate::limits::HEAP_ALIGN,
                group_words: 8 * group::words(MAX_WORKERS),
            },
            workers: self.workers,
            buffer_bytes: self.buffer_bytes,
            import_bytes: self.import_bytes,
        };
        let arena = Arc::new(
            Arena::new(&self.name, shape).map_err(BuildError::system("mapping the arena"))?,
        );
        let lent = Lent::ambient();
        let reach = Reach::new(&[arena.tensor_bytes(), arena.window().bytes()]);
        let reach = reach.ok_or(BuildError::Executors)?;
        let poke = Arc::new(event().map_err(BuildError::system("eventfd"))?);
        let health = Arc::new(Health::default());
        for kind in WorkerKind::ALL {
            health.live[kind.index()].store(self.workers[kind.index()] as u32, SeqCst);
        }
        let catalogue = self.services.each_ref().map(|service| match service {
            None => Some(self.functions.names()),
            Some(service) => service.callables.as_deref().map(Arc::from),
        });
        let beside = self.services.each_ref().map(|service| {
            service.as_ref().map(|service| service.beside.clone()).unwrap_or_default()
        });
        let calls_functions = self.services.each_ref().map(Option::is_none);
        let functions = self.functions;
        let factories = self.services.map(|service| match service {
            Some(service) => service.factory,
            None => {
                let (functions, arena) = (functions.clone(), Arc::clone(&arena));
                Arc::new(move |_| {
                    let worker = Registered::new(functions.clone(), Arc::clone(&arena));
                    Ok(Box::new(worker) as Box<dyn Worker>)
                })
            }
        });
        let brood = Brood {
            arena: Arc::clone(&arena),
            factories,
            wait: self.wait,
            pin: self.pin.then(|| machine::allowed_cpus().into()),
            poke: Arc::clone(&poke),
            lent: lent.clone(),
        };
        let shared = Arc::new(Shared::new(
            Arc::clone(&arena),
            Arc::clone(&health),
            Arc::clone(&poke),
            catalogue,
            calls_functions,
            lent,
            reach,
            self.wait,
            self.back_pressure,
            self.grace,
        ));
        let imports = Arc::clone(&shared.imports);
        let orchestrator = Orchestrator::new(Arc::clone(&shared), self.hazards)?;
        let (processes, threads) = match self.mode {
            Mode::Process => (Some(fork_all(&brood)?), Vec::new()),
            Mode::Thread => (None, start_all(&brood)?),
        };
        let supervisor =
            Supervisor { arena, health, poke, grace: self.grace, processes, beside, imports };
        let supervisor = std::thread::Builder::new()
            .name("mailring-super".to_owned())
            .spawn(move || supervisor.run())
            .map_err(BuildError::system("starting the supervisor"))?;
        Ok(Executor {
            turn: Arc::new(Turn::new(orchestrator)),
            shared,
            crew: Some(Crew { supervisor, threads }),
        })
    }

    fn check(&self) -> Result<(), BuildError> {
        for (service, &workers) in self.services.iter().zip(&self.workers) {
            if let Some(devices) = service.as_ref().and_then(|service| service.devices.as_deref()) {
                check_devices(devices, workers, self.mode)?;
            }
        }
        let total = self.workers[0].saturating_add(self.workers[1]);
        if total == 0 || total > MAX_WORKERS {
            return Err(BuildError::Workers(total));
        }
        if !self.window.is_power_of_two() || !(MIN_WINDOW..=MAX_WINDOW).contains(&self.window) {
            return Err(RingError::Window(self.window).into());
        }
        // The kernel refuses no mapping, however large; it kills later. So this is ours to do.
        if let Some(available) = machine::available_memory() {
            let parts = [("a heap ring", self.heap_bytes), ("the buffer space", self.buffer_bytes)];
            for (what, asked) in parts {
                let asked = asked as u64;
                if asked > available {
                    return Err(BuildError::Memory { what, asked, available });
                }
            }
        }
        Ok(())
    }
}

fn event() -> std::io::Result<OwnedFd> {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    Ok(event.into())
}

/// Forks the nursery and through it all workers; waits until they are ready.
fn fork_all(brood: &Brood) -> Result<Processes, BuildError> {
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

fn start_all(brood: &Brood) -> Result<Vec<JoinHandle<()>>, BuildError> {
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
fn live_in_thread(brood: &Brood, worker: u16) {
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
            let poke = Poke(std::os::fd::AsFd::as_fd(&*brood.poke));
            Participant::new(arena, worker, brood.wait, poke, Place::Thread).serve(served.as_mut());
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
    supervisor: JoinHandle<Option<Processes>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Ends all: workers are asked first; processes that stay longer than `grace` are killed.
    pub(super) fn end(self, shared: &Shared, grace: Duration) {
        shared.health.stop(&shared.poke);
        let processes = self.supervisor.join().ok().flatten();
        shut(&shared.arena);
        if let Some(processes) = processes {
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
