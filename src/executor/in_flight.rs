//! What is in flight: slots, runs, scopes, slabs, and who wrote and reads which bytes. How room is
//! made for more: wait for what ends by itself, refuse what will not.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

use super::buffer_allocator::HeldBuffers;
use super::profile::Submits;
use super::recording::Untold;
use super::run_state::RunState;
use super::runs::Runs;
use super::shared::Shared;
use super::tasks::Waited;
use super::window::Window;
use crate::error::{Error, PinnedHeap};
use crate::graph::{
    Access, Dependencies, Hazards, Producer, RangeMap, ScopeError, ScopeStack, TensorMap,
};
use crate::ids::{TaskId, WorkerKind};
use crate::limits::{HEAP_ALIGN, HEAP_RINGS, MAX_FAN_IN};
use crate::mailbox::descriptor::Route;
use crate::ring::dist_ring::{Needs, Reservation};
use crate::ring::heap::{HeapRing, Maker, Owner};
use crate::ring::slot::NO_FAILED_ROOT;
use crate::ring::{RingError, Slab};
use crate::segment::{Arena, Settled};

/// Replays of which the map is not told at once, at most.
const MOST_UNTOLD: usize = 16;

/// How long a submit may wait for room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Wait,
    Refuse,
}

/// What a submit works on that names exactly what is known: see [`InFlight::exactly`].
pub(super) struct Exactly<'a> {
    pub(super) window: &'a mut Window,
    pub(super) ranges: &'a mut RangeMap,
    scopes: &'a ScopeStack,
    heaps: &'a [(u64, u64); HEAP_RINGS],
}

impl Exactly<'_> {
    /// Takes slabs for outputs of the next task, which writes all of them: the address of the first,
    /// if there is room right now.
    #[inline(always)]
    pub(super) fn take_slabs(&mut self, parts: &[u64], maker: Maker) -> Option<u64> {
        take_slabs(self.window, self.scopes, self.heaps, parts, true, maker)
    }
}

/// Everything that only the submitter writes.
pub(super) struct InFlight {
    shared: Arc<Shared>,
    window: Window,
    runs: Runs,
    scopes: ScopeStack,
    map: TensorMap,
    /// Replays of which the map has not been told, oldest first: mostly they are through before
    /// anybody asks.
    untold: Vec<Untold>,
    /// Address and bytes of each heap ring.
    heaps: [(u64, u64); HEAP_RINGS],
}

impl InFlight {
    pub(super) fn new(
        shared: Arc<Shared>,
        arena: &'static Arena,
        hazards: Hazards,
    ) -> Result<Self, RingError> {
        Ok(Self {
            window: Window::new(arena)?,
            runs: Runs::new(),
            scopes: ScopeStack::new(),
            map: TensorMap::new(hazards),
            untold: Vec::new(),
            heaps: std::array::from_fn(|ring| arena.heap(ring)),
            shared,
        })
    }

    #[inline]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    #[inline]
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    #[cfg(test)]
    pub(super) fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    #[inline]
    pub(super) fn runs(&self) -> &Runs {
        &self.runs
    }

    #[inline]
    pub(super) fn scopes(&self) -> &ScopeStack {
        &self.scopes
    }

    #[inline]
    pub(super) fn hazards(&self) -> Hazards {
        self.map.hazards()
    }

    // ---- runs and scopes ------------------------------------------------------------------------

    /// Begins a run, in a scope of its own.
    pub(super) fn begin_run(&mut self) -> Result<Arc<RunState>, Error> {
        let run = self.runs.begin(self.window.next());
        self.map.keep_from(u64::MAX);
        debug_assert_eq!(self.scopes.depth(), 0);
        self.begin_scope()?;
        Ok(run)
    }

    /// Nothing more is submitted to the run.
    pub(super) fn close_run(&mut self, run: &RunState) {
        self.end_scopes(0);
        run.close(self.window.next());
        self.shared.submitted.store(self.window.next(), Relaxed);
    }

    pub(super) fn begin_scope(&mut self) -> Result<(), Error> {
        self.scopes.begin(self.window.next()).map_err(scope_error)
    }

    /// Ends the innermost scope.
    pub(super) fn end_scope(&mut self) -> Result<(), Error> {
        self.scopes.end().map(drop).map_err(scope_error)
    }

