//! Descriptors that become readable when a run is through: for programs that wait with poll.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use mailring_process::descriptors::{self, Descriptor};
use mailring_process::futex;
use mailring_process::wait::RECHECK;
use mailring_process::wakeup;

use super::run::{RunHandle, RunState};
use super::shared::Shared;
use crate::error::Error;
use crate::ring::dist_ring::place;
use crate::ring::slot::Watch;
use crate::segment::Settled;

/// The runs that somebody polls for. A thread looks after them for as long as there are any.
#[derive(Default)]
pub(super) struct Notifier(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    runs: Vec<Entry>,
    /// Whether the thread is there.
    served: bool,
}

struct Entry {
    run: Arc<RunState>,
    /// All tasks before it are known to be through.
    cursor: u64,
    event: Arc<Descriptor>,
}

impl RunHandle {
    /// A descriptor that becomes readable when the run is [`done`](Self::done), and stays so: for
    /// `poll` and its like. It belongs to the handle and ends with it.
    ///
    /// # Errors
    /// There is no descriptor or no thread left for it.
    pub fn event(&self) -> Result<BorrowedFd<'_>, Error> {
        self.shared.check_process()?;
        if let Some(event) = self.event.get() {
            return Ok(event.as_fd());
        }
        let failed = |what| move |source| Error::System { what, source };
        let event = Arc::new(descriptors::event().map_err(failed("making an event descriptor"))?);
        if let Err(source) = watch(&self.shared, &self.run, &event) {
            return Err(failed("starting a thread that watches runs")(source));
        }
        // Of two threads that come at the same time, one has made one for nothing.
        Ok(self.event.get_or_init(|| event).as_fd())
    }
}

fn watch(
    shared: &Arc<Shared>,
    run: &Arc<RunState>,
    event: &Arc<Descriptor>,
) -> std::io::Result<()> {
    let mut watched = shared.notifier.0.lock().unwrap_or_else(PoisonError::into_inner);
    if !watched.served {
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("mailring-runs".to_owned());
        thread.spawn(move || serve(&shared))?;
        watched.served = true;
    }
    let (run, event) = (Arc::clone(run), Arc::clone(event));
    watched.runs.push(Entry { cursor: run.first, run, event });
    drop(watched);
    shared.arena.notify_host();
    Ok(())
}

/// Until no run is left. Sleeps where the host sleeps when it waits for a task.
fn serve(shared: &Shared) {
    let mut since = None;
    loop {
        let parker = &shared.arena.control().host_parker;
        let seen = parker.load(std::sync::atomic::Ordering::Acquire);
        let mut watched = shared.notifier.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all_armed = true;
        watched.runs.retain_mut(|entry| match entry.look(shared) {
            None => {
                wakeup::notify(&*entry.event);
                false
            }
            Some(armed) => {
                all_armed &= armed;
                true
            }
        });
        if watched.runs.is_empty() {
            watched.served = false;
            return;
        }
        drop(watched);
        shared.worry_after_long(&mut since);
        if all_armed {
            futex::wait(parker, seen, Some(RECHECK));
        }
    }
}

impl Entry {
    /// `None` when the run is through; otherwise whether the host will be notified of it.
    fn look(&mut self, shared: &Shared) -> Option<bool> {
        let end = self.run.end();
        if shared.health.failure().is_some() {
            return None;
        }
        // The last one first: then most of the others are through, and few waits remain.
        let mut open = end.checked_sub(1).filter(|&last| shared.is_open(last));
        while open.is_none() && self.cursor < end {
            open = Some(self.cursor).filter(|&seq| shared.is_open(seq));
            self.cursor += u64::from(open.is_none());
        }
        open.map(|seq| shared.arm(seq))
    }
}

impl Shared {
    fn is_open(&self, seq: u64) -> bool {
        self.arena.settled(seq) == Settled::Open
    }

    /// Asks whoever completes a task to ring the host. False when it has just been completed.
    fn arm(&self, seq: u64) -> bool {
        let (slot, generation) = place(seq, self.window_shift());
        self.arena.table().slot(slot).watch(generation) == Watch::Armed
    }
}
