//! Logs of profiles: lines to events, events to runs (`docs/profile-log.md`).

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::builder::Builder;
use super::model::Run;
use crate::cli::Failure;

/// The version of the log that this program reads.
const VERSION: u64 = 1;

/// Lines that are no events are named one by one up to here, and counted beyond.
const NAMED_LINES: usize = 3;

/// One line: what every event has, and all its fields.
pub(super) struct Event {
    pub(super) kind: String,
    /// Microseconds since the epoch.
    pub(super) ts: i64,
    pub(super) fields: Map<String, Value>,
}

impl Event {
    fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Value::Object(mut fields) = value else { return Err("not a JSON object".to_owned()) };
        let ts = match fields.remove("ts").as_ref().and_then(Value::as_f64) {
            // Beyond the year 5000 it is no time, and the arithmetic below could overflow.
            Some(seconds) if (0.0..1e11).contains(&seconds) => (seconds * 1e6).round() as i64,
            _ => return Err("it has no valid `ts`".to_owned()),
        };
        match fields.remove("type") {
            Some(Value::String(kind)) => Ok(Self { kind, ts, fields }),
            _ => Err("it has no `type`".to_owned()),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }
}

/// A run as it was read: not every log that holds one of another version is useless.
enum Read {
    Run(Box<Builder>),
    OtherVersion(String),
}

/// A file and its runs.
pub(super) struct Log {
    path: PathBuf,
    runs: Vec<Read>,
    notes: Vec<String>,
}

/// Which runs of a log are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Last,
    All,
    /// Counted from 1.
    Number(usize),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            "all" => Ok(Self::All),
            _ => match text.parse() {
                Ok(number) if number > 0 => Ok(Self::Number(number)),
                _ => Err("a number from 1, `last` or `all`".to_owned()),
            },
        }
    }
}

impl Log {
    /// Reads a file. A run begins with a header; lines before the first header form runs that are
    /// cut where nothing happens for `gap` seconds.
    pub(super) fn read(path: &Path, gap: f64) -> Result<Self, Failure> {
        let failed = |error| Failure::Failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(Failure::Failed(format!("{}: it is a directory", path.display())));
        }
        Self::parse(path, BufReader::with_capacity(1 << 18, file), gap)
    }

    /// The same for what a file has, or was read from elsewhere (`fuzz/`).
    pub(super) fn parse(path: &Path, mut input: impl BufRead, gap: f64) -> Result<Self, Failure> {
        let failed = |error| Failure::Failed(format!("{}: {error}", path.display()));
        let mut log = Self { path: path.to_owned(), runs: Vec::new(), notes: Vec::new() };
        let (mut line, mut number, mut last) = (Vec::new(), 0_usize, 0_i64);
        let (mut with_header, mut invalid) = (false, 0_usize);
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            number += 1;
            let whole = line.ends_with(b"\n");
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event = match Event::parse(&line) {
                Ok(event) => event,
                Err(why) => {
                    invalid += 1;
                    if !whole {
                        log.notes.push(format!("line {number}, the last one, is cut: left out"));
                    } else if invalid <= NAMED_LINES {
                        log.notes.push(format!("line {number} is left out: {why}"));
                    }
                    continue;
                }
            };
            if event.kind == "run" {
                with_header = true;
                log.begin(&event);
            } else if log.runs.is_empty() || !with_header && (event.ts - last) as f64 > gap * 1e6 {
                log.runs.push(Read::Run(Box::default()));
            }
            last = event.ts.max(if event.kind == "run" { 0 } else { last });
            if let Some(Read::Run(run)) = log.runs.last_mut() {
                run.take(event);
            }
        }
        if invalid > NAMED_LINES {
            log.notes.push(format!("{invalid} lines of {number} are no events"));
        }
        if log.runs.is_empty() {
            let why = if number == 0 { "is empty" } else { "has no line that is an event" };
            return Err(Failure::Failed(format!("{}: the log {why}", path.display())));
        }
        Ok(log)
    }

    fn begin(&mut self, header: &Event) {
        let version = header.fields.get("version");
        if version.and_then(Value::as_u64) == Some(VERSION) {
            return self.runs.push(Read::Run(Box::default()));
        }
        let version = version.map_or("none".to_owned(), |version| version.to_string());
        let by = header
            .text("mailring")
            .map_or(String::new(), |by| format!(" (written by mailring {})", by.escape_debug()));
        self.runs.push(Read::OtherVersion(format!(
            "the log has version {}{by}, this program reads version {VERSION}",
            version.escape_debug()
        )));
    }

    /// The wanted runs, at least one, with what is to be said of each.
    pub(super) fn choose(self, which: Which) -> Result<Vec<Run>, Failure> {
        let count = self.runs.len();
        let wanted = match which {
            Which::All => 0..count,
            Which::Last => count - 1..count,
            Which::Number(number) if number <= count => number - 1..number,
            Which::Number(number) => {
                let runs = if count == 1 { "1 run".to_owned() } else { format!("{count} runs") };
                let path = self.path.display();
                return Err(Failure::Usage(format!(
                    "--run {number}: {path} has {runs}, counted from 1"
                )));
            }
        };
        let mut runs = Vec::new();
        for (at, read) in self.runs.into_iter().enumerate() {
            if !wanted.contains(&at) {
                continue;
            }
            match read {
                Read::Run(builder) => {
                    let mut run = builder.finish();
                    run.about.file = self.path.display().to_string();
                    run.about.number = at + 1;
                    run.about.runs_in_file = count;
                    run.notes.splice(0..0, self.notes.iter().cloned());
                    runs.push(run);
                }
                Read::OtherVersion(why) => {
                    let path = self.path.display();
                    let others = if count > 1 { "; --run N shows another run" } else { "" };
                    return Err(Failure::Failed(format!("{path}: run {}: {why}{others}", at + 1)));
                }
            }
        }
        Ok(runs)
    }
}

/// The files meant by `paths`: those named, and `*.log` and `*.jsonl` below directories, by name.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        let mut open = vec![path.clone()];
        while let Some(directory) = open.pop() {
            let failed = |error| Failure::Failed(format!("{}: {error}", directory.display()));
            for entry in std::fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
                let is_log = path.extension().is_some_and(|end| end == "log" || end == "jsonl");
                if kind.is_dir() {
                    open.push(path);
                } else if kind.is_file() && is_log {
                    files.push(path);
                }
            }
        }
        if files.len() == before {
            let path = path.display();
            return Err(Failure::Failed(format!("{path}: no *.log and no *.jsonl below it")));
        }
        files[before..].sort();
    }
    Ok(files)
}
