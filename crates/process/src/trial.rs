//! Two ways to do the same thing, of which the quicker one depends on where the processors are, how they
//! fetch each other's lines and what the other side does: both are tried now and then.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// Which of two ways is used now, as measured. Threads may share it without a lock: it is a guess.
#[derive(Debug)]
pub struct Trial {
    /// So many samples of each way are compared.
    samples: u32,
    /// So many times the better one is used before they are compared again.
    uses: u32,
    /// Until then. Above `uses`, samples are taken: of the first way, then of the second one.
    left: AtomicU32,
    spent: [AtomicU64; 2],
    /// The second way was better.
    second: AtomicBool,
}

/// What to do this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The second way.
    pub second: bool,
    /// It is a sample, and to be timed.
    pub timed: bool,
}

impl Trial {
    /// The second way must be better by this part, so that chance does not choose it.
    const GAIN: u64 = 12;

    /// Compares `samples` of each way, then uses the better one `uses` times, and so on.
    pub const fn new(samples: u32, uses: u32) -> Self {
        Self {
            samples,
            uses,
            left: AtomicU32::new(2 * samples + uses),
            spent: [const { AtomicU64::new(0) }; 2],
            second: AtomicBool::new(false),
        }
    }

    /// What to do this time.
    #[inline]
    pub fn turn(&self) -> Turn {
        let left = self.left.load(Relaxed);
        if left <= self.uses {
            return Turn { second: self.second.load(Relaxed), timed: false };
        }
        Turn { second: left <= self.uses + self.samples, timed: true }
    }

    /// It was done; a sample took so long.
    #[inline]
    pub fn done(&self, turn: Turn, took: u64) {
        let left = self.left.load(Relaxed);
        if turn.timed {
            self.sample(turn.second, took, left);
        } else if left <= 1 {
            self.spent.iter().for_each(|spent| spent.store(0, Relaxed));
            self.left.store(2 * self.samples + self.uses, Relaxed);
        } else {
            self.left.store(left - 1, Relaxed);
        }
    }

    #[cold]
    fn sample(&self, second: bool, took: u64, left: u32) {
        let spent = &self.spent[usize::from(second)];
        spent.store(spent.load(Relaxed).saturating_add(took), Relaxed);
        self.left.store(left.saturating_sub(1), Relaxed);
        if left == self.uses + 1 {
            let [first, second] = [0, 1].map(|way: usize| self.spent[way].load(Relaxed));
            self.second.store(second < first - first / Self::GAIN, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: u32 = 8;
    const USES: u32 = 100;

    /// How often the second way was taken, of so many times.
    fn seconds(trial: &Trial, times: u32, took: impl Fn(bool) -> u64) -> u32 {
        let mut seconds = 0;
        for _ in 0..times {
            let turn = trial.turn();
            seconds += u32::from(turn.second);
            trial.done(turn, took(turn.second));
        }
        seconds
    }

    #[test]
    fn the_quicker_way_is_used() {
        let round = 2 * SAMPLES + USES;
        for (second, expected) in [(50, SAMPLES + USES), (99, SAMPLES), (150, SAMPLES)] {
            let trial = Trial::new(SAMPLES, USES);
            for _ in 0..3 {
                let took = |is_second| if is_second { second } else { 100 };
                assert_eq!(seconds(&trial, round, took), expected, "{second}");
            }
        }
    }

    #[test]
    fn it_is_tried_again_when_the_machine_has_changed() {
        let (trial, round) = (Trial::new(SAMPLES, USES), 2 * SAMPLES + USES);
        let far = |second| if second { 50 } else { 100 };
        let near = |second| if second { 100 } else { 50 };
        assert_eq!(seconds(&trial, round, far), SAMPLES + USES);
        assert_eq!(seconds(&trial, round, near), SAMPLES);
        assert_eq!(seconds(&trial, round, far), SAMPLES + USES);
    }
}
