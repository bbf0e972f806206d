//! The tally: how far a flow is, function by function, as the records tell.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mailring_process::clock::monotonic_ns;

use super::records::{Batch, What};
use crate::protocol::node::NodeDesc;
use crate::protocol::progress::{FunctionProgress, ProgressReport};

/// Where a call is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inputs,
    Ready,
    Waiting(u32),
    Running(u64),
}

struct Call {
    function: usize,
    stage: Stage,
}

#[derive(Default)]
struct Function {
    name: String,
    calls: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    retried: u64,
    served: u64,
    bypassed: u64,
    /// What completed calls have taken in all.
    took_ns: u64,
    ran: u64,
}

pub(crate) struct Tally {
    began: u64,
    functions: Vec<Function>,
    /// By its node's address.
    known: HashMap<usize, usize>,
    /// Those that are not over.
    calls: HashMap<u64, Call>,
    reasons: Vec<String>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            began: monotonic_ns(),
            functions: Vec::new(),
            known: HashMap::new(),
            calls: HashMap::new(),
            reasons: Vec::new(),
        }
    }

    fn function(&mut self, node: &'static NodeDesc) -> usize {
        *self.known.entry(std::ptr::from_ref(node) as usize).or_insert_with(|| {
            let name = node.short_name().to_owned();
            self.functions.push(Function { name, ..Function::default() });
            self.functions.len() - 1
        })
    }

    pub(crate) fn hear(&mut self, batch: &Batch) {
        self.reasons.extend(batch.reasons.iter().map(|reason| words(reason)));
        for record in &batch.records {
            if let What::Submitted { node, is_ready, .. } = &record.what {
                let function = self.function(node);
                self.functions[function].calls += 1;
                let stage = if *is_ready { Stage::Ready } else { Stage::Inputs };
                self.calls.insert(record.call, Call { function, stage });
                continue;
            }
            let Some(call) = self.calls.get_mut(&record.call) else { continue };
            let function = &mut self.functions[call.function];
            let mut is_over = false;
            match &record.what {
                What::Ready => call.stage = Stage::Ready,
                What::Waiting(reason) => call.stage = Stage::Waiting(*reason),
                What::Began { .. } => call.stage = Stage::Running(record.at),
                What::Completed { .. } => {
                    function.completed += 1;
                    is_over = true;
                    if let Stage::Running(began) = call.stage {
                        function.took_ns += record.at.saturating_sub(began);
                        function.ran += 1;
                    }
                }
                What::Failed(failure, _) => {
                    is_over = failure.is_final;
                    function.failed += u64::from(is_over);
                }
                What::Served => {
                    function.served += 1;
                    is_over = true;
                }
                What::Bypassed { .. } => function.bypassed += 1,
                What::Retried { .. } => {
                    function.retried += 1;
                    call.stage = Stage::Ready;
                }
                What::Cancelled { .. } => {
                    function.cancelled += 1;
                    is_over = true;
                }
                _ => {}
            }
            if is_over {
                self.calls.remove(&record.call);
            }
        }
    }

    /// How far it is now.
    pub(crate) fn report(&self) -> ProgressReport {
        let now = monotonic_ns();
        let mut all: Vec<FunctionProgress> = self.functions.iter().map(described).collect();
        let mut reasons: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::new(); all.len()];
        let mut busy_ns = self.functions.iter().map(|function| function.took_ns).sum::<u64>();
        for call in self.calls.values() {
            let function = &mut all[call.function];
            match call.stage {
                Stage::Inputs => function.waiting_for_inputs += 1,
                Stage::Ready => *reasons[call.function].entry("a worker").or_default() += 1,
                Stage::Waiting(reason) => {
                    let reason = self.reasons.get(reason as usize).map_or("?", String::as_str);
                    *reasons[call.function].entry(reason).or_default() += 1;
                }
                Stage::Running(began) => {
                    let since = now.saturating_sub(began);
                    busy_ns += since;
                    function.running += 1;
                    function.longest = function.longest.max(Duration::from_nanos(since));
                }
            }
        }
        for (function, reasons) in all.iter_mut().zip(reasons) {
            function.waiting = reasons.into_iter().map(|(why, n)| (why.to_owned(), n)).collect();
            function.waiting.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        }
        let elapsed = Duration::from_nanos(now.saturating_sub(self.began));
        let left = left(&all, Duration::from_nanos(busy_ns), elapsed);
        all.retain(|function| !function.name.starts_with("mailring::"));
        ProgressReport { elapsed, left, functions: all }
    }
}

