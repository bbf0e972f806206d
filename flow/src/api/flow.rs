//! A flow: its options, and its handle.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mailring_process::stack;
use mailring_process::wait::WaitStrategy;
use serde::de::DeserializeOwned;

use super::config::Config;
use super::current;
use super::into_arg::IntoArg;
use super::placement::PlacementGroup;
use super::progress::Progress;
use super::reference::{ObjectRef, decode};
use crate::driver::{Host, Settings, call_here, launch};
use crate::limits::DEFAULT_SPILL_BYTES;
use crate::protocol::arg_writer::{ArgWriter, RawArgs};
use crate::protocol::cancel::{Cancel, CancelReport, Target};
use crate::protocol::codec::{self, Value};
use crate::protocol::error::Error;
use crate::protocol::handle::{Handle, Side};
use crate::protocol::info::{FlowStats, TaskView, WorkerInfo};
use crate::protocol::node::{GATHER, NodeDesc, SAME, by_name, number_of};
use crate::protocol::options::{Overrides, Packing};
use crate::protocol::pending::Pending;
use crate::protocol::progress::ProgressReport;
use crate::protocol::refs::FOREIGN;
use crate::protocol::resources::Resources;

/// The options of a flow.
///
/// A child process is forked in [`build`](Self::build), and all workers from it: what the program
/// had in memory by then is there for every node. Build early, before other threads are started:
/// they do not exist in workers, and a lock that one of them holds then is never opened there.
/// (Locks of the libraries are seen to: `build` waits for them, ten seconds at most.)
#[derive(Clone, Debug, Default)]
pub struct Builder(Settings);

