//! What a submit asks for: function and options, checked.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::callable_names::Known;
use super::in_flight::InFlight;
use super::options::{After, TaskOptions};
use super::shared::Shared;
use crate::abi::CallConfig;
use crate::error::{Error, InvalidHandle, InvalidOptions, Misuse};
use crate::ids::{Callable, TaskId, WorkerKind};
use crate::limits::MAX_ATTEMPTS;
use crate::segment::Status;

/// What a submit asks for, checked.
pub(super) struct Request<'r> {
    pub(super) callable: Callable,
    pub(super) config: CallConfig,
    pub(super) options: &'r TaskOptions,
    pub(super) group: bool,
    /// For arguments of the typed front, which become slices: the parameter of each tensor.
    pub(super) slices: Option<&'r [u8]>,
    pub(super) deadline_us: u32,
}

/// Whether such a function can be submitted to workers of a kind, here and now. [`check`] says why
/// not.
#[inline(never)]
pub(super) fn is_submittable(
    in_flight: &InFlight,
    kind: WorkerKind,
    callable: Callable,
    typed: bool,
) -> bool {
    let shared = in_flight.shared();
    shared.is_fit()
        && in_flight.window().arena().shape().workers[kind.index()] > 0
        && shared.names.look_up(kind, callable).takes(callable, typed)
}

/// Functions that were found to be submittable, and are so for good: a look at a table less for those
/// that are submitted again and again.
#[derive(Default)]
pub(super) struct KnownFunctions([KnownFunction; 4]);

#[derive(Clone, Copy, Default)]
struct KnownFunction {
    callable: u64,
    /// The kind of the workers and whether it is typed, plus one; 0: none is known here.
    how: u32,
}

impl KnownFunctions {
    /// As [`is_submittable`].
    #[inline(always)]
    pub(super) fn is_submittable(
        &mut self,
        in_flight: &InFlight,
        kind: WorkerKind,
        callable: Callable,
        typed: bool,
    ) -> bool {
        let known = &mut self.0[callable.0 as usize % 4];
        let how = (kind as u32 * 2 + u32::from(typed)) + 1;
        if known.callable == callable.0 && known.how == how {
            return in_flight.shared().is_fit();
        }
        // Those that were registered after the start may go again.
        let submittable = is_submittable(in_flight, kind, callable, typed);
        if submittable && in_flight.shared().names.look_up(kind, callable) != Known::Dynamic {
            *known = KnownFunction { callable: callable.0, how };
        }
        submittable
    }
}

/// Why it is refused.
#[cold]
fn refusal(in_flight: &InFlight, kind: WorkerKind, callable: Callable) -> Error {
    let shared = in_flight.shared();
    let here = shared.check_place().and_then(|()| shared.tasks.check_health());
    if let Err(error) = here {
        return error;
    }
    if in_flight.window().arena().shape().workers[kind.index()] == 0 {
        return Error::NoWorkers(kind);
    }
    match shared.names.look_up(kind, callable) {
        Known::Yes => Misuse::TypedFunction(callable.0).into(),
        _ => Error::UnknownFunction(callable.0),
    }
}

#[inline]
pub(super) fn check<'r>(
    in_flight: &InFlight,
    callable: Callable,
    config: CallConfig,
    options: &'r TaskOptions,
    members: Option<usize>,
    slices: Option<&'r [u8]>,
) -> Result<Request<'r>, Error> {
    let kind = options.kind;
    if !is_submittable(in_flight, kind, callable, slices.is_some()) {
        return Err(refusal(in_flight, kind, callable));
    }
    let arena = in_flight.window().arena();
    let shape = arena.shape();
    if let Some(members) = members {
        check_group(in_flight.shared(), members, options)?;
    }
    if let Some(worker) = options.worker {
        let index = usize::from(worker.0);
        if index >= shape.total_workers() || shape.kind_of(index) != kind {
            return Err(Error::WrongWorker { worker, kind });
        }
        let status = &arena.entry(worker.0).status;
        if status.load(SeqCst) == Status::Gone as u32 {
            return Err(InvalidOptions::RetiredWorker(worker).into());
        }
    }
    if options.retries >= MAX_ATTEMPTS {
        return Err(InvalidOptions::Retries(options.retries).into());
    }
    if options.retries > 0 && !options.idempotent && !options.snapshot {
        return Err(InvalidOptions::UnsafeRetries(options.retries).into());
    }
    if !options.after.is_empty() {
        check_after(in_flight, options)?;
    }
    let deadline_us = match options.deadline {
        None => 0,
        Some(deadline) => micros(deadline)?,
    };
    Ok(Request { callable, config, options, group: members.is_some(), slices, deadline_us })
}

#[cold]
fn check_after(in_flight: &InFlight, options: &TaskOptions) -> Result<(), Error> {
    let known = |after: &After| {
        after.executor == in_flight.shared().id
            && (in_flight.runs().open().first..in_flight.window().next()).contains(&after.task)
    };
    match options.after.iter().find(|after| !known(after)) {
        None => Ok(()),
        Some(after) => Err(InvalidHandle::After(TaskId(after.task)).into()),
    }
}

fn check_group(shared: &Shared, members: usize, options: &TaskOptions) -> Result<(), Error> {
    if members == 0 {
        return Err(Error::EmptyGroup);
    }
    let kind = options.kind;
    let live = shared.health.live[kind.index()].load(SeqCst);
    if members > live as usize {
        return Err(Error::GroupTooLarge { members, pool: live as usize, kind });
    }
    if let Some(worker) = options.worker {
        return Err(InvalidOptions::DirectedGroup(worker).into());
    }
    if options.snapshot {
        return Err(InvalidOptions::GroupSnapshot.into());
    }
    Ok(())
}

fn micros(deadline: Duration) -> Result<u32, Error> {
    let micros = u32::try_from(deadline.as_micros()).ok().filter(|&us| us > 0);
    micros.ok_or_else(|| InvalidOptions::Deadline(deadline).into())
}
