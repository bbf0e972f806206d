//! The wait of a body for values, and its outcome.

use std::time::{Duration, Instant};

use super::objects::{Objects, Value};
use super::tasks::Index;
use crate::protocol::wire::{Response, WireValue};

/// A body that waits for values.
pub(crate) struct Wait {
    /// The number of its request.
    pub(crate) request: u64,
    pub(crate) ids: Vec<Index>,
    /// How many must be complete.
    pub(crate) need: usize,
    /// All of them, and their values are wanted.
    pub(crate) values: bool,
    pub(crate) until: Option<Instant>,
}

impl Wait {
    /// Whether it cannot end before each of its refs is complete.
    pub(crate) fn needs_all(&self) -> bool {
        self.values || self.need == self.ids.len()
    }

    /// The answer, if it is over.
    pub(crate) fn outcome(&self, objects: &Objects) -> Option<Response> {
        if !self.values {
            let ready = self.ids.iter().filter(|index| !objects.is_pending(**index)).count();
            return (ready >= self.need).then(|| self.settled(objects));
        }
        // A failure ends it, whatever else is not there yet.
        let failed = self.ids.iter().find_map(|&index| match &objects.at(index).value {
            Value::Failed(error) => Some(WireValue::Failed(Box::new((**error).clone()))),
            _ => None,
        });
        if let Some(failed) = failed {
            return Some(Response::Values(vec![failed]));
        }
        let value = |&index: &Index| match &objects.at(index).value {
            Value::Inline(bytes) => Some(WireValue::Inline(bytes.to_vec())),
            &Value::Placed { address, len, .. } => Some(WireValue::Placed { address, len }),
            Value::Pending | Value::Failed(_) => None,
        };
        self.ids.iter().map(value).collect::<Option<Vec<_>>>().map(Response::Values)
    }

    fn settled(&self, objects: &Objects) -> Response {
        Response::Settled(self.ids.iter().map(|&index| !objects.is_pending(index)).collect())
    }

    /// The answer when its time is over.
    pub(crate) fn timed_out(&self, objects: &Objects) -> Response {
        if self.values { Response::TimedOut } else { self.settled(objects) }
    }
}

/// How long waits are left alone before they are looked at, and between two looks.
const PAUSE: Duration = Duration::from_millis(30);
/// What a look may cost of the driver thread's time: one part in so many.
const SHARE: u32 = 30;

/// When waits are looked at for deadlocks.
pub(crate) struct Watch {
    /// A wait has begun since the last look.
    due: bool,
    not_before: Instant,
}

impl Default for Watch {
    fn default() -> Self {
        Self { due: false, not_before: Instant::now() }
    }
}

impl Watch {
    /// A wait has begun. Whether the driver thread is to be told.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        let first = !std::mem::replace(&mut self.due, true);
        if first {
            self.not_before = self.not_before.max(now + PAUSE);
        }
        first
    }

    /// When to look; `None` if no wait has begun.
    pub(crate) fn due(&mut self, blocked: usize) -> Option<Instant> {
        self.due &= blocked > 0;
        self.due.then_some(self.not_before)
    }

    /// A look is over that was begun at this time.
    pub(crate) fn looked(&mut self, began: Instant) {
        self.due = false;
        let cost = began.elapsed();
        self.not_before = began + PAUSE.max(cost.saturating_mul(SHARE));
    }
}
