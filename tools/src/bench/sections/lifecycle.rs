//! Start and end of an executor.

use std::time::{Duration, Instant};

use mailring::Mode;

use super::super::run::{Measured, Run};
use super::super::section::{Section, Unit, measured};
use super::engine::Engine;
use super::loads;

const LIMIT: Duration = Duration::from_secs(10);

pub(super) static SECTION: Section = Section {
    name: "lifecycle",
    title: "Start and end of an executor, as many workers as processors",
    seconds: [0.4, 2.0, 4.0],
    figures: &[
        measured(
            "start_ms",
            Unit::Ms,
            "start, until the first task is through",
            "build, then a task; worker processes",
        ),
        measured("stop_ms", Unit::Ms, "end", "close, until all processes have ended"),
        measured("thread.start_ms", Unit::Ms, "threads: start", "the same with worker threads"),
        measured("thread.stop_ms", Unit::Ms, "threads: end", "the same with worker threads"),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let workers = run.processors.len().min(256);
    run.rounds(|run, _| {
        for (mode, prefix) in [(Mode::Process, ""), (Mode::Thread, "thread.")] {
            let begin = Instant::now();
            let engine = Engine::build(mode, workers, false)?;
            loads::round_trips(&engine, 1)?;
            run.add(&format!("{prefix}start_ms"), begin.elapsed().as_secs_f64() * 1e3);
            let Engine { exec, data, .. } = engine;
            drop(data);
            let begin = Instant::now();
            exec.close(LIMIT)?;
            run.add(&format!("{prefix}stop_ms"), begin.elapsed().as_secs_f64() * 1e3);
        }
        Ok(())
    })
}
