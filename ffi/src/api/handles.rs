//! What is behind the opaque pointers. A handle is not an address: it is a place in a table, how
//! often the place was used before, and the kind of what is there.
//!
//! ```text
//!  63    56 55    48 47           24 23        0
//! |  'm'   |  kind  |  generation   |  place    |        handle
//!          |  kind  |  generation   |  in use   |        word of the place (kind 0: nobody's)
//! ```
//!
//! The upper bits are those of no address of a program, so code that dereferences a handle stops
//! at once. A generation is never used twice: a place that has used up all of them is left empty.
//!
//! To look a handle up is to read: the table only grows, and its places are never freed. Whoever
//! uses what is there says so in the word of that place, which has cache lines of its own, so
//! threads that use different handles do not meet. Some objects are used by one thread at a time
//! ([`Owned`]: others wait), some by several ([`Shared`]: the last one to leave after the end drops
//! the object).
//!
//! After a fork the child begins with an empty table whose first place lies behind those of its
//! parent: the parent's objects may be in the hands of threads that the child does not have, and
//! the parent's handles are recognised.

use std::alloc::{Layout, alloc_zeroed};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use super::error::Fail;
use super::status::{MR_ERR_HANDLE, MR_ERR_MEMORY, MR_ERR_OTHER};

const MARK: u64 = b'm' as u64;
const FIELD: u64 = (1 << 24) - 1;

/// In the lower half of a word: one thread has the object for itself.
const BUSY: u64 = 1 << 31;
/// In the upper half: the object has been ended, and those who use it are the last.
const KIND: u64 = 0xff << 56;

/// Places of the first segment; each further one has twice as many.
const FIRST: u32 = 64;
const SEGMENTS: usize = 19;

/// How long a thread sleeps for an object before it looks again, at first and at most.
const LOOK: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(32)];

/// What a handle can stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Builder = 1,
    Executor = 2,
    Run = 3,
    Pending = 4,
    Buffer = 5,
    Args = 6,
    Recording = 7,
    Bindings = 8,
    #[cfg(test)]
    Test = 9,
    #[cfg(test)]
    Other = 10,
    #[cfg(test)]
    Lone = 11,
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        let all = [
            Self::Builder,
            Self::Executor,
            Self::Run,
            Self::Pending,
            Self::Buffer,
            Self::Args,
            Self::Recording,
            Self::Bindings,
            #[cfg(test)]
            Self::Test,
            #[cfg(test)]
            Self::Other,
            #[cfg(test)]
            Self::Lone,
        ];
        all.into_iter().find(|&kind| kind as u64 == number)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Builder => "a builder (mr_builder)",
            Self::Executor => "an executor (mr_executor)",
            Self::Run => "an open run (mr_run_handle)",
            Self::Pending => "a detached run (mr_pending)",
            Self::Buffer => "a buffer (mr_buffer)",
            Self::Args => "task arguments (mr_args)",
            Self::Recording => "a recording (mr_recording)",
            Self::Bindings => "bindings of a recording (mr_bindings)",
            #[cfg(test)]
            Self::Test | Self::Other | Self::Lone => "a thing",
        }
    }
}

/// What lies in the table.
///
/// # Safety
/// No other type has the same kind.
pub(super) unsafe trait Object: Send + 'static {
    const KIND: Kind;
}

/// Used by one thread at a time.
pub(super) trait Owned: Object {}

/// Used by several threads at a time.
pub(super) trait Shared: Object + Sync {}

/// A place of the table. Lines of its own: two, since processors fetch them in pairs.
#[repr(align(128))]
struct Slot {
    word: AtomicU64,
    object: AtomicPtr<()>,
    /// Threads that sleep until the word changes.
    waiting: AtomicU32,
}

struct Table {
    /// Places before this one are the parent's.
    base: u32,
    /// Places handed out, the parent's included; readable without the lock.
    end: AtomicU32,
    segments: [AtomicPtr<Slot>; SEGMENTS],
    /// Places that are free again.
    free: Mutex<Vec<u32>>,
}

/// The table of this process; null before the first handle.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
/// That of the process it was forked from.
static PARENTS: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
static NOTICED: Once = Once::new();

