//! What once went wrong, each under a name that says how. Small executors, and bounds in seconds:
//! a fault of these shows as a hang, a wrong failure, or none at all.

mod deadlines;
mod errors;
mod groups;
mod handles;
mod propagation;
mod retired_workers;
mod submits;

use std::time::{Duration, Instant};

use mailring::abi::{CallConfig, ContinuousTensor, DataType, TaskArgsView};
use mailring::{Error, TaskContext, Worker, WorkerId};

testkit::tests! {
    "regressions::submits" in submits {
        a_failed_submit_leaves_no_mark_on_a_slab, a_failed_submit_leaves_no_mark_in_its_own_run, a_failed_submit_leaves_no_mark_on_a_buffer, an_argument_that_fills_the_ring_is_refused_at_once,
    }
    "regressions::errors" in errors {
        display_that_panics, source_that_panics, a_payload_that_is_no_text, a_payload_whose_drop_panics, a_factory_that_fails_badly, a_root_that_still_releases_others,
    }
    "regressions::retired_workers" in retired_workers {
        a_task_that_becomes_ready_later_fails, a_group_that_becomes_too_large_fails, what_is_left_goes_on, a_body_that_dies_with_its_worker, all_given_up_fails_the_run,
    }
    "regressions::handles" in handles {
        dropping_ends_a_wait_for_a_deaf_body, dropping_ends_a_wait_for_what_never_begins, done_before_wait_keeps_the_failure, a_failure_outlives_its_window, waiting_for_a_run_frees_its_buffers, told_to_stop_and_ok_is_cancelled, a_cancelled_group_that_ends_well_is_cancelled, a_child_of_the_host_is_refused, a_child_of_the_host_may_ask,
    }
    "regressions::propagation" in propagation {
        memory_of_a_failed_task_is_clean_when_allocated_again, outputs_over_a_failed_task_are_clean, a_buffer_made_again_in_the_same_run_is_clean, a_buffer_made_again_for_a_later_run_is_clean,
    }
    "regressions::deadlines" in deadlines {
        never_hit_the_next_task_in_a_process, never_hit_the_next_task_in_a_thread, are_noticed_whatever_ended_before, soak_overstaying_in_processes, soak_overstaying_in_threads,
    }
    "regressions::groups" in groups { killed_at_random_moments, spinning_and_parking_workers }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs `f`, which must not take longer than that.
#[track_caller]
fn within<R>(seconds: u64, f: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = f();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(seconds), "took {took:?}, more than {seconds} s");
    result
}

/// An output of this many KiB that the submit is to allocate.
fn new_kib(kib: u32) -> ContinuousTensor {
    ContinuousTensor::new(0, &[kib * 128], DataType::Uint64).expect("one dimension")
}

/// A worker whose factory fails when the file `broken-ID` is there. Callable 0 does nothing, 1
/// adds one to its first element, 2 waits until its first element is set, 3 kills its process.
struct Fragile;

impl Fragile {
    fn start(directory: &std::path::Path, id: WorkerId) -> Result<Box<dyn Worker>, BoxError> {
        if directory.join(format!("broken-{}", id.0)).exists() {
            return Err("the device burnt down".into());
        }
        Ok(Box::new(Self))
    }
}

impl Worker for Fragile {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        _: &CallConfig,
        _: &TaskContext<'_>,
    ) -> Result<(), BoxError> {
        match callable {
            1 => args.set::<u64>(0, 0, args.get::<u64>(0, 0)? + 1)?,
            2 if !testkit::await_value(testkit::atom(&args, 0, 0), 1) => {
                return Err("nobody opened the gate".into());
            }
            // SAFETY: passes no pointers.
            3 => _ = unsafe { libc::raise(libc::SIGKILL) },
            _ => {}
        }
        Ok(())
    }
}

fn is_no_worker_option(error: &Error) -> bool {
    matches!(error, Error::Options(why) if why.contains("retired"))
}
