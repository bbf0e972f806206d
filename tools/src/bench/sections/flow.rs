//! What a flow costs: a call and its value, a chain of refs, a cancel, many calls at once, a large
//! value that goes from node to node.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use mailring::flow::{self, Cancel, Error, Flow, Found, ObjectRef, Resources, Shared, node};

use mailring::Mode;

use super::super::partner::Partner;
use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Section, Unit, measured, ping_pong, ratio};
use super::engine::Engine;
use super::loads;
use crate::stats::median_of;
use crate::system::{Pinned, pin_process};

const TRIPS: usize = 5_000;
const TASKS: usize = 50_000;

pub(super) static SECTION: Section = Section {
    name: "flow",
    title: "Flows, beside the engine",
    seconds: [2.5, 8.0, 16.0],
    figures: &[
        ping_pong("flow.pingpong_ns"),
        measured("flow.engine_rtt_ns", Unit::Ns, "round trip of the engine", "submit, run, wait"),
        measured(
            "flow.rtt_ns",
            Unit::Ns,
            "a call and its value, p50",
            "remote, then get, of a no-op",
        ),
        ratio("ratio_flow_rtt", "flow.rtt_ns", "flow.engine_rtt_ns", "/ round trip of the engine")
            .flat()
            .at_most(1.5, 1.5),
        measured(
            "flow.engine_chain_ns",
            Unit::Ns,
            "chained task of the engine",
            "wall time / tasks",
        ),
        measured(
            "flow.chain_ns",
            Unit::Ns,
            "chained call",
            "wall time / calls, each takes the ref of the one before",
        ),
        ratio("ratio_flow_chain", "flow.chain_ns", "flow.engine_chain_ns", "/ chained task")
            .flat()
            .at_most(3.0, 3.0),
        measured(
            "flow.in_flight_ns",
            Unit::Ns,
            "call, 100,000 in flight",
            "wall time / calls, all made before the first get",
        ),
        measured(
            "flow_cancel_us",
            Unit::Us,
            "cancel of a queued task",
            "until cancel returns, p50",
        )
        .flat(),
        measured(
            "flow.hand_over_us",
            Unit::Us,
            "64 MiB taken by a node",
            "a call and its value, with a ref to 64 MiB as argument, p50",
        ),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let (here, there) = (run.here(), run.there());
    let partner = Partner::start(here, there)?;
    let engine = Engine::build(Mode::Process, 1, true)?;
    let flow = build(there)?;
    let _pinned = Pinned::to(here);
    // Rarely: each takes a while, and none has a ratio.
    for _ in 0..run.count(2, 5) {
        run.says("many in flight");
        run.add("flow.in_flight_ns", in_flight(&flow, 100_000)?);
        run.add("flow.hand_over_us", hand_over(&flow, 100)?);
    }
    run.rounds(|run, nth| {
        run.add("flow.pingpong_ns", partner.ping_pong(TRIPS));
        run.add("flow_cancel_us", cancel_queued(&flow, 100)?);
        let run = RefCell::new(run);
        let add = |key: &str, value: f64| run.borrow_mut().add(key, value);
        let mut calls = || {
            add("flow.rtt_ns", round_trip(&flow, TRIPS)?);
            add("flow.chain_ns", chain(&flow, TASKS)?);
            Ok(())
        };
        let mut tasks = || {
            add("flow.engine_rtt_ns", median_of(&mut loads::round_trips(&engine, TRIPS)?) as f64);
            add("flow.engine_chain_ns", loads::chain(&engine, 2 * TASKS)?);
            Ok(())
        };
        in_turns(nth, &mut [&mut calls, &mut tasks])
    })
}

/// Elements of the large value: 64 MiB.
const LARGE: usize = 16 << 20;

#[node]
fn nothing() {}

#[node]
fn next(number: u64) -> u64 {
    number + 1
}

/// Until it is cancelled.
#[node]
fn stay() {
    while flow::sleep(Duration::from_secs(1)).is_ok() {}
}

#[node]
fn produce(elements: usize) -> Result<Shared<u32>, Error> {
    Shared::new(&Flow::current()?, elements, |all: &mut [u32]| all.fill(1))
}

/// Looks at both ends.
#[node]
fn consume(all: Shared<u32>) -> u32 {
    all[0] + all[all.len() - 1]
}

/// A flow with one worker of one cpu, on this processor.
fn build(processor: usize) -> Result<Flow, Error> {
    let flow = Flow::builder()
        .name("mailring-bench-flow")
        .workers("cpu", 1, Resources::cpus(1.0))
        .memory(512 << 20)
        .build()?;
    nothing::remote_blocking(&flow)?;
    for pid in flow.workers()?.iter().flat_map(|worker| &worker.pids) {
        pin_process(*pid, processor);
    }
    Ok(flow)
}

/// The median of a call with its value, in nanoseconds.
fn round_trip(flow: &Flow, trips: usize) -> Result<f64, Error> {
    let mut times = Vec::with_capacity(trips);
    for _ in 0..trips {
        let begin = Instant::now();
        nothing::remote(flow)?.get()?;
        times.push(begin.elapsed().as_nanos() as u64);
    }
    Ok(median_of(&mut times) as f64)
}

/// Nanoseconds a task of a chain: each takes the ref of the one before.
fn chain(flow: &Flow, tasks: usize) -> Result<f64, Error> {
    let begin = Instant::now();
    let mut last: ObjectRef<u64> = next::remote(flow, 0u64)?;
    for _ in 1..tasks {
        last = next::remote(flow, last)?;
    }
    let reached = last.get()?;
    let time = begin.elapsed().as_nanos() as f64 / tasks as f64;
    debug_assert_eq!(reached, tasks as u64);
    Ok(time)
}

/// Nanoseconds a call when all of `calls` are made before the first value is fetched.
fn in_flight(flow: &Flow, calls: usize) -> Result<f64, Error> {
    let begin = Instant::now();
    let refs = (0..calls as u64).map(|n| next::remote(flow, n)).collect::<Result<Vec<_>, _>>()?;
    let sum: u64 = flow.get_all(&refs)?.iter().sum();
    let time = begin.elapsed().as_nanos() as f64 / calls as f64;
    debug_assert_eq!(sum, (1..=calls as u64).sum::<u64>());
    Ok(time)
}

/// The median of a cancel of a task that waits for a worker, in microseconds.
fn cancel_queued(flow: &Flow, cancels: usize) -> Result<f64, Error> {
    let running = stay::remote(flow)?;
    let mut times = Vec::with_capacity(cancels);
    for _ in 0..cancels {
        let queued = stay::remote(flow)?;
        let begin = Instant::now();
        let report = flow.cancel(&queued, Cancel::default())?;
        times.push(begin.elapsed().as_nanos() as u64);
        if report.found != Found::Queued {
            return Err(Error::Invalid("a task that was to be queued ran".to_owned()));
        }
    }
    flow.cancel(&running, Cancel::default())?;
    let _ = running.get();
    Ok(median_of(&mut times) as f64 / 1e3)
}

/// The median time from a complete value of 64 MiB to the value of a call that takes it, in
/// microseconds.
fn hand_over(flow: &Flow, times: usize) -> Result<f64, Error> {
    let large = produce::remote(flow, LARGE)?;
    large.wait_timeout(Duration::from_secs(60));
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let begin = Instant::now();
        let ends = consume::remote(flow, &large)?.get()?;
        taken.push(begin.elapsed().as_nanos() as u64);
        debug_assert_eq!(ends, 2);
    }
    Ok(median_of(&mut taken) as f64 / 1e3)
}
