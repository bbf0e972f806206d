//! Deaths at every level, and what goes with whom.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::abi::{AbiError, TaskArgs};
use mailring::{Callable, Error, Executor, FailureKind, Level, Mode, TaskOptions};
use testkit::harness::again;
use testkit::{
    atom, await_value, cell, config, eventually, failed_as, failure, is_alive, kill, parent_of,
    small,
};

const PROCESS: Mode = Mode::Process;

/// Two levels below the top: the lowest function notes its process in element 0 of its tensor, adds
/// one to element 1, and stays until element 2 is set; element 3 counts those that came through.
fn staying() -> (Executor, Callable) {
    let mut bottom = small(PROCESS, 1);
    let stay = bottom.register("stay", |args, _, context| {
        // Whatever it calls itself, it is found.
        let _ = nix::sys::prctl::set_name(c"something else");
        atom(&args, 0, 0).store(std::process::id().into(), SeqCst);
        atom(&args, 0, 1).fetch_add(1, SeqCst);
        while atom(&args, 0, 2).load(SeqCst) == 0 && !context.cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        atom(&args, 0, 3).fetch_add(1, SeqCst);
        Ok::<(), AbiError>(())
    });
    let stay = stay.unwrap();
    let hand_down = |level: &mut Level, callable| {
        let handed = level.register("hand down", move |orch, args, config, _| {
            orch.submit(callable, TaskArgs::new().inout(*args.tensor(0)?), *config).map(drop)
        });
        handed.unwrap()
    };
    let mut low = Level::new(bottom);
    let low_down = hand_down(&mut low, stay);
    let mut middle = Level::new(small(PROCESS, 0).next_level(1, low));
    let down = hand_down(&mut middle, low_down);
    let exec = small(PROCESS, 0).next_level(1, middle).build().unwrap();
    (exec, down)
}

fn dying(bottom_options: TaskOptions) -> (Executor, Callable) {
    let mut bottom = small(PROCESS, 1);
    let die = bottom.register("die", |args, _, _| {
        if atom(&args, 0, 0).fetch_add(1, SeqCst) == 0 {
            kill(std::process::id() as i32, libc::SIGKILL);
        }
        Ok::<(), AbiError>(())
    });
    let die = die.unwrap();
    let mut level = Level::new(bottom);
    let down = level.register("down", move |orch, args, config, _| {
        let args = TaskArgs::new().inout(*args.tensor(0)?);
        orch.submit_with(die, args, *config, &bottom_options).map(drop)
    });
    let down = down.unwrap();
    (small(PROCESS, 0).next_level(1, level).build().unwrap(), down)
}

pub(crate) fn a_death_below_is_an_error_above() {
    let (exec, down) = dying(TaskOptions::new());
    let count = exec.buffer::<u64>(1).unwrap();
    let run = || exec.run(|orch| orch.submit(down, TaskArgs::new().inout(&count), config()));
    let failed = failed_as(run(), FailureKind::Error);
    for words in ["in the level below", "`die`", "lost its worker", "SIGKILL"] {
        assert!(failed.message.contains(words), "{words}: {failed}");
    }
    // The level lives: it has replaced its worker.
    run().unwrap();
    assert_eq!((count.to_vec().unwrap(), exec.stats().deaths), (vec![2], 0));
}

pub(crate) fn a_death_below_heals_below() {
    let (exec, down) = dying(TaskOptions::new().retries(1).idempotent());
    let count = exec.buffer::<u64>(1).unwrap();
    exec.run(|orch| orch.submit(down, TaskArgs::new().inout(&count), config())).unwrap();
    assert_eq!((count.to_vec().unwrap(), exec.stats().deaths), (vec![2], 0));
}

/// The processes from the lowest body up to (not including) the worker of the top.
fn chain(lowest: i32, top: i32) -> Vec<i32> {
    let mut chain = vec![lowest];
    while let Some(&last) = chain.last() {
        let parent = parent_of(last);
        if parent == top || parent <= 1 {
            break;
        }
        chain.push(parent);
    }
    chain
}

pub(crate) fn a_dead_level_takes_all_below_with_it() {
    let (exec, down) = staying();
    let cells = exec.buffer::<u64>(4).unwrap();
    let (_, run) =
        exec.submit_run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config())).unwrap();
    assert!(await_value(cell(&cells, 1), 1));
    let top = exec.worker_pids()[0] as i32;
    let below = chain(cell(&cells, 0).load(SeqCst) as i32, top);
    // body, its fork server, the low level, its fork server
    assert_eq!(below.len(), 4, "{below:?}");
    kill(top, libc::SIGKILL);
    let failed = failed_as(run.wait(None), FailureKind::WorkerDied);
    assert!(failed.message.contains("a level of its own"), "{failed}");
    assert!(
        below.iter().all(|&pid| !is_alive(pid)),
        "the failure came before the end of {below:?}"
    );
    // The replacement is a whole level again.
    cell(&cells, 2).store(1, SeqCst);
    exec.run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config())).unwrap();
    assert_eq!(cells.get(3).unwrap(), 1);
}

