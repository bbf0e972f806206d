//! Giving memory to bodies, when there is not enough for all.
//!
//! A body that waits for memory lends its cpus, so what frees memory can run. It is given memory as
//! long as enough is left for those before it (see `readiness`); the first may take all there is.
//! When everything waits and nobody but the driver could free any, it is an error, which says who
//! has it.

use std::collections::HashMap;
use std::time::Instant;

use super::answering::{end_memory_wait, lend, respond, told_to_stop};
use super::follow_up::follow_up;
use super::placing::{fail_what_has_no_room, schedule};
use super::recalling::recall_all;
use crate::driver::parts::actors::Actors;
use crate::driver::parts::admission::MemoryWait;
use crate::driver::parts::objects::Objects;
use crate::driver::parts::processes::{Process, Processes};
use crate::driver::parts::ranks::OrderKey;
use crate::driver::parts::state::State;
use crate::driver::parts::store::{BlockId, NoRoom};
use crate::driver::parts::tasks::Index;
use crate::protocol::error::Error;
use crate::protocol::node::short_name;
use crate::protocol::value::OWN_PAGES;
use crate::protocol::wire::Response;

/// Bytes of a bump area, at most: where a worker puts small results without a request.
const BUMP_AREA: u64 = 256 << 10;
/// Holders of memory that an error names.
const NAMED: usize = 4;

/// Which memory may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Give {
    /// As much as can be without harm to those before.
    InTurn,
    /// Whatever there is.
    All,
}

// ---- requests -------------------------------------------------------------------------------

/// A body asks for memory: for a value, or (`shared`) for a block of elements.
pub(crate) fn give_memory(state: &mut State, place: u16, request: u64, bytes: u64, shared: bool) {
    let wait = MemoryWait { place, request, bytes, shared, since: Instant::now() };
    // Small results come from what is set aside for them.
    if wait.is_small() {
        if !give_bump_area(state, &wait) {
            wait_for_memory(state, wait);
        }
        return;
    }
    if let Some(index) = state.processes.body_of(place) {
        let in_all = state.processes.at(place).given + bytes;
        note_result(state, index, in_all);
        if let Some(error) = never_fits(state, place, index, bytes) {
            return respond(state, place, request, Err(error));
        }
    }
    if !state.admission.waits().is_empty() || !try_memory(state, &wait, Give::InTurn) {
        wait_for_memory(state, wait);
    }
}

/// A body has asked for so many bytes in all.
#[inline]
pub(crate) fn note_result(state: &mut State, index: Index, bytes: u64) {
    if let Some(task) = state.objects.task(index) {
        state.nodes.note_result(task.runs, bytes);
    }
}

fn wait_for_memory(state: &mut State, wait: MemoryWait) {
    let MemoryWait { place, request, since, .. } = wait;
    if let Some(error) = told_to_stop(state, place) {
        return respond(state, place, request, Err(error)); // its value does not count
    }
    state.admission.add(wait, &mut state.processes);
    track_order(state, true);
    state.effects.wakeup = true;
    // Its cpus are for those who use values, and so is what stands behind it.
    lend(state, place, true);
    if state.processes.at(place).actor.is_none() {
        recall_all(state, place);
        follow_up(state);
    }
    schedule(state);
    serve_memory(state, since);
}

/// Room for an error, at once or not at all.
pub(crate) fn give_urgent(state: &mut State, place: u16, request: u64, bytes: u64) {
    let response = match state.store.take_urgent(bytes) {
        Ok(block) => {
            let (address, len) = state.store.place(block);
            if bytes >= OWN_PAGES {
                state.processes.give(place, block);
            } else {
                state.processes.give_bump_area(place, block, &mut state.store);
            }
            Ok(Response::Room { address, len })
        }
        Err(why) => Err(no_memory(state, bytes, &why)),
    };
    respond(state, place, request, response);
}

/// True when the request was answered.
fn give_bump_area(state: &mut State, wait: &MemoryWait) -> bool {
    let &MemoryWait { place, request, bytes, .. } = wait;
    // Many workers have such areas, and they are not to fill what is set aside.
    let want = (state.store.figures().0 / 256).clamp(bytes, BUMP_AREA.max(bytes));
    let Ok(block) = state.store.take_small(want, bytes) else { return false };
    let (address, len) = state.store.place(block);
    state.processes.give_bump_area(place, block, &mut state.store);
    respond(state, place, request, Ok(Response::Room { address, len }));
    true
}

/// One call may have more in its arguments and its value than there is memory.
fn never_fits(state: &State, place: u16, index: Index, bytes: u64) -> Option<Error> {
    let task = state.objects.task(index)?;
    let inputs: u64 = task.needed().iter().map(|&input| state.objects.in_memory(input)).sum();
    let given = state.processes.at(place).given;
    let (capacity, ..) = state.store.figures();
    if state.store.can_spill() || inputs == 0 || inputs + given + bytes <= capacity {
        return None;
    }
    let why = format!(
        "the values that `{}` takes have {inputs} bytes, which are held until it ends, and all of the memory has {capacity}; raise memory(..), or give a directory to spill(..)",
        task.name()
    );
    Some(Error::Memory { bytes, why })
}

