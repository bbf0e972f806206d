//! A design-space sweep of a small hardware block (`examples/rtl_sweep/dot.v`): for each of twelve
//! configurations, build a simulator with Verilator and the C++ compiler, run three workloads, parse the
//! cycles, and rank. One configuration does not compile, one never ends and meets its deadline, and one
//! worker is killed in the middle of a simulation: the sweep finishes, and says so.
//!
//! Results are cached: a second run takes them from there. The profile of each run is a log, and a page
//! that shows where its time went.
//!
//! ```text
//! build (verilator = 1) ──▶ simulate near   ──▶ parse ─┐
//!                      ├──▶ simulate far    ──▶ parse ─┼──▶ total
//!                      └──▶ simulate jitter ──▶ parse ─┘
//! ```
//!
//! `bash examples/rtl_sweep.sh` installs Verilator where it is missing, and runs this.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;
use std::{env, fs};

use mailring::flow::{self, Budget, Cache, Config, Flow, ObjectRef, Resources, gather, node};
use serde::{Deserialize, Serialize};

const WORKLOADS: [&str; 3] = ["near", "far", "jitter"];
/// What a script takes for "this machine lacks something".
const SKIPPED: u8 = 77;

/// What is cached, and served without running when function, arguments and files are the same.
const CONFIG: &str = "
cache:
  build: {serve: true}
  simulate: {serve: true}
";

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Design {
    lanes: u32,
    depth: u32,
}

impl Design {
    /// About how much logic it takes: multipliers, and places for requests.
    fn area(self) -> u32 {
        100 * self.lanes + 20 * self.depth + 50
    }
}

/// Three lanes are no power of two, and without a place for a request nothing is ever asked for.
const DESIGNS: [Design; 12] = {
    const fn of(lanes: u32, depth: u32) -> Design {
        Design { lanes, depth }
    }
    [
        of(1, 1),
        of(1, 4),
        of(2, 2),
        of(2, 8),
        of(3, 4),
        of(4, 0),
        of(4, 4),
        of(4, 16),
        of(8, 4),
        of(8, 16),
        of(16, 8),
        of(16, 32),
    ]
};
/// The simulation in the middle of which its worker is killed, once.
const KILLED: (Design, &str) = (Design { lanes: 4, depth: 4 }, "far");

/// A simulator of this design: the program itself, so that it can be cached and moved like any value.
#[node(resources(verilator = 1), max_retries = 1)]
fn build(design: Design, sources: &Path) -> Result<Vec<u8>, String> {
    let work = tempfile::tempdir().map_err(|e| format!("making a directory: {e}"))?;
    let output = Command::new("verilator")
        .args(["--cc", "--exe", "--build", "-O3", "-Wno-fatal", "--prefix", "Vdot"])
        .args([format!("-GLANES={}", design.lanes), format!("-GDEPTH={}", design.depth)])
        .args(["-CFLAGS", &format!("-O1 -DLANES={}", design.lanes), "--Mdir"])
        .arg(work.path())
        .args([sources.join("dot.v"), sources.join("bench.cpp")])
        .output();
    said(&output.map_err(|e| format!("starting verilator: {e}"))?)?;
    fs::read(work.path().join("Vdot")).map_err(|e| format!("reading the simulator: {e}"))
}

/// What the simulator says of one workload.
#[node(deadline = "3s", max_retries = 2)]
fn simulate(simulator: &[u8], workload: &str, die: bool) -> Result<String, String> {
    let work = tempfile::tempdir().map_err(|e| format!("making a directory: {e}"))?;
    let program = work.path().join("Vdot");
    fs::write(&program, simulator).map_err(|e| format!("writing the simulator: {e}"))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&program, mode).map_err(|e| e.to_string())?;
    let mut child = Command::new(&program);
    let child = child.arg(workload).stdout(std::process::Stdio::piped()).spawn();
    let child = child.map_err(|e| format!("starting the simulator: {e}"))?;
    if die && flow::task().is_some_and(|task| task.attempt == 1) {
        // The fault of this demonstration: as if somebody killed the worker.
        let own = std::process::id().to_string();
        let _ = Command::new("kill").args(["-KILL", &own]).status();
    }
    said(&child.wait_with_output().map_err(|e| e.to_string())?)
}

#[node]
fn parse(said: &str) -> Result<u64, String> {
    let cycles = said.lines().find_map(|line| line.strip_prefix("cycles ")?.trim().parse().ok());
    cycles.ok_or_else(|| format!("no cycles in {said:?}"))
}

#[node]
fn total(cycles: Vec<u64>) -> (Vec<u64>, u64) {
    let sum = cycles.iter().sum();
    (cycles, sum)
}

