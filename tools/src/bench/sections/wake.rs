//! The wake of a worker that sleeps: from the submit until its body has begun.

use std::time::Duration;

use mailring::Mode;
use mailring::abi::{CallConfig, TaskArgs};

use super::super::partner::Partner;
use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Section, Unit, measured, ratio};
use super::engine::Engine;
use crate::stats::{median_of, percentile};
use crate::system::{Pinned, monotonic_ns};

/// After this long everybody sleeps.
const PAUSE: Duration = Duration::from_millis(2);
const TRIPS: usize = 25;

pub(super) static SECTION: Section = Section {
    name: "wake",
    title: "Wake of a worker that has slept for 2 ms",
    seconds: [1.0, 4.0, 8.0],
    figures: &[
        measured(
            "wake.futex_ns",
            Unit::Ns,
            "futex round trip, after such a sleep",
            "two bare processes wake each other, the other one after a sleep of 2 ms: p50",
        ),
        measured(
            "wake_ns",
            Unit::Ns,
            "submit until the body has begun, p50",
            "the worker is parked when the task is submitted",
        )
        .flat(),
        ratio("ratio_wake", "wake_ns", "wake.futex_ns", "/ futex round trip")
            .flat()
            .at_most(1.3, 1.3),
        measured("wake.p99_ns", Unit::Ns, "  p99", "the same, p99"),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let (here, there) = (run.here(), run.there());
    let partner = Partner::start(here, there)?;
    let engine = Engine::build(Mode::Process, 1, true)?;
    let _pinned = Pinned::to(here);
    run.rounds(|run, nth| {
        let run = std::cell::RefCell::new(run);
        let mut ours = || {
            let mut times = wakes(&engine, TRIPS)?;
            run.borrow_mut().add("wake_ns", median_of(&mut times) as f64);
            run.borrow_mut().add("wake.p99_ns", percentile(&mut times, 0.99) as f64);
            Ok(())
        };
        let mut floor = || {
            run.borrow_mut().add("wake.futex_ns", partner.futex(TRIPS, PAUSE));
            Ok(())
        };
        in_turns(nth, &mut [&mut ours, &mut floor])
    })
}

/// Nanoseconds from each submit to the begin of its body.
fn wakes(engine: &Engine, trips: usize) -> Measured<Vec<u64>> {
    let cell = engine.cells(0, 1)?[0];
    let mut times = Vec::with_capacity(trips);
    for _ in 0..trips {
        std::thread::sleep(PAUSE);
        let mut begin = 0;
        engine.exec.run(|orch| {
            begin = monotonic_ns();
            let args = TaskArgs::new().output(cell);
            let handle = orch.submit(engine.stamp, args, CallConfig::default())?;
            orch.wait(&handle)
        })?;
        times.push(engine.data.get(0)?.saturating_sub(begin));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_takes_time() {
        let engine = Engine::build(Mode::Thread, 1, false).expect("build");
        assert!(wakes(&engine, 3).expect("run").iter().all(|&ns| ns > 0));
    }
}
