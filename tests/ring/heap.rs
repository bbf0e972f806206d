//! Heap rings: slabs in order, the wrap, what is drained.

use std::collections::VecDeque;

use mailring::ring::HeapRing;
use mailring::ring::heap::{Owner, ScopeRef, align_up};
use mailring::ring::span::SpanRing;
use testkit::Random;

fn heap(bytes: u64) -> HeapRing {
    HeapRing::new(bytes)
}

fn take(heap: &mut HeapRing, bytes: u64) -> Option<u64> {
    heap.take(align_up(bytes).unwrap(), 0, ScopeRef::default(), true)
}

/// Gives back the `count` oldest slabs.
fn free(heap: &mut HeapRing, mut count: usize) {
    heap.reclaim(|_| {
        count = count.wrapping_sub(1);
        count != usize::MAX
    });
}

pub(crate) fn slabs_are_aligned_and_distinct() {
    let mut heap = heap(1 << 20);
    assert_eq!(take(&mut heap, 100), Some(0));
    assert_eq!(take(&mut heap, 100), Some(1024));
    assert_eq!(take(&mut heap, 1025), Some(2048));
    assert_eq!(take(&mut heap, 1), Some(4096));
    assert_eq!((heap.len(), heap.used()), (4, 5 * 1024));
    assert_eq!(align_up(u64::MAX), None);
}

pub(crate) fn more_than_the_heap_never_fits() {
    let mut heap = heap(8192);
    assert!(heap.fits(8192));
    assert_eq!(take(&mut heap, 8193), None);
    assert_eq!(take(&mut heap, 8192), Some(0));
    assert_eq!(take(&mut heap, 1), None);
}

pub(crate) fn a_heap_is_given_back_in_order() {
    let mut heap = heap(4096);
    (0..4).for_each(|i| assert_eq!(take(&mut heap, 1024), Some(i * 1024)));
    assert!(!heap.fits(1024));
    // The third is not needed any more, but the first is.
    let mut seen = 0;
    heap.reclaim(|slab| {
        seen += 1;
        slab.begin == 2048
    });
    assert_eq!((seen, heap.used()), (1, 4096));
    free(&mut heap, 2);
    assert_eq!(take(&mut heap, 1024), Some(0));
    assert_eq!(heap.oldest().map(|slab| slab.begin), Some(2048));
}

pub(crate) fn the_heap_wraps() {
    let mut heap = heap(4096);
    (0..3).for_each(|_| _ = take(&mut heap, 1024));
    free(&mut heap, 2);
    // One block is left at the end, two at the beginning: a slab never wraps.
    assert_eq!(take(&mut heap, 2048), Some(0));
    assert_eq!(heap.used(), 1024 + 1024 + 2048, "the block at the end is skipped");
    assert_eq!(take(&mut heap, 1), None);
}

/// What was skipped at the end is nobody's once the slab in front of it has gone.
pub(crate) fn a_skipped_end_is_free_again() {
    let mut heap = heap(4096);
    (0..3).for_each(|_| _ = take(&mut heap, 1024));
    free(&mut heap, 2);
    assert_eq!(take(&mut heap, 2048), Some(0));
    free(&mut heap, 1);
    assert_eq!(heap.used(), 2048);
    assert_eq!(take(&mut heap, 2048), Some(2048));
}

/// Nothing is held, so everything fits, wherever the cursors stand.
pub(crate) fn a_drained_heap_is_rebased() {
    let mut heap = heap(4096);
    for parked in [1024, 2048, 3072] {
        assert!(take(&mut heap, parked).is_some());
        free(&mut heap, 1);
        assert_eq!(heap.used(), 0);
        assert!(heap.fits(4096), "parked at {parked}");
        assert_eq!(take(&mut heap, 4096), Some(0));
        free(&mut heap, 1);
    }
    // The same with what was skipped at the end.
    assert_eq!(take(&mut heap, 3072), Some(0));
    free(&mut heap, 1);
    assert_eq!(take(&mut heap, 2048), Some(0));
    assert_eq!(take(&mut heap, 2048), Some(2048));
}

