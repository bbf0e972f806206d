//! The figures of `mailring attention`, for people and for scripts.

use std::fmt::Write;

use serde_json::{Value, json};

use super::data::{Shape, worse};
use super::graph::Plan;
use super::group;
use crate::stats::Spread;
use crate::words::{count, number, plural, time};

/// An error from here on is a wrong answer: the kernels compute in f32.
pub(crate) const ERROR_LIMIT: f64 = 1e-4;

/// One form of the work.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// Seconds.
    pub(crate) wall: Spread,
    /// The worst of all runs, against the plain computation.
    pub(crate) error: f64,
    /// Share of the time in which each chip's worker was on a processor.
    pub(crate) busy: Vec<f64>,
    /// Nanoseconds of the host's processor to submit a task.
    pub(crate) submit: Option<Spread>,
    /// Seconds of replays, and what they cost the host, if there were any.
    pub(crate) replay: Option<Spread>,
    pub(crate) replay_submit: Option<Spread>,
}

/// All figures.
pub(crate) struct Report {
    pub(crate) plan: Plan,
    pub(crate) chips: usize,
    pub(crate) runs: usize,
    /// Where the runtime is, if it is not the simulated one.
    pub(crate) runtime: Option<String>,
    /// Seconds.
    pub(crate) plain: f64,
    pub(crate) graph: Option<Form>,
    pub(crate) group: Option<Form>,
}

impl Report {
    pub(crate) fn error(&self) -> f64 {
        let errors = self.graph.iter().chain(&self.group).map(|form| form.error);
        errors.fold(0.0, worse)
    }

    fn shape(&self) -> &Shape {
        &self.plan.shape
    }

    fn exchanges(&self) -> usize {
        group::exchanges(self.shape(), self.chips)
    }

    fn gflop_s(&self, seconds: f64) -> f64 {
        self.shape().flops() / seconds / 1e9
    }

    pub(crate) fn json(&self) -> Value {
        let Shape { heads, sequence, dim, tile } = *self.shape();
        let of = |figure: &dyn Fn(&Form) -> Value| json!({ "graph": self.graph.as_ref().map(figure), "group": self.group.as_ref().map(figure) });
        let mut all = json!({
            "chips": self.chips,
            "heads": heads,
            "sequence": sequence,
            "dim": dim,
            "tile": tile,
            "runs": self.runs,
            "tasks": self.plan.tasks(),
            "chains": self.plan.chains,
            "group_tasks": heads,
            "group_members": self.chips,
            "group_exchanges": heads * self.exchanges(),
            "max_abs_error": self.error(),
            "max_abs_errors": of(&|form| json!(form.error)),
            "wall_s": of(&|form| json!(form.wall.median)),
            "gflop_s": of(&|form| json!(self.gflop_s(form.wall.median))),
            "busy": of(&|form| json!(form.busy)),
            "submit_ns": of(&|form| json!(form.submit.map(|ns| ns.median))),
            "plain_wall_s": self.plain,
            "plain_gflop_s": self.gflop_s(self.plain),
        });
        let forms = [&self.graph, &self.group];
        if forms.into_iter().flatten().any(|form| form.replay.is_some()) {
            all["replay_wall_s"] = of(&|form| json!(form.replay.map(|wall| wall.median)));
            all["replay_submit_ns"] = of(&|form| json!(form.replay_submit.map(|ns| ns.median)));
        }
        all
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Shape { heads, sequence, dim, tile } = *self.shape();
        let chips = self.chips;
        let [attend, merge] = self.plan.census();
        match &self.runtime {
            Some(path) => writeln!(out, "Attention on chips, by the runtime {path}")?,
            None => writeln!(out, "Attention on simulated chips")?,
        }
        writeln!(out)?;
        writeln!(
            out,
            "  problem    {heads} {} of {sequence} queries and keys, dimension {dim}, f32",
            plural(heads, "head")
        )?;
        let devices = match chips {
            1 => "device 0, with a process of its own".to_owned(),
            _ => format!("devices 0 to {}, each with a process of its own", chips - 1),
        };
        writeln!(out, "  chips      {chips}: {devices}")?;
        let (tasks, side) = (count(attend + merge, "task"), tile.min(sequence));
        writeln!(
            out,
            "  graph      {tasks}: {attend} attend, {merge} merge; tiles of {side} x {side}"
        )?;
        writeln!(
            out,
            "  groups     {}, one a head, of {}; {} through 64 shared bytes",
            count(heads, "task"),
            count(chips, "member"),
            count(heads * self.exchanges(), "exchange")
        )?;
        writeln!(out)?;
        self.write_forms(out)?;
        writeln!(out)?;
        let verdict = if self.error() < ERROR_LIMIT { "below" } else { "NOT below" };
        writeln!(
            out,
            "  error      {:.2e}   greatest difference to the plain computation; {verdict} \
             {ERROR_LIMIT:e}",
            self.error()
        )
    }

