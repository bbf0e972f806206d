//! Wait sets: many refs, which are reported as they become complete. Each is registered
//! once, and tells its set when it is complete, so waiting costs what is ready, not what is there.

use std::collections::HashMap;

#[derive(Default)]
pub(crate) struct WaitSets {
    next: u32,
    /// Members that are complete and have not been fetched.
    ready: HashMap<u32, Vec<u64>>,
}

impl WaitSets {
    /// A new set.
    pub(crate) fn add(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.ready.insert(self.next, Vec::new());
        self.next
    }

    /// A member is complete.
    pub(crate) fn add_ready(&mut self, set: u32, member: u64) {
        if let Some(ready) = self.ready.get_mut(&set) {
            ready.push(member);
        }
    }

    /// Members that have become complete, once `need` have.
    pub(crate) fn take_ready(&mut self, set: u32, need: usize) -> Option<Vec<u64>> {
        let ready = self.ready.get_mut(&set)?;
        (ready.len() >= need).then(|| std::mem::take(ready))
    }

    /// What this member has told is not heard.
    pub(crate) fn forget(&mut self, set: u32, member: u64) {
        if let Some(ready) = self.ready.get_mut(&set) {
            ready.retain(|ready| *ready != member);
        }
    }

    pub(crate) fn remove(&mut self, set: u32) {
        self.ready.remove(&set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_fetched_once_and_in_order() {
        let mut sets = WaitSets::default();
        let (one, other) = (sets.add(), sets.add());
        for member in [3, 1, 2] {
            sets.add_ready(one, member);
        }
        assert_eq!(sets.take_ready(one, 4), None);
        sets.forget(one, 1);
        assert_eq!(sets.take_ready(one, 2), Some(vec![3, 2]));
        assert_eq!(sets.take_ready(one, 1), None);
        assert_eq!(sets.take_ready(other, 0), Some(Vec::new()));
        sets.remove(one);
        sets.add_ready(one, 5);
        assert_eq!(sets.take_ready(one, 0), None, "a set that is gone hears nothing");
    }
}
