//! A small executor around the real slots: bodies, workers, a supervisor, and books that know
//! more than any of them.
//!
//! `run`, `released` and `recover` repeat in a few lines what `src/worker/participant.rs` and
//! `src/worker/recover.rs` do around the included sources.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ring::slot::{GUARD, NO_FAILED_ROOT, Push, Slot};
use super::ring::table::{Edge, EdgeKind, Found, Released, Table, examine};
use super::ring::word::{Phase, SUBMITTER, SUPERVISOR, Word};
use super::sync::{Acquire, AtomicU64, Relaxed, Release};

/// Workers that a world has room for; numbers below this are worker ids.
const WORKERS: usize = 4;

/// What a body does: reads and writes values, and returns the root with which it fails.
pub(crate) type Body = fn(&World, u32) -> Option<u64>;

/// The failure whose root is the task of `slot`.
pub(crate) fn root(slot: u32) -> u64 {
    u64::from(slot) << 8 | 1
}

/// What happened, outside the memory that the checker orders.
#[derive(Default)]
pub(crate) struct Books {
    /// Slot, lap and attempt of every lease.
    leases: Vec<(u32, u32, u16)>,
    /// Slot and lap of every body that ran.
    runs: Vec<(u32, u32)>,
    /// Slot and lap of everything that completed.
    done: Vec<(u32, u32)>,
}

/// Slots, edges, and what the bodies work on.
pub(crate) struct World {
    slots: Vec<Slot>,
    edges: Vec<Edge>,
    started: Vec<AtomicU64>,
    values: Vec<AtomicU64>,
    body: Body,
    books: Mutex<Books>,
}

impl World {
    /// `window` is a power of two.
    pub(crate) fn new(window: usize, body: Body) -> Self {
        Self {
            slots: (0..window).map(|_| Slot::new()).collect(),
            edges: (0..window).map(|_| Edge::new()).collect(),
            started: (0..WORKERS).map(|_| AtomicU64::new(0)).collect(),
            values: (0..window).map(|_| AtomicU64::new(0)).collect(),
            body,
            books: Mutex::default(),
        }
    }

