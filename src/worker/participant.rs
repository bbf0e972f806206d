//! A worker's life: find a task, run it, release those that waited for it, sleep when there is
//! nothing. The same code in a process and in a thread.

use std::cell::Cell;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::compiler_fence;
use std::time::Duration;

use mailring_process::clock::monotonic_ns;
use mailring_process::fork_server::{StartProgress, StartStep};
use mailring_process::output;
use mailring_process::panics;
use mailring_process::panics::guard;
use mailring_process::parker;
use mailring_process::reach;
use mailring_process::sync::{prefetch_read, prefetch_write};
use mailring_process::wait::{LONG, Patience, RECHECK, WaitStrategy};
use mailring_process::wakeup::Wakeup;
use mailring_process::{futex, process};

use super::context::{wake_members, wake_sleeping_members};
use super::groups::{Assembly, Candidate, Groups, ROUNDS};
use super::imports::Mapped;
use super::inherited_memory::memory_of;
use super::stream::{AWAY_NS, Stream};
use super::times::{Ran, Times};
use super::{BoxError, GroupContext, Publisher, TaskContext, Words, Worker};
use crate::abi::{CallConfig, ContinuousTensor, TaskArgsView};
use crate::ids::{TaskId, WorkerId, WorkerKind};
use crate::limits::MAX_CHAIN;
use crate::mailbox::alarm::Alarm;
use crate::mailbox::batches::Batches;
use crate::mailbox::bitmap::Bitmap;
use crate::mailbox::descriptor::{
    ANYWHERE, FAN_IN, GROUP, Head, IMPORTED, InlineCall, PackedRoute, Route, SNAPSHOT, SavedRange,
    TaskDescriptors,
};
use crate::mailbox::group::GroupArea;
use crate::mailbox::ready_queue::{MORE, ReadyQueue};
use crate::ring::slot::NO_FAILED_ROOT;
use crate::ring::table::Released;
use crate::ring::{Phase, Slot, Table, Word};
use crate::segment::{Arena, BODY, Code, Origin, PREPARING, WorkerEntry};

/// A lease: the slot, the word that took it, the number of the task.
#[derive(Clone, Copy)]
struct Lease<'a> {
    index: u32,
    slot: &'a Slot,
    word: Word,
    seq: u64,
}

/// Why a body failed.
struct Failure {
    code: Code,
    words: Words,
}

/// How the supervisor recognises the body that a worker has begun.
pub(crate) fn started_word(slot: u32, word: Word) -> u64 {
    u64::from(slot) | u64::from(word.generation()) << 20 | u64::from(word.attempt()) << 40 | 1 << 63
}

/// What is said of a task that was ended over its deadline.
pub(crate) const DEADLINE: &str = "it ran longer than its deadline";

/// Tasks that only this worker may run go before groups, but no more of them than this: a group
/// needs several workers, and each may have such tasks without an end.
const MAX_PASSED: u32 = 16;

/// How long a worker whose lease was taken away waits to be ended.
const ENDED: Duration = Duration::from_secs(1);

/// Where a worker lives.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// In a process of its own, with a line to the host.
    Process {
        /// Where it asks for memory that came after the fork.
        line: BorrowedFd<'a>,
        /// Where it says why it ends.
        progress: &'a StartProgress,
    },
    /// In a thread of the host.
    Thread,
}

/// A worker's view of the arena, and what it holds.
pub(crate) struct Participant<'a> {
    arena: &'a Arena,
    table: Table<'a>,
    descriptors: TaskDescriptors,
    me: u16,
    entry: &'a WorkerEntry,
    kind: WorkerKind,
    patience: Patience,
    wakeup: &'a Wakeup,
    publisher: Publisher<'a>,
    /// Ready queues of the same kind: its own, the submitter's, and those of the others.
    own: ReadyQueue<'a>,
    submitted: ReadyQueue<'a>,
    others: Vec<ReadyQueue<'a>>,
    /// The submitter's queue, if others take from it as well, and the batch of it that this worker is at.
    batches: Option<Batches<'a>>,
    batch: Cell<Range<u64>>,
    /// There may be something in its own queue, into which nobody else puts anything.
    has_own: bool,
    /// The route of a task as most are; what no task has while times are written down.
    usual: PackedRoute,
    groups: Groups<'a>,
    urgent: Bitmap<'a>,
    pinned: Bitmap<'a>,
    successor: Option<(u32, Word)>,
    chain: u32,
    /// The last task was a member of a group: a single one first, if there is any.
    after_group: bool,
    /// Tasks of its own that it took since it saw a group that waits.
    passed: u32,
    /// In a process, a worker that lost its lease is about to be killed; a thread goes on.
    place: Place<'a>,
    imports: Mapped<'a>,
    stream: Stream,
    /// Where it writes down when bodies begin and end, for a profile.
    times: Option<&'a Times>,
}

