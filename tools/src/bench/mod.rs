//! `mailring bench`: what the engine costs on this machine, beside what nothing at all costs.
//!
//! Every part has a file of its own and puts its measurements into [`Figures`]. All parts are
//! measured in rounds, the floor in each of them: ratios compare what ran within the same second.

mod c;
mod chip_args;
mod engine;
mod faults;
mod figures;
mod floor;
mod flow;
mod idle;
mod roundtrip;
mod throughput;
mod typed;

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use mailring::Mode;

use crate::cli::{Failure, Json};
use crate::output;
use crate::system::{Pinned, allowed_cpus};
use engine::Engine;
use figures::Figures;

/// Examples under the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  mailring bench --quick
  mailring bench --json bench.json
  mailring bench --quick --json - | grep rtt

The keys of the JSON file are listed by --help.";

/// What the long help says: examples and the keys of the JSON file.
pub(crate) fn help() -> String {
    format!(
        "{EXAMPLES}\n\nKeys of the JSON file. Each is a median; KEY_min and KEY_max are beside \
         it:\n{}\nRound trip, independent and chained tasks: the submitter on the first \
         processor, one worker on\nthe second, empty bodies. A ratio is taken within one round, \
         then the median of all rounds.",
        figures::describe_keys()
    )
}

/// Options of `mailring bench`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Fewer repetitions: some ten seconds instead of a minute or two
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    json: Json,
}

/// How much of everything.
struct Plan {
    rounds: usize,
    /// Round trips of the ping-pong and of single tasks, each round.
    trips: usize,
    /// Independent and chained tasks, each round.
    tasks: usize,
    /// Deaths of an idle and of a busy worker.
    kills: usize,
    idle: Duration,
    idle_rounds: usize,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let idle = Duration::from_secs(2);
        if options.quick {
            let (trips, tasks) = (50_000, 500_000);
            Self { rounds: 5, trips, tasks, kills: 10, idle, idle_rounds: 1 }
        } else {
            let (trips, tasks) = (200_000, 2_000_000);
            Self { rounds: 11, trips, tasks, kills: 50, idle, idle_rounds: 5 }
        }
    }

    fn steps(&self) -> usize {
        6 * self.rounds + self.kills + 2 * self.idle_rounds
    }
}

