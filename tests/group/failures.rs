//! Members that fail, die, hang; groups that are cancelled, late, or fail with a producer.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Buffer, Callable, Error, Executor, FailureKind, Mode, TaskOptions};

use crate::run_group;
use testkit::{
    BOTH, BoxError, Done, Gate, args, at, atom, bodies, cell, config, eventually, failed_as, raise,
    small,
};

struct Failing {
    exec: Executor,
    body: Callable,
    /// 0: joined; 1: saw `cancelled`; 2: attempts; 3: through.
    state: Buffer<u64>,
}

impl Failing {
    /// Groups whose member 1 ends as `how` says, after all have begun; the others go on until they
    /// are told to stop.
    fn new(mode: Mode, how: impl Fn(u32) -> Result<(), BoxError> + Send + Sync + 'static) -> Self {
        let mut builder = small(mode, 3);
        let body = builder
            .register("body", move |args, _, context| {
                let group = context.group().expect("a member");
                atom(&args, 0, 0).fetch_add(1, SeqCst);
                group.barrier()?;
                if group.index() == 1 {
                    atom(&args, 0, 2).fetch_add(1, SeqCst);
                    how(context.attempt())?;
                    atom(&args, 0, 3).fetch_add(1, SeqCst);
                    group.store(0, 1);
                    return Ok(());
                }
                let until = Instant::now() + Duration::from_secs(20);
                while group.load(0) == 0 && Instant::now() < until {
                    if context.cancelled() {
                        atom(&args, 0, 1).fetch_add(1, SeqCst);
                        return Err("told to stop".into());
                    }
                    std::thread::sleep(Duration::from_micros(100));
                }
                atom(&args, 0, 3).fetch_add(1, SeqCst);
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let state = exec.buffer(4).unwrap();
        Self { exec, body, state }
    }

    fn run(&self, options: &TaskOptions) -> Result<(), Error> {
        self.exec.run(|orch| {
            let all = vec![args().no_dep(self.state.tensor()); 3];
            orch.submit_group_with(self.body, all, config(), options).map(drop)
        })
    }
}

pub(crate) fn an_error_fails_the_group() {
    for mode in BOTH {
        let kit = Failing::new(mode, |_| Err("the second is unwell".into()));
        for round in 1..=20 {
            let failure = failed_as(kit.run(&TaskOptions::new()), FailureKind::Error);
            assert_eq!(failure.member, Some(1), "{failure}");
            assert_eq!(failure.message, "the second is unwell");
            assert!(failure.to_string().contains("member 1"), "{failure}");
            assert_eq!(kit.state.to_vec().unwrap(), [3 * round, 2 * round, round, 0]);
        }
        assert_eq!(kit.exec.stats().deaths, 0, "members that stop when told are not killed");
    }
}

pub(crate) fn a_panic_fails_the_group() {
    for mode in BOTH {
        let kit = Failing::new(mode, |attempt| panic!("in attempt {attempt}"));
        let failure = failed_as(kit.run(&TaskOptions::new()), FailureKind::Panic);
        assert_eq!((failure.member, failure.message.as_str()), (Some(1), "in attempt 1"));
        assert_eq!(kit.exec.stats().deaths, 0);
    }
}

pub(crate) fn the_others_see_cancelled() {
    for mode in BOTH {
        let kit = Failing::new(mode, |_| Err("no".into()));
        failed_as(kit.run(&TaskOptions::new()), FailureKind::Error);
        assert_eq!(kit.state.get(1).unwrap(), 2);
        assert_eq!(kit.state.get(3).unwrap(), 0);
    }
}

pub(crate) fn a_barrier_does_not_wait_for_the_failed() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let body = builder
            .register("body", |args, _, context| {
                let group = context.group().expect("a member");
                if group.index() == 2 {
                    return Err("will not come".into());
                }
                let outcome = group.barrier();
                atom(&args, 0, 0).fetch_add(u64::from(outcome.is_err()), SeqCst);
                outcome.map_err(BoxError::from)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        for _ in 0..50 {
            let seen = exec.buffer::<u64>(1).unwrap();
            let all = vec![args().no_dep(seen.tensor()); 3];
            let failure = failed_as(run_group(&exec, body, all), FailureKind::Error);
            assert_eq!(failure.message, "will not come");
            assert_eq!(seen.get(0).unwrap(), 2);
        }
    }
}

pub(crate) fn a_killed_member_fails_the_group() {
    let kit = Failing::new(Mode::Process, |_| {
        raise(libc::SIGKILL);
        Ok(())
    });
    for round in 1..=10 {
        let began = Instant::now();
        let failure = failed_as(kit.run(&TaskOptions::new()), FailureKind::WorkerDied);
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(failure.member, Some(1), "{failure}");
        assert!(failure.message.contains("SIGKILL"), "{failure}");
        assert_eq!(kit.state.to_vec().unwrap(), [3 * round, 2 * round, round, 0]);
        assert_eq!(kit.exec.stats().deaths, round, "the others stopped when told");
    }
}

/// Deaf members are ended after the grace.
pub(crate) fn members_that_will_not_stop_are_killed() {
    for dies in [true, false] {
        let mut builder = small(Mode::Process, 3).grace(Duration::from_millis(100));
        let body = builder
            .register("body", move |_, _, context| {
                let group = context.group().expect("a member");
                group.barrier()?;
                if group.index() == 0 {
                    if dies {
                        raise(libc::SIGKILL);
                    }
                    return Err("goes first".into());
                }
                std::thread::sleep(Duration::from_secs(60));
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let began = Instant::now();
        let kind = if dies { FailureKind::WorkerDied } else { FailureKind::Error };
        let failure = failed_as(run_group(&exec, body, vec![args(); 3]), kind);
        let took = began.elapsed();
        assert_eq!(failure.member, Some(0), "{failure}");
        assert!(took >= Duration::from_millis(100), "the grace was not waited for: {took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        assert_eq!(exec.stats().kills, 2);
        run_group(&exec, nop, vec![args(); 3]).unwrap();
        assert_eq!(exec.stats().deaths, 2 + u64::from(dies));
    }
}

pub(crate) fn retried_as_a_whole() {
    let kit = Failing::new(Mode::Process, |attempt| {
        if attempt < 3 {
            raise(libc::SIGKILL);
        }
        Ok(())
    });
    let options = TaskOptions::new().retries(2).idempotent();
    for round in 1..=10 {
        kit.run(&options).unwrap();
        assert_eq!(kit.state.to_vec().unwrap(), [9 * round, 4 * round, 3 * round, 3 * round]);
        assert_eq!(kit.exec.stats().deaths, 2 * round);
    }
}

pub(crate) fn retried_until_there_are_no_more() {
    let kit = Failing::new(Mode::Process, |_| {
        raise(libc::SIGKILL);
        Ok(())
    });
    let options = TaskOptions::new().retries(2).idempotent();
    let failure = failed_as(kit.run(&options), FailureKind::WorkerDied);
    assert_eq!((failure.attempt, failure.member), (3, Some(1)));
    assert_eq!(kit.state.to_vec().unwrap(), [9, 6, 3, 0]);
    // An error of its own is final.
    let kit = Failing::new(Mode::Process, |_| Err("no".into()));
    let failure = failed_as(kit.run(&options), FailureKind::Error);
    assert_eq!(failure.attempt, 1);
}

pub(crate) fn poisoned_groups_do_not_run() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let fail = builder.register("fail", bodies::fail).unwrap();
        let body = builder.register("body", bodies::meet).unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        let data = exec.buffer::<u64>(2).unwrap();
        for _ in 0..20 {
            let failure = failed_as(
                exec.run(|orch| {
                    orch.submit(fail, args().output(at(&data, 1)), config())?;
                    let mine = || args().no_dep(count.tensor());
                    let all = vec![mine().inout(at(&data, 0)), mine().input(at(&data, 1))];
                    orch.submit_group(body, all, config())?;
                    orch.submit_group(body, vec![mine().inout(at(&data, 0)), mine()], config())
                        .map(drop)
                }),
                FailureKind::Error,
            );
            assert_eq!(failure.name, "fail");
        }
        assert_eq!(count.get(0).unwrap(), 0, "{mode:?}");
    }
}

pub(crate) fn a_group_poisons_its_dependents() {
    for mode in BOTH {
        let kit = Failing::new(mode, |_| Err("no".into()));
        let data = kit.exec.buffer::<u64>(1).unwrap();
        let failure = failed_as(
            kit.exec.run(|orch| {
                let mine = || args().no_dep(kit.state.tensor());
                let all = vec![mine().output(data.tensor()), mine(), mine()];
                let group = orch.submit_group(kit.body, all, config())?;
                let all = vec![mine().input(data.tensor()); 3];
                let reached = orch.submit_group(kit.body, all, config())?;
                let failure = failed_as(orch.wait(&reached), FailureKind::Error);
                assert_eq!((failure.task, failure.member), (group.id(), Some(1)));
                Ok(())
            }),
            FailureKind::Error,
        );
        assert_eq!(failure.member, Some(1));
        assert_eq!(kit.state.get(2).unwrap(), 1, "the second group did not run");
    }
}

pub(crate) fn cancelled_before_it_begins() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let body = builder.register("body", bodies::meet).unwrap();
        let gate = builder.register("gate", bodies::gate).unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        let state = Gate::new(&exec);
        let failure = failed_as(
            exec.run(|orch| {
                orch.submit(gate, state.args(), config())?;
                state.await_begun(1);
                // Ready, but one worker short.
                let all = vec![args().no_dep(count.tensor()); 2];
                let group = orch.submit_group(body, all, config())?;
                std::thread::sleep(Duration::from_millis(20));
                assert!(orch.cancel(&group));
                state.open();
                failed_as(orch.wait(&group), FailureKind::Cancelled);
                orch.submit_group(body, vec![args().no_dep(count.tensor()); 2], config()).map(drop)
            }),
            FailureKind::Cancelled,
        );
        assert_eq!(failure.name, "body");
        assert_eq!(count.get(0).unwrap(), 2, "{mode:?}: the second group ran, the first did not");
    }
}

pub(crate) fn cancelled_while_it_runs() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let body = builder
            .register("body", |args, _, context| {
                atom(&args, 0, 0).fetch_add(1, SeqCst);
                let group = context.group().expect("a member");
                if group.index() == 0 {
                    while !context.cancelled() {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    return Err(BoxError::from("stopped"));
                }
                group.barrier().map_err(BoxError::from) // member 0 never comes
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        for round in 1..=5 {
            failed_as(
                exec.run(|orch| {
                    let all = vec![args().no_dep(count.tensor()); 2];
                    let group = orch.submit_group(body, all, config())?;
                    eventually("both began", || cell(&count, 0).load(SeqCst) == 2 * round);
                    assert!(orch.cancel(&group));
                    Ok(())
                }),
                FailureKind::Cancelled,
            );
        }
    }
}

pub(crate) fn a_deadline_ends_all_members() {
    let mut builder = small(Mode::Process, 2).grace(Duration::from_millis(50));
    let body = builder
        .register("body", |args, _, context| {
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            if context.attempt() == 1 {
                std::thread::sleep(Duration::from_secs(60));
            }
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let count = exec.buffer::<u64>(1).unwrap();
    let short = TaskOptions::new().deadline(Duration::from_millis(60));
    let run = |options: &TaskOptions| {
        exec.run(|orch| {
            let all = vec![args().no_dep(count.tensor()); 2];
            orch.submit_group_with(body, all, config(), options).map(drop)
        })
    };
    failed_as(run(&short), FailureKind::Deadline);
    assert_eq!(count.get(0).unwrap(), 2);
    run(&short.retries(1).idempotent()).unwrap();
    assert_eq!(count.get(0).unwrap(), 6);
}

/// A member that returns, as if all were well, does not keep those waiting that meet later.
pub(crate) fn a_member_that_does_not_come_to_the_barrier() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let meet = builder.register("meet", |args, _, context| {
            let group = context.group().expect("a member");
            group.barrier()?;
            if group.index() == 1 {
                std::thread::sleep(Duration::from_millis(args.scalar(0)?));
                return Ok(()); // without the second one
            }
            group.barrier()?;
            Ok::<(), BoxError>(())
        });
        let meet = meet.unwrap();
        let exec = builder.build().unwrap();
        for wait in [0, 0, 0, 20] {
            let began = Instant::now();
            let failed = run_group(&exec, meet, vec![args().scalar(wait); 3]);
            let failed = failed_as(failed, FailureKind::Error);
            assert_eq!(failed.member, Some(1), "{failed}");
            assert!(failed.message.contains("without coming to barrier 2"), "{failed}");
            assert!(began.elapsed() < Duration::from_secs(5));
        }
    }
}

/// Member 0 waits at a barrier, and its time is over first; the one to blame is the one that hangs.
pub(crate) fn a_deadline_names_the_member_that_is_waited_for() {
    let mut builder = small(Mode::Process, 4).grace(Duration::from_millis(50));
    let body = builder
        .register("body", |args, _, context| {
            let group = context.group().expect("a member");
            let (hangs, barriers) = (args.scalar(0)?, args.scalar(1)?);
            for barrier in 0..4 {
                if barrier == barriers && group.index() as u64 == hangs {
                    std::thread::sleep(Duration::from_secs(60));
                }
                group.barrier()?;
            }
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let late = TaskOptions::new().deadline(Duration::from_millis(80));
    for (hangs, barriers) in [(0, 0), (1, 0), (2, 1), (1, 3)] {
        let all = vec![args().scalar(hangs).scalar(barriers); 3];
        let failure = failed_as(
            exec.run(|orch| orch.submit_group_with(body, all, config(), &late).map(drop)),
            FailureKind::Deadline,
        );
        assert_eq!(failure.member, Some(hangs as u16), "{failure}");
        let barrier = format!("has not come to barrier {}", barriers + 1);
        assert!(failure.message.contains("deadline"), "{failure}");
        assert!(failure.message.contains(&barrier), "{failure}");
    }
}
