//! What a section of the bench is: its figures, its plots, and the function that measures them.

use super::run::{Measured, Run};

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(super) enum Effort {
    Quick,
    Normal,
    Full,
}

/// What belongs together and is measured in turns, in a process of its own.
pub(super) struct Section {
    /// Names the section on the command line.
    pub(super) name: &'static str,
    /// Its heading in the report.
    pub(super) title: &'static str,
    /// Seconds that it may take when quick, usually, and in full. Zero: left out.
    pub(super) seconds: [f64; 3],
    pub(super) figures: &'static [Figure],
    pub(super) panels: &'static [Panel],
    pub(super) bars: &'static [Bars],
    /// Runs in the process of the section. Everything that it started has ended when it returns.
    pub(super) measure: fn(&mut Run) -> Measured,
}

impl Section {
    pub(super) fn seconds(&self, effort: Effort) -> f64 {
        self.seconds[effort as usize]
    }
}

/// What a figure is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Ns,
    Us,
    Ms,
    PerSecond,
    Percent,
    Bytes,
    Ratio,
}

impl Unit {
    /// In the JSON file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::PerSecond => "per_second",
            Self::Percent => "percent",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// The section adds it to its rounds.
    Measured,
    /// One figure over another of the same section, round by round.
    Ratio(&'static str, &'static str),
    /// Events a second, from the nanoseconds of one.
    Rate(&'static str),
}

/// The greatest value that is accepted, where the processors are near each other and where they
/// are far apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) near: Option<f64>,
    pub(super) far: Option<f64>,
}

/// A figure that the bench can produce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) key: &'static str,
    pub(super) unit: Unit,
    /// What it says in the report.
    pub(super) label: &'static str,
    /// What it says in the help, if it does not follow from the source.
    pub(super) meaning: &'static str,
    pub(super) source: Source,
    /// Whether it stands at the top of the JSON file, besides in `detail`.
    pub(super) flat: bool,
    pub(super) target: Option<Target>,
}

/// A figure that the section measures.
pub(super) const fn measured(
    key: &'static str,
    unit: Unit,
    label: &'static str,
    meaning: &'static str,
) -> Figure {
    Figure { key, unit, label, meaning, source: Source::Measured, flat: false, target: None }
}

/// The ping-pong of the rounds of a section, under its key.
pub(super) const fn ping_pong(key: &'static str) -> Figure {
    measured(key, Unit::Ns, "ping-pong", "of the same rounds")
}

/// The ratio of two figures of the section.
pub(super) const fn ratio(
    key: &'static str,
    over: &'static str,
    under: &'static str,
    label: &'static str,
) -> Figure {
    let source = Source::Ratio(over, under);
    Figure { key, unit: Unit::Ratio, label, meaning: "", source, flat: false, target: None }
}

/// How many a second.
pub(super) const fn rate(key: &'static str, of: &'static str, label: &'static str) -> Figure {
    let source = Source::Rate(of);
    Figure { key, unit: Unit::PerSecond, label, meaning: "", source, flat: false, target: None }
}

impl Figure {
    pub(super) const fn flat(mut self) -> Self {
        self.flat = true;
        self
    }

    pub(super) const fn at_most(mut self, near: f64, far: f64) -> Self {
        self.target = Some(Target { near: Some(near), far: Some(far) });
        self
    }

    /// Accepted up to there where the processors are near; elsewhere it is only reported.
    pub(super) const fn at_most_near(mut self, near: f64) -> Self {
        self.target = Some(Target { near: Some(near), far: None });
        self
    }

    /// A ping-pong of two bare processes, which says how the machine was when it was measured.
    pub(super) fn is_floor(&self) -> bool {
        self.key == "floor_pingpong_ns" || self.key.ends_with(".pingpong_ns")
    }

    /// For the help.
    pub(super) fn describe(&self) -> String {
        match self.source {
            Source::Measured => self.meaning.to_owned(),
            Source::Ratio(over, under) => format!("{over} / {under}"),
            Source::Rate(of) => format!("1e9 / {of}"),
        }
    }
}

/// Figures that are compared: a bar for each, over a logarithmic axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// What each is called, and its key.
    pub(super) bars: &'static [(&'static str, &'static str)],
}

/// A plot: a line for each series, over a common axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) log: bool,
}

impl Axis {
    pub(super) const fn linear(label: &'static str) -> Self {
        Self { label, log: false }
    }

    pub(super) const fn log(label: &'static str) -> Self {
        Self { label, log: true }
    }
}
