//! The same tasks through the C interface: `c/loops.c`, compiled with this program and linked with
//! the sources of `libmailring`, so that both languages run in one process on the same processors.

use std::cell::RefCell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::Barrier;

use mailring::Mode;

use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Section, Unit, measured, ratio};
use super::engine::Engine;
use super::loads;
use super::replay::{GRAPH, Graph};
use crate::stats::median_of;
use crate::system::Pinned;

#[path = "../../../../ffi/src/api/mod.rs"]
#[allow(unreachable_pub, dead_code, clippy::all, reason = "all of it is used by C")]
mod api;

const TRIPS: usize = 5_000;
const TASKS: usize = 100_000;

pub(super) static SECTION: Section = Section {
    name: "c",
    title: "The C interface, beside Rust in the same process",
    seconds: [2.0, 6.0, 12.0],
    figures: &[
        measured("c.rtt_ns", Unit::Ns, "round trip of one task, p50", "submit, run, wait, from C"),
        measured("c.rust_rtt_ns", Unit::Ns, "from Rust", "the same from Rust"),
        ratio("ratio_c_rtt", "c.rtt_ns", "c.rust_rtt_ns", "C / Rust").flat(),
        measured("c.independent_ns", Unit::Ns, "independent task", "wall time / tasks, from C"),
        measured("c.rust_independent_ns", Unit::Ns, "from Rust", "the same from Rust"),
        ratio("ratio_c_independent", "c.independent_ns", "c.rust_independent_ns", "C / Rust")
            .flat(),
        measured("c.chain_ns", Unit::Ns, "chained task", "wall time / tasks, from C"),
        measured("c.rust_chain_ns", Unit::Ns, "from Rust", "the same from Rust"),
        ratio("ratio_c_chain", "c.chain_ns", "c.rust_chain_ns", "C / Rust"),
        measured(
            "c.replay_independent_ns",
            Unit::Ns,
            "independent task of a replay",
            "graphs of 2,048 tasks: wall time / tasks, from C",
        ),
        measured("c.rust_replay_independent_ns", Unit::Ns, "from Rust", "the same from Rust"),
        ratio(
            "ratio_c_replay_independent",
            "c.replay_independent_ns",
            "c.rust_replay_independent_ns",
            "C / Rust",
        ),
        measured(
            "c.replay_chain_ns",
            Unit::Ns,
            "chained task of a replay",
            "graphs of 2,048 tasks: wall time / tasks, from C",
        ),
        measured("c.rust_replay_chain_ns", Unit::Ns, "from Rust", "the same from Rust"),
        ratio("ratio_c_replay_chain", "c.replay_chain_ns", "c.rust_replay_chain_ns", "C / Rust"),
        measured(
            "c.args_call_ns",
            Unit::Ns,
            "call on task arguments",
            "clear, two tensors, a scalar: time / 4",
        ),
        measured(
            "c.args_call_two_threads_ns",
            Unit::Ns,
            "the same on two threads",
            "each with arguments of its own",
        ),
        ratio(
            "ratio_c_two_threads",
            "c.args_call_two_threads_ns",
            "c.args_call_ns",
            "two threads / one",
        ),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    // Both are built before either has threads that could hold something.
    let engine = Engine::build(Mode::Process, 1, true)?;
    let loops = Loops::build()?;
    for _ in 0..3 {
        let [alone, beside] = arguments(TASKS / 4)?;
        run.add("c.args_call_ns", alone);
        run.add("c.args_call_two_threads_ns", beside);
    }
    let _pinned = Pinned::to(run.here());
    let (independent, chain) = (Graph::independent(&engine)?, Graph::chain(&engine)?);
    run.rounds(|run, nth| {
        let run = RefCell::new(run);
        let add = |key: &str, value: f64| run.borrow_mut().add(key, value);
        let mut c = || {
            add("c.rtt_ns", median_of(&mut loops.round_trips(TRIPS)?) as f64);
            add("c.independent_ns", loops.independent(TASKS)?);
            add("c.chain_ns", loops.chain(TASKS)?);
            add("c.replay_independent_ns", loops.replay(false, TASKS)?);
            add("c.replay_chain_ns", loops.replay(true, TASKS)?);
            Ok(())
        };
        let mut rust = || {
            add("c.rust_rtt_ns", median_of(&mut loads::round_trips(&engine, TRIPS)?) as f64);
            add("c.rust_independent_ns", loads::independent(&engine, TASKS)?);
            add("c.rust_chain_ns", loads::chain(&engine, TASKS)?);
            add("c.rust_replay_independent_ns", independent.replay(&engine.exec, TASKS)?);
            add("c.rust_replay_chain_ns", chain.replay(&engine.exec, TASKS)?);
            Ok(())
        };
        in_turns(nth, &mut [&mut c, &mut rust])
    })
}

#[repr(C)]
struct Bench {
    exec: *mut c_void,
    buffer: *mut c_void,
    empty: u64,
    data: *mut u64,
    independent: *mut c_void,
    chain: *mut c_void,
}

unsafe extern "C" {
    fn bench_c_build(bench: *mut Bench) -> c_int;
    fn bench_c_end(bench: *mut Bench) -> c_int;
    fn bench_c_round_trip(bench: *const Bench, trips: usize, times: *mut u64) -> c_int;
    fn bench_c_independent(bench: *const Bench, tasks: usize, time: *mut u64) -> c_int;
    fn bench_c_chain(bench: *const Bench, tasks: usize, time: *mut u64) -> c_int;
    fn bench_c_replay(bench: *const Bench, chain: c_int, times: usize, time: *mut u64) -> c_int;
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

/// As in [`loads`], by a program in C.
struct Loops(Bench);

impl Loops {
    fn build() -> Result<Self, String> {
        let mut bench = Bench {
            exec: std::ptr::null_mut(),
            buffer: std::ptr::null_mut(),
            empty: 0,
            data: std::ptr::null_mut(),
            independent: std::ptr::null_mut(),
            chain: std::ptr::null_mut(),
        };
        // SAFETY: a structure of that layout.
        check(unsafe { bench_c_build(&raw mut bench) })?;
        Ok(Self(bench))
    }

    fn round_trips(&self, trips: usize) -> Result<Vec<u64>, String> {
        let mut times = vec![0; trips];
        // SAFETY: that was built, and as many places.
        check(unsafe { bench_c_round_trip(&raw const self.0, trips, times.as_mut_ptr()) })?;
        Ok(times)
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

    /// As [`Graph::replay`].
    fn replay(&self, chain: bool, tasks: usize) -> Result<f64, String> {
        let run = |times: usize| {
            let mut time = 0;
            let chain = chain.into();
            // SAFETY: as above.
            check(unsafe { bench_c_replay(&raw const self.0, chain, times, &raw mut time) })?;
            Ok::<u64, String>(time)
        };
        run(2)?; // wakes the worker
        let times = (tasks / GRAPH).max(1);
        Ok(run(times)? as f64 / (times * GRAPH) as f64)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        // SAFETY: built, and ended once.
        let _ = check(unsafe { bench_c_end(&raw mut self.0) });
    }
}

/// Nanoseconds of one call on task arguments, by one thread and by two with arguments of their own.
fn arguments(rounds: usize) -> Result<[f64; 2], String> {
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
    use super::*;

    #[test]
    fn tasks_of_c_take_time() {
        let loops = Loops::build().expect("build");
        assert_eq!(loops.round_trips(200).expect("run").len(), 200);
        assert!(loops.independent(5000).expect("run") > 0.0);
        assert!(loops.chain(5000).expect("run") > 0.0);
        for chain in [false, true] {
            assert!(loops.replay(chain, 2 * GRAPH).expect("replay") > 0.0);
        }
        assert!(arguments(1000).expect("calls").into_iter().all(|ns| ns > 0.0));
    }
}
