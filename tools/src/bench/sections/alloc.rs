//! Outputs that the engine allocates: memory of a scope.

use std::time::Instant;

use mailring::abi::{CallConfig, ContinuousTensor, DataType, TaskArgs};
use mailring::{Error, Mode};

use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Section, Unit, measured, ratio};
use super::engine::Engine;
use super::loads;
use crate::system::Pinned;

const TASKS: usize = 50_000;
/// Tasks of a scope.
const SCOPE: usize = 1000;

pub(super) static SECTION: Section = Section {
    name: "alloc",
    title: "Memory of a scope, one worker beside the submitter",
    seconds: [0.7, 3.0, 6.0],
    figures: &[
        measured(
            "alloc.independent_ns",
            Unit::Ns,
            "independent task",
            "an input and an output in a buffer: wall time / tasks",
        ),
        measured(
            "alloc.output_ns",
            Unit::Ns,
            "independent task, its output allocated",
            "64 bytes, scopes of 1000 tasks: wall time / tasks",
        ),
        ratio("ratio_alloc", "alloc.output_ns", "alloc.independent_ns", "allocated / in a buffer"),
        measured("alloc.alloc_ns", Unit::Ns, "allocation without a task", "alloc of 64 bytes"),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let engine = Engine::build(Mode::Process, 1, true)?;
    let _pinned = Pinned::to(run.here());
    run.rounds(|run, nth| {
        let run = std::cell::RefCell::new(run);
        let add = |key: &str, value: f64| run.borrow_mut().add(key, value);
        let mut plain = || {
            add("alloc.independent_ns", loads::independent(&engine, TASKS)?);
            Ok(())
        };
        let mut allocated = || {
            add("alloc.output_ns", outputs(&engine, TASKS)?);
            add("alloc.alloc_ns", allocations(&engine, TASKS)?);
            Ok(())
        };
        in_turns(nth, &mut [&mut plain, &mut allocated])
    })
}

fn outputs(engine: &Engine, tasks: usize) -> Measured<f64> {
    let input = engine.cells(0, 1)?[0];
    let output = ContinuousTensor::new(0, &[8], DataType::Uint64)?;
    scopes(engine, tasks, |orch, task| {
        let args = TaskArgs::new().input(input).output(output).scalar(task as u64);
        orch.submit(engine.empty, args, CallConfig::default()).map(drop)
    })
}

fn allocations(engine: &Engine, times: usize) -> Measured<f64> {
    scopes(engine, times, |orch, _| orch.alloc(&[8], DataType::Uint64).map(drop))
}

fn scopes(
    engine: &Engine,
    times: usize,
    one: impl Fn(&mut mailring::Orchestrator, usize) -> Result<(), Error>,
) -> Measured<f64> {
    let begin = Instant::now();
    engine.exec.run(|orch| {
        for _ in 0..times.div_ceil(SCOPE) {
            orch.scope(|orch| (0..SCOPE).try_for_each(|nth| one(orch, nth)))?;
        }
        Ok(())
    })?;
    Ok(begin.elapsed().as_nanos() as f64 / times as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_take_time() {
        let engine = Engine::build(Mode::Thread, 1, false).expect("build");
        assert!(outputs(&engine, 2000).expect("run") > 0.0);
        assert!(allocations(&engine, 2000).expect("run") > 0.0);
    }
}
