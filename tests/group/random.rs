//! Random mixtures of groups and single tasks, with and without deaths.

use mailring::abi::TaskArgs;
use mailring::{Mode, TaskOptions};

use testkit::{BOTH, BoxError, Random, args, at, config, raise, small};

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
        assert_eq!(data.to_vec().unwrap(), sums, "{mode:?}, seed {seed}");
    }
}

pub(crate) fn random_groups_and_singles() {
    BOTH.into_iter().for_each(|mode| random_load(mode, 0, false));
}

pub(crate) fn soak_random_groups_and_singles() {
    for seed in 0..8 {
        BOTH.into_iter().for_each(|mode| random_load(mode, seed, false));
    }
}

pub(crate) fn random_groups_and_kills() {
    for seed in 0..4 {
        random_load(Mode::Process, seed, true);
    }
}
