//! Functions registered after the start.

use std::path::{Path, PathBuf};
use std::process::Command;

use mailring::abi::TaskArgs;
use mailring::{Callable, Error, Executor, FailureKind, Mode, TaskOptions, Worker, WorkerKind};
use tempfile::TempDir;
use testkit::{BOTH, BoxError, config, failed_as, failure, small};

/// What the shared objects of these tests begin with.
const PRELUDE: &str = r#"
#include <stdint.h>
#include <stddef.h>
typedef struct { uint64_t data; uint32_t shapes[5]; uint32_t ndims; uint8_t dtype; uint8_t pad[7]; } tensor;
typedef struct { int32_t tensor_count, scalar_count; const tensor *tensors; const uint64_t *scalars; } args;
typedef struct context {
    size_t size; uint64_t task; uint32_t worker, attempt, member, members;
    int (*cancelled)(const struct context *);
    int (*barrier)(const struct context *);
    uint64_t (*load)(const struct context *, uint32_t);
    void (*store)(const struct context *, uint32_t, uint64_t);
    uint64_t (*fetch_add)(const struct context *, uint32_t, uint64_t);
    void (*fail)(const struct context *, const char *);
} context;
#define BODY(name) int name(const args *a, const void *config, const context *c, void *user)
#define CELLS ((volatile uint64_t *)(uintptr_t)a->tensors[0].data)
"#;

const ADD: &str = r"
BODY(add) { CELLS[0] += a->scalars[0]; return user != NULL; }
BODY(twice) { CELLS[0] *= 2; return 0; }
";

fn compile(directory: &Path, name: &str, source: &str) -> PathBuf {
    let (from, to) = (directory.join(format!("{name}.c")), directory.join(format!("{name}.so")));
    std::fs::write(&from, format!("{PRELUDE}{source}")).unwrap();
    let done =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&to).arg(&from).status();
    assert!(done.expect("the system's C compiler").success());
    to
}

fn register(exec: &Executor, path: &Path, symbol: &str) -> Result<Callable, Error> {
    // SAFETY: compiled above, with that signature and without initialisers.
    unsafe { exec.register_library(path, symbol) }
}

/// An executor without functions, and a directory that goes when the test ends.
fn bare(mode: Mode) -> (Executor, TempDir) {
    let exec = small(mode, 2).sub_workers(1).build().unwrap();
    (exec, tempfile::tempdir().unwrap())
}

pub(crate) fn run_in_both_modes_and_kinds() {
    for mode in BOTH {
        let (exec, directory) = bare(mode);
        let library = compile(directory.path(), "add", ADD);
        let pids = exec.worker_pids();
        let cell = exec.buffer::<u64>(1).unwrap();
        let add = register(&exec, &library, "add").unwrap();
        let twice = register(&exec, &library, "twice").unwrap();
        exec.run(|orch| {
            for _ in 0..10 {
                orch.submit(add, TaskArgs::new().inout(&cell).scalar(2), config())?;
            }
            orch.submit_sub(twice, TaskArgs::new().inout(&cell))?;
            Ok(())
        })
        .unwrap();
        assert_eq!(cell.to_vec().unwrap(), [40]);
        assert_eq!((exec.worker_pids(), exec.stats().deaths), (pids, 0), "nobody was restarted");
    }
}

pub(crate) fn the_same_twice_is_the_same() {
    let (exec, directory) = bare(Mode::Process);
    let library = compile(directory.path(), "add", ADD);
    let add = register(&exec, &library, "add").unwrap();
    assert_eq!(register(&exec, &library, "add").unwrap(), add);
    assert_ne!(register(&exec, &library, "twice").unwrap(), add);
    // By content, not by name.
    let copy = directory.path().join("copy.so");
    std::fs::copy(&library, &copy).unwrap();
    assert_eq!(register(&exec, &copy, "add").unwrap(), add);
    let link = directory.path().join("link.so");
    std::os::unix::fs::symlink(&library, &link).unwrap();
    assert_eq!(register(&exec, &link, "add").unwrap(), add);
    // When the first file is gone, its copy takes over.
    std::fs::remove_file(&library).unwrap();
    let moved = register(&exec, &copy, "add").unwrap();
    let cell = exec.buffer::<u64>(1).unwrap();
    let run = || exec.run(|o| o.submit(moved, TaskArgs::new().inout(&cell).scalar(1), config()));
    run().unwrap();
    assert_eq!(cell.to_vec().unwrap(), [1]);
}

