//! The three loads, in turns: this engine with processes and with threads, and others.

use std::cell::RefCell;

use mailring::Mode;
use mailring_compare::Bare;

use super::super::partner::Partner;
use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Bars, Section, Unit, measured, ping_pong, rate, ratio};
use super::engine::Engine;
use super::loads;
use crate::stats::percentile;
use crate::system::Pinned;

const TRIPS: usize = 10_000;

const fn bars(title: &'static str, bars: &'static [(&'static str, &'static str)]) -> Bars {
    Bars { title, unit: "ns", bars }
}

pub(super) static SECTION: Section = Section {
    name: "tasks",
    title: "Empty tasks: the submitter on one processor, one worker on the other",
    seconds: [5.0, 14.0, 40.0],
    figures: &[
        ping_pong("tasks.pingpong_ns"),
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
        ratio("ratio_rtt_bare", "rtt_ns_p50", "bare.rtt_ns_p50", "/ bare loop")
            .flat()
            .at_most_near(1.5),
        measured("rtt_ns_p99", Unit::Ns, "  p99", "the same, p99"),
        measured("rtt_ns_p999", Unit::Ns, "  p99.9", "the same, p99.9"),
        measured(
            "independent_ns",
            Unit::Ns,
            "independent task",
            "2 tensors and a scalar: wall time / tasks",
        ),
        ratio("ratio_independent_rayon", "independent_ns", "rayon.independent_ns", "/ rayon")
            .flat()
            .at_most(0.95, 2.0),
        ratio("ratio_independent_bare", "independent_ns", "bare.independent_ns", "/ bare loop")
            .flat()
            .at_most_near(1.2),
        rate("independent_per_s", "independent_ns", "  a second").flat(),
        measured(
            "chain_ns",
            Unit::Ns,
            "chained task",
            "each waits for the one before: wall time / tasks",
        )
        .flat(),
        ratio("ratio_chain_rayon", "chain_ns", "rayon.chain_ns", "/ rayon")
            .flat()
            .at_most(1.0, 1.3),
        ratio("ratio_chain_bare", "chain_ns", "bare.chain_ns", "/ bare loop")
            .flat()
            .at_most_near(1.1),
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
        measured(
            "bare.rtt_ns_p50",
            Unit::Ns,
            "bare loop: round trip, p50",
            "processes, no checks, no recovery, no parking",
        ),
        measured("bare.independent_ns", Unit::Ns, "bare loop: independent task", "the same loop"),
        measured("bare.chain_ns", Unit::Ns, "bare loop: chained task", "the same loop"),
        measured(
            "rayon.rtt_ns_p50",
            Unit::Ns,
            "rayon: round trip, p50",
            "install of an empty closure; a pool of one thread",
        ),
        measured(
            "rayon.independent_ns",
            Unit::Ns,
            "rayon: independent task",
            "spawn of an empty closure in a scope; a pool of one thread",
        ),
        measured("rayon.chain_ns", Unit::Ns, "rayon: chained task", "a task that spawns the next"),
        measured(
            "channel.rtt_ns_p50",
            Unit::Ns,
            "channel pool: round trip, p50",
            "a thread that takes boxed closures from a crossbeam channel",
        ),
        measured("channel.independent_ns", Unit::Ns, "channel pool: independent task", "a send"),
        measured(
            "channel.chain_ns",
            Unit::Ns,
            "channel pool: chained task",
            "a job sends the next",
        ),
        measured(
            "tokio.rtt_ns_p50",
            Unit::Ns,
            "tokio: round trip, p50",
            "spawn and block_on; a runtime of one thread",
        ),
        measured("tokio.independent_ns", Unit::Ns, "tokio: independent task", "spawn, then await"),
        measured("tokio.chain_ns", Unit::Ns, "tokio: chained task", "a task that spawns the next"),
    ],
    panels: &[],
    bars: &[
        bars(
            "Round trip of one empty task, p50",
            &[
                ("ping-pong", "tasks.pingpong_ns"),
                ("bare loop", "bare.rtt_ns_p50"),
                ("mailring, processes", "rtt_ns_p50"),
                ("mailring, threads", "thread.rtt_ns_p50"),
                ("rayon", "rayon.rtt_ns_p50"),
                ("channel pool", "channel.rtt_ns_p50"),
                ("tokio", "tokio.rtt_ns_p50"),
            ],
        ),
        bars(
            "Independent empty task",
            &[
                ("bare loop", "bare.independent_ns"),
                ("mailring, processes", "independent_ns"),
                ("mailring, threads", "thread.independent_ns"),
                ("rayon", "rayon.independent_ns"),
                ("channel pool", "channel.independent_ns"),
                ("tokio", "tokio.independent_ns"),
            ],
        ),
        bars(
            "Chained empty task",
            &[
                ("bare loop", "bare.chain_ns"),
                ("mailring, processes", "chain_ns"),
                ("mailring, threads", "thread.chain_ns"),
                ("rayon", "rayon.chain_ns"),
                ("channel pool", "channel.chain_ns"),
                ("tokio", "tokio.chain_ns"),
            ],
        ),
    ],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let (here, there) = (run.here(), run.there());
    // Everything that forks comes before everything that has threads.
    let partner = Partner::start(here, there)?;
    let mut bare = Bare::start(&[there], here == there, |_| ())?;
    let process = Engine::build(Mode::Process, 1, true)?;
    let thread = Engine::build(Mode::Thread, 1, true)?;
    #[cfg(feature = "peers")]
    let peers = super::super::peers::all(there).unwrap_or_else(|error| {
        run.missing("rayon, crossbeam-channel, tokio", &error.to_string());
        Vec::new()
    });
    #[cfg(not(feature = "peers"))]
    run.missing("rayon, crossbeam-channel, tokio", "built without the feature `peers`");
    if here == there {
        run.note("there is one processor: submitter and worker take turns on it");
    }
    let tasks = run.count(100_000, 200_000);
    // After the builds: workers and supervisors are not to inherit it.
    let _pinned = Pinned::to(here);
    run.rounds(|run, nth| {
        run.add("tasks.pingpong_ns", partner.ping_pong(TRIPS));
        let run = RefCell::new(run);
        let add = |prefix: &str, trips: &mut [u64], independent: f64, chain: f64| {
            let mut run = run.borrow_mut();
            run.add(&format!("{prefix}rtt_ns_p50"), percentile(trips, 0.5) as f64);
            run.add(&format!("{prefix}independent_ns"), independent);
            run.add(&format!("{prefix}chain_ns"), chain);
        };
        let ours = |engine: &Engine, prefix: &str| -> Measured<Vec<u64>> {
            let mut trips = loads::round_trips(engine, TRIPS)?;
            let independent = loads::independent(engine, tasks)?;
            add(prefix, &mut trips, independent, loads::chain(engine, tasks)?);
            Ok(trips)
        };
        let mut processes = || {
            let mut trips = ours(&process, "")?;
            run.borrow_mut().add("rtt_ns_p99", percentile(&mut trips, 0.99) as f64);
            run.borrow_mut().add("rtt_ns_p999", percentile(&mut trips, 0.999) as f64);
            Ok(())
        };
        let mut threads = || ours(&thread, "thread.").map(drop);
        let mut others = || {
            add("bare.", &mut bare.round_trips(TRIPS), bare.independent(tasks), bare.chain(tasks));
            #[cfg(feature = "peers")]
            for peer in &peers {
                // They sleep and wake for each trip: fewer take as long.
                let (prefix, trips) = (format!("{}.", peer.name()), TRIPS / 20);
                let (mut trips, independent) = (peer.round_trips(trips), peer.independent(tasks));
                add(&prefix, &mut trips, independent, peer.chain(tasks));
            }
            Ok(())
        };
        in_turns(nth, &mut [&mut processes, &mut others, &mut threads])
    })
}
