//! Building a flow: map, fork, start the driver thread.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mailring_process::backoff::Starts;
use mailring_process::fork_server::ForkServer;
use mailring_process::wait::WaitStrategy;
use mailring_process::{descriptors, limits, machine, stack};

use super::State;
use super::backend::{Backend, Threads};
use super::host::Host;
use super::scheduler::{Logical, Supply};
use super::signals;
use super::thread::DriverThread;
use crate::error::Error;
use crate::limits::{DEFAULT_FLOW_PROCESSES, DEFAULT_SPILL_BYTES, MAX_FLOW_PROCESSES};
use crate::memory::{Memory, Spill};
use crate::node;
use crate::output::{self, Wanted};
use crate::resources::{ONE, Resources};
use crate::worker::life::{Workers, note_panics};
use crate::{Flow, Owner};

/// The options of a flow.
///
/// A child process is forked in [`build`](Self::build), and all workers from it: what the program
/// had in memory by then is there for every node. Build early, before other threads are started:
/// they do not exist in workers, and a lock that one of them holds then is never opened there.
/// (Locks of the libraries are seen to: `build` waits for them, ten seconds at most.)
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    groups: Vec<(String, usize, Resources)>,
    memory: Option<usize>,
    spill: Option<(PathBuf, usize)>,
    processes: usize,
    grace: Duration,
    patience: Duration,
    signals: bool,
    kept: Vec<RawFd>,
    output: Wanted,
    wait: WaitStrategy,
    stack_size: usize,
    in_process: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: "mailring-flow".to_owned(),
            groups: Vec::new(),
            memory: None,
            spill: None,
            processes: DEFAULT_FLOW_PROCESSES,
            grace: Duration::from_secs(1),
            patience: Duration::from_secs(10),
            signals: true,
            kept: Vec::new(),
            output: Wanted::default(),
            wait: WaitStrategy::default(),
            stack_size: stack::USUAL,
            in_process: false,
        }
    }
}

impl Builder {
    /// What the memory is called in `/proc/*/maps`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// `count` logical workers, each with these resources, called `group/0`, `group/1`, ... A
    /// worker runs as many tasks at the same time as its resources allow, each in a process of its
    /// own.
    #[must_use]
    pub fn workers(mut self, group: &str, count: usize, resources: Resources) -> Self {
        self.groups.push((group.to_owned(), count, resources));
        self
    }

