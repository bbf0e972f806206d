//! The figures of `mailring gp`, for people and for scripts.

use std::fmt::Write;

use serde_json::{Value, json};

use super::model::Quality;
use crate::stats::Spread;
use crate::words::{count, number, time};

/// A residual from here on is an error.
pub(crate) const RESIDUAL_LIMIT: f64 = 1e-12;

/// One way of doing the work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Seconds.
    pub(crate) wall: Spread,
    /// The worst of all its runs that were checked.
    pub(crate) residual: f64,
    /// The greatest difference to an element of the serial factor.
    pub(crate) difference: f64,
    /// Nanoseconds a task with empty bodies; not for the serial way.
    pub(crate) overhead: Option<Spread>,
    /// Wall time and overhead of replays, if there were any.
    pub(crate) replay: Option<Spread>,
    pub(crate) replay_overhead: Option<Spread>,
}

/// What became of the kills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kills {
    pub(crate) wanted: usize,
    pub(crate) inside: usize,
    pub(crate) deaths: u64,
    pub(crate) respawns: u64,
    pub(crate) factorisations: usize,
}

/// All figures.
pub(crate) struct Report {
    pub(crate) rows: (usize, usize),
    pub(crate) features: usize,
    pub(crate) tile: usize,
    pub(crate) across: usize,
    pub(crate) workers: usize,
    pub(crate) runs: usize,
    /// Tasks by kind: kernel, potrf, trsm, syrk, gemm.
    pub(crate) census: [usize; 5],
    pub(crate) serial: Way,
    pub(crate) process: Option<Way>,
    pub(crate) thread: Option<Way>,
    pub(crate) quality: Quality,
    pub(crate) kills: Option<Kills>,
}

impl Report {
    pub(crate) fn tasks(&self) -> usize {
        self.census.iter().sum()
    }

    pub(crate) fn residual(&self) -> f64 {
        let ways = [Some(self.serial), self.process, self.thread];
        // Not `f64::max`, which would pass over a residual that is not a number.
        ways.iter().flatten().map(|way| way.residual).fold(0.0, |worst, residual| {
            if residual > worst || residual.is_nan() { residual } else { worst }
        })
    }

    /// In PROCESS mode if that was run, or else in THREAD mode.
    fn overhead(&self) -> Option<Spread> {
        self.process.or(self.thread)?.overhead
    }

    pub(crate) fn json(&self) -> Value {
        let seconds = |way: Option<Way>| way.map(|way| way.wall.median);
        let mut all = json!({
            "tasks": self.tasks(),
            "wall_s": {
                "process": seconds(self.process),
                "thread": seconds(self.thread),
                "serial": seconds(Some(self.serial)),
            },
            "overhead_ns_per_task": self.overhead().map(|overhead| overhead.median),
            "residual": self.residual(),
            "rmse": self.quality.rmse,
            "rmse_mean": self.quality.rmse_mean,
            "killed": self.kills.map_or(0, |kills| kills.inside),
        });
        let ways = [self.process, self.thread];
        if ways.iter().flatten().any(|way| way.replay.is_some()) {
            let of = |figure: &dyn Fn(Way) -> Option<Spread>| {
                let [process, thread] = ways.map(|way| Some(figure(way?)?.median));
                json!({ "process": process, "thread": thread })
            };
            all["replay"] = json!({
                "wall_s": of(&|way| way.replay),
                "overhead_ns_per_task": of(&|way| way.replay_overhead),
                "fresh_overhead_ns_per_task": of(&|way| way.overhead),
            });
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
        let (train, test) = self.rows;
        let [kernel, potrf, trsm, syrk, gemm] = self.census;
        let side = self.across * self.tile;
        writeln!(out, "Gaussian-process regression, red wine quality")?;
        writeln!(out)?;
        writeln!(
            out,
            "  data       {} rows of {} features: {train} to learn from, {test} held out",
            train + test,
            self.features
        )?;
        writeln!(out, "  matrix     {side} x {side}, f64, in tiles of {0} x {0}", self.tile)?;
        writeln!(
            out,
            "  tasks      {}: {kernel} kernel, {potrf} potrf, {trsm} trsm, {syrk} syrk, {gemm} gemm",
            self.tasks()
        )?;
        writeln!(out, "  workers    {}", self.workers)?;
        writeln!(out)?;
        self.write_ways(out)?;
        writeln!(out)?;
        let same = [self.process, self.thread].iter().flatten().all(|way| way.difference == 0.0);
        let verdict = if self.residual() < RESIDUAL_LIMIT { "below" } else { "NOT below" };
        writeln!(
            out,
            "  residual   {:.2e}   |A - L*L^T| / |A|, the worst; {verdict} {RESIDUAL_LIMIT:e}",
            self.residual()
        )?;
        if self.process.or(self.thread).is_some() {
            let answer = if same { "yes" } else { "no" };
            writeln!(out, "  same bits  {answer:<10} every factor as the serial one")?;
        }
        let Quality { rmse, rmse_mean } = self.quality;
        writeln!(out, "  RMSE       {rmse:<10.4} on the held-out rows")?;
        writeln!(out, "             {rmse_mean:<10.4} of the mean predictor")?;
        self.write_kills(out)
    }

    fn write_ways(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "  {:<10} {:>10}   {:<23} {:>8}   {:>15}",
            "", "wall", "min .. max", "speed-up", "overhead a task"
        )?;
        let ways =
            [("serial", Some(self.serial)), ("process", self.process), ("thread", self.thread)];
        for (name, way) in ways {
            let Some(way) = way else { continue };
            self.write_way(out, name, way.wall, way.overhead)?;
            if let Some(wall) = way.replay {
                self.write_way(out, ".. replay", wall, way.replay_overhead)?;
            }
        }
        writeln!(out)?;
        let runs = count(self.runs, "run");
        let killed = if self.kills.is_some() { "; process: with the kills" } else { "" };
        writeln!(out, "  wall: median of {runs}, kernel matrix and factor{killed}")?;
        writeln!(out, "  overhead a task: wall time of the same graph with empty bodies / tasks")
    }

    fn write_way(
        &self,
        out: &mut String,
        name: &str,
        wall: Spread,
        overhead: Option<Spread>,
    ) -> std::fmt::Result {
        let s = |seconds: f64| time(seconds * 1e9);
        let speed_up = format!("{}x", number(self.serial.wall.median / wall.median));
        let overhead = overhead.map_or_else(|| "-".to_owned(), |o| time(o.median));
        writeln!(
            out,
            "  {name:<10} {:>10}   {:<23} {speed_up:>8}   {overhead:>15}",
            s(wall.median),
            format!("{} .. {}", s(wall.min), s(wall.max)),
        )
    }

    fn write_kills(&self, out: &mut String) -> std::fmt::Result {
        let Some(kills) = self.kills else { return Ok(()) };
        let Kills { wanted, inside, deaths, respawns, factorisations } = kills;
        writeln!(
            out,
            "  kills      {inside:<10} of {wanted} wanted, each hit a worker inside a body; \
             {deaths} deaths, {respawns} replaced"
        )?;
        if factorisations > 1 {
            writeln!(
                out,
                "             {factorisations:<10} factorisations: the graph is too short for all \
                 kills in one"
            )?;
        }
        Ok(())
    }
}
