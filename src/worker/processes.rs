//! The worker processes as the host holds them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mailring_process::fork_server::{ChildHandle, ForkServer};
use mailring_process::process::describe_status;
use mailring_process::wakeup::is_readable;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::segment::Detail;

/// Who forks, and what is held of each worker.
pub(crate) struct Processes {
    pub(crate) fork_server: ForkServer,
    /// By worker.
    pub(crate) children: Vec<Option<ChildHandle>>,
}

impl Processes {
    /// How worker `worker` has died, if it has.
    pub(crate) fn ending(&self, worker: u16) -> Option<String> {
        let child = self.children.get(usize::from(worker))?.as_ref()?;
        let gone = || "its process is gone, and the fork server as well".to_owned();
        is_readable(&child.death).then(|| self.reap(worker).map_or_else(gone, |(how, _)| how))
    }

    /// How the dead worker has died; lets its number go. `None`: the fork server does not answer.
    pub(super) fn reap(&self, worker: u16) -> Option<(String, Detail)> {
        match self.fork_server.reap(worker) {
            Ok(status) => Some((describe_status(status), Detail::of_status(status))),
            Err(error) => {
                tracing::error!(%error, "the fork server does not answer");
                None
            }
        }
    }

    /// Kills those workers.
    pub(crate) fn kill_where(&self, doomed: impl Fn(u16) -> bool) {
        for (worker, child) in (0u16..).zip(&self.children) {
            if let Some(child) = child.as_ref().filter(|_| doomed(worker)) {
                child.kill();
            }
        }
    }

    /// Waits for all workers to leave, at most for `grace`; then ends them and the fork server.
    pub(crate) fn end(mut self, grace: Duration) {
        // Nobody answers any more: whoever waits for memory is told so.
        self.children.iter_mut().flatten().for_each(|child| child.line = None);
        self.await_all(grace);
        self.fork_server.shutdown();
    }

    /// The fork server has died, and the workers with it. What they had started is ended.
    pub(super) fn reap_all(self) {
        let groups: Vec<i32> = self.children.iter().flatten().map(|child| child.pid).collect();
        self.fork_server.reap_all(&groups);
    }

    /// Waits until all workers have ended, at most for `longest`.
    pub(super) fn await_all(&self, longest: Duration) {
        let until = Instant::now() + longest;
        for child in self.children.iter().flatten() {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(child.death.as_fd(), PollFlags::POLLIN)], timeout);
        }
    }
}
