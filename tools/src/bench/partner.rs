//! A second process without an engine: what two processors can do with a cache line, a futex, a
//! ring of messages, and nothing in between. No engine on the same processors can answer faster.
//!
//! It is forked before a section has threads, and sleeps while it is not asked.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use crate::stats::median_of;
use crate::system::pin;

/// Messages of a ring, each of at most [`MOST_BYTES`].
const MESSAGES: usize = 1 << 10;
const MOST_BYTES: usize = 256;
/// Turns around a word before the processor is given to others.
const PATIENCE: u32 = 4096;

/// What is asked of the partner.
const PING_PONG: u32 = 1;
const FUTEX: u32 = 2;
const RING: u32 = 3;

#[repr(C, align(128))]
#[derive(Default)]
struct Line<T>(T);

/// Memory of both.
#[repr(C)]
struct Shared {
    /// Changed by each question; the partner sleeps on it.
    asked: Line<AtomicU32>,
    /// What is asked, how often, and with messages of how many bytes.
    what: AtomicU32,
    times: AtomicU64,
    bytes: AtomicU64,
    ping: Line<AtomicU64>,
    there: Line<AtomicU32>,
    back: Line<AtomicU32>,
    /// Messages that the partner has read.
    read: Line<AtomicU64>,
    ring: Line<[[AtomicU64; MOST_BYTES / 8]; MESSAGES]>,
}

pub(super) struct Partner {
    shared: Mapping,
    pid: libc::pid_t,
    /// Turns around a word: few where both have one processor.
    patience: u32,
}

impl Partner {
    /// A process on processor `there`, for a caller on processor `here`.
    pub(super) fn start(here: usize, there: usize) -> io::Result<Self> {
        let patience = if here == there { 1 } else { PATIENCE };
        let shared = Mapping::new()?;
        // SAFETY: the child touches its stack, the shared memory and system calls only, so it does
        // not matter what threads there were and which locks they held.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => serve(shared.shared(), there, patience),
            pid => Ok(Self { shared, pid, patience }),
        }
    }

    fn ask(&self, what: u32, times: u64, bytes: usize) {
        let shared = self.shared.shared();
        shared.what.store(what, Relaxed);
        shared.times.store(times, Relaxed);
        shared.bytes.store(bytes as u64, Relaxed);
        shared.ping.0.store(0, Relaxed);
        shared.read.0.store(0, Relaxed);
        shared.there.0.store(0, Relaxed);
        shared.back.0.store(0, Relaxed);
        shared.asked.0.fetch_add(1, SeqCst);
        futex_wake(&shared.asked.0);
    }

    /// One cache line there and back: nanoseconds of each trip.
    pub(super) fn trips(&self, trips: usize) -> Vec<u64> {
        let line = &self.shared.shared().ping.0;
        let warm = trips / 8;
        self.ask(PING_PONG, (warm + trips) as u64, 0);
        let mut times = Vec::with_capacity(trips);
        for trip in 0..(warm + trips) as u64 {
            let begin = Instant::now();
            line.store(2 * trip + 1, Release);
            until(self.patience, || line.load(Acquire) == 2 * trip + 2);
            if trip >= warm as u64 {
                times.push(begin.elapsed().as_nanos() as u64);
            }
        }
        times
    }

    /// The median of [`Self::trips`].
    pub(super) fn ping_pong(&self, trips: usize) -> f64 {
        median_of(&mut self.trips(trips)) as f64
    }

    /// Wakes the partner, which sleeps, and sleeps until it has been woken: the median. Before each
    /// trip it has slept for `pause`.
    pub(super) fn futex(&self, trips: usize, pause: Duration) -> f64 {
        let shared = self.shared.shared();
        self.ask(FUTEX, trips as u64, 0);
        let mut times = Vec::with_capacity(trips);
        for trip in 1..=trips as u32 {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let begin = Instant::now();
            shared.there.0.store(trip, SeqCst);
            futex_wake(&shared.there.0);
            sleep_until(&shared.back.0, trip);
            times.push(begin.elapsed().as_nanos() as u64);
        }
        median_of(&mut times) as f64
    }

    /// Nanoseconds a message of so many bytes, through a ring with one reader and one writer.
    pub(super) fn ring(&self, messages: usize, bytes: usize) -> f64 {
        let words = (bytes / 8).clamp(1, MOST_BYTES / 8);
        let shared = self.shared.shared();
        for slot in &shared.ring.0 {
            slot[0].store(0, Relaxed);
        }
        let warm = MESSAGES as u64;
        self.ask(RING, warm + messages as u64, bytes);
        let (mut read, mut begin) = (0, Instant::now());
        for message in 0..warm + messages as u64 {
            if message == warm {
                until(self.patience, || shared.read.0.load(Acquire) == warm);
                begin = Instant::now();
            }
            if message - read >= MESSAGES as u64 {
                until(self.patience, || {
                    read = shared.read.0.load(Acquire);
                    message - read < MESSAGES as u64
                });
            }
            let slot = &shared.ring.0[message as usize % MESSAGES];
            for word in &slot[1..words] {
                word.store(message, Relaxed);
            }
            slot[0].store(message + 1, Release);
        }
        until(self.patience, || shared.read.0.load(Acquire) == warm + messages as u64);
        begin.elapsed().as_nanos() as f64 / messages as f64
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // SAFETY: the child is ours, and nobody else waits for it.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

/// The other side: answers until it is killed, and runs nothing of the parent's.
fn serve(shared: &Shared, cpu: usize, patience: u32) -> ! {
    // SAFETY: takes numbers only. Without the parent nobody would ever ask again.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    pin(&[cpu]);
    for question in 1.. {
        sleep_until(&shared.asked.0, question);
        let times = shared.times.load(Relaxed);
        match shared.what.load(Relaxed) {
            PING_PONG => echo(&shared.ping.0, times, patience),
            FUTEX => {
                for trip in 1..=times as u32 {
                    sleep_until(&shared.there.0, trip);
                    shared.back.0.store(trip, SeqCst);
                    futex_wake(&shared.back.0);
                }
            }
            _ => read_all(shared, times, patience),
        }
    }
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(0) }
}

