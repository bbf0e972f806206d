//! Memory of higher levels. An executor that is built inside a worker of another one may name the
//! bytes that the worker's own tasks name: the heap rings and buffers of every executor above it.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use crate::segment::Arena;

thread_local! {
    /// What an executor that this thread builds may name besides its own memory.
    static AMBIENT: RefCell<Lent> = RefCell::default();
}

/// Address ranges that belong to executors above.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lent(Arc<[Range<u64>]>);

impl Lent {
    /// What the calling thread may lend to an executor that it builds now.
    pub(crate) fn ambient() -> Self {
        AMBIENT.with_borrow(Self::clone)
    }

    /// From here on this thread works for `arena`, whose executor was built with `self`.
    pub(crate) fn enter(&self, arena: &Arena) {
        let all = self.0.iter().cloned().chain([arena.tensor_bytes()]).collect();
        AMBIENT.set(Self(all));
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Whether all of the bytes are memory of a higher level.
    pub(crate) fn holds(&self, bytes: &Range<u64>) -> bool {
        self.0.iter().any(|range| range.start <= bytes.start && bytes.end <= range.end)
    }

    /// Lets processes that are forked from here on have the memory: the workers of the level below.
    /// They end with this process, before its own executor looks at what it left.
    pub(crate) fn to_children(&self) -> std::io::Result<()> {
        self.0.iter().try_for_each(crate::sys::map::lend_to_children)
    }
}
