//! Actors: values that live on a worker, with methods that are called like nodes.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::current;
use super::flow::Flow;
use super::reference::ObjectRef;
use crate::driver::Host;
use crate::protocol::arg_writer::{ArgWriter, Written};
use crate::protocol::codec::{kind, take_words};
use crate::protocol::error::Error;
use crate::protocol::handle::Side;
use crate::protocol::info::ActorInfo;
use crate::protocol::node::{NodeDesc, number_of};
use crate::protocol::options::{Overrides, Strategy};

/// How an actor is made: resources that it holds for life, where it lives, how often it is made
/// again.
#[derive(Clone, Debug, Default)]
pub struct ActorOptions {
    overrides: Overrides,
    max_restarts: Option<i32>,
}

impl ActorOptions {
    /// As the `#[actor]` says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cpus that it holds for life. (Not said: one to be placed, none while it lives.)
    #[must_use]
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.overrides.cpus(cpus);
        self
    }

    /// A resource that it holds for life.
    #[must_use]
    pub fn resource(mut self, label: &str, amount: f64) -> Self {
        self.overrides.resource(label, amount);
        self
    }

    /// How a worker is chosen.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.overrides.strategy = strategy;
        self
    }

    /// How often it is made again, by its constructor, when its process dies (default 0).
    #[must_use]
    pub fn max_restarts(mut self, restarts: u32) -> Self {
        self.max_restarts = Some(i32::try_from(restarts).unwrap_or(i32::MAX));
        self
    }
}

/// The raw handle of an actor with value `T`; what `#[actor]` makes wraps it. It lives until it is
/// killed or the flow ends, however many handles there are.
pub struct ActorHandle<T> {
    id: u64,
    side: Side,
    actor: PhantomData<fn() -> T>,
}

impl<T> Clone for ActorHandle<T> {
    fn clone(&self) -> Self {
        Self { id: self.id, side: self.side.clone(), actor: PhantomData }
    }
}

impl<T> fmt::Debug for ActorHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor {} ({})", self.id as u32, std::any::type_name::<T>())
    }
}

impl<T> ActorHandle<T> {
    #[doc(hidden)]
    pub fn spawn(
        flow: &Flow,
        desc: &'static NodeDesc,
        options: &ActorOptions,
        put: impl FnOnce(&mut ArgWriter<'_>),
    ) -> Result<Self, Error> {
        let side = flow.side();
        let mut writer = ArgWriter::new(&side);
        put(&mut writer);
        let (over, restarts) = (&options.overrides, options.max_restarts);
        let args = writer.finish(desc.name, desc.params)?;
        let id = side.spawn(number_of(desc), args, over, restarts)?;
        Ok(Self { id, side, actor: PhantomData })
    }

    #[doc(hidden)]
    pub fn call<R>(
        &self,
        desc: &'static NodeDesc,
        put: impl FnOnce(&mut ArgWriter<'_>),
    ) -> ActorCall<R> {
        let mut writer = ArgWriter::new(&self.side);
        put(&mut writer);
        let (actor, side, args) = (self.id, self.side.clone(), writer.written());
        ActorCall { actor, side, desc, args, overrides: None, value: PhantomData }
    }

    /// Ends it: the call that runs and those that are queued fail, and so does whatever comes.
    ///
    /// # Errors
    /// The flow is closed.
    pub fn kill(&self) -> Result<(), Error> {
        self.side.kill(self.id)
    }

    /// What is known of it. In a body, where nobody can say, `None`.
    pub fn info(&self) -> Option<ActorInfo> {
        self.side.downcast::<Host>()?.actor_info(self.id)
    }
}

impl<T> Serialize for ActorHandle<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        current::put_token(serializer, kind::ACTOR, None, self.side.stamp(), &[self.id])
    }
}

impl<'de, T> Deserialize<'de> for ActorHandle<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [id, ..] = take_words(deserializer, kind::ACTOR)?;
        let side = current::side().map_err(serde::de::Error::custom)?;
        Ok(Self { id, side, actor: PhantomData })
    }
}

/// A call of an actor's method, not yet dispatched.
#[must_use = "a call does nothing before `remote()`"]
pub struct ActorCall<R> {
    actor: u64,
    side: Side,
    desc: &'static NodeDesc,
    args: Written,
    overrides: Option<Overrides>,
    value: PhantomData<fn() -> R>,
}

impl<R> ActorCall<R> {
    fn over(&mut self) -> &mut Overrides {
        self.overrides.get_or_insert_default()
    }

    /// How long the body may run. Then the actor's process is killed, and the call fails.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.over().deadline(deadline);
        self
    }

    /// What errors and listings call it.
    pub fn display_name(mut self, name: &str) -> Self {
        self.over().display_name = Some(name.to_owned());
        self
    }

    /// A name for this dispatch, kept with the task and listed by [`Flow::tasks`]. Nothing else
    /// uses it yet.
    pub fn tag(mut self, tag: &str) -> Self {
        self.over().tag = Some(tag.to_owned());
        self
    }

    /// Puts it into the caller's queue. Calls of one caller (a thread of the driver, or a worker)
    /// run in the order in which they were made; others may come between.
    ///
    /// # Errors
    /// An argument cannot be encoded, or the flow is closed.
    pub fn remote(mut self) -> Result<ObjectRef<R>, Error> {
        let over = self.overrides.as_ref();
        if let Some(why) = over.and_then(|over| over.bad.clone()) {
            return Err(why);
        }
        let (node, signature) = (number_of(self.desc), self.desc.signature());
        let called = self.args.submit(&self.side, node, signature, over, Some(self.actor));
        called.map(ObjectRef::new)
    }

    /// The same, and waits for the value.
    ///
    /// # Errors
    /// As for `remote`, and the call's own.
    pub fn remote_blocking(self) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.remote()?.get()
    }
}
