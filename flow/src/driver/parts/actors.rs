//! Actors: each has a process that keeps its value, and a queue of calls for each caller.

use std::collections::VecDeque;

use super::objects::Objects;
use super::tasks::{Index, Phase};
use crate::protocol::args::Args;
use crate::protocol::error::Error;
use crate::protocol::node::NodeDesc;
use crate::protocol::options::Overrides;
use crate::protocol::resources::ONE;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Life {
    /// Its constructor waits or runs.
    Making,
    Alive,
    Dead(String),
}

pub(crate) struct Actor {
    /// Its constructor.
    pub(crate) node: &'static NodeDesc,
    pub(crate) args: Args,
    pub(crate) overrides: Box<Overrides>,
    /// Whether its cpus are only for the moment it is placed.
    pub(crate) places_only: bool,
    /// The objects that its arguments name, held for as long as it may be made again.
    pub(crate) held: Vec<Index>,
    pub(crate) life: Life,
    pub(crate) place: Option<u16>,
    pub(crate) restarts_left: i32,
    pub(crate) restarts: u32,
    /// The task that makes it, while there is one.
    pub(crate) making: Option<Index>,
    /// By caller, each in order; and whose turn is next.
    queues: Vec<(u64, VecDeque<u64>)>,
    next_queue: usize,
}

/// All actors of a flow, by number. What others read of one they read by reference.
#[derive(Default)]
pub(crate) struct Actors {
    list: Vec<Actor>,
}

/// What a dead actor leaves: calls, by name, and objects that it has held.
pub(crate) struct Remains {
    pub(crate) calls: Vec<u64>,
    pub(crate) held: Vec<Index>,
}

impl Actors {
    /// A new actor, which is to be made: its number.
    pub(crate) fn add(
        &mut self,
        node: &'static NodeDesc,
        args: Args,
        mut overrides: Box<Overrides>,
        max_restarts: Option<i32>,
    ) -> u32 {
        // Not said: one to be placed, none while it lives.
        let places_only = overrides.cpus.is_none() && node.cpus < 0;
        if places_only {
            overrides.cpus = Some(ONE);
        }
        self.list.push(Actor {
            node,
            args,
            overrides,
            places_only,
            held: Vec::new(),
            life: Life::Making,
            place: None,
            restarts_left: max_restarts.unwrap_or(node.max_retries),
            restarts: 0,
            making: None,
            queues: Vec::new(),
            next_queue: 0,
        });
        self.list.len() as u32 - 1
    }

