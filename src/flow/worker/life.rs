//! What the nursery of a flow raises, and the first steps of a worker.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Release, SeqCst};

use nix::unistd::Pid;

use super::client::{self, Client};
use super::context;
use super::serve::serve;
use crate::flow::memory::Memory;
use crate::flow::output::Mouth;
use crate::sys::process;
use crate::worker::guard;
use crate::worker::hook;
use crate::worker::nursery::Brood;
use crate::worker::orphans::end_subprocesses;
use crate::worker::participant::WaitStrategy;
use crate::worker::poke::ring;
use crate::worker::steps::{Step, Steps};
use crate::worker::{output, panics};

/// What every worker of a flow needs.
pub(in crate::flow) struct Workers {
    pub(in crate::flow) memory: Arc<Memory>,
    /// Where the keeper is told that there is something.
    pub(in crate::flow) keeper: Arc<OwnedFd>,
    /// Descriptors of the host that workers keep.
    pub(in crate::flow) kept: Arc<[RawFd]>,
    /// Where they announce what they print, if somebody wants to hear of it.
    pub(in crate::flow) mouth: Option<Mouth>,
    pub(in crate::flow) wait: WaitStrategy,
}

impl Workers {
    /// The line of a worker that is a thread of this process.
    pub(in crate::flow) fn line(&self, place: u16) -> Client {
        Client::new(Arc::clone(&self.memory), place, &self.keeper, self.wait)
    }
}

impl Brood for Workers {
    fn places(&self) -> usize {
        self.memory.places()
    }

    fn keeps(&self) -> Vec<RawFd> {
        let mouth = self.mouth.as_ref().map(Mouth::descriptor);
        self.kept.iter().copied().chain([self.keeper.as_raw_fd()]).chain(mouth).collect()
    }

    fn has_lines(&self) -> bool {
        false
    }

    fn live(&self, place: u16, _line: Option<&OwnedFd>, steps: &Steps) -> ! {
        steps.reach(place, Step::Confining);
        // What tasks start comes to us, and not to the nursery, so that it can be told whose it is.
        process::adopt_orphans();
        process::can_be_interrupted();
        if !self.memory.join_fences() || self.memory.confine().is_err() {
            process::exit_now(98);
        }
        hook::serve(&PANIC);
        let client = Client::new(Arc::clone(&self.memory), place, &self.keeper, self.wait);
        let client = client::install(client);
        steps.reach(place, Step::Live);
        self.memory.entry(place).live.store(1, Release);
        client.tell(true);
        let speech = self.mouth.as_ref().and_then(|mouth| mouth.open(place).ok());
        serve(client, speech);
        output::flush();
        process::exit_now(0)
    }

    fn bereaved(&self, living: &[Option<Pid>]) {
        end_subprocesses(living);
    }
}

/// A worker that is a thread of the driver's process.
pub(in crate::flow) struct Here {
    pub(in crate::flow) place: u16,
    pub(in crate::flow) client: Arc<Client>,
    pub(in crate::flow) steps: Arc<Steps>,
    /// Tells the keeper that it has ended.
    pub(in crate::flow) death: OwnedFd,
    pub(in crate::flow) ended: Arc<AtomicBool>,
}

impl Here {
    /// Its life. Nothing that is the process's is touched: signals, descriptors, memory, children.
    pub(in crate::flow) fn live(self) {
        self.steps.await_host(self.place);
        let _entered = client::enter(&self.client);
        self.steps.reach(self.place, Step::Live);
        self.client.entry().live.store(1, Release);
        self.client.tell(true);
        // Panics of bodies do not come here; one in the destructor of an actor's value does.
        if let Err(why) = guard(|| serve(&self.client, None)) {
            eprintln!("mailring: a worker thread ended by a panic: {why}");
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.client.close();
        self.ended.store(true, SeqCst);
        ring(&self.death);
    }
}

/// From here on panics of bodies in this process are noted, before its own hook says them.
pub(in crate::flow) fn note_panics() {
    panics::prepare();
    hook::note(&NOTE);
}

static NOTE: hook::InHost = |info| {
    if context::is_inside() {
        panics::note(info);
    }
};

/// What a worker does at a panic. The body's becomes the text of its failure.
static PANIC: hook::InWorker = |info, _| {
    panics::note(info);
    if !context::is_inside() {
        eprintln!("{info}"); // of a thread that a body has started: nobody else says it
    }
};