impl Builder {
    /// What the memory is called in `/proc/*/maps`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.0.name);
        self
    }

    /// `count` logical workers, each with these resources, called `group/0`, `group/1`, ... A
    /// worker runs as many tasks at the same time as its resources allow, each in a process of its
    /// own.
    #[must_use]
    pub fn workers(mut self, group: &str, count: usize, resources: Resources) -> Self {
        self.0.groups.push((group.to_owned(), count, resources));
        self
    }

    /// Bytes for values (default: a quarter of what the machine, or the memory control group,
    /// has free; virtual, nothing is touched before use). Not more than there is.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.0.memory = Some(bytes);
        self
    }

    /// Values that do not fit the memory go to a file in this directory, which has no name there
    /// and vanishes with the flow.
    #[must_use]
    pub fn spill(self, directory: impl AsRef<Path>) -> Self {
        self.spill_limited(directory, DEFAULT_SPILL_BYTES)
    }

    /// The same, of at most so many bytes.
    #[must_use]
    pub fn spill_limited(mut self, directory: impl AsRef<Path>, bytes: usize) -> Self {
        self.0.spill = Some((directory.as_ref().to_owned(), bytes));
        self
    }

    /// Processes at the same time (default 256). A body that waits for others keeps its own.
    #[must_use]
    pub fn max_processes(mut self, processes: usize) -> Self {
        self.0.processes = processes;
        self
    }

    /// How long bodies, and the subprocesses of tasks, may go on when the flow ends (default 1 s).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.0.grace = grace;
        self
    }

    /// How long one waits for memory while none is freed (default 10 s).
    #[must_use]
    pub fn memory_patience(mut self, patience: Duration) -> Self {
        self.0.patience = patience;
        self
    }

    /// Publishes what the flow does under this name, ten times a second, for `mailring top NAME`: what
    /// each process runs, what waits and why, memory, deaths. Other programs of the same user read it
    /// in a named segment of shared memory (mode 0600) that is removed when the flow is dropped; what
    /// a killed program has left, `mailring clean` removes.
    ///
    /// 1 to 64 letters, digits, `.`, `_` or `-`; one living process at a time has a name.
    #[must_use]
    pub fn publish(mut self, name: &str) -> Self {
        self.0.publication.name = Some(name.to_owned());
        self
    }

    /// Writes the same into a file, which stays: when the program has died, `mailring top
    /// --post-mortem FILE` shows the last tenth of a second. What the file held is lost.
    #[must_use]
    pub fn post_mortem(mut self, file: impl AsRef<Path>) -> Self {
        self.0.publication.file = Some(file.as_ref().to_owned());
        self
    }

    /// Whether Ctrl-C and TERM clean up before they end the driver (default: yes, unless the
    /// program has handlers of its own).
    #[must_use]
    pub fn signals(mut self, handle: bool) -> Self {
        self.0.signals = handle;
        self
    }

    /// A descriptor of this process that workers keep, under the same number.
    ///
    /// All others are closed in the workers, except 0 to 2: a listening socket or a pipe that is
    /// open here at [`build`](Self::build) would else stay open in every worker after it was closed
    /// here (the port stays in use, its reader waits for an end that never comes). So name what
    /// bodies use and did not open themselves: a file or a connection that a static holds, or
    /// one inside a library that was opened before.
    #[must_use]
    pub fn keep_fd(self, fd: RawFd) -> Self {
        self.keep_descriptors([fd])
    }

    /// The same for several.
    #[must_use]
    pub fn keep_descriptors(mut self, fds: impl IntoIterator<Item = RawFd>) -> Self {
        self.0.kept.extend(fds);
        self
    }

    /// Bytes of stack for bodies (default 8 MiB, at least 128 KiB; memory is used as far as a body
    /// needs it). Threads that a body starts have stacks of their own.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.0.stack_size = bytes.max(stack::LEAST);
        self
    }

    /// Puts `[name task worker]` in front of each line that a body, or what it has started, prints
    /// (default: no). Lines come whole then, those of different bodies one behind the other.
    #[must_use]
    pub fn prefix_output(mut self, prefix: bool) -> Self {
        self.0.output.prefix = prefix;
        self
    }

    /// Keeps the last so many lines that a body, and what it has started, prints: they stand in the
    /// task's error if it fails ([`TaskError::output`](crate::TaskError::output)), and in
    /// its text. What is printed goes to the program's own output all the same. A call costs some
    /// microseconds more, and each process two descriptors of the driver.
    #[must_use]
    pub fn capture_output(mut self, lines: usize) -> Self {
        self.0.output.lines = lines;
        self
    }

    /// For a debugger: bodies run on threads of this process, named after their workers, and
    /// nothing is forked.
    ///
    /// Calls, values, errors, resources, retries, waits, cancels and actors are the same. What
    /// needs a process is not there: a body that crashes or exits takes the program with it, and
    /// one that goes on after its deadline, or after it was cancelled by force, is abandoned (its
    /// call fails at once, another thread takes its place) but runs until it returns. The guide
    /// (`docs/flows.md`, "In-process mode for debuggers") has the rest.
    #[must_use]
    pub fn in_process(mut self) -> Self {
        self.0.in_process = true;
        self
    }

    /// How those who have nothing to do wait.
    #[must_use]
    pub fn wait_strategy(mut self, wait: WaitStrategy) -> Self {
        self.0.wait = wait;
        self
    }

    /// Forks the workers.
    ///
    /// # Errors
    /// No workers, an invalid quantity, a name that is taken, or the system refuses.
    pub fn build(self) -> Result<Flow, Error> {
        let (host, driver_thread) = launch(self.0)?;
        Ok(Flow::of(Arc::new(Owner::new(host, driver_thread))))
    }
}

/// Who ends a flow: the last of its handles.
struct Owner {
    host: Arc<Host>,
    /// The same, as handles see it.
    side: Side,
    driver_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn new(host: Arc<Host>, driver_thread: JoinHandle<()>) -> Self {
        let side = Side::Counted(Arc::clone(&host) as _);
        Self { host, side, driver_thread: Mutex::new(Some(driver_thread)) }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let driver_thread =
            self.driver_thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match driver_thread {
            Some(driver_thread) if self.host.is_own() => self.host.stop(driver_thread),
            driver_thread => std::mem::forget(driver_thread), // a copy in another process ends nothing
        }
    }
}

#[derive(Clone)]
enum Kind {
    Driver(Arc<Owner>),
    /// Found by a body: another's flow.
    Borrowed(Side),
}

/// Worker processes, and the tasks that they run. Clones are the same flow; it ends with the last
/// of them, and refs that are left say so.
///
/// In a body, [`Flow::current`] is the flow that runs it: a body may call nodes and wait for them.
#[derive(Clone)]
pub struct Flow(Kind);

