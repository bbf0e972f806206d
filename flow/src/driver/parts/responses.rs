//! Responses to requests of workers: into their rings, or kept until there is room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::unpark::unpark;
use crate::protocol::error::Error;
use crate::protocol::memory::Memory;
use crate::protocol::wire::{self, Numbered, Response};

/// How long a worker may leave its responses unread when there is no room for more.
const UNREAD: Duration = Duration::from_secs(10);

pub(crate) struct Responses {
    memory: Arc<Memory>,
    /// For which there was no room, in order: to whom, what, and since when.
    unsent: VecDeque<(u16, Vec<u8>, Instant)>,
}

/// What became of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Sent {
    Yes,
    /// There is no room yet: somebody is to call [`Responses::send_rest`] before long.
    Later,
    /// It is longer than the ring: the worker asked for more than its protocol allows.
    TooLong,
}

impl Responses {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, unsent: VecDeque::new() }
    }

    pub(crate) fn send(
        &mut self,
        place: u16,
        number: u64,
        response: Result<Response, Error>,
    ) -> Sent {
        let what = response.unwrap_or_else(Response::Refused);
        let longest = self.memory.responses(place).longest();
        let encoded = wire::encode(&Numbered { number, what: &what });
        let message = match encoded {
            Ok(message) if message.len() <= longest => message,
            // The words of an error may be long; what matters of them fits.
            _ => match wire::encode(&Numbered { number, what: what.shortened() }) {
                Ok(message) if message.len() <= longest => message,
                _ => return Sent::TooLong,
            },
        };
        // It will read what is there first.
        let waits = self.unsent.iter().any(|(to, ..)| *to == place);
        let sent = !waits && self.memory.responses(place).push(&message);
        if !sent {
            self.unsent.push_back((place, message, Instant::now()));
        }
        unpark(&self.memory, place);
        if sent { Sent::Yes } else { Sent::Later }
    }

    /// Sends what had no room. Those who have not read for long.
    pub(crate) fn send_rest(&mut self, now: Instant) -> Vec<u16> {
        let mut rest: VecDeque<(u16, Vec<u8>, Instant)> = VecDeque::new();
        let mut unread = Vec::new();
        while let Some((place, message, since)) = self.unsent.pop_front() {
            let blocked = rest.iter().any(|(to, ..)| *to == place);
            if !blocked && self.memory.responses(place).push(&message) {
                unpark(&self.memory, place);
            } else if now.duration_since(since) > UNREAD {
                unread.push(place);
            } else {
                rest.push_back((place, message, since));
            }
        }
        self.unsent = rest;
        unread
    }

    /// Whether some had no room.
    pub(crate) fn has_rest(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The process is gone.
    pub(crate) fn forget(&mut self, place: u16) {
        self.unsent.retain(|(to, ..)| *to != place);
    }
}
