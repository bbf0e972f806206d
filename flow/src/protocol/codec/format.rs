//! The format: tags, extensions and marks, and what is said of bytes that do not fit it.

use std::fmt;

use smallvec::SmallVec;

/// Encoded values, as far as they are small.
pub(crate) type Buffer = SmallVec<[u8; 64]>;

/// How deep a value can be nested: arrays, maps, variants, options and newtypes count. Both sides
/// need stack for each level.
pub(crate) const MAX_DEPTH: usize = 256;

/// Where plain values lie.
pub(crate) const ALIGN: usize = 64;

/// What the last byte of a value says.
pub(super) mod tag {
    pub(crate) const MESSAGE: u8 = 1;
    pub(crate) const TEXT: u8 = 2;
    pub(crate) const PATH: u8 = 3;
    pub(crate) const ONE: u8 = 0x20;
    pub(crate) const MANY: u8 = 0x40;
    /// The bits that say which number.
    pub(crate) const CODE: u8 = 0x1f;
}

/// Extension types of MessagePack that we use. All numbers in them are big-endian, but those of
/// `NUMBERS`.
pub(super) mod ext {
    /// A byte: so many options around nothing (`Some(None)` is 1).
    pub(crate) const SOME: u8 = 1;
    /// Integers that 64 bits do not hold.
    pub(crate) const U128: u8 = 2;
    pub(crate) const I128: u8 = 3;
    /// What refs, shared blocks and actors are known by.
    pub(crate) const REF: u8 = 4;
    pub(crate) const SHARED: u8 = 5;
    pub(crate) const ACTOR: u8 = 6;
    /// And above: a list of numbers as their bytes, by the code of their type.
    pub(crate) const NUMBERS: u8 = 32;
}

/// First bytes of MessagePack's items.
pub(super) mod mark {
    pub(crate) const FIX_MAP: u8 = 0x80;
    pub(crate) const FIX_ARRAY: u8 = 0x90;
    pub(crate) const FIX_STR: u8 = 0xa0;
    pub(crate) const NIL: u8 = 0xc0;
    pub(crate) const UNUSED: u8 = 0xc1;
    pub(crate) const FALSE: u8 = 0xc2;
    pub(crate) const TRUE: u8 = 0xc3;
    /// These and the next are followed by those with longer lengths.
    pub(crate) const BIN_8: u8 = 0xc4;
    pub(crate) const EXT_8: u8 = 0xc7;
    pub(crate) const F32: u8 = 0xca;
    pub(crate) const F64: u8 = 0xcb;
    pub(crate) const U8: u8 = 0xcc;
    pub(crate) const I8: u8 = 0xd0;
    pub(crate) const FIX_EXT_1: u8 = 0xd4;
    pub(crate) const STR_8: u8 = 0xd9;
    pub(crate) const ARRAY_16: u8 = 0xdc;
    pub(crate) const MAP_16: u8 = 0xde;
    pub(crate) const FIX_NEGATIVE: u8 = 0xe0;
}

/// Why a value cannot be written or read, in the words of whoever found out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub(super) String);

impl Fault {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// With the place in the bytes.
    #[cold]
    pub(super) fn at(self, at: usize, len: usize) -> Self {
        Self(format!("{} (at byte {at} of {len})", self.0))
    }
}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }
}
