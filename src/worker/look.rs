//! Looking again: nobody has died, and somebody waits for long.
//!
//! A body that writes where it must not may have overwritten any word by which tasks are handed on.
//! What only suggests is made again from the state words. A state word, or what tasks wait for, is
//! never guessed: when a task is found at a standstill that no step of the protocol leaves for
//! long, again and again, the executor fails rather than let anybody wait for ever.
//!
//! Whom a task waits for is told by its word, and whether that one is at work by its entry. Entries
//! may be overwritten as well; but a worker that has nothing to do says so again and again, so what
//! is wrong there does not stay.

use std::sync::atomic::Ordering::Acquire;

use mailring_process::parker;

use super::Publisher;
use super::participant::started_word;
use super::recover::{NOBODY, Recovery, head_of};
use crate::ids::WorkerKind;
use crate::mailbox::descriptor::{ANYWHERE, GROUP, TaskDescriptors};
use crate::mailbox::group::Member;
use crate::ring::dist_ring::place;
use crate::ring::table::{Found, examine};
use crate::ring::word::{self, SUPERVISOR};
use crate::ring::{Phase, Table, Word};
use crate::segment::{Arena, BODY};

/// How often, twice a second, a task is found at a standstill before that is called impossible.
const STUCK: u32 = 5;

/// What the supervisor knows of a worker by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It serves.
    There,
    /// It starts, or is going to.
    Coming,
    /// It was given up.
    Gone,
}

/// What a worker does, as far as its entry and the supervisor can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// Inside the body that this says (`started`).
    Body(u64),
    /// It has looked for work since the last look, and found none; or it sleeps.
    Nothing,
    /// It is not there.
    Away(Standing),
    /// Between two of these, or in what may take long outside of a body.
    Unknown,
}

/// What the supervisor sees when nobody has died and somebody has waited for long, and what it
/// remembers from one look to the next.
pub(super) struct Looks<'a> {
    arena: &'a Arena,
    table: Table<'a>,
    descriptors: TaskDescriptors,
    publisher: Publisher<'a>,
    /// By worker: bodies run, and times it found nothing to do.
    counts: Vec<(u64, u64)>,
    /// Slots at a standstill, and how often each was found so.
    doubts: Vec<(u32, Word, u32)>,
}

