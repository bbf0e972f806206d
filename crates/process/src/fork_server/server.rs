//! The life of the fork server, in its own process.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};

use super::handler::ForkServerHandler;
use super::message::{DROP, MESSAGE, REAP, SPAWN, answer, word};
use super::progress::{StartProgress, StartStep};
use crate::reaping::{end_all, reap_strays};
use crate::{descriptors, lineage, output, process, reach, stack};

/// How often the fork server looks for deaths where the system does not report them.
const LOOK: u8 = 5;

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
    lineage::enter(getpid().as_raw() as u32);
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
                lineage::enter(getpid().as_raw() as u32);
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
