//! Why an object is not complete, in words for people.

use super::acting::actor_state;
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::{Index, Phase};
use crate::protocol::cell;
use crate::protocol::pending::Pending;

/// Why an object is not complete.
pub(crate) fn pending(state: &State, index: Index) -> Pending {
    let Some(task) = state.objects.task(index) else { return Pending::Complete };
    match task.phase {
        Phase::Posted { place, seq } => {
            let worker = state.worker_name(place);
            match state.processes.look(place, seq) {
                Some(cell::Phase::Started | cell::Phase::Done) => Pending::Running { worker },
                _ => Pending::AtWorker { worker },
            }
        }
        Phase::Backoff => Pending::Retry { attempts: u32::from(task.attempt) },
        _ if task.remaining > 0 => {
            let mut upstream = task.needed().iter().copied();
            match upstream.find(|&dep| state.objects.is_pending(dep)) {
                Some(dep) => Pending::Upstream {
                    task: state.objects.at(dep).number,
                    name: state.objects.name_of(dep),
                },
                None => Pending::AtWorker { worker: "its worker".to_owned() },
            }
        }
        Phase::Finding => Pending::Cache,
        Phase::AtActor => {
            let why = task.actor.map_or_else(String::new, |(actor, _)| actor_state(state, actor));
            Pending::Actor { why }
        }
        Phase::Waiting | Phase::Queued => {
            if let Some(why) = state.scheduler.infeasible(task.class) {
                return Pending::Infeasible { why };
            }
            let demand = &state.scheduler.class(task.class).demand;
            let free = state.scheduler.workers().iter().any(|worker| worker.free.covers(demand));
            let (taken, places) = state.processes.taken();
            match (free, taken == places, state.admission.is_short()) {
                (true, _, true) => Pending::Memory,
                (true, true, _) => Pending::NoProcess { limit: places },
                _ => Pending::Resources {
                    needs: state.scheduler.describe(demand),
                    free: state.scheduler.free_text(&state.objects, &state.processes, |actor| {
                        state.actors.name(actor)
                    }),
                },
            }
        }
    }
}
