//! A run that was recorded, replayed: order against what comes before, beside and after it, memory,
//! scalars, failures, and what is refused.

mod failures;
mod memory;
mod order;
mod refuse;
mod typed;

testkit::tests! {
    "replay::order" in order {
        after_what_came_before, before_what_comes_after, readers_outside_are_waited_for,
        replays_follow_each_other, across_runs, larger_than_the_window, more_producers_than_bits,
        a_task_of_hundreds_of_outside_producers, after_another_task, handles_of_a_replay,
        groups_meet, options_arrive,
    }
    "replay::memory" in memory {
        another_buffer, parts_keep_their_places, a_slab_for_a_buffer, two_buffers_swapped,
        scalars_of_tasks_and_members, allocated_outputs, outputs_of_scopes_are_given_back,
        what_was_allocated_is_named_afterwards, an_imported_buffer, buffers_are_free_afterwards,
    }
    "replay::failures" in failures {
        a_failure_reaches_dependents, and_no_later_replay, a_failure_before_the_replay,
        a_cancelled_replay, a_worker_that_dies_is_tried_again, a_replay_that_stops_halfway,
        a_failed_run_is_no_recording, a_closure_that_panics_records_nothing,
    }
    "replay::refuse" in refuse {
        another_executor, bindings_of_another_recording, while_recording, a_recording_in_the_middle,
        unknown_bindings, too_short, overlapping_in_new_ways, readers_may_overlap,
        a_dropped_buffer, memory_of_a_closed_scope, guarded_buffers, tasks_and_scalars,
        nothing_is_held_after_an_error,
    }
    "replay::typed" in typed {
        rebound, element_types, views, imported_memory, bodies_are_checked_as_ever,
    }
}
