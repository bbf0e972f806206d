//! Admission to the memory for values when there is not enough for all.
//!
//! A body that waits for memory lends its cpus, so what frees memory can run. It is given memory as
//! long as enough is left for those before it (see `order`); the first may take all there is. When
//! everything waits and nobody but the driver could free any, it is an error, which says who has
//! it.

use std::time::{Duration, Instant};

use super::State;
use super::objects::{Index, Value};
use super::order::OrderKey;
use super::store::{BlockId, NoRoom};
use super::tasks::short_name;
use crate::protocol::error::Error;
use crate::protocol::value::OWN_PAGES;
use crate::protocol::wire::Response;

/// Bytes of a bump area, at most: where a worker puts small results without a request.
const BUMP_AREA: u64 = 256 << 10;
/// How long all must have been still before the first in turn, for which nobody waits, is given
/// what was left for those who use values: the driver may be about to call them.
const SETTLED: Duration = Duration::from_millis(20);
/// How long all must have been still before it is said that it will stay so.
const STILL: Duration = Duration::from_millis(100);
/// Holders of memory that an error names.
const NAMED: usize = 4;

/// One who waits for memory.
pub(super) struct MemoryWait {
    pub(super) place: u16,
    request: u64,
    bytes: u64,
    shared: bool,
    since: Instant,
}

/// Which memory may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Give {
    /// As much as can be without harm to those before.
    InTurn,
    /// Whatever there is.
    All,
}

impl State {
    pub(super) fn give_memory(&mut self, place: u16, request: u64, bytes: u64, shared: bool) {
        // Small results come from what is set aside for them.
        if !shared && bytes < OWN_PAGES {
            if !self.give_bump_area(place, request, bytes) {
                self.wait_for_memory(place, request, bytes, shared);
            }
            return;
        }
        if let Some(index) = self.body_of(place) {
            let in_all = self.procs[usize::from(place)].given + bytes;
            self.note_result(index, in_all);
            if let Some(error) = self.never_fits(place, index, bytes) {
                return self.respond(place, request, Err(error));
            }
        }
        if !self.memory_waits.is_empty()
            || !self.try_memory(place, request, bytes, shared, Give::InTurn)
        {
            self.wait_for_memory(place, request, bytes, shared);
        }
    }

    fn wait_for_memory(&mut self, place: u16, request: u64, bytes: u64, shared: bool) {
        if let Some(error) = self.told_to_stop(place) {
            return self.respond(place, request, Err(error)); // its value does not count
        }
        let since = Instant::now();
        self.memory_waits.push_back(MemoryWait { place, request, bytes, shared, since });
        self.track_order(true);
        self.wakeup = true;
        // Its cpus are for those who use values, and so is what stands behind it.
        self.lend(place, true);
        if self.procs[usize::from(place)].actor.is_none() {
            self.recall_all(place);
        }
        self.schedule();
        self.serve_memory(since);
    }

    /// Room for an error, at once or not at all.
    pub(super) fn give_urgent(&mut self, place: u16, request: u64, bytes: u64) {
        let response = match self.store.take_urgent(bytes) {
            Ok(block) => {
                let (address, len) = self.store.place(block);
                if bytes >= OWN_PAGES {
                    self.proc_mut(place).open.push(block);
                } else if let Some(old) = self.proc_mut(place).bump_area.replace(block) {
                    self.store.release(old); // its values have uses of their own
                }
                Ok(Response::Room { address, len })
            }
            Err(why) => Err(self.no_memory(bytes, &why)),
        };
        self.respond(place, request, response);
    }

    fn give_bump_area(&mut self, place: u16, request: u64, bytes: u64) -> bool {
        // Many workers have pockets, and they are not to fill what is set aside.
        let want = (self.store.figures().0 / 256).clamp(bytes, BUMP_AREA.max(bytes));
        let Ok(block) = self.store.take_small(want, bytes) else { return false };
        let (address, len) = self.store.place(block);
        if let Some(old) = self.proc_mut(place).bump_area.replace(block) {
            self.store.release(old);
        }
        self.respond(place, request, Ok(Response::Room { address, len }));
        true
    }

    /// One call may have more in its arguments and its value than there is memory.
    fn never_fits(&self, place: u16, index: Index, bytes: u64) -> Option<Error> {
        let task = self.objects.task(index)?;
        let inputs: u64 = task.needed().iter().map(|&input| self.in_memory(input)).sum();
        let given = self.procs[usize::from(place)].given;
        let (capacity, ..) = self.store.figures();
        if self.store.can_spill() || inputs == 0 || inputs + given + bytes <= capacity {
            return None;
        }
        let why = format!(
            "the values that `{}` takes have {inputs} bytes, which are held until it ends, and all of the memory has {capacity}; raise memory(..), or give a directory to spill(..)",
            self.name_of(index)
        );
        Some(Error::Memory { bytes, why })
    }

