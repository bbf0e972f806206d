//! Task Bench (Slaughter et al., SC'20): graphs of tasks that compute, and how small these may be
//! before a system spends as much time on them as they do.

mod engine;
mod graph;
mod kernel;
mod metg;
mod pattern;
mod system;

use std::collections::HashMap;

use mailring::Mode;

use super::partner::Partner;
use super::run::{Measured, Run};
use super::section::{Section, Unit, measured, ratio};
use crate::system::pin;
use engine::Engine;
use graph::Graph;
use metg::Point;
use pattern::Pattern;
use system::System;

/// Processors that are used, and workers of every system. The caller that submits has none of its
/// own.
const PROCESSORS: usize = 2;
/// Tasks of a step, in the figures at the top of the JSON file.
const WIDTH: usize = 4;
/// What a place of a sweep is to take, in nanoseconds, and tasks that this may come to.
const TIME_NS: f64 = 6e6;
const MOST_TASKS: f64 = 16_384.0;
const LEAST_TASKS: f64 = 256.0;
/// Trips of the ping-pong beside.
const TRIPS: usize = 2_000;
/// Where the first search begins, in the sweep.
const START: usize = 20;

pub(super) static SECTION: Section = Section {
    name: "taskbench",
    title: "Task Bench: the smallest tasks that keep two processors half busy (METG, 50 %)",
    seconds: [4.0, 18.0, 60.0],
    figures: &[
        measured("taskbench.pingpong_ns", Unit::Ns, "ping-pong", "two bare processes, p50"),
        measured("taskbench.iteration_ns", Unit::Ns, "iteration", "of the bare kernel, at best"),
        measured(
            "metg_stencil_w4_us",
            Unit::Us,
            "stencil_1d, 4 wide",
            "wall time x 2 processors / tasks, of tasks that compute half of that",
        )
        .flat(),
        measured(
            "ratio_metg_stencil",
            Unit::Ratio,
            "/ ping-pong",
            "metg_stencil_w4_us / taskbench.pingpong_ns",
        )
        .flat()
        .at_most(4.0, 4.0),
        measured("metg_trivial_w4_us", Unit::Us, "trivial, 4 wide", "the same").flat(),
        measured(
            "ratio_metg_trivial",
            Unit::Ratio,
            "/ ping-pong",
            "metg_trivial_w4_us / taskbench.pingpong_ns",
        )
        .flat()
        .at_most(2.0, 2.0),
        measured("thread.metg_stencil_w4_us", Unit::Us, "threads: stencil_1d", "worker threads"),
        ratio(
            "isolation_tax_metg_stencil",
            "metg_stencil_w4_us",
            "thread.metg_stencil_w4_us",
            "process / thread",
        ),
        measured("thread.metg_trivial_w4_us", Unit::Us, "threads: trivial", "worker threads"),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let processors = run.processors.len().min(PROCESSORS);
    // Workers inherit it: they are where they like, on these.
    pin(&run.processors[..processors]);
    let mut systems: Vec<Box<dyn System>> = Vec::new();
    let partner = Partner::start(run.here(), run.there())?;
    systems.push(Box::new(Engine::build("", Mode::Process, PROCESSORS)?));
    systems.push(Box::new(Engine::build("thread.", Mode::Thread, PROCESSORS)?));
    let rate = kernel::best_rate(processors);
    let mut sweep = Sweep { processors, rate, graphs: HashMap::new(), places: HashMap::new() };
    run.rounds(|run, nth| {
        run.add("taskbench.iteration_ns", rate);
        let pinned = crate::system::Pinned::to(run.here());
        let trip = partner.ping_pong(TRIPS);
        drop(pinned);
        run.add("taskbench.pingpong_ns", trip);
        let count = systems.len();
        for at in 0..count {
            let at = if nth.is_multiple_of(2) { at } else { count - 1 - at };
            let system = &mut *systems[at];
            for (pattern, short) in [(Pattern::Stencil, "stencil"), (Pattern::Trivial, "trivial")] {
                let metg = sweep.metg(system, pattern, WIDTH)?;
                run.add(&format!("{}metg_{short}_w4_us", system.name()), metg / 1e3);
                if system.name().is_empty() {
                    run.add(&format!("ratio_metg_{short}"), metg / trip);
                }
            }
        }
        Ok(())
    })
}

/// Searches for the METG of systems.
struct Sweep {
    processors: usize,
    /// Nanoseconds of an iteration of the bare kernel.
    rate: f64,
    graphs: HashMap<(Pattern, usize, usize), Graph>,
    /// Where the last search has ended.
    places: HashMap<(&'static str, Pattern, usize), usize>,
}

impl Sweep {
    /// In nanoseconds; not a number if no task is large enough.
    fn metg(&mut self, system: &mut dyn System, pattern: Pattern, width: usize) -> Measured<f64> {
        let place = (system.name(), pattern, width);
        let start = self.places.get(&place).copied().unwrap_or(START);
        // Wakes the workers.
        self.point(system, pattern, width, metg::iterations(start), 0.0)?;
        let found = metg::search(start, |iterations| {
            self.point(system, pattern, width, iterations, TIME_NS)
        })?;
        let Some(found) = found else { return Ok(f64::NAN) };
        self.places.insert(place, found.at);
        Ok(found.metg)
    }

    /// Runs so many tasks as take about `time_ns` where half of it is lost.
    fn point(
        &mut self,
        system: &mut dyn System,
        pattern: Pattern,
        width: usize,
        iterations: u64,
        time_ns: f64,
    ) -> Measured<Point> {
        let work_ns = iterations as f64 * self.rate;
        let tasks = time_ns * self.processors as f64 / (2.0 * work_ns);
        let tasks = tasks.clamp(LEAST_TASKS, MOST_TASKS) as usize;
        // Powers of two, so that graphs are used again.
        let steps = (tasks / width).max(1).next_power_of_two();
        let graph = self
            .graphs
            .entry((pattern, width, steps))
            .or_insert_with(|| Graph::new(pattern, width, steps));
        let time = system.run(graph, iterations)?;
        Ok(Point::of(work_ns, time.as_nanos() as f64, self.processors, graph.tasks.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(system: &mut dyn System) {
        for pattern in Pattern::ALL {
            for (width, steps) in [(1, 40), (4, 100), (8, 60)] {
                let graph = Graph::new(pattern, width, steps);
                for _ in 0..3 {
                    let before = system.cells(graph.cells).expect("cells");
                    system.run(&graph, 5).expect("run");
                    let cells = system.cells(graph.cells).expect("cells");
                    let name = system.name();
                    assert!(graph.values(before) == cells, "{name} {} {width}", pattern.name());
                }
            }
        }
    }

    #[test]
    fn every_system_runs_tasks_after_those_they_wait_for() {
        check(&mut Engine::build("process", Mode::Process, PROCESSORS).expect("build"));
        check(&mut Engine::build("thread", Mode::Thread, PROCESSORS).expect("build"));
    }
}