extern "C" fn in_child() {
    let table = TABLE.swap(std::ptr::null_mut(), Relaxed);
    if !table.is_null() {
        PARENTS.store(table, Relaxed);
    }
}

/// The table of this process.
#[inline]
fn table() -> &'static Table {
    // SAFETY: null, or a table that is never freed.
    match unsafe { TABLE.load(Acquire).as_ref() } {
        Some(table) => table,
        None => new_table(),
    }
}

#[cold]
fn new_table() -> &'static Table {
    // SAFETY: the function only exchanges pointers. Out of memory is the only failure, and then
    // forks are not noticed.
    NOTICED.call_once(|| _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) });
    // SAFETY: null, or a table that is never freed.
    let base = unsafe { PARENTS.load(Acquire).as_ref() }.map_or(0, |t| t.end.load(Acquire));
    let made = Box::into_raw(Box::new(Table {
        base,
        end: AtomicU32::new(base),
        segments: [const { AtomicPtr::new(std::ptr::null_mut()) }; SEGMENTS],
        free: Mutex::default(),
    }));
    match TABLE.compare_exchange(std::ptr::null_mut(), made, AcqRel, Acquire) {
        // SAFETY: never freed from here on.
        Ok(_) => unsafe { &*made },
        Err(theirs) => {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
            // SAFETY: a table that is never freed.
            unsafe { &*theirs }
        }
    }
}

impl Table {
    fn free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which segment, and where in it.
    #[inline]
    fn split(index: u32) -> (usize, usize) {
        let at = index + FIRST;
        let level = at.ilog2() - FIRST.ilog2();
        (level as usize, (at - (FIRST << level)) as usize)
    }

    #[inline]
    fn slot(&'static self, place: u32) -> Option<&'static Slot> {
        let (level, at) = Self::split(place.checked_sub(self.base)?);
        let segment = self.segments[level].load(Acquire);
        // SAFETY: a segment has `FIRST << level` places, and is never freed.
        (!segment.is_null()).then(|| unsafe { &*segment.add(at) })
    }

    /// A place that nobody has.
    fn vacant(&'static self) -> Result<(u32, &'static Slot), Fail> {
        let mut free = self.free();
        if let Some(place) = free.pop()
            && let Some(slot) = self.slot(place)
        {
            return Ok((place, slot));
        }
        let place = self.end.load(Relaxed); // changed under the lock only
        if u64::from(place) > FIELD {
            let why = "16,777,216 handles are open or used up; close some, and reuse mr_args";
            return Err(Fail::new(MR_ERR_OTHER, why));
        }
        let (level, at) = Self::split(place - self.base);
        let mut segment = self.segments[level].load(Relaxed);
        if segment.is_null() {
            let layout = Layout::array::<Slot>((FIRST as usize) << level);
            let layout = layout.map_err(|error| Fail::new(MR_ERR_OTHER, error.to_string()))?;
            // SAFETY: the size is not zero.
            segment = unsafe { alloc_zeroed(layout) }.cast();
            if segment.is_null() {
                return Err(Fail::new(MR_ERR_MEMORY, "no memory for another handle"));
            }
            self.segments[level].store(segment, Release);
        }
        self.end.store(place + 1, Release);
        // SAFETY: as in `slot`; all zeros are a place that nobody has had.
        Ok((place, unsafe { &*segment.add(at) }))
    }
}

/// The number of a handle that C holds.
pub(super) fn number<H>(handle: *const H) -> u64 {
    handle.addr() as u64
}

/// A place with what a handle says of it.
struct Found<T> {
    table: &'static Table,
    slot: &'static Slot,
    handle: u64,
    object: PhantomData<*const T>,
}

impl<T: Object> Found<T> {
    #[inline(always)]
    fn new(handle: u64) -> Result<Self, Fail> {
        let table = table();
        match table.slot(place(handle)) {
            Some(slot) if handle >> 48 == MARK << 8 | T::KIND as u64 => {
                Ok(Self { table, slot, handle, object: PhantomData })
            }
            _ => Err(nothing(T::KIND, handle)),
        }
    }

    /// Its word, when nobody uses it.
    #[inline(always)]
    fn word(&self) -> u64 {
        self.handle << 8 & !0xffff_ffff
    }

    fn stale(&self) -> Fail {
        stale(T::KIND, self.table, place(self.handle))
    }

