//! A worker: takes, runs, completes, releases.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::arena::{
    Arena, DONE, END, HEAD, HEAD_SHIFT, OWNER_SHIFT, PENDING, PHASE, READY, RETIRED, RUNNING,
    SLEEP, Slot, WINDOW,
};

/// Looks without a task before the processor is given to others, and looks between two such times.
const SPINS: u32 = 300;
const BETWEEN: u32 = 100;

pub(crate) struct Worker<'a> {
    pub(crate) arena: &'a Arena,
    /// Of `0..workers`.
    pub(crate) nth: usize,
    pub(crate) workers: usize,
    pub(crate) body: fn(u64),
}

impl Worker<'_> {
    /// Until it is told to end.
    pub(crate) fn work(&self) {
        let mut released = 0;
        let mut next = None;
        loop {
            let Some(slot) = next.take().or_else(|| self.find()) else { return };
            next = self.run(slot, &mut released);
        }
    }

    fn owner(&self) -> u64 {
        self.nth as u64 + 1
    }

    /// What it has released, what was submitted, what others have released.
    #[inline(always)]
    fn find(&self) -> Option<usize> {
        let Arena { slots, submitted, released, .. } = self.arena;
        let mut spins = 0;
        loop {
            let own = released[self.nth].take(slots, self.owner());
            let found = own.or_else(|| submitted.take(slots, self.owner())).or_else(|| {
                let others = (1..self.workers).map(|k| (self.nth + k) % self.workers);
                others.into_iter().find_map(|other| released[other].take(slots, self.owner()))
            });
            if found.is_some() {
                return found;
            }
            match self.arena.order.0.load(Acquire) {
                END => return None,
                SLEEP => sleep_while(&self.arena.order.0, SLEEP),
                _ => {}
            }
            spins += 1;
            if spins > SPINS {
                std::thread::yield_now();
                spins -= BETWEEN;
            }
            spin_loop();
        }
    }

    #[inline(always)]
    fn run(&self, at: usize, released: &mut u64) -> Option<usize> {
        let slot = &self.arena.slots[at];
        // The body reads its arguments in place.
        let tensors = slot.tensors.iter().flatten().map(|word| word.load(Relaxed));
        let all = tensors.fold(slot.callable.load(Relaxed), u64::wrapping_add);
        black_box(all);
        (self.body)(slot.scalar.load(Relaxed));
        // Completes it and closes its list, at once; without consumers it is retired at once, too.
        let mut word = slot.state.load(Relaxed);
        loop {
            let phase = if word & HEAD == 0 { RETIRED } else { DONE };
            match slot.state.compare_exchange(word, (word & !PHASE) | phase, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        let edge = (word & HEAD) >> HEAD_SHIFT;
        if edge == 0 {
            return None;
        }
        let next = self.release(edge, released);
        slot.state.store((word & !PHASE) | RETIRED, Release);
        next
    }

    /// Clears a bit in each consumer. The first that becomes ready is run next, the others go where
    /// everybody can take them.
    #[inline(always)]
    fn release(&self, mut edge: u64, released: &mut u64) -> Option<usize> {
        let mut next = None;
        while edge != 0 {
            let at = &self.arena.edges[edge as usize - 1];
            let to = at.to.load(Relaxed);
            edge = at.next.load(Relaxed);
            let (bit, consumer) = (1u64 << (to >> 32), to as u32 as usize % WINDOW);
            let slot: &Slot = &self.arena.slots[consumer];
            if slot.fan_in.fetch_and(!bit, AcqRel) & !bit != 0 {
                continue;
            }
            if next.is_none() {
                let running = RUNNING | self.owner() << OWNER_SHIFT;
                next = slot.exchange(PENDING, running).map(|_| consumer);
            } else if slot.exchange(PENDING, READY).is_some() {
                self.arena.released[self.nth].push(*released, consumer);
                *released += 1;
            }
        }
        next
    }
}

fn sleep_while(word: &AtomicU32, value: u32) {
    let no_time = std::ptr::null::<libc::timespec>();
    // SAFETY: a word that is mapped while it is borrowed; without a time it waits for a wake.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, no_time) };
}
