//! Memory that came after the fork: buffers over a memfd, or over somebody else's.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Release;

use mailring_process::map;

use super::Executor;
use super::buffer::Buffer;
use super::buffer_allocator::Pool;
use crate::abi::Element;
use crate::error::Error;
use crate::limits::MAX_IMPORTS;

impl Executor {
    /// A buffer in a memfd of its own: not limited by `buffer_bytes`, but by the window of
    /// [`import_bytes`](crate::Builder::import_bytes). Zeroed. When it is dropped and its last task is
    /// through, its memory goes back to the machine, within about a second (an idle worker lets go
    /// when it looks up).
    ///
    /// # Errors
    /// As [`import`](Self::import); there is no memory.
    pub fn memfd_buffer<T: Element>(&self, len: usize) -> Result<Buffer<T>, Error> {
        let bytes = len.saturating_mul(size_of::<T>()).max(1);
        let memory = map::memory_file("mailring-buffer", bytes)
            .map_err(|source| Error::Import { what: "making a memfd", source })?;
        self.take_over(memory, len, true, false)
    }

    /// A buffer over memory that others share as well: the first `len` elements of a memfd. Tensors
    /// name it like every other buffer.
    ///
    /// Workers get the descriptor when the first task that names the buffer comes to them, and
    /// map it once, at the same address everywhere. Executors of a level below do not have such
    /// memory.
    ///
    /// The memfd is sealed against shrinking (`F_SEAL_SHRINK`), unless it is already: whoever touched
    /// bytes that somebody had cut off would die of SIGBUS. What cannot be sealed is refused: a
    /// memfd made without `MFD_ALLOW_SEALING`, and every other file. For those there is
    /// [`import_unsealed`](Self::import_unsealed).
    ///
    /// # Errors
    /// The file is shorter than that, cannot be sealed, or cannot be mapped; the window or the table
    /// of imports is full.
    pub fn import<T: Element>(&self, memory: OwnedFd, len: usize) -> Result<Buffer<T>, Error> {
        self.take_over(memory, len, true, true)
    }

    /// The same for any file that can be mapped shared, sealed or not.
    ///
    /// # Errors
    /// As [`import`](Self::import), seals excepted.
    ///
    /// # Safety
    /// Nobody makes the file shorter than the buffer while the buffer or a task that names it is
    /// there.
    pub unsafe fn import_unsealed<T: Element>(
        &self,
        file: OwnedFd,
        len: usize,
    ) -> Result<Buffer<T>, Error> {
        self.take_over(file, len, false, true)
    }

    fn take_over<T: Element>(
        &self,
        memory: OwnedFd,
        len: usize,
        sealed: bool,
        foreign: bool,
    ) -> Result<Buffer<T>, Error> {
        self.shared.check_process()?;
        let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
        if u32::try_from(len).is_err() {
            return Err(Error::Misuse("a buffer has at most 2^32 - 1 elements; make several"));
        }
        let failed = |what| move |source| Error::Import { what, source };
        let available = map::file_bytes(memory.as_fd()).map_err(failed("asking for its size"))?;
        if bytes > available {
            return Err(Error::ImportTooShort { asked: bytes, available });
        }
        // Read again once it cannot be made shorter any more.
        if !map::seal_length(memory.as_fd()) && sealed {
            return Err(Error::ImportUnsealed);
        }
        let available = map::file_bytes(memory.as_fd()).map_err(failed("asking for its size"))?;
        if bytes > available {
            return Err(Error::ImportTooShort { asked: bytes, available });
        }
        // Dropped ones are free once their last task has left the window of slots, and tasks
        // leave it when somebody asks.
        if let Some(mut orchestrator) = self.submit_lock.try_take() {
            orchestrator.reclaim()?;
        }
        let shared = &self.shared;
        let mut allocator = shared.buffer_allocator.lock().unwrap_or_else(PoisonError::into_inner);
        allocator.collect(shared);
        let index = shared.imports.vacant().ok_or(Error::Imports(MAX_IMPORTS))?;
        let Some((record, _)) = allocator.take(Pool::Window, bytes, Some(index)) else {
            let (used, capacity) = allocator.usage(Pool::Window);
            return Err(Error::ImportSpace { asked: bytes, used, capacity });
        };
        let held = shared.imports.hold(&shared.arena, index, &record.bytes, memory);
        if let Err(source) = held {
            allocator.leave(&record);
            return Err(Error::Import { what: "mapping it", source });
        }
        shared.space_version.fetch_add(1, Release);
        drop(allocator);
        Ok(Buffer::over(shared, record, len, foreign))
    }
}
