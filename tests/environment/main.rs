//! What a worker process inherits and what it does not, and what a body and its author see of it:
//! descriptors, terminals, signals, limits, output.

mod descriptors;
mod kit;
mod limits;
mod output;
mod terminal;

testkit::tests! {
    "environment::descriptors" in descriptors {
        ours_leave_the_standard_streams_alone, standard_streams_of_workers_are_open,
        a_listening_socket_is_not_held, a_pipe_ends, what_is_kept_is_there,
        a_kept_one_must_be_open, levels_below_hold_nothing_of_ours, a_system_without_close_range,
        threads_need_none, the_host_closes_ours, a_body_closes_ours,
        ours_that_were_closed_are_not_closed_again,
    }
    "environment::terminal" in terminal {
        a_body_reads_nothing, a_subprocess_reads_nothing, signals_of_the_terminal_stop_nobody,
        an_ignored_interrupt_stays_ignored,
    }
    "environment::limits" in limits {
        a_file_may_not_be_so_long, a_spill_may_not_be_so_long, a_buffer_may_not_be_so_long,
        too_few_descriptors, too_few_addresses, the_sum_counts,
    }
    "environment::output" in output {
        text_without_a_newline_is_written, what_the_host_had_not_written_comes_once,
        a_panic_has_a_backtrace, no_backtrace_unless_asked_for, a_root_keeps_its_backtrace,
        the_engine_prints_backtraces,

    }
    "role" in output {
        host_that_prints, host_with_text_left, host_of_a_panic, engine_of_a_panic,
    }
    "role" in descriptors { without_standard_streams }
    "role" in terminal { host_at_a_terminal }
    "role" in limits { host_with_small_files, host_with_few_descriptors, host_with_few_addresses }
}
