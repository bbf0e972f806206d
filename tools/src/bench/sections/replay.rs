//! A graph that was recorded once, replayed: beside the same tasks submitted anew.

use std::time::Instant;

use mailring::abi::{CallConfig, TaskArgs};
use mailring::executor::{Bindings, Recording};
use mailring::{Error, Executor, Mode, Orchestrator, TaskHandle};

use super::super::partner::Partner;
use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Section, Unit, measured, ping_pong, ratio};
use super::engine::Engine;
use super::loads;
use crate::system::Pinned;

const TASKS: usize = 200_000;
/// Tasks of a recorded graph.
pub(super) const GRAPH: usize = 2048;

pub(super) static SECTION: Section = Section {
    name: "replay",
    title: "Record and replay: graphs of 2,048 tasks, one worker beside the submitter",
    seconds: [2.0, 5.0, 12.0],
    figures: &[
        ping_pong("replay.pingpong_ns"),
        measured(
            "replay_chain_ns",
            Unit::Ns,
            "chained task of a replay",
            "wall time / tasks, graphs of 2,048 tasks, replayed one after the other",
        )
        .flat(),
        ratio("ratio_replay_chain_rayon", "replay_chain_ns", "replay.rayon_chain_ns", "/ rayon")
            .flat()
            .at_most_near(0.8),
        measured("replay.fresh_chain_ns", Unit::Ns, "  submitted anew", "in the same rounds"),
        ratio("replay.chain_gain", "replay_chain_ns", "replay.fresh_chain_ns", "replay / anew"),
        measured(
            "replay_independent_ns",
            Unit::Ns,
            "independent task of a replay",
            "2 tensors and a scalar: wall time / tasks",
        ),
        ratio(
            "ratio_replay_independent_rayon",
            "replay_independent_ns",
            "replay.rayon_independent_ns",
            "/ rayon",
        )
        .flat()
        .at_most_near(0.5),
        measured("replay.fresh_independent_ns", Unit::Ns, "  submitted anew", "in the same rounds"),
        ratio(
            "replay.independent_gain",
            "replay_independent_ns",
            "replay.fresh_independent_ns",
            "replay / anew",
        ),
        measured("replay.rayon_chain_ns", Unit::Ns, "rayon: chained task", "as in `tasks`"),
        measured(
            "replay.rayon_independent_ns",
            Unit::Ns,
            "rayon: independent task",
            "as in `tasks`",
        ),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let (here, there) = (run.here(), run.there());
    let partner = Partner::start(here, there)?;
    let engine = Engine::build(Mode::Process, 1, true)?;
    #[cfg(feature = "peers")]
    let rayon = super::super::peers::rayon(there)?;
    let _pinned = Pinned::to(here);
    let chain = Graph::chain(&engine)?;
    let independent = Graph::independent(&engine)?;
    run.rounds(|run, nth| {
        run.add("replay.pingpong_ns", partner.ping_pong(5000));
        let run = std::cell::RefCell::new(run);
        let add = |key: &str, value: f64| run.borrow_mut().add(key, value);
        let mut replays = || {
            add("replay_chain_ns", chain.replay(&engine.exec, TASKS)?);
            add("replay_independent_ns", independent.replay(&engine.exec, TASKS)?);
            Ok(())
        };
        let mut fresh = || {
            add("replay.fresh_chain_ns", loads::chain(&engine, TASKS)?);
            add("replay.fresh_independent_ns", loads::independent(&engine, TASKS)?);
            Ok(())
        };
        let mut others = || {
            #[cfg(feature = "peers")]
            {
                use super::super::peers::Peer;
                add("replay.rayon_chain_ns", rayon.chain(TASKS));
                add("replay.rayon_independent_ns", rayon.independent(TASKS));
            }
            Ok(())
        };
        in_turns(nth, &mut [&mut replays, &mut others, &mut fresh])
    })
}

/// A graph of [`GRAPH`] tasks, recorded.
pub(super) struct Graph {
    recording: Recording,
    bindings: Bindings,
}

impl Graph {
    pub(super) fn chain(engine: &Engine) -> Result<Self, Error> {
        let link = engine.cells(0, 1)?[0];
        Self::untyped(engine, |_| TaskArgs::new().inout(link))
    }

    pub(super) fn independent(engine: &Engine) -> Result<Self, Error> {
        let (inputs, outputs) = (engine.cells(0, GRAPH)?, engine.cells(GRAPH, GRAPH)?);
        Self::untyped(engine, |task| TaskArgs::new().input(inputs[task]).output(outputs[task]))
    }

    fn untyped(engine: &Engine, args: impl Fn(usize) -> TaskArgs) -> Result<Self, Error> {
        Self::of(&engine.exec, |orch, task| {
            let args = args(task).scalar(task as u64);
            orch.submit(engine.empty, args, CallConfig::default())
        })
    }

    /// Records what `submit` makes of the numbers of the tasks.
    pub(super) fn of(
        exec: &Executor,
        submit: impl Fn(&mut Orchestrator, usize) -> Result<TaskHandle, Error>,
    ) -> Result<Self, Error> {
        let ((), recording) =
            exec.record(|orch| (0..GRAPH).try_for_each(|task| submit(orch, task).map(drop)))?;
        let bindings = recording.bindings();
        Ok(Self { recording, bindings })
    }

    /// Nanoseconds a task.
    pub(super) fn replay(&self, exec: &Executor, tasks: usize) -> Result<f64, Error> {
        let run = |times: usize| {
            exec.run(|orch| {
                (0..times).try_for_each(|_| orch.replay(&self.recording, &self.bindings).map(drop))
            })
        };
        run(2)?; // wakes the worker
        let times = (tasks / GRAPH).max(1);
        let begin = Instant::now();
        run(times)?;
        Ok(begin.elapsed().as_nanos() as f64 / (times * GRAPH) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_take_time() {
        let engine = Engine::build(Mode::Thread, 1, false).expect("build");
        for graph in [Graph::chain(&engine), Graph::independent(&engine)] {
            assert!(
                graph.expect("a recording").replay(&engine.exec, 2 * GRAPH).expect("run") > 0.0
            );
        }
    }
}
