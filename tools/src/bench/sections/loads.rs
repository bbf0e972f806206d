//! The three loads that everybody is measured with: one task after the other, many at once, and a
//! chain in which each waits for the one before.

use std::time::Instant;

use mailring::Error;
use mailring::abi::{CallConfig, ContinuousTensor, TaskArgs};

use super::engine::Engine;

/// Outputs that tasks write one after the other: so many that none waits for the one before.
const OUTPUTS: usize = 1000;
/// Inputs and outputs of tasks at once; more outputs than tasks that are in flight at a time.
const INPUTS: usize = 1 << 10;
const MANY_OUTPUTS: usize = 1 << 13;

/// Submit, run, wait: nanoseconds of each trip.
pub(super) fn round_trips(engine: &Engine, trips: usize) -> Result<Vec<u64>, Error> {
    let outputs = engine.cells(0, OUTPUTS)?;
    let warm = trips / 8;
    let mut times = Vec::with_capacity(trips);
    engine.exec.run(|orch| {
        for trip in 0..warm + trips {
            let begin = Instant::now();
            let args = TaskArgs::new().output(outputs[trip % OUTPUTS]).scalar(trip as u64);
            let handle = orch.submit(engine.empty, args, CallConfig::default())?;
            orch.wait(&handle)?;
            if trip >= warm {
                times.push(begin.elapsed().as_nanos() as u64);
            }
        }
        Ok(())
    })?;
    Ok(times)
}

/// Nanoseconds a task, each with an input and an output of its own.
pub(super) fn independent(engine: &Engine, tasks: usize) -> Result<f64, Error> {
    let inputs = engine.cells(0, INPUTS)?;
    let outputs = engine.cells(INPUTS, MANY_OUTPUTS)?;
    per_task(engine, tasks, |task| {
        TaskArgs::new().input(inputs[task % INPUTS]).output(outputs[task % MANY_OUTPUTS])
    })
}

/// Nanoseconds a task, all reading and writing one element.
pub(super) fn chain(engine: &Engine, tasks: usize) -> Result<f64, Error> {
    let link: ContinuousTensor = engine.cells(INPUTS + MANY_OUTPUTS, 1)?[0];
    per_task(engine, tasks, |_| TaskArgs::new().inout(link))
}

fn per_task(engine: &Engine, tasks: usize, args: impl Fn(usize) -> TaskArgs) -> Result<f64, Error> {
    let run = |tasks: usize| {
        engine.exec.run(|orch| {
            for task in 0..tasks {
                let args = args(task).scalar(task as u64);
                orch.submit(engine.empty, args, CallConfig::default())?;
            }
            Ok(())
        })
    };
    run(tasks / 16)?; // wakes the workers, and fills what is filled once
    let begin = Instant::now();
    run(tasks)?;
    Ok(begin.elapsed().as_nanos() as f64 / tasks as f64)
}

#[cfg(test)]
mod tests {
    use mailring::Mode;

    use super::*;

    #[test]
    fn tasks_take_time() {
        let engine = Engine::build(Mode::Thread, 1, false).expect("build");
        assert_eq!(round_trips(&engine, 50).expect("run").len(), 50);
        assert!(independent(&engine, 5000).expect("run") > 0.0);
        assert!(chain(&engine, 5000).expect("run") > 0.0);
    }
}
