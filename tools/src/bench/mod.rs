//! `mailring bench`: the floor of this machine, this engine, and others, side by side.
//!
//! A section measures what belongs together, in rounds, and ratios are taken within a round: they
//! compare what ran within the same second. Each section runs in a process of its own ([`child`]),
//! so that none meets what another has left; this process only starts them one after the other,
//! looks at the machine in between, and writes the report.

mod child;
mod figures;
mod machine;
mod partner;
#[cfg(feature = "peers")]
mod peers;
mod plot;
mod raw;
mod run;
mod section;
mod sections;
mod table;
mod taskbench;
mod verdict;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::{Failure, Json};
use crate::output;
use figures::Figures;
use machine::{Machine, Ticks};
use section::{Effort, Section};
use sections::ALL;
use verdict::{Seen, Verdict};

pub(crate) use child::COMMAND;

/// Examples under the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  mailring bench --quick
  mailring bench --json bench.json --plot bench.svg
  mailring bench --only floor,tasks --json - | grep rtt

The keys of the JSON file are listed by --help.";

/// Looked at between two sections, to see what other programs do.
const PAUSE: Duration = Duration::from_millis(80);

/// What the long help says: examples, sections and the keys of the JSON file.
pub(crate) fn help() -> String {
    let mut out = format!("{EXAMPLES}\n\nSections:\n");
    for section in ALL {
        out += &format!("  {:<10} {}\n", section.name, section.title);
    }
    out += "\nKeys of the JSON file. Those with a star stand at its top, as medians; all stand in\n\
            `detail` with median, p1, p99, min, max, spread (the middle half / the median) and\n\
            rounds. A ratio is taken within each round.\n";
    for figure in ALL.iter().flat_map(|section| section.figures) {
        let star = if figure.flat { '*' } else { ' ' };
        out += &format!("{star} {:<30} {}\n", figure.key, figure.describe());
    }
    out
}

/// Options of `mailring bench`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Half a minute: fewer rounds, every key at the top of the JSON file
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// Several minutes: more rounds, sizes and numbers of workers
    #[arg(long)]
    full: bool,

    /// Only these sections
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    only: Vec<String>,

    /// Also draw the figures into FILE, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    #[command(flatten)]
    json: Json,
}

impl Options {
    fn effort(&self) -> Effort {
        match (self.quick, self.full) {
            (true, _) => Effort::Quick,
            (_, true) => Effort::Full,
            _ => Effort::Normal,
        }
    }

    /// As it could be typed.
    fn command(&self) -> String {
        let mut command = "mailring bench".to_owned();
        match self.effort() {
            Effort::Quick => command += " --quick",
            Effort::Normal => {}
            Effort::Full => command += " --full",
        }
        if !self.only.is_empty() {
            command += &format!(" --only {}", self.only.join(","));
        }
        command
    }

    /// Finds out before minutes are spent that a file cannot be written.
    fn check_files(&self) -> Result<(), Failure> {
        let stdout = Path::new("-");
        let json = self.json.file.as_deref().filter(|path| *path != stdout);
        json.into_iter().chain(self.plot.as_deref()).try_for_each(|path| {
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.map(drop).map_err(Failure::of(&format!("writing {}", path.display())))
        })
    }

    fn sections(&self) -> Result<Vec<&'static Section>, Failure> {
        if self.only.is_empty() {
            let effort = self.effort();
            return Ok(ALL.iter().copied().filter(|s| s.seconds(effort) > 0.0).collect());
        }
        self.only.iter().map(|name| named(name)).collect()
    }
}

fn named(name: &str) -> Result<&'static Section, Failure> {
    ALL.iter().copied().find(|section| section.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|section| section.name).collect();
        Failure::Usage(format!("no section is called {name:?}; there are {}", names.join(", ")))
    })
}

/// What the process of a section is told.
#[derive(Args, Debug)]
pub(crate) struct SectionOptions {
    name: String,
    effort: Effort,
}

/// In the process of a section.
pub(crate) fn run_section(options: &SectionOptions) -> Result<(), Failure> {
    child::measure(named(&options.name)?, options.effort).map_err(Failure::Failed)
}

/// Has all sections measured, and reports.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let sections = options.sections()?;
    options.check_files()?;
    let machine = Machine::here();
    let bar = output::progress(sections.len() as u64, "sections");
    let mut figures = Figures::default();
    let (begin, mut between) = (Ticks::now(), Ticks::default());
    for section in sections {
        bar.set_message(section.name);
        let before = Ticks::now();
        std::thread::sleep(PAUSE);
        between = between.and(Ticks::now().since(before));
        let says = |what: &str| bar.set_message(format!("{}: {what}", section.name));
        let started = Instant::now();
        match child::run(section, options.effort(), says) {
            Ok(raw) => figures.sections.push((section, raw)),
            Err(why) => figures.failed.push((section.name, why)),
        }
        figures.seconds.push((section.name, started.elapsed().as_secs_f64()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let verdict = Verdict::of(&figures, Seen { between, whole: Ticks::now().since(begin) });
    let report = table::text(&options.command(), &machine, &figures, &verdict);
    output::deliver(&report, &document(options, &machine, &figures, &verdict), &options.json)?;
    if let Some(file) = &options.plot {
        let subtitle = format!(
            "{}, {} processors, Linux {}, {}; medians, lines from p1 to p99",
            machine.model,
            machine.processors,
            machine.kernel,
            verdict.state.name()
        );
        let svg = plot::svg(&options.command(), &subtitle, &figures)
            .ok_or_else(|| Failure::Failed("nothing was measured that can be drawn".to_owned()))?;
        std::fs::write(file, svg).map_err(Failure::of(&format!("writing {}", file.display())))?;
    }
    if figures.failed.is_empty() {
        return Ok(());
    }
    let failed: Vec<_> =
        figures.failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    Err(Failure::Failed(format!("not measured: {}", failed.join("; "))))
}

/// The JSON file: flat keys at the top, the rest in `detail`.
fn document(options: &Options, machine: &Machine, figures: &Figures, verdict: &Verdict) -> Value {
    let mut all: Map<String, Value> = figures.flat();
    all.insert("verdict".to_owned(), verdict.json(figures));
    all.insert(
        "machine".to_owned(),
        json!({
            "model": machine.model,
            "processors": machine.processors,
            "kernel": machine.kernel,
            "load": machine.load,
        }),
    );
    all.insert("command".to_owned(), options.command().into());
    all.insert("detail".to_owned(), figures.detail(verdict.state).into());
    all.into()
}
