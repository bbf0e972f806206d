//! The entry point of the engine: build an [`Executor`], run graphs on it.

mod accesses;
mod bindings;
mod buffer;
mod buffer_allocator;
mod builder;
mod callable_names;
mod chips;
mod dynamic;
mod guards;
mod handle;
mod import;
mod in_flight;
mod level;
mod lifecycle;
mod live;
mod notify;
mod one_pass;
mod open;
mod options;
mod orchestrator;
mod plan;
mod profile;
mod recording;
mod replay;
mod request;
mod run;
mod run_state;
mod runs;
mod shared;
mod sizes;
mod slices;
mod submit_lock;
mod tasks;
mod window;

pub use bindings::{Bindings, Bound};
pub use buffer::Buffer;
pub use builder::{Builder, Mode};
pub use guards::{ReadGuard, WriteGuard};
pub use handle::TaskHandle;
pub use level::Level;
pub use open::OpenRun;
pub use options::{Priority, TaskOptions};
pub use orchestrator::{Orchestrator, Refused};
pub use recording::Recording;
pub use replay::Replayed;
pub use run::RunHandle;

#[doc(inline)]
pub use mailring_process::wait::WaitStrategy;

#[doc(inline)]
pub use crate::graph::Hazards;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use mailring_process::collector::Collector;
use mailring_process::live::Publisher;

use crate::abi::Element;
use crate::error::{Error, Misuse};
use crate::ids::{Callable, WorkerKind};
use crate::segment::BODY;
use dynamic::Candidate;
use lifecycle::Lifecycle;
use shared::Shared;
use submit_lock::SubmitLock;

/// Workers, the memory they share with this process, and the ring that tasks go through.
///
/// Dropping it cancels what has not begun, waits a grace for what has, and ends all workers, also
/// where a run was detached; [`close`](Self::close) waits for what was accepted first.
///
/// ```rust,standalone_crate
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mailring::abi::{CallConfig, TaskArgs};
/// use mailring::Executor;
///
/// let mut builder = Executor::builder().workers(2);
/// let double = builder.register("double", |args, _config, _context| {
///     for i in 0..args.elements::<u64>(0)?.1 {
///         args.set(0, i, args.get::<u64>(0, i)? * 2)?;
///     }
///     Ok::<(), mailring::abi::AbiError>(())
/// })?;
/// let exec = builder.build()?;
/// let data = exec.buffer::<u64>(4)?;
/// data.copy_from_slice(&[1, 2, 3, 4])?;
/// exec.run(|orch| {
///     for _ in 0..3 {
///         orch.submit(double, TaskArgs::new().inout(data.tensor()), CallConfig::default())?;
///     }
///     Ok(())
/// })?;
/// assert_eq!(data.to_vec()?, [8, 16, 24, 32]);
/// # Ok(())
/// # }
/// ```
pub struct Executor {
    submit_lock: Arc<SubmitLock>,
    shared: Arc<Shared>,
    lifecycle: Option<Lifecycle>,
    /// Writes its counters where other processes read them, if that was asked for.
    publisher: Option<Publisher>,
    /// Writes the profile, if that was asked for.
    collector: Option<Collector>,
}

/// Counters of an executor since it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks submitted, internal fan-in nodes included.
    pub submitted: u64,
    /// Bodies that workers ran to an end (group members count each).
    pub bodies: u64,
    /// Workers that died.
    pub deaths: u64,
    /// Workers that replaced a dead one.
    pub respawns: u64,
    /// Workers that we killed: deadlines, members of failed groups.
    pub kills: u64,
    /// Times a worker went to sleep.
    pub sleeps: u64,
    /// Ends of superseded attempts: counted, not applied.
    pub superseded: u64,
    /// When the last death was noticed, in nanoseconds of the monotonic clock; 0: never.
    pub last_death_ns: u64,
}

impl Executor {
    /// Opens a scope, lets `submit` fill it, closes it, and waits for all its tasks.
    ///
    /// # Errors
    /// What the closure returned; or else [`Error::Task`] with the first root failure of the run, in
    /// the order of submission. [`Error::Misuse`]: a run inside a run of the same executor (those of
    /// several threads go one after the other). [`Error::Failed`]: the executor has failed.
    pub fn run<R>(
        &self,
        submit: impl FnOnce(&mut Orchestrator) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.enter(|orchestrator| {
            let (value, run) = orchestrator.within_run(submit)?;
            let outcome = orchestrator.finish_run(&run);
            let value = value?;
            outcome?;
            Ok(value)
        })
    }

