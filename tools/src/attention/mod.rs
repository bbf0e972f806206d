//! `mailring attention`: softmax(Q * K^T / sqrt(D)) * V of several heads on simulated chips, in two
//! forms, each checked against a plain computation.

mod data;
mod graph;
mod group;
mod programs;
mod report;

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use mailring::chip::ChipRuntime;
use mailring::{Builder, Error, Executor, Orchestrator, TaskOptions, WorkerKind};

use crate::cli::{Failure, Json};
use crate::output;
use crate::stats::Spread;
use crate::system::{cpu_ns, thread_ns};
use crate::watch::watched;
use data::{Problem, Shape, max_abs_error, worse};
use graph::{Matrices, Plan};
use group::Member;
use programs::Programs;
use report::{ERROR_LIMIT, Form, Report};

/// Heap rings are at least this large.
const LEAST_HEAP: usize = 16 << 20;
/// Numbers in Q, and as many in K, V and O, at most: some 2.5 GB in all.
const MOST_VALUES: usize = 1 << 26;

/// Examples under the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  mailring attention --chips 2
  mailring attention --chips 3 --heads 1 --sequence 1000 --tile 100
  mailring attention --form groups --runs 20
  mailring attention --save attend.bin && mailring chip inspect attend.bin
  SIMCHIP_FAULT=run=-9@1 mailring attention              a chip that fails
  SIMCHIP_FAULT=hang@1 mailring attention --deadline 2   a chip that hangs

Two forms of the same work. As a graph: a task for each tile of queries and tile of keys, whose
order follows from the running maximum, sum and output that they hand on. As groups: a task for
each head, on all chips at once; each chip has a share of the keys, and row maxima and sums pass
between them while they run.

The JSON file holds \"max_abs_error\", \"tasks\", \"group_tasks\", \"wall_s\" {\"graph\", \"group\"} (null:
not run), \"plain_wall_s\", \"gflop_s\", \"submit_ns\" (the host's processor, a task), \"busy\" (of
each chip), and the sizes. With --replay also \"replay_submit_ns\" and
\"replay_wall_s\" {\"graph\", \"group\"}.";

/// Options of `mailring attention`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Chips: devices 0, 1, ..., each driven by a process of its own
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=group::WORDS as i64))]
    chips: u16,

    /// Heads
    #[arg(long, value_name = "H", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    heads: u16,

    /// Queries, and keys, of a head
    #[arg(long, value_name = "S", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    sequence: u32,

    /// Numbers in a query, a key, a value
    #[arg(long, value_name = "D", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    dim: u16,

    /// Queries, and keys, of a tile
    #[arg(long, value_name = "T", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    tile: u16,

    /// Which form is run
    #[arg(long, value_enum, default_value_t = Forms::Both)]
    form: Forms,

    /// Runs of each form; the median counts
    #[arg(long, value_name = "R", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,

    /// Seconds after which a task is ended with its worker: what a chip that hangs comes to
    /// [default: as long as it takes]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u16).range(1..=4000))]
    deadline: Option<u16>,

    /// Also record each form and replay it, and print both side by side
    #[arg(long)]
    replay: bool,

    /// The library that drives the chips [default: the simulated chip that was built with this
    /// command]
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,

    /// Also write the callable of the graph's `attend` tasks to FILE, for `mailring chip inspect`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Forms {
    /// A task for each pair of tiles
    Graph,
    /// A group task for each head
    Groups,
    /// Both, one after the other
    Both,
}

