//! The worker processes as the host holds them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::nursery::{Nursery, Reins, describe_status};

/// Who forks, and what is held of each worker.
pub(crate) struct Processes {
    pub(crate) nursery: Nursery,
    /// By worker.
    pub(crate) reins: Vec<Option<Reins>>,
}

impl Processes {
    /// How worker `worker` has died, if it has.
    pub(crate) fn ending(&self, worker: u16) -> Option<String> {
        let reins = self.reins.get(usize::from(worker))?.as_ref()?;
        is_readable(&reins.death).then(|| self.reap(worker))
    }

    /// How the dead worker has died; lets its number go.
    pub(super) fn reap(&self, worker: u16) -> String {
        match self.nursery.reap(worker) {
            Ok(status) => describe_status(status),
            Err(error) => format!("its process is gone ({error})"),
        }
    }

    /// Kills those workers.
    pub(crate) fn kill_where(&self, doomed: impl Fn(u16) -> bool) {
        for (worker, reins) in (0u16..).zip(&self.reins) {
            if let Some(reins) = reins.as_ref().filter(|_| doomed(worker)) {
                reins.kill();
            }
        }
    }

    /// Waits for all workers to leave, at most for `grace`; then ends them and the nursery.
    pub(crate) fn end(mut self, grace: Duration) {
        // Nobody answers any more: whoever waits for memory is told so.
        self.reins.iter_mut().flatten().for_each(|reins| reins.line = None);
        self.await_all(grace);
        self.nursery.shutdown();
    }

    /// Waits until all workers have ended, at most for `longest`.
    pub(super) fn await_all(&self, longest: Duration) {
        let until = Instant::now() + longest;
        for reins in self.reins.iter().flatten() {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(reins.death.as_fd(), PollFlags::POLLIN)], timeout);
        }
    }
}

/// Whether a descriptor has something to read, now.
pub(super) fn is_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            Ok(ready) => return ready > 0,
            Err(_) => return false,
        }
    }
}
