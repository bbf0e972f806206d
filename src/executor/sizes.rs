//! How much memory an executor may come to use, against what there is.

use mailring_process::machine;

use crate::error::BuildError;
use crate::limits::{DEFAULT_BUFFER_BYTES, DEFAULT_HEAP_BYTES, HEAP_RINGS};

/// Rings of `heap_bytes`: the heap rings, and the one for copies of snapshots.
const RINGS: u64 = HEAP_RINGS as u64 + 1;
/// What defaults are cut to is a multiple of this, and at least this.
const STEP: u64 = 1 << 20;

/// Bytes of each heap ring and of the buffer space. What was asked for is given, or refused: the
/// kernel refuses no mapping, however large, and kills when it is filled. Defaults become smaller
/// where all together would be more than there is.
pub(super) fn choose(
    heap: Option<usize>,
    buffers: Option<usize>,
) -> Result<(usize, usize), BuildError> {
    let defaults = (heap.unwrap_or(DEFAULT_HEAP_BYTES), buffers.unwrap_or(DEFAULT_BUFFER_BYTES));
    let Some(available) = machine::available_memory() else { return Ok(defaults) };
    let rings = heap.map_or(0, |bytes| (bytes as u64).saturating_mul(RINGS));
    let space = buffers.map_or(0, |bytes| bytes as u64);
    let asked = rings.saturating_add(space);
    let what = match (heap, buffers) {
        (Some(bytes), _) if bytes as u64 > available => Some(("a heap ring", bytes as u64)),
        (_, Some(bytes)) if bytes as u64 > available => Some(("the buffer space", bytes as u64)),
        (Some(_), None) => {
            Some(("what heap_bytes asks for (four heap rings, and one for snapshots)", asked))
        }
        _ => Some((
            "what heap_bytes asks for (four heap rings, and one for snapshots) and the buffer space together",
            asked,
        )),
    };
    if let Some((what, asked)) = what.filter(|(_, asked)| *asked > available) {
        return Err(BuildError::Memory { what, asked, available });
    }
    // What is left goes to the others in equal parts: rings, and buffers.
    let open = if heap.is_none() { RINGS } else { 0 } + u64::from(buffers.is_none());
    let share = (available - asked).checked_div(open).map_or(0, |s| s / STEP * STEP).max(STEP);
    let cut = |given: Option<usize>, default: usize| {
        given.unwrap_or_else(|| default.min(usize::try_from(share).unwrap_or(usize::MAX)))
    };
    let chosen = (cut(heap, DEFAULT_HEAP_BYTES), cut(buffers, DEFAULT_BUFFER_BYTES));
    if chosen != defaults {
        tracing::warn!(
            heap_bytes = chosen.0,
            buffer_bytes = chosen.1,
            available,
            "less memory than the default sizes: they were made smaller"
        );
    }
    Ok(chosen)
}
