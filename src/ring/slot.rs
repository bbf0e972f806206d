//! A task slot and the steps that move it: each is one compare-and-swap on the state word.
//!
//! ```text
//!            publish                  take                 complete            retire
//!   Retired ─────────▶ Ready ───────────────▶ Running ───────────▶ Done ─────────────▶ Retired
//!      │                 ▲                    │  │  │
//!      │ publish         │ make_ready         │  │  │ condemn                (supervisor, after
//!      └─────▶ Pending ──┘        give_back   │  │  ▼                         the fence of the owner)
//!                 └──────▲────────────────────┘  │ Condemned ──▶ revoke ──▶ Ready, attempt + 1
//!                        │ take_pending ─────────┘           └─▶ fail_dead ──▶ DoneFail
//! ```
//!
//! * A take is a lease: the exchange that takes also says who holds the slot and in which attempt.
//! * Completing and closing the list of consumers are one exchange, since the head of that list is
//!   part of the word: whoever finds the list closed has found a finished producer.
//! * Completed and retired are two facts. Only a retired slot may be reused, since until then
//!   somebody walks its list.

use super::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release};
use super::word::{ATTEMPT_BITS, Phase, SUPERVISOR, Word};

/// Bit 47 of a fan-in word: the submitter is still wiring.
pub const GUARD: u64 = 1 << 47;
const FAN_IN_BITS: u64 = (1 << 48) - 1;
const TAG_SHIFT: u32 = 48;

/// No producer has failed.
pub const NO_FAILED_ROOT: u64 = u64::MAX;

/// The part of a slot that every participant writes: one cache line.
#[repr(C, align(64))]
pub struct Slot {
    state: AtomicU64,
    /// One bit a live producer, the guard, and 16 bits of the generation.
    fan_in: AtomicU64,
    /// The failed root with the smallest number, `seq << 8 | code`; only ever lowered.
    failed_root: AtomicU64,
    /// Attempts that were revoked, `generation << 32 | count`; of another lap: none. The low bits
    /// are those of the state word, or one ahead of them while somebody revokes.
    lost: AtomicU64,
}

/// What became of an edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Push {
    /// The producer will release the consumer.
    Pushed,
    /// The producer has finished; `failed` says how.
    Finished {
        /// Whether it failed.
        failed: bool,
    },
}

/// What became of a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Completion {
    /// Nobody waits in the list: the slot is retired as well.
    Retired {
        /// Somebody sleeps until this.
        watched: bool,
    },
    /// The list from `head` must be walked, then the slot retired.
    Walk {
        /// First edge plus one.
        head: u32,
        /// Somebody sleeps until this.
        watched: bool,
    },
    /// The lease was taken away; the result does not count.
    Superseded(Word),
}

/// What became of a wish to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Watch {
    /// Whoever retires the slot will ring.
    Armed,
    /// It has retired, or left the window: look again instead of sleeping.
    Passed,
}

impl Slot {
    /// A slot that was never used.
    pub fn new() -> Self {
        Self {
            state: AtomicU64::new(Word::new(Phase::Free, SUPERVISOR, 0).0),
            fan_in: AtomicU64::new(0),
            failed_root: AtomicU64::new(NO_FAILED_ROOT),
            lost: AtomicU64::new(0),
        }
    }

    /// Makes a zeroed slot of a fresh mapping one that was never used.
    pub fn init(&self) {
        self.failed_root.store(NO_FAILED_ROOT, Relaxed);
        self.state.store(Word::new(Phase::Free, SUPERVISOR, 0).0, Release);
    }

    /// The state as it is now; what the owner of the lease wrote before it is visible after.
    #[inline]
    pub fn load(&self) -> Word {
        Word(self.state.load(Acquire))
    }

    /// Which attempt `word` is, counted from 0 in its lap. The state word has the low bits of it
    /// only; a count that is one ahead is of somebody who is about to revoke it.
    pub fn attempt(&self, word: Word) -> u32 {
        Self::attempt_at(self.lost.load(Acquire), word)
    }

