//! Encoded values, as they are handed over.

use smallvec::SmallVec;

/// Values of this many encoded bytes have pages of their own: complete, nobody can write them.
pub(crate) const OWN_PAGES: u64 = 64 << 10;

/// Encoded bytes: a copy, or where they are.
pub(crate) enum Encoded {
    Short(SmallVec<[u8; 32]>),
    Copied(Vec<u8>),
    Placed { address: u64, len: u64 },
}

impl Encoded {
    /// # Safety
    /// Whoever calls holds a count of the object for as long as the slice lives, and placed
    /// bytes are those of a complete value.
    pub(crate) unsafe fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Copied(bytes) => bytes,
            Self::Placed { address, len } => {
                let first = std::ptr::with_exposed_provenance(*address as usize);
                // SAFETY: whoever made this checked the place; the rest is the caller's word.
                unsafe { std::slice::from_raw_parts(first, *len as usize) }
            }
        }
    }
}
