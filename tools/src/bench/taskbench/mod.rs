//! Task Bench (Slaughter et al., SC'20): graphs of tasks that compute, and how small these may be
//! before a system spends as much time on them as they do.
//!
//! Every system runs the same graphs with the same bodies on the same two processors, with two
//! workers that no one pins; the thread that submits has no processor of its own.

mod bare;
mod engine;
mod figures;
mod graph;
mod kernel;
mod metg;
mod pattern;
#[cfg(feature = "peers")]
mod pools;
mod system;

use std::collections::HashMap;
use std::sync::Arc;

use mailring::Mode;

use super::partner::Partner;
use super::run::{Measured, Run};
use super::section::{Effort, Section};
use crate::system::{Pinned, pin};
use engine::{Engine, Replay};
use graph::Graph;
use metg::Point;
use pattern::Pattern;
use system::System;

/// Processors that are used, and workers of every system.
const PROCESSORS: usize = 2;
/// Tasks of a step where nothing else is said.
const WIDTH: usize = 4;
/// The widths beside: as many as there are processors, and four times as many.
const WIDTHS: [usize; 3] = [PROCESSORS, WIDTH, 4 * PROCESSORS];
/// What a place of a sweep is to take in nanoseconds, and how many tasks that may be.
const TIME_NS: f64 = 6e6;
const MOST_TASKS: f64 = 16_384.0;
const LEAST_TASKS: f64 = 64.0;
/// Trips of the ping-pong beside.
const TRIPS: usize = 2_000;
/// Where the first search begins, and where whole sweeps begin, end, and how far their places are.
const START: usize = 20;
const SWEEP: std::ops::Range<usize> = 0..60;
const STRIDE: usize = 5;

/// Measured each time.
const ALWAYS: [Pattern; 2] = [Pattern::Stencil, Pattern::Trivial];
/// Measured when there is time.
const OTHERS: [Pattern; 7] = [
    Pattern::NoComm,
    Pattern::Nearest,
    Pattern::Spread,
    Pattern::Fft,
    Pattern::Tree,
    Pattern::Dom,
    Pattern::RandomNearest,
];

pub(super) static SECTION: Section = Section {
    name: "taskbench",
    title: "Task Bench: the smallest tasks that keep two processors half busy (METG, 50 %)",
    seconds: [4.0, 14.0, 60.0],
    figures: &figures::ALL,
    panels: figures::PANELS,
    bars: figures::BARS,
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let processors = run.processors[..run.processors.len().min(PROCESSORS)].to_vec();
    // All that follows inherits it: threads and processes are where they like, on these.
    pin(&processors);
    // Everything that forks comes before everything that has threads.
    let partner = Partner::start(run.here(), run.there())?;
    let on: Vec<usize> = (0..PROCESSORS).map(|nth| processors[nth % processors.len()]).collect();
    let bare = bare::Loop::start(&on)?;
    let mut systems: Vec<Box<dyn System>> = vec![
        Box::new(Engine::build("", Mode::Process, PROCESSORS)?),
        Box::new(Replay::build(PROCESSORS)?),
        Box::new(Engine::build("thread.", Mode::Thread, PROCESSORS)?),
        Box::new(bare),
    ];
    #[cfg(feature = "peers")]
    systems.extend(pools(PROCESSORS)?);
    if cfg!(not(feature = "peers")) {
        let what = "Task Bench of rayon, crossbeam-channel, tokio";
        run.missing(what, "built without the feature `peers`");
    }
    if processors.len() < PROCESSORS {
        run.note("Task Bench: both workers have one processor, the only one here");
    }
    for system in &mut systems {
        for pattern in Pattern::ALL {
            verify(&mut **system, pattern, WIDTH, 100)?;
        }
    }
    let mut sweep = Sweep {
        processors: processors.len(),
        rate: kernel::rate(processors.len()),
        graphs: HashMap::new(),
        places: HashMap::new(),
    };
    let budget = run.budget();
    let part = |share: f64| budget.mul_f64(share);
    let quick = run.effort == Effort::Quick;
    run.rounds_within(part(if quick { 1.0 } else { 0.5 }), |run, nth| {
        sweep.rate = kernel::rate(processors.len());
        run.add("taskbench.iteration_ns", sweep.rate);
        let trip = {
            let _pinned = Pinned::to(run.here());
            partner.ping_pong(TRIPS)
        };
        run.add("taskbench.pingpong_ns", trip);
        each(nth, &mut systems, |system| {
            for pattern in ALWAYS {
                let metg = sweep.metg(system, pattern, WIDTH)?;
                run.add(&key(system, pattern), metg / 1e3);
                if system.name().is_empty() {
                    run.add(&format!("ratio_metg_{}", short(pattern)), metg / trip);
                }
            }
            Ok(())
        })
    })?;
    if quick {
        return Ok(());
    }
    run.rounds_within(part(0.2), |run, nth| {
        sweep.rate = kernel::rate(processors.len());
        each(nth, &mut systems, |system| {
            for pattern in OTHERS {
                if system.runs(pattern) {
                    run.add(&key(system, pattern), sweep.metg(system, pattern, WIDTH)? / 1e3);
                }
            }
            Ok(())
        })
    })?;
    run.rounds_within(part(0.15), |run, nth| {
        sweep.rate = kernel::rate(processors.len());
        each(nth, &mut systems, |system| {
            for (pattern, panel) in
                ALWAYS.into_iter().zip([figures::STENCIL_WIDTHS, figures::TRIVIAL_WIDTHS])
            {
                for width in WIDTHS {
                    let metg = sweep.metg(system, pattern, width)?;
                    run.point(panel, series(system), width as f64, metg / 1e3);
                }
            }
            Ok(())
        })
    })?;
    let nominal = sweep.rate;
    run.rounds_within(part(0.15), |run, nth| {
        sweep.rate = kernel::rate(processors.len());
        each(nth, &mut systems, |system| {
            for at in SWEEP.step_by(STRIDE) {
                let iterations = metg::iterations(at);
                let point = sweep.point(system, Pattern::Stencil, WIDTH, iterations, TIME_NS)?;
                let work_us = iterations as f64 * nominal / 1e3; // the same in all rounds
                let percent = 100.0 * point.efficiency;
                run.point(figures::EFFICIENCY, series(system), work_us, percent);
            }
            Ok(())
        })
    })
}