    /// Lets `submit` fill a scope and returns without waiting for the tasks.
    ///
    /// # Errors
    /// What the closure returned, though what it had submitted goes on; otherwise as
    /// [`run`](Self::run), failures of tasks excepted.
    pub fn submit_run<R>(
        &self,
        submit: impl FnOnce(&mut Orchestrator) -> Result<R, Error>,
    ) -> Result<(R, RunHandle), Error> {
        self.enter(|orchestrator| {
            let (value, run) = orchestrator.within_run(submit)?;
            Ok((value?, orchestrator.detached(run)))
        })
    }

    /// Runs a graph, as [`run`](Self::run) does, and records it: what its tasks are and whom each waits
    /// for, to be [replayed](Self::replay) without finding that out again.
    ///
    /// Recorded is what is submitted, not what the closure does besides: waits, cancels and what it
    /// reads meanwhile are not part of a replay. Scopes, groups, allocated outputs and options are.
    ///
    /// ```rust,standalone_crate
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use mailring::prelude::*;
    /// let mut builder = Executor::builder().workers(2);
    /// let fill = builder.task("fill", |mut out: Out<u64>, value: u64| out.fill(value))?;
    /// let add = builder.task("add", |x: In<u64>, mut sum: InOut<u64>| {
    ///     sum.iter_mut().zip(x.iter()).for_each(|(sum, x)| *sum += x);
    /// })?;
    /// let exec = builder.build()?;
    /// let [x, sum, other] = [exec.buffer(100)?, exec.buffer(100)?, exec.buffer(100)?];
    /// let (fill, graph) = exec.record(|s| {
    ///     let fill = s.spawn(fill, (&x, 1))?;
    ///     s.spawn(add, (&x, &sum))?;
    ///     Ok(fill)
    /// })?;
    /// let mut bindings = graph.bindings();
    /// exec.replay(&graph, &bindings)?; // the same once more
    /// bindings.buffer(&sum, &other)?.scalar(graph.index(&fill)?, 0, 5)?;
    /// exec.replay(&graph, &bindings)?;
    /// assert_eq!((sum.get(99)?, other.get(99)?), (2, 5));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run): of a run that fails there is no recording. [`Error::Replay`]: a task names
    /// memory of a scope that had closed.
    pub fn record<R>(
        &self,
        submit: impl FnOnce(&mut Orchestrator) -> Result<R, Error>,
    ) -> Result<(R, Recording), Error> {
        self.enter(|orchestrator| {
            let (value, run) = orchestrator.within_run(|orchestrator| {
                orchestrator.begin_recording()?;
                submit(orchestrator)
            })?;
            let recording = orchestrator.end_recording();
            let outcome = orchestrator.finish_run(&run);
            let value = value?;
            outcome?;
            Ok((value, recording?))
        })
    }

    /// A run that is one replay: see [`Orchestrator::replay`].
    ///
    /// # Errors
    /// As [`Orchestrator::replay`] and [`run`](Self::run).
    pub fn replay(&self, recording: &Recording, bindings: &Bindings) -> Result<(), Error> {
        self.run(|orchestrator| orchestrator.replay(recording, bindings).map(drop))
    }

    fn enter<R>(&self, f: impl FnOnce(&mut Orchestrator) -> Result<R, Error>) -> Result<R, Error> {
        self.shared.check_place()?;
        let mut held = self.submit_lock.take(None)?.ok_or_else(never)?;
        f(&mut held)
    }

    /// Begins a run that is ended by hand. Waits until no other run is open.
    ///
    /// # Errors
    /// [`Error::Misuse`]: the calling thread has a run of this executor open. [`Error::Failed`]: the
    /// executor has failed, or was closed.
    pub fn begin(&self) -> Result<OpenRun, Error> {
        self.begin_for(None)?.ok_or_else(never)
    }

    /// The same, at most for `timeout`; `None` when that has passed while another run was open.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_for(
        &self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Option<OpenRun>, Error> {
        self.shared.check_place()?;
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        self.submit_lock.take(until)?.map(OpenRun::begin).transpose()
    }

    /// Zeroed shared memory for `len` elements that lives until it is dropped: inputs and results
    /// of runs.
    ///
    /// # Errors
    /// [`Error::BufferSpace`]: the buffer space is used up. [`Error::BufferLength`]: more than
    /// 2^32 - 1 elements.
    pub fn buffer<T: Element>(&self, len: usize) -> Result<Buffer<T>, Error> {
        self.shared.check_place()?;
        match Buffer::new(&self.shared, len) {
            // Dropped ones are free once their last task has left the window, and tasks leave it
            // when somebody asks.
            Err(Error::BufferSpace { .. }) => {
                if let Some(mut orchestrator) = self.submit_lock.try_take() {
                    orchestrator.reclaim()?;
                }
                Buffer::new(&self.shared, len)
            }
            made => made,
        }
    }