    /// # Safety
    /// The place is this object's: the caller is counted in its word.
    #[inline]
    unsafe fn object(&self) -> *mut T {
        self.slot.object.load(Relaxed).cast()
    }

    /// Takes the object out; the place is for others from here on.
    ///
    /// # Safety
    /// The caller is the only one in the word, and nobody can come.
    unsafe fn vacate(&self) -> Box<T> {
        // SAFETY: the caller's promise; made by `insert`, where `KIND` is the type.
        let object = unsafe { Box::from_raw(self.object()) };
        self.slot.object.store(std::ptr::null_mut(), Relaxed);
        let generation = self.word() & !KIND;
        self.slot.word.store(generation, Release);
        if generation >> 32 < FIELD {
            self.table.free().push(place(self.handle));
        }
        object
    }

    /// Sleeps for a moment, or until somebody leaves.
    #[cold]
    fn sleep(&self, seen: u64, look: &mut Duration) {
        self.slot.waiting.fetch_add(1, SeqCst);
        let time = libc::timespec { tv_sec: 0, tv_nsec: look.as_nanos() as _ };
        // SAFETY: the lower half of the word comes first (the engine is for little-endian machines),
        // and lives for ever.
        unsafe {
            let word = self.slot.word.as_ptr().cast::<u32>();
            let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            libc::syscall(libc::SYS_futex, word, operation, seen as u32, &raw const time);
        }
        self.slot.waiting.fetch_sub(1, SeqCst);
        *look = (*look * 2).min(LOOK[1]);
    }

    /// Wakes those who sleep. Somebody who goes to sleep at this very moment may be missed, since
    /// nothing orders the store before with this look; he looks again by himself.
    #[inline]
    fn wake(&self) {
        if self.slot.waiting.load(Relaxed) != 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: as in `sleep`.
        unsafe { libc::syscall(libc::SYS_futex, self.slot.word.as_ptr(), operation, i32::MAX) };
    }
}

/// Its place in the table.
#[inline(always)]
fn place(handle: u64) -> u32 {
    (handle & FIELD) as u32
}

/// What a handle is that stands for nothing of this kind.
#[cold]
#[inline(never)]
fn nothing(kind: Kind, handle: u64) -> Fail {
    if handle >> 48 != MARK << 8 | kind as u64 {
        return refuse(kind, handle);
    }
    stale(kind, table(), place(handle))
}

#[cold]
fn refuse(expected: Kind, handle: u64) -> Fail {
    let expected = expected.name();
    let why = if handle == 0 {
        format!("NULL was given where {expected} is expected")
    } else {
        match Kind::of(handle >> 48 & 0xff).filter(|_| handle >> 56 == MARK) {
            Some(kind) => format!("{} was given where {expected} is expected", kind.name()),
            None => format!("{handle:#x} is not a handle of mailring; {expected} is expected"),
        }
    };
    Fail::new(MR_ERR_HANDLE, why)
}

#[cold]
fn stale(kind: Kind, table: &Table, place: u32) -> Fail {
    let name = kind.name();
    let why = if place < table.base {
        format!("{name} was made before a fork: it belongs to the parent process")
    } else {
        format!("{name} that was closed already")
    };
    Fail::new(MR_ERR_HANDLE, why)
}

/// Puts something into the table.
pub(super) fn insert<T: Object, H>(object: T) -> Result<*mut H, Fail> {
    let (place, slot) = table().vacant()?;
    let generation = (slot.word.load(Relaxed) >> 32) + 1;
    slot.object.store(Box::into_raw(Box::new(object)).cast(), Relaxed);
    let kind = T::KIND as u64;
    slot.word.store(kind << 56 | generation << 32, Release);
    let handle = MARK << 56 | kind << 48 | generation << 24 | u64::from(place);
    Ok(std::ptr::without_provenance_mut(handle as usize))
}

/// An object that this thread has for itself.
pub(super) struct Held<T: Owned> {
    found: Found<T>,
}

/// The object of a handle, for this thread alone. Waits while another one has it.
#[inline(always)]
pub(super) fn lock<T: Owned, H>(handle: *const H) -> Result<Held<T>, Fail> {
    let found = Found::<T>::new(number(handle))?;
    let free = found.word();
    match found.slot.word.compare_exchange(free, free | BUSY, Acquire, Relaxed) {
        Ok(_) => Ok(Held { found }),
        Err(seen) => lock_later(found, seen),
    }
}

#[cold]
#[inline(never)]
fn lock_later<T: Owned>(found: Found<T>, mut seen: u64) -> Result<Held<T>, Fail> {
    let (mut look, free) = (LOOK[0], found.word());
    loop {
        if seen & !0xffff_ffff != free {
            return Err(found.stale());
        }
        if seen != free {
            found.sleep(seen, &mut look);
        }
        match found.slot.word.compare_exchange(free, free | BUSY, Acquire, Relaxed) {
            Ok(_) => return Ok(Held { found }),
            Err(now) => seen = now,
        }
    }
}

/// Takes an object that one thread uses at a time out of the table: the handle is stale from here
/// on. Waits while another thread has it.
pub(super) fn take<T: Owned, H>(handle: *const H) -> Result<Box<T>, Fail> {
    Ok(lock::<T, H>(handle)?.take())
}

impl<T: Owned> Held<T> {
    /// Takes it out of the table.
    pub(super) fn take(self) -> Box<T> {
        let held = std::mem::ManuallyDrop::new(self);
        // SAFETY: nobody else has it, and those who wait see that the generation is another.
        let object = unsafe { held.found.vacate() };
        held.found.wake();
        object
    }
}

impl<T: Owned> Deref for Held<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread has it for itself.
        unsafe { &*self.found.object() }
    }
}