pub(crate) fn what_was_unregistered() {
    let (exec, directory) = bare(Mode::Process);
    let library = compile(directory.path(), "add", ADD);
    let add = register(&exec, &library, "add").unwrap();
    exec.unregister(add).unwrap();
    let cell = exec.buffer::<u64>(1).unwrap();
    let run = || exec.run(|o| o.submit(add, TaskArgs::new().inout(&cell).scalar(1), config()));
    assert!(matches!(run(), Err(Error::UnknownFunction(n)) if n == add.0));
    for unknown in [add, Callable(0), Callable(u64::MAX), Callable(1 << 63)] {
        assert!(matches!(exec.unregister(unknown), Err(Error::UnknownFunction(_))));
    }
    // Again: the same function.
    assert_eq!(register(&exec, &library, "add").unwrap(), add);
    run().unwrap();
    assert_eq!(cell.to_vec().unwrap(), [1]);
}

/// A replay is refused as a whole, before anything of it runs.
pub(crate) fn a_replay_of_what_was_unregistered() {
    for mode in BOTH {
        let (exec, directory) = bare(mode);
        let library = compile(directory.path(), "add", ADD);
        let add = register(&exec, &library, "add").unwrap();
        let twice = register(&exec, &library, "twice").unwrap();
        let cell = exec.buffer::<u64>(1).unwrap();
        let (_, recording) = exec
            .record(|orch| {
                orch.submit(add, TaskArgs::new().inout(&cell).scalar(1), config())?;
                orch.submit(twice, TaskArgs::new().inout(&cell), config())
            })
            .unwrap();
        let bindings = recording.bindings();
        exec.replay(&recording, &bindings).unwrap();
        assert_eq!(cell.get(0).unwrap(), 6);
        exec.unregister(twice).unwrap();
        for _ in 0..2 {
            let refused = exec.replay(&recording, &bindings);
            assert!(matches!(refused, Err(Error::UnknownFunction(n)) if n == twice.0));
            let beside = exec.run(|orch| {
                orch.submit(add, TaskArgs::new().inout(&cell).scalar(1), config())?;
                let refused = orch.replay(&recording, &bindings);
                assert!(matches!(refused, Err(Error::UnknownFunction(_))));
                Ok(())
            });
            beside.unwrap();
        }
        assert_eq!(cell.get(0).unwrap(), 8);
        // The same function again.
        assert_eq!(register(&exec, &library, "twice").unwrap(), twice);
        exec.replay(&recording, &bindings).unwrap();
        assert_eq!(cell.get(0).unwrap(), 18);
    }
}

pub(crate) fn tasks_in_flight_still_run() {
    let (exec, directory) = bare(Mode::Process);
    let library = compile(directory.path(), "add", ADD);
    let add = register(&exec, &library, "add").unwrap();
    let cell = exec.buffer::<u64>(1).unwrap();
    exec.run(|orch| {
        for _ in 0..200 {
            orch.submit(add, TaskArgs::new().inout(&cell).scalar(1), config())?;
        }
        exec.unregister(add)
    })
    .unwrap();
    assert_eq!(cell.to_vec().unwrap(), [200]);
}

pub(crate) fn refused_at_once() {
    let (exec, directory) = bare(Mode::Process);
    let library = compile(directory.path(), "add", ADD);
    let text = directory.path().join("text");
    std::fs::write(&text, "no object").unwrap();
    let long = "x".repeat(300);
    for (path, symbol, words) in [
        (directory.path().join("none.so"), "add", "No such file"),
        (directory.path().to_owned(), "add", "not a regular file"),
        (text, "add", "it is not a shared object"),
        (library.clone(), "subtract", "it has no such symbol"),
        (library.clone(), "ad", "it has no such symbol"),
        (library.clone(), "", "a symbol 1 to 256"),
        (library.clone(), &long, "a symbol 1 to 256"),
    ] {
        let why = register(&exec, &path, symbol).unwrap_err().to_string();
        assert!(why.contains(words) && why.contains("cannot register"), "{words}: {why}");
    }
}