/// Behind the wrap a slab may end exactly where the oldest begins.
pub(crate) fn the_last_byte_can_be_had() {
    let mut heap = heap(2048);
    (0..2).for_each(|_| _ = take(&mut heap, 1024));
    free(&mut heap, 1);
    assert_eq!(take(&mut heap, 1024), Some(0));
    assert_eq!(take(&mut heap, 1), None);
    assert_eq!(heap.used(), 2048);
}

pub(crate) fn a_slab_is_found_by_address() {
    let mut heap = heap(8192);
    for lap in 0..5 {
        let first = take(&mut heap, 3000).unwrap();
        let second = take(&mut heap, 2000).unwrap();
        for (offset, len, found) in [
            (first, 1, true),
            (first, 3072, true),
            (first + 3000, 73, false),
            (first + 100, 2900, true),
            (second, 2048, true),
            (second + 2047, 2, false),
            (second, u64::MAX, false),
        ] {
            assert_eq!(heap.slab_of(offset, len).is_some(), found, "lap {lap}: {offset}, {len}");
        }
        free(&mut heap, 2);
        assert!(heap.slab_of(first, 1).is_none(), "given back");
    }
}

/// Random spans against a list of what is held: no two overlap, and what is refused cannot fit.
pub(crate) fn spans_never_overlap() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut span = SpanRing::new(97);
        let mut held: VecDeque<(u64, u64)> = Default::default();
        for _ in 0..500 {
            if random.chance(60) {
                let len = 1 + random.next() % if random.chance(10) { 110 } else { 30 };
                let fits = span.fit(len);
                match span.take(len) {
                    Some(begin) => {
                        let at = span.place(begin);
                        assert_eq!(fits, Some(begin));
                        assert!(at + len <= 97);
                        let clash = held.iter().any(|&(b, l)| {
                            let other = span.place(b);
                            at < other + l && other < at + len
                        });
                        assert!(!clash, "seed {seed}");
                        assert_eq!(span.cursor_of(at), begin);
                        held.push_back((begin, len));
                    }
                    None => assert!(fits.is_none() && (len > 97 || !held.is_empty())),
                }
            } else if let Some((begin, len)) = held.pop_front() {
                span.release_to(begin + len);
            }
        }
    }
}

/// A ring that holds nothing has no room, and says so.
pub(crate) fn a_ring_without_bytes() {
    let mut heap = heap(0);
    assert!(heap.fits(0) && !heap.fits(1) && !heap.fits(u64::MAX));
    assert_eq!((heap.take(1, 0, ScopeRef::default(), true), heap.used()), (None, 0));
    assert!(heap.slab_of(0, 0).is_none() && heap.oldest().is_none());
    heap.reclaim(|_| true);
    let span = SpanRing::new(0);
    assert_eq!((span.fit(0), span.fit(1), span.place(0), span.cursor_of(0)), (Some(0), None, 0, 0));
}

/// A slab holds what was asked for; the rest of its last unit is nobody's.
pub(crate) fn a_slab_ends_where_it_was_asked_to() {
    let mut heap = heap(8192);
    let owner = Owner { used: true, ..Owner::default() };
    assert_eq!(heap.take_parts(&[65, 1024, 1], &owner), Some(0));
    assert_eq!((heap.len(), heap.used()), (3, 3072));
    for (offset, len, found) in
        [(0, 65, true), (0, 66, false), (64, 2, false), (1024, 1024, true), (1000, 100, false)]
    {
        assert_eq!(heap.slab_of(offset, len).is_some(), found, "{offset}, {len}");
    }
    assert_eq!(heap.take_parts(&[1024, 5000], &owner), None, "all or none");
    assert_eq!(heap.len(), 3);
}
