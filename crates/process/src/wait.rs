//! How those who have nothing to do wait: spin, yield, sleep.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::parker::{self, ASLEEP, AWAKE};
use crate::trial::{Trial, Turn};
use crate::{futex, neighbours};

/// A sleep that nobody ends is looked at again after this long: a fault of ours would cost
/// time, not an answer.
pub const RECHECK: Duration = Duration::from_secs(1);

/// How those who have nothing to do wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WaitStrategy {
    /// Never sleep: lowest latency, a whole processor for each worker.
    Spin,
    /// Spin briefly, then let others run, then sleep; beside others who compute, sleep at once.
    /// Right on 2 processors and on 128.
    #[default]
    Adaptive,
    /// Sleep at once.
    Park,
}

/// From this round on a wait is a long one: who is in it may be asked for the processor.
pub const LONG: u32 = 40;

/// Rounds in which one spins who has a processor for itself, and who shares it.
const SPINS: u32 = 300;
const SPINS_SHARED: u32 = LONG;
/// Rounds in which one yields after that. A yield that finds nobody is a look like any other, so
/// the number only says when one sleeps. To be woken from that takes up to 50 us where an idle
/// processor has been given back to a hypervisor.
const YIELDS: u32 = 200;

/// What one who waits does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Spin,
    Yield,
    Sleep,
}

/// How long one waits before one sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    strategy: WaitStrategy,
    crowded: bool,
}

impl WaitStrategy {
    /// How long one waits. In a crowd, not everybody can have a processor for itself: there is
    /// another who could go on, and who spins keeps it from that.
    pub const fn patience(self, crowded: bool) -> Patience {
        Patience { strategy: self, crowded }
    }

    /// Round `round` of waiting where nothing is known of the others.
    #[inline]
    pub fn pause(self, round: u32) -> Option<()> {
        self.patience(false).pause(round, || u32::MAX)
    }
}

impl Patience {
    /// What to do in round `round`. `shared`: somebody else wanted this processor lately.
    const fn step(self, round: u32, shared: bool) -> Step {
        let longest = if self.crowded { SPINS_SHARED } else { SPINS };
        match self.strategy {
            WaitStrategy::Spin if round % 64 == 63 => Step::Yield,
            WaitStrategy::Spin => Step::Spin,
            WaitStrategy::Park => Step::Sleep,
            WaitStrategy::Adaptive if round < SPINS_SHARED => Step::Spin,
            WaitStrategy::Adaptive if round < longest && !shared => Step::Spin,
            WaitStrategy::Adaptive if round < longest + YIELDS => Step::Yield,
            WaitStrategy::Adaptive => Step::Sleep,
        }
    }

    /// Whether one who waits has a processor for itself, as far as is known, and spins there.
    #[inline]
    pub fn has_processor(self) -> bool {
        !self.crowded && self.strategy != WaitStrategy::Park && !neighbours::any()
    }

    /// Whether one who has to wait for long had better sleep at once: whoever it waits for may want this
    /// processor, and it would take it away from them with each look.
    #[inline]
    pub fn gives_way(self) -> bool {
        self.crowded && self.strategy == WaitStrategy::Adaptive
    }

    /// Round `round` of waiting: spins or yields. `None`: it is time to sleep. `ours` is asked now and
    /// then: how many of ours may want to run.
    #[inline]
    pub fn pause(self, round: u32, ours: impl Fn() -> u32) -> Option<()> {
        let adaptive = matches!(self.strategy, WaitStrategy::Adaptive);
        let first = round == 0 || round == LONG;
        if adaptive && self.crowded && first && neighbours::compute(&ours) {
            return None;
        }
        match self.step(round, neighbours::any()) {
            Step::Spin => std::hint::spin_loop(),
            Step::Yield if adaptive => {
                if neighbours::compute(&ours) {
                    return None;
                }
                neighbours::yield_now(&ours);
            }
            Step::Yield => std::thread::yield_now(),
            Step::Sleep => return None,
        }
        Some(())
    }
}

/// When one looks for the first time whether what one waits for has come.
///
/// Who looks while the other one is at work on the line takes it away from him, and he has to fetch it
/// back before he can say that he is through: between processors far from each other that takes longer
/// than the task. So one looks when the waits before this one were over, which is learnt from whether the
/// first look was too early; where lines are near, one does better to look all the time, which is tried
/// now and then.
#[derive(Debug)]
pub struct FirstLook {
    /// Pauses before it, in eighths.
    pauses: AtomicU32,
    trial: Trial,
}

