//! A deadline is that of one lease: the task that the worker runs next must not feel it.

use std::time::{Duration, Instant};

use mailring::{Error, FailureKind, Mode, TaskOptions, WorkerId};
use testkit::{Done, Random, args, config, small};

const DEADLINE: Duration = Duration::from_millis(6);

fn load(mode: Mode) {
    let mut builder = small(mode, 2);
    let nap = builder
        .register("nap", |args, _, _| {
            std::thread::sleep(Duration::from_micros(args.scalar(0)?));
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let mut random = Random(0xD5AD);
    let (mut late, mut in_time, mut others) = (0, 0, 0);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        // The first root is the run's error; it is judged task by task here.
        let _ = exec.run(|orch| {
            let mut all = Vec::new();
            for nth in 0..16 {
                let there = TaskOptions::new().on(WorkerId(nth % 2));
                let around = DEADLINE.as_micros() as u64;
                let bounded = nth / 2 % 2 == 0;
                let (micros, options) = if bounded {
                    (around / 2 + random.next() % around, there.deadline(DEADLINE))
                } else {
                    (random.next() % (around / 3), there)
                };
                let handle = orch.submit_with(nap, args().scalar(micros), config(), &options)?;
                all.push((handle, bounded));
            }
            for (handle, bounded) in &all {
                match orch.wait(handle) {
                    Ok(()) if *bounded => in_time += 1,
                    Ok(()) => others += 1,
                    Err(Error::Task(failure)) => {
                        let own = failure.task == handle.id();
                        let kind = failure.kind == FailureKind::Deadline;
                        assert!(*bounded && own && kind, "{mode:?}: {failure}");
                        late += 1;
                    }
                    Err(error) => panic!("{mode:?}: {error}"),
                }
            }
            Ok(())
        });
    }
    println!("{mode:?}: {late} late, {in_time} in time, {others} without a deadline");
    assert!(late >= 20 && in_time >= 5 && others >= 50);
    let stats = exec.stats();
    assert_eq!(stats.deaths, if mode == Mode::Process { late } else { 0 }, "{stats:?}");
}

pub(crate) fn never_hit_the_next_task_in_a_process() {
    load(Mode::Process);
}

pub(crate) fn never_hit_the_next_task_in_a_thread() {
    load(Mode::Thread);
}

/// A body with a deadline ends, perhaps just while the supervisor decides how long it sleeps; the
/// one after it that overstays must still be noticed. Each end lies before the last one, so that
/// each wakes the supervisor. In a thread that costs no worker, so there are many rounds.
fn overstay(mode: Mode, seconds: u64, workers: usize) {
    let mut builder = small(mode, workers);
    let nap = builder
        .register("nap", |args, _, context| {
            let (micros, hangs) = (args.scalar(0)?, args.scalar(1)? != 0);
            let until = Instant::now() + Duration::from_micros(micros);
            while Instant::now() < until && !(hangs && context.cancelled()) {
                if hangs {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let mut random = Random(0x10_57);
    let (mut rounds, mut lost) = (0, 0);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        let _ = exec.run(|orch| {
            for nth in 0..4 {
                let limit = Duration::from_micros(1_000 - 100 * nth);
                let options = TaskOptions::new().deadline(limit);
                let brief = args().scalar(random.next() % 30).scalar(0);
                orch.submit_with(nap, brief, config(), &options)?;
            }
            let options = TaskOptions::new().deadline(Duration::from_millis(1));
            let long = args().scalar(400_000).scalar(1);
            let hung = orch.submit_with(nap, long, config(), &options)?;
            match orch.wait(&hung) {
                Err(Error::Task(failure)) if failure.kind == FailureKind::Deadline => {}
                Ok(()) => lost += 1,
                other => panic!("{mode:?}: {other:?} of a body over its deadline"),
            }
            rounds += 1;
            Ok(())
        });
    }
    println!("{mode:?}: {rounds} bodies over their deadline, {lost} never noticed");
    assert_eq!(lost, 0, "of {rounds}");
    assert!(rounds >= 5);
}

pub(crate) fn are_noticed_whatever_ended_before() {
    overstay(Mode::Thread, 2, 1);
}

pub(crate) fn soak_overstaying_in_processes() {
    overstay(Mode::Process, 20, 2);
}

pub(crate) fn soak_overstaying_in_threads() {
    overstay(Mode::Thread, 15, 3);
}
