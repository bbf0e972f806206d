//! Recursion: an executor as the worker of a higher one.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::builder::Service;
use super::callable_names::CallableNames;
use super::{Builder, Executor, OpenRun, Orchestrator, RunHandle};
use crate::abi::{CallConfig, TaskArgsView};
use crate::error::{BuildError, Error};
use crate::ids::{Callable, WorkerId, WorkerKind};
use crate::worker::{BoxError, TaskContext, Worker};

/// How often a level looks whether its task was told to stop.
const LOOK: Duration = Duration::from_millis(5);

type Body = dyn Fn(&mut Orchestrator, TaskArgsView<'_>, &CallConfig, &TaskContext<'_>) -> Result<(), Error>
    + Send
    + Sync;

/// A level of executors below another one: how each of them is built, and the functions that a task
/// of the level above can run on it.
///
/// Such a function is an orchestration function: it gets the orchestrator of its own level, and
/// may submit tasks over the very tensors that it was given. Its task ends when all that it
/// submitted is through; the first failure among them is its own. A level may have a level below
/// in turn ([`Builder::next_level`]).
///
/// ```rust,standalone_crate
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mailring::abi::{CallConfig, TaskArgs};
/// use mailring::{Executor, Level};
///
/// // Below: two workers that add one to a cell.
/// let mut below = Executor::builder().workers(2);
/// let add = below.register("add", |args, _, _| {
///     let sum = args.get::<u64>(0, 0)? + 1;
///     args.set(0, 0, sum)
/// })?;
/// let mut level = Level::new(below);
/// let three = level.register("three", move |orch, args, config, _context| {
///     for _ in 0..3 {
///         orch.submit(add, TaskArgs::new().inout(*args.tensor(0)?), *config)?;
///     }
///     Ok(())
/// })?;
/// // Above: one worker, which is an executor with those two.
/// let exec = Executor::builder().next_level(1, level).build()?;
/// let cell = exec.buffer::<u64>(1)?;
/// exec.run(|orch| orch.submit(three, TaskArgs::new().inout(&cell), CallConfig::default()))?;
/// assert_eq!(cell.to_vec()?, [3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Level {
    builder: Builder,
    functions: Vec<(Callable, String, Arc<Body>)>,
    known: HashSet<String>,
}

impl Level {
    /// A level whose executors are built with these options: in the worker's own process (or
    /// thread), before it takes its first task.
    pub fn new(builder: Builder) -> Self {
        Self { builder, functions: Vec::new(), known: HashSet::new() }
    }

    /// Registers an orchestration function; the result is what to submit in the level above.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register<F>(&mut self, name: &str, function: F) -> Result<Callable, BuildError>
    where
        F: Fn(
                &mut Orchestrator,
                TaskArgsView<'_>,
                &CallConfig,
                &TaskContext<'_>,
            ) -> Result<(), Error>
            + Send
            + Sync
            + 'static,
    {
        if !self.known.insert(name.to_owned()) {
            return Err(BuildError::DuplicateFunction(name.to_owned()));
        }
        let callable = Callable::registered(self.functions.len());
        self.functions.push((callable, name.to_owned(), Arc::new(function)));
        Ok(callable)
    }
}

impl Builder {
    /// `count` NEXT_LEVEL workers, each of which is an executor of the level below.
    ///
    /// When such a worker dies, everything below it ends with it, before its task is run again or
    /// failed.
    #[must_use]
    pub fn next_level(self, count: usize, level: Level) -> Self {
        let known = level.functions.iter().map(|(callable, name, _)| (*callable, name.as_str()));
        let callables = Arc::new(CallableNames::new(known));
        let factory = move |_: WorkerId| {
            let worker =
                LevelWorker { exec: Some(level.builder.clone().build()?), level: level.clone() };
            Ok(Box::new(worker) as Box<dyn Worker>)
        };
        let service = Service {
            factory: Arc::new(factory),
            callables: Some(callables),
            beside: vec!["a level of its own".to_owned(); count],
            devices: None,
        };
        self.workers(count).serve(WorkerKind::NextLevel, service)
    }
}

/// A worker that is an executor.
struct LevelWorker {
    level: Level,
    /// `None` after it has failed as a whole: built again for the next task.
    exec: Option<Executor>,
}

impl LevelWorker {
    /// The executor with a run begun. One that has failed, maybe while it was idle, is built again.
    fn begin(&mut self) -> Result<(Executor, OpenRun), BoxError> {
        if let Some(exec) = self.exec.take()
            && let Ok(run) = exec.begin()
        {
            return Ok((exec, run));
        }
        let exec = self.level.builder.clone().build()?;
        let run = exec.begin()?;
        Ok((exec, run))
    }
}

impl Worker for LevelWorker {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), BoxError> {
        let function = self.level.functions.get(Callable(callable).place());
        let Some((_, _, body)) = function.filter(|(number, ..)| number.0 == callable) else {
            return Err(format!("callable {callable:#x} is not a function of this level").into());
        };
        let body = Arc::clone(body);
        let (exec, mut run) = self.begin()?;
        run.lend(args.tensors());
        let value = catch_unwind(AssertUnwindSafe(|| body(&mut run, args, config, context)));
        let pending = run.detach();
        if !matches!(value, Ok(Ok(()))) {
            pending.cancel();
        }
        let outcome = finish(&pending, context);
        if !matches!(outcome, Err(Error::Failed(_))) {
            self.exec = Some(exec);
        }
        value.unwrap_or_else(|panic| resume_unwind(panic))?;
        outcome.map_err(|error| format!("in the level below: {error}").into())
    }
}

/// Waits for the tasks of the level; they are told when the task above is told to stop.
fn finish(pending: &RunHandle, context: &TaskContext<'_>) -> Result<(), Error> {
    while !pending.wait(Some(LOOK))? {
        if context.cancelled() {
            pending.cancel();
        }
    }
    Ok(())
}
