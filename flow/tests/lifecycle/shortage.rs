//! The machine has no descriptor or process for a while, or somebody kills whatever starts: tasks
//! run once, no process is there twice, no worker is retired.

use std::time::{Duration, Instant};

use mailring::flow::{Cause, Flow, ObjectRef, Resources, node};
use testkit::flow::{Files, append, await_lines, cause, flow, lines, worker_pids};
use testkit::shortage::{
    children, give_up_privileges, limit, storm, without_descriptors, without_forks,
};
use testkit::{eventually, is_alive, kill, parent_of};

#[node]
fn noted(path: &str, millis: u64) -> i32 {
    append(path, "begun");
    std::thread::sleep(Duration::from_millis(millis));
    std::process::id() as i32
}

fn fork_server(flow: &Flow) -> i32 {
    parent_of(worker_pids(flow)[0][0])
}

fn living(fork_server: i32) -> usize {
    children(fork_server).into_iter().filter(|&pid| is_alive(pid)).count()
}

pub(crate) fn a_replacement_that_cannot_be_handed_over() {
    let files = Files::new();
    let flow = flow(2);
    let fork_server = fork_server(&flow);
    let [kept, lost] = ["kept", "lost"].map(|name| files.path(name));
    let kept_task = noted::remote(&flow, &kept, 600).unwrap();
    await_lines(&kept, 1);
    let busy = pid_of_busy(&flow, &kept_task);
    let other = worker_pids(&flow).concat().into_iter().find(|&pid| pid != busy).unwrap();
    let tasks: Vec<ObjectRef<i32>> = without_descriptors(|| {
        kill(other, libc::SIGKILL);
        let tasks = (0..2).map(|_| noted::remote(&flow, &lost, 1).unwrap()).collect();
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(10));
            assert!(living(fork_server) <= 2, "{} processes for two workers", living(fork_server));
        }
        tasks
    });
    for task in tasks {
        task.get_timeout(Duration::from_secs(20)).unwrap();
    }
    assert_eq!(kept_task.get().unwrap(), busy);
    assert_eq!((lines(&kept).len(), lines(&lost).len()), (1, 2), "each ran once");
    eventually("two processes", || living(fork_server) == 2);
}

fn pid_of_busy(flow: &Flow, task: &ObjectRef<i32>) -> i32 {
    let text = format!("{:?}", flow.pending(task).unwrap());
    let name = ["cpu/0", "cpu/1"].into_iter().position(|name| text.contains(name)).unwrap();
    worker_pids(flow)[name][0]
}

/// From the first fork on: `build` says so, or tasks wait until there are some.
pub(crate) fn a_flow_without_descriptors() {
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut refused = 0;
    for spare in 0..14 {
        let old = limit(0, libc::RLIMIT_NOFILE, before - 2 + spare);
        let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0));
        let built = builder.memory(16 << 20).build();
        let task = built.as_ref().ok().map(|flow| {
            let task = noted::remote(flow, "/dev/null", 0).unwrap();
            let _ = task.get_timeout(Duration::from_millis(100));
            task
        });
        limit(0, libc::RLIMIT_NOFILE, old);
        if let Err(error) = &built {
            println!("{spare}: {error}");
            assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
            refused += 1;
        }
        if let Some(task) = task {
            task.get_timeout(Duration::from_secs(20)).unwrap();
        }
        drop(built);
        assert_eq!(children(std::process::id() as i32), [0; 0], "no zombie is left");
    }
    assert!((3..14).contains(&refused), "{refused} refused");
}

pub(crate) fn a_storm_of_kills_is_survived() {
    let flow = flow(2);
    let fork_server = fork_server(&flow);
    let task = noted::remote(&flow, "/dev/null", 0).unwrap();
    let kills = storm(fork_server, Duration::from_millis(300));
    let task = task.get_timeout(Duration::from_secs(20));
    println!("{kills} kills: {task:?}");
    assert!(kills > 10, "{kills} kills");
    // It was through before the storm, or lost all its attempts to it.
    assert!(task.is_ok() || matches!(cause(task), Cause::WorkerCrashed(_)));
    for _ in 0..4 {
        let after = noted::remote(&flow, "/dev/null", 0).unwrap();
        after.get_timeout(Duration::from_secs(20)).unwrap();
    }
}

/// Longer than anybody had patience before: tasks fail with the limit's name, workers stay.
pub(crate) fn soak_no_fork_for_a_while() {
    give_up_privileges();
    let flow = flow(1);
    let fork_server = fork_server(&flow);
    without_forks(fork_server, || {
        for pid in worker_pids(&flow).concat() {
            kill(pid, libc::SIGKILL);
        }
        for _ in 0..2 {
            let began = Instant::now();
            let lost = noted::remote(&flow, "/dev/null", 0).unwrap();
            let why = cause(lost.get_timeout(Duration::from_secs(30)));
            println!("after {:?}: {why}", began.elapsed());
            let named =
                matches!(&why, Cause::WorkerCrashed(how) if how.contains("RLIMIT_NPROC is 1"));
            assert!(named, "{why}");
        }
        std::thread::sleep(Duration::from_secs(18));
    });
    let began = Instant::now();
    noted::remote(&flow, "/dev/null", 0).unwrap().get_timeout(Duration::from_secs(20)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