fn described(function: &Function) -> FunctionProgress {
    let mean = function.took_ns.checked_div(function.ran).map(Duration::from_nanos);
    FunctionProgress {
        name: function.name.clone(),
        calls: function.calls,
        completed: function.completed,
        failed: function.failed,
        cancelled: function.cancelled,
        retried: function.retried,
        served: function.served,
        bypassed: function.bypassed,
        mean,
        ..FunctionProgress::default()
    }
}

/// What is left to do by the means of what was done, at the rate at which it was done so far. A
/// function of which no call has ended counts as long as its longest has run, or as the others take.
fn left(all: &[FunctionProgress], busy: Duration, elapsed: Duration) -> Option<Duration> {
    let done: u64 = all.iter().map(|function| function.completed).sum();
    let open = |function: &FunctionProgress| {
        function.running + function.waiting_for_inputs + function.waits()
    };
    if done == 0 || busy.is_zero() || elapsed.is_zero() || all.iter().all(|one| open(one) == 0) {
        return None;
    }
    let means: Vec<f64> = all.iter().filter_map(|one| one.mean).map(|d| d.as_secs_f64()).collect();
    let usual = means.iter().sum::<f64>() / means.len().max(1) as f64;
    let work = all.iter().map(|function| {
        let longest = function.longest.as_secs_f64();
        let each = function.mean.map_or(usual.max(longest), |mean| mean.as_secs_f64());
        // Those that run are half through, on the average.
        each * (open(function) as f64 - function.running as f64 / 2.0)
    });
    let at_once = (busy.as_secs_f64() / elapsed.as_secs_f64()).max(0.01);
    Duration::try_from_secs_f64(work.sum::<f64>() / at_once).ok()
}

/// The members of a line as words: `resources, cpus`.
fn words(reason: &str) -> String {
    let line: serde_json::Value =
        serde_json::from_str(&format!("{{\"for\":{reason}}}")).unwrap_or_default();
    let what: Vec<&str> =
        line["what"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    match line["for"].as_str().unwrap_or("?") {
        "resources" if !what.is_empty() => what.join(" and "),
        "resources" => "resources".to_owned(),
        "worker" => "a worker".to_owned(),
        "order" => "the actor".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(calls: u64, completed: u64, mean: u64) -> FunctionProgress {
        FunctionProgress {
            calls,
            completed,
            waiting: vec![("cpus".to_owned(), calls - completed)],
            mean: (mean > 0).then(|| Duration::from_secs(mean)),
            ..FunctionProgress::default()
        }
    }

    #[test]
    fn what_is_left() {
        let secs = Duration::from_secs;
        // Two at once: 10 calls of 2 s each are left.
        assert_eq!(left(&[function(20, 10, 2)], secs(20), secs(10)), Some(secs(10)));
        assert_eq!(left(&[function(20, 0, 0)], secs(20), secs(10)), None, "nothing is known");
        assert_eq!(left(&[function(20, 20, 2)], secs(20), secs(10)), None, "nothing is left");
        // One of which nothing is known takes as long as the others.
        let both = [function(20, 10, 2), function(5, 0, 0)];
        assert_eq!(left(&both, secs(20), secs(10)), Some(secs(15)));
    }

    #[test]
    fn reasons_in_words() {
        assert_eq!(words("\"resources\",\"what\":[\"cpus\",\"board\"]"), "cpus and board");
        assert_eq!(words("\"memory\",\"what\":[]"), "memory");
    }
}
