//! What is left when a worker has died, and how it is put right.
//!
//! Runs after the fence (its process is gone, so nothing of it will write any more) and before a
//! replacement is forked under the same number. Every step is an exchange from the exact word, or
//! sets what may be set twice, so a pass can stop anywhere and be done again.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::fence;

use mailring_process::parker;

use super::Publisher;
use super::context::wake_members;
use super::participant::{DEADLINE, started_word};
use crate::ids::WorkerKind;
use crate::mailbox::descriptor::{FAN_IN, GROUP, Head, TaskDescriptors};
use crate::mailbox::group::Member;
use crate::ring::table::{Found, Released, examine};
use crate::ring::word::{self, SUPERVISOR};
use crate::ring::{Phase, Table, Word};
use crate::segment::{Arena, Code, Detail, Origin};

/// No worker has this number.
pub(super) const NOBODY: u16 = u16::MAX;

/// Why an attempt was ended by us.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    pub(crate) text: String,
    pub(crate) worker: u16,
    pub(crate) member: u16,
    pub(crate) detail: Detail,
}

/// The supervisor's private books: what was condemned and why, and what was charged.
pub(crate) struct Recovery<'a> {
    arena: &'a Arena,
    table: Table<'a>,
    descriptors: TaskDescriptors,
    publisher: Publisher<'a>,
    /// By task: attempts that began and did not end by themselves.
    charged: HashMap<u64, u32>,
    /// By task: why its present attempt was condemned.
    verdicts: HashMap<u64, Verdict>,
}

/// The task descriptor of a slot that stands as `word`: read, and the word looked at again, since a
/// slot that is not held may be completed and reused at any time.
pub(super) fn head_of(
    table: &Table<'_>,
    descriptors: TaskDescriptors,
    slot: u32,
    word: Word,
) -> Option<Head> {
    let head = descriptors.head(slot);
    fence(Acquire);
    table.slot(slot).load().same_lease(word).then_some(head)
}

