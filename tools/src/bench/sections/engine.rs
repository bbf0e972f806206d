//! The executor that is measured: one worker beside the submitter, and bodies that do nothing.

use std::error::Error as StdError;
use std::time::Duration;

use crate::system::monotonic_ns;
use mailring::abi::{AbiError, ContinuousTensor};
use mailring::{Buffer, Callable, Executor, Mode, TaskContext};

/// Elements of the buffer that tasks name.
const ELEMENTS: usize = 1 << 15;

/// An executor, what to submit to it, and what the tasks name.
pub(in crate::bench) struct Engine {
    pub(in crate::bench) exec: Executor,
    /// Does nothing.
    pub(in crate::bench) empty: Callable,
    /// Writes the time at which it began into the first element of its only tensor.
    pub(in crate::bench) stamp: Callable,
    /// Stays inside its body until it is cancelled or killed.
    pub(in crate::bench) stay: Callable,
    pub(in crate::bench) data: Buffer<u64>,
}

impl Engine {
    /// With `pin`, worker `i` stays on the processor after the `i`-th.
    pub(in crate::bench) fn build(
        mode: Mode,
        workers: usize,
        pin: bool,
    ) -> Result<Self, Box<dyn StdError>> {
        let mut builder = Executor::builder()
            .name("mailring-bench")
            .mode(mode)
            .workers(workers)
            .pin_cpus(pin)
            .heap_bytes(1 << 20)
            .buffer_bytes(1 << 20);
        let empty = builder.register("empty", |_, _, _| Ok::<(), AbiError>(()))?;
        let stamp = builder.register("stamp", |args, _, _| args.set(0, 0, monotonic_ns()))?;
        let stay = builder.register("stay", |_, _, context: &TaskContext<'_>| {
            while !context.cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok::<(), AbiError>(())
        })?;
        let exec = builder.build()?;
        let data = exec.buffer(ELEMENTS)?;
        Ok(Self { exec, empty, stamp, stay, data })
    }

    /// One element each, from `first` on.
    pub(in crate::bench) fn cells(
        &self,
        first: usize,
        count: usize,
    ) -> Result<Vec<ContinuousTensor>, AbiError> {
        (first..first + count).map(|at| self.data.view(at, &[1])).collect()
    }
}
