//! What an executor uses while it has nothing to do.

use std::time::{Duration, Instant};

use mailring::{Executor, Mode};

use super::super::run::{Measured, Run};
use super::super::section::{Effort, Section, Unit, measured};
use super::engine::Engine;
use crate::system::{cpu_ns, own_threads, parent_of};

pub(super) static SECTION: Section = Section {
    name: "idle",
    title: "An idle executor, as many workers as processors",
    seconds: [1.3, 6.0, 16.0],
    figures: &[
        measured(
            "idle_cpu_percent",
            Unit::Percent,
            "processes, of one processor",
            "workers, fork server and threads of the host",
        )
        .flat(),
        measured(
            "thread.idle_cpu_percent",
            Unit::Percent,
            "threads, of one processor",
            "workers and threads of the host",
        ),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let modes: &[_] = match run.effort {
        Effort::Quick => &[(Mode::Process, "idle_cpu_percent")],
        _ => &[(Mode::Process, "idle_cpu_percent"), (Mode::Thread, "thread.idle_cpu_percent")],
    };
    // Looked at several times: one look is one sum over as long as there is.
    let looks = run.count(2, 3);
    for &(mode, key) in modes {
        let engine = Engine::build(mode, run.processors.len().min(256), false)?;
        std::thread::sleep(SETTLE);
        let over = run.budget() / (modes.len() * looks) as u32 - SETTLE / looks as u32;
        for _ in 0..looks {
            run.says("idle");
            run.add(key, cpu_percent(&engine.exec, over));
        }
    }
    Ok(())
}

/// After this long everybody sleeps who is going to.
const SETTLE: Duration = Duration::from_millis(300);

/// Percent of one core, all workers, the fork server and the threads of this process together.
fn cpu_percent(exec: &Executor, over: Duration) -> f64 {
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
