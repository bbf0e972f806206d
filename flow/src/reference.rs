//! Refs: handles to values that may not exist yet.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::args::{ArgWriter, IntoArg};
use crate::codec::{self, Viewable, kind, put_token, take_words};
use crate::driver::Host;
use crate::error::Error;
use crate::node::Kind;
use crate::value::View;
use crate::worker::connection::{self, Line};
use crate::{Flow, node};

/// Where a handle was made: in the driver, or in a worker's process.
#[derive(Clone)]
pub(super) enum Side {
    Host(Arc<Host>),
    Worker(Line),
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host(_) => "driver",
            Self::Worker(_) => "worker",
        })
    }
}

/// Writes a value into the room that was made for it.
pub(super) type Fill<'a> = &'a mut dyn FnMut(&mut [u8]);

impl Side {
    /// The flow whose values are being decoded; or in a worker its own, in the driver the one that
    /// was built last.
    pub(super) fn current() -> Result<Self, Error> {
        if let Some(side) = codec::side() {
            return Ok(side);
        }
        if let Some(connection) = connection::current() {
            return Ok(Self::Worker(connection));
        }
        let host = crate::driver::current();
        host.map(Self::Host)
            .ok_or_else(|| Error::Closed("there is none in this process".to_owned()))
    }

    /// Which flow this is: refs of another mean nothing here.
    pub(super) fn stamp(&self) -> usize {
        match self {
            Self::Host(host) => host.stamp(),
            Self::Worker(connection) => connection.stamp(),
        }
    }

    /// One count more. False for what is not there, as far as this side knows.
    #[must_use]
    pub(super) fn retain(&self, id: u64) -> bool {
        match self {
            Self::Host(host) => host.retain(id),
            Self::Worker(connection) => {
                connection.retain(id);
                true
            }
        }
    }

    fn release(&self, id: u64) {
        match self {
            Self::Host(host) => host.release(id),
            Self::Worker(connection) => connection.release(id),
        }
    }

    /// A block that others share, filled by `fill`; its handle and address.
    pub(super) fn new_block(&self, bytes: u64, fill: Fill<'_>) -> Result<(Handle, u64), Error> {
        match self {
            Self::Host(host) => host.new_block(bytes, fill),
            Self::Worker(connection) => connection.new_block(bytes, fill),
        }
    }

    /// Whether an object is such a block.
    pub(super) fn is_block(&self, id: u64, address: u64, len: u64) -> bool {
        match self {
            Self::Host(host) => host.is_block(id, address, len),
            Self::Worker(connection) => connection.is_block(address, len),
        }
    }
}

/// What an object is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    /// Its place in the driver's table, and which of all that were there.
    pub(super) id: u64,
    /// For people: the number of its task. A block has none (0).
    pub(super) number: u64,
}

impl Name {
    /// As it stands in a value.
    pub(super) fn words(self) -> [u64; 2] {
        [self.id, self.number]
    }

    /// The one that stands there.
    pub(super) fn of([id, number, ..]: [u64; 4]) -> Self {
        Self { id, number }
    }

    /// Of a block.
    pub(super) fn block(id: u64) -> Self {
        Self { id, number: 0 }
    }
}

/// One count of an object, whatever its type.
pub(super) struct Handle {
    name: Name,
    side: Side,
}

impl Handle {
    /// Takes over a count that was made for it.
    pub(super) fn counted(name: Name, side: Side) -> Self {
        Self { name, side }
    }

    /// One more, of what somebody else holds. `None`: nobody does.
    pub(super) fn again(name: Name, side: Side) -> Option<Self> {
        side.retain(name.id).then(|| Self { name, side })
    }

    pub(super) fn id(&self) -> u64 {
        self.name.id
    }

    /// For people.
    pub(super) fn number(&self) -> u64 {
        self.name.number
    }

    pub(super) fn stamp(&self) -> usize {
        self.side.stamp()
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // There is one already, so it is there; in a child of the driver, where nothing is, the
        // copy does as little as the original.
        let _ = self.side.retain(self.name.id);
        Self { name: self.name, side: self.side.clone() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.side.release(self.name.id);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Name { id, number: 0 } => write!(f, "block {}.{}", id as u32, id >> 32),
            Name { number, .. } => write!(f, "task {number}"),
        }
    }
}

/// A future: the value that a task will have, or has. Pass it on as an argument, or [`get`] it.
///
/// Clones count; the value is freed when the last one is gone, in whatever process. Inside another
/// value (a `Vec<ObjectRef<T>>` as an argument, say) it arrives as a ref.
///
/// [`get`]: Self::get
pub struct ObjectRef<T> {
    handle: Handle,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for ObjectRef<T> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone())
    }
}

