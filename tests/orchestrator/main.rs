//! What a submit does with its arguments, and what it refuses. A failed submit changes nothing.

mod refuse;
mod refused_submits;
mod submit;

testkit::tests! {
    "orchestrator" in submit {
        an_independent_task_is_ready, a_dependent_task_waits, a_consumed_producer_is_forgotten,
        no_dep_makes_no_edge, outputs_are_allocated_in_the_heap, inout_waits_for_its_creator,
        outputs_only_insert, members_have_their_own_arguments, a_single_task_is_no_group,
        alloc_gives_memory_of_its_own, an_alloc_flows_from_task_to_task, eight_runs_with_allocs,
        the_handle_names_outputs, empty_tensors, zero_bytes_beside_others, sub_tasks_get_arguments,
        ids_follow_each_other, no_tensor_at_all, every_data_type,
        an_output_of_the_caller_is_not_the_handles, padding_is_zero,
    }
    "orchestrator::refuse" in refuse {
        too_many_dimensions, an_unknown_dtype, sizes_that_overflow, a_tensor_after_a_scalar,
        more_arguments_than_a_descriptor_holds, addresses_of_nobody,
        null_where_nothing_is_allocated, unknown_functions, pools_without_workers,
        a_scope_end_without_begin, a_failed_submit_leaves_no_trace, buffers_that_cannot_be,
        a_slab_that_is_gone, writes_that_overlap, writes_that_do_not_overlap,
        bytes_behind_the_end, functions_of_another_executor, buffers_that_come_and_go,
    }
    "orchestrator::refused_submits" in refused_submits {
        a_failed_submit_leaves_no_mark_on_a_slab, a_failed_submit_leaves_no_mark_in_its_own_run,
        a_failed_submit_leaves_no_mark_on_a_buffer,
        an_argument_that_fills_the_ring_is_refused_at_once,
    }
}