pub(crate) fn a_changed_file_is_refused_by_workers() {
    let (exec, directory) = bare(Mode::Process);
    let library = compile(directory.path(), "add", ADD);
    let add = register(&exec, &library, "add").unwrap();
    compile(directory.path(), "add", "BODY(add) { CELLS[0] += 1000; return 0; }");
    let cell = exec.buffer::<u64>(1).unwrap();
    let run = |add| exec.run(|o| o.submit(add, TaskArgs::new().inout(&cell).scalar(1), config()));
    let failed = failure(run(add));
    assert!(failed.message.contains("is not the file that was registered"), "{failed}");
    assert_eq!(failed.name, "add");
    let new = register(&exec, &library, "add").unwrap();
    assert_ne!(new, add);
    run(new).unwrap();
    assert_eq!(cell.to_vec().unwrap(), [1000]);
}

/// The loader of the system knows objects by name, and would give the old one.
pub(crate) fn a_replaced_file_is_the_new_one() {
    for mode in BOTH {
        let (exec, directory) = bare(mode);
        let cell = exec.buffer::<u64>(1).unwrap();
        let run = |f| exec.run(|orch| orch.submit(f, TaskArgs::new().output(&cell), config()));
        for version in 1..6u64 {
            let source = format!("BODY(version) {{ CELLS[0] = {version}; return 0; }}");
            let new = compile(directory.path(), "new", &source);
            let library = directory.path().join("library.so");
            std::fs::rename(new, &library).unwrap();
            let callable = register(&exec, &library, "version").unwrap();
            for _ in 0..8 {
                run(callable).unwrap(); // on whichever worker
                assert_eq!(cell.to_vec().unwrap(), [version]);
            }
        }
    }
}

pub(crate) fn its_error_has_its_words() {
    let (exec, directory) = bare(Mode::Process);
    let source = r#"
BODY(quiet) { return -7; }
BODY(loud) { c->fail(c, "the valve is stuck"); return 3; }
BODY(fine) { c->fail(c, "not an error after all"); return c->cancelled(c) || c->members || c->barrier(c) != -1; }
"#;
    let library = compile(directory.path(), "errors", source);
    let run = |symbol| {
        let callable = register(&exec, &library, symbol).unwrap();
        exec.run(|orch| orch.submit(callable, TaskArgs::new(), config()))
    };
    assert_eq!(failed_as(run("quiet"), FailureKind::Error).message, "it returned -7");
    let loud = failed_as(run("loud"), FailureKind::Error);
    assert_eq!(loud.message, "the valve is stuck (it returned 3)");
    run("fine").unwrap();
}

pub(crate) fn a_group_of_c() {
    for mode in BOTH {
        let (exec, directory) = bare(mode);
        let source = r"
BODY(all) {
    if (c->members != 2 || c->size < sizeof *c) return 1;
    c->store(c, c->member, c->member + 10);
    c->fetch_add(c, 7, 5);
    if (c->barrier(c) != 0) return 2;
    CELLS[0] = c->load(c, 0) + c->load(c, 1) + c->load(c, 7);
    return 0;
}";
        let library = compile(directory.path(), "group", source);
        let all = register(&exec, &library, "all").unwrap();
        let cells = exec.buffer::<u64>(2).unwrap();
        let member = |index| TaskArgs::new().output(cells.view(index, &[1]).unwrap());
        exec.run(|orch| orch.submit_group(all, vec![member(0), member(1)], config())).unwrap();
        assert_eq!(cells.to_vec().unwrap(), [31, 31]);
    }
}