    /// Ends scopes until `depth` of them are open.
    pub(super) fn end_scopes(&mut self, depth: usize) {
        while self.scopes.depth() > depth {
            let _ = self.scopes.end();
        }
    }

    /// Keeps what is known of a task that has retired as failed.
    pub(super) fn note_failure(&mut self, seq: u64) {
        if self.window.settled(seq) != Settled::Failed {
            return;
        }
        let failed_root = self.window.failed_root(seq);
        if let Some(first) = self.runs.note_failed(seq, failed_root) {
            self.map.keep_from(first);
        }
        let Some(run) = self.runs.of(seq) else { return };
        if let Some(failure) = self.shared.root_failure(seq, run.name(seq)) {
            tracing::warn!(task = seq, %failure, "task failed");
            run.add_root(failure);
        }
    }

    /// Lets retired slots leave the window.
    pub(super) fn reclaim(&mut self) -> Result<(), Error> {
        let mut failed: Vec<u64> = Vec::new();
        let before = self.window.tail();
        let result = self.window.reclaim(&mut failed);
        let tail = self.window.tail();
        if tail == before && result.is_ok() {
            return Ok(());
        }
        for seq in failed {
            self.note_failure(seq);
        }
        self.map.leave(tail);
        self.runs.forget(before..tail);
        self.shared.health.tail.store(tail, Release);
        result.map_err(|word| {
            let why = format!(
                "the slot of {} holds {word:?}, which is invalid; a worker wrote where it must not",
                TaskId(tail)
            );
            self.shared.health.fail(why.clone(), &self.shared.arena);
            Error::Failed(why)
        })
    }

    // ---- dependencies ---------------------------------------------------------------------------

    /// Adds whom a task with these accesses must wait for.
    #[inline]
    pub(super) fn look_up(&mut self, accesses: &mut [Access], deps: &mut Dependencies) {
        self.tell_all();
        self.map.lookup(accesses, deps);
    }

    /// Enters a task that was published without its accesses.
    pub(super) fn enter(&mut self, access: &Access, task: u64) {
        self.tell_all();
        self.map.record(std::slice::from_ref(access), task, self.window.tail());
    }

    /// A replay was submitted: the map is told before it is asked.
    pub(super) fn tell_later(&mut self, replay: Untold) {
        self.forget_finished();
        if self.untold.len() == MOST_UNTOLD {
            self.tell();
        }
        self.untold.push(replay);
    }

    /// What is through makes no difference to anybody, unless something has failed.
    fn forget_finished(&mut self) {
        let tail = self.window.tail();
        if !self.runs.has_failed() {
            self.untold.retain(|replay| replay.end() > tail);
        }
    }

    #[inline(always)]
    fn tell_all(&mut self) {
        if !self.untold.is_empty() {
            self.tell();
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&mut self) {
        self.forget_finished();
        let tail = self.window.tail();
        let finished = if self.runs.has_failed() { 0 } else { tail };
        for replay in std::mem::take(&mut self.untold) {
            for (task, access) in replay.exits().filter(|(task, _)| *task >= finished) {
                self.map.record(std::slice::from_ref(&access), task, tail);
            }
        }
    }

    /// Sees which buffers there are. Who wrote and read where a new one lies is forgotten.
    #[inline]
    pub(super) fn refresh(&mut self, held: &mut HeldBuffers) {
        if !held.is_current(&self.shared.buffers) {
            self.tell_all();
        }
        held.refresh(&self.shared.buffers, |bytes| self.map.erase(bytes));
    }

    /// The ranges of the map, to look at them.
    #[inline(always)]
    pub(super) fn ranges(&self) -> Option<&RangeMap> {
        self.map.ranges()
    }

    /// The slab that holds all of the range: its ring, and its number there.
    pub(super) fn find_slab(&self, bytes: &Range<u64>) -> Option<(usize, usize)> {
        find_slab(&self.window, &self.heaps, bytes)
    }

    /// The slab of that number is held until `task` is through.
    pub(super) fn note_slab(&mut self, (ring, number): (usize, usize), task: u64) {
        if let Some(slab) = self.window.heap(ring).slab(number) {
            slab.note_use(task);
        }
    }

    /// For a submit whose ranges are those of the map, once [all is told](Self::has_told).
    #[inline(always)]
    pub(super) fn exactly(&mut self) -> Option<Exactly<'_>> {
        Some(Exactly {
            window: &mut self.window,
            ranges: self.map.ranges_mut()?,
            scopes: &self.scopes,
            heaps: &self.heaps,
        })
    }

