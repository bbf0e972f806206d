//! What members see and share.

use std::sync::atomic::Ordering::SeqCst;

use crate::{members, run_group};
use testkit::{BOTH, BoxError, args, at, atom, await_value, config, small};

pub(crate) fn members_run_at_the_same_time() {
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
            assert_eq!(count.get(0).unwrap(), 4 * round);
        }
    }
}

pub(crate) fn each_on_another_worker() {
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

pub(crate) fn index_size_and_shared_bytes() {
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
            assert_eq!(seen.to_vec().unwrap(), expected);
        }
    }
}

pub(crate) fn shared_bytes_begin_as_zeros() {
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
pub(crate) fn many_barriers() {
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
        assert_eq!(rounds.to_vec().unwrap(), [500; 3]);
    }
}

pub(crate) fn each_has_its_own_arguments() {
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
        assert_eq!(to.to_vec().unwrap(), [20, 33, 60]);
    }
}

pub(crate) fn a_group_of_one() {
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
        assert_eq!(count.get(0).unwrap(), 100);
    }
}

/// Many workers on few processors.
pub(crate) fn one_of_all_workers() {
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
            assert_eq!(count.get(0).unwrap(), round * 120);
        }
    }
}
