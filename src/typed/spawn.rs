//! Registering typed tasks, and submitting them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use smallvec::SmallVec;

use super::argument::{Arguments, MOST, Packer};
use super::body::{Body, Call};
use super::view::View;
use crate::abi::{Element, TaskArgs, TensorArgType};
use crate::error::{ArgumentError, ArgumentFault, BuildError, Error};
use crate::executor::{Builder, Orchestrator, TaskHandle, TaskOptions};
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
        let (mut packed, tensors) = packer.finish();
        let shared = match added {
            Ok(()) => shared_bytes(&packed),
            Err((parameter, fault)) => {
                return Err(self.refuse(task, options, parameter, None, fault));
            }
        };
        if let Some((first, second, bytes)) = shared {
            let number = |tensor: usize| usize::from(tensors[tensor]);
            let fault = ArgumentFault::Overlap { parameter: number(second), member: None, bytes };
            return Err(self.refuse(task, options, number(first), None, fault));
        }
        self.submit_typed(task.callable, std::slice::from_mut(&mut packed), options, false)
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
        let mut tensors = [0; MOST]; // the same for all members
        for (member, args) in members.into_iter().enumerate() {
            let mut packer = Packer::new(self);
            if let Err((parameter, fault)) = args.add_all(&mut packer) {
                return Err(self.refuse(task, options, parameter, Some(member), fault));
            }
            let (args, numbers) = packer.finish();
            packed.push(args);
            tensors = numbers;
        }
        if let Some((first, second, bytes)) = shared_among(&packed) {
            let number = |tensor: usize| usize::from(tensors[tensor]);
            let fault = ArgumentFault::Overlap {
                parameter: number(second.1),
                member: (first.0 != second.0).then_some(second.0),
                bytes,
            };
            return Err(self.refuse(task, options, number(first.1), Some(first.0), fault));
        }
        self.submit_typed(task.callable, &mut packed, options, true)
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

/// The bytes of a tensor argument, and whether the task writes them.
#[derive(Clone, Copy)]
struct Named {
    start: u64,
    end: u64,
    writes: bool,
}

impl Named {
    /// Bytes that it shares with the other one, where one of the two is written.
    #[inline]
    fn conflict(&self, other: &Self) -> Option<u64> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end && (self.writes || other.writes)).then(|| end - start)
    }
}

#[inline]
fn named(args: &TaskArgs) -> impl Iterator<Item = Named> {
    args.tensors().iter().zip(args.tags()).map(|(tensor, &tag)| {
        // What is not ordered is the caller's promise; what has no size is refused by the submit.
        let checked = tag != TensorArgType::NoDep;
        let bytes = tensor.quick_nbytes().filter(|_| checked).unwrap_or(0);
        let start = tensor.data();
        Named { start, end: start + bytes, writes: tag.writes() }
    })
}

/// Two tensors of a task that share bytes which one of them writes.
#[inline]
fn shared_bytes(args: &TaskArgs) -> Option<(usize, usize, u64)> {
    if args.tensors().len() < 2 {
        return None;
    }
    let all: SmallVec<[Named; MOST]> = named(args).collect();
    for (second, one) in all.iter().enumerate().skip(1) {
        for (first, other) in all[..second].iter().enumerate() {
            if let Some(bytes) = one.conflict(other) {
                return Some((first, second, bytes));
            }
        }
    }
    None
}

/// A tensor argument of a group: its member, and which of the member's it is.
type Place = (usize, usize);

/// The same for all members of a group together.
fn shared_among(members: &[TaskArgs]) -> Option<(Place, Place, u64)> {
    let mut all: Vec<(Named, Place)> = Vec::new();
    for (member, args) in members.iter().enumerate() {
        all.extend(named(args).enumerate().map(|(tensor, named)| (named, (member, tensor))));
    }
    all.retain(|(named, _)| named.start < named.end);
    all.sort_unstable_by_key(|(named, _)| named.start);
    // Of those that begin before this one, the two that end last: of all, and of those that write.
    let [mut any, mut written]: [Option<(Named, Place)>; 2] = [None, None];
    for &one in &all {
        for other in [written, any].into_iter().flatten() {
            if let Some(bytes) = one.0.conflict(&other.0) {
                return Some((other.1.min(one.1), other.1.max(one.1), bytes));
            }
        }
        let later = |last: Option<(Named, Place)>| last.is_none_or(|l| l.0.end < one.0.end);
        if later(any) {
            any = Some(one);
        }
        if one.0.writes && later(written) {
            written = Some(one);
        }
    }
    None
}
