//! What is counted.

use crate::{c, engine, flow, growth};

/// A row runs to its end, or what went wrong.
pub(crate) type Counted<T> = Result<T, Box<dyn std::error::Error>>;

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Tasks of a batch.
    pub(crate) tasks: usize,
    pub(crate) run: fn(usize) -> Counted<()>,
    /// Whether the worker's instructions are counted as well.
    pub(crate) worker: bool,
}

const fn row(
    name: &'static str,
    about: &'static str,
    tasks: usize,
    run: fn(usize) -> Counted<()>,
) -> Row {
    Row { name, about, tasks, run, worker: true }
}

/// The worker of it waits.
const fn host(row: Row) -> Row {
    Row { worker: false, ..row }
}

pub(crate) const ROWS: &[Row] = &[
    row("independent", "two tensors and a scalar", 1000, engine::independent),
    row("chained", "one tensor read and written, and a scalar", 1000, engine::chained),
    row("stencil", "four tensors, three producers", 1000, engine::stencil),
    row("alloc", "an input and an allocated output", 1000, engine::alloc),
    row("typed", "`independent` through the typed front", 1000, engine::typed),
    row("c", "`independent` through C", 1000, c::independent),
    row("replay", "`independent`, recorded once", 1000, engine::replay_independent),
    row("replay-chained", "`chained`, recorded once", 1000, engine::replay_chained),
    host(row("group", "a group of two", 100, engine::group)),
    host(row("round-trip", "submit, and wait for what is complete", 20, engine::round_trip)),
    // What may not grow: each among few and among many.
    host(row(
        "buffers-1e3",
        "each names a new buffer, beside 1,000",
        1000,
        growth::buffers::<1_000>,
    )),
    host(row(
        "buffers-3e4",
        "each names a new buffer, beside 30,000",
        1000,
        growth::buffers::<30_000>,
    )),
    host(row("turns-64", "64 buffers in turns", 1000, growth::turns::<64>)),
    host(row("turns-4096", "4,096 buffers in turns", 1000, growth::turns::<4_096>)),
    host(row("parts-64", "each reads all of 64 parts", 1000, growth::parts::<64>)),
    host(row("parts-4096", "each reads all of 4,096 parts", 1000, growth::parts::<4_096>)),
    host(row("matrix-16", "rows, tiles and cells of 16 by 16", 1000, growth::matrix::<16>)),
    host(row("matrix-256", "rows, tiles and cells of 256 by 256", 1000, growth::matrix::<256>)),
    host(row("live-64", "each reads all of 64 parts to be written", 1000, growth::live::<64>)),
    host(row("live-4096", "of 4,096 parts", 1000, growth::live::<4_096>)),
    host(row("tensors-1e3", "1,000 tensors in turns", 1000, growth::tensors::<1_000, 1_000>)),
    host(row("tensors-1e6", "each a new tensor", 1000, growth::tensors::<1_000_000, 100_000>)),
    host(row("outputs-1e3", "allocated outputs beside 1,000", 1000, growth::outputs::<1_000>)),
    host(row("outputs-1e5", "allocated outputs beside 100,000", 1000, growth::outputs::<100_000>)),
    row("groups-10", "ten groups of one that are ready", 10, growth::groups),
    row("groups-1e3", "1,000 groups of one", 1000, growth::groups),
    host(row("flow-call", "a call of a flow", 20, flow::call)),
    host(row("flow-get", "its value, and the end of its ref", 20, flow::get)),
    host(row("flow-chained", "a call that takes the ref of the one before", 320, flow::chained)),
];

/// Rows that differ in nothing but how much there is: few, many, and how many times as much a task may
/// cost among many.
pub(crate) const PAIRS: &[(&str, &str, f64)] = &[
    ("buffers-1e3", "buffers-3e4", 1.5),
    ("turns-64", "turns-4096", 1.5),
    ("parts-64", "parts-4096", 1.5),
    ("matrix-16", "matrix-256", 1.5),
    ("live-64", "live-4096", 1.5),
    // Among a million, each is entered for the first time, which costs some 400 instructions however
    // many there are.
    ("tensors-1e3", "tensors-1e6", 1.65),
    ("outputs-1e3", "outputs-1e5", 1.5),
    ("groups-10", "groups-1e3", 1.5),
];
