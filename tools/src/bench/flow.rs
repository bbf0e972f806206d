//! What a flow costs: a call and its value, a chain of refs, a cancel, many calls at once, a large
//! value that goes from node to node.

use std::time::{Duration, Instant};

use mailring::flow::{self, Cancel, Error, Flow, Found, ObjectRef, Resources, Shared, node};

use crate::stats::median_of;
use crate::system::pin_process;

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
pub(super) fn build(processor: usize) -> Result<Flow, Error> {
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
pub(super) fn round_trip(flow: &Flow, trips: usize) -> Result<f64, Error> {
    let mut times = Vec::with_capacity(trips);
    for _ in 0..trips {
        let begin = Instant::now();
        nothing::remote(flow)?.get()?;
        times.push(begin.elapsed().as_nanos() as u64);
    }
    Ok(median_of(&mut times) as f64)
}

/// Nanoseconds a task of a chain: each takes the ref of the one before.
pub(super) fn chain(flow: &Flow, tasks: usize) -> Result<f64, Error> {
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
pub(super) fn in_flight(flow: &Flow, calls: usize) -> Result<f64, Error> {
    let begin = Instant::now();
    let refs = (0..calls as u64).map(|n| next::remote(flow, n)).collect::<Result<Vec<_>, _>>()?;
    let sum: u64 = flow.get_all(&refs)?.iter().sum();
    let time = begin.elapsed().as_nanos() as f64 / calls as f64;
    debug_assert_eq!(sum, (1..=calls as u64).sum::<u64>());
    Ok(time)
}

/// The median of a cancel of a task that waits for a worker, in microseconds.
pub(super) fn cancel_queued(flow: &Flow, cancels: usize) -> Result<f64, Error> {
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
pub(super) fn hand_over(flow: &Flow, times: usize) -> Result<f64, Error> {
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