pub(crate) fn a_crash_is_a_dead_worker_and_the_next_one_knows_it() {
    let (exec, directory) = bare(Mode::Process);
    let source = r"
BODY(crash) { if (CELLS[0]++ == 0) *(volatile int *)8 = 1; return 0; }";
    let library = compile(directory.path(), "crash", source);
    let crash = register(&exec, &library, "crash").unwrap();
    let cell = exec.buffer::<u64>(1).unwrap();
    let options = TaskOptions::new().retries(1).idempotent();
    let args = || TaskArgs::new().inout(&cell);
    exec.run(|orch| orch.submit_with(crash, args(), config(), &options)).unwrap();
    assert_eq!((cell.to_vec().unwrap(), exec.stats().deaths), (vec![2], 1));
    cell.set(0, 0).unwrap();
    let failed =
        failed_as(exec.run(|o| o.submit(crash, args(), config())), FailureKind::WorkerDied);
    assert!(failed.message.contains("SIGSEGV"), "{failed}");
    for _ in 0..20 {
        exec.run(|orch| orch.submit(crash, args(), config())).unwrap(); // on whichever worker
    }
}

pub(crate) fn the_table_fills_and_is_used_again() {
    let (exec, directory) = bare(Mode::Process);
    let most = mailring::limits::MAX_DYNAMIC_FUNCTIONS;
    let body = |i| format!("BODY(f{i}) {{ CELLS[0] = {i}; return 0; }}\n");
    let library = compile(directory.path(), "many", &(0..=most).map(body).collect::<String>());
    let symbol = |i: usize| format!("f{i}");
    let all: Vec<Callable> =
        (0..most).map(|i| register(&exec, &library, &symbol(i)).unwrap()).collect();
    let full = register(&exec, &library, &symbol(most)).unwrap_err().to_string();
    assert!(full.contains("512 functions are registered"), "{full}");
    let cell = exec.buffer::<u64>(1).unwrap();
    let run = |f| exec.run(|orch| orch.submit(f, TaskArgs::new().inout(&cell), config()));
    run(all[17]).unwrap();
    exec.unregister(all[17]).unwrap();
    let last = register(&exec, &library, &symbol(most)).unwrap();
    assert!(all.iter().all(|&one| one != last));
    run(last).unwrap();
    assert_eq!(cell.to_vec().unwrap(), [most as u64]);
    assert!(matches!(run(all[17]), Err(Error::UnknownFunction(_))));
    run(all[16]).unwrap();
    assert_eq!(cell.to_vec().unwrap(), [16]);
}

struct Mute;

impl Worker for Mute {
    fn run(
        &mut self,
        callable: u64,
        _: mailring::abi::TaskArgsView<'_>,
        _: &mailring::abi::CallConfig,
        _: &mailring::TaskContext<'_>,
    ) -> Result<(), BoxError> {
        Err(format!("got {callable:#x}").into())
    }
}

/// Such workers make of the number what they like.
pub(crate) fn not_by_workers_of_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let library = compile(directory.path(), "add", ADD);
    let builder =
        small(Mode::Process, 1).worker_factory(WorkerKind::NextLevel, |_| Ok(Box::new(Mute)));
    let exec = builder.build().unwrap();
    let add = register(&exec, &library, "add").unwrap();
    let failed = failure(exec.run(|orch| orch.submit(add, TaskArgs::new(), config())));
    assert_eq!(failed.message, format!("got {:#x}", add.0));
}

/// The same library, registered in two executors in the same order.
pub(crate) fn not_those_of_another_executor() {
    for mode in BOTH {
        let ((first, directory), (second, _)) = (bare(mode), bare(mode));
        let library = compile(directory.path(), "add", ADD);
        let add = register(&first, &library, "add").unwrap();
        let twice = register(&second, &library, "twice").unwrap();
        let cell = second.buffer::<u64>(1).unwrap();
        let run = |callable| {
            let args = TaskArgs::new().inout(&cell).scalar(1);
            second.run(|orch| orch.submit(callable, args, config()).map(drop))
        };
        assert!(matches!(run(add), Err(Error::UnknownFunction(n)) if n == add.0));
        assert!(matches!(second.unregister(add), Err(Error::UnknownFunction(_))));
        cell.set(0, 4).unwrap();
        run(twice).unwrap();
        assert_eq!(cell.get(0).unwrap(), 8);
    }
}