/// Whether so many bytes may be taken by the task at this position of the order (`None`: the
/// driver) and leave enough for those before it.
pub(crate) fn leaves_enough(state: &mut State, bytes: u64, who: Option<(OrderKey, Index)>) -> bool {
    let (capacity, used) = state.store.main_figures();
    if used + bytes <= capacity / 4 && state.admission.waits().is_empty() {
        if used + bytes <= capacity / 8 {
            track_order(state, false);
        }
        return true;
    }
    track_order(state, true);
    state.readiness().leaves_enough(bytes, who)
}

/// Room for a result from the disk, and its address; none while memory is scarce: whoever wants the
/// result computes it again, in turn.
pub(crate) fn room_for_result(state: &mut State, bytes: u64) -> Option<(BlockId, u64)> {
    let main = leaves_enough(state, bytes, None);
    let block = state.store.take(bytes, main).ok()?;
    Some((block, state.store.place(block).0))
}

/// Memory is scarce from now on, or not any more.
fn track_order(state: &mut State, scarce: bool) {
    if scarce == state.objects.order().is_some() {
        return;
    }
    let weights = state.weights();
    let heavy = state.objects.tasks().filter(|(_, task)| !weights.is_light(task));
    let order = scarce.then(|| heavy.map(|(index, _)| index).collect());
    state.objects.set_order(order);
}

/// True when the request was answered.
fn try_memory(state: &mut State, wait: &MemoryWait, give: Give) -> bool {
    let &MemoryWait { place, request, bytes, shared, .. } = wait;
    let body = state.processes.body_of(place);
    let who = body.map(|index| (state.objects.order_key(index), index));
    let main = give == Give::All || leaves_enough(state, bytes, who);
    let block = match state.store.take(bytes, main) {
        Ok(block) => block,
        Err(NoRoom::Now) => return false,
        Err(why @ NoRoom::Ever(_)) => {
            let error = no_memory(state, bytes, &why);
            respond(state, place, request, Err(error));
            return true;
        }
    };
    let (address, len) = state.store.place(block);
    state.processes.note_given(place, bytes);
    let response = if shared {
        let index = state.objects.add_block(block, address, bytes);
        state.processes.keep(place, index);
        Response::Block { id: state.objects.id(index), address }
    } else {
        state.processes.give(place, block);
        Response::Room { address, len }
    };
    respond(state, place, request, Ok(response));
    true
}

// ---- those who wait -------------------------------------------------------------------------

/// Memory was freed: those who wait for it are looked at, without a way through the driver
/// thread.
#[inline]
pub(crate) fn relieve(state: &mut State) {
    if state.admission.is_relieved(state.store.freed()) && state.admission.is_scarce() {
        serve_memory(state, Instant::now());
        follow_up(state);
    }
}

/// Those who wait for memory are served in turn.
pub(crate) fn serve_memory(state: &mut State, now: Instant) {
    let freed = state.store.freed();
    if state.admission.is_relieved(freed) && state.admission.relieve(freed, now) {
        schedule(state);
    }
    if !state.admission.is_scarce() {
        return state.admission.is_enough();
    }
    state.admission.sort(&state.objects, &state.processes);
    if serve_in_order(state, now) {
        state.admission.end_starving();
        schedule(state);
    }
    if !state.admission.waits().is_empty() {
        starve(state, now);
    }
    if state.admission.is_short_for_long(now) {
        fail_what_has_no_room(state, |state, bytes| no_memory(state, bytes, &NoRoom::Now));
    }
}

fn serve_in_order(state: &mut State, now: Instant) -> bool {
    let (mut at, mut any) = (0, false);
    while let Some(&wait) = state.admission.waits().get(at) {
        let first = at == 0
            && state.processes.body_of(wait.place).is_none_or(|index| {
                let order_key = state.objects.order_key(index);
                state.readiness().is_first(order_key, index, wait.bytes)
                    && is_wanted(state, index, now)
            });
        // Not for ever: those before it may be at work for hours.
        let late = at == 0 && state.admission.is_late(&wait, now);
        let give = if first || late { Give::All } else { Give::InTurn };
        let served = match wait.is_small() {
            true => give_bump_area(state, &wait),
            false => try_memory(state, &wait, give),
        };
        if served {
            any = true;
            end_memory_wait(state, at);
        } else {
            at += 1;
        }
    }
    any
}

/// Whether the first in turn should have all there is. One that uses values, or that somebody
/// waits for: at once. Or else nobody misses it, and who will use what is there already may be
/// about to be called: when all has been still for a moment.
fn is_wanted(state: &State, index: Index, now: Instant) -> bool {
    let Some(task) = state.objects.task(index) else { return true };
    task.awaited
        || state.parked > 0
        || !state.objects.at(index).dependents.is_empty()
        || state.weights().uses_much_now(task)
        || state.admission.is_settled(now)
}

