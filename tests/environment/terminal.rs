//! Terminals and their signals: workers have neither, and a host that ignores an interrupt goes on
//! to do so.

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use mailring::Mode;
use mailring::flow::node;

use crate::kit::{ask, storing};
use testkit::flow::flow;
use testkit::harness::again;
use testkit::{eventually, kill};

/// What a body finds at its standard input.
fn input() -> String {
    let mut bytes = [0; 16];
    match std::io::stdin().read(&mut bytes) {
        Ok(count) => format!("{count} bytes"),
        Err(error) => format!("{error}"),
    }
}

#[node]
fn read_input() -> String {
    input()
}

#[node]
fn read_in_subprocess() -> String {
    // A shell reads the terminal by its name as well.
    let script = "read line; echo $?; (read line < /dev/tty) 2>/dev/null; echo $?";
    let output = Command::new("sh").arg("-c").arg(script).stdin(Stdio::inherit()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).replace('\n', " ")
}

/// A terminal: its master, and its other side.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: writes two live locals.
    let code = unsafe { libc::openpty(&raw mut master, &raw mut slave, name, modes, size) };
    assert_eq!(code, 0);
    // SAFETY: made just now.
    unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

/// What a host says in the foreground of a terminal, in which nobody types.
fn at_a_terminal(what: &str) -> String {
    let (master, slave) = terminal();
    let mut command = again("role::host_at_a_terminal");
    command.env("MAILRING_TEST_WHAT", what).stdout(Stdio::piped());
    command.stdin(slave.try_clone().unwrap()).stderr(slave);
    // SAFETY: only system calls, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut host = command.spawn().unwrap();
    drop(command);
    let mut ended = None;
    eventually("the host at the terminal ends", || {
        ended = host.try_wait().unwrap();
        ended.is_some()
    });
    let mut said = String::new();
    host.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(ended.unwrap().success(), "{said}");
    assert!(master.as_raw_fd() > 0);
    said
}

pub(crate) fn host_at_a_terminal() {
    let said = match std::env::var("MAILRING_TEST_WHAT").unwrap().as_str() {
        "flow" => read_input::remote_blocking(&flow(1)).unwrap(),
        "subprocess" => read_in_subprocess::remote_blocking(&flow(1)).unwrap(),
        _ => {
            let read = || u64::from(input() == "0 bytes");
            let (exec, function) = storing(Mode::Process, |b| b, read);
            format!("{}", ask(&exec, function))
        }
    };
    println!("{said}");
}

pub(crate) fn a_body_reads_nothing() {
    assert_eq!(at_a_terminal("flow").trim(), "0 bytes");
    assert_eq!(at_a_terminal("engine").trim(), "1");
}

pub(crate) fn a_subprocess_reads_nothing() {
    let said = at_a_terminal("subprocess");
    let codes: Vec<_> = said.split_whitespace().collect();
    assert!(codes.len() == 2 && codes.iter().all(|&code| code != "0"), "{said}");
}

#[node]
fn stop_by_terminal() -> u32 {
    for signal in [libc::SIGTTIN, libc::SIGTTOU] {
        kill(std::process::id() as i32, signal);
        // Its whole group, as a shell does that wants to be in the foreground.
        // SAFETY: passes no pointers.
        unsafe { libc::kill(0, signal) };
    }
    std::process::id()
}

#[node]
fn default_in_subprocess() -> String {
    let script = "grep -E 'SigIgn' /proc/self/status";
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn ignored(line: &str) -> u64 {
    u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
}

pub(crate) fn signals_of_the_terminal_stop_nobody() {
    let flow = flow(1);
    assert!(stop_by_terminal::remote(&flow).unwrap().get_timeout(Duration::from_secs(10)).is_ok());
    let mask = ignored(&default_in_subprocess::remote_blocking(&flow).unwrap());
    let terminal = 1 << (libc::SIGTTIN - 1) | 1 << (libc::SIGTTOU - 1);
    assert_eq!(mask & terminal, 0, "programs that a body starts have the default");
    let (exec, function) = storing(
        Mode::Process,
        |b| b,
        || {
            kill(std::process::id() as i32, libc::SIGTTIN);
            kill(std::process::id() as i32, libc::SIGTTOU);
            5
        },
    );
    assert_eq!(ask(&exec, function), 5);
}

pub(crate) fn an_ignored_interrupt_stays_ignored() {
    for signal in [libc::SIGINT, libc::SIGHUP] {
        // SAFETY: ignoring a signal needs nothing.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let flow = flow(1);
    let own = std::process::id() as i32;
    kill(own, libc::SIGINT);
    kill(own, libc::SIGHUP);
    let mask = ignored(&default_in_subprocess::remote_blocking(&flow).unwrap());
    let both = 1 << (libc::SIGINT - 1) | 1 << (libc::SIGHUP - 1);
    assert_eq!(mask & both, both, "what a body starts ignores it as well");
}
