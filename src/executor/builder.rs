//! Building an executor: check, map, fork (or start threads), wait until all are ready.

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mailring_process::backoff::START;
use mailring_process::collector::LogFile;
use mailring_process::live::Publication;
use mailring_process::reach::Reach;
use mailring_process::wait::WaitStrategy;
use mailring_process::wakeup::Wakeup;
use mailring_process::{descriptors, machine, stack};

use super::Executor;
use super::buffer_allocator::BufferAllocator;
use super::callable_names::{CallableNames, Names};
use super::dynamic::DynamicFunctions;
use super::guards;
use super::lifecycle::{Lifecycle, fork_all, start_all};
use super::live::publish;
use super::orchestrator::Orchestrator;
use super::profile::{self, Submits};
use super::shared::{Parts, Shared};
use super::sizes;
use super::submit_lock::SubmitLock;
use super::tasks::Tasks;
use crate::abi::{CallConfig, TaskArgsView};
use crate::error::BuildError;
use crate::graph::Hazards;
use crate::ids::{Callable, WorkerId, WorkerKind};
use crate::limits::{DEFAULT_IMPORT_BYTES, DEFAULT_WINDOW, MAX_WINDOW, MAX_WORKERS, MIN_WINDOW};
use crate::mailbox::group;
use crate::ring::{Geometry, RingError};
use crate::segment::{Arena, Shape};
use crate::worker::health::Health;
use crate::worker::imports::Imports;
use crate::worker::inherited_memory::{InheritedMemory, memory_of};
use crate::worker::library::Registered;
use crate::worker::life::Workers;
use crate::worker::supervisor::Supervisor;
use crate::worker::times::Times;
use crate::worker::{BoxError, Factory, Functions, TaskContext, Worker};

/// Where workers live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Each in a forked process: one may die at any instruction, and the rest goes on.
    ///
    /// A body that writes where it must not (unsafe code, a C kernel) can reach: the tensors of all
    /// tasks and all buffers, since they are one mapping; and the words by which tasks are handed
    /// on: slot words, ready queues and sets, parkers, member words of groups, the table of
    /// workers, texts of errors. It cannot reach what a task is (function, arguments, options), who
    /// waits for whom, or anything of the host, and dies when it tries.
    ///
    /// What hides a task costs time; where a word is invalid, or a task stays where nobody is at work
    /// on it, the executor fails with a message, some seconds after the last body that still
    /// ran has ended. (A body that does not end by itself needs a deadline, here as anywhere.) Until
    /// then a task may have been run twice, passed over, or called failed, and what was done to the
    /// bytes of other tasks goes unnoticed. In tests that overwrite words at random, one run in
    /// several thousand was not through in time, for a reason that is not known: where that matters,
    /// wait with a time-out.
    #[default]
    Process,
    /// Each in a thread of this process: no isolation, and nothing ends a body that hangs.
    Thread,
}

/// The options of an executor.
///
/// A child process is forked in [`build`](Self::build), and the workers from it; functions and
/// whatever they captured are there by virtue of the fork. Build early: threads of the host do not
/// exist in workers, and a lock of the program that one of them holds at the fork is never opened
/// there. (Locks of the libraries are seen to: `build` waits for them, ten seconds at most.)
#[derive(Clone)]
pub struct Builder {
    name: String,
    mode: Mode,
    workers: [usize; 2],
    window: usize,
    heap_bytes: Option<usize>,
    buffer_bytes: Option<usize>,
    import_bytes: usize,
    hazards: Hazards,
    wait: WaitStrategy,
    back_pressure: Option<Duration>,
    grace: Duration,
    pin: bool,
    kept: Vec<RawFd>,
    start_timeout: Duration,
    stack_size: usize,
    publication: Publication,
    profile: Option<PathBuf>,
    functions: Functions,
    services: [Option<Service>; 2],
}

