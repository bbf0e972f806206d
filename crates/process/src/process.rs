//! Processes: fork, pidfd, death signals, descriptors passed between relatives.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::descriptors::above_standard;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{ForkResult, Pid};

/// Forks. In the child only async-signal-safe steps may follow until it is ready: the caller may
/// have other threads, whose locks stay locked in the child for ever.
///
/// # Safety
/// The caller's code in the child keeps that rule.
pub unsafe fn fork() -> nix::Result<ForkResult> {
    // SAFETY: passed on to the caller.
    unsafe { nix::unistd::fork() }
}

/// A descriptor that becomes readable when process `pid` has ended with all its threads.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed; the result is a new descriptor of ours or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    above_standard(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether the system has such descriptors. Some old ones, and some tools that stand between a
/// program and the system, do not.
pub fn has_pidfds() -> bool {
    let missing = [Some(libc::ENOSYS), Some(libc::EPERM)];
    !pidfd_open(nix::unistd::getpid()).is_err_and(|error| missing.contains(&error.raw_os_error()))
}

/// Sends `signal` to exactly the process behind the descriptor. False when that is not a pidfd, or
/// the system has no such call.
pub fn pidfd_kill(pidfd: impl AsFd, signal: i32) -> bool {
    // SAFETY: no pointer but a null one is passed.
    let code = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    code == 0 || nix::errno::Errno::last() == nix::errno::Errno::ESRCH // gone is good enough
}

/// The signal that interrupts a system call in which a body waits. Ignored by default, so it does
/// nothing to a process that has become another program meanwhile.
const INTERRUPT: i32 = libc::SIGURG;

/// Interrupts what the main thread of a process waits for.
pub fn interrupt(pid: i32) {
    if pid > 0 {
        // SAFETY: passes no pointers.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, INTERRUPT) };
    }
}

/// From here on such a signal interrupts this process.
pub fn can_be_interrupted() {
    use nix::sys::signal::{SaFlags, SigAction, sigaction};
    extern "C" fn nothing(_: i32) {}
    // Without SA_RESTART: the call returns.
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    let _ = unsafe { sigaction(Signal::SIGURG, &action) };
}

/// Whether a child of this process has ended, with all its threads. It stays a zombie.
pub fn has_ended(child: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(child), flags), Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR))
}

/// This process is killed when the thread that forked it ends.
pub fn die_with_parent_thread() {
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

/// Orphans among the descendants become children of this process.
pub fn adopt_orphans() {
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// A session of its own, which has no terminal: no process in it is stopped by reading from one or
/// by writing to one, and none can open one by the name of `/dev/tty`.
pub fn leave_terminal() {
    // Refused to one that leads its group already: then it has been done.
    let _ = nix::unistd::setsid();
}

/// Names the process, for `ps` (15 bytes are kept).
pub fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Default handlers and an empty mask: what the host had installed is not for its children.
/// Handlers of faults stay, since the runtime's own one tells a stack overflow. Signals of the
/// terminal that the host was started to ignore (`nohup`, `&` in a script) stay ignored, and those
/// that stop who reads from a terminal do nothing here; programs that a body starts have the
/// default of these.
pub fn reset_signals() {
    use Signal::{
        SIGBUS, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGSEGV, SIGSTOP, SIGTTIN, SIGTTOU,
    };
    extern "C" fn nothing(_: i32) {}
    for signal in Signal::iterator() {
        let handler = match signal {
            SIGKILL | SIGSTOP | SIGSEGV | SIGBUS | SIGPIPE => continue,
            SIGHUP | SIGINT | SIGQUIT if is_ignored(signal) => continue,
            SIGTTIN | SIGTTOU => SigHandler::Handler(nothing),
            _ => SigHandler::SigDfl,
        };
        // SAFETY: the default action is not a handler of ours, and the other one does nothing.
        let _ = unsafe { nix::sys::signal::signal(signal, handler) };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all zeros are a value of it, which the system replaces.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; writes one live local.
    let code = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut now) };
    code == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Ends this process at once: no destructors, no buffers written, no exit handlers of the host.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// Sends a datagram, with descriptors if there are any.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[RawFd]) -> nix::Result<()> {
    send_flagged(socket, bytes, fds, MsgFlags::empty())
}

/// The same, but `EAGAIN` instead of waiting for a reader.
pub fn send_now(socket: impl AsFd, bytes: &[u8], fds: &[RawFd]) -> nix::Result<()> {
    send_flagged(socket, bytes, fds, MsgFlags::MSG_DONTWAIT)
}

fn send_flagged(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[RawFd],
    flags: MsgFlags,
) -> nix::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let parts = [io::IoSlice::new(bytes)];
    let (socket, flags) = (socket.as_fd().as_raw_fd(), flags | MsgFlags::MSG_NOSIGNAL);
    loop {
        match sendmsg::<()>(socket, &parts, control, flags, None) {
            Err(nix::Error::EINTR) => {}
            done => return done.map(drop),
        }
    }
}

