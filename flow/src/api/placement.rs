//! Placement groups, as their user sees them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::Host;
use crate::protocol::error::Error;
use crate::protocol::options::Strategy;

/// Bundles of resources that are reserved together, for tasks that name the group
/// ([`Call::placed`](crate::Call::placed)). Dropping it gives them back; tasks in it go on.
pub struct PlacementGroup {
    id: u64,
    host: Arc<Host>,
}

impl PlacementGroup {
    pub(crate) fn new(id: u64, host: Arc<Host>) -> Self {
        Self { id, host }
    }

    /// How a task is placed in it: in one bundle, or in any. It can be given to a body, for the
    /// calls that this makes.
    pub fn strategy(&self, bundle: Option<usize>) -> Strategy {
        Strategy::Placed { group: self.id, bundle }
    }

    /// Whether its bundles are reserved.
    pub fn is_ready(&self) -> bool {
        self.wait_ready(Duration::ZERO).is_ok()
    }

    /// Waits until its bundles are reserved.
    ///
    /// # Errors
    /// They are not after `timeout`; the flow is closed.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), Error> {
        let until = Instant::now().checked_add(timeout);
        if self.host.wait_for_group(self.id, until)? {
            return Ok(());
        }
        Err(Error::Timeout("the reservation of the placement group".to_owned(), timeout))
    }

    /// The worker of each bundle; empty before they are reserved.
    pub fn workers(&self) -> Vec<String> {
        if !self.host.is_own() {
            return Vec::new();
        }
        self.host.group_workers(self.id)
    }
}

impl Drop for PlacementGroup {
    fn drop(&mut self) {
        if self.host.is_own() {
            self.host.remove_group(self.id);
        }
    }
}
