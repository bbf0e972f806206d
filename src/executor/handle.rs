//! What a submit returns.

use crate::abi::ContinuousTensor;
use crate::error::{Error, InvalidHandle};
use crate::ids::TaskId;

/// Every tensor argument of a submit, members one after the other, and whether the submit
/// allocated it.
pub(super) type Named = Box<[(ContinuousTensor, bool)]>;

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
        match self.tensors.as_ref().and_then(|tensors| tensors.get(index)) {
            Some((tensor, true)) => Ok(*tensor),
            _ => Err(InvalidHandle::NotAllocated { task: self.id(), argument: index }.into()),
        }
    }
}
