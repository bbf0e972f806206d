//! What the processes of a fork server run.

use std::os::fd::{OwnedFd, RawFd};

use nix::unistd::Pid;

use super::progress::StartProgress;
use crate::reach::Memory;

/// What the processes of a fork server run: inherited by fork, so it holds whatever its processes
/// need.
pub trait ForkServerHandler: Send + Sync {
    /// Processes that may exist at the same time; each has a number below this.
    fn places(&self) -> usize;

    /// The descriptors that each process keeps, besides the standard streams; all others of the
    /// host are closed.
    fn keeps(&self) -> Vec<RawFd>;

    /// In the fork server, once, before anything is forked.
    fn settle(&self) {}

    /// The addresses that the accessors of views may follow in each process.
    fn reach(&self) -> Vec<Memory> {
        Vec::new()
    }

    /// Whether each process has a line to the host.
    fn has_lines(&self) -> bool;

    /// The life of process `place`, in it. It says which step it is about to take.
    fn live(&self, place: u16, line: Option<&OwnedFd>, progress: &StartProgress) -> !;

    /// In the fork server, when a process has ended and been reaped: cleans up after it.
    fn on_child_exit(&self, living: &[Option<Pid>]);
}
