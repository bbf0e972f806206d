//! Starting the fork server.
//!
//! ```text
//! host: a thread for this alone ──fork──▶ child ──fork──▶ fork server ── "ready" ──▶ host
//!       (holds standard output)           └ ends at once
//! ```
//!
//! The thread has a stack of the size that bodies are to have, and none of the thread-locals of the
//! one that builds. The child in between ends at once, so that the fork server is not a child of
//! the host: who waits for any child never meets it. (Inside a worker it stays one: what is below a
//! worker must be found there.)
//!
//! Other threads of the host may hold locks at the moment of the fork, which nobody opens in the
//! child. The C library sees to its allocator and its streams; standard output is held by the
//! thread that forks. All others that a worker may need are tried by the fork server before it says
//! that it is ready. One that hangs there is killed, and another is forked: whoever holds a lock
//! for a moment does not hold it the next time. What the fork server could take, its workers can.
//! If the host dies meanwhile, a timer ends the one that hangs (`host_watch`).

use std::backtrace::Backtrace;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, getpid};

use super::handler::ForkServerHandler;
use super::host_watch::HostWatch;
use super::message::{MESSAGE, answer, word};
use super::progress::StartProgress;
use super::server::{DeathPipe, Own, contain, fork_server};
use crate::lineage::lineage;
use crate::stack::BareThread;
use crate::{descriptors, limits, machine, panic_hook, process};

/// How long locks are waited for, in all tries together.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a fork may take that waits for no lock, as far as can be seen: the machine is busy.
const BUSY: Duration = Duration::from_secs(30);
/// Longest pause before the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// A fork server that is ready.
pub(super) struct StartedServer {
    pub(super) pid: Pid,
    pub(super) socket: OwnedFd,
    /// Becomes readable when it has ended.
    pub(super) death: OwnedFd,
}