fn echo(line: &AtomicU64, trips: u64, patience: u32) {
    for trip in 0..trips {
        until(patience, || line.load(Acquire) == 2 * trip + 1);
        line.store(2 * trip + 2, Release);
    }
}

fn read_all(shared: &Shared, messages: u64, patience: u32) {
    let words = (shared.bytes.load(Relaxed) as usize / 8).clamp(1, MOST_BYTES / 8);
    for message in 0..messages {
        let slot = &shared.ring.0[message as usize % MESSAGES];
        until(patience, || slot[0].load(Acquire) == message + 1);
        let sum = slot[1..words].iter().fold(0, |sum, word| word.load(Relaxed) ^ sum);
        std::hint::black_box(sum);
        // Not for each message: the line would go to and fro all the time.
        if message % 64 == 63 || message + 1 == messages {
            shared.read.0.store(message + 1, Release);
        }
    }
}

/// Spins, and gives the processor away after `patience` turns: with one processor for both sides
/// at once, since the other can only answer when this one lets it.
fn until(patience: u32, mut is_so: impl FnMut() -> bool) {
    let mut turns = 0u32;
    while !is_so() {
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(patience) {
            std::thread::yield_now();
        }
        spin_loop();
    }
}

fn sleep_until(word: &AtomicU32, value: u32) {
    loop {
        let now = word.load(SeqCst);
        if now == value {
            return;
        }
        // SAFETY: a word that is mapped while it is borrowed; no time, so it waits for a wake.
        unsafe {
            let no_time = std::ptr::null::<libc::timespec>();
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, now, no_time);
        }
    }
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Zeros that a forked child shares.
struct Mapping(*mut libc::c_void);

impl Mapping {
    fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let (anywhere, bytes) = (std::ptr::null_mut(), size_of::<Shared>());
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(anywhere, bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(at)) }
    }

    fn shared(&self) -> &Shared {
        // SAFETY: mapped, aligned to a page and zeroed while `self` lives; zeros are a value of it,
        // and all of it is atomic.
        unsafe { &*self.0.cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our mapping; no reference to it outlives `self`.
        unsafe { libc::munmap(self.0, size_of::<Shared>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::allowed_cpus;

    #[test]
    fn the_partner_answers_again_and_again() {
        let cpus = allowed_cpus();
        let partner = Partner::start(cpus[0], cpus[1 % cpus.len()]).expect("fork");
        for _ in 0..3 {
            assert_eq!(partner.trips(200).len(), 200);
            assert!(partner.futex(50, Duration::ZERO) > 0.0);
            assert!(partner.ring(5000, 64) > 0.0 && partner.ring(5000, 256) > 0.0);
        }
    }
}