    /// A buffer in a memfd of its own: not limited by `buffer_bytes`, but by the window of
    /// [`import_bytes`](crate::Builder::import_bytes). Zeroed. When it is dropped and its last task is
    /// through, its memory goes back to the machine, within about a second (an idle worker lets go
    /// when it looks up).
    ///
    /// # Errors
    /// As [`import`](Self::import); [`Error::Import`] where there is no memory.
    pub fn memfd_buffer<T: Element>(&self, len: usize) -> Result<Buffer<T>, Error> {
        self.take_over(import::memory_for::<T>(len)?, len, true, false)
    }

    /// A buffer over memory that others share as well: the first `len` elements of a memfd. Tensors
    /// name it like every other buffer.
    ///
    /// Workers get the descriptor when the first task that names the buffer comes to them, and
    /// map it once, at the same address everywhere. Executors of a level below do not have such
    /// memory.
    ///
    /// The memfd is sealed against shrinking (`F_SEAL_SHRINK`), unless it is already: whoever touched
    /// bytes that somebody had cut off would die of SIGBUS. What cannot be sealed is refused: a
    /// memfd made without `MFD_ALLOW_SEALING`, and every other file. For those there is
    /// [`import_unsealed`](Self::import_unsealed).
    ///
    /// # Errors
    /// [`Error::ImportTooShort`]: the file is shorter than that. [`Error::ImportUnsealed`]: it does
    /// not take the seal. [`Error::Import`]: mapping it failed. [`Error::ImportSpace`],
    /// [`Error::Imports`]: the window or the table of imports is full. [`Error::BufferLength`].
    pub fn import<T: Element>(&self, memory: OwnedFd, len: usize) -> Result<Buffer<T>, Error> {
        self.take_over(memory, len, true, true)
    }

    /// The same for any file that can be mapped shared, sealed or not.
    ///
    /// # Errors
    /// As [`import`](Self::import), seals excepted.
    ///
    /// # Safety
    /// Nobody makes the file shorter than the buffer while the buffer or a task that names it is
    /// there.
    pub unsafe fn import_unsealed<T: Element>(
        &self,
        file: OwnedFd,
        len: usize,
    ) -> Result<Buffer<T>, Error> {
        self.take_over(file, len, false, true)
    }

    fn take_over<T: Element>(
        &self,
        memory: OwnedFd,
        len: usize,
        sealed: bool,
        foreign: bool,
    ) -> Result<Buffer<T>, Error> {
        self.shared.check_place()?;
        let bytes = import::check::<T>(&memory, len, sealed)?;
        // Dropped ones are free once their last task has left the window of slots, and tasks
        // leave it when somebody asks.
        if let Some(mut orchestrator) = self.submit_lock.try_take() {
            orchestrator.reclaim()?;
        }
        import::take_over(&self.shared, memory, len, bytes, foreign)
    }

    /// Registers function `symbol` of the shared object at `path`, without a restart of workers.
    /// Each worker loads it with the first task that names it.
    ///
    /// The function is known by what is in the file: registering the same content and symbol again
    /// gives the same callable, and a file that was changed since is refused by the workers. It is
    /// called as a [`NativeFunction`](crate::native::NativeFunction) with a null `user`, by workers
    /// that call registered functions.
    ///
    /// # Errors
    /// [`Error::Library`]: reading the file failed, it is not a shared object, it does not have the
    /// symbol, or the table is full. What loading it says is the error of the first task.
    ///
    /// # Safety
    /// The shared object's initialisers can run in a worker, and the symbol is a function of that
    /// type.
    pub unsafe fn register_library(
        &self,
        path: impl AsRef<Path>,
        symbol: &str,
    ) -> Result<Callable, Error> {
        self.shared.check_place()?;
        let candidate = Candidate::new(path.as_ref(), symbol)?;
        let through = || {
            let mut held = self.submit_lock.try_take()?;
            if !held.is_of(&self.shared) {
                return None; // somebody exchanged the orchestrators of two executors
            }
            held.reclaim().ok()?;
            Some((held.first_in_window(), held.next_task()))
        };
        self.shared.dynamic.register(&self.shared.arena, candidate, through)
    }

    /// Takes a function that was registered after the start back: it cannot be submitted any more.
    /// Tasks that were submitted before run it.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`]: no such function is registered. [`Error::Misuse`]: it was
    /// registered before the start.
    pub fn unregister(&self, callable: Callable) -> Result<(), Error> {
        self.shared.check_place()?;
        if self.shared.names.is_known(callable) {
            return Err(Misuse::NotDynamic(callable.0).into());
        }
        match self.shared.dynamic.unregister(callable) {
            true => Ok(()),
            false => Err(Error::UnknownFunction(callable.0)),
        }
    }