/// Workers that do not call registered functions: who makes them, and what messages say of them.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) factory: Factory,
    /// What the callables are called, if all of them are known.
    pub(crate) callables: Option<Arc<CallableNames>>,
    /// What each worker has at its side (`device 3`), if anything.
    pub(crate) beside: Vec<String>,
    /// The device of each worker, if each drives one.
    pub(crate) devices: Option<Vec<i32>>,
}

impl Executor {
    /// The options of an executor.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Builder {
    fn new() -> Self {
        Self {
            name: "mailring".to_owned(),
            mode: Mode::default(),
            workers: [0, 0],
            window: DEFAULT_WINDOW,
            heap_bytes: None,
            buffer_bytes: None,
            import_bytes: DEFAULT_IMPORT_BYTES,
            hazards: Hazards::default(),
            wait: WaitStrategy::default(),
            back_pressure: None,
            grace: Duration::from_secs(1),
            pin: false,
            kept: Vec::new(),
            start_timeout: START,
            stack_size: stack::USUAL,
            publication: Publication::default(),
            profile: None,
            functions: Functions::default(),
            services: [None, None],
        }
    }

    /// What the arena is called in `/proc/*/maps`: the first 60 characters.
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
    ///
    /// Less are in flight while the tasks wait for many others: there are four edges for each slot (a
    /// task takes one for each unfinished task that it waits for), and 8 MiB for arguments longer than
    /// 160 bytes. With six edges a task, 2,700 of 4,096 slots are in use. All of them can be groups of
    /// four.
    #[must_use]
    pub fn slot_window(mut self, slots: usize) -> Self {
        self.window = slots;
        self
    }

    /// Bytes of each of the four heap rings, and of the ring that holds the copies of snapshots
    /// (default 1 GiB, or what there is where that is less; virtual, nothing is touched before
    /// use). All five and [`buffer_bytes`](Self::buffer_bytes) together must not be more than the
    /// machine, or the memory control group, has left: the kernel would kill whoever fills them.
    #[must_use]
    pub fn heap_bytes(mut self, bytes: usize) -> Self {
        self.heap_bytes = Some(bytes);
        self
    }

    /// Bytes for all [`Buffer`](crate::Buffer)s together (default 1 GiB, or what there is; virtual as
    /// well).
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = Some(bytes);
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