/// The same with a retry: when it begins, nothing of the first attempt runs any more.
pub(crate) fn nothing_below_outlives_the_attempt() {
    let (exec, down) = staying();
    for round in 0..20 {
        let cells = exec.buffer::<u64>(4).unwrap();
        let options = TaskOptions::new().retries(1).idempotent();
        let (_, run) = exec
            .submit_run(|orch| {
                orch.submit_with(down, TaskArgs::new().inout(&cells), config(), &options)
            })
            .unwrap();
        assert!(await_value(cell(&cells, 1), 1));
        let first = cell(&cells, 0).load(SeqCst) as i32;
        if round % 2 == 0 {
            // Fork servers that do not see that their hosts died: somebody else must end them.
            let below = chain(first, exec.worker_pids()[0] as i32);
            kill(below[1], libc::SIGSTOP);
            kill(below[3], libc::SIGSTOP);
        }
        kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
        assert!(await_value(cell(&cells, 1), 2));
        assert!(!is_alive(first), "both attempts run");
        cell(&cells, 2).store(1, SeqCst);
        run.wait(None).unwrap();
        assert_eq!(cells.get(3).unwrap(), 1, "the first attempt came through as well");
    }
}

pub(crate) fn a_deadline_above_ends_what_is_below() {
    let (exec, down) = staying();
    let cells = exec.buffer::<u64>(4).unwrap();
    let options = TaskOptions::new().deadline(Duration::from_millis(300));
    let began = Instant::now();
    let failed =
        exec.run(|orch| orch.submit_with(down, TaskArgs::new().inout(&cells), config(), &options));
    failed_as(failed, FailureKind::Deadline);
    assert!(began.elapsed() < Duration::from_secs(10));
    let lowest = cell(&cells, 0).load(SeqCst) as i32;
    assert!(lowest != 0 && !is_alive(lowest));
    assert_eq!(cells.get(3).unwrap(), 0);
}

pub(crate) fn cancelling_above_reaches_below() {
    let (exec, down) = staying();
    let cells = exec.buffer::<u64>(4).unwrap();
    let (_, run) =
        exec.submit_run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config())).unwrap();
    assert!(await_value(cell(&cells, 1), 1));
    assert_eq!(run.cancel(), 1);
    failed_as(run.wait(Some(Duration::from_secs(20))), FailureKind::Cancelled);
    assert_eq!(cells.get(3).unwrap(), 1, "the body saw it and left by itself");
    assert_eq!(exec.stats().deaths, 0);
}

/// A level that has failed as a whole is built again.
pub(crate) fn a_fork_server_below_dies() {
    let (exec, down) = staying();
    let cells = exec.buffer::<u64>(4).unwrap();
    let (_, run) =
        exec.submit_run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config())).unwrap();
    assert!(await_value(cell(&cells, 1), 1));
    let below = chain(cell(&cells, 0).load(SeqCst) as i32, exec.worker_pids()[0] as i32);
    kill(below[3], libc::SIGKILL); // the fork server of the middle level
    let failed = failure(run.wait(Some(Duration::from_secs(20))));
    assert!(failed.message.contains("fork server process died"), "{failed}");
    eventually("the end of all below", || below.iter().all(|&pid| !is_alive(pid)));
    cell(&cells, 2).store(1, SeqCst);
    exec.run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config())).unwrap();
    assert_eq!((cells.get(3).unwrap(), exec.stats().deaths), (1, 0));
}

pub(crate) fn host_to_be_killed() {
    let (exec, down) = staying();
    let cells = exec.buffer::<u64>(4).unwrap();
    let (_, _run) =
        exec.submit_run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config())).unwrap();
    assert!(await_value(cell(&cells, 1), 1));
    let top = exec.worker_pids()[0] as i32;
    println!("{top} {}", cell(&cells, 0).load(SeqCst));
    std::thread::sleep(Duration::from_secs(60));
}

