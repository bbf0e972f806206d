//! What the command writes: reports, JSON files, the log and a progress bar.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tracing::level_filters::LevelFilter;

use crate::cli::{Failure, Json};

/// Shows what the library says, on stderr. Workers are forked later and never log, so the
/// subscriber is the parent's alone.
pub(crate) fn install_tracing(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !plain)
        .with_target(false)
        .init();
}

/// Prints the report, and writes the figures where they were asked for.
pub(crate) fn deliver(report: &str, figures: &Value, json: &Json) -> Result<(), Failure> {
    let text = format!("{figures:#}\n");
    match json.file.as_deref() {
        None => print(report),
        Some(path) if path == Path::new("-") => print(&text),
        Some(path) => {
            print(report)?;
            std::fs::write(path, text).map_err(Failure::of(&format!("writing {}", path.display())))
        }
    }
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// The same for what need not be text.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("writing to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// A bar on stderr if that is a terminal, or else one that shows nothing. Draws only when it is
/// moved, so it starts no thread.
pub(crate) fn progress(steps: u64, unit: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(15));
    let template = format!("{{msg:<24}} [{{bar:40}}] {{pos}}/{{len}} {unit}, {{elapsed}}");
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
