//! Handles of objects, and what they ask of their flow: of the driver itself, or of a worker's
//! connection to it.

use std::any::Any;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::args::Args;
use super::cancel::{Cancel, CancelReport, Target};
use super::error::Error;
use super::note::Note;
use super::options::Overrides;
use super::pending::Pending;
use super::value::Encoded;

/// Writes a value into the room that was made for it.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&mut [u8]);

/// Does something with an encoded value.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

/// What can be asked of a flow from both sides. Names that it returns are counted once for the
/// caller, who makes a [`Handle`] of each.
pub(crate) trait Endpoint: Any + Send + Sync {
    /// Which flow this is: refs of another mean nothing here.
    fn stamp(&self) -> usize;

    /// One count more. False for what is not there, as far as this side knows.
    #[must_use]
    fn retain(&self, id: u64) -> bool;

    /// One less.
    fn release(&self, id: u64);

    /// Room for a block that others share: its object and address.
    fn take_block(&self, bytes: u64) -> Result<(u64, u64), Error>;

    /// Fills the first `bytes` of a block that was taken just now; from here on it is read only.
    fn fill_block(&self, address: u64, bytes: u64, fill: Fill<'_>) -> Result<(), Error>;

    /// Whether an object is a complete block of these bytes.
    fn is_block(&self, id: u64, address: u64, len: u64) -> bool;

    /// Waits until the object is complete.
    fn wait_for(&self, id: u64, until: Option<Instant>) -> Result<(), Error>;

    /// The encoded value. Large ones are not copied; whoever asks holds a count.
    fn encoded(&self, id: u64, until: Option<Instant>) -> Result<Encoded, Error>;

    /// All encoded values in order, or the first failure.
    fn encoded_each(
        &self,
        ids: &[u64],
        until: Option<Instant>,
        each: Each<'_>,
    ) -> Result<(), Error>;

    /// Calls a node, or a method of an actor. The arguments are taken, here and below; refs of the
    /// caller that were given away may be, once the call holds what they named.
    fn submit(
        &self,
        node: u32,
        args: &mut Args,
        given: &mut Given,
        overrides: Option<&Overrides>,
        actor: Option<u64>,
    ) -> Result<Name, Error>;

    /// A value of the caller's own.
    fn put(&self, args: &mut Args) -> Result<Name, Error>;

    /// Makes an actor: its name for handles.
    fn spawn(
        &self,
        node: u32,
        args: &mut Args,
        overrides: &Overrides,
        max_restarts: Option<i32>,
    ) -> Result<u64, Error>;

    /// Ends an actor.
    fn kill(&self, actor: u64) -> Result<(), Error>;

    /// Cancels what is meant.
    fn cancel(&self, target: &Target, cancel: Cancel) -> Result<Vec<CancelReport>, Error>;

    /// Says something for the profile. Without one nobody hears it.
    fn note(&self, note: Note);

    /// Why an object is not complete.
    fn pending(&self, id: u64) -> Result<Pending, Error>;

    /// Waits until `need` are complete, or the time is over: which are.
    fn wait_some(
        &self,
        ids: &[u64],
        need: usize,
        until: Option<Instant>,
    ) -> Result<Vec<bool>, Error>;
}

/// Where a handle was made: in the driver, or in a worker.
#[derive(Clone)]
pub(crate) enum Side {
    /// For as long as anybody uses it.
    Counted(Arc<dyn Endpoint>),
    /// A worker process has one connection for good.
    Process(&'static dyn Endpoint),
}

impl Deref for Side {
    type Target = dyn Endpoint;

    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Counted(endpoint) => &**endpoint,
            Self::Process(endpoint) => *endpoint,
        }
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counted(_) => "this process",
            Self::Process(_) => "worker",
        })
    }
}

