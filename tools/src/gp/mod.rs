//! `mailring gp`: Gaussian-process regression on real data, the engine's main demonstration.

mod data;
mod engine;
mod kernels;
mod model;
mod report;
mod tiles;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use mailring::{Mode, Recording};

use crate::cli::{Failure, Json};
use crate::output;
use crate::stats::Spread;
use crate::watch::{Killer, watched};
use engine::{Engine, Problem, Seen};
use kernels::{Covariance, Rbf};
use report::{Kills, RESIDUAL_LIMIT, Report, Way};
use tiles::{Tiles, census, factor_steps, fill_steps};

/// Runs of the graph with empty bodies.
const EMPTY_RUNS: usize = 21;
/// One kill for so many tasks of a graph, at most: a replacement needs time to start.
const TASKS_A_KILL: u64 = 10;
/// Factorisations without a single hit after which the kills are given up.
const FRUITLESS: usize = 10;

/// The likeliest of a coarse grid, by the training part alone.
const RBF: Rbf = Rbf { variance: 0.5, length: 3.0 };
const NOISE: f64 = 0.35;

/// Examples under the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  mailring gp                          both modes, all processors
  mailring gp --tile 64 --workers 4    smaller tiles, more tasks
  mailring gp --kill 20                kill workers in the middle of it
  mailring gp --tile 32 --replay       record the graph once and replay it
  mailring gp --mode process --json gp.json

The JSON file holds \"tasks\", \"wall_s\" {\"process\", \"thread\", \"serial\"} (null: not run),
\"overhead_ns_per_task\", \"residual\", \"rmse\", \"rmse_mean\", \"killed\". With --replay also \"replay\":
\"wall_s\" {\"process\", \"thread\"}, \"overhead_ns_per_task\" {\"process\", \"thread\"} and
\"fresh_overhead_ns_per_task\" {\"process\", \"thread\"}.";

/// Options of `mailring gp`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Rows and columns of a tile
    #[arg(long, value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u16).range(8..=2048))]
    tile: u16,

    /// Workers [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,

    /// Where workers live; a serial run is always made as well
    #[arg(long, value_enum, default_value_t = Modes::Both)]
    mode: Modes,

    /// Runs of each mode; the median counts
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,

    /// Kill N workers inside task bodies, spread over the PROCESS run; tasks get snapshots and
    /// retries
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    kill: u16,

    /// Also record the graph and replay it, and print both side by side
    #[arg(long)]
    replay: bool,

    /// Publish the counters of the processes under NAME, for `mailring top NAME`
    #[arg(long, value_name = "NAME")]
    publish: Option<String>,

    /// Save them in FILE, for `mailring top --post-mortem FILE`
    #[arg(long, value_name = "FILE")]
    post_mortem: Option<PathBuf>,

    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Modes {
    /// Forked processes
    Process,
    /// Threads of this process
    Thread,
    /// Both, in turns
    Both,
}

/// Does the work in every way that was asked for, prints, and checks the residual.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let kills = usize::from(options.kill);
    let seen = options.publish.is_some() || options.post_mortem.is_some();
    if seen && options.mode == Modes::Thread {
        let why = "--publish and --post-mortem show the processes (use --mode process or both)";
        return Err(Failure::Usage(why.to_owned()));
    }
    if kills > 0 && options.mode == Modes::Thread {
        let why = "--kill needs processes: a thread cannot be killed (use --mode process or both)";
        return Err(Failure::Usage(why.to_owned()));
    }
    let workers = options.workers.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from).min(256),
        usize::from,
    );
    let split = data::wine();
    let side = usize::from(options.tile);
    let across = split.train.len().div_ceil(side);
    let covariance = Covariance {
        rbf: RBF,
        noise: NOISE,
        features: split.train.features,
        points: split.train.len(),
    };
    let points = split.train.padded(across * side).values;
    let problem = Problem { covariance, points, side, across };

    // Processes are forked first, before this process has any thread but this one.
    let build = |mode, kills| {
        let seen = match mode {
            Mode::Process => {
                Seen { name: options.publish.as_deref(), file: options.post_mortem.as_deref() }
            }
            Mode::Thread => Seen::default(),
        };
        let built = Engine::build(mode, workers, &problem, kills, &seen);
        built.map_err(Failure::of("building the executor"))
    };
    let process =
        (options.mode != Modes::Thread).then(|| build(Mode::Process, kills)).transpose()?;
    let thread = (options.mode != Modes::Process).then(|| build(Mode::Thread, 0)).transpose()?;

    let mut bench = Bench::new(&problem, usize::from(options.runs), process, thread)?;
    let kills = if kills > 0 { Some(bench.kill(kills, workers)?) } else { None };
    if options.replay {
        bench.record()?;
    }
    bench.measure(kills.is_some())?;
    let quality = model::quality(&split, RBF, bench.any_factor());
    let report = Report {
        rows: (split.train.len(), split.test.len()),
        features: split.train.features,
        tile: side,
        across,
        workers,
        runs: usize::from(options.runs),
        census: census(across),
        serial: bench.serial.finish()?,
        process: bench.process.map(|lane| lane.tally.finish()).transpose()?,
        thread: bench.thread.map(|lane| lane.tally.finish()).transpose()?,
        quality,
        kills,
    };
    output::deliver(&report.text(), &report.json(), &options.json)?;
    judge(&report)
}