    /// How long the factory of a worker may take (default 30 s). A process that takes longer is
    /// killed, and another is forked, after pauses that grow to a second. `build` gives up after
    /// five in a row; later a worker is never retired for that, but tasks that only it could run
    /// fail when it has not come up for ten seconds.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout.min(Duration::from_secs(24 * 3600));
        self
    }

    /// Bytes of stack for the bodies of tasks, in processes and in threads (default 8 MiB, at least
    /// 128 KiB; memory is used as far as a body needs it). Threads that a body starts have stacks of
    /// their own.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes.max(stack::LEAST);
        self
    }

    /// Keeps each worker on a processor of its own, as far as there are enough.
    #[must_use]
    pub fn pin_cpus(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Publishes the counters of the executor under this name, ten times a second, for
    /// `mailring top NAME`: what each worker runs, queues, memory, deaths. Other programs of the same
    /// user read them in a named segment of shared memory (mode 0600) that is removed when the executor
    /// is dropped; what a killed program has left, `mailring clean` removes.
    ///
    /// 1 to 64 letters, digits, `.`, `_` or `-`; one living process at a time has a name.
    #[must_use]
    pub fn publish(mut self, name: &str) -> Self {
        self.publication.name = Some(name.to_owned());
        self
    }

    /// Writes the same into a file, which stays: when the program has died, `mailring top
    /// --post-mortem FILE` shows the last tenth of a second. What the file held is lost.
    #[must_use]
    pub fn post_mortem(mut self, file: impl Into<PathBuf>) -> Self {
        self.publication.file = Some(file.into());
        self
    }

    /// Writes a profile: a log that says of each task when it was submitted, when its body began and
    /// ended, and where (`docs/profile-log.md`); `mailring trace` makes pictures of it. In a
    /// directory the log is called `mailring-profile.log`. A log that is there is appended to.
    #[must_use]
    pub fn profile(mut self, log: impl Into<PathBuf>) -> Self {
        self.profile = Some(log.into());
        self
    }

    /// A descriptor of this process that workers keep, under the same number.
    ///
    /// All others are closed in the workers, except 0 to 2: a listening socket or a pipe that is
    /// open here at [`build`](Self::build) would else stay open in every worker after it was closed
    /// here (the port stays in use, its reader waits for an end that never comes). So name what
    /// bodies use and did not open themselves: a file or a connection that a function has captured, or
    /// one inside a library that was opened before.
    #[must_use]
    pub fn keep_fd(self, fd: RawFd) -> Self {
        self.keep_descriptors([fd])
    }

    /// The same for several.
    #[must_use]
    pub fn keep_descriptors(mut self, fds: impl IntoIterator<Item = RawFd>) -> Self {
        self.kept.extend(fds);
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
        added.ok_or_else(|| BuildError::DuplicateFunction(name.to_owned()))
    }

    /// Registers a function that only [`Orchestrator::submit_typed`] submits.
    pub(crate) fn register_typed(
        &mut self,
        name: &str,
        function: impl Fn(TaskArgsView<'_>, &TaskContext<'_>) -> Result<(), BoxError>
        + Send
        + Sync
        + 'static,
    ) -> Result<Callable, BuildError> {
        let added = self.functions.add_typed(name, function);
        added.ok_or_else(|| BuildError::DuplicateFunction(name.to_owned()))
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
        let (heap_bytes, buffer_bytes) = sizes::choose(self.heap_bytes, self.buffer_bytes)?;
        let shape = Shape {
            ring: Geometry {
                window: self.window,
                heap_bytes: heap_bytes / crate::limits::HEAP_ALIGN * crate::limits::HEAP_ALIGN,
                // Eight of the largest groups, and as many groups of four as there are slots.
                group_words: (8 * group::words(MAX_WORKERS)).max(self.window * group::words(4)),
            },
            workers: self.workers,
            buffer_bytes,
            import_bytes: self.import_bytes,
            typed: self.functions.has_typed(),
        };
        let arena = Arc::new(
            Arena::new(&self.name, shape).map_err(BuildError::system("mapping the arena"))?,
        );
        let inherited = InheritedMemory::ambient();
        let reach = Reach::new(memory_of(&arena));
        let reach = reach.ok_or(BuildError::Executors)?;
        let wakeup = match self.mode {
            Mode::Process => Wakeup::event().map_err(BuildError::system("making an eventfd"))?,
            Mode::Thread => Wakeup::word(),
        };
        let wakeup = Arc::new(wakeup);
        let health = Arc::new(Health::default());
        for kind in WorkerKind::ALL {
            health.live[kind.index()].store(self.workers[kind.index()] as u32, SeqCst);
        }
        let callable_names = self.services.each_ref().map(|service| match service {
            None => Some(Arc::new(CallableNames::new(self.functions.all()))),
            Some(service) => service.callables.clone(),
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
        let profile = self.profile.as_deref().map(LogFile::open).transpose();
        let profile = profile.map_err(BuildError::system("opening the log of the profile"))?;
        let times = profile.as_ref().map(|_| Times::new(&self.name, arena.shape().total_workers()));
        let times = times.transpose();
        let times = times.map_err(BuildError::system("mapping the times of tasks"))?;
        let handler = Workers {
            arena: Arc::clone(&arena),
            factories,
            wait: self.wait,
            pin: self.pin.then(|| machine::allowed_cpus().into()),
            wakeup: Arc::clone(&wakeup),
            kept: self.kept.into(),
            inherited: inherited.clone(),
            times: times.clone(),
        };
        let dynamic = Arc::new(DynamicFunctions::new());
        let imports = Arc::<Imports>::default();
        let buffers =
            BufferAllocator::new(Arc::clone(&arena), Arc::clone(&health), Arc::clone(&imports));
        let tasks =
            Tasks::new(Arc::clone(&arena), Arc::clone(&health), Arc::clone(&wakeup), self.wait);
        let shared = Arc::new(Shared::new(Parts {
            reach,
            arena: Arc::clone(&arena),
            health: Arc::clone(&health),
            tasks,
            names: Names::new(callable_names, calls_functions, Arc::clone(&dynamic)),
            dynamic,
            inherited,
            buffers,
            back_pressure: self.back_pressure,
            grace: self.grace,
        }));
        let mut orchestrator = Orchestrator::new(Arc::clone(&shared), self.hazards)?;
        let heaps = orchestrator.heaps_shown();
        let submits = Arc::<Submits>::default();
        if profile.is_some() {
            orchestrator.note_submits(Arc::clone(&submits));
        }
        let (processes, threads) = match self.mode {
            Mode::Process => {
                (Some(fork_all(&handler, self.start_timeout, self.stack_size)?), Vec::new())
            }
            Mode::Thread => (None, start_all(&handler, self.start_timeout, self.stack_size)?),
        };
        let (health_of, wakeup_of) = (Arc::clone(&health), Arc::clone(&wakeup));
        let supervisor = Supervisor {
            arena,
            health,
            wakeup,
            grace: self.grace,
            start_timeout: self.start_timeout,
            processes,
            beside,
            imports,
        };
        let supervisor = std::thread::Builder::new()
            .name("mailring-super".to_owned())
            .spawn(move || supervisor.run())
            .map_err(BuildError::system("starting the supervisor"))?;
        let mut executor = Executor {
            submit_lock: Arc::new(SubmitLock::new(orchestrator)),
            shared,
            lifecycle: Some(Lifecycle {
                supervisor,
                threads,
                health: health_of,
                wakeup: wakeup_of,
            }),
            publisher: None,
            collector: None,
        };
        if self.publication.is_wanted() {
            // Last, so that workers do not have it, and a failure ends what was started.
            let mode = match self.mode {
                Mode::Process => "process",
                Mode::Thread => "thread",
            };
            let publisher = publish(&self.publication, mode, &executor.shared, heaps);
            executor.publisher = Some(publisher.map_err(BuildError::Publish)?);
        }
        if let (Some(file), Some(times)) = (profile, times) {
            let mode = if self.mode == Mode::Process { "process" } else { "thread" };
            let started = profile::start(file, mode, &executor.shared, times, submits);
            let collector =
                started.map_err(BuildError::system("starting the thread of a profile"))?;
            executor.collector = Some(collector);
        }
        Ok(executor)
    }

    fn check(&self) -> Result<(), BuildError> {
        if self.mode == Mode::Process && guards::any() {
            return Err(BuildError::Guarded);
        }
        for (service, &workers) in self.services.iter().zip(&self.workers) {
            if let Some(devices) = service.as_ref().and_then(|service| service.devices.as_deref()) {
                check_devices(devices, workers, self.mode)?;
            }
        }
        self.publication.check().map_err(BuildError::Publish)?;
        let total = self.workers[0].saturating_add(self.workers[1]);
        if total == 0 || total > MAX_WORKERS {
            return Err(BuildError::Workers(total));
        }
        if !self.window.is_power_of_two() || !(MIN_WINDOW..=MAX_WINDOW).contains(&self.window) {
            return Err(RingError::Window(self.window).into());
        }
        if let Some(&fd) = self.kept.iter().find(|&&fd| !descriptors::is_open(fd)) {
            return Err(BuildError::Descriptor(fd));
        }
        Ok(())
    }
}

/// Whether these devices can have a worker each.
fn check_devices(devices: &[i32], workers: usize, mode: Mode) -> Result<(), BuildError> {
    let mut known = BTreeSet::new();
    if let Some(&twice) = devices.iter().find(|&&device| !known.insert(device)) {
        return Err(BuildError::DuplicateDevice(twice));
    }
    match devices.len() {
        0 => Err(BuildError::NoDevices),
        count if count != workers => Err(BuildError::DeviceCount { devices: count, workers }),
        count if mode == Mode::Thread && count > 1 => Err(BuildError::DevicesInThreads(count)),
        _ => Ok(()),
    }
}
