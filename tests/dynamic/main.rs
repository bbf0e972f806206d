//! What comes after the start: functions by shared object and symbol, memory by descriptor.

mod functions;
mod memory;

testkit::tests! {
    "process::dynamic::functions" in functions {
        run_in_both_modes_and_kinds, the_same_twice_is_the_same, what_was_unregistered, tasks_in_flight_still_run, refused_at_once, a_changed_file_is_refused_by_workers, a_replaced_file_is_the_new_one, its_error_has_its_words, a_group_of_c, a_crash_is_a_dead_worker_and_the_next_one_knows_it, the_table_fills_and_is_used_again, not_by_workers_of_ones_own, not_those_of_another_executor,
    }
    "process::dynamic::memory" in memory {
        made_after_the_start, shared_with_somebody_else, mapped_once_by_each_worker, given_back_when_dropped, addresses_are_used_again, dropped_while_tasks_run, with_snapshots_and_deaths, in_a_group, refused_at_once, many_come_and_go, a_stranger_address_in_the_window, an_empty_tensor_beside, an_idle_worker_lets_go, a_flooded_line_harms_nobody, descriptors_from_a_worker_are_not_taken, not_in_processes_of_other_executors, dropped_beside_a_submit, what_cannot_be_sealed_is_refused,
    }
}
