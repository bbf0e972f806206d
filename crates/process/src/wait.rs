//! How those who have nothing to do wait: spin, yield, sleep.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::futex;
use crate::parker::{self, ASLEEP, AWAKE};

/// A sleep that nobody ends is looked at again after this long: a fault of ours would cost
/// time, not an answer.
pub const RECHECK: Duration = Duration::from_secs(1);

/// Rounds of waiting in which [`WaitStrategy::Adaptive`] spins, and up to which it then yields.
const SPIN_UNTIL: u32 = 300;
const YIELD_UNTIL: u32 = 340;

/// How those who have nothing to do wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WaitStrategy {
    /// Never sleep: lowest latency, a whole processor for each worker.
    Spin,
    /// Spin briefly, then let others run, then sleep. Right on 2 processors and on 128.
    #[default]
    Adaptive,
    /// Sleep at once.
    Park,
}

impl WaitStrategy {
    /// What to do in round `round` of waiting: spin, yield, or sleep (`None`).
    #[inline]
    pub fn pause(self, round: u32) -> Option<()> {
        match self {
            Self::Spin if round % 64 == 63 => std::thread::yield_now(),
            Self::Spin => std::hint::spin_loop(),
            Self::Adaptive if round < SPIN_UNTIL => std::hint::spin_loop(),
            Self::Adaptive if round < YIELD_UNTIL => std::thread::yield_now(),
            Self::Adaptive => return None,
            Self::Park => return None,
        }
        Some(())
    }

    /// The same for one whom somebody is about to wake. Beside others who compute, a yield gives a
    /// whole time slice away, while one who sleeps and is woken is let in at once: so it yields
    /// only as long as yields are short.
    #[inline]
    pub fn pause_briefly(self, round: u32) -> Option<()> {
        match self {
            Self::Adaptive if (SPIN_UNTIL..YIELD_UNTIL).contains(&round) => {
                yield_if_short().then_some(())
            }
            _ => self.pause(round),
        }
    }
}

/// Yields the processor, unless a yield of this process has lately cost a time slice.
fn yield_if_short() -> bool {
    /// A yield that takes longer has let somebody in who computes.
    const SHORT: u64 = 500_000;
    /// How long nobody yields after such a one.
    const PAUSE: u64 = 1_000_000_000;
    static CROWDED_UNTIL: AtomicU64 = AtomicU64::new(0);
    let before = monotonic_ns();
    if before < CROWDED_UNTIL.load(Relaxed) {
        return false;
    }
    std::thread::yield_now();
    let after = monotonic_ns();
    if after.saturating_sub(before) > SHORT {
        CROWDED_UNTIL.store(after + PAUSE, Relaxed);
    }
    true
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
