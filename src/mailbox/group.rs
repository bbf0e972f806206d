//! The words of one group: who is which member, who is through, what they share.
//!
//! ```text
//! | abort | shared bytes (8 words) | member 0 | epoch 0 | member 1 | epoch 1 | ...
//! member word:  phase 4 | owner 12 | attempt 24 | tag 24 (which group these words serve now)
//! epoch word:   barriers passed 32 | attempt 32
//! ```
//!
//! Nothing is posted and nothing is counted. Idle workers *join* by claiming a member word; all
//! joined, all through a barrier, all done are questions answered by looking at every member, so
//! a death between a step and its count cannot leave a wrong count. Words of an older attempt
//! count as free: attempts are numbers that do not come again, however many workers die while a
//! group forms, so what an earlier one has left is neither a member nor an outcome of this one.

use super::sync::{Acquire, AtomicU64, Relaxed, Release, SeqCst, fence};
use crate::limits::GROUP_SHARED_BYTES;

const SHARED: usize = GROUP_SHARED_BYTES / 8;
const MEMBERS: usize = 1 + SHARED;

/// Words that a group of `members` takes.
pub const fn words(members: usize) -> usize {
    MEMBERS + 2 * members
}

/// Where a member stands in the present attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Member {
    /// Nobody has joined.
    Free,
    /// This worker has joined, or runs.
    Joined(u16),
    /// This worker is through.
    Done {
        /// By whom.
        owner: u16,
        /// How it ended.
        ok: bool,
    },
}

/// The words of one group, wherever they live.
#[derive(Clone, Copy)]
pub struct GroupArea<'a> {
    words: &'a [AtomicU64],
    tag: u64,
}

const JOINED: u64 = 1;
const DONE_OK: u64 = 2;
const DONE_FAIL: u64 = 3;
/// Inside, and about to be killed: it may not get out any more.
const EVICTED: u64 = 4;

const PHASE: u64 = 0xf;
const OWNER_SHIFT: u32 = 4;
const OWNER: u64 = 0xfff;
const KEY_SHIFT: u32 = 16;
const ATTEMPT: u64 = 0xff_ffff;
const TAG_SHIFT: u32 = 40;
const TAG: u64 = 0xff_ffff;

impl<'a> GroupArea<'a> {
    /// Over [`words`] words.
    pub fn new(words: &'a [AtomicU64]) -> Self {
        Self::tagged(words, 0)
    }

    /// The same for words that serve one group after another: a worker that was about to join the
    /// group before finds another tag and claims nothing.
    pub fn tagged(words: &'a [AtomicU64], tag: u32) -> Self {
        debug_assert!(words.len() > MEMBERS);
        Self { words, tag: u64::from(tag) & TAG }
    }

    fn pack(&self, phase: u64, owner: u16, attempt: u32) -> u64 {
        let attempt = u64::from(attempt) & ATTEMPT;
        phase | u64::from(owner) << OWNER_SHIFT | attempt << KEY_SHIFT | self.tag << TAG_SHIFT
    }

    /// Members.
    #[inline]
    pub fn len(&self) -> usize {
        (self.words.len() - MEMBERS) / 2
    }