/// What a tool printed, or its first error.
fn said(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let all = text(&output.stderr);
    let error = all.lines().find(|line| line.contains("rror")).or_else(|| all.lines().next());
    Err(error.map_or_else(|| output.status.to_string(), str::to_owned))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if Command::new("verilator").arg("--version").output().is_err() {
        eprintln!("rtl_sweep: verilator is not installed; run `bash examples/rtl_sweep.sh`");
        return Ok(ExitCode::from(SKIPPED));
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rtl_sweep");
    let place = env::args_os().nth(1).map_or_else(|| PathBuf::from("target/rtl_sweep"), Into::into);
    fs::create_dir_all(&place)?;

    let cpus = std::thread::available_parallelism()?.get() as f64;
    let each = Resources::cpus(cpus).with("verilator", cpus);
    let flow = Flow::builder().workers("host", 1, each).build()?;
    let cache = Cache::open(place.join("cache"), Budget::unlimited())?;
    flow.configure(&Config::parse(CONFIG)?.cache(&cache))?;
    let log = flow.start_collector(place.join("sweep.log"))?;
    let start = Instant::now();

    let mut rows = Vec::new();
    for design in DESIGNS {
        let label = format!("{} lanes, {} deep", design.lanes, design.depth);
        let simulator = build::options()
            .display_name(&format!("build {label}"))
            .inputs([sources.join("dot.v"), sources.join("bench.cpp")])
            .remote(&flow, design, &sources)?;
        let cycles =
            WORKLOADS.map(|workload| -> Result<ObjectRef<u64>, flow::Error> {
                let output = simulate::options()
                    .display_name(&format!("{workload} {label}"))
                    .remote(&flow, &simulator, workload, (design, workload) == KILLED)?;
                parse::remote(&flow, &output)
            });
        let cycles = cycles.into_iter().collect::<Result<Vec<_>, _>>()?;
        rows.push((design, total::remote(&flow, gather(&flow, &cycles)?)?));
    }
    let mut ranked = Vec::new();
    let mut failed = Vec::new();
    for (design, row) in rows {
        match row.get() {
            Ok((cycles, sum)) => ranked.push((design, cycles, sum)),
            Err(error) => failed.push((design, error)),
        }
    }
    let took = start.elapsed();
    flow.stop_collector()?;

    ranked.sort_by_key(|(design, _, sum)| sum * u64::from(design.area()));
    report(&ranked, &failed);
    let seen = Seen::in_log(&log)?;
    println!(
        "\n{} calls ran, {} were served from the cache, {} tried again after the death of a worker; {:.1} s",
        seen.completed,
        seen.served,
        seen.retried,
        took.as_secs_f64()
    );
    println!("profile: {}", page_of(&log)?.display());
    let which = failed.iter().map(|(design, _)| *design).collect::<Vec<_>>();
    if which != [DESIGNS[4], DESIGNS[5]] {
        return Err(format!("other designs failed than those that must: {which:?}").into());
    }
    Ok(ExitCode::SUCCESS)
}

/// The profile as a page, made by the `mailring` command.
fn page_of(log: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let (log, page) = (fs::canonicalize(log)?, log.with_extension("html"));
    let page = std::path::absolute(page)?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["run", "--release", "--quiet", "--", "trace"]).arg(log).arg("-o").arg(&page);
    said(&command.output()?)?;
    Ok(page)
}

fn report(ranked: &[(Design, Vec<u64>, u64)], failed: &[(Design, flow::Error)]) {
    println!("rank  lanes  depth       near        far     jitter   area  cycles x area");
    for (rank, (design, cycles, sum)) in ranked.iter().enumerate() {
        println!(
            "{:4}  {:5}  {:5}  {:9}  {:9}  {:9}  {:5}  {:13}",
            rank + 1,
            design.lanes,
            design.depth,
            cycles[0],
            cycles[1],
            cycles[2],
            design.area(),
            sum * u64::from(design.area())
        );
    }
    for (design, error) in failed {
        println!("   -  {:5}  {:5}  {error}", design.lanes, design.depth);
    }
}

/// What the log of the last run says.
#[derive(Default)]
struct Seen {
    completed: usize,
    served: usize,
    retried: usize,
}

impl Seen {
    fn in_log(log: &Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(log)?;
        let mut seen = Self::default();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            match line["type"].as_str() {
                Some("run") => seen = Self::default(),
                Some("complete") => seen.completed += 1,
                Some("served") => seen.served += 1,
                Some("retried") => seen.retried += 1,
                _ => {}
            }
        }
        Ok(seen)
    }
}