pub(crate) fn everything_goes_with_the_host() {
    let mut host = again("role::host_to_be_killed").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let mut all = chain(pids[1], pids[0]);
    all.push(pids[0]);
    assert_eq!(all.len(), 5);
    kill(host.id() as i32, libc::SIGKILL);
    host.wait().unwrap();
    let began = Instant::now();
    eventually("the end of all", || all.iter().all(|&pid| !is_alive(pid)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// What a task below forks by itself does not have the memory of the level above: it could write
/// there after its level has died.
pub(crate) fn a_forked_child_below_has_no_memory_from_above() {
    let mut bottom = small(PROCESS, 1);
    let fork = bottom.register("fork", |args, _, _| {
        let cell = atom(&args, 0, 1);
        // SAFETY: the child only writes a word and leaves; this process has one thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            cell.store(1, SeqCst);
            // SAFETY: always allowed.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: a child of ours, and a live local.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV;
        atom(&args, 0, 0).store(if killed { 2 } else { 1 }, SeqCst);
        Ok::<(), AbiError>(())
    });
    let fork = fork.unwrap();
    let mut level = Level::new(bottom);
    let down = level.register("down", move |orch, args, config, _| {
        orch.submit(fork, TaskArgs::new().inout(*args.tensor(0)?), *config).map(drop)
    });
    let down = down.unwrap();
    let exec = small(PROCESS, 0).next_level(1, level).build().unwrap();
    let cells = exec.buffer::<u64>(2).unwrap();
    exec.run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config())).unwrap();
    assert_eq!(cells.to_vec().unwrap(), [2, 0]);
}

/// A helper that a task left running belongs to its own worker: another one's death is nothing to
/// it, even if it is a fork of a worker by name and program.
pub(crate) fn helpers_of_others_live_on() {
    let mut builder = small(PROCESS, 2);
    let help = builder.register("help", |args, _, _| {
        // SAFETY: children that only sleep or leave.
        unsafe {
            if libc::fork() == 0 {
                let helper = libc::fork();
                if helper == 0 {
                    libc::sleep(600);
                }
                libc::_exit(0); // so the helper is an orphan
            }
        }
        atom(&args, 0, 0).store(u64::from(std::process::id()), SeqCst);
        Ok::<(), AbiError>(())
    });
    let help = help.unwrap();
    let exec = builder.build().unwrap();
    let cells = exec.buffer::<u64>(1).unwrap();
    let options = TaskOptions::new().on(mailring::WorkerId(0));
    exec.run(|orch| orch.submit_with(help, TaskArgs::new().inout(&cells), config(), &options))
        .unwrap();
    let pids = exec.worker_pids();
    let fork_server = parent_of(pids[0] as i32);
    let orphans = || -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let workers = exec.worker_pids();
        all.filter(|&pid: &i32| {
            is_alive(pid) && parent_of(pid) == fork_server && !workers.contains(&(pid as u32))
        })
        .collect()
    };
    eventually("the helper is an orphan", || orphans().len() == 1);
    let helper = orphans()[0];
    kill(pids[1] as i32, libc::SIGKILL);
    eventually("worker 1 is replaced", || exec.stats().respawns == 1);
    assert!(is_alive(helper));
    kill(pids[0] as i32, libc::SIGKILL);
    eventually("it goes with its own worker", || !is_alive(helper));
}

pub(crate) fn a_level_that_failed_while_idle_is_built_again() {
    let (exec, down) = staying();
    let cells = exec.buffer::<u64>(4).unwrap();
    cell(&cells, 2).store(1, SeqCst);
    let run = || exec.run(|orch| orch.submit(down, TaskArgs::new().inout(&cells), config()));
    run().unwrap();
    let below = chain(cell(&cells, 0).load(SeqCst) as i32, exec.worker_pids()[0] as i32);
    kill(below[3], libc::SIGKILL);
    eventually("the end of all below", || below.iter().all(|&pid| !is_alive(pid)));
    std::thread::sleep(Duration::from_millis(50));
    run().unwrap();
    assert_eq!((cells.get(3).unwrap(), exec.stats().deaths), (2, 0));
}

/// An executor that a body built by hand, and that outlives the one above: it is nobody's level, so no
/// task above holds what its tasks could name there.
pub(crate) fn memory_above_is_for_levels() {
    static LEFT: std::sync::Mutex<Option<(Executor, Callable)>> = std::sync::Mutex::new(None);
    let mut builder = small(Mode::Thread, 1);
    let build = builder.register("build", |_, _, _| {
        let mut below = small(Mode::Thread, 1);
        let add = below
            .register("add", |args, _, _| args.set(0, 0, args.get::<u64>(0, 0)? + 1))
            .map_err(|error| error.to_string())?;
        let exec = below.build().map_err(|error| error.to_string())?;
        *LEFT.lock().map_err(|error| error.to_string())? = Some((exec, add));
        Ok::<(), String>(())
    });
    let build = build.unwrap();
    let exec = builder.build().unwrap();
    exec.run(|orch| orch.submit(build, TaskArgs::new(), config())).unwrap();
    let cells = exec.buffer::<u64>(1).unwrap();
    let tensor = cells.tensor();
    drop(cells);
    drop(exec);
    let (left, add) = LEFT.lock().unwrap().take().unwrap();
    for _ in 0..3 {
        let named = left.run(|orch| orch.submit(add, TaskArgs::new().inout(tensor), config()));
        assert!(matches!(named, Err(Error::UnknownAddress { .. })), "{named:?}");
    }
}
