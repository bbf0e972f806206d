//! What a body can ask about itself.

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::client;

/// The task was told to stop.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
#[error("cancelled")]
pub struct Cancelled;

/// The task whose body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its number.
    pub task: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

thread_local! {
    static TASK: Cell<Option<TaskInfo>> = const { Cell::new(None) };
}

pub(super) fn enter(task: Option<TaskInfo>) {
    TASK.set(task);
}

/// The task whose body the calling thread runs; `None` in the driver, and in threads that a body
/// has started.
pub fn task() -> Option<TaskInfo> {
    TASK.get()
}

/// Whether the task that this process runs has been cancelled. A body that takes long asks now and
/// then, and returns; what it returns does not count any more. False in the driver.
pub fn cancelled() -> bool {
    let Some(client) = client::current() else { return false };
    let entry = client.entry();
    let inside = entry.inside.load(Relaxed);
    inside != 0 && entry.cancelled.load(Relaxed) == inside
}

/// Sleeps, but not longer than until the task is cancelled. (`std::thread::sleep` goes on.)
///
/// # Errors
/// The task was cancelled.
pub fn sleep(duration: Duration) -> Result<(), Cancelled> {
    // A cancel may come between a look and the sleep, so no sleep is long.
    const SLICE: Duration = Duration::from_millis(20);
    let until = Instant::now().checked_add(duration);
    loop {
        if cancelled() {
            return Err(Cancelled);
        }
        let left = until.map_or(SLICE, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(());
        }
        let slice = left.min(SLICE);
        let time = libc::timespec { tv_sec: 0, tv_nsec: slice.subsec_nanos().into() };
        // SAFETY: reads one live local. Unlike the library's sleep, it ends with a signal.
        unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
    }
}
