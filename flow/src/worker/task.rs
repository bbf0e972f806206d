//! What a body can ask about itself.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::connection;
use crate::protocol::resources::ONE;
use crate::protocol::wire::About;

/// The task was told to stop.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
#[error("cancelled")]
pub struct Cancelled;

/// The task whose body runs, and where.
///
/// ```no_run
/// # use mailring::flow;
/// // With `.workers("gpu", 2, Resources::cpus(1.0))`: which of the two this is.
/// let device = flow::task().map_or(0, |task| task.index);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its number.
    pub task: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Its name: the one its caller gave it, or that of its node.
    pub name: String,
    /// The node, with its path.
    pub node: &'static str,
    /// The tag of the call.
    pub tag: Option<String>,
    /// The logical worker that it runs on: `group/index`.
    pub worker: String,
    /// The worker's group.
    pub group: String,
    /// Which of its group the worker is, from 0. Two workers with one device each tell by this
    /// which device is theirs. (Several tasks on one worker that share what it has are not told
    /// apart by it: quantities have no numbers.)
    pub index: usize,
    /// The cpus that it holds; they are with others while it waits for other tasks.
    pub cpus: f64,
    /// The labels that it holds, with their quantities.
    pub labels: Vec<(String, f64)>,
    /// The number of this process.
    pub process: u32,
}

/// What is known without asking.
#[derive(Clone, Copy)]
pub(super) struct Running {
    pub(super) task: u64,
    pub(super) attempt: u32,
    pub(super) node: &'static str,
}

thread_local! {
    static TASK: Cell<Option<Running>> = const { Cell::new(None) };
    static TOLD: RefCell<Option<TaskInfo>> = const { RefCell::new(None) };
}

pub(super) fn enter(task: Option<Running>) {
    TASK.set(task);
}

/// Whether the calling thread runs the body of a task.
pub(super) fn is_inside() -> bool {
    TASK.get().is_some()
}

/// The task whose body the calling thread runs; `None` in the driver, and in threads that a body
/// has started. The first call in a body asks the driver, which takes some microseconds.
pub fn task() -> Option<TaskInfo> {
    let running = TASK.get()?;
    let told = TOLD.with_borrow(|told| {
        // Another process's, if this one was forked inside of a body of that.
        let own = |told: &TaskInfo| {
            told.task == running.task
                && told.attempt == running.attempt
                && told.process == std::process::id()
        };
        told.clone().filter(own)
    });
    told.or_else(|| {
        let about = connection::line()?.about(running.task);
        // A driver that is closing answers no more: then only what is known here.
        let known = about.is_ok();
        let about = about.unwrap_or_else(|_| About {
            name: running.node.to_owned(),
            tag: None,
            group: String::new(),
            index: 0,
            cpus: 0,
            labels: Vec::new(),
        });
        let amount = |units: i64| units as f64 / ONE as f64;
        let info = TaskInfo {
            task: running.task,
            attempt: running.attempt,
            name: about.name,
            node: running.node,
            tag: about.tag,
            worker: format!("{}/{}", about.group, about.index),
            group: about.group,
            index: about.index,
            cpus: amount(about.cpus),
            labels: about.labels.into_iter().map(|(name, held)| (name, amount(held))).collect(),
            process: std::process::id(),
        };
        if known {
            TOLD.set(Some(info.clone()));
        }
        Some(info)
    })
}

/// Whether the task that this process runs has been cancelled. A body that takes long asks now and
/// then, and returns; what it returns does not count any more. False in the driver.
pub fn cancelled() -> bool {
    let Some(connection) = connection::line() else { return false };
    let entry = connection.entry();
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
