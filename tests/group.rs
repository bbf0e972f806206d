//! Groups: one node, N members, N different workers at the same time. Covers defect D14 of the
//! original (a group larger than its pool hung; groups and singles blocked each other).

#[macro_use]
mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::abi::TaskArgs;
use mailring::{
    Buffer, Callable, Error, Executor, FailureKind, Mode, TaskOptions, WorkerId, WorkerKind,
};

use common::kit::{
    BOTH, Done, Random, args, at, atom, await_value, cell, config, eventually, failed_as, small,
};

tests! {
    "group" in crate {
        members_run_at_the_same_time, each_on_another_worker, index_size_and_shared_bytes,
        many_barriers, each_has_its_own_arguments, a_group_of_one, one_of_all_workers,
        larger_than_the_pool_is_refused, impossible_groups_are_refused, two_groups_do_not_deadlock,
        singles_flow_past_a_waiting_group, singles_do_not_starve_a_group,
        complete_when_the_last_member_is, chains_of_groups, all_members_tensors_count,
        sub_groups_use_the_other_pool, an_error_fails_the_group, a_panic_fails_the_group,
        the_others_see_cancelled, a_barrier_does_not_wait_for_the_failed,
        a_killed_member_fails_the_group, members_that_will_not_stop_are_killed,
        retried_as_a_whole, retried_until_there_are_no_more, poisoned_groups_do_not_run,
        a_group_poisons_its_dependents, cancelled_before_it_begins, cancelled_while_it_runs,
        a_deadline_ends_all_members, random_groups_and_singles, random_groups_and_kills,
        outputs_of_members_are_allocated, shared_bytes_begin_as_zeros,
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn raise(signal: i32) {
    // SAFETY: passes no pointers.
    unsafe { libc::raise(signal) };
}

/// One argument list for each member: the same tensor for all, the index as scalar.
fn members(count: u64, each: &TaskArgs) -> Vec<TaskArgs> {
    (0..count).map(|i| each.clone().scalar(i)).collect()
}

fn run_group(exec: &Executor, callable: Callable, all: Vec<TaskArgs>) -> Result<(), Error> {
    exec.run(|orch| orch.submit_group(callable, all, config()).map(drop))
}

fn members_run_at_the_same_time() {
    for mode in BOTH {
        let mut builder = small(mode, 4);
        let meet = builder
            .register("meet", |args, _, _| {
                atom(&args, 0, 0).fetch_add(1, SeqCst);
                let round = args.get::<u64>(0, 1)?;
                if await_value(atom(&args, 0, 0), 4 * round) {
                    return Ok(());
                }
                Err(BoxError::from("nobody came"))
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(2).unwrap();
        for round in 1..=50 {
            count.set(1, round).unwrap();
            run_group(&exec, meet, members(4, &args().no_dep(count.tensor()))).unwrap();
            assert_eq!(count.get(0), Some(4 * round));
        }
    }
}

fn each_on_another_worker() {
    for mode in BOTH {
        let mut builder = small(mode, 4);
        let who = builder
            .register("who", |args, _, context| {
                let group = context.group().expect("a member");
                group.barrier()?;
                let bit = 1 << context.worker().0;
                assert_eq!(atom(&args, 0, 0).fetch_or(bit, SeqCst) & bit, 0, "a worker twice");
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        for size in 1..=4 {
            let seen = exec.buffer::<u64>(1).unwrap();
            run_group(&exec, who, members(size, &args().no_dep(seen.tensor()))).unwrap();
            assert_eq!(seen.get(0).unwrap().count_ones(), size as u32);
        }
    }
}

fn index_size_and_shared_bytes() {
    for mode in BOTH {
        let mut builder = small(mode, 4);
        let body = builder
            .register("body", |args, _, context| {
                let group = context.group().expect("a member");
                assert_eq!(group.index() as u64, args.scalar(0)?);
                group.store(group.index(), 100 + group.index() as u64);
                group.fetch_add(7, 1);
                group.barrier()?;
                let shared = group.shared();
                for other in 0..group.size() {
                    assert_eq!(group.load(other), 100 + other as u64);
                    assert_eq!(shared[other * 8], 100 + other as u8);
                }
                assert_eq!(group.load(7), group.size() as u64);
                atom(&args, 0, group.index()).store(group.size() as u64, SeqCst);
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        for size in 1..=4u64 {
            let seen = exec.buffer::<u64>(4).unwrap();
            run_group(&exec, body, members(size, &args().no_dep(seen.tensor()))).unwrap();
            let expected: Vec<u64> = (0..4).map(|i| if i < size { size } else { 0 }).collect();
            assert_eq!(seen.to_vec(), expected);
        }
    }
}

fn shared_bytes_begin_as_zeros() {
    for mode in BOTH {
        let mut builder = small(mode, 2).slot_window(16);
        let body = builder
            .register("body", |_, _, context| {
                let group = context.group().expect("a member");
                assert_eq!(group.shared(), [0; 64]);
                group.barrier()?;
                (0..8).for_each(|word| group.store(word, u64::MAX));
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        for _ in 0..100 {
            run_group(&exec, body, members(2, &args())).unwrap();
        }
    }
}

/// What a member wrote before a barrier is seen by all after it.
fn many_barriers() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let body = builder
            .register("body", |args, _, context| {
                let group = context.group().expect("a member");
                for round in 1..=500u64 {
                    atom(&args, 0, group.index()).store(round, SeqCst);
                    group.barrier()?;
                    for other in 0..group.size() {
                        let seen = atom(&args, 0, other).load(SeqCst);
                        assert!(seen == round || seen == round + 1, "{seen} in round {round}");
                    }
                }
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let rounds = exec.buffer::<u64>(3).unwrap();
        run_group(&exec, body, members(3, &args().no_dep(rounds.tensor()))).unwrap();
        assert_eq!(rounds.to_vec(), [500; 3]);
    }
}

fn each_has_its_own_arguments() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let copy = builder
            .register("copy", |args, _, context| {
                assert_eq!(args.tensors().len(), 2);
                assert_eq!(args.scalars().len(), 1 + context.group().map_or(0, |g| g.index()));
                args.set(1, 0, args.get::<u64>(0, 0)? * args.scalar(0)?)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let from = exec.buffer::<u64>(3).unwrap();
        let to = exec.buffer::<u64>(3).unwrap();
        from.copy_from_slice(&[2, 3, 5]).unwrap();
        let all = (0..3).map(|i| {
            let mut one = args().input(at(&from, i)).output(at(&to, i)).scalar(10 + i as u64);
            (0..i).for_each(|extra| _ = one.add_scalar(extra as u64));
            one
        });
        run_group(&exec, copy, all.collect()).unwrap();
        assert_eq!(to.to_vec(), [20, 33, 60]);
    }
}

fn a_group_of_one() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let body = builder
            .register("body", |args, _, context| {
                let group = context.group().expect("a member");
                assert_eq!((group.index(), group.size()), (0, 1));
                group.barrier()?;
                atom(&args, 0, 0).fetch_add(1, SeqCst);
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        exec.run(|orch| {
            (0..100).try_for_each(|_| {
                orch.submit_group(body, vec![args().no_dep(count.tensor())], config()).map(drop)
            })
        })
        .unwrap();
        assert_eq!(count.get(0), Some(100));
    }
}

/// Many workers on few processors.
fn one_of_all_workers() {
    for mode in BOTH {
        let mut builder = small(mode, 24);
        let body = builder
            .register("body", |args, _, context| {
                let group = context.group().expect("a member");
                for _ in 0..5 {
                    atom(&args, 0, 0).fetch_add(1, SeqCst);
                    group.barrier()?;
                }
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        for round in 1..=5 {
            run_group(&exec, body, vec![args().no_dep(count.tensor()); 24]).unwrap();
            assert_eq!(count.get(0), Some(round * 120));
        }
    }
}

/// D14: refused when it is submitted, and nothing is changed.
fn larger_than_the_pool_is_refused() {
    for mode in BOTH {
        let mut builder = small(mode, 2).sub_workers(1);
        let nop = builder.register("nop", |_, _, _| Done::Ok(())).unwrap();
        let exec = builder.build().unwrap();
        exec.run(|orch| {
            let error = orch.submit_group(nop, vec![args(); 3], config()).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::GroupTooLarge { members: 3, pool: 2, kind: WorkerKind::NextLevel }
                ),
                "{error}"
            );
            let error = orch.submit_sub_group(nop, vec![args(); 2]).unwrap_err();
            assert!(matches!(error, Error::GroupTooLarge { members: 2, pool: 1, .. }), "{error}");
            orch.submit_group(nop, vec![args(); 2], config())?;
            orch.submit_sub_group(nop, vec![args()])?;
            Ok(())
        })
        .unwrap();
        assert_eq!(exec.stats().submitted, 2);
    }
}

fn impossible_groups_are_refused() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let nop = builder.register("nop", |_, _, _| Done::Ok(())).unwrap();
        let exec = builder.build().unwrap();
        exec.run(|orch| {
            let error = orch.submit_group(nop, vec![], config()).unwrap_err();
            assert!(matches!(error, Error::EmptyGroup), "{error}");
            let error = orch.submit_sub_group(nop, vec![args()]).unwrap_err();
            assert!(matches!(error, Error::NoWorkers(WorkerKind::Sub)), "{error}");
            for options in [
                TaskOptions::new().on(WorkerId(0)),
                TaskOptions::new().retries(1).snapshot(),
                TaskOptions::new().retries(1),
            ] {
                let error =
                    orch.submit_group_with(nop, vec![args(); 2], config(), &options).unwrap_err();
                assert!(matches!(error, Error::Options(_)), "{error}");
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(exec.stats().submitted, 0);
    }
}

fn barrier_body(
    args: mailring::abi::TaskArgsView<'_>,
    _config: &mailring::abi::CallConfig,
    context: &mailring::TaskContext<'_>,
) -> Result<(), BoxError> {
    context.group().expect("a member").barrier()?;
    atom(&args, 0, 0).fetch_add(1, SeqCst);
    Ok(())
}

fn two_groups_do_not_deadlock() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let body = builder.register("body", barrier_body).unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        let mut expected = 0;
        exec.run(|orch| {
            for i in 0..1000u64 {
                let size = [2, 3, 3, 1, 2][i as usize % 5];
                expected += size;
                orch.submit_group(body, members(size, &args().no_dep(count.tensor())), config())?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(count.get(0), Some(expected));
    }
}

/// One worker is busy, so a group of two waits: tasks behind it use the other worker meanwhile...
/// when the group has not claimed it. Either way all of them finish once the gate opens.
fn singles_flow_past_a_waiting_group() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let gate = builder
            .register("gate", |args, _, _| {
                atom(&args, 0, 1).fetch_add(1, SeqCst);
                if await_value(atom(&args, 0, 0), 1) { Ok(()) } else { Err("nobody opened") }
            })
            .unwrap();
        let count = builder
            .register("count", |args, _, _| {
                atom(&args, 0, 2).fetch_add(1, SeqCst);
                Done::Ok(())
            })
            .unwrap();
        let body = builder
            .register("body", |args, _, context| {
                context.group().expect("a member").barrier()?;
                atom(&args, 0, 3).fetch_add(1, SeqCst);
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let state = exec.buffer::<u64>(4).unwrap();
        let data = exec.buffer::<u64>(1).unwrap();
        let mine = || args().no_dep(state.tensor());
        exec.run(|orch| {
            orch.submit(gate, mine().output(data.tensor()), config())?;
            eventually("the gate is held", || cell(&state, 1).load(SeqCst) == 1);
            // A group that waits for a producer claims nobody.
            orch.submit_group(body, vec![mine().input(data.tensor()); 3], config())?;
            for _ in 0..50 {
                orch.submit(count, mine(), config())?;
            }
            eventually("singles flow", || cell(&state, 2).load(SeqCst) == 50);
            assert_eq!(cell(&state, 3).load(SeqCst), 0);
            cell(&state, 0).store(1, SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(&state.to_vec()[2..], [50, 3]);
    }
}

/// A stream of singles that never ends by itself: the group gets its workers all the same.
fn singles_do_not_starve_a_group() {
    for mode in BOTH {
        let mut builder = small(mode, 2).slot_window(64);
        let body = builder.register("body", barrier_body).unwrap();
        let nap = builder
            .register("nap", |_, _, _| {
                std::thread::sleep(Duration::from_micros(300));
                Done::Ok(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        exec.run(|orch| {
            (0..40).try_for_each(|_| orch.submit(nap, args(), config()).map(drop))?;
            orch.submit_group(body, vec![args().no_dep(count.tensor()); 2], config())?;
            let until = Instant::now() + Duration::from_secs(20);
            while cell(&count, 0).load(SeqCst) < 2 {
                assert!(Instant::now() < until, "the group starves");
                orch.submit(nap, args(), config())?;
            }
            Ok(())
        })
        .unwrap();
    }
}

fn complete_when_the_last_member_is() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let gate = builder
            .register("gate", |args, _, context| {
                let index = context.group().expect("a member").index();
                let opened = index == 0 || await_value(atom(&args, 0, 0), 1);
                atom(&args, 0, 1).fetch_add(1, SeqCst);
                if opened { Ok(()) } else { Err("nobody opened") }
            })
            .unwrap();
        let after = builder
            .register("after", |args, _, _| {
                assert_eq!(atom(&args, 0, 1).load(SeqCst), 2, "a member is not through");
                Done::Ok(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let state = exec.buffer::<u64>(2).unwrap();
        let data = exec.buffer::<u64>(1).unwrap();
        let ((), handle) = exec
            .submit_run(|orch| {
                let mine = || args().no_dep(state.tensor());
                let all = vec![mine().output(data.tensor()), mine()];
                orch.submit_group(gate, all, config())?;
                orch.submit(after, mine().input(data.tensor()), config()).map(drop)
            })
            .unwrap();
        eventually("the first member is through", || cell(&state, 1).load(SeqCst) == 1);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!handle.done());
        cell(&state, 0).store(1, SeqCst);
        assert!(handle.wait(None).unwrap());
    }
}

fn chains_of_groups() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let step = builder
            .register("step", |args, _, context| {
                // Reads all that the group before it wrote, and writes its own element.
                let group = context.group().expect("a member");
                let mut sum = 0;
                for i in 0..3 {
                    sum += args.get::<u64>(0, i)?;
                }
                assert_eq!(sum % 3, 0);
                args.set(1, 0, sum / 3 + 1)?;
                group.barrier()?;
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = [exec.buffer::<u64>(3).unwrap(), exec.buffer::<u64>(3).unwrap()];
        exec.run(|orch| {
            for i in 0..400 {
                let (from, to) = (&data[i % 2], &data[1 - i % 2]);
                let all = (0..3).map(|m| args().input(from.tensor()).output(at(to, m))).collect();
                orch.submit_group(step, all, config())?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(data[0].to_vec(), [400; 3]);
    }
}

/// What any member names counts for the whole group: producers before it, consumers behind it.
fn all_members_tensors_count() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let slow = builder
            .register("slow", |args, _, _| {
                std::thread::sleep(Duration::from_millis(20));
                args.set(0, 0, args.scalar(0)?)
            })
            .unwrap();
        let check = builder
            .register("check", |args, _, context| {
                if context.group().expect("a member").index() == 1 {
                    return Ok(());
                }
                // Through, though only the other member has named them.
                assert_eq!(args.get::<u64>(1, 0)? + args.get::<u64>(1, 1)?, 30);
                args.set(0, 0, 100u64)
            })
            .unwrap();
        let sum = builder
            .register("sum", |args, _, _| {
                args.set(2, 0, args.get::<u64>(0, 0)? + args.get::<u64>(1, 0)?)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(2).unwrap();
        let out = exec.buffer::<u64>(2).unwrap();
        exec.run(|orch| {
            orch.submit(slow, args().output(at(&data, 0)).scalar(10), config())?;
            orch.submit(slow, args().output(at(&data, 1)).scalar(20), config())?;
            // Member 0 reads everything and writes nothing that it reads; member 1 only names.
            let all = vec![
                args().output(at(&out, 0)).no_dep(data.tensor()),
                args().inout(at(&data, 0)).input(at(&data, 1)),
            ];
            orch.submit_group(check, all, config())?;
            let all = args().input(at(&data, 0)).input(at(&out, 0)).output(at(&out, 1));
            orch.submit(sum, all, config()).map(drop)
        })
        .unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!(out.to_vec(), [100, 110]);
    }
}

fn sub_groups_use_the_other_pool() {
    for mode in BOTH {
        let mut builder = small(mode, 1).sub_workers(3);
        let who = builder
            .register("who", |args, _, context| {
                context.group().expect("a member").barrier()?;
                atom(&args, 0, 0).fetch_or(1 << context.worker().0, SeqCst);
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let seen = exec.buffer::<u64>(1).unwrap();
        exec.run(|orch| {
            orch.submit_sub_group(who, vec![args().no_dep(seen.tensor()); 3]).map(drop)
        })
        .unwrap();
        assert_eq!(seen.get(0), Some(0b1110));
    }
}

// ---- failures ---------------------------------------------------------------------------------

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

fn an_error_fails_the_group() {
    for mode in BOTH {
        let kit = Failing::new(mode, |_| Err("the second is unwell".into()));
        for round in 1..=20 {
            let failure = failed_as(kit.run(&TaskOptions::new()), FailureKind::Error);
            assert_eq!(failure.member, Some(1), "{failure}");
            assert_eq!(failure.message, "the second is unwell");
            assert!(failure.to_string().contains("member 1"), "{failure}");
            assert_eq!(kit.state.to_vec(), [3 * round, 2 * round, round, 0]);
        }
        assert_eq!(kit.exec.stats().deaths, 0, "members that stop when told are not killed");
    }
}

fn a_panic_fails_the_group() {
    for mode in BOTH {
        let kit = Failing::new(mode, |attempt| panic!("in attempt {attempt}"));
        let failure = failed_as(kit.run(&TaskOptions::new()), FailureKind::Panic);
        assert_eq!((failure.member, failure.message.as_str()), (Some(1), "in attempt 1"));
        assert_eq!(kit.exec.stats().deaths, 0);
    }
}

fn the_others_see_cancelled() {
    for mode in BOTH {
        let kit = Failing::new(mode, |_| Err("no".into()));
        failed_as(kit.run(&TaskOptions::new()), FailureKind::Error);
        assert_eq!(kit.state.get(1), Some(2));
        assert_eq!(kit.state.get(3), Some(0));
    }
}

fn a_barrier_does_not_wait_for_the_failed() {
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
            assert_eq!(seen.get(0), Some(2));
        }
    }
}

fn a_killed_member_fails_the_group() {
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
        assert_eq!(kit.state.to_vec(), [3 * round, 2 * round, round, 0]);
        assert_eq!(kit.exec.stats().deaths, round, "the others stopped when told");
    }
}

/// Deaf members are ended after the grace.
fn members_that_will_not_stop_are_killed() {
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
        let nop = builder.register("nop", |_, _, _| Done::Ok(())).unwrap();
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

fn retried_as_a_whole() {
    let kit = Failing::new(Mode::Process, |attempt| {
        if attempt < 3 {
            raise(libc::SIGKILL);
        }
        Ok(())
    });
    let options = TaskOptions::new().retries(2).idempotent();
    for round in 1..=10 {
        kit.run(&options).unwrap();
        assert_eq!(kit.state.to_vec(), [9 * round, 4 * round, 3 * round, 3 * round]);
        assert_eq!(kit.exec.stats().deaths, 2 * round);
    }
}

fn retried_until_there_are_no_more() {
    let kit = Failing::new(Mode::Process, |_| {
        raise(libc::SIGKILL);
        Ok(())
    });
    let options = TaskOptions::new().retries(2).idempotent();
    let failure = failed_as(kit.run(&options), FailureKind::WorkerDied);
    assert_eq!((failure.attempt, failure.member), (3, Some(1)));
    assert_eq!(kit.state.to_vec(), [9, 6, 3, 0]);
    // An error of its own is final.
    let kit = Failing::new(Mode::Process, |_| Err("no".into()));
    let failure = failed_as(kit.run(&options), FailureKind::Error);
    assert_eq!(failure.attempt, 1);
}

fn poisoned_groups_do_not_run() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let fail = builder.register("fail", |_, _, _| Err("no")).unwrap();
        let body = builder.register("body", barrier_body).unwrap();
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
        assert_eq!(count.get(0), Some(0), "{mode:?}");
    }
}

fn a_group_poisons_its_dependents() {
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
        assert_eq!(kit.state.get(2), Some(1), "the second group did not run");
    }
}

fn cancelled_before_it_begins() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let body = builder.register("body", barrier_body).unwrap();
        let gate = builder
            .register("gate", |args, _, _| {
                atom(&args, 0, 1).fetch_add(1, SeqCst);
                if await_value(atom(&args, 0, 0), 1) { Ok(()) } else { Err("nobody opened") }
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let count = exec.buffer::<u64>(1).unwrap();
        let state = exec.buffer::<u64>(2).unwrap();
        let failure = failed_as(
            exec.run(|orch| {
                orch.submit(gate, args().no_dep(state.tensor()), config())?;
                eventually("the gate is held", || cell(&state, 1).load(SeqCst) == 1);
                // Ready, but one worker short.
                let all = vec![args().no_dep(count.tensor()); 2];
                let group = orch.submit_group(body, all, config())?;
                std::thread::sleep(Duration::from_millis(20));
                assert!(orch.cancel(&group));
                cell(&state, 0).store(1, SeqCst);
                failed_as(orch.wait(&group), FailureKind::Cancelled);
                orch.submit_group(body, vec![args().no_dep(count.tensor()); 2], config()).map(drop)
            }),
            FailureKind::Cancelled,
        );
        assert_eq!(failure.name, "body");
        assert_eq!(count.get(0), Some(2), "{mode:?}: the second group ran, the first did not");
    }
}

fn cancelled_while_it_runs() {
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

fn a_deadline_ends_all_members() {
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
    assert_eq!(count.get(0), Some(2));
    run(&short.retries(1).idempotent()).unwrap();
    assert_eq!(count.get(0), Some(6));
}

fn outputs_of_members_are_allocated() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let body = builder
            .register("body", |args, _, context| {
                args.set(0, 0, 10 + context.group().map_or(0, |g| g.index() as u64))
            })
            .unwrap();
        let sum = builder
            .register("sum", |args, _, _| {
                let mut sum = 0;
                for i in 0..3 {
                    sum += args.get::<u64>(i, 0)?;
                }
                args.set(3, 0, sum)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let out = exec.buffer::<u64>(1).unwrap();
        exec.run(|orch| {
            let null =
                mailring::abi::ContinuousTensor::new(0, &[1], mailring::abi::DataType::Uint64)?;
            let group = orch.submit_group(body, vec![args().output(null); 3], config())?;
            let all = (0..3).try_fold(args(), |all, i| Ok::<_, Error>(all.input(group.tensor(i)?)));
            assert!(group.tensor(3).is_err());
            orch.submit(sum, all?.output(out.tensor()), config()).map(drop)
        })
        .unwrap();
        assert_eq!(out.get(0), Some(33));
    }
}

// ---- at random ----------------------------------------------------------------------------------

/// Tasks and groups of one to four members, each adding one to some of eight counters that it
/// names INOUT (member 0 does it); order and exclusiveness are what makes the sums right.
fn random_load(mode: Mode, seed: u64, kills: bool) {
    let mut builder = small(mode, 4);
    let body = builder
        .register("body", move |args, _, context| {
            let seed = args.scalar(0)?;
            if let Some(group) = context.group() {
                group.barrier()?;
                if kills && context.attempt() == 1 && seed % 16 == group.index() as u64 {
                    raise(libc::SIGKILL);
                }
                if group.index() != 0 {
                    group.barrier()?;
                    return Ok(());
                }
            } else if kills && context.attempt() == 1 && seed % 32 == 0 {
                raise(libc::SIGKILL);
            }
            // What to write was said, so that another attempt does no harm.
            for i in 0..args.tensors().len() {
                let before = args.get::<u64>(i, 0)?;
                let to = args.scalar(1 + i)?;
                assert!(before == to || before + 1 == to, "{before} before {to}");
                args.set(i, 0, to)?;
            }
            if let Some(group) = context.group() {
                group.barrier()?;
            }
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(8).unwrap();
    let mut random = Random(seed);
    let mut sums = [0u64; 8];
    let options = TaskOptions::new().retries(3).idempotent();
    for _ in 0..4 {
        exec.run(|orch| {
            for _ in 0..if kills { 150 } else { 1500 } {
                let mut mine = args();
                let mut tos = Vec::new();
                for (i, sum) in sums.iter_mut().enumerate() {
                    if random.chance(25) {
                        *sum += 1;
                        tos.push(*sum);
                        mine = mine.inout(at(&data, i));
                    }
                }
                let draw = random.next();
                let scalars =
                    |all: TaskArgs| tos.iter().fold(all.scalar(draw), |all, &to| all.scalar(to));
                let size = random.below(5);
                if size == 0 {
                    orch.submit_with(body, scalars(mine), config(), &options)?;
                } else {
                    let mut all = vec![scalars(mine)];
                    all.extend((1..size).map(|_| args().scalar(draw)));
                    orch.submit_group_with(body, all, config(), &options)?;
                }
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{mode:?}, seed {seed}: {error}"));
        assert_eq!(data.to_vec(), sums, "{mode:?}, seed {seed}");
    }
}

fn random_groups_and_singles() {
    for mode in BOTH {
        for seed in 0..4 {
            random_load(mode, seed, false);
        }
    }
}

fn random_groups_and_kills() {
    for seed in 0..4 {
        random_load(Mode::Process, seed, true);
    }
}
