//! First-in first-out space in a ring of bytes (or words): contiguous spans, a bump at the top, a
//! tail that follows.

/// Cursors of a ring of `capacity` units. They only grow; the place is the cursor modulo the
/// capacity.
#[derive(Debug, Clone)]
pub struct SpanRing {
    capacity: u64,
    top: u64,
    tail: u64,
    /// The place of `top`: the usual way takes no division.
    place: u64,
}

impl SpanRing {
    /// An empty ring.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, top: 0, tail: 0, place: 0 }
    }

    /// Units in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Units between tail and top, skipped ones included.
    pub fn used(&self) -> u64 {
        self.top - self.tail
    }

    /// Where a span of `len` units would lie, or nothing when there is no room for it now.
    ///
    /// A span never wraps: what does not fit before the end starts at the beginning. A drained
    /// ring counts as empty wherever its cursors stand.
    #[inline]
    pub fn fit(&self, len: u64) -> Option<u64> {
        if len > self.capacity {
            return None;
        }
        if len == 0 {
            return Some(self.top); // also in a ring that holds nothing
        }
        let place = self.place;
        let next_lap = if place == 0 { self.top } else { self.top + (self.capacity - place) };
        if self.top == self.tail {
            return Some(next_lap); // drained: rebased, so that a large span fits again
        }
        let begin = if place + len > self.capacity { next_lap } else { self.top };
        (begin + len - self.tail <= self.capacity).then_some(begin)
    }

    /// Takes `len` units; the result is the cursor of the first.
    #[inline]
    pub fn take(&mut self, len: u64) -> Option<u64> {
        if len == 0 {
            return Some(self.top);
        }
        let begin = self.fit(len)?;
        if self.top == self.tail {
            self.tail = begin;
        }
        let behind = if begin == self.top { self.place + len } else { len };
        self.place = if behind == self.capacity { 0 } else { behind };
        self.top = begin + len;
        Some(begin)
    }

    /// The cursor behind the last span.
    #[inline]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// The oldest cursor still held.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The place in the ring of a cursor.
    #[inline(always)]
    pub fn place(&self, cursor: u64) -> u64 {
        cursor.checked_rem(self.capacity).unwrap_or(0)
    }

    /// The cursor of a place, if something that is held can lie there.
    pub fn cursor_of(&self, place: u64) -> u64 {
        let lap = self.tail - self.place(self.tail);
        let cursor = lap + place;
        if cursor < self.tail { cursor + self.capacity } else { cursor }
    }

    /// Gives back everything up to `cursor`.
    #[inline]
    pub fn release_to(&mut self, cursor: u64) {
        debug_assert!(cursor <= self.top);
        self.tail = cursor.max(self.tail);
    }
}
