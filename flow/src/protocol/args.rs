//! Arguments on their way: each is a value, encoded, or a ref to one.
//!
//! A call hands its arguments on from part to part, so they are behind a pointer; and each call has
//! some, so their memory is kept by the thread that dropped them.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::codec::Buffer;
use super::error::Error;

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Arg {
    /// So many of the encoded bytes.
    Value(u32),
    /// The value of this object.
    Ref(u64),
}

/// What arguments are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub(crate) list: SmallVec<[Arg; 4]>,
    pub(crate) bytes: Buffer,
    /// Objects that the encoded values name.
    pub(crate) nested: Vec<u64>,
}

thread_local! {
    /// What the last call of this thread has left.
    static SPARE: Cell<Option<Box<Parts>>> = const { Cell::new(None) };
}

/// The arguments of a call.
#[derive(Debug, PartialEq)]
pub(crate) struct Args(ManuallyDrop<Box<Parts>>);

impl Default for Args {
    #[inline]
    fn default() -> Self {
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        Self(ManuallyDrop::new(spare.unwrap_or_default()))
    }
}

impl Drop for Args {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here; the value is not used after its drop.
        let mut parts = unsafe { ManuallyDrop::take(&mut self.0) };
        if parts.clear() {
            // A thread that is ending keeps none any more.
            let _ = SPARE.try_with(|spare| spare.set(Some(parts)));
        }
    }
}

impl Deref for Args {
    type Target = Parts;

    #[inline]
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Args {
    #[inline]
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl Clone for Args {
    fn clone(&self) -> Self {
        Parts::clone(self).into()
    }
}

impl From<Parts> for Args {
    fn from(parts: Parts) -> Self {
        Self(ManuallyDrop::new(Box::new(parts)))
    }
}

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Parts::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Parts::deserialize(deserializer).map(Self::from)
    }
}

impl Parts {
    /// Forgets all of it. False when it had memory of its own, and is better dropped.
    #[inline]
    pub(crate) fn clear(&mut self) -> bool {
        let large = self.list.spilled() || self.bytes.spilled() || self.nested.capacity() > 0;
        if !large {
            // SAFETY: plain values, so to forget them is to drop them; `clear` would walk them.
            unsafe {
                self.list.set_len(0);
                self.bytes.set_len(0);
            }
        }
        !large
    }

    /// Every object that they name.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        let refs = self.list.iter().filter_map(|arg| match arg {
            Arg::Ref(id) => Some(*id),
            Arg::Value(_) => None,
        });
        refs.chain(self.nested.iter().copied())
    }

    /// Whether the lengths fit the bytes: another process may have made them.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let lengths = self.list.iter().map(|arg| match arg {
            Arg::Value(len) => u64::from(*len),
            Arg::Ref(_) => 0,
        });
        if lengths.sum::<u64>() == self.bytes.len() as u64 {
            return Ok(());
        }
        Err(Error::Invalid("the lengths of arguments do not fit their bytes".to_owned()))
    }

    /// The encoded values, in order; `None` for a ref.
    pub(crate) fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.bytes[..];
        self.list.iter().map(move |arg| match arg {
            Arg::Value(len) => {
                let (value, behind) = rest.split_at(*len as usize);
                rest = behind;
                Some(value)
            }
            Arg::Ref(_) => None,
        })
    }
}
