//! A worker process, as the host holds it.

use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::progress::{StartProgress, StartStep};
use crate::descriptors::Descriptor;
use crate::process;
use crate::wakeup::is_readable;

/// The host's handle of a worker process.
pub struct ChildHandle {
    /// Becomes readable when the process has ended.
    pub death: Descriptor,
    /// Where the worker asks for memory that came after the fork; `None` when it has hung up.
    pub line: Option<Descriptor>,
    /// Its process number, good until it is reaped; 0: a thread of this process.
    pub pid: i32,
    /// When it was forked.
    pub born: Instant,
    /// Why it was killed while it started, if so.
    pub overdue: Option<String>,
    pub(super) place: u16,
    pub(super) progress: Arc<StartProgress>,
}

impl ChildHandle {
    /// How far its start has come.
    pub fn step(&self) -> StartStep {
        self.progress.of(self.place)
    }

    /// Lets it go on from its first step, now that the host holds it.
    pub fn begin(&self) {
        self.progress.take_over(self.place);
    }

    /// How it ended, with what is known besides its wait status.
    pub fn account(&self, how: String) -> String {
        match &self.overdue {
            Some(overdue) => overdue.clone(),
            None if self.step() == StartStep::Overflowed => {
                format!("its stack overflowed (the builder's `stack_size` makes it larger); {how}")
            }
            None if self.step() == StartStep::Dispossessed => {
                format!("its lease was taken from it, and nobody had decided that; {how}")
            }
            None => how,
        }
    }

    /// Of a thread of this process, which nothing can kill.
    pub fn of_thread(place: u16, death: Descriptor, progress: Arc<StartProgress>) -> Self {
        let born = Instant::now();
        Self { death, line: None, pid: 0, born, overdue: None, place, progress }
    }

    /// Kills it, if it is a process. Asks nobody, so it works whatever the fork server is doing.
    pub fn kill(&self) {
        if self.pid <= 0 {
            return; // a thread; and 0 would be the group of this process
        }
        // Where pidfds are refused: as long as its end has not been told, the number is its own.
        if !process::pidfd_kill(&self.death, libc::SIGKILL) && !is_readable(&self.death) {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}
