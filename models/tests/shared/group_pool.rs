//! A world with one group in it: slot, member words, parkers; the steps of `src/worker/groups.rs`
//! and what `src/worker/recover.rs` does to a group.

use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed as Counting};

use super::mailbox::group::{GroupArea, Member, words};
use super::mailbox::parker;
use super::ring::slot::{NO_FAILED_ROOT, Slot};
use super::ring::table::{Edge, Found, Table, examine};
use super::ring::word::{self, Phase, SUBMITTER, SUPERVISOR, Word};
use super::sync::{AcqRel, AtomicU32, AtomicU64, Relaxed, SeqCst, fence};

/// Workers are numbered from 0.
pub(crate) const WORKERS: usize = 3;

/// How one look at the group ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Assembly {
    /// Run as this member, under this lease.
    Start(usize, Word),
    /// Parked by itself.
    Asleep,
    /// Somebody else's business.
    Over,
}

/// What a worker remembers between two looks: which member it is, in which attempt.
pub(crate) type Joined = Option<(usize, u32)>;

/// Steps that can be left out, to see that they are missed.
#[allow(dead_code, reason = "the planted ones are looked for on loom only")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// All is done as it should be.
    None,
    /// A member that finds its attempt condemned leaves without saying that it is out.
    LeavesQuietly,
    /// Recovery does not look again when an assembling group starts under its hands.
    LooksOnce,
    /// Recovery begins a new attempt without ringing those that joined the old one.
    RingsNobody,
    /// Recovery does not complete a group all of whose members are through.
    ForgetsTheLast,
    /// The starter wakes nobody.
    StartsQuietly,
}

/// One slot that holds a group.
pub(crate) struct GroupPool {
    flaw: Flaw,
    slots: Vec<Slot>,
    edges: Vec<Edge>,
    area: Vec<AtomicU64>,
    parkers: Vec<AtomicU32>,
    /// Starts and completions, by lap; bodies of each member in the present attempt.
    pub(crate) starts: Count,
    pub(crate) completions: Count,
    pub(crate) bodies: [Count; 2],
}

impl GroupPool {
    /// A ready group of two, lap 1.
    pub(crate) fn new(flaw: Flaw) -> Self {
        let pool = Self {
            flaw,
            slots: vec![Slot::new()],
            edges: vec![Edge::new()],
            area: (0..words(2)).map(|_| AtomicU64::new(0)).collect(),
            parkers: (0..WORKERS).map(|_| AtomicU32::new(parker::AWAKE)).collect(),
            starts: Count::new(0),
            completions: Count::new(0),
            bodies: [Count::new(0), Count::new(0)],
        };
        pool.slot().publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        pool
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slots[0]
    }

