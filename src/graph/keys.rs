//! Base addresses with their last writers: the dependency rules of `Hazards::Compatible`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::access::{Access, Dependencies};

/// Up to this many arguments are searched one by one.
const FEW: usize = 16;
/// Dead keys are swept when there are more than this, and twice those of the last sweep.
const SWEEP_FROM: usize = 1 << 16;

/// Spreads addresses over the places of a table. Memory is named in steps, and steps of all sizes that
/// are usual spread evenly by this number, which was looked for: by that of the golden section, addresses
/// that are 64 or 192 bytes apart meet in few places.
pub(crate) struct Spread {
    shift: u32,
}

impl Spread {
    /// Over so many places, a power of two from 2 on.
    #[inline(always)]
    pub(crate) fn over(places: usize) -> Self {
        Self { shift: 64 - places.trailing_zeros() }
    }

    /// The place of an address.
    #[inline(always)]
    pub(crate) fn place(&self, address: u64) -> usize {
        (address.wrapping_mul(0x4046_6F5B_31C4_9B23) >> self.shift) as usize
    }
}

/// Spreads addresses, whose low bits are mostly zero, over a hash table.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        let product = u128::from(value ^ self.0) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

type ByAddress<V> = HashMap<u64, V, BuildHasherDefault<AddressHasher>>;

#[derive(Default)]
pub(super) struct KeyMap {
    writers: ByAddress<u64>,
    /// The same keys in order, for what forgets a range.
    order: BTreeSet<u64>,
    sweep_at: usize,
    keep: u64,
}

impl KeyMap {
    pub(super) fn len(&self) -> usize {
        self.writers.len()
    }

    pub(super) fn writer(&self, key: u64) -> Option<u64> {
        self.writers.get(&key).copied()
    }

    /// A sweep keeps what this task or a later one has written.
    #[inline]
    pub(super) fn keep(&mut self, from: u64) {
        self.keep = from;
    }

    /// In argument order, as with inserts at once: an output hides the writer before it from a
    /// later argument of the same task.
    pub(super) fn lookup(&self, accesses: &[Access], out: &mut Dependencies) {
        let mut see = |access: &Access| {
            if let Some(&writer) = self.writers.get(&access.bytes.start) {
                out.add(writer, true);
            }
        };
        if accesses.len() <= FEW {
            for (index, access) in accesses.iter().enumerate().filter(|(_, a)| a.tag.reads()) {
                let key = access.bytes.start;
                let hides = |earlier: &Access| earlier.tag.writes() && earlier.bytes.start == key;
                if !accesses[..index].iter().any(hides) {
                    see(access);
                }
            }
            return;
        }
        let mut own: HashSet<u64, BuildHasherDefault<AddressHasher>> = HashSet::default();
        for access in accesses {
            if access.tag.reads() && !own.contains(&access.bytes.start) {
                see(access);
            }
            if access.tag.writes() {
                own.insert(access.bytes.start);
            }
        }
    }

    #[inline]
    pub(super) fn write(&mut self, key: u64, task: u64) {
        if let Some(writer) = self.writers.get_mut(&key) {
            *writer = task;
            return;
        }
        if self.writers.len() > self.sweep_at.max(SWEEP_FROM) {
            self.sweep();
        }
        self.writers.insert(key, task);
        self.order.insert(key);
    }

    pub(super) fn erase(&mut self, bytes: &Range<u64>) {
        while let Some(&key) = self.order.range(bytes.clone()).next() {
            self.order.remove(&key);
            self.writers.remove(&key);
        }
    }

    /// Drops keys whose writer has left the window; it would be found finished.
    fn sweep(&mut self) {
        let keep = self.keep;
        self.writers.retain(|_, writer| *writer >= keep);
        self.order.retain(|key| self.writers.contains_key(key));
        self.sweep_at = self.writers.len() * 2;
    }
}
