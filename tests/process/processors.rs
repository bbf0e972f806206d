//! Workers and the processors they run on: fewer processors than workers, neighbours that compute,
//! and who may run where.

use std::time::{Duration, Instant};

use mailring::{Executor, Mode, TaskOptions, WorkerId};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use testkit::shortage::beside_loops;
use testkit::{args, at, bodies, config, small};

/// Loose, since the machine may be busy with other things as well.
const BOUND: Duration = Duration::from_secs(10);

/// Round trips, a chain, and groups that meet three times.
fn mixture(workers: usize) -> Duration {
    let mut builder = small(Mode::Process, workers);
    let add = builder.register("add", bodies::add_one).unwrap();
    let meet = builder.register("meet", bodies::meet_three_times).unwrap();
    let exec = builder.build().unwrap();
    let sum = exec.buffer::<u64>(1).unwrap();
    let began = Instant::now();
    exec.run(|orch| {
        for trip in 0..600 {
            let handle = orch.submit(add, args().inout(at(&sum, 0)), config())?;
            if trip % 3 == 0 {
                orch.wait(&handle)?;
            }
        }
        for _ in 0..if workers > 1 { 30 } else { 0 } {
            let group = orch.submit_group(meet, vec![args(); 2], config())?;
            orch.wait(&group)?;
        }
        Ok(())
    })
    .unwrap();
    let took = began.elapsed();
    assert_eq!(sum.get(0).unwrap(), 600);
    took
}

pub(crate) fn more_workers_than_processors() {
    for workers in [1, 2, 8] {
        let took = mixture(workers);
        assert!(took < BOUND, "{workers} workers: {took:?}");
    }
}

pub(crate) fn beside_others_who_compute() {
    for workers in [1, 2, 8] {
        let took = beside_loops(|| mixture(workers));
        assert!(took < BOUND, "{workers} workers: {took:?}");
    }
}

fn allowed() -> u64 {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..64).filter(|&cpu| set.is_set(cpu) == Ok(true)).map(|cpu| 1 << cpu).sum()
}

/// What a body on `worker` sees, and the time it is given to sleep before that.
fn seen_by(exec: &Executor, look: mailring::Callable, worker: u16) -> u64 {
    let seen = exec.buffer::<u64>(1).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let there = TaskOptions::new().on(WorkerId(worker));
    exec.run(|orch| {
        orch.submit_with(look, args().output(at(&seen, 0)), config(), &there).map(drop)
    })
    .unwrap();
    seen.get(0).unwrap()
}

/// A worker runs where its user says, be that the option, whoever started the host, or the worker's
/// own body; and waiting changes nothing about that.
pub(crate) fn bodies_run_where_they_may() {
    for pin in [false, true] {
        let mut builder = small(Mode::Process, 2).pin_cpus(pin);
        let look = builder.register("look", |args, _, _| args.set::<u64>(0, 0, allowed())).unwrap();
        let choose = builder
            .register("choose", |args, _, _| {
                let mut one = CpuSet::new();
                one.set(allowed().trailing_zeros() as usize).unwrap();
                sched_setaffinity(Pid::from_raw(0), &one).unwrap();
                args.set::<u64>(0, 0, allowed())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        for worker in 0..2 {
            for _ in 0..3 {
                let seen = seen_by(&exec, look, worker);
                match pin {
                    true => assert_eq!((seen.count_ones(), seen & allowed()), (1, seen)),
                    false => assert_eq!(seen, allowed()),
                }
            }
        }
        let chosen = seen_by(&exec, choose, 0);
        assert_eq!(chosen.count_ones(), 1);
        for _ in 0..3 {
            assert_eq!(seen_by(&exec, look, 0), chosen);
        }
    }
}
