//! Executors as workers of executors: results, failures and deaths through up to four levels.

mod deaths;
mod levels;

testkit::tests! {
    "nested::levels" in levels {
        two_levels_in_all_modes, three_levels_in_all_modes, four_levels_of_processes,
        a_level_sees_the_memory_above, a_slab_of_the_level_above, levels_are_used_again,
        many_tasks_on_two_levels_at_once, an_error_comes_up_with_its_words,
        a_panic_of_an_orchestration_function, an_orchestration_function_that_gives_up,
        unknown_addresses_are_unknown_below_too, names_and_numbers, a_level_that_cannot_be_built,
        only_what_the_task_above_names, memory_of_typed_tasks_above,
    }
    "nested::deaths" in deaths {
        a_death_below_is_an_error_above, a_death_below_heals_below,
        a_dead_level_takes_all_below_with_it, nothing_below_outlives_the_attempt,
        a_deadline_above_ends_what_is_below, cancelling_above_reaches_below,
        a_fork_server_below_dies, everything_goes_with_the_host,
        a_forked_child_below_has_no_memory_from_above, helpers_of_others_live_on,
        a_level_that_failed_while_idle_is_built_again, memory_above_is_for_levels,
    }
    "role" in deaths { host_to_be_killed }
}
