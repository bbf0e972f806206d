//! Nothing that a worker inherits can hang it: locks that other threads hold at the fork, what the
//! building thread had of its own, a stack of the wrong size.

use std::cell::Cell;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use mailring::{Executor, FailureKind, Mode, TaskOptions, WorkerId};
use testkit::{BOTH, BoxError, Done, args, config, eventually, failed_as, kill, small};

/// An executor whose body takes every lock that it can think of, and then panics.
fn takes_all() -> (Executor, mailring::Callable) {
    takes_all_and(true, 1)
}

/// The same; to find the names in a backtrace takes long.
fn takes_all_and(names: bool, workers: usize) -> (Executor, mailring::Callable) {
    let mut builder = small(Mode::Process, workers);
    let all = builder
        .register("all", move |_, _, _| {
            let text = format!("{:?}", std::env::vars_os().count());
            // SAFETY: the worker has one thread.
            unsafe { std::env::set_var("MAILRING_TEST_BODY", &text) };
            print!("");
            eprint!("");
            std::io::stdout().flush()?;
            let trace = std::backtrace::Backtrace::force_capture();
            if names {
                drop(trace.to_string());
            }
            load();
            if text.len() < 100 {
                panic!("as it should");
            }
            Ok::<(), BoxError>(())
        })
        .unwrap();
    (builder.build().unwrap(), all)
}

fn load() {
    // SAFETY: a library of the system, or none.
    unsafe {
        let math = libc::dlopen(c"libm.so.6".as_ptr(), libc::RTLD_NOW);
        if !math.is_null() {
            libc::dlclose(math);
        }
    }
}

/// The body runs to its panic, also in a replacement.
fn works(exec: &Executor, all: mailring::Callable, replaced: bool) {
    let run = || {
        let began = Instant::now();
        let ended = exec.run(|orch| orch.submit(all, args(), config()).map(drop));
        let failure = failed_as(ended, FailureKind::Panic);
        assert!(failure.message.contains("as it should"), "{failure}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    };
    run();
    if replaced {
        kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
        eventually("another one", || exec.stats().respawns == 1);
        run();
    }
}

pub(crate) fn a_panic_on_another_thread() {
    std::panic::set_hook(Box::new(|_| std::thread::sleep(Duration::from_millis(50))));
    let thread = std::thread::spawn(|| std::panic::catch_unwind(|| panic!("x")));
    std::thread::sleep(Duration::from_millis(10));
    let (exec, all) = takes_all();
    works(&exec, all, true);
    assert!(thread.join().unwrap().is_err());
}

/// What the program installed is called in the host, and put back by nobody.
pub(crate) fn the_hook_of_the_program_stays() {
    static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    std::panic::set_hook(Box::new(|_| _ = CALLS.fetch_add(1, SeqCst)));
    for round in 1..=3 {
        let (exec, all) = takes_all();
        works(&exec, all, false);
        let _ = std::panic::catch_unwind(|| panic!("in the host"));
        assert_eq!(CALLS.load(SeqCst), round);
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        CALLS.fetch_add(10, SeqCst);
        before(info);
    }));
    let (exec, all) = takes_all();
    works(&exec, all, true);
    let _ = std::panic::catch_unwind(|| panic!("in the host"));
    assert_eq!(CALLS.load(SeqCst), 14);
}

/// A lock that is held for a while delays the build, and for long fails it by name.
pub(crate) fn standard_error_locked_for_a_moment() {
    let thread = std::thread::spawn(|| {
        let _lock = std::io::stderr().lock();
        std::thread::sleep(Duration::from_millis(200));
    });
    std::thread::sleep(Duration::from_millis(20));
    let (exec, all) = takes_all();
    works(&exec, all, true);
    thread.join().unwrap();
}

pub(crate) fn soak_locks_that_are_never_opened() {
    let refused = |lock: &str| {
        let began = Instant::now();
        let error = small(Mode::Process, 1).build().err().expect("refused").to_string();
        println!("after {:?}: {error}", began.elapsed());
        assert!(error.contains(lock), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    };
    let error = std::io::stderr().lock();
    refused("standard error");
    drop(error);
    drop(takes_all());
    let output = std::io::stdout().lock();
    let began = Instant::now();
    let error = small(Mode::Process, 1).build().err().expect("refused").to_string();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(error.contains("standard output"), "{error}");
    drop(output);
    drop(takes_all());
}

/// Threads that take and leave what a child may need, all the time.
fn beside_busy_threads(builds: usize, workers: usize) {
    let stop = AtomicBool::new(false);
    std::panic::set_hook(Box::new(|_| ()));
    std::thread::scope(|scope| {
        let busy = |f: &'static (dyn Fn() + Sync)| {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    f();
                    // Two processors: the others are to get on.
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        };
        busy(&|| drop(std::panic::catch_unwind(|| panic!("again"))));
        busy(&|| println!("line"));
        busy(&|| eprintln!("line"));
        busy(&|| {
            drop(std::hint::black_box((1..200).map(|n| vec![1u8; n * 37]).collect::<Vec<_>>()))
        });
        // SAFETY: all others use the environment through the library, which has a lock.
        busy(&|| unsafe { std::env::set_var("MAILRING_TEST_BUSY", "1") });
        busy(&load);
        busy(&|| drop(std::hint::black_box(std::backtrace::Backtrace::force_capture())));
        busy(&|| drop(std::panic::take_hook()));
        for _ in 0..builds {
            let (exec, all) = takes_all_and(false, workers);
            works(&exec, all, false);
        }
        stop.store(true, Relaxed);
    });
}

