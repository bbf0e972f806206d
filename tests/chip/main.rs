//! Workers that drive chips: the six functions of a runtime, the simulated chip, executors on it.

mod death;
mod executor;
mod kit;
mod order;
mod raw;
mod sim;
mod worker;

testkit::tests! {
    "chip::worker" in worker {
        config_has_its_defaults, begins_without_runtime_and_device, run_before_set_device,
        set_device_before_init, reset_device_is_idempotent, finalize_is_idempotent,
        nothing_after_finalize, a_missing_library_is_a_dlopen_error, init_twice, set_device_twice,
        each_missing_symbol_is_named, a_null_context, a_missing_binary_is_named,
        a_missing_simulation_context, a_context_that_is_left_out, sizes_that_cannot_be,
        set_device_fails, run_fails_with_each_code, finalize_device_fails, start_names_the_device,
        too_many_arguments, programs_have_numbers_and_names,
    }
    "chip::order" in order {
        from_load_to_unload, a_drop_finalizes, a_failed_init_is_undone,
        launch_parameters_are_passed, binaries_are_passed, the_buffer_is_zeros_each_time,
        the_callable_is_passed, arguments_are_passed, refused_arguments_touch_nothing,
        the_simulation_context_is_loaded_once,
    }
    "chip::sim" in sim {
        add, scale_by_blocks, scratch_is_device_memory, copies_follow_the_signature,
        nothing_comes_back_after_a_failure, a_task_says_what_it_is,
        binaries_are_loaded_once_a_device, everything_is_given_back, devices_are_0_to_15,
        signatures_must_fit, tensors_must_have_an_address, device_memory_has_an_end,
        launches_are_checked, binaries_must_be_loadable, launch_numbers_are_checked,
        faults_come_when_asked_for,
    }
    "chip::raw" in raw {
        null_contexts, null_and_misplaced_pointers, a_used_buffer, impossible_counts,
        spoilt_callables, devices_out_of_order, the_library_is_this_build,
    }
    "role" in raw { finder }
    "chip::executor" in executor {
        a_graph_computes, a_tree_on_three_devices, workers_have_their_devices,
        two_devices_run_at_the_same_time, a_group_on_chips, a_group_fails_with_its_member,
        codes_name_worker_and_device, dependents_of_a_failed_call_do_not_run,
        too_many_tensors_fail_the_task, unknown_callables, devices_must_make_sense,
        a_failed_start_is_an_error_of_build,
    }
    "chip::death" in death {
        a_kernel_crashes, a_runtime_crashes_or_aborts, a_retry_finds_another_device,
        a_hang_is_a_passed_deadline, a_hang_does_not_keep_the_executor,
        an_idle_chip_worker_is_replaced, slow_is_not_dead, a_failing_finalize_does_not_matter,
    }
}
