//! The worker processes as the host holds them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::nursery::{Nursery, Reins};
use crate::segment::Detail;

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
        let gone = || "its process is gone, and the nursery as well".to_owned();
        is_readable(&reins.death).then(|| self.reap(worker).map_or_else(gone, |(how, _)| how))
    }

    /// How the dead worker has died; lets its number go. `None`: the nursery does not answer.
    pub(super) fn reap(&self, worker: u16) -> Option<(String, Detail)> {
        match self.nursery.reap(worker) {
            Ok(status) => Some((describe_status(status), Detail::of_status(status))),
            Err(error) => {
                tracing::error!(%error, "the nursery does not answer");
                None
            }
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

    /// The nursery has died, and the workers with it. What they had started is ended.
    pub(super) fn bury(self) {
        let groups: Vec<i32> = self.reins.iter().flatten().map(|reins| reins.pid).collect();
        self.nursery.bury(&groups);
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

/// How a process ended, from its wait status.
pub(crate) fn describe_status(status: i32) -> String {
    if libc::WIFEXITED(status) {
        return match libc::WEXITSTATUS(status) {
            97 => "its factory failed (exit code 97)".to_owned(),
            98 => "it could not protect its view of the arena (exit code 98)".to_owned(),
            code => format!("its process exited with code {code}"),
        };
    }
    if libc::WIFSIGNALED(status) {
        let number = libc::WTERMSIG(status);
        let name = Signal::try_from(number).map_or("an unknown signal", Signal::as_str);
        let hint = if number == libc::SIGKILL {
            "; if nobody sent it, the machine may have run out of memory"
        } else if number == libc::SIGABRT {
            "; it aborted, as one does when the stack of a thread overflows"
        } else {
            ""
        };
        return format!("its process was killed by {name} (signal {number}{hint})");
    }
    format!("its process ended with wait status {status:#x}")
}
