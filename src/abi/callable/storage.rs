//! Bytes at a multiple of 64, as a chip runtime takes them.

use bytemuck::{Pod, Zeroable};

use crate::limits::CALLABLE_ALIGN;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; CALLABLE_ALIGN]);

/// Aligned bytes that do not change once they are made.
#[derive(Clone)]
pub(super) struct Storage {
    lines: Box<[Line]>,
    len: usize,
}

impl Storage {
    /// The parts, each at its offset, zeros between them. Offsets ascend, and no part reaches into
    /// the next.
    pub(super) fn of(parts: &[(usize, &[u8])]) -> Self {
        let len = parts.iter().map(|(at, bytes)| at + bytes.len()).max().unwrap_or(0);
        let mut lines: Box<[Line]> = vec![Line::zeroed(); len.div_ceil(CALLABLE_ALIGN)].into();
        let all: &mut [u8] = bytemuck::cast_slice_mut(&mut lines);
        for (at, bytes) in parts {
            all[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Self { lines, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}
