//! The C interface: programs in C and C++ against the installed library and header, the examples,
//! the exported names, and, in the fault tier, all of it once more under valgrind.

mod library;
mod programs;
mod symbols;

use std::process::ExitCode;
use testkit::harness::{self, Test};

const TESTS: &[Test] = &[
    Test { name: "ffi::misuse_is_refused", body: programs::misuse },
    Test { name: "ffi::structures_and_sizes", body: programs::structs },
    Test { name: "ffi::structures_in_cpp", body: programs::structs_in_cpp },
    Test { name: "ffi::linked_statically", body: programs::structs_static },
    Test { name: "ffi::parts", body: programs::parts },
    Test { name: "ffi::tasks", body: programs::tasks },
    Test { name: "ffi::chips_from_c", body: programs::chips },
    Test { name: "ffi::log_destructors_memory", body: programs::around },
    Test { name: "ffi::waits_and_closes", body: programs::waits },
    Test { name: "ffi::submits_with_arrays", body: programs::submit },
    Test { name: "ffi::replays", body: programs::replay },
    Test { name: "ffi::wrong_constants_do_not_compile", body: programs::wrong_constants },
    Test { name: "ffi::threads", body: programs::threads },
    Test { name: "ffi::a_forked_child", body: programs::child },
    Test { name: "ffi::cpp_exceptions", body: programs::throws },
    Test { name: "ffi::the_header_stands_alone", body: programs::header_alone },
    Test { name: "ffi::examples_run", body: programs::examples },
    Test { name: "ffi::a_project_of_cmake", body: programs::cmake },
    Test { name: "ffi::installing_again_changes_nothing", body: programs::install_again },
    Test { name: "ffi::exported_is_what_is_declared", body: symbols::same_names },
    Test { name: "ffi::every_function_is_misused", body: symbols::all_misused },
    Test { name: "ffi::soak_valgrind_misuse", body: programs::misuse_checked },
    Test { name: "ffi::soak_valgrind_structs", body: programs::structs_checked },
    Test { name: "ffi::soak_valgrind_parts", body: programs::parts_checked },
    Test { name: "ffi::soak_valgrind_tasks", body: programs::tasks_checked },
    Test { name: "ffi::soak_valgrind_submits", body: programs::submit_checked },
    Test { name: "ffi::soak_valgrind_threads", body: programs::threads_checked },
    Test { name: "ffi::soak_valgrind_cpp_exceptions", body: programs::throws_checked },
];

fn main() -> ExitCode {
    // Built before any test, since a test has less time than a build takes; and only if one of
    // these tests is to run, since every test command starts this program.
    if harness::is_one_test() {
        return harness::run(TESTS);
    }
    if harness::chosen(TESTS)
        && let Err(why) = library::build()
    {
        eprintln!("libmailring could not be built and installed:\n{why}");
        return ExitCode::from(101);
    }
    harness::run(TESTS)
}
