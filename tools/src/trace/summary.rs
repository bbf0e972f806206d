//! Figures of a run: how many calls, where their time went, what each function and worker did.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::model::{Call, Outcome, Phase, Run};
use super::path;

/// What a function did in a run, or in several.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) calls: usize,
    pub(super) failed: usize,
    pub(super) cancelled: usize,
    pub(super) served: usize,
    pub(super) retries: usize,
    /// Of the calls that were done, in seconds.
    pub(super) times: Vec<f64>,
    /// Microseconds from the submit to the start.
    pub(super) waited: i64,
}

/// Mean, sample deviation, least, most, sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    pub(super) mean: f64,
    pub(super) deviation: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) total: f64,
}

impl Times {
    pub(super) fn of(times: &[f64]) -> Option<Self> {
        if times.is_empty() {
            return None;
        }
        let total: f64 = times.iter().sum();
        let mean = total / times.len() as f64;
        let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
        let deviation =
            if times.len() > 1 { (squares / (times.len() - 1) as f64).sqrt() } else { 0.0 };
        let min = times.iter().copied().fold(f64::INFINITY, f64::min);
        let max = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { mean, deviation, min, max, total })
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) calls: usize,
    pub(super) done: usize,
    pub(super) failed: usize,
    pub(super) cancelled: usize,
    pub(super) served: usize,
    pub(super) unfinished: usize,
    pub(super) bypassed: usize,
    pub(super) retries: usize,
    pub(super) local: usize,
    pub(super) deaths: usize,
}

/// What a worker did, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) calls: usize,
    pub(super) running: i64,
    pub(super) setup: i64,
    pub(super) lost: i64,
    /// At least one body was there.
    pub(super) busy: i64,
}

pub(super) struct Summary {
    pub(super) totals: Totals,
    /// Microseconds for each reason of the run, over all calls.
    pub(super) reasons: Vec<i64>,
    pub(super) functions: Vec<Function>,
    pub(super) workers: Vec<Share>,
    /// Numbers that bodies added, by name.
    pub(super) extras: BTreeMap<String, Vec<f64>>,
    pub(super) path: Vec<path::Step>,
    /// Microseconds of the path for each reason.
    pub(super) path_reasons: Vec<i64>,
    pub(super) longest_chain: i64,
}

impl Summary {
    pub(super) fn of(run: &Run) -> Self {
        let mut totals = Totals { deaths: run.deaths.len(), ..Totals::default() };
        let mut reasons = vec![0; run.reasons.len()];
        let mut workers = vec![Share::default(); run.workers.len()];
        let mut busy: Vec<Vec<(i64, i64)>> = vec![Vec::new(); run.workers.len()];
        let mut extras: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for call in &run.calls {
            totals.calls += 1;
            totals.local += usize::from(!call.is_remote);
            totals.bypassed += usize::from(call.bypassed.is_some());
            totals.retries += call.attempts.len().saturating_sub(1);
            *match call.outcome {
                Outcome::Done => &mut totals.done,
                Outcome::Failed => &mut totals.failed,
                Outcome::Cancelled => &mut totals.cancelled,
                Outcome::Served => &mut totals.served,
                Outcome::Unfinished => &mut totals.unfinished,
            } += 1;
            extras_of(call, &mut extras);
            if call.is_inside() {
                continue;
            }
            for span in &call.spans {
                reasons[span.reason] += span.to - span.from;
            }
            for attempt in &call.attempts {
                let Some(worker) = attempt.worker else { continue };
                let share = &mut workers[worker];
                let begun = attempt.setup_done.unwrap_or(attempt.start);
                share.calls += 1;
                if matches!(attempt.outcome, Outcome::Done | Outcome::Unfinished) {
                    share.setup += begun - attempt.start;
                    share.running += attempt.end - begun;
                } else {
                    share.lost += attempt.end - attempt.start;
                }
                busy[worker].push((attempt.start, attempt.end));
            }
        }
        for (share, mut times) in workers.iter_mut().zip(busy) {
            times.sort_unstable();
            let mut until = 0;
            for (from, to) in times {
                share.busy += (to - from.max(until)).max(0);
                until = until.max(to);
            }
        }
        let path = path::critical_path(run);
        let mut path_reasons = vec![0; run.reasons.len()];
        for step in &path {
            path_reasons[step.reason] += step.to - step.from;
        }
        Self {
            totals,
            reasons,
            functions: functions(&[run]),
            workers,
            extras,
            path,
            path_reasons,
            longest_chain: path::longest_chain(run),
        }
    }

