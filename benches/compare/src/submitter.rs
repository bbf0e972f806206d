//! The submitter: infers who waits for whom, and fills slots.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::time::Instant;

use crate::arena::{
    DONE, EDGES, END, GENERATION_SHIFT, GUARD, HEAD, HEAD_SHIFT, MOST_WORKERS, Mapping, PENDING,
    PHASE, READY, RETIRED, SLEEP, TENSORS, WINDOW, WORK, prefetch, prefetch_to_write,
};
use crate::worker::Worker;

/// Slots that are never filled, so that the oldest can be looked at ahead.
const SPARE: u64 = 64;
/// Slots that leave the window at a time.
const BATCH: u64 = 256;
/// Turns without a slot before the processor is given to others.
const PATIENCE: u32 = 1 << 14;

/// A running loop. Its workers sleep unless something is measured.
pub struct Bare {
    arena: Mapping,
    children: Vec<libc::pid_t>,
    next: u64,
    oldest: u64,
    edge: u64,
    submitted: u64,
    writers: Writers,
    /// Whether workers are on the processor of the submitter.
    crowded: bool,
}

impl Bare {
    /// Forks a worker onto each of the processors. Before the caller has threads: the children run
    /// on with whatever those held. `body` is given the scalar of each task.
    pub fn start(processors: &[usize], crowded: bool, body: fn(u64)) -> io::Result<Self> {
        if processors.is_empty() || processors.len() > MOST_WORKERS {
            return Err(io::Error::other(format!("1 to {MOST_WORKERS} workers, please")));
        }
        let arena = Mapping::new()?;
        arena.order.0.store(SLEEP, SeqCst);
        let mut bare = Self {
            arena,
            children: Vec::new(),
            next: 0,
            oldest: 0,
            edge: 0,
            submitted: 0,
            writers: Writers::new(),
            crowded,
        };
        for (nth, &processor) in processors.iter().enumerate() {
            let worker = Worker { arena: &bare.arena, nth, workers: processors.len(), body };
            // SAFETY: the child uses its stack, the arena and system calls only.
            match unsafe { libc::fork() } {
                -1 => return Err(io::Error::last_os_error()),
                0 => serve(&worker, processor),
                child => bare.children.push(child),
            }
        }
        Ok(bare)
    }

    /// Submit, run, wait: nanoseconds of each trip.
    pub fn round_trips(&mut self, trips: usize) -> Vec<u64> {
        let (warm, mut times) = (trips / 8, Vec::with_capacity(trips));
        self.awake(|bare| {
            for trip in 0..(warm + trips) as u64 {
                let begin = Instant::now();
                let task = bare.submit(&[], &[1 + trip % 1000], trip);
                bare.wait(task);
                if trip >= warm as u64 {
                    times.push(begin.elapsed().as_nanos() as u64);
                }
                bare.reclaim(4);
            }
        });
        times
    }

    /// Nanoseconds a task, each with an input and an output of its own.
    pub fn independent(&mut self, tasks: usize) -> f64 {
        self.per_task(tasks, |bare, task| {
            bare.submit(&[5000 + task % 1024], &[100_000 + task % 8192], task);
        })
    }

    /// Nanoseconds a task, all reading and writing one tensor.
    pub fn chain(&mut self, tasks: usize) -> f64 {
        self.per_task(tasks, |bare, task| {
            bare.submit(&[77], &[77], task);
        })
    }

    fn per_task(&mut self, tasks: usize, submit: impl Fn(&mut Self, u64)) -> f64 {
        self.awake(|bare| {
            (0..tasks as u64 / 16).for_each(|task| submit(bare, task));
            bare.drain();
            let begin = Instant::now();
            (0..tasks as u64).for_each(|task| submit(bare, task));
            bare.drain();
            begin.elapsed().as_nanos() as f64 / tasks as f64
        })
    }

