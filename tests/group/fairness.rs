//! Groups beside tasks that keep their workers busy: what waits gets its turn. And what a group
//! costs beside others who compute.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Buffer, Builder, Callable, Executor, Mode, Priority, TaskOptions, WorkerId};

use testkit::shortage::beside_loops;
use testkit::{BOTH, BoxError, args, atom, bodies, config, small};

/// Counts singles in element 0; a group notes in element 1 + its number how many there were.
fn kit(builder: Builder) -> (Executor, Callable, Callable, Buffer<u64>) {
    let mut builder = builder;
    let single = builder
        .register("single", |args, _, _| {
            let until = Instant::now() + Duration::from_micros(200);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let group = builder
        .register("group", |args, _, context| {
            context.group().expect("a member").barrier()?;
            let place = 1 + args.scalar(0)? as usize;
            atom(&args, 0, place).store(atom(&args, 0, 0).load(SeqCst) + 1, SeqCst);
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let state = exec.buffer(8).unwrap();
    (exec, single, group, state)
}

const SINGLES: u64 = 1500;

fn does_not_starve(mode: Mode, options: impl Fn(u64) -> TaskOptions) {
    let (exec, single, group, state) = kit(small(mode, 2).slot_window(4096));
    exec.run(|orch| {
        for nth in 0..SINGLES {
            orch.submit_with(single, args().no_dep(state.tensor()), config(), &options(nth))?;
            if nth % 100 == 50 && nth < 300 {
                let all = vec![args().no_dep(state.tensor()).scalar(nth / 100); 2];
                orch.submit_group(group, all, config())?;
            }
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(state.get(0).unwrap(), SINGLES);
    for place in 1..4 {
        let before = state.get(place).unwrap() - 1;
        println!("{mode:?}: group {place} after {before} singles");
        assert!(
            before < SINGLES / 2,
            "{mode:?}: group {place} after {before} of {SINGLES} singles"
        );
    }
}

pub(crate) fn behind_endless_directed_singles() {
    for mode in BOTH {
        does_not_starve(mode, |nth| TaskOptions::new().on(WorkerId((nth % 2) as u16)));
    }
}

pub(crate) fn behind_endless_urgent_singles() {
    for mode in BOTH {
        does_not_starve(mode, |nth| match nth % 3 {
            0 => TaskOptions::new().on(WorkerId(0)),
            1 => TaskOptions::new().priority(Priority::Urgent),
            _ => TaskOptions::new(),
        });
    }
}

/// And singles do not wait until all groups are through.
pub(crate) fn singles_behind_endless_groups() {
    for mode in BOTH {
        let (exec, single, group, state) = kit(small(mode, 2).slot_window(4096));
        exec.run(|orch| {
            for _ in 0..600 {
                let all = vec![args().no_dep(state.tensor()).scalar(0); 2];
                orch.submit_group(group, all, config())?;
            }
            let mut last = None;
            for worker in 0..2 {
                let on = TaskOptions::new().on(WorkerId(worker));
                for options in [on, TaskOptions::new()] {
                    let all = args().no_dep(state.tensor());
                    last = Some(orch.submit_with(single, all, config(), &options)?);
                }
            }
            let marked = orch.submit_group(
                group,
                vec![args().no_dep(state.tensor()).scalar(1); 2],
                config(),
            )?;
            orch.wait(&marked)?;
            last.map_or(Ok(()), |last| orch.wait(&last))
        })
        .unwrap();
        assert_eq!(state.get(2).unwrap(), 5, "{mode:?}: singles before the last of the groups");
    }
}

/// Nodes of two members and three barriers each, with two busy loops on every processor but none
/// to spare. Prints the time of one, quiet and not.
pub(crate) fn soak_beside_busy_neighbours() {
    const NODES: usize = 300;
    let mut builder = small(Mode::Process, 2);
    let meet = builder.register("meet", bodies::meet_three_times).unwrap();
    let exec = builder.build().unwrap();
    let median = || {
        let mut times: Vec<Duration> = (0..NODES)
            .map(|_| {
                let began = Instant::now();
                exec.run(|orch| orch.submit_group(meet, vec![args(); 2], config()).map(drop))
                    .unwrap();
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        (times[NODES / 2], times[NODES * 9 / 10])
    };
    let quiet = median();
    let busy = beside_loops(median);
    println!(
        "a node of three barriers, median and 90 %: {quiet:?} quiet, {busy:?} beside two loops"
    );
    assert!(busy.0 < Duration::from_millis(2), "{busy:?}");
}
