//! The floor: two processes that hand one cache line to and fro, with nothing in between. No
//! engine on the same two processors can answer faster.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Instant;

use crate::stats::median_of;
use crate::system::{Pinned, pin};

const LINE_BYTES: usize = 4096;

/// The median round trip in nanoseconds, between a process on processor `here` and one on `there`.
pub(super) fn ping_pong(trips: u64, here: usize, there: usize) -> io::Result<f64> {
    let patience = if here == there { 1 } else { 4096 };
    let page = Page::map()?;
    let line = page.line();
    // SAFETY: the child touches its stack, the shared page and system calls only, so it does not
    // matter what threads there were and which locks they held.
    let child = unsafe { libc::fork() };
    match child {
        -1 => return Err(io::Error::last_os_error()),
        0 => echo(line, trips, there, patience),
        _ => {}
    }
    let mut times: Vec<u64> = Vec::with_capacity(trips as usize);
    {
        let _pinned = Pinned::to(here);
        for trip in 0..trips {
            let begin = Instant::now();
            line.store(2 * trip + 1, Release);
            wait_for(line, 2 * trip + 2, patience);
            times.push(begin.elapsed().as_nanos() as u64);
        }
    }
    let mut status = 0;
    // SAFETY: the child is ours, and nobody else waits for it.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    Ok(median_of(&mut times) as f64)
}

/// The other side: answers, and leaves without running anything of the parent's.
fn echo(line: &AtomicU64, trips: u64, cpu: usize, patience: u32) -> ! {
    // SAFETY: takes numbers only. Without the parent nobody would ever write to the line again.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    pin(&[cpu]);
    for trip in 0..trips {
        wait_for(line, 2 * trip + 1, patience);
        line.store(2 * trip + 2, Release);
    }
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(0) }
}

/// Spins `patience` times, then yields: with one processor for both sides, always at once, since
/// the other can only answer when this one lets it.
fn wait_for(line: &AtomicU64, value: u64, patience: u32) {
    let mut spins = 0u32;
    while line.load(Acquire) != value {
        spins += 1;
        if spins.is_multiple_of(patience) {
            std::thread::yield_now();
        }
        spin_loop();
    }
}

/// A page of zeros that a forked child shares.
struct Page(*mut libc::c_void);

impl Page {
    fn map() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), LINE_BYTES, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(at)) }
    }

    fn line(&self) -> &AtomicU64 {
        // SAFETY: mapped, aligned and zeroed while `self` lives, and only touched as an atomic.
        unsafe { &*self.0.cast() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: our mapping; no reference to it outlives `self`.
        unsafe { libc::munmap(self.0, LINE_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::allowed_cpus;

    #[test]
    fn the_line_comes_back() {
        let cpus = allowed_cpus();
        let ns = ping_pong(200, cpus[0], cpus[1 % cpus.len()]).expect("fork");
        assert!(ns > 0.0);
    }
}