/// One wait that has begun.
#[derive(Debug)]
pub struct Look {
    turn: Turn,
    began: u64,
}

impl FirstLook {
    /// The most pauses before it, and the most looks after it in a wait that is learnt from: less than a
    /// microsecond, so that it does not matter to who waits for more.
    const MOST: u32 = 24;
    /// Eighths of a pause: later after a look that was too early, which costs far more than one that was
    /// too late; and earlier after one that was not.
    const LATER: u32 = 8;
    const EARLIER: u32 = 1;

    /// Nothing is known yet.
    pub const fn new() -> Self {
        Self { pauses: AtomicU32::new(0), trial: Trial::new(64, 4096) }
    }

    /// A wait begins: lets the usual time pass.
    #[inline]
    pub fn begin(&self) -> Look {
        let turn = self.trial.turn();
        let began = if turn.timed { monotonic_ns() } else { 0 };
        if turn.second {
            for _ in 0..self.pauses.load(Relaxed) / 8 {
                std::hint::spin_loop();
            }
        }
        Look { turn, began }
    }

    /// What was waited for had come at look `nth`, counted from 0.
    #[inline]
    pub fn came(&self, look: &Look, nth: u32) {
        if nth > Self::MOST {
            return; // something else than what this is about
        }
        if look.turn.second {
            let now = self.pauses.load(Relaxed);
            let next = match nth {
                0 => now.saturating_sub(Self::EARLIER),
                _ => (now + Self::LATER).min(8 * Self::MOST),
            };
            self.pauses.store(next, Relaxed);
        }
        let took = if look.turn.timed { monotonic_ns() - look.began } else { 0 };
        self.trial.done(look.turn, took);
    }
}

impl Default for FirstLook {
    fn default() -> Self {
        Self::new()
    }
}

/// Sleeps on a parker: announces it, fences, and, if `nothing` has come meanwhile, sleeps until it
/// is unparked, at most for `longest`. Whoever publishes something and then calls [`unpark`] is
/// seen, or ends the sleep ([`parker`] has the order of the steps).
pub fn park(
    parker: &AtomicU32,
    fence: impl FnOnce(),
    nothing: impl FnOnce() -> bool,
    longest: Duration,
) {
    parker.store(ASLEEP, SeqCst);
    fence();
    if nothing() {
        futex::wait(parker, ASLEEP, Some(longest));
    }
    parker.store(AWAKE, SeqCst);
}

/// Wakes who sleeps on a parker. The caller has published its work, and fenced, before.
#[inline]
pub fn unpark(parker: &AtomicU32) {
    if parker.load(Relaxed) == ASLEEP && parker::unpark(parker) {
        futex::wake(parker, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(patience: Patience, shared: bool) -> (u32, u32) {
        let count =
            |step| (0..10_000).filter(|&at| patience.step(at, shared) == step).count() as u32;
        (count(Step::Spin), count(Step::Yield))
    }

    #[test]
    fn who_has_a_processor_spins_longer_than_who_shares_it() {
        let patience = |crowded| WaitStrategy::Adaptive.patience(crowded);
        assert_eq!(steps(patience(false), false), (SPINS, YIELDS));
        assert_eq!(steps(patience(false), true), (SPINS_SHARED, SPINS - SPINS_SHARED + YIELDS));
        for shared in [false, true] {
            assert_eq!(steps(patience(true), shared), (SPINS_SHARED, YIELDS));
        }
    }

    #[test]
    fn first_spins_then_yields_then_sleeps() {
        for (crowded, shared) in [(false, false), (false, true), (true, false), (true, true)] {
            let patience = WaitStrategy::Adaptive.patience(crowded);
            let steps: Vec<Step> = (0..1000).map(|round| patience.step(round, shared)).collect();
            assert!(steps.is_sorted_by_key(|step| *step as u8), "{crowded} {shared}");
        }
    }

    #[test]
    fn the_others_never_and_always_sleep() {
        for crowded in [false, true] {
            let step = |wait: WaitStrategy, round| wait.patience(crowded).step(round, true);
            assert!((0..10_000).all(|round| step(WaitStrategy::Spin, round) != Step::Sleep));
            assert_eq!(step(WaitStrategy::Park, 0), Step::Sleep);
        }
    }
}
