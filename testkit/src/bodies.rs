//! Bodies that tests register, and a gate at which they wait.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mailring::abi::{AbiError, CallConfig, ContinuousTensor, TaskArgs, TaskArgsView};
use mailring::worker::Cancelled;
use mailring::{Buffer, Executor, TaskContext};

use crate::{BoxError, args, atom, await_cancel, await_value, cell, eventually};

// Cells of a gate.
const OPEN: usize = 0;
const BEGUN: usize = 1;
const COUNTED: usize = 2;
const TOLD: usize = 3;

/// Cells that bodies share with the test. [`gate`], [`count`], [`patient`] and [`deaf`] find them
/// in their last tensor.
pub struct Gate {
    cells: Buffer<u64>,
}

impl Gate {
    /// One that is closed, with all numbers at zero.
    pub fn new(exec: &Executor) -> Self {
        Self { cells: exec.buffer(4).expect("room for four cells") }
    }

    /// The cells, to be named last and as NO_DEP.
    pub fn tensor(&self) -> ContinuousTensor {
        self.cells.tensor()
    }

    /// Arguments that name the cells and nothing else.
    pub fn args(&self) -> TaskArgs {
        args().no_dep(self.tensor())
    }

    fn cell(&self, index: usize) -> u64 {
        cell(&self.cells, index).load(SeqCst)
    }

    /// Lets all pass that wait, and all that come.
    pub fn open(&self) {
        cell(&self.cells, OPEN).store(1, SeqCst);
    }

    /// Who comes from now on waits.
    pub fn close(&self) {
        cell(&self.cells, OPEN).store(0, SeqCst);
    }

    /// How many bodies have come to the gate, or begun to be patient or deaf.
    pub fn begun(&self) -> u64 {
        self.cell(BEGUN)
    }

    /// Waits until so many have come.
    #[track_caller]
    pub fn await_begun(&self, count: u64) {
        eventually(&format!("{count} bodies have begun"), || self.begun() >= count);
    }

    /// How many bodies have counted.
    pub fn counted(&self) -> u64 {
        self.cell(COUNTED)
    }

    /// How many patient bodies were told to stop.
    pub fn told(&self) -> u64 {
        self.cell(TOLD)
    }
}

fn cells<'a>(args: &TaskArgsView<'a>, index: usize) -> &'a std::sync::atomic::AtomicU64 {
    atom(args, args.tensors().len() - 1, index)
}

/// In a body: how many have counted in the cells of its gate.
pub fn counted(args: &TaskArgsView<'_>) -> u64 {
    cells(args, COUNTED).load(SeqCst)
}

/// Waits at the gate.
pub fn gate(
    args: TaskArgsView<'_>,
    _: &CallConfig,
    _: &TaskContext<'_>,
) -> Result<(), &'static str> {
    cells(&args, BEGUN).fetch_add(1, SeqCst);
    if await_value(cells(&args, OPEN), 1) { Ok(()) } else { Err("nobody opened") }
}

/// Counts in the cells of the gate.
pub fn count(
    args: TaskArgsView<'_>,
    _: &CallConfig,
    _: &TaskContext<'_>,
) -> Result<(), &'static str> {
    cells(&args, COUNTED).fetch_add(1, SeqCst);
    Ok(())
}

/// Goes on until it is told to stop, and fails then.
pub fn patient(
    args: TaskArgsView<'_>,
    _: &CallConfig,
    context: &TaskContext<'_>,
) -> Result<(), &'static str> {
    cells(&args, BEGUN).fetch_add(1, SeqCst);
    if await_cancel(context) {
        cells(&args, TOLD).fetch_add(1, SeqCst);
    }
    Err("stopped")
}

/// Goes on for longer than any test, and hears nothing.
pub fn deaf(
    args: TaskArgsView<'_>,
    _: &CallConfig,
    _: &TaskContext<'_>,
) -> Result<(), &'static str> {
    cells(&args, BEGUN).fetch_add(1, SeqCst);
    std::thread::sleep(Duration::from_secs(100));
    Ok(())
}

/// Does nothing.
pub fn nop(_: TaskArgsView<'_>, _: &CallConfig, _: &TaskContext<'_>) -> Result<(), &'static str> {
    Ok(())
}

/// Fails with "no".
pub fn fail(_: TaskArgsView<'_>, _: &CallConfig, _: &TaskContext<'_>) -> Result<(), &'static str> {
    Err("no")
}

/// Meets the other members of its group three times.
pub fn meet_three_times(
    _: TaskArgsView<'_>,
    _: &CallConfig,
    context: &TaskContext<'_>,
) -> Result<(), Cancelled> {
    let group = context.group().expect("a member");
    (0..3).try_for_each(|_| group.barrier())
}

/// Adds one to the first element of the first tensor.
pub fn add_one(
    args: TaskArgsView<'_>,
    _: &CallConfig,
    _: &TaskContext<'_>,
) -> Result<(), AbiError> {
    args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + 1)
}

/// Adds one to each element of the first tensor.
pub fn add_one_to_each(
    args: TaskArgsView<'_>,
    _: &CallConfig,
    _: &TaskContext<'_>,
) -> Result<(), AbiError> {
    let (_, count) = args.elements::<u64>(0)?;
    (0..count).try_for_each(|i| args.set::<u64>(0, i, args.get::<u64>(0, i)? + 1))
}

/// Writes the first scalar to the first element of the first tensor.
pub fn put(args: TaskArgsView<'_>, _: &CallConfig, _: &TaskContext<'_>) -> Result<(), AbiError> {
    args.set(0, 0, args.scalar(0)?)
}

/// Writes the sum of all elements of all tensors but the last to the first element of that one.
pub fn sum(args: TaskArgsView<'_>, _: &CallConfig, _: &TaskContext<'_>) -> Result<(), AbiError> {
    let last = args.tensors().len() - 1;
    let mut sum = 0;
    for tensor in 0..last {
        for index in 0..args.elements::<u64>(tensor)?.1 {
            sum += args.get::<u64>(tensor, index)?;
        }
    }
    args.set(last, 0, sum)
}

/// A member that meets the others, then raises the first element of the first tensor, which they
/// share.
pub fn meet(
    args: TaskArgsView<'_>,
    _: &CallConfig,
    context: &TaskContext<'_>,
) -> Result<(), BoxError> {
    context.group().expect("a member").barrier()?;
    atom(&args, 0, 0).fetch_add(1, SeqCst);
    Ok(())
}
