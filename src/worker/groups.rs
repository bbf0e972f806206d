//! Groups: several workers run one node at the same time.
//!
//! Nobody posts members to workers. In each pool one group *assembles* at a time, named by a word
//! of the pool; idle workers join it by claiming a member word, and whoever sees all joined starts
//! it. So two groups can never each hold half of the workers that the other needs, and there is no
//! poster that could die half way. That word names a slot, not a process: anybody may clear it once
//! that slot is not a ready group any more.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::fence;

use mailring_process::futex;
use mailring_process::parker;
use mailring_process::wait::RECHECK;

use super::context::wake_members;
use super::participant::{Lease, Participant, ROUNDS};
use super::{GroupContext, Words, Worker};
use crate::ids::TaskId;
use crate::mailbox::descriptor::{GROUP, Head};
use crate::mailbox::group::{GroupArea, Member};
use crate::ring::slot::NO_FAILED_ROOT;
use crate::ring::word;
use crate::ring::{Phase, Word};
use crate::segment::Code;

const NAMED: u64 = 1 << 63;

fn group_name(slot: u32, generation: u32) -> u64 {
    NAMED | u64::from(generation) << 32 | u64::from(slot)
}

/// A group as a worker has found it, not yet joined.
#[derive(Clone, Copy)]
struct Candidate {
    slot: u32,
    word: Word,
    head: Head,
}

/// How waiting for the other members ended.
enum Assembly {
    /// All members are here: run as this one.
    Start { index: usize, word: Word, attempt: u32 },
    /// The group is not to run: it was cancelled, or a producer of it failed.
    Refuse(Word),
    /// The group is somebody else's business by now.
    Over,
}

impl<'a> Participant<'a> {
    /// Joins the assembling group, or lets the oldest ready one assemble. True when something was
    /// done; false when there is no place for this worker.
    pub(super) fn try_group(&mut self, worker: &mut dyn Worker) -> bool {
        let Some(group) = self.assembling() else { return false };
        let slot = self.table.slot(group.slot);
        if group.word.cancelled() || slot.failed_root() != NO_FAILED_ROOT {
            return self.refuse(&group);
        }
        let Some(area) = self.arena.group(&group.head) else { return false };
        match self.assemble(&group, &area) {
            Some(Assembly::Start { index, word, attempt }) => {
                self.run_member(worker, &group, &area, index, (word, attempt));
                self.after_group = true;
                true
            }
            Some(Assembly::Refuse(word)) => self.refuse(&Candidate { word, ..group }),
            Some(Assembly::Over) => true,
            None => false,
        }
    }

