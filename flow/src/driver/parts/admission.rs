//! Who waits for memory, since when there is little of it, and when that is hopeless.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::objects::Objects;
use super::processes::Processes;
use super::ranks::OrderKey;
use crate::protocol::value::OWN_PAGES;

/// How long all must have been still before the first in turn, for which nobody waits, is given
/// what was left for those who use values: the driver may be about to call them.
const SETTLED: Duration = Duration::from_millis(20);
/// How long all must have been still before it is said that it will stay so.
const STILL: Duration = Duration::from_millis(100);

/// One who waits for memory.
#[derive(Clone, Copy)]
pub(crate) struct MemoryWait {
    pub(crate) place: u16,
    /// The number of its request.
    pub(crate) request: u64,
    pub(crate) bytes: u64,
    /// It is to be a block of elements, which others may have as well.
    pub(crate) shared: bool,
    pub(crate) since: Instant,
}

impl MemoryWait {
    /// Whether it is for small results, which come from what is set aside for them.
    pub(crate) fn is_small(&self) -> bool {
        !self.shared && self.bytes < OWN_PAGES
    }
}

pub(crate) struct Admission {
    /// Bodies that wait, in turn.
    waits: VecDeque<MemoryWait>,
    /// The arguments of a task have found no room; since when, as far as nothing was freed.
    short: bool,
    short_since: Option<Instant>,
    /// Since when nobody is at work who could free memory that others wait for.
    starved_since: Option<Instant>,
    /// When one was last refused for that.
    refused_at: Option<Instant>,
    /// What the driver held then, if that was counted.
    driver_bytes: Option<u64>,
    /// How often blocks had been freed at the last look, and when that was.
    freed_seen: u64,
    freed_at: Instant,
    patience: Duration,
}

