//! Arguments on their way: each is a value, encoded, or a ref to one.

use serde::{Deserialize, Serialize};
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

/// The arguments of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Args {
    pub(crate) list: SmallVec<[Arg; 4]>,
    pub(crate) bytes: Buffer,
    /// Objects that the encoded values name.
    pub(crate) nested: Vec<u64>,
}

impl Args {
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
