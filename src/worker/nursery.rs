//! The nursery: a small single-threaded process, forked first, that forks all workers.
//!
//! ```text
//! host ──fork──▶ nursery ──fork──▶ worker 0, worker 1, ...
//!   │  socket pair    │                 │
//!   └─ pidfds ◀───────┘ (SCM_RIGHTS)    └ killed with the nursery (PR_SET_PDEATHSIG)
//!                     └ watches a pidfd of the host; subreaper of all descendants
//! ```
//!
//! So a replacement is never forked from a process with threads, and however the host dies, the
//! nursery sees it and takes everybody with it. `PR_SET_PDEATHSIG` would not do between host and
//! nursery: it fires when the *thread* that forked ends.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};

use super::orphans::{bury_strays, end_all};

use crate::sys::descriptors::{self, Descriptor};
use crate::sys::process;

/// Another number in every process that we forked: what was built in one process is not used in
/// another.
static LINEAGE: AtomicU32 = AtomicU32::new(0);

/// The number of this process in that sense.
#[inline]
pub(crate) fn lineage() -> u32 {
    LINEAGE.load(Relaxed)
}

/// How often the nursery looks for deaths where the system does not report them.
const LOOK: u8 = 5;

const SPAWN: u8 = 1;
const REAP: u8 = 2;
const SHUTDOWN: u8 = 3;
const KILL: u8 = 4;

/// What a nursery raises: inherited by fork, so it holds whatever its processes need.
pub(crate) trait Brood {
    /// Processes that may exist at the same time; each has a number below this.
    fn places(&self) -> usize;

    /// The descriptors that each process keeps, besides the standard streams; all others of the
    /// host are closed.
    fn keeps(&self) -> Vec<RawFd>;

    /// In the nursery, once, before anything is forked.
    fn settle(&self) {}

    /// Whether each process has a line to the host.
    fn has_lines(&self) -> bool;

    /// The life of process `place`, in it.
    fn live(&self, place: u16, line: Option<&OwnedFd>) -> !;

    /// In the nursery, when a process has ended and been waited for: what is left of it.
    fn bereaved(&self, living: &[Option<Pid>]);
}

/// What the host holds of a worker process.
pub(crate) struct Reins {
    /// Becomes readable when the process has ended.
    pub(crate) death: Descriptor,
    /// Where the worker asks for memory that came after the fork; `None` when it has hung up.
    pub(crate) line: Option<Descriptor>,
    /// Its process number, good until it is reaped.
    #[cfg(feature = "flow")]
    pub(crate) pid: i32,
}

/// The host's end.
pub(crate) struct Nursery {
    socket: Descriptor,
    pid: Pid,
    death: Descriptor,
}

impl Nursery {
    /// Forks the nursery. No thread of ours runs yet; if the host has others, only steps that
    /// take no lock of ours happen in the child before it is ready.
    pub(crate) fn start(brood: &dyn Brood) -> std::io::Result<Self> {
        let (ours, theirs) = descriptors::socket_pair()?;
        let host = if process::has_pidfds() { Some(process::pidfd_open(getpid())?) } else { None };
        let tether = Tether::new()?;
        let host_pid = getpid();
        // SAFETY: the child runs `nursery`, which only calls what is safe after a fork of a
        // process with threads: system calls, and the allocator, which the C library makes usable.
        match unsafe { process::fork() }? {
            ForkResult::Child => {
                drop(ours);
                let own = Own { socket: theirs, host, host_pid, tether: tether.child() };
                contain(|| nursery(brood, &own))
            }
            ForkResult::Parent { child } => {
                let death = tether.parent(child)?.0;
                Ok(Self { socket: ours.into(), pid: child, death: death.into() })
            }
        }
    }

    /// Becomes readable when the nursery has ended.
    pub(crate) fn death(&self) -> &Descriptor {
        &self.death
    }

