//! Workers that die again and again while one group assembles or runs: attempts are told apart,
//! however many there are.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Mode, TaskOptions, WorkerId};

use testkit::{BoxError, Gate, args, atom, bodies, config, eventually, kill, raise, small};

/// A group of three of which one place stays empty, since worker 2 is busy; workers 0 and 1 join
/// and are killed in turn, `deaths` times. Then the gate opens.
fn die_while_it_forms(deaths: u64) {
    let mut builder = small(Mode::Process, 3);
    let gate = builder.register("gate", bodies::gate).unwrap();
    let body = builder
        .register("body", |args, _, context| {
            context.group().expect("a member").barrier()?;
            atom(&args, 0, 0).fetch_add(1, SeqCst);
            atom(&args, 0, 1).fetch_max(u64::from(context.attempt()), SeqCst);
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let state = Gate::new(&exec);
    let ran = exec.buffer::<u64>(2).unwrap();
    exec.run(|orch| {
        orch.submit_with(gate, state.args(), config(), &TaskOptions::new().on(WorkerId(2)))?;
        state.await_begun(1);
        let group = orch.submit_group(body, vec![args().no_dep(&ran); 3], config())?;
        for death in 0..deaths {
            let victim = (death % 2) as usize;
            std::thread::sleep(Duration::from_micros(1500)); // it joins
            let pid = exec.worker_pids()[victim];
            kill(pid as i32, libc::SIGKILL);
            eventually("it is replaced", || {
                let now = exec.worker_pids()[victim];
                now != 0 && now != pid
            });
        }
        let began = Instant::now();
        state.open();
        orch.wait(&group)?;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "formed after {took:?} and {deaths} deaths");
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{deaths} deaths: {error}"));
    assert_eq!(ran.get(0).unwrap(), 3, "{deaths} deaths: each member ran once");
    let attempt = ran.get(1).unwrap();
    println!("{deaths} deaths, attempt {attempt}");
    assert!(attempt > deaths / 2, "{deaths} deaths, attempt {attempt}");
    assert_eq!(exec.stats().deaths, deaths);
}

pub(crate) fn deaths_while_a_group_forms() {
    die_while_it_forms(70);
    die_while_it_forms(129);
}

pub(crate) fn soak_very_many_deaths_while_a_group_forms() {
    for deaths in [31, 32, 33, 62, 63, 64, 65, 66, 127, 128, 129, 200, 511, 512, 513, 700] {
        die_while_it_forms(deaths);
    }
}

/// Each attempt of the group loses a member, more often than six bits can count with those that
/// are lost before they start; it has retries for all of them.
pub(crate) fn a_death_in_each_of_many_attempts() {
    const DEATHS: u32 = 60;
    let mut builder = small(Mode::Process, 2);
    let body = builder
        .register("body", |args, _, context| {
            let group = context.group().expect("a member");
            let mine = atom(&args, 0, group.index()).fetch_add(1, SeqCst) + 1;
            group.barrier()?;
            if mine <= u64::from(DEATHS) && group.index() as u64 == mine % 2 {
                raise(libc::SIGKILL);
            }
            if mine <= u64::from(DEATHS) {
                group.barrier()?;
            }
            Ok::<(), BoxError>(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let state = exec.buffer::<u64>(2).unwrap();
    let options = TaskOptions::new().idempotent().retries(DEATHS);
    exec.run(|orch| {
        let all = vec![args().no_dep(state.tensor()); 2];
        orch.submit_group_with(body, all, config(), &options).map(drop)
    })
    .unwrap();
    assert_eq!(exec.stats().deaths, u64::from(DEATHS));
    assert_eq!(state.to_vec().unwrap(), [u64::from(DEATHS) + 1; 2]);
}