    /// Bytes for values (default: a quarter of what the machine, or the memory control group,
    /// has free; virtual, nothing is touched before use). Not more than there is.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = Some(bytes);
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
        self.spill = Some((directory.as_ref().to_owned(), bytes));
        self
    }

    /// Processes at the same time (default 256). A body that waits for others keeps its own.
    #[must_use]
    pub fn max_processes(mut self, processes: usize) -> Self {
        self.processes = processes;
        self
    }

    /// How long bodies, and the subprocesses of tasks, may go on when the flow ends (default 1 s).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long one waits for memory while none is freed (default 10 s).
    #[must_use]
    pub fn memory_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether Ctrl-C and TERM clean up before they end the driver (default: yes, unless the
    /// program has handlers of its own).
    #[must_use]
    pub fn signals(mut self, handle: bool) -> Self {
        self.signals = handle;
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
        self.kept.extend(fds);
        self
    }

    /// Bytes of stack for bodies (default 8 MiB, at least 128 KiB; memory is used as far as a body
    /// needs it). Threads that a body starts have stacks of their own.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes.max(stack::LEAST);
        self
    }

    /// Puts `[name task worker]` in front of each line that a body, or what it has started, prints
    /// (default: no). Lines come whole then, those of different bodies one behind the other.
    #[must_use]
    pub fn prefix_output(mut self, prefix: bool) -> Self {
        self.output.prefix = prefix;
        self
    }

    /// Keeps the last so many lines that a body, and what it has started, prints: they stand in the
    /// task's error if it fails ([`TaskError::output`](super::super::TaskError::output)), and in
    /// its text. What is printed goes to the program's own output all the same. A call costs some
    /// microseconds more, and each process two descriptors of the driver.
    #[must_use]
    pub fn capture_output(mut self, lines: usize) -> Self {
        self.output.lines = lines;
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
        self.in_process = true;
        self
    }

    /// How those who have nothing to do wait.
    #[must_use]
    pub fn wait_strategy(mut self, wait: WaitStrategy) -> Self {
        self.wait = wait;
        self
    }

    /// Forks the workers.
    ///
    /// # Errors
    /// No workers, an invalid quantity, a name that is taken, or the system refuses.
    pub fn build(self) -> Result<Flow, Error> {
        self.check()?;
        let bytes = self.memory.unwrap_or_else(|| {
            let available = machine::available_memory().unwrap_or(4 << 30) / 4;
            (available as usize).clamp(64 << 20, 64 << 30)
        });
        let spill =
            self.spill.as_ref().map(|(path, bytes)| Spill::new(path, *bytes)).transpose()?;
        let memory = Memory::new(&self.name, self.processes, bytes, spill);
        let mut memory = memory.map_err(Error::system("mapping the memory of the flow"))?;
        memory.in_process = self.in_process;
        let memory = Arc::new(memory);
        let driver_thread = descriptors::event().map_err(Error::system("making an eventfd"))?;
        let tell = std::os::fd::AsFd::as_fd(&driver_thread)
            .try_clone_to_owned()
            .map_err(Error::system("copying a descriptor"))?;
        // What threads print is the program's.
        let (receiver, sender) = if self.output.any() && !self.in_process {
            output::new(self.output).map(Some).map_err(Error::system("making sockets"))?
        } else {
            None
        }
        .unzip();
        let handler = Workers {
            memory: Arc::clone(&memory),
            driver_thread: Arc::new(tell),
            kept: self.kept.into(),
            sender,
            wait: self.wait,
        };
        node::prepare_names();
        let backend = if self.in_process {
            note_panics();
            let threads = Threads::new(handler, self.stack_size);
            Backend::Threads(threads.map_err(Error::system("mapping the words of the workers"))?)
        } else {
            let fork_server = ForkServer::start(Arc::new(handler), self.stack_size);
            Backend::Processes(
                fork_server.map_err(Error::system("forking the fork server of the flow"))?,
            )
        };
        memory.not_for_children();
        let host = Host::new(memory, self.patience, driver_thread, self.wait);
        if let Some(receiver) = &receiver {
            receiver.start().map_err(Error::system("starting the thread that reads output"))?;
        }
        let added = host.with(|state| {
            state.receiver = receiver;
            let mut groups = self.groups.iter();
            groups.try_for_each(|(group, count, each)| state.add_workers(group, *count, each))
        });
        if let Err(error) = added {
            backend.shutdown();
            return Err(error);
        }
        if self.signals {
            signals::install(&host.driver_thread);
        }
        let driver_thread = DriverThread::new(Arc::clone(&host), backend, self.grace);
        let thread = std::thread::Builder::new()
            .name("mailring-driver".to_owned())
            .spawn(move || driver_thread.run())
            .map_err(Error::system("starting the driver thread"))?;
        Ok(Flow::of(Arc::new(Owner::new(host, thread))))
    }

    fn check(&self) -> Result<(), Error> {
        // The kernel refuses no mapping, however large; it kills who fills it.
        if let (Some(asked), Some(left)) = (self.memory, machine::available_memory())
            && asked as u64 > left
        {
            return Err(Error::Invalid(format!(
                "memory of {asked} bytes is more than the {left} bytes that this machine (or the memory control group) has left; ask for less, and let values go to a disk with spill(directory)"
            )));
        }
        if self.groups.iter().all(|(_, count, _)| *count == 0) {
            return Err(Error::Invalid(
                "a flow needs workers: add some with workers(\"cpu\", 2, Resources::cpus(1.0))"
                    .to_owned(),
            ));
        }
        for (at, (group, _, resources)) in self.groups.iter().enumerate() {
            resources.check()?;
            check_group(group)?;
            if self.groups[..at].iter().any(|(known, ..)| known == group) {
                return Err(Error::Invalid(format!("two groups of workers are called `{group}`")));
            }
        }
        if let Some(fd) = self.kept.iter().find(|&&fd| !descriptors::is_open(fd)) {
            return Err(Error::Invalid(format!(
                "descriptor {fd}, which workers are to keep, is not open in this process; `keep_fd` is for descriptors that are open at `build`"
            )));
        }
        // Each process has two pipes here, and one descriptor that tells of its end.
        let needed = (self.processes as u64).saturating_mul(3).saturating_add(64);
        if let Some(limit) = limits::soft(libc::RLIMIT_NOFILE).filter(|&limit| limit < needed)
            && self.output.any()
            && !self.in_process
        {
            return Err(Error::Invalid(format!(
                "the output of {} processes takes up to {needed} descriptors, and RLIMIT_NOFILE (`ulimit -n`) allows {limit}; raise it, or lower max_processes",
                self.processes
            )));
        }
        let logical: usize = self.groups.iter().map(|(_, count, _)| count).sum();
        if self.processes < logical || self.processes > MAX_FLOW_PROCESSES {
            return Err(Error::Invalid(format!(
                "{} processes are not possible: at least one for each of the {logical} workers, and at most {MAX_FLOW_PROCESSES}",
                self.processes
            )));
        }
        Ok(())
    }
}