/// Forks one.
pub(super) fn start_server(
    handler: &Arc<dyn ForkServerHandler>,
    progress: &Arc<StartProgress>,
    stack: usize,
) -> io::Result<StartedServer> {
    warn_of_threads();
    let until = Instant::now() + LONGEST;
    let (mut tries, mut pause) = (0u32, Duration::from_millis(1));
    loop {
        tries += 1;
        let why = match try_once(handler, progress, stack, until)? {
            Tried::Started(born) => return Ok(born),
            Tried::Not(why) => why,
        };
        if Instant::now() + pause >= until {
            let text = format!(
                "no process that can serve could be forked in {LONGEST:?} ({tries} tries): {why}"
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
}

enum Tried {
    Started(StartedServer),
    /// It may work the next time.
    Not(String),
}

fn try_once(
    handler: &Arc<dyn ForkServerHandler>,
    progress: &Arc<StartProgress>,
    stack: usize,
    until: Instant,
) -> io::Result<Tried> {
    let own = getpid();
    let explain = |error: io::Error| limits::explain(error, own);
    progress.fork_server_begins();
    let (ours, theirs) = descriptors::socket_pair().map_err(explain)?;
    let host = process::has_pidfds().then(|| process::pidfd_open(own)).transpose();
    let death_pipe = DeathPipe::new().map_err(explain)?;
    let (their_end, death) = death_pipe.split();
    let order = Order {
        handler: Arc::clone(handler),
        progress: Arc::clone(progress),
        own: Own {
            socket: theirs,
            host: host.map_err(explain)?,
            host_pid: own,
            host_start: process::start_time(own),
            death_pipe: their_end,
        },
        request: Arc::default(),
    };
    let request = Arc::clone(&order.request);
    let thread = BareThread::start(stack, Box::new(move || fork(order))).map_err(explain)?;
    let Some(forked) = request.wait(until) else {
        thread.detach(); // it stands at a lock; it forks nothing any more
        let text = match request.stage.load(SeqCst) & !ABANDONED {
            HOOK => {
                "a panic hook has been running on another thread for that long, and a worker \
                 forked now could not panic; end it, or build earlier"
            }
            OUTPUT => {
                "standard output has been locked for that long, by another thread or by a \
                 `StdoutLock` of the one that builds, or nobody reads it, and a worker forked now \
                 could not print; drop the lock, or build earlier"
            }
            _ => "the fork itself has not returned",
        };
        let text = format!("no process was forked in {LONGEST:?}: {text}");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    thread.join();
    let child = forked.map_err(|errno| explain(errno.into()))?;
    match await_ready(&ours, progress) {
        Ready::Yes { pid, pidfd } => match pidfd.or(death) {
            Some(death) => Ok(Tried::Started(StartedServer { pid, socket: ours, death })),
            None => {
                drop(ours); // it sees that, and ends
                wait_below(child);
                Err(explain(Errno::EMFILE.into()))
            }
        },
        Ready::Refused(errno) => Err(explain(errno.into())),
        Ready::No(why) => {
            drop(ours);
            wait_below(child);
            Ok(Tried::Not(why))
        }
    }
}

/// Inside a worker the fork server is a child; elsewhere this was the one in between.
fn wait_below(child: Pid) {
    if lineage() != 0 {
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, None);
    }
}

// ---- the thread that forks ----------------------------------------------------------------------

const BEGUN: u32 = 0;
const HOOK: u32 = 1;
const OUTPUT: u32 = 2;
const FORKING: u32 = 3;
/// With any of these: nobody waits any more.
const ABANDONED: u32 = 1 << 31;

/// What the thread that forks and the one that builds have in common.
#[derive(Default)]
struct ForkRequest {
    stage: AtomicU32,
    forked: Mutex<Option<nix::Result<Pid>>>,
    done: Condvar,
}

impl ForkRequest {
    /// False when nobody waits any more.
    fn enter(&self, from: u32, to: u32) -> bool {
        self.stage.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    fn tell(&self, forked: nix::Result<Pid>) {
        *self.forked.lock().unwrap_or_else(PoisonError::into_inner) = Some(forked);
        self.done.notify_all();
    }

    fn wait(&self, until: Instant) -> Option<nix::Result<Pid>> {
        let mut forked = self.forked.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if forked.is_some() {
                return forked.take();
            }
            let forks = self.stage.load(SeqCst) == FORKING;
            let until = if forks { until + BUSY } else { until };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.stage.fetch_or(ABANDONED, SeqCst);
                return None;
            }
            let waited = self.done.wait_timeout(forked, left);
            forked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct Order {
    handler: Arc<dyn ForkServerHandler>,
    progress: Arc<StartProgress>,
    own: Own,
    request: Arc<ForkRequest>,
}

fn fork(order: Order) {
    process::set_name("mailring-fork");
    // Handlers of the host are not for the child.
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None);
    if !order.request.enter(BEGUN, HOOK) {
        return;
    }
    panic_hook::install();
    if !order.request.enter(HOOK, OUTPUT) {
        return;
    }
    // Held while we fork, so that the child has it. What is printed and not yet written would be
    // written by every process.
    let mut output = io::stdout().lock();
    let _ = output.flush();
    if !order.request.enter(OUTPUT, FORKING) {
        return;
    }
    let is_worker = lineage() != 0;
    // SAFETY: the child only calls what is safe after a fork of a process with threads: system
    // calls, the allocator, which the C library makes usable, and what is tried first.
    let forked = unsafe { process::fork() };
    match forked {
        Ok(ForkResult::Child) => {
            if !is_worker {
                // SAFETY: as above; this process has one thread.
                match unsafe { process::fork() } {
                    Ok(ForkResult::Child) => {}
                    Ok(ForkResult::Parent { .. }) => process::exit_now(0),
                    Err(errno) => {
                        let _ = process::send(&order.own.socket, &answer(0, -(errno as i32)), &[]);
                        process::exit_now(1);
                    }
                }
            }
            let watch = HostWatch::start(order.own.host_pid, order.own.host.as_ref());
            order.progress.fork_server_is(getpid());
            panic_hook::be_quiet();
            drop(output);
            contain(|| {
                try_locks(&order.progress);
                drop(watch); // the fork server looks itself
                fork_server(&*order.handler, &order.own, &order.progress)
            })
        }
        Ok(ForkResult::Parent { child }) => {
            drop(output);
            if !is_worker {
                let _ = waitpid(child, None); // somebody who waits for any child may be faster
            }
            order.request.tell(Ok(child));
        }
        Err(errno) => order.request.tell(Err(errno)),
    }
}

// ---- what a child must be able to take ----------------------------------------------------------

/// What is tried, and what it is called.
const LOCKS: [(&str, fn()); 8] = [
    ("the allocator", || drop(std::hint::black_box(Vec::<u8>::with_capacity(100_000)))),
    ("the dynamic loader", try_loader),
    ("the panic hook", try_panic),
    ("backtraces", || drop(std::hint::black_box(Backtrace::force_capture()))),
    ("standard output", || drop(io::stdout().lock())),
    ("standard error", || drop(io::stderr().lock())),
    ("the environment", try_environment),
    ("the time zone", try_time_zone),
];

fn try_locks(progress: &StartProgress) {
    for (number, (_, lock)) in (1..).zip(LOCKS) {
        progress.fork_server_tries(number);
        lock();
    }
    progress.fork_server_tries(0);
}

/// A panic needs the lock of the hook, and unwinding may need the loader's.
fn try_panic() {
    struct Nothing;
    if cfg!(panic = "unwind") {
        let _ = std::panic::catch_unwind(|| std::panic::panic_any(Nothing));
    }
}

fn try_environment() {
    // For writing, since bodies may. The variable does not exist.
    // SAFETY: this process has one thread.
    unsafe { std::env::remove_var("MAILRING_NO_SUCH_VARIABLE") };
}

fn try_loader() {
    extern "C" fn first(_: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> i32 {
        1
    }
    // SAFETY: opens the program itself, which is loaded; the callback reads nothing.
    unsafe {
        let own = libc::dlopen(std::ptr::null(), libc::RTLD_LAZY);
        if !own.is_null() {
            libc::dlclose(own);
        }
        libc::dl_iterate_phdr(Some(first), std::ptr::null_mut());
    }
}

fn try_time_zone() {
    // SAFETY: all zeros are what the call replaces; both are live locals.
    unsafe {
        let (time, mut parts) = (0, std::mem::zeroed());
        libc::localtime_r(&raw const time, &raw mut parts);
    }
}

// ---- the host waits -----------------------------------------------------------------------------

enum Ready {
    Yes {
        pid: Pid,
        pidfd: Option<OwnedFd>,
    },
    /// The second fork was refused.
    Refused(Errno),
    No(String),
}

fn await_ready(socket: &OwnedFd, progress: &StartProgress) -> Ready {
    let until = Instant::now() + BUSY;
    // The lock at which it sleeps, and how often that was seen.
    let mut asleep = (0, 0);
    for round in 1u32.. {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let nap = PollTimeout::from(round.min(20) as u8);
        if poll(&mut fds, nap).is_ok_and(|ready| ready > 0) {
            return receive(socket, progress);
        }
        let step = progress.fork_server_tried();
        let pid = progress.fork_server_pid();
        let named = || LOCKS.get((step as usize).wrapping_sub(1)).map(|lock| lock.0);
        let over = Instant::now() > until;
        match pid.map(process::state) {
            Some(None) => {
                // It may have been ready and ended since.
                return if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
                    receive(socket, progress)
                } else {
                    Ready::No("it ended before it was ready".to_owned())
                };
            }
            Some(Some('T')) => _ = pid.map(|pid| kill(pid, Signal::SIGCONT)),
            // It has one thread, and nothing there sleeps but who waits for a lock.
            Some(Some('S')) if named().is_some() && asleep == (step, 2) => {}
            Some(Some('S')) if !over => {
                asleep = (step, if asleep.0 == step { asleep.1 + 1 } else { 1 });
                continue;
            }
            _ if !over => {
                asleep = (0, 0);
                continue;
            }
            _ => {}
        }
        if let Some(pid) = pid {
            let _ = kill(pid, Signal::SIGKILL); // alive a moment ago, and it stays where it is
        }
        return Ready::No(match named() {
            Some(lock) => format!(
                "each hung at the lock of {lock}, which another thread of this program held at the \
                 fork; let that thread end, or build earlier"
            ),
            None => "it did not get ready".to_owned(),
        });
    }
    Ready::No(String::new())
}

fn receive(socket: &OwnedFd, progress: &StartProgress) -> Ready {
    let mut message = [0; MESSAGE];
    match process::receive(socket.as_fd(), &mut message) {
        Ok(mut received) if received.bytes == MESSAGE => match word(&message, 4) as i32 {
            _ if received.cut => Ready::Refused(Errno::EMFILE),
            pid if pid > 0 => Ready::Yes { pid: Pid::from_raw(pid), pidfd: received.fds.pop() },
            errno => Ready::Refused(Errno::from_raw(-errno)),
        },
        _ => Ready::No(match LOCKS.get((progress.fork_server_tried() as usize).wrapping_sub(1)) {
            Some((lock, _)) => format!("it died while it tried {lock}"),
            None => "it died before it was ready".to_owned(),
        }),
    }
}

// ---- other threads ------------------------------------------------------------------------------

/// Says once that threads which are there now will not be in workers.
fn warn_of_threads() {
    static SAID: AtomicBool = AtomicBool::new(false);
    if lineage() != 0 || std::env::var_os("MAILRING_QUIET").is_some() {
        return;
    }
    let mut others = machine::other_threads();
    others.retain(|name| !name.starts_with("mailring-"));
    if others.is_empty() || SAID.swap(true, Relaxed) {
        return;
    }
    let count = others.len();
    let mut names = others;
    names.sort();
    names.dedup();
    let more = if names.len() > 5 { ", ..." } else { "" };
    names.truncate(5);
    let names = names.join(", ");
    let (s, are) = if count == 1 { ("", "does") } else { ("s", "do") };
    tracing::warn!(count, names, "workers are forked beside other threads");
    eprintln!(
        "mailring: workers are forked beside {count} other thread{s} ({names}{more}), which {are} not \
         exist there: a body that waits for one of them (a thread pool made before, say) waits for \
         ever. Build earlier, or make such things in the body. (MAILRING_QUIET=1 leaves this out.)"
    );
}
