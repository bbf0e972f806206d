//! More workers, at the beginning and later; placement groups that are removed.

use mailring_process::machine;

use super::placing::schedule;
use super::starts::fail_stranded;
use crate::driver::parts::state::State;
use crate::protocol::error::Error;
use crate::protocol::resources::{ONE, Resources};

/// More workers. What waited for them can go on.
///
/// # Errors
/// More labels than there can be.
pub(crate) fn add_workers(
    state: &mut State,
    group: &str,
    count: usize,
    resources: &Resources,
) -> Result<(), Error> {
    let (scheduler, used) = state.scheduler_and_used();
    let cpus = scheduler.add_workers(group, count, resources, used)?;
    // As many as can be at work without asking for less than a cpu each.
    let base = (cpus / ONE).clamp(1, machine::allowed_cpus().len().max(1) as i64);
    for _ in 0..count {
        state.processes.add_worker(base as usize);
    }
    state.processes.fill_up_evenly(&mut state.effects);
    schedule(state);
    Ok(())
}

/// What a placement group has reserved is given back, and what only it could run fails.
pub(crate) fn remove_group(state: &mut State, id: u64) {
    if state.scheduler.remove_group(id) {
        state.effects.changed = true;
        fail_stranded(state);
        schedule(state);
    }
}

pub(crate) fn check_group(group: &str) -> Result<(), Error> {
    if group.is_empty() || group.contains('/') {
        return Err(Error::Invalid(format!(
            "`{group}` is invalid as the name of a group of workers: it is empty or has a slash"
        )));
    }
    Ok(())
}
