//! One panic hook for host, fork server and workers, installed in the host before the fork.
//!
//! A child must not install one: the lock of the hook may have been held by another thread when it
//! was forked. It needs none, since the hook that it has inherited looks where it is. In the host
//! it calls what was there before.

use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize};
use std::time::Duration;

type UserHook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// What a worker does at a panic: the hook of the host is there to be called.
pub type InWorker = fn(&PanicHookInfo<'_>, &(dyn Fn(&PanicHookInfo<'_>) + Sync + Send));

/// What is noted of a panic in the host.
pub type InHost = fn(&PanicHookInfo<'_>);

/// In the host, and in whatever we did not fork.
const HOST: u8 = 0;
/// Nothing is said.
const QUIET: u8 = 1;
const WORKER: u8 = 2;

static ROLE: AtomicU8 = AtomicU8::new(HOST);
/// What else is done in the host, before its own hook.
static IN_HOST: AtomicPtr<InHost> = AtomicPtr::new(std::ptr::null_mut());
static IN_WORKER: AtomicPtr<InWorker> = AtomicPtr::new(std::ptr::null_mut());
/// Where the hook is that we installed last.
static OURS: AtomicUsize = AtomicUsize::new(0);
/// A thread installs it.
static INSTALLING: AtomicBool = AtomicBool::new(false);

/// In the host: ours is the one that is called, and calls the one that was. Waits while a hook
/// runs on another thread.
pub fn install() {
    while INSTALLING.swap(true, Acquire) {
        std::thread::sleep(Duration::from_micros(50));
    }
    let user = take_hook();
    if address(&*user) == OURS.load(Relaxed) {
        set_hook(user);
    } else {
        let ours: UserHook = Box::new(move |info| dispatch(info, &*user));
        OURS.store(address(&*ours), Relaxed);
        set_hook(ours);
    }
    INSTALLING.store(false, Release);
}

fn address(hook: &(dyn Fn(&PanicHookInfo<'_>) + Sync + Send)) -> usize {
    std::ptr::from_ref(hook).cast::<()>() as usize
}

fn dispatch(info: &PanicHookInfo<'_>, user: &(dyn Fn(&PanicHookInfo<'_>) + Sync + Send)) {
    match ROLE.load(Relaxed) {
        HOST => {
            // SAFETY: null, or a static that `note` was given.
            if let Some(in_host) = unsafe { IN_HOST.load(Acquire).as_ref() } {
                in_host(info);
            }
            user(info);
        }
        WORKER => {
            // SAFETY: null, or a static that `serve` was given.
            if let Some(in_worker) = unsafe { IN_WORKER.load(Acquire).as_ref() } {
                in_worker(info, user);
            }
        }
        _ => {}
    }
}

/// In a process that was forked just now: panics are nobody's business.
pub fn be_quiet() {
    ROLE.store(QUIET, Relaxed);
    INSTALLING.store(false, Relaxed); // whoever did is not here
}

/// In the host: what is noted of panics from here on.
pub fn note(in_host: &'static InHost) {
    install();
    IN_HOST.store(std::ptr::from_ref(in_host).cast_mut(), Release);
}

/// In a worker: what is done at a panic from here on.
pub fn serve(in_worker: &'static InWorker) {
    IN_WORKER.store(std::ptr::from_ref(in_worker).cast_mut(), Release);
    ROLE.store(WORKER, Relaxed);
}