    /// For scripts.
    pub(super) fn json(&self, run: &Run) -> Value {
        let seconds = |us: i64| us as f64 / 1e6;
        let by_reason = |times: &[i64]| -> Map<String, Value> {
            let named = run.reasons.iter().zip(times).filter(|(_, time)| **time > 0);
            named.map(|(reason, time)| (reason.key.clone(), json!(seconds(*time)))).collect()
        };
        let workers: Vec<_> = run
            .workers
            .iter()
            .zip(&self.workers)
            .map(|(worker, share)| {
                json!({
                    "worker_id": worker.id, "node_id": worker.node, "attempts": share.calls,
                    "running_s": seconds(share.running), "setup_s": seconds(share.setup),
                    "lost_s": seconds(share.lost), "busy_s": seconds(share.busy),
                })
            })
            .collect();
        let path: Vec<_> = self
            .path
            .iter()
            .map(|step| {
                json!({
                    "call_id": step.call.map(|call| &run.calls[call].id),
                    "func": step.call.map(|call| &run.functions[run.calls[call].func]),
                    "spent": run.reasons[step.reason].key,
                    "from_s": seconds(step.from), "to_s": seconds(step.to),
                })
            })
            .collect();
        let totals = &self.totals;
        json!({
            "file": run.about.file, "number": run.about.number, "run": run.about.id,
            "program": run.about.program, "started": run.epoch as f64 / 1e6,
            "wall_s": seconds(run.length), "ended": run.about.ended,
            "totals": {
                "calls": totals.calls, "completed": totals.done, "failed": totals.failed,
                "cancelled": totals.cancelled, "served": totals.served,
                "unfinished": totals.unfinished, "bypassed": totals.bypassed,
                "retried": totals.retries, "local": totals.local, "worker_deaths": totals.deaths,
            },
            "time_s": by_reason(&self.reasons),
            "critical_path_s": by_reason(&self.path_reasons),
            "critical_path": path,
            "longest_chain_s": seconds(self.longest_chain),
            "functions": self.functions.iter().map(Function::json).collect::<Vec<_>>(),
            "workers": workers,
            "notes": run.notes,
        })
    }
}

fn extras_of(call: &Call, extras: &mut BTreeMap<String, Vec<f64>>) {
    for (key, value) in &call.extra {
        if let Some(value) = value.as_f64() {
            extras.entry(key.clone()).or_default().push(value);
        }
    }
}

impl Function {
    pub(super) fn json(&self) -> Value {
        let times = Times::of(&self.times);
        json!({
            "func": self.name, "count": self.times.len(),
            "mean_exec_time_s": times.map(|times| times.mean),
            "std_exec_time_s": times.map(|times| times.deviation),
            "min_exec_time_s": times.map(|times| times.min),
            "max_exec_time_s": times.map(|times| times.max),
            "total_exec_time_s": times.map(|times| times.total),
            "calls": self.calls, "failed": self.failed, "cancelled": self.cancelled,
            "served": self.served, "retried": self.retries, "waited_s": self.waited as f64 / 1e6,
        })
    }
}

/// Each function of these runs, the one with the most time first.
pub(super) fn functions(runs: &[&Run]) -> Vec<Function> {
    let mut functions: BTreeMap<&str, Function> = BTreeMap::new();
    for run in runs {
        for call in &run.calls {
            let name = run.functions[call.func].as_str();
            let function = functions.entry(name).or_default();
            function.calls += 1;
            function.failed += usize::from(call.outcome == Outcome::Failed);
            function.cancelled += usize::from(call.outcome == Outcome::Cancelled);
            function.served += usize::from(call.outcome == Outcome::Served);
            function.retries += call.attempts.len().saturating_sub(1);
            function.times.extend(call.exec_s);
            let waits = call.spans.iter().take_while(|span| {
                !matches!(
                    run.reasons[span.reason].phase,
                    Phase::SetUp | Phase::Running | Phase::Lost
                )
            });
            function.waited += waits.map(|span| span.to - span.from).sum::<i64>();
        }
    }
    let mut functions: Vec<_> = functions
        .into_iter()
        .map(|(name, function)| Function { name: name.to_owned(), ..function })
        .collect();
    let total = |function: &Function| function.times.iter().sum::<f64>();
    functions.sort_by(|a, b| total(b).total_cmp(&total(a)));
    functions
}
