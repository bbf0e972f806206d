//! Deadlocks: waits of bodies that would never end, how they are found in the table and ended.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::answering::end_wait;
use super::follow_up::follow_up;
use super::pending::pending;
use super::placing::actor_runs;
use crate::driver::parts::deadlock_graph::{Claim, Graph, Node, Reach, Wait};
use crate::driver::parts::quantities::{ClassId, Spot};
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, Phase};
use crate::protocol::error::Error;

/// Tasks that a message names.
const NAMED: usize = 12;

/// The part of the table that matters, as a graph, and which object each node is.
#[derive(Default)]
struct Picture {
    graph: Graph,
    objects: Vec<Index>,
    by_object: HashMap<Index, usize>,
    pools: HashMap<Pool, usize>,
    claims: HashMap<ClassId, Option<usize>>,
    /// Actors whose queues were looked at, and what stands before each call there.
    actors: HashSet<u32>,
    before: HashMap<Index, Option<Index>>,
    open: Vec<Index>,
}

/// What may run out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Pool {
    Processes,
    /// Of a worker, or of a bundle on it.
    Label(usize, Option<(u64, usize)>, u16),
}

/// Ends waits that never would. When to look again.
pub(crate) fn end_stuck_waits(state: &mut State, now: Instant) -> Option<Instant> {
    let due = state.watch.due(state.processes.blocked())?;
    if now < due {
        return Some(due);
    }
    let victims = stuck(state);
    state.watch.looked(now);
    for (place, which, why) in victims {
        // What it returns now may end others' waits, so each is looked at as it is then.
        let wait = state.processes.at(place).waits.get(which);
        if wait.is_some_and(|wait| wait.until.is_none()) {
            tracing::warn!(why, "a wait would never end");
            end_wait(state, place, which, Err(Error::Deadlock(why)));
            follow_up(state);
        }
    }
    None
}

/// Waits that can never end, and why: as few as let all others go on, the newest first.
fn stuck(state: &State) -> Vec<(u16, usize, String)> {
    let waiting = state.processes.busy_ones().filter(|(_, process)| !process.waits.is_empty());
    let bodies = waiting.filter_map(|(place, process)| Some((place, process.body()?)));
    let mut bodies: Vec<(u16, Index)> = bodies.collect();
    if bodies.is_empty() {
        return Vec::new();
    }
    let picture = picture(state);
    let mut reach = Reach::new(&picture.graph);
    let mut victims = Vec::new();
    bodies.sort_by_key(|(_, index)| std::cmp::Reverse(state.objects.at(*index).number));
    loop {
        let node = |index: &Index| picture.by_object[index];
        let dead = bodies.iter().filter(|(_, index)| !reach.is_live(node(index)));
        let dead: Vec<(u16, Index)> = dead.copied().collect();
        // One whose own wait is the reason goes before those that wait for it.
        let direct = |(_, index): &&(u16, Index)| {
            blocking(state, &picture, &reach, *index)
                .is_some_and(|(_, reason)| reach.lacks_resources(node(&reason)))
        };
        let chosen = dead.iter().find(direct).or(dead.first());
        let Some(&(place, index)) = chosen else { return victims };
        if let Some((which, _)) = blocking(state, &picture, &reach, index) {
            let why = why_stuck(state, &picture, &reach, index);
            victims.push((place, which, why));
        }
        reach.free(node(&index));
    }
}

/// Which wait of a body never ends, and the first task on its way that is not just after
/// others: one that lacks resources, or whose body waits.
fn blocking(
    state: &State,
    picture: &Picture,
    reach: &Reach<'_>,
    body: Index,
) -> Option<(usize, Index)> {
    let place = match state.objects.task(body)?.phase {
        Phase::Posted { place, .. } => place,
        _ => return None,
    };
    let waits = &state.processes.at(place).waits;
    let which = waits.iter().position(|wait| wait.until.is_none())?;
    let dead =
        |index: &Index| picture.by_object.get(index).is_some_and(|&node| !reach.is_live(node));
    let mut at = waits[which].ids.iter().copied().find(|index| dead(index))?;
    for _ in 0..picture.objects.len() {
        let node = &picture.graph.nodes[picture.by_object[&at]];
        let before = node.after.iter().map(|&before| picture.objects[before]);
        match before.into_iter().find(|index| dead(index)) {
            Some(next) if node.waits.is_empty() => at = next,
            _ => break,
        }
    }
    Some((which, at))
}

