//! What a submit returns.

use crate::abi::ContinuousTensor;
use crate::error::{Error, InvalidHandle};
use crate::ids::TaskId;

/// The outputs that a submit has allocated, each with the number of its argument; members one after
/// the other. Most tasks have one, which takes no memory of its own.
#[derive(Clone, Debug)]
pub(super) enum Named {
    One((usize, ContinuousTensor)),
    Many(Vec<(usize, ContinuousTensor)>),
}

impl Named {
    /// Adds an output.
    pub(super) fn add(named: &mut Option<Self>, argument: usize, tensor: ContinuousTensor) {
        match named {
            None => *named = Some(Self::One((argument, tensor))),
            &mut Some(Self::One(before)) => {
                *named = Some(Self::Many(vec![before, (argument, tensor)]));
            }
            Some(Self::Many(all)) => all.push((argument, tensor)),
        }
    }

    /// The one of this argument.
    pub(super) fn get(&self, argument: usize) -> Option<ContinuousTensor> {
        let all = self.all();
        let found = all.binary_search_by_key(&argument, |&(argument, _)| argument).ok()?;
        Some(all[found].1)
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> &[(usize, ContinuousTensor)] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }
}

/// A submitted task: names it in `wait` and `cancel`, and names the outputs it was given.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    pub(super) seq: u64,
    /// Whose it is: numbers begin anew in every executor.
    pub(super) executor: u64,
    /// `None` when nothing was left to the submit.
    pub(super) tensors: Option<Named>,
}

impl TaskHandle {
    /// The task's number.
    pub fn id(&self) -> TaskId {
        TaskId(self.seq)
    }

    /// Tensor argument `index` (members of a group one after the other), with the address that
    /// the submit gave it. Its bytes live until the scope it was submitted in has closed and
    /// every task that names them has completed.
    ///
    /// # Errors
    /// That argument is no OUTPUT with a null address: the caller has named its bytes itself, whatever
    /// stands beside it.
    pub fn tensor(&self, index: usize) -> Result<ContinuousTensor, Error> {
        let tensor = self.tensors.as_ref().and_then(|tensors| tensors.get(index));
        let nothing = InvalidHandle::NotAllocated { task: self.id(), argument: index };
        tensor.ok_or_else(|| nothing.into())
    }
}