    fn in_memory(&self, index: Index) -> u64 {
        match self.objects.at(index).value {
            Value::Placed { len, .. } => len,
            _ => 0,
        }
    }

    /// Whether so many bytes may be taken by the task at this position of the order (`None`: the
    /// driver) and leave enough for those before it.
    pub(super) fn leaves_enough(&mut self, bytes: u64, who: Option<(OrderKey, Index)>) -> bool {
        let (capacity, used) = self.store.main_figures();
        if used + bytes <= capacity / 4 && self.memory_waits.is_empty() {
            if used + bytes <= capacity / 8 {
                self.track_order(false);
            }
            return true;
        }
        self.track_order(true);
        // The driver comes after all who wait.
        let waiting: u64 = match who {
            None => self.memory_waits.iter().map(|wait| wait.bytes).sum(),
            Some(_) => 0,
        };
        let Some(most) = capacity.checked_sub(used + waiting + bytes) else { return false };
        self.left_for_others(who, bytes, most) <= most
    }

    /// True when the ask was answered.
    fn try_memory(
        &mut self,
        place: u16,
        request: u64,
        bytes: u64,
        shared: bool,
        give: Give,
    ) -> bool {
        let who = self.body_of(place).map(|index| (self.order_key(index), index));
        let main = give == Give::All || self.leaves_enough(bytes, who);
        let block = match self.store.take(bytes, main) {
            Ok(block) => block,
            Err(NoRoom::Now) => return false,
            Err(why @ NoRoom::Ever(_)) => {
                let error = self.no_memory(bytes, &why);
                self.respond(place, request, Err(error));
                return true;
            }
        };
        let (address, len) = self.store.place(block);
        self.proc_mut(place).given += bytes;
        let response = if shared {
            let index = self.add_block(block, address, bytes);
            *self.proc_mut(place).kept.entry(index).or_default() += 1;
            Response::Block { id: self.objects.id(index), address }
        } else {
            self.proc_mut(place).open.push(block);
            Response::Room { address, len }
        };
        self.respond(place, request, Ok(response));
        true
    }

    /// A complete object that is a block of elements, with one hold.
    pub(super) fn add_block(&mut self, block: BlockId, address: u64, len: u64) -> Index {
        let index = self.objects.add(0, Value::Placed { block, address, len });
        self.objects.at_mut(index).shared = true;
        index
    }

    /// Memory was freed: those who wait for it are looked at, without a way through the driver
    /// thread.
    #[inline]
    pub(super) fn relieve(&mut self) {
        if self.store.freed != self.freed_seen
            && (!self.memory_waits.is_empty() || self.memory_short)
        {
            self.serve_memory(Instant::now());
        }
    }

    /// Those who wait for memory are served in turn.
    pub(super) fn serve_memory(&mut self, now: Instant) {
        if self.store.freed != self.freed_seen {
            self.freed_seen = self.store.freed;
            self.freed_at = now;
            self.short_since = None;
            // What a refusal has freed does not begin the patience of the others anew.
            if self.refused_at.is_none_or(|at| now.duration_since(at) > SETTLED * 50) {
                self.starved_since = None;
            }
            if std::mem::take(&mut self.memory_short) {
                self.schedule();
            }
        }
        if self.memory_waits.is_empty() && !self.memory_short {
            self.short_since = None;
            return;
        }
        self.sort_waits();
        if self.serve_in_order(now) {
            self.starved_since = None;
            self.schedule();
        }
        if !self.memory_waits.is_empty() {
            self.starve(now);
        }
        if self.memory_short {
            let since = *self.short_since.get_or_insert(now);
            if now.duration_since(since.max(self.freed_at)) > self.patience {
                self.short_since = None;
                self.memory_short = false;
                self.fail_what_has_no_room();
            }
        }
    }

    fn sort_waits(&mut self) {
        let mut waits = std::mem::take(&mut self.memory_waits);
        waits
            .make_contiguous()
            .sort_by_cached_key(|wait| self.body_of(wait.place).map(|index| self.order_key(index)));
        self.memory_waits = waits;
    }

