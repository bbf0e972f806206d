//! Which addresses the safe accessors of a view follow.
//!
//! A tensor is a few numbers that anybody can make, so [`get`](super::TaskArgsView::get) and
//! [`set`](super::TaskArgsView::set) look whether its bytes are memory of an executor that this
//! process has mapped. The list is short and read without a lock.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::{AbiError, ContinuousTensor};

/// Ranges at the same time: one for each executor of this process, one for each import of them, and
/// those of levels above.
const PLACES: usize = 2048;

struct Place {
    base: AtomicU64,
    /// 0: free.
    size: AtomicU64,
}

static PLACE: [Place; PLACES] =
    [const { Place { base: AtomicU64::new(0), size: AtomicU64::new(0) } }; PLACES];
/// No range lies in a place from here on.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Whoever changes the list has this. No mutex, since a child that is forked meanwhile has to be
/// able to let it go.
static CHANGING: AtomicBool = AtomicBool::new(false);
/// Whether children of this process have what it has.
static INHERITED: AtomicBool = AtomicBool::new(false);
static WATCHES_FORKS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Inside a call whose caller answers for all addresses.
    static TRUSTED: Cell<u32> = const { Cell::new(0) };
    /// The place that was right the last time.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// Whether all of the bytes may be touched.
#[inline]
pub(super) fn holds(start: u64, len: u64) -> bool {
    let within = |place: &Place| {
        let size = place.size.load(Acquire);
        let offset = start.wrapping_sub(place.base.load(Relaxed));
        offset < size && len <= size - offset
    };
    if PLACE.get(LAST.get()).is_some_and(within) {
        return true;
    }
    let used = USED.load(Acquire).min(PLACES);
    match PLACE[..used].iter().position(within) {
        Some(place) => {
            LAST.set(place);
            true
        }
        None => TRUSTED.get() > 0,
    }
}

/// Whether whole tensors may be touched.
pub(crate) fn check(tensors: &[ContinuousTensor]) -> Result<(), AbiError> {
    if TRUSTED.get() > 0 {
        return Ok(());
    }
    for (index, tensor) in tensors.iter().enumerate() {
        let (address, bytes) = (tensor.data(), tensor.nbytes()?);
        if bytes > 0 && !holds(address, bytes) {
            return Err(AbiError::OutOfReach { index, address });
        }
    }
    Ok(())
}

/// Lets `f` follow every address.
pub(crate) fn trusting<R>(f: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            TRUSTED.set(TRUSTED.get() - 1);
        }
    }
    TRUSTED.set(TRUSTED.get() + 1);
    let _leave = Leave;
    f()
}

fn change<R>(f: impl FnOnce() -> R) -> R {
    while CHANGING.swap(true, AcqRel) {
        std::thread::yield_now();
    }
    let result = f();
    CHANGING.store(false, Release);
    result
}

/// A range that can be followed for as long as this lives.
#[derive(Debug)]
pub(crate) struct Reach(usize);

impl Reach {
    /// `None` when there is no room for more.
    pub(crate) fn new(range: Range<u64>) -> Option<Self> {
        if !WATCHES_FORKS.swap(true, Relaxed) {
            // SAFETY: the function does nothing but atomic stores to statics. A failure means that a
            // child of this process is not told what it does not have.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        }
        change(|| {
            let free = PLACE.iter().position(|place| place.size.load(Relaxed) == 0)?;
            PLACE[free].base.store(range.start, Relaxed);
            PLACE[free].size.store(range.end - range.start, Release);
            USED.fetch_max(free + 1, Release);
            Some(Self(free))
        })
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        change(|| {
            PLACE[self.0].size.store(0, Release);
            let mut used = USED.load(Relaxed);
            while used > 0 && PLACE[used - 1].size.load(Relaxed) == 0 {
                used -= 1;
            }
            USED.store(used, Release);
        });
    }
}

/// In a child that was forked just now: memory of executors does not go to children.
extern "C" fn in_child() {
    CHANGING.store(false, Release); // whoever had it is not in this process
    if !INHERITED.load(Relaxed) {
        clear();
    }
}

fn clear() {
    PLACE.iter().take(USED.load(Relaxed)).for_each(|place| place.size.store(0, Release));
    USED.store(0, Release);
}

/// In a process that was forked just now, and has one thread: only these are mapped here, and in
/// what it forks, until [`end_inheritance`].
pub(crate) fn keep_only(ranges: &[Range<u64>]) {
    CHANGING.store(false, Release);
    clear();
    for (place, range) in PLACE.iter().zip(ranges) {
        place.base.store(range.start, Relaxed);
        place.size.store(range.end - range.start, Release);
    }
    USED.store(ranges.len().min(PLACES), Release);
    INHERITED.store(true, Relaxed);
}

/// What this process forks from here on does not have the memory.
pub(crate) fn end_inheritance() {
    INHERITED.store(false, Relaxed);
}
