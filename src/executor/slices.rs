//! What typed tasks need besides what all submits need: bytes that become a slice to write to are
//! named once.

use super::callable_names::Names;
use super::request::Request;
use crate::abi::{TaskArgs, TensorArgType};
use crate::error::{ArgumentError, ArgumentFault, Error};

/// The bytes of a tensor argument, and whether the task writes them.
#[derive(Clone, Copy)]
struct Named {
    start: u64,
    end: u64,
    writes: bool,
}

impl Named {
    /// Bytes that it shares with the other one, where one of the two is written.
    fn conflict(&self, other: &Self) -> Option<u64> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end && (self.writes || other.writes)).then(|| end - start)
    }
}

fn named(args: &TaskArgs) -> impl Iterator<Item = Named> {
    args.tensors().iter().zip(args.tags()).map(|(tensor, &tag)| {
        // What is not ordered is the caller's promise; what has no size was refused before.
        let checked = tag != TensorArgType::NoDep;
        let bytes = tensor.quick_nbytes().filter(|_| checked).unwrap_or(0);
        let start = tensor.data();
        Named { start, end: start + bytes, writes: tag.writes() }
    })
}

/// A tensor argument: its member, and which of the member's it is.
type Place = (usize, usize);

/// The first two arguments of one member that share bytes which one of them writes.
fn within_one(members: &[TaskArgs]) -> Option<(Place, Place, u64)> {
    members.iter().enumerate().find_map(|(member, args)| {
        let all: Vec<Named> = named(args).collect();
        let later = |first: usize| (first + 1..all.len()).map(move |second| (first, second));
        (0..all.len()).flat_map(later).find_map(|(first, second)| {
            let bytes = all[first].conflict(&all[second])?;
            Some(((member, first), (member, second), bytes))
        })
    })
}

/// Two arguments of a group that share bytes which one of them writes.
pub(super) fn among_members(members: &[TaskArgs]) -> Option<(Place, Place, u64)> {
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
        let later = |last: Option<(Named, Place)>| last.is_none_or(|last| last.0.end < one.0.end);
        if later(any) {
            any = Some(one);
        }
        if one.0.writes && later(written) {
            written = Some(one);
        }
    }
    None
}

/// Why a typed task or group is refused of which two arguments share bytes that it writes.
/// `parameters` has the parameter of each tensor.
#[cold]
pub(super) fn overlapping(
    names: &Names,
    request: &Request<'_>,
    members: &[TaskArgs],
    parameters: &[u8],
) -> Error {
    let found = within_one(members).or_else(|| among_members(members));
    let (first, second, bytes) = found.unwrap_or_default();
    let number = |place: Place| parameters.get(place.1).map_or(0, |&n| usize::from(n));
    let member = request.group.then_some(first.0);
    let other = (first.0 != second.0).then_some(second.0);
    let fault = ArgumentFault::Overlap { parameter: number(second), member: other, bytes };
    let own = request.options.name.as_deref().map(str::to_owned);
    let task = own.unwrap_or_else(|| names.name(request.options.kind as u8, request.callable.0));
    let parameter = number(first);
    Error::Argument(Box::new(ArgumentError { task, parameter, member, fault }))
}