    fn serve_in_order(&mut self, now: Instant) -> bool {
        let (mut at, mut any) = (0, false);
        while let Some(&MemoryWait { place, request, bytes, shared, since }) =
            self.memory_waits.get(at)
        {
            let small = !shared && bytes < OWN_PAGES;
            let first = at == 0
                && self.body_of(place).is_none_or(|index| {
                    let order_key = self.order_key(index);
                    self.is_first(order_key, index, bytes) && self.is_wanted(index, now)
                });
            // Not for ever: those before it may be at work for hours.
            let late = at == 0 && now.duration_since(since) > self.patience;
            let give = if first || late { Give::All } else { Give::InTurn };
            let served = match small {
                true => self.give_bump_area(place, request, bytes),
                false => self.try_memory(place, request, bytes, shared, give),
            };
            if !served {
                at += 1;
                continue;
            }
            any = true;
            self.end_memory_wait(at);
        }
        any
    }

    fn end_memory_wait(&mut self, at: usize) {
        let Some(wait) = self.memory_waits.remove(at) else { return };
        let place = wait.place;
        let more = self.memory_waits.iter().any(|wait| wait.place == place);
        if !more && self.procs[usize::from(place)].waits.is_empty() && !self.is_weightless(place) {
            self.lend(place, false);
        }
    }

    /// Whatever a process waits for is refused.
    pub(super) fn refuse_memory(&mut self, place: u16, error: &Error) {
        while let Some(at) = self.memory_waits.iter().position(|wait| wait.place == place) {
            let request = self.memory_waits[at].request;
            self.end_memory_wait(at);
            self.respond(place, request, Err(error.clone()));
        }
    }

    /// Whether the first in turn should have all there is. One that uses values, or that somebody
    /// waits for: at once. Or else nobody misses it, and who will use what is there already may be
    /// about to be called: when all has been still for a moment.
    fn is_wanted(&self, index: Index, now: Instant) -> bool {
        let Some(task) = self.objects.task(index) else { return true };
        let uses = task.needed().iter().any(|&input| self.is_large(self.in_memory(input)));
        let settled = self.starved_since.is_some_and(|since| now.duration_since(since) >= SETTLED);
        uses || task.awaited
            || self.parked > 0
            || !self.objects.at(index).dependents.is_empty()
            || settled
    }

    /// Whether any body goes on by itself, or is about to begin.
    pub(super) fn is_any_at_work(&self) -> bool {
        self.busy.iter().any(|&place| self.is_at_work(place))
            || !self.spawns.is_empty()
            || !self.backoff.is_empty()
            || self.workers.iter().any(|worker| worker.starts.next().is_some())
            || self.is_any_starting()
    }

    /// The error of one who cannot be given so much.
    pub(super) fn no_memory(&self, bytes: u64, why: &NoRoom) -> Error {
        let why = match why {
            NoRoom::Ever(why) => why.clone(),
            NoRoom::Now => self.who_has_it(),
        };
        Error::Memory { bytes, why }
    }

    /// Nobody could be served. If nobody is at work, those who use values may start, and all is given
    /// that there is. If then nobody who holds any could go on, and the driver does not drop refs
    /// either, it is an error, however long strangers are at work.
    fn starve(&mut self, now: Instant) {
        let timed = |place: u16| {
            self.procs[usize::from(place)].waits.iter().any(|wait| wait.until.is_some())
        };
        let goes_on = |place: u16| self.is_at_work(place) || timed(place);
        if self.busy.iter().any(|&place| goes_on(place) && self.could_free(place)) {
            self.starved_since = None;
            return;
        }
        let since = *self.starved_since.get_or_insert_with(|| {
            self.driver_bytes = None;
            now
        });
        let still = now.duration_since(since);
        let strangers = self.is_any_at_work() || self.busy.iter().any(|&place| timed(place));
        if strangers && still <= self.patience {
            return;
        }
        self.schedule();
        if !strangers && self.is_any_at_work() {
            return;
        }
        for at in 0..self.memory_waits.len() {
            let MemoryWait { place, request, bytes, shared, .. } = self.memory_waits[at];
            let wanted = self.body_of(place).is_none_or(|index| self.is_wanted(index, now));
            let small = !shared && bytes < OWN_PAGES;
            if wanted && !small && self.try_memory(place, request, bytes, shared, Give::All) {
                self.end_memory_wait(at);
                self.starved_since = None;
                return self.schedule();
            }
        }
        if still < STILL {
            return;
        }
        // Only the driver could free any now, if it has refs to drop.
        let by_driver = match self.driver_bytes {
            Some(known) => known,
            None => *self.driver_bytes.insert(self.held_by_driver()),
        };
        let least = self.memory_waits.iter().map(|wait| wait.bytes).min().unwrap_or(0);
        let (capacity, used) = self.store.main_figures();
        let hopeless = capacity.saturating_sub(used) + by_driver < least;
        if hopeless || still > self.patience {
            self.refused_at = Some(now);
            self.refuse_one();
        }
    }