/// Receives a datagram from somebody we do not trust: never waits, and descriptors that come with
/// it are not taken.
pub fn receive_now(socket: impl AsFd, bytes: &mut [u8]) -> nix::Result<usize> {
    let socket = socket.as_fd().as_raw_fd();
    loop {
        match nix::sys::socket::recv(socket, bytes, MsgFlags::MSG_DONTWAIT) {
            Err(nix::Error::EINTR) => {}
            done => return done,
        }
    }
}

/// What came with one datagram.
pub struct Received {
    /// Bytes; 0: the other side is gone.
    pub bytes: usize,
    /// Descriptors, two at most.
    pub fds: Vec<OwnedFd>,
    /// There were more, for which this process had no room.
    pub cut: bool,
}

/// Receives a datagram and the descriptors that came with it. What came of a message that was cut
/// is there too, to be closed by whoever gets it.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> nix::Result<Received> {
    const ROOM: usize = 64; // two descriptors take 24
    // Aligned as the headers in it are to be.
    let mut space = [0u64; ROOM / 8];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros are a value of it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    message.msg_controllen = ROOM as _;
    let got = loop {
        // SAFETY: the message names two live locals and the caller's bytes, with their lengths.
        let got =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match nix::errno::Errno::result(got) {
            Err(nix::Error::EINTR) => {}
            done => break done?,
        }
    };
    let mut fds = Vec::new();
    // SAFETY: walks the headers that the system has just written, inside of the length that it has
    // set; a header of descriptors is followed by as many as its length says.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let len = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let first = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..len / size_of::<RawFd>() {
                    // Installed for us just now.
                    fds.push(OwnedFd::from_raw_fd(first.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    let came = fds.len();
    let mut cut = message.msg_flags & libc::MSG_CTRUNC != 0;
    // One that finds no place above the standard streams counts as one that did not come.
    let moved: Vec<_> = fds.into_iter().map_while(|fd| above_standard(fd).ok()).collect();
    cut |= moved.len() < came;
    Ok(Received { bytes: got as usize, fds: moved, cut })
}

/// The state letter of a process; `None` when it has ended, and `?` where nobody tells.
pub fn state(pid: Pid) -> Option<char> {
    if !has_proc() {
        return nix::sys::signal::kill(pid, None).is_ok().then_some('?');
    }
    stat(pid)?.first()?.chars().next()
}

/// Whether `/proc` is there, and shows the processes by the numbers that they have here: in a new
/// namespace it may still be that of the one outside.
fn has_proc() -> bool {
    let own = std::fs::read_link("/proc/self").ok();
    own.and_then(|own| own.to_str()?.parse::<u32>().ok()) == Some(std::process::id())
}

/// Whether a process of ours was stopped by a signal.
pub fn is_stopped(pid: Pid) -> bool {
    state(pid) == Some('T')
}

/// When a process was started, as the system counts; `None` when it has ended, or nobody tells.
pub fn start_time(pid: Pid) -> Option<u64> {
    if !has_proc() {
        return None;
    }
    // The 22nd field; the first one behind the name is the third.
    stat(pid)?.get(19)?.parse().ok()
}

/// Whether the process that had this number and start time lives.
pub fn is_there(pid: Pid, start: Option<u64>) -> bool {
    match start {
        Some(_) => start_time(pid) == start,
        None => nix::sys::signal::kill(pid, None).is_ok(), // no /proc
    }
}

/// The fields of `/proc/PID/stat` behind the name, unless the process has ended.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<_> = line.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect();
    // Of a living process the first thread may have ended.
    let threads = fields.get(17)?.parse::<u64>().ok()?;
    let ended = matches!(fields.first()?.as_str(), "Z" | "X") && threads <= 1;
    (!ended).then_some(fields)
}

/// The children of this process, which has one thread, by their numbers.
pub fn children() -> Vec<i32> {
    let own = std::process::id();
    match std::fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        Err(_) => children_by_parent(own), // a kernel without that file
    }
}

fn children_by_parent(parent: u32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&candidate| {
        let stat = std::fs::read_to_string(format!("/proc/{candidate}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything, so the fields are counted behind it.
        let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        behind.split_whitespace().nth(1).and_then(|p| p.parse().ok()) == Some(parent)
    })
    .collect()
}

/// How a process ended, from its wait status.
pub fn describe_status(status: i32) -> String {
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
        } else if number == libc::SIGABRT {
            "; it aborted, as one does when the stack of a thread overflows"
        } else {
            ""
        };
        return format!("its process was killed by {name} (signal {number}{hint})");
    }
    format!("its process ended with wait status {status:#x}")
}
