//! How groups get their workers, beside singles and other groups, and when they are complete.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Error, TaskOptions, WorkerId, WorkerKind};

use crate::members;
use testkit::{
    BOTH, BoxError, Done, Gate, args, at, atom, await_value, bodies, cell, config, eventually,
    small,
};

/// Refused when it is submitted, and nothing is changed.
pub(crate) fn larger_than_the_pool_is_refused() {
    for mode in BOTH {
        let mut builder = small(mode, 2).sub_workers(1);
        let nop = builder.register("nop", bodies::nop).unwrap();
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

pub(crate) fn impossible_groups_are_refused() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let nop = builder.register("nop", bodies::nop).unwrap();
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

pub(crate) fn two_groups_do_not_deadlock() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let body = builder.register("body", bodies::meet).unwrap();
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
        assert_eq!(count.get(0).unwrap(), expected);
    }
}

/// A group that is ready holds the workers that are free, and waits for the one that is not. Single
/// tasks that need none of the workers it holds go before it: those directed to the worker it waits
/// for, and those of the other pool.
pub(crate) fn singles_flow_past_a_waiting_group() {
    for mode in BOTH {
        let mut builder = small(mode, 3).sub_workers(1);
        let gate = builder.register("gate", bodies::gate).unwrap();
        let count = builder.register("count", bodies::count).unwrap();
        let meet = builder
            .register("meet", |args, _, context| {
                let group = context.group().expect("a member");
                args.set(0, 0, bodies::counted(&args))?; // how many were before it
                group.barrier()?;
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let (state, behind) = (Gate::new(&exec), Gate::new(&exec));
        let before = exec.buffer::<u64>(3).unwrap();
        let there = TaskOptions::new().on(WorkerId(2));
        exec.run(|orch| {
            orch.submit_with(gate, state.args(), config(), &there)?;
            state.await_begun(1);
            let members = (0..3).map(|i| args().output(at(&before, i)).no_dep(state.tensor()));
            let group = orch.submit_group(meet, members.collect(), config())?;
            // It competes: nobody is left for a single task that any worker may run.
            let any = orch.submit(count, behind.args(), config())?;
            (0..50).try_for_each(|_| orch.submit_sub(count, state.args()).map(drop))?;
            eventually("the other pool flows", || state.counted() == 50);
            for _ in 0..10 {
                orch.submit_with(count, state.args(), config(), &there)?;
            }
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!((state.counted(), behind.counted()), (50, 0), "{mode:?}");
            state.open();
            orch.wait(&group)?;
            orch.wait(&any)
        })
        .unwrap();
        assert_eq!((state.counted(), behind.counted()), (60, 1), "{mode:?}");
        assert_eq!(before.to_vec().unwrap(), [60; 3], "{mode:?}: all of them before the group");
    }
}

/// A stream of singles that never ends by itself: the group gets its workers all the same.
pub(crate) fn singles_do_not_starve_a_group() {
    for mode in BOTH {
        let mut builder = small(mode, 2).slot_window(64);
        let body = builder.register("body", bodies::meet).unwrap();
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

pub(crate) fn complete_when_the_last_member_is() {
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

pub(crate) fn chains_of_groups() {
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
        assert_eq!(data[0].to_vec().unwrap(), [400; 3]);
    }
}

/// What any member names counts for the whole group: producers before it, consumers behind it.
pub(crate) fn all_members_tensors_count() {
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
        let sum = builder.register("sum", bodies::sum).unwrap();
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
        assert_eq!(out.to_vec().unwrap(), [100, 110]);
    }
}

pub(crate) fn sub_groups_use_the_other_pool() {
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
        assert_eq!(seen.get(0).unwrap(), 0b1110);
    }
}

pub(crate) fn outputs_of_members_are_allocated() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let body = builder
            .register("body", |args, _, context| {
                args.set(0, 0, 10 + context.group().map_or(0, |g| g.index() as u64))
            })
            .unwrap();
        let sum = builder.register("sum", bodies::sum).unwrap();
        let exec = builder.build().unwrap();
        let out = exec.buffer::<u64>(1).unwrap();
        exec.run(|orch| {
            let null =
                mailring::abi::ContinuousTensor::new(0, &[1], mailring::abi::DataType::Uint64)?;
            let group = orch.submit_group(body, vec![args().output(null); 3], config())?;
            let all = (0..3).try_fold(args(), |all, i| Ok::<_, Error>(all.input(group.tensor(i)?)));
            let why = group.tensor(3).unwrap_err().to_string();
            assert!(why.contains("not allocated by the submit"), "{why}");
            orch.submit(sum, all?.output(out.tensor()), config()).map(drop)
        })
        .unwrap();
        assert_eq!(out.get(0).unwrap(), 33);
    }
}
