//! Actors: a process that keeps a value, and a queue of calls for each caller.

use std::collections::VecDeque;

use super::State;
use super::objects::{Index, Value};
use super::posting::Written;
use super::processes::Doom;
use super::tasks::{NewTask, Phase, Task, short_name};
use crate::protocol::args::Args;
use crate::protocol::error::{Cause, Error};
use crate::protocol::node::NodeDesc;
use crate::protocol::options::Overrides;
use crate::protocol::resources::ONE;

/// Calls that stand at an actor's process at the same time.
const DEPTH: u64 = 16;
const KILLED: &str = "it was killed";

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Life {
    /// Its constructor waits or runs.
    Making,
    Alive,
    Dead(String),
}

pub(super) struct Actor {
    /// Its constructor.
    node: &'static NodeDesc,
    args: Args,
    overrides: Box<Overrides>,
    /// Whether its cpus are only for the moment it is placed.
    places_only: bool,
    /// The objects that its arguments name, held for as long as it may be made again.
    held: Vec<Index>,
    pub(super) life: Life,
    pub(super) place: Option<u16>,
    restarts_left: i32,
    pub(super) restarts: u32,
    /// The task that makes it, while there is one.
    making: Option<Index>,
    /// By caller, each in order; and whose turn is next.
    queues: Vec<(u64, VecDeque<u64>)>,
    next_queue: usize,
}

impl Actor {
    /// The objects that it holds.
    pub(super) fn held(&self) -> &[Index] {
        &self.held
    }
}