/// Measures all parts and prints.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let plan = Plan::of(options);
    let bar = output::progress(plan.steps() as u64, "steps");
    let mut figures = Figures::default();
    let cpus = allowed_cpus();
    let (here, there) = (cpus[0], cpus[1 % cpus.len()]);
    for _ in 0..plan.rounds {
        round(&plan, here, there, &bar, &mut figures)?;
    }
    deaths(&plan, &bar, &mut figures)?;
    for (mode, key) in
        [(Mode::Process, "idle_cpu_percent"), (Mode::Thread, "thread.idle_cpu_percent")]
    {
        bar.set_message("idle");
        let engine = build(mode, cpus.len().min(256), false)?;
        for _ in 0..plan.idle_rounds {
            figures.add(key, idle::cpu_percent(&engine.exec, plan.idle));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let note = if here == there { " (only one: figures say little)" } else { "" };
    let text = format!(
        "mailring bench: {} rounds, submitter on processor {here}, worker on {there}{note}\n\n{}",
        plan.rounds,
        figures.text()
    );
    output::deliver(&text, &figures.json(), &options.json)
}

/// Only one executor at a time, so that none is built beside threads of another.
fn build(mode: Mode, workers: usize, pin: bool) -> Result<Engine, Failure> {
    Engine::build(mode, workers, pin).map_err(Failure::of("building the executor"))
}

/// The floor, and the same three measurements in both modes.
fn round(
    plan: &Plan,
    here: usize,
    there: usize,
    bar: &ProgressBar,
    figures: &mut Figures,
) -> Result<(), Failure> {
    bar.set_message("ping-pong");
    let floor = floor::ping_pong(plan.trips as u64, here, there);
    let floor = floor.map_err(Failure::of("the ping-pong"))?;
    figures.add("floor_pingpong_ns", floor);
    bar.inc(1);
    {
        let _pinned = Pinned::to(here);
        let measured = chip_args::used_and_full(plan.tasks);
        let (used, full) = measured.map_err(Failure::of("the chip arguments"))?;
        figures.add("chip_args_used_ns", used);
        figures.add("chip_args_full_ns", full);
        figures.add("ratio_chip_args", used / full);
    }
    let mut process = (f64::NAN, f64::NAN);
    for (mode, name, ratio) in
        [(Mode::Process, "process", "ratio"), (Mode::Thread, "thread", "ratio_thread")]
    {
        bar.set_message(name);
        let engine = build(mode, 1, true)?;
        // After the build: workers and supervisor are not to inherit it.
        let _pinned = Pinned::to(here);
        let failed = || Failure::of("a measurement");
        let rtt = roundtrip::round_trip(&engine, plan.trips).map_err(failed())?;
        let independent = throughput::independent(&engine, plan.tasks).map_err(failed())?;
        let chain = throughput::chain(&engine, plan.tasks).map_err(failed())?;
        for (what, ns) in [("rtt", rtt), ("independent", independent), ("chain", chain)] {
            figures.add(&format!("{name}.{what}_ns"), ns);
            figures.add(&format!("{ratio}_{what}"), ns / floor);
        }
        figures.add(&format!("{name}.independent_per_s"), 1e9 / independent);
        if mode == Mode::Process {
            process = (rtt, chain);
        }
        bar.inc(1);
    }
    bar.set_message("c");
    through_c(plan, here, figures)?;
    bar.inc(1);
    bar.set_message("typed");
    typed_tasks(plan, here, figures)?;
    bar.inc(1);
    bar.set_message("flow");
    flows(plan, here, there, process, figures).map_err(Failure::of("a measurement of flows"))?;
    bar.inc(1);
    Ok(())
}

/// The engine through the C interface, beside Rust in the same process.
fn through_c(plan: &Plan, here: usize, figures: &mut Figures) -> Result<(), Failure> {
    // Both are built before either has threads that could hold something.
    let engine = build(Mode::Process, 1, true)?;
    let loops = c::Loops::build().map_err(Failure::Failed)?;
    let [alone, beside] = c::arguments(plan.tasks / 4).map_err(Failure::Failed)?;
    figures.add("c.args_call_ns", alone);
    figures.add("c.args_call_two_threads_ns", beside);
    figures.add("ratio_c_two_threads", beside / alone);
    let _pinned = Pinned::to(here);
    let all = c::all(&engine, &loops, plan.trips, plan.tasks).map_err(Failure::Failed)?;
    for (what, both) in ["rtt", "independent", "chain"].into_iter().zip(all) {
        figures.add(&format!("c.{what}_ns"), both.c);
        figures.add(&format!("ratio_c_{what}"), both.ratio());
    }
    Ok(())
}

/// Tasks with typed parameters, beside the same without types.
fn typed_tasks(plan: &Plan, here: usize, figures: &mut Figures) -> Result<(), Failure> {
    let typed = typed::Typed::build(Mode::Process, true);
    let typed = typed.map_err(Failure::of("building the executor"))?;
    let _pinned = Pinned::to(here);
    let failed = || Failure::of("a measurement of typed tasks");
    let submit = typed.submit(plan.tasks / 4).map_err(failed())?;
    let add = typed.add(plan.trips / 100).map_err(failed())?;
    figures.add("typed.submit_ns", submit.typed);
    figures.add("ratio_typed_submit", submit.ratio());
    figures.add("typed.add_ns", add.typed);
    figures.add("ratio_typed_add", add.ratio());
    Ok(())
}

/// Flows, beside the engine's round trip and chain of the same round.
fn flows(
    plan: &Plan,
    here: usize,
    there: usize,
    engine: (f64, f64),
    figures: &mut Figures,
) -> Result<(), mailring::flow::Error> {
    let flow = flow::build(there)?;
    let _pinned = Pinned::to(here);
    let rtt = flow::round_trip(&flow, plan.trips)?;
    let chain = flow::chain(&flow, plan.tasks / 4)?;
    figures.add("flow.rtt_ns", rtt);
    figures.add("ratio_flow_rtt", rtt / engine.0);
    figures.add("flow.chain_ns", chain);
    figures.add("ratio_flow_chain", chain / engine.1);
    figures.add("flow.in_flight_ns", flow::in_flight(&flow, 100_000)?);
    figures.add("flow_cancel_us", flow::cancel_queued(&flow, 200)?);
    figures.add("flow.hand_over_us", flow::hand_over(&flow, 200)?);
    Ok(())
}

fn deaths(plan: &Plan, bar: &ProgressBar, figures: &mut Figures) -> Result<(), Failure> {
    let engine = build(Mode::Process, 2, false)?;
    for _ in 0..plan.kills {
        bar.set_message("deaths");
        let idle = faults::kill_idle(&engine).map_err(Failure::Failed)?;
        let busy = faults::kill_busy(&engine).map_err(Failure::Failed)?;
        figures.add("death_notice_idle_ms", idle.notice_ms);
        figures.add("death_notice_busy_ms", busy.notice_ms);
        figures.add("respawn_ms", idle.respawn_ms);
        figures.add("respawn_ms", busy.respawn_ms);
        bar.inc(1);
    }
    Ok(())
}
