//! Many tasks at once: independent ones, and a chain in which each waits for the one before.

use std::time::Instant;

use mailring::Error;
use mailring::abi::{CallConfig, ContinuousTensor, TaskArgs};

use super::engine::Engine;

/// Inputs and outputs of independent tasks; more outputs than tasks that are in flight at a time.
const INPUTS: usize = 1 << 10;
const OUTPUTS: usize = 1 << 13;

/// Nanoseconds a task, each with an input and an output of its own.
pub(super) fn independent(engine: &Engine, tasks: usize) -> Result<f64, Error> {
    let inputs = engine.cells(0, INPUTS)?;
    let outputs = engine.cells(INPUTS, OUTPUTS)?;
    per_task(engine, tasks, |task| {
        TaskArgs::new().input(inputs[task % INPUTS]).output(outputs[task % OUTPUTS])
    })
}

/// Nanoseconds a task, all reading and writing one element.
pub(super) fn chain(engine: &Engine, tasks: usize) -> Result<f64, Error> {
    let link: ContinuousTensor = engine.cells(INPUTS + OUTPUTS, 1)?[0];
    per_task(engine, tasks, |_| TaskArgs::new().inout(link))
}

fn per_task(engine: &Engine, tasks: usize, args: impl Fn(usize) -> TaskArgs) -> Result<f64, Error> {
    let begin = Instant::now();
    engine.exec.run(|orch| {
        for task in 0..tasks {
            let args = args(task).scalar(task as u64);
            orch.submit(engine.empty, args, CallConfig::default())?;
        }
        Ok(())
    })?;
    Ok(begin.elapsed().as_nanos() as f64 / tasks as f64)
}

#[cfg(test)]
mod tests {
    use mailring::Mode;

    use super::*;

    #[test]
    fn tasks_take_time() {
        let engine = Engine::build(Mode::Thread, 1, false).expect("build");
        assert!(independent(&engine, 5000).expect("run") > 0.0);
        assert!(chain(&engine, 5000).expect("run") > 0.0);
    }
}