impl<'a> Participant<'a> {
    pub(crate) fn new(
        arena: &'a Arena,
        me: u16,
        wait: WaitStrategy,
        wakeup: &'a Wakeup,
        place: Place<'a>,
    ) -> Self {
        let shape = arena.shape();
        let kind = shape.kind_of(usize::from(me));
        let workers = shape.total_workers();
        let others = (1..workers).map(|k| (usize::from(me) + k) % workers);
        let queue = |producer| arena.ready_queue(producer, kind);
        Self {
            arena,
            table: arena.table(),
            descriptors: arena.descriptors(),
            me,
            entry: arena.entry(me),
            kind,
            patience: arena.patience(wait),
            wakeup,
            publisher: Publisher::with_rings(arena, usize::from(me)),
            own: queue(usize::from(me)),
            submitted: queue(workers),
            others: others.map(queue).collect(),
            batches: (arena.workers_of(kind) > 1).then(|| arena.batches(kind)),
            batch: Cell::default(),
            has_own: true, // from one that was here before
            usual: Route { kind: kind as u8, flags: 0, target: ANYWHERE }.packed(),
            groups: Groups::new(arena, me, arena.patience(wait)),
            urgent: arena.urgent(kind),
            pinned: arena.pinned(me),
            successor: None,
            chain: 0,
            after_group: false,
            passed: 0,
            place,
            imports: Mapped::new(match place {
                Place::Process { line, .. } => Some(line),
                Place::Thread => None,
            }),
            stream: Stream::new(),
            times: None,
        }
    }

    /// Writes down when bodies begin and end.
    pub(crate) fn with_times(self, times: Option<&'a Times>) -> Self {
        let usual = if times.is_some() { PackedRoute::NONE } else { self.usual };
        Self { times, usual, ..self }
    }

    /// Serves until shutdown.
    pub(crate) fn serve(&mut self, worker: &mut dyn Worker) {
        // SAFETY: the arena outlives this borrow of it.
        let _stays = unsafe { reach::Stays::new(memory_of(self.arena)) };
        let mut round = 0;
        let mut woken = false;
        loop {
            if self.successor.is_some()
                && let Some((slot, word)) = self.successor.take()
            {
                self.run_single(worker, slot, word);
                continue;
            }
            self.chain = 0;
            if self.step(worker, woken) {
                (round, woken) = (0, false);
                continue;
            }
            let more = || self.submitted.last_taken() & MORE != 0;
            let ends = self.stream.ends(self.entry.ran.load(Relaxed), more);
            if ends && self.patience.has_processor() {
                self.look_away();
                continue;
            }
            if self.arena.control().shutdown.load(Relaxed) != 0 {
                return;
            }
            if round == LONG {
                self.arena.entry(self.me).wait();
            }
            if self.patience.pause(round, || self.arena.awake()).is_some() {
                round = round.wrapping_add(1);
                if round % ROUNDS == 0 {
                    self.entry.idles();
                    self.imports.release_stale(self.arena);
                }
                continue;
            }
            woken = self.park();
            self.has_own = true; // whatever may be visible is looked at again
            round = 0;
        }
    }

    /// Takes and runs one task that is not a successor. False when there was none.
    #[inline(always)]
    fn step(&mut self, worker: &mut dyn Worker, woken: bool) -> bool {
        // The usual case is that only queues have any: one load for each other place says so.
        if woken | self.pinned.has_some() | self.urgent.has_some() | self.groups.visible() {
            return self.step_anywhere(worker, woken);
        }
        self.after_group = false;
        let Some((slot, word)) = self.take_queued() else { return false };
        self.run_single(worker, slot, word);
        true
    }

