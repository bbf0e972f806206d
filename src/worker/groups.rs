//! Groups: several workers run one node at the same time.
//!
//! Nobody posts members to workers. In each pool one group *assembles* at a time, named by a word
//! of the pool; idle workers join it by claiming a member word, and whoever sees all joined starts
//! it. So two groups can never each hold half of the workers that the other needs, and there is no
//! poster that could die half way. That word names a slot, not a process: anybody may clear it once
//! that slot is not a ready group any more.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use mailring_process::wait::{LONG, Patience, RECHECK, park};

use super::Publisher;
use super::context::wake_members;
use crate::ids::WorkerKind;
use crate::mailbox::bitmap::Bitmap;
use crate::mailbox::descriptor::{GROUP, Head, TaskDescriptors};
use crate::mailbox::group::{GroupArea, Member};
use crate::ring::slot::NO_FAILED_ROOT;
use crate::ring::word;
use crate::ring::{Phase, Table, Word};
use crate::segment::Arena;

const NAMED: u64 = 1 << 63;

/// Between two times that one who spins says that it has nothing to do: 2^16 rounds.
pub(super) const ROUNDS: u32 = 1 << 16;

fn group_name(slot: u32, generation: u32) -> u64 {
    NAMED | u64::from(generation) << 32 | u64::from(slot)
}

/// A group as a worker has found it, not yet joined.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) slot: u32,
    pub(super) word: Word,
    pub(super) head: Head,
}

/// How waiting for the other members ended.
pub(super) enum Assembly {
    /// All members are here: run as this one.
    Start { index: usize, word: Word, attempt: u32 },
    /// The group is not to run: it was cancelled, or a producer of it failed.
    Refuse(Word),
    /// It started and was condemned before this worker woke. `evicted`: the worker is about to be
    /// ended.
    Condemned { evicted: bool },
    /// The group is somebody else's business by now.
    Over,
}

/// What a worker sees of the groups of its pool.
pub(super) struct Groups<'a> {
    arena: &'a Arena,
    table: Table<'a>,
    descriptors: TaskDescriptors,
    me: u16,
    kind: WorkerKind,
    patience: Patience,
    assembling: &'a AtomicU64,
    ready: Bitmap<'a>,
    /// The slot behind the last group that this worker has seen named: the next one is looked for
    /// from there, so that it does not matter how many are ready, and each has its turn.
    next: u32,
}

impl<'a> Groups<'a> {
    pub(super) fn new(arena: &'a Arena, me: u16, patience: Patience) -> Self {
        let kind = arena.shape().kind_of(usize::from(me));
        Self {
            arena,
            table: arena.table(),
            descriptors: arena.descriptors(),
            me,
            kind,
            patience,
            assembling: arena.assembling(kind),
            ready: arena.ready_groups(kind),
            next: 0,
        }
    }

    /// Whether there may be one to join.
    #[inline(always)]
    pub(super) fn visible(&self) -> bool {
        (self.assembling.load(Relaxed) != 0) | self.ready.has_some()
    }

    /// The group that the pool's word names, if it is ready; else the next ready group is named, in
    /// about the order of submission.
    pub(super) fn candidate(&mut self) -> Option<Candidate> {
        let mut named = self.assembling.load(Acquire);
        if named == 0 {
            let group = self.ready.find_from(self.next, |slot| {
                let group = self.ready_group(slot);
                if group.is_none() {
                    self.ready.remove(slot, || self.ready_group(slot).is_some());
                }
                group
            })?;
            let name = group_name(group.slot, group.word.generation());
            match self.assembling.compare_exchange(0, name, AcqRel, Acquire) {
                Ok(_) => {
                    self.next = group.slot + 1;
                    return Some(group);
                }
                // Another worker was first: join what it has named, before any single task.
                Err(other) => named = other,
            }
        }
        let (slot, generation) = (named as u32, (named >> 32) as u32 & word::GEN_MASK);
        if let Some(group) = self.ready_group(slot)
            && group.word.generation() == generation
        {
            self.next = slot + 1;
            return Some(group);
        }
        let _ = self.assembling.compare_exchange(named, 0, AcqRel, Relaxed);
        self.ready.remove(slot, || self.ready_group(slot).is_some());
        None
    }