    /// The last one that was added could not be made.
    pub(crate) fn remove_last(&mut self) {
        self.list.pop();
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Actor> {
        self.list.iter()
    }

    pub(crate) fn at(&self, number: u32) -> &Actor {
        &self.list[number as usize]
    }

    fn at_mut(&mut self, number: u32) -> &mut Actor {
        &mut self.list[number as usize]
    }

    /// The name by which handles know it.
    pub(crate) fn id(number: u32) -> u64 {
        1 << 32 | u64::from(number)
    }

    /// The actor that handles know by this name.
    ///
    /// # Errors
    /// No actor of this flow has the name.
    pub(crate) fn find(&self, id: u64) -> Result<u32, Error> {
        let number = id as u32;
        if id >> 32 == 1 && (number as usize) < self.list.len() {
            return Ok(number);
        }
        Err(Error::Invalid("this handle names no actor of this flow".to_owned()))
    }

    /// What an actor is called, for messages: by its constructor.
    pub(crate) fn name(&self, number: u32) -> &str {
        self.list.get(number as usize).map_or("?", |actor| actor.node.short_name())
    }

    /// Why it is no more.
    pub(crate) fn why_dead(&self, number: u32) -> Option<&str> {
        match &self.at(number).life {
            Life::Dead(why) => Some(why),
            _ => None,
        }
    }

    // ---- its life ---------------------------------------------------------------------------

    /// It holds these for as long as it may be made again.
    pub(crate) fn set_held(&mut self, number: u32, held: Vec<Index>) {
        self.at_mut(number).held = held;
    }

    /// This task makes it; or that is over.
    pub(crate) fn set_making(&mut self, number: u32, making: Option<Index>) {
        self.at_mut(number).making = making;
    }

    /// It has this process.
    pub(crate) fn set_place(&mut self, number: u32, place: Option<u16>) {
        self.at_mut(number).place = place;
    }

    /// It was made. False if it was killed meanwhile.
    pub(crate) fn set_alive(&mut self, number: u32) -> bool {
        let actor = self.at_mut(number);
        let made = actor.life == Life::Making;
        if made {
            actor.life = Life::Alive;
        }
        made
    }

    /// It is to be made again, in another process.
    pub(crate) fn set_lost(&mut self, number: u32) {
        self.at_mut(number).life = Life::Making;
        self.is_made_again(number);
    }

    /// The process in which an actor was being made is gone, and it is made again in another one.
    pub(crate) fn is_made_again(&mut self, number: u32) {
        let actor = self.at_mut(number);
        actor.restarts_left -= i32::from(actor.restarts_left > 0);
        actor.restarts += 1;
    }

    /// It is no more.
    pub(crate) fn set_dead(&mut self, number: u32, why: &str) -> Remains {
        let actor = self.at_mut(number);
        actor.life = Life::Dead(why.to_owned());
        let queues = std::mem::take(&mut actor.queues);
        let held = std::mem::take(&mut actor.held);
        Remains { calls: queues.into_iter().flat_map(|(_, queue)| queue).collect(), held }
    }

    // ---- calls ------------------------------------------------------------------------------

    /// Puts a call into the queue of its caller.
    pub(crate) fn queue(&mut self, number: u32, caller: u64, id: u64, first: bool) {
        let queues = &mut self.at_mut(number).queues;
        // Callers come and go.
        if queues.len() > 16 {
            queues.retain(|(known, queue)| *known == caller || !queue.is_empty());
        }
        let at = queues.iter().position(|(known, _)| *known == caller);
        let at = at.unwrap_or_else(|| {
            queues.push((caller, VecDeque::new()));
            queues.len() - 1
        });
        let queue = &mut queues[at].1;
        if first { queue.push_front(id) } else { queue.push_back(id) }
    }

    /// The next call to be posted, and its queue: the first of each caller, in turn. A call whose
    /// arguments are not there holds back its own caller, and nobody else.
    pub(crate) fn next_call(&mut self, number: u32, objects: &Objects) -> Option<(usize, Index)> {
        let waits = |id: u64| {
            let (index, task) = objects.find_task(id)?;
            (task.phase == Phase::AtActor).then_some((index, task.remaining == 0))
        };
        let actor = self.at_mut(number);
        let count = actor.queues.len();
        (0..count).map(|k| (actor.next_queue + k) % count).find_map(|at| {
            let queue = &mut actor.queues[at].1;
            while queue.front().is_some_and(|&id| waits(id).is_none()) {
                queue.pop_front();
            }
            let (index, ready) = waits(*queue.front()?)?;
            ready.then_some((at, index))
        })
    }

    /// The first call of this queue was posted.
    pub(crate) fn posted(&mut self, number: u32, queue: usize) {
        let actor = self.at_mut(number);
        actor.queues[queue].1.pop_front();
        actor.next_queue = queue + 1;
    }

    /// The calls that wait at an actor, each with the one before it of the same caller.
    pub(crate) fn queued(&self, number: u32, objects: &Objects) -> Vec<(Index, Option<Index>)> {
        let Some(actor) = self.list.get(number as usize) else { return Vec::new() };
        let waits = |id: &u64| {
            let (index, task) = objects.find_task(*id)?;
            (task.phase == Phase::AtActor).then_some(index)
        };
        let mut all = Vec::new();
        for (_, queue) in &actor.queues {
            let mut before = None;
            for index in queue.iter().filter_map(waits) {
                all.push((index, before.replace(index)));
            }
        }
        all
    }

    /// The calls in its queues, whatever became of them.
    pub(crate) fn in_queues(&self, number: u32, objects: &Objects) -> Vec<Index> {
        let queues = self.list.get(number as usize).map_or(&[][..], |actor| &actor.queues);
        let queued = queues.iter().flat_map(|(_, queue)| queue);
        queued.filter_map(|&id| objects.find(id)).collect()
    }
}