impl<'a> Looks<'a> {
    pub(super) fn new(arena: &'a Arena) -> Self {
        Self {
            arena,
            table: arena.table(),
            descriptors: arena.descriptors(),
            publisher: Publisher::supervisor(arena),
            counts: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// What is ready while a worker of its kind has nothing to do is suggested again, what waits for
    /// nobody is made ready, what was left unwalked by us is walked: where the words are as the
    /// protocol leaves them this changes nothing.
    ///
    /// # Errors
    /// Why the executor cannot go on: a slot holds an invalid word, or stays where nobody is at work on
    /// it.
    pub(super) fn look_again(
        &mut self,
        recovery: &mut Recovery<'_>,
        tail: u64,
        standing: impl Fn(u16) -> Standing,
    ) -> Result<(), String> {
        let doing = self.ask_workers(standing);
        let impossible = |(slot, word): (u32, Word)| {
            format!(
                "slot {slot} holds {word:?}, which is invalid; a worker wrote where it must not"
            )
        };
        let mut doubts = self.suggest_again(recovery, &doing).map_err(impossible)?;
        for kind in WorkerKind::ALL {
            self.arena.urgent(kind).repair();
            self.arena.ready_groups(kind).repair();
        }
        (0..doing.len() as u16).for_each(|worker| self.arena.pinned(worker).repair());
        if let Some((slot, word)) = self.oldest_open(tail)
            && self.waits_for_nobody(slot, word, &doing)
        {
            doubts.push((slot, word));
        }
        let known = std::mem::take(&mut self.doubts);
        let looks = |slot, word| {
            let known = known.iter().find(|known| known.0 == slot && known.1.same_lease(word));
            known.map_or(1, |known| known.2 + 1)
        };
        let doubts: Vec<_> = doubts.into_iter().map(|(s, w)| (s, w, looks(s, w))).collect();
        if let Some(&(slot, word, _)) = doubts.iter().find(|doubt| doubt.2 >= STUCK) {
            let task = self.descriptors.head(slot).seq;
            return Err(format!(
                "task {task} stays {word:?} while nobody is at work on it; a worker wrote where it \
                 must not"
            ));
        }
        self.doubts = doubts;
        Ok(())
    }

    /// What each worker does.
    fn ask_workers(&mut self, standing: impl Fn(u16) -> Standing) -> Vec<Doing> {
        let workers = self.arena.shape().total_workers();
        self.counts.resize(workers, (0, 0));
        let counts = self.counts.iter_mut().enumerate();
        counts
            .map(|(worker, count)| {
                let entry = self.arena.entry(worker as u16);
                let now = (entry.ran.load(Acquire), entry.looked.load(Acquire));
                let before = std::mem::replace(count, now);
                let looked = now.0 == before.0 && now.1 != before.1;
                match (standing(worker as u16), entry.inside()) {
                    (Standing::There, BODY) => Doing::Body(entry.started.load(Acquire)),
                    (Standing::There, 0)
                        if looked || entry.parker.load(Acquire) == parker::ASLEEP =>
                    {
                        Doing::Nothing
                    }
                    (Standing::There, _) => Doing::Unknown,
                    (away, _) => Doing::Away(away),
                }
            })
            .collect()
    }

    /// Suggests, walks and checks, slot by slot. What is returned is held by somebody who is not at
    /// work on it.
    fn suggest_again(
        &mut self,
        recovery: &mut Recovery<'_>,
        doing: &[Doing],
    ) -> Result<Vec<(u32, Word)>, (u32, Word)> {
        let shape = self.arena.shape();
        let idle = WorkerKind::ALL.map(|kind| {
            let of_kind = |&(worker, _): &(usize, &Doing)| shape.kind_of(worker) == kind;
            doing.iter().enumerate().filter(of_kind).any(|(_, &doing)| doing == Doing::Nothing)
        });
        let mut doubts = Vec::new();
        for slot in 0..self.table.window() {
            match examine(&self.table, slot, NOBODY, SUPERVISOR) {
                Found::Ready(word) => {
                    // What we have made ready just now nobody else suggests.
                    let ours = word.owner() == SUPERVISOR;
                    if let Some(head) = head_of(&self.table, self.descriptors, slot, word)
                        && (ours || idle[head.pool().index()])
                    {
                        self.publisher.suggest(slot, head.route);
                    }
                }
                Found::Unwalked(word) => {
                    if let Some(word) = self.table.slot(slot).adopt(word) {
                        recovery.walk(slot, word);
                    }
                }
                Found::Corrupt(word) => return Err((slot, word)),
                Found::Nothing | Found::Leased(_) => {
                    let word = self.table.slot(slot).load();
                    if !word.is(Phase::Running) && !word.is(Phase::Condemned) {
                        continue;
                    }
                    if word.owner() != word::GROUP && usize::from(word.owner()) >= doing.len() {
                        return Err((slot, word));
                    }
                    if !self.is_worked_on(slot, word, doing) {
                        doubts.push((slot, word));
                    }
                }
            }
        }
        Ok(doubts)
    }

    /// Whether those who hold the slot are at work on it, or may be.
    fn is_worked_on(&self, slot: u32, word: Word, doing: &[Doing]) -> bool {
        let lease = started_word(slot, word);
        if word.owner() != word::GROUP {
            return may_move(doing, word.owner(), Some(lease));
        }
        let Some(head) = head_of(&self.table, self.descriptors, slot, word) else { return true };
        let Some(area) = self.arena.group(&head).filter(|_| head.has(GROUP)) else { return false };
        let attempt = self.table.slot(slot).attempt(word);
        let mut inside = false;
        for index in 0..area.len() {
            match area.member(index, attempt) {
                Member::Joined(worker) if may_move(doing, worker, Some(lease)) => inside = true,
                Member::Done { .. } => {}
                // One that never comes, or a word of a group that had not started.
                Member::Joined(_) | Member::Free => return false,
            }
        }
        inside // the last one out completes it
    }

    /// The oldest task that is not through; all that it waits for is.
    fn oldest_open(&self, tail: u64) -> Option<(u32, Word)> {
        let shift = self.table.window().trailing_zeros();
        (tail..tail + u64::from(self.table.window())).find_map(|seq| {
            let (slot, generation) = place(seq, shift);
            let word = self.table.slot(slot).load();
            (word.generation() == generation && !word.is_retired()).then_some((slot, word))
        })
    }

    /// Whether nobody is going to do anything about the oldest task. (Those that are held have been
    /// looked at.)
    fn waits_for_nobody(&self, slot: u32, word: Word, doing: &[Doing]) -> bool {
        match word.phase() {
            Some(Phase::Running | Phase::Condemned) => false,
            Some(Phase::Ready) => {
                let route = self.descriptors.route(slot);
                let shape = self.arena.shape();
                let concerned = |&(worker, _): &(usize, &Doing)| match route.target {
                    ANYWHERE => shape.kind_of(worker) == route.pool(),
                    target => worker == usize::from(target),
                };
                let stands =
                    |&doing: &Doing| matches!(doing, Doing::Nothing | Doing::Away(Standing::Gone));
                doing.iter().enumerate().filter(concerned).all(|(_, doing)| stands(doing))
            }
            Some(Phase::DoneOk | Phase::DoneFail) => !may_move(doing, word.owner(), None),
            // What it waits for is through, and who saw that would have made it ready.
            _ => true,
        }
    }
}

/// Whether the worker may be at work on a lease (inside its body), or on what comes after it
/// (`None`: outside of any).
fn may_move(doing: &[Doing], worker: u16, lease: Option<u64>) -> bool {
    match doing.get(usize::from(worker)) {
        Some(Doing::Body(started)) => Some(*started) == lease,
        Some(Doing::Unknown) => true,
        Some(Doing::Nothing | Doing::Away(_)) | None => false,
    }
}
