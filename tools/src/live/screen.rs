//! What `top` draws, as lines.

use console::{Style, measure_text_width, pad_str, truncate_str};
use mailring_process::live::{Gauge, Kind, PageError, Reading, Status, WriterState};

use crate::words::{bytes, grouped, printable, time};

/// Columns of the bar of a gauge.
const BAR: usize = 24;
/// Rows of what waits.
const WAITING: usize = 12;

/// The whole page.
pub(super) fn draw(name: &str, reading: &Reading, width: usize) -> Vec<String> {
    let status = &reading.status;
    let mut lines = head(name, reading);
    section(&mut lines, "Workers", workers(status));
    section(&mut lines, "Waiting", waiting(status));
    let queues = status.queues.iter().map(|queue| (grouped(queue.depth), queue.name.as_str()));
    let queues = queues.map(|(depth, name)| format!("  {depth:>12}  {}", printable(name)));
    section(&mut lines, "Ready", queues.collect());
    section(&mut lines, "Limits", gauges(&status.gauges));
    lines.iter().map(|line| truncate_str(line, width.max(20), "…").into_owned()).collect()
}

/// One line for each name.
pub(super) fn names(all: &[(String, Result<Reading, PageError>)]) -> Vec<String> {
    let rows = all.iter().map(|(name, reading)| match reading {
        Ok(reading) => vec![
            name.clone(),
            reading.status.kind.name().to_owned(),
            printable(&reading.status.program),
            reading.pid.to_string(),
            reading.writer.name().to_owned(),
        ],
        Err(error) => {
            vec![name.clone(), String::new(), String::new(), String::new(), error.to_string()]
        }
    });
    table(
        &["NAME", "KIND", "PROGRAM", "PID", "STATE"],
        &[false, false, false, true, false],
        rows.collect(),
    )
}

fn head(name: &str, reading: &Reading) -> Vec<String> {
    let status = &reading.status;
    let (style, word) = match (reading.writer, &status.failure) {
        (WriterState::Alive, None) => (Style::new().green(), "alive".to_owned()),
        (WriterState::Alive, Some(_)) => (Style::new().red(), "failed".to_owned()),
        (WriterState::Ended, _) => (Style::new().yellow(), "ended".to_owned()),
        (WriterState::Died, _) => {
            (Style::new().red().bold(), format!("died {} ago", seconds(reading.age.as_secs_f64())))
        }
    };
    let mut lines = vec![
        format!(
            "{} {}  {}",
            status.kind.name(),
            Style::new().bold().apply_to(printable(name)),
            style.apply_to(word)
        ),
        format!(
            "{} (process {}), mailring {}, {} mode, up {}",
            printable(&status.program),
            reading.pid,
            printable(&status.version),
            printable(&status.mode),
            seconds(status.uptime)
        ),
    ];
    let totals = &status.totals;
    let mut figures = vec![
        format!("{} tasks/s", grouped(status.tasks_per_second.round() as u64)),
        format!("{} submitted", grouped(totals.submitted)),
        match status.kind {
            Kind::Executor => format!("{} bodies run", grouped(totals.completed)),
            Kind::Flow => format!("{} completed", grouped(totals.completed)),
        },
    ];
    let deaths = format!("{} deaths", grouped(totals.deaths));
    figures.push(match totals.deaths {
        0 => deaths,
        _ => Style::new().red().apply_to(deaths).to_string(),
    });
    if status.kind == Kind::Executor {
        figures.push(format!("{} replaced", grouped(totals.replaced)));
    }
    figures.push(format!("{} ended on purpose", grouped(totals.killed)));
    lines.push(figures.join("   "));
    if let Some(failure) = &status.failure {
        lines.push(
            Style::new().red().apply_to(format!("failed: {}", printable(failure))).to_string(),
        );
    }
    lines
}

fn section(lines: &mut Vec<String>, title: &str, body: Vec<String>) {
    if !body.is_empty() {
        lines.push(String::new());
        lines.push(Style::new().bold().apply_to(title).to_string());
        lines.extend(body);
    }
}

fn gauges(all: &[Gauge]) -> Vec<String> {
    let name = all.iter().map(|gauge| measure_text_width(&gauge.name)).max().unwrap_or(0);
    let line = |gauge: &Gauge| {
        let share =
            if gauge.limit > 0.0 { (gauge.used / gauge.limit).clamp(0.0, 1.0) } else { 0.0 };
        let full = (share * BAR as f64).round() as usize;
        let style = match share {
            s if s > 0.9 => Style::new().red(),
            s if s > 0.7 => Style::new().yellow(),
            _ => Style::new().green(),
        };
        let bar = format!(
            "{}{}",
            style.apply_to("█".repeat(full)),
            Style::new().dim().apply_to("░".repeat(BAR - full))
        );
        let figure = |value: f64| match gauge.unit.as_str() {
            "bytes" => bytes(value),
            _ => grouped(value as u64),
        };
        format!(
            "  {}  {bar}  {} of {}",
            pad_str(&printable(&gauge.name), name, console::Alignment::Left, None),
            figure(gauge.used),
            figure(gauge.limit)
        )
    };
    all.iter().map(line).collect()
}

