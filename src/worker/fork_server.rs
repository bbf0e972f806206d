//! The fork server: a small single-threaded process, forked first, that forks all workers.
//!
//! ```text
//! host ─ ─ fork ─ ▶ fork server ──fork──▶ worker 0, worker 1, ...      (`fork_server_start`)
//!   │  socket pair    │                     │
//!   └─ pidfds ◀───────┘ (SCM_RIGHTS)        └ killed with the fork server (PR_SET_PDEATHSIG)
//!                     └ watches a pidfd of the host; subreaper of all descendants
//! ```
//!
//! So a replacement is never forked from a process with threads, and however the host dies, the
//! fork server sees it and ends all workers. `PR_SET_PDEATHSIG` is not enough between host and
//! fork server: it fires when the *thread* that forked ends.

use std::cell::Cell;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};

use super::fork_server_start::{StartedServer, start_server};
use super::orphans::{end_all, reap_strays};
use super::processes::is_readable;
use super::start_progress::{StartProgress, StartStep};
use super::{output, panics};
use crate::abi::reach;
use crate::sys::descriptors::{self, Descriptor};
use crate::sys::process::{self, Received};
use crate::sys::{limits, stack};

/// Another number in every process that we forked: what was built in one process is not used in
/// another.
static LINEAGE: AtomicU32 = AtomicU32::new(0);

/// The number of this process in that sense.
#[inline]
pub(crate) fn lineage() -> u32 {
    LINEAGE.load(Relaxed)
}

/// How often the fork server looks for deaths where the system does not report them.
const LOOK: u8 = 5;

/// How often a fork server that does not answer is looked at: it may have been stopped.
const PATIENCE: u8 = 50;
/// After this long it is ended: the longest of what it may have to do takes half of it.
const ANSWER: Duration = Duration::from_secs(20);

/// How often it is looked at while nobody asks it anything.
const ATTEND: Duration = Duration::from_millis(900);
/// Longest wait for processes that were killed after the death of a fork server.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

const SPAWN: u8 = 1;
const REAP: u8 = 2;
const SHUTDOWN: u8 = 3;
/// Ends a process that could not be handed over.
const DROP: u8 = 4;

/// Bytes of a question (what, place, number of the question) and of an answer (number, code).
pub(super) const MESSAGE: usize = 8;

fn question(op: u8, place: u16, number: u32) -> [u8; MESSAGE] {
    let ([low, high], number) = (place.to_ne_bytes(), number.to_ne_bytes());
    [op, 0, low, high, number[0], number[1], number[2], number[3]]
}

pub(super) fn word(message: &[u8; MESSAGE], at: usize) -> u32 {
    u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}

pub(super) fn answer(number: u32, code: i32) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[..4].copy_from_slice(&number.to_ne_bytes());
    message[4..].copy_from_slice(&code.to_ne_bytes());
    message
}

/// What the processes of a fork server run: inherited by fork, so it holds whatever its processes
/// need.
pub(crate) trait ForkServerHandler: Send + Sync {
    /// Processes that may exist at the same time; each has a number below this.
    fn places(&self) -> usize;

    /// The descriptors that each process keeps, besides the standard streams; all others of the
    /// host are closed.
    fn keeps(&self) -> Vec<RawFd>;

    /// In the fork server, once, before anything is forked.
    fn settle(&self) {}

    /// The addresses that the accessors of views may follow in each process.
    fn reach(&self) -> Vec<Range<u64>> {
        Vec::new()
    }

    /// Whether each process has a line to the host.
    fn has_lines(&self) -> bool;

    /// The life of process `place`, in it. It says which step it is about to take.
    fn live(&self, place: u16, line: Option<&OwnedFd>, progress: &StartProgress) -> !;

    /// In the fork server, when a process has ended and been reaped: cleans up after it.
    fn on_child_exit(&self, living: &[Option<Pid>]);
}

/// The host's handle of a worker process.
pub(crate) struct ChildHandle {
    /// Becomes readable when the process has ended.
    pub(crate) death: Descriptor,
    /// Where the worker asks for memory that came after the fork; `None` when it has hung up.
    pub(crate) line: Option<Descriptor>,
    /// Its process number, good until it is reaped; 0: a thread of this process.
    pub(crate) pid: i32,
    /// When it was forked.
    pub(crate) born: Instant,
    /// Why it was killed while it started, if so.
    pub(crate) overdue: Option<String>,
    place: u16,
    progress: Arc<StartProgress>,
}