    /// Whether it has no members (never, for a group that was submitted).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn member_word(&self, index: usize) -> &'a AtomicU64 {
        &self.words[MEMBERS + 2 * index]
    }

    /// Clears everything, before the slot is published or a new attempt begins.
    pub fn reset(&self) {
        for word in self.words {
            word.store(0, Relaxed);
        }
        for index in 0..self.len() {
            self.member_word(index).store(self.tag << TAG_SHIFT, Relaxed);
        }
    }

    /// Clears what members of a former attempt left in the shared bytes.
    pub fn reset_shared(&self) {
        for word in &self.words[1..MEMBERS] {
            word.store(0, Relaxed);
        }
    }

    /// Where member `index` stands in `attempt`.
    pub fn member(&self, index: usize, attempt: u32) -> Member {
        let word = self.member_word(index).load(Acquire);
        let owner = (word >> OWNER_SHIFT & OWNER) as u16;
        if word >> KEY_SHIFT != self.pack(0, 0, attempt) >> KEY_SHIFT {
            return Member::Free;
        }
        match word & PHASE {
            JOINED | EVICTED => Member::Joined(owner),
            DONE_OK => Member::Done { owner, ok: true },
            DONE_FAIL => Member::Done { owner, ok: false },
            _ => Member::Free,
        }
    }

    /// Claims a free member word, or finds the one that `me` has claimed before. Whoever is the last
    /// one sees afterwards that all have joined.
    pub fn join(&self, me: u16, attempt: u32) -> Option<usize> {
        let mine = (0..self.len()).find(|&i| self.member(i, attempt) == Member::Joined(me));
        let claimed = mine.or_else(|| self.claim(me, attempt));
        fence(SeqCst);
        claimed
    }

    fn claim(&self, me: u16, attempt: u32) -> Option<usize> {
        (0..self.len()).find(|&index| {
            let word = self.member_word(index);
            let now = word.load(Acquire);
            // A word of an older attempt is free, one of a newer attempt is not: it is we who are
            // late then.
            let behind = u64::from(attempt).wrapping_sub(now >> KEY_SHIFT) & ATTEMPT;
            let free = now >> TAG_SHIFT == self.tag
                && ((1..=ATTEMPT / 2).contains(&behind) || behind == 0 && now & PHASE == 0);
            let mine = self.pack(JOINED, me, attempt);
            free && word.compare_exchange(now, mine, SeqCst, Relaxed).is_ok()
        })
    }

    /// Whether every member has joined. After [`join`](Self::join), or a fence before a sleep, somebody
    /// sees it; in between this is a look like any other.
    pub fn all_joined(&self, attempt: u32) -> bool {
        (0..self.len()).all(|i| !matches!(self.member(i, attempt), Member::Free))
    }

    /// Member `index` is through. Fails when the word is not the caller's any more: it is about to
    /// be killed.
    pub fn done(&self, index: usize, me: u16, attempt: u32, ok: bool) -> bool {
        let to = self.pack(if ok { DONE_OK } else { DONE_FAIL }, me, attempt);
        let from = self.pack(JOINED, me, attempt);
        let done = self.member_word(index).compare_exchange(from, to, SeqCst, Relaxed).is_ok();
        fence(SeqCst);
        done
    }

    /// Keeps a member inside, so that killing its worker hits nothing but this member.
    pub fn evict(&self, index: usize, owner: u16, attempt: u32) -> bool {
        let (from, to) = (self.pack(JOINED, owner, attempt), self.pack(EVICTED, owner, attempt));
        self.member_word(index).compare_exchange(from, to, SeqCst, Relaxed).is_ok()
    }

    /// The worker of member `index` has died inside.
    pub fn mark_dead(&self, index: usize, owner: u16, attempt: u32) {
        for inside in [JOINED, EVICTED] {
            let from = self.pack(inside, owner, attempt);
            let to = self.pack(DONE_FAIL, owner, attempt);
            let _ = self.member_word(index).compare_exchange(from, to, SeqCst, Relaxed);
        }
        fence(SeqCst);
    }

    /// `Some` when every member is through: whether all of them ended well.
    pub fn outcome(&self, attempt: u32) -> Option<bool> {
        let mut all = true;
        for index in 0..self.len() {
            match self.member(index, attempt) {
                Member::Done { ok, .. } => all &= ok,
                _ => return None,
            }
        }
        Some(all)
    }

    /// Tells the members of `attempt` to give up.
    pub fn abort(&self, attempt: u32) {
        self.words[0].store(u64::from(attempt) + 1, Release);
    }

    /// Whether the members of `attempt` were told to give up.
    #[inline]
    pub fn aborted(&self, attempt: u32) -> bool {
        self.words[0].load(Acquire) == u64::from(attempt) + 1
    }

    /// Member `index` arrives at its next barrier; the result is the epoch to wait for.
    pub fn arrive(&self, index: usize, attempt: u32) -> u64 {
        let word = &self.words[MEMBERS + 2 * index + 1];
        let now = word.load(Relaxed);
        let passed = if now >> 32 == u64::from(attempt) { now & 0xffff_ffff } else { 0 };
        let epoch = passed + 1;
        self.stand(index, epoch, attempt);
        fence(SeqCst);
        epoch
    }

    /// Member `index`, which alone writes this, says that it is at barrier `epoch`.
    pub fn stand(&self, index: usize, epoch: u64, attempt: u32) {
        let word = &self.words[MEMBERS + 2 * index + 1];
        word.store(epoch & 0xffff_ffff | u64::from(attempt) << 32, Release);
    }

    /// Whether every member has arrived at barrier `epoch`.
    pub fn all_arrived(&self, epoch: u64, attempt: u32) -> bool {
        (0..self.len()).all(|index| {
            let word = self.words[MEMBERS + 2 * index + 1].load(Acquire);
            word >> 32 == u64::from(attempt) && word & 0xffff_ffff >= epoch
        })
    }

    /// A member that is through and has not been at barrier `epoch`: it will not come.
    pub fn deserter(&self, epoch: u64, attempt: u32) -> Option<usize> {
        (0..self.len()).find(|&index| {
            // First whether it is through: what it passed before that is seen then.
            matches!(self.member(index, attempt), Member::Done { .. }) && {
                let word = self.words[MEMBERS + 2 * index + 1].load(Acquire);
                word >> 32 != u64::from(attempt) || word & 0xffff_ffff < epoch
            }
        })
    }

    /// Where others wait at a barrier: its number, and a member that is inside and has not come to
    /// it: `first`, or else the first one.
    pub fn awaited(&self, attempt: u32, first: usize) -> Option<(u64, usize)> {
        let passed = |index: usize| {
            let word = self.words[MEMBERS + 2 * index + 1].load(Acquire);
            if word >> 32 == u64::from(attempt) { word & 0xffff_ffff } else { 0 }
        };
        let epoch = (0..self.len()).map(passed).max()?;
        let late = |&index: &usize| {
            passed(index) < epoch && matches!(self.member(index, attempt), Member::Joined(_))
        };
        let mut all = std::iter::once(first).chain(0..self.len());
        all.find(late).map(|index| (epoch, index))
    }

    /// The words that members share.
    pub fn shared(&self) -> &'a [AtomicU64] {
        &self.words[1..MEMBERS]
    }
}
