//! Tasks wait for what they must wait for and for nothing else; failures, cancels and deadlines
//! reach whom they must.

mod after;
mod cancel;
mod close;
mod deadlines;
mod fan;
mod handles;
mod memory_after_failures;
mod order;
mod propagation;
mod runs;
mod volume;

testkit::tests! {
    "scheduler::order" in order {
        independent_tasks_in_submission_order, a_dependent_comes_after_its_producer,
        producers_that_finish_during_wiring, urgent_goes_before_normal, pinned_to_a_worker,
        a_blocked_pinned_task_blocks_nobody, pools_do_not_block_each_other,
        wait_inside_the_closure, every_wait_strategy, a_task_starts_at_once, no_wake_up_is_lost,
        pinned_processors, readers_share_writers_wait, config_and_scalars_arrive,
    }
    "scheduler::fan" in fan {
        in_of_47_and_48, in_of_hundreds, in_of_thousands, out_of_thousands, all_to_all_layers,
        diamonds, in_from_the_past,
        readers_of_parts_in_flight, readers_of_a_part_that_failed,
    }
    "scheduler::propagation" in propagation {
        dependents_do_not_run, the_first_root_by_submission, mere_order_does_not_poison,
        overwriting_cures, from_beyond_the_window, not_into_the_next_run,
        the_smallest_root_of_two, through_fan_in_nodes, a_hundred_roots, wait_tells_the_root,
        the_closures_own_error_comes_first, a_panicking_closure_waits_for_its_tasks,
        a_root_that_still_releases_others,
    }
    "scheduler::memory_after_failures" in memory_after_failures {
        memory_of_a_failed_task_is_clean_when_allocated_again,
        outputs_over_a_failed_task_are_clean, a_buffer_made_again_in_the_same_run_is_clean,
        a_buffer_made_again_for_a_later_run_is_clean,
    }
    "scheduler::cancel" in cancel {
        a_task_that_has_not_begun, a_task_that_is_through, a_running_body_sees_it,
        a_scope_with_those_inside, a_run_from_its_handle, order_is_kept, deadline_in_a_process,
        deadline_in_a_thread, deadline_of_quick_tasks, deadline_then_another_attempt,
        bad_options_are_refused,
    }
    "scheduler::deadlines" in deadlines {
        never_hit_the_next_task_in_a_process, never_hit_the_next_task_in_a_thread,
        are_noticed_whatever_ended_before, soak_overstaying_in_processes,
        soak_overstaying_in_threads,
    }
    "scheduler::handles" in handles {
        dropping_ends_a_wait_for_a_deaf_body, dropping_ends_a_wait_for_what_never_begins,
        done_before_wait_keeps_the_failure, a_failure_outlives_its_window,
        waiting_for_a_run_frees_its_buffers, told_to_stop_and_ok_is_cancelled,
        a_cancelled_group_that_ends_well_is_cancelled,
    }
    "scheduler::runs" in runs {
        done_and_wait, a_timeout_leaves_the_run_alone, done_does_not_swallow_the_failure,
        handles_in_other_threads, many_runs_in_flight, a_later_run_waits_for_an_earlier_one,
        a_run_inside_a_run_is_refused, runs_of_two_threads_take_turns,
        the_executor_inside_a_body_is_refused, an_executor_inside_a_body,
        a_failure_that_left_the_window, an_empty_run,
    }
    "scheduler::after" in after {
        one_after_another_without_tensors, failure_travels_or_not, of_what_has_left_the_window,
        of_very_many, of_groups_and_by_groups, of_a_cancelled_one, foreign_handles_are_refused,
        random_orders, a_run_tells_whether_it_has_failed,
    }
    "scheduler::close" in close {
        waits_for_detached_runs, a_failed_run_is_told_by_its_handle,
        a_timeout_names_what_still_runs, dropping_takes_one_grace, with_a_run_still_open,
    }
    "scheduler::volume" in volume {
        ten_thousand_runs_stay_flat, many_tasks_over_one_buffer,
        soak_ten_million_tasks_over_one_buffer, outputs_flow_through_the_heap,
        a_small_window_is_enough, try_submit_gives_back, back_pressure_has_an_end,
        buffers_come_and_go,
    }
}