    /// Tells the map all, so that its ranges, where it has some, may be those of a submit. False: a
    /// failure is known that may have to reach the task.
    #[inline(always)]
    pub(super) fn has_told(&mut self) -> bool {
        if self.runs.has_failed() {
            return false;
        }
        self.tell_all();
        true
    }

    /// The window, unless a failure is known that may have to reach a task.
    #[inline]
    pub(super) fn unfailed(&mut self) -> Option<&mut Window> {
        if self.runs.has_failed() { None } else { Some(&mut self.window) }
    }

    /// Producers that may still run, and the failure that is known to reach the task.
    #[inline]
    pub(super) fn find_live(&self, producers: &[Producer], live: &mut Vec<Producer>) -> u64 {
        live.clear();
        let mut failed_root = NO_FAILED_ROOT;
        for &producer in producers {
            // A failure does not reach tasks of a later run.
            let data = producer.data && producer.task >= self.runs.open().first;
            if producer.task >= self.window.tail() {
                live.push(Producer { data, ..producer });
            } else if data && let Some(root) = self.runs.failed_root(producer.task) {
                failed_root = failed_root.min(root);
            }
        }
        failed_root
    }

    /// Takes slots for fan-in nodes, as far as there are more producers than a task can name.
    #[cold]
    pub(super) fn add_fan_in_nodes(&mut self, kind: WorkerKind, live: &mut Vec<Producer>) {
        self.window.add_fan_in_nodes(kind, live);
    }

    /// Has tasks that run nothing wait for what others will have to wait for as well, as far as there
    /// is more room than for `rest`. Whether there are some.
    #[cold]
    pub(super) fn join_many(
        &mut self,
        kind: WorkerKind,
        accesses: &[Access],
        (slots, edges): (u64, u64),
    ) -> bool {
        // The failure of a task that has left the window has to reach those who read what it wrote.
        if self.runs.has_failed() {
            return false;
        }
        let (first, tail, window) = (self.runs.open().first, self.window.tail(), &mut self.window);
        let mut joined = false;
        self.map.join_many(accesses, tail, MAX_FAN_IN, &mut |producers| {
            let in_run = |p: &Producer| Producer { data: p.data && p.task >= first, ..*p };
            let task = window.join(kind, producers.iter().map(in_run).collect(), slots, edges);
            joined |= task.is_some();
            task
        });
        joined
    }

    #[inline]
    pub(super) fn reserve(&mut self, needs: Needs) -> Option<Reservation> {
        self.window.reserve(needs)
    }

    /// Enters a task that was written, under its accesses and its name, and lets it go.
    #[inline]
    pub(super) fn publish(
        &mut self,
        at: &Reservation,
        route: Route,
        accesses: &[Access],
        name: Option<&Arc<str>>,
        producers: &[Producer],
        failed_root: u64,
    ) {
        self.map.record(accesses, at.seq, self.window.tail());
        if let Some(name) = name {
            self.runs.set_name(at.seq, name);
        }
        self.window.publish(at, route, producers, failed_root);
    }

    // ---- slabs ----------------------------------------------------------------------------------

    /// Whether the bytes lie in a slab; if so, it is held until `task` is through.
    #[inline]
    pub(super) fn note_use(&mut self, bytes: &Range<u64>, task: u64) -> bool {
        let Some(slab) = self.slab_of(bytes) else { return false };
        slab.note_use(task);
        true
    }

    /// Takes [`note_use`](Self::note_use) back for a task that was not submitted after all: the one
    /// before it has named the bytes then, which is the most that can be true.
    pub(super) fn unmark(&mut self, bytes: &Range<u64>, task: u64) {
        if let Some(slab) = self.slab_of(bytes)
            && slab.last_use == Some(task)
        {
            slab.last_use = task.checked_sub(1);
        }
    }

