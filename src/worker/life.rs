//! The life of an engine's worker process, from the fork to the loop that serves tasks.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use mailring_process::fork_server::ForkServerHandler;
use mailring_process::fork_server::{StartProgress, StartStep};
use mailring_process::reach::Memory;
use mailring_process::reaping::end_subprocesses;
use mailring_process::wait::WaitStrategy;
use mailring_process::wakeup::Wakeup;
use mailring_process::{machine, process};
use mailring_process::{output, panic_hook, panics};
use nix::unistd::{Pid, getpid};

use super::Factory;
use super::functions::make;
use super::inherited_memory::{InheritedMemory, memory_of};
use super::levels::end_levels;
use super::participant::{Participant, Place};
use super::times::Times;
use crate::ids::WorkerId;
use crate::segment::{Arena, Status};

/// What every worker of an executor needs.
#[derive(Clone)]
pub(crate) struct Workers {
    pub(crate) arena: Arc<Arena>,
    pub(crate) factories: [Factory; 2],
    pub(crate) wait: WaitStrategy,
    pub(crate) pin: Option<Arc<[usize]>>,
    pub(crate) wakeup: Arc<Wakeup>,
    /// Descriptors of the host that workers keep.
    pub(crate) kept: Arc<[RawFd]>,
    /// Memory of the levels above.
    pub(crate) inherited: InheritedMemory,
    /// Where they write down when bodies begin and end, for a profile.
    pub(crate) times: Option<Arc<Times>>,
}

impl ForkServerHandler for Workers {
    fn places(&self) -> usize {
        self.arena.shape().total_workers()
    }

    fn keeps(&self) -> Vec<RawFd> {
        self.kept.iter().copied().chain(self.wakeup.descriptor()).collect()
    }

    fn settle(&self) {
        InheritedMemory::was_lent();
    }

    fn reach(&self) -> Vec<Memory> {
        // What workers have mapped: their own arena, and what levels above have lent. (Memory that
        // came after the fork is added where it is mapped.)
        self.inherited.memory().chain([memory_of(&self.arena)]).collect()
    }

    fn has_lines(&self) -> bool {
        true
    }

    fn live(&self, worker: u16, line: Option<&OwnedFd>, progress: &StartProgress) -> ! {
        progress.reach(worker, StartStep::Confining);
        let Some(line) = line else { process::exit_now(98) };
        let arena = &self.arena;
        if !arena.join_fences() {
            refuse(arena, worker, "it could not register for membarrier");
        }
        if arena.confine().is_err() {
            process::exit_now(98);
        }
        if let Some(cpus) = &self.pin
            && !cpus.is_empty()
        {
            machine::pin(cpus[(usize::from(worker) + 1) % cpus.len()]);
        }
        if self.inherited.keep().is_err() {
            process::exit_now(98);
        }
        self.inherited.enter(arena);
        panic_hook::serve(&PANIC);
        progress.reach(worker, StartStep::Factory);
        let entry = arena.entry(worker);
        let kind = arena.shape().kind_of(usize::from(worker));
        let mut served = match make(&self.factories[kind.index()], WorkerId(worker)) {
            Ok(served) => served,
            Err(why) => refuse(arena, worker, &why),
        };
        progress.reach(worker, StartStep::Live);
        entry.pid.store(getpid().as_raw() as u32, Relaxed);
        entry.status.store(Status::Live as u32, Release);
        arena.notify_host();
        let place = Place::Process { line: line.as_fd(), progress };
        Participant::new(arena, worker, self.wait, &self.wakeup, place)
            .with_times(self.times.as_deref())
            .serve(served.as_mut());
        drop(served); // a device is let go properly
        output::flush();
        process::exit_now(0)
    }

    fn on_child_exit(&self, living: &[Option<Pid>]) {
        end_levels(&self.arena, living);
        end_subprocesses(living);
    }
}

/// A panic of a task becomes the text of its failure.
static PANIC: panic_hook::InWorker = |info, _| panics::note(info);

fn refuse(arena: &Arena, worker: u16, why: &str) -> ! {
    arena.entry(worker).say(why);
    arena.entry(worker).status.store(Status::Refused as u32, Release);
    arena.notify_host();
    process::exit_now(97)
}
