//! Which addresses the safe accessors of a view follow.
//!
//! A tensor is a few numbers that anybody can make, so `TaskArgsView::get` and `set` look at two things. Its bytes are memory of an executor that this
//! process has mapped. And the view is one of a task: its tensors lie where a submitter has put them,
//! after it has checked and ordered them. Bytes of an executor with typed tasks, which hold slices of
//! them, are followed only from tasks of that executor, and written only where the task said so.
//!
//! The list is short and read without a lock.
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

/// Memory of an executor.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// First byte of what tensors lie in, and bytes.
    base: u64,
    size: u64,
    /// The same for arguments of tasks.
    args: u64,
    args_size: u64,
    /// Tells executors with typed tasks apart; 0 for others.
    typed: u64,
}

impl Memory {
    /// `typed` tells executors with typed tasks apart in all processes; it is 0 for others.
    pub fn new(tensors: &Range<u64>, args: &Range<u64>, typed: u64) -> Self {
        let (size, args_size) = (tensors.end - tensors.start, args.end - args.start);
        Self { base: tensors.start, size, args: args.start, args_size, typed }
    }

    const NONE: Self = Self { base: 0, size: 0, args: 0, args_size: 0, typed: 0 };

    #[inline(always)]
    fn holds(&self, start: u64, len: u64) -> bool {
        let offset = start.wrapping_sub(self.base);
        offset < self.size && len <= self.size - offset
    }

    #[inline(always)]
    fn gives(&self, args: u64) -> bool {
        args.wrapping_sub(self.args) < self.args_size
    }
}

struct Place {
    base: AtomicU64,
    /// 0: free.
    size: AtomicU64,
    args: AtomicU64,
    args_size: AtomicU64,
    typed: AtomicU64,
}

impl Place {
    const fn free() -> Self {
        Self {
            base: AtomicU64::new(0),
            size: AtomicU64::new(0),
            args: AtomicU64::new(0),
            args_size: AtomicU64::new(0),
            typed: AtomicU64::new(0),
        }
    }

    fn set(&self, memory: &Memory) {
        self.base.store(memory.base, Relaxed);
        self.args.store(memory.args, Relaxed);
        self.args_size.store(memory.args_size, Relaxed);
        self.typed.store(memory.typed, Relaxed);
        self.size.store(memory.size, Release);
    }

    /// The size first, which says whether the rest counts.
    #[inline]
    fn get(&self) -> Memory {
        let size = self.size.load(Acquire);
        Memory {
            base: self.base.load(Relaxed),
            size,
            args: self.args.load(Relaxed),
            args_size: if size == 0 { 0 } else { self.args_size.load(Relaxed) },
            typed: self.typed.load(Relaxed),
        }
    }
}

static PLACE: [Place; PLACES] = [const { Place::free() }; PLACES];
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
    /// What is mapped as long as this thread may ask: see [`Stays`].
    static STAYS: Cell<Memory> = const { Cell::new(Memory::NONE) };
    /// The seat of this thread.
    static OWN: Cell<usize> = const { Cell::new(UNKNOWN) };
    static RISE: Rise = const { Rise };
    /// Inside a call whose caller answers for all addresses.
    static TRUSTED: Cell<u32> = const { Cell::new(0) };
    /// The place that was right the last time.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// Why an accessor does not follow an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is not memory of an executor that this process has mapped.
    Unmapped,
    /// The view is not one of a task.
    NoTask,
    /// It is memory of an executor with typed tasks, and the view is one of another executor's task.
    Typed,
}

/// Touches the bytes that a tensor of a view names, if that may be; they stay where they are
/// meanwhile. `args` is where the tensors of the view lie. Otherwise why not; the caller's closure
/// learns whether memory of typed tasks is touched, which its task may not write to unless it said so.
#[inline]
pub fn follow<R>(
    args: u64,
    start: u64,
    len: u64,
    touch: impl FnOnce(bool) -> R,
) -> Result<R, Refused> {
    let stays = STAYS.get();
    if stays.gives(args) && stays.holds(start, len) {
        return Ok(touch(stays.typed != 0));
    }
    follow_elsewhere(args, start, len, touch)
}

