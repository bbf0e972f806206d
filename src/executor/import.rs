//! Memory that came after the fork: buffers over a memfd, or over somebody else's.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mailring_process::map;

use super::buffer::Buffer;
use super::shared::Shared;
use crate::abi::Element;
use crate::error::Error;

/// A memfd for `len` elements.
pub(super) fn memory_for<T: Element>(len: usize) -> Result<OwnedFd, Error> {
    let bytes = len.saturating_mul(size_of::<T>()).max(1);
    map::memory_file("mailring-buffer", bytes)
        .map_err(|source| Error::Import { what: "making a memfd", source })
}

/// Makes sure that the file has `len` elements, and, if it is to be `sealed`, that it stays so.
/// Returns their bytes.
pub(super) fn check<T: Element>(memory: &OwnedFd, len: usize, sealed: bool) -> Result<u64, Error> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    if u32::try_from(len).is_err() {
        return Err(Error::BufferLength(len));
    }
    let long_enough = || {
        let failed = |source| Error::Import { what: "asking for its size", source };
        match map::file_bytes(memory.as_fd()).map_err(failed)? {
            available if bytes > available => {
                Err(Error::ImportTooShort { asked: bytes, available })
            }
            _ => Ok(()),
        }
    };
    long_enough()?;
    if !map::seal_length(memory.as_fd()) && sealed {
        return Err(Error::ImportUnsealed);
    }
    // Read again now that nobody can make it shorter.
    long_enough()?;
    Ok(bytes)
}

/// A buffer over what [`check`] has looked at. `foreign`: others have the memory as well.
pub(super) fn take_over<T: Element>(
    shared: &Arc<Shared>,
    memory: OwnedFd,
    len: usize,
    bytes: u64,
    foreign: bool,
) -> Result<Buffer<T>, Error> {
    let record = shared.buffers.import(memory, bytes)?;
    Ok(Buffer::over(shared, record, len, foreign))
}
