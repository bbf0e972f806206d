//! `mailring trace`: what a run did and where its time went, from the log of a profile
//! (`docs/profile-log.md`).

mod builder;
mod html;
mod lanes;
mod model;
mod path;
mod perfetto;
mod reader;
mod summary;
mod svg;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::{Failure, Json};
use crate::output;
use crate::words::{count, printable};
use model::{Run, duration};
use reader::{Log, Which};
use summary::Summary;

/// Examples under the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  mailring trace run.log                                a page of the last run: run_profile.html
  mailring trace run.log --run all -o page.html         all runs of the log in one page
  mailring trace run.log --format svg -o graph.svg
  mailring trace run.log --format perfetto -o run.perfetto-trace    for https://ui.perfetto.dev
  mailring trace logs/ --format table --run all --funcs compile,simulate";

const LONG: &str = "\
A log is what a flow or an executor writes while it is profiled, or the log of CHIA's collector. It may
hold several runs; the last one is shown. Of a directory, all *.log and *.jsonl below it are read.

Exit codes: 0 written, 1 a log cannot be read (or has no such version), 2 bad arguments";

/// What is made of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page for a browser, in one file
    Html,
    /// The graph of calls, laid out in time
    Svg,
    /// For ui.perfetto.dev
    Perfetto,
    /// Times by function, as CSV
    Table,
}

/// Options of `mailring trace`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{LONG}"))]
pub(crate) struct Options {
    /// Logs, or directories of logs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to make of them
    #[arg(long, value_enum, default_value = "html")]
    format: Format,
    /// Where to write it (`-`: to stdout) [default: NAME_profile.EXTENSION here; the table to stdout]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Which run of a log: its number from 1, `last`, or (page and table) `all`
    #[arg(long, value_name = "N", default_value = "last")]
    run: Which,
    /// Only these functions: names with commas between, or a file with a name a line
    #[arg(long, value_name = "NAMES")]
    funcs: Option<String>,
    /// Seconds of silence that end a run in a log without headers
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    gap_threshold: f64,
    /// Pixels a second in the SVG [default: so that a usual call can be read]
    #[arg(long, value_name = "PIXELS", value_parser = seconds)]
    x_scale: Option<f64>,
    #[command(flatten)]
    json: Json,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("a number above 0".to_owned()),
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let wanted = options.funcs.as_deref().map(functions).transpose()?.unwrap_or_default();
    let files = reader::files(&options.files)?;
    let mut runs = Vec::new();
    for file in &files {
        runs.extend(Log::read(file, options.gap_threshold)?.choose(options.run)?);
    }
    if runs.len() > 1 && matches!(options.format, Format::Svg | Format::Perfetto) {
        return Err(Failure::Usage(format!(
            "--format {} shows one run, and these are {}: name one file, and one run with --run",
            options
                .format
                .to_possible_value()
                .map_or(String::new(), |name| name.get_name().to_owned()),
            runs.len()
        )));
    }
    for run in &runs {
        for note in &run.notes {
            eprintln!("mailring: {}: {}", run.about.file, printable(note));
        }
    }
    if options.format != Format::Table {
        for name in &wanted {
            if !runs.iter().any(|run| run.functions.contains(name)) {
                eprintln!("mailring: no call of {} in these logs", printable(name));
            }
        }
    }
    let rows = table::rows(&runs, &wanted);
    let figures = json!({
        "functions": rows.iter().map(summary::Function::json).collect::<Vec<_>>(),
        "runs": runs.iter().map(|run| Summary::of(run).json(run)).collect::<Vec<_>>(),
    });
    let made = match options.format {
        Format::Html => html::page(&runs, &wanted).into_bytes(),
        Format::Table => table::csv(&rows).into_bytes(),
        Format::Svg | Format::Perfetto => {
            let [run] = &mut runs[..] else {
                return Err(Failure::Failed("there is no run".to_owned()));
            };
            if !wanted.is_empty() {
                run.keep(&wanted);
            }
            if options.format == Format::Svg {
                svg::svg(run, options.x_scale).into_bytes()
            } else {
                perfetto::trace(run)
            }
        }
    };
    write(options, &files, &made, &runs, &figures)
}

fn write(
    options: &Options,
    logs: &[PathBuf],
    made: &[u8],
    runs: &[Run],
    figures: &serde_json::Value,
) -> Result<(), Failure> {
    let to_stdout = Path::new("-");
    let json_to_stdout = options.json.file.as_deref() == Some(to_stdout);
    let out = match &options.output {
        Some(out) => Some(out.clone()),
        // The figures go there already.
        None if options.format == Format::Table && json_to_stdout => None,
        None if options.format == Format::Table => Some(to_stdout.to_owned()),
        None => {
            let stem = logs[0].file_stem().unwrap_or_default().to_string_lossy();
            let end = match options.format {
                Format::Html => "html",
                Format::Svg => "svg",
                Format::Perfetto => "perfetto-trace",
                Format::Table => "csv",
            };
            Some(PathBuf::from(format!("{stem}_profile.{end}")))
        }
    };
    let same =
        |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    let written = out.iter().chain(&options.json.file).filter(|path| *path != to_stdout);
    for path in written {
        if let Some(log) = logs.iter().find(|log| same(log, path)) {
            return Err(Failure::Usage(format!(
                "{} is a log: write to another file",
                log.display()
            )));
        }
    }
    let mut report = String::new();
    match out {
        Some(out) if out == to_stdout => {
            if json_to_stdout {
                return Err(Failure::Usage("--json - and -o - both want stdout".to_owned()));
            }
            output::print_bytes(made)?;
        }
        Some(out) => {
            let failed = format!("writing {}", out.display());
            std::fs::write(&out, made).map_err(Failure::of(&failed))?;
            for run in runs {
                let _ = writeln!(report, "{}", one_line(run));
            }
            let _ = writeln!(report, "wrote {}", out.display());
        }
        None => {}
    }
    output::deliver(&report, figures, &options.json)
}

/// A run in one line.
fn one_line(run: &Run) -> String {
    let failed = run.calls.iter().filter(|call| call.outcome == model::Outcome::Failed).count();
    let workers = run.workers.iter().filter(|worker| !worker.is_program).count();
    let mut line = format!(
        "{}, run {} of {}: {}, {}, {}",
        printable(run.title()),
        run.about.number,
        run.about.runs_in_file,
        count(run.calls.len(), "call"),
        count(workers, "worker"),
        duration(run.length)
    );
    if failed > 0 {
        let _ = write!(line, ", {failed} failed");
    }
    if !run.deaths.is_empty() {
        let _ = write!(line, ", {}", model::deaths(run.deaths.len()));
    }
    line
}

/// The names of `--funcs`.
fn functions(text: &str) -> Result<Vec<String>, Failure> {
    let names = if Path::new(text).is_file() {
        std::fs::read_to_string(text).map_err(Failure::of(text))?
    } else {
        text.replace(',', "\n")
    };
    let names: Vec<_> =
        names.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Failure::Usage(format!("--funcs {text}: it names no function")));
    }
    Ok(names)
}
