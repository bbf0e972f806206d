//! What the machine can do without an engine.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use super::super::partner::Partner;
use super::super::run::{Measured, Run};
use super::super::section::{Section, Unit, measured};
use crate::stats::percentile;
use crate::system::Pinned;

pub(super) static SECTION: Section = Section {
    name: "floor",
    title: "The floor: two bare processes, one on each processor",
    seconds: [1.0, 4.0, 8.0],
    figures: &[
        measured("floor_pingpong_ns", Unit::Ns, "ping-pong", "one cache line there and back, p50")
            .flat(),
        measured("floor.pingpong_ns_p99", Unit::Ns, "  p99", "the same, p99"),
        measured(
            "floor_futex_ns",
            Unit::Ns,
            "futex round trip",
            "both sleep and wake each other, p50",
        )
        .flat(),
        measured(
            "floor.ring_64_ns",
            Unit::Ns,
            "message of 64 bytes",
            "a ring with one writer and one reader: wall time / messages",
        ),
        measured("floor.ring_256_ns", Unit::Ns, "message of 256 bytes", "the same"),
        measured("floor.fork_us", Unit::Us, "fork", "fork, _exit, waitpid"),
        measured(
            "floor.memcpy_args_ns",
            Unit::Ns,
            "copying the bytes of a task's arguments",
            "memcpy of 96 bytes: 2 tensors and a scalar",
        ),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let (here, there) = (run.here(), run.there());
    let partner = Partner::start(here, there)?;
    let _pinned = Pinned::to(here);
    run.rounds(|run, _| {
        let mut trips = partner.trips(20_000);
        run.add("floor_pingpong_ns", percentile(&mut trips, 0.5) as f64);
        run.add("floor.pingpong_ns_p99", percentile(&mut trips, 0.99) as f64);
        run.add("floor_futex_ns", partner.futex(500, Duration::ZERO));
        run.add("floor.ring_64_ns", partner.ring(100_000, 64));
        run.add("floor.ring_256_ns", partner.ring(50_000, 256));
        run.add("floor.fork_us", fork(10)? / 1e3);
        run.add("floor.memcpy_args_ns", copy(100_000));
        Ok(())
    })
}

/// Nanoseconds of a fork, until the child has ended and is waited for.
fn fork(times: usize) -> io::Result<f64> {
    let begin = Instant::now();
    for _ in 0..times {
        // SAFETY: the child does nothing but end; the parent waits for its own child.
        unsafe {
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => libc::_exit(0),
                child => libc::waitpid(child, std::ptr::null_mut(), 0),
            };
        }
    }
    Ok(begin.elapsed().as_nanos() as f64 / times as f64)
}

/// Nanoseconds of a copy.
fn copy(times: usize) -> f64 {
    /// 8 bytes of counts, 2 tensors of 40 bytes, a scalar.
    const BYTES: usize = 8 + 2 * 40 + 8;
    let (from, mut to) = ([1u8; BYTES], [0u8; BYTES]);
    let begin = Instant::now();
    for _ in 0..times {
        black_box(&mut to).copy_from_slice(black_box(&from));
    }
    begin.elapsed().as_nanos() as f64 / times as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_and_copies_take_time() {
        assert!(fork(2).expect("fork") > 0.0);
        assert!(copy(100) > 0.0);
    }
}
