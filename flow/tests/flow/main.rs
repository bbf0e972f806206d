//! Flows: calls, refs, options, values, waits; what a task knows of itself and prints; random flows.

mod bookkeeping;
mod bypass;
mod cache;
mod chain;
mod composition;
mod fairness;
mod foreign_refs;
mod get;
mod groups;
mod in_process;
mod leases;
mod live;
mod memory;
mod modes;
mod options;
mod output;
mod profile;
mod progress;
mod random;
mod shapes;
mod stuck;
mod task_information;
mod values;
mod wait;

testkit::tests! {
    "flow::modes" in modes {
        a_local_call_runs_here, a_remote_call_runs_on_a_worker, blocking_is_remote_and_get,
        a_direct_call_in_a_body_runs_in_the_body, a_receiver_is_a_copy,
        a_receiver_by_value_and_none, the_functional_form, a_call_by_name,
        unknown_names_are_no_nodes, wrong_bytes_by_name_are_refused, all_kinds_of_arguments,
        all_kinds_of_values, names_of_nodes, nodes_inside_of_functions,
    }
    "flow::chain" in chain {
        refs_and_values_by_position, a_diamond, a_value_for_many_is_computed_once, a_long_chain,
        what_is_below_a_failure_does_not_run, a_failure_does_not_wait_for_other_arguments,
        what_is_below_a_cancelled_task_does_not_run, refs_inside_arrive_as_refs,
        refs_inside_of_structs, a_failure_inside_keeps_its_root, a_body_returns_refs,
        gathered_values, gathered_with_a_failure, a_receiver_by_ref,
        independent_tasks_run_at_the_same_time,
    }
    "flow::live" in live { what_runs_and_what_waits, names_that_cannot_be }
    "flow::options" in options {
        resources_are_one_option, cleared_resources, a_handle_is_used_again_and_changes_nothing,
        spread_uses_all_workers, a_named_worker_and_a_group, a_name_that_no_worker_has,
        higher_priorities_come_first, a_display_name_is_what_is_read, quantities_that_cannot_be,
        a_deadline_of_nothing, flows_that_cannot_be, what_is_for_the_driver_only,
        what_can_never_run_is_refused_at_once, waiting_for_a_worker_that_is_not_there_yet,
        an_infeasible_task_can_be_cancelled, deadline_and_priority_of_a_node,
    }
    "flow::options::leases" in leases {
        ten_tenths_are_one_cpu, labels_are_held_on_one_worker,
        a_task_without_cpus_runs_beside_others, resources_come_back_however_a_task_ends,
        errors_are_not_tried_again, errors_of_one_type_are_tried_again,
        errors_of_other_types_are_not, any_error_is_tried_again,
        what_waits_for_its_next_attempt_holds_nothing,
    }
    "flow::options::groups" in groups {
        pack_and_strict_pack, pack_takes_the_worker_that_holds_it_all, spread_and_strict_spread,
        the_order_of_bundles_does_not_matter, groups_that_can_never_be,
        tasks_run_in_the_bundle_that_they_name, bundles_that_are_too_small_or_not_there,
        what_is_reserved_is_not_for_others, a_group_waits_until_all_of_it_is_free,
        a_group_waits_for_another_that_is_dropped, a_group_waits_for_workers_to_come,
        a_dropped_group_gives_back, tasks_of_a_dropped_group, a_group_of_another_flow,
    }
    "flow::fairness" in fairness {
        a_big_task_beside_many_small_ones, a_label_and_cpus,
        a_placement_group_beside_many_small_ones, an_actor_that_needs_all_cpus,
        short_tasks_that_stand_behind_each_other, the_calls_of_a_holder_go_on,
        what_a_holder_waits_for_goes_on,
    }
    "flow::bookkeeping" in bookkeeping {
        priorities_take_nothing, placement_groups_take_nothing,
        labels_that_nobody_has_are_not_entered, labels_that_are_waited_for_come_and_go,
    }
    "flow::get" in get {
        a_list_is_in_its_order, an_empty_list, a_failure_in_a_list_does_not_wait,
        a_failure_far_behind_in_a_list_does_not_wait_either, a_timeout_of_zero_looks,
        a_timeout_and_then_the_value, ready_or_not, with_a_callback, as_often_as_one_likes,
        from_many_threads_at_once, an_error_keeps_its_type, an_error_keeps_its_causes,
        errors_of_other_types, an_error_of_any_length, a_panic_says_where, values_in_place,
        a_large_value_is_not_copied_by_views,
    }
    "flow::values" in values {
        all_sizes, the_last_ref_frees, a_worker_keeps_a_ref_and_lets_it_go,
        a_worker_that_keeps_a_ref_dies, an_actor_that_keeps_refs_ends, one_value_for_many_calls,
        freed_values_are_lost, an_argument_that_cannot_be_encoded,
        a_result_that_cannot_be_encoded,
    }
    "flow::values::memory" in memory {
        a_shared_block_is_there_once, shared_blocks_of_all_kinds, too_large_for_the_memory,
        a_memory_that_is_held_is_said_to_be, what_does_not_fit_is_spilled,
        too_large_for_the_spill, more_results_than_memory,
        results_in_order_while_the_first_is_slow, small_values_of_many_workers_take_little,
    }
    "flow::values::foreign_refs" in foreign_refs {
        refs_of_a_flow_that_was_dropped, a_value_that_was_there_when_the_flow_was_dropped,
        a_ref_of_one_flow_is_nothing_to_another, refs_inside_of_values_of_two_flows,
    }
    "flow::values::shapes" in shapes {
        fields_that_are_skipped_arrive_as_they_are,
        variants_that_are_told_apart_by_what_is_in_them, an_option_in_an_option,
        what_would_not_arrive_is_refused_by_name, a_result_that_would_not_arrive,
        an_actor_takes_and_gives_structs, arguments_are_lent_where_they_are,
        values_of_nodes_are_lent_where_they_are, texts_and_paths_are_lent, paths_that_are_no_text,
        arrays_of_numbers, views_of_numbers, numbers_as_fast_as_a_shared_block,
        gathered_values_of_all_forms, refs_are_no_data, shared_blocks_are_no_data,
        actors_are_no_data, bytes_from_outside_name_no_refs, the_words_of_serde_are_kept,
        refs_as_keys,
    }
    "flow::wait" in wait {
        defaults, parameters_that_cannot_be, nothing_to_wait_for, at_most_so_many_in_order,
        both_lists_keep_their_order, a_timeout_returns_what_is_there, a_body_waits,
        a_hundred_thousand_refs_one_at_a_time, a_hundred_thousand_tracked_refs,
        a_set_with_a_timeout, a_set_and_what_cannot_be,
    }
    "flow::wait::stuck" in stuck {
        stuck_tasks_are_submitted_again, as_often_as_max_retries_says,
        stuck_tasks_are_cancelled_if_asked_for, an_error_of_the_resubmission,
        no_pending_timeout_no_stuck_task, a_task_is_not_stuck_before_its_time,
        what_runs_or_waits_for_others_is_not_stuck, without_room_it_is_not_stuck,
        a_busy_flow_is_not_stuck, what_no_worker_has_is_not_stuck, others_that_want_the_same,
        progress_is_waited_for, without_progress_it_returns,
    }
    "flow::in_process" in in_process {
        no_process_is_made, values_of_all_sizes_and_chains, nested_twenty_deep_on_one_cpu,
        a_hundred_parents_with_leaves, refs_go_between_threads, errors_and_panics,
        hooks_run_on_the_same_thread, actors_keep_their_state, a_body_is_told_of_a_cancel,
        a_forced_cancel_gives_a_stuck_body_up, a_deadline_fails_the_call_at_once,
        a_drop_leaves_a_stuck_body_to_itself, sets_of_refs_and_labels, beside_a_flow_of_processes,
    }
    "flow::task_information" in task_information {
        it_knows_where_it_runs, two_workers_of_a_group_differ, names_and_tags, in_hooks_and_actors,
        inside_of_another,
    }
    "flow::output" in output {
        names_stand_in_front, an_error_has_the_last_lines, nothing_is_lost_of_much,
    }
    "flow::profile" in profile {
        a_call_from_the_first_to_the_last_line, edges_are_those_of_refs, why_a_call_waits,
        what_is_said_of_calls, failures_and_retries, setup_is_told_apart,
        actors_and_calls_of_bodies, runs_are_appended, long_calls_stand_there_while_they_run,
        many_calls_and_none_is_lost, in_process,
    }
    "flow::cache" in cache {
        a_result_is_stored_when_its_task_completes, only_what_the_file_says_is_stored,
        values_of_all_sizes_come_back, any_tag_will_do, what_names_refs_is_not_stored,
        a_cached_ref_is_a_ref_like_any_other, a_store_that_fails_is_not_the_calls_failure,
        a_directory_that_is_read_only, a_full_disk, what_is_served_has_the_same_arguments,
        an_entry_with_a_tag_is_served_to_its_own_call_alone, refs_count_by_their_values,
        a_value_that_is_in_memory_is_served_from_there, calls_of_bodies_are_stored_and_served,
        a_receiver_counts, files_count_by_their_content,
        a_file_that_changes_meanwhile_spoils_nothing, a_call_that_is_looked_for_can_be_cancelled,
        a_driver_that_is_killed_leaves_whole_entries,
        a_profile_says_what_was_served_and_bypassed, local_calls_take_part,
    }
    "flow::bypass" in bypass {
        a_provider_runs_in_place_of_the_function, it_is_scheduled_like_the_function,
        a_data_file_gives_the_value, tags_decide_and_conditions_after_them,
        errors_come_where_they_happen,
        a_qualified_name_goes_before_a_bare_one_for_each_setting,
        calls_of_bodies_have_the_configuration_of_their_call,
        a_body_that_runs_keeps_the_configuration_of_its_call,
        methods_of_actors_run_and_what_they_call_may_not, cold_and_then_warm,
        what_a_provider_says_is_stored_but_never_served, a_file_that_is_wrong_says_where,
        threads_in_place_of_processes,
    }
    "role" in cache { cache_writer }
    "flow::profile::progress" in progress {
        what_a_report_says, beside_a_log, nothing_is_drawn_without_a_terminal, on_a_terminal,
    }
    "flow::composition" in composition { each_alone_and_all_pairs, all_at_once }
    "role" in progress { host_with_progress }
    "role" in output { host_with_prefixes, host_that_captures, host_with_much_output }
    "flow_random" in random {
        random_flows_agree_with_a_sequential_run, soak_random_flows, they_do_while_workers_die,
    }
}
