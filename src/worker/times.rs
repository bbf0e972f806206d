//! When bodies began and ended, as workers write it down for a profile: a ring for each of them in
//! memory of its own, mapped before the fork. A worker that the reader does not keep up with writes
//! over what was not read, and the reader sees how much that was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use mailring_process::clock::monotonic_ns;
use mailring_process::map::Mapping;

/// Records of a worker.
const RECORDS: usize = 1 << 14;

#[repr(C, align(128))]
struct Ring {
    /// Records so far.
    written: AtomicU64,
    /// The task whose body runs, plus 1, its member, and since when.
    inside: AtomicU64,
    member: AtomicU64,
    began: AtomicU64,
    records: [Record; RECORDS],
}

#[repr(C)]
struct Record {
    seq: AtomicU64,
    began: AtomicU64,
    ended: AtomicU64,
    /// Member, attempt, whether it failed: see [`Ran`].
    how: AtomicU64,
}

/// A body that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) seq: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) member: u16,
    /// From 1.
    pub(crate) attempt: u16,
    pub(crate) failed: bool,
}

/// A body that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) seq: u64,
    pub(crate) member: u16,
    pub(crate) began: u64,
}

/// The rings of all workers.
pub(crate) struct Times {
    map: Mapping,
    workers: usize,
}

impl Times {
    pub(crate) fn new(name: &str, workers: usize) -> io::Result<Arc<Self>> {
        let map = Mapping::new(&format!("{name}-times"), workers * size_of::<Ring>())?;
        Ok(Arc::new(Self { map, workers }))
    }

    fn ring(&self, worker: u16) -> &Ring {
        let index = usize::from(worker) % self.workers;
        // SAFETY: inside the mapping, which has so many rings and begins with a page; a ring is made
        // of atomics, and zeros are one.
        unsafe { self.map.base().cast::<Ring>().add(index).as_ref() }
    }

    /// A body of a worker begins: when.
    #[cold]
    pub(crate) fn begin(&self, worker: u16, seq: u64, member: u16) -> u64 {
        let (ring, now) = (self.ring(worker), monotonic_ns());
        ring.began.store(now, Relaxed);
        ring.member.store(member.into(), Relaxed);
        ring.inside.store(seq + 1, Release);
        now
    }

    /// It has ended. `ran` has all but its end.
    #[cold]
    pub(crate) fn end(&self, worker: u16, ran: Ran) {
        let ring = self.ring(worker);
        ring.inside.store(0, Relaxed);
        let written = ring.written.load(Relaxed);
        let record = &ring.records[written as usize % RECORDS];
        record.seq.store(ran.seq, Relaxed);
        record.began.store(ran.began, Relaxed);
        record.ended.store(monotonic_ns(), Relaxed);
        let how =
            u64::from(ran.member) | u64::from(ran.attempt) << 16 | u64::from(ran.failed) << 32;
        record.how.store(how, Relaxed);
        ring.written.store(written.wrapping_add(1), Release);
    }

    /// The body that a worker is inside of.
    pub(crate) fn runs(&self, worker: u16) -> Option<Runs> {
        let ring = self.ring(worker);
        let seq = ring.inside.load(Acquire).checked_sub(1)?;
        let runs =
            Runs { seq, member: ring.member.load(Relaxed) as u16, began: ring.began.load(Relaxed) };
        (ring.inside.load(Acquire) == seq + 1).then_some(runs)
    }

    /// The bodies that have ended since `read`; how many more there were that were written over.
    pub(crate) fn read(&self, worker: u16, read: &mut u64, ran: &mut Vec<Ran>) -> u64 {
        let ring = self.ring(worker);
        let written = ring.written.load(Acquire);
        let fresh = written.wrapping_sub(*read).min(RECORDS as u64);
        let mut lost = written.wrapping_sub(*read).wrapping_sub(fresh);
        let first = ran.len();
        for at in (written - fresh)..written {
            let record = &ring.records[at as usize % RECORDS];
            let how = record.how.load(Relaxed);
            ran.push(Ran {
                seq: record.seq.load(Relaxed),
                began: record.began.load(Relaxed),
                ended: record.ended.load(Relaxed),
                member: how as u16,
                attempt: (how >> 16) as u16,
                failed: how >> 32 & 1 == 1,
            });
        }
        // What may have been written over meanwhile, and the one that may be just now.
        std::sync::atomic::fence(Acquire);
        let now = ring.written.load(Relaxed);
        let safe = now.wrapping_add(1).saturating_sub(RECORDS as u64);
        let spoilt = safe.saturating_sub(written - fresh).min(fresh);
        ran.drain(first..first + spoilt as usize);
        lost = lost.wrapping_add(spoilt);
        *read = written;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(times: &Times, seq: u64) -> u64 {
        let began = times.begin(1, seq, 0);
        assert_eq!(times.runs(1), Some(Runs { seq, member: 0, began }));
        let ran = Ran { seq, began, ended: 0, member: 0, attempt: 1, failed: seq % 2 == 1 };
        times.end(1, ran);
        began
    }

    #[test]
    fn what_is_written_is_read_once() {
        let times = Times::new("test", 2).unwrap();
        let (mut read, mut ran) = (0, Vec::new());
        let began = one(&times, 0);
        one(&times, 1);
        assert_eq!(times.read(1, &mut read, &mut ran), 0);
        assert_eq!(
            (ran.len(), ran[0].began, ran[0].failed, ran[1].failed),
            (2, began, false, true)
        );
        assert!(ran[0].ended >= began);
        assert_eq!((times.read(1, &mut read, &mut ran), ran.len()), (0, 2));
        assert_eq!((times.runs(1), times.runs(0)), (None, None));
    }

    #[test]
    fn what_was_written_over_is_counted() {
        let times = Times::new("test", 2).unwrap();
        let (mut read, mut ran) = (0, Vec::new());
        let count = RECORDS as u64 + 100;
        for seq in 0..count {
            one(&times, seq);
        }
        let lost = times.read(1, &mut read, &mut ran);
        assert_eq!(lost + ran.len() as u64, count);
        assert_eq!((lost, ran[0].seq), (101, 101));
    }
}