    fn attempt_at(lost: u64, word: Word) -> u32 {
        let count = if lost >> 32 == u64::from(word.generation()) { lost as u32 } else { 0 };
        let ahead = count.wrapping_sub(u32::from(word.attempt())) & ((1 << ATTEMPT_BITS) - 1);
        count.wrapping_sub(ahead)
    }

    // ---- the owner of the ring ------------------------------------------------------------

    /// Publishes a task that waits for nobody. Everything about it must be written already.
    ///
    /// `failed_root` is [`NO_FAILED_ROOT`], or the root of a failure that is known to reach it. No
    /// read-modify-write: the slot is retired, so nobody else writes its word.
    #[inline]
    pub fn publish_ready(&self, owner: u16, generation: u32, failed_root: u64) {
        self.failed_root.store(failed_root, Relaxed);
        self.state.store(Word::new(Phase::Ready, owner, generation).0, Release);
    }

    /// Publishes a task that waits for `producers` producers and for the guard.
    #[inline]
    pub fn publish_pending(&self, owner: u16, generation: u32, producers: u32, failed_root: u64) {
        let bits = (1u64 << producers) - 1;
        let tag = u64::from(generation as u16) << TAG_SHIFT;
        self.failed_root.store(failed_root, Relaxed);
        self.fan_in.store(bits | GUARD | tag, Relaxed);
        self.state.store(Word::new(Phase::Pending, owner, generation).0, Release);
    }

    /// Enters edge `edge` into the list of this producer, unless it has finished.
    ///
    /// `link` is told the former head before each try; it writes the edge's link.
    #[inline]
    pub fn push_edge(&self, generation: u32, edge: u32, mut link: impl FnMut(u32)) -> Push {
        let mut now = self.load();
        loop {
            if now.generation() != generation || now.is_done() {
                // A slot of another lap was reclaimed; its failure is known to the ring's owner.
                let failed = now.generation() == generation && now.is_failed();
                return Push::Finished { failed };
            }
            link(now.head());
            let next = now.with_head(edge + 1);
            match self.state.compare_exchange(now.0, next.0, Release, Acquire) {
                Ok(_) => return Push::Pushed,
                Err(found) => now = Word(found),
            }
        }
    }

    // ---- fan-in -----------------------------------------------------------------------------

    /// Clears fan-in bits. True when none is left *after* the clear, whoever cleared the last
    /// one: the clearer may have died, and then it is the redo that must see it.
    ///
    /// A generation that does not match means that the edge is not of this lap; nothing more is
    /// done then.
    #[inline]
    #[must_use]
    pub fn clear(&self, bits: u64, generation: u32) -> bool {
        let before = self.fan_in.fetch_and(!(bits & FAN_IN_BITS), AcqRel);
        before >> TAG_SHIFT == u64::from(generation as u16) && before & FAN_IN_BITS & !bits == 0
    }

    /// Whether a pending slot waits for nobody any more (its last clearer may have died).
    pub fn fan_in_is_zero(&self, generation: u32) -> bool {
        let now = self.fan_in.load(Acquire);
        now >> TAG_SHIFT == u64::from(generation as u16) && now & FAN_IN_BITS == 0
    }

    /// Records a failed producer; the smallest root wins, so the outcome does not depend on timing.
    #[inline]
    pub fn mark_failed_root(&self, failed_root: u64) {
        let mut now = self.failed_root.load(Relaxed);
        while failed_root < now {
            match self.failed_root.compare_exchange(now, failed_root, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(found) => now = found,
            }
        }
    }

    /// The failed root that reached this task, or [`NO_FAILED_ROOT`].
    #[inline]
    pub fn failed_root(&self) -> u64 {
        self.failed_root.load(Acquire)
    }

    // ---- whoever made it ready, or takes it -------------------------------------------------