/// Nobody could be served. If nobody is at work, those who use values may start, and all is given
/// that there is. If then nobody who holds any could go on, and the driver does not drop refs
/// either, it is an error, however long strangers are at work.
fn starve(state: &mut State, now: Instant) {
    let goes_on_and_frees = |(place, process): (u16, &Process)| {
        let goes_on = process.is_at_work() || process.has_timed_wait();
        goes_on && state.readiness().could_free(place)
    };
    if state.processes.busy_ones().any(goes_on_and_frees) {
        return state.admission.end_starving();
    }
    let still = state.admission.starve(now);
    let strangers = state.readiness().is_any_at_work()
        || state.processes.busy_ones().any(|(_, process)| process.has_timed_wait());
    if strangers && still <= state.admission.patience() {
        return;
    }
    schedule(state);
    if !strangers && state.readiness().is_any_at_work() {
        return;
    }
    for at in 0..state.admission.waits().len() {
        let wait = state.admission.waits()[at];
        let body = state.processes.body_of(wait.place);
        let wanted = body.is_none_or(|index| is_wanted(state, index, now));
        if wanted && !wait.is_small() && try_memory(state, &wait, Give::All) {
            end_memory_wait(state, at);
            state.admission.end_starving();
            return schedule(state);
        }
    }
    let figures = state.store.main_figures();
    let State { admission, objects, processes, actors, .. } = state;
    let by_driver = || held_by_driver(objects, processes, actors).iter().map(|(_, n)| n).sum();
    if admission.is_hopeless(still, figures, by_driver, now) {
        refuse_one(state);
    }
}

/// Refuses the last in turn of those whose end gives something back, or else the last: so those
/// before it may get to their end.
fn refuse_one(state: &mut State) {
    let gives = |wait: &MemoryWait| {
        let body = state.processes.body_of(wait.place);
        let task = body.and_then(|index| state.objects.task(index));
        task.is_some_and(|task| {
            task.needed().iter().any(|&input| state.objects.in_memory(input) > 0)
        })
    };
    let waits = state.admission.waits();
    let at = waits.iter().rposition(gives).unwrap_or(waits.len() - 1);
    let MemoryWait { place, request, bytes, .. } = waits[at];
    let why = who_has_it(state);
    end_memory_wait(state, at);
    respond(state, place, request, Err(Error::Memory { bytes, why }));
}

// ---- in words -------------------------------------------------------------------------------

/// The error of a request for more memory than there is.
pub(crate) fn no_memory(state: &State, bytes: u64, why: &NoRoom) -> Error {
    let why = match why {
        NoRoom::Ever(why) => why.clone(),
        NoRoom::Now => who_has_it(state),
    };
    Error::Memory { bytes, why }
}

/// Values that somebody holds besides tasks, processes and other values, and their bytes: those
/// that the driver holds.
fn held_by_driver(objects: &Objects, processes: &Processes, actors: &Actors) -> Vec<(Index, u64)> {
    let placed = |index: Index| objects.in_memory(index) > 0;
    let mut counts: HashMap<Index, u32> = HashMap::new();
    let mut hold = |index: Index, count: u32| {
        if placed(index) {
            *counts.entry(index).or_default() += count;
        }
    };
    for index in objects.indices() {
        objects.at(index).children.iter().for_each(|&child| hold(child, 1));
        if let Some(task) = objects.task(index) {
            task.held.iter().for_each(|&held| hold(held, 1));
        }
    }
    for (_, process) in processes.all() {
        process.kept.iter().for_each(|(&index, &count)| hold(index, count));
        process.children.iter().for_each(|&index| hold(index, 1));
    }
    for actor in actors.all() {
        actor.held.iter().for_each(|&index| hold(index, 1));
    }
    let all = objects.indices().filter(|&index| {
        placed(index) && objects.at(index).holds > counts.get(&index).copied().unwrap_or(0)
    });
    all.map(|index| (index, objects.in_memory(index))).collect()
}

/// Who holds the memory, in words, and what can be done about it.
fn who_has_it(state: &State) -> String {
    let objects = &state.objects;
    let (capacity, used) = state.store.main_figures();
    let driver = held_by_driver(objects, &state.processes, &state.actors);
    let mut rest: Vec<(Index, u64)> = objects
        .indices()
        .map(|index| (index, objects.in_memory(index)))
        .filter(|(index, bytes)| *bytes > 0 && !driver.iter().any(|(one, _)| one == index))
        .collect();
    let name = |&(index, bytes): &(Index, u64)| {
        let object = objects.at(index);
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
    let waits = state.admission.waits().len();
    if waits > 1 {
        holders.push(format!("{waits} bodies wait for room"));
    }
    format!(
        "{used} of {capacity} bytes are held by values, the largest free piece has {}, and nobody is about to free any: {}; drop refs that are no longer needed, raise memory(..), or give a directory to spill(..)",
        state.store.largest_free(),
        holders.join("; ")
    )
}