impl Flow {
    /// The options of a flow.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn of(owner: Arc<Owner>) -> Self {
        Self(Kind::Driver(owner))
    }

    /// In a body: the flow that runs it. In the driver: the one that was built last.
    ///
    /// # Errors
    /// [`Error::Closed`]: no flow was built in this process, or it has ended.
    pub fn current() -> Result<Self, Error> {
        current::side().map(|side| Self(Kind::Borrowed(side)))
    }

    pub(crate) fn side(&self) -> Side {
        self.side_ref().clone()
    }

    #[inline]
    fn side_ref(&self) -> &Side {
        match &self.0 {
            Kind::Driver(owner) => &owner.side,
            Kind::Borrowed(side) => side,
        }
    }

    fn host(&self, what: &str) -> Result<Arc<Host>, Error> {
        let host = self
            .driver()
            .ok_or_else(|| Error::Invalid(format!("`{what}` is for the driver, not for a body")))?;
        host.check().map(|()| host)
    }

    /// The driver, if this is its process.
    pub(crate) fn driver(&self) -> Option<Arc<Host>> {
        match &self.0 {
            Kind::Driver(owner) => Some(Arc::clone(&owner.host)),
            Kind::Borrowed(side) => side.downcast(),
        }
    }

    /// What a ref is known by, if it is of this flow.
    pub(crate) fn own<T>(&self, reference: &ObjectRef<T>) -> Result<u64, Error> {
        if reference.handle().stamp() == self.side_ref().stamp() {
            return Ok(reference.handle().id());
        }
        Err(Error::Invalid(FOREIGN.to_owned()))
    }

    #[inline]
    pub(crate) fn dispatch<R>(
        &self,
        node: &'static NodeDesc,
        overrides: Option<&Overrides>,
        put: &mut dyn FnMut(&mut ArgWriter<'_>),
    ) -> Result<ObjectRef<R>, Error> {
        let mut writer = ArgWriter::new(self.side_ref());
        put(&mut writer);
        writer.submit(number_of(node), node.signature(), overrides).map(ObjectRef::new)
    }

    pub(crate) fn call_here<R: DeserializeOwned>(
        &self,
        node: &'static NodeDesc,
        overrides: &Overrides,
        put: &mut dyn FnMut(&mut ArgWriter<'_>),
    ) -> Result<R, Error> {
        let side = self.side();
        let mut writer = ArgWriter::new(&side);
        put(&mut writer);
        let args = writer.finish(node.name, node.params)?;
        let host = self.driver();
        let value = call_here(host.as_deref(), &side, node, args, overrides)?;
        decode(&value.bytes, &side)
    }

    /// Calls a node by its full name, or by the last part of it if that is enough. Each argument is
    /// an item of MessagePack, as other languages and `rmp_serde::to_vec_named` write it. The bytes
    /// are decoded once here, so that wrong ones are refused at once.
    ///
    /// # Errors
    /// No node has this name, or an argument is not what the node takes, or names a ref.
    pub fn call_by_name<R>(&self, name: &str, args: &[&[u8]]) -> Result<ObjectRef<R>, Error> {
        let node = by_name(name)?;
        let bad = |index: usize, why: String| Error::BadArgument {
            node: node.name.to_owned(),
            index,
            name: node.params.get(index).map_or_else(String::new, ToString::to_string),
            why,
        };
        if args.len() != node.params.len() {
            let why = format!("{} arguments for {} parameters", args.len(), node.params.len());
            return Err(bad(args.len().min(node.params.len()), why));
        }
        let mut encoded = Vec::with_capacity(args.len());
        for (index, arg) in args.iter().enumerate() {
            let value = codec::from_outside(arg);
            encoded.push(value.map_err(|fault| bad(index, fault.to_string()))?);
        }
        let parts: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
        (node.check)(&RawArgs(&parts)).map_err(|error| bad(error.index, error.why))?;
        self.dispatch(node, None, &mut |writer| parts.iter().for_each(|arg| writer.encoded(arg)))
    }

    /// Puts a value where workers find it: once, for many calls that take its ref.
    ///
    /// # Errors
    /// It cannot be encoded, or would not arrive as it is; there is no memory.
    pub fn put<T: Value>(&self, value: &T) -> Result<ObjectRef<T>, Error> {
        let side = self.side();
        let mut writer = ArgWriter::new(&side);
        writer.value(value);
        let name = side.put(writer.finish(SAME.name, SAME.params)?)?;
        Ok(ObjectRef::new(Handle::counted(name, side)))
    }

    /// All values, in order.
    ///
    /// # Errors
    /// The first failure that is there, without waiting for the rest.
    pub fn get_all<T: DeserializeOwned>(&self, refs: &[ObjectRef<T>]) -> Result<Vec<T>, Error> {
        self.get_all_until(refs, None)
    }

    /// The same, at most for `timeout`.
    ///
    /// # Errors
    /// As for [`get_all`](Self::get_all), and [`Error::Timeout`].
    pub fn get_all_timeout<T: DeserializeOwned>(
        &self,
        refs: &[ObjectRef<T>],
        timeout: Duration,
    ) -> Result<Vec<T>, Error> {
        self.get_all_until(refs, Instant::now().checked_add(timeout))
    }

    fn get_all_until<T: DeserializeOwned>(
        &self,
        refs: &[ObjectRef<T>],
        until: Option<Instant>,
    ) -> Result<Vec<T>, Error> {
        let ids = refs.iter().map(|one| self.own(one)).collect::<Result<Vec<u64>, _>>()?;
        let side = self.side();
        let mut values = Vec::with_capacity(ids.len());
        side.encoded_each(&ids, until, &mut |bytes| {
            values.push(decode(bytes, &side)?);
            Ok(())
        })?;
        Ok(values)
    }

    /// Cancels a task, and what its body has called and nobody else holds. One that has not begun
    /// never will; the body of one that runs is told, and with `force` ended with its worker. In
    /// both cases what it has started ends: TERM, a grace, KILL. What was complete stays.
    ///
    /// With `force` it returns when the killed are gone.
    ///
    /// # Errors
    /// `force` on a call of an actor; the flow is closed.
    pub fn cancel<T>(&self, task: &ObjectRef<T>, cancel: Cancel) -> Result<CancelReport, Error> {
        let id = self.own(task)?;
        self.cancel_one(&Target::Refs(vec![id]), cancel)
    }

    /// The same for the task with this number, as [`tasks`](Self::tasks), errors and
    /// [`task`](crate::task()) in a body name it, whoever has a ref to it.
    ///
    /// # Errors
    /// No task has had this number yet; `force` on a call of an actor; the flow is closed.
    pub fn cancel_task(&self, number: u64, cancel: Cancel) -> Result<CancelReport, Error> {
        self.cancel_one(&Target::Number(number), cancel)
    }

    /// The same for many tasks at once: what has not begun is cancelled first, in whatever order
    /// they are given, so that none of them begins only because another has ended. The reports are
    /// in the order of the refs.
    ///
    /// # Errors
    /// As for [`cancel`](Self::cancel); nothing is cancelled then.
    pub fn cancel_many<T>(
        &self,
        tasks: &[ObjectRef<T>],
        cancel: Cancel,
    ) -> Result<Vec<CancelReport>, Error> {
        let ids = tasks.iter().map(|one| self.own(one)).collect::<Result<Vec<u64>, _>>()?;
        self.cancel_by(&Target::Refs(ids), cancel)
    }

    /// Cancels all tasks that are not complete, by whomever they were called, what has not begun
    /// first. Actors live on, also those that are being made; their calls are cancelled, but never
    /// by force. The reports are in the order of the tasks' numbers.
    ///
    /// # Errors
    /// The flow is closed; called by a body.
    pub fn cancel_all(&self, cancel: Cancel) -> Result<Vec<CancelReport>, Error> {
        self.host("cancel_all")?;
        self.cancel_by(&Target::All, cancel)
    }

    fn cancel_by(&self, target: &Target, cancel: Cancel) -> Result<Vec<CancelReport>, Error> {
        self.side().cancel(target, cancel)
    }

    fn cancel_one(&self, target: &Target, cancel: Cancel) -> Result<CancelReport, Error> {
        let report = self.cancel_by(target, cancel)?.pop();
        report.ok_or_else(|| Error::Closed("a cancel was answered with nothing".to_owned()))
    }

    /// Why a task has no value yet.
    ///
    /// # Errors
    /// The flow is closed, or the ref is of another one.
    pub fn pending<T>(&self, task: &ObjectRef<T>) -> Result<Pending, Error> {
        let id = self.own(task)?;
        self.side().pending(id)
    }

    /// Gives values up, whoever has refs to them: who asks for one from now on is told that it is
    /// lost. Its memory comes back when no ref is left, as others may be reading it.
    ///
    /// # Errors
    /// Called by a body.
    pub fn free<T>(&self, refs: &[ObjectRef<T>]) -> Result<(), Error> {
        let host = self.host("free")?;
        refs.iter().try_for_each(|one| host.lose(self.own(one)?))
    }

    /// Reserves bundles of resources at once, as soon as they are free.
    ///
    /// # Errors
    /// The workers could never hold them; an invalid quantity; called by a body.
    pub fn placement_group(
        &self,
        bundles: &[Resources],
        packing: Packing,
    ) -> Result<PlacementGroup, Error> {
        let host = self.host("placement_group")?;
        let id = host.add_group(bundles, packing)?;
        Ok(PlacementGroup::new(id, host))
    }

    /// More workers. Tasks that waited for such go on.
    ///
    /// # Errors
    /// An invalid name or quantity; called by a body.
    pub fn add_workers(&self, group: &str, count: usize, each: &Resources) -> Result<(), Error> {
        self.host("add_workers")?.add_workers(group, count, each)
    }

    /// Begins a profile: from now on a log says of each call when it was made, was ready, began and
    /// ended, what it waited for, where it ran and with what outcome (`docs/profile-log.md`);
    /// `mailring trace` makes pictures of it. In a directory the log is called
    /// `mailring-profile.log`. A log that is there is appended to: each profile is a run of its own.
    ///
    /// The log's path is returned. A second start changes nothing, and returns the path of the
    /// first.
    ///
    /// # Errors
    /// The log cannot be opened for writing; called by a body.
    pub fn start_collector(&self, log: impl AsRef<Path>) -> Result<PathBuf, Error> {
        self.host("start_collector")?.start_collector(log.as_ref())
    }

    /// Ends the profile, when all of it stands in the log. The end of the flow does the same.
    /// Without a profile nothing happens.
    ///
    /// # Errors
    /// Some of it could not be written; called by a body.
    pub fn stop_collector(&self) -> Result<(), Error> {
        self.host("stop_collector")?.stop_collector()
    }

    /// Shows on the terminal how far the flow is, as long as the answer lives: function by function
    /// what is done, runs, waits and why, failed, was tried again, and how long the rest will take.
    /// It is drawn on standard error, and only if that is a terminal; `NO_COLOR` is respected.
    ///
    /// # Errors
    /// The flow is closed; called by a body.
    pub fn progress(&self) -> Result<Progress, Error> {
        let host = self.host("progress")?;
        let tally = host.start_tally()?;
        Ok(Progress::draw(host, tally))
    }

    /// Draws nothing, and calls `show` instead, so often and once more at the end: for notebooks and
    /// logs, where the report can be printed as it is.
    ///
    /// # Errors
    /// As for [`progress`](Self::progress).
    pub fn progress_with(
        &self,
        every: Duration,
        show: impl FnMut(&ProgressReport) + Send + 'static,
    ) -> Result<Progress, Error> {
        let host = self.host("progress_with")?;
        let tally = host.start_tally()?;
        Ok(Progress::call(host, tally, every, show))
    }

    /// The logical workers.
    ///
    /// # Errors
    /// Called by a body.
    pub fn workers(&self) -> Result<Vec<WorkerInfo>, Error> {
        Ok(self.host("workers")?.workers())
    }

    /// The tasks that are not complete, in the order in which they were called.
    ///
    /// # Errors
    /// Called by a body.
    pub fn tasks(&self) -> Result<Vec<TaskView>, Error> {
        Ok(self.host("tasks")?.tasks())
    }

    /// Puts a configuration of caching and bypass in force, in place of the one before: for calls
    /// that the driver makes from now on, and for all that their bodies call.
    /// `Config::default()` turns both off.
    ///
    /// # Errors
    /// [`Error::Config`]: an entry that could never do anything (nothing stands in for a function that
    /// is to be bypassed; results are to be stored, and there is no cache; others say all that it
    /// says). [`Error::NotANode`]: a provider or a condition for a name that no node has. Called by a
    /// body.
    pub fn configure(&self, config: &Config) -> Result<(), Error> {
        self.host("configure")?.configure(config.snapshot()?)
    }

    /// Counters.
    ///
    /// # Errors
    /// Called by a body.
    pub fn stats(&self) -> Result<FlowStats, Error> {
        Ok(self.host("stats")?.stats())
    }
}

/// One ref to all values, in order. It fails with the first of them that fails.
///
/// # Errors
/// The flow is closed.
pub fn gather<T>(flow: &Flow, refs: &[ObjectRef<T>]) -> Result<ObjectRef<Vec<T>>, Error> {
    flow.dispatch(&GATHER, None, &mut |writer: &mut ArgWriter<'_>| {
        refs.iter().for_each(|one| IntoArg::<T>::put(one, writer));
    })
}
