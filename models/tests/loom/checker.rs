//! What the shared files need of loom.

use std::any::Any;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::crash::Kill;

pub(crate) use loom::sync::atomic::{AtomicU32 as RawU32, AtomicU64 as RawU64, fence as raw_fence};
pub(crate) use loom::thread::spawn;
pub(crate) use loom::thread_local;

/// Makes loom notice every pair of a load and a write.
///
/// It looks for races with the last access to an atomic only. A load of one thread is forgotten
/// as soon as another thread loads the same word before it writes it, and then the order "write
/// first, load after" is never tried. An exchange on a word beside it, before each load, makes
/// loads race with each other, so that the last one is not always the same. It orders no memory.
pub(crate) struct Reads(RawU32);

impl Reads {
    pub(crate) fn new() -> Self {
        Self(RawU32::new(0))
    }

    pub(crate) fn note(&self) {
        self.0.fetch_or(0, Ordering::Relaxed);
    }
}

/// A bound that no scenario comes to: every interleaving is looked at. Loom does not see all that
/// a smaller bound would allow, so the larger scenarios are given as much as time permits, and
/// shuttle's schedules besides.
pub(crate) const ALL: usize = 40;

/// Whether a thread may also die before a load. It leaves the same memory as a death before the
/// write that follows, and every schedule is looked at anyway, so that would only cost time here.
pub(crate) const DIES_AT_LOADS: bool = false;

/// Preemptions on top of each scenario's bound, for a longer run.
fn more() -> usize {
    std::env::var("MODEL_MORE_PREEMPTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Runs `model` in every interleaving with at most `bound` preemptions.
pub(crate) fn explore(name: &str, bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let bound = bound + more();
    let runs = in_a_child(|| run(bound, model).to_string());
    println!("loom {name}: {runs} executions, {}", limit(bound));
}

/// The same for every point of death, until one is never reached; that last run is the one in
/// which nobody dies.
pub(crate) fn explore_kills(
    name: &str,
    bound: usize,
    model: impl Fn(&Kill) + Send + Sync + 'static,
) {
    let bound = bound + more();
    let said = in_a_child(|| {
        let model = Arc::new(model);
        let mut runs = 0;
        for point in 0.. {
            let reached = Arc::new(AtomicBool::new(false));
            let kill = Kill::at(point, Arc::clone(&reached));
            let model = Arc::clone(&model);
            runs += run(bound, move || model(&kill));
            if !reached.load(Ordering::Relaxed) {
                return format!("{runs} executions, {}, {point} points of death", limit(bound));
            }
        }
        String::new()
    });
    println!("loom {name}: {said}");
}

fn limit(bound: usize) -> String {
    if bound >= ALL { "all there are".to_owned() } else { format!("{bound} preemptions") }
}

fn run(bound: usize, model: impl Fn() + Send + Sync + 'static) -> u64 {
    let runs = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    runs.load(Ordering::Relaxed)
}

/// What `explore` returns, from a process of its own. If it panics there, so does this.
///
/// Loom maps a stack for each model thread of each execution. Two tests of one process that do so
/// at the same time wait for each other in the kernel, and take longer than one after the other.
fn in_a_child(explore: impl FnOnce() -> String) -> String {
    let alone = one_at_a_time();
    let (mut read, mut write) = std::io::pipe().expect("a pipe");
    // SAFETY: the child makes system calls, uses the allocator, which the C library makes usable,
    // and panics. No other thread holds the lock that a panic takes, since it would hold ours.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        let end = catch_unwind(AssertUnwindSafe(explore));
        let failed = end.is_err();
        let text = end.unwrap_or_else(|payload| text_of(&*payload));
        let _ = write.write_all(text.as_bytes());
        // SAFETY: ends this process at once, as always allowed.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    drop(write);
    drop(alone);
    let mut said = String::new();
    let read = read.read_to_string(&mut said);
    let mut status = 0;
    // SAFETY: waits for the child just forked; the status is a live local.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    read.expect("text");
    let _alone = one_at_a_time();
    assert!(status == 0, "{said}");
    said
}

/// Held while a test forks, so that no child keeps the pipe of another one open, and while one panics:
/// what is printed then is under a lock of the standard library, and a child that was forked
/// meanwhile would wait for it for ever.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
}
