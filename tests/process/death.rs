//! A worker dies in every way there is: the run says so, and the pool goes on.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Error, FailureKind, Mode, TaskOptions, WorkerId};
use testkit::{
    Done, args, at, atom, bodies, cell, config, eventually, failed_as, is_alive, kill, parent_of,
    raise, small,
};

/// One worker of two dies in this way; the run reports it, and the next run works.
fn dies(how: fn(), says: &str) {
    let mut builder = small(Mode::Process, 2);
    let end = builder
        .register("the end", move |_args, _config, _context| {
            how();
            Done::Ok(())
        })
        .unwrap();
    let add = builder.register("add", bodies::add_one).unwrap();
    let exec = builder.build().unwrap();
    let sum = exec.buffer::<u64>(1).unwrap();
    for round in 1..=3 {
        let began = Instant::now();
        let failure = failed_as(
            exec.run(|orch| {
                orch.submit(add, args().inout(at(&sum, 0)), config())?;
                orch.submit(end, args(), config())?;
                Ok(())
            }),
            FailureKind::WorkerDied,
        );
        assert!(began.elapsed() < Duration::from_secs(10), "noticed late");
        assert_eq!(failure.name, "the end");
        assert_eq!(failure.attempt, 1);
        assert!(failure.worker.is_some_and(|w| w.0 < 2), "{failure}");
        assert!(failure.message.contains(says), "{failure}");
        exec.run(|orch| {
            (0..20)
                .try_for_each(|_| orch.submit(add, args().inout(at(&sum, 0)), config()).map(drop))
        })
        .unwrap();
        assert_eq!(sum.get(0).unwrap(), round * 21);
        assert_eq!(exec.stats().deaths, round);
        eventually("a replacement", || exec.stats().respawns == round);
    }
}

fn exit(code: i32) {
    // SAFETY: ends this process, which is what the test is about.
    unsafe { libc::_exit(code) };
}

pub(crate) fn by_sigkill() {
    dies(|| raise(libc::SIGKILL), "SIGKILL");
}

pub(crate) fn by_segfault() {
    fn touch_nothing() {
        let nowhere: *mut u64 = std::ptr::without_provenance_mut(std::hint::black_box(8));
        // SAFETY: it is not: the kernel is to end this process.
        unsafe { nowhere.write_volatile(1) };
    }
    dies(touch_nothing, "SIGSEGV");
}

pub(crate) fn by_sigabrt() {
    dies(|| raise(libc::SIGABRT), "SIGABRT");
}

pub(crate) fn by_sigterm() {
    dies(|| raise(libc::SIGTERM), "SIGTERM");
}

pub(crate) fn by_illegal_instruction() {
    dies(|| raise(libc::SIGILL), "SIGILL");
}

/// An exit without a word is a death like any other, code 0 included.
pub(crate) fn by_exit_0() {
    dies(|| exit(0), "exited with code 0");
}

pub(crate) fn by_exit_1() {
    dies(|| exit(1), "exited with code 1");
}

pub(crate) fn by_abort() {
    dies(|| std::process::abort(), "SIGABRT");
}

pub(crate) fn by_stack_overflow() {
    #[allow(unconditional_recursion, reason = "that is what is tested")]
    fn deeper(depth: u64) -> u64 {
        let block = std::hint::black_box([depth; 512]);
        deeper(depth + 1) + block[3]
    }
    dies(|| _ = std::hint::black_box(deeper(0)), "SIG");
}