#[cold]
fn follow_elsewhere<R>(
    args: u64,
    start: u64,
    len: u64,
    touch: impl FnOnce(bool) -> R,
) -> Result<R, Refused> {
    if TRUSTED.get() > 0 {
        return Ok(touch(false));
    }
    let look = || {
        let target = memory_of(start, len).ok_or(Refused::Unmapped)?;
        let giver = giver(args).ok_or(Refused::NoTask)?;
        match target.typed {
            0 => Ok(touch(false)),
            typed if typed == giver.typed => Ok(touch(true)),
            _ => Err(Refused::Typed),
        }
    };
    seated(look)
}

/// Touches the bytes, if all of them are mapped; they stay where they are meanwhile.
#[inline]
pub fn within<R>(start: u64, len: u64, touch: impl FnOnce() -> R) -> Option<R> {
    if STAYS.get().holds(start, len) {
        return Some(touch());
    }
    seated(|| (memory_of(start, len).is_some() || TRUSTED.get() > 0).then(touch))
}

/// Looks and touches while nothing is unmapped.
#[inline]
fn seated<R>(look: impl FnOnce() -> R) -> R {
    let Some(seat) = SEAT.get(OWN.get()) else { return without_seat(look) };
    seat.store(INSIDE, Relaxed);
    if ASYMMETRIC.load(Relaxed) {
        compiler_fence(SeqCst);
    } else {
        fence(SeqCst);
    }
    let touched = look();
    seat.store(OUTSIDE, Release);
    touched
}

#[cold]
fn without_seat<R>(look: impl FnOnce() -> R) -> R {
    if OWN.get() == NONE {
        return change(look);
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
    seated(look)
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

/// The memory that has all of the bytes.
#[inline]
fn memory_of(start: u64, len: u64) -> Option<Memory> {
    let held = |place: &Place| Some(place.get()).filter(|memory| memory.holds(start, len));
    if let Some(memory) = PLACE.get(LAST.get()).and_then(held) {
        return Some(memory);
    }
    let used = USED.load(Acquire).min(PLACES);
    let found = PLACE[..used].iter().enumerate().find_map(|(at, place)| Some((at, held(place)?)));
    found.map(|(at, memory)| {
        LAST.set(at);
        memory
    })
}

/// The memory that has these arguments of a task.
fn giver(args: u64) -> Option<Memory> {
    let stays = STAYS.get();
    if stays.gives(args) {
        return Some(stays);
    }
    let used = USED.load(Acquire).min(PLACES);
    PLACE[..used].iter().map(Place::get).find(|memory| memory.gives(args))
}

/// Whether some memory of an executor has all of the bytes.
pub fn holds(start: u64, len: u64) -> bool {
    memory_of(start, len).is_some()
}

/// Whether arguments of a task lie there.
pub fn is_given(args: u64) -> bool {
    giver(args).is_some()
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
    pub fn new(memory: Memory) -> Option<Self> {
        if membarrier::register() {
            ASYMMETRIC.store(true, Relaxed);
        }
        watch_forks();
        change(|| {
            let free = PLACE.iter().position(|place| place.size.load(Relaxed) == 0)?;
            PLACE[free].set(&memory);
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
    pub unsafe fn new(memory: Memory) -> Self {
        STAYS.set(memory);
        Self(PhantomData)
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        STAYS.set(Memory::NONE);
    }
}

/// In a child that was forked just now: memory of executors does not go to children.
extern "C" fn in_child() {
    CHANGING.store(false, Release); // whoever had it is not in this process
    leave_seats_of_others();
    if !INHERITED.load(Relaxed) {
        STAYS.set(Memory::NONE);
        clear();
    }
}

fn clear() {
    PLACE.iter().take(USED.load(Relaxed)).for_each(|place| place.size.store(0, Release));
    USED.store(0, Release);
}

/// In a process that was forked just now, and has one thread: only these are mapped here, and in
/// what it forks, until [`end_inheritance`].
pub fn keep_only(memory: &[Memory]) {
    CHANGING.store(false, Release);
    leave_seats_of_others();
    clear();
    for (place, memory) in PLACE.iter().zip(memory) {
        place.set(memory);
    }
    USED.store(memory.len().min(PLACES), Release);
    INHERITED.store(true, Relaxed);
}

/// What this process forks from here on does not have the memory.
pub fn end_inheritance() {
    INHERITED.store(false, Relaxed);
}
