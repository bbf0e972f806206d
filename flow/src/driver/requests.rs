//! Requests of workers while their bodies run.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::State;
use super::cancels::CancelRequest;
use super::deaths::abandoned;
use super::objects::Index;
use super::tasks::NewTask;
use crate::protocol::args::Args;
use crate::protocol::error::{Cause, Error};
use crate::protocol::node::by_number;
use crate::protocol::options::Overrides;
use crate::protocol::wire::{self, About, Numbered, Request, Response};

/// How long a worker may leave its responses unread when there is no room for more.
const UNREAD: Duration = Duration::from_secs(10);

impl State {
    /// Handles all requests of a process, or those up to a position of its ring.
    pub(super) fn poll_requests(&mut self, place: u16, up_to: Option<u32>) -> bool {
        let mut any = false;
        while self.memory.has_requests(place) {
            let handled = self.memory.entry(place).requests_read.load(Relaxed) as u32;
            if up_to == Some(handled) {
                return any;
            }
            let message = self.memory.requests(place).pop();
            let Ok(Some(message)) = message else {
                self.protocol_violation(place, "an invalid message");
                return any;
            };
            any = true;
            match wire::decode::<Numbered<Request>>(&message) {
                Ok(Numbered { number, what }) => self.handle_request(place, number, what),
                Err(_) => {
                    self.protocol_violation(place, "a message that does not decode");
                    return any;
                }
            }
        }
        any
    }

    fn handle_request(&mut self, place: u16, number: u64, request: Request) {
        if number != 0 && self.procs[usize::from(place)].abandoned {
            return self.respond(place, number, Err(abandoned()));
        }
        let response = match request {
            Request::Submit { node, args, overrides, actor } => {
                self.submit_for(place, node, args, overrides, actor)
            }
            Request::Spawn { node, args, overrides, max_restarts } => {
                let node = by_number(node).ok_or_else(unknown_node);
                let made =
                    node.and_then(|node| self.spawn_actor(node, args, overrides, max_restarts));
                made.map(Response::Actor)
            }
            Request::Kill { actor } => {
                self.kill_actor(actor);
                Ok(Response::Done)
            }
            Request::Wait { ids, need, timeout } => {
                return self.begin_wait(place, number, &ids, need, false, timeout);
            }
            Request::Values { ids, timeout } => {
                return self.begin_wait(place, number, &ids, ids.len(), true, timeout);
            }
            Request::Room { bytes, urgent: true } => return self.give_urgent(place, number, bytes),
            Request::Room { bytes, urgent: false } => {
                return self.give_memory(place, number, bytes, false);
            }
            Request::Block { bytes } => return self.give_memory(place, number, bytes, true),
            Request::Cancel { target, cancel } => {
                let birth = self.procs[usize::from(place)].birth;
                self.cancels.push(CancelRequest { place, birth, number, target, cancel });
                self.wakeup = true;
                return;
            }
            Request::Pending { id } => {
                self.find(id).map(|index| Response::Pending(self.pending(index)))
            }
            Request::Keep { ids } => {
                for id in ids {
                    self.keep_for(place, id);
                }
                return;
            }
            Request::Release { id } => return self.forget_for(place, id),
            Request::Children { ids } => {
                // Held from now on: the worker's own handles may be gone before its completion.
                for id in ids {
                    if let Some(index) = self.objects.find(id) {
                        self.objects.hold(index);
                        self.proc_mut(place).children.push(index);
                    }
                }
                return;
            }
            Request::About { task } => self.about(place, task).map(Response::About),
            Request::Backtrace { text } => {
                self.proc_mut(place).backtrace = Some(text);
                return;
            }
            Request::Spare { members } => {
                self.proc_mut(place).spared = members;
                return;
            }
        };
        self.respond(place, number, response);
    }

