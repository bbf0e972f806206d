//! Deadlocks: waits of bodies that would never end, how they are found in the table and ended.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::State;
use super::actors::Life;
use super::deadlock_graph::{Claim, Graph, Node, Reach, Wait};
use super::objects::Index;
use super::scheduler::{ClassId, Demand, Spot, Supply};
use super::tasks::Phase;
use crate::protocol::error::Error;
use crate::protocol::options::Strategy;

/// How long waits are left alone before they are looked at, and between two looks.
const PAUSE: Duration = Duration::from_millis(30);
/// What a look may cost of the driver thread's time: one part in so many.
const SHARE: u32 = 30;
/// Tasks that a message names.
const NAMED: usize = 12;

/// When to look next.
pub(super) struct Watch {
    /// A wait has begun since the last look.
    pub(super) due: bool,
    not_before: Instant,
}

impl Default for Watch {
    fn default() -> Self {
        Self { due: false, not_before: Instant::now() }
    }
}

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

impl State {
    /// A body has begun to wait: somebody is to look before long whether that can end.
    pub(super) fn watch_waits(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.watch.due, true) {
            self.watch.not_before = self.watch.not_before.max(now + PAUSE);
            self.wakeup = true;
        }
    }

    /// Ends waits that never would. When to look again.
    pub(super) fn end_stuck_waits(&mut self, now: Instant) -> Option<Instant> {
        if self.blocked == 0 {
            self.watch.due = false;
        }
        if !self.watch.due {
            return None;
        }
        if now < self.watch.not_before {
            return Some(self.watch.not_before);
        }
        self.watch.due = false;
        let victims = self.stuck();
        let cost = now.elapsed();
        self.watch.not_before = now + PAUSE.max(cost.saturating_mul(SHARE));
        for (place, which, why) in victims {
            // What it returns now may end others' waits, so each is looked at as it is then.
            if self.procs[usize::from(place)]
                .waits
                .get(which)
                .is_some_and(|wait| wait.until.is_none())
            {
                tracing::warn!(why, "a wait would never end");
                self.end_wait(place, which, Err(Error::Deadlock(why)));
            }
        }
        None
    }

    /// Waits that can never end, and why: as few as let all others go on, the newest first.
    fn stuck(&self) -> Vec<(u16, usize, String)> {
        let mut bodies: Vec<(u16, Index)> = self
            .busy
            .iter()
            .filter(|place| !self.procs[usize::from(**place)].waits.is_empty())
            .filter_map(|&place| Some((place, self.body_of(place)?)))
            .collect();
        if bodies.is_empty() {
            return Vec::new();
        }
        let picture = self.picture();
        let mut reach = Reach::new(&picture.graph);
        let mut victims = Vec::new();
        bodies.sort_by_key(|(_, index)| std::cmp::Reverse(self.objects.at(*index).number));
        loop {
            let node = |index: &Index| picture.by_object[index];
            let dead = bodies.iter().filter(|(_, index)| !reach.is_live(node(index)));
            let dead: Vec<(u16, Index)> = dead.copied().collect();
            // One whose own wait is the reason goes before those that wait for it.
            let direct = |(_, index): &&(u16, Index)| {
                self.blocking(&picture, &reach, *index)
                    .is_some_and(|(_, reason)| reach.lacks_resources(node(&reason)))
            };
            let chosen = dead.iter().find(direct).or(dead.first());
            let Some(&(place, index)) = chosen else { return victims };
            if let Some((which, _)) = self.blocking(&picture, &reach, index) {
                let why = self.why_stuck(&picture, &reach, index);
                victims.push((place, which, why));
            }
            reach.free(node(&index));
        }
    }

    /// Which wait of a body never ends, and the first task on its way that is not just after
    /// others: one that lacks resources, or whose body waits.
    fn blocking(
        &self,
        picture: &Picture,
        reach: &Reach<'_>,
        body: Index,
    ) -> Option<(usize, Index)> {
        let place = match self.objects.task(body)?.phase {
            Phase::Posted { place, .. } => place,
            _ => return None,
        };
        let waits = &self.procs[usize::from(place)].waits;
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
    fn why_stuck(&self, picture: &Picture, reach: &Reach<'_>, body: Index) -> String {
        let name = |index: Index| {
            format!("`{}` (task {})", self.name_of(index), self.objects.at(index).number)
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
                    text += &format!(", which {}", self.lack(at));
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

    fn lack(&self, index: Index) -> String {
        let pending = self.pending(index);
        match pending {
            crate::Pending::NoProcess { limit } => format!(
                "needs a process, and all {limit} processes have bodies that wait; allow more with max_processes(..), or nest less deep"
            ),
            other => other.to_string(),
        }
    }

    fn picture(&self) -> Picture {
        let mut picture = Picture::default();
        let used = self.procs.len() - self.free_places.len();
        let idle: usize = self.workers.iter().map(|worker| worker.idle.len()).sum();
        let leaving = self.procs.iter().filter(|process| process.used && process.doom.is_some());
        let free = self.memory.places() - used + idle + leaving.count();
        picture.pools.insert(Pool::Processes, 0);
        picture.graph.free.push(free as i64);
        for &place in &self.busy {
            if let Some(body) = self.body_of(place) {
                picture.node(body);
            }
        }
        while let Some(index) = picture.open.pop() {
            let node = self.node_of(&mut picture, index);
            let at = picture.by_object[&index];
            picture.graph.nodes[at] = node;
        }
        // Idle actors, groups and whatever else holds something: that may still come.
        for place in 0..self.procs.len() as u16 {
            let process = &self.procs[usize::from(place)];
            if process.used
                && self.body_of(place).is_none()
                && let Some(lease) = process.lease
            {
                let held = self.labels_at(&mut picture, lease.spot, lease.class);
                held.into_iter().for_each(|(pool, n)| picture.graph.free[pool] += n);
            }
        }
        picture
    }

    fn node_of(&self, picture: &mut Picture, index: Index) -> Node {
        let mut node = Node::default();
        let Some(task) = self.objects.task(index) else { return node };
        let pending = |index: &Index| self.objects.at(*index).value.is_pending();
        if task.remaining > 0 {
            let before = task.needed().iter().filter(|index| pending(index));
            node.after = before.map(|&index| picture.node(index)).collect();
        }
        match task.phase {
            Phase::Posted { place, seq } => {
                let process = &self.procs[usize::from(place)];
                let oldest = process.oldest();
                if process.doom.is_some() {
                    return Node::default();
                }
                if let Some((_, first)) = oldest.filter(|(oldest, _)| *oldest != seq) {
                    node.after.push(picture.node(first));
                    return node;
                }
                node.after.clear(); // it has them
                let timed = process.waits.iter().any(|wait| wait.until.is_some());
                let memory = self.memory_waits.iter().any(|wait| wait.place == place);
                if !timed && !memory {
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
                    node.holds.extend(self.labels_at(picture, lease.spot, lease.class));
                }
            }
            Phase::AtActor => {
                let Some((actor, _)) = task.actor else { return node };
                if matches!(self.actors[actor as usize].life, Life::Dead(_)) {
                    return Node::default();
                }
                if picture.actors.insert(actor) {
                    picture.before.extend(self.queued_at_actor(actor));
                }
                // The call that it runs, or the one that makes it; and its caller's one before.
                let before = picture.before.get(&index).copied().flatten();
                let before = self.actor_runs(actor).into_iter().chain(before);
                node.after.extend(before.map(|index| picture.node(index)));
            }
            Phase::Backoff | Phase::Queued | Phase::Waiting => {
                node.wants = self.claim_of(picture, task.class);
            }
        }
        node
    }

    /// What tasks of a class need; `None` if nobody can say: workers may still come that have it.
    fn claim_of(&self, picture: &mut Picture, class: ClassId) -> Option<usize> {
        if let Some(&known) = picture.claims.get(&class) {
            return known;
        }
        let demand = self.classes.at(class).demand.clone();
        let spots = self.spots_for(class, &demand);
        let choices: Option<Vec<Claim>> = spots.map(|spots| {
            let claim = |spot: &Spot| {
                let mut claim = vec![(0, 1)];
                for &(label, amount) in &demand.labels {
                    claim.push((self.pool_of(picture, *spot, label), amount));
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

    /// Where tasks of a class could run, if everything were free.
    fn spots_for(&self, class: ClassId, demand: &Demand) -> Option<Vec<Spot>> {
        if self.infeasible(class).is_some() {
            return None;
        }
        if let Strategy::Placed { group, bundle } = &self.classes.at(class).strategy {
            return self.bundles_for(*group, *bundle, demand);
        }
        let all = self.may_run(class).into_iter();
        Some(all.map(|worker| Spot { worker, bundle: None }).collect())
    }

    /// What a lease gives back: to its bundle, and for all one knows to the worker, if the driver
    /// drops the group.
    fn labels_at(&self, picture: &mut Picture, spot: Spot, class: ClassId) -> Claim {
        let labels = &self.classes.at(class).demand.labels;
        let mut claim = Claim::new();
        for &(label, n) in labels {
            claim.push((self.pool_of(picture, spot, label), n));
            if spot.bundle.is_some() {
                claim.push((self.pool_of(picture, Spot { bundle: None, ..spot }, label), n));
            }
        }
        claim
    }

    fn pool_of(&self, picture: &mut Picture, spot: Spot, label: u16) -> usize {
        // What a group had that was removed is its worker's.
        let there = |&(group, at): &(u64, usize)| self.bundle_supply(group, at).is_some();
        let spot = Spot { bundle: spot.bundle.filter(there), ..spot };
        let Picture { pools, graph, .. } = picture;
        *pools.entry(Pool::Label(spot.worker, spot.bundle, label)).or_insert_with(|| {
            graph.free.push(self.free_at(spot, label));
            graph.free.len() - 1
        })
    }

    fn free_at(&self, spot: Spot, label: u16) -> i64 {
        let of = |supply: &Supply| supply.labels.get(usize::from(label)).copied().unwrap_or(0);
        match spot.bundle.and_then(|(group, bundle)| self.bundle_supply(group, bundle)) {
            Some(bundle) => of(bundle),
            // The driver may drop groups.
            None => {
                let reserved = self.reserved_on(spot.worker).map(of).sum::<i64>();
                of(&self.workers[spot.worker].free) + reserved
            }
        }
    }

    /// Whether any process is about to begin.
    pub(super) fn is_any_starting(&self) -> bool {
        let starting = |(place, process): (u16, &super::processes::Process)| {
            process.used && self.memory.entry(place).live.load(Relaxed) == 0
        };
        (0u16..).zip(&self.procs).any(starting)
    }
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
