//! The host's end of a fork server.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};

use super::child::ChildHandle;
use super::handler::ForkServerHandler;
use super::message::{DROP, MESSAGE, REAP, SHUTDOWN, SPAWN, question, word};
use super::progress::StartProgress;
use super::start::{StartedServer, start_server};
use crate::descriptors::Descriptor;
use crate::process::{self, Received};
use crate::{limits, panics};

/// How often a fork server that does not answer is looked at: it may have been stopped.
const PATIENCE: u8 = 50;
/// After this long it is ended: the longest of what it may have to do takes half of it.
const ANSWER: Duration = Duration::from_secs(20);

/// How often it is looked at while nobody asks it anything.
const ATTEND: Duration = Duration::from_millis(900);
/// Longest wait for processes that were killed after the death of a fork server.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// The host's end.
pub struct ForkServer {
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
    pub fn start(handler: Arc<dyn ForkServerHandler>, stack: usize) -> std::io::Result<Self> {
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
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Becomes readable when the fork server has ended.
    pub fn death(&self) -> &Descriptor {
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
    pub fn attend(&self) {
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
    pub fn spawn(&self, worker: u16) -> std::io::Result<ChildHandle> {
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
    pub fn reap(&self, worker: u16) -> std::io::Result<i32> {
        self.ask(REAP, worker).map(|(status, _)| status)
    }

    /// After the death of a fork server, with which its workers have died. What these had started
    /// is adopted by nobody of ours: what is left in their process groups is ended here. Where
    /// orphans come to this process, they are waited for.
    pub fn reap_all(self, workers: &[i32]) {
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
    pub fn shutdown(self) {
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