    #[cold]
    #[inline(never)]
    fn step_anywhere(&mut self, worker: &mut dyn Worker, woken: bool) -> bool {
        if self.pinned.has_some() {
            if self.passed >= MAX_PASSED && self.groups.visible() {
                self.passed = 0;
                if self.try_group(worker) {
                    return true;
                }
            }
            if let Some((slot, word)) = self.take_from(self.pinned) {
                self.passed = if self.groups.visible() { self.passed + 1 } else { 0 };
                self.run_single(worker, slot, word);
                return true;
            }
        }
        if !self.after_group && self.groups.visible() && self.try_group(worker) {
            return true;
        }
        if let Some((slot, word)) = self.take_single() {
            self.after_group = false;
            if woken || self.urgent.has_some() {
                // Whoever rang claimed one sleeper for perhaps many tasks; and one who fell asleep
                // while we cleaned the set may have missed what we put back.
                self.publisher.wake_one(self.kind);
            }
            self.run_single(worker, slot, word);
            return true;
        }
        let groups_passed = std::mem::take(&mut self.after_group);
        groups_passed && self.groups.visible() && self.try_group(worker)
    }

    fn take_single(&mut self) -> Option<(u32, Word)> {
        if self.urgent.has_some()
            && let Some(lease) = self.take_from(self.urgent)
        {
            return Some(lease);
        }
        self.take_queued()
    }

    /// Fetches the lines of a task that will be looked at soon.
    #[inline(always)]
    fn fetch(&self, slot: u32) {
        prefetch_write(self.table.slot(slot));
        self.descriptors.lines(slot).into_iter().for_each(prefetch_read);
    }

    #[inline(always)]
    fn take_queued(&mut self) -> Option<(u32, Word)> {
        if self.has_own
            && let Some(lease) = self.take_own()
        {
            return Some(lease);
        }
        if let Some(lease) = self.take_from_batch() {
            return Some(lease);
        }
        let taken = self.submitted.take(|slot| self.lease(slot), |slot| self.fetch(slot));
        taken.or_else(|| self.take_of_others())
    }

    /// Takes one of those that it has made ready itself.
    #[inline(never)]
    fn take_own(&mut self) -> Option<(u32, Word)> {
        let taken = self.own.take(|slot| self.lease(slot), |slot| self.fetch(slot));
        self.has_own = taken.is_some() || self.own.has_some();
        taken
    }

    #[inline(never)]
    fn take_of_others(&self) -> Option<(u32, Word)> {
        let mut others = self.others.iter();
        others.find_map(|queue| queue.take(|slot| self.lease(slot), |slot| self.fetch(slot)))
    }

    /// Takes one of the submitter's, where many tasks wait for several workers.
    #[inline(always)]
    fn take_from_batch(&self) -> Option<(u32, Word)> {
        let batches = self.batches?;
        let mut batch = self.batch.take();
        let taken = batches.take(&mut batch, |slot| self.lease(slot), |slot| self.fetch(slot));
        self.batch.set(batch);
        taken
    }

    /// While tasks stream in: lets some more come, and reads only what is not written meanwhile.
    #[cold]
    fn look_away(&self) {
        let control = self.arena.control();
        let end = monotonic_ns() + AWAY_NS;
        while !(self.pinned.has_some() | self.urgent.has_some() | self.groups.visible())
            && control.host_waits.load(Relaxed) | control.shutdown.load(Relaxed) == 0
            && monotonic_ns() < end
        {
            std::hint::spin_loop();
        }
    }

    /// Takes a task from a set, oldest slot first.
    fn take_from(&self, set: Bitmap<'a>) -> Option<(u32, Word)> {
        set.find(|slot| {
            let lease = self.lease(slot);
            if lease.is_some() || !self.table.slot(slot).load().is(Phase::Ready) {
                set.remove(slot, || self.is_for_me(slot));
            } else if !self.eligible(self.descriptors.route(slot)) {
                // A stale bit: the slot serves a task of another kind by now.
                set.remove(slot, || self.is_for_me(slot));
            }
            lease
        })
    }

    fn is_for_me(&self, slot: u32) -> bool {
        self.table.slot(slot).load().is(Phase::Ready) && self.eligible(self.descriptors.route(slot))
    }

    #[inline(always)]
    fn eligible(&self, route: Route) -> bool {
        route.kind == self.kind as u8
            && (route.target == ANYWHERE || route.target == self.me)
            && !route.has(GROUP)
    }

