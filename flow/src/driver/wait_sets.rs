//! Wait sets: many refs, which are reported as they become complete. Each is registered
//! once, and tells its set when it is complete, so waiting costs what is ready, not what is there.

use std::collections::HashMap;

use super::State;
use super::objects::Waiter;
use crate::protocol::error::Error;

#[derive(Default)]
pub(super) struct WaitSets {
    next: u32,
    /// Members that are complete and have not been fetched.
    ready: HashMap<u32, Vec<u64>>,
}

impl State {
    pub(super) fn add_set(&mut self) -> u32 {
        self.wait_sets.next = self.wait_sets.next.wrapping_add(1);
        self.wait_sets.ready.insert(self.wait_sets.next, Vec::new());
        self.wait_sets.next
    }

    /// `member` is what the set calls the object.
    pub(super) fn watch(&mut self, set: u32, id: u64, member: u64) -> Result<(), Error> {
        let index = self.find(id)?;
        if self.objects.at(index).value.is_pending() {
            self.objects.at_mut(index).waiters.push(Waiter::Set(set, member));
        } else {
            self.add_ready(set, member);
        }
        Ok(())
    }

    pub(super) fn add_ready(&mut self, set: u32, member: u64) {
        if let Some(ready) = self.wait_sets.ready.get_mut(&set) {
            ready.push(member);
        }
    }

    /// Members that have become complete, once `need` have.
    pub(super) fn take_ready(&mut self, set: u32, need: usize) -> Option<Vec<u64>> {
        let ready = self.wait_sets.ready.get_mut(&set)?;
        (ready.len() >= need).then(|| std::mem::take(ready))
    }

    /// The object does not tell the set any more.
    pub(super) fn unwatch(&mut self, set: u32, id: u64, member: u64) {
        if let Some(index) = self.objects.find(id) {
            let waiters = &mut self.objects.at_mut(index).waiters;
            if waiters.is_empty() {
                return;
            }
            waiters.retain(|waiter| *waiter != Waiter::Set(set, member));
        }
    }

    /// The same, and what it has told is not heard.
    pub(super) fn forget_member(&mut self, set: u32, id: u64, member: u64) {
        self.unwatch(set, id, member);
        if let Some(ready) = self.wait_sets.ready.get_mut(&set) {
            ready.retain(|ready| *ready != member);
        }
    }

    pub(super) fn remove_set(&mut self, set: u32) {
        self.wait_sets.ready.remove(&set);
    }
}
