//! A heap ring: slabs of tensor bytes, taken in order and given back in order.
//!
//! A slab is held by the task that writes it, by the scope it was made in, and by every task that
//! names its bytes. All of that is one number and one scope: tasks leave the window in the order
//! of submission, so once the *last* task that names the slab has left, all others have. Nothing
//! about it is shared with the workers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::span::SpanRing;
use super::sync::{AtomicU64, Relaxed};
use crate::limits::HEAP_ALIGN;

/// The scope in which a slab was made: its depth, and a number that is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScopeRef {
    /// Scopes around it.
    pub depth: u16,
    /// The scope itself.
    pub id: u64,
}

/// What a slab was made for, in the words that messages use. Kept here, since the task may have
/// left the window, and its name with it, long before its slab goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Maker {
    /// Nothing is known.
    #[default]
    Unknown,
    /// An `alloc`.
    Alloc,
    /// An output of a task without a name of its own: the kind of its worker, and its callable.
    Task(u8, u64),
    /// An output of a task with a name.
    Named(Arc<str>),
}

/// Bytes of one output or one `alloc`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slab {
    /// Cursor of the first byte.
    pub begin: u64,
    /// Cursor behind the last byte, rounding included.
    pub end: u64,
    /// Bytes that were asked for.
    pub len: u64,
    /// The task that writes it, or the next task to be submitted when it was allocated.
    pub task: u64,
    /// What it was made for.
    pub maker: Maker,
    /// The last task that names it; `None` until one does.
    pub last_use: Option<u64>,
    /// The scope that holds it.
    pub scope: ScopeRef,
}

impl Slab {
    /// What it takes of the ring.
    pub fn bytes(&self) -> u64 {
        self.end - self.begin
    }

    /// `task` names it.
    #[inline]
    pub fn note_use(&mut self, task: u64) {
        self.last_use = Some(self.last_use.map_or(task, |last| last.max(task)));
    }
}

/// A ring has room for the records of so many slabs from the beginning.
const SLABS_AT_FIRST: u64 = 1 << 16;

/// Whom slabs that are made together belong to.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The task that writes them, or the next one to be submitted.
    pub task: u64,
    /// Whether that task names them.
    pub used: bool,
    /// What they are made for.
    pub maker: Maker,
    /// The scope that holds them.
    pub scope: ScopeRef,
}

/// The slabs of one heap ring, oldest first.
#[derive(Debug)]
pub struct HeapRing {
    span: SpanRing,
    slabs: VecDeque<Slab>,
    /// Bytes held, for other threads of the host.
    shown: Arc<AtomicU64>,
}

/// `bytes` rounded up to whole slab units, if that is a number.
pub fn align_up(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(HEAP_ALIGN as u64)
}

impl HeapRing {
    /// A ring of `capacity` bytes, a multiple of [`HEAP_ALIGN`].
    pub fn new(capacity: u64) -> Self {
        // Addresses, not memory: pages come as slabs do, and are not copied while there are more of them.
        let slabs = (capacity / HEAP_ALIGN as u64).min(SLABS_AT_FIRST) as usize;
        Self {
            span: SpanRing::new(capacity),
            slabs: VecDeque::with_capacity(slabs),
            shown: Arc::default(),
        }
    }

    /// Bytes in all.
    pub fn capacity(&self) -> u64 {
        self.span.capacity()
    }

    /// Whether `bytes`, rounded up to whole slab units, fit now.
    pub fn fits(&self, bytes: u64) -> bool {
        align_up(bytes).is_some_and(|bytes| self.span.fit(bytes).is_some())
    }

    /// Takes a slab; the result is the offset of its first byte in the ring.
    pub fn take(&mut self, bytes: u64, task: u64, scope: ScopeRef, used: bool) -> Option<u64> {
        self.take_parts(&[bytes], &Owner { task, used, maker: Maker::Unknown, scope })
    }

    /// Takes a slab for each of `parts`, side by side; the result is the offset of the first.
    pub fn take_parts(&mut self, parts: &[u64], owner: &Owner) -> Option<u64> {
        let mut total = 0u64;
        for &len in parts {
            total = total.checked_add(align_up(len)?)?;
        }
        let first = self.span.take(total)?;
        let mut begin = first;
        for &len in parts {
            let end = begin + len.next_multiple_of(HEAP_ALIGN as u64);
            let last_use = owner.used.then_some(owner.task);
            let (task, maker, scope) = (owner.task, owner.maker.clone(), owner.scope);
            self.slabs.push_back(Slab { begin, end, len, task, maker, last_use, scope });
            begin = end;
        }
        self.shown.store(self.span.used(), Relaxed);
        Some(self.span.place(first))
    }

    /// The offset of a slab's first byte.
    pub fn place(&self, begin: u64) -> u64 {
        self.span.place(begin)
    }

    /// Gives back the oldest slabs for as long as `free` says so.
    pub fn reclaim(&mut self, mut free: impl FnMut(&Slab) -> bool) {
        while self.slabs.front().is_some_and(&mut free) {
            self.slabs.pop_front();
        }
        // What was skipped at the wrap goes with the last slab before it.
        let held = self.slabs.front().map_or(self.span.top(), |slab| slab.begin);
        self.span.release_to(held);
        self.shown.store(self.span.used(), Relaxed);
    }

    /// The oldest slab: the one that everything behind it waits for.
    pub fn oldest(&self) -> Option<&Slab> {
        self.slabs.front()
    }

    /// Slabs held.
    pub fn len(&self) -> usize {
        self.slabs.len()
    }

    /// Whether no slab is held.
    pub fn is_empty(&self) -> bool {
        self.slabs.is_empty()
    }

    /// Bytes held, gaps at the wrap included.
    pub fn used(&self) -> u64 {
        self.span.used()
    }

    /// The same, for other threads to look at.
    pub fn shown(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shown)
    }

    /// The live slab of which `offset..offset + len` are bytes that were asked for.
    pub fn slab_of(&mut self, offset: u64, len: u64) -> Option<&mut Slab> {
        let number = self.find(offset, len)?;
        self.slab(number)
    }

    /// The number of that slab, for [`slab`](Self::slab); it stands until slabs are given back.
    #[inline]
    pub fn find(&self, offset: u64, len: u64) -> Option<usize> {
        let cursor = self.span.cursor_of(offset);
        // The usual case: the newest slab, or close to it.
        let index = match self.slabs.back() {
            Some(last) if last.begin <= cursor => self.slabs.len() - 1,
            _ => self.slabs.partition_point(|s| s.begin <= cursor).checked_sub(1)?,
        };
        let slab = self.slabs.get(index)?;
        (slab.begin <= cursor && cursor.checked_add(len)? <= slab.begin + slab.len).then_some(index)
    }

    /// The slab of this number.
    #[inline]
    pub fn slab(&mut self, number: usize) -> Option<&mut Slab> {
        self.slabs.get_mut(number)
    }
}