/// Whether the figures are what they must be.
fn judge(report: &Report) -> Result<(), Failure> {
    let residual = report.residual();
    if residual.is_nan() || residual >= RESIDUAL_LIMIT {
        let why = format!("the residual {residual:.2e} is not below {RESIDUAL_LIMIT:e}");
        return Err(Failure::Failed(why));
    }
    match report.kills {
        Some(kills) if kills.inside < kills.wanted => Err(Failure::Failed(format!(
            "only {} of {} kills hit a worker inside a body: bodies are too short (larger tiles \
             make them longer)",
            kills.inside, kills.wanted
        ))),
        _ => Ok(()),
    }
}

/// What was measured of one way, and what it was checked against.
#[derive(Default)]
struct Tally {
    walls: Vec<f64>,
    overheads: Vec<f64>,
    replays: Vec<f64>,
    replay_overheads: Vec<f64>,
    residual: f64,
    difference: f64,
}

impl Tally {
    fn finish(self) -> Result<Way, Failure> {
        let wall = Spread::of(&self.walls);
        let wall = wall.ok_or_else(|| Failure::Failed("nothing was measured".to_owned()))?;
        let Self { residual, difference, .. } = self;
        Ok(Way {
            wall,
            residual,
            difference,
            overhead: Spread::of(&self.overheads),
            replay: Spread::of(&self.replays),
            replay_overhead: Spread::of(&self.replay_overheads),
        })
    }
}

/// An engine, its figures and its last factor.
struct Lane {
    engine: Engine,
    tally: Tally,
    factor: Option<Tiles>,
    /// The factorisation, and its graph with empty bodies.
    recorded: Option<[Recording; 2]>,
}

/// Everything that is run.
struct Bench<'a> {
    problem: &'a Problem,
    runs: usize,
    /// The matrix, computed here: what the factors are checked against.
    matrix: Tiles,
    serial_factor: Tiles,
    serial: Tally,
    process: Option<Lane>,
    thread: Option<Lane>,
    bar: ProgressBar,
    tasks: u64,
}

impl<'a> Bench<'a> {
    fn new(
        problem: &'a Problem,
        runs: usize,
        process: Option<Engine>,
        thread: Option<Engine>,
    ) -> Result<Self, Failure> {
        let lane = |engine| Lane { engine, tally: Tally::default(), factor: None, recorded: None };
        let (process, thread) = (process.map(lane), thread.map(lane));
        let tasks = census(problem.across).iter().sum::<usize>() as u64;
        let lanes = 1 + u64::from(process.is_some()) + u64::from(thread.is_some());
        let bar = output::progress(lanes * runs as u64 * tasks, "tasks");
        let mut matrix = Tiles::zeros(problem.side, problem.across);
        for step in fill_steps(problem.across) {
            let done = matrix.perform(step, &problem.covariance, &problem.points);
            done.map_err(Failure::of("computing the matrix"))?;
        }
        let serial_factor = matrix.clone();
        let serial = Tally::default();
        Ok(Self { problem, runs, matrix, serial_factor, serial, process, thread, bar, tasks })
    }

