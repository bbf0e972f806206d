//! What a running task can ask: who it is, whether to stop, and its group.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;
use std::time::Duration;

use mailring_process::wait::{LONG, WaitStrategy, park, unpark};

use crate::ids::{TaskId, WorkerId};
use crate::limits::GROUP_SHARED_BYTES;
use crate::mailbox::group::{GroupArea, Member};
use crate::ring::{Phase, Slot, Word};
use crate::segment::{Arena, BODY, Code, Detail, Origin};

/// The task was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// What a function knows of the task it runs.
pub struct TaskContext<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) task: TaskId,
    /// `None`: the body is called by hand, outside of any task.
    pub(crate) slot: Option<&'a Slot>,
    pub(crate) lease: Word,
    pub(crate) group: Option<&'a GroupContext<'a>>,
}

impl<'a> TaskContext<'a> {
    /// For a body that is called by hand: task 0 on worker 0, never cancelled, no group.
    pub fn detached() -> Self {
        let lease = Word::new(Phase::Running, 0, 0);
        Self { worker: WorkerId(0), task: TaskId(0), slot: None, lease, group: None }
    }

    /// The worker that runs it.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.slot.map_or(0, |slot| slot.attempt(self.lease)).saturating_add(1)
    }

    /// Whether the task should stop: it was cancelled, its deadline has passed, or another member
    /// of its group failed. A body that returns after this is not asked how it went.
    pub fn cancelled(&self) -> bool {
        let Some(slot) = self.slot else { return false };
        let now = slot.load();
        now.cancelled()
            || now.is(Phase::Condemned)
            || !now.same_lease(self.lease)
            || self.group.is_some_and(GroupContext::aborted)
    }

    /// The group, if the task is a member of one.
    pub fn group(&self) -> Option<&GroupContext<'a>> {
        self.group
    }
}

/// What a member knows of its group.
pub struct GroupContext<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) area: GroupArea<'a>,
    pub(crate) me: u16,
    pub(crate) index: usize,
    pub(crate) slot: &'a Slot,
    /// The place of the slot, and the task in it.
    pub(crate) place: u32,
    pub(crate) task: TaskId,
    pub(crate) lease: Word,
    pub(crate) attempt: u32,
}

impl GroupContext<'_> {
    /// Which member this is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Members in all.
    pub fn size(&self) -> usize {
        self.area.len()
    }

    fn aborted(&self) -> bool {
        self.area.aborted(self.attempt)
    }

    fn over(&self) -> bool {
        let now = self.slot.load();
        self.aborted() || now.cancelled() || !now.same_lease(self.lease)
    }

    /// Whether somebody has left without coming to this barrier; the group has failed then.
    fn deserted(&self, epoch: u64) -> bool {
        let attempt = self.attempt;
        let Some(deserter) = self.area.deserter(epoch, attempt) else { return false };
        let text = format!(
            "it returned without coming to barrier {epoch} of its body, where member {} waits",
            self.index
        );
        let origin = Origin {
            seq: self.task.0,
            worker: u16::MAX,
            attempt,
            code: Code::Error,
            member: deserter as u16,
            detail: Detail::None,
        };
        self.arena.write_error(self.place, origin, &text);
        self.area.abort(attempt);
        self.wake_members();
        true
    }

    /// Waits until every member has come to the same barrier. What members wrote before it is
    /// visible to all after it.
    ///
    /// # Errors
    /// The group was cancelled, or a member failed, died, or returned: it will not come. In the
    /// last case the group fails for that.
    pub fn barrier(&self) -> Result<(), Cancelled> {
        let outcome = self.meet();
        self.arena.entry(self.me).enter(BODY); // and does not wait any more
        outcome
    }

    fn meet(&self) -> Result<(), Cancelled> {
        let attempt = self.attempt;
        let epoch = self.area.arrive(self.index, attempt);
        if self.area.all_arrived(epoch, attempt) {
            wake_sleeping_members(self.arena, &self.area, attempt, Some(self.me));
            return Ok(());
        }
        let patience = self.arena.patience(WaitStrategy::Adaptive);
        let entry = self.arena.entry(self.me);
        for round in 0.. {
            if let Some(outcome) = self.passed(epoch) {
                return outcome;
            }
            if round == LONG {
                entry.wait();
            }
            if patience.pause(round, || self.arena.awake()).is_none() {
                break;
            }
        }
        let parker = &entry.parker;
        loop {
            self.area.stand(self.index, epoch, attempt); // it may have been overwritten
            let nothing = || {
                let through = self.area.all_arrived(epoch, attempt);
                !through && !self.over() && self.area.deserter(epoch, attempt).is_none()
            };
            // Bounded only against a lost wake-up; the waker is `wake_members`.
            park(parker, || fence(SeqCst), nothing, Duration::from_millis(100));
            if let Some(outcome) = self.passed(epoch) {
                return outcome;
            }
            if self.deserted(epoch) {
                return Err(Cancelled);
            }
        }
    }

    /// How barrier `epoch` ended, if it has. A member that comes through and then fails ends the
    /// group, not this barrier: whether the group is over is read before who has arrived, so that
    /// what is seen of such a failure comes with the arrivals before it.
    fn passed(&self, epoch: u64) -> Option<Result<(), Cancelled>> {
        let over = self.over();
        if self.area.all_arrived(epoch, self.attempt) {
            return Some(Ok(()));
        }
        over.then_some(Err(Cancelled))
    }

    fn wake_members(&self) {
        wake_members(self.arena, &self.area, self.attempt, Some(self.me));
    }

    /// Copies the bytes that the members share (they begin as zeros).
    pub fn shared(&self) -> [u8; GROUP_SHARED_BYTES] {
        let mut bytes = [0; GROUP_SHARED_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.area.shared()) {
            chunk.copy_from_slice(&word.load(SeqCst).to_ne_bytes());
        }
        bytes
    }

    /// Reads word `index` (0 to 7) of the shared bytes.
    ///
    /// # Panics
    /// Never; an index beyond the last wraps around.
    pub fn load(&self, index: usize) -> u64 {
        let shared = self.area.shared();
        shared[index % shared.len()].load(SeqCst)
    }

    /// Writes word `index` (0 to 7, wrapping around) of the shared bytes.
    pub fn store(&self, index: usize, value: u64) {
        let shared = self.area.shared();
        shared[index % shared.len()].store(value, SeqCst);
    }

    /// Adds to word `index` (0 to 7, wrapping around) of the shared bytes; returns the old value.
    pub fn fetch_add(&self, index: usize, value: u64) -> u64 {
        let shared = self.area.shared();
        shared[index % shared.len()].fetch_add(value, SeqCst)
    }
}

/// Wakes every parked member.
pub(crate) fn wake_members(arena: &Arena, area: &GroupArea<'_>, attempt: u32, but: Option<u16>) {
    fence(SeqCst);
    wake_sleeping_members(arena, area, attempt, but);
}

/// The same for a caller that has fenced since it published what they wait for.
pub(crate) fn wake_sleeping_members(
    arena: &Arena,
    area: &GroupArea<'_>,
    attempt: u32,
    but: Option<u16>,
) {
    for index in 0..area.len() {
        if let Member::Joined(worker) = area.member(index, attempt)
            && Some(worker) != but
        {
            unpark(&arena.entry(worker).parker);
        }
    }
}