    /// Whether the bytes lie in a slab; if so, it is held until the task before `next` is through.
    pub(super) fn hold_slab(&mut self, bytes: &Range<u64>, next: u64) -> bool {
        let Some(slab) = self.slab_of(bytes) else { return false };
        slab.last_use = next.checked_sub(1);
        true
    }

    /// The slab that holds the bytes.
    pub(super) fn home_of(&mut self, bytes: &Range<u64>) -> Option<Range<u64>> {
        let start = bytes.start;
        let heap = self.heaps.iter().find(|(base, size)| (*base..base + size).contains(&start))?.0;
        let slab = self.slab_of(bytes)?;
        let (begin, len) = (slab.begin, slab.len);
        let heaps = self.window.heaps().iter();
        let offset = heaps.zip(self.heaps).find(|(_, (base, _))| *base == heap)?.0.place(begin);
        Some(heap + offset..heap + offset + len)
    }

    fn slab_of(&mut self, bytes: &Range<u64>) -> Option<&mut Slab> {
        let (ring, number) = find_slab(&self.window, &self.heaps, bytes)?;
        self.window.heap(ring).slab(number)
    }

    // ---- room -----------------------------------------------------------------------------------

    /// Makes room in the window and its rings. `needs` is asked again after each wait, since
    /// producers that have finished need no edge any more.
    #[inline]
    pub(super) fn make_room(
        &mut self,
        patience: Patience,
        needs: impl Fn(u64) -> (u64, Needs),
    ) -> Result<(), Error> {
        let (slots, wanted) = needs(self.window.tail());
        if self.window.has_room(slots, wanted) {
            return Ok(());
        }
        self.wait_for_window(patience, needs)
    }

    #[cold]
    fn wait_for_window(
        &mut self,
        patience: Patience,
        needs: impl Fn(u64) -> (u64, Needs),
    ) -> Result<(), Error> {
        let mut timer = Timer::new(self.shared.back_pressure);
        loop {
            let before = self.window.tail();
            self.reclaim()?;
            let (slots, wanted) = needs(self.window.tail());
            if self.window.has_room(slots, wanted) {
                return Ok(());
            }
            if patience == Patience::Refuse {
                return Err(Error::WouldBlock { what: "the slot window", why: self.oldest_task() });
            }
            if self.window.active() == 0 {
                return Err(Error::Failed("an empty window has no room for a task".to_owned()));
            }
            timer.progress(self.window.tail() != before);
            // A quarter of the window at a time, so that a worker wakes us once for many tasks.
            let ahead = self.window.tail() + self.window.slots() / 4;
            let target = ahead.min(self.window.next() - 1);
            tracing::debug!(awaited = target, "back-pressure: slot window full");
            self.await_task(target, &timer, "the slot window")?;
            self.await_task(self.window.tail(), &timer, "the slot window")?;
        }
    }

    /// Takes slabs side by side in the heap ring of this depth, where
    /// [`make_heap_room`](Self::make_heap_room) has made room; the result is the address of the
    /// first. `used` says that the next task names them.
    pub(super) fn take_slabs(
        &mut self,
        parts: &[u64],
        used: bool,
        maker: Maker,
    ) -> Result<u64, Error> {
        let taken = take_slabs(&mut self.window, &self.scopes, &self.heaps, parts, used, maker);
        let Some(address) = taken else {
            return Err(Error::Failed("a heap ring had room and then had none".to_owned()));
        };
        // What is known of these bytes is from an earlier life. (Ranges that the next task writes as
        // a whole are superseded by it anyway; single addresses inside of them are not.)
        self.tell_all();
        if !used || self.map.hazards() == Hazards::Compatible {
            let bytes: u64 = parts.iter().map(|len| len.next_multiple_of(HEAP_ALIGN as u64)).sum();
            self.map.erase(&(address..address + bytes));
        }
        Ok(address)
    }

    /// Takes room for the copies of the next task's snapshot; the result is the address.
    pub(super) fn take_copies(&mut self, bytes: u64) -> Result<u64, Error> {
        let owner = Owner { task: self.window.next(), used: true, ..Owner::default() };
        let taken = self.window.copies().take_parts(&[bytes], &owner);
        let offset = taken.ok_or_else(|| Error::Failed("no room for a snapshot".to_owned()))?;
        Ok(self.shared.arena.copies() + offset)
    }