impl Admission {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            waits: VecDeque::new(),
            short: false,
            short_since: None,
            starved_since: None,
            refused_at: None,
            driver_bytes: None,
            freed_seen: 0,
            freed_at: Instant::now(),
            patience,
        }
    }

    /// How long one waits for memory while none is freed.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    // ---- who waits --------------------------------------------------------------------------

    #[inline]
    pub(crate) fn waits(&self) -> &VecDeque<MemoryWait> {
        &self.waits
    }

    /// Whether anybody waits for memory, or a task for room for its arguments.
    #[inline]
    pub(crate) fn is_scarce(&self) -> bool {
        !self.waits.is_empty() || self.short
    }

    pub(crate) fn add(&mut self, wait: MemoryWait, processes: &mut Processes) {
        processes.add_memory_wait(wait.place);
        self.waits.push_back(wait);
    }

    pub(crate) fn remove(&mut self, at: usize, processes: &mut Processes) -> Option<MemoryWait> {
        let wait = self.waits.remove(at)?;
        processes.remove_memory_wait(wait.place);
        Some(wait)
    }

    /// Where in turn a process waits.
    pub(crate) fn find(&self, place: u16) -> Option<usize> {
        self.waits.iter().position(|wait| wait.place == place)
    }

    /// Puts them in turn.
    pub(crate) fn sort(&mut self, objects: &Objects, processes: &Processes) {
        let key = |wait: &MemoryWait| -> Option<OrderKey> {
            processes.body_of(wait.place).map(|index| objects.order_key(index))
        };
        self.waits.make_contiguous().sort_by_cached_key(key);
    }

    // ---- how little there is ----------------------------------------------------------------

    /// The arguments of a task have found no room.
    pub(crate) fn set_short(&mut self) {
        self.short = true;
    }

    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.short
    }

    /// Whether blocks were freed since the last look.
    #[inline]
    pub(crate) fn is_relieved(&self, freed: u64) -> bool {
        self.freed_seen != freed
    }

    /// Blocks were freed: patience begins anew. Whether tasks that found no room may be tried again.
    pub(crate) fn relieve(&mut self, freed: u64, now: Instant) -> bool {
        self.freed_seen = freed;
        self.freed_at = now;
        self.short_since = None;
        // What a refusal has freed does not begin the patience of the others anew.
        if self.refused_at.is_none_or(|at| now.duration_since(at) > SETTLED * 50) {
            self.starved_since = None;
        }
        std::mem::take(&mut self.short)
    }

    /// Nobody misses any.
    pub(crate) fn is_enough(&mut self) {
        self.short_since = None;
    }

    /// Whether tasks have found no room for too long: they fail.
    pub(crate) fn is_short_for_long(&mut self, now: Instant) -> bool {
        if !self.short {
            return false;
        }
        let since = *self.short_since.get_or_insert(now);
        let long = now.duration_since(since.max(self.freed_at)) > self.patience;
        if long {
            self.short_since = None;
            self.short = false;
        }
        long
    }

    /// Whether the first in turn has waited for too long.
    pub(crate) fn is_late(&self, wait: &MemoryWait, now: Instant) -> bool {
        now.duration_since(wait.since) > self.patience
    }

    // ---- starving ---------------------------------------------------------------------------

    /// Nobody is at work who could free memory that others wait for, as far as has been seen.
    #[inline]
    pub(crate) fn is_starved(&self) -> bool {
        self.starved_since.is_some()
    }

    pub(crate) fn end_starving(&mut self) {
        self.starved_since = None;
    }

    /// Nobody could free any: for how long that has been so.
    pub(crate) fn starve(&mut self, now: Instant) -> Duration {
        let since = *self.starved_since.get_or_insert_with(|| {
            self.driver_bytes = None;
            now
        });
        now.duration_since(since)
    }

    /// Whether all has been still for a moment.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        self.starved_since.is_some_and(|since| now.duration_since(since) >= SETTLED)
    }

    /// Whether one is to be refused, after so long: only the driver could free any now, and it has
    /// too little to drop, or drops none. `held_by_driver` counts what it has.
    pub(crate) fn is_hopeless(
        &mut self,
        still: Duration,
        (capacity, used): (u64, u64),
        held_by_driver: impl FnOnce() -> u64,
        now: Instant,
    ) -> bool {
        if still < STILL {
            return false;
        }
        let by_driver = *self.driver_bytes.get_or_insert_with(held_by_driver);
        let least = self.waits.iter().map(|wait| wait.bytes).min().unwrap_or(0);
        let hopeless = capacity.saturating_sub(used) + by_driver < least || still > self.patience;
        if hopeless {
            self.refused_at = Some(now);
        }
        hopeless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn starving(since: Instant) -> Admission {
        let mut admission = Admission::new(10 * SECOND);
        let wait = MemoryWait { place: 0, request: 1, bytes: 100, shared: false, since };
        admission.waits.push_back(wait);
        admission.starve(since);
        admission
    }

    #[test]
    fn one_is_refused_when_the_driver_has_too_little_to_drop() {
        let now = Instant::now();
        let held = |bytes: u64| move || bytes;
        let full = (1000, 1000);
        assert!(!starving(now).is_hopeless(STILL / 2, full, held(0), now), "too early");
        assert!(starving(now).is_hopeless(STILL, full, held(99), now));
        assert!(!starving(now).is_hopeless(STILL, full, held(100), now), "it may drop them");
        assert!(!starving(now).is_hopeless(STILL, (1000, 950), held(50), now));
        assert!(starving(now).is_hopeless(11 * SECOND, full, held(1000), now), "it does not");
    }

    #[test]
    fn what_is_freed_begins_the_patience_anew() {
        let start = Instant::now();
        let mut admission = starving(start);
        admission.set_short();
        assert!(admission.is_relieved(1) && admission.is_starved());
        assert!(admission.relieve(1, start + 5 * SECOND), "those without room are tried again");
        assert!(!admission.is_relieved(1) && !admission.is_starved());
        admission.set_short();
        assert!(!admission.is_short_for_long(start + 6 * SECOND));
        assert!(!admission.is_short_for_long(start + 15 * SECOND));
        assert!(admission.is_short_for_long(start + 17 * SECOND));
        assert!(!admission.is_short());
    }

    #[test]
    fn what_a_refusal_frees_does_not() {
        let now = Instant::now();
        let mut admission = starving(now);
        assert!(admission.is_hopeless(STILL, (10, 10), || 0, now));
        admission.relieve(1, now + SETTLED);
        assert!(admission.is_starved());
        admission.relieve(2, now + SETTLED * 51);
        assert!(!admission.is_starved());
    }
}
