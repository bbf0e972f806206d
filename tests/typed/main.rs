//! Tasks with typed parameters: every form of a body and of an argument, what is refused, and random
//! programs against a sequential run. What must not compile is asserted by the documentation tests
//! of `mailring::typed`.

mod forms;
mod guards;
mod random;
mod refuse;

testkit::tests! {
    "typed" in forms {
        slices_and_scalars, no_parameters, twelve_parameters, every_scalar, every_element,
        the_context_comes_first, results_and_panics, functions_are_bodies, parts_and_shapes,
        empty_slices, arrays_of_a_scope, groups_share_what_they_read, options_and_after,
        beside_untyped_tasks, through_a_level, own_memory_of_a_file,
    }
    "typed::refuse" in refuse {
        what_overlaps, members_that_overlap, parts_that_are_not_inside, shapes_that_do_not_fit,
        memory_of_others, memory_of_a_closed_scope, functions_of_others, untyped_submits,
        compatible_hazards, imported_memory, misaligned_promises, what_is_not_ordered,
        a_refusal_leaves_no_trace, names_in_messages,
    }
    "typed::guards" in guards {
        a_task_that_is_not_through, tasks_of_every_form, readers_go_together, a_guard_that_writes,
        guards_beside_runs, behind_many_producers, a_refused_submit_is_no_use,
        imported_buffers_have_none, no_fork_beside_a_guard, a_buffer_that_outlives_its_executor,
        untyped_tasks_keep_their_word,
    }
    "typed::random" in random { programs_agree_with_a_sequential_run }
}
