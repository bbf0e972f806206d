//! Tasks with typed parameters beside the same without types, in turns.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::hint::black_box;
use std::time::{Duration, Instant};

use mailring::abi::{AbiError, CallConfig, TaskArgs};
use mailring::prelude::*;
use mailring::{Callable, Mode};

use super::super::run::{Measured, Run, in_turns};
use super::super::section::{Section, Unit, measured, ratio};
use super::replay::{GRAPH, Graph};
use crate::stats::Summary;
use crate::system::Pinned;

pub(super) static SECTION: Section = Section {
    name: "typed",
    title: "Typed tasks, beside the same without types",
    seconds: [0.7, 3.0, 6.0],
    figures: &[
        measured(
            "typed.submit_ns",
            Unit::Ns,
            "submit of a task",
            "2 buffers and a scalar, until spawn returns",
        ),
        measured("typed.plain_submit_ns", Unit::Ns, "without types", "submit of TaskArgs"),
        ratio("ratio_typed_submit", "typed.submit_ns", "typed.plain_submit_ns", "typed / not"),
        measured(
            "typed.add_ns",
            Unit::Ns,
            "adding two vectors of 4096 f64",
            "inside a body, slices of In and Out",
        ),
        measured("typed.plain_add_ns", Unit::Ns, "in Vecs", "the same loop on Vecs"),
        ratio("ratio_typed_add", "typed.add_ns", "typed.plain_add_ns", "typed / not"),
        measured(
            "typed.replay_independent_ns",
            Unit::Ns,
            "independent task of a replay",
            "2 views and a scalar, graphs of 2,048 tasks: wall time / tasks",
        ),
        measured(
            "typed.plain_replay_independent_ns",
            Unit::Ns,
            "without types",
            "the same of TaskArgs",
        ),
        ratio(
            "ratio_typed_replay_independent",
            "typed.replay_independent_ns",
            "typed.plain_replay_independent_ns",
            "typed / not",
        ),
        measured(
            "typed.replay_chain_ns",
            Unit::Ns,
            "chained task of a replay",
            "one view and a scalar, graphs of 2,048 tasks: wall time / tasks",
        ),
        measured("typed.plain_replay_chain_ns", Unit::Ns, "without types", "the same of TaskArgs"),
        ratio(
            "ratio_typed_replay_chain",
            "typed.replay_chain_ns",
            "typed.plain_replay_chain_ns",
            "typed / not",
        ),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let typed = Typed::build(Mode::Process, true)?;
    let _pinned = Pinned::to(run.here());
    let (independent, chain) = (typed.record_independent()?, typed.record_chain()?);
    run.rounds(|run, nth| {
        let submit = typed.submit(16 * BURST)?;
        let add = typed.add(100)?;
        run.add("typed.submit_ns", submit.typed);
        run.add("typed.plain_submit_ns", submit.plain);
        run.add("typed.add_ns", add.typed);
        run.add("typed.plain_add_ns", add.plain);
        let run = RefCell::new(run);
        let replay = |graph: &Graph, key: &str| -> Measured {
            run.borrow_mut().add(key, graph.replay(&typed.exec, REPLAYED)?);
            Ok(())
        };
        in_turns(
            nth,
            &mut [
                &mut || replay(&independent.typed, "typed.replay_independent_ns"),
                &mut || replay(&independent.plain, "typed.plain_replay_independent_ns"),
                &mut || replay(&chain.typed, "typed.replay_chain_ns"),
                &mut || replay(&chain.plain, "typed.plain_replay_chain_ns"),
            ],
        )
    })
}

/// Buffers of one element, half of them inputs and half outputs.
const CELLS: usize = 64;
/// Tasks of a burst: fewer than the window holds, so that no submit waits.
const BURST: usize = 1 << 10;
/// How long the worker stays away from a burst, and how long it may take to begin with that.
const AWAY: Duration = Duration::from_micros(600);
const BEGIN: Duration = Duration::from_micros(50);
/// Elements of a vector, and how often they are added in a turn.
const ELEMENTS: usize = 4096;
const REPEATS: usize = 16;
/// Tasks of a turn of replays.
const REPLAYED: usize = 50_000;

type Empty = Task<(In<'static, u64>, Out<'static, u64>, u64)>;
type Link = Task<(InOut<'static, u64>, u64)>;
type Add = Task<(In<'static, f64>, In<'static, f64>, Out<'static, f64>, Out<'static, u64>, u64)>;

/// One worker beside the submitter.
struct Typed {
    exec: Executor,
    untyped: Callable,
    typed: Empty,
    link: Link,
    add: Add,
    away: Task<()>,
    cells: Vec<Buffer<u64>>,
    /// What recorded graphs name: an input and an output for each task.
    graph: Buffer<u64>,
}

/// Nanoseconds with types and without.
#[derive(Clone, Copy, Debug)]
struct Beside<T = f64> {
    typed: T,
    plain: T,
}

impl Beside {
    /// The medians of what was measured in turns.
    fn of(typed: &[f64], plain: &[f64]) -> Self {
        let median = |values| Summary::of(values).map_or(f64::NAN, |all| all.median);
        Self { typed: median(typed), plain: median(plain) }
    }
}

impl Typed {
    fn build(mode: Mode, pin: bool) -> Result<Self, Box<dyn StdError>> {
        let mut builder = Executor::builder()
            .name("mailring-bench")
            .mode(mode)
            .workers(1)
            .pin_cpus(pin)
            .heap_bytes(1 << 20)
            .buffer_bytes(1 << 20);
        let untyped = builder.register("untyped", |_, _, _| Ok::<(), AbiError>(()))?;
        let typed = builder.task("typed", |_: In<u64>, _: Out<u64>, _: u64| ())?;
        let link = builder.task("link", |_: InOut<u64>, _: u64| ())?;
        let add = builder.task("add", add)?;
        let away = builder.task("away", || std::thread::sleep(AWAY))?;
        let exec = builder.build()?;
        let cells: Result<_, _> = (0..CELLS).map(|_| exec.buffer(1)).collect();
        let graph = exec.buffer(2 * GRAPH)?;
        Ok(Self { untyped, typed, link, add, away, cells: cells?, graph, exec })
    }

    fn record_independent(&self) -> Result<Beside<Graph>, Error> {
        let cell = |at: usize| self.graph.part(at..=at);
        let typed = Graph::of(&self.exec, |s, task| {
            s.spawn(self.typed, (cell(task), cell(GRAPH + task), task as u64))
        })?;
        let plain = Graph::of(&self.exec, |s, task| {
            let (x, y) = (self.graph.view(task, &[1])?, self.graph.view(GRAPH + task, &[1])?);
            let args = TaskArgs::new().input(x).output(y).scalar(task as u64);
            s.submit(self.untyped, args, CallConfig::default())
        })?;
        Ok(Beside { typed, plain })
    }

    fn record_chain(&self) -> Result<Beside<Graph>, Error> {
        let typed = Graph::of(&self.exec, |s, task| {
            s.spawn(self.link, (self.graph.part(0..=0), task as u64))
        })?;
        let link = self.graph.view(0, &[1])?;
        let plain = Graph::of(&self.exec, |s, task| {
            let args = TaskArgs::new().inout(link).scalar(task as u64);
            s.submit(self.untyped, args, CallConfig::default())
        })?;
        Ok(Beside { typed, plain })
    }

    /// A submit, until it returns, while the worker does something else.
    fn submit(&self, tasks: usize) -> Result<Beside, Error> {
        let (inputs, outputs) = self.cells.split_at(CELLS / 2);
        let pair = |task: usize| (&inputs[task % (CELLS / 2)], &outputs[task % (CELLS / 2)]);
        let (mut typed, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..(tasks / BURST).max(2) {
            plain.push(self.burst(|s, task| {
                let (x, y) = pair(task);
                let args = TaskArgs::new().input(x).output(y).scalar(task as u64);
                s.submit(self.untyped, args, CallConfig::default())
            })?);
            typed.push(self.burst(|s, task| {
                let (x, y) = pair(task);
                s.spawn(self.typed, (x, y, task as u64))
            })?);
        }
        Ok(Beside::of(&typed, &plain))
    }

    fn burst(
        &self,
        submit: impl Fn(&mut Orchestrator, usize) -> Result<TaskHandle, Error>,
    ) -> Result<f64, Error> {
        self.exec.run(|s| {
            s.spawn(self.away, ())?;
            std::thread::sleep(BEGIN);
            let begin = Instant::now();
            for task in 0..BURST {
                submit(s, task)?;
            }
            Ok(begin.elapsed().as_nanos() as f64 / BURST as f64)
        })
    }

    /// Adding two vectors: in slices of a task, and in vectors of the same body.
    fn add(&self, turns: usize) -> Result<Beside, Error> {
        let [x, y, z] = [(); 3].map(|()| self.exec.buffer::<f64>(ELEMENTS));
        let (x, y, z, times) = (x?, y?, z?, self.exec.buffer::<u64>(2 * turns)?);
        x.copy_from_slice(&[1.0; ELEMENTS])?;
        y.copy_from_slice(&[2.0; ELEMENTS])?;
        self.exec.run(|s| s.spawn(self.add, (&x, &y, &z, &times, turns as u64)))?;
        if z.to_vec()? != [3.0; ELEMENTS] {
            return Err(Error::other("the sum of two vectors is wrong"));
        }
        let times = times.to_vec()?;
        let part = |from: usize| -> Vec<f64> {
            times.iter().skip(from).step_by(2).map(|&ns| ns as f64 / REPEATS as f64).collect()
        };
        Ok(Beside::of(&part(0), &part(1)))
    }
}

fn add(x: In<'_, f64>, y: In<'_, f64>, mut z: Out<'_, f64>, mut times: Out<'_, u64>, turns: u64) {
    let (a, b, mut c) = (x.to_vec(), y.to_vec(), vec![0.0; z.len()]);
    let timed = |add: &mut dyn FnMut()| {
        let begin = Instant::now();
        (0..REPEATS).for_each(|_| add());
        begin.elapsed()
    };
    let nanoseconds = |time: Duration| time.as_nanos() as u64;
    for turn in 0..turns as usize {
        let slices = timed(&mut || {
            for ((z, x), y) in z.iter_mut().zip(x.iter()).zip(y.iter()) {
                *z = x + y;
            }
            black_box(&mut z[..]);
        });
        let vectors = timed(&mut || {
            for ((c, a), b) in c.iter_mut().zip(a.iter()).zip(b.iter()) {
                *c = a + b;
            }
            black_box(&mut c[..]);
        });
        times[2 * turn] = nanoseconds(slices);
        times[2 * turn + 1] = nanoseconds(vectors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_measured() {
        let typed = Typed::build(Mode::Thread, false).expect("build");
        let submit = typed.submit(4 * BURST).expect("run");
        let add = typed.add(3).expect("run");
        assert!(
            submit.typed / submit.plain > 0.0 && add.typed / add.plain > 0.0,
            "{submit:?}, {add:?}"
        );
        for graphs in [typed.record_independent(), typed.record_chain()] {
            let Beside { typed: first, plain } = graphs.expect("recordings");
            for graph in [first, plain] {
                assert!(graph.replay(&typed.exec, 2 * GRAPH).expect("replay") > 0.0);
            }
        }
    }
}