    /// Leases the slot, if it is ready and meant for this worker. The task descriptor is looked at
    /// before (it may be another lap's) and again after the lease, when it stands still.
    #[inline(always)]
    fn lease(&self, slot: u32) -> Option<(u32, Word)> {
        let slot = slot & (self.table.window() - 1); // an overwritten queue entry names some slot
        // Slot and task descriptor are two misses; let them come at the same time.
        prefetch_write(self.table.slot(slot));
        let seen = self.descriptors.packed_route(slot);
        if seen != self.usual && !self.eligible(seen.unpack()) {
            return None;
        }
        let word = self.table.slot(slot).take(self.me)?;
        let route = self.descriptors.packed_route(slot);
        if route != seen && !self.eligible(route.unpack()) {
            self.give_back(slot, word, route.unpack());
            return None;
        }
        Some((slot, word))
    }

    #[cold]
    fn give_back(&self, slot: u32, word: Word, route: Route) {
        let cell = self.table.slot(slot);
        let back = if route.has(GROUP) {
            // Those who had joined saw it taken and went away: their words must not count. Those
            // who sleep over it look again.
            let attempt = cell.attempt(word);
            let back = cell.revoke(word, Phase::Ready).is_some();
            let head = self.descriptors.head(slot);
            if let Some(area) = self.arena.group(&head).filter(|_| back && head.has(GROUP)) {
                wake_members(self.arena, &area, attempt, Some(self.me));
            }
            back
        } else {
            cell.give_back(word)
        };
        if back {
            // Its real takers may have passed its entry while we held it.
            Publisher::supervisor(self.arena).suggest(slot, route);
        }
    }

    // ---- running ----------------------------------------------------------------------------

    /// Runs a leased task: the usual one at once, any other one elsewhere.
    #[inline(always)]
    fn run_single(&mut self, worker: &mut dyn Worker, index: u32, word: Word) {
        let slot = self.table.slot(index);
        let usual = self.descriptors.packed_route(index).as_run() == self.usual.as_run()
            && slot.failed_root() == NO_FAILED_ROOT
            && !word.cancelled();
        if !usual {
            return self.run_unusual(worker, index, word);
        }
        // SAFETY: the lease is held until the task is completed, after the call; nothing of the task
        // was spilled.
        let InlineCall { seq, callable, config, args } =
            unsafe { self.descriptors.inline_call(index) };
        let lease = Lease { index, slot, word, seq };
        let result = self.call(worker, &lease, (callable, args, &config), 0, None);
        self.end(&lease, result);
    }

    /// The same for a task with a failed producer, without a body, cancelled, with something to see to
    /// before its body, or whose times are written down.
    #[cold]
    #[inline(never)]
    fn run_unusual(&mut self, worker: &mut dyn Worker, index: u32, word: Word) {
        let head = self.descriptors.head(index);
        let slot = self.table.slot(index);
        let lease = Lease { index, slot, word, seq: head.seq };
        let failed_root = slot.failed_root();
        if failed_root != NO_FAILED_ROOT {
            self.finish_rare(&lease, Some(failed_root));
        } else if head.has(FAN_IN) {
            self.finish_rare(&lease, None);
        } else if slot.load().cancelled() {
            self.fail(&lease, Code::Cancelled, &Words::default());
        } else {
            let result = self.prepare_and_call(worker, &lease, &head, 0, None);
            self.end(&lease, result);
        }
    }

    /// Completes a single task whose body has ended like this.
    #[inline(always)]
    fn end(&mut self, lease: &Lease<'a>, result: Result<(), Box<Failure>>) {
        if result.is_ok() && lease.slot.complete_alone(lease.word) {
            return;
        }
        // A body that was told to stop is not asked how it went.
        if result.is_ok() && !lease.slot.load().cancelled() {
            self.finish(lease, None);
        } else {
            self.end_badly(*lease, result);
        }
    }

    #[cold]
    fn end_badly(&mut self, lease: Lease<'a>, result: Result<(), Box<Failure>>) {
        match result {
            Err(failure) if !lease.slot.load().cancelled() => {
                self.fail(&lease, failure.code, &failure.words);
            }
            _ => self.fail(&lease, Code::Cancelled, &Words::default()),
        }
    }