impl<T: Owned> DerefMut for Held<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.found.object() }
    }
}

impl<T: Owned> Drop for Held<T> {
    #[inline]
    fn drop(&mut self) {
        // Nobody else changes the word while it is busy.
        self.found.slot.word.store(self.found.word(), Release);
        self.found.wake();
    }
}

/// An object that several threads may use. It stays alive while this does, whoever ends the handle.
pub(super) struct Used<T: Shared> {
    found: Found<T>,
}

fn enter<T: Shared>(found: Found<T>, end: bool) -> Result<Used<T>, Fail> {
    let word = &found.slot.word;
    let mut seen = word.load(Relaxed);
    loop {
        if seen & !0xffff_ffff != found.word() {
            return Err(found.stale());
        }
        let next = if end { (seen & !KIND) + 1 } else { seen + 1 };
        match word.compare_exchange_weak(seen, next, Acquire, Relaxed) {
            Ok(_) => return Ok(Used { found }),
            Err(now) => seen = now,
        }
    }
}

/// The object of a handle.
#[inline]
pub(super) fn get<T: Shared, H>(handle: *const H) -> Result<Used<T>, Fail> {
    enter(Found::new(number(handle))?, false)
}

/// Ends a handle; the object ends with the last one who uses it.
pub(super) fn end<T: Shared, H>(handle: *const H) -> Result<Used<T>, Fail> {
    enter(Found::new(number(handle))?, true)
}

impl<T: Shared> Deref for Used<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it is not dropped while we are counted.
        unsafe { &*self.found.object() }
    }
}