    fn write_forms(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "  {:<10} {:>10}   {:<23} {:>8}   {:>8}   {:>8}   chips busy",
            "", "wall", "min .. max", "GFLOP/s", "submit", "error"
        )?;
        let s = |seconds: f64| time(seconds * 1e9);
        let plain = number(self.gflop_s(self.plain));
        writeln!(
            out,
            "  {:<10} {:>10}   {:<23} {plain:>8}   {:>8}   {:>8}",
            "plain",
            s(self.plain),
            "",
            "-",
            "-"
        )?;
        for (name, form) in [("graph", &self.graph), ("groups", &self.group)] {
            let Some(form) = form else { continue };
            let Form { wall, error, busy, submit: fresh, replay, replay_submit } = form;
            let submit = |ns: &Option<Spread>| ns.map_or_else(String::new, |ns| time(ns.median));
            let busy: Vec<_> = busy.iter().map(|share| format!("{:.0} %", 100.0 * share)).collect();
            writeln!(
                out,
                "  {name:<10} {:>10}   {:<23} {:>8}   {:>8}   {error:>8.1e}   {}",
                s(wall.median),
                format!("{} .. {}", s(wall.min), s(wall.max)),
                number(self.gflop_s(wall.median)),
                submit(fresh),
                busy.join(", ")
            )?;
            if let Some(wall) = replay {
                writeln!(
                    out,
                    "  {:<10} {:>10}   {:<23} {:>8}   {:>8}",
                    ".. replay",
                    s(wall.median),
                    format!("{} .. {}", s(wall.min), s(wall.max)),
                    number(self.gflop_s(wall.median)),
                    submit(replay_submit),
                )?;
            }
        }
        writeln!(out)?;
        writeln!(
            out,
            "  plain: one thread, f64; graph and groups: median of {}",
            count(self.runs, "run")
        )?;
        writeln!(out, "  submit: the host's processor, a task")?;
        writeln!(out, "  chips busy: time of each chip's process on a processor / wall time")
    }
}

#[cfg(test)]
mod chip_tests {
    use super::*;

    fn report(graph: f64, group: f64) -> Report {
        let form = |error| Form {
            wall: Spread { median: 0.5, min: 0.25, max: 1.0 },
            error,
            busy: vec![0.5, 1.0],
            submit: Some(Spread { median: 700.0, min: 650.0, max: 900.0 }),
            replay: None,
            replay_submit: None,
        };
        let shape = Shape { heads: 2, sequence: 100, dim: 10, tile: 40 };
        Report {
            plan: Plan::new(shape, 2),
            chips: 2,
            runs: 3,
            runtime: None,
            plain: 2.0,
            graph: Some(form(graph)),
            group: Some(form(group)),
        }
    }

    #[test]
    fn the_worst_error_counts() {
        assert_eq!(report(1e-7, 2e-6).error(), 2e-6);
        assert!(report(f64::NAN, 2e-6).error().is_nan());
        assert!(report(2e-6, f64::NAN).error().is_nan());
        assert!(report(1e-7, 2e-4).text().contains("NOT below"));
        assert!(!report(1e-7, 2e-6).text().contains("NOT below"));
    }

    #[test]
    fn the_report_says_what_was_run() {
        let text = report(1e-7, 2e-6).text();
        for part in [
            "2 heads of 100 queries and keys, dimension 10, f32\n",
            "2: devices 0 to 1, each with a process of its own\n",
            "18 tasks: 18 attend, 0 merge; tiles of 40 x 40\n",
            "2 tasks, one a head, of 2 members; 50 exchanges through 64 shared bytes\n",
            "50 %, 100 %\n",
            "     700 ns   ",
            "2.00e-6   greatest difference",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn figures_for_scripts() {
        let figures = report(1e-7, 2e-6).json();
        assert_eq!(figures["tasks"], 18);
        assert_eq!(figures["group_tasks"], 2);
        assert_eq!(figures["wall_s"]["group"], 0.5);
        assert_eq!(figures["plain_gflop_s"], 4.0 * 2.0 * 100.0 * 100.0 * 10.0 / 2.0 / 1e9);
        assert_eq!(figures["group_exchanges"], 2 * (10 + 10 + 5));
        let alone = Report { group: None, ..report(1e-7, 2e-6) };
        assert_eq!(alone.json()["wall_s"]["group"], Value::Null);
        assert_eq!(alone.json()["max_abs_error"], 1e-7);
        assert!(!alone.text().contains("\n  groups      "));
    }
}
