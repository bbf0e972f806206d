//! Beside a run: moves the progress bar, and kills workers if that was asked for.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use mailring::{Executor, WorkerId};

use crate::system::{is_stopped, signal};

/// How often the bar is moved when there is nothing else to watch.
const GLANCE: Duration = Duration::from_millis(60);
/// How often a killer looks whether it is time.
const AIM: Duration = Duration::from_micros(50);
/// How long a signalled process may take to stop.
const STOP: Duration = Duration::from_millis(100);

/// Does `work`, which runs `tasks` tasks on `exec`, with somebody watching if need be.
pub(crate) fn watched<R>(
    exec: &Executor,
    bar: &ProgressBar,
    mut killer: Option<&mut Killer>,
    tasks: u64,
    work: impl FnOnce() -> R,
) -> R {
    if bar.is_hidden() && killer.is_none() {
        return work();
    }
    let (before, shown) = (exec.stats().bodies, bar.position());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Acquire) {
                let bodies = exec.stats().bodies - before;
                bar.set_position(shown + bodies.min(tasks));
                if let Some(killer) = killer.as_deref_mut() {
                    killer.look(exec, bodies);
                    thread::sleep(AIM);
                } else {
                    thread::park_timeout(GLANCE);
                }
            }
            bar.set_position(shown + tasks);
        });
        // The watcher must end even when the work panics.
        let _end = End { done: &done, watcher: watcher.thread() };
        work()
    })
}

/// Sends the watcher home.
struct End<'a> {
    done: &'a AtomicBool,
    watcher: &'a thread::Thread,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.done.store(true, Release);
        self.watcher.unpark();
    }
}

/// Kills workers in the middle of bodies, spread over a run by the number of bodies that ended.
pub(crate) struct Killer {
    /// When the next kills are due, in bodies since the run began.
    due: VecDeque<u64>,
    /// The process that was last killed in each place. It stays visible, and busy, until its
    /// death is noticed; its number may be somebody else's later.
    last: Vec<u32>,
    /// Where to look first, so that all workers get their share.
    turn: usize,
    /// Workers that died inside a body.
    pub(crate) killed: usize,
}

impl Killer {
    pub(crate) fn new(workers: usize) -> Self {
        Self { due: VecDeque::new(), last: vec![0; workers], turn: 0, killed: 0 }
    }

    /// Spreads `kills` over a run of `tasks` tasks.
    pub(crate) fn plan(&mut self, kills: usize, tasks: u64) {
        let kills = kills as u64;
        self.due = (1..=kills).map(|kill| kill * tasks / (kills + 1)).collect();
    }

    /// Kills once if a kill is due and a worker is inside a body.
    fn look(&mut self, exec: &Executor, bodies: u64) {
        if self.due.front().is_some_and(|&due| due <= bodies) && self.strike(exec) {
            self.due.pop_front();
            self.killed += 1;
        }
    }

    fn strike(&mut self, exec: &Executor) -> bool {
        let pids = exec.worker_pids();
        for step in 0..pids.len() {
            let worker = (self.turn + step) % pids.len();
            let (pid, busy) = (pids[worker], || exec.is_busy(WorkerId(worker as u16)));
            if pid == 0 || pid == self.last[worker] || !busy() {
                continue;
            }
            // Stopped first, so that it cannot leave the body between the look and the kill:
            // what is counted is exact.
            if signal(pid, libc::SIGSTOP).is_err() || !stops(pid) {
                continue;
            }
            let fatal = busy();
            let sent = signal(pid, if fatal { libc::SIGKILL } else { libc::SIGCONT });
            if fatal && sent.is_ok() {
                self.last[worker] = pid;
                self.turn = worker + 1;
                return true;
            }
        }
        false
    }
}

fn stops(pid: u32) -> bool {
    let until = Instant::now() + STOP;
    while !is_stopped(pid) {
        if Instant::now() > until {
            let _ = signal(pid, libc::SIGCONT);
            return false;
        }
        thread::yield_now();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread() {
        let mut killer = Killer::new(2);
        killer.plan(4, 100);
        assert_eq!(killer.due, [20, 40, 60, 80]);
        killer.plan(0, 100);
        assert!(killer.due.is_empty());
    }
}
