//! Refs: handles to values that may not exist yet.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::current;
use super::view::View;
use crate::protocol::codec::{Viewable, kind, take_words};
use crate::protocol::error::Error;
use crate::protocol::handle::{Handle, Name, Side};
use crate::protocol::refs;

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
        own.name() == other.name() && own.stamp() == other.stamp()
    }
}

impl<T> Eq for ObjectRef<T> {}

impl<T> Hash for ObjectRef<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.handle.id().hash(state);
        self.handle.stamp().hash(state);
    }
}

impl<T> ObjectRef<T> {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, value: PhantomData }
    }

    /// The number of its task: the one that errors, listings and reports of cancels give. A value
    /// that was [put](crate::Flow::put) has one as well.
    pub fn id(&self) -> u64 {
        self.handle.number()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn erase(self) -> Handle {
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
        self.handle.side().wait_for(self.handle.id(), until)
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
        let side = self.handle.side();
        let mut value = None;
        side.encoded_each(&[self.handle.id()], until, &mut |bytes| {
            value = Some(decode(bytes, side)?);
            Ok(())
        })?;
        value.ok_or_else(|| Error::Closed("an answer without a value".to_owned()))
    }
}

impl<T: Viewable> ObjectRef<T> {
    /// Waits for the value and lends it where it is. Large ones (64 KiB and more) are not copied.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn view(&self) -> Result<View<T>, Error> {
        let bytes = self.handle.side().encoded(self.handle.id(), None)?;
        View::new(bytes, self.handle.clone())
    }
}

impl<T> Serialize for ObjectRef<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle = &self.handle;
        current::put_token(
            serializer,
            kind::REF,
            Some(handle),
            handle.stamp(),
            &handle.name().words(),
        )
    }
}

impl<'de, T> Deserialize<'de> for ObjectRef<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let words = take_words(deserializer, kind::REF)?;
        let side = current::side().map_err(D::Error::custom)?;
        let handle = Handle::again(Name::of(words), side);
        handle.map(Self::new).ok_or_else(|| D::Error::custom("the value of a ref is gone"))
    }
}

/// Decodes a value; refs inside belong to this flow.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], side: &Side) -> Result<T, Error> {
    refs::decode(bytes, Some(side))
        .map_err(|fault| Error::Decode { what: "the value".to_owned(), why: fault.to_string() })
}