/// Who waits for whom, in words.
fn why_stuck(state: &State, picture: &Picture, reach: &Reach<'_>, body: Index) -> String {
    let name = |index: Index| {
        format!("`{}` (task {})", state.objects.name_of(index), state.objects.at(index).number)
    };
    let mut text = name(body);
    let mut seen = vec![body];
    let mut at = body;
    loop {
        let dead = |&node: &usize| !reach.is_live(node);
        let node = &picture.graph.nodes[picture.by_object[&at]];
        let waits = node.waits.iter().flat_map(|wait| &wait.of);
        let next = node.after.iter().chain(waits).copied().find(dead);
        let next = match next {
            Some(next) => picture.objects[next],
            None => {
                // It lacks resources: who has them?
                text += &format!(", which {}", lack(state, at));
                let wants = node.wants.map(|wants| &picture.graph.claims[wants]);
                let pools: Vec<usize> =
                    wants.into_iter().flatten().flatten().map(|(pool, _)| *pool).collect();
                let holds = |node: &Node| {
                    node.holds.iter().any(|(pool, _)| *pool > 0 && pools.contains(pool))
                };
                let mut nodes = (0..).zip(&picture.graph.nodes);
                if let Some((holder, _)) = nodes.find(|(at, node)| dead(at) && holds(node)) {
                    text += &format!("; {} holds it and waits", name(picture.objects[holder]));
                }
                return text;
            }
        };
        text += &format!(" waits for {}", name(next));
        if seen.contains(&next) || seen.len() > NAMED {
            return text;
        }
        seen.push(next);
        at = next;
    }
}

fn lack(state: &State, index: Index) -> String {
    let pending = pending(state, index);
    match pending {
        crate::protocol::pending::Pending::NoProcess { limit } => format!(
            "needs a process, and all {limit} processes have bodies that wait; allow more with max_processes(..), or nest less deep"
        ),
        other => other.to_string(),
    }
}

fn picture(state: &State) -> Picture {
    let mut picture = Picture::default();
    let (taken, places) = state.processes.taken();
    let leaving = state.processes.all().filter(|(_, process)| process.doom.is_some());
    let free = places - taken + state.processes.idle() + leaving.count();
    picture.pools.insert(Pool::Processes, 0);
    picture.graph.free.push(free as i64);
    for (_, process) in state.processes.busy_ones() {
        if let Some(body) = process.body() {
            picture.node(body);
        }
    }
    while let Some(index) = picture.open.pop() {
        let node = node_of(state, &mut picture, index);
        let at = picture.by_object[&index];
        picture.graph.nodes[at] = node;
    }
    // Idle actors, groups and whatever else holds something: that may still come.
    for (_, process) in state.processes.all() {
        if process.body().is_none()
            && let Some(lease) = process.lease
        {
            let held = labels_at(state, &mut picture, lease.spot, lease.class);
            held.into_iter().for_each(|(pool, n)| picture.graph.free[pool] += n);
        }
    }
    picture
}

