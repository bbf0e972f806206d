//! Shows how far a flow is.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use console::{Style, Term, measure_text_width, pad_str, truncate_str};

use crate::driver::Host;
use crate::profile::tally::Tally;
use crate::protocol::progress::{FunctionProgress, Part, ProgressReport, span};

/// How often it is drawn.
const PERIOD: Duration = Duration::from_millis(125);
/// Columns of a bar, and of a name at most.
const BAR: usize = 24;
const NAME: usize = 28;
/// Columns of what a call takes.
const EACH: usize = 12;

/// Shows how far a flow is, as long as this lives; see [`Flow::progress`](crate::Flow::progress).
///
/// What is drawn last stays on the terminal.
#[must_use = "it is drawn as long as this lives"]
pub struct Progress {
    host: Arc<Host>,
    tally: Arc<Mutex<Tally>>,
    shown: Arc<Shown>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// What the thread and the others have in common.
struct Shown {
    /// It is to end.
    stop: Mutex<bool>,
    stopped: Condvar,
    canvas: Mutex<Option<Canvas>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Draws on the terminal, if standard error is one.
    pub(crate) fn draw(host: Arc<Host>, tally: Arc<Mutex<Tally>>) -> Self {
        let term = Term::stderr();
        let canvas = term.is_term().then(|| Canvas::new(term));
        let shown = Shown::new(canvas);
        let own = Arc::clone(&shown);
        let show = move |report: &ProgressReport| {
            if let Some(canvas) = &mut *lock(&own.canvas) {
                canvas.draw(report);
            }
        };
        Self::start(host, tally, shown, PERIOD, show)
    }

    /// Calls this now and then.
    pub(crate) fn call(
        host: Arc<Host>,
        tally: Arc<Mutex<Tally>>,
        period: Duration,
        show: impl FnMut(&ProgressReport) + Send + 'static,
    ) -> Self {
        Self::start(host, tally, Shown::new(None), period, show)
    }

    fn start(
        host: Arc<Host>,
        tally: Arc<Mutex<Tally>>,
        shown: Arc<Shown>,
        period: Duration,
        mut show: impl FnMut(&ProgressReport) + Send + 'static,
    ) -> Self {
        let (own, counted) = (Arc::clone(&shown), Arc::clone(&tally));
        let thread = std::thread::Builder::new().name("mailring-progress".to_owned());
        let thread = thread.spawn(move || {
            loop {
                let stop = lock(&own.stop);
                let waited = own.stopped.wait_timeout_while(stop, period, |stop| !*stop);
                let last = *waited.unwrap_or_else(PoisonError::into_inner).0;
                let report = lock(&counted).report();
                show(&report);
                if last {
                    return;
                }
            }
        });
        if let Err(error) = &thread {
            tracing::warn!(%error, "no thread that shows the progress");
        }
        Self { host, tally, shown, thread: thread.ok() }
    }

    /// How far it is now.
    pub fn report(&self) -> ProgressReport {
        lock(&self.tally).report()
    }

