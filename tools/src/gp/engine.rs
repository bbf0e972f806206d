//! The factorisation as a graph of tasks: five functions, and the tiles that each task names.

use std::error::Error as StdError;
use std::path::Path;
use std::time::{Duration, Instant};

use mailring::abi::{CallConfig, ContinuousTensor, TaskArgs, TaskArgsView};
use mailring::{
    Buffer, BuildError, Builder, Callable, Error, Executor, Mode, Orchestrator, Recording,
    TaskOptions,
};

use super::kernels::{self, Covariance};
use super::tiles::{Step, Tiles, factor_steps, fill_steps, index, tiles_of};

type BodyError = Box<dyn StdError + Send + Sync>;

/// Attempts that can be told apart, less the first one.
const MOST_RETRIES: usize = 62;
/// Room for the copies of tiles that `snapshot` makes.
const SNAPSHOT_BYTES: usize = 256 << 20;

/// What is computed, and in which pieces.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) covariance: Covariance,
    /// Of all rows, padding included.
    pub(crate) points: Vec<f64>,
    pub(crate) side: usize,
    pub(crate) across: usize,
}

/// Where other programs may see its counters.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) file: Option<&'a Path>,
}

/// An executor with the functions registered, and the data where its workers can reach them.
pub(crate) struct Engine {
    pub(crate) exec: Executor,
    functions: Functions,
    problem: Problem,
    points: Buffer<f64>,
    tiles: Buffer<f64>,
    options: TaskOptions,
}

#[derive(Clone, Copy)]
struct Functions {
    kernel: Callable,
    potrf: Callable,
    trsm: Callable,
    syrk: Callable,
    gemm: Callable,
    empty: Callable,
}

impl Engine {
    /// `kills` is how many deaths any one task may have to survive.
    pub(crate) fn build(
        mode: Mode,
        workers: usize,
        problem: &Problem,
        kills: usize,
        seen: &Seen<'_>,
    ) -> Result<Self, Box<dyn StdError>> {
        let tile_values = tiles_of(problem.across) * problem.side * problem.side;
        let bytes = (tile_values + problem.points.len()) * size_of::<f64>();
        let mut builder = Executor::builder()
            .name("mailring-gp")
            .mode(mode)
            .workers(workers)
            .buffer_bytes(bytes + (1 << 20));
        if let Some(name) = seen.name {
            builder = builder.publish(name);
        }
        if let Some(file) = seen.file {
            builder = builder.post_mortem(file);
        }
        builder = builder.heap_bytes(if kills > 0 { SNAPSHOT_BYTES } else { 1 << 20 });
        let functions = register(&mut builder, problem)?;
        let exec = builder.build()?;
        let points = exec.buffer(problem.points.len())?;
        points.copy_from_slice(&problem.points)?;
        let tiles = exec.buffer(tile_values)?;
        let options = match kills {
            0 => TaskOptions::new(),
            kills => TaskOptions::new().retries(kills.min(MOST_RETRIES) as u32).snapshot(),
        };
        Ok(Self { exec, functions, problem: problem.clone(), points, tiles, options })
    }

    /// Computes the matrix and factorises it; how long that took.
    pub(crate) fn factorise(&self) -> Result<Duration, Error> {
        self.run(&self.options, |step| self.functions.of(step))
    }

    /// The same graph with bodies that do nothing: what the engine itself costs.
    pub(crate) fn empty(&self) -> Result<Duration, Error> {
        self.run(&TaskOptions::new(), |_| self.functions.empty)
    }

    /// The factor of the last run.
    pub(crate) fn factor(&self) -> Result<Tiles, Error> {
        let tiles = self.tiles.to_vec()?;
        Ok(Tiles::from_values(self.problem.side, self.problem.across, &tiles))
    }

    fn run(
        &self,
        options: &TaskOptions,
        function: impl Fn(Step) -> Callable,
    ) -> Result<Duration, Error> {
        let begin = Instant::now();
        self.exec.run(|orch| self.submit(orch, options, function))?;
        Ok(begin.elapsed())
    }

    fn submit(
        &self,
        orch: &mut Orchestrator,
        options: &TaskOptions,
        function: impl Fn(Step) -> Callable,
    ) -> Result<(), Error> {
        let across = self.problem.across;
        for step in fill_steps(across).chain(factor_steps(across)) {
            let args = self.arguments(step)?;
            orch.submit_with(function(step), args, CallConfig::default(), options)?;
        }
        Ok(())
    }

    /// The factorisation, and the same graph with bodies that do nothing, recorded.
    pub(crate) fn record(&self) -> Result<[Recording; 2], Error> {
        let of = |step| self.functions.of(step);
        let (_, whole) = self.exec.record(|orch| self.submit(orch, &self.options, of))?;
        let empty = |_| self.functions.empty;
        let (_, empty) = self.exec.record(|orch| self.submit(orch, &TaskOptions::new(), empty))?;
        Ok([whole, empty])
    }

    /// Runs a recorded graph; how long that took.
    pub(crate) fn replay(&self, recording: &Recording) -> Result<Duration, Error> {
        let bindings = recording.bindings();
        let begin = Instant::now();
        self.exec.replay(recording, &bindings)?;
        Ok(begin.elapsed())
    }

