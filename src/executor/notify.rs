//! Descriptors that become readable when a run is through: for programs that wait with poll.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailring_process::descriptors::Descriptor;
use mailring_process::wait::RECHECK;
use mailring_process::wakeup;

use super::run_state::RunState;
use super::tasks::Tasks;

/// The runs that somebody polls for. A thread looks after them for as long as there are any.
pub(super) struct Notifier {
    tasks: Arc<Tasks>,
    watched: Mutex<Watched>,
}

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

impl Notifier {
    pub(super) fn new(tasks: Arc<Tasks>) -> Self {
        Self { tasks, watched: Mutex::default() }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the event notified when the run is through.
    pub(super) fn watch(
        self: &Arc<Self>,
        run: &Arc<RunState>,
        event: &Arc<Descriptor>,
    ) -> std::io::Result<()> {
        let mut watched = self.watched();
        if !watched.served {
            let this = Arc::clone(self);
            let thread = std::thread::Builder::new().name("mailring-runs".to_owned());
            thread.spawn(move || this.serve())?;
            watched.served = true;
        }
        let (run, event) = (Arc::clone(run), Arc::clone(event));
        watched.runs.push(Entry { cursor: run.first, run, event });
        drop(watched);
        self.tasks.notify_host();
        Ok(())
    }

    /// Until no run is left. Sleeps where the host sleeps when it waits for a task.
    fn serve(&self) {
        let mut since = None;
        loop {
            let seen = self.tasks.seen();
            let mut watched = self.watched();
            let mut all_armed = true;
            watched.runs.retain_mut(|entry| match entry.look(&self.tasks) {
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
            self.tasks.worry_after_long(&mut since);
            if all_armed {
                self.tasks.sleep(seen, RECHECK);
            }
        }
    }
}

impl Entry {
    /// `None` when the run is through; otherwise whether the host will be notified of it.
    fn look(&mut self, tasks: &Tasks) -> Option<bool> {
        let end = self.run.end();
        if tasks.has_executor_failed() {
            return None;
        }
        // The last one first: then most of the others are through, and few waits remain.
        let mut open = end.checked_sub(1).filter(|&last| tasks.is_open(last));
        while open.is_none() && self.cursor < end {
            open = Some(self.cursor).filter(|&seq| tasks.is_open(seq));
            self.cursor += u64::from(open.is_none());
        }
        open.map(|seq| tasks.arm(seq))
    }
}
