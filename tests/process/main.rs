//! Workers, the fork server and hosts as processes: how they start, die and are replaced, what they
//! inherit, and what comes to them after the fork.

mod death;
mod dynamic_functions;
mod dynamic_memory;
mod error_text;
mod factories;
mod fork_server;
mod inherited;
mod kit;
mod life;
mod live;
mod other_processes;
mod parent;
mod processors;
mod profile;
mod retired_workers;
mod shortage;
mod stopped;
mod stray_writes;
mod without_pidfds;

testkit::tests! {
    "process::death" in death {
        by_sigkill, by_segfault, by_sigabrt, by_sigterm, by_illegal_instruction, by_exit_0,
        by_exit_1, by_abort, by_stack_overflow, dependents_of_the_dead_do_not_run,
        an_idle_worker_is_replaced, respawned_again_and_again, all_workers_at_once,
        retries_are_counted, snapshot_restores_before_the_next_attempt,
        chained_load_loses_nothing, independent_load_loses_nothing, kills_from_outside_lose_nothing,
        a_scribbler_dies_alone, errors_keep_their_causes, a_panic_is_text,
        long_text_is_cut_at_a_character, the_fork_server_dies, stopped_worker_meets_its_deadline,
    }
    "process::processors" in processors {
        more_workers_than_processors, beside_others_who_compute, bodies_run_where_they_may,
    }
    "process::profile" in profile {
        each_task_from_submit_to_end, none_of_many_is_lost_and_a_death_is_seen,
        a_log_that_cannot_be_opened,
    }
    "process::live" in live {
        what_workers_run_and_how_they_die, a_name_that_is_taken_ends_what_was_started,
        a_file_stays_and_a_child_removes_nothing,
    }
    "process::stopped" in stopped {
        asleep_with_a_task_of_its_own, with_a_lease_before_the_body, inside_a_body,
        soak_stopped_anywhere,
    }
    "process::stray_writes" in stray_writes {
        lost_queue_entries_are_found, each_word_has_an_end, a_run_that_is_polled_for_has_an_end,
        soak_here_and_there,
    }
    "process::parent" in parent {
        killed_in_the_middle_of_a_run, killed_when_idle, killed_beside_subprocesses,
        exits_without_dropping, panics_without_dropping, killed_while_building,
        killed_while_locks_are_tried, the_building_thread_may_end,
    }
    "process::other_processes" in other_processes {
        a_forked_copy_is_inert, a_child_inside_a_run_is_refused, a_child_that_leaves_the_run_and_drops_all,
        a_child_that_returns_into_the_run, a_buffer_in_a_worker_of_another_executor,
        a_child_of_a_body, a_view_of_memory_that_is_gone,
        views_of_memory_that_goes_meanwhile,
        a_view_of_memory_that_a_worker_has_not_mapped,
    }
    "process::without_pidfds" in without_pidfds {
        a_killed_worker_is_replaced, an_exit_is_noticed, kills_from_outside_lose_nothing,
        a_stopped_worker_is_killed, the_fork_server_dies, everything_goes_with_the_host,
        executors_come_and_go, a_death_beside_a_forked_child_is_noticed,
    }
    "role" in parent { busy_host, idle_host, host_with_subprocesses, exiting_host, panicking_host,
        building_host, host_with_a_lock,
    }
    "process::life" in life {
        builds_beside_a_busy_thread, descriptors_are_given_back, threads_are_given_back,
        mappings_are_given_back, idle_costs_nothing, dropped_with_running_tasks,
        dropped_with_a_body_that_will_not_stop, thread_mode_drop_waits_for_bodies,
        workers_run_at_the_same_time, two_executors_side_by_side,
        subprocesses_end_with_their_worker, stats_count, arena_name_in_maps,
        dropped_before_its_open_run,
    }
    "process::factories" in factories {
        an_error_names_the_worker, a_panic_names_the_worker, an_exit_names_the_worker,
        once_a_worker, again_for_a_replacement, only_the_sub_kind, refusing_later_gives_up,
        bad_numbers_are_refused, no_room_is_refused, a_name_twice_is_refused,
    }
    "process::shortage" in shortage {
        a_replacement_that_cannot_be_handed_over, descriptors_run_out_and_come_back,
        a_build_without_descriptors, a_storm_of_kills_is_survived, soak_no_fork_for_a_while,
        a_factory_that_crashes_ends_the_build, a_factory_that_hangs_is_named,
    }
    "process::retired_workers" in retired_workers {
        a_task_that_becomes_ready_later_fails, a_group_that_becomes_too_large_fails,
        what_is_left_goes_on, a_body_that_dies_with_its_worker, all_given_up_fails_the_run,
    }
    "process::error_text" in error_text {
        display_that_panics, source_that_panics, a_payload_that_is_no_text,
        a_payload_whose_drop_panics, a_factory_that_fails_badly,
    }
    "process::dynamic::functions" in dynamic_functions {
        run_in_both_modes_and_kinds, the_same_twice_is_the_same, what_was_unregistered,
        a_replay_of_what_was_unregistered,
        tasks_in_flight_still_run, refused_at_once, a_changed_file_is_refused_by_workers,
        a_replaced_file_is_the_new_one, its_error_has_its_words, a_group_of_c,
        a_crash_is_a_dead_worker_and_the_next_one_knows_it, the_table_fills_and_is_used_again,
        not_by_workers_of_ones_own, not_those_of_another_executor,
    }
    "process::dynamic::memory" in dynamic_memory {
        made_after_the_start, shared_with_somebody_else, mapped_once_by_each_worker,
        given_back_when_dropped, addresses_are_used_again, dropped_while_tasks_run,
        with_snapshots_and_deaths, in_a_group, refused_at_once, many_come_and_go,
        a_stranger_address_in_the_window, an_empty_tensor_beside, an_idle_worker_lets_go,
        a_flooded_line_harms_nobody, descriptors_from_a_worker_are_not_taken,
        not_in_processes_of_other_executors, dropped_beside_a_submit,
        what_cannot_be_sealed_is_refused,
    }
    "process::inherited" in inherited {
        a_panic_on_another_thread, the_hook_of_the_program_stays,
        standard_error_locked_for_a_moment, soak_locks_that_are_never_opened,
        beside_threads_that_take_every_lock, soak_many_builds_beside_such_threads,
        thread_locals_stay_where_they_are, a_stack_as_large_as_it_is_told, an_overflow_is_named,
        other_threads_are_named,
    }
    "role" in inherited { host_with_threads }
    "process::fork_server" in fork_server {
        a_host_that_waits_for_any_child, a_host_to_which_orphans_come, the_fork_server_is_stopped,
    }
}