    /// Waits until every task of every run is through, detached ones included, and ends all
    /// workers. `timeout` is a `Duration`, or `None` for as long as it takes.
    ///
    /// How the tasks ended is told by the handles of their runs, also after this.
    ///
    /// # Errors
    /// [`Error::StillRunning`]: the time has passed, and tasks are not through. [`Error::Misuse`]: a
    /// run that was begun by hand is still open. [`Error::Failed`]. In each case all has ended when
    /// this returns: what was left was cancelled and had a grace, as when it is dropped.
    pub fn close(self, timeout: impl Into<Option<Duration>>) -> Result<(), Error> {
        self.drain(timeout)
    }

    /// The first half of [`close`](Self::close), for an executor that others share: no run begins
    /// any more (whoever waits for one is told), and every task of every run is waited for. The
    /// workers stay until it is dropped.
    ///
    /// # Errors
    /// As [`close`](Self::close); nothing is cancelled yet then.
    pub fn drain(&self, timeout: impl Into<Option<Duration>>) -> Result<(), Error> {
        self.refuse_runs()?;
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        match self.submit_lock.take_until(until) {
            Some(mut orchestrator) => orchestrator.drain(until),
            None => Err(Misuse::OpenRun.into()),
        }
    }

    /// No run begins from here on, and whoever waits for one is told. What is open goes on.
    ///
    /// # Errors
    /// [`Error::Misuse`]: called in the function of a task, or in a child of the host.
    pub fn refuse_runs(&self) -> Result<(), Error> {
        self.shared.check_place()?;
        self.submit_lock.close();
        Ok(())
    }

    /// Workers of a kind.
    pub fn workers(&self, kind: WorkerKind) -> usize {
        self.shared.arena.shape().workers[kind.index()]
    }

    /// The process ids of the workers; zeros in THREAD mode, for workers that are being replaced,
    /// and in a child of the host.
    pub fn worker_pids(&self) -> Vec<u32> {
        let workers = self.shared.arena.shape().total_workers();
        if self.shared.check_place().is_err() {
            return vec![0; workers];
        }
        (0..workers).map(|w| self.shared.arena.entry(w as u16).pid.load(SeqCst)).collect()
    }

    /// Whether worker `worker` is inside the body of a task at this moment.
    pub fn is_busy(&self, worker: crate::WorkerId) -> bool {
        let entry = || self.shared.arena.entry(worker.0);
        self.shared.check_place().is_ok() && entry().inside() == BODY
    }

    /// Counters since it was built. In a child of the host, which does not have the memory of the
    /// workers, their part is zero.
    pub fn stats(&self) -> Stats {
        let arena = &self.shared.arena;
        let health = &self.shared.health;
        let mapped = self.shared.check_place().is_ok();
        let workers = if mapped { arena.shape().total_workers() as u16 } else { 0 };
        let entries = (0..workers).map(|w| arena.entry(w));
        let mut stats = Stats {
            submitted: self.shared.submitted.load(Relaxed),
            deaths: health.deaths.load(Relaxed),
            respawns: health.respawns.load(Relaxed),
            kills: health.kills.load(Relaxed),
            last_death_ns: health.last_death_ns.load(Relaxed),
            ..Stats::default()
        };
        for entry in entries {
            // Workers write these; a scribbled one gives a wrong figure, not a panic.
            stats.bodies = stats.bodies.wrapping_add(entry.ran.load(Relaxed));
            stats.sleeps = stats.sleeps.wrapping_add(entry.slept.load(Relaxed));
            stats.superseded = stats.superseded.wrapping_add(entry.superseded.load(Relaxed));
        }
        stats
    }
}

/// Without a time-out, waiting ends with what was waited for.
fn never() -> Error {
    Error::Failed("a wait without a time-out ran out of time".to_owned())
}

impl Drop for Executor {
    fn drop(&mut self) {
        let Some(lifecycle) = self.lifecycle.take() else { return };
        if self.shared.check_place().is_err() {
            lifecycle.abandon(); // a copy in another process ends nothing
            return;
        }
        let grace = self.shared.grace;
        let had_their_grace = match self.submit_lock.try_take() {
            Some(mut orchestrator) => {
                orchestrator.cancel_everything();
                !orchestrator.settle(Instant::now() + grace)
            }
            // A run that is open by hand: it submits nothing more, and its tasks are told.
            None => {
                self.shared.health.close(&self.shared.arena);
                self.shared.tasks.cancel_window();
                false
            }
        };
        lifecycle.end(&self.shared.arena, grace.min(Duration::from_secs(5)), had_their_grace);
        self.shared.accesses.end_workers();
        drop(self.publisher.take()); // with the last figures
        if let Some(collector) = self.collector.take() {
            collector.stop();
        }
        // Whoever still waits for a run on another thread is told.
        self.shared.health.close(&self.shared.arena);
    }
}
