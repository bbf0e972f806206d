//! Threads with a stack of a given size, and what is said when the stack of a worker overflows.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};

/// No stack is smaller.
pub const LEAST: usize = 128 << 10;
/// What a body gets unless the builder says otherwise.
pub const USUAL: usize = 8 << 20;

type Life = Box<dyn FnOnce() + Send>;

/// A thread that the standard library knows nothing of: it inherits nothing that belongs to the
/// thread that starts it (captured output, for one).
pub struct BareThread(libc::pthread_t);

impl BareThread {
    /// Starts one.
    pub fn start(stack: usize, life: Life) -> io::Result<Self> {
        extern "C" fn run(life: *mut libc::c_void) -> *mut libc::c_void {
            // SAFETY: the box that `start` gave away, once.
            let life = unsafe { Box::from_raw(life.cast::<Life>()) };
            let _ = catch_unwind(AssertUnwindSafe(life));
            std::ptr::null_mut()
        }
        const PAGE: usize = 4096;
        let stack = stack.max(LEAST).next_multiple_of(PAGE);
        // SAFETY: all zeros are what the next call replaces.
        let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
        let life = Box::into_raw(Box::new(life));
        let mut thread = 0;
        // SAFETY: the attributes are made, used and destroyed here; the box is the new thread's.
        let code = unsafe {
            libc::pthread_attr_init(&raw mut attributes);
            let code = libc::pthread_attr_setstacksize(&raw mut attributes, stack);
            let code = if code == 0 {
                libc::pthread_create(&raw mut thread, &raw const attributes, run, life.cast())
            } else {
                code
            };
            libc::pthread_attr_destroy(&raw mut attributes);
            code
        };
        if code == 0 {
            return Ok(Self(thread));
        }
        // SAFETY: no thread was started, so it is still ours.
        drop(unsafe { Box::from_raw(life) });
        Err(io::Error::from_raw_os_error(code))
    }

    /// Waits for its end.
    pub fn join(self) {
        // SAFETY: a thread of ours that is joined once.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) };
    }

    /// Nobody waits for it.
    pub fn detach(self) {
        // SAFETY: a thread of ours that nobody joins.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// Where a fault is an overflow: the guard below the stack of the watched thread.
static GUARD: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
/// Where it is noted, and what.
static NOTE: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
static NOTED: AtomicU32 = AtomicU32::new(0);
/// What handled faults before: of SIGSEGV, of SIGBUS.
static BEFORE: [AtomicPtr<libc::sigaction>; 2] =
    [AtomicPtr::new(std::ptr::null_mut()), AtomicPtr::new(std::ptr::null_mut())];

/// An overflow of the calling thread's stack is noted at `note`, said on standard error, and ends
/// the process by SIGABRT. Other faults go to whoever handled them before.
///
/// # Safety
/// The word stays mapped for as long as the process lives.
pub unsafe fn watch(note: *const AtomicU32, noted: u32) {
    const ROOM: usize = 64 << 10;
    let Some(guard) = own_guard() else { return };
    for (word, at) in GUARD.iter().zip([guard.start, guard.end]) {
        word.store(at, Relaxed);
    }
    NOTED.store(noted, Relaxed);
    NOTE.store(note.cast_mut(), Release);
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which this process keeps; the handler below does what a handler may;
    // what was there before is kept for good, so that the handler may read it.
    unsafe {
        let room = libc::mmap(std::ptr::null_mut(), ROOM, prot, flags, -1, 0);
        if room == libc::MAP_FAILED {
            return;
        }
        let other = libc::stack_t { ss_sp: room, ss_flags: 0, ss_size: ROOM };
        if libc::sigaltstack(&raw const other, std::ptr::null_mut()) != 0 {
            return;
        }
        let mut ours: libc::sigaction = std::mem::zeroed();
        ours.sa_sigaction = fault as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for (signal, before) in [libc::SIGSEGV, libc::SIGBUS].into_iter().zip(&BEFORE) {
            let mut old = Box::new(std::mem::zeroed::<libc::sigaction>());
            if libc::sigaction(signal, std::ptr::null(), &raw mut *old) == 0 {
                // In a worker below a worker ours is there already.
                if old.sa_sigaction != ours.sa_sigaction {
                    before.store(Box::into_raw(old), Release);
                }
                libc::sigaction(signal, &raw const ours, std::ptr::null_mut());
            }
        }
    }
}

/// The addresses below the calling thread's stack, with a page to each side: where exactly the
/// guard lies differs between versions of the C library.
fn own_guard() -> Option<std::ops::Range<usize>> {
    const PAGE: usize = 4096;
    // SAFETY: all zeros are what the next call replaces.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    let (mut low, mut size, mut guard) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: asks for the attributes of this thread; writes live locals.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return None;
        }
        libc::pthread_attr_getstack(&raw const attributes, &raw mut low, &raw mut size);
        libc::pthread_attr_getguardsize(&raw const attributes, &raw mut guard);
        libc::pthread_attr_destroy(&raw mut attributes);
    }
    let low = low as usize;
    (low != 0).then(|| low.saturating_sub(guard + PAGE)..low + guard + PAGE)
}

extern "C" fn fault(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    const TEXT: &[u8] = b"mailring: the stack of a worker has overflowed; raise it with the \
                          builder's `stack_size`, or recurse less\n";
    // SAFETY: the system passes a valid one.
    let (code, at) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code > 0 && (GUARD[0].load(Relaxed)..GUARD[1].load(Relaxed)).contains(&at) {
        let note = NOTE.load(Acquire);
        // SAFETY: only what a handler may; the word is mapped for as long as the process lives.
        unsafe {
            (*note).store(NOTED.load(Relaxed), Release);
            libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
            libc::signal(libc::SIGABRT, libc::SIG_DFL);
            libc::abort();
        }
    }
    let before = BEFORE[usize::from(signal == libc::SIGBUS)].load(Acquire);
    // SAFETY: only what a handler may. Whoever was there before meets the fault again when this
    // returns; a signal that somebody sent is not a fault, and has its effect.
    unsafe {
        if code > 0 && !before.is_null() {
            libc::sigaction(signal, before, std::ptr::null_mut());
        } else {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}
