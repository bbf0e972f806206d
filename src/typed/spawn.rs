//! Registering typed tasks, and submitting them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::argument::{Arguments, Packer};
use super::body::{Body, Call};
use super::view::View;
use crate::abi::Element;
use crate::error::{ArgumentError, ArgumentFault, BuildError, Error};
use crate::executor::{Bindings, Bound, Builder, Orchestrator, TaskHandle, TaskOptions};
use crate::ids::Callable;

/// A registered task with parameters `P`, a tuple: `Task<(In<'static, f64>, Out<'static, f64>, u64)>`.
///
/// It names one registration of one builder; executors that do not have it refuse it.
pub struct Task<P> {
    callable: Callable,
    parameters: PhantomData<fn(P)>,
}

impl<P> Task<P> {
    /// The number of the function, for messages. Only `spawn` submits it.
    pub fn callable(&self) -> Callable {
        self.callable
    }
}

impl<P> Clone for Task<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Task<P> {}

impl<P> fmt::Debug for Task<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.callable).finish()
    }
}

impl Builder {
    /// Registers a task under a name that no other has; the result is what to
    /// [`spawn`](Orchestrator::spawn). What a body can take and return is told in
    /// [`typed`](crate::typed).
    ///
    /// # Errors
    /// The name is taken.
    pub fn task<P, M, F: Body<P, M>>(
        &mut self,
        name: &str,
        body: F,
    ) -> Result<Task<P>, BuildError> {
        let own: Arc<str> = name.into();
        let callable = self.register_typed(name, move |args, context| {
            // SAFETY: its callable is submitted by `spawn` alone, and only with arguments for `P`.
            unsafe { Call::call(&body, &own, args, context) }
        })?;
        Ok(Task { callable, parameters: PhantomData })
    }
}

impl Orchestrator {
    /// Submits a typed task to the NEXT_LEVEL workers. Waits while the rings are full.
    ///
    /// # Errors
    /// An invalid argument ([`Error::Argument`] says which and why); the executor has
    /// compatible hazards; as [`submit`](Self::submit). Nothing is changed then.
    #[inline]
    pub fn spawn<P, A: Arguments<P>>(
        &mut self,
        task: Task<P>,
        args: A,
    ) -> Result<TaskHandle, Error> {
        self.spawn_with(task, args, &TaskOptions::default())
    }

    /// The same with options; they also say to which kind of worker.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); options that contradict each other.
    #[inline]
    pub fn spawn_with<P, A: Arguments<P>>(
        &mut self,
        task: Task<P>,
        args: A,
        options: &TaskOptions,
    ) -> Result<TaskHandle, Error> {
        let mut packer = Packer::new(self);
        let added = args.add_all(&mut packer);
        let args = packer.finish();
        if let Err((parameter, fault)) = added {
            return Err(self.refuse(task, options, parameter, None, *fault));
        }
        self.submit_typed_task(task.callable, args, options, A::PARAMETERS)
    }

    /// Submits one node with a member for each tuple of arguments, each run by another worker of
    /// the NEXT_LEVEL pool at the same time. Members may read the same bytes; what one of them
    /// writes is named by no other.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); no members, or more than the pool has workers.
    pub fn spawn_group<P, A: Arguments<P>>(
        &mut self,
        task: Task<P>,
        members: impl IntoIterator<Item = A>,
    ) -> Result<TaskHandle, Error> {
        self.spawn_group_with(task, members, &TaskOptions::default())
    }

    /// The same with options, as in [`submit_group_with`](Self::submit_group_with).
    ///
    /// # Errors
    /// As [`spawn_group`](Self::spawn_group); options that a group cannot have.
    pub fn spawn_group_with<P, A: Arguments<P>>(
        &mut self,
        task: Task<P>,
        members: impl IntoIterator<Item = A>,
        options: &TaskOptions,
    ) -> Result<TaskHandle, Error> {
        let mut packed = Vec::new();
        for (member, args) in members.into_iter().enumerate() {
            let mut packer = Packer::new(self);
            if let Err((parameter, fault)) = args.add_all(&mut packer) {
                return Err(self.refuse(task, options, parameter, Some(member), *fault));
            }
            packed.push(packer.finish());
        }
        self.submit_typed(task.callable, &mut packed, options, true, A::PARAMETERS)
    }

    /// Memory for tasks of the innermost scope, as an argument: it lives until the scope has
    /// closed and every task that names it is through. Its first values are whatever was there.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn array<T: Element>(&mut self, shape: &[u32]) -> Result<View<'static, T>, Error> {
        let tensor = self.alloc(shape, T::DTYPE)?;
        Ok(View::in_scope(tensor, self))
    }

    /// The parameter (from 1) of a member whose argument is invalid, and why.
    #[cold]
    fn refuse<P>(
        &self,
        task: Task<P>,
        options: &TaskOptions,
        parameter: usize,
        member: Option<usize>,
        fault: ArgumentFault,
    ) -> Error {
        let registered = || self.name_of(options.worker_kind(), task.callable);
        let task = options.own_name().map_or_else(registered, str::to_owned);
        Error::Argument(Box::new(ArgumentError { task, parameter, member, fault }))
    }
}

impl Bindings {
    /// Puts a view in the place of memory that a recording names, typed tasks included: see
    /// [`buffer`](Self::buffer).
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer). [`Error::Argument`]: it is no view, or of another executor;
    /// `parameter` is the number of the memory, from 1.
    pub fn view<T: Element>(
        &mut self,
        bound: impl Into<Bound>,
        view: View<'_, T>,
    ) -> Result<&mut Self, Error> {
        let number = self.find(bound.into())?;
        let (tensor, imported) = view.as_binding(self.executor()).map_err(|fault| {
            let (task, parameter) = ("a replay".to_owned(), number + 1);
            Error::Argument(Box::new(ArgumentError { task, parameter, member: None, fault }))
        })?;
        self.bind_typed(number, &tensor, imported)?;
        Ok(self)
    }
}
