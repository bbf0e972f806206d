//! The loads with more workers, up to twice the processors: nobody is pinned.

use mailring::Mode;

use super::super::run::{Measured, Run};
use super::super::section::{Axis, Effort, Panel, Section};
use super::engine::Engine;
use super::{groups, loads};
use crate::stats::median_of;

const TRIPS: usize = 2000;
const TASKS: usize = 50_000;

const fn panel(name: &'static str, title: &'static str) -> Panel {
    Panel { name, title, x: Axis::log("workers"), y: Axis::log("ns") }
}

pub(super) static SECTION: Section = Section {
    name: "workers",
    title: "More workers, nobody is pinned",
    seconds: [0.0, 10.0, 60.0],
    figures: &[],
    panels: &[
        panel("workers.rtt", "Round trip of one task"),
        panel("workers.independent", "Independent task"),
        panel("workers.chain", "Chained task"),
        panel("workers.group", "Group of all workers"),
    ],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let processors = run.processors.len();
    let mut counts: Vec<usize> = match run.effort {
        Effort::Full => {
            (0..).map(|power| 1 << power).take_while(|&n| n <= 2 * processors).collect()
        }
        _ => vec![1, processors, 2 * processors],
    };
    counts.push(2 * processors);
    counts.retain(|&count| count <= 256);
    counts.sort_unstable();
    counts.dedup();
    let part = run.budget() / (2 * counts.len()) as u32;
    for (mode, name) in
        [(Mode::Process, "mailring, processes"), (Mode::Thread, "mailring, threads")]
    {
        for &workers in &counts {
            let engine = Engine::build(mode, workers, false)?;
            run.rounds_within(part, |run, _| {
                let at = workers as f64;
                let rtt = median_of(&mut loads::round_trips(&engine, TRIPS)?);
                run.point("workers.rtt", name, at, rtt as f64);
                run.point("workers.independent", name, at, loads::independent(&engine, TASKS)?);
                run.point("workers.chain", name, at, loads::chain(&engine, TASKS)?);
                let group = median_of(&mut groups::groups(&engine, workers, 200)?);
                run.point("workers.group", name, at, group as f64);
                Ok(())
            })?;
        }
    }
    Ok(())
}
