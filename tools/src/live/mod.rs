//! `mailring top` and `mailring clean`: what executors and flows of this user publish, and what killed
//! ones have left.

mod screen;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use console::Term;
use mailring_process::live::{
    PageError, Reading, WriterState, list, read_file, read_segment, remove,
};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::output::print;

pub(crate) const TOP_EXAMPLES: &str = "\
Examples:
  mailring top                        the names that are published
  mailring top gp                     live, until Ctrl-C or until it ends
  mailring top gp --json              one reading, for scripts
  mailring top --post-mortem FILE     what a run that has died was doing

A program publishes when its executor or flow is built with `publish(NAME)`, and saves the page
of a post-mortem with `post_mortem(FILE)`. `mailring gp --publish NAME` does, to try it.";

pub(crate) const CLEAN_EXAMPLES: &str = "\
Examples:
  mailring clean --dry-run            what would be removed
  mailring clean                      removes what killed runs of this user have left";

/// What to look at.
#[derive(Args, Debug)]
pub(crate) struct TopOptions {
    /// The name that the program publishes under; without one, all names are listed
    #[arg(conflicts_with = "post_mortem")]
    name: Option<String>,
    /// Print one reading as JSON and end
    #[arg(long)]
    json: bool,
    /// Print one reading and end, also on a terminal
    #[arg(long)]
    once: bool,
    /// Seconds between two readings
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    interval: Duration,
    /// Open the page that a run has saved
    #[arg(long, value_name = "FILE")]
    post_mortem: Option<PathBuf>,
}

/// What to remove.
#[derive(Args, Debug)]
pub(crate) struct CleanOptions {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.05..=3600.0).contains(&seconds) {
        return Err("invalid interval: 0.05 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn failed(error: PageError) -> Failure {
    match error {
        PageError::InvalidName(_) => Failure::Usage(error.to_string()),
        other => Failure::Failed(other.to_string()),
    }
}

pub(crate) fn top(options: &TopOptions) -> Result<(), Failure> {
    if let Some(file) = &options.post_mortem {
        let reading = read_file(file).map_err(failed)?;
        return show_once(&file.display().to_string(), &reading, options.json);
    }
    let Some(name) = &options.name else { return show_names(options.json) };
    let reading = read_segment(name).map_err(failed)?;
    let out = Term::stdout();
    if options.json || options.once || !std::io::stdout().is_terminal() {
        return show_once(name, &reading, options.json);
    }
    watch(&out, name, reading, options.interval)
}

/// Redraws until it has ended.
fn watch(out: &Term, name: &str, mut reading: Reading, interval: Duration) -> Result<(), Failure> {
    let draw = |reading: &Reading| -> std::io::Result<()> {
        let (height, width) = out.size();
        let mut lines = screen::draw(name, reading, usize::from(width));
        lines.truncate(usize::from(height).saturating_sub(1)); // the rest is for a larger window
        out.move_cursor_to(0, 0)?;
        for line in &lines {
            out.clear_line()?;
            out.write_line(line)?;
        }
        out.clear_to_end_of_screen()
    };
    out.clear_screen().map_err(Failure::of("drawing"))?;
    let mut last = draw(&reading);
    while last.is_ok() && reading.writer == WriterState::Alive {
        std::thread::sleep(interval);
        match read_segment(name) {
            Ok(next) => reading = next,
            // It took its name with it.
            Err(PageError::Missing(_)) => {
                return print(&format!("\n`{name}` has ended.\n"));
            }
            Err(error) => return Err(failed(error)),
        }
        last = draw(&reading);
    }
    last.map_err(Failure::of("drawing"))?;
    match reading.writer {
        WriterState::Died => Err(Failure::Failed(format!(
            "process {} of `{name}` has died; `mailring clean` removes what it has left",
            reading.pid
        ))),
        _ => Ok(()),
    }
}

fn show_once(name: &str, reading: &Reading, json: bool) -> Result<(), Failure> {
    if json {
        return print(&format!("{:#}\n", as_json(name, reading)));
    }
    let width = Term::stdout().size_checked().map_or(100, |(_, width)| usize::from(width));
    print(&format!("{}\n", screen::draw(name, reading, width).join("\n")))
}

fn as_json(name: &str, reading: &Reading) -> Value {
    json!({
        "name": name,
        "pid": reading.pid,
        "writer": reading.writer.name(),
        "age_seconds": reading.age.as_secs_f64(),
        "status": reading.status,
    })
}

fn show_names(json: bool) -> Result<(), Failure> {
    let all = readings();
    if json {
        let all: Vec<_> = all.iter().map(|(name, reading)| summary(name, reading)).collect();
        return print(&format!("{:#}\n", Value::from(all)));
    }
    if all.is_empty() {
        return print(
            "Nothing is published. A program publishes when its executor or flow is built with publish(NAME).\n",
        );
    }
    print(&format!("{}\n", screen::names(&all).join("\n")))
}

/// All segments of this user, as far as they are pages.
fn readings() -> Vec<(String, Result<Reading, PageError>)> {
    let read = |name: String| (name.clone(), read_segment(&name));
    list().into_iter().map(read).collect()
}

fn summary(name: &str, reading: &Result<Reading, PageError>) -> Value {
    match reading {
        Ok(reading) => json!({
            "name": name,
            "kind": reading.status.kind.name(),
            "program": reading.status.program,
            "pid": reading.pid,
            "writer": reading.writer.name(),
        }),
        Err(error) => json!({ "name": name, "error": error.to_string() }),
    }
}

/// Removes what dead processes have left.
pub(crate) fn clean(options: &CleanOptions) -> Result<(), Failure> {
    let mut left = Vec::new();
    for (name, reading) in readings() {
        match &reading {
            Ok(reading) if reading.writer != WriterState::Alive => left.push((name, reading.pid)),
            // Of another version, or cut: whose it is, nobody can tell from it.
            Err(PageError::Missing(_)) | Ok(_) => {}
            Err(error) => eprintln!("mailring: `{name}` is left alone: {error}"),
        }
    }
    if !options.dry_run {
        for (name, _) in &left {
            remove(name).map_err(failed)?;
        }
    }
    if options.json {
        let left: Vec<_> =
            left.iter().map(|(name, pid)| json!({ "segment": name, "pid": pid })).collect();
        let figures = json!({ "removed": !options.dry_run, "left": left });
        return print(&format!("{figures:#}\n"));
    }
    let verb = if options.dry_run { "would remove" } else { "removed" };
    let mut text: String = left
        .iter()
        .map(|(name, pid)| format!("{verb} segment `{name}` of process {pid}, which has died\n"))
        .collect();
    if left.is_empty() {
        text = "nothing was left behind\n".to_owned();
    }
    print(&text)
}
