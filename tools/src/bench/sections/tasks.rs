//! The three loads, in turns: this engine with processes and with threads, and others.

use mailring::Mode;

use super::super::partner::Partner;
use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Section, Unit, measured, rate, ratio};
use super::engine::Engine;
use super::loads;
use crate::stats::percentile;
use crate::system::Pinned;

const TRIPS: usize = 10_000;
const TASKS: usize = 200_000;

pub(super) static SECTION: Section = Section {
    name: "tasks",
    title: "Empty tasks: the submitter on one processor, one worker on the other",
    seconds: [5.0, 20.0, 40.0],
    figures: &[
        measured("tasks.pingpong_ns", Unit::Ns, "ping-pong", "of the same rounds"),
        measured(
            "rtt_ns_p50",
            Unit::Ns,
            "round trip of one task, p50",
            "submit, run, wait; a worker process",
        )
        .flat(),
        ratio("ratio_rtt", "rtt_ns_p50", "tasks.pingpong_ns", "/ ping-pong")
            .flat()
            .at_most(2.2, 1.5),
        measured("rtt_ns_p99", Unit::Ns, "  p99", "the same, p99"),
        measured("rtt_ns_p999", Unit::Ns, "  p99.9", "the same, p99.9"),
        measured(
            "independent_ns",
            Unit::Ns,
            "independent task",
            "2 tensors and a scalar: wall time / tasks",
        ),
        rate("independent_per_s", "independent_ns", "  a second").flat(),
        measured(
            "chain_ns",
            Unit::Ns,
            "chained task",
            "each waits for the one before: wall time / tasks",
        )
        .flat(),
        measured("thread.rtt_ns_p50", Unit::Ns, "threads: round trip, p50", "a worker thread"),
        ratio("isolation_tax_rtt", "rtt_ns_p50", "thread.rtt_ns_p50", "process / thread").flat(),
        measured("thread.independent_ns", Unit::Ns, "threads: independent task", "a worker thread"),
        ratio(
            "isolation_tax_independent",
            "independent_ns",
            "thread.independent_ns",
            "process / thread",
        )
        .flat(),
        measured("thread.chain_ns", Unit::Ns, "threads: chained task", "a worker thread"),
        ratio("isolation_tax_chain", "chain_ns", "thread.chain_ns", "process / thread").flat(),
    ],
    panels: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let (here, there) = (run.here(), run.there());
    // Everything that forks comes before everything that has threads.
    let partner = Partner::start(here, there)?;
    let process = Engine::build(Mode::Process, 1, true)?;
    let thread = Engine::build(Mode::Thread, 1, true)?;
    // After the builds: workers and supervisors are not to inherit it.
    let _pinned = Pinned::to(here);
    run.rounds(|run, nth| {
        run.add("tasks.pingpong_ns", partner.ping_pong(TRIPS));
        let run = std::cell::RefCell::new(run);
        let ours = |engine: &Engine, prefix: &str| -> Measured {
            let mut trips = loads::round_trips(engine, TRIPS)?;
            let independent = loads::independent(engine, TASKS)?;
            let chain = loads::chain(engine, TASKS)?;
            let mut run = run.borrow_mut();
            for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
                run.add(&format!("{prefix}rtt_ns_{name}"), percentile(&mut trips, q) as f64);
            }
            run.add(&format!("{prefix}independent_ns"), independent);
            run.add(&format!("{prefix}chain_ns"), chain);
            Ok(())
        };
        in_turns(nth, &mut [&mut || ours(&process, ""), &mut || ours(&thread, "thread.")])
    })
}