    /// The group that the pool's word names, if it is ready; else the oldest ready group is named.
    fn assembling(&self) -> Option<Candidate> {
        let assembling = self.arena.assembling(self.kind);
        let named = assembling.load(Acquire);
        if named != 0 {
            let (slot, generation) = (named as u32, (named >> 32) as u32 & word::GEN_MASK);
            if let Some(group) = self.ready_group(slot)
                && group.word.generation() == generation
            {
                return Some(group);
            }
            let _ = assembling.compare_exchange(named, 0, AcqRel, Relaxed);
            self.arena.ready_groups(self.kind).remove(slot, || self.ready_group(slot).is_some());
            return None;
        }
        let mut oldest: Option<Candidate> = None;
        let set = self.arena.ready_groups(self.kind);
        let _: Option<()> = set.find(|slot| {
            match self.ready_group(slot) {
                Some(group) if oldest.is_none_or(|o| group.head.seq < o.head.seq) => {
                    oldest = Some(group);
                }
                Some(_) => {}
                None => set.remove(slot, || self.ready_group(slot).is_some()),
            }
            None
        });
        let group = oldest?;
        let name = group_name(group.slot, group.word.generation());
        assembling.compare_exchange(0, name, AcqRel, Relaxed).ok()?;
        Some(group)
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

    /// Completes a cancelled group, or one with a failed producer, without running it.
    fn refuse(&mut self, group: &Candidate) -> bool {
        let slot = self.table.slot(group.slot);
        let Some(word) = slot.start(group.word, self.me) else { return true };
        self.forget(group);
        let lease = Lease { slot: group.slot, word, head: group.head };
        match slot.failed_root() {
            NO_FAILED_ROOT => self.fail(&lease, Code::Cancelled, &Words::default()),
            failed_root => self.finish(&lease, Some(failed_root)),
        }
        true
    }

    /// Takes the group out of the pool's words.
    fn forget(&self, group: &Candidate) {
        let name = group_name(group.slot, group.word.generation());
        let _ = self.arena.assembling(self.kind).compare_exchange(name, 0, AcqRel, Relaxed);
        let set = self.arena.ready_groups(self.kind);
        set.remove(group.slot, || self.ready_group(group.slot).is_some());
    }

    /// Joins and waits until the group starts. `None`: all places are taken.
    fn assemble(&self, group: &Candidate, area: &GroupArea<'a>) -> Option<Assembly> {
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
                if !area.done(index, self.me, attempt, false) {
                    self.await_end();
                }
                self.report_trouble();
                return Some(Assembly::Over);
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
            if joined.is_none_or(|(_, a)| a != attempt) {
                let index = area.join(self.me, attempt)?;
                joined = Some((index, attempt));
                self.wake_pool();
            }
            if area.all_joined(attempt) {
                if slot.start(now, word::GROUP).is_some() {
                    self.forget(group);
                    wake_members(self.arena, area, attempt, Some(self.me));
                }
                continue;
            }
            if self.wait.pause_briefly(round).is_some() {
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
            entry.parker.store(parker::ASLEEP, Relaxed);
            fence(std::sync::atomic::Ordering::SeqCst);
            let stopping = self.arena.control().shutdown.load(Relaxed) != 0;
            if slot.load() == now && !area.all_joined(attempt) && !stopping {
                futex::wait(&entry.parker, parker::ASLEEP, Some(RECHECK));
            }
            entry.parker.store(parker::AWAKE, Relaxed);
            round = 0;
        }
    }

    /// Whether the pool still forms this group. The word may have been cleared by one who saw the
    /// group between two attempts; then it is named again, or, if another one forms already, the
    /// attempt is given up, so that two groups never wait for each other's workers.
    fn still_named(&self, group: &Candidate, now: Word) -> bool {
        let assembling = self.arena.assembling(self.kind);
        let name = group_name(group.slot, group.word.generation());
        if assembling.load(Acquire) == name
            || assembling.compare_exchange(0, name, AcqRel, Relaxed).is_ok()
        {
            return true;
        }
        if self.table.slot(group.slot).revoke(now, Phase::Ready).is_some() {
            self.arena.ready_groups(self.kind).set(group.slot);
            return false;
        }
        // It has moved on since: it may have started, with us. Whoever has joined looks again.
        true
    }

    fn run_member(
        &mut self,
        worker: &mut dyn Worker,
        group: &Candidate,
        area: &GroupArea<'a>,
        index: usize,
        (word, attempt): (Word, u32),
    ) {
        let slot = self.table.slot(group.slot);
        let lease = Lease { slot: group.slot, word, head: group.head };
        let context = GroupContext {
            arena: self.arena,
            area: *area,
            me: self.me,
            index,
            slot,
            place: group.slot,
            task: TaskId(group.head.seq),
            lease: word,
            attempt,
        };
        let result = self.call(worker, &lease, index as u16, Some(context));
        if let Err((code, text)) = &result
            && !area.aborted(attempt)
        {
            // The first member that fails speaks for the group; the others are told to stop, and
            // the supervisor sees to it that they do.
            let code = if slot.load().cancelled() { Code::Cancelled } else { *code };
            self.record(&lease, code, text, index as u16);
            area.abort(attempt);
            wake_members(self.arena, area, attempt, Some(self.me));
            self.report_trouble();
        }
        if !area.done(index, self.me, attempt, result.is_ok()) {
            self.await_end(); // evicted: the supervisor kills this worker now
            return;
        }
        // Who waits at a barrier looks whether we have been there.
        wake_members(self.arena, area, attempt, Some(self.me));
        // Several members may see that all are through; one exchange completes the group.
        match area.outcome(attempt) {
            Some(true) => _ = self.try_finish(&lease, None),
            Some(false) => {
                let code = Code::from_bits(self.arena.read_error(group.slot).code);
                self.try_finish(&lease, Some(code.failed_root(group.head.seq)));
            }
            None => {}
        }
        if slot.load().is(Phase::Condemned) {
            self.report_trouble(); // the supervisor waits for the last one out
        }
    }

    fn report_trouble(&self) {
        self.arena.control().trouble.store(1, std::sync::atomic::Ordering::SeqCst);
        self.wakeup.notify();
    }
}
