//! The critical path: back from the end of the run, what each moment waited for. Its steps cover
//! the run without a gap, so what shortens one of them shortens the run.

use super::model::{Call, Phase, Run};

/// How a step leads to the one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The same call goes on.
    Same,
    /// By its value.
    Input,
    /// By the worker that it left.
    Worker,
    /// Its body made the call.
    Call,
    /// Its caller went on when it ended.
    Return,
    /// The program went on when it ended.
    Program,
}

impl Link {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Input => "input",
            Self::Worker => "worker",
            Self::Call => "call",
            Self::Return => "return",
            Self::Program => "program",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// `None`: the program itself.
    pub(super) call: Option<usize>,
    pub(super) reason: usize,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) link: Link,
}

/// Ends in order, to be asked for the last one before a moment.
struct Ends(Vec<(i64, usize)>);

impl Ends {
    fn last(
        &self,
        until: i64,
        after: i64,
        mut fits: impl FnMut(usize) -> bool,
    ) -> Option<(i64, usize)> {
        let behind = self.0.partition_point(|&(end, _)| end <= until);
        let before = self.0[..behind].iter().rev().take_while(|&&(end, _)| end > after);
        before.take(256).copied().find(|&(_, call)| fits(call))
    }
}

struct Walk<'a> {
    run: &'a Run,
    /// What each body called, and last what the program called.
    children: Vec<Ends>,
    workers: Vec<Ends>,
    visited: Vec<bool>,
    /// From the end.
    steps: Vec<Step>,
}

pub(super) fn critical_path(run: &Run) -> Vec<Step> {
    let count = run.calls.len();
    let mut children: Vec<_> = (0..=count).map(|_| Ends(Vec::new())).collect();
    let mut workers: Vec<_> = run.workers.iter().map(|_| Ends(Vec::new())).collect();
    for (at, call) in run.calls.iter().enumerate() {
        if call.is_inside() {
            continue;
        }
        if !call.attempts.is_empty() || call.submitted.is_some() {
            children[call.caller.unwrap_or(count)].0.push((call.end, at));
        }
        for attempt in &call.attempts {
            if let Some(worker) = attempt.worker.filter(|&worker| !run.workers[worker].is_program) {
                workers[worker].0.push((attempt.end, at));
            }
        }
    }
    children.iter_mut().chain(&mut workers).for_each(|ends| ends.0.sort_unstable());
    let mut walk = Walk { run, children, workers, visited: vec![false; count], steps: Vec::new() };
    walk.go();
    let mut steps = walk.steps;
    steps.reverse();
    steps
}

