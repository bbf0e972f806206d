//! Groups, whose members run at the same time, and a fan: one task, many that wait for it, one that
//! waits for those.

use std::time::{Duration, Instant};

use mailring::abi::{CallConfig, TaskArgs};
use mailring::{Error, Mode};

use super::super::partner::Partner;
use super::super::run::{Measured, Run};
use super::super::section::{Section, Unit, measured, ping_pong, ratio};
use super::engine::Engine;
use crate::stats::percentile;
use crate::system::Pinned;

/// Tasks in the middle of a fan.
const FAN: usize = 64;
/// A block ends with either.
const TRIPS: usize = 500;
const BLOCK: Duration = Duration::from_millis(40);

pub(super) static SECTION: Section = Section {
    name: "groups",
    title: "Groups and fans: two workers on two processors, beside the submitter",
    seconds: [1.5, 6.0, 12.0],
    figures: &[
        ping_pong("groups.pingpong_ns"),
        measured(
            "group2_ns",
            Unit::Ns,
            "group of 2, p50",
            "submit to completion, empty members; nobody is pinned",
        )
        .flat(),
        ratio("ratio_group2", "group2_ns", "groups.pingpong_ns", "/ ping-pong")
            .flat()
            .at_most_near(30.0),
        measured("group2_ns_p99", Unit::Ns, "  p99", "the same, p99"),
        measured("groups.thread2_ns", Unit::Ns, "threads: group of 2, p50", "worker threads"),
        ratio("isolation_tax_group2", "group2_ns", "groups.thread2_ns", "process / thread"),
        measured(
            "fan64_ns",
            Unit::Ns,
            "fan of 64: a task of it",
            "one task, 64 that wait for it, one that waits for those: wall time / 66",
        ),
        measured("thread.fan64_ns", Unit::Ns, "threads: fan of 64: a task of it", "worker threads"),
        ratio("isolation_tax_fan64", "fan64_ns", "thread.fan64_ns", "process / thread"),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let (here, there) = (run.here(), run.there());
    let partner = Partner::start(here, there)?;
    let process = Engine::build(Mode::Process, 2, false)?;
    let thread = Engine::build(Mode::Thread, 2, false)?;
    run.rounds(|run, _| {
        {
            let _pinned = Pinned::to(here);
            run.add("groups.pingpong_ns", partner.ping_pong(5000));
        }
        let mut trips = groups(&process, 2, TRIPS)?;
        run.add("group2_ns", percentile(&mut trips, 0.5) as f64);
        run.add("group2_ns_p99", percentile(&mut trips, 0.99) as f64);
        run.add("groups.thread2_ns", percentile(&mut groups(&thread, 2, TRIPS)?, 0.5) as f64);
        for (engine, key) in [(&process, "fan64_ns"), (&thread, "thread.fan64_ns")] {
            let mut fans = fans(engine, TRIPS)?;
            run.add(key, percentile(&mut fans, 0.5) as f64 / (FAN + 2) as f64);
        }
        Ok(())
    })
}

/// Nanoseconds of each group, one by one.
pub(in crate::bench) fn groups(
    engine: &Engine,
    members: usize,
    most: usize,
) -> Result<Vec<u64>, Error> {
    let cells = engine.cells(0, members)?;
    one_by_one(engine, most, |orch| {
        let args = cells.iter().map(|&cell| TaskArgs::new().output(cell)).collect();
        orch.submit_group(engine.empty, args, CallConfig::default())
    })
}

/// Nanoseconds of each fan, one by one.
fn fans(engine: &Engine, most: usize) -> Result<Vec<u64>, Error> {
    let (begin, middle) = (engine.cells(0, 1)?[0], engine.cells(1, FAN)?);
    // One range for all of the middle: the last task waits for each part of it.
    let whole = engine.data.view(1, &[FAN as u32])?;
    one_by_one(engine, most, |orch| {
        let config = CallConfig::default();
        orch.submit(engine.empty, TaskArgs::new().output(begin), config)?;
        for &cell in &middle {
            orch.submit(engine.empty, TaskArgs::new().input(begin).output(cell), config)?;
        }
        orch.submit(engine.empty, TaskArgs::new().input(whole).inout(begin), config)
    })
}

fn one_by_one(
    engine: &Engine,
    most: usize,
    submit: impl Fn(&mut mailring::Orchestrator) -> Result<mailring::TaskHandle, Error>,
) -> Result<Vec<u64>, Error> {
    let (warm, mut times) = (most / 8, Vec::with_capacity(most));
    let end = Instant::now() + BLOCK;
    engine.exec.run(|orch| {
        for trip in 0..warm + most {
            let begin = Instant::now();
            let handle = submit(orch)?;
            orch.wait(&handle)?;
            if trip >= warm || begin > end {
                times.push(begin.elapsed().as_nanos() as u64);
            }
            if begin > end {
                break;
            }
        }
        Ok(())
    })?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_fans_take_time() {
        let engine = Engine::build(Mode::Thread, 2, false).expect("build");
        assert!(!groups(&engine, 2, 20).expect("run").is_empty());
        assert!(!fans(&engine, 20).expect("run").is_empty());
    }
}
