//! Calls of flows. Only the driver is counted: its workers look for what comes next all the time.

use std::sync::OnceLock;

use mailring::WaitStrategy;
use mailring::flow::{Flow, ObjectRef, Resources, node};

use crate::rows::Counted;
use crate::stage::{BATCHES, SETTLED, Stage, batch_done, counted};

/// Chained calls between two pauses, in which the worker comes to the end of them.
const AHEAD: usize = 16;

/// Set before the workers are forked.
static STAGE: OnceLock<Stage> = OnceLock::new();

#[node]
fn nothing() {
    if let Some(stage) = STAGE.get() {
        stage.say();
    }
}

#[node]
fn next(number: u64) -> u64 {
    number + 1
}

fn build() -> Counted<(Flow, Stage)> {
    let stage = *STAGE.get_or_init(|| Stage::new().expect("a page of memory"));
    let flow = Flow::builder()
        .name("mailring-instructions")
        .workers("cpu", 1, Resources::cpus(1.0))
        .wait_strategy(WaitStrategy::Spin)
        .memory(16 << 20)
        .build()?;
    nothing::remote_blocking(&flow)?;
    Ok((flow, stage))
}

/// Calls and their values, one after the other.
fn trips(tasks: usize, calls: bool, gets: bool) -> Counted<()> {
    let (flow, stage) = build()?;
    let mut ran = 1;
    for _ in 0..BATCHES {
        for _ in 0..tasks {
            let call = || nothing::remote(&flow);
            let called = if calls { counted(call)? } else { call()? };
            ran += 1;
            stage.await_ran(ran);
            let get = || {
                let value = called.get();
                drop(called);
                value
            };
            if gets { counted(get)? } else { get()? }
        }
        batch_done();
    }
    Ok(())
}

pub(crate) fn call(tasks: usize) -> Counted<()> {
    trips(tasks, true, false)
}

pub(crate) fn get(tasks: usize) -> Counted<()> {
    trips(tasks, false, true)
}

/// Each takes the ref of the one before.
pub(crate) fn chained(tasks: usize) -> Counted<()> {
    let (flow, _) = build()?;
    for _ in 0..BATCHES {
        let mut last: ObjectRef<u64> = next::remote(&flow, 0u64)?;
        for task in 1..=tasks {
            last = counted(|| next::remote(&flow, last))?;
            if task % AHEAD == 0 {
                std::thread::sleep(SETTLED);
            }
        }
        assert_eq!(last.get()?, tasks as u64 + 1);
        batch_done();
    }
    Ok(())
}
