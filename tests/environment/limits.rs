//! Limits of the process: an error names the one that was met, and nothing dies of it.

use std::os::unix::process::CommandExt;

use mailring::flow::{Flow, Resources};
use mailring::{Executor, Mode};

use testkit::flow::builder;
use testkit::harness::again;
use testkit::small;

/// Runs a role below a limit; what it says.
fn below(role: &str, resource: libc::__rlimit_resource_t, limit: u64) -> String {
    let mut command = again(role);
    // SAFETY: only a system call, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            match libc::setrlimit(resource, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}{errors}", output.status);
    said
}

#[track_caller]
fn names(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

fn say<T>(what: &str, result: Result<T, impl std::fmt::Display>) {
    match result {
        Ok(_) => println!("{what}: built"),
        Err(error) => println!("{what}: {error}"),
    }
}

fn line<'a>(said: &'a str, what: &str) -> &'a str {
    said.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {said}"))
}

pub(crate) fn host_with_small_files() {
    say("engine", small(Mode::Process, 1).heap_bytes(8 << 20).build());
    say("thread", small(Mode::Thread, 1).heap_bytes(8 << 20).build());
    say("default", Executor::builder().workers(1).build());
    say("flow", Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20).build());
    let spill = builder(1).max_processes(4).memory(1 << 20);
    say("spill", spill.spill_limited(std::env::temp_dir(), 64 << 20).build());
    let exec = small(Mode::Process, 1).heap_bytes(64 << 10).buffer_bytes(64 << 10).build().unwrap();
    say("buffer", exec.memfd_buffer::<u8>(64 << 20));
    say("less", exec.memfd_buffer::<u8>(1 << 20));
}

/// Enough for a small executor, and for little else.
const SMALL_FILES: u64 = 24 << 20;

pub(crate) fn a_file_may_not_be_so_long() {
    let said = below("role::host_with_small_files", libc::RLIMIT_FSIZE, SMALL_FILES);
    for what in ["engine", "thread", "default", "flow"] {
        let line = line(&said, what);
        names(line, &["RLIMIT_FSIZE", &SMALL_FILES.to_string(), "ulimit -f"]);
    }
}

pub(crate) fn a_spill_may_not_be_so_long() {
    let said = below("role::host_with_small_files", libc::RLIMIT_FSIZE, SMALL_FILES);
    let directory = std::env::temp_dir();
    names(line(&said, "spill"), &["RLIMIT_FSIZE", "spill", directory.to_str().unwrap()]);
}

pub(crate) fn a_buffer_may_not_be_so_long() {
    let said = below("role::host_with_small_files", libc::RLIMIT_FSIZE, SMALL_FILES);
    names(line(&said, "buffer"), &["RLIMIT_FSIZE"]);
    names(line(&said, "less"), &["built"]);
}

pub(crate) fn host_with_few_descriptors() {
    let held: Vec<_> = std::iter::repeat_with(tempfile::tempfile).map_while(Result::ok).collect();
    say("engine", small(Mode::Process, 1).build());
    say("flow", builder(1).build());
    let exec = small(Mode::Thread, 1).build();
    say("thread", exec);
    drop(held);
    say("now", small(Mode::Process, 1).build());
}

pub(crate) fn too_few_descriptors() {
    let said = below("role::host_with_few_descriptors", libc::RLIMIT_NOFILE, 32);
    for what in ["engine", "flow", "thread"] {
        names(line(&said, what), &["RLIMIT_NOFILE", "32"]);
    }
    names(line(&said, "now"), &["built"]);
}

pub(crate) fn host_with_few_addresses() {
    say("engine", small(Mode::Process, 1).buffer_bytes(3 << 30).build());
    say("flow", builder(1).memory(3 << 30).build());
    say("small", small(Mode::Process, 1).build());
}

pub(crate) fn too_few_addresses() {
    let limit = 1u64 << 30;
    let said = below("role::host_with_few_addresses", libc::RLIMIT_AS, limit);
    for what in ["engine", "flow"] {
        names(line(&said, what), &["RLIMIT_AS", &limit.to_string()]);
    }
    names(line(&said, "small"), &["built"]);
}

/// Bytes that the system says can still be used.
fn available() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

pub(crate) fn the_sum_counts() {
    let available = available();
    let sum = "together";
    // Each part alone would do.
    let both = small(Mode::Process, 1).heap_bytes(available / 8).buffer_bytes(available / 4 * 3);
    let rings = Executor::builder().workers(1).heap_bytes(available / 3);
    for (builder, word) in [(both, sum), (rings, "four heap rings")] {
        let error = builder.build().err().expect("refused").to_string();
        names(&error, &[word, "has left"]);
    }
    let error = builder(1).memory(available * 2).build().err().expect("refused").to_string();
    names(&error, &["memory of", "has left", "spill"]);
    // What was not asked for makes way.
    let one = Executor::builder().workers(1).buffer_bytes(available / 8 * 7).build();
    assert!(one.is_ok(), "{:?}", one.err());
}