    /// `Pending` to `Ready(me)`. True for the one caller that did it.
    #[inline]
    #[must_use]
    pub fn make_ready(&self, me: u16, generation: u32) -> bool {
        self.step(generation, Phase::Pending, |w| w.with_phase(Phase::Ready).with_owner(me))
            .is_some()
    }

    /// `Pending` to `Running(me)`: the releaser keeps the task for itself.
    #[inline]
    #[must_use]
    pub fn take_pending(&self, me: u16, generation: u32) -> Option<Word> {
        self.step(generation, Phase::Pending, |w| w.with_phase(Phase::Running).with_owner(me))
    }

    /// `Ready` to `Running(me)`, whatever the lap: a queue entry only suggests.
    ///
    /// A failed exchange is looked at again: an edge may just have been pushed into the same
    /// word, and to drop the entry then would lose the task.
    #[inline]
    #[must_use]
    pub fn take(&self, me: u16) -> Option<Word> {
        let mut now = Word(self.state.load(Relaxed));
        while now.is(Phase::Ready) {
            let next = now.with_phase(Phase::Running).with_owner(me);
            match self.state.compare_exchange(now.0, next.0, Acquire, Relaxed) {
                Ok(_) => return Some(next),
                Err(found) => now = Word(found),
            }
        }
        None
    }

    /// `Running(me)` back to `Ready(me)`: the taker was not meant. Same attempt.
    #[must_use]
    pub fn give_back(&self, lease: Word) -> bool {
        self.step_lease(lease, |w| w.with_phase(Phase::Ready)).is_some()
    }

    /// Ends the lease: completes the task and closes its list in one step. `by` is who walks the
    /// list: the owner itself, or the member of a group that was the last one through.
    #[inline(always)]
    pub fn complete(&self, lease: Word, by: u16, ok: bool) -> Completion {
        let (done, retired) = if ok {
            (Phase::DoneOk, Phase::RetiredOk)
        } else {
            (Phase::DoneFail, Phase::RetiredFail)
        };
        let mut now = Word(self.state.load(Relaxed));
        loop {
            if !now.same_lease(lease) {
                return Completion::Superseded(now);
            }
            let phase = if now.head() == 0 { retired } else { done };
            let next = now.with_phase(phase).with_owner(by);
            match self.state.compare_exchange(now.0, next.0, AcqRel, Relaxed) {
                Ok(_) if now.head() == 0 => {
                    return Completion::Retired { watched: now.watched() };
                }
                Ok(_) => return Completion::Walk { head: now.head(), watched: now.watched() },
                Err(found) => now = Word(found),
            }
        }
    }

    /// Completes the task and retires the slot at once, if its word is what the take has left there:
    /// nobody waits in the list, is to be told, or has cancelled it. False: nothing was done, and
    /// [`complete`](Self::complete) finds out what there is.
    #[inline(always)]
    #[must_use]
    pub fn complete_alone(&self, lease: Word) -> bool {
        let next = lease.with_phase(Phase::RetiredOk);
        lease.is_bare()
            && self.state.load(Relaxed) == lease.0
            && self.state.compare_exchange(lease.0, next.0, AcqRel, Relaxed).is_ok()
    }

    /// `Done` to `Retired`, after the walk. True when somebody sleeps until this.
    #[inline]
    #[must_use]
    pub fn retire(&self, generation: u32) -> bool {
        let mut now = Word(self.state.load(Relaxed));
        loop {
            let retired = match now.phase() {
                Some(Phase::DoneOk) => Phase::RetiredOk,
                Some(Phase::DoneFail) => Phase::RetiredFail,
                _ => return false,
            };
            if now.generation() != generation {
                return false;
            }
            let next = now.with_phase(retired);
            match self.state.compare_exchange(now.0, next.0, AcqRel, Relaxed) {
                Ok(_) => return now.watched(),
                Err(found) => now = Word(found),
            }
        }
    }

