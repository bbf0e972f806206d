//! Registered functions, and the worker that calls them.

use std::collections::HashSet;
use std::sync::Arc;

use mailring_process::panics::guard;

use super::words::describe;
use super::{BoxError, TaskContext, Worker};
use crate::abi::{CallConfig, TaskArgsView};
use crate::ids::{Callable, WorkerId};

type Function =
    dyn Fn(TaskArgsView<'_>, &CallConfig, &TaskContext<'_>) -> Result<(), BoxError> + Send + Sync;

/// Makes the worker, in its own process or thread.
pub(crate) type Factory = Arc<dyn Fn(WorkerId) -> Result<Box<dyn Worker>, BoxError> + Send + Sync>;

/// All registered functions, in the order of registration. Forked with the workers, so nothing is
/// ever sent.
#[derive(Clone, Default)]
pub(crate) struct Functions {
    list: Vec<(Callable, Arc<Function>)>,
    /// In the same order.
    names: Vec<Arc<str>>,
    known: HashSet<Arc<str>>,
}

impl Functions {
    pub(crate) fn add<F, E>(&mut self, name: &str, function: F) -> Option<Callable>
    where
        F: Fn(TaskArgsView<'_>, &CallConfig, &TaskContext<'_>) -> Result<(), E>
            + Send
            + Sync
            + 'static,
        E: Into<BoxError>,
    {
        let callable = Callable::registered(self.list.len());
        let boxed = Arc::new(
            move |args: TaskArgsView<'_>, config: &CallConfig, context: &TaskContext<'_>| {
                function(args, config, context).map_err(Into::into)
            },
        );
        self.insert(name, callable, boxed)
    }

    /// Whether there are any of these.
    pub(crate) fn has_typed(&self) -> bool {
        self.all().any(|(callable, _)| callable.is_typed())
    }

    /// Adds a function that only the typed front may submit, since it trusts its arguments.
    pub(crate) fn add_typed(
        &mut self,
        name: &str,
        function: impl Fn(TaskArgsView<'_>, &TaskContext<'_>) -> Result<(), BoxError>
        + Send
        + Sync
        + 'static,
    ) -> Option<Callable> {
        let callable = Callable::typed(self.list.len());
        let boxed =
            Arc::new(move |args: TaskArgsView<'_>, _: &CallConfig, context: &TaskContext<'_>| {
                function(args, context)
            });
        self.insert(name, callable, boxed)
    }

    fn insert(
        &mut self,
        name: &str,
        callable: Callable,
        function: Arc<Function>,
    ) -> Option<Callable> {
        let name: Arc<str> = name.into();
        if !self.known.insert(Arc::clone(&name)) {
            return None;
        }
        self.list.push((callable, function));
        self.names.push(name);
        Some(callable)
    }

    /// Numbers and names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Callable, &str)> {
        self.list.iter().map(|(callable, _)| *callable).zip(self.names.iter().map(|name| &**name))
    }
}

impl Worker for Functions {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), BoxError> {
        let function = self.list.get(Callable(callable).place());
        match function.filter(|(number, _)| number.0 == callable) {
            Some((_, function)) => function(args, config, context),
            None => Err(format!("callable {callable:#x} is not a registered function").into()),
        }
    }
}

/// Makes a worker; what goes wrong comes back as text.
pub(crate) fn make(factory: &Factory, worker: WorkerId) -> Result<Box<dyn Worker>, String> {
    guard(|| factory(worker).map_err(|error| describe(error.as_ref()))).unwrap_or_else(Err)
}
