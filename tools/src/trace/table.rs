//! `--format table`: times by function as CSV, in the columns of the reference.

use std::fmt::Write;

use super::model::Run;
use super::summary::{Function, Times, functions};

const HEADER: &str = "func,count,mean_exec_time_s,std_exec_time_s,min_exec_time_s,max_exec_time_s,\
                      total_exec_time_s\n";

/// The functions asked for, in that order, or all by name.
pub(super) fn rows(runs: &[Run], wanted: &[String]) -> Vec<Function> {
    let all: Vec<_> = runs.iter().collect();
    let mut found = functions(&all);
    if wanted.is_empty() {
        found.sort_by(|a, b| a.name.cmp(&b.name));
        return found;
    }
    let row = |name: &String| {
        let known = found.iter().find(|function| function.name == *name);
        let absent = Function { name: name.clone(), ..Function::default() };
        known.cloned().unwrap_or(absent)
    };
    wanted.iter().map(row).collect()
}

pub(super) fn csv(rows: &[Function]) -> String {
    let mut out = HEADER.to_owned();
    for row in rows {
        let _ = write!(out, "{},{}", field(&row.name), row.times.len());
        match Times::of(&row.times) {
            Some(Times { mean, deviation, min, max, total }) => {
                let _ = write!(out, ",{mean:.6},{deviation:.6},{min:.6},{max:.6},{total:.6}");
            }
            None => out += ",,,,,",
        }
        out.push('\n');
    }
    out
}

/// Quoted where CSV needs it; and no spreadsheet takes it for a formula.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
