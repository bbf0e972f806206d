//! Which addresses the safe accessors of a view follow.
//!
//! A tensor is a few numbers that anybody can make, so `TaskArgsView::get` and `set` look whether its
//! bytes are memory of an executor that this process has mapped. The list is short and read without a lock.
//!
//! A range is unmapped once it is off the list, perhaps by another thread that runs between the look
//! and the access. So a thread says in a word of its own that an access is under way, and whoever takes
//! a range off waits for those words:
//!
//! ```text
//!   thread                                  end of a range
//!   own word = INSIDE                       size = 0
//!   (nothing; a fence without membarrier)   membarrier
//!   size? touch : refuse                    wait while any word is INSIDE
//!   own word = OUTSIDE                      (the mapping goes)
//! ```
//!
//! A worker's thread holds its executor's memory while bodies run, so that needs none of this
//! ([`Stays`]).

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, compiler_fence, fence};

use crossbeam_utils::CachePadded;

use crate::membarrier;

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

/// Threads that have a word of their own at the same time. What further ones do is a change of the list.
const SEATS: usize = 512;
/// Nobody's word.
const FREE: u32 = 0;
const OUTSIDE: u32 = 1;
const INSIDE: u32 = 2;

static SEAT: [CachePadded<AtomicU32>; SEATS] =
    [const { CachePadded::new(AtomicU32::new(FREE)) }; SEATS];
/// Nobody has had a seat from here on.
static SEATED: AtomicUsize = AtomicUsize::new(0);
/// `membarrier` is the fence of both sides.
static ASYMMETRIC: AtomicBool = AtomicBool::new(false);

/// [`OWN`] of a thread that has not asked for a seat yet, and of one that gets none.
const UNKNOWN: usize = usize::MAX;
const NONE: usize = usize::MAX - 1;

/// Gives the seat of a thread back.
struct Rise;

impl Drop for Rise {
    fn drop(&mut self) {
        if let Some(seat) = SEAT.get(OWN.replace(NONE)) {
            seat.store(FREE, Release);
        }
    }
}

thread_local! {
    /// Start and length of what is mapped as long as this thread may ask: see [`Stays`].
    static STAYS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// The seat of this thread.
    static OWN: Cell<usize> = const { Cell::new(UNKNOWN) };
    static RISE: Rise = const { Rise };
    /// Inside a call whose caller answers for all addresses.
    static TRUSTED: Cell<u32> = const { Cell::new(0) };
    /// The place that was right the last time.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// Touches the bytes, if all of them may be touched; they stay where they are meanwhile.
#[inline]
pub fn within<R>(start: u64, len: u64, touch: impl FnOnce() -> R) -> Option<R> {
    let (base, size) = STAYS.get();
    let offset = start.wrapping_sub(base);
    if offset < size && len <= size - offset {
        return Some(touch());
    }
    let Some(seat) = SEAT.get(OWN.get()) else { return without_seat(start, len, touch) };
    seat.store(INSIDE, Relaxed);
    if ASYMMETRIC.load(Relaxed) {
        compiler_fence(SeqCst);
    } else {
        fence(SeqCst);
    }
    let touched = holds(start, len).then(touch);
    seat.store(OUTSIDE, Release);
    touched
}

#[cold]
fn without_seat<R>(start: u64, len: u64, touch: impl FnOnce() -> R) -> Option<R> {
    if OWN.get() == NONE {
        return change(|| holds(start, len).then(touch));
    }
    watch_forks();
    let take = |seat: &CachePadded<AtomicU32>| {
        seat.load(Relaxed) == FREE && seat.compare_exchange(FREE, OUTSIDE, AcqRel, Relaxed).is_ok()
    };
    // A thread that ends has no use for one that it could not give back.
    let stays = RISE.try_with(|_| ()).is_ok();
    let taken = if stays { SEAT.iter().position(take) } else { None };
    if let Some(seat) = taken {
        SEATED.fetch_max(seat + 1, SeqCst);
    }
    OWN.set(taken.unwrap_or(NONE));
    within(start, len, touch)
}

/// A range is off the list: waits for accesses that may have looked before.
fn await_accesses() {
    if ASYMMETRIC.load(Relaxed) {
        membarrier::everywhere();
    }
    fence(SeqCst);
    for seat in &SEAT[..SEATED.load(SeqCst)] {
        while seat.load(Acquire) == INSIDE {
            std::thread::yield_now();
        }
    }
}

/// In a process that was forked just now: only this thread is there.
fn leave_seats_of_others() {
    let own = OWN.get();
    let seated = SEAT[..SEATED.load(Relaxed)].iter().enumerate();
    let others = seated.filter(|(at, _)| *at != own);
    others.for_each(|(_, seat)| seat.store(FREE, Relaxed));
}

/// Whether all of the bytes may be touched.
#[inline]
pub fn holds(start: u64, len: u64) -> bool {
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

/// Whether the calling thread may follow every address: it is inside [`trusting`].
pub fn is_trusting() -> bool {
    TRUSTED.get() > 0
}

/// Lets `f` follow every address.
pub fn trusting<R>(f: impl FnOnce() -> R) -> R {
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

fn watch_forks() {
    if !WATCHES_FORKS.swap(true, Relaxed) {
        // SAFETY: the function does nothing but atomic stores to statics. A failure means that a
        // child of this process is not told what it does not have.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
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
pub struct Reach(usize);

impl Reach {
    /// `None` when there is no room for more.
    pub fn new(range: Range<u64>) -> Option<Self> {
        if membarrier::register() {
            ASYMMETRIC.store(true, Relaxed);
        }
        watch_forks();
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
        await_accesses();
    }
}

/// A range that stays mapped while this lives, in the eyes of the thread that made it.
pub struct Stays(PhantomData<*const ()>);

impl Stays {
    /// # Safety
    /// It does.
    pub unsafe fn new(range: &Range<u64>) -> Self {
        STAYS.set((range.start, range.end - range.start));
        Self(PhantomData)
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        STAYS.set((0, 0));
    }
}

/// In a child that was forked just now: memory of executors does not go to children.
extern "C" fn in_child() {
    CHANGING.store(false, Release); // whoever had it is not in this process
    leave_seats_of_others();
    if !INHERITED.load(Relaxed) {
        STAYS.set((0, 0));
        clear();
    }
}

fn clear() {
    PLACE.iter().take(USED.load(Relaxed)).for_each(|place| place.size.store(0, Release));
    USED.store(0, Release);
}

/// In a process that was forked just now, and has one thread: only these are mapped here, and in
/// what it forks, until [`end_inheritance`].
pub fn keep_only(ranges: &[Range<u64>]) {
    CHANGING.store(false, Release);
    leave_seats_of_others();
    clear();
    for (place, range) in PLACE.iter().zip(ranges) {
        place.base.store(range.start, Relaxed);
        place.size.store(range.end - range.start, Release);
    }
    USED.store(ranges.len().min(PLACES), Release);
    INHERITED.store(true, Relaxed);
}

/// What this process forks from here on does not have the memory.
pub fn end_inheritance() {
    INHERITED.store(false, Relaxed);
}