impl Side {
    /// Whether both are the same endpoint.
    #[inline]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        std::ptr::addr_eq(std::ptr::from_ref(&**self), std::ptr::from_ref(&**other))
    }

    /// A block that others share, filled by `fill`; its handle and address.
    pub(crate) fn new_block(&self, bytes: u64, fill: Fill<'_>) -> Result<(Handle, u64), Error> {
        let (id, address) = self.take_block(bytes)?;
        // From here on it is let go in any case, also when `fill` panics.
        let handle = Handle::counted(Name::block(id), self.clone());
        self.fill_block(address, bytes, fill)?;
        Ok((handle, address))
    }

    /// The endpoint as a `T`, if it is one for as long as anybody uses it.
    pub(crate) fn downcast<T: Endpoint>(&self) -> Option<Arc<T>> {
        match self {
            Self::Counted(endpoint) => {
                let any: Arc<dyn Any + Send + Sync> = Arc::clone(endpoint) as _;
                any.downcast().ok()
            }
            Self::Process(_) => None,
        }
    }
}

/// What an object is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name {
    /// Its place in the driver's table, and which of all that were there.
    pub(crate) id: u64,
    /// For people: the number of its task. A block has none (0).
    pub(crate) number: u64,
}

impl Name {
    /// As it stands in a value.
    pub(crate) fn words(self) -> [u64; 2] {
        [self.id, self.number]
    }

    /// The one that stands there.
    pub(crate) fn of([id, number, ..]: [u64; 4]) -> Self {
        Self { id, number }
    }

    /// Of a block.
    pub(crate) fn block(id: u64) -> Self {
        Self { id, number: 0 }
    }
}

/// One count of an object, whatever its type.
pub(crate) struct Handle {
    name: Name,
    side: Side,
}

impl Handle {
    /// Takes over a count that was made for it.
    pub(crate) fn counted(name: Name, side: Side) -> Self {
        Self { name, side }
    }

    /// One more, of what somebody else holds. `None`: nobody does.
    pub(crate) fn again(name: Name, side: Side) -> Option<Self> {
        side.retain(name.id).then(|| Self { name, side })
    }

    /// Gives the count away: the name of its object, and where it was made. Whoever calls lets it go.
    #[inline]
    fn give(self) -> (u64, Side) {
        let handle = ManuallyDrop::new(self);
        // SAFETY: read once, since the handle is neither used nor dropped after this.
        let side = unsafe { std::ptr::read(&raw const handle.side) };
        (handle.name.id, side)
    }

    pub(crate) fn id(&self) -> u64 {
        self.name.id
    }

    /// What its object is known by.
    pub(crate) fn name(&self) -> Name {
        self.name
    }

    /// Where it was made.
    pub(crate) fn side(&self) -> &Side {
        &self.side
    }

    /// For people.
    pub(crate) fn number(&self) -> u64 {
        self.name.number
    }

    pub(crate) fn stamp(&self) -> usize {
        self.side.stamp()
    }
}

/// Refs that were given away with a call, as counts that it may take over. Those that it leaves are
/// let go.
#[derive(Debug, Default)]
pub(crate) struct Given {
    ids: SmallVec<[u64; 2]>,
    /// Where all of them were made.
    side: Option<Side>,
}

impl Given {
    /// One more, of the same endpoint as the others.
    #[inline]
    pub(crate) fn add(&mut self, handle: Handle) {
        let (id, side) = handle.give();
        self.ids.push(id);
        self.side.get_or_insert(side);
    }

    /// Takes a count over: the name of its object.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u64> {
        self.ids.pop()
    }

    /// What the handles had of their flow, once none of their counts is left.
    #[inline]
    pub(crate) fn take_side(&mut self) -> Option<Side> {
        if self.ids.is_empty() { self.side.take() } else { None }
    }
}

impl Drop for Given {
    #[inline]
    fn drop(&mut self) {
        if let Some(side) = &self.side {
            self.ids.iter().for_each(|&id| side.release(id));
        }
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
