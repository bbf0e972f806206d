//! What a callable does with an argument, and lists of that.

use super::{AbiError, count};
use crate::limits::MAX_SIGNATURE;

/// What a callable does with an argument, by the number that travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum ArgDirection {
    /// A number, no tensor.
    Scalar = 0,
    /// A tensor that it reads.
    In = 1,
    /// A tensor that it writes.
    Out = 2,
    /// A tensor that it reads and writes.
    InOut = 3,
}

impl ArgDirection {
    /// All directions, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::In, Self::Out, Self::InOut];

    /// The name that other tools print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "SCALAR",
            Self::In => "IN",
            Self::Out => "OUT",
            Self::InOut => "INOUT",
        }
    }
}

impl TryFrom<i32> for ArgDirection {
    type Error = AbiError;

    fn try_from(value: i32) -> Result<Self, AbiError> {
        let known = usize::try_from(value).ok().and_then(|at| Self::ALL.get(at));
        known.copied().ok_or(AbiError::UnknownDirection(value))
    }
}

/// The numbers of a signature in a header.
pub(super) type RawSignature = [i32; MAX_SIGNATURE];

/// A checked signature, by value: in the header it may be misaligned.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    entries: [ArgDirection; MAX_SIGNATURE],
    len: usize,
}

impl Signature {
    pub(super) fn new(what: &'static str, given: &[ArgDirection]) -> Result<Self, AbiError> {
        let mut entries = [ArgDirection::Scalar; MAX_SIGNATURE];
        let (len, limit) = (given.len(), MAX_SIGNATURE);
        let places = entries.get_mut(..len);
        places
            .ok_or(AbiError::TooMany { what, field: "signature entries", count: len, limit })?
            .copy_from_slice(given);
        Ok(Self { entries, len })
    }

    pub(super) fn read(
        what: &'static str,
        raw: &RawSignature,
        sig_count: i32,
    ) -> Result<Self, AbiError> {
        let len = count(what, "sig_count", sig_count, MAX_SIGNATURE)?;
        let mut entries = [ArgDirection::Scalar; MAX_SIGNATURE];
        for (index, (entry, &value)) in entries.iter_mut().zip(raw).take(len).enumerate() {
            *entry = ArgDirection::try_from(value).map_err(|source| AbiError::Entry {
                what: "signature entry",
                index,
                source: Box::new(source),
            })?;
        }
        Ok(Self { entries, len })
    }

    /// As a header holds it: the numbers, and how many they are.
    pub(super) fn raw(&self) -> (RawSignature, i32) {
        (self.entries.map(|entry| entry as i32), self.len as i32)
    }

    pub(super) fn entries(&self) -> &[ArgDirection] {
        &self.entries[..self.len]
    }

    pub(super) fn entry(&self, index: usize) -> Result<ArgDirection, AbiError> {
        let out = AbiError::OutOfRange { what: "signature entry", index, count: self.len };
        self.entries().get(index).copied().ok_or(out)
    }
}
