//! Which addresses the safe accessors of a view follow.
//!
//! A tensor is a few numbers that anybody can make, so [`get`](super::TaskArgsView::get) and
//! [`set`](super::TaskArgsView::set) look whether its bytes are memory of an executor that this
//! process has mapped. The list is short and read without a lock.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::{AbiError, ContinuousTensor};

/// Ranges at the same time: two for each executor of this process, and those of levels above.
const PLACES: usize = 512;

struct Place {
    base: AtomicU64,
    /// 0: free.
    size: AtomicU64,
}

static PLACE: [Place; PLACES] =
    [const { Place { base: AtomicU64::new(0), size: AtomicU64::new(0) } }; PLACES];
/// No range lies in a place from here on.
static USED: AtomicU64 = AtomicU64::new(0);
/// A thread takes places. No mutex: a child that is forked meanwhile opens it again.
static CHANGING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Inside a call whose caller answers for all addresses.
    static TRUSTED: Cell<u32> = const { Cell::new(0) };
}

/// Whether all of the bytes may be touched.
#[inline]
pub(super) fn holds(start: u64, len: u64) -> bool {
    let used = USED.load(Acquire) as usize;
    let within = |place: &Place| {
        let size = place.size.load(Acquire);
        let offset = start.wrapping_sub(place.base.load(Relaxed));
        offset < size && len <= size - offset
    };
    PLACE[..used.min(PLACES)].iter().any(within) || TRUSTED.get() > 0
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

/// Ranges that can be followed for as long as this lives.
#[derive(Debug)]
pub(crate) struct Reach(Vec<usize>);

impl Reach {
    /// `None` when there is no room for so many.
    pub(crate) fn new(ranges: &[Range<u64>]) -> Option<Self> {
        while CHANGING.swap(true, Acquire) {
            std::thread::yield_now();
        }
        let mut reach = Self(Vec::new());
        let mut ranges = ranges.iter().filter(|range| !range.is_empty());
        let all = ranges.try_for_each(|range| {
            let free = PLACE.iter().position(|place| place.size.load(Relaxed) == 0)?;
            PLACE[free].base.store(range.start, Relaxed);
            PLACE[free].size.store(range.end - range.start, Release);
            USED.fetch_max(free as u64 + 1, Release);
            reach.0.push(free);
            Some(())
        });
        CHANGING.store(false, Release);
        all.map(|()| reach)
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        for &place in &self.0 {
            PLACE[place].size.store(0, Release);
        }
    }
}

/// In a process that was forked just now: only these are mapped here.
pub(crate) fn keep_only(ranges: &[Range<u64>]) {
    // No lock: another thread of the parent may have held it. This process has one thread.
    for (index, place) in PLACE.iter().enumerate() {
        let range = ranges.get(index).cloned().unwrap_or(0..0);
        place.size.store(0, Release);
        place.base.store(range.start, Relaxed);
        place.size.store(range.end - range.start, Release);
    }
    USED.store(ranges.len().min(PLACES) as u64, Release);
    CHANGING.store(false, Release);
}