    /// What the body of a task that this process runs is told of it.
    fn about(&self, place: u16, number: u64) -> Result<About, Error> {
        let process = &self.procs[usize::from(place)];
        let mut posted_tasks =
            process.open_tasks().filter_map(|seq| process.posted_task(seq).object);
        let index = posted_tasks.find(|&index| self.objects.at(index).number == number);
        let index = index.ok_or_else(|| Error::Invalid(format!("task {number} is over")))?;
        let worker = &self.workers[process.worker];
        let task = self.objects.task(index);
        let (cpus, labels) = match process.lease {
            Some(lease) => self.classes.held(lease.class),
            None => (0, Vec::new()),
        };
        Ok(About {
            name: self.name_of(index),
            tag: task.and_then(|task| task.overrides.as_ref()?.tag.clone()),
            group: worker.group.clone(),
            index: worker.name.rsplit('/').next().and_then(|at| at.parse().ok()).unwrap_or(0),
            cpus,
            labels,
        })
    }

    fn submit_for(
        &mut self,
        place: u16,
        node: u32,
        args: Args,
        overrides: Option<Box<Overrides>>,
        actor: Option<u64>,
    ) -> Result<Response, Error> {
        let node = by_number(node).ok_or_else(unknown_node)?;
        args.check()?;
        let actor = actor.map(|id| self.find_actor(id)).transpose()?;
        let parent = self.body_of(place);
        let actor = actor.map(|actor| (actor, 1 << 32 | u64::from(place)));
        let new = NewTask { node, args, overrides, parent, actor, makes: None };
        let index = self.submit(new)?;
        // The caller's hold is the process's own.
        *self.proc_mut(place).kept.entry(index).or_default() += 1;
        Ok(Response::Task(self.objects.name(index)))
    }

    /// The task whose body a process runs.
    pub(super) fn body_of(&self, place: u16) -> Option<Index> {
        self.procs[usize::from(place)].oldest().map(|(_, index)| index)
    }

    fn keep_for(&mut self, place: u16, id: u64) {
        let Some(index) = self.objects.find(id) else { return };
        self.objects.hold(index);
        *self.proc_mut(place).kept.entry(index).or_default() += 1;
    }

    fn forget_for(&mut self, place: u16, id: u64) {
        let Some(index) = self.objects.find(id) else { return };
        let kept = &mut self.procs[usize::from(place)].kept;
        let Some(count) = kept.get_mut(&index) else { return };
        *count -= 1;
        if *count == 0 {
            kept.remove(&index);
        }
        self.objects.unhold(index, &mut self.store);
    }

    pub(super) fn respond(&mut self, place: u16, number: u64, response: Result<Response, Error>) {
        let what = response.unwrap_or_else(Response::Refused);
        let longest = self.memory.responses(place).longest();
        let encoded = wire::encode(&Numbered { number, what: &what });
        let message = match encoded {
            Ok(message) if message.len() <= longest => message,
            // The words of an error may be long; what matters of them fits.
            _ => match wire::encode(&Numbered { number, what: what.shortened() }) {
                Ok(message) if message.len() <= longest => message,
                _ => return self.protocol_violation(place, "more than can be answered"),
            },
        };
        // It will read what is there first.
        if self.unsent.iter().any(|(to, ..)| *to == place)
            || !self.memory.responses(place).push(&message)
        {
            self.unsent.push_back((place, message, Instant::now()));
            self.wakeup = true;
        }
        self.unpark_worker(place);
    }

    /// Sends what had no room. Who does not read for long is ended.
    pub(super) fn send_rest(&mut self, now: Instant) {
        let mut rest: VecDeque<(u16, Vec<u8>, Instant)> = VecDeque::new();
        while let Some((place, message, since)) = self.unsent.pop_front() {
            let blocked = rest.iter().any(|(to, ..)| *to == place);
            if !blocked && self.memory.responses(place).push(&message) {
                self.unpark_worker(place);
            } else if now.duration_since(since) > UNREAD {
                self.protocol_violation(place, "nothing, and reads no answers");
            } else {
                rest.push_back((place, message, since));
            }
        }
        self.unsent = rest;
    }
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        match error {
            Error::Memory { .. } => Self::OutOfMemory(error.to_string()),
            Error::Deadlock(why) => Self::Deadlock(why),
            other => Self::Codec(other.to_string()),
        }
    }
}

fn unknown_node() -> Error {
    Error::NotANode("a number that no node has".to_owned())
}