fn workers(status: &Status) -> Vec<String> {
    let row = |worker: &mailring_process::live::WorkerStatus| {
        let state = match worker.state.as_str() {
            "running" => Style::new().green().apply_to("running").to_string(),
            "gone" | "ending" => Style::new().red().apply_to(printable(&worker.state)).to_string(),
            other => printable(other),
        };
        let work = worker.work.as_ref();
        vec![
            printable(&worker.name),
            if worker.pid == 0 { "-".to_owned() } else { worker.pid.to_string() },
            state,
            work.map_or_else(String::new, |work| printable(&work.function)),
            work.map_or_else(String::new, |work| grouped(work.task)),
            work.map_or_else(String::new, |work| seconds(work.seconds)),
            grouped(worker.ran),
            printable(&worker.resources),
        ]
    };
    let rows: Vec<_> = status.workers.iter().map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let heads = ["WORKER", "PID", "STATE", "FUNCTION", "TASK", "FOR", "RAN", "RESOURCES"];
    let right = [false, true, false, false, true, true, true, false];
    let mut lines = table(&heads, &right, rows);
    if status.workers_left_out > 0 {
        lines.push(format!("  and {} more", grouped(status.workers_left_out as u64)));
    }
    lines
}

fn waiting(status: &Status) -> Vec<String> {
    let line = |one: &mailring_process::live::Waiting| {
        format!(
            "  {:>12}  {}: {}",
            grouped(one.count),
            printable(&one.function),
            printable(&one.reason)
        )
    };
    let mut lines: Vec<_> = status.waiting.iter().take(WAITING).map(line).collect();
    if status.waiting.len() > WAITING {
        lines.push(format!("  and {} more", status.waiting.len() - WAITING));
    }
    lines
}

/// Columns as wide as they must be; `right` are those of numbers.
fn table(heads: &[&str], right: &[bool], rows: Vec<Vec<String>>) -> Vec<String> {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| measure_text_width(&row[at]));
        cells.chain([heads[at].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).zip(right).map(|((cell, &width), &right)| {
            let side = if right { console::Alignment::Right } else { console::Alignment::Left };
            pad_str(cell, width, side, None).into_owned()
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    let heads: Vec<String> = heads.iter().map(|&head| head.to_owned()).collect();
    let head = Style::new().dim().apply_to(line(&heads)).to_string();
    std::iter::once(head).chain(rows.iter().map(|row| line(row))).collect()
}

fn seconds(value: f64) -> String {
    match value {
        v if v < 0.0 || !v.is_finite() => "-".to_owned(),
        v if v < 0.1 => "< 0.1 s".to_owned(),
        v => time(v * 1e9),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailring_process::live::{Queue, Totals, Waiting, WorkerStatus, WorkerWork};

    use super::*;

    #[test]
    fn times_that_nobody_measured() {
        let all = [-1.0, f64::NAN, 0.05, 0.3, 61.0, 7320.0].map(seconds);
        assert_eq!(all, ["-", "-", "< 0.1 s", "300 ms", "61.0 s", "2 h 2 min"]);
    }

    #[test]
    fn a_page_shows_what_it_says_and_nothing_moves_the_cursor() {
        let worker = WorkerStatus {
            name: "cpu/0".to_owned(),
            pid: 42,
            state: "running".to_owned(),
            work: Some(WorkerWork {
                function: "si\u{1b}[2Jm".to_owned(),
                task: 1234,
                seconds: 2.0,
            }),
            ran: 7,
            resources: "cpus=1".to_owned(),
        };
        let status = Status {
            kind: Kind::Flow,
            totals: Totals { submitted: 10, completed: 4, deaths: 1, ..Totals::default() },
            gauges: vec![Gauge {
                name: "memory".to_owned(),
                used: 95.0,
                limit: 100.0,
                unit: "bytes".to_owned(),
            }],
            queues: vec![Queue { name: "ready".to_owned(), depth: 3 }],
            workers: vec![worker],
            waiting: vec![Waiting {
                function: "sim".to_owned(),
                reason: "needs verilator=1".to_owned(),
                count: 5,
            }],
            ..Status::default()
        };
        let reading = Reading { pid: 42, writer: WriterState::Alive, age: Duration::ZERO, status };
        let lines = draw("demo", &reading, 100);
        let all = console::strip_ansi_codes(&lines.join("\n")).into_owned();
        for part in [
            "flow demo",
            "1 deaths",
            "95 B of 100 B",
            "1,234",
            "sim: needs verilator=1",
            "si\u{fffd}[2Jm",
        ] {
            assert!(all.contains(part), "{part} is missing in\n{all}");
        }
        assert!(draw("demo", &reading, 40).iter().all(|line| measure_text_width(line) <= 40));
    }
}
