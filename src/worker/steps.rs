//! How far a process that was forked has come, in words that the host sees.
//!
//! A child waits at its first step until the host holds what it needs to watch it. So a child that
//! cannot be handed over has touched nothing, and its end is nobody's death.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use crate::sys::futex;
use crate::sys::map::SharedWords;

/// A step of a start. Each is written before what it names is tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub(crate) enum Step {
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
}

impl Step {
    fn of(word: u32) -> Self {
        match word {
            0 => Self::Forked,
            1 => Self::Taken,
            2 => Self::Settling,
            3 => Self::Confining,
            4 => Self::Factory,
            _ => Self::Live,
        }
    }

    /// For messages: "its last step was ...".
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Forked | Self::Taken => "being forked",
            Self::Settling => "resetting signals and descriptors",
            Self::Confining => "protecting its view of the shared memory",
            Self::Factory => "making its worker (the factory)",
            Self::Live => "serving",
        }
    }
}

/// One word a place.
pub(crate) struct Steps(SharedWords);

impl Steps {
    pub(crate) fn new(places: usize) -> std::io::Result<Self> {
        SharedWords::new(places).map(Self)
    }

    /// What the process at this place has come to.
    pub(crate) fn of(&self, place: u16) -> Step {
        Step::of(self.0.at(usize::from(place)).load(Acquire))
    }

    /// In the nursery, before the fork.
    pub(crate) fn reset(&self, place: u16) {
        self.0.at(usize::from(place)).store(Step::Forked as u32, Release);
    }

    /// In the host: it has what it needs, and the child goes on.
    pub(crate) fn take_over(&self, place: u16) {
        let word = self.0.at(usize::from(place));
        word.store(Step::Taken as u32, Release);
        futex::wake(word, 1);
    }

    /// In the child. If the host does not take it over, it is killed where it waits.
    pub(crate) fn await_host(&self, place: u16) {
        let word = self.0.at(usize::from(place));
        while word.load(Acquire) == Step::Forked as u32 {
            futex::wait(word, Step::Forked as u32, Some(Duration::from_secs(1)));
        }
    }

    /// In the child.
    pub(crate) fn reach(&self, place: u16, step: Step) {
        self.0.at(usize::from(place)).store(step as u32, Release);
    }
}
