//! A task that is not complete: what it is to run, and how far it is.

use std::time::Duration;

use smallvec::SmallVec;

use super::features::{Features, Lookup, StoreAs};
use super::quantities::ClassId;
use super::ranks::Lane;
use crate::protocol::args::Args;
use crate::protocol::error::Cause;
use crate::protocol::node::NodeDesc;
use crate::protocol::options::{Hooks, Overrides};
use crate::protocol::wire;

/// An object's place in the table.
pub(crate) type Index = u32;

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// For others.
    Waiting,
    /// In the queue of its class.
    Queued,
    /// In the queue of its caller at an actor.
    AtActor,
    /// In a cell of a process.
    Posted { place: u16, seq: u64 },
    /// For its next attempt.
    Backoff,
    /// For the cache, in which its result is looked for.
    Finding,
}

/// For whom a task runs, besides those who hold its object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caller {
    /// The driver, which has called it or has held a ref to it: it runs in any case.
    Driver,
    /// The attempt of a body that has called it.
    Body,
    /// That attempt is over: it runs for as long as somebody holds it.
    Gone,
}

/// A task that is not complete. [`Objects`](super::objects::Objects) makes it, in memory of one
/// that is.
pub(crate) struct Task {
    pub(crate) node: &'static NodeDesc,
    /// What runs on the worker: the node, or what stands in for it.
    pub(crate) runs: &'static NodeDesc,
    pub(crate) args: Args,
    pub(crate) overrides: Option<Box<Overrides>>,
    pub(crate) class: ClassId,
    pub(crate) phase: Phase,
    /// How many of its arguments are values of objects; and how many of those are not there yet.
    pub(crate) refs: u32,
    pub(crate) remaining: u32,
    /// Objects that it holds until it is complete: those that it takes values from, then those
    /// that its arguments name.
    pub(crate) held: SmallVec<[Index; 4]>,
    /// Attempts before the present one.
    pub(crate) attempt: u16,
    pub(crate) retries_left: i32,
    pub(crate) cancelled: bool,
    /// A body waits for it, or for one that needs it.
    pub(crate) awaited: bool,
    /// The queue of its class in which it stands.
    pub(crate) lane: Lane,
    pub(crate) caller: Caller,
    /// The task whose body called it, by name.
    pub(crate) parent: Option<u64>,
    /// Tasks that the body of the present attempt called, oldest first; the names of those that
    /// may be over by now.
    pub(crate) kids: Vec<u64>,
    /// The actor whose method it is, and who called.
    pub(crate) actor: Option<(u32, u64)>,
    /// The actor that it makes.
    pub(crate) makes: Option<u32>,
    /// What the profile was told of it.
    pub(crate) noted: Noted,
    /// What a configuration makes of it.
    pub(crate) features: Option<Box<Features>>,
}

/// What the profile was told of a task that has not begun.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Noted {
    #[default]
    Nothing,
    /// That it has all it needs.
    Ready,
    /// The same, and the number of the reason why it does not begin.
    Waiting(u32),
}

impl Task {
    pub(crate) fn new(node: &'static NodeDesc) -> Self {
        Self {
            node,
            runs: node,
            args: Args::default(),
            overrides: None,
            class: 0,
            phase: Phase::Waiting,
            refs: 0,
            remaining: 0,
            held: SmallVec::new(),
            attempt: 0,
            retries_left: 0,
            cancelled: false,
            awaited: false,
            lane: Lane::default(),
            caller: Caller::Driver,
            parent: None,
            kids: Vec::new(),
            actor: None,
            makes: None,
            noted: Noted::Nothing,
            features: None,
        }
    }

    /// Forgets all of it, so that it is as a new one but for what each call says. False when it had
    /// memory of its own, and is better dropped.
    #[inline]
    pub(crate) fn clear(&mut self) -> bool {
        (self.overrides, self.features) = (None, None);
        (self.phase, self.noted) = (Phase::Waiting, Noted::Nothing);
        (self.cancelled, self.awaited, self.lane) = (false, false, Lane::default());
        (self.caller, self.parent) = (Caller::Driver, None);
        (self.actor, self.makes, self.attempt) = (None, None, 0);
        self.args.clear()
    }

    /// Whether its result has to be looked for before it is placed.
    #[inline]
    pub(crate) fn is_to_be_found(&self) -> bool {
        self.features.as_ref().is_some_and(|features| {
            matches!(&features.store, Some(StoreAs { lookup: Lookup::Due { .. }, .. }))
        })
    }

    /// The objects that it takes values from.
    pub(crate) fn needed(&self) -> &[Index] {
        &self.held[..self.refs as usize]
    }

    /// Its hooks as they stand in a task descriptor, if it has any.
    #[inline]
    pub(crate) fn encoded_hooks(&self) -> Option<Vec<u8>> {
        self.overrides.as_ref().and_then(|over| Self::encoded(&over.hooks))
    }

    #[cold]
    fn encoded(hooks: &Hooks) -> Option<Vec<u8>> {
        (hooks.setup.is_some() || hooks.cleanup.is_some()).then(|| wire::encode(hooks).ok())?
    }

    /// How long its body may run.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let given = self.overrides.as_ref().and_then(|over| over.deadline);
        let of_node = self.node.deadline_ns;
        given.or_else(|| (of_node > 0).then(|| Duration::from_nanos(of_node)))
    }

    /// Whether the start of its body has to be known.
    #[inline]
    pub(crate) fn timed(&self) -> bool {
        self.node.deadline_ns > 0
            || self.overrides.as_ref().is_some_and(|over| over.deadline.is_some())
    }

    /// Whether this failure is one that the caller wants to be tried again.
    pub(crate) fn retries(&self, cause: &Cause) -> bool {
        let Some(over) = &self.overrides else { return false };
        let wanted = match cause {
            Cause::App(error) => {
                over.retry_on.iter().any(|name| name == "*" || *name == error.type_name)
            }
            Cause::Panicked { .. } => over.retry_on.iter().any(|name| name == "*"),
            _ => false,
        };
        wanted && self.retries_left != 0 && !self.cancelled
    }

    /// Whether an error of it may be followed by another attempt.
    pub(crate) fn is_eager(&self) -> bool {
        self.overrides.as_ref().is_some_and(|over| !over.retry_on.is_empty())
    }

    /// Whether it stands at a process.
    pub(crate) fn is_posted(&self) -> bool {
        matches!(self.phase, Phase::Posted { .. })
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> &str {
        let given = self.overrides.as_ref().and_then(|over| over.display_name.as_deref());
        given.unwrap_or_else(|| self.node.short_name())
    }

    /// One attempt more counts.
    pub(crate) fn charge(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
        self.retries_left -= i32::from(self.retries_left > 0);
    }
}

impl NewTask<'_> {
    /// Whether the driver calls a node, with nothing besides the arguments.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let options = self.overrides.is_some() || self.features.is_some();
        let origin = self.parent.is_some() || self.actor.is_some() || self.makes.is_some();
        !options && !origin
    }
}

/// A call, checked.
pub(crate) struct NewTask<'a> {
    pub(crate) node: &'static NodeDesc,
    /// Taken when it is entered; others are left in their place.
    pub(crate) args: &'a mut Args,
    pub(crate) overrides: Option<Box<Overrides>>,
    /// The task whose body calls.
    pub(crate) parent: Option<Index>,
    pub(crate) actor: Option<(u32, u64)>,
    pub(crate) makes: Option<u32>,
    pub(crate) features: Option<Box<Features>>,
}