    /// Makes room for the copies of a snapshot. They are held by their tasks alone, so there always
    /// is something to wait for.
    pub(super) fn make_copy_room(&mut self, bytes: u64, patience: Patience) -> Result<(), Error> {
        let capacity = self.window.copies().capacity();
        if bytes > capacity {
            return Err(RingError::SnapshotTooLarge { bytes, capacity }.into());
        }
        let what = "the ring for copies of snapshots";
        let mut timer = Timer::new(self.shared.back_pressure);
        while !self.window.copies().fits(bytes) {
            let before = self.window.tail();
            self.reclaim()?;
            let tail = self.window.tail();
            self.window.copies().reclaim(|slab| slab.task < tail);
            let Some(oldest) = self.window.copies().oldest().map(|slab| slab.task) else {
                continue;
            };
            if self.window.copies().fits(bytes) {
                break;
            }
            if patience == Patience::Refuse {
                return Err(Error::WouldBlock { what, why: self.oldest_task() });
            }
            timer.progress(tail != before);
            self.await_task(oldest, &timer, what)?;
            self.await_task(tail, &timer, what)?;
        }
        Ok(())
    }

    pub(super) fn make_heap_room(&mut self, bytes: u64, patience: Patience) -> Result<(), Error> {
        let index = self.scopes.heap_ring();
        let capacity = self.window.heap(index).capacity();
        if bytes > capacity {
            return Err(RingError::TooLarge { ring: index, bytes, capacity }.into());
        }
        if self.window.heap(index).fits(bytes) {
            return Ok(());
        }
        let mut timer = Timer::new(self.shared.back_pressure);
        loop {
            let before = self.window.tail();
            self.reclaim()?;
            self.reclaim_heaps();
            let heap = self.window.heap(index);
            if heap.fits(bytes) {
                return Ok(());
            }
            let used = heap.used();
            let Some(oldest) = heap.oldest().cloned() else {
                return Err(Error::Failed("an empty heap ring has no room".to_owned()));
            };
            let own = oldest.last_use.is_some_and(|task| task >= self.window.next());
            let open = self.scopes.is_open(oldest.scope);
            if own || open {
                // Only this thread can close that scope (or withdraw the arguments that name the
                // slab), and it is here: nothing that runs helps.
                return Err(Error::HeapDeadlock(Box::new(PinnedHeap {
                    ring: index,
                    pinned: used,
                    capacity,
                    scope: if open { usize::from(oldest.scope.depth) + 1 } else { 0 },
                    argument: own,
                    bytes,
                    task: TaskId(oldest.task),
                    name: self.maker_name(&oldest.maker),
                    alloc: oldest.maker == Maker::Alloc,
                    oldest_bytes: oldest.bytes(),
                })));
            }
            if patience == Patience::Refuse {
                return Err(Error::WouldBlock { what: "a heap ring", why: self.holder(&oldest) });
            }
            timer.progress(self.window.tail() != before);
            tracing::debug!(ring = index, bytes, "back-pressure: heap ring full");
            // Its scope has closed, so what holds it is the last task that names it.
            let last = oldest.last_use.unwrap_or(oldest.task);
            let why = || self.holder(&oldest);
            self.await_or_say(last, &timer, "a heap ring", why)?;
            if self.window.tail() <= last {
                self.await_or_say(self.window.tail(), &timer, "a heap ring", why)?;
            }
        }
    }

    /// What a slab was made for, in words.
    fn maker_name(&self, maker: &Maker) -> String {
        match maker {
            Maker::Unknown => "unknown".to_owned(),
            Maker::Alloc => "alloc".to_owned(),
            Maker::Task(kind, callable) => self.shared.names.name(*kind, *callable),
            Maker::Named(name) => name.to_string(),
        }
    }

    /// What holds a slab whose scope has closed, in words.
    fn holder(&self, slab: &Slab) -> String {
        let (bytes, name) = (slab.bytes(), self.maker_name(&slab.maker));
        let last = slab.last_use.unwrap_or(slab.task);
        format!(
            "its oldest slab ({bytes} bytes, `{name}`) is held by {} (`{}`); {}",
            TaskId(last),
            self.task_name(last),
            self.oldest_task()
        )
    }

