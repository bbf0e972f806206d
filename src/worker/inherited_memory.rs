//! Memory that is inherited from higher levels. An executor that is built inside a worker of
//! another one may name the bytes that the worker's own tasks name: the heap rings and buffers of
//! every executor above it.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use mailring_process::map;
use mailring_process::reach::Memory;

use crate::segment::Arena;

thread_local! {
    /// What an executor that this thread builds may name besides its own memory.
    static AMBIENT: RefCell<InheritedMemory> = RefCell::default();
}

/// Whether a thread of this process is between lending and taking back.
static LENDING: AtomicBool = AtomicBool::new(false);

/// What accessors of views may follow of an arena, and which views.
pub(crate) fn memory_of(arena: &Arena) -> Memory {
    Memory::new(&arena.tensor_bytes(), &arena.argument_bytes(), owner(arena))
}

/// The same of memory that came after the fork.
pub(crate) fn later_memory_of(arena: &Arena, bytes: &Range<u64>) -> Memory {
    Memory::new(bytes, &(0..0), owner(arena))
}

/// Tells executors with typed tasks apart in every process that has them mapped; 0: without any.
fn owner(arena: &Arena) -> u64 {
    if arena.shape().typed { arena.argument_bytes().start } else { 0 }
}

/// The executors above, each with its memory mapped for as long as this lives.
#[derive(Clone, Default)]
pub(crate) struct InheritedMemory(Arc<[Arc<Arena>]>);

impl InheritedMemory {
    /// What the calling thread may lend to an executor that it builds now.
    pub(crate) fn ambient() -> Self {
        AMBIENT.with_borrow(Self::clone)
    }

    /// From here on this thread works for `arena`, whose executor was built with `self`.
    pub(crate) fn enter(&self, arena: &Arc<Arena>) {
        AMBIENT.set(Self(self.0.iter().chain([arena]).cloned().collect()));
    }

    /// The addresses.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|arena| arena.tensor_bytes())
    }

    /// What of it accessors of views may follow.
    pub(crate) fn memory(&self) -> impl Iterator<Item = Memory> {
        self.0.iter().map(|arena| memory_of(arena))
    }

    /// Whether all of the bytes are memory of a higher level.
    pub(crate) fn holds(&self, bytes: &Range<u64>) -> bool {
        self.ranges().any(|range| range.start <= bytes.start && bytes.end <= range.end)
    }

    /// Forks with the memory of the levels above, which no other child of this process gets.
    pub(crate) fn while_lending<R>(&self, fork: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        if self.0.is_empty() {
            return fork();
        }
        // Workers in threads may build levels at the same time. No mutex, since the child has it
        // as it is now.
        while LENDING.swap(true, Acquire) {
            std::thread::sleep(Duration::from_micros(50));
        }
        let inherited = self.ranges().try_for_each(|range| map::lend_to_children(&range));
        let forked = inherited.and_then(|()| fork());
        let kept = self.keep();
        LENDING.store(false, Release);
        kept.and(forked)
    }

    /// In a process that was forked while lending, and is to fork others with the memory itself.
    pub(crate) fn was_lent() {
        LENDING.store(false, Release);
    }

    /// What this process forks from here on does not get the memory.
    pub(crate) fn keep(&self) -> io::Result<()> {
        self.ranges().try_for_each(|range| map::keep_from_children(&range))
    }
}