    /// Prints a line above what is drawn, or to standard error where nothing is.
    pub fn print(&self, line: &str) {
        match &mut *lock(&self.shown.canvas) {
            Some(canvas) => canvas.print(line),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.host.stop_tally(&self.tally);
        *lock(&self.shown.stop) = true;
        self.shown.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shown {
    fn new(canvas: Option<Canvas>) -> Arc<Self> {
        let stop = Mutex::new(false);
        Arc::new(Self { stop, stopped: Condvar::new(), canvas: Mutex::new(canvas) })
    }
}

// ---- drawing ------------------------------------------------------------------------------------

/// The lines at the end of a terminal that are ours.
struct Canvas {
    term: Term,
    /// How many there are now.
    lines: usize,
    marks: Marks,
}

/// What bars are made of: done, not done.
#[derive(Clone, Copy)]
struct Marks(&'static str, &'static str);

impl Canvas {
    fn new(term: Term) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        let marks = if utf8 { Marks("━", "╌") } else { Marks("#", "-") };
        Self { term, lines: 0, marks }
    }

    fn draw(&mut self, report: &ProgressReport) {
        let (rows, columns) = self.term.size();
        let (rows, columns) = (usize::from(rows), usize::from(columns));
        let lines = lines(report, columns.max(20), rows.saturating_sub(1).max(2), self.marks);
        // In one write, so that it does not flicker.
        let mut text = String::new();
        if self.lines > 0 {
            text += &format!("\x1b[{}A", self.lines);
        }
        for line in &lines {
            text += &format!("\r{line}\x1b[K\n");
        }
        text += "\x1b[J";
        let _ = self.term.write_str(&text);
        let _ = self.term.flush();
        self.lines = lines.len();
    }

    fn print(&mut self, line: &str) {
        let _ = self.term.clear_last_lines(self.lines);
        let _ = self.term.write_line(line);
        self.lines = 0; // drawn below it, next time
    }
}

fn style(part: Part) -> Style {
    let plain = Style::new().for_stderr();
    match part {
        Part::Done => plain.bold(),
        Part::Running => plain.cyan(),
        Part::Waiting | Part::Retried => plain.yellow(),
        Part::Failed => plain.red().bold(),
        Part::Served => plain.green(),
        Part::Inputs | Part::Cancelled | Part::Mean => plain.dim(),
    }
}

fn painted(parts: Vec<(Part, String)>) -> String {
    let parts = parts.into_iter().map(|(part, text)| style(part).apply_to(text).to_string());
    parts.collect::<Vec<_>>().join(" · ")
}

fn lines(report: &ProgressReport, columns: usize, rows: usize, marks: Marks) -> Vec<String> {
    let plain = Style::new().for_stderr();
    let mut summary = painted(report.summary());
    if let Some(left) = report.left {
        summary +=
            &format!(" · {}", plain.clone().bold().apply_to(format!("about {} left", span(left))));
    }
    let mut lines = vec![format!(
        "{}  {summary}",
        pad_str(&span(report.elapsed), 8, console::Alignment::Left, None)
    )];
    let names = report.functions.iter().map(|function| measure_text_width(&function.name));
    let name = names.max().unwrap_or(0).min(NAME);
    let digits = report.functions.iter().map(|function| function.calls.to_string().len()).max();
    let digits = digits.unwrap_or(1);
    // Those that go on come first when there is no room for all.
    let mut shown: Vec<&FunctionProgress> = report.functions.iter().collect();
    let room = rows - 1;
    let hidden = if shown.len() > room {
        shown.sort_by_key(|function| (function.over() == function.calls, function.running == 0));
        shown.split_off(room.saturating_sub(1)).len()
    } else {
        0
    };
    for function in shown {
        let title = truncate_str(&function.name, name, "…");
        let title = pad_str(&title, name, console::Alignment::Left, None).into_owned();
        let bar = bar(function, if columns < 100 { BAR / 2 } else { BAR }, marks);
        let (over, calls) = (function.over(), function.calls);
        let each = painted(function.each().into_iter().collect());
        let each = pad_str(&each, EACH, console::Alignment::Left, None).into_owned();
        let rest = painted(function.parts());
        lines.push(format!("{title}  {bar}  {over:>digits$}/{calls:<digits$}  {each}  {rest}"));
    }
    if hidden > 0 {
        lines.push(plain.dim().apply_to(format!("and {hidden} more functions")).to_string());
    }
    lines.iter().map(|line| truncate_str(line.trim_end(), columns - 1, "…").into_owned()).collect()
}

/// Done, failed, running, and the rest.
fn bar(function: &FunctionProgress, width: usize, marks: Marks) -> String {
    let part = |count: u64| count as f64 / function.calls.max(1) as f64 * width as f64;
    let bad = function.failed + function.cancelled;
    let ends = [function.completed + function.served, bad, function.running].into_iter().scan(
        0.0,
        |end, count| {
            *end += part(count);
            Some((*end).round() as usize)
        },
    );
    let mut ends: Vec<usize> = ends.map(|end| end.min(width)).collect();
    // Not full before the last one.
    if function.over() < function.calls {
        ends.iter_mut().for_each(|end| *end = (*end).min(width - 1));
    }
    let plain = || Style::new().for_stderr();
    let Marks(full, empty) = marks;
    let pieces = [
        plain().green().apply_to(full.repeat(ends[0])),
        plain().red().apply_to(full.repeat(ends[1] - ends[0])),
        plain().cyan().apply_to(full.repeat(ends[2].max(ends[1]) - ends[1])),
        plain().dim().apply_to(empty.repeat(width - ends[2].max(ends[1]))),
    ];
    pieces.map(|piece| piece.to_string()).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, calls: u64, completed: u64) -> FunctionProgress {
        FunctionProgress {
            name: name.to_owned(),
            calls,
            completed,
            running: (calls - completed).min(2),
            ..FunctionProgress::default()
        }
    }

    #[test]
    fn lines_fit_the_terminal() {
        let named = |n: u64| function(&format!("f{n}_with_a_very_long_name_indeed"), 1u64 << n, n);
        let functions = (0..30).map(named).collect();
        let report = ProgressReport { functions, ..ProgressReport::default() };
        for (columns, rows) in [(20, 2), (40, 5), (80, 24), (200, 60)] {
            let lines = lines(&report, columns, rows, Marks("━", "╌"));
            assert!(lines.len() <= rows, "{} of {rows}", lines.len());
            assert!(lines.iter().all(|line| measure_text_width(line) < columns), "{lines:#?}");
        }
    }

    #[test]
    fn a_bar_is_full_at_the_end_alone() {
        let marks = Marks("#", "-");
        let plain = |done| {
            console::strip_ansi_codes(&bar(&function("f", 1000, done), 10, marks)).into_owned()
        };
        assert_eq!(plain(0), "----------");
        assert_eq!(plain(500), "#####-----");
        assert_eq!(plain(999), "#########-");
        assert_eq!(plain(1000), "##########");
    }
}