    // ---- marks ------------------------------------------------------------------------------

    /// Marks the task cancelled unless it has completed. It still completes only when its fan-in
    /// is zero: cancelling must not let a later writer overtake an earlier one.
    pub fn cancel(&self, generation: u32) -> bool {
        let mut now = self.load();
        while now.generation() == generation && !now.is_done() {
            let next = now.with_cancel();
            match self.state.compare_exchange(now.0, next.0, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(found) => now = Word(found),
            }
        }
        false
    }

    /// Asks whoever retires the slot to ring the host.
    pub fn watch(&self, generation: u32) -> Watch {
        let mut now = self.load();
        while now.generation() == generation && !now.is_retired() {
            let next = now.with_watch();
            match self.state.compare_exchange(now.0, next.0, AcqRel, Acquire) {
                Ok(_) => return Watch::Armed,
                Err(found) => now = Word(found),
            }
        }
        Watch::Passed
    }

    // ---- the supervisor ---------------------------------------------------------------------

    /// Takes the decision away from the lease holder: only the supervisor may complete the slot
    /// from here on. Its holder is killed only after this has succeeded, so that a worker that
    /// has just gone on to another task is not killed for this one.
    #[must_use]
    pub fn condemn(&self, lease: Word) -> Option<Word> {
        self.step_lease(lease, |w| w.with_phase(Phase::Condemned))
    }

    /// Back to `Ready` (or `Backoff`) in a new attempt, after the fence of the holder.
    #[must_use]
    pub fn revoke(&self, lease: Word, to: Phase) -> Option<Word> {
        // The count first, so that it is never behind the word. One who comes late finds the count
        // changed, or the word, and leaves both alone.
        let lost = self.lost.load(Acquire);
        if !self.load().same_lease(lease) {
            return None;
        }
        let next = Self::attempt_at(lost, lease).wrapping_add(1);
        let count = u64::from(lease.generation()) << 32 | u64::from(next);
        if lost != count {
            let _ = self.lost.compare_exchange(lost, count, AcqRel, Relaxed);
        }
        self.step_lease(lease, |w| w.with_phase(to).in_attempt(next))
    }

    /// Completes the task of a dead holder as failed. The list is then to be walked and retired.
    #[must_use]
    pub fn fail_dead(&self, lease: Word) -> Option<Word> {
        self.step_lease(lease, |w| w.with_phase(Phase::DoneFail).with_owner(SUPERVISOR))
    }

    /// Takes over the walk of a dead holder (or of an earlier pass of the supervisor itself).
    #[must_use]
    pub fn adopt(&self, lease: Word) -> Option<Word> {
        self.step_lease(lease, |w| w.with_owner(SUPERVISOR))
    }

    /// `Ready` to `Running(owner)` of exactly this lap and attempt: a group starts.
    #[must_use]
    pub fn start(&self, ready: Word, owner: u16) -> Option<Word> {
        self.step_lease(ready, |w| w.with_phase(Phase::Running).with_owner(owner))
    }

    /// `Running` and `Done` are told apart by phase, so one loop serves all steps of a lease.
    fn step_lease(&self, lease: Word, next: impl Fn(Word) -> Word) -> Option<Word> {
        let mut now = self.load();
        while now.same_lease(lease) {
            let to = next(now);
            match self.state.compare_exchange(now.0, to.0, AcqRel, Acquire) {
                Ok(_) => return Some(to),
                Err(found) => now = Word(found),
            }
        }
        None
    }

    #[inline]
    fn step(&self, generation: u32, from: Phase, next: impl Fn(Word) -> Word) -> Option<Word> {
        let mut now = Word(self.state.load(Relaxed));
        while now.is(from) && now.generation() == generation {
            let to = next(now);
            match self.state.compare_exchange(now.0, to.0, AcqRel, Relaxed) {
                Ok(_) => return Some(to),
                Err(found) => now = Word(found),
            }
        }
        None
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}
