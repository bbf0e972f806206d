//! What comes to the fork server when a process below it dies: what its tasks have started.

use std::collections::HashSet;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::process;
use crate::process_tree::{self, Member};

/// Longest wait for processes that are dying.
const STUCK: Duration = Duration::from_secs(10);

/// Ends what tasks of a dead worker have started, in whatever session it is: it came to us as an
/// orphan. What tasks of the living have started is below these, or in their process groups.
pub fn end_subprocesses(living: &[Option<Pid>]) {
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
pub fn reap_strays(pids: &[Option<Pid>]) {
    for child in process::children() {
        let child = Pid::from_raw(child);
        if !pids.contains(&Some(child)) {
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Ends every worker and every descendant. Orphans of those that die become our children, so
/// this goes on until there are none.
pub fn end_all(pids: &[Option<Pid>]) {
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