/// Runs a graph and looks at its result: a task that ran before one that it waits for would have
/// written something else.
fn verify(system: &mut dyn System, pattern: Pattern, width: usize, steps: usize) -> Measured {
    if !system.runs(pattern) {
        return Ok(());
    }
    let graph = Arc::new(Graph::new(pattern, width, steps));
    let right = graph.values(system.cells(graph.cells)?);
    system.run(&graph, 5)?;
    if system.cells(graph.cells)? == right {
        return Ok(());
    }
    let (name, pattern) = (series(system), pattern.name());
    Err(format!("{name} ran tasks of {pattern}, {width} wide, in a wrong order").into())
}

/// One after the other, backwards and forwards in turns. (The first round, which is dropped, is
/// backwards, so that lines of plots are in the order of the systems.)
fn each(
    nth: usize,
    systems: &mut [Box<dyn System>],
    mut measure: impl FnMut(&mut dyn System) -> Measured,
) -> Measured {
    if nth.is_multiple_of(2) {
        systems.iter_mut().rev().try_for_each(|system| measure(&mut **system))
    } else {
        systems.iter_mut().try_for_each(|system| measure(&mut **system))
    }
}

#[cfg(feature = "peers")]
fn pools(threads: usize) -> Measured<Vec<Box<dyn System>>> {
    Ok(vec![
        Box::new(pools::Rayon::new(threads)?),
        Box::new(pools::Channel::new(threads)),
        Box::new(pools::Tokio::new(threads)?),
    ])
}

/// The keys say `stencil`, as it is the only one.
fn short(pattern: Pattern) -> &'static str {
    if pattern == Pattern::Stencil { "stencil" } else { pattern.name() }
}

fn key(system: &dyn System, pattern: Pattern) -> String {
    format!("{}metg_{}_w4_us", system.name(), short(pattern))
}

/// The name of a line in a plot: that of its bars.
fn series(system: &dyn System) -> &'static str {
    match system.name() {
        "" => "mailring, processes",
        "replay." => "mailring, replay",
        "thread." => "mailring, threads",
        "bare." => "bare loop",
        "channel." => "channel pool",
        other => other.trim_end_matches('.'),
    }
}

/// Searches for the METG of systems.
struct Sweep {
    processors: usize,
    /// Nanoseconds of an iteration of the bare kernel in this round.
    rate: f64,
    graphs: HashMap<(Pattern, usize, usize), Arc<Graph>>,
    /// Where the last search has ended.
    places: HashMap<(&'static str, Pattern, usize), usize>,
}

impl Sweep {
    /// In nanoseconds.
    fn metg(&mut self, system: &mut dyn System, pattern: Pattern, width: usize) -> Measured<f64> {
        let place = (system.name(), pattern, width);
        let start = self.places.get(&place).copied().unwrap_or(START);
        // Wakes the workers.
        self.point(system, pattern, width, metg::iterations(start), 0.0)?;
        let found = metg::search(start, |iterations| {
            self.point(system, pattern, width, iterations, TIME_NS)
        })?;
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
            .or_insert_with(|| Arc::new(Graph::new(pattern, width, steps)));
        let time = system.run(graph, iterations)?;
        Ok(Point::of(work_ns, time.as_nanos() as f64, self.processors, graph.tasks.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::section::Source;
    use super::*;

    fn check(system: &mut dyn System) {
        for pattern in Pattern::ALL {
            for (width, steps) in [(1, 40), (4, 100), (8, 60)] {
                for _ in 0..3 {
                    verify(system, pattern, width, steps).expect("the right order");
                }
            }
        }
    }

    #[test]
    fn processes_run_tasks_after_those_they_wait_for() {
        check(&mut Engine::build("", Mode::Process, PROCESSORS).expect("build"));
    }

    #[test]
    fn replays_run_tasks_after_those_they_wait_for() {
        check(&mut Replay::build(PROCESSORS).expect("build"));
    }

    #[test]
    fn threads_run_tasks_after_those_they_wait_for() {
        check(&mut Engine::build("thread.", Mode::Thread, PROCESSORS).expect("build"));
    }

    #[test]
    fn the_bare_loop_runs_tasks_after_those_they_wait_for() {
        let processors = crate::system::allowed_cpus();
        check(
            &mut bare::Loop::start(&[processors[0], processors[processors.len() - 1]])
                .expect("fork"),
        );
    }

    #[cfg(feature = "peers")]
    #[test]
    fn pools_run_tasks_after_those_they_wait_for() {
        for mut system in pools(PROCESSORS).expect("they start") {
            check(&mut *system);
        }
    }

    #[test]
    fn every_figure_that_is_measured_is_known() {
        let engine = Engine::build("", Mode::Thread, 1).expect("build");
        let known: Vec<_> = figures::ALL
            .iter()
            .filter(|figure| matches!(figure.source, Source::Measured))
            .map(|figure| figure.key.to_owned())
            .collect();
        for pattern in Pattern::ALL {
            assert!(known.contains(&key(&engine, pattern)), "{}", key(&engine, pattern));
        }
    }
}
