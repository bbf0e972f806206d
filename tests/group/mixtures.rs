//! Groups beside single and directed tasks: under kills that come at any moment, and under both
//! ways to wait that are not the default.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{
    Buffer, Callable, Error, Executor, Mode, Orchestrator, TaskOptions, WaitStrategy, WorkerId,
};

use testkit::{BOTH, BoxError, Random, args, at, config, kill, mix, small};

const CELLS: usize = 64;

struct Kit {
    exec: Executor,
    body: Callable,
    data: Buffer<u64>,
}

/// Bodies write what they were told, however often they are begun.
fn kit(mode: Mode, wait: WaitStrategy) -> Kit {
    let mut builder = small(mode, 3).wait_strategy(wait);
    let body = builder
        .register("body", |args, _, context| {
            let (value, micros, barriers) = (args.scalar(0)?, args.scalar(1)?, args.scalar(2)?);
            if let Some(group) = context.group() {
                (0..barriers).try_for_each(|_| group.barrier())?;
            }
            let until = Instant::now() + Duration::from_micros(micros);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            args.set(0, 0, value)?;
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer(CELLS).unwrap();
    Kit { exec, body, data }
}

impl Kit {
    /// One node; says in `expected` what it is to leave.
    fn submit(
        &self,
        orch: &mut Orchestrator,
        random: &mut Random,
        expected: &mut [u64],
        options: &TaskOptions,
    ) -> Result<(), Error> {
        let value = random.next();
        let barriers = random.next() % 3;
        let member = |index: usize, micros: u64, expected: &mut [u64]| {
            let value = mix(value ^ index as u64);
            // Neighbours, so that members have cells of their own and nodes share some.
            let cell = (value as usize % 7 + index * 7 + (barriers as usize) * 21) % CELLS;
            expected[cell] = value;
            args().inout(at(&self.data, cell)).scalar(value).scalar(micros).scalar(barriers)
        };
        let micros = random.next() % 500;
        match random.below(10) {
            0..=3 => {
                let one = member(0, micros, expected);
                orch.submit_with(self.body, one, config(), options)?;
            }
            4 | 5 => {
                let there = options.clone().on(WorkerId(random.below(3) as u16));
                let one = member(0, micros, expected);
                orch.submit_with(self.body, one, config(), &there)?;
            }
            other => {
                let all = (0..2 + other % 2)
                    .map(|index| member(index, random.next() % 500, expected))
                    .collect();
                orch.submit_group_with(self.body, all, config(), options)?;
            }
        }
        Ok(())
    }

    fn round(&self, seed: u64, nodes: usize, options: &TaskOptions) -> Result<(), Error> {
        let mut random = Random(seed);
        let mut expected = vec![0; CELLS];
        self.data.copy_from_slice(&expected)?;
        self.exec.run(|orch| {
            (0..nodes).try_for_each(|_| self.submit(orch, &mut random, &mut expected, options))
        })?;
        assert_eq!(self.data.to_vec().unwrap(), expected, "seed {seed}");
        Ok(())
    }
}

/// Kills a random worker every 3 ms or so until told to stop; how many were sent. On a busy machine
/// it waits for some bodies to end between two kills, or no attempt would ever get through.
fn killer(exec: &Executor, stop: &AtomicBool) -> u64 {
    let mut random = Random(0x5161);
    let mut kills = 0;
    let mut bodies = 0;
    while !stop.load(SeqCst) {
        std::thread::sleep(Duration::from_micros(2000 + random.next() % 2000));
        let ended = exec.stats().bodies;
        if ended < bodies + 20 {
            continue;
        }
        bodies = ended;
        let pids = exec.worker_pids();
        let pid = pids[random.below(pids.len())];
        if pid > 1 {
            kill(pid as i32, libc::SIGKILL);
            kills += 1;
        }
    }
    kills
}

/// A member that died before it said that it was through, after, or while the group assembled, must
/// neither be waited for nor be taken for another.
pub(crate) fn killed_at_random_moments() {
    let kit = kit(Mode::Process, WaitStrategy::Adaptive);
    let options = TaskOptions::new().retries(60).idempotent();
    let stop = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(4);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| killer(&kit.exec, &stop));
        let mut rounds = 0;
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while Instant::now() < until {
                rounds += 1;
                let ended = kit.round(rounds, 40, &options);
                ended.unwrap_or_else(|error| panic!("seed {rounds}: {error}"));
            }
        }));
        stop.store(true, SeqCst);
        let kills = killer.join().unwrap();
        println!("{kills} kills, {rounds} rounds, {:?}", kit.exec.stats());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(kills > 100 && rounds > 5);
    });
}

/// With more workers than processors, those that spin must let the others run.
pub(crate) fn spinning_and_parking_workers() {
    for mode in BOTH {
        for wait in [WaitStrategy::Spin, WaitStrategy::Park] {
            let kit = kit(mode, wait);
            let began = Instant::now();
            for seed in 0..20 {
                kit.round(seed, 100, &TaskOptions::new()).unwrap();
            }
            println!("{mode:?}, {wait:?}: {:?}", began.elapsed());
        }
    }
}