impl ChildHandle {
    /// How far its start has come.
    pub(crate) fn step(&self) -> StartStep {
        self.progress.of(self.place)
    }

    /// Lets it go on from its first step, now that the host holds it.
    pub(crate) fn begin(&self) {
        self.progress.take_over(self.place);
    }

    /// How it ended, with what is known besides its wait status.
    pub(crate) fn account(&self, how: String) -> String {
        match &self.overdue {
            Some(overdue) => overdue.clone(),
            None if self.step() == StartStep::Overflowed => {
                format!("its stack overflowed (the builder's `stack_size` makes it larger); {how}")
            }
            None if self.step() == StartStep::Dispossessed => {
                format!("its lease was taken from it, and nobody had decided that; {how}")
            }
            None => how,
        }
    }

    /// Of a thread of this process, which nothing can kill.
    #[cfg(feature = "flow")]
    pub(crate) fn of_thread(place: u16, death: Descriptor, progress: Arc<StartProgress>) -> Self {
        let born = Instant::now();
        Self { death, line: None, pid: 0, born, overdue: None, place, progress }
    }

    /// Kills it, if it is a process. Asks nobody, so it works whatever the fork server is doing.
    pub(crate) fn kill(&self) {
        if self.pid <= 0 {
            return; // a thread; and 0 would be the group of this process
        }
        // Where pidfds are refused: as long as its end has not been told, the number is its own.
        if !process::pidfd_kill(&self.death, libc::SIGKILL) && !is_readable(&self.death) {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// The host's end.
pub(crate) struct ForkServer {
    socket: Descriptor,
    pid: Pid,
    death: Descriptor,
    /// Whether processes have lines.
    lines: bool,
    progress: Arc<StartProgress>,
    /// Questions so far.
    asked: Cell<u32>,
    /// Told apart from a later process of its number by the time of its start.
    start: Option<u64>,
    /// When it was last looked at.
    attended: Cell<Instant>,
}

impl ForkServer {
    /// Forks the fork server. Bodies have stacks of `stack` bytes.
    pub(crate) fn start(
        handler: Arc<dyn ForkServerHandler>,
        stack: usize,
    ) -> std::io::Result<Self> {
        panics::prepare();
        let progress = Arc::new(StartProgress::new(handler.places())?);
        let StartedServer { pid, socket, death } = start_server(&handler, &progress, stack)?;
        Ok(Self {
            socket: socket.into(),
            pid,
            death: death.into(),
            lines: handler.has_lines(),
            progress,
            asked: Cell::new(0),
            start: process::start_time(pid),
            attended: Cell::new(Instant::now()),
        })
    }

    /// Its process number.
    #[cfg(feature = "flow")]
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Becomes readable when the fork server has ended.
    pub(crate) fn death(&self) -> &Descriptor {
        &self.death
    }

    /// Asks, and waits for the answer: not for ever. One that was stopped is told to go on; one
    /// that does not answer is ended, and all its processes with it.
    fn ask(&self, op: u8, place: u16) -> std::io::Result<(i32, Received)> {
        let gone = || std::io::Error::other("the fork server is gone");
        let number = self.asked.get().wrapping_add(1);
        self.asked.set(number);
        // Every question is answered before the next, so there is room for it.
        process::send_now(&self.socket, &question(op, place, number), &[]).map_err(|_| gone())?;
        let until = Instant::now() + ANSWER;
        loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.death.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, PollTimeout::from(PATIENCE));
            if fds[0].any() == Some(true) {
                let mut message = [0; MESSAGE];
                let received = process::receive(self.socket.as_fd(), &mut message)?;
                if received.bytes != MESSAGE {
                    return Err(gone());
                }
                if word(&message, 0) == number {
                    return Ok((word(&message, 4) as i32, received));
                }
                continue; // of a question that nobody waits for any more
            }
            if fds[1].any() == Some(true) {
                return Err(gone());
            }
            self.wake();
            if Instant::now() > until {
                tracing::error!("the fork server does not answer; it is ended");
                self.kill();
                return Err(std::io::Error::other("the fork server did not answer"));
            }
        }
    }

    /// To be called now and then: one that was stopped could end nobody if this process died.
    pub(crate) fn attend(&self) {
        if self.attended.get().elapsed() >= ATTEND {
            self.attended.set(Instant::now());
            self.wake();
        }
    }

    /// Lets a fork server go on that somebody has stopped.
    fn wake(&self) {
        if process::is_stopped(self.pid) {
            let _ = kill(self.pid, Signal::SIGCONT);
        }
    }

    fn kill(&self) {
        // Where pidfds are refused, or the program has closed ours.
        if !process::pidfd_kill(&self.death, libc::SIGKILL)
            && process::is_there(self.pid, self.start)
        {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }

    /// Forks worker `worker`, which waits for [`ChildHandle::begin`]. When not everything comes
    /// that the host needs of it, it is ended, and the place is free again.
    pub(crate) fn spawn(&self, worker: u16) -> std::io::Result<ChildHandle> {
        let (code, received) = self.ask(SPAWN, worker)?;
        let wanted = 1 + usize::from(self.lines);
        if code > 0 && received.fds.len() == wanted && !received.cut {
            let mut fds = received.fds.into_iter();
            let child = fds.next().map(|death| ChildHandle {
                death: death.into(),
                line: fds.next().map(Descriptor::from),
                pid: code,
                born: Instant::now(),
                overdue: None,
                place: worker,
                progress: Arc::clone(&self.progress),
            });
            return child.ok_or_else(|| std::io::Error::other("no descriptor came"));
        }
        drop(received);
        let (who, errno) = if code > 0 || code == -libc::EEXIST {
            self.ask(DROP, worker)?;
            (getpid(), libc::EMFILE) // ours are used up
        } else {
            (self.pid, -code)
        };
        Err(limits::explain(std::io::Error::from_raw_os_error(errno), who))
    }

    /// How the dead worker ended, as `waitpid` says it, and lets its number go.
    pub(crate) fn reap(&self, worker: u16) -> std::io::Result<i32> {
        self.ask(REAP, worker).map(|(status, _)| status)
    }

    /// After the death of a fork server, with which its workers have died. What these had started
    /// is adopted by nobody of ours: what is left in their process groups is ended here. Where
    /// orphans come to this process, they are waited for.
    pub(crate) fn reap_all(self, workers: &[i32]) {
        self.kill(); // one that only does not answer
        self.wait();
        for &group in workers {
            let _ = nix::sys::signal::killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let until = Instant::now() + REAP_TIMEOUT;
        // No such child: they go to another process.
        let is_left = |which: i32| {
            use nix::sys::wait::{WaitPidFlag, WaitStatus};
            loop {
                match waitpid(Pid::from_raw(which), Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => return true,
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return false,
                }
            }
        };
        // One that was just forked has no group of its own yet.
        let left = || workers.iter().filter(|&&pid| is_left(-pid) | is_left(pid)).count();
        while left() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// It has ended. It is not a child of ours, unless orphans come to this process, or it is a
    /// worker itself; and then somebody who waits for any child may have been faster.
    fn wait(&self) {
        let _ = waitpid(self.pid, None);
    }

    /// Ends the fork server and everybody below it.
    pub(crate) fn shutdown(self) {
        let _ = process::send_now(&self.socket, &question(SHUTDOWN, 0, 0), &[]);
        let until = Instant::now() + ANSWER;
        loop {
            let mut fds = [PollFd::new(self.death.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(PATIENCE)).is_ok_and(|ready| ready > 0) {
                break;
            }
            self.wake();
            if Instant::now() > until {
                self.kill();
            }
        }
        self.wait();
    }
}

/// The fork server's own descriptors, which no worker is to have.
pub(super) struct Own {
    pub(super) socket: OwnedFd,
    /// Becomes readable when the host has ended. `None`: its process number tells.
    pub(super) host: Option<OwnedFd>,
    pub(super) host_pid: Pid,
    pub(super) host_start: Option<u64>,
    pub(super) death_pipe: Option<OwnedFd>,
}

impl Own {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let all = [Some(&self.socket), self.host.as_ref(), self.death_pipe.as_ref()];
        all.into_iter().flatten().map(AsRawFd::as_raw_fd)
    }
}

/// The fork server's life.
pub(super) fn fork_server(
    handler: &dyn ForkServerHandler,
    own: &Own,
    progress: &StartProgress,
) -> ! {
    descriptors::settle_standard();
    descriptors::stay_above_host();
    descriptors::keep_only(&own.descriptors().chain(handler.keeps()).collect::<Vec<_>>());
    handler.settle();
    reach::keep_only(&handler.reach());
    output::forget_the_hosts();
    let socket = &own.socket;
    LINEAGE.store(getpid().as_raw() as u32, Relaxed);
    process::set_name("mailring-forker");
    process::adopt_orphans();
    process::reset_signals();
    process::leave_terminal();
    let mut pids = vec![None; handler.places()];
    // Without pidfds: the writing ends of the pipes whose end tells the host of a death.
    let mut death_pipes: Vec<Option<OwnedFd>> = pids.iter().map(|_| None).collect();
    let mut strays = false;
    // Ready: from here on the host can watch this process.
    let pidfd = own.host.as_ref().map(|_| process::pidfd_open(getpid())).transpose();
    let ready = match &pidfd {
        Ok(pidfd) => {
            let fds: Vec<_> = pidfd.iter().map(AsRawFd::as_raw_fd).collect();
            process::send(socket, &answer(0, getpid().as_raw()), &fds)
        }
        Err(_) => process::send(socket, &answer(0, -libc::EMFILE), &[]),
    };
    if ready.is_err() || pidfd.is_err() {
        process::exit_now(1);
    }
    drop(pidfd);
    loop {
        let mut fds = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        fds.extend(own.host.iter().map(|host| PollFd::new(host.as_fd(), PollFlags::POLLIN)));
        // Orphans of a dead worker are collected later: its replacement comes first.
        let timeout = match (&own.host, strays) {
            (None, _) => PollTimeout::from(LOOK),
            (Some(_), true) => PollTimeout::from(100u8),
            (Some(_), false) => PollTimeout::NONE,
        };
        let polled = poll(&mut fds, timeout);
        if own.host.is_none() {
            if !process::is_there(own.host_pid, own.host_start) {
                break; // the host is dead
            }
            let dead = |pid: &Option<Pid>| pid.is_some_and(process::has_ended);
            death_pipes
                .iter_mut()
                .zip(&pids)
                .filter(|(_, pid)| dead(pid))
                .for_each(|(t, _)| *t = None);
        }
        match polled {
            Err(Errno::EINTR) => continue,
            Err(_) => break,
            Ok(0) => {
                reap_strays(&pids);
                strays = false;
                continue;
            }
            Ok(_) => {}
        }
        if fds.get(1).is_some_and(|host| host.any() == Some(true)) {
            break; // the host is dead
        }
        let mut request = [0; MESSAGE];
        match process::receive(socket.as_fd(), &mut request) {
            Ok(received) if received.bytes == MESSAGE => {}
            _ => break,
        }
        let (place, number) = (u16::from_ne_bytes([request[2], request[3]]), word(&request, 4));
        let reply = |code: i32, fds: &[RawFd]| process::send(socket, &answer(number, code), fds);
        let Some(pid) = pids.get_mut(usize::from(place)) else {
            if reply(-libc::EINVAL, &[]).is_err() {
                break;
            }
            continue;
        };
        let sent = match request[0] {
            // Whoever is there may be at work.
            SPAWN if pid.is_some() => reply(-libc::EEXIST, &[]),
            SPAWN => match spawn(handler, place, progress) {
                Ok(Spawned { child, death, line, death_pipe }) => {
                    *pid = Some(child);
                    death_pipes[usize::from(place)] = death_pipe;
                    let fds = [Some(&death), line.as_ref()].into_iter().flatten();
                    let fds: Vec<_> = fds.map(AsRawFd::as_raw_fd).collect();
                    reply(child.as_raw(), &fds).or_else(|errno| {
                        death_pipes[usize::from(place)] = None;
                        let _ = pid.take().map(reap);
                        reply(-(errno as i32), &[])
                    })
                }
                Err(errno) => reply(-(errno as i32), &[]),
            },
            REAP => {
                let status = pid.take().map_or(0, reap);
                death_pipes[usize::from(place)] = None;
                handler.on_child_exit(&pids);
                strays = true;
                reply(status, &[])
            }
            DROP => {
                let _ = pid.take().map(reap);
                death_pipes[usize::from(place)] = None;
                reply(0, &[])
            }
            _ => break,
        };
        if sent.is_err() {
            break;
        }
    }
    end_all(&pids);
    process::exit_now(0)
}

/// A worker that was forked just now.
struct Spawned {
    child: Pid,
    death: OwnedFd,
    line: Option<OwnedFd>,
    death_pipe: Option<OwnedFd>,
}

/// What tells that a child has ended, made before the fork: nothing where there are pidfds. Or else
/// a pipe, and whoever keeps its writing end says so by closing it: the fork server for its workers
/// (a worker's tasks may fork, and their children would keep it open), and the fork server for
/// itself, by ending.
pub(super) struct DeathPipe(Option<(OwnedFd, OwnedFd)>);

impl DeathPipe {
    pub(super) fn new() -> std::io::Result<Self> {
        if process::has_pidfds() {
            return Ok(Self(None));
        }
        descriptors::pipe().map(|ends| Self(Some(ends)))
    }

    /// The end for who dies, and the one for who is to know.
    pub(super) fn split(self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        self.0.map(|(read, write)| (write, read)).unzip()
    }

    /// In the parent: the descriptor to watch, and the writing end.
    fn parent(self, child: Pid) -> std::io::Result<(OwnedFd, Option<OwnedFd>)> {
        match self.0 {
            Some((read, write)) => Ok((read, Some(write))),
            None => Ok((process::pidfd_open(child)?, None)),
        }
    }
}

fn spawn(
    handler: &dyn ForkServerHandler,
    worker: u16,
    progress: &StartProgress,
) -> Result<Spawned, Errno> {
    let fork_server = getpid();
    progress.reset(worker);
    let lines = handler.has_lines().then(descriptors::socket_pair).transpose();
    let (for_host, line) = lines.map_err(errno)?.unzip();
    let death_pipe = DeathPipe::new().map_err(errno)?;
    // SAFETY: this process has one thread.
    match unsafe { process::fork() }? {
        ForkResult::Child => {
            drop(for_host);
            drop(death_pipe);
            let line_fd = line.as_ref().map(AsRawFd::as_raw_fd);
            descriptors::keep_only(&handler.keeps().into_iter().chain(line_fd).collect::<Vec<_>>());
            reach::end_inheritance();
            contain(|| {
                process::die_with_parent_thread();
                if getppid() != fork_server {
                    return; // the fork server died before we asked to be told
                }
                progress.await_host(worker);
                progress.reach(worker, StartStep::Settling);
                // SAFETY: the words are unmapped by nobody in this process.
                unsafe { stack::watch(progress.word(worker), StartStep::Overflowed as u32) };
                LINEAGE.store(getpid().as_raw() as u32, Relaxed);
                process::set_name("mailring-worker");
                // A group of its own, so that what its tasks start can be ended with it.
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                handler.live(worker, line.as_ref(), progress)
            })
        }
        ForkResult::Parent { child } => {
            // Not reaped yet, so the number is still this child's.
            match death_pipe.parent(child) {
                Ok((death, death_pipe)) => Ok(Spawned { child, death, line: for_host, death_pipe }),
                Err(error) => {
                    let _ = kill(child, Signal::SIGKILL);
                    let _ = waitpid(child, None);
                    Err(errno(error))
                }
            }
        }
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Runs the life of a forked process. A panic of it must not unwind into what the fork copied:
/// frames, destructors and handlers of the host.
pub(super) fn contain(life: impl FnOnce()) -> ! {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
    process::exit_now(101)
}

/// Waits for a child that is known to be dead; ends what is left of its process group.
fn reap(pid: Pid) -> i32 {
    // Not reaped yet, so both numbers are still its own.
    let _ = kill(pid, Signal::SIGKILL);
    let _ = nix::sys::signal::killpg(pid, Signal::SIGKILL);
    let mut status = 0;
    // SAFETY: waits for one child of ours, the status is a live local.
    while unsafe { libc::waitpid(pid.as_raw(), &raw mut status, 0) } < 0
        && Errno::last() == Errno::EINTR
    {}
    status
}