impl<T> fmt::Debug for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({:?})", self.handle)
    }
}

impl<T> PartialEq for ObjectRef<T> {
    fn eq(&self, other: &Self) -> bool {
        let (own, other) = (&self.handle, &other.handle);
        own.name == other.name && own.stamp() == other.stamp()
    }
}

impl<T> Eq for ObjectRef<T> {}

impl<T> Hash for ObjectRef<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.handle.name.id.hash(state);
        self.handle.stamp().hash(state);
    }
}

impl<T> ObjectRef<T> {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, value: PhantomData }
    }

    /// The number of its task: the one that errors, listings and reports of cancels give. A value
    /// that was [put](Flow::put) has one as well.
    pub fn id(&self) -> u64 {
        self.handle.number()
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn erase(self) -> Handle {
        self.handle
    }

    /// Whether there is a value, or an error in its place.
    pub fn is_ready(&self) -> bool {
        self.wait_until(Some(Instant::now())).is_ok()
    }

    /// Waits without looking at the value. True when it is there (or has failed).
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout)).is_ok()
    }

    fn wait_until(&self, until: Option<Instant>) -> Result<(), Error> {
        match &self.handle.side {
            Side::Host(host) => host.wait_for(self.handle.id(), until),
            Side::Worker(connection) => connection.wait_for(self.handle.id(), until),
        }
    }
}

impl<T: DeserializeOwned> ObjectRef<T> {
    /// Waits for the value.
    ///
    /// # Errors
    /// Why there is none ([`Error::Task`]); the flow is closed.
    pub fn get(&self) -> Result<T, Error> {
        self.get_until(None)
    }

    /// The same, at most for `timeout` (zero: only looks). The task goes on after that.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and [`Error::Timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.get_until(Instant::now().checked_add(timeout))
    }

    /// Waits for the value and returns what `callback` makes of it; it is not called on failure.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn get_with<U>(&self, callback: impl FnOnce(T) -> U) -> Result<U, Error> {
        self.get().map(callback)
    }

    fn get_until(&self, until: Option<Instant>) -> Result<T, Error> {
        match &self.handle.side {
            Side::Host(host) => host.get(self.handle.id(), until),
            Side::Worker(connection) => connection.get(self.handle.id(), until),
        }
    }
}

impl<T: Viewable> ObjectRef<T> {
    /// Waits for the value and lends it where it is. Large ones (64 KiB and more) are not copied.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn view(&self) -> Result<View<T>, Error> {
        let bytes = match &self.handle.side {
            Side::Host(host) => host.encoded(self.handle.id(), None)?,
            Side::Worker(connection) => connection.encoded(self.handle.id(), None)?,
        };
        View::new(bytes, self.handle.clone())
    }
}

impl<T> Serialize for ObjectRef<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle = &self.handle;
        put_token(serializer, kind::REF, Some(handle), handle.stamp(), &handle.name.words())
    }
}

impl<'de, T> Deserialize<'de> for ObjectRef<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let words = take_words(deserializer, kind::REF)?;
        let side = Side::current().map_err(D::Error::custom)?;
        let handle = Handle::again(Name::of(words), side);
        handle.map(Self::new).ok_or_else(|| D::Error::custom("the value of a ref is gone"))
    }
}

/// One ref to all values, in order. It fails with the first of them that fails.
///
/// # Errors
/// The flow is closed.
pub fn gather<T>(flow: &Flow, refs: &[ObjectRef<T>]) -> Result<ObjectRef<Vec<T>>, Error> {
    flow.dispatch(&GATHER, None, &mut |writer: &mut ArgWriter| {
        refs.iter().for_each(|one| IntoArg::<T>::put(one, writer));
    })
}

/// Puts encoded values behind each other, which makes them an encoded vector.
#[linkme::distributed_slice(node::NODES)]
static GATHER: node::NodeDesc = node::NodeDesc {
    name: "mailring::gather",
    file: file!(),
    line: line!(),
    params: &[],
    cpus: 0,
    resources: &[],
    max_retries: 3,
    deadline_ns: 0,
    priority: 0,
    kind: Kind::Node,
    run: |call_context| call_context.complete_gathered(),
    check: |_| Ok(()),
};

/// A value as it was given.
#[linkme::distributed_slice(node::NODES)]
pub(super) static SAME: node::NodeDesc = node::NodeDesc {
    name: "mailring::put",
    file: file!(),
    line: line!(),
    params: &["value"],
    cpus: 0,
    resources: &[],
    max_retries: 3,
    deadline_ns: 0,
    priority: 0,
    kind: Kind::Node,
    run: |call_context| call_context.complete_same(),
    check: |_| Ok(()),
};
