//! Building a flow: map, fork, start the driver thread.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mailring_process::fork_server::ForkServer;
use mailring_process::live::{PageError, Publication};
use mailring_process::wait::WaitStrategy;
use mailring_process::{descriptors, limits, machine, stack};

use super::backend::{Backend, Threads};
use super::host::Host;
use super::live::publish;
use super::shared::Shared;
use super::signals;
use super::steps::enlarging::{add_workers, check_group};
use super::thread::DriverThread;
use crate::limits::{DEFAULT_FLOW_PROCESSES, MAX_FLOW_PROCESSES};
use crate::protocol::error::Error;
use crate::protocol::memory::{Memory, Spill};
use crate::protocol::node;
use crate::protocol::output::{self, Wanted};
use crate::protocol::resources::Resources;
use crate::worker::life::{Workers, note_panics};

/// What a flow is made with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) groups: Vec<(String, usize, Resources)>,
    pub(crate) memory: Option<usize>,
    pub(crate) spill: Option<(PathBuf, usize)>,
    pub(crate) processes: usize,
    pub(crate) grace: Duration,
    pub(crate) patience: Duration,
    pub(crate) signals: bool,
    pub(crate) kept: Vec<RawFd>,
    pub(crate) output: Wanted,
    pub(crate) wait: WaitStrategy,
    pub(crate) stack_size: usize,
    pub(crate) in_process: bool,
    pub(crate) publication: Publication,
}

impl Default for Settings {
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
            publication: Publication::default(),
        }
    }
}

/// Maps the memory, forks the workers, starts the driver thread.
///
/// # Errors
/// No workers, an invalid quantity, a name that is taken, or the system refuses.
pub(crate) fn launch(settings: Settings) -> Result<(Arc<Host>, JoinHandle<()>), Error> {
    settings.check()?;
    let bytes = settings.memory.unwrap_or_else(|| {
        let available = machine::available_memory().unwrap_or(4 << 30) / 4;
        (available as usize).clamp(64 << 20, 64 << 30)
    });
    let spill =
        settings.spill.as_ref().map(|(path, bytes)| Spill::new(path, *bytes)).transpose()?;
    let memory = Memory::new(&settings.name, settings.processes, bytes, spill);
    let mut memory = memory.map_err(Error::system("mapping the memory of the flow"))?;
    memory.in_process = settings.in_process;
    let memory = Arc::new(memory);
    let driver_thread = descriptors::event().map_err(Error::system("making an eventfd"))?;
    let tell = std::os::fd::AsFd::as_fd(&driver_thread)
        .try_clone_to_owned()
        .map_err(Error::system("copying a descriptor"))?;
    // What threads print is the program's.
    let (receiver, sender) = if settings.output.any() && !settings.in_process {
        output::new(settings.output).map(Some).map_err(Error::system("making sockets"))?
    } else {
        None
    }
    .unzip();
    let handler = Workers {
        memory: Arc::clone(&memory),
        driver_thread: Arc::new(tell),
        kept: settings.kept.into(),
        sender,
        wait: settings.wait,
    };
    node::prepare_names();
    let backend = if settings.in_process {
        note_panics();
        let threads = Threads::new(handler, settings.stack_size);
        Backend::Threads(threads.map_err(Error::system("mapping the words of the workers"))?)
    } else {
        let fork_server = ForkServer::start(Arc::new(handler), settings.stack_size);
        Backend::Processes(
            fork_server.map_err(Error::system("forking the fork server of the flow"))?,
        )
    };
    memory.not_for_children();
    let shared = Shared::new(memory, settings.patience, driver_thread, settings.wait);
    let shared = Arc::new(shared);
    if let Some(receiver) = &receiver {
        receiver.start().map_err(Error::system("starting the thread that reads output"))?;
    }
    let added = shared.with(|state| {
        state.receiver = receiver;
        let mut groups = settings.groups.iter();
        groups.try_for_each(|(group, count, each)| add_workers(state, group, *count, each))
    });
    if let Err(error) = added {
        backend.shutdown();
        return Err(error);
    }
    if settings.signals {
        signals::install(&shared.driver_thread);
    }
    let driver_thread = DriverThread::new(Arc::clone(&shared), backend, settings.grace);
    let thread = std::thread::Builder::new()
        .name("mailring-driver".to_owned())
        .spawn(move || driver_thread.run())
        .map_err(Error::system("starting the driver thread"))?;
    let host = Host::new(Arc::clone(&shared));
    if settings.publication.is_wanted() {
        match publish(&settings.publication, settings.in_process, &shared) {
            Ok(publisher) => host.keep_publisher(publisher),
            Err(error) => {
                host.stop(thread);
                return Err(error);
            }
        }
    }
    Ok((host, thread))
}

impl Settings {
    fn check(&self) -> Result<(), Error> {
        let invalid = |error: PageError| Error::Invalid(error.to_string());
        self.publication.check().map_err(invalid)?;
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