/// What waits for the dead fails with it instead of waiting for ever.
pub(crate) fn dependents_of_the_dead_do_not_run() {
    let mut builder = small(Mode::Process, 2);
    let die = builder
        .register("die", |_, _, _| {
            raise(libc::SIGKILL);
            Done::Ok(())
        })
        .unwrap();
    let mark = builder
        .register("mark", |args, _, _| {
            atom(&args, 1, 0).fetch_add(1, SeqCst);
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(8).unwrap();
    let ran = exec.buffer::<u64>(2).unwrap();
    let failure = failed_as(
        exec.run(|orch| {
            orch.submit(die, args().output(at(&data, 0)), config())?;
            for _ in 0..10 {
                orch.submit(mark, args().inout(at(&data, 0)).no_dep(at(&ran, 0)), config())?;
            }
            orch.submit(mark, args().output(at(&data, 1)).no_dep(at(&ran, 1)), config())?;
            Ok(())
        }),
        FailureKind::WorkerDied,
    );
    assert_eq!(failure.name, "die");
    assert_eq!(ran.to_vec().unwrap(), [0, 1]);
}

/// Also while nothing is asked of it. The delay is measured, and bounded loosely.
pub(crate) fn an_idle_worker_is_replaced() {
    let mut builder = small(Mode::Process, 2);
    let nop = builder.register("nop", bodies::nop).unwrap();
    let exec = builder.build().unwrap();
    exec.run(|orch| orch.submit(nop, args(), config()).map(drop)).unwrap();
    let before = exec.worker_pids();
    std::thread::sleep(Duration::from_millis(30)); // both sleep by now
    let killed = Instant::now();
    kill(before[1] as i32, libc::SIGKILL);
    eventually("a new process", || {
        let now = exec.worker_pids();
        now[1] != before[1] && now[1] != 0
    });
    println!("replaced after {:?}", killed.elapsed());
    assert_eq!(exec.worker_pids()[0], before[0], "the other one stays");
    assert!(!is_alive(before[1] as i32));
    eventually("it is counted", || exec.stats().respawns == 1);
    assert_eq!(exec.stats().deaths, 1);
    assert!(exec.stats().last_death_ns > 0);
    exec.run(|orch| {
        for worker in 0..2 {
            let there = TaskOptions::new().on(WorkerId(worker));
            orch.submit_with(nop, args(), config(), &there)?;
        }
        Ok(())
    })
    .unwrap();
}

pub(crate) fn respawned_again_and_again() {
    let mut builder = small(Mode::Process, 1);
    let die = builder
        .register("die", |_, _, _| {
            raise(libc::SIGKILL);
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    for round in 1..=100 {
        let error = exec.run(|orch| orch.submit(die, args(), config()).map(drop));
        failed_as(error, FailureKind::WorkerDied);
        assert_eq!(exec.stats().deaths, round);
    }
    eventually("the last replacement", || exec.stats().respawns == 100);
}

/// One run kills each worker there is, several times over; all that is left is done.
pub(crate) fn all_workers_at_once() {
    let mut builder = small(Mode::Process, 4);
    let die = builder
        .register("die once", |args, _, context| {
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            if context.attempt() <= 2 {
                raise(libc::SIGKILL);
            }
            atom(&args, 0, 1).fetch_add(1, SeqCst);
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let count = exec.buffer::<u64>(2).unwrap();
    let options = TaskOptions::new().retries(2).idempotent();
    exec.run(|orch| {
        for _ in 0..16 {
            orch.submit_with(die, args().no_dep(count.tensor()), config(), &options)?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(count.to_vec().unwrap(), [48, 16]);
    assert_eq!(exec.stats().deaths, 32);
}

pub(crate) fn retries_are_counted() {
    let mut builder = small(Mode::Process, 2);
    let die = builder
        .register("always dies", |args, _, context| {
            atom(&args, 0, 0).fetch_max(u64::from(context.attempt()), SeqCst);
            atom(&args, 0, 1).fetch_add(1, SeqCst);
            raise(libc::SIGKILL);
            Done::Ok(())
        })
        .unwrap();
    let wrong = builder
        .register("wrong", |args, _, _| {
            atom(&args, 0, 2).fetch_add(1, SeqCst);
            Err("no")
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let count = exec.buffer::<u64>(3).unwrap();
    let options = TaskOptions::new().retries(3).idempotent().name("stubborn");
    let run = |callable| {
        exec.run(|orch| {
            orch.submit_with(callable, args().no_dep(count.tensor()), config(), &options).map(drop)
        })
    };
    let failure = failed_as(run(die), FailureKind::WorkerDied);
    assert_eq!((failure.attempt, failure.name.as_str()), (4, "stubborn"));
    assert_eq!(&count.to_vec().unwrap()[..2], [4, 4]);
    // An error of its own is final.
    let failure = failed_as(run(wrong), FailureKind::Error);
    assert_eq!(failure.attempt, 1);
    assert_eq!(count.get(2).unwrap(), 1);
}

pub(crate) fn snapshot_restores_before_the_next_attempt() {
    let mut builder = small(Mode::Process, 2);
    let body = builder
        .register("double", |args, _, context| {
            // Not idempotent: each attempt doubles some, and the first two die half way.
            for i in 0..args.elements::<u64>(0)?.1 {
                if i == 50 + context.attempt() as usize && context.attempt() < 3 {
                    raise(libc::SIGKILL);
                }
                args.set(0, i, args.get::<u64>(0, i)? * 2)?;
                args.set(1, i, args.get::<u64>(1, i)? + 5)?;
            }
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let (a, b) = (exec.buffer::<u64>(100).unwrap(), exec.buffer::<u64>(100).unwrap());
    let options = TaskOptions::new().retries(2).snapshot();
    for i in 0..100 {
        a.set(i, i as u64).unwrap();
    }
    exec.run(|orch| {
        for _ in 0..5 {
            let both = args().inout(a.tensor()).output_existing(b.tensor());
            orch.submit_with(body, both, config(), &options)?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(a.to_vec().unwrap(), (0..100).map(|i| i * 32).collect::<Vec<u64>>());
    assert_eq!(b.to_vec().unwrap(), [25; 100]);
    assert_eq!(exec.stats().deaths, 10);
}

/// Chains whose tasks die now and then in their first attempt. The ledger: each link is seen to
/// end exactly once, in order.
pub(crate) fn chained_load_loses_nothing() {
    load(8, 200, |chain, link| (chain * 200 + link) % 23 == 7);
}

pub(crate) fn independent_load_loses_nothing() {
    load(1500, 1, |chain, _| chain % 31 == 3);
}

fn load(chains: u64, links: u64, dies: fn(u64, u64) -> bool) {
    let mut builder = small(Mode::Process, 3);
    let link = builder
        .register("link", move |args, _, context| {
            let (chain, link) = (args.scalar(0)?, args.scalar(1)?);
            atom(&args, 1, chain as usize).fetch_add(1, SeqCst);
            if context.attempt() == 1 && dies(chain, link) {
                raise(libc::SIGKILL);
            }
            // Idempotent: says what the value is, rather than adding to it.
            let before = args.get::<u64>(0, 0)?;
            assert!(before == link || before == link + 1, "link {link} came after {before}");
            args.set(0, 0, link + 1)
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(chains as usize).unwrap();
    let ledger = exec.buffer::<u64>(chains as usize).unwrap();
    let options = TaskOptions::new().retries(4).idempotent();
    exec.run(|orch| {
        for at_link in 0..links {
            for chain in 0..chains {
                let tensors = args().inout(at(&data, chain as usize)).no_dep(ledger.tensor());
                let all = tensors.scalar(chain).scalar(at_link);
                orch.submit_with(link, all, config(), &options)?;
            }
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(data.to_vec().unwrap(), vec![links; chains as usize]);
    let mut deaths = 0;
    for chain in 0..chains {
        let died = (0..links).filter(|&l| dies(chain, l)).count() as u64;
        assert_eq!(ledger.get(chain as usize).unwrap(), links + died, "bodies of chain {chain}");
        deaths += died;
    }
    assert_eq!(exec.stats().deaths, deaths);
}

/// Somebody else kills workers wherever they are: in bodies, between them, while they release.
pub(crate) fn kills_from_outside_lose_nothing() {
    const CHAINS: u64 = 6;
    const LINKS: u64 = 3000;
    let mut builder = small(Mode::Process, 3);
    let link = builder
        .register("link", |args, _, _| {
            let link = args.scalar(0)?;
            let before = args.get::<u64>(0, 0)?;
            assert!(before == link || before == link + 1, "link {link} came after {before}");
            args.set(0, 0, link + 1)
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(CHAINS as usize).unwrap();
    let options = TaskOptions::new().retries(50).idempotent();
    let mut kills = 0;
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        data.copy_from_slice(&[0; CHAINS as usize]).unwrap();
        let ((), handle) = exec
            .submit_run(|orch| {
                for at_link in 0..LINKS {
                    for chain in 0..CHAINS {
                        let all = args().inout(at(&data, chain as usize)).scalar(at_link);
                        orch.submit_with(link, all, config(), &options)?;
                    }
                    if at_link % 300 == 150 {
                        let pid = exec.worker_pids()[at_link as usize / 300 % 3];
                        if pid != 0 {
                            kill(pid as i32, libc::SIGKILL);
                            kills += 1;
                        }
                    }
                }
                Ok(())
            })
            .unwrap();
        assert!(handle.wait(Some(Duration::from_secs(30))).unwrap(), "hangs");
        assert_eq!(data.to_vec().unwrap(), [LINKS; CHAINS as usize]);
    }
    println!("{kills} kills, {:?}", exec.stats());
    eventually("all deaths are seen", || exec.stats().deaths == exec.stats().respawns);
    assert!(exec.stats().deaths > 5);
}

/// Task descriptors and edges are read-only in a worker: who writes there dies, and only its task
/// fails.
pub(crate) fn a_scribbler_dies_alone() {
    let mut builder = small(Mode::Process, 2);
    let scribble = builder
        .register("scribble", |args, _, _| {
            let tensors: *const _ = args.tensors().as_ptr();
            let descriptor: *mut u8 = tensors.cast_mut().cast();
            // SAFETY: it is not: the page is read-only here, and the kernel ends this process.
            unsafe { descriptor.write_volatile(0xff) };
            Done::Ok(())
        })
        .unwrap();
    let add = builder.register("add", bodies::add_one).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(2).unwrap();
    let failure = failed_as(
        exec.run(|orch| {
            for _ in 0..50 {
                orch.submit(add, args().inout(at(&data, 0)), config())?;
            }
            orch.submit(scribble, args().inout(at(&data, 1)), config())?;
            for _ in 0..50 {
                orch.submit(add, args().inout(at(&data, 0)), config())?;
            }
            Ok(())
        }),
        FailureKind::WorkerDied,
    );
    assert!(failure.message.contains("SIGSEGV"), "{failure}");
    assert_eq!(failure.name, "scribble");
    assert_eq!(data.get(0).unwrap(), 100);
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the recipe is unreadable")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// An error is never dropped; it comes with task, worker, attempt and everything behind it.
pub(crate) fn errors_keep_their_causes() {
    for mode in testkit::BOTH {
        let mut builder = small(mode, 1);
        let read = builder
            .register("read", |_, _, _| "twelve".parse::<u64>().map(drop).map_err(Outer))
            .unwrap();
        let exec = builder.build().unwrap();
        let named = TaskOptions::new().name("recipe 12");
        let error = exec
            .run(|orch| orch.submit_with(read, args(), config(), &named).map(drop))
            .unwrap_err();
        let text = error.to_string();
        for part in ["recipe 12", "worker 0", "attempt 1", "unreadable", "invalid digit"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(error.failure().is_some());
        failed_as(Err::<(), Error>(error), FailureKind::Error);
    }
}

/// A body that panics ends neither its worker nor anything else.
pub(crate) fn a_panic_is_text() {
    for mode in testkit::BOTH {
        let mut builder = small(mode, 1);
        let fall = builder
            .register("fall", |args, _, _| {
                assert!(args.scalar(0)? != 3, "the number was {}", args.scalar(0)?);
                Done::Ok(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let before = exec.worker_pids();
        let run = |n| exec.run(|orch| orch.submit(fall, args().scalar(n), config()).map(drop));
        let failure = failed_as(run(3), FailureKind::Panic);
        assert_eq!(failure.message, "the number was 3");
        run(4).unwrap();
        assert_eq!(exec.worker_pids(), before);
        assert_eq!(exec.stats().deaths, 0);
    }
}

pub(crate) fn long_text_is_cut_at_a_character() {
    let mut builder = small(Mode::Process, 1);
    let talk = builder.register("talk", |_, _, _| Err(format!("x{}", "é".repeat(5000)))).unwrap();
    let exec = builder.build().unwrap();
    let failure = failed_as(
        exec.run(|orch| orch.submit(talk, args(), config()).map(drop)),
        FailureKind::Error,
    );
    let length = failure.message.len();
    assert!((990..=1000).contains(&length), "{length} bytes");
    assert!(failure.message.starts_with("xé") && failure.message.ends_with('é'));
}

/// Without the fork server nobody can be replaced: the run says so instead of hanging.
pub(crate) fn the_fork_server_dies() {
    let mut builder = small(Mode::Process, 2);
    let nap = builder
        .register("nap", |_, _, _| {
            std::thread::sleep(Duration::from_millis(100));
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let workers = exec.worker_pids();
    let fork_server = parent_of(workers[0] as i32);
    assert_ne!(fork_server, std::process::id() as i32);
    let error = exec
        .run(|orch| {
            for _ in 0..50 {
                orch.submit(nap, args(), config())?;
            }
            kill(fork_server, libc::SIGKILL);
            Ok(())
        })
        .unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error}");
    assert!(error.to_string().contains("fork server"), "{error}");
    eventually("workers go with it", || !workers.iter().any(|&pid| is_alive(pid as i32)));
    let error = exec.run(|_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error}");
}

/// A worker that is stopped is not dead; its deadline ends it all the same.
pub(crate) fn stopped_worker_meets_its_deadline() {
    let mut builder = small(Mode::Process, 1);
    let stop = builder
        .register("stop", |args, _, context| {
            if context.attempt() == 1 {
                raise(libc::SIGSTOP);
            }
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let count = exec.buffer::<u64>(1).unwrap();
    let once = TaskOptions::new().deadline(Duration::from_millis(50));
    let again = once.clone().retries(1).idempotent();
    let run = |options: &TaskOptions| {
        exec.run(|orch| {
            orch.submit_with(stop, args().no_dep(count.tensor()), config(), options).map(drop)
        })
    };
    failed_as(run(&once), FailureKind::Deadline);
    run(&again).unwrap();
    assert_eq!(cell(&count, 0).load(SeqCst), 1);
    let stats = exec.stats();
    assert_eq!((stats.kills, stats.deaths), (2, 2));
}
