//! Callables: what a chip runtime is given to run, as one block of bytes.
//!
//! A *core callable* is a signature and a binary. A *chip callable* is a signature, names, the
//! binary that orchestrates, and up to 32 core callables, its children. Owned ones are built and
//! always well-formed; views read bytes that came from elsewhere and check everything first.

mod chip_callable;
mod core_callable;
mod direction;
mod storage;

pub use chip_callable::{Children, ChipCallable, ChipCallableBuilder, ChipCallableView};
pub use core_callable::{CoreCallable, CoreCallableView};
pub use direction::ArgDirection;

use super::AbiError;
use crate::limits::CALLABLE_ALIGN;

/// Copies the header at the beginning of `bytes`, whatever its alignment: children lie at
/// addresses that are no multiple of 8.
fn header<H: bytemuck::AnyBitPattern>(what: &'static str, bytes: &[u8]) -> Result<H, AbiError> {
    let (need, have) = (size_of::<H>(), bytes.len());
    let truncated = AbiError::Truncated { what, field: "the header", need, have };
    let first = bytes.get(..need).ok_or(truncated.clone())?;
    bytemuck::try_pod_read_unaligned(first).map_err(|_| truncated)
}

/// A count of a header, checked.
fn count(
    what: &'static str,
    field: &'static str,
    value: impl Into<i64> + Copy,
    limit: usize,
) -> Result<usize, AbiError> {
    usize::try_from(value.into()).ok().filter(|&count| count <= limit).ok_or(AbiError::BadCount {
        what,
        field,
        value: value.into(),
        limit,
    })
}

/// The first multiple of [`CALLABLE_ALIGN`] from `at` on.
fn aligned(at: u64) -> u64 {
    at.next_multiple_of(CALLABLE_ALIGN as u64)
}