    pub(crate) fn area(&self) -> GroupArea<'_> {
        GroupArea::new(&self.area)
    }

    fn table(&self) -> Table<'_> {
        Table::new(&self.slots, &self.edges)
    }

    pub(crate) fn parker(&self, worker: u16) -> &AtomicU32 {
        &self.parkers[usize::from(worker)]
    }

    /// One look after another until the worker starts, sleeps or leaves.
    pub(crate) fn assemble(&self, me: u16, joined: &mut Joined) -> Assembly {
        let (slot, area) = (self.slot(), self.area());
        loop {
            let now = slot.load();
            let attempt = slot.attempt(now);
            if now.is(Phase::Running)
                && now.owner() == word::GROUP
                && let Some((index, _)) = joined.filter(|&(_, joined)| joined == attempt)
                && area.member(index, attempt) == Member::Joined(me)
            {
                return Assembly::Start(index, now);
            }
            if now.is(Phase::Condemned)
                && let Some((index, attempt)) = *joined
                && self.flaw != Flaw::LeavesQuietly
            {
                area.done(index, me, attempt, false);
            }
            if !now.is(Phase::Ready) || now.generation() != 1 {
                return Assembly::Over;
            }
            if joined.is_none_or(|(_, a)| a != attempt) {
                let Some(index) = area.join(me, attempt) else { return Assembly::Over };
                *joined = Some((index, attempt));
            }
            if area.all_joined(attempt) {
                if slot.start(now, word::GROUP).is_some() {
                    self.starts.fetch_add(1, Counting);
                    if self.flaw != Flaw::StartsQuietly {
                        self.wake_members(attempt, Some(me));
                    }
                }
                continue;
            }
            self.parker(me).store(parker::ASLEEP, Relaxed);
            fence(SeqCst);
            if slot.load() == now && !area.all_joined(attempt) {
                return Assembly::Asleep;
            }
            self.awake(me);
        }
    }

    /// A plain store in the real one. Loom may read an exchange that hit the value before it as
    /// the newer one, which is impossible: nothing comes between an exchange and what it has read.
    fn awake(&self, worker: u16) {
        self.parker(worker).fetch_and(parker::AWAKE, AcqRel);
    }

    /// Rings every member of `attempt` that sleeps.
    pub(crate) fn wake_members(&self, attempt: u32, but: Option<u16>) {
        fence(SeqCst);
        let area = self.area();
        for index in 0..area.len() {
            if let Member::Joined(worker) = area.member(index, attempt)
                && Some(worker) != but
            {
                parker::unpark(self.parker(worker));
            }
        }
    }

    /// The body of a member, and its end.
    pub(crate) fn run(&self, me: u16, index: usize, lease: Word) {
        let attempt = self.slot().attempt(lease);
        self.bodies[index].fetch_add(1, Counting);
        if !self.area().done(index, me, attempt, true) {
            return;
        }
        if let Some(ok) = self.area().outcome(attempt) {
            // Failed by recovery, then the slot is condemned and this changes nothing.
            let failed_root = (!ok).then_some(1);
            if self.table().finish(self.slot(), lease, me, failed_root, |_| {}).is_some() {
                assert!(ok, "failed although nobody did");
                self.completions.fetch_add(1, Counting);
            }
        }
    }

    /// A worker that found the group: forms, and runs if it starts.
    pub(crate) fn attend(&self, me: u16, joined: &mut Joined) -> Assembly {
        let assembly = self.assemble(me, joined);
        if let Assembly::Start(index, lease) = assembly {
            self.run(me, index, lease);
        }
        assembly
    }

    /// What the futex sees: a read-modify-write, since that reads the newest value.
    fn futex(&self, worker: u16) -> u32 {
        self.parker(worker).fetch_or(0, AcqRel)
    }

    /// Whether `worker` sleeps and nobody has woken it.
    pub(crate) fn sleeps(&self, worker: u16) -> bool {
        self.futex(worker) == parker::ASLEEP
    }

    /// Those who were woken look again, until nobody is left who was.
    pub(crate) fn wake_up(&self, sleepers: &mut [(u16, Joined)]) {
        loop {
            let woken = sleepers.iter().position(|(w, _)| self.futex(*w) == parker::UNPARKED);
            let Some(woken) = woken else { return };
            let (worker, joined) = &mut sleepers[woken];
            self.awake(*worker);
            self.attend(*worker, joined);
        }
    }

    // ---- the supervisor -------------------------------------------------------------------------

    /// Puts right what `dead` has left.
    pub(crate) fn recover(&self, dead: u16) {
        let slot = self.slot();
        match examine(&self.table(), 0, dead, SUPERVISOR) {
            Found::Ready(word) if self.has_joined(word, dead) => {
                if slot.revoke(word, Phase::Ready).is_none() {
                    if self.flaw != Flaw::LooksOnce {
                        self.lose(dead); // it has just started
                    }
                } else if self.flaw != Flaw::RingsNobody {
                    self.wake_members(slot.attempt(word), None);
                }
            }
            Found::Unwalked(word) => {
                if let Some(word) = slot.adopt(word) {
                    let _ = slot.retire(word.generation());
                }
            }
            Found::Nothing => self.lose(dead),
            Found::Ready(_) => {}
            found => panic!("{found:?}"),
        }
        self.awake(dead);
    }

    fn has_joined(&self, word: Word, worker: u16) -> bool {
        let area = self.area();
        let attempt = self.slot().attempt(word);
        (0..area.len()).any(|i| area.member(i, attempt) == Member::Joined(worker))
    }

    /// A running group without one of its members is condemned.
    fn lose(&self, dead: u16) {
        let word = self.slot().load();
        let live = word.is(Phase::Running) || word.is(Phase::Condemned);
        if !live || word.owner() != word::GROUP {
            return;
        }
        let area = self.area();
        let attempt = self.slot().attempt(word);
        for index in 0..area.len() {
            if area.member(index, attempt) == Member::Joined(dead) {
                if self.slot().condemn(word).is_some() {
                    area.abort(attempt);
                    self.wake_members(attempt, None);
                }
                area.done(index, dead, attempt, false);
            }
        }
        // All are through, and the one that saw it may be the dead one.
        if self.flaw != Flaw::ForgetsTheLast
            && area.outcome(attempt) == Some(true)
            && self.table().finish(self.slot(), word, SUPERVISOR, None, |_| {}).is_some()
        {
            self.completions.fetch_add(1, Counting);
        }
    }

    /// The attempt of a condemned group ends when nobody is inside any more.
    pub(crate) fn conclude(&self) {
        let word = self.slot().load();
        if word.is(Phase::Condemned) {
            let area = self.area();
            for index in 0..area.len() {
                let member = area.member(index, self.slot().attempt(word));
                assert!(!matches!(member, Member::Joined(_)), "{member:?} would be killed");
            }
            area.reset_shared();
            assert!(self.slot().revoke(word, Phase::Ready).is_some());
        }
    }
}