impl Walk<'_> {
    fn go(&mut self) {
        let calls = self.run.calls.iter().filter(|call| !call.is_inside());
        let last = calls.map(|call| call.end).max().unwrap_or(0);
        let (mut call, mut at, mut link) = (None, last, Link::Program);
        // Each step visits a call for the first time, or goes up to a caller; callers of a log that
        // was not written by us could go round.
        for _ in 0..4 * self.run.calls.len() + 64 {
            let Some((next, time, next_link)) = (match call {
                None => self.in_program(at, link),
                Some(call) => Some(self.in_call(call, at, link)),
            }) else {
                return;
            };
            (call, at, link) = (next, time, next_link);
        }
    }

    /// Notes a step that ends where the one noted before begins.
    fn note(&mut self, call: Option<usize>, reason: usize, from: i64, to: i64, link: Link) {
        if to > from {
            self.steps.push(Step { call, reason, from, to, link });
        }
    }

    fn visit(&mut self, call: usize) -> bool {
        !std::mem::replace(&mut self.visited[call], true)
    }

    fn in_program(&mut self, at: i64, link: Link) -> Option<(Option<usize>, i64, Link)> {
        let visited = &self.visited;
        let found = self.children[self.run.calls.len()].last(at, -1, |call| !visited[call]);
        let from = found.map_or(0, |(end, _)| end);
        self.note(None, Phase::Program as usize, from, at, link);
        let (end, call) = found?;
        self.visit(call);
        Some((Some(call), end, Link::Program))
    }

    /// From a moment of a call back to what it waited for.
    fn in_call(&mut self, at: usize, until: i64, link: Link) -> (Option<usize>, i64, Link) {
        let run = self.run;
        let call: &Call = &run.calls[at];
        let mut until = until;
        let started = call.start().unwrap_or(call.end).min(until);
        // A body that has called others waited for the last of them.
        let visited = &self.visited;
        let child = self.children[at]
            .last(until, started, |child| !visited[child] && run.calls[child].begin() >= started);
        if let Some((end, child)) = child {
            self.spans(at, end, until, link);
            self.visit(child);
            return (Some(child), end, Link::Return);
        }
        self.spans(at, started, until, link);
        until = started;
        let Some(submitted) = call.submitted.filter(|&submitted| submitted <= until) else {
            // A log without submits: the last input, or whoever called.
            let input = self.input(call, until, -1);
            return input.map_or((call.caller, until, Link::Call), |(end, dep)| {
                self.visit(dep);
                self.spans(at, end, until, Link::Same);
                self.note(None, Phase::Program as usize, end, until, Link::Same);
                (Some(dep), end, Link::Input)
            });
        };
        let ready_span = call.spans.first().filter(|span| span.reason == Phase::Inputs as usize);
        let ready = ready_span.map_or(submitted, |span| span.to).min(until);
        if until > ready {
            // Another call had the worker.
            let worker = call.attempts.first().and_then(|attempt| attempt.worker);
            let visited = &self.visited;
            let other = worker.and_then(|worker| {
                self.workers[worker].last(until, ready, |other| other != at && !visited[other])
            });
            if let Some((end, other)) = other {
                self.spans(at, end, until, Link::Same);
                self.visit(other);
                return (Some(other), end, Link::Worker);
            }
            self.spans(at, ready, until, Link::Same);
        }
        if let Some((end, dep)) = self.input(call, ready, submitted) {
            self.spans(at, end, ready, Link::Same);
            self.visit(dep);
            return (Some(dep), end, Link::Input);
        }
        self.spans(at, submitted, ready, Link::Same);
        (call.caller, submitted, Link::Call)
    }

    /// The input that came last, if it came between these.
    fn input(&self, call: &Call, until: i64, after: i64) -> Option<(i64, usize)> {
        let deps = call.deps.iter().filter(|&&dep| !self.visited[dep]);
        let ends = deps.map(|&dep| (self.run.calls[dep].end, dep));
        ends.filter(|&(end, _)| end <= until && end > after).max()
    }

    /// What the call spent this time on.
    fn spans(&mut self, at: usize, from: i64, to: i64, link: Link) {
        let mut links = Some(link);
        for place in (0..self.run.calls[at].spans.len()).rev() {
            let span = self.run.calls[at].spans[place];
            let (begin, end) = (span.from.max(from), span.to.min(to));
            if end > begin {
                self.note(Some(at), span.reason, begin, end, links.take().unwrap_or(Link::Same));
            }
        }
    }
}

/// How long the run takes at least, however many workers there are: the longest chain of calls that
/// need each other's values.
pub(super) fn longest_chain(run: &Run) -> i64 {
    let mut order: Vec<_> = (0..run.calls.len()).collect();
    order.sort_by_key(|&at| run.calls[at].end);
    let mut chains = vec![0; run.calls.len()];
    for at in order {
        let call = &run.calls[at];
        let own = call.attempts.last().map_or(0, |attempt| attempt.end - attempt.start);
        let before = call.deps.iter().filter(|&&dep| run.calls[dep].end <= call.end);
        chains[at] = own + before.map(|&dep| chains[dep]).max().unwrap_or(0);
    }
    chains.into_iter().max().unwrap_or(0)
}
