//! Who else wants the processors.
//!
//! A yield returns at once when nobody else wants this processor, and after a switch or two when those
//! who do have little to do. When one of them computes, it returns after a whole time slice. That may be
//! one of ours; so after such a yield the system is asked how many want to run, and if twice in a row there
//! are more of them than of ours, others compute. Then neither spinning nor yielding is any
//! good: what one spins is taken off what one gets, while one who sleeps and is woken is let in at once.
//! So nobody of this process spins or yields for a while; then the system is asked again.

use std::io::Read;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::{fs, str};

use crate::clock::monotonic_ns;

/// A yield that takes longer has let somebody in.
const SWITCH_NS: u64 = 1_000;
/// A yield that takes longer has let somebody in who computes.
const LONG_NS: u64 = 500_000;
/// How long it is believed that others compute for the first time, and how often the time is doubled at
/// most.
const FIRST_US: u64 = 20_000;
const DOUBLINGS: u8 = 3;

/// What this process has seen last. All its threads use it, without a lock: it is a guess.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// What was seen of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Neighbours {
    /// The last yield has let somebody in.
    any: bool,
    /// It was found that others compute; once may be chance.
    suspected: bool,
    /// How often in a row that was believed.
    doublings: u8,
    /// Until when that is believed, in microseconds of the monotonic clock; 0: it is not.
    until_us: u64,
}

impl Neighbours {
    fn from_word(word: u64) -> Self {
        Self {
            any: word & 1 != 0,
            suspected: word & 2 != 0,
            doublings: (word >> 2) as u8 & 3,
            until_us: word >> 8,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.any)
            | u64::from(self.suspected) << 1
            | u64::from(self.doublings) << 2
            | self.until_us << 8
    }

    /// After others were found to compute, or not to.
    fn found(self, compute: bool, now_us: u64) -> Self {
        if !compute {
            return Self { suspected: false, until_us: 0, doublings: 0, ..self };
        }
        if !self.suspected {
            return Self { suspected: true, ..self };
        }
        let until_us = now_us + (FIRST_US << self.doublings);
        Self { until_us, doublings: (self.doublings + 1).min(DOUBLINGS), ..self }
    }
}

fn seen() -> Neighbours {
    Neighbours::from_word(SEEN.load(Relaxed))
}

/// Whether the last yield of this process has let somebody in.
#[inline]
pub fn any() -> bool {
    seen().any
}

/// Whether others compute on the processors of this process, so that it is best to sleep at once. `ours`
/// is asked now and then: how many of ours may want to run.
#[inline]
pub fn compute(ours: impl FnOnce() -> u32) -> bool {
    let seen = seen();
    if seen.until_us == 0 {
        return false;
    }
    let now_us = monotonic_ns() / 1000;
    now_us < seen.until_us || find(seen, ours(), now_us)
}

/// Lets others run, and sees how long that takes. `ours` is asked when it took long.
pub fn yield_now(ours: impl FnOnce() -> u32) {
    let began = monotonic_ns();
    std::thread::yield_now();
    let now = monotonic_ns();
    let took = now.saturating_sub(began);
    let seen = seen();
    let next = Neighbours { any: took > SWITCH_NS, ..seen };
    if took > LONG_NS {
        find(next, ours(), now / 1000);
    } else if next != seen {
        SEEN.store(next.word(), Relaxed);
    }
}

/// Asks the system whether others compute, and notes the answer.
#[cold]
fn find(seen: Neighbours, ours: u32, now_us: u64) -> bool {
    let next = seen.found(runnable().is_some_and(|all| all > ours), now_us);
    SEEN.store(next.word(), Relaxed);
    next.until_us != 0
}

/// How many threads of the whole system run or want to.
fn runnable() -> Option<u32> {
    // Load averages, then "runnable/all": a short line, of which no more is asked.
    let mut line = [0; 64];
    let read = fs::File::open("/proc/loadavg").and_then(|mut file| file.read(&mut line)).ok()?;
    parse_runnable(str::from_utf8(&line[..read]).ok()?)
}

fn parse_runnable(line: &str) -> Option<u32> {
    line.split_ascii_whitespace().nth(3)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_is_counted() {
        assert_eq!(parse_runnable("0.52 0.58 0.59 3/467 12345\n"), Some(3));
        assert_eq!(parse_runnable("0.52 0.58"), None);
        assert!(runnable().is_some_and(|all| all >= 1));
    }

    #[test]
    fn it_is_asked_again_less_and_less_often() {
        let (mut now, mut seen) = (1_000_000, Neighbours::default());
        seen = seen.found(true, now);
        assert_eq!(seen.until_us, 0);
        for pause in [1, 2, 4, 8, 8] {
            seen = seen.found(true, now);
            assert_eq!(seen.until_us, now + pause * FIRST_US);
            assert_eq!(Neighbours::from_word(seen.word()), seen);
            now = seen.until_us;
        }
        assert_eq!(seen.found(false, now), Neighbours::default());
    }
}
