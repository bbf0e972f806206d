//! The committed table, and what differs from it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::rows::ROWS;

const FRONT: &str = "\
# Instructions a task, on x86-64 in the release profile, counted by callgrind:
#   bash .ci/instructions             compares
#   bash .ci/instructions --update    writes this table anew
# `submitter` is the thread that submits, `worker` the one that runs the tasks. A count may be over
# the one here by `tolerance` percent.
";
const TOLERANCE: f64 = 4.0;

/// Instructions a task.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Counts {
    pub(crate) submitter: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<u64>,
}

/// What is committed for a row.
#[derive(Serialize, Deserialize, Clone, Copy)]
struct Expected {
    #[serde(flatten)]
    counts: Counts,
    tolerance: f64,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: BTreeMap<String, Expected>,
}

/// How a count compares with that of the table.
#[derive(PartialEq, Clone, Copy)]
pub(crate) enum Verdict {
    Good,
    Over,
    Under,
}

impl Table {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(failed(&error)),
        };
        let rows = toml::from_str(&text).map_err(|error| failed(&error))?;
        Ok(Self { rows })
    }

    /// Takes over what was counted.
    pub(crate) fn update(&mut self, name: &str, counts: Counts) {
        let tolerance = self.rows.get(name).map_or(TOLERANCE, |row| row.tolerance);
        self.rows.insert(name.to_owned(), Expected { counts, tolerance });
    }

    /// In the order of the rows.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let mut text = FRONT.to_owned();
        for row in ROWS {
            if let Some(Expected { counts, tolerance }) = self.rows.get(row.name) {
                let _ = write!(text, "\n[{}]\nsubmitter = {}\n", row.name, counts.submitter);
                if let Some(worker) = counts.worker {
                    let _ = writeln!(text, "worker = {worker}");
                }
                let _ = writeln!(text, "tolerance = {tolerance:?}");
            }
        }
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What is committed for a row, and how `counts` compare with it. Rows that are missing are over.
    pub(crate) fn compare(&self, name: &str, counts: Counts) -> (Option<Counts>, Verdict) {
        let Some(row) = self.rows.get(name) else { return (None, Verdict::Over) };
        let pairs = [
            (Some(counts.submitter), Some(row.counts.submitter)),
            (counts.worker, row.counts.worker),
        ];
        let mut verdict = Verdict::Good;
        for (now, then) in pairs {
            let (Some(now), Some(then)) = (now, then) else { continue };
            let percent = 100.0 * (now as f64 - then as f64) / (then as f64).max(1.0);
            if percent > row.tolerance {
                return (Some(row.counts), Verdict::Over);
            }
            if percent < -row.tolerance {
                verdict = Verdict::Under;
            }
        }
        (Some(row.counts), verdict)
    }
}