    /// Calls the body of a task or of one member, with what its descriptor says.
    fn prepare_and_call(
        &mut self,
        worker: &mut dyn Worker,
        lease: &Lease<'a>,
        head: &Head,
        member: u16,
        group: Option<&GroupContext<'a>>,
    ) -> Result<(), Box<Failure>> {
        // SAFETY: the lease is held until `finish`, after the call.
        let args = unsafe { self.descriptors.args(lease.index, head, member) };
        if head.has(IMPORTED | SNAPSHOT) {
            self.prepare(head, args.tensors())?;
        }
        let began = self.times.map(|times| times.begin(self.me, lease.seq, member));
        let call = (head.callable, args, &head.config);
        let result = self.call(worker, lease, call, head.deadline_us, group);
        if let (Some(times), Some(began)) = (self.times, began) {
            let attempt = lease.word.attempt() + 1;
            let failed = result.is_err();
            times.end(self.me, Ran { seq: lease.seq, began, ended: 0, member, attempt, failed });
        }
        result
    }

    /// Calls a body, and says before and after it that this worker is inside.
    #[inline(always)]
    fn call(
        &mut self,
        worker: &mut dyn Worker,
        lease: &Lease<'a>,
        (callable, args, config): (u64, TaskArgsView<'_>, &CallConfig),
        deadline_us: u32,
        group: Option<&GroupContext<'a>>,
    ) -> Result<(), Box<Failure>> {
        let entry = self.entry;
        entry.started.store(started_word(lease.index, lease.word), Release);
        // No store of the body may come before it, not even in the compiler's order.
        compiler_fence(SeqCst);
        if deadline_us != 0 {
            self.set_deadline(deadline_us);
        }
        let context = TaskContext {
            worker: WorkerId(self.me),
            task: TaskId(lease.seq),
            slot: Some(lease.slot),
            lease: lease.word,
            group,
        };
        entry.enter(BODY);
        let result = match guard(|| worker.run(callable, args, config, &context)) {
            Ok(Ok(())) => Ok(()),
            failed => Err(self.describe(worker, lease.seq, failed)),
        };
        entry.enter(0);
        if deadline_us != 0 {
            entry.deadline.store(0, SeqCst);
        }
        entry.ran.store(entry.ran.load(Relaxed).wrapping_add(1), Relaxed);
        result
    }

    #[cold]
    fn set_deadline(&self, deadline_us: u32) {
        let end = monotonic_ns() + u64::from(deadline_us) * 1000;
        let alarm = Alarm::new(&self.arena.control().next_look);
        if alarm.enter(&self.entry.deadline, end) {
            self.wakeup.notify();
        }
    }

    /// Why a body failed. The text of an error is the user's code as well.
    #[cold]
    fn describe(
        &self,
        worker: &dyn Worker,
        seq: u64,
        failed: Result<Result<(), BoxError>, String>,
    ) -> Box<Failure> {
        let words = failed.and_then(|result| match result {
            Ok(()) => Ok(Words::default()),
            Err(error) => guard(|| {
                let error = error;
                Words::of(worker, error.as_ref())
            }),
        });
        Box::new(match words {
            Ok(words) => Failure { code: Code::Error, words },
            Err(text) => {
                panics::tell(&format!("task {seq} on worker {}", self.me), &text);
                Failure { code: Code::Panic, words: Words::new(text) }
            }
        })
    }

    /// What a task needs before its body: later memory is mapped, a snapshot made or restored.
    #[cold]
    fn prepare(&mut self, head: &Head, tensors: &[ContinuousTensor]) -> Result<(), Box<Failure>> {
        let entry = self.entry;
        entry.enter(PREPARING);
        let mapped = match head.has(IMPORTED) {
            true => self.imports.ensure(self.arena, tensors),
            false => Ok(()),
        };
        if mapped.is_ok() && head.has(SNAPSHOT) {
            self.snapshot(head);
        }
        entry.enter(0);
        mapped.map_err(|why| Box::new(Failure { code: Code::Error, words: Words::new(why) }))
    }

    /// Saves the ranges of a task before its first body, or restores them before another one. The
    /// seal is set when all is saved and before the body is begun, so it says which of the two.
    fn snapshot(&self, head: &Head) {
        // SAFETY: the caller holds the lease.
        let Some((seal, ranges)) = (unsafe { self.descriptors.saved(head) }) else { return };
        let seal: *mut u64 = std::ptr::with_exposed_provenance_mut(seal as usize);
        let pointer =
            |address: u64| -> *mut u8 { std::ptr::with_exposed_provenance_mut(address as usize) };
        // SAFETY: the submitter checked that the ranges lie in the arena and allocated the
        // copies; the lease (and the fence of the former holder) makes them ours alone.
        unsafe {
            let sealed = seal.read_volatile() == head.seq + 1;
            for SavedRange { address, len, copy } in ranges {
                let (from, to) = if sealed { (copy, address) } else { (address, copy) };
                pointer(to).copy_from_nonoverlapping(pointer(from), len as usize);
            }
            std::sync::atomic::fence(Release);
            seal.write_volatile(head.seq + 1);
        }
    }

    /// Completes the task as the root of a failure.
    fn fail(&mut self, lease: &Lease<'a>, code: Code, words: &Words) {
        self.record(lease, code, words, u16::MAX);
        self.finish_rare(lease, Some(code.failed_root(lease.seq)));
    }

    /// Writes down why the task (or its member) failed.
    fn record(&self, lease: &Lease<'a>, code: Code, words: &Words, member: u16) {
        let seq = lease.seq;
        let attempt = lease.slot.attempt(lease.word);
        let detail = words.detail;
        let origin = Origin { seq, worker: self.me, attempt, code, member, detail };
        self.arena.write_error(lease.index, origin, &words.text);
    }

    /// Completes, releases, retires.
    #[inline(always)]
    fn finish(&mut self, lease: &Lease<'a>, failed_root: Option<u64>) {
        if !self.try_finish(lease, failed_root) {
            self.superseded(*lease);
        }
    }

    /// The same where there is no hurry.
    #[cold]
    #[inline(never)]
    fn finish_rare(&mut self, lease: &Lease<'a>, failed_root: Option<u64>) {
        self.finish(lease, failed_root);
    }

    /// The same, without a word when the lease was taken away. True when it was not.
    #[inline(always)]
    fn try_finish(&mut self, lease: &Lease<'a>, failed_root: Option<u64>) -> bool {
        let table = self.table;
        let me = self.me;
        let done = table
            .finish(lease.slot, lease.word, me, failed_root, |released| self.released(released));
        if done == Some(true) {
            self.arena.notify_host();
        }
        done.is_some()
    }

    /// A consumer waits for nobody any more: keep the first one, give the others to all.
    #[inline(always)]
    fn released(&mut self, released: Released) {
        let Released { slot, generation } = released;
        let route = self.descriptors.route(slot);
        let consumer = self.table.slot(slot);
        if self.successor.is_none() && self.chain < MAX_CHAIN && self.eligible(route) {
            if let Some(word) = consumer.take_pending(self.me, generation) {
                // It runs as soon as this walk is over: fetch what it will read first.
                self.descriptors.lines(slot).into_iter().for_each(prefetch_read);
                if word.head() != 0 {
                    prefetch_read(self.table.edge(word.head() - 1));
                }
                self.chain += 1;
                self.successor = Some((slot, word));
            }
        } else if consumer.make_ready(self.me, generation) {
            self.has_own = true;
            self.publisher.suggest(slot, route);
        }
    }

    /// The lease was taken away (a deadline). A process takes nothing more and waits for its end;
    /// a thread cannot be ended, so it completes the task itself, as failed.
    #[cold]
    fn superseded(&mut self, lease: Lease<'a>) {
        let entry = self.entry;
        entry.superseded.fetch_add(1, Relaxed);
        let slot = lease.slot;
        let condemned = lease.word.with_phase(Phase::Condemned);
        if matches!(self.place, Place::Process { .. }) {
            return self.await_end();
        }
        self.record(&lease, Code::Deadline, &Words::new(DEADLINE.to_owned()), u16::MAX);
        if let Some(word) = slot.fail_dead(condemned) {
            let failed_root = Code::Deadline.failed_root(lease.seq);
            let table = self.table;
            table.walk(word.head(), Some(failed_root), |released| self.released(released));
            if slot.retire(word.generation()) {
                self.arena.notify_host();
            }
        }
    }

    /// In a process: waits for the kill that is on its way. If none comes, nobody has taken the
    /// lease: the word that said whose it is was overwritten, and the supervisor is told so.
    fn await_end(&self) {
        if let Place::Process { progress, .. } = self.place {
            std::thread::sleep(ENDED);
            progress.reach(self.me, StartStep::Dispossessed);
            output::flush();
            process::exit_now(96);
        }
    }

    // ---- groups -----------------------------------------------------------------------------

    /// Joins the assembling group, or lets the oldest ready one assemble. True when something was
    /// done; false when there is no place for this worker.
    fn try_group(&mut self, worker: &mut dyn Worker) -> bool {
        let Some(group) = self.groups.candidate() else { return false };
        let slot = self.table.slot(group.slot);
        if group.word.cancelled() || slot.failed_root() != NO_FAILED_ROOT {
            return self.refuse(&group);
        }
        let Some(area) = self.arena.group(&group.head) else { return false };
        match self.groups.assemble(&group, &area) {
            Some(Assembly::Start { index, word, attempt }) => {
                self.run_member(worker, &group, &area, index, (word, attempt));
                self.after_group = true;
                true
            }
            Some(Assembly::Refuse(word)) => self.refuse(&Candidate { word, ..group }),
            Some(Assembly::Condemned { evicted }) => {
                if evicted {
                    self.await_end();
                }
                self.report_trouble();
                true
            }
            Some(Assembly::Over) => true,
            None => false,
        }
    }

    /// Completes a cancelled group, or one with a failed producer, without running it.
    fn refuse(&mut self, group: &Candidate) -> bool {
        let slot = self.table.slot(group.slot);
        let Some(word) = slot.start(group.word, self.me) else { return true };
        self.groups.forget(group);
        let lease = Lease { index: group.slot, slot, word, seq: group.head.seq };
        match slot.failed_root() {
            NO_FAILED_ROOT => self.fail(&lease, Code::Cancelled, &Words::default()),
            failed_root => self.finish_rare(&lease, Some(failed_root)),
        }
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
        let lease = Lease { index: group.slot, slot, word, seq: group.head.seq };
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
        let head = &group.head;
        let result = self.prepare_and_call(worker, &lease, head, index as u16, Some(&context));
        if let Err(failure) = &result
            && !area.aborted(attempt)
        {
            // The first member that fails speaks for the group; the others are told to stop, and
            // the supervisor sees to it that they do.
            let code = if slot.load().cancelled() { Code::Cancelled } else { failure.code };
            self.record(&lease, code, &failure.words, index as u16);
            area.abort(attempt);
            wake_members(self.arena, area, attempt, Some(self.me));
            self.report_trouble();
        }
        if !area.done(index, self.me, attempt, result.is_ok()) {
            self.await_end(); // evicted: the supervisor kills this worker now
            return;
        }
        // Who waits at a barrier looks whether we have been there; `done` has fenced.
        wake_sleeping_members(self.arena, area, attempt, Some(self.me));
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
        self.arena.control().trouble.store(1, SeqCst);
        self.wakeup.notify();
    }

    // ---- sleeping -----------------------------------------------------------------------------

    fn anything_visible(&self) -> bool {
        self.pinned.has_some()
            || self.urgent.has_some()
            || self.groups.visible()
            || self.own.has_some()
            || self.submitted.has_some()
            || self.others.iter().any(ReadyQueue::has_some)
            || self.arena.control().shutdown.load(Acquire) != 0
    }

    /// Sleeps until it is unparked. True if it was.
    fn park(&mut self) -> bool {
        output::flush(); // of the bodies before: one takes less time than this
        let entry = self.entry;
        let parked = self.arena.parked(self.kind);
        entry.idles();
        parked.announce(self.me, &entry.parker);
        self.arena.fence_wakers();
        let mut unparked = false;
        if !self.anything_visible() {
            entry.slept.store(entry.slept.load(Relaxed).wrapping_add(1), Relaxed);
            while entry.parker.load(Acquire) == parker::ASLEEP {
                self.imports.release_stale(self.arena);
                futex::wait(&entry.parker, parker::ASLEEP, Some(RECHECK));
                entry.idles();
                if self.anything_visible() {
                    break;
                }
            }
            unparked = entry.parker.load(Acquire) == parker::UNPARKED;
        }
        parked.retract(self.me, &entry.parker);
        unparked
    }
}
