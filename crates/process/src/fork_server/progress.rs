//! Progress of the start of a forked process, in words that the host reads.
//!
//! A child waits at its first step until the host holds what it needs to watch it. So a child that
//! is not handed over has touched nothing, and its end is nobody's death.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use nix::unistd::Pid;

use crate::futex;
use crate::map::SharedWords;

/// A step of a start. Each is written before what it names is tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum StartStep {
    /// Forked; waits until the host has taken it over.
    Forked = 0,
    /// Taken over.
    Taken = 1,
    /// Signals, descriptors, group.
    Settling = 2,
    /// Its view of the shared memory.
    Confining = 3,
    /// The factory of its worker.
    Factory = 4,
    /// It serves.
    Live = 5,
    /// The stack of its thread has overflowed, and it is about to end for that.
    Overflowed = 6,
    /// Its lease was taken away and nobody came to end it: it ends by itself.
    Dispossessed = 7,
}

impl StartStep {
    fn of(word: u32) -> Self {
        match word {
            0 => Self::Forked,
            1 => Self::Taken,
            2 => Self::Settling,
            3 => Self::Confining,
            4 => Self::Factory,
            6 => Self::Overflowed,
            7 => Self::Dispossessed,
            _ => Self::Live,
        }
    }

    /// For messages: "its last step was ...".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Forked | Self::Taken => "being forked",
            Self::Settling => "resetting signals and descriptors",
            Self::Confining => "protecting its view of the shared memory",
            Self::Factory => "making its worker (the factory)",
            Self::Live => "serving",
            Self::Overflowed => "overflowing its stack",
            Self::Dispossessed => "losing a lease that nobody has taken",
        }
    }
}

/// One word a place, and two of the fork server.
pub struct StartProgress(SharedWords, usize);

impl StartProgress {
    /// Words for so many places.
    pub fn new(places: usize) -> std::io::Result<Self> {
        SharedWords::new(places + 2).map(|words| Self(words, places))
    }

    /// What the process at this place has come to.
    pub fn of(&self, place: u16) -> StartStep {
        StartStep::of(self.0.at(usize::from(place)).load(Acquire))
    }

    /// Where the word of a place is.
    pub fn word(&self, place: u16) -> *const AtomicU32 {
        self.0.at(usize::from(place))
    }

    // ---- the fork server's own start

    /// In the host: another one is forked.
    pub fn fork_server_begins(&self) {
        self.0.at(self.1).store(0, Release);
        self.0.at(self.1 + 1).store(0, Release);
    }

    /// In the fork server: it is there.
    pub fn fork_server_is(&self, pid: Pid) {
        self.0.at(self.1).store(pid.as_raw() as u32, Release);
    }

    /// In the fork server: which lock it tries, from 1; 0 for none.
    pub fn fork_server_tries(&self, lock: u32) {
        self.0.at(self.1 + 1).store(lock, Release);
    }

    /// The fork server, once it is there.
    pub fn fork_server_pid(&self) -> Option<Pid> {
        let pid = self.0.at(self.1).load(Acquire) as i32;
        (pid > 1).then(|| Pid::from_raw(pid))
    }

    /// In the host: the lock that the fork server tries, from 1; 0 for none.
    pub fn fork_server_tried(&self) -> u32 {
        self.0.at(self.1 + 1).load(Acquire)
    }

    // ---- workers

    /// In the fork server, before the fork.
    pub fn reset(&self, place: u16) {
        self.0.at(usize::from(place)).store(StartStep::Forked as u32, Release);
    }

    /// In the host: it has what it needs, and the child goes on.
    pub fn take_over(&self, place: u16) {
        let word = self.0.at(usize::from(place));
        word.store(StartStep::Taken as u32, Release);
        futex::wake(word, 1);
    }

    /// In the child. If the host does not take it over, it is killed where it waits.
    pub fn await_host(&self, place: u16) {
        let word = self.0.at(usize::from(place));
        while word.load(Acquire) == StartStep::Forked as u32 {
            futex::wait(word, StartStep::Forked as u32, Some(Duration::from_secs(1)));
        }
    }

    /// In the child.
    pub fn reach(&self, place: u16, step: StartStep) {
        self.0.at(usize::from(place)).store(step as u32, Release);
    }
}
