//! The same tasks through the C interface: `c/loops.c`, compiled with this program and linked with
//! the sources of `libmailring`, so that both languages run in one process on the same processors.

use std::ffi::{CStr, c_int, c_void};
use std::sync::Barrier;

use super::engine::Engine;
use super::{roundtrip, throughput};
use crate::stats::median_of;

#[path = "../../../ffi/src/api/mod.rs"]
#[allow(unreachable_pub, dead_code, clippy::all, reason = "all of it is used by C")]
mod api;

#[repr(C)]
struct Bench {
    exec: *mut c_void,
    buffer: *mut c_void,
    empty: u64,
    data: *mut u64,
}

unsafe extern "C" {
    fn bench_c_build(bench: *mut Bench) -> c_int;
    fn bench_c_end(bench: *mut Bench) -> c_int;
    fn bench_c_round_trip(bench: *const Bench, trips: usize, times: *mut u64) -> c_int;
    fn bench_c_independent(bench: *const Bench, tasks: usize, time: *mut u64) -> c_int;
    fn bench_c_chain(bench: *const Bench, tasks: usize, time: *mut u64) -> c_int;
    fn bench_c_args(rounds: usize, time: *mut u64) -> c_int;
}

/// A status of C, as what was said of it.
fn check(status: c_int) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: text of the library, valid until the next failing call of this thread.
    Err(unsafe { CStr::from_ptr(api::error::mr_last_error()) }.to_string_lossy().into_owned())
}

/// Nanoseconds, in Rust and in C.
#[derive(Clone, Copy)]
pub(super) struct Both {
    pub(super) rust: f64,
    pub(super) c: f64,
}

impl Both {
    pub(super) fn ratio(self) -> f64 {
        self.c / self.rust
    }
}

pub(super) struct Loops(Bench);

impl Loops {
    pub(super) fn build() -> Result<Self, String> {
        let mut bench = Bench {
            exec: std::ptr::null_mut(),
            buffer: std::ptr::null_mut(),
            empty: 0,
            data: std::ptr::null_mut(),
        };
        // SAFETY: a structure of that layout.
        check(unsafe { bench_c_build(&raw mut bench) })?;
        Ok(Self(bench))
    }

    fn round_trip(&self, trips: usize) -> Result<f64, String> {
        let mut times = vec![0; trips];
        // SAFETY: that was built, and as many places.
        check(unsafe { bench_c_round_trip(&raw const self.0, trips, times.as_mut_ptr()) })?;
        Ok(median_of(&mut times) as f64)
    }

    fn independent(&self, tasks: usize) -> Result<f64, String> {
        let mut time = 0;
        // SAFETY: as above.
        check(unsafe { bench_c_independent(&raw const self.0, tasks, &raw mut time) })?;
        Ok(time as f64 / tasks as f64)
    }

    fn chain(&self, tasks: usize) -> Result<f64, String> {
        let mut time = 0;
        // SAFETY: as above.
        check(unsafe { bench_c_chain(&raw const self.0, tasks, &raw mut time) })?;
        Ok(time as f64 / tasks as f64)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        // SAFETY: built, and ended once.
        let _ = check(unsafe { bench_c_end(&raw mut self.0) });
    }
}

/// Blocks of one language and the other in turns.
const BLOCKS: usize = 4;

/// Round trip, independent and chained tasks, in both languages: blocks in turns, best of each, so
/// that what else the machine does meets both.
pub(super) fn all(
    engine: &Engine,
    loops: &Loops,
    trips: usize,
    tasks: usize,
) -> Result<[Both; 3], String> {
    let text = |error: mailring::Error| error.to_string();
    Ok([
        in_turns(
            || roundtrip::round_trip(engine, trips / BLOCKS).map_err(text),
            || loops.round_trip(trips / BLOCKS),
        )?,
        in_turns(
            || throughput::independent(engine, tasks / BLOCKS).map_err(text),
            || loops.independent(tasks / BLOCKS),
        )?,
        in_turns(
            || throughput::chain(engine, tasks / BLOCKS).map_err(text),
            || loops.chain(tasks / BLOCKS),
        )?,
    ])
}

fn in_turns(
    rust: impl Fn() -> Result<f64, String>,
    c: impl Fn() -> Result<f64, String>,
) -> Result<Both, String> {
    let mut best = Both { rust: f64::INFINITY, c: f64::INFINITY };
    for _ in 0..BLOCKS {
        best.rust = best.rust.min(rust()?);
        best.c = best.c.min(c()?);
    }
    Ok(best)
}

/// Nanoseconds of one call on task arguments, by one thread and by two with arguments of their own.
pub(super) fn arguments(rounds: usize) -> Result<[f64; 2], String> {
    let calls = 4.0 * rounds as f64;
    let one = || {
        let mut time = 0;
        // SAFETY: a place for the time.
        check(unsafe { bench_c_args(rounds, &raw mut time) })?;
        Ok::<f64, String>(time as f64 / calls)
    };
    let alone = one()?;
    let barrier = Barrier::new(2);
    let beside = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| {
            scope.spawn(|| {
                barrier.wait();
                one()
            })
        });
        both.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
    });
    let [first, second] = beside;
    Ok([alone, (first? + second?) / 2.0])
}

#[cfg(test)]
mod tests {
    use mailring::Mode;

    use super::*;

    #[test]
    fn tasks_of_c_take_time() {
        let engine = Engine::build(Mode::Thread, 1, false).expect("build");
        let loops = Loops::build().expect("build");
        for both in all(&engine, &loops, 200, 5000).expect("run") {
            assert!(both.rust > 0.0 && both.c > 0.0);
        }
        assert!(arguments(1000).expect("calls").into_iter().all(|ns| ns > 0.0));
    }
}