    /// Runs all ways in turns, so that a slow minute of the machine hits them alike.
    fn measure(&mut self, killed: bool) -> Result<(), Failure> {
        for run in 1..=self.runs {
            let turn = |way: &str| format!("{way}, run {run} of {}", self.runs);
            self.bar.set_message(turn("serial"));
            let mut own = Tiles::zeros(self.problem.side, self.problem.across);
            let begin = Instant::now();
            for step in fill_steps(self.problem.across).chain(factor_steps(self.problem.across)) {
                own.perform(step, &self.problem.covariance, &self.problem.points)
                    .map_err(Failure::of("the serial run"))?;
            }
            self.serial.walls.push(begin.elapsed().as_secs_f64());
            self.bar.inc(self.tasks);
            self.serial_factor = own;
            // The kills were the PROCESS runs, if there were any.
            let process = self.process.as_mut().filter(|_| !killed).map(|lane| ("process", lane));
            let thread = self.thread.as_mut().map(|lane| ("thread", lane));
            for (way, lane) in process.into_iter().chain(thread) {
                self.bar.set_message(format!("{way}, run {run} of {}", self.runs));
                lane.factorise(&self.bar, None, self.tasks)?;
                lane.replay()?;
            }
        }
        self.bar.finish_and_clear();
        self.serial.residual = model::residual(&self.matrix, &self.serial_factor);
        for lane in self.process.iter_mut().chain(&mut self.thread) {
            lane.check(&self.matrix)?;
            lane.compare(&self.serial_factor);
            lane.time_empty_graph(self.tasks)?;
        }
        Ok(())
    }

    fn record(&mut self) -> Result<(), Failure> {
        for lane in self.process.iter_mut().chain(&mut self.thread) {
            let recorded = lane.engine.record().map_err(Failure::of("recording the graph"))?;
            lane.recorded = Some(recorded);
        }
        Ok(())
    }

    /// Factorises in PROCESS mode under kills, again and again until all kills have hit.
    fn kill(&mut self, wanted: usize, workers: usize) -> Result<Kills, Failure> {
        let none = || Failure::Failed("kills need the PROCESS mode".to_owned());
        let lane = self.process.as_mut().ok_or_else(none)?;
        let mut killer = Killer::new(workers);
        let (mut factorisations, mut fruitless) = (0, 0);
        while killer.killed < wanted && fruitless < FRUITLESS {
            let before = killer.killed;
            let most = usize::try_from(self.tasks / TASKS_A_KILL).unwrap_or(usize::MAX).max(1);
            killer.plan((wanted - before).min(most), self.tasks);
            self.bar.set_message(format!("process, {before} of {wanted} kills"));
            lane.factorise(&self.bar, Some(&mut killer), self.tasks)?;
            lane.check(&self.matrix)?;
            factorisations += 1;
            fruitless = if killer.killed > before { 0 } else { fruitless + 1 };
        }
        let stats = lane.engine.exec.stats();
        Ok(Kills {
            wanted,
            inside: killer.killed,
            deaths: stats.deaths,
            respawns: stats.respawns,
            factorisations,
        })
    }

    fn any_factor(&self) -> &Tiles {
        let lanes = self.process.iter().chain(&self.thread);
        lanes.filter_map(|lane| lane.factor.as_ref()).next().unwrap_or(&self.serial_factor)
    }
}

impl Lane {
    fn factorise(
        &mut self,
        bar: &ProgressBar,
        killer: Option<&mut Killer>,
        tasks: u64,
    ) -> Result<(), Failure> {
        let engine = &self.engine;
        let wall = watched(&engine.exec, bar, killer, tasks, || engine.factorise());
        let wall = wall.map_err(Failure::of("the factorisation"))?;
        self.tally.walls.push(wall.as_secs_f64());
        Ok(())
    }

    /// The same by a replay, if the graph was recorded.
    fn replay(&mut self) -> Result<(), Failure> {
        if let Some([whole, _]) = &self.recorded {
            let wall = self.engine.replay(whole).map_err(Failure::of("the replay"))?;
            self.tally.replays.push(wall.as_secs_f64());
        }
        Ok(())
    }

    /// Checks the factor of the last run.
    fn check(&mut self, matrix: &Tiles) -> Result<(), Failure> {
        let factor = self.engine.factor().map_err(Failure::of("reading the factor"))?;
        let residual = model::residual(matrix, &factor);
        if residual > self.tally.residual || residual.is_nan() {
            self.tally.residual = residual;
        }
        self.factor = Some(factor);
        Ok(())
    }

    fn compare(&mut self, serial: &Tiles) {
        self.tally.difference = self.factor.as_ref().map_or(0.0, |own| own.distance(serial));
    }

    fn time_empty_graph(&mut self, tasks: u64) -> Result<(), Failure> {
        for _ in 0..EMPTY_RUNS {
            let wall = self.engine.empty().map_err(Failure::of("the graph of empty bodies"))?;
            self.tally.overheads.push(wall.as_nanos() as f64 / tasks as f64);
            if let Some([_, empty]) = &self.recorded {
                let wall = self.engine.replay(empty).map_err(Failure::of("the empty replay"))?;
                self.tally.replay_overheads.push(wall.as_nanos() as f64 / tasks as f64);
            }
        }
        Ok(())
    }
}