/// Does the work in every form that was asked for, prints, and checks the answers.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let shape = Shape {
        heads: usize::from(options.heads),
        sequence: options.sequence as usize,
        dim: usize::from(options.dim),
        tile: usize::from(options.tile),
    };
    let (chips, runs) = (usize::from(options.chips), usize::from(options.runs));
    if shape.sequence < chips {
        let why = format!(
            "--sequence {}: fewer keys than chips ({chips}); every chip gets a share",
            shape.sequence
        );
        return Err(Failure::Usage(why));
    }
    let values = shape.heads.saturating_mul(shape.sequence).saturating_mul(shape.dim);
    if values > MOST_VALUES {
        let why = format!(
            "heads x sequence x dimension is {values}; at most {MOST_VALUES} are possible, so make \
             one of them smaller"
        );
        return Err(Failure::Usage(why));
    }
    if let Some(path) = &options.save {
        let callable = programs::attend().map_err(Failure::of("making the callable"))?;
        std::fs::write(path, callable.as_bytes())
            .map_err(Failure::of(&format!("writing {}", path.display())))?;
    }
    let plan = Plan::new(shape, chips);
    let problem = Problem::new(shape);
    let (mut chip_runtime, programs) = runtime(options)?;
    chip_runtime = chip_runtime.devices((0..chips).map(|chip| chip as i32));

    // One executor at a time: each forks its workers while this process has one thread, and a
    // device has one owner.
    let (graph, groups) = (options.form != Forms::Groups, options.form != Forms::Graph);
    let bodies =
        if graph { plan.tasks() } else { 0 } + if groups { shape.heads * chips } else { 0 };
    let bar = output::progress((runs * bodies) as u64, "bodies");
    bar.set_message("plain");
    let begin = Instant::now();
    let answer = problem.solve(|| bar.tick());
    let plain = begin.elapsed().as_secs_f64();
    let tasks = match options.deadline {
        Some(seconds) => TaskOptions::new().deadline(Duration::from_secs(seconds.into())),
        None => TaskOptions::new(),
    };
    let replay = options.replay;
    let bench = Bench { problem: &problem, answer: &answer, plan, chips, runs, tasks, replay, bar };
    let graph = graph.then(|| bench.graph(chip_runtime.clone(), programs)).transpose()?;
    let group = groups.then(|| bench.group(chip_runtime, programs)).transpose()?;
    bench.bar.finish_and_clear();

    let runtime = options.runtime.as_ref().map(|path| path.display().to_string());
    let report = Report { plan, chips, runs, runtime, plain, graph, group };
    output::deliver(&report.text(), &report.json(), &options.json)?;
    judge(&report)
}

/// The library with our programs.
fn runtime(options: &Options) -> Result<(ChipRuntime, Programs), Failure> {
    // A name without a slash would be looked for among the libraries of the system.
    let named = options.runtime.as_ref().map(std::path::absolute).transpose();
    let named = named.map_err(Failure::of("--runtime"))?;
    let library = named.or_else(mailring_simchip::library_path).ok_or_else(|| {
        let why = "the simulated chip, libmailring_simchip.so, is not where this command was \
                   built; build it, or name a library with --runtime";
        Failure::Failed(why.to_owned())
    })?;
    // SAFETY: the simulated chip, or what the caller of this command calls a host runtime.
    let mut runtime = unsafe { ChipRuntime::new(library) };
    let programs = Programs::register(&mut runtime);
    let programs = programs.map_err(Failure::of("making the callables"))?;
    Ok((runtime, programs))
}

/// Whether the figures are what they must be.
fn judge(report: &Report) -> Result<(), Failure> {
    let error = report.error();
    if error.is_nan() || error >= ERROR_LIMIT {
        let why = format!("the error {error:.2e} is not below {ERROR_LIMIT:e}");
        return Err(Failure::Failed(why));
    }
    Ok(())
}

/// What both forms have in common.
struct Bench<'a> {
    problem: &'a Problem,
    answer: &'a [f64],
    plan: Plan,
    chips: usize,
    runs: usize,
    tasks: TaskOptions,
    /// Replays as well.
    replay: bool,
    bar: ProgressBar,
}

