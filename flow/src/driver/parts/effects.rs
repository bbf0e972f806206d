//! Effects: what one step finds out and others have to act upon. Steps note it here and go on;
//! `follow_up` acts upon it when the step is over, so no step calls back to one before it.

use std::sync::Arc;

use crate::protocol::error::TaskError;

#[derive(Default)]
pub(crate) struct Effects {
    /// By name: tasks that have all they need, or are to be run again; the last one first.
    pub(crate) ready: Vec<u64>,
    /// By name: tasks that fail with another, and why.
    pub(crate) failing: Vec<(u64, Arc<TaskError>)>,
    /// Requests to wait, by process and number, for which something is complete.
    pub(crate) answers: Vec<(u16, u64)>,
    /// Sets in which a member is complete, and which.
    pub(crate) members: Vec<(u32, u64)>,
    /// Actors whose makers are complete.
    pub(crate) made: Vec<u32>,
    /// Actors that may have a call to post.
    pub(crate) actors: Vec<u32>,
    /// More may be placed.
    pub(crate) reschedule: bool,
    /// The driver thread has something to do.
    pub(crate) wakeup: bool,
    /// Something that a thread of the driver may sleep for has happened.
    pub(crate) changed: bool,
}

impl Effects {
    /// Whether there is something to act upon.
    #[inline]
    pub(crate) fn are_any(&self) -> bool {
        let noted = self.ready.len() | self.answers.len() | self.made.len() | self.actors.len();
        noted != 0 || self.reschedule
    }

    /// Whether somebody outside of the table is to be told.
    #[inline]
    pub(crate) fn are_outside(&self) -> bool {
        self.wakeup || self.changed
    }
}
