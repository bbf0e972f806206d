//! Groups: one node, N members, N different workers at the same time. A group larger than its pool
//! is refused, and groups and single tasks do not block each other.

mod assembling;
mod failures;
mod fairness;
mod members;
mod mixtures;
mod random;
mod repeated_deaths;

use mailring::abi::TaskArgs;
use mailring::{Callable, Error, Executor};
use testkit::config;

testkit::tests! {
    "group::members" in members {
        members_run_at_the_same_time, each_on_another_worker, index_size_and_shared_bytes,
        shared_bytes_begin_as_zeros, many_barriers, each_has_its_own_arguments, a_group_of_one,
        one_of_all_workers,
    }
    "group::assembling" in assembling {
        larger_than_the_pool_is_refused, impossible_groups_are_refused,
        two_groups_do_not_deadlock, singles_flow_past_a_waiting_group,
        singles_do_not_starve_a_group, complete_when_the_last_member_is, chains_of_groups,
        all_members_tensors_count, sub_groups_use_the_other_pool,
        outputs_of_members_are_allocated,
    }
    "group::failures" in failures {
        an_error_fails_the_group, a_panic_fails_the_group, the_others_see_cancelled,
        a_barrier_does_not_wait_for_the_failed, a_killed_member_fails_the_group,
        members_that_will_not_stop_are_killed, retried_as_a_whole,
        retried_until_there_are_no_more, poisoned_groups_do_not_run,
        a_group_poisons_its_dependents, cancelled_before_it_begins, cancelled_while_it_runs,
        a_deadline_ends_all_members, a_member_that_does_not_come_to_the_barrier,
        a_deadline_names_the_member_that_is_waited_for,
    }
    "group::repeated_deaths" in repeated_deaths {
        deaths_while_a_group_forms, a_death_in_each_of_many_attempts,
        soak_very_many_deaths_while_a_group_forms,
    }
    "group::fairness" in fairness {
        behind_endless_directed_singles, behind_endless_urgent_singles,
        singles_behind_endless_groups, soak_beside_busy_neighbours,
    }
    "group::mixtures" in mixtures { killed_at_random_moments, spinning_and_parking_workers }
    "group::random" in random {
        random_groups_and_singles, soak_random_groups_and_singles, random_groups_and_kills,
    }
}

/// One argument list for each member: the same tensor for all, the index as scalar.
fn members(count: u64, each: &TaskArgs) -> Vec<TaskArgs> {
    (0..count).map(|i| each.clone().scalar(i)).collect()
}

fn run_group(exec: &Executor, callable: Callable, all: Vec<TaskArgs>) -> Result<(), Error> {
    exec.run(|orch| orch.submit_group(callable, all, config()).map(drop))
}
