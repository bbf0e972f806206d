//! Values where they are: lent for reading, and blocks of plain elements that tasks share.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Flow;
use crate::codec::{Aligned, Viewable, decode, is_misplaced, kind, put_token, take_words};
use crate::error::Error;
use crate::reference::{Handle, Name, Side};

/// Values of this many encoded bytes have pages of their own: complete, nobody can write them.
pub(super) const OWN_PAGES: u64 = 64 << 10;

/// Encoded bytes: a copy, or where they are.
pub(super) enum Encoded {
    Copied(Vec<u8>),
    Placed { address: u64, len: u64 },
}

impl Encoded {
    /// # Safety
    /// Whoever calls holds a count of the object for as long as the slice lives, and placed
    /// bytes are those of a complete value.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Placed { address, len } => {
                let first = std::ptr::with_exposed_provenance(*address as usize);
                // SAFETY: whoever made this checked the place; the rest is the caller's word.
                unsafe { std::slice::from_raw_parts(first, *len as usize) }
            }
        }
    }
}

/// A value that is lent where it is: [`ObjectRef::view`](crate::ObjectRef::view).
pub struct View<T: Viewable> {
    /// Inside of the bytes below.
    target: NonNull<T::Target>,
    _bytes: Encoded,
    /// A copy, if those do not lie at a multiple of 64.
    _aligned: Option<Aligned>,
    _handle: Handle,
}

// SAFETY: it lends what nobody writes; the rest can go to other threads by itself.
unsafe impl<T: Viewable> Send for View<T> where T::Target: Sync {}
// SAFETY: as above.
unsafe impl<T: Viewable> Sync for View<T> where T::Target: Sync {}

impl<T: Viewable> View<T> {
    pub(super) fn new(bytes: Encoded, handle: Handle) -> Result<Self, Error> {
        // SAFETY: the handle keeps the value; both live as long as the view.
        let value = unsafe { bytes.bytes() };
        let len = value.len();
        let aligned = is_misplaced(value).then(|| Aligned::copy_of(value));
        let place = aligned.as_ref().map_or(value, |aligned| &aligned.bytes()[..len]);
        let target = T::view(place).map(NonNull::from).ok_or_else(|| Error::Decode {
            what: "the value".to_owned(),
            why: match decode::<T>(value, None) {
                Ok(_) => {
                    "it was put together from parts, and is not in one piece: get it".to_owned()
                }
                Err(fault) => fault.to_string(),
            },
        })?;
        Ok(Self { target, _bytes: bytes, _aligned: aligned, _handle: handle })
    }
}

impl<T: Viewable> Deref for View<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        // SAFETY: found in the bytes when this was made; they are on the heap or in the values,
        // so they have not moved, and nobody writes them.
        unsafe { self.target.as_ref() }
    }
}

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
        put_token(serializer, kind::SHARED, Some(handle), handle.stamp(), &words)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let [id, address, len, _] = take_words(deserializer, kind::SHARED)?;
        let side = Side::current().map_err(D::Error::custom)?;
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
