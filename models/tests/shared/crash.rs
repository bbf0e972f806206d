//! Deaths: a model thread that ends before a chosen operation, with nothing of it run after.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::checker;

checker::thread_local! {
    /// Operations that this thread may still do; none: it is not to die.
    static LEFT: Cell<Option<u32>> = Cell::new(None);
}

/// Marks the unwinding that stands for a death.
struct Killed;

/// When a thread is to die, and whether it came to that.
#[derive(Clone)]
pub(crate) struct Kill {
    point: u32,
    reached: Arc<AtomicBool>,
}

impl Kill {
    /// Before operation `point`, counted from 0.
    pub(crate) fn at(point: u32, reached: Arc<AtomicBool>) -> Self {
        Self { point, reached }
    }
}

/// Runs the life of a worker that dies at `kill`; nothing when it did not live to the end.
pub(crate) fn mortal<T>(kill: &Kill, life: impl FnOnce() -> T) -> Option<T> {
    LEFT.with(|left| left.set(Some(kill.point)));
    let end = catch_unwind(AssertUnwindSafe(life));
    LEFT.with(|left| left.set(None));
    match end {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Killed>() => {
            kill.reached.store(true, Ordering::Relaxed);
            None
        }
        // An assertion, or the checker unwinding its own threads.
        Err(payload) => resume_unwind(payload),
    }
}

/// Called before each operation.
pub(crate) fn point() {
    let dies = LEFT.with(|left| match left.get() {
        Some(0) => true,
        Some(more) => {
            left.set(Some(more - 1));
            false
        }
        None => false,
    });
    if dies {
        LEFT.with(|left| left.set(None));
        resume_unwind(Box::new(Killed)); // unlike a panic, this is not reported
    }
}