fn node_of(state: &State, picture: &mut Picture, index: Index) -> Node {
    let mut node = Node::default();
    let Some(task) = state.objects.task(index) else { return node };
    let pending = |index: &Index| state.objects.is_pending(*index);
    if task.remaining > 0 {
        let before = task.needed().iter().filter(|index| pending(index));
        node.after = before.map(|&index| picture.node(index)).collect();
    }
    match task.phase {
        Phase::Posted { place, seq } => {
            let process = state.processes.at(place);
            let oldest = process.oldest();
            if process.doom.is_some() {
                return Node::default();
            }
            if let Some((_, first)) = oldest.filter(|(oldest, _)| *oldest != seq) {
                node.after.push(picture.node(first));
                return node;
            }
            node.after.clear(); // it has them
            if !process.has_timed_wait() && !process.waits_for_memory() {
                for wait in &process.waits {
                    let of: Vec<Index> = wait.ids.iter().copied().filter(pending).collect();
                    let there = wait.ids.len() - of.len();
                    let need = if wait.needs_all() { of.len() } else { wait.need - there };
                    let of = of.iter().map(|&index| picture.node(index)).collect();
                    node.waits.push(Wait { need, of });
                }
            }
            if process.actor.is_none() {
                node.holds.push((0, 1));
            }
            if let Some(lease) = process.lease {
                node.holds.extend(labels_at(state, picture, lease.spot, lease.class));
            }
        }
        Phase::AtActor => {
            let Some((actor, _)) = task.actor else { return node };
            if state.actors.why_dead(actor).is_some() {
                return Node::default();
            }
            if picture.actors.insert(actor) {
                picture.before.extend(state.actors.queued(actor, &state.objects));
            }
            // The call that it runs, or the one that makes it; and its caller's one before.
            let before = picture.before.get(&index).copied().flatten();
            let before = actor_runs(state, actor).into_iter().chain(before);
            node.after.extend(before.map(|index| picture.node(index)));
        }
        Phase::Finding => {} // the disk answers
        Phase::Backoff | Phase::Queued | Phase::Waiting => {
            node.wants = claim_of(state, picture, task.class);
        }
    }
    node
}

/// What tasks of a class need; `None` if nobody can say: workers may still come that have it.
fn claim_of(state: &State, picture: &mut Picture, class: ClassId) -> Option<usize> {
    if let Some(&known) = picture.claims.get(&class) {
        return known;
    }
    let demand = &state.scheduler.class(class).demand;
    let spots = state.scheduler.spots_for(class);
    let choices: Option<Vec<Claim>> = spots.map(|spots| {
        let claim = |spot: &Spot| {
            let mut claim = vec![(0, 1)];
            for &(label, amount) in &demand.labels {
                claim.push((pool_of(state, picture, *spot, label), amount));
            }
            claim
        };
        spots.iter().map(claim).collect()
    });
    let number = choices.map(|choices| {
        picture.graph.claims.push(choices);
        picture.graph.claims.len() - 1
    });
    picture.claims.insert(class, number);
    number
}

/// What a lease gives back: to its bundle, and for all one knows to the worker, if the driver
/// drops the group.
fn labels_at(state: &State, picture: &mut Picture, spot: Spot, class: ClassId) -> Claim {
    let labels = &state.scheduler.class(class).demand.labels;
    let mut claim = Claim::new();
    for &(label, n) in labels {
        claim.push((pool_of(state, picture, spot, label), n));
        if spot.bundle.is_some() {
            claim.push((pool_of(state, picture, Spot { bundle: None, ..spot }, label), n));
        }
    }
    claim
}

fn pool_of(state: &State, picture: &mut Picture, spot: Spot, label: u16) -> usize {
    // What a group had that was removed is its worker's.
    let there = |&(group, at): &(u64, usize)| state.scheduler.has_bundle(group, at);
    let spot = Spot { bundle: spot.bundle.filter(there), ..spot };
    let Picture { pools, graph, .. } = picture;
    *pools.entry(Pool::Label(spot.worker, spot.bundle, label)).or_insert_with(|| {
        graph.free.push(state.scheduler.free_or_reserved(spot, label));
        graph.free.len() - 1
    })
}

impl Picture {
    fn node(&mut self, index: Index) -> usize {
        *self.by_object.entry(index).or_insert_with(|| {
            self.graph.nodes.push(Node::default());
            self.objects.push(index);
            self.open.push(index);
            self.objects.len() - 1
        })
    }
}
