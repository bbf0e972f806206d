//! Starts that fail: when the next is tried, and when those who wait are told.
//!
//! A machine without a free process, descriptor or page has one again some time, so nobody is
//! retired for that. Starts go on, more and more slowly; only what waits for them ends.

use std::time::{Duration, Instant};

use crate::fork_server::{ChildHandle, StartStep};

/// Pause after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);
/// A worker that has not come up for so long, and as often, is no help to those who wait for it.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;
/// Longest start of a process up to its factory: a few system calls.
const EARLY: Duration = Duration::from_secs(10);
/// Longest run of a factory, unless the builder says otherwise.
pub const START: Duration = Duration::from_secs(30);

/// The starts of one worker.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    /// Failures since the last that came up, the first of them, and what the last one was.
    failures: u32,
    since: Option<Instant>,
    why: String,
    /// When the next start is to be tried.
    again: Option<Instant>,
    /// The last failure has not been told to those who wait.
    fresh: bool,
}

impl Starts {
    /// A start failed; it is tried again after a pause.
    pub fn failed(&mut self, now: Instant, why: &str) {
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
        why.clone_into(&mut self.why);
        self.fresh = true;
        let pause = FIRST * 2u32.pow((self.failures - 1).min(10));
        self.again = Some(now + pause.min(LONGEST));
    }

    /// One came up.
    pub fn came_up(&mut self) {
        *self = Self::default();
    }

    /// When the next start is to be tried, if one is.
    pub fn next(&self) -> Option<Instant> {
        self.again
    }

    /// Whether one is to be tried now. Says so once.
    pub fn take_due(&mut self, now: Instant) -> bool {
        self.again.take_if(|at| *at <= now).is_some()
    }

    /// Whether so many failed in a row.
    pub fn failed_often(&self) -> bool {
        self.failures >= TRIES
    }

    /// Whether a start has failed since this was asked last. Who waits is told then and not in
    /// between: one who came after the last failure sees another try.
    pub fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// Why nobody should wait for this worker now, if it has failed too long and too often.
    pub fn hopeless(&self, now: Instant) -> Option<String> {
        let since = self.since.filter(|&since| now.duration_since(since) >= PATIENCE)?;
        self.failed_often().then(|| {
            let seconds = now.duration_since(since).as_secs();
            format!(
                "it has not come up for {seconds} s ({} tries); the last: {}",
                self.failures, self.why
            )
        })
    }

    /// When those who wait may have to be told, if this goes on.
    pub fn hopeless_at(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }
}

/// Kills a process whose start takes too long, and notes why.
pub fn end_overdue(child: &mut ChildHandle, longest: Duration, now: Instant) {
    if child.overdue.is_some() || overdue_at(child, longest).is_none_or(|at| now < at) {
        return;
    }
    let took = now.duration_since(child.born).as_secs_f32();
    let why = format!(
        "its process had not come up after {took:.1} s and was killed; its last step was {}",
        child.step().describe()
    );
    tracing::warn!(pid = child.pid, why, "a start takes too long");
    child.overdue = Some(why);
    child.kill();
}

/// How long a start may take that has come so far; `None`: it is through.
fn bound(step: StartStep, longest: Duration) -> Option<Duration> {
    match step {
        StartStep::Live | StartStep::Overflowed | StartStep::Dispossessed => None,
        StartStep::Factory => Some(longest),
        _ => Some(EARLY.min(longest)),
    }
}

/// When a process that starts is overdue, as far as it has come; `None`: it serves.
pub fn overdue_at(child: &ChildHandle, longest: Duration) -> Option<Instant> {
    bound(child.step(), longest).map(|bound| child.born + bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_the_patience_ends_after_ten() {
        let began = Instant::now();
        let (mut starts, mut now) = (Starts::default(), began);
        let mut pauses = Vec::new();
        while starts.hopeless(now).is_none() {
            starts.failed(now, "no process");
            let next = starts.next().unwrap();
            pauses.push((next - now).as_millis());
            assert!(!starts.take_due(now) && starts.take_due(next) && !starts.take_due(next));
            now = next;
        }
        assert_eq!(&pauses[..9], [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        let took = now - began;
        assert!(took >= PATIENCE && took <= PATIENCE + LONGEST, "{took:?}");
        let why = starts.hopeless(now).unwrap();
        assert!(why.contains("tries") && why.ends_with("no process"), "{why}");
        starts.came_up();
        assert!(starts.hopeless(now).is_none() && starts.next().is_none());
    }

    #[test]
    fn few_failures_are_never_hopeless() {
        let mut starts = Starts::default();
        let began = Instant::now();
        (0..TRIES - 1).for_each(|_| starts.failed(began, "killed"));
        assert!(starts.hopeless(began + 10 * PATIENCE).is_none());
    }
}
