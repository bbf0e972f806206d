//! What a submit asks for: function and options, checked.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::callable_names::Known;
use super::in_flight::InFlight;
use super::options::{After, TaskOptions};
use super::shared::Shared;
use crate::abi::CallConfig;
use crate::error::Error;
use crate::ids::Callable;
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

#[inline]
pub(super) fn check<'r>(
    in_flight: &InFlight,
    callable: Callable,
    config: CallConfig,
    options: &'r TaskOptions,
    members: Option<usize>,
    slices: Option<&'r [u8]>,
) -> Result<Request<'r>, Error> {
    let shared = in_flight.shared();
    if !shared.is_fit() {
        shared.check_place()?;
        shared.tasks.check_health()?;
    }
    let kind = options.kind;
    let arena = in_flight.window().arena();
    let shape = arena.shape();
    let pool = shape.workers[kind.index()];
    if pool == 0 {
        return Err(Error::NoWorkers(kind));
    }
    let typed = slices.is_some();
    match shared.names.look_up(kind, callable) {
        Known::Yes if callable.is_typed() == typed => {}
        Known::Yes => {
            return Err(Error::Misuse(
                "a function that `Builder::task` registered takes its arguments through \
                 `spawn`, which checks them against its parameters",
            ));
        }
        Known::Dynamic | Known::Unlisted if !typed => {}
        _ => return Err(Error::UnknownFunction(callable.0)),
    }
    if let Some(members) = members {
        check_group(shared, members, options)?;
    }
    if let Some(worker) = options.worker {
        let index = usize::from(worker.0);
        if index >= shape.total_workers() || shape.kind_of(index) != kind {
            return Err(Error::WrongWorker { worker, kind });
        }
        let status = &arena.entry(worker.0).status;
        if status.load(SeqCst) == Status::Gone as u32 {
            return Err(Error::Options("that worker was retired; direct the task elsewhere"));
        }
    }
    if options.retries >= MAX_ATTEMPTS {
        return Err(Error::Retries(options.retries));
    }
    if options.retries > 0 && !options.idempotent && !options.snapshot {
        return Err(Error::Options(
            "retries need `idempotent` or `snapshot`: a body that was cut short may have \
             written half of its outputs",
        ));
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
    if options.after.iter().all(known) {
        return Ok(());
    }
    Err(Error::Handle(
        "`after` takes tasks of the run that is open, and this one is of another run or \
         executor; wait for that run first, or submit both in one run",
    ))
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
    if options.worker.is_some() {
        return Err(Error::Options("a group takes whichever workers are idle: leave out `on`"));
    }
    if options.snapshot {
        return Err(Error::Options(
            "members of a group start at different times, so a snapshot of one could hold \
             what another has written already: retry groups with `idempotent`",
        ));
    }
    Ok(())
}

fn micros(deadline: Duration) -> Result<u32, Error> {
    u32::try_from(deadline.as_micros()).ok().filter(|&us| us > 0).ok_or(Error::Options(
        "a deadline lies between one microsecond and 2^32 microseconds (71 minutes)",
    ))
}