impl<T: Shared> Drop for Used<T> {
    fn drop(&mut self) {
        let before = self.found.slot.word.fetch_sub(1, AcqRel);
        if before & KIND == 0 && before as u32 == 1 {
            // SAFETY: its handle was ended, so nobody comes, and we were the last.
            drop(unsafe { self.found.vacate() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::status::mr_status;
    use super::*;

    struct Thing(u32);
    // SAFETY: the only type of that kind.
    unsafe impl Object for Thing {
        const KIND: Kind = Kind::Test;
    }
    impl Owned for Thing {}

    /// Counts the drops.
    struct Other(Arc<AtomicU32>);
    // SAFETY: the only type of that kind.
    unsafe impl Object for Other {
        const KIND: Kind = Kind::Other;
    }
    impl Shared for Other {}
    impl Drop for Other {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    // Of a kind that no other test makes: a forged handle must not be that of another test.
    struct Lone;
    // SAFETY: the only type of that kind.
    unsafe impl Object for Lone {
        const KIND: Kind = Kind::Lone;
    }
    impl Shared for Lone {}

    fn why<T>(result: Result<T, Fail>) -> mr_status {
        result.err().map_or(0, |fail| fail.status)
    }

    #[test]
    fn a_closed_handle_is_never_valid_again() {
        let mut seen = Vec::new();
        for i in 0..1000 {
            let handle: *mut u8 = insert(Thing(i)).ok().unwrap();
            assert!(!seen.contains(&handle));
            assert!(seen.iter().rev().take(50).all(|&old| lock::<Thing, u8>(old).is_err()));
            assert_eq!(lock::<Thing, u8>(handle).ok().unwrap().0, i);
            assert_eq!(take::<Thing, u8>(handle).ok().unwrap().0, i);
            assert_eq!(why(take::<Thing, u8>(handle)), MR_ERR_HANDLE);
            seen.push(handle);
        }
    }

    #[test]
    fn no_bits_of_a_handle_may_be_changed() {
        let handle: *mut u8 = insert(Lone).ok().unwrap();
        for bit in 0..64 {
            let forged: *const u8 = std::ptr::without_provenance(handle.addr() ^ (1 << bit));
            assert_eq!(why(get::<Lone, u8>(forged)), MR_ERR_HANDLE, "bit {bit}");
            assert_eq!(why(end::<Lone, u8>(forged)), MR_ERR_HANDLE, "bit {bit}");
            assert_eq!(why(lock::<Thing, u8>(forged)), MR_ERR_HANDLE, "bit {bit}");
        }
        assert_eq!(why(get::<Lone, u8>(std::ptr::null())), MR_ERR_HANDLE);
        assert!(end::<Lone, u8>(handle).is_ok());
    }

    #[test]
    fn one_thread_at_a_time() {
        let handle: *mut u8 = insert(Thing(0)).ok().unwrap();
        let number = handle.addr();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    let handle: *const u8 = std::ptr::without_provenance(number);
                    for _ in 0..20_000 {
                        let mut thing = lock::<Thing, u8>(handle).ok().unwrap();
                        let seen = thing.0;
                        std::hint::spin_loop();
                        thing.0 = seen + 1;
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(take::<Thing, u8>(handle).ok().unwrap().0, 80_000);
    }

    #[test]
    fn an_ended_object_goes_with_the_last_user_and_a_waiter_is_told() {
        let drops = Arc::new(AtomicU32::new(0));
        for _ in 0..200 {
            let handle: *mut u8 = insert(Other(Arc::clone(&drops))).ok().unwrap();
            let number = handle.addr();
            let users: Vec<_> = (0..3)
                .map(|_| {
                    let drops = Arc::clone(&drops);
                    std::thread::spawn(move || {
                        let handle: *const u8 = std::ptr::without_provenance(number);
                        while let Ok(used) = get::<Other, u8>(handle) {
                            let seen = drops.load(Relaxed);
                            assert!(Arc::ptr_eq(&used.0, &drops) && seen == drops.load(Relaxed));
                        }
                    })
                })
                .collect();
            let before = drops.load(Relaxed);
            let last = end::<Other, u8>(handle).ok().unwrap();
            assert_eq!(why(get::<Other, u8>(handle)), MR_ERR_HANDLE);
            assert_eq!(drops.load(Relaxed), before);
            drop(last);
            users.into_iter().for_each(|user| user.join().unwrap());
            assert_eq!(drops.load(Relaxed), before + 1);
        }
        let handle: *mut u8 = insert(Thing(0)).ok().unwrap();
        let held = lock::<Thing, u8>(handle).ok().unwrap();
        let number = handle.addr();
        let waiter = std::thread::spawn(move || {
            why(lock::<Thing, u8>(std::ptr::without_provenance::<u8>(number)))
        });
        std::thread::sleep(Duration::from_millis(20));
        held.take();
        assert_eq!(waiter.join().unwrap(), MR_ERR_HANDLE);
    }

    #[test]
    fn neighbours_do_not_share_a_line() {
        let handles: [*mut u8; 2] = std::array::from_fn(|i| insert(Thing(i as u32)).ok().unwrap());
        let lines = handles.map(|handle| {
            let found = Found::<Thing>::new(number(handle)).ok().unwrap();
            std::ptr::from_ref(found.slot).addr() / 128
        });
        assert_ne!(lines[0], lines[1]);
        handles.into_iter().for_each(|handle| drop(take::<Thing, u8>(handle).ok().unwrap()));
    }
}
