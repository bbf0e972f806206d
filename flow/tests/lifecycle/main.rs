//! Flows: how tasks, workers and drivers end; actors; bodies that call nodes.

mod actor;
mod call_orders;
mod cancel;
mod children;
mod deadlocks;
mod death;
mod driver;
mod hooks;
mod nested;
mod pressure;
mod process_orders;
mod shortage;
mod signals;
mod start;
mod stray_writes;
mod subprocesses;
mod value_limits;

testkit::tests! {
    "flow::cancel" in cancel {
        queued_never_runs, a_running_body_is_told, a_sleep_ends_early,
        a_blocking_call_is_interrupted, what_is_complete_stays, force_replaces_the_worker,
        what_depends_on_it_fails, what_the_body_called_is_cancelled_too, from_inside_another_body,
        a_wait_for_a_ref_ends, never_tried_again, a_thousand_queued, many_at_once_in_any_order,
        all_of_a_flow, many_from_a_body, by_number, force_returns_when_all_are_gone,
        what_others_hold_is_not_cancelled_with_its_caller,
    }
    "flow::children" in children {
        they_end_with_every_end_of_their_caller, one_that_does_not_listen,
        a_retry_does_not_queue_behind_its_orphan, a_deep_tree_ends, what_others_hold_lives_on,
        calls_of_actors_arrive, what_the_driver_drops_goes_on, after_a_deadlock_all_is_free,
    }
    "flow::subprocesses" in subprocesses {
        a_child_gets_term, a_new_session_is_found, a_double_fork_is_found,
        a_child_of_a_helper_thread_is_found, who_ignores_term_is_killed, force_leaves_the_grace,
        a_failed_body_takes_them_with_it, a_body_that_returns_may_leave_them,
        they_go_with_their_worker, a_zombie_is_not_waited_for,
    }
    "flow::hooks" in hooks {
        all_in_order_in_one_place, a_setup_that_fails, a_body_that_fails, a_cleanup_that_fails,
        only_one_of_them, without_arguments, arguments_that_cannot_be, cancelled,
        again_after_a_death,
    }
    "flow::actor" in actor {
        state_survives_errors, ten_thousand_calls_in_order, in_order_for_each_caller,
        an_unready_argument_holds_back_its_caller_only, a_failed_argument_has_had_its_turn,
        killing, a_constructor_that_fails, its_process_dies, made_again,
        weightless_while_it_lives, held_for_life, handles_travel, a_call_that_waits_for_itself,
        deadlines_and_timeouts, cancelled_calls, restarts_are_counted_from_the_first_process,
    }
    "flow::death" in death {
        three_more_attempts, no_more_attempts, as_many_as_it_takes,
        errors_and_panics_are_no_deaths, ways_to_die, who_stands_behind_is_not_charged,
        workers_killed_at_random, a_deadline_hits_nobody_else, a_deadline_ends_a_stopped_worker,
    }
    "flow::nested" in nested {
        fifty_deep_on_one_cpu, fib_on_one_cpu, errors_come_up_with_their_root,
        errors_from_far_below_keep_their_root, a_body_and_what_waits_for_it,
        two_that_wait_for_each_other, a_label_that_the_waiter_holds, a_limit_of_processes,
        cpus_are_lent_and_no_more,
    }
    "flow::deadlocks" in deadlocks {
        a_label_that_the_caller_holds_is_found_beside_strangers,
        a_label_that_a_stranger_will_give_back, a_worker_that_may_still_come,
        a_label_that_an_actor_holds, a_label_that_a_group_holds, too_deep_for_the_processes,
        a_wait_with_a_timeout_is_left_alone,
    }
    "flow::pressure" in pressure {
        who_uses_values_goes_before_who_makes_them, all_that_make_values_were_called_first,
        chains_of_values_and_little_memory, diamonds_of_values_and_little_memory,
        fan_ins_as_large_as_the_memory, the_driver_takes_values_one_by_one,
        bodies_that_make_values_and_wait, blocks_fill_the_memory, a_full_spill_disk_is_waited_for,
        memory_that_can_never_be_enough, memory_that_the_driver_holds,
        a_thousand_parents_of_one_leaf, breadth_below_a_body,
        breadth_with_priorities_and_without_cpus, breadth_with_an_actor_and_little_memory,
        breadth_and_sets, soak_the_end_of_a_thousand_that_wait,
        soak_two_gigabytes_through_little_memory,
    }
    "flow::driver" in driver {
        killed, exits_without_dropping, dropped_in_the_middle, the_fork_server_dies,
        a_forked_child_has_no_flow, two_flows_side_by_side, a_flow_inside_a_body,
        building_again_and_again, idle_costs_nothing,
    }
    "flow::death" in stray_writes { rubbish_from_a_worker, soak_rubbish_from_a_worker }
    "flow::driver" in signals {
        interrupted, terminated, interrupted_with_two_flows,
        interrupted_after_another_was_dropped, a_second_one_does_not_wait, own_handlers_stay,
    }
    "flow::call_orders" in call_orders {
        many_calls_in_a_method_leave_values_alone, many_calls_in_a_method_leave_blocks_alone,
        who_stood_behind_a_waiting_body_ends, who_stood_behind_a_cancelled_producer_is_cancelled,
        a_value_does_not_wait_for_who_stands_behind, retries_go_on_while_nobody_looks,
        a_failure_above_300_000_calls_of_an_actor, a_body_that_waits_for_a_chain_of_300_000,
    }
    "flow::process_orders" in process_orders {
        an_actor_whose_process_dies_in_the_constructor,
        actors_that_are_killed_while_they_are_made,
        a_deadline_of_a_call_that_stood_behind_another,
        an_actor_outlives_the_forced_cancel_of_its_caller, an_actor_of_another_flow_is_refused,
        a_worker_of_two_cpus_leaves_processes_to_others,
        a_cancel_spares_what_the_next_task_starts, a_cancel_lists_what_was_ended,
        processes_again_and_again_and_a_cancel, processes_again_and_again_and_a_forced_cancel,
        processes_again_and_again_and_the_end_of_the_flow, a_body_that_waits_for_workers_to_come,
        times_without_an_end, a_timeout_in_a_thread_that_a_body_has_left,
        terminated_while_a_flow_is_dropped,
    }
    "flow::value_limits" in value_limits {
        errors_of_any_length_reach_a_body, a_body_gets_sixty_values_at_once,
        arguments_that_find_no_room_end, a_gather_larger_than_the_memory_ends_at_once,
        new_blocks_are_zeroed, a_panic_while_a_block_is_filled_leaks_nothing,
        a_view_outlives_what_is_given_up, nodes_of_one_name_are_told_apart,
        a_ref_encoded_outside_of_a_call_is_not_kept,
    }
    "flow::shortage" in shortage {
        a_replacement_that_cannot_be_handed_over, a_flow_without_descriptors,
        a_storm_of_kills_is_survived, soak_no_fork_for_a_while,
    }
    "flow::start" in start {
        a_panic_on_another_thread, pidfds_are_not_permitted, pidfds_are_unknown,
        signals_by_pidfd_are_not_permitted, soak_a_stopped_worker_where_pidfds_are_not_permitted,
        the_fork_server_is_stopped, the_fork_server_is_no_child, a_driver_to_which_orphans_come,
        an_overflow_is_named, terminated_as_the_first_process,
        terminated_as_the_first_process_without_its_proc,
    }
    "role" in start { first_process }
    "role" in driver { host_to_be_killed, host_that_exits }
    "role" in signals {
        host_to_be_told, host_with_two_flows, host_that_dropped_another,
        host_with_a_stubborn_child
    }
    "role" in process_orders { host_that_is_told_while_it_drops }
}
