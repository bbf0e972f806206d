//! What the fork server of a flow runs, and the first steps of a worker.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Release, SeqCst};

use mailring_process::fork_server::ForkServerHandler;
use mailring_process::fork_server::{StartProgress, StartStep};
use mailring_process::panic_hook;
use mailring_process::panics::guard;
use mailring_process::process;
use mailring_process::reaping::end_subprocesses;
use mailring_process::wait::WaitStrategy;
use mailring_process::wakeup::notify;
use mailring_process::{output, panics};
use nix::unistd::Pid;

use super::connection::{self, DriverConnection};
use super::serve::serve;
use super::task;
use crate::protocol::memory::Memory;
use crate::protocol::output::OutputSender;

/// What every worker of a flow needs.
pub(crate) struct Workers {
    pub(crate) memory: Arc<Memory>,
    /// Where the driver thread is told that there is something.
    pub(crate) driver_thread: Arc<OwnedFd>,
    /// Descriptors of the host that workers keep.
    pub(crate) kept: Arc<[RawFd]>,
    /// Where they announce what they print, if somebody wants to hear of it.
    pub(crate) sender: Option<OutputSender>,
    pub(crate) wait: WaitStrategy,
}

impl Workers {
    /// The line of a worker that is a thread of this process.
    pub(crate) fn line(&self, place: u16) -> DriverConnection {
        DriverConnection::new(Arc::clone(&self.memory), place, &self.driver_thread, self.wait)
    }
}

impl ForkServerHandler for Workers {
    fn places(&self) -> usize {
        self.memory.places()
    }

    fn keeps(&self) -> Vec<RawFd> {
        let sender = self.sender.as_ref().map(OutputSender::descriptor);
        self.kept.iter().copied().chain([self.driver_thread.as_raw_fd()]).chain(sender).collect()
    }

    fn has_lines(&self) -> bool {
        false
    }

    fn live(&self, place: u16, _line: Option<&OwnedFd>, progress: &StartProgress) -> ! {
        progress.reach(place, StartStep::Confining);
        // What tasks start comes to us, and not to the fork server, so that it can be told whose it
        // is.
        process::adopt_orphans();
        process::can_be_interrupted();
        if !self.memory.join_fences() || self.memory.confine().is_err() {
            process::exit_now(98);
        }
        panic_hook::serve(&PANIC);
        let connection =
            DriverConnection::new(Arc::clone(&self.memory), place, &self.driver_thread, self.wait);
        let connection = connection::install(connection);
        progress.reach(place, StartStep::Live);
        self.memory.entry(place).live.store(1, Release);
        connection.tell(true);
        let pipes = self.sender.as_ref().and_then(|sender| sender.open(place).ok());
        serve(connection, pipes);
        output::flush();
        process::exit_now(0)
    }

    fn on_child_exit(&self, living: &[Option<Pid>]) {
        end_subprocesses(living);
    }
}

/// A worker that is a thread of the driver's process.
pub(crate) struct Here {
    pub(crate) place: u16,
    pub(crate) connection: Arc<DriverConnection>,
    pub(crate) progress: Arc<StartProgress>,
    /// Tells the driver thread that it has ended.
    pub(crate) death: OwnedFd,
    pub(crate) ended: Arc<AtomicBool>,
}

impl Here {
    /// Its life. Nothing that is the process's is touched: signals, descriptors, memory, children.
    pub(crate) fn live(self) {
        self.progress.await_host(self.place);
        let _entered = connection::enter(&self.connection);
        self.progress.reach(self.place, StartStep::Live);
        self.connection.entry().live.store(1, Release);
        self.connection.tell(true);
        // Panics of bodies do not come here; one in the destructor of an actor's value does.
        if let Err(why) = guard(|| serve(&self.connection, None)) {
            eprintln!("mailring: a worker thread ended by a panic: {why}");
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.connection.close();
        self.ended.store(true, SeqCst);
        notify(&self.death);
    }
}

/// From here on panics of bodies in this process are noted, before its own hook says them.
pub(crate) fn note_panics() {
    panics::prepare();
    panic_hook::note(&NOTE);
}

static NOTE: panic_hook::InHost = |info| {
    if task::is_inside() {
        panics::note(info);
    }
};

/// What a worker does at a panic. The body's becomes the text of its failure.
static PANIC: panic_hook::InWorker = |info, _| {
    panics::note(info);
    if !task::is_inside() {
        eprintln!("{info}"); // of a thread that a body has started: nobody else says it
    }
};