    /// Whether the end of a body, or what it lets go before, would give memory back.
    fn could_free(&self, place: u16) -> bool {
        let process = &self.procs[usize::from(place)];
        let placed = |index: Index| self.weight(index) > 0;
        let inputs = self.body_of(place).and_then(|index| self.objects.task(index));
        process.given > 0
            || process.kept.keys().any(|&index| placed(index))
            || inputs.is_some_and(|task| task.held.iter().any(|&index| placed(index)))
    }

    /// The last in turn of those whose end gives something back, or else the last: so those before
    /// it may get to their end.
    fn refuse_one(&mut self) {
        let gives = |wait: &MemoryWait| {
            self.body_of(wait.place).is_some_and(|index| {
                let task = self.objects.task(index);
                task.is_some_and(|task| {
                    task.needed().iter().any(|&input| self.in_memory(input) > 0)
                })
            })
        };
        let last = self.memory_waits.iter().rposition(gives);
        let at = last.unwrap_or(self.memory_waits.len() - 1);
        let MemoryWait { place, request, bytes, .. } = self.memory_waits[at];
        let why = self.who_has_it();
        self.end_memory_wait(at);
        self.respond(place, request, Err(Error::Memory { bytes, why }));
    }

    /// Bytes of values that somebody holds besides tasks, processes and other values: the driver.
    fn held_by_driver(&self) -> u64 {
        self.driver_holds().iter().map(|(_, bytes)| bytes).sum()
    }

    fn driver_holds(&self) -> Vec<(Index, u64)> {
        let placed = |index: Index| self.in_memory(index) > 0;
        let mut counts: std::collections::HashMap<Index, u32> = std::collections::HashMap::new();
        let mut hold = |index: Index, count: u32| {
            if placed(index) {
                *counts.entry(index).or_default() += count;
            }
        };
        for index in self.objects.indices() {
            let object = self.objects.at(index);
            object.children.iter().for_each(|&child| hold(child, 1));
            if let Some(task) = &object.task {
                task.held.iter().for_each(|&held| hold(held, 1));
            }
        }
        for process in self.procs.iter().filter(|process| process.used) {
            process.kept.iter().for_each(|(&index, &count)| hold(index, count));
            process.children.iter().for_each(|&index| hold(index, 1));
        }
        for actor in &self.actors {
            actor.held().iter().for_each(|&index| hold(index, 1));
        }
        let all = self.objects.indices().filter(|&index| {
            placed(index) && self.objects.at(index).holds > counts.get(&index).copied().unwrap_or(0)
        });
        all.map(|index| (index, self.in_memory(index))).collect()
    }

    /// Who holds the memory, in words, and what can be done about it.
    pub(super) fn who_has_it(&self) -> String {
        let (capacity, used) = self.store.main_figures();
        let driver = self.driver_holds();
        let mut rest: Vec<(Index, u64)> = self
            .objects
            .indices()
            .map(|index| (index, self.in_memory(index)))
            .filter(|(index, bytes)| *bytes > 0 && !driver.iter().any(|(one, _)| one == index))
            .collect();
        let name = |&(index, bytes): &(Index, u64)| {
            let object = self.objects.at(index);
            match object.number {
                0 => format!("a block of {bytes}"),
                number => match object.node {
                    Some(node) => format!("`{}` (task {number}) {bytes}", short_name(node)),
                    None => format!("task {number} {bytes}"),
                },
            }
        };
        let list = |mut all: Vec<(Index, u64)>| {
            all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
            let more = if all.len() > NAMED {
                format!(", and {} more", all.len() - NAMED)
            } else {
                String::new()
            };
            let total: u64 = all.iter().map(|(_, bytes)| bytes).sum();
            let named: Vec<_> = all.iter().take(NAMED).map(name).collect();
            format!("{total} bytes ({}{more})", named.join(", "))
        };
        rest.sort_unstable();
        let mut holders = Vec::new();
        if !driver.is_empty() {
            holders.push(format!("the driver's refs hold {}", list(driver)));
        }
        if !rest.is_empty() {
            holders.push(format!("tasks and bodies hold {}", list(rest)));
        }
        if self.memory_waits.len() > 1 {
            holders.push(format!("{} bodies wait for room", self.memory_waits.len()));
        }
        format!(
            "{used} of {capacity} bytes are held by values, the largest free piece has {}, and nobody is about to free any: {}; drop refs that are no longer needed, raise memory(..), or give a directory to spill(..)",
            self.store.largest_free(),
            holders.join("; ")
        )
    }
}