    fn ask(&self, op: u8, worker: u16) -> std::io::Result<(i32, Vec<OwnedFd>)> {
        let mut request = [op, 0, 0];
        request[1..].copy_from_slice(&worker.to_ne_bytes());
        process::send(&self.socket, &request, &[])?;
        let mut reply = [0; 4];
        let (got, fds) = process::receive(self.socket.as_fd(), &mut reply)?;
        if got != reply.len() {
            return Err(std::io::Error::other("the nursery is gone"));
        }
        Ok((i32::from_ne_bytes(reply), fds))
    }

    /// Forks worker `worker`.
    pub(crate) fn spawn(&self, worker: u16) -> std::io::Result<Reins> {
        let (code, mut fds) = self.ask(SPAWN, worker)?;
        if fds.is_empty() {
            return Err(std::io::Error::from_raw_os_error(-code));
        }
        let death = fds.remove(0).into();
        Ok(Reins {
            death,
            line: fds.pop().map(Descriptor::from),
            #[cfg(feature = "flow")]
            pid: code,
        })
    }

    /// How the dead worker ended, as `waitpid` says it, and lets its number go.
    pub(crate) fn reap(&self, worker: u16) -> std::io::Result<i32> {
        self.ask(REAP, worker).map(|(status, _)| status)
    }

    /// Kills worker `worker`, where the host has no means of its own.
    pub(crate) fn kill(&self, worker: u16) {
        let _ = self.ask(KILL, worker);
    }

    /// Lets the number of a nursery that has died go.
    pub(crate) fn bury(self) {
        let _ = waitpid(self.pid, None);
    }

    /// Ends the nursery and everybody below it.
    pub(crate) fn shutdown(self) {
        let _ = process::send(&self.socket, &[SHUTDOWN, 0, 0], &[]);
        let _ = waitpid(self.pid, None);
    }
}

/// The nursery's own descriptors, which no worker is to have.
struct Own {
    socket: OwnedFd,
    /// Becomes readable when the host has ended. `None`: its process number tells.
    host: Option<OwnedFd>,
    host_pid: Pid,
    tether: Option<OwnedFd>,
}

impl Own {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let all = [Some(&self.socket), self.host.as_ref(), self.tether.as_ref()];
        all.into_iter().flatten().map(AsRawFd::as_raw_fd)
    }
}