impl Bench<'_> {
    fn graph(&self, runtime: ChipRuntime, programs: Programs) -> Result<Form, Failure> {
        // Room for some tiles, so that chips need not wait for the submitter.
        let heap = 8 * self.plan.slab_bytes();
        let builder = Executor::builder().chip_workers(runtime).heap_bytes(heap.max(LEAST_HEAP));
        let tasks = self.plan.tasks();
        self.measure("graph", builder, [tasks, tasks], |orch, matrices| {
            graph::submit(orch, programs, &self.plan, matrices, &self.tasks)
        })
    }

    fn group(&self, runtime: ChipRuntime, programs: Programs) -> Result<Form, Failure> {
        let shape = self.plan.shape;
        let factory = move |worker: mailring::WorkerId| {
            let device = runtime.device_ids().get(usize::from(worker.0));
            let device = *device.ok_or_else(|| format!("{worker} has no device"))?;
            let member = Member::start(&runtime, device, programs, shape)?;
            Ok::<Box<dyn mailring::Worker>, Box<dyn StdError + Send + Sync>>(Box::new(member))
        };
        // Room for the head that runs and the next one, wherever in the ring they lie.
        let heap = 3 * group::slab_bytes(&shape, self.chips);
        let builder = Executor::builder()
            .workers(self.chips)
            .worker_factory(WorkerKind::NextLevel, factory)
            .heap_bytes(heap.max(LEAST_HEAP));
        let tasks = [shape.heads, shape.heads * self.chips];
        self.measure("groups", builder, tasks, |orch, matrices| {
            group::submit(orch, &shape, self.chips, matrices, &self.tasks)
        })
    }

    /// Builds an executor, runs one form as often as was asked for, and checks every answer.
    fn measure(
        &self,
        name: &str,
        builder: Builder,
        [tasks, bodies]: [usize; 2],
        submit: impl Fn(&mut Orchestrator, &Matrices) -> Result<(), Error>,
    ) -> Result<Form, Failure> {
        let failed = || |error: Error| Failure::Failed(describe(name, &error));
        let exec = builder
            .name("mailring-attention")
            .buffer_bytes(Matrices::bytes(&self.plan.shape) + (1 << 20))
            .build()
            .map_err(Failure::of("building the executor"))?;
        let matrices = Matrices::new(&exec, self.problem).map_err(failed())?;
        let (mut walls, mut error) = (Vec::with_capacity(self.runs), 0.0);
        let (mut replays, mut submits, mut replay_submits) = (Vec::new(), Vec::new(), Vec::new());
        let record = || exec.record(|orch| submit(orch, &matrices));
        let recorded = self.replay.then(record).transpose().map_err(failed())?;
        let recorded = recorded.map(|((), recording)| (recording.bindings(), recording));
        let mut on_processor = vec![0; self.chips];
        for run in 1..=self.runs {
            self.bar.set_message(format!("{name}, run {run} of {}", self.runs));
            matrices.spoil().map_err(failed())?;
            let before = cpu_times(&exec);
            let work = || {
                let begin = Instant::now();
                let host = exec.run(|orch| on_host(|| submit(orch, &matrices)))?;
                Ok((begin.elapsed(), host))
            };
            let done = watched(&exec, &self.bar, None, bodies as u64, work);
            let (wall, host) = done.map_err(failed())?;
            walls.push(wall.as_secs_f64());
            submits.push(host / tasks as f64);
            for ((sum, before), after) in on_processor.iter_mut().zip(before).zip(cpu_times(&exec))
            {
                *sum += after.saturating_sub(before);
            }
            let answer = matrices.o.to_vec().map_err(failed())?;
            error = worse(error, max_abs_error(&answer, self.answer));
            if let Some((bindings, recording)) = &recorded {
                matrices.spoil().map_err(failed())?;
                let begin = Instant::now();
                let replay = |orch: &mut Orchestrator| on_host(|| orch.replay(recording, bindings));
                let host = exec.run(replay).map_err(failed())?;
                replays.push(begin.elapsed().as_secs_f64());
                replay_submits.push(host / tasks as f64);
                let answer = matrices.o.to_vec().map_err(failed())?;
                error = worse(error, max_abs_error(&answer, self.answer));
            }
        }
        let whole = walls.iter().sum::<f64>() * 1e9;
        let busy = on_processor.into_iter().map(|ns: u64| ns as f64 / whole).collect();
        let wall = Spread::of(&walls);
        let wall = wall.ok_or_else(|| Failure::Failed("nothing was measured".to_owned()))?;
        let (submit, replay_submit) = (Spread::of(&submits), Spread::of(&replay_submits));
        Ok(Form { wall, error, busy, submit, replay: Spread::of(&replays), replay_submit })
    }
}

/// What went wrong in a form. A chip that took its process with it has told nobody who it was, and
/// of workers that are our own the engine knows no device: worker i drives device i.
fn describe(form: &str, error: &Error) -> String {
    let text = format!("attention, {form}: {error}");
    match error.failure().and_then(|failure| failure.worker) {
        Some(worker) if !text.contains("device ") => format!("{text}; it had device {}", worker.0),
        _ => text,
    }
}

/// Nanoseconds that this thread spends on a processor in there.
fn on_host<R>(work: impl FnOnce() -> Result<R, Error>) -> Result<f64, Error> {
    let begin = thread_ns();
    work()?;
    Ok((thread_ns() - begin) as f64)
}

/// Nanoseconds that each worker has been on a processor.
fn cpu_times(exec: &Executor) -> Vec<u64> {
    let pids = exec.worker_pids();
    pids.iter().map(|pid| cpu_ns(&format!("/proc/{pid}")).unwrap_or(0)).collect()
}
