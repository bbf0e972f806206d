//! How far a flow is, for people.

use std::fmt;
use std::time::Duration;

/// How far a flow is: see [`Flow::progress`](crate::Flow::progress). Its `Display` is a few lines of
/// text.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProgressReport {
    /// Since it is looked at.
    pub elapsed: Duration,
    /// How long the rest will take, if calls take as long as those before and as many run at the
    /// same time. `None` while nothing is known, and when nothing is left. Calls that will be made
    /// later are not in it.
    pub left: Option<Duration>,
    /// Function by function, in the order of their first calls.
    pub functions: Vec<FunctionProgress>,
}

/// How far the calls of one function are.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FunctionProgress {
    /// Its name, without the module.
    pub name: String,
    /// Calls so far, with those that went on when one began to look.
    pub calls: u64,
    /// Those that run, and for how long the longest of them has.
    pub running: u64,
    /// See `running`.
    pub longest: Duration,
    /// Those of which an input is missing.
    pub waiting_for_inputs: u64,
    /// Those that could run, by what they wait for (resources, by name; memory; a worker).
    pub waiting: Vec<(String, u64)>,
    /// Those that have a value.
    pub completed: u64,
    /// Those that have failed for good.
    pub failed: u64,
    /// Those that were cancelled, or did not run because of another.
    pub cancelled: u64,
    /// Attempts that were followed by another.
    pub retried: u64,
    /// Those whose value came from the cache.
    pub served: u64,
    /// Those for which a provider ran.
    pub bypassed: u64,
    /// What a call takes on the average, with its hooks.
    pub mean: Option<Duration>,
}

impl FunctionProgress {
    /// Those that could run, and do not.
    pub fn waits(&self) -> u64 {
        self.waiting.iter().map(|(_, count)| count).sum()
    }

    /// Those that are over.
    pub fn over(&self) -> u64 {
        self.completed + self.served + self.failed + self.cancelled
    }
}

impl ProgressReport {
    fn sum(&self, of: impl Fn(&FunctionProgress) -> u64) -> u64 {
        self.functions.iter().map(of).sum()
    }

    /// The first line: all functions together.
    pub(crate) fn summary(&self) -> Vec<(Part, String)> {
        let mut parts = vec![(
            Part::Done,
            format!("{} of {} done", self.sum(FunctionProgress::over), self.sum(|one| one.calls)),
        )];
        let mut add = |part, count: u64, words: &str| {
            if count > 0 {
                parts.push((part, format!("{count} {words}")));
            }
        };
        add(Part::Running, self.sum(|one| one.running), "running");
        add(Part::Waiting, self.sum(FunctionProgress::waits), "waiting");
        add(Part::Inputs, self.sum(|one| one.waiting_for_inputs), "waiting for inputs");
        add(Part::Failed, self.sum(|one| one.failed), "failed");
        add(Part::Cancelled, self.sum(|one| one.cancelled), "cancelled");
        add(Part::Retried, self.sum(|one| one.retried), "retried");
        add(Part::Served, self.sum(|one| one.served), "from the cache");
        parts
    }
}

/// What a part of a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Done,
    Running,
    Waiting,
    Inputs,
    Failed,
    Cancelled,
    Retried,
    Served,
    Mean,
}

impl FunctionProgress {
    /// What is said of it behind its name and its bar.
    pub(crate) fn parts(&self) -> Vec<(Part, String)> {
        let mut parts = Vec::new();
        match self.running {
            0 => {}
            1 => parts.push((Part::Running, format!("1 running for {}", span(self.longest)))),
            n => {
                parts.push((Part::Running, format!("{n} running, up to {}", span(self.longest))));
            }
        }
        if let [(first, count), rest @ ..] = &self.waiting[..] {
            let verb = if *count == 1 { "waits" } else { "wait" };
            let mut text = format!("{count} {verb} for {first}");
            for (why, count) in rest.iter().take(2) {
                text += &format!(", {count} for {why}");
            }
            parts.push((Part::Waiting, text));
        }
        let mut add = |part, count: u64, words: &str| {
            if count > 0 {
                parts.push((part, format!("{count} {words}")));
            }
        };
        add(Part::Inputs, self.waiting_for_inputs, "without inputs");
        add(Part::Failed, self.failed, "failed");
        add(Part::Cancelled, self.cancelled, "cancelled");
        add(Part::Retried, self.retried, "retried");
        add(Part::Served, self.served, "from the cache");
        add(Part::Served, self.bypassed, "bypassed");
        parts
    }

    /// What one call takes.
    pub(crate) fn each(&self) -> Option<(Part, String)> {
        self.mean.map(|mean| (Part::Mean, format!("{} each", span(mean))))
    }
}

/// A time, as short as it is said.
pub(crate) fn span(time: Duration) -> String {
    let secs = time.as_secs_f64();
    match time.as_secs() {
        _ if secs < 0.000_999_5 => format!("{:.0} us", secs * 1e6),
        _ if secs < 0.099_95 => format!("{:.1} ms", secs * 1e3),
        _ if secs < 0.999_5 => format!("{:.0} ms", secs * 1e3),
        0..10 => format!("{secs:.1} s"),
        10..60 => format!("{secs:.0} s"),
        whole @ 60..3600 => format!("{}:{:02} min", whole / 60, whole % 60),
        whole => format!("{}:{:02} h", whole / 3600, whole / 60 % 60),
    }
}

fn joined(parts: Vec<(Part, String)>) -> String {
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" · ")
}

impl fmt::Display for ProgressReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} · {}", span(self.elapsed), joined(self.summary()))?;
        if let Some(left) = self.left {
            write!(f, " · about {} left", span(left))?;
        }
        for function in &self.functions {
            write!(f, "\n{}", function)?;
        }
        Ok(())
    }
}

impl fmt::Display for FunctionProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, calls, .. } = self;
        write!(f, "  {name}: {} of {calls}", self.over())?;
        let parts: Vec<_> = self.each().into_iter().chain(self.parts()).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " · {}", joined(parts)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let said = [0.000_012, 0.0123, 0.5, 1.25, 9.96, 59.6, 61.0, 7260.0]
            .map(|secs| span(Duration::from_secs_f64(secs)));
        assert_eq!(
            said,
            ["12 us", "12.3 ms", "500 ms", "1.2 s", "10.0 s", "60 s", "1:01 min", "2:01 h"]
        );
    }

    #[test]
    fn a_report_in_words() {
        let report = ProgressReport {
            elapsed: Duration::from_secs(12),
            left: Some(Duration::from_secs(90)),
            functions: vec![FunctionProgress {
                name: "compile".to_owned(),
                calls: 20,
                running: 2,
                longest: Duration::from_secs(3),
                waiting: vec![("cpus".to_owned(), 5), ("board".to_owned(), 1)],
                completed: 11,
                failed: 1,
                mean: Some(Duration::from_millis(1200)),
                ..FunctionProgress::default()
            }],
        };
        assert_eq!(
            report.to_string(),
            "12 s · 12 of 20 done · 2 running · 6 waiting · 1 failed · about 1:30 min left\n  \
             compile: 12 of 20 · 1.2 s each · 2 running, up to 3.0 s · 5 wait for cpus, 1 for \
             board · 1 failed"
        );
    }
}
