//! What is counted.

use crate::{c, engine, flow};

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
    host(row("group", "a group of two", 100, engine::group)),
    host(row("round-trip", "submit, and wait for what is complete", 20, engine::round_trip)),
    host(row("flow-call", "a call of a flow", 20, flow::call)),
    host(row("flow-get", "its value, and the end of its ref", 20, flow::get)),
    host(row("flow-chained", "a call that takes the ref of the one before", 320, flow::chained)),
];
