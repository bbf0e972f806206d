//! Values that are lent where they are.

use std::ops::Deref;
use std::ptr::NonNull;

use crate::protocol::codec::{Aligned, Viewable, decode, is_misplaced};
use crate::protocol::error::Error;
use crate::protocol::handle::Handle;
use crate::protocol::value::Encoded;

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
    pub(crate) fn new(bytes: Encoded, handle: Handle) -> Result<Self, Error> {
        // SAFETY: the handle keeps the value; both live as long as the view.
        let value = unsafe { bytes.bytes() };
        let len = value.len();
        let aligned = is_misplaced(value).then(|| Aligned::copy_of(value));
        let place = aligned.as_ref().map_or(value, |aligned| &aligned.bytes()[..len]);
        let target = T::view(place).map(NonNull::from).ok_or_else(|| Error::Decode {
            what: "the value".to_owned(),
            why: match decode::<T>(value) {
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