    /// Notes what is submitted from now on.
    pub(super) fn note_submits(&mut self, submits: Arc<Submits>) {
        self.window.note_submits(submits);
    }

    /// Bytes held of each heap ring, for other threads.
    pub(super) fn heaps_shown(&mut self) -> [Arc<AtomicU64>; HEAP_RINGS] {
        self.window.heaps().each_ref().map(HeapRing::shown)
    }

    /// Gives back slabs whose scope has closed and whose last task has left the window.
    pub(super) fn reclaim_heaps(&mut self) {
        let tail = self.window.tail();
        let scopes = &self.scopes;
        for heap in self.window.heaps() {
            heap.reclaim(|slab| {
                !scopes.is_open(slab.scope) && slab.last_use.is_none_or(|task| task < tail)
            });
        }
    }

    fn await_task(&self, seq: u64, timer: &Timer, what: &'static str) -> Result<(), Error> {
        self.await_or_say(seq, timer, what, || self.oldest_task())
    }

    /// Waits for a task; when the time is over, `why` says what holds the ring.
    fn await_or_say(
        &self,
        seq: u64,
        timer: &Timer,
        what: &'static str,
        why: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        self.shared.stall_on(Some(what));
        let waited = self.shared.tasks.wait_settled(seq, timer.until);
        self.shared.stall_on(None);
        match waited {
            Waited::Settled => Ok(()),
            Waited::Failed => self.shared.tasks.check_health(),
            Waited::TimedOut => Err(Error::BackPressure {
                what,
                why: why().into(),
                waited: timer.bound.unwrap_or_default(),
            }),
        }
    }

    /// What holds the window, in words.
    fn oldest_task(&self) -> String {
        let tail = self.window.tail();
        if tail == self.window.next() {
            return "more is asked for than it ever holds".to_owned();
        }
        let phase = self.window.word(tail).phase();
        let doing = phase.map_or_else(|| "in no legal state".to_owned(), |p| format!("{p:?}"));
        format!(
            "{} tasks are in flight, the oldest is {} (`{}`), {}",
            self.window.active(),
            TaskId(tail),
            self.task_name(tail),
            doing.to_lowercase()
        )
    }

    pub(super) fn task_name(&self, seq: u64) -> String {
        if let Some(name) = self.runs.name(seq) {
            return name.to_string();
        }
        let head = self.window.head(seq);
        if head.seq != seq {
            return "a task that is through".to_owned();
        }
        self.shared.names.name(head.route.kind, head.callable)
    }
}

/// Takes slabs side by side in the heap ring of this depth; the address of the first.
#[inline(never)]
fn take_slabs(
    window: &mut Window,
    scopes: &ScopeStack,
    heaps: &[(u64, u64); HEAP_RINGS],
    parts: &[u64],
    used: bool,
    maker: Maker,
) -> Option<u64> {
    let (ring, scope) = (scopes.heap_ring(), scopes.current());
    let owner = Owner { task: window.next(), used, maker, scope };
    Some(heaps[ring].0 + window.heap(ring).take_parts(parts, &owner)?)
}

/// The slab that holds all of the range: its ring, and its number there.
#[inline(never)]
fn find_slab(
    window: &Window,
    heaps: &[(u64, u64); HEAP_RINGS],
    bytes: &Range<u64>,
) -> Option<(usize, usize)> {
    let inside = |&(base, size): &(u64, u64)| base <= bytes.start && bytes.end <= base + size;
    let ring = heaps.iter().position(inside)?;
    let number = window.slabs(ring).find(bytes.start - heaps[ring].0, bytes.end - bytes.start)?;
    Some((ring, number))
}

fn scope_error(error: ScopeError) -> Error {
    match error {
        ScopeError::TooDeep => Error::ScopeDepth,
        ScopeError::NoneOpen => Error::NoScope,
    }
}

/// The user's bound on a wait without progress.
struct Timer {
    bound: Option<Duration>,
    until: Option<Instant>,
}

impl Timer {
    fn new(bound: Option<Duration>) -> Self {
        Self { bound, until: bound.and_then(|b| Instant::now().checked_add(b)) }
    }

    fn progress(&mut self, made: bool) {
        if made {
            *self = Self::new(self.bound);
        }
    }
}
