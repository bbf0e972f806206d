//! The host's access to buffers: never beside a task or another access that would see half of it.
//!
//! A task holds the bytes that it names from its submit to its end, a guard the buffer that it is one
//! of. Each looks for the other after it has said what it takes, so one of two that meet is refused:
//!
//! ```text
//!   access                                  submit
//!   number of accesses += 1                 last use of the buffer = this task
//!   membarrier, if a run is open            (nothing; the number is never 0 without membarrier)
//!   a task of the buffer unfinished?        number of accesses > 0? look at the buffer's guards
//! ```

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::slice::{from_raw_parts, from_raw_parts_mut};
use std::sync::MutexGuard;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use super::buffer_allocator::{Record, WRITES};
use super::shared::Shared;
use crate::error::Error;
use crate::ids::TaskId;

/// Guards in this process, of all executors.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Whether there are any. A process that is forked now could hold a slice of one that was leaked, and
/// would not have its memory.
pub(super) fn any() -> bool {
    ALIVE.load(SeqCst) > 0
}

/// An access to a buffer, which no other one and no submit comes between.
pub(super) struct Claim<'b> {
    shared: &'b Shared,
    guards: MutexGuard<'b, u32>,
}

impl<'b> Claim<'b> {
    /// For reading, or for writing.
    pub(super) fn new(shared: &'b Shared, record: &'b Record, writes: bool) -> Result<Self, Error> {
        let guards = record.guards();
        if *guards == WRITES || (writes && *guards > 0) {
            return Err(Error::BufferGuarded { tensor: None });
        }
        shared.accesses.begin();
        let claim = Self { shared, guards };
        if shared.accesses.have_workers_ended() {
            return Ok(claim);
        }
        let last = if writes { record.last_use() } else { record.last_write() };
        match shared.tasks.unfinished(record.bytes(), last) {
            None => Ok(claim),
            Some(task) => Err(in_use(shared, task)),
        }
    }

    /// The access goes on for as long as a guard lives.
    fn keep(mut self, writes: bool) {
        *self.guards = if writes { WRITES } else { *self.guards + 1 };
        self.shared.accesses.add();
        ALIVE.fetch_add(1, SeqCst);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.shared.accesses.end();
    }
}

/// Why a buffer of this task is not for the host.
#[cold]
fn in_use(shared: &Shared, task: u64) -> Error {
    if let Some(why) = shared.health.failure() {
        let way_out = "the buffer can be read once the executor is dropped";
        return Error::Failed(format!("{why}; {way_out}"));
    }
    let head = shared.arena.descriptors().head(shared.tasks.place(task).0);
    let name = match head.seq == task {
        true => shared.names.name(head.route.kind, head.callable),
        false => "being submitted".to_owned(),
    };
    Error::BufferInUse { task: TaskId(task), name }
}

/// Ends what `keep` has begun.
struct Kept<'b> {
    shared: &'b Shared,
    record: &'b Record,
    writes: bool,
}

impl<'b> Kept<'b> {
    fn new(shared: &'b Shared, record: &'b Record, writes: bool) -> Result<Self, Error> {
        Claim::new(shared, record, writes)?.keep(writes);
        Ok(Self { shared, record, writes })
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let mut guards = self.record.guards();
        *guards = if self.writes { 0 } else { *guards - 1 };
        drop(guards);
        ALIVE.fetch_sub(1, SeqCst);
        self.shared.accesses.end();
    }
}

/// The elements of a buffer, to read: see [`Buffer::read`](crate::Buffer::read).
pub struct ReadGuard<'b, T> {
    elements: &'b [T],
    _kept: Kept<'b>,
}

impl<'b, T> ReadGuard<'b, T> {
    /// # Safety
    /// The elements are mapped, aligned and valid for as long as the record is borrowed; nobody
    /// writes them but tasks of this executor, and through guards.
    pub(super) unsafe fn new(
        shared: &'b Shared,
        record: &'b Record,
        first: *mut T,
        len: usize,
    ) -> Result<Self, Error> {
        let kept = Kept::new(shared, record, false)?;
        // SAFETY: the caller's promise; the guard keeps writers away.
        Ok(Self { elements: unsafe { from_raw_parts(first, len) }, _kept: kept })
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.elements
    }
}

impl<T: fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.fmt(f)
    }
}

/// The elements of a buffer, to read and write: see [`Buffer::write`](crate::Buffer::write).
pub struct WriteGuard<'b, T> {
    elements: &'b mut [T],
    _kept: Kept<'b>,
}

impl<'b, T> WriteGuard<'b, T> {
    /// # Safety
    /// As for [`ReadGuard::new`]; nor does anybody read them otherwise.
    pub(super) unsafe fn new(
        shared: &'b Shared,
        record: &'b Record,
        first: *mut T,
        len: usize,
    ) -> Result<Self, Error> {
        let kept = Kept::new(shared, record, true)?;
        // SAFETY: the caller's promise; the guard keeps everybody else away.
        Ok(Self { elements: unsafe { from_raw_parts_mut(first, len) }, _kept: kept })
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.elements
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.elements
    }
}

impl<T: fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.fmt(f)
    }
}