    /// With workers that look for tasks; all tasks are through when it returns.
    pub fn awake<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        self.order(WORK);
        let result = work(self);
        self.drain();
        self.order(SLEEP);
        result
    }

    fn order(&self, order: u32) {
        let word = &self.arena.order.0;
        word.store(order, SeqCst);
        // SAFETY: wakes all who sleep on a word that is mapped.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// A task that reads and writes tensors, named by numbers that are not 0. It waits for the last
    /// writer of each that it reads.
    #[inline(always)]
    pub fn submit(&mut self, inputs: &[u64], outputs: &[u64], scalar: u64) -> u64 {
        self.make_room();
        let task = self.next;
        self.next += 1;
        let at = task as usize % WINDOW;
        let slots = &self.arena.slots;
        prefetch_to_write(&raw const slots[(at + 6) % WINDOW].state);
        prefetch_to_write(&raw const slots[(at + 6) % WINDOW].tensors[1]);

        let slot = &slots[at];
        slot.callable.store(1, Relaxed);
        slot.scalar.store(scalar, Relaxed);
        let tensors = inputs.iter().chain(outputs).take(TENSORS);
        for (words, &tensor) in slot.tensors.iter().zip(tensors) {
            for (word, value) in words.iter().zip([tensor, 1, 8, 0]) {
                word.store(value, Relaxed);
            }
        }
        let (mut producers, mut count) = ([0; 8], 0);
        for &input in inputs.iter().take(producers.len()) {
            let writer = self.writers.get(input).filter(|&writer| writer >= self.oldest);
            if let Some(writer) = writer.filter(|&writer| self.phase(writer) < DONE) {
                producers[count] = writer;
                count += 1;
            }
        }
        for &output in outputs {
            self.writers.set(output, task);
        }
        let generation = (task / WINDOW as u64 + 1) << GENERATION_SHIFT;
        let slot = &self.arena.slots[at];
        let ready = if count == 0 {
            slot.state.store(READY | generation, Release);
            true
        } else {
            slot.fan_in.store(GUARD | ((1 << count) - 1), Relaxed);
            slot.state.store(PENDING | generation, Release);
            self.follow(at, &producers[..count])
        };
        if ready {
            self.arena.submitted.push(self.submitted, at);
            self.submitted += 1;
        }
        task
    }

    /// Enters the task at `at` into the lists of its producers. Whether it is ready.
    #[inline(always)]
    fn follow(&mut self, at: usize, producers: &[u64]) -> bool {
        let slots = &self.arena.slots;
        let mut clear = GUARD;
        for (bit, &producer) in producers.iter().enumerate() {
            let edge = self.edge as usize % EDGES;
            self.edge += 1;
            let entry = &self.arena.edges[edge];
            entry.to.store((bit as u64) << 32 | at as u64, Relaxed);
            let producer = &slots[producer as usize % WINDOW].state;
            let mut word = producer.load(Acquire);
            loop {
                if word & PHASE >= DONE {
                    clear |= 1 << bit; // through: nothing to wait for
                    break;
                }
                entry.next.store((word & HEAD) >> HEAD_SHIFT, Relaxed);
                let new = (word & !HEAD) | (edge as u64 + 1) << HEAD_SHIFT;
                match producer.compare_exchange(word, new, Release, Acquire) {
                    Ok(_) => break,
                    Err(now) => word = now,
                }
            }
        }
        let slot = &slots[at];
        slot.fan_in.fetch_and(!clear, AcqRel) & !clear == 0
            && slot.exchange(PENDING, READY).is_some()
    }

    #[inline(always)]
    fn phase(&self, task: u64) -> u64 {
        self.arena.slots[task as usize % WINDOW].state.load(Acquire) & PHASE
    }

    #[inline(always)]
    fn make_room(&mut self) {
        let mut turns = 0;
        while self.next - self.oldest >= WINDOW as u64 - SPARE {
            let before = self.oldest;
            for ahead in 0..8 {
                prefetch(&raw const self.arena.slots[(before as usize + 4 * ahead) % WINDOW].state);
            }
            self.reclaim(BATCH);
            if self.oldest == before {
                self.pause(&mut turns);
            }
        }
    }

    #[inline(always)]
    fn reclaim(&mut self, most: u64) {
        let end = self.next.min(self.oldest + most);
        while self.oldest < end && self.phase(self.oldest) == RETIRED {
            self.oldest += 1;
        }
    }

    fn wait(&self, task: u64) {
        let mut turns = 0;
        while self.phase(task) != RETIRED {
            self.pause(&mut turns);
        }
    }

    /// Until all tasks are through.
    pub fn drain(&mut self) {
        let mut turns = 0;
        while self.oldest < self.next {
            self.reclaim(u64::from(u32::MAX));
            self.pause(&mut turns);
        }
    }

    #[inline(always)]
    fn pause(&self, turns: &mut u32) {
        *turns += 1;
        if self.crowded || turns.is_multiple_of(PATIENCE) {
            std::thread::yield_now();
        }
        spin_loop();
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.order(END);
        for &child in &self.children {
            // SAFETY: children of ours that nobody else waits for.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        }
    }
}

/// In the child: works, and leaves without running anything of the parent's.
fn serve(worker: &Worker<'_>, processor: usize) -> ! {
    // SAFETY: takes numbers, and a set that is plain bits; without the parent nobody would ever
    // say that it is over. The number of the processor is below the size of the set by the test.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if processor < libc::CPU_SETSIZE as usize {
            libc::CPU_SET(processor, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
        }
    }
    worker.work();
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(0) }
}

