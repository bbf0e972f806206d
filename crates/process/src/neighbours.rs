//! Who else wants this processor, as the yields of this process tell.
//!
//! A yield returns at once when nobody else wants the processor, and after a switch or two when
//! those who do have little to do. When one of them computes, it returns after a whole time slice.
//! Then neither spinning nor yielding is any good: what one spins is taken off what one gets, while
//! one who sleeps and is woken is let in at once. So after a few such yields nobody of this process
//! spins or yields for a while; then it is tried again.
//!
//! A yield that has let in one of ours who computes says nothing. Nor does a single long one: he may
//! have come to his end meanwhile, and then the next yields are short.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock::monotonic_ns;

/// A yield that takes longer has let somebody in.
const SWITCH_NS: u64 = 1_000;
/// A yield that takes longer has let somebody in who computes.
const LONG_NS: u64 = 500_000;
/// A long yield weighs as much as so many short ones.
const WEIGHT: u8 = 8;
/// From this weight on, others are believed to compute here.
const BELIEVED: u8 = 3 * WEIGHT;
/// How long that is believed for the first time, and how often the time is doubled at most.
const FIRST_US: u64 = 20_000;
const DOUBLINGS: u8 = 3;

/// For so long after a long yield, [`was_long`] says so.
const LATELY_NS: u64 = 1_000_000_000;

/// Until when there was a long yield lately.
static LATELY_UNTIL: AtomicU64 = AtomicU64::new(0);

/// What this process has seen last. All its threads use it, without a lock: it is a guess.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// What was seen of others on this processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Neighbours {
    /// The last yield has let somebody in.
    any: bool,
    /// Of the last yields: how much speaks for somebody who computes.
    weight: u8,
    /// How often in a row that was believed.
    doublings: u8,
    /// Until when it is believed, in microseconds of the monotonic clock.
    until_us: u64,
}

impl Neighbours {
    fn from_word(word: u64) -> Self {
        let byte = |at: u32| (word >> at) as u8;
        Self {
            any: word & 1 != 0,
            weight: byte(1) & 0x1f,
            doublings: byte(6) & 3,
            until_us: word >> 8,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.any)
            | u64::from(self.weight) << 1
            | u64::from(self.doublings) << 6
            | self.until_us << 8
    }

    fn compute(self, now_us: u64) -> bool {
        now_us < self.until_us
    }

    /// After a yield of so many nanoseconds.
    fn after(self, took_ns: u64, now_us: u64) -> Self {
        let mut next = Self { any: took_ns > SWITCH_NS, until_us: 0, ..self };
        if took_ns <= LONG_NS {
            next.weight = self.weight.saturating_sub(1);
            if next.weight == 0 {
                next.doublings = 0;
            }
            return next;
        }
        next.weight += WEIGHT;
        if next.weight >= BELIEVED {
            next.weight = BELIEVED - WEIGHT; // the next long one confirms it
            next.until_us = now_us + (FIRST_US << self.doublings);
            next.doublings = (self.doublings + 1).min(DOUBLINGS);
        }
        next
    }
}

/// Whether the last yield of this process has let somebody in.
#[inline]
pub fn any() -> bool {
    Neighbours::from_word(SEEN.load(Relaxed)).any
}

/// Whether others compute on the processors of this process, so that it is best to sleep at once.
#[inline]
pub fn compute() -> bool {
    let seen = Neighbours::from_word(SEEN.load(Relaxed));
    seen.until_us != 0 && seen.compute(monotonic_ns() / 1000)
}

/// Whether a yield of this process was long within the last second.
#[inline]
pub fn was_long() -> bool {
    let until = LATELY_UNTIL.load(Relaxed);
    until != 0 && monotonic_ns() < until
}

/// Lets others run, and sees how long that takes. `ours_wait` is asked when it took long: whether
/// all of ours who could have had the processor have nothing to do.
pub fn yield_now(ours_wait: impl FnOnce() -> bool) {
    let began = monotonic_ns();
    std::thread::yield_now();
    let now = monotonic_ns();
    let took = now.saturating_sub(began);
    if took > LONG_NS {
        LATELY_UNTIL.store(now + LATELY_NS, Relaxed);
        if !ours_wait() {
            return;
        }
    }
    let word = SEEN.load(Relaxed);
    let next = Neighbours::from_word(word).after(took, now / 1000).word();
    if next != word {
        SEEN.store(next, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: u64 = 300;
    const SWITCH: u64 = 3_000;
    const SLICE: u64 = 3_000_000;

    /// Yields one after the other, each at the end of the one before.
    fn yields(mut seen: Neighbours, now_us: &mut u64, took: &[u64]) -> Neighbours {
        for took in took {
            *now_us += took / 1000;
            seen = seen.after(*took, *now_us);
            assert_eq!(Neighbours::from_word(seen.word()), seen);
        }
        seen
    }

    #[test]
    fn a_yield_that_returns_at_once_has_met_nobody() {
        let mut now = 1_000_000;
        let seen = yields(Neighbours::default(), &mut now, &[SWITCH]);
        assert!(seen.any && !seen.compute(now));
        let seen = yields(seen, &mut now, &[SHORT]);
        assert_eq!(seen, Neighbours::default());
    }

    #[test]
    fn long_yields_now_and_then_are_tasks_of_ours() {
        let (mut now, mut seen) = (1_000_000, Neighbours::default());
        for _ in 0..100 {
            seen = yields(seen, &mut now, &[SLICE, SLICE]);
            assert!(!seen.compute(now));
            seen = yields(seen, &mut now, &[SHORT; 16]);
        }
    }

    #[test]
    fn long_yields_in_a_row_are_somebody_who_computes() {
        let mut now = 1_000_000;
        let seen = yields(Neighbours::default(), &mut now, &[SLICE, SHORT, SLICE, SLICE]);
        assert!(!seen.compute(now));
        let seen = yields(seen, &mut now, &[SLICE]);
        assert!(seen.compute(now + FIRST_US - 1) && !seen.compute(now + FIRST_US));
    }

    #[test]
    fn it_is_tried_again_less_and_less_often() {
        let mut now = 1_000_000;
        let mut seen = yields(Neighbours::default(), &mut now, &[SLICE; 3]);
        for pause in [2 * FIRST_US, 4 * FIRST_US, 8 * FIRST_US, 8 * FIRST_US] {
            now = seen.until_us;
            seen = yields(seen, &mut now, &[SLICE]);
            assert_eq!(seen.until_us, now + pause);
        }
        // Short yields, and all is as it was before.
        now = seen.until_us;
        seen = yields(seen, &mut now, &[SHORT; 16]);
        assert_eq!(seen, Neighbours::default());
    }
}
