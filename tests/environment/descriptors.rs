//! Descriptors: ours keep away from 0 to 2, and workers hold what they were given.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mailring::abi::{CallConfig, TaskArgs};
use mailring::flow::{self, Cause, node};
use mailring::{BuildError, Executor, Mode};

use crate::kit::{ask, storing};
use testkit::flow::{builder, cause, flow};
use testkit::harness::again;
use testkit::{BOTH, small};

/// What a descriptor is, as far as /proc tells.
fn target(fd: RawFd) -> String {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    path.map_or_else(|_| "closed".to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The descriptors that this process has, but the one by which they are listed.
fn open() -> Vec<(RawFd, String)> {
    let names = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let fds = names.filter_map(|name| name.file_name().to_str()?.parse().ok());
    let all: Vec<_> = fds.map(|fd| (fd, target(fd))).collect();
    all.into_iter().filter(|(_, target)| !target.ends_with("/fd") && target != "closed").collect()
}

#[node]
fn targets() -> Vec<(RawFd, String)> {
    open()
}

/// A number that says whether a descriptor is open in the worker.
fn is_open(fd: RawFd) -> u64 {
    // SAFETY: passes no pointers.
    u64::from(unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0)
}

fn close(fds: impl IntoIterator<Item = RawFd>) {
    for fd in fds {
        // SAFETY: passes no pointers.
        unsafe { libc::close(fd) };
    }
}

pub(crate) fn ours_leave_the_standard_streams_alone() {
    // Its own streams are closed there, so it says by its exit code what it found.
    let status = again("role::without_standard_streams").status().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// Exits with another code for each thing that is wrong.
pub(crate) fn without_standard_streams() {
    close(0..3);
    std::panic::set_hook(Box::new(|_| std::process::exit(99)));
    let free = |code: i32| {
        if (0..3).any(|fd| is_open(fd) != 0) {
            std::process::exit(code);
        }
    };
    for mode in BOTH {
        let (exec, function) = storing(mode, |b| b, || (0..3).map(is_open).sum());
        free(10);
        let found = ask(&exec, function);
        free(11);
        assert!(found == if mode == Mode::Process { 3 } else { 0 });
        let late = exec.memfd_buffer::<u64>(4).unwrap();
        free(12);
        // Whoever prints there writes into nothing of ours.
        // SAFETY: the bytes are a live constant.
        unsafe { libc::write(1, b"hello\n".as_ptr().cast(), 6) };
        assert!(ask(&exec, function) == found);
        let args = TaskArgs::new().output(&late);
        exec.run(|run| run.submit(function, args, CallConfig::default()).map(drop)).unwrap();
        free(13);
        drop((late, exec));
        free(14);
    }
    let directory = std::env::temp_dir();
    let flow = builder(2).spill_limited(directory, 1 << 20).build().unwrap();
    free(20);
    for _ in 0..3 {
        let found = targets::remote_blocking(&flow).unwrap();
        assert!((0..3).all(|fd| found.iter().any(|(number, _)| *number == fd)));
        free(21);
    }
    let _ = die::remote_blocking(&flow);
    free(22);
    drop(flow);
    free(23);
}

#[node]
fn die() {
    // SAFETY: always allowed.
    unsafe { libc::_exit(3) }
}

pub(crate) fn standard_streams_of_workers_are_open() {
    let own = (target(1), target(2));
    let (exec, function) = storing(Mode::Process, |b| b, || u64::from(target(0) == "/dev/null"));
    assert_eq!(ask(&exec, function), 1);
    let found = targets::remote_blocking(&flow(1)).unwrap();
    assert_eq!(found[0], (0, "/dev/null".to_owned()));
    assert_eq!(found[1..3], [(1, own.0), (2, own.1)]);
    // Besides them a worker has where it tells the driver, and no more.
    assert!(found.len() <= 4, "{found:?}");
}

pub(crate) fn a_listening_socket_is_not_held() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let flow = flow(2);
    let (exec, function) = storing(Mode::Process, |b| b, || 1);
    drop(listener);
    assert_eq!((ask(&exec, function), targets::remote_blocking(&flow).is_ok()), (1, true));
    let again = TcpListener::bind(address).expect("the port is free");
    // Neither does somebody else answer there.
    drop(again);
    let refused = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

pub(crate) fn a_pipe_ends() {
    // Not only those that are closed by an exec: as C opens them.
    let mut ends = [0; 2];
    // SAFETY: writes two live locals.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: made just now.
    let [read, write] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let flow = flow(1);
    let (exec, function) = storing(Mode::Process, |b| b, || 1);
    drop(write);
    assert_eq!((ask(&exec, function), targets::remote_blocking(&flow).is_ok()), (1, true));
    let mut fds = libc::pollfd { fd: read.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live local.
    let ready = unsafe { libc::poll(&raw mut fds, 1, 5000) };
    assert_eq!((ready, fds.revents & libc::POLLHUP), (1, libc::POLLHUP));
}

#[node]
fn add_line(fd: RawFd, line: &str) {
    // SAFETY: the caller's file, which this process keeps.
    let mut file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) });
    file.write_all(line.as_bytes()).unwrap();
}

pub(crate) fn what_is_kept_is_there() {
    let mut file = tempfile::tempfile().unwrap();
    let (other, third) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let [fd, second, closed] = [&file, &other, &third].map(|file| file.as_raw_fd());
    let flow = builder(1).keep_fd(fd).keep_descriptors([second]).build().unwrap();
    add_line::remote_blocking(&flow, fd, "one\n").unwrap();
    let _ = die::remote_blocking(&flow);
    add_line::remote_blocking(&flow, fd, "two\n").unwrap();
    add_line::remote_blocking(&flow, second, "three\n").unwrap();
    let why = cause(add_line::remote_blocking(&flow, closed, "four\n"));
    assert!(
        matches!(&why, Cause::Panicked { message, .. } if message.contains("Bad file descriptor")),
        "{why:?}"
    );
    let set = |builder: mailring::Builder| builder.keep_fd(fd);
    let mut text = String::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwo\n");
    // The number of the other one is nobody's: none of ours took it.
    let open = move || is_open(fd) + 2 * is_open(second);
    let (exec, function) = storing(Mode::Process, set, open);
    assert_eq!(ask(&exec, function), 1);
}

pub(crate) fn a_kept_one_must_be_open() {
    let fd = tempfile::tempfile().unwrap().as_raw_fd();
    for fd in [fd, -1, 100_000] {
        let error = small(Mode::Process, 1).keep_fd(fd).build().err().unwrap();
        assert!(matches!(error, BuildError::Descriptor(named) if named == fd), "{error}");
        let error = builder(1).keep_fd(fd).build().err().unwrap();
        assert!(matches!(&error, flow::Error::Invalid(why) if why.contains(&fd.to_string())));
    }
}

#[node]
fn below() -> Vec<(RawFd, String)> {
    let inner = flow(1);
    targets::remote_blocking(&inner).unwrap()
}

pub(crate) fn levels_below_hold_nothing_of_ours() {
    let flow = flow(1);
    let found = below::remote_blocking(&flow).unwrap();
    assert!(found.len() <= 4, "{found:?}");
    let inner = || {
        let (exec, function) = storing(Mode::Process, |b| b, || open().len() as u64);
        ask(&exec, function)
    };
    let (exec, function) = storing(Mode::Process, |b| b, inner);
    // The standard streams, the supervisor's event, the line.
    assert!(ask(&exec, function) <= 5);
}

/// From here on `close_range` is refused, as by a filter of system calls.
fn refuse_close_range() {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_close_range as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: a program of four whole instructions, which the system copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
}

pub(crate) fn a_system_without_close_range() {
    refuse_close_range();
    a_listening_socket_is_not_held();
    what_is_kept_is_there();
}

// ---- descriptors that are closed under us --------------------------------------------------------

/// Closes all descriptors, as daemons and careless children do.
fn close_all() {
    close(3..1024);
}

/// Long enough for whoever sleeps in the system to be asleep there.
fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

#[track_caller]
fn ends(what: impl FnOnce()) {
    let since = Instant::now();
    what();
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
}

pub(crate) fn threads_need_none() {
    let (exec, function) = storing(Mode::Thread, |b| b, || 7);
    settle();
    close_all();
    assert_eq!(ask(&exec, function), 7);
    ends(|| drop(exec));
    let (exec, function) = storing(Mode::Thread, |b| b, || (close_all(), 8).1);
    assert_eq!(ask(&exec, function), 8);
    ends(|| drop(exec));
}

pub(crate) fn the_host_closes_ours() {
    for asleep in [true, false] {
        let (exec, function) = storing(Mode::Process, |b| b, || 7);
        let flow = flow(1);
        assert_eq!((ask(&exec, function), targets::remote_blocking(&flow).is_ok()), (7, true));
        if asleep {
            settle();
        }
        close_all();
        let before = testkit::cpu_time(std::process::id());
        std::thread::sleep(Duration::from_millis(1500));
        let used = testkit::cpu_time(std::process::id()) - before;
        assert!(used < Duration::from_millis(500), "it spins: {used:?}");
        // Either may answer; what counts is that both do.
        let _ =
            exec.run(|run| run.submit(function, TaskArgs::new(), CallConfig::default()).map(drop));
        let _ = targets::remote_blocking(&flow);
        ends(|| drop(exec));
        ends(|| drop(flow));
    }
}

#[node]
fn close_in_body() {
    close_all();
}

pub(crate) fn a_body_closes_ours() {
    let (exec, function) = storing(Mode::Process, |b| b, || (close_all(), 9).1);
    let flow = flow(1);
    for _ in 0..3 {
        assert_eq!(ask(&exec, function), 9);
        close_in_body::remote_blocking(&flow).unwrap();
    }
    ends(|| drop(exec));
    ends(|| drop(flow));
}

pub(crate) fn ours_that_were_closed_are_not_closed_again() {
    let build = || -> (Executor, flow::Flow) {
        let (exec, _) = storing(Mode::Process, |b| b, || 1);
        (exec, flow(1))
    };
    let held = build();
    settle();
    close_all();
    // Their numbers are these files' now.
    let files: Vec<_> = (0..40).map(|_| tempfile::tempfile().unwrap()).collect();
    drop(held);
    for file in &files {
        assert!(file.metadata().is_ok_and(|now| now.is_file()), "closed by somebody else");
    }
}