/// The last writer of each tensor: open addressing, nothing is ever taken out.
struct Writers {
    entries: Vec<(u64, u64)>,
}

impl Writers {
    const SIZE: usize = 1 << 15;

    fn new() -> Self {
        Self { entries: vec![(0, 0); Self::SIZE] }
    }

    #[inline(always)]
    fn place(&self, tensor: u64) -> usize {
        let mut at = (tensor.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % Self::SIZE;
        while self.entries[at].0 != tensor && self.entries[at].0 != 0 {
            at = (at + 1) % Self::SIZE;
        }
        at
    }

    #[inline(always)]
    fn get(&self, tensor: u64) -> Option<u64> {
        let (known, writer) = self.entries[self.place(tensor)];
        (known == tensor).then_some(writer)
    }

    #[inline(always)]
    fn set(&mut self, tensor: u64, task: u64) {
        let at = self.place(tensor);
        self.entries[at] = (tensor, task);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn nothing(_: u64) {}

    #[test]
    fn all_loads_run_again_and_again() {
        let mut bare = Bare::start(&[0, 0], true, nothing).expect("fork");
        for _ in 0..2 {
            assert_eq!(bare.round_trips(100).len(), 100);
            assert!(bare.independent(20_000) > 0.0);
            assert!(bare.chain(20_000) > 0.0);
        }
        assert_eq!(bare.next, bare.oldest);
    }

    /// Memory that the workers share, since they are forked after it is mapped.
    static SHARED: AtomicU64 = AtomicU64::new(0);

    /// Fails the process if a task runs before the one that it waits for.
    fn in_order(scalar: u64) {
        // SAFETY: the test has mapped a word there before it forked.
        let word = unsafe { &*(SHARED.load(Relaxed) as *const AtomicU64) };
        if word.compare_exchange(scalar, scalar + 1, AcqRel, Relaxed).is_err() {
            word.store(u64::MAX, Release);
        }
    }

    #[test]
    fn a_chain_runs_in_order() {
        let page = Mapping::new().expect("memory");
        let word = &page.edges[0].to;
        SHARED.store(std::ptr::from_ref(word) as u64, Relaxed);
        let mut bare = Bare::start(&[0, 0], true, in_order).expect("fork");
        bare.awake(|bare| {
            for task in 0..10_000 {
                bare.submit(&[9], &[9], task);
            }
        });
        assert_eq!(word.load(Acquire), 10_000);
    }
}
