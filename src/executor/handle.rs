//! What a submit returns.

use crate::abi::ContinuousTensor;
use crate::error::Error;
use crate::ids::TaskId;

/// A submitted task: names it in `wait` and `cancel`, and names the outputs it was given.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    pub(super) seq: u64,
    /// Whose it is: numbers begin anew in every executor.
    pub(super) executor: u64,
    /// All tensors of all members, if any of them was allocated; with the count of each member.
    pub(super) tensors: Option<Box<[(ContinuousTensor, bool)]>>,
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
    /// That argument was not allocated by the submit: the caller has named its bytes itself.
    pub fn tensor(&self, index: usize) -> Result<ContinuousTensor, Error> {
        match self.tensors.as_ref().and_then(|tensors| tensors.get(index)) {
            Some((tensor, true)) => Ok(*tensor),
            _ => Err(Error::Handle(
                "this tensor argument was not allocated by the submit; only OUTPUT arguments with \
                 a null address are, and the others are already named by the caller",
            )),
        }
    }
}