/// The nursery's life.
fn nursery(brood: &dyn Brood, own: &Own) -> ! {
    descriptors::settle_standard();
    descriptors::stay_above_host();
    descriptors::keep_only(&own.descriptors().chain(brood.keeps()).collect::<Vec<_>>());
    brood.settle();
    let socket = &own.socket;
    LINEAGE.store(getpid().as_raw() as u32, Relaxed);
    process::set_name("mailring-nurse");
    process::adopt_orphans();
    process::reset_signals();
    process::leave_terminal();
    let mut pids = vec![None; brood.places()];
    // Without pidfds: the writing ends of the pipes whose end tells the host of a death.
    let mut tethers: Vec<Option<OwnedFd>> = pids.iter().map(|_| None).collect();
    let mut strays = false;
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
            if getppid() != own.host_pid {
                break; // the host is dead
            }
            let dead = |pid: &Option<Pid>| pid.is_some_and(process::has_ended);
            tethers.iter_mut().zip(&pids).filter(|(_, pid)| dead(pid)).for_each(|(t, _)| *t = None);
        }
        match polled {
            Err(Errno::EINTR) => continue,
            Err(_) => break,
            Ok(0) => {
                bury_strays(&pids);
                strays = false;
                continue;
            }
            Ok(_) => {}
        }
        if fds.get(1).is_some_and(|host| host.any() == Some(true)) {
            break; // the host is dead
        }
        let mut request = [0; 3];
        let Ok((3, _)) = process::receive(socket.as_fd(), &mut request) else { break };
        let worker = u16::from_ne_bytes([request[1], request[2]]);
        let Some(pid) = pids.get_mut(usize::from(worker)) else { continue };
        let sent = match request[0] {
            SPAWN => match spawn(brood, worker) {
                Ok(Hatched { child, death, line, tether }) => {
                    *pid = Some(child);
                    tethers[usize::from(worker)] = tether;
                    let fds = [Some(&death), line.as_ref()].into_iter().flatten();
                    let fds: Vec<_> = fds.map(AsRawFd::as_raw_fd).collect();
                    process::send(socket, &child.as_raw().to_ne_bytes(), &fds)
                }
                Err(error) => process::send(socket, &(-(error as i32)).to_ne_bytes(), &[]),
            },
            REAP => {
                let status = pid.take().map_or(0, reap);
                brood.bereaved(&pids);
                strays = true;
                process::send(socket, &status.to_ne_bytes(), &[])
            }
            KILL => {
                if let Some(pid) = *pid {
                    let _ = kill(pid, Signal::SIGKILL);
                }
                process::send(socket, &0i32.to_ne_bytes(), &[])
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
struct Hatched {
    child: Pid,
    death: OwnedFd,
    line: Option<OwnedFd>,
    tether: Option<OwnedFd>,
}

/// What tells that a child has ended, made before the fork: nothing where there are pidfds. Or
/// else a pipe, and whoever keeps its writing end says so by closing it: the nursery for its
/// workers (a worker's tasks may fork, and their children would keep it open), and the nursery for
/// itself, by ending.
struct Tether(Option<(OwnedFd, OwnedFd)>);

impl Tether {
    fn new() -> std::io::Result<Self> {
        if process::has_pidfds() {
            return Ok(Self(None));
        }
        descriptors::pipe().map(|ends| Self(Some(ends)))
    }

    /// In the child, if that is to keep the writing end.
    fn child(self) -> Option<OwnedFd> {
        self.0.map(|(_, write)| write)
    }

    /// In the parent: the descriptor to watch, and the writing end.
    fn parent(self, child: Pid) -> std::io::Result<(OwnedFd, Option<OwnedFd>)> {
        match self.0 {
            Some((read, write)) => Ok((read, Some(write))),
            None => Ok((process::pidfd_open(child)?, None)),
        }
    }
}

fn spawn(brood: &dyn Brood, worker: u16) -> Result<Hatched, Errno> {
    let nursery = getpid();
    let lines = brood.has_lines().then(descriptors::socket_pair).transpose();
    let (for_host, line) = lines.map_err(errno)?.unzip();
    let tether = Tether::new().map_err(errno)?;
    // SAFETY: this process has one thread.
    match unsafe { process::fork() }? {
        ForkResult::Child => {
            drop(for_host);
            drop(tether);
            let line_fd = line.as_ref().map(AsRawFd::as_raw_fd);
            descriptors::keep_only(&brood.keeps().into_iter().chain(line_fd).collect::<Vec<_>>());
            contain(|| {
                process::die_with_parent_thread();
                if getppid() != nursery {
                    return; // the nursery died before we asked to be told
                }
                LINEAGE.store(getpid().as_raw() as u32, Relaxed);
                process::set_name("mailring-worker");
                // A group of its own, so that what its tasks start can be ended with it.
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                brood.live(worker, line.as_ref())
            })
        }
        ForkResult::Parent { child } => {
            // Not reaped yet, so the number is still this child's.
            match tether.parent(child) {
                Ok((death, tether)) => Ok(Hatched { child, death, line: for_host, tether }),
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
fn contain(life: impl FnOnce()) -> ! {
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

/// How a process ended, from its wait status.
pub(crate) fn describe_status(status: i32) -> String {
    if libc::WIFEXITED(status) {
        return match libc::WEXITSTATUS(status) {
            97 => "its factory failed (exit code 97)".to_owned(),
            98 => "it could not protect its view of the arena (exit code 98)".to_owned(),
            code => format!("its process exited with code {code}"),
        };
    }
    if libc::WIFSIGNALED(status) {
        let number = libc::WTERMSIG(status);
        let name = Signal::try_from(number).map_or("an unknown signal", Signal::as_str);
        let hint = if number == libc::SIGKILL {
            "; if nobody sent it, the machine may have run out of memory"
        } else {
            ""
        };
        return format!("its process was killed by {name} (signal {number}{hint})");
    }
    format!("its process ended with wait status {status:#x}")
}