    /// What a step reads and writes: all that the engine needs to infer the graph.
    fn arguments(&self, step: Step) -> Result<TaskArgs, Error> {
        let args = TaskArgs::new();
        Ok(match step {
            Step::Kernel { i, j } => args
                .input(self.rows(i)?)
                .input(self.rows(j)?)
                .output(self.tile(i, j)?)
                .scalar(i as u64)
                .scalar(j as u64),
            Step::Potrf { k } => args.inout(self.tile(k, k)?),
            Step::Trsm { i, k } => args.input(self.tile(k, k)?).inout(self.tile(i, k)?),
            Step::Syrk { i, k } => args.input(self.tile(i, k)?).inout(self.tile(i, i)?),
            Step::Gemm { i, j, k } => {
                args.input(self.tile(i, k)?).input(self.tile(j, k)?).inout(self.tile(i, j)?)
            }
        })
    }

    fn tile(&self, i: usize, j: usize) -> Result<ContinuousTensor, Error> {
        let side = self.problem.side;
        Ok(self.tiles.view(index(i, j) * side * side, &[side as u32, side as u32])?)
    }

    /// The points of a row of tiles.
    fn rows(&self, tile: usize) -> Result<ContinuousTensor, Error> {
        let (side, features) = (self.problem.side, self.problem.covariance.features);
        Ok(self.points.view(tile * side * features, &[side as u32, features as u32])?)
    }
}

impl Functions {
    fn of(&self, step: Step) -> Callable {
        match step {
            Step::Kernel { .. } => self.kernel,
            Step::Potrf { .. } => self.potrf,
            Step::Trsm { .. } => self.trsm,
            Step::Syrk { .. } => self.syrk,
            Step::Gemm { .. } => self.gemm,
        }
    }
}

/// Registers what tasks call. Sizes and parameters are captured: they are in the workers by
/// virtue of the fork.
fn register(builder: &mut Builder, problem: &Problem) -> Result<Functions, BuildError> {
    let (side, covariance) = (problem.side, problem.covariance);
    Ok(Functions {
        kernel: builder.register("kernel", move |args, _, _| {
            let (i, j) = (args.scalar(0)? as usize, args.scalar(1)? as usize);
            let ([rows, columns], own) = operands(&args)?;
            covariance.fill(own, (rows, i * side), (columns, j * side));
            Ok::<(), BodyError>(())
        })?,
        potrf: builder.register("potrf", move |args, _, _| {
            let ([], own) = operands(&args)?;
            Ok::<(), BodyError>(kernels::potrf(side, own)?)
        })?,
        trsm: builder.register("trsm", move |args, _, _| {
            let ([diagonal], own) = operands(&args)?;
            kernels::trsm(side, diagonal, own);
            Ok::<(), BodyError>(())
        })?,
        syrk: builder.register("syrk", move |args, _, _| {
            let ([left], own) = operands(&args)?;
            kernels::syrk(side, left, own);
            Ok::<(), BodyError>(())
        })?,
        gemm: builder.register("gemm", move |args, _, _| {
            let ([left, right], own) = operands(&args)?;
            kernels::gemm(side, left, right, own);
            Ok::<(), BodyError>(())
        })?,
        empty: builder.register("empty", |_, _, _| Ok::<(), BodyError>(()))?,
    })
}

/// The tensors of a task as `arguments` lists them: `N` to read, then one to write.
fn operands<'a, const N: usize>(
    args: &TaskArgsView<'a>,
) -> Result<([&'a [f64]; N], &'a mut [f64]), BodyError> {
    let mut read: [&[f64]; N] = [&[]; N];
    for (at, slice) in read.iter_mut().enumerate() {
        // SAFETY: submitted as INPUT under strict dependencies: nobody writes it meanwhile, this
        // task neither, since it writes another tile.
        *slice = unsafe { args.slice(at)? };
    }
    // SAFETY: submitted as OUTPUT or INOUT under strict dependencies, and it is none of those
    // above: nobody else reads or writes it meanwhile.
    let write = unsafe { args.slice_mut(N)? };
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Rbf;
    use super::*;

    /// THREAD mode, since a test runs beside the threads of other tests.
    #[test]
    fn the_graph_computes_what_the_serial_run_does() {
        let rbf = Rbf { variance: 1.0, length: 1.0 };
        let covariance = Covariance { rbf, noise: 0.1, features: 2, points: 45 };
        let points: Vec<f64> = (0..96).map(|i| f64::from(i * 37 % 101) / 50.0).collect();
        let problem = Problem { covariance, points, side: 16, across: 3 };
        let engine = Engine::build(Mode::Thread, 2, &problem, 1, &Seen::default()).expect("build");
        let mut serial = Tiles::zeros(16, 3);
        for step in fill_steps(3).chain(factor_steps(3)) {
            serial.perform(step, &covariance, &problem.points).expect("positive definite");
        }
        for _ in 0..20 {
            engine.factorise().expect("run");
            assert_eq!(engine.factor().expect("a factor").distance(&serial), 0.0);
        }
        engine.empty().expect("run");
        let [whole, empty] = engine.record().expect("a recording");
        for _ in 0..5 {
            engine.replay(&empty).expect("replay");
            engine.replay(&whole).expect("replay");
            assert_eq!(engine.factor().expect("a factor").distance(&serial), 0.0);
        }
    }

    #[test]
    fn a_matrix_without_factor_fails_the_run() {
        let rbf = Rbf { variance: 1.0, length: 1.0 };
        let covariance = Covariance { rbf, noise: -2.0, features: 1, points: 8 };
        let problem = Problem { covariance, points: vec![0.0; 8], side: 4, across: 2 };
        let engine = Engine::build(Mode::Thread, 1, &problem, 0, &Seen::default()).expect("build");
        let error = engine.factorise().expect_err("no factor");
        assert!(error.to_string().contains("not positive definite"), "{error}");
    }
}
