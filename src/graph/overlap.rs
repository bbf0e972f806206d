//! Whether a task would write a byte through two of its arguments.

use std::ops::Range;

use super::access::Access;
use crate::abi::TensorArgType;

/// Up to this many writes are compared each with each.
const FEW: usize = 8;

/// Bytes that two of these accesses write. Reading what the same task writes is no matter of
/// this: that is how a task works in place.
#[inline]
pub fn written_twice(accesses: &[Access]) -> Option<Range<u64>> {
    let mut writes = accesses.iter().filter(|access| access.tag.writes());
    if accesses.len() > FEW {
        return among_many(writes.map(|access| access.bytes.clone()).collect());
    }
    while let Some(one) = writes.next() {
        if let Some(both) = writes.clone().find_map(|other| shared(&one.bytes, &other.bytes)) {
            return Some(both);
        }
    }
    None
}

/// Two of these accesses that share bytes which one of them writes. What is not ordered does not
/// count.
#[inline]
pub fn shared_and_written(accesses: &[Access]) -> bool {
    accesses.iter().enumerate().skip(1).any(|(at, one)| {
        accesses[..at].iter().any(|other| {
            let apart = one.bytes.end <= other.bytes.start || other.bytes.end <= one.bytes.start;
            !apart
                && (one.tag.writes() || other.tag.writes())
                && one.tag != TensorArgType::NoDep
                && other.tag != TensorArgType::NoDep
        })
    })
}

#[inline]
fn shared(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    (!both.is_empty()).then_some(both)
}

#[cold]
fn among_many(mut writes: Vec<Range<u64>>) -> Option<Range<u64>> {
    writes.retain(|bytes| !bytes.is_empty());
    writes.sort_unstable_by_key(|bytes| bytes.start);
    // Of two neighbours that share nothing the earlier one ends before all that follow.
    writes.windows(2).find_map(|two| shared(&two[0], &two[1]))
}
