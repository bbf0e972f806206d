//! Deaths: how soon one is noticed, and how soon the replacement works.

use std::time::{Duration, Instant};

use mailring::abi::{CallConfig, TaskArgs};
use mailring::{Error, Mode, TaskOptions, WorkerId};

use super::super::run::{Measured, Run};
use super::super::section::{Section, Unit, measured};
use super::engine::Engine;
use crate::system::{monotonic_ns, signal};

pub(super) static SECTION: Section = Section {
    name: "deaths",
    title: "Death of a worker",
    seconds: [0.5, 3.0, 6.0],
    figures: &[
        measured(
            "death_notice_busy_ms",
            Unit::Ms,
            "noticed, inside a body",
            "from SIGKILL to the supervisor's notice",
        ),
        measured(
            "death_notice_idle_ms",
            Unit::Ms,
            "noticed, asleep",
            "the same for an idle worker",
        ),
        measured(
            "respawn_busy_ms",
            Unit::Ms,
            "replaced and working, inside a body",
            "from SIGKILL until the replacement has run a task",
        ),
        measured("respawn_ms", Unit::Ms, "replaced and working, asleep", "for an idle worker"),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let engine = Engine::build(Mode::Process, 2, false)?;
    run.rounds(|run, _| {
        let idle = kill_idle(&engine)?;
        let busy = kill_busy(&engine)?;
        run.add("death_notice_idle_ms", idle.notice_ms);
        run.add("death_notice_busy_ms", busy.notice_ms);
        run.add("respawn_ms", idle.respawn_ms);
        run.add("respawn_busy_ms", busy.respawn_ms);
        Ok(())
    })
}

/// Whom we kill.
const VICTIM: WorkerId = WorkerId(0);
/// After this long an idle worker sleeps.
const SETTLE: Duration = Duration::from_millis(20);
/// Longest wait for anything: then something is wrong.
const LIMIT: Duration = Duration::from_secs(10);

/// What one death took.
#[derive(Clone, Copy, Debug)]
struct Death {
    /// From the signal to the notice.
    notice_ms: f64,
    /// From the signal until the replacement has run a task.
    respawn_ms: f64,
}

/// Kills a worker that sleeps.
fn kill_idle(engine: &Engine) -> Result<Death, String> {
    std::thread::sleep(SETTLE);
    kill(engine)
}

/// Kills a worker in the middle of a body, whose task fails.
fn kill_busy(engine: &Engine) -> Result<Death, String> {
    let (_, stuck) = engine
        .exec
        .submit_run(|orch| {
            let options = TaskOptions::new().on(VICTIM).name("victim");
            orch.submit_with(engine.stay, TaskArgs::new(), CallConfig::default(), &options)
        })
        .map_err(|error| error.to_string())?;
    until("the worker to begin", || engine.exec.is_busy(VICTIM))?;
    let death = kill(engine)?;
    match stuck.wait(Some(LIMIT)) {
        Err(Error::Task(_)) => Ok(death),
        other => Err(format!("the task of a killed worker ended with {other:?}")),
    }
}

fn kill(engine: &Engine) -> Result<Death, String> {
    let exec = &engine.exec;
    let before = exec.stats().deaths;
    let pid = exec.worker_pids()[usize::from(VICTIM.0)];
    let sent = monotonic_ns();
    signal(pid, libc::SIGKILL).map_err(|error| format!("killing a worker: {error}"))?;
    // Only its replacement can run this.
    let options = TaskOptions::new().on(VICTIM).retries(3).idempotent();
    exec.run(|orch| {
        orch.submit_with(engine.empty, TaskArgs::new(), CallConfig::default(), &options)
    })
    .map_err(|error| format!("the first task of a replacement: {error}"))?;
    let replaced = monotonic_ns();
    until("the death to be counted", || exec.stats().deaths > before)?;
    let ms = |at: u64| at.saturating_sub(sent) as f64 / 1e6;
    Ok(Death { notice_ms: ms(exec.stats().last_death_ns), respawn_ms: ms(replaced) })
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        if Instant::now() > end {
            return Err(format!("waited {LIMIT:?} for {what}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}