pub(super) fn check_group(group: &str) -> Result<(), Error> {
    if group.is_empty() || group.contains('/') {
        return Err(Error::Invalid(format!(
            "`{group}` cannot be the name of a group of workers: it is empty or has a slash"
        )));
    }
    Ok(())
}

impl State {
    /// More workers. What waited for them can go on.
    ///
    /// # Errors
    /// More labels than there can be.
    pub(super) fn add_workers(
        &mut self,
        group: &str,
        count: usize,
        resources: &Resources,
    ) -> Result<(), Error> {
        self.enter_labels(resources)?;
        let total = Supply::of(&self.classes.demand(resources));
        let first = self.workers.iter().filter(|worker| worker.group == group).count();
        for index in first..first + count {
            // As many as can be at work without asking for less than a cpu each.
            let base = (total.cpus / ONE).clamp(1, machine::allowed_cpus().len().max(1) as i64);
            self.workers.push(Logical {
                group: group.to_owned(),
                name: format!("{group}/{index}"),
                free: total.clone(),
                total: total.clone(),
                idle: Vec::new(),
                processes: 0,
                base: base as usize,
                starts: Starts::default(),
            });
        }
        // One for each first; the rest as far as there are numbers.
        let most = self.workers.iter().map(|worker| worker.base).max().unwrap_or(0);
        for round in 1..=most {
            for worker in 0..self.workers.len() {
                if self.workers[worker].processes >= round.min(self.workers[worker].base) {
                    continue;
                }
                // Some are left for bodies that wait.
                let used = self.procs.len() - self.free_places.len();
                if round > 1 && used * 2 >= self.memory.places() {
                    break;
                }
                if let Some(place) = self.new_process(worker) {
                    self.workers[worker].idle.push(place);
                }
            }
        }
        self.schedule();
        Ok(())
    }
}

impl Host {
    /// What workers have left is passed on; they have ended.
    pub(super) fn end_output(&self) {
        let receiver = self.lock().receiver.clone();
        if let Some(receiver) = receiver {
            receiver.stop();
        }
    }

    /// Ends it all, and waits for that.
    pub(crate) fn stop(&self, driver_thread: std::thread::JoinHandle<()>) {
        self.stopping.store(true, SeqCst);
        mailring_process::wakeup::notify(&self.driver_thread);
        let _ = driver_thread.join();
        self.end_output();
        self.with(|state| {
            state.closed.get_or_insert_with(|| "it was dropped".to_owned());
            state.changed = true;
        });
    }
}
