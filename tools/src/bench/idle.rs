//! What an executor uses while it has nothing to do.

use std::time::{Duration, Instant};

use mailring::Executor;

use crate::system::{cpu_ns, own_threads, parent_of};

/// After this long everybody sleeps who is going to.
const SETTLE: Duration = Duration::from_millis(300);

/// Percent of one core, all workers, the fork server and the threads of this process together.
pub(super) fn cpu_percent(exec: &Executor, over: Duration) -> f64 {
    std::thread::sleep(SETTLE);
    let tasks = tasks_of(exec);
    let used = || -> u64 { tasks.iter().filter_map(|task| cpu_ns(task)).sum() };
    let (before, begin) = (used(), Instant::now());
    std::thread::sleep(over);
    let (after, took) = (used(), begin.elapsed());
    100.0 * after.saturating_sub(before) as f64 / took.as_nanos() as f64
}

/// Folders of `/proc`, one for each thread that belongs to the executor or may work for it.
fn tasks_of(exec: &Executor) -> Vec<String> {
    let workers: Vec<u32> = exec.worker_pids().into_iter().filter(|&pid| pid != 0).collect();
    let fork_server = workers.first().and_then(|&pid| parent_of(pid));
    let processes = workers.into_iter().chain(fork_server).map(|pid| format!("/proc/{pid}"));
    let threads = own_threads().into_iter().map(|thread| format!("/proc/self/task/{thread}"));
    processes.chain(threads).collect()
}