    pub(crate) fn table(&self) -> Table<'_> {
        Table::new(&self.slots, &self.edges)
    }

    pub(crate) fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- bodies -----------------------------------------------------------------------------

    /// Writes the value of a task. Relaxed: what makes it visible must be the protocol.
    pub(crate) fn write(&self, slot: u32, value: u64) {
        self.values[slot as usize].store(value, Relaxed);
    }

    /// Reads the value of a task.
    pub(crate) fn read(&self, slot: u32) -> u64 {
        self.values[slot as usize].load(Relaxed)
    }

    // ---- the submitter ------------------------------------------------------------------------

    /// Publishes a task that waits for nobody.
    pub(crate) fn publish(&self, slot: u32, generation: u32) {
        self.slot(slot).publish_ready(SUBMITTER, generation, NO_FAILED_ROOT);
    }

    /// Publishes `slot` behind `producers` (slot, lap, kind). True when it was ready at once.
    /// The edges used are those with the numbers from `edges`.
    pub(crate) fn wire(
        &self,
        slot: u32,
        generation: u32,
        producers: &[(u32, u32, EdgeKind)],
        edges: u32,
    ) -> bool {
        let cell = self.slot(slot);
        let table = self.table();
        cell.publish_pending(SUBMITTER, generation, producers.len() as u32, NO_FAILED_ROOT);
        let mut finished = GUARD;
        for (bit, &(from, lap, kind)) in producers.iter().enumerate() {
            let index = edges + bit as u32;
            let edge = table.edge(index);
            edge.set(slot, bit as u32, kind, generation);
            match self.slot(from).push_edge(lap, index, |next| edge.set_next(next)) {
                Push::Pushed => {}
                Push::Finished { failed } => {
                    finished |= 1 << bit;
                    if failed && kind == EdgeKind::Data {
                        cell.mark_failed_root(self.failed_root_of(from));
                    }
                }
            }
        }
        cell.clear(finished, generation) && cell.make_ready(SUBMITTER, generation)
    }

    fn failed_root_of(&self, slot: u32) -> u64 {
        match self.slot(slot).failed_root() {
            NO_FAILED_ROOT => root(slot),
            failed_root => failed_root,
        }
    }

    // ---- workers ------------------------------------------------------------------------------

    /// Takes `slot` if it is ready, runs it and what it releases.
    pub(crate) fn work(&self, me: u16, slot: u32, suggest: &mut dyn FnMut(u32)) -> bool {
        let Some(word) = self.slot(slot).take(me) else { return false };
        self.leased(slot, word);
        self.run(me, slot, word, suggest);
        true
    }

    /// Notes a lease; the same attempt is never leased twice.
    pub(crate) fn leased(&self, slot: u32, word: Word) {
        let lease = (slot, word.generation(), word.attempt());
        let mut books = self.books();
        assert!(!books.leases.contains(&lease), "{lease:?} leased twice");
        books.leases.push(lease);
    }

    /// Runs a leased task, then the successors that were kept.
    pub(crate) fn run(&self, me: u16, slot: u32, word: Word, suggest: &mut dyn FnMut(u32)) {
        let mut next = Some((slot, word));
        while let Some((slot, word)) = next.take() {
            let cell = self.slot(slot);
            let failed_root = match cell.failed_root() {
                NO_FAILED_ROOT if cell.load().cancelled() => Some(root(slot)),
                NO_FAILED_ROOT => self.call(me, slot, word),
                failed_root => Some(failed_root),
            };
            if failed_root.is_none() && cell.complete_alone(word) {
                self.completed(slot, word);
                continue;
            }
            let done =
                self.table().finish(self.table().slot(slot), word, me, failed_root, |released| {
                    self.released(me, released, &mut next, suggest);
                });
            if done.is_some() {
                self.completed(slot, word);
            }
        }
    }

    fn call(&self, me: u16, slot: u32, word: Word) -> Option<u64> {
        self.started[usize::from(me)].store(started_word(slot, word), Release);
        self.books().runs.push((slot, word.generation()));
        (self.body)(self, slot)
    }

    fn released(
        &self,
        me: u16,
        released: Released,
        next: &mut Option<(u32, Word)>,
        suggest: &mut dyn FnMut(u32),
    ) {
        let Released { slot, generation } = released;
        let consumer = self.slot(slot);
        if next.is_none() {
            if let Some(word) = consumer.take_pending(me, generation) {
                self.leased(slot, word);
                *next = Some((slot, word));
            }
        } else if consumer.make_ready(me, generation) {
            suggest(slot);
        }
    }

    fn completed(&self, slot: u32, word: Word) {
        let lap = (slot, word.generation());
        self.books().done.push(lap);
    }

    // ---- the supervisor -------------------------------------------------------------------------

    /// Puts right what `dead` has left, after its end. `retry` is the policy for bodies that had
    /// begun.
    pub(crate) fn recover(&self, dead: u16, retry: bool, suggest: &mut dyn FnMut(u32)) {
        let table = self.table();
        let started = self.started[usize::from(dead)].load(Acquire);
        for slot in 0..table.window() {
            let cell = self.slot(slot);
            match examine(&table, slot, dead, SUPERVISOR) {
                Found::Nothing => {}
                Found::Ready(_) => suggest(slot),
                Found::Leased(word) if retry || started != started_word(slot, word) => {
                    if cell.revoke(word, Phase::Ready).is_some() {
                        suggest(slot);
                    }
                }
                Found::Leased(word) => {
                    if let Some(word) = cell.fail_dead(word) {
                        self.completed(slot, word);
                        self.walk(slot, word, suggest);
                    }
                }
                Found::Unwalked(word) => {
                    if let Some(word) = cell.adopt(word) {
                        self.walk(slot, word, suggest);
                    }
                }
                Found::Corrupt(word) => panic!("slot {slot} holds {word:?}"),
            }
        }
    }

    /// Walks and retires a completed slot of the supervisor.
    pub(crate) fn walk(&self, slot: u32, word: Word, suggest: &mut dyn FnMut(u32)) {
        let failed_root = word.is_failed().then(|| self.failed_root_of(slot));
        self.table().walk(word.head(), failed_root, |released| {
            if self.slot(released.slot).make_ready(SUPERVISOR, released.generation) {
                suggest(released.slot);
            }
        });
        let _ = self.slot(slot).retire(word.generation());
    }

    // ---- the end --------------------------------------------------------------------------------

    /// Everything that is ready is run by `me`, until there is nothing.
    pub(crate) fn drain(&self, me: u16) {
        while (0..self.slots.len() as u32).any(|slot| self.work(me, slot, &mut |_| {})) {}
    }

    /// The last word of a slot that must be retired.
    pub(crate) fn retired(&self, slot: u32) -> Word {
        let word = self.slot(slot).load();
        assert!(word.is_retired(), "slot {slot} never retired: {word:?}");
        word
    }

    /// How often bodies of this lap of `slot` ran.
    pub(crate) fn runs(&self, slot: u32, generation: u32) -> usize {
        self.books().runs.iter().filter(|run| **run == (slot, generation)).count()
    }

    /// How often this lap of `slot` was completed by somebody who lived to note it.
    pub(crate) fn completions(&self, slot: u32, generation: u32) -> usize {
        self.books().done.iter().filter(|done| **done == (slot, generation)).count()
    }
}

fn started_word(slot: u32, word: Word) -> u64 {
    u64::from(slot) | u64::from(word.generation()) << 20 | u64::from(word.attempt()) << 40 | 1 << 63
}
