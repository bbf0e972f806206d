//! The machine has no descriptor or process for a while, or somebody kills whatever starts: no
//! worker is there twice, none is retired, and errors name the limit.

use std::time::{Duration, Instant};

use mailring::{FailureKind, Mode, WorkerKind};

use crate::kit::{built, fork_server, there, works};
use testkit::shortage::{
    children, give_up_privileges, limit, open_up_to, storm, without_descriptors, without_forks,
};
use testkit::{args, at, config, eventually, failed_as, is_alive, kill, open_fds, small};

fn living(fork_server: i32) -> usize {
    children(fork_server).into_iter().filter(|&pid| is_alive(pid)).count()
}

/// The host cannot receive what belongs to a replacement: no twins, no descriptors lost, and a task
/// whose worker is killed later is run again.
pub(crate) fn a_replacement_that_cannot_be_handed_over() {
    let (exec, add) = built();
    let (fork_server, fds) = (fork_server(&exec), open_fds());
    let count = exec.buffer::<u64>(2).unwrap();
    without_descriptors(|| {
        kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(10));
            assert!(living(fork_server) <= 2, "{} processes for two workers", living(fork_server));
        }
    });
    let began = Instant::now();
    exec.run(|orch| {
        let nap = |place| args().no_dep(at(&count, place)).scalar(300);
        let again = |worker| there(worker).idempotent().retries(5);
        orch.submit_with(add, nap(0), config(), &again(0))?;
        orch.submit_with(add, nap(1), config(), &again(1))?;
        std::thread::sleep(Duration::from_millis(100));
        kill(exec.worker_pids()[1] as i32, libc::SIGKILL);
        Ok(())
    })
    .unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(count.to_vec().unwrap(), [1, 1], "a body that was not killed ran once");
    assert_eq!(living(fork_server), 2);
    let more = open_fds() - fds; // those that were opened to use them up
    kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
    eventually("another one", || exec.stats().respawns == exec.stats().deaths);
    works(&exec, add);
    assert_eq!(open_fds() - fds, more);
}

/// The same when the limit is far below what is open, and many workers die.
pub(crate) fn descriptors_run_out_and_come_back() {
    open_up_to(60);
    let (exec, add) = built();
    let (fork_server, fds) = (fork_server(&exec), open_fds());
    for round in 0..3 {
        let old = limit(0, libc::RLIMIT_NOFILE, 30 + round);
        for pid in exec.worker_pids() {
            kill(pid as i32, libc::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(living(fork_server) <= 2, "{} processes for two workers", living(fork_server));
        limit(0, libc::RLIMIT_NOFILE, old);
        works(&exec, add);
        assert_eq!((living(fork_server), open_fds()), (2, fds));
    }
}

pub(crate) fn a_build_without_descriptors() {
    // How many it takes: then one fewer each time, so that each step meets the shortage.
    let before = open_fds() as u64;
    drop(built());
    let mut refused = 0;
    for spare in 0..12 {
        let old = limit(0, libc::RLIMIT_NOFILE, before - 1 + spare);
        let built = small(Mode::Process, 2)
            .worker_factory(WorkerKind::NextLevel, |_| Err("never reached with few".into()))
            .build();
        limit(0, libc::RLIMIT_NOFILE, old);
        let error = built.err().expect("refused in any case").to_string();
        println!("{spare}: {error}");
        refused += usize::from(error.contains("RLIMIT_NOFILE"));
        assert!(error.contains("RLIMIT_NOFILE") || spare > 3, "{error}");
        assert_eq!(children(std::process::id() as i32), [0; 0], "no zombie is left");
        assert_eq!(open_fds() as u64, before);
    }
    assert!(refused >= 4);
}

/// Whatever starts is killed, for a moment.
pub(crate) fn a_storm_of_kills_is_survived() {
    let (exec, add) = built();
    let (fork_server, began) = (fork_server(&exec), Instant::now());
    // More than anybody was allowed before.
    while exec.stats().deaths < 14 {
        storm(fork_server, Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", exec.stats());
    }
    println!("{:?} after {:?}", exec.stats(), began.elapsed());
    works(&exec, add);
}

/// Longer than anybody had patience before: tasks fail with the limit's name, workers stay.
pub(crate) fn soak_no_fork_for_a_while() {
    give_up_privileges();
    let (exec, add) = built();
    let fork_server = fork_server(&exec);
    let count = exec.buffer::<u64>(1).unwrap();
    let one = || args().no_dep(at(&count, 0)).scalar(0);
    without_forks(fork_server, || {
        kill(exec.worker_pids()[0] as i32, libc::SIGKILL);
        let began = Instant::now();
        let ended = exec.run(|orch| orch.submit_with(add, one(), config(), &there(0)).map(drop));
        let failure = failed_as(ended, FailureKind::NoWorker);
        println!("after {:?}: {failure}", began.elapsed());
        assert!(failure.message.contains("RLIMIT_NPROC is 1"), "{failure}");
        assert!(failure.message.contains("pids.max") || !failure.message.contains("group"));
        exec.run(|orch| orch.submit(add, one(), config()).map(drop)).expect("the other one lives");
        kill(exec.worker_pids()[1] as i32, libc::SIGKILL);
        let ended = exec.run(|orch| orch.submit(add, one(), config()).map(drop));
        let failure = failed_as(ended, FailureKind::NoWorker);
        assert!(failure.message.contains("RLIMIT_NPROC is 1"), "{failure}");
    });
    works(&exec, add);
}

/// A factory that crashes is not a refusal: it is tried again, and the build ends with an error.
pub(crate) fn a_factory_that_crashes_ends_the_build() {
    let began = Instant::now();
    let built = small(Mode::Process, 2)
        .worker_factory(WorkerKind::NextLevel, |_| std::process::abort())
        .build();
    let error = built.err().unwrap().to_string();
    assert!(error.contains("SIGABRT"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// One that hangs is killed after its time, and named.
pub(crate) fn a_factory_that_hangs_is_named() {
    let built = small(Mode::Process, 1)
        .start_timeout(Duration::from_millis(300))
        .worker_factory(WorkerKind::NextLevel, |_| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        })
        .build();
    let error = built.err().unwrap().to_string();
    println!("{error}");
    assert!(error.contains("factory") && error.contains("killed"), "{error}");
}
