//! The levels below a worker that has died.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use mailring_process::process;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::segment::Arena;

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
