//! A section while it is measured, in the process of the section.

use std::error::Error;
use std::time::{Duration, Instant};

use super::raw::Raw;
use super::section::Effort;
use crate::system::allowed_cpus;

/// How measuring ends. What goes wrong is told to whoever reads the report.
pub(super) type Measured<T = ()> = Result<T, Box<dyn Error>>;

/// Rounds of a section, whatever time they take.
const LEAST_ROUNDS: usize = 3;
const MOST_ROUNDS: usize = 101;

pub(super) struct Run {
    pub(super) effort: Effort,
    /// The processors that may be used, at least one.
    pub(super) processors: Vec<usize>,
    /// What [`Self::rounds`] may take.
    budget: Duration,
    raw: Raw,
    /// Told what is being done.
    progress: Box<dyn Fn(&str)>,
}

impl Run {
    pub(super) fn new(effort: Effort, seconds: f64, progress: Box<dyn Fn(&str)>) -> Self {
        let budget = Duration::from_secs_f64(seconds);
        Self { effort, processors: allowed_cpus(), budget, raw: Raw::default(), progress }
    }

    /// The processor of the submitter.
    pub(super) fn here(&self) -> usize {
        self.processors[0]
    }

    /// The processor of the first worker.
    pub(super) fn there(&self) -> usize {
        self.processors[1 % self.processors.len()]
    }

    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    /// `quick`, or `more` when there is time.
    pub(super) fn count(&self, quick: usize, more: usize) -> usize {
        if self.effort == Effort::Quick { quick } else { more }
    }

    /// Says what is being done, to whoever looks at a terminal.
    pub(super) fn says(&self, what: &str) {
        (self.progress)(what);
    }

    /// A measurement of a figure.
    pub(super) fn add(&mut self, key: &str, value: f64) {
        self.raw.add(key, value);
    }

    /// A measurement for a place on the axis of a plot.
    pub(super) fn point(&mut self, panel: &str, series: &str, x: f64, y: f64) {
        self.raw.point(panel, series, x, y);
    }

    /// What cannot be measured here is named, never guessed.
    pub(super) fn missing(&mut self, what: &str, why: &str) {
        self.raw.missing.push((what.to_owned(), why.to_owned()));
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.raw.notes.push(text.into());
    }

    /// Calls `round` with 0, 1, ... until the time of the section is spent. What the first call
    /// measures is dropped: it warms up. Figures added by one call belong together, and each call
    /// adds each of them once: ratios are taken between them.
    pub(super) fn rounds(&mut self, round: impl FnMut(&mut Self, usize) -> Measured) -> Measured {
        self.rounds_within(self.budget, round)
    }

    /// The same within a part of the section's time.
    pub(super) fn rounds_within(
        &mut self,
        budget: Duration,
        mut round: impl FnMut(&mut Self, usize) -> Measured,
    ) -> Measured {
        let begin = Instant::now();
        let before = self.raw.clone();
        round(self, 0)?;
        self.raw = before;
        for nth in 1..=MOST_ROUNDS {
            // Where everything takes much longer than it should, one round has to do.
            let least = if begin.elapsed() > 3 * budget { 1 } else { LEAST_ROUNDS };
            if nth > least && begin.elapsed() >= budget {
                break;
            }
            self.says(&format!("round {nth}"));
            round(self, nth)?;
        }
        Ok(())
    }

    pub(super) fn into_raw(self) -> Raw {
        self.raw
    }
}

/// Calls all of them, forwards in one round and backwards in the next, so that nobody always runs
/// behind the same one.
pub(super) fn in_turns(nth: usize, systems: &mut [&mut dyn FnMut() -> Measured]) -> Measured {
    let count = systems.len();
    for at in 0..count {
        let at = if nth.is_multiple_of(2) { at } else { count - 1 - at };
        systems[at]()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_round_is_dropped_and_three_are_kept_or_one_that_is_slow() {
        let mut run = Run::new(Effort::Quick, 0.02, Box::new(|_| ()));
        let mut round = |run: &mut Run, nth| {
            run.add("a", nth as f64);
            std::thread::sleep(Duration::from_millis(8));
            Ok(())
        };
        run.rounds(&mut round).expect("rounds");
        assert_eq!(run.raw.samples["a"][..3], [1.0, 2.0, 3.0]);
        // Much too slow for its time.
        run.raw = Raw::default();
        run.rounds_within(Duration::from_millis(1), &mut round).expect("rounds");
        assert_eq!(run.into_raw().samples["a"], [1.0]);
    }

    #[test]
    fn turns_change_direction() {
        let order = std::cell::RefCell::new(Vec::new());
        for nth in 0..2 {
            let note = |who| {
                order.borrow_mut().push(who);
                Ok(())
            };
            in_turns(nth, &mut [&mut || note(1), &mut || note(2)]).expect("turns");
        }
        assert_eq!(order.into_inner(), [1, 2, 2, 1]);
    }
}
