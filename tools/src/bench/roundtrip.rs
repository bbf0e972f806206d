//! The round trip of one task: submit it, wait for it, measure from one to the other.

use std::time::Instant;

use mailring::Error;
use mailring::abi::{CallConfig, TaskArgs};

use super::engine::Engine;
use crate::stats::median_of;

/// Outputs that the tasks write in turns: so many that no task waits for the one before.
const OUTPUTS: usize = 1000;

/// The median in nanoseconds.
pub(super) fn round_trip(engine: &Engine, trips: usize) -> Result<f64, Error> {
    let outputs = engine.cells(0, OUTPUTS)?;
    let mut times = Vec::with_capacity(trips);
    engine.exec.run(|orch| {
        for trip in 0..trips {
            let begin = Instant::now();
            let args = TaskArgs::new().output(outputs[trip % OUTPUTS]).scalar(trip as u64);
            let handle = orch.submit(engine.empty, args, CallConfig::default())?;
            orch.wait(&handle)?;
            times.push(begin.elapsed().as_nanos() as u64);
        }
        Ok(())
    })?;
    Ok(median_of(&mut times) as f64)
}

#[cfg(test)]
mod tests {
    use mailring::Mode;

    use super::*;

    #[test]
    fn a_trip_takes_time() {
        let engine = Engine::build(Mode::Thread, 1, false).expect("build");
        assert!(round_trip(&engine, 50).expect("run") > 0.0);
    }
}
