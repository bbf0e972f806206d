//! The atomics that the sources get here: the checker's, each a point at which its thread may die.
#![allow(dead_code, reason = "the set is that of the real facade")]

use std::sync::atomic::Ordering;

use super::checker::{DIES_AT_LOADS, RawU32, RawU64, Reads, raw_fence};
use super::crash;

pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// A death before a fence leaves the same memory as one after it: no point of its own.
pub(crate) fn fence(order: Ordering) {
    raw_fence(order);
}

/// A hint to the processor, of which no checker knows.
pub(crate) fn prefetch_write<T>(_target: &T) {}

macro_rules! atomic {
    ($name:ident, $raw:ident, $int:ty) => {
        pub(crate) struct $name {
            raw: $raw,
            reads: Reads,
        }

        impl $name {
            pub(crate) fn new(value: $int) -> Self {
                Self { raw: $raw::new(value), reads: Reads::new() }
            }

            pub(crate) fn load(&self, order: Ordering) -> $int {
                if DIES_AT_LOADS {
                    crash::point();
                }
                self.reads.note();
                self.raw.load(order)
            }

            pub(crate) fn store(&self, value: $int, order: Ordering) {
                crash::point();
                self.raw.store(value, order);
            }

            pub(crate) fn compare_exchange(
                &self,
                from: $int,
                to: $int,
                won: Ordering,
                lost: Ordering,
            ) -> Result<$int, $int> {
                crash::point();
                self.raw.compare_exchange(from, to, won, lost)
            }

            pub(crate) fn fetch_and(&self, bits: $int, order: Ordering) -> $int {
                crash::point();
                self.raw.fetch_and(bits, order)
            }

            pub(crate) fn fetch_or(&self, bits: $int, order: Ordering) -> $int {
                crash::point();
                self.raw.fetch_or(bits, order)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }
    };
}

atomic!(AtomicU32, RawU32, u32);
atomic!(AtomicU64, RawU64, u64);
