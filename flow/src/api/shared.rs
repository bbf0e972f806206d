//! Blocks of plain elements that tasks share.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::current;
use super::flow::Flow;
use crate::protocol::codec::{kind, take_words};
use crate::protocol::error::Error;
use crate::protocol::handle::{Handle, Name};

/// Elements in shared memory, written once and then read by everybody where they are: a value of
/// a task or an argument that is never copied, whatever its size.
///
/// ```rust,standalone_crate
/// use mailring::flow::{Flow, Resources, Shared, node};
///
/// #[node]
/// fn ones(len: usize) -> Shared<f32> {
///     let flow = Flow::current().expect("inside a task");
///     Shared::new(&flow, len, |all: &mut [f32]| all.fill(1.0)).expect("room")
/// }
///
/// #[node]
/// fn sum(all: Shared<f32>) -> f32 {
///     all.iter().sum()
/// }
///
/// # fn main() -> Result<(), mailring::flow::Error> {
/// let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).build()?;
/// let all = ones::remote(&flow, 1000usize)?;
/// assert_eq!(sum::remote(&flow, &all)?.get()?, 1000.0);
/// assert_eq!(all.get()?[999], 1.0);
/// # Ok(())
/// # }
/// ```
pub struct Shared<T> {
    handle: Handle,
    address: u64,
    len: usize,
    elements: PhantomData<fn() -> T>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), ..*self }
    }
}

impl<T: Pod> Shared<T> {
    /// Room for `len` elements, zeroed, and filled by `fill`.
    ///
    /// # Errors
    /// There is no memory, or the flow is closed.
    pub fn new(flow: &Flow, len: usize, fill: impl FnOnce(&mut [T])) -> Result<Self, Error> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| Error::Memory {
            bytes: u64::MAX,
            why: format!("{len} elements of {} bytes", size_of::<T>()),
        })?;
        let mut fill = Some(fill);
        let (handle, address) = flow.side().new_block(bytes as u64, &mut |room: &mut [u8]| {
            if let Some(fill) = fill.take() {
                room.fill(0); // it may have been another's
                // Pages are aligned for everything that is `Pod` here.
                fill(bytemuck::cast_slice_mut(room));
            }
        })?;
        Ok(Self { handle, address, len, elements: PhantomData })
    }

    /// A copy of these elements.
    ///
    /// # Errors
    /// There is no memory, or the flow is closed.
    pub fn from_slice(flow: &Flow, elements: &[T]) -> Result<Self, Error> {
        Self::new(flow, elements.len(), |room| room.copy_from_slice(elements))
    }
}

impl<T: Pod> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let first: *const T = std::ptr::with_exposed_provenance(self.address as usize);
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the place of a complete block that the handle keeps, checked when this was made;
        // page-aligned; all bits are values of a `Pod`, and nobody can write it any more.
        unsafe { std::slice::from_raw_parts(first, self.len) }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} elements, {:?})", self.len, self.handle)
    }
}

impl<T> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle = &self.handle;
        let words = [handle.id(), self.address, self.len as u64];
        current::put_token(serializer, kind::SHARED, Some(handle), handle.stamp(), &words)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let [id, address, len, _] = take_words(deserializer, kind::SHARED)?;
        let side = current::side().map_err(D::Error::custom)?;
        let bytes = len.checked_mul(size_of::<T>() as u64);
        let known = bytes.is_some_and(|bytes| side.is_block(id, address, bytes));
        if !known || address % align_of::<T>() as u64 != 0 {
            return Err(D::Error::custom("no shared block of this flow, or it is gone"));
        }
        let gone = || D::Error::custom("the shared block is gone");
        let handle = Handle::again(Name::block(id), side).ok_or_else(gone)?;
        Ok(Self { handle, address, len: len as usize, elements: PhantomData })
    }
}