pub(crate) fn beside_threads_that_take_every_lock() {
    beside_busy_threads(5, 1);
}

/// Ten thousand workers; `MAILRING_BUILDS=10000` for a night.
pub(crate) fn soak_many_builds_beside_such_threads() {
    const WORKERS: usize = 100;
    let builds = std::env::var("MAILRING_BUILDS").ok().and_then(|text| text.parse().ok());
    // A thread takes the hook away all the time, and the usual one would print what panics say.
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
    beside_busy_threads(builds.unwrap_or(10_000 / WORKERS), WORKERS);
}

/// Threads that were there before are named on standard error, once.
pub(crate) fn other_threads_are_named() {
    let run = |quiet: bool| {
        let mut role = testkit::harness::again("role::host_with_threads");
        if quiet {
            role.env("MAILRING_QUIET", "1");
        }
        let output = role.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run(false);
    assert_eq!(said.matches("forked beside").count(), 1, "{said}");
    assert!(said.contains("1 other thread") && said.contains("a-pool-of-mine"), "{said}");
    assert_eq!(run(true), "");
}

pub(crate) fn host_with_threads() {
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let pool = std::thread::Builder::new().name("a-pool-of-mine".to_owned());
    let pool = pool.spawn(move || receive.recv()).unwrap();
    for _ in 0..2 {
        let (exec, all) = takes_all();
        drop((exec, all));
    }
    drop(send);
    assert!(pool.join().unwrap().is_err());
}

thread_local! {
    static MINE: Cell<u32> = const { Cell::new(0) };
}

pub(crate) fn thread_locals_stay_where_they_are() {
    MINE.set(7);
    let mut builder = small(Mode::Process, 1);
    let look = builder
        .register("look", |_, _, _| match MINE.get() {
            0 => Ok::<(), BoxError>(()),
            found => Err(format!("found {found}").into()),
        })
        .unwrap();
    let exec = builder.build().unwrap();
    exec.run(|orch| orch.submit(look, args(), config()).map(drop)).unwrap();
    assert_eq!(MINE.get(), 7);
}

/// How deep it went, in kilobytes.
#[inline(never)]
fn deeper(kilobytes: u64) -> u64 {
    let block = std::hint::black_box([kilobytes as u8; 1024]);
    if kilobytes == 0 { 0 } else { deeper(kilobytes - 1) + u64::from(block[3] & 1) }
}

pub(crate) fn a_stack_as_large_as_it_is_told() {
    for mode in BOTH {
        let mut builder = small(mode, 1).stack_size(100 << 20);
        let deep = builder
            .register("deep", |_, _, _| {
                std::hint::black_box(deeper(40 << 10));
                Done::Ok(())
            })
            .unwrap();
        // The thread that builds has a small one.
        let built = std::thread::Builder::new().stack_size(200 << 10);
        let exec = built.spawn(move || builder.build().unwrap()).unwrap().join().unwrap();
        exec.run(|orch| orch.submit(deep, args(), config()).map(drop)).unwrap();
    }
}

pub(crate) fn an_overflow_is_named() {
    let mut builder = small(Mode::Process, 1).stack_size(1 << 20);
    let deep = builder
        .register("deep", |args, _, _| {
            std::hint::black_box(deeper(args.scalar(0)?));
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let run = |kilobytes| {
        exec.run(|orch| {
            let there = TaskOptions::new().on(WorkerId(0));
            orch.submit_with(deep, args().scalar(kilobytes), config(), &there).map(drop)
        })
    };
    run(200).unwrap();
    let failure = failed_as(run(100 << 10), FailureKind::WorkerDied);
    println!("{failure}");
    assert!(failure.message.contains("stack overflowed"), "{failure}");
    assert!(failure.message.contains("stack_size") && failure.message.contains("SIGABRT"));
    run(200).unwrap();
}
