//! Guards of buffers, and tasks that name the same bytes: what one has, the other is refused.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use mailring::abi::{ContinuousTensor, DataType};
use mailring::prelude::*;
use mailring::{BuildError, FailureKind};
use testkit::{BOTH, args, atom, await_value, cell, config, failed_as, small};

/// A word that all processes forked from here on share.
fn shared_word() -> &'static AtomicU64 {
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a mapping of its own, zeroed, that stays to the end of the process.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        AtomicU64::from_ptr(page.cast())
    }
}

type Reads = Task<(In<'static, u64>,)>;
type Writes = Task<(InOut<'static, u64>,)>;

struct Kit {
    exec: Executor,
    /// Wait for the word to be no longer what it was.
    look: Reads,
    hold: Writes,
    add: Writes,
    word: &'static AtomicU64,
    data: Buffer<u64>,
    other: Buffer<u64>,
}

fn wait_for(word: &AtomicU64) {
    while word.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
}

fn kit(mode: Mode) -> Kit {
    let word = shared_word();
    let mut builder = small(mode, 3);
    let look = builder.task("look", move |_x: In<u64>| wait_for(word)).unwrap();
    let hold = builder
        .task("hold", move |mut x: InOut<u64>| {
            wait_for(word);
            x.iter_mut().for_each(|x| *x += 1);
        })
        .unwrap();
    let add = builder.task("add", |mut x: InOut<u64>| x.iter_mut().for_each(|x| *x += 1)).unwrap();
    let exec = builder.build().unwrap();
    let [data, other] = [exec.buffer(8).unwrap(), exec.buffer(8).unwrap()];
    Kit { exec, look, hold, add, word, data, other }
}

#[track_caller]
fn in_use<T>(result: Result<T, Error>, by: &str) {
    match result.map(drop) {
        Err(Error::BufferInUse { name, .. }) => assert_eq!(name, by),
        other => panic!("expected a buffer in use, not {other:?}"),
    }
}

#[track_caller]
fn guarded<T>(result: Result<T, Error>, tensor: Option<usize>) {
    match result.map(drop) {
        Err(Error::BufferGuarded { tensor: found }) => assert_eq!(found, tensor),
        other => panic!("expected a guarded buffer, not {other:?}"),
    }
}

fn all_refused(data: &Buffer<u64>, by: &str) {
    in_use(data.read(), by);
    in_use(data.write(), by);
    in_use(data.get(0), by);
    in_use(data.to_vec(), by);
    in_use(data.set(0, 1), by);
    in_use(data.copy_from_slice(&[1]), by);
}

pub(crate) fn a_task_that_is_not_through() {
    for mode in BOTH {
        let Kit { exec, hold, add, word, data, other, .. } = kit(mode);
        let (_, run) = exec.submit_run(|s| s.spawn(hold, (&data,))).unwrap();
        all_refused(&data, "hold");
        let error = data.read().unwrap_err().to_string();
        assert!(error.contains("task 0 (`hold`), which is not through"), "{error}");
        // What others name is as it was, also behind the task that goes on.
        exec.run(|s| {
            let added = s.spawn(add, (&other,))?;
            s.wait(&added)?;
            assert_eq!(other.get(7)?, 1);
            other.set(0, 5)
        })
        .unwrap();
        assert_eq!(other.write().unwrap()[0], 5);
        // A part of it is all of it.
        let (_, behind) = exec.submit_run(|s| s.spawn(add, (data.part(2..3),))).unwrap();
        word.store(1, SeqCst);
        run.wait(None).unwrap();
        behind.wait(None).unwrap();
        exec.run(|s| s.spawn(add, (data.part(3..4),))).unwrap();
        assert_eq!(data.to_vec().unwrap(), [1, 1, 2, 2, 1, 1, 1, 1]);
        assert_eq!(*data.read().unwrap(), [1, 1, 2, 2, 1, 1, 1, 1]);
    }
}

/// Arguments of groups, and of tasks with a deadline or with many arguments, lie elsewhere.
pub(crate) fn tasks_of_every_form() {
    for mode in BOTH {
        let word = shared_word();
        let mut builder = small(mode, 2);
        let hold = builder
            .register("hold", move |_, _, _| {
                wait_for(word);
                Ok::<(), mailring::abi::AbiError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let [data, other] = [exec.buffer::<u64>(8).unwrap(), exec.buffer(8).unwrap()];
        let last = || args().input(&other).output(data.view(7, &[1]).unwrap());
        let options = TaskOptions::new().deadline(std::time::Duration::from_secs(60));
        let many = || (0..9).fold(args(), |args, _| args.input(&other)).input(&data);
        for form in 0..4 {
            word.store(0, SeqCst);
            let (_, run) = exec
                .submit_run(|s| match form {
                    0 => s.submit(hold, last(), config()),
                    1 => s.submit_with(hold, last(), config(), &options),
                    2 => s.submit(hold, many(), config()),
                    _ => s.submit_group(hold, vec![args().input(&other), last()], config()),
                })
                .unwrap();
            all_refused(&data, "hold");
            all_refused(&other, "hold"); // without types, whoever reads may write
            word.store(1, SeqCst);
            run.wait(None).unwrap();
            assert_eq!(data.to_vec().unwrap(), [0; 8]);
        }
    }
}

pub(crate) fn readers_go_together() {
    for mode in BOTH {
        let Kit { exec, look, add, word, data, .. } = kit(mode);
        data.write().unwrap().fill(3);
        let (_, run) = exec.submit_run(|s| s.spawn(look, (&data,))).unwrap();
        assert_eq!((data.get(0).unwrap(), data.to_vec().unwrap()), (3, vec![3; 8]));
        in_use(data.set(0, 1), "look");
        let shown = data.read().unwrap();
        // A guard that reads, and tasks that read; but none that writes.
        let (_, second) = exec.submit_run(|s| s.spawn(look, (data.part(1..),))).unwrap();
        guarded(exec.run(|s| s.spawn(add, (&data,))), Some(0));
        word.store(1, SeqCst);
        run.wait(None).unwrap();
        second.wait(None).unwrap();
        assert_eq!(shown.iter().sum::<u64>(), 24);
        guarded(data.write(), None);
        drop(shown);
        exec.run(|s| s.spawn(add, (&data,))).unwrap();
        assert_eq!(data.get(7).unwrap(), 4);
    }
}

pub(crate) fn a_guard_that_writes() {
    for mode in BOTH {
        let Kit { exec, look, add, word, data, other, .. } = kit(mode);
        word.store(1, SeqCst);
        let mut guard = data.write().unwrap();
        exec.run(|s| {
            guarded(s.spawn(look, (data.part(7..),)), Some(0));
            guarded(s.spawn_group(add, [(&other,), (&data,)]), Some(1));
            let held = s.spawn(add, (&other,))?;
            s.wait(&held)
        })
        .unwrap();
        assert_eq!(exec.stats().submitted, 1, "what was refused left no trace");
        guarded(data.read(), None);
        guarded(data.write(), None);
        guarded(data.get(0), None);
        guarded(data.set(0, 1), None);
        guard.iter_mut().zip(1..).for_each(|(x, value)| *x = value);
        drop(guard);
        exec.run(|s| s.spawn(add, (&data,))).unwrap();
        assert_eq!(*data.read().unwrap(), [2, 3, 4, 5, 6, 7, 8, 9]);
    }
}

/// Guards and runs of several threads: nobody sees or writes half of what another one does.
pub(crate) fn guards_beside_runs() {
    for mode in BOTH {
        let Kit { exec, add, data, .. } = kit(mode);
        let rounds = 300;
        let (mut runs, mut guards) = (0, 0);
        std::thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let ran = |_: &i32| match exec.run(|s| s.spawn(add, (&data,))) {
                    Ok(_) => true,
                    Err(Error::BufferGuarded { tensor: Some(0) }) => false,
                    Err(other) => panic!("{other}"),
                };
                (0..rounds).filter(ran).count() as u64
            });
            for _ in 0..rounds {
                match data.write() {
                    Ok(mut all) => {
                        assert!(all.iter().all(|&x| x == all[0]), "{all:?}");
                        all.iter_mut().for_each(|x| *x += 1);
                        guards += 1;
                    }
                    Err(Error::BufferInUse { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
                match data.to_vec() {
                    Ok(all) => assert!(all.iter().all(|&x| x == all[0]), "{all:?}"),
                    Err(Error::BufferInUse { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            runs = runner.join().unwrap();
        });
        assert_eq!(data.to_vec().unwrap(), [runs + guards; 8]);
    }
}

/// More producers than one task can name: nodes between them take numbers.
pub(crate) fn behind_many_producers() {
    for mode in BOTH {
        let word = shared_word();
        let mut builder = small(mode, 2);
        let hold = builder.task("hold", move |_: Out<u64>| wait_for(word)).unwrap();
        let all = builder.task("all", |mut x: InOut<u64>| x[0] += 1).unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(200).unwrap();
        let (_, run) = exec
            .submit_run(|s| {
                for i in 0..200 {
                    s.spawn(hold, (data.part(i..i + 1),))?;
                }
                s.spawn(all, (&data,))
            })
            .unwrap();
        in_use(data.get(0), "hold");
        word.store(1, SeqCst);
        run.wait(None).unwrap();
        assert_eq!(data.get(0).unwrap(), 1);
    }
}

/// A submit that is refused for another reason does not count as a use.
pub(crate) fn a_refused_submit_is_no_use() {
    for mode in BOTH {
        let Kit { exec, hold, word, data, other, .. } = kit(mode);
        let (_, run) = exec.submit_run(|s| s.spawn(hold, (&other,))).unwrap();
        exec.run(|s| {
            let nowhere = ContinuousTensor::new(8, &[1], DataType::Uint64)?;
            // SAFETY: it is refused.
            let nowhere = unsafe { View::of(nowhere) };
            s.spawn_group(hold, [(data.part(..),), (nowhere,)]).unwrap_err();
            assert_eq!(data.get(0)?, 0);
            data.set(0, 1)
        })
        .unwrap();
        word.store(1, SeqCst);
        run.wait(None).unwrap();
    }
}

pub(crate) fn imported_buffers_have_none() {
    for mode in BOTH {
        let exec = small(mode, 1).build().unwrap();
        let name = c"mailring-guards";
        // SAFETY: a name, and flags of the call.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_ALLOW_SEALING) };
        // SAFETY: the descriptor was made just now.
        let file = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
        let file = std::fs::File::from(file);
        file.set_len(64).unwrap();
        let data = exec.import::<u64>(file.into(), 8).unwrap();
        for error in [data.read().map(drop).unwrap_err(), data.write().map(drop).unwrap_err()] {
            assert!(error.to_string().contains("others may write"), "{error}");
        }
        data.copy_from_slice(&[1, 2]).unwrap();
        assert_eq!(data.to_vec().unwrap(), [1, 2, 0, 0, 0, 0, 0, 0]);
        let own = exec.memfd_buffer::<u64>(4).unwrap();
        own.write().unwrap()[3] = 9;
        assert_eq!(*own.read().unwrap(), [0, 0, 0, 9]);
    }
}

/// Workers would not have the memory of a slice that a body has captured.
pub(crate) fn no_fork_beside_a_guard() {
    let exec = small(Mode::Process, 1).build().unwrap();
    let data = exec.buffer::<u64>(4).unwrap();
    let guard = data.read().unwrap();
    let refused = small(Mode::Process, 1).build().map(drop);
    assert!(matches!(refused, Err(BuildError::Guarded)), "{refused:?}");
    small(Mode::Thread, 1).build().unwrap();
    drop(guard);
    small(Mode::Process, 1).build().unwrap();
}

/// What was cancelled with its executor is not waited for.
pub(crate) fn a_buffer_that_outlives_its_executor() {
    for mode in BOTH {
        let Kit { exec, hold, add, word, data, .. } = kit(mode);
        exec.submit_run(|s| {
            s.spawn(hold, (&data,))?;
            s.spawn(add, (&data,))
        })
        .unwrap();
        in_use(data.read(), "hold");
        let release = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            word.store(1, SeqCst);
        });
        drop(exec);
        assert!(data.read().unwrap()[0] <= 2);
        data.write().unwrap()[0] = 3;
        assert_eq!(data.get(0).unwrap(), 3);
        release.join().unwrap();
    }
}

/// Without types, a task beside typed ones writes where it said so, and orders what it names.
pub(crate) fn untyped_tasks_keep_their_word() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let sum = builder.task("sum", |x: In<u64>, mut y: InOut<u64>| y[0] += x[0]).unwrap();
        let set = builder.register("set", |args, _, _| args.set(0, 0, 7u64)).unwrap();
        let exec = builder.build().unwrap();
        let [data, to] = [exec.buffer::<u64>(1).unwrap(), exec.buffer(1).unwrap()];
        let failure = failed_as(
            exec.run(|s| s.submit(set, args().input(&data), config())),
            FailureKind::Error,
        );
        assert!(failure.message.contains("tensor 0 was submitted as INPUT"), "{failure}");
        for args in [args().output_existing(&data), args().inout(&data), args().output(&data)] {
            data.set(0, 0).unwrap();
            exec.run(|s| {
                s.submit(set, args, config())?;
                s.spawn(sum, (&data, &to))
            })
            .unwrap();
            assert_eq!(data.get(0).unwrap(), 7);
        }
        assert_eq!(to.get(0).unwrap(), 21);
        exec.run(|s| {
            let error = s.submit(set, args().no_dep(&data), config()).unwrap_err();
            assert!(
                error.to_string().contains("NO_DEP in an executor with typed tasks"),
                "{error}"
            );
            let group = vec![args().inout(&to), args().no_dep(&data)];
            s.submit_group(set, group, config()).unwrap_err();
            Ok(())
        })
        .unwrap();
        // Without typed tasks there is nobody to race with.
        let mut builder = small(mode, 1);
        let set = builder
            .register("set", |args, _, _| {
                args.set(0, 0, 7u64)?;
                atom(&args, 0, 1).store(1, SeqCst);
                Ok::<(), mailring::abi::AbiError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(2).unwrap();
        exec.run(|s| {
            s.submit(set, args().no_dep(&data), config())?;
            await_value(cell(&data, 1), 1);
            Ok(())
        })
        .unwrap();
        assert_eq!(data.get(0).unwrap(), 7);
    }
}