    /// The slot as a ready group of this kind, read so that task descriptor and word are of one
    /// lap.
    fn ready_group(&self, slot: u32) -> Option<Candidate> {
        let cell = self.table.slot(slot);
        let word = cell.load();
        if !word.is(Phase::Ready) {
            return None;
        }
        let head = self.descriptors.head(slot);
        fence(Acquire);
        let same = cell.load();
        let still = same.is(Phase::Ready) && same.generation() == word.generation();
        (still && head.has(GROUP) && head.route.kind == self.kind as u8).then_some(Candidate {
            slot,
            word: same,
            head,
        })
    }

    /// Takes the group out of the pool's words.
    pub(super) fn forget(&self, group: &Candidate) {
        let name = group_name(group.slot, group.word.generation());
        let _ = self.assembling.compare_exchange(name, 0, AcqRel, Relaxed);
        self.ready.remove(group.slot, || self.ready_group(group.slot).is_some());
    }

    /// Joins and waits until the group starts. `None`: all places are taken.
    pub(super) fn assemble(&self, group: &Candidate, area: &GroupArea<'a>) -> Option<Assembly> {
        let slot = self.table.slot(group.slot);
        let entry = self.arena.entry(self.me);
        let generation = group.word.generation();
        let mut joined: Option<(usize, u32)> = None;
        let mut round = 0;
        loop {
            let now = slot.load();
            if now.generation() != generation {
                return Some(Assembly::Over);
            }
            let attempt = slot.attempt(now);
            // The word has the low bits of the attempt; whose the member word is says the rest.
            let mine = joined.filter(|&(index, joined)| {
                joined == attempt && area.member(index, attempt) == Member::Joined(self.me)
            });
            if now.is(Phase::Running)
                && now.owner() == word::GROUP
                && let Some((index, _)) = mine
            {
                return Some(Assembly::Start { index, word: now, attempt });
            }
            if now.is(Phase::Condemned)
                && let Some((index, _)) = joined.filter(|&(_, joined)| joined == attempt)
            {
                // It started and was condemned before we woke: we never were inside.
                let evicted = !area.done(index, self.me, attempt, false);
                return Some(Assembly::Condemned { evicted });
            }
            if !now.is(Phase::Ready) {
                return Some(Assembly::Over);
            }
            // Nobody leaves a member word: another worker may have seen all joined and be about
            // to start the group. Whoever does not want it to run takes the whole slot instead.
            let stopping = self.arena.control().shutdown.load(Relaxed) != 0;
            if now.cancelled() || stopping || slot.failed_root() != NO_FAILED_ROOT {
                return Some(Assembly::Refuse(now));
            }
            let joins = joined.is_none_or(|(_, a)| a != attempt);
            if joins {
                joined = Some((area.join(self.me, attempt)?, attempt));
            }
            if area.all_joined(attempt) {
                if slot.start(now, word::GROUP).is_some() {
                    // First those who can go on; the pool's words are put right by anybody.
                    wake_members(self.arena, area, attempt, Some(self.me));
                    self.forget(group);
                }
                continue;
            }
            if joins {
                // The last one to join wakes nobody else: it starts the group.
                Publisher::supervisor(self.arena).wake_all(self.kind);
            }
            if round == LONG {
                entry.wait();
            }
            if self.patience.pause(round, || self.arena.awake()).is_some() {
                round = round.wrapping_add(1);
                if round % ROUNDS == 0 {
                    entry.idles();
                }
                continue;
            }
            if !self.still_named(group, now) {
                return Some(Assembly::Over);
            }
            entry.idles();
            let nothing = || {
                let stopping = self.arena.control().shutdown.load(Relaxed) != 0;
                slot.load() == now && !area.all_joined(attempt) && !stopping
            };
            park(&entry.parker, || fence(SeqCst), nothing, RECHECK);
            round = 0;
        }
    }

    /// Whether the pool still forms this group. The word may have been cleared by one who saw the
    /// group between two attempts; then it is named again, or, if another one forms already, the
    /// attempt is given up, so that two groups never wait for each other's workers.
    fn still_named(&self, group: &Candidate, now: Word) -> bool {
        let name = group_name(group.slot, group.word.generation());
        if self.assembling.load(Acquire) == name
            || self.assembling.compare_exchange(0, name, AcqRel, Relaxed).is_ok()
        {
            return true;
        }
        if self.table.slot(group.slot).revoke(now, Phase::Ready).is_some() {
            self.ready.set(group.slot);
            return false;
        }
        // It has moved on since: it may have started, with us. Whoever has joined looks again.
        true
    }
}
