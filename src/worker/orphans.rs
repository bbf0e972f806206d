//! What comes to the fork server when a process below it dies: levels below a dead worker, and what
//! tasks have started.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::segment::Arena;
use crate::sys::process;
use crate::sys::process_tree::{self, Member};

/// Longest wait for processes that are dying.
const STUCK: Duration = Duration::from_secs(10);

/// Ends what is left of a level below the dead worker. It shares tensors with us, so this comes
/// before anybody looks at what the worker left.
///
/// Whoever has our arena mapped and has come to us as an orphan belongs to such a level: a fork
/// server that has lost its host; then its workers, when it is dead; then what is below them. What
/// tasks start by themselves does not have the arena.
pub(super) fn end_levels(arena: &Arena, pids: &[Option<Pid>]) {
    let until = Instant::now() + STUCK;
    let own = std::fs::read_link("/proc/self/exe").ok();
    loop {
        let children = process::children().into_iter().map(Pid::from_raw);
        let strays = children.filter(|pid| !pids.contains(&Some(*pid)));
        let mut waiting = false;
        for pid in strays {
            match stray(pid, own.as_deref(), arena.inode()) {
                Stray::Foreign => {}
                // When a process has been read, its children are ours, and in the next list.
                Stray::Ours => {
                    let _ = kill(pid, Signal::SIGKILL);
                    let _ = waitpid(pid, None);
                    waiting = true;
                }
                Stray::Ended => {
                    let _ = waitpid(pid, None);
                    waiting = true;
                }
                Stray::Dying => waiting = true,
            }
        }
        if !waiting || Instant::now() > until {
            return;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
}

enum Stray {
    /// A level below, or a part of one.
    Ours,
    /// What a task has started.
    Foreign,
    /// Whatever it was.
    Ended,
    /// Its memory is gone, but some thread of it is not: its children have yet to come to us.
    Dying,
}

fn stray(pid: Pid, own: Option<&Path>, inode: u64) -> Stray {
    match std::fs::read_link(format!("/proc/{pid}/exe")) {
        // Forked and never another program: look closer.
        Ok(exe) if own == Some(exe.as_path()) => {}
        Ok(_) => return Stray::Foreign,
        Err(_) if process::has_ended(pid) => return Stray::Ended,
        Err(error) if error.kind() == ErrorKind::NotFound => return Stray::Dying,
        Err(_) => return Stray::Foreign, // another user's
    }
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    if maps.is_empty() {
        return if process::has_ended(pid) { Stray::Ended } else { Stray::Dying };
    }
    let shows = |line: &str| {
        line.contains("/memfd:")
            && line.split_whitespace().nth(4).is_some_and(|number| number.parse() == Ok(inode))
    };
    if maps.lines().any(shows) { Stray::Ours } else { Stray::Foreign }
}

/// Ends what tasks of a dead worker have started, in whatever session it is: it came to us as an
/// orphan. What tasks of the living have started is below these, or in their process groups.
pub(crate) fn end_subprocesses(living: &[Option<Pid>]) {
    let lives = |pid: Pid| living.contains(&Some(pid));
    let stays = |child: &i32| {
        let child = Pid::from_raw(*child);
        lives(child) || nix::unistd::getpgid(Some(child)).is_ok_and(lives)
    };
    let (spared, others): (Vec<i32>, Vec<i32>) = process::children().into_iter().partition(stays);
    if others.is_empty() {
        return; // as almost always, and the replacement waits
    }
    let spared: Vec<Member> = spared.into_iter().filter_map(Member::of).collect();
    let own = nix::unistd::getpid().as_raw();
    let ended = process_tree::end_descendants(own, &spared, Duration::ZERO, STUCK, &|| true);
    if !ended.is_empty() {
        process_tree::reap_others(&spared);
    }
}

/// Collects orphans that have ended; they came to us when their parents died.
pub(super) fn reap_strays(pids: &[Option<Pid>]) {
    for child in process::children() {
        let child = Pid::from_raw(child);
        if !pids.contains(&Some(child)) {
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Ends every worker and every descendant. Orphans of those that die become our children, so
/// this goes on until there are none.
pub(super) fn end_all(pids: &[Option<Pid>]) {
    for pid in pids.iter().flatten() {
        let _ = nix::sys::signal::killpg(*pid, Signal::SIGKILL);
        let _ = kill(*pid, Signal::SIGKILL);
    }
    let mut killed: HashSet<i32> = pids.iter().flatten().map(|pid| pid.as_raw()).collect();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return,
            Ok(nix::sys::wait::WaitStatus::StillAlive) => {
                for child in process::children() {
                    if killed.insert(child) {
                        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
                    }
                }
                // One of them ends now; its orphans are seen in the next round.
                let ended = waitpid(None, None).ok().and_then(|status| status.pid());
                ended.iter().for_each(|pid| {
                    killed.remove(&pid.as_raw());
                });
            }
            // Its number may be another's before long.
            Ok(status) => status.pid().iter().for_each(|pid| {
                killed.remove(&pid.as_raw());
            }),
            Err(_) => {}
        }
    }
}