impl State {
    /// A new actor: its name for handles. It is made as soon as there is a worker for it.
    pub(super) fn spawn_actor(
        &mut self,
        node: &'static NodeDesc,
        args: Args,
        mut overrides: Box<Overrides>,
        max_restarts: Option<i32>,
    ) -> Result<u64, Error> {
        args.check()?;
        let number = self.actors.len() as u32;
        // Not said: one to be placed, none while it lives.
        let places_only = overrides.cpus.is_none() && node.cpus < 0;
        if places_only {
            overrides.cpus = Some(ONE);
        }
        let held: Result<Vec<Index>, Error> = args.ids().map(|id| self.find(id)).collect();
        let held = held?;
        self.actors.push(Actor {
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
        if let Err(error) = self.make_actor(number) {
            self.actors.pop();
            return Err(error);
        }
        held.iter().for_each(|&index| self.objects.hold(index));
        self.actors[number as usize].held = held;
        Ok(1 << 32 | u64::from(number))
    }

    /// The process in which an actor was being made is gone, and it is made again in another one.
    pub(super) fn is_made_again(&mut self, number: u32) {
        let actor = &mut self.actors[number as usize];
        actor.restarts_left -= i32::from(actor.restarts_left > 0);
        actor.restarts += 1;
    }

    fn make_actor(&mut self, number: u32) -> Result<(), Error> {
        let actor = &self.actors[number as usize];
        let (node, args) = (actor.node, actor.args.clone());
        let mut overrides = actor.overrides.clone();
        overrides.max_retries = Some(actor.restarts_left); // each of them is counted below
        let overrides = Some(overrides);
        let new = NewTask { node, args, overrides, parent: None, actor: None, makes: Some(number) };
        let index = self.submit(new)?;
        self.actors[number as usize].making = Some(index);
        self.check_maker(number);
        Ok(())
    }

    /// The task that was to make an actor may be complete without having run: an argument failed.
    fn check_maker(&mut self, number: u32) {
        let Some(index) = self.actors[number as usize].making else { return };
        let Value::Failed(error) = &self.objects.at(index).value else { return };
        let why = error.to_string();
        self.actors[number as usize].making = None;
        self.objects.unhold(index, &mut self.store);
        self.actor_dies(number, &why);
    }

    /// The actor that handles know by this name.
    pub(super) fn find_actor(&self, id: u64) -> Result<u32, Error> {
        let number = id as u32;
        if id >> 32 == 1 && (number as usize) < self.actors.len() {
            return Ok(number);
        }
        Err(Error::Invalid("this handle names no actor of this flow".to_owned()))
    }

    /// The constructor runs in this process, which is the actor's from now on.
    pub(super) fn dedicate(&mut self, place: u16, actor: u32) {
        self.proc_mut(place).actor = Some(actor);
        self.actors[actor as usize].place = Some(place);
    }

    /// The task that makes an actor is complete.
    pub(super) fn maker_settled(&mut self, number: u32) {
        let actor = &mut self.actors[number as usize];
        let Some(index) = actor.making else { return };
        if matches!(self.objects.at(index).value, Value::Failed(_)) {
            if let Some(place) = actor.place.take() {
                // Nothing is kept there: an ordinary process again.
                self.proc_mut(place).actor = None;
            }
            return self.check_maker(number);
        }
        actor.making = None;
        let alive = actor.life == Life::Making;
        let (place, places_only) = (actor.place, actor.places_only);
        if alive {
            actor.life = Life::Alive;
        }
        self.objects.unhold(index, &mut self.store);
        let Some(place) = place else { return };
        if !alive {
            return self.doom(place, Doom::Actor); // killed meanwhile
        }
        if places_only {
            self.lend(place, true);
        }
        self.schedule();
        self.serve_actor(number);
    }

    /// Whether the cpus of an actor stay with others while none of its bodies runs or waits.
    pub(super) fn is_weightless(&self, place: u16) -> bool {
        let actor = self.procs[usize::from(place)].actor;
        actor.is_some_and(|actor| self.actors[actor as usize].places_only)
    }

    fn actor_dies(&mut self, number: u32, why: &str) {
        let actor = &mut self.actors[number as usize];
        actor.life = Life::Dead(why.to_owned());
        let queues = std::mem::take(&mut actor.queues);
        for held in std::mem::take(&mut actor.held) {
            self.objects.unhold(held, &mut self.store);
        }
        for id in queues.into_iter().flat_map(|(_, queue)| queue) {
            let Some(index) = self.objects.find(id) else { continue };
            self.fail(index, None, Cause::ActorDied(why.to_owned()));
        }
    }

    /// Ends an actor: what runs and what is queued fails, and so does whatever comes.
    pub(super) fn kill_actor(&mut self, id: u64) {
        let Ok(number) = self.find_actor(id) else { return };
        let actor = &mut self.actors[number as usize];
        if matches!(actor.life, Life::Dead(_)) {
            return;
        }
        let (making, place) = (actor.making, actor.place);
        self.actor_dies(number, KILLED);
        if let Some(place) = place {
            self.doom(place, Doom::Actor);
        }
        // What makes it may stand anywhere but at a process now.
        if let Some(index) = making
            && let Some(task) = self.objects.task(index)
            && !matches!(task.phase, Phase::Posted { .. })
        {
            self.fail(index, None, Cause::ActorDied(KILLED.to_owned()));
        }
    }

    /// The process of an actor is gone, and what stood there has been dealt with.
    pub(super) fn actor_lost(&mut self, number: u32, place: u16, how: &str) {
        let actor = &mut self.actors[number as usize];
        if actor.place != Some(place) {
            return; // it has another one already
        }
        actor.place = None;
        if let Life::Dead(why) = &actor.life {
            let why = why.clone();
            return self.actor_dies(number, &why); // what came back from its process
        }
        if actor.making.is_some() {
            return; // its constructor is tried again like any task
        }
        if actor.restarts_left == 0 {
            return self.actor_dies(number, &format!("its process is gone: {how}"));
        }
        actor.life = Life::Making;
        self.is_made_again(number);
        if let Err(error) = self.make_actor(number) {
            self.actor_dies(number, &error.to_string());
        }
    }

    // ---- calls ------------------------------------------------------------------------------

    pub(super) fn queue_at_actor(&mut self, number: u32, caller: u64, index: Index, first: bool) {
        if let Some(task) = self.objects.task_mut(index) {
            task.phase = Phase::AtActor;
        }
        let id = self.objects.id(index);
        let queues = &mut self.actors[number as usize].queues;
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

    /// A call that was queued is complete without having run: it has had its turn, and its queue
    /// passes over it.
    pub(super) fn left_actor(&mut self, task: &Task) {
        self.actors_to_serve.extend(task.actor.map(|(number, _)| number));
    }

    /// Posts what can be: the first call of each caller, in turn. A call whose arguments are not
    /// there holds back its own caller, and nobody else.
    pub(super) fn serve_actor(&mut self, number: u32) {
        let actor = &self.actors[number as usize];
        if let Life::Dead(why) = &actor.life {
            let why = why.clone();
            return self.actor_dies(number, &why);
        }
        let (Life::Alive, Some(place)) = (&actor.life, actor.place) else { return };
        loop {
            let process = &self.procs[usize::from(place)];
            if process.doom.is_some() || process.outstanding() >= DEPTH || process.room() == 0 {
                return;
            }
            let objects = &self.objects;
            let waits = |id: u64| {
                let index = objects.find(id)?;
                let task = objects.task(index)?;
                (task.phase == Phase::AtActor).then_some((index, task.remaining == 0))
            };
            let actor = &mut self.actors[number as usize];
            let count = actor.queues.len();
            let ready = (0..count).map(|k| (actor.next_queue + k) % count).find_map(|at| {
                let queue = &mut actor.queues[at].1;
                while queue.front().is_some_and(|&id| waits(id).is_none()) {
                    queue.pop_front();
                }
                let (index, ready) = waits(*queue.front()?)?;
                ready.then_some((at, index))
            });
            let Some((at, index)) = ready else { return };
            match self.write_descriptor(place, index) {
                Written::Yes => {}
                Written::NoRoom => return,
                Written::Unfit => {
                    self.end_unfit(index);
                    continue;
                }
            }
            let actor = &mut self.actors[number as usize];
            actor.queues[at].1.pop_front();
            actor.next_queue = at + 1;
            self.post(place, index);
        }
    }

    /// The calls that wait at an actor, each with the one before it of the same caller.
    pub(super) fn queued_at_actor(&self, number: u32) -> Vec<(Index, Option<Index>)> {
        let Some(actor) = self.actors.get(number as usize) else { return Vec::new() };
        let waits = |index: &Index| {
            self.objects.task(*index).is_some_and(|task| task.phase == Phase::AtActor)
        };
        let mut all = Vec::new();
        for (_, queue) in &actor.queues {
            let mut before = None;
            for index in queue.iter().filter_map(|&id| self.objects.find(id)).filter(waits) {
                all.push((index, before.replace(index)));
            }
        }
        all
    }

    /// What calls of an actor cannot do without: the call that it runs, the one that makes it, and
    /// those before them in their queues.
    pub(super) fn actor_needs(&self, number: u32) -> Vec<Index> {
        let Some(actor) = self.actors.get(number as usize) else { return Vec::new() };
        let queued = actor.queues.iter().flat_map(|(_, queue)| queue);
        let queued = queued.filter_map(|&id| self.objects.find(id));
        self.actor_runs(number).into_iter().chain(queued).collect()
    }

    /// The call that an actor runs.
    pub(super) fn actor_runs(&self, number: u32) -> Option<Index> {
        let actor = self.actors.get(number as usize)?;
        actor.making.or_else(|| self.body_of(actor.place?))
    }

    /// What an actor is called, for messages: by its constructor.
    pub(super) fn actor_name(&self, number: u32) -> &str {
        self.actors.get(number as usize).map_or("?", |actor| short_name(actor.node.name))
    }

    /// What an actor is doing, for messages.
    pub(super) fn actor_state(&self, number: u32) -> String {
        match (&self.actors[number as usize].life, self.actor_runs(number)) {
            (Life::Making, _) => "the actor is being made".to_owned(),
            (Life::Alive, Some(index)) => format!("the actor runs `{}`", self.name_of(index)),
            (Life::Alive, None) => "the actor is free".to_owned(),
            (Life::Dead(why), _) => format!("the actor is gone: {why}"),
        }
    }
}
