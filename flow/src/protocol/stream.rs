//! Messages between one worker and the host: a ring of bytes with one writer and one reader.
//!
//! ```text
//! | length 4 | bytes | length 4 | bytes | ...      written and read only ever grow
//! ```
//!
//! The reader copies a message before it looks at it. The counters of the other side are cut to
//! what can be, so a writer that violates the protocol gives wrong messages and nothing worse.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// The ring, for either side.
pub(crate) struct Stream<'a> {
    written: &'a AtomicU64,
    read: &'a AtomicU64,
    bytes: NonNull<u8>,
    len: usize,
}

impl<'a> Stream<'a> {
    /// `len` bytes from `bytes` on belong to the ring as long as the counters live.
    pub(crate) fn new(
        written: &'a AtomicU64,
        read: &'a AtomicU64,
        bytes: NonNull<u8>,
        len: usize,
    ) -> Self {
        Self { written, read, bytes, len }
    }

    /// The longest message.
    pub(crate) fn longest(&self) -> usize {
        self.len / 2
    }

    /// Whether there is a message.
    #[inline]
    pub(crate) fn has_some(&self) -> bool {
        self.written.load(Acquire) != self.read.load(Relaxed)
    }

    /// Writes a message. False when there is no room now.
    pub(crate) fn push(&self, message: &[u8]) -> bool {
        let written = self.written.load(Relaxed);
        let used = written.wrapping_sub(self.read.load(Acquire));
        let need = message.len() as u64 + 4;
        if message.len() > self.longest() || used.saturating_add(need) > self.len as u64 {
            return false;
        }
        self.copy_in(written, &(message.len() as u32).to_ne_bytes());
        self.copy_in(written.wrapping_add(4), message);
        self.written.store(written.wrapping_add(need), Release);
        true
    }

    /// Takes a message. An error when the writer violated the protocol.
    pub(crate) fn pop(&self) -> Result<Option<Vec<u8>>, ProtocolViolation> {
        let read = self.read.load(Relaxed);
        let there = self.written.load(Acquire).wrapping_sub(read);
        if there == 0 {
            return Ok(None);
        }
        if there < 4 || there > self.len as u64 {
            return Err(ProtocolViolation);
        }
        let mut length = [0; 4];
        self.copy_out(read, &mut length);
        let length = u64::from(u32::from_ne_bytes(length));
        if length + 4 > there || length > self.longest() as u64 {
            return Err(ProtocolViolation);
        }
        let mut message = vec![0; length as usize];
        self.copy_out(read.wrapping_add(4), &mut message);
        self.read.store(read.wrapping_add(4 + length), Release);
        Ok(Some(message))
    }

    fn copy_in(&self, at: u64, from: &[u8]) {
        let at = (at % self.len as u64) as usize;
        let first = from.len().min(self.len - at);
        // SAFETY: both parts lie in the ring; the reader does not look at them before `written`.
        unsafe {
            self.bytes.add(at).copy_from_nonoverlapping(NonNull::from(from).cast(), first);
            let rest = NonNull::from(&from[first..]).cast();
            self.bytes.copy_from_nonoverlapping(rest, from.len() - first);
        }
    }

    fn copy_out(&self, at: u64, to: &mut [u8]) {
        let at = (at % self.len as u64) as usize;
        let first = to.len().min(self.len - at);
        let (head, rest) = to.split_at_mut(first);
        // SAFETY: both parts lie in the ring; whatever bytes are there are copied once.
        unsafe {
            self.bytes.add(at).copy_to_nonoverlapping(NonNull::from(&mut *head).cast(), head.len());
            self.bytes.copy_to_nonoverlapping(NonNull::from(&mut *rest).cast(), rest.len());
        }
    }
}

/// The other side violated the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProtocolViolation;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_ring(len: usize, test: impl FnOnce(&Stream<'_>, &AtomicU64)) {
        let (written, read) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut bytes = vec![0u8; len];
        let base = NonNull::new(bytes.as_mut_ptr()).unwrap();
        test(&Stream::new(&written, &read, base, len), &written);
    }

    #[test]
    fn messages_come_out_as_they_went_in_over_many_rounds() {
        with_ring(64, |ring, _| {
            for round in 0..500u32 {
                let message: Vec<u8> = (0..round % 29).map(|b| (b + round) as u8).collect();
                assert!(ring.push(&message));
                assert!(ring.push(&[7]));
                assert_eq!(ring.pop(), Ok(Some(message)));
                assert_eq!(ring.pop(), Ok(Some(vec![7])));
                assert_eq!(ring.pop(), Ok(None));
            }
        });
    }

    #[test]
    fn a_full_ring_takes_nothing_and_loses_nothing() {
        with_ring(64, |ring, _| {
            let mut pushed = 0;
            while ring.push(&[pushed; 10]) {
                pushed += 1;
            }
            assert_eq!(pushed, 4);
            assert!(!ring.push(&[0; 33]), "longer than the longest");
            for n in 0..pushed {
                assert_eq!(ring.pop(), Ok(Some(vec![n; 10])));
            }
        });
    }

    #[test]
    fn a_protocol_violation_is_recognised() {
        with_ring(64, |ring, written| {
            written.store(1, Release);
            assert_eq!(ring.pop(), Err(ProtocolViolation));
            written.store(65, Release);
            assert_eq!(ring.pop(), Err(ProtocolViolation));
            written.store(u64::MAX, Release);
            assert_eq!(ring.pop(), Err(ProtocolViolation));
        });
    }
}
