//! The fork server among the host's processes: no child of it, stopped, orphaned, with a host to
//! which orphans come.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Error, FailureKind};

use crate::kit::{built, fork_server, there, works};
use testkit::shortage::children;
use testkit::{args, at, config, eventually, failed_as, is_alive, kill, parent_of};

fn wait_any() -> (i32, i32) {
    let mut status = 0;
    // SAFETY: the status is a live local.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

pub(crate) fn a_host_that_waits_for_any_child() {
    let (exec, add) = built();
    works(&exec, add);
    let fork_server = fork_server(&exec);
    assert_ne!(parent_of(fork_server), std::process::id() as i32);
    assert_eq!(wait_any(), (-1, libc::ECHILD), "the host has no child");
    drop(exec);
    assert_eq!(wait_any(), (-1, libc::ECHILD));
    // One that waits all the time, and takes what comes, does not disturb a build.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                wait_any();
            }
        });
        for _ in 0..20 {
            let (exec, add) = built();
            works(&exec, add);
        }
        stop.store(true, SeqCst);
    });
    eventually("no child is left", || children(std::process::id() as i32).is_empty());
}

fn adopt_orphans() {
    // SAFETY: passes no pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

pub(crate) fn a_host_to_which_orphans_come() {
    adopt_orphans();
    let own = std::process::id() as i32;
    for _ in 0..3 {
        let (exec, add) = built();
        works(&exec, add);
        drop(exec);
        assert_eq!(children(own), [0; 0]);
    }
    let (exec, _) = built();
    kill(fork_server(&exec), libc::SIGKILL);
    let is_said =
        |error: Error| matches!(&error, Error::Failed(why) if why.contains("fork server"));
    eventually("the executor has failed", || exec.run(|_| Ok(())).is_err_and(is_said));
    eventually("no zombie is left", || children(own).is_empty());
    drop(exec);
}

/// The fork server is stopped: deaths, deadlines and drops go on.
pub(crate) fn the_fork_server_is_stopped() {
    let (exec, add) = built();
    let fork_server = fork_server(&exec);
    let count = exec.buffer::<u64>(1).unwrap();
    let one = |millis| args().no_dep(at(&count, 0)).scalar(millis);
    for _ in 0..3 {
        kill(fork_server, libc::SIGSTOP);
        kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
        let began = Instant::now();
        let ended = exec.run(|orch| {
            let late = there(1).deadline(Duration::from_millis(50));
            orch.submit_with(add, one(20_000), config(), &late).map(drop)
        });
        failed_as(ended, FailureKind::Deadline);
        exec.run(|orch| {
            orch.submit_with(add, one(0), config(), &there(0))?;
            orch.submit_with(add, one(0), config(), &there(1)).map(drop)
        })
        .unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let pids = exec.worker_pids();
    kill(fork_server, libc::SIGSTOP);
    let began = Instant::now();
    drop(exec);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!is_alive(fork_server) && pids.iter().all(|&pid| !is_alive(pid as i32)));
}