/// What a pass did, for the log.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) requeued: u32,
    pub(crate) retried: u32,
    pub(crate) failed: u32,
    pub(crate) adopted: u32,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(arena: &'a Arena) -> Self {
        Self {
            arena,
            table: arena.table(),
            descriptors: arena.descriptors(),
            publisher: Publisher::supervisor(arena),
            charged: HashMap::new(),
            verdicts: HashMap::new(),
        }
    }

    fn head_of(&self, slot: u32, word: Word) -> Option<Head> {
        head_of(&self.table, self.descriptors, slot, word)
    }

    /// Takes the lease that worker `worker` has begun, for good, since its deadline has passed. The
    /// worker is to be killed if this succeeds; a group's other members as well. `said` is what is
    /// said of a worker that is to blame.
    pub(crate) fn condemn_started(
        &mut self,
        worker: u16,
        started: u64,
        said: impl Fn(u16, String) -> String,
    ) -> Option<Condemned> {
        let slot = started as u32 & 0xf_ffff;
        if started >> 63 != 1 || slot >= self.table.window() {
            return None;
        }
        let word = self.table.slot(slot).load();
        if !word.is(Phase::Running) || started_word(slot, word) != started {
            return None;
        }
        let head = self.head_of(slot, word)?;
        let verdict = |worker: u16, member: u16, text: String| Verdict {
            code: Code::Deadline,
            text: said(worker, text),
            worker,
            member,
            detail: Detail::None,
        };
        if word.owner() == word::GROUP {
            let area = self.arena.group(&head)?;
            let attempt = self.table.slot(slot).attempt(word);
            let inside =
                (0..area.len()).find(|&i| area.member(i, attempt) == Member::Joined(worker))?;
            // The first whose time is over may be one that waits for another.
            let late = area.awaited(attempt, inside);
            let late = late.and_then(|(epoch, late)| match area.member(late, attempt) {
                Member::Joined(worker) => Some((epoch, late, worker)),
                _ => None,
            });
            let verdict = match late {
                Some((epoch, late, worker)) => {
                    let others = format!(
                        "{DEADLINE}; it has not come to barrier {epoch}, where others wait"
                    );
                    verdict(worker, late as u16, others)
                }
                None => verdict(worker, inside as u16, DEADLINE.to_owned()),
            };
            return self.condemn_group(slot, word, &head, verdict);
        }
        if word.owner() != worker {
            return None;
        }
        let condemned = self.table.slot(slot).condemn(word)?;
        self.verdicts.insert(head.seq, verdict(worker, u16::MAX, DEADLINE.to_owned()));
        Some(Condemned { slot, word: condemned, group: false })
    }

    /// The lease that worker `worker` has begun, if it was cancelled.
    fn cancelled_lease(&self, worker: u16) -> Option<(u32, Word, Head)> {
        let started = self.arena.entry(worker).started.load(Acquire);
        let slot = started as u32 & 0xf_ffff;
        if started >> 63 != 1 || slot >= self.table.window() {
            return None;
        }
        let word = self.table.slot(slot).load();
        let own = word.owner() == worker || word.owner() == word::GROUP;
        let is = word.is(Phase::Running) && word.cancelled() && own;
        if !is || started_word(slot, word) != started {
            return None;
        }
        self.head_of(slot, word).map(|head| (slot, word, head))
    }

    pub(crate) fn is_cancelled(&self, worker: u16) -> bool {
        self.cancelled_lease(worker).is_some()
    }

    /// Takes that lease, of a worker that is stopped and will not see that it was cancelled.
    pub(crate) fn condemn_cancelled(&mut self, worker: u16) -> Option<Condemned> {
        let (slot, word, head) = self.cancelled_lease(worker)?;
        let member = self.arena.group(&head).filter(|_| head.has(GROUP)).and_then(|area| {
            let attempt = self.table.slot(slot).attempt(word);
            (0..area.len()).find(|&i| area.member(i, attempt) == Member::Joined(worker))
        });
        let verdict = Verdict {
            code: Code::Cancelled,
            text: "its process was stopped by a signal and could not see it".to_owned(),
            worker,
            member: member.map_or(u16::MAX, |member| member as u16),
            detail: Detail::None,
        };
        if word.owner() == word::GROUP {
            return member.and_then(|_| self.condemn_group(slot, word, &head, verdict));
        }
        let condemned = self.table.slot(slot).condemn(word)?;
        self.verdicts.insert(head.seq, verdict);
        Some(Condemned { slot, word: condemned, group: false })
    }

    fn condemn_group(
        &mut self,
        slot: u32,
        word: Word,
        head: &Head,
        verdict: Verdict,
    ) -> Option<Condemned> {
        let area = self.arena.group(head)?;
        let condemned = self.table.slot(slot).condemn(word)?;
        // What condemned it first is the cause; deaths that follow are our own doing.
        self.verdicts.entry(head.seq).or_insert(verdict);
        let attempt = self.table.slot(slot).attempt(word);
        area.abort(attempt);
        wake_members(self.arena, &area, attempt, None);
        Some(Condemned { slot, word: condemned, group: true })
    }

    /// Groups of which a member has failed or that were condemned, with those still inside.
    pub(crate) fn troubled_groups(&self) -> Vec<Troubled> {
        let mut list = Vec::new();
        for slot in 0..self.table.window() {
            let word = self.table.slot(slot).load();
            let condemned = word.is(Phase::Condemned);
            if word.owner() != word::GROUP || !(condemned || word.is(Phase::Running)) {
                continue;
            }
            let Some(head) = self.head_of(slot, word).filter(|head| head.has(GROUP)) else {
                continue;
            };
            let Some(area) = self.arena.group(&head) else { continue };
            let attempt = self.table.slot(slot).attempt(word);
            if !condemned && !area.aborted(attempt) {
                continue;
            }
            let inside = (0..area.len())
                .filter_map(|i| match area.member(i, attempt) {
                    Member::Joined(worker) => Some((i, worker)),
                    _ => None,
                })
                .collect();
            list.push(Troubled { slot, word, seq: head.seq, inside });
        }
        list
    }

    /// Marks a running group whose member has failed, so that only the supervisor completes it.
    /// False when it is through.
    pub(crate) fn condemn_failed_group(&mut self, group: &Troubled) -> bool {
        let record = self.arena.read_error(group.slot);
        let verdict = Verdict {
            code: Code::from_bits(record.code),
            text: record.text(),
            worker: record.worker,
            member: record.member,
            detail: record.detail(),
        };
        let condemned = self.table.slot(group.slot).condemn(group.word).is_some();
        if condemned {
            self.verdicts.entry(group.seq).or_insert(verdict);
        }
        condemned
    }

    /// Keeps a member inside so that it can be killed. False when it is out, or dead already.
    pub(crate) fn evict_member(&self, group: &Troubled, index: usize, worker: u16) -> bool {
        let head = self.head_of(group.slot, group.word.with_phase(Phase::Condemned));
        let area = head.and_then(|head| self.arena.group(&head));
        let attempt = self.table.slot(group.slot).attempt(group.word);
        area.is_some_and(|area| area.evict(index, worker, attempt))
    }

    /// Ends the attempt of a condemned group once nobody is inside any more.
    pub(crate) fn conclude_group(&mut self, group: &Troubled, report: &mut Report) {
        debug_assert!(group.inside.is_empty());
        let Some(head) = self.head_of(group.slot, group.word) else { return };
        if let Some(area) = self.arena.group(&head) {
            area.reset_shared();
        }
        self.conclude(group.slot, group.word, &head, true, report);
    }

    /// Puts everything right that `dead` may have left half done.
    ///
    /// # Errors
    /// A slot holds no legal word.
    pub(crate) fn pass(
        &mut self,
        dead: u16,
        how: &str,
        detail: Detail,
    ) -> Result<Report, (u32, Word)> {
        let mut report = Report::default();
        let entry = self.arena.entry(dead);
        let started = entry.started.load(Acquire);
        for slot in 0..self.table.window() {
            match examine(&self.table, slot, dead, SUPERVISOR) {
                Found::Nothing => self.look_for_member(slot, dead, how, detail),
                Found::Ready(word) => {
                    self.ready_again(slot, word, dead, &mut report);
                    // The group may have started, with the dead as a member, since we looked.
                    self.look_for_member(slot, dead, how, detail);
                }
                Found::Leased(word) => {
                    let head = self.descriptors.head(slot);
                    let began = started == started_word(slot, word) && !head.has(FAN_IN);
                    let by_us = word.is(Phase::Condemned);
                    if began && !by_us {
                        let verdict = Verdict {
                            code: Code::Died,
                            text: how.to_owned(),
                            worker: dead,
                            member: u16::MAX,
                            detail,
                        };
                        self.verdicts.insert(head.seq, verdict);
                    }
                    self.conclude(slot, word, &head, began, &mut report);
                }
                Found::Unwalked(word) => {
                    if let Some(word) = self.table.slot(slot).adopt(word) {
                        report.adopted += 1;
                        self.walk(slot, word);
                    }
                }
                Found::Corrupt(word) => return Err((slot, word)),
            }
        }
        for kind in WorkerKind::ALL {
            self.arena.urgent(kind).repair();
            self.arena.ready_groups(kind).repair();
            self.arena.parked(kind).forget(dead);
        }
        self.arena.pinned(dead).repair();
        entry.parker.store(parker::AWAKE, Relaxed);
        entry.pid.store(0, Relaxed);
        entry.enter(0);
        entry.deadline.store(0, Relaxed);
        for kind in WorkerKind::ALL {
            self.publisher.wake_all(kind);
        }
        // A waker may have died between claiming a sleeper and waking it.
        for worker in 0..self.arena.shape().total_workers() as u16 {
            let parker = &self.arena.entry(worker).parker;
            if parker.load(Acquire) == parker::UNPARKED {
                mailring_process::futex::wake(parker, 1);
            }
        }
        self.arena.notify_host();
        Ok(report)
    }

    /// A ready task: its queue entry may be lost. An assembling group that the dead worker had
    /// joined assembles anew.
    fn ready_again(&mut self, slot: u32, word: Word, dead: u16, report: &mut Report) {
        let Some(head) = self.head_of(slot, word) else { return };
        if let Some(area) = self.arena.group(&head).filter(|_| head.has(GROUP)) {
            let attempt = self.table.slot(slot).attempt(word);
            let joined = (0..area.len()).any(|i| area.member(i, attempt) == Member::Joined(dead));
            if joined && self.table.slot(slot).revoke(word, Phase::Ready).is_some() {
                wake_members(self.arena, &area, attempt, None);
            }
        }
        self.publisher.suggest(slot, head.route);
        report.requeued += 1;
    }

    /// A running group loses the member that the dead was: the whole attempt is condemned. If the
    /// dead was through, and the last one, it may have died before it completed the group.
    fn look_for_member(&mut self, slot: u32, dead: u16, how: &str, detail: Detail) {
        let word = self.table.slot(slot).load();
        let live = word.is(Phase::Running) || word.is(Phase::Condemned);
        if !live || word.owner() != word::GROUP {
            return;
        }
        let Some(head) = self.head_of(slot, word).filter(|head| head.has(GROUP)) else { return };
        let Some(area) = self.arena.group(&head) else { return };
        let attempt = self.table.slot(slot).attempt(word);
        for index in 0..area.len() {
            if area.member(index, attempt) != Member::Joined(dead) {
                continue;
            }
            if word.is(Phase::Running) && area.aborted(attempt) {
                // A member has spoken for the group already.
                let group = Troubled { slot, word, seq: head.seq, inside: Vec::new() };
                self.condemn_failed_group(&group);
            } else {
                let verdict = Verdict {
                    code: Code::Died,
                    text: how.to_owned(),
                    worker: dead,
                    member: index as u16,
                    detail,
                };
                let _ = self.condemn_group(slot, word, &head, verdict);
            }
            area.mark_dead(index, dead, attempt);
        }
        let now = self.table.slot(slot).load();
        if now.is(Phase::Running)
            && now.same_lease(word)
            && let Some(ok) = area.outcome(attempt)
        {
            let code = Code::from_bits(self.arena.read_error(slot).code);
            let failed_root = (!ok).then(|| code.failed_root(head.seq));
            let table = self.table;
            let _ = table.finish(table.slot(slot), now, SUPERVISOR, failed_root, |released| {
                self.released(released)
            });
        }
    }

    /// Ends an attempt whose holder is gone: another one, or failure.
    fn conclude(&mut self, slot: u32, word: Word, head: &Head, began: bool, report: &mut Report) {
        let cell = self.table.slot(slot);
        let again = if began {
            let charged = self.charged.entry(head.seq).or_insert(0);
            *charged += 1;
            let died = self.verdicts.get(&head.seq);
            // An error of its own is the task's last word; only what was done to it is retried.
            let retriable = died.is_none_or(|v| matches!(v.code, Code::Died | Code::Deadline));
            retriable && !word.cancelled() && *charged <= u32::from(head.retries)
        } else {
            true
        };
        if again {
            if cell.revoke(word, Phase::Ready).is_some() {
                report.retried += 1;
                self.verdicts.remove(&head.seq);
                self.publisher.suggest(slot, head.route);
            }
            return;
        }
        let verdict = self.verdicts.remove(&head.seq);
        self.charged.remove(&head.seq);
        let verdict = verdict.unwrap_or_else(|| Verdict {
            code: Code::Cancelled,
            text: String::new(),
            worker: word.owner(),
            member: u16::MAX,
            detail: Detail::None,
        });
        let origin = Origin {
            seq: head.seq,
            worker: verdict.worker,
            attempt: cell.attempt(word),
            code: verdict.code,
            member: verdict.member,
            detail: verdict.detail,
        };
        self.arena.write_error(slot, origin, &verdict.text);
        if let Some(word) = cell.fail_dead(word) {
            report.failed += 1;
            self.walk(slot, word);
        }
    }

    /// A consumer waits for nobody any more.
    fn released(&mut self, released: Released) {
        let Released { slot, generation } = released;
        if self.table.slot(slot).make_ready(SUPERVISOR, generation) {
            self.publisher.suggest(slot, self.descriptors.route(slot));
        }
    }

    /// Walks and retires a completed slot that is ours.
    pub(super) fn walk(&mut self, slot: u32, word: Word) {
        let cell = self.table.slot(slot);
        let seq = self.descriptors.head(slot).seq;
        let failed_root = word.is_failed().then(|| self.arena.failed_root_of(slot, seq));
        let table = self.table;
        table.walk(word.head(), failed_root, |released| self.released(released));
        let _ = cell.retire(word.generation());
        self.arena.notify_host();
    }

    /// Forgets what was charged to tasks that have left the window.
    pub(crate) fn forget_before(&mut self, seq: u64) {
        self.charged.retain(|&task, _| task >= seq);
        self.verdicts.retain(|&task, _| task >= seq);
    }

    /// Fails every ready task that nobody will come for.
    pub(crate) fn fail_unreachable(&mut self, why: &str, concerned: impl Fn(&Head) -> bool) {
        for slot in 0..self.table.window() {
            let cell = self.table.slot(slot);
            let word = cell.load();
            if !word.is(Phase::Ready) {
                continue;
            }
            let Some(head) = self.head_of(slot, word).filter(|head| concerned(head)) else {
                continue;
            };
            if let Some(word) = cell.start(word, SUPERVISOR) {
                let origin = Origin {
                    seq: head.seq,
                    worker: u16::MAX,
                    attempt: cell.attempt(word),
                    code: Code::Gone,
                    member: u16::MAX,
                    detail: Detail::None,
                };
                self.arena.write_error(slot, origin, why);
                if let Some(word) = cell.fail_dead(word) {
                    self.walk(slot, word);
                }
            }
        }
    }
}

/// A lease that was taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condemned {
    pub(crate) slot: u32,
    pub(crate) word: Word,
    pub(crate) group: bool,
}

/// A group that is to end, and who is still in it: member and worker.
#[derive(Clone, Debug)]
pub(crate) struct Troubled {
    pub(crate) slot: u32,
    pub(crate) word: Word,
    pub(crate) seq: u64,
    pub(crate) inside: Vec<(usize, u16)>,
}
